package main

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"strings"
	"syscall"
	"testing"
	"time"

	"drawdown/rating"
)

type fullDisk struct{}

var errFull = errors.New("no space left on device")

func (fullDisk) Write([]byte) (int, error) { return 0, errFull }

// TestLostAnswerIsAFailure: what was printed to a full disk was not said.
func TestLostAnswerIsAFailure(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"version"}, {"version", "--json"}, {"test", "../../testdata/cases"}} {
		var stderr bytes.Buffer
		code := run(context.Background(), process{args: args, clock: time.Now, stdout: fullDisk{}, stderr: &stderr})
		if code != exitFailed || !strings.Contains(stderr.String(), errFull.Error()) {
			t.Errorf("%v: exit %d, %s", args, code, stderr.String())
		}
	}
}

// TestFullDiskIsNamed: which one it is, and what to do, whatever was to be written there.
func TestFullDiskIsNamed(t *testing.T) {
	t.Parallel()
	s := newSite(t, newWorld(4, smallWorld))
	s.configure("temp_dir: ./temp\n")
	s.write("temp/some", nil)
	a := s.app(time.Now())
	a.flags.Config = s.path("drawdown.yaml")
	full := func(name string) error { return &fs.PathError{Op: "write", Path: s.path(name), Err: syscall.ENOSPC} }
	for _, test := range []struct{ name, want string }{
		{"settlements/period=2026-10-01/rev=1-1/lines-000.parquet", "the disk of " + s.path("settlements") + " is full: free space there, or name another place in output.url"},
		{"temp/drawdown-1.spill", "the disk of " + s.path("temp") + " is full: free space there, or name another place in temp_dir"},
		{"elsewhere", "the disk of " + s.path("elsewhere") + " is full: free space there, and run again"},
	} {
		s.tamper = failAt("sync", func() error { return full(test.name) })
		_, err := s.trySettle(time.Now(), rating.Never, false)
		var hinted *noRoom
		if !errors.As(a.withRoom(err), &hinted) || !strings.HasPrefix(hinted.Hint(), test.want) || !errors.Is(hinted, syscall.ENOSPC) {
			t.Errorf("%v: hint %q, not %q", err, hinted, test.want)
		}
	}
	if err := a.withRoom(errBoom); !errors.Is(err, errBoom) || errors.As(err, new(*noRoom)) {
		t.Error(err)
	}
}
