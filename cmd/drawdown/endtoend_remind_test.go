package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
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

// remindedAt runs remind, and gives the number of notices that it put into the outbox and withdrew.
func (s *site) remindedAt(t *testing.T, now time.Time) [2]int64 {
	t.Helper()
	reminded, err := s.app(now).remind(s.config())
	if err != nil {
		t.Fatal(err)
	}
	return [2]int64{reminded.Put, reminded.Withdrawn}
}

// TestRemindedAheadIsWhatIsSettled: whatever remind puts into the outbox and whenever, it is what the settlement finds, under
// the same keys; it is all that is due by then and follows from the calendar; and in the end the outbox is that of a site
// where nobody ran it.
func TestRemindedAheadIsWhatIsSettled(t *testing.T) {
	t.Parallel()
	for seed, period := range []string{"day", "day", "month", "hour"} {
		t.Run(fmt.Sprint(period, seed), func(t *testing.T) {
			t.Parallel()
			w := newWorld(500+uint64(seed), worldShape{records: 200, days: map[string]int{"hour": 2, "day": 6, "month": 6}[period]})
			shape := []string{"period: " + period, "max_quarantine: 100%"}
			if period == "month" {
				shape = append(shape, "start: 2026-10-01")
			}
			want, s := newSite(t, w, shape...), newSite(t, w, shape...)
			end := w.end().AddDate(0, 0, map[string]int{"hour": 0, "day": 9, "month": 60}[period])
			until := rating.InstantOf(end)
			want.settleUntil(w.later().AddDate(0, 1, 0), until)
			calendar := func(s *site, now time.Time) []string {
				return s.query(fmt.Sprintf(`SELECT dedup_key, at FROM outbox WHERE kind IN ('expiry_reminder', 'grace', 'retention', 'released')
					AND withdrawn_run = 0 AND at <= %d ORDER BY dedup_key`, rating.InstantOf(now)))
			}
			put := int64(0)
			for now := w.start.Add(5 * time.Hour); now.Before(end); now = now.Add(39 * time.Hour) {
				s.settleUntil(w.later().AddDate(0, 1, 0), rating.InstantOf(now.Add(-7*time.Hour)))
				put += s.remindedAt(t, now)[0]
				same(t, "by "+spell(now), calendar(want, now), calendar(s, now))
				same(t, "once more", [2]int64{}, s.remindedAt(t, now))
			}
			s.settleUntil(w.later().AddDate(0, 1, 0), until)
			same(t, "in the end", want.settledAs(), s.settledAs())
			inbox := func(s *site) []string {
				return s.query(`SELECT dedup_key, account, at, inbox_read_at FROM outbox WHERE inbox_read_at IS NOT NULL ORDER BY dedup_key`)
			}
			same(t, "inbox", inbox(want), inbox(s))
			same(t, "withdrawn", []string{"n=0"}, s.query(`SELECT COUNT(*) AS n FROM outbox WHERE withdrawn_run > 0`))
			if put == 0 {
				t.Error("nothing was found ahead")
			}
			wantSound(t, s.verify(w, false))
		})
	}
}

// lifeCatalog has a package that expires on the 25th, and what happened to it.
func lifeCatalog(changes string) []byte {
	return []byte(`
accounts: [{id: acme, email: owner@example.com}]
meters: [{id: calls, unit: call}]
packages:
  - {id: p, account: acme, kind: stop_before_excess, quota: 1, effective: 2026-09-24, expires: 2026-10-24, grace_days: 3, retention_days: 2, covers: [{meter: calls}]}
` + changes)
}

// TestRemindedWithinAMonth: periods are months, so that a settlement comes too late for each of these.
func TestRemindedWithinAMonth(t *testing.T) { onBothDatabases(t, testRemindedWithinAMonth) }

func testRemindedWithinAMonth(t *testing.T, s *site) {
	s.t = t
	s.configure("", "period: month", "start: 2026-10-01")
	s.write("usage/none.ndjson", nil)
	s.write("catalog.yaml", lifeCatalog(""))
	at := func(date string) time.Time { return berlin(t, date).Add(time.Minute) }
	outbox := func(want ...string) {
		t.Helper()
		got := s.query(`SELECT kind || ' ' || state || CASE WHEN withdrawn_run > 0 AND state <> 'withdrawn' THEN ', withdrawn' ELSE '' END AS n
			FROM outbox ORDER BY at, dedup_key`)
		for i := range got {
			got[i] = strings.TrimPrefix(got[i], "n=")
		}
		same(t, "outbox", slices.Concat([]string{}, want), got)
	}
	remind := func(now time.Time, want ...int64) {
		t.Helper()
		same(t, "put and withdrawn", [2]int64{want[0], want[1]}, s.remindedAt(t, now))
	}
	remind(at("2026-10-17"), 0, 0)
	remind(at("2026-10-18"), 1, 0) // seven days before the end of the 24th
	outbox("expiry_reminder pending")
	// It had been renewed the day before, for three days: that is entered now, and nobody is to be told of the old end.
	renewed := `package_changes: [{package: p, at: 2026-10-17, renewed: {expires: 2026-10-27}}]` + "\n"
	s.write("catalog.yaml", lifeCatalog(renewed))
	remind(at("2026-10-20"), 0, 1)
	outbox("expiry_reminder withdrawn")
	remind(at("2026-10-21"), 1, 0)
	outbox("expiry_reminder withdrawn", "expiry_reminder pending")
	// The renewal was a mistake, and is taken out again: all comes back, and what was sent is not sent again.
	s.exec(`UPDATE outbox SET state = 'sent' WHERE state = 'pending'`)
	s.write("catalog.yaml", lifeCatalog(""))
	s.exec(`DELETE FROM package_changes`)
	remind(at("2026-10-21"), 1, 1)
	outbox("expiry_reminder pending", "expiry_reminder sent, withdrawn")
	remind(at("2026-10-25"), 1, 0)
	outbox("expiry_reminder pending", "expiry_reminder sent, withdrawn", "grace pending")
	remind(at("2026-10-28"), 1, 0)
	remind(at("2026-10-30"), 1, 0)
	remind(at("2026-10-30"), 0, 0)
	all := []string{"expiry_reminder pending", "expiry_reminder sent, withdrawn", "grace pending", "retention pending", "released pending"}
	outbox(all...)
	s.settleUntil(at("2026-11-01").Add(2*time.Hour), rating.Never)
	outbox(all...)
	same(t, "found by the settlement", []string{"n=4"}, s.query(`SELECT COUNT(*) AS n FROM outbox WHERE revision = 1`))
	remind(at("2026-11-02"), 0, 0)
	s.soundNow(t, at("2026-11-02"))
}

// TestRevokedAfterTheReminder: where nobody runs remind again, the settlement withdraws.
func TestRevokedAfterTheReminder(t *testing.T) { onBothDatabases(t, testRevokedAfterTheReminder) }

func testRevokedAfterTheReminder(t *testing.T, s *site) {
	s.t = t
	s.configure("", "period: month", "start: 2026-10-01")
	s.write("usage/none.ndjson", nil)
	s.write("catalog.yaml", lifeCatalog(""))
	same(t, "put", [2]int64{1, 0}, s.remindedAt(t, berlin(t, "2026-10-19")))
	s.write("catalog.yaml", lifeCatalog(`package_changes: [{package: p, at: 2026-10-15, revoked: true}]`+"\n"))
	s.settleUntil(berlin(t, "2026-11-02"), rating.Never)
	same(t, "outbox", []string{"state=withdrawn revision=0"}, s.query(`SELECT state, revision FROM outbox`))
	s.soundNow(t, berlin(t, "2026-11-02"))
}

// TestRemindBesideSettlements: several remind at once while another one settles; each notice is there once, and what one found
// from a period that is no longer the last one is never put behind a settlement's back.
func TestRemindBesideSettlements(t *testing.T) { onBothDatabases(t, testRemindBesideSettlements) }

func testRemindBesideSettlements(t *testing.T, s *site) {
	s.t = t
	s.configure("", "period: day", "start: 2026-10-22")
	s.write("usage/none.ndjson", nil)
	s.write("catalog.yaml", lifeCatalog(""))
	for now := berlin(t, "2026-10-24"); now.Before(berlin(t, "2026-10-31")); now = now.Add(20 * time.Hour) {
		var all sync.WaitGroup
		var failed [4]error
		for i := range failed {
			all.Go(func() {
				if i > 0 {
					_, failed[i] = s.app(now).remind(s.config())
					return
				}
				_, failed[0] = s.trySettle(now, rating.Never, false)
			})
		}
		all.Wait()
		if err := errors.Join(failed[:]...); err != nil {
			t.Fatal(err)
		}
		s.soundNow(t, now)
	}
	same(t, "outbox", []string{"n=4"}, s.query(`SELECT COUNT(*) AS n FROM outbox WHERE withdrawn_run = 0`))
}
