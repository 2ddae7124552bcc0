package settlement

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
)

// lookedAt is of how many of the newest periods the files are looked at by each run: those that were written lately, and
// that somebody is about to read. It costs a read and a look at a folder for each.
const lookedAt = 31

// CheckCurrent says what the output has lost of what is current, as after a folder was deleted or restored from an old
// copy: manifests of all periods, and of the newest ones files, by name and size. What is in the files is not looked at.
func (o *Output) CheckCurrent(periods map[string]Current) error {
	names := slices.Sorted(maps.Keys(periods)) // and so by time
	var lost []string
	for _, name := range names {
		_, err := o.folder.root.Stat(periods[name].Manifest)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			lost = append(lost, periods[name].Manifest)
		case err != nil:
			return fmt.Errorf("look for a manifest: %w", err)
		}
	}
	if len(lost) > 0 {
		return fmt.Errorf("the output has lost %d of %d manifests, the first is %s; restore the folder from a copy", len(lost), len(periods), lost[0])
	}
	var damaged []string
	for _, name := range names[max(0, len(names)-lookedAt):] {
		faults, err := o.filesAmiss(periods[name])
		if err != nil {
			return fmt.Errorf("look for the files of period %s: %w", name, err)
		}
		damaged = append(damaged, faults...)
	}
	if len(damaged) > 0 {
		return fmt.Errorf("of the newest periods' files in the output, %d are not what was settled, the first: %s; restore the folder from a copy",
			len(damaged), damaged[0])
	}
	return nil
}

// filesAmiss says which files of a revision are gone, or of another size than its manifest says.
func (o *Output) filesAmiss(current Current) ([]string, error) {
	content, err := o.folder.root.ReadFile(current.Manifest)
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
	entries, err := fs.ReadDir(o.folder.root.FS(), dir)
	if err != nil {
		return nil, err
	}
	sizes := make(map[string]int64, len(entries))
	for _, entry := range entries {
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		sizes[entry.Name()] = info.Size()
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
