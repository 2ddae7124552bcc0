package main

import (
	"strings"
	"testing"
	"time"
)

// TestProgressSaysHowLongItTakes: how far, how fast and how long still, on one line of 80 columns; other periods of a stage are
// that stage, and another stage begins anew.
func TestProgressSaysHowLongItTakes(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)
	var shown strings.Builder
	p := &progress{w: &shown, clock: func() time.Time { return now }}
	for _, step := range []struct {
		after       time.Duration
		stage       string
		done, total int64
		want        string
	}{
		{0, "lines of 2026-10-01", 0, 1_000_000, "lines of 2026-10-01 ░░░░░░░░░░ 0 of 1,000,000"},
		{10 * time.Millisecond, "lines of 2026-10-01", 9000, 1_000_000, ""}, // too soon to draw again
		{2 * time.Second, "lines of 2026-10-01", 201_000, 1_000_000, "lines of 2026-10-01 ██░░░░░░░░ 201,000 of 1,000,000, 100,000/s, 8s left"},
		{2 * time.Second, "lines of 2026-10-02", 401_000, 1_000_000, "lines of 2026-10-02 ████░░░░░░ 401,000 of 1,000,000, 100,000/s, 6s left"},
		{time.Second, "charges of 2026-10-01", 500_000, 1_000_000, "charges of 2026-10-01 █████░░░░░ 500,000 of 1,000,000"},
		{4 * time.Second, "read", 10, 0, "read 10"},
		{4 * time.Second, "read", 50, 0, "read 50, 10/s"},
		{400 * time.Second, "read", 51, 100, "read █████░░░░░ 51 of 100, 8m3s left"},
	} {
		now = now.Add(step.after)
		shown.Reset()
		p.report(step.stage, step.done, step.total)
		if got := strings.TrimPrefix(shown.String(), "\r\x1b[K"); got != step.want {
			t.Errorf("%q, not %q", got, step.want)
		}
	}
	p.report(strings.Repeat("a very long stage ", 9), 1, 2)
	if got := strings.TrimPrefix(shown.String(), "\r\x1b[K"); width(got) >= tableWidth {
		t.Errorf("%d columns: %s", width(got), got)
	}
}
