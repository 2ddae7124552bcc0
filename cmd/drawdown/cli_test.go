package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"
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
