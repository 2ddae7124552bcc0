package main

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"drawdown/jobs"
	"drawdown/rating"
	"drawdown/writers/settlement"
)

const lateCatalog = `
accounts: [{id: acme}, {id: other}]
meters: [{id: calls, unit: call}]
prices: [{id: list, meter: calls, model: flat, price: "0.01", per: 1, currency: USD}]
packages:
  - {id: hundred, account: acme, kind: pay_per_use, quota: 100, effective: ` + worldFrom + `, expires: 2026-11-26, covers: [{meter: calls}]}
`

type lateSite struct {
	*site
	t   *testing.T
	now time.Time
}

func newLateSite(t *testing.T, more string, settings ...string) *lateSite {
	s := emptySite(t, settings...)
	s.configure(more, settings...)
	s.write("catalog.yaml", []byte(lateCatalog))
	return &lateSite{s, t, berlin(t, worldFrom).AddDate(0, 2, 0)}
}

func (s *lateSite) at(hours int) string {
	return rating.InstantOf(berlin(s.t, worldFrom).Add(time.Duration(hours)*time.Hour + 30*time.Minute)).String()
}

func (s *lateSite) until(hours int) rating.Instant {
	return rating.InstantOf(berlin(s.t, worldFrom).Add(time.Duration(hours) * time.Hour))
}

func (s *lateSite) row(id string, hours, quantity int) string {
	return fmt.Sprintf(`{"id": %q, "account": "acme", "meter": "calls", "quantity": %d, "time": %q}`+"\n", id, quantity, s.at(hours))
}

func (s *lateSite) back(from, to int) *jobs.Report {
	s.t.Helper()
	r, _, err := s.app(s.now).backfill(s.config(), backfillPlan{from: s.until(from), to: s.until(to)})
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

func (s *lateSite) quarantined() (list []string) {
	s.t.Helper()
	out := s.openOutput()
	periods, err := out.ReadCurrent()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, name := range keysOf(periods) {
		p, err := openPublished(out, name, periods[name])
		if err != nil {
			s.t.Fatal(err)
		}
		for _, f := range p.files("quarantine") {
			for row, err := range settlement.ReadQuarantine(f) {
				if err != nil {
					s.t.Fatal(err)
				}
				list = append(list, fmt.Sprint(name, " ", row.SourceObject, " ", row.Reason))
			}
		}
	}
	return list
}

func (s *lateSite) wantTold(what string, r *jobs.Report) {
	s.t.Helper()
	if r.Late == 0 {
		s.t.Errorf("%s: rows of settled periods stand in the bucket, in no revision, and nobody is told: skipped %d, read %d", what, r.Skipped, r.Objects)
	}
}

// TestAbsentObjectIsForgottenBySettle: an object that is away while a period is settled of which it has rows is new when it comes
// back, so that somebody hears of its rows.
func TestAbsentObjectIsForgottenBySettle(t *testing.T) {
	t.Parallel()
	s := newLateSite(t, "")
	s.write("usage/a.ndjson", []byte(s.row("a", 0, 30)+s.row("b", 24, 40)))
	s.settleUntil(s.now, s.until(24))
	s.move("usage/a.ndjson", "away")
	s.settleUntil(s.now, s.until(48))
	s.move("away", "usage/a.ndjson")
	s.wantTold("it", s.settleUntil(s.now, s.until(72)))
	s.back(0, 48)
	same(t, "lines", 2, len(s.rows("lines")))
}

// TestAbsentObjectIsForgottenByBackfill is the same for a backfill.
func TestAbsentObjectIsForgottenByBackfill(t *testing.T) {
	t.Parallel()
	s := newLateSite(t, "")
	s.write("usage/a.ndjson", []byte(s.row("a", 0, 30)))
	s.settleUntil(s.now, s.until(24))
	s.move("usage/a.ndjson", "away")
	s.back(0, 24)
	s.move("away", "usage/a.ndjson")
	s.wantTold("it", s.settleUntil(s.now, s.until(72)))
}

// TestBadObjectIsForgotten: so it is with one that was bad meanwhile.
func TestBadObjectIsForgotten(t *testing.T) {
	t.Parallel()
	s := newLateSite(t, "usage: {on_bad_object: quarantine}\n")
	s.write("usage/b.ndjson", []byte(s.row("c", 24, 1)+s.row("d", 24, 2)+s.row("e", 24, 3)+s.row("f", 48, 2)))
	good := []byte(s.row("a", 0, 30) + s.row("b", 24, 40))
	s.write("usage/a.ndjson", good)
	s.settleUntil(s.now, s.until(24))
	s.tamper = func(j *jobs.Settle) { j.Reader = badReader{j.Reader} }
	future := time.Now().Add(time.Hour)
	_ = os.Chtimes(s.path("usage/a.ndjson"), future, future)
	s.settleUntil(s.now, s.until(48))
	s.tamper = nil
	future = future.Add(time.Hour)
	_ = os.Chtimes(s.path("usage/a.ndjson"), future, future)
	s.wantTold("mended", s.settleUntil(s.now, s.until(72)))
}

type badReader struct{ jobs.Reader }

func (b badReader) Read(ctx context.Context, o jobs.Object, sink jobs.Sink) (jobs.Summary, error) {
	if o.Key != "a.ndjson" {
		return b.Reader.Read(ctx, o, sink)
	}
	return jobs.Summary{}, &jobs.ObjectError{Key: o.Key, Err: errBoom}
}

// TestBadObjectStandsOnce: a backfill of many batches quarantines a bad object once.
func TestBadObjectStandsOnce(t *testing.T) {
	t.Parallel()
	s := newLateSite(t, "usage: {on_bad_object: quarantine}\n")
	s.write("usage/a.ndjson", []byte(s.row("a", 0, 30)+s.row("b", 24, 40)+s.row("b2", 48, 1)+s.row("b3", 72, 1)))
	s.write("usage/bad.ndjson.gz", []byte("no gzip"))
	s.settleUntil(s.now, s.until(24*12))
	before := s.quarantined()
	s.write("usage/late.ndjson", []byte(s.row("c", 0, 1)))
	s.back(0, 24)
	after := s.quarantined()
	if len(after) != len(before) {
		t.Errorf("%d rows for one bad object, before %d", len(after), len(before))
	}
}

// TestTouchedObjectIsNotLate: what was settled and only copied waits for nothing.
func TestTouchedObjectIsNotLate(t *testing.T) {
	t.Parallel()
	s := newLateSite(t, "")
	s.write("usage/a.ndjson", []byte(s.row("a", 0, 30)+s.row("b", 24, 40)+s.row("b2", 48, 1)+s.row("b3", 72, 1)))
	s.settleUntil(s.now, s.until(24*5))
	future := time.Now().Add(time.Hour)
	_ = os.Chtimes(s.path("usage/a.ndjson"), future, future)
	r := s.back(0, 24)
	if r.Late != 0 {
		t.Errorf("late %d of %v, all of which are settled; waiting: %v", r.Late, r.LateObjects, waitingRows("backfill", r))
	}
}

// TestLateRejectedRowsAreTold: of a late row that cannot be settled somebody hears, too.
func TestLateRejectedRowsAreTold(t *testing.T) {
	t.Parallel()
	s := newLateSite(t, "")
	s.write("usage/a.ndjson", []byte(s.row("a", 0, 30)))
	s.settleUntil(s.now, s.until(24*5))
	s.write("usage/late.ndjson", []byte(fmt.Sprintf(`{"id": "x", "account": "nobody", "meter": "calls", "quantity": 5, "time": %q}`+"\n", s.at(0))))
	r := s.settleUntil(s.now, s.until(24*6))
	if r.Late == 0 && r.Rows.Quarantined == 0 {
		t.Error("settle: a late row that cannot be settled is told of nowhere")
	}
	_ = os.Remove(s.path("usage/late.ndjson"))
	s.write("usage/late2.ndjson", []byte(fmt.Sprintf(`{"id": "x", "account": "nobody", "meter": "calls", "quantity": 5, "time": %q}`+"\n", s.at(0))))
	r = s.back(24, 48)
	if r.Late == 0 && r.Rows.Quarantined == 0 {
		t.Error("backfill: a late row that cannot be settled is told of nowhere")
	}
}

// TestReplacedObjectIsTold: an object whose settled rows are gone makes periods stale.
func TestReplacedObjectIsTold(t *testing.T) {
	t.Parallel()
	s := newLateSite(t, "")
	s.write("usage/a.ndjson", []byte(s.row("a", 0, 30)+s.row("b", 48, 40)))
	s.settleUntil(s.now, s.until(24*5))
	s.write("usage/a.ndjson", []byte(s.row("z", 24*5, 1)))
	r := s.settleUntil(s.now, s.until(24*6))
	same(t, "replaced", []string{"a.ndjson"}, r.Replaced)
	if err := waitingRows("settle", r); err == nil {
		t.Error("nobody is told")
	}
	same(t, "once more", 0, len(s.settleUntil(s.now, s.until(24*7)).Replaced))
}

// TestHomeDoesNotDependOnMemory: a row of no period stands in the same one, however a backfill is cut (R5.7).
func TestHomeDoesNotDependOnMemory(t *testing.T) {
	t.Parallel()
	var results [2]string
	for i := range 2 {
		s := newLateSite(t, "", "period: hour")
		s.write("usage/a.ndjson", []byte(s.row("a", 0, 30)+s.row("b", 1, 40)))
		s.settleUntil(s.now, s.until(20))
		s.write("usage/b.ndjson", []byte(s.row("c", 0, 1)+"not json\n"))
		if i == 1 {
			s.tamper = func(j *jobs.Settle) { j.MemoryBytes = 4 * 160 * 5 }
		}
		s.back(0, 20)
		results[i] = fmt.Sprint(s.quarantined())
	}
	if results[0] != results[1] {
		t.Errorf("with more memory %s\nwith less %s", results[0], results[1])
	}
}

func (s *lateSite) move(from, to string) {
	s.t.Helper()
	if err := os.Rename(s.path(from), s.path(to)); err != nil {
		s.t.Fatal(err)
	}
}

// TestWhatWasInTheFutureIsSettledAgain: a row that was in the future stands in quarantine, and settles in its own period later;
// settled again by the clock of then, it is in the future again.
func TestWhatWasInTheFutureIsSettledAgain(t *testing.T) {
	t.Parallel()
	s := newLateSite(t, "", "max_quarantine: 100%")
	s.write("usage/a.ndjson", []byte(s.row("a", 0, 30)+s.row("b", 48, 40)))
	first, second := berlin(t, worldFrom).Add(26*time.Hour), berlin(t, worldFrom).Add(74*time.Hour)
	s.settleUntil(first, s.until(24))
	same(t, "in the future", 1, len(s.quarantined()))
	s.settleUntil(second, s.until(72))
	same(t, "lines", 2, len(s.rows("lines")))
	found, err := s.app(s.now).verify(s.config(), func(*jobs.BookedRevision) bool { return true }, true)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "faults", 0, len(found.Faults))
}
