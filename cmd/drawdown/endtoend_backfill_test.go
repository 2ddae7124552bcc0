package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"drawdown/jobs"
	"drawdown/rating"
)

// backfilled settles a range again.
func (s *site) backfilled(w *world, from, to rating.Instant, dryRun bool) (*jobs.Report, []periodChange) {
	s.t.Helper()
	report, changes, err := s.app(w.later()).backfill(s.config(), backfillPlan{from: from, to: to, reason: "a test", dryRun: dryRun})
	if err != nil {
		s.t.Fatal(err)
	}
	return report, changes
}

// settledAs is what a site has settled, whatever the numbers of its revisions: the files of the current ones, by their hashes,
// their closing states, and what stands in the outbox.
func (s *site) settledAs() map[string][]string {
	s.t.Helper()
	list := map[string][]string{
		"states": s.query(`SELECT shard_state.period_start, shard, sha256 FROM shard_state JOIN revision
			ON revision.period_start = shard_state.period_start AND revision.revision = shard_state.revision
			WHERE is_current = 1 ORDER BY 1, 2`),
		"outbox": s.query(`SELECT dedup_key, kind, account, package, meter, cycle_start, threshold, remaining, record_id, at, period_start
			FROM outbox WHERE withdrawn_run = 0 ORDER BY dedup_key`),
	}
	for name, m := range s.published() {
		for _, f := range m.Files {
			list["files"] = append(list["files"], fmt.Sprint(name, " ", f.Name, " ", f.Rows, " ", f.SHA256))
		}
	}
	slices.Sort(list["files"])
	return list
}

// TestBackfillAfterLateUsage (R5.4): to settle, then to have some of the usage come late, and to backfill, comes to the same
// bytes as to settle all of it in one go; and so does to backfill twice, in parts, in any order.
func TestBackfillAfterLateUsage(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			w := newWorld(100+seed, worldShape{records: 900, days: 5})
			random := rand.New(rand.NewPCG(seed, 3))
			want := newSite(t, w)
			want.settle(w)
			s := newSite(t, w)
			var late []int
			for i := range w.objects {
				if random.IntN(2) == 0 {
					late = append(late, i)
					if err := os.Remove(s.path("usage/" + w.objects[i].name)); err != nil {
						t.Fatal(err)
					}
				}
			}
			s.settle(w)
			start := rating.InstantOf(w.start)
			for n, i := range late {
				s.write("usage/"+w.objects[i].name, w.objects[i].content(t))
				if n%2 == 0 { // of a part of the range only: the cascade, or a later backfill, must mend the rest
					s.backfilled(w, rating.InstantOf(w.start.AddDate(0, 0, random.IntN(3))), w.until(), false)
				}
			}
			before := s.settledAs()
			dry, changes := s.backfilled(w, start, w.until(), true)
			same(t, "after a dry run", before, s.settledAs())
			report, written := s.backfilled(w, start, w.until(), false)
			same(t, "changes", changes, written)
			same(t, "periods", len(dry.Periods), len(report.Periods))
			same(t, "in the end", want.settledAs(), s.settledAs())
			again, none := s.backfilled(w, start, w.until(), false)
			if again.Nothing == "" || len(none) > 0 {
				t.Errorf("once more, it changed %d periods", len(again.Periods))
			}
			checkBooks(t, s)
			wantSound(t, s.verify(w, true))
		})
	}
}

// TestBackfillCascades: what changes on the first day is followed as far as it reaches, and no further.
func TestBackfillCascades(t *testing.T) {
	t.Parallel()
	s := emptySite(t)
	s.write("catalog.yaml", []byte(`
accounts: [{id: acme}, {id: other}]
meters: [{id: calls, unit: call}]
prices: [{id: list, meter: calls, model: flat, price: "0.01", per: 1, currency: USD}]
packages:
  - {id: hundred, account: acme, kind: pay_per_use, quota: 100, effective: `+worldFrom+`, expires: 2026-10-26, covers: [{meter: calls}]}
`))
	day := func(n int) string {
		return rating.InstantOf(berlin(t, worldFrom).AddDate(0, 0, n).Add(12 * time.Hour)).String()
	}
	usage := func(id string, n, quantity int) string {
		return fmt.Sprintf(`{"id": %q, "account": "acme", "meter": "calls", "quantity": %d, "time": %q}`+"\n", id, quantity, day(n))
	}
	s.write("usage/a.ndjson", []byte(usage("a", 0, 30)+usage("b", 1, 40)+usage("c", 2, 5)+usage("d", 6, 10)))
	now, until := berlin(t, worldFrom).AddDate(0, 4, 0), rating.InstantOf(berlin(t, worldFrom).AddDate(0, 0, 55))
	s.settleUntil(now, until)
	s.write("usage/late.ndjson", []byte(usage("e", 0, 10)))
	report := s.settleUntil(now, until)
	if report.Nothing == "" {
		t.Fatal("it settled something")
	}
	from := rating.InstantOf(berlin(t, worldFrom))
	report, changes, err := s.app(now).backfill(s.config(), backfillPlan{from: from, to: from + 24*3600*1e6})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range report.Periods {
		names = append(names, p.Name)
	}
	// Ten units less are left from the first day on. The state remembers what the package lapsed with until it is released,
	// after 15 days of grace and 15 of retention, and what was used in October for 35 days, for usage that comes late; behind
	// that nothing differs, though periods are settled for ten days more.
	same(t, "periods", 45, len(names))
	same(t, "the last one", "2026-12-05", names[len(names)-1])
	if changes[0].Packages[0].Deducted != "10" || changes[2].Packages[0].Closing != "-10" || len(changes[3].Charges) != 0 {
		t.Errorf("changes %+v", changes[:4])
	}
	same(t, "late rows", int64(0), report.Late)
	same(t, "revisions", []string{"n=100"}, s.query(`SELECT COUNT(*) AS n FROM revision`))
	s.write("usage/late2.ndjson", []byte(usage("f", 1, 1)+usage("g", 5, 1)))
	report, _, err = s.app(now).backfill(s.config(), backfillPlan{from: from, to: from + 24*3600*1e6})
	if err != nil || report.Nothing == "" || report.Late != 2 {
		t.Errorf("late rows outside of the range: %+v, %v", report, err)
	}
}

func berlin(t *testing.T, date string) time.Time {
	t.Helper()
	zone, err := time.LoadLocation(worldZone)
	if err != nil {
		t.Fatal(err)
	}
	at, err := time.ParseInLocation(time.DateOnly, date, zone)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// TestBackfillCommitsAtOnce: where it fails, what stood stands.
func TestBackfillCommitsAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(120, worldShape{records: 400, days: 3})
	s := newSite(t, w)
	missing := w.objects[0].name
	if err := os.Remove(s.path("usage/" + missing)); err != nil {
		t.Fatal(err)
	}
	s.settle(w)
	s.write("usage/"+missing, w.objects[0].content(t))
	before, files := s.visible(), s.current()
	for _, place := range []string{"list", "close 2026-10-22 1", "finish 2026-10-23", "sync", "states", "sums"} {
		s.tamper = failAt(place, func() error { return errBoom })
		_, _, err := s.app(w.later()).backfill(s.config(), backfillPlan{from: rating.InstantOf(w.start), to: w.until()})
		if err == nil || !strings.Contains(err.Error(), "boom") {
			t.Fatalf("%s: it did not fail there: %v", place, err)
		}
		same(t, place+": state", before, s.visible())
		same(t, place+": files", files, s.current())
	}
	s.tamper = nil
	s.backfilled(w, rating.InstantOf(w.start), w.until(), false)
	want := newSite(t, w)
	want.settle(w)
	same(t, "in the end", want.settledAs(), s.settledAs())
}

// TestCascadeThatStopsEarly (R5.4): usage of the first days comes late. A backfill of these days alone, whose cascade stops where
// nothing differs, comes to the bytes, states, notices and manifests of one of all periods, which stops nowhere.
func TestCascadeThatStopsEarly(t *testing.T) {
	t.Parallel()
	stopped := make([]bool, soakTimes(6))
	t.Run("worlds", func(t *testing.T) {
		for seed := range stopped {
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel()
				w := newWorld(600+uint64(seed), worldShape{records: 500, days: 6})
				late := w.late(1 + w.random.IntN(2))
				settings := []string{"shards: 3", fmt.Sprintf("late_horizon: %dd", seed%3)}
				early, full := newSite(t, w, settings...), newSite(t, w, settings...)
				full.watch = func(b *jobs.Backfill) { b.Standing = nil } // nor does it leave out a shard
				from, until := rating.InstantOf(w.start), rating.InstantOf(w.start.AddDate(0, 0, 40))
				var reports [2]*jobs.Report
				for i, s := range []*site{early, full} {
					s.settleUntil(w.later(), until)
					s.put(&late)
					to := []rating.Instant{rating.InstantOf(w.start.AddDate(0, 0, 2)), until}[i]
					reports[i], _ = s.backfilled(w, from, to, false)
				}
				if n := len(reports[1].Periods) + reports[1].Unchanged; n != 40 {
					t.Errorf("%d periods were settled again, not all", n)
				}
				stopped[seed] = len(reports[0].Periods)+reports[0].Unchanged < 40
				same(t, "periods", reports[1].Periods, reports[0].Periods)
				same(t, "files", full.current(), early.current())
				same(t, "state", full.visible(), early.visible())
				wantSound(t, early.verify(w, true))
			})
		}
	})
	if !slices.Contains(stopped, true) {
		t.Error("no cascade stopped early")
	}
}

// late takes some usage of the first days out of a world's objects, and gives it as an object of its own.
func (w *world) late(days int) worldObject {
	end := rating.InstantOf(w.start.AddDate(0, 0, days))
	late := worldObject{name: "late.ndjson"}
	for i := range w.objects {
		o := &w.objects[i]
		o.rows = slices.DeleteFunc(slices.Clone(o.rows), func(row worldRow) bool {
			at := instantOf(row.Time)
			if at < rating.InstantOf(w.start) || at >= end || w.random.IntN(8) > 0 {
				return false
			}
			late.rows = append(late.rows, row)
			return true
		})
	}
	return late
}

// readings counts how often each object is read.
type readings struct {
	jobs.Reader
	mu    *sync.Mutex
	times map[string]int
}

func (r readings) Read(ctx context.Context, o jobs.Object, sink jobs.Sink) (jobs.Summary, error) {
	r.count(o)
	return r.Reader.Read(ctx, o, sink)
}

func (r readings) Select(ctx context.Context, o jobs.Object, accounts *rating.AccountSet, sink jobs.Sink) error {
	r.count(o)
	return r.Reader.Select(ctx, o, accounts, sink)
}

func (r readings) count(o jobs.Object) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.times[o.Key]++
}

// TestBackfillReadsEachObjectOnce (R5.4): of however many periods it has rows.
func TestBackfillReadsEachObjectOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(130, worldShape{records: 400, days: 6})
	s := newSite(t, w)
	late := w.late(2)
	s.settle(w)
	s.put(&late)
	read := readings{mu: &sync.Mutex{}, times: map[string]int{}}
	s.tamper = func(job *jobs.Settle) {
		read.Reader = job.Reader
		job.Reader = read
	}
	report, _ := s.backfilled(w, rating.InstantOf(w.start), w.until(), false)
	if len(report.Periods) < 2 || len(read.times) < 5 {
		t.Fatalf("%d periods from %d objects", len(report.Periods), len(read.times))
	}
	for key, n := range read.times {
		if n != 1 {
			t.Errorf("%s is read %d times", key, n)
		}
	}
}
