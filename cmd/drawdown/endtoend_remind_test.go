package main

import (
	"fmt"
	"testing"
	"time"

	"drawdown/jobs"
	"drawdown/rating"
)

// onBothDatabases runs a test over a site with its state in SQLite, and one with it in PostgreSQL.
func onBothDatabases(t *testing.T, test func(*testing.T, *site)) {
	t.Helper()
	t.Parallel()
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		test(t, &site{t: t, dir: fastDir(t)})
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Parallel()
		test(t, &site{t: t, dir: fastDir(t), state: server.Get(t).Fresh(t)})
	})
}

// soundNow fails the test where verify finds something wrong.
func (s *site) soundNow(t *testing.T, now time.Time) {
	t.Helper()
	found, err := s.app(now).verify(s.config(), func(*jobs.BookedRevision) bool { return true }, false)
	if err != nil {
		t.Fatal(err)
	}
	wantSound(t, found)
}

// TestReminderMovesIntoAnotherPeriod: the catalog is corrected so that a reminder would have been due on another day, and only
// one of the two days is settled again. It is told once, it is told as long as one of them finds it, and verify is content.
func TestReminderMovesIntoAnotherPeriod(t *testing.T) {
	onBothDatabases(t, testReminderMovesIntoAnotherPeriod)
}

func testReminderMovesIntoAnotherPeriod(t *testing.T, s *site) {
	s.t = t
	s.configure("")
	s.write("usage/none.ndjson", nil)
	created := func(day int) {
		s.write("catalog.yaml", fmt.Appendf(nil, `
accounts: [{id: acme, email: owner@example.com}]
meters: [{id: calls, unit: call}]
packages:
  - {id: p, account: acme, kind: stop_before_excess, quota: 1, effective: 2026-10-20, created: "2026-10-%dT10:00:00Z", expires: 2026-10-26, covers: [{meter: calls}]}
`, day))
	}
	now := time.Date(2026, 10, 25, 12, 0, 0, 0, time.UTC)
	date := func(day int) rating.Instant { return rating.InstantOf(berlin(t, fmt.Sprint("2026-10-", day))) }
	again := func(day int) {
		t.Helper()
		report, _, err := s.app(now).backfill(s.config(), backfillPlan{from: date(day), to: date(day + 1)})
		if err != nil || report.Nothing != "" {
			t.Fatalf("nothing came of it: %v", err)
		}
		s.soundNow(t, now)
	}
	outbox := func(want string) {
		t.Helper()
		same(t, "outbox", []string{"state=" + want}, s.query(`SELECT state FROM outbox`))
	}
	created(22)
	s.settleUntil(now, rating.Never)
	created(23)
	again(23) // both have it
	outbox("pending")
	created(22)
	again(23) // only the 22nd
	outbox("pending")
	created(24)
	again(22) // nobody
	outbox("withdrawn")
	again(24) // the 24th
	outbox("pending")
	created(22)
	again(22) // both
	outbox("pending")
	again(24) // only the 22nd
	outbox("pending")
}
