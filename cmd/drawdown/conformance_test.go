package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	conformanceDir = "../../testdata/conformance"
	ownCasesDir    = "../../testdata/cases"
)

// newApp is the program as a test runs it: silent, and without waiting for the disk.
func newApp(now time.Time) *app {
	return &app{
		process: process{clock: time.Now, stdout: io.Discard, stderr: io.Discard},
		ctx:     context.Background(), flags: &cli{Quiet: true}, now: now, scratch: true,
	}
}

// TestConformance settles every case as `drawdown test` does.
func TestConformance(t *testing.T) {
	t.Parallel()
	files, err := caseFiles([]string{conformanceDir, ownCasesDir})
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			t.Parallel()
			results, err := newApp(time.Now()).runCases([]string{file})
			if err != nil {
				t.Fatal(err)
			}
			if r := results[0]; len(results) != 1 || r.Diff != "" {
				t.Errorf("%s:\n%s", strings.Join(r.Rules, ", "), r.Diff)
			}
		})
	}
}

// TestConformanceCasesAreAllHere: the cases that are handed out beside the repository are those that we pass, byte by byte.
func TestConformanceCasesAreAllHere(t *testing.T) {
	const shared = "../../../shared/conformance"
	if _, err := os.Stat(shared); os.IsNotExist(err) {
		t.Skip("there are none beside the repository")
	}
	files, err := filepath.Glob(filepath.Join(shared, "*"))
	if err != nil || len(files) == 0 {
		t.Fatal("the shared folder has no cases: ", err)
	}
	for _, file := range files {
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(conformanceDir, filepath.Base(file)))
		switch {
		case err != nil:
			t.Errorf("copy it to testdata/conformance: %v", err)
		case !bytes.Equal(got, want):
			t.Errorf("%s differs from the shared one; copy it again", filepath.Base(file))
		}
	}
}
