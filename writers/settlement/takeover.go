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
// and what counts now is that they are still what its manifest says. Where they lie in the same folder or bucket they are linked, or
// copied by the service, and else copied by their content. Sums are what their lines add up to.
func (r *Revision) TakeOver(ctx context.Context, from *Output, dir string, files []File, sums *Sums) error {
	var linked map[string]bool
	if from.name == r.output.name {
		var err error
		if linked, err = r.output.storage.link(dir, r.dir, files); err != nil {
			return fmt.Errorf("take files of %s over: %w", dir, err)
		}
	}
	for _, f := range files {
		t := tableNamed(f.Table)
		if t < 0 {
			return fmt.Errorf("take %s over: there is no table %q", f.Name, f.Table)
		}
		sound, done := linked[f.Name]
		if !done {
			if err := r.copyFrom(ctx, from, path.Join(dir, f.Name), &f); err != nil {
				return fmt.Errorf("take %s over: %w", path.Join(dir, f.Name), err)
			}
		}
		r.mu.Lock()
		r.written, r.checked = append(r.written, written{File: f, table: t, taken: true, sound: sound}), false
		r.mu.Unlock()
	}
	r.taken = sums
	return nil
}

// copyFrom copies a file of another revision.
func (r *Revision) copyFrom(ctx context.Context, from *Output, name string, f *File) (err error) {
	as := path.Join(r.dir, f.Name)
	there, err := from.storage.open(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, there.Close()) }()
	file, err := r.output.storage.create(as)
	if err != nil {
		return err
	}
	size, err := io.CopyBuffer(file, contextReader{ctx, io.NewSectionReader(there, 0, there.Size())}, bufferFor(there))
	if err != nil {
		return errors.Join(err, file.Close())
	}
	return r.output.storage.close(as, file, size)
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
