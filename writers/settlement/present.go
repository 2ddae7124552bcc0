package settlement

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"

	"golang.org/x/sync/errgroup"
)

// lookedAt is of how many of the newest periods the files are looked at by each run: those that were written lately, and
// that somebody is about to read. It costs a read and a look at a folder for each.
const lookedAt = 31

// CheckCurrent says what the output has lost of what is current, as after a folder was deleted or restored from an old
// copy: manifests of all periods, and of the newest ones files, by name and size. What is in the files is not looked at.
func (o *Output) CheckCurrent(ctx context.Context, periods map[string]Current) error {
	names := slices.Sorted(maps.Keys(periods)) // and so by time
	lost, err := o.lookAt(names, func(name string) ([]string, error) {
		manifest := periods[name].Manifest
		_, err := o.storage.stat(manifest)
		if errors.Is(err, fs.ErrNotExist) {
			return []string{manifest}, nil
		}
		return nil, err
	})
	if err != nil {
		return fmt.Errorf("look for a manifest: %w", err)
	}
	if len(lost) > 0 {
		return fmt.Errorf("the output has lost %d of %d manifests, the first is %s; restore the folder from a copy", len(lost), len(periods), lost[0])
	}
	damaged, err := o.lookAt(names[max(0, len(names)-lookedAt):], func(name string) ([]string, error) {
		faults, err := o.filesAmiss(ctx, periods[name])
		if err != nil {
			return nil, fmt.Errorf("look for the files of period %s: %w", name, err)
		}
		return faults, nil
	})
	if err != nil {
		return err
	}
	if len(damaged) > 0 {
		return fmt.Errorf("of the newest periods' files in the output, %d are not what was settled, the first: %s; restore the folder from a copy",
			len(damaged), damaged[0])
	}
	return nil
}

// lookAt looks at periods side by side, and gives what is amiss in their order.
func (o *Output) lookAt(names []string, look func(name string) ([]string, error)) ([]string, error) {
	found := make([][]string, len(names))
	var group errgroup.Group
	group.SetLimit(o.checksAtATime)
	for i, name := range names {
		group.Go(func() (err error) {
			found[i], err = look(name)
			return err
		})
	}
	err := group.Wait()
	return slices.Concat(found...), err
}

// filesAmiss says which files of a revision are gone, or of another size than its manifest says.
func (o *Output) filesAmiss(ctx context.Context, current Current) ([]string, error) {
	content, err := readFile(o.storage, current.Manifest)
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(content); !bytes.Equal(sum[:], current.SHA256) {
		return []string{current.Manifest + " was changed"}, nil
	}
	var named struct {
		Files []File `json:"files"`
	}
	if err := json.Unmarshal(content, &named); err != nil {
		return nil, err
	}
	dir := path.Dir(current.Manifest)
	sizes := map[string]int64{}
	err = o.storage.list(ctx, dir+"/", func(f fileInfo) error {
		sizes[path.Base(f.name)] = f.size
		return nil
	})
	if err != nil {
		return nil, err
	}
	var faults []string
	for _, f := range named.Files {
		switch size, there := sizes[f.Name]; {
		case !there:
			faults = append(faults, path.Join(dir, f.Name)+" is gone")
		case size != f.Size:
			faults = append(faults, fmt.Sprintf("%s has %d bytes, not %d", path.Join(dir, f.Name), size, f.Size))
		}
	}
	return faults, nil
}
