package settlement

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"path"
)

// TakeOver makes files of another revision files of this one, too, as they stand: they were checked when they were written,
// and what counts now is that they are still what its manifest says. Where they lie in the same folder they are linked, and
// copied otherwise. Sums are what their lines add up to.
func (r *Revision) TakeOver(ctx context.Context, from *Output, dir string, files []File, sums *Sums) error {
	manifest, err := from.storage.stat(path.Join(dir, manifestName))
	if err != nil {
		return fmt.Errorf("take files of %s over: %w", dir, err)
	}
	r.stood = manifest.modified
	for _, f := range files {
		t := tableNamed(f.Table)
		if t < 0 {
			return fmt.Errorf("take %s over: there is no table %q", f.Name, f.Table)
		}
		linked, err := r.takeOver(ctx, from, path.Join(dir, f.Name), &f)
		if err != nil {
			return fmt.Errorf("take %s over: %w", path.Join(dir, f.Name), err)
		}
		r.mu.Lock()
		r.written, r.checked = append(r.written, written{File: f, table: t, taken: true, linked: linked}), false
		r.mu.Unlock()
	}
	r.taken = sums
	return nil
}

func (r *Revision) takeOver(ctx context.Context, from *Output, name string, f *File) (linked bool, err error) {
	as := path.Join(r.dir, f.Name)
	if from.name == r.output.name {
		err := r.output.storage.link(name, as)
		if !errors.Is(err, errors.ErrUnsupported) {
			return true, err
		}
	}
	there, err := from.storage.open(name)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, there.Close()) }()
	file, err := r.output.storage.create(as)
	if err != nil {
		return false, err
	}
	size, err := io.CopyBuffer(file, contextReader{ctx, io.NewSectionReader(there, 0, there.Size())}, bufferFor(there))
	if err != nil {
		return false, errors.Join(err, file.Close())
	}
	return false, r.output.storage.close(as, file, size)
}

// unwritten tells whether a file that was taken over is the very one that the other manifest was written for, after it was
// checked, and has its size: nobody has written to it since. A disk that forgets is what verify is for.
func (r *Revision) unwritten(name string, w *written) (bool, error) {
	if !w.linked {
		return false, nil
	}
	file, err := r.output.storage.stat(name)
	return err == nil && file.size == w.Size && !file.modified.After(r.stood), err
}

// checkTaken makes sure that a file that was taken over is still what the other manifest says.
func (r *Revision) checkTaken(ctx context.Context, w *written, file stored) error {
	hash := sha256.New()
	size, err := io.CopyBuffer(hash, contextReader{ctx, io.NewSectionReader(file, 0, file.Size())}, bufferFor(file))
	if err != nil {
		return err
	}
	if got := hash.Sum(nil); size != w.Size || !bytes.Equal(got, w.SHA256) {
		return fmt.Errorf("it was taken over from the revision before, whose manifest says %d bytes with SHA-256 %s; it has %d bytes with "+
			"SHA-256 %x, so something has changed it since; `drawdown verify` says what else was", w.Size, w.SHA256, size, got)
	}
	return nil
}
