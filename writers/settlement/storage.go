package settlement

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// storage is where files go: a local [folder], or a [bucketStorage]. Files are made last before anything refers to them,
// and are never overwritten, but for current.json. Names have slashes.
type storage interface {
	making
	linking
	lasting
	finding
	removing
	io.Closer
}

type making interface {
	// makeDir makes a folder, which must be new.
	makeDir(name string) error
	// create makes a new file; whoever closes it himself gives it up.
	create(name string) (io.WriteCloser, error)
	// close completes a file. It is an error, here or when the file is opened or synced, if there was one of this name.
	close(name string, file io.WriteCloser, size int64) error
}

type linking interface {
	// link makes completed files of a revision's folder files of another one, too, as far as it can without their content. It
	// tells of each whether it is known to be what the revision's manifest says; what is left out is to be copied.
	link(dir, as string, files []File) (map[string]bool, error)
}

type lasting interface {
	// replace puts content into the place of what is there, at once or not at all, and makes it last.
	replace(name string, content []byte) error
	// sync makes everything last that was completed.
	sync(context.Context) error
}

type finding interface {
	// open opens a completed file as the storage has it, not as it was written.
	open(name string) (stored, error)
	stat(name string) (fileInfo, error)
	// list visits the files whose names begin with a prefix.
	list(ctx context.Context, prefix string, visit func(fileInfo) error) error
}

type removing interface {
	// remove removes files.
	remove(ctx context.Context, names ...string) error
	// removeAll removes a folder with all that was or is being written into it.
	removeAll(dir string) error
}

// stored is the content of a stored file.
type stored interface {
	io.Reader
	io.ReaderAt
	io.Closer
	Size() int64
}

// fileInfo is what a storage knows of a file. One whose name ends in a slash is a folder with nothing in it.
type fileInfo struct {
	name     string
	size     int64
	modified time.Time
}

// writeFile makes a new file with its content, and reads it back.
func writeFile(s storage, name string, content []byte) (err error) {
	file, err := s.create(name)
	if err != nil {
		return err
	}
	if _, err := file.Write(content); err != nil {
		return errors.Join(err, file.Close())
	}
	if err := s.close(name, file, int64(len(content))); err != nil {
		return err
	}
	there, err := readFile(s, name)
	if err == nil && !bytes.Equal(there, content) {
		err = errors.New("what is read back is not what was written")
	}
	return err
}

func readFile(s storage, name string) (content []byte, err error) {
	file, err := s.open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	content = make([]byte, file.Size())
	_, err = io.ReadFull(io.NewSectionReader(file, 0, file.Size()), content)
	return content, err
}

// folder is a local folder.
type folder struct {
	root     *os.Root
	unsynced *unsynced
}

// unsynced are the files and folders that have been written but may not be on the disk yet. They are synced together, many
// at a time, since the disk then needs a fraction of the turns. Folders that were made last stay open so long: they have many
// files, and the folders above need not be looked up for each of them.
type unsynced struct {
	mu          sync.RWMutex
	files, dirs map[string]struct{}
	open        []openDir
}

type openDir struct {
	name string
	*os.Root
}

// openDirs is how many folders stay open, of which each holds a descriptor. A settle makes 62 at once.
const openDirs = 64

func (u *unsynced) note(files bool, names ...string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, name := range names {
		if files {
			u.files[name] = struct{}{}
			name = path.Dir(name)
		}
		u.dirs[name] = struct{}{}
	}
}

func (u *unsynced) take() (files, dirs []string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	files, dirs = slices.Sorted(maps.Keys(u.files)), slices.Sorted(maps.Keys(u.dirs))
	clear(u.files)
	clear(u.dirs)
	return files, dirs
}

// made keeps a folder open that was made, in the place of the one that has been open for longest.
func (u *unsynced) made(dir openDir) (err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.open) == openDirs {
		err = u.open[0].Close()
		u.open = slices.Delete(u.open, 0, 1)
	}
	u.open = append(u.open, dir)
	return err
}

// folderOf gives the folder of a file, if it is open. It is called with the lock.
func (u *unsynced) folderOf(name string) *os.Root {
	parent := path.Dir(name)
	for i := len(u.open) - 1; i >= 0; i-- {
		if u.open[i].name == parent {
			return u.open[i].Root
		}
	}
	return nil
}

// gone forgets a folder that is to be removed, and what is in it.
func (u *unsynced) gone(name string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	within := func(file string, _ struct{}) bool { return file == name || strings.HasPrefix(file, name+"/") }
	maps.DeleteFunc(u.files, within)
	maps.DeleteFunc(u.dirs, within)
	return u.closeAll(func(dir openDir) (bool, error) { return within(dir.name, struct{}{}), nil })
}

// closeAll closes open folders, but for those that something is wrong with. It is called with the lock.
func (u *unsynced) closeAll(which func(openDir) (bool, error)) error {
	var errs []error
	u.open = slices.DeleteFunc(u.open, func(dir openDir) bool {
		closes, err := which(dir)
		if closes = closes && err == nil; closes {
			err = dir.Close()
		}
		errs = append(errs, err)
		return closes
	})
	return errors.Join(errs...)
}

func openFolder(dir string) (folder, error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return folder{}, err
	}
	root, err := os.OpenRoot(dir)
	return folder{root, &unsynced{files: map[string]struct{}{}, dirs: map[string]struct{}{}}}, err
}

// openFile opens a file in its folder, if that is open.
func (f folder) openFile(name string, flag int) (*os.File, error) {
	f.unsynced.mu.RLock()
	defer f.unsynced.mu.RUnlock()
	dir := f.unsynced.folderOf(name)
	if dir == nil {
		return f.root.OpenFile(name, flag, 0o666)
	}
	file, err := dir.OpenFile(path.Base(name), flag, 0o666)
	var fault *fs.PathError
	if errors.As(err, &fault) {
		fault.Path = name
	}
	return file, err
}

// makeDir makes what is missing above the folder, too.
func (f folder) makeDir(name string) error {
	if parent := path.Dir(name); parent != "." {
		err := f.root.Mkdir(parent, 0o777)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		f.unsynced.note(false, ".")
	}
	if err := f.root.Mkdir(name, 0o777); err != nil {
		return err
	}
	f.unsynced.note(false, path.Dir(name))
	dir, err := f.root.OpenRoot(name)
	if err != nil {
		return err
	}
	return f.unsynced.made(openDir{name, dir})
}

func (f folder) create(name string) (io.WriteCloser, error) {
	file, err := f.openFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return nil, err // not a nil *os.File
	}
	return file, nil
}

// link makes links. A file is what it was, if it has its size and nobody has written to it since the manifest was written, after
// it was checked: a disk that forgets is what verify is for.
func (f folder) link(dir, as string, files []File) (map[string]bool, error) {
	manifest, err := f.stat(path.Join(dir, manifestName))
	if err != nil {
		return nil, err
	}
	names := make([]string, len(files))
	for i := range files {
		names[i] = files[i].Name
	}
	f.unsynced.note(false, as) // what is in the files was made last when it was committed
	infos, names, err := f.linkFast(dir, as, names)
	for _, name := range names {
		if err != nil {
			break
		}
		switch fault := f.root.Link(path.Join(dir, name), path.Join(as, name)); {
		case fault == nil:
			infos[name], err = f.stat(path.Join(as, name))
		case errors.Is(fault, fs.ErrExist), errors.Is(fault, fs.ErrNotExist):
			err = fault
		} // else it is more than the file system can, or Windows
	}
	if err != nil {
		return nil, err
	}
	linked := make(map[string]bool, len(infos))
	for i := range files {
		if info, done := infos[files[i].Name]; done {
			linked[files[i].Name] = info.size == files[i].Size && !info.modified.After(manifest.modified)
		}
	}
	return linked, nil
}

func (f folder) close(name string, file io.WriteCloser, _ int64) error {
	f.unsynced.note(true, name)
	startWriteback(file.(*os.File)) // that create gave
	return file.Close()
}

func (f folder) replace(name string, content []byte) error {
	// Two writers of the same content may share a file; of different content they do not.
	temporary := fmt.Sprintf(".%s.%x", name, sha256.Sum256(content))
	_ = f.root.Remove(temporary) // what a killed run left
	if err := writeFile(f, temporary, content); err != nil {
		return err
	}
	if err := f.sync(context.Background()); err != nil {
		return err
	}
	if err := f.root.Rename(temporary, name); err != nil {
		return err
	}
	f.unsynced.note(false, path.Dir(name))
	return f.sync(context.Background())
}

// storedFile is a file of a folder.
type storedFile struct {
	*os.File
	size int64
}

func (f *storedFile) Size() int64 { return f.size }

// open opens a file that is complete. No link leads out of the folder.
func (f folder) open(name string) (stored, error) {
	file, err := f.openFile(name, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is no file")
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &storedFile{file, info.Size()}, nil
}

func (f folder) stat(name string) (fileInfo, error) {
	info, err := f.root.Stat(name)
	if err != nil {
		return fileInfo{}, err
	}
	return fileInfo{name, info.Size(), info.ModTime()}, nil
}

// list visits the files whose names begin with a prefix, by name. Links are not followed: one is listed as a file.
func (f folder) list(ctx context.Context, prefix string, visit func(fileInfo) error) error {
	return fs.WalkDir(f.root.FS(), f.within(path.Dir(prefix)), func(name string, entry fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || name == "." {
			return err
		}
		if entry.IsDir() {
			if !strings.HasPrefix(name+"/", prefix) && !strings.HasPrefix(prefix, name+"/") {
				return fs.SkipDir
			}
			within, err := fs.ReadDir(f.root.FS(), name)
			if err != nil || len(within) > 0 {
				return err
			}
			name += "/"
		}
		if !strings.HasPrefix(name, prefix) {
			return nil
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return visit(fileInfo{name, 0, info.ModTime()})
		}
		return visit(fileInfo{name, info.Size(), info.ModTime()})
	})
}

// within gives the folder of a name, so that those beside it are not gone through; the whole where it is none, or a link.
func (f folder) within(name string) string {
	for dir := name; dir != "."; dir = path.Dir(dir) {
		if info, err := f.root.Lstat(dir); err != nil || !info.IsDir() {
			return "."
		}
	}
	return name
}

// remove removes files one after another, and folders with the last of their files. A link goes, not what it leads to.
// What is gone already is no fault.
func (f folder) remove(ctx context.Context, names ...string) error {
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		name = strings.TrimSuffix(name, "/")
		if err := f.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if f.root.Remove(dir) != nil { // something else is in it
				break
			}
		}
	}
	return nil
}

func (f folder) removeAll(dir string) error {
	return errors.Join(f.unsynced.gone(dir), f.root.RemoveAll(dir))
}

// Close gives the folder up.
func (f folder) Close() error {
	f.unsynced.mu.Lock()
	defer f.unsynced.mu.Unlock()
	return errors.Join(f.unsynced.closeAll(func(openDir) (bool, error) { return true, nil }), f.root.Close())
}

// closeDirs closes folders that are still what their names lead to.
func (f folder) closeDirs() error {
	f.unsynced.mu.Lock()
	defer f.unsynced.mu.Unlock()
	return f.unsynced.closeAll(func(dir openDir) (bool, error) {
		written, err := dir.Stat(".")
		if err != nil {
			return false, err
		}
		there, err := f.root.Lstat(dir.name)
		if err == nil && !os.SameFile(written, there) {
			err = fmt.Errorf("%s is another folder than the one that was written to", dir.name)
		}
		return true, err
	})
}

// syncsAtATime is how many files are synced side by side.
const syncsAtATime = 16

// sync makes everything last that was written: first the files, then the folders that name them.
func (f folder) sync(ctx context.Context) error {
	files, dirs := f.unsynced.take()
	err := f.syncAll(ctx, files, f.syncOne)
	if err == nil {
		err = f.closeDirs()
	}
	if err == nil && runtime.GOOS != "windows" { // which has no way to sync a folder
		err = f.syncAll(ctx, dirs, f.syncDir)
	}
	if err != nil {
		f.unsynced.note(true, files...)
		f.unsynced.note(false, dirs...)
	}
	return err
}

func (f folder) syncAll(ctx context.Context, names []string, syncOne func(name string) error) error {
	var next atomic.Int64
	errs := make([]error, min(syncsAtATime, len(names)))
	var group sync.WaitGroup
	for worker := range errs {
		group.Go(func() {
			for errs[worker] == nil {
				n := int(next.Add(1)) - 1
				if n >= len(names) {
					return
				}
				if errs[worker] = ctx.Err(); errs[worker] == nil {
					errs[worker] = syncOne(names[n])
				}
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

func (f folder) syncOne(name string) error {
	flag := os.O_RDONLY
	if runtime.GOOS == "windows" {
		flag = os.O_RDWR
	}
	file, err := f.openFile(name, flag)
	if err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return errors.Join(fmt.Errorf("sync %s: %w", name, err), file.Close())
	}
	return file.Close()
}

// syncDir passes over a folder that is gone: it was empty, or its files would be missing.
func (f folder) syncDir(name string) error {
	if err := f.syncOne(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
