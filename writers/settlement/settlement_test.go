package settlement

import (
	"os"
	"path/filepath"
	"testing"
)

func TestRevisionIsWrittenCheckedAndFinished(t *testing.T) {
	dir := t.TempDir()
	w := newWorld(1, 200, 40_000)
	r := w.create(t, dir)
	w.write(t, r, 3, 1000)
	if err := r.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	key, _, err := r.Finish(w.manifest())
	if err != nil {
		t.Fatal(err)
	}
	m, err := OpenManifest(filepath.Join(dir, key))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range m.Files {
		if info, err := os.Stat(filepath.Join(dir, filepath.Dir(key), f.Name)); err != nil || info.Size() != f.Size {
			t.Errorf("%s: %v", f.Name, err)
		}
	}
}
