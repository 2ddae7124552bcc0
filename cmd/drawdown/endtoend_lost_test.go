package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLostFilesAreNoticed: a run says what is missing of the newest periods, though it has nothing to settle.
func TestLostFilesAreNoticed(t *testing.T) {
	t.Parallel()
	w := newWorld(4, smallWorld)
	s := newSite(t, w)
	s.settle(w)
	settled := s.published()
	names := keysOf(settled)
	last := s.publishedPeriods()[names[len(names)-1]]
	dir := s.path(filepath.Join("settlements", filepath.Dir(filepath.FromSlash(last.Manifest))))
	file := filepath.Join(dir, settled[names[len(names)-1]].Files[0].Name)
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	manifest := filepath.Join(dir, "manifest.json")
	written, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, want string
		lose       func() error
		restore    func() error
	}{
		{"a file", filepath.Base(file) + " is gone", func() error { return os.Remove(file) }, func() error { return os.WriteFile(file, content, 0o666) }},
		{
			"the end of a file", filepath.Base(file) + " has 3 bytes, not", func() error { return os.Truncate(file, 3) },
			func() error { return os.WriteFile(file, content, 0o666) },
		},
		{
			"what a manifest said", "manifest.json was changed", func() error { return os.WriteFile(manifest, append(written, ' '), 0o666) },
			func() error { return os.WriteFile(manifest, written, 0o666) },
		},
	} {
		if err := test.lose(); err != nil {
			t.Fatal(err)
		}
		if _, err := s.trySettle(w.later(), w.until(), false); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("without %s: %v", test.name, err)
		}
		if err := test.restore(); err != nil {
			t.Fatal(err)
		}
		if _, err := s.trySettle(w.later(), w.until(), false); err != nil {
			t.Errorf("with %s again: %v", test.name, err)
		}
	}
}
