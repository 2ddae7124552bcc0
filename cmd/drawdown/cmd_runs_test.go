package main

import (
	"testing"

	"drawdown/writers/store"
)

// TestInterruptedRunsAreShownAsSuch: to press Ctrl-C is no failure.
func TestInterruptedRunsAreShownAsSuch(t *testing.T) {
	for _, c := range []struct{ state, err, wantState, wantError string }{
		{store.RunFailed, "settle: interrupt signal received", "interrupted", ""},
		{store.RunFailed, "settle: read usage object a.ndjson: terminated signal received", "interrupted", ""},
		{store.RunFailed, "settle: no space left on device", "failed", "settle: no space left on device"},
		{store.RunCommitted, "", "committed", ""},
	} {
		v := viewOfRun(&store.Run{Outcome: store.Outcome{State: c.state, Error: c.err}})
		if v.State != c.wantState || v.Error != c.wantError {
			t.Errorf("%s, %q: it is shown as %s, %q", c.state, c.err, v.State, v.Error)
		}
	}
}
