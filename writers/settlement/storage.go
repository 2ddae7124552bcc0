package settlement

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
)

// folder is where files go: a local folder, whose files are made last before anything refers to them, and are never
// overwritten. An object store takes its place behind the same few methods.
type folder struct {
	root *os.Root
}

func openFolder(dir string) (folder, error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return folder{}, err
	}
	root, err := os.OpenRoot(dir)
	return folder{root}, err
}

// makeDir makes a folder and what is missing above it; the folder itself must be new.
func (f folder) makeDir(name string) error {
	if parent := path.Dir(name); parent != "." {
		err := f.root.Mkdir(parent, 0o777)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := f.syncDir("."); err != nil {
			return err
		}
	}
	if err := f.root.Mkdir(name, 0o777); err != nil {
		return err
	}
	return f.syncDir(path.Dir(name))
}

// create makes a new file; it is an error if there is one.
func (f folder) create(name string) (*os.File, error) {
	return f.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
}

// write makes a new file last with its content.
func (f folder) write(name string, content []byte) error {
	file, err := f.create(name)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err := errors.Join(err, finish(file)); err != nil {
		return err
	}
	return f.syncDir(path.Dir(name))
}

// replace puts content into the place of what is there, at once or not at all.
func (f folder) replace(name, temporary string, content []byte) error {
	_ = f.root.Remove(temporary) // what a killed run left
	if err := f.write(temporary, content); err != nil {
		return err
	}
	if err := f.root.Rename(temporary, name); err != nil {
		return err
	}
	return f.syncDir(path.Dir(name))
}

func (f folder) syncDir(name string) error {
	dir, err := f.root.Open(name)
	if err != nil {
		return err
	}
	return finish(dir)
}

// finish makes a file or folder last, and closes it.
func finish(file *os.File) error {
	if err := file.Sync(); err != nil {
		return errors.Join(fmt.Errorf("sync %s: %w", file.Name(), err), file.Close())
	}
	return file.Close()
}
