package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"drawdown/jobs"
	"drawdown/rating"
	"drawdown/writers/settlement"
)

// worlds is on how many worlds each property is tried; more find more.
var worlds = flag.Int("worlds", 3, "how many random worlds to settle in each way")

func seeds() (list []uint64) {
	for n := range *worlds {
		list = append(list, uint64(n+1))
	}
	return list
}

func eachWorld(t *testing.T, shape worldShape, test func(*testing.T, *world)) {
	t.Parallel()
	for _, seed := range seeds() {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			test(t, newWorld(seed, shape))
		})
	}
}

var smallWorld = worldShape{records: 400, days: 5, homeless: true}

// tidyWorld has no rows that stand in the newest period of a run, so that it does not matter what a run is.
var tidyWorld = worldShape{records: 400, days: 5}

var resultTables = []string{"lines", "charges", "balances", "notices"}

// TestWorldsAreWorthIt: a world without alerts, tiers, stops or quarantine would prove nothing.
func TestWorldsAreWorthIt(t *testing.T) {
	t.Parallel()
	seen := map[string]int{}
	for _, seed := range seeds() {
		s := newSite(t, newWorld(seed, smallWorld))
		report := s.settle(newWorld(seed, smallWorld))
		seen["duplicate"] += int(report.Rows.Duplicate)
		seen["superseded"] += int(report.Rows.Superseded)
		seen["out of period"] += int(report.Rows.OutOfPeriod)
		for _, p := range report.Periods {
			seen["probable"] += int(p.Probable)
			for reason, n := range p.Quarantined {
				seen[reason] += int(n)
			}
			for kind, n := range p.Notices {
				seen[kind] += n
			}
		}
		for _, row := range s.rows("lines") {
			seen[row["kind"]]++
			seen["tier "+row["tier"]]++
			seen["price "+row["price_id"]]++
		}
		for _, row := range s.rows("balances") {
			seen["state "+row["state"]]++
			if row["rolled_over"] != "0" {
				seen["rolled over"]++
			}
		}
	}
	for _, name := range []string{
		"duplicate", "superseded", "out of period", "probable", "malformed", "missing_field", "bad_time", "bad_quantity",
		"unknown_account", "unknown_meter", "no_price", "conflict", "usage_alert", "expiry_reminder", "service_stop", "grace",
		"retention", "released", "arrears", "deduction", "excess", "stopped", "tier 1", "tier 2", "price calls-1", "price calls-2",
		"price gb", "price tokens", "price tokens-gamma", "price mail", "state active", "state exhausted", "state expired",
		"state revoked", "state future", "state grace", "rolled over",
	} {
		if seen[name] == 0 {
			t.Errorf("the worlds have no %s; make them richer: %v", name, seen)
		}
	}
}

// TestOrderOfFilesAndRowsDoesNotMatter (R1.8).
func TestOrderOfFilesAndRowsDoesNotMatter(t *testing.T) {
	eachWorld(t, smallWorld, func(t *testing.T, w *world) {
		want := newSite(t, w)
		report := want.settle(w)
		for seed, names := range [][]string{
			{"z.ndjson", "m/b.csv", "a.parquet"},
			{"one.ndjson"},
			{"1.jsonl", "2.parquet", "3.parquet", "4.csv.gz", "5.csv", "6.ndjson.zst", "7.ndjson"},
		} {
			got := newSite(t, w.shuffled(uint64(seed), names...))
			other := got.settle(w)
			what := strings.Join(names, " ")
			sameRows(t, what, want, got, resultTables, "source_object", "source_row")
			sameRows(t, what, want, got, []string{"quarantine"}, "source_object", "source_row", "raw", "detail")
			same(t, what+": rows", report.Rows, other.Rows)
			same(t, what+": states", closings(want.published()), closings(got.published()))
		}
	})
}

// closings are the hashes of the states that each period was left with.
func closings(manifests map[string]*settlement.Manifest) map[string][]settlement.Hash {
	all := map[string][]settlement.Hash{}
	for name, m := range manifests {
		all[name] = m.ClosingSHA256
	}
	return all
}

// TestSameInputsGiveSameBytes (R5.7): in another folder, at another time.
func TestSameInputsGiveSameBytes(t *testing.T) {
	eachWorld(t, smallWorld, func(t *testing.T, w *world) {
		want, got := newSite(t, w), newSite(t, w)
		want.settle(w)
		got.settleUntil(w.later().AddDate(1, 0, 0), w.until())
		sameSite(t, "another folder", want, got)
	})
}

// TestWorkersAndMemoryDoNotMatter. It is not parallel: GOMAXPROCS is the whole process's.
func TestWorkersAndMemoryDoNotMatter(t *testing.T) {
	w := newWorld(1, worldShape{records: 4000, days: 3, homeless: true})
	var want *site
	for _, processors := range []int{1, 2, 7} {
		for _, memory := range []byteSize{1, 1 << 16, 1 << 30} {
			got := newSite(t, w)
			got.memory = memory
			func() {
				defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(processors))
				got.settle(w)
			}()
			if want == nil {
				want = got
			}
			sameSite(t, fmt.Sprintf("%d workers, %v", processors, memory), want, got)
		}
	}
}

// TestShardsDoNotMatter: only to which file a row goes.
func TestShardsDoNotMatter(t *testing.T) {
	eachWorld(t, smallWorld, func(t *testing.T, w *world) {
		want := newSite(t, w, "shards: 1")
		want.settle(w)
		for _, shards := range []string{"shards: 3", "shards: 16"} {
			got := newSite(t, w, shards)
			got.settle(w)
			sameRows(t, shards, want, got, append([]string{"quarantine"}, resultTables...))
		}
	})
}

// TestSlicingDoesNotMatter (R1.8): all at once, period by period, or in two halves, it is the same, byte by byte.
func TestSlicingDoesNotMatter(t *testing.T) {
	eachWorld(t, tidyWorld, func(t *testing.T, w *world) {
		want := newSite(t, w)
		want.settleUntil(w.end(), rating.Never)
		day := func(n int) rating.Instant { return rating.InstantOf(w.start.AddDate(0, 0, n)) }
		for name, cuts := range map[string][]int{"period by period": {1, 2, 3, 4, 5}, "two halves": {2, 5}} {
			got := newSite(t, w)
			for _, until := range cuts {
				got.settleUntil(w.end(), day(until))
			}
			same(t, name+": files", want.output(), got.output())
			same(t, name+": states", want.query(`SELECT * FROM shard_state ORDER BY 1, 2, 3`), got.query(`SELECT * FROM shard_state ORDER BY 1, 2, 3`))
		}
	})
}

// TestUsageThatArrivesDayByDay is the usual life: each day's objects come, and are settled when the day is over.
func TestUsageThatArrivesDayByDay(t *testing.T) {
	eachWorld(t, tidyWorld, func(t *testing.T, w *world) {
		w = w.byDay()
		want := newSite(t, w)
		want.settleUntil(w.end(), rating.Never)
		got := newSite(t, &world{catalog: w.catalog})
		for i := range w.days {
			for n := range w.objects {
				if o := &w.objects[n]; strings.HasPrefix(o.name, dayName(i)) {
					got.write("usage/"+o.name, o.content(t))
				}
			}
			report := got.settleUntil(w.start.AddDate(0, 0, i+1), rating.Never)
			if len(report.Periods) != 1 {
				t.Fatalf("day %d: settled %d periods: %s", i, len(report.Periods), report.Nothing)
			}
		}
		same(t, "files", want.output(), got.output())
	})
}

func dayName(day int) string { return fmt.Sprintf("day-%d.", day) }

// byDay is the same usage with the rows of each day in an object of its own. Rows from before the first day are left out.
func (w *world) byDay() *world {
	other := *w
	other.objects = nil
	formats := []string{"ndjson", "csv.gz", "parquet"}
	for i := range w.days {
		other.objects = append(other.objects, worldObject{name: dayName(i) + formats[i%len(formats)]})
	}
	for _, row := range w.rows() {
		at, err := rating.ParseInstant([]byte(row.Time))
		if err != nil {
			panic(err)
		}
		for i := range w.days {
			if from := w.start.AddDate(0, 0, i); at >= rating.InstantOf(from) && at < rating.InstantOf(from.AddDate(0, 0, 1)) {
				other.objects[i].rows = append(other.objects[i].rows, row)
			}
		}
	}
	return &other
}

// TestPeriodLengthDoesNotMatter: hours, days and months give the same lines.
func TestPeriodLengthDoesNotMatter(t *testing.T) {
	eachWorld(t, tidyWorld, func(t *testing.T, w *world) {
		for from, periods := range map[string][2]string{
			"start: " + worldFrom: {"period: day", "period: hour"}, "start: 2026-10-01": {"period: month", "period: day"},
		} {
			until := rating.InstantOf(w.end().AddDate(0, 0, 5)) // the end of a month
			want, got := newSite(t, w, periods[0], from, "shards: 1"), newSite(t, w, periods[1], from, "shards: 1")
			want.settleUntil(w.later(), until)
			got.settleUntil(w.later(), until)
			what := periods[1] + " " + from
			sameRows(t, what, want, got, []string{"lines", "notices"}, "period_start")
			sameRows(t, what, want, got, []string{"quarantine"})
			same(t, what+": charges", sumsOfCharges(want), sumsOfCharges(got))
		}
	})
}

func sumsOfCharges(s *site) []string {
	r := &results{tables: map[string][]resultRow{"charges": s.rows("charges")}}
	r.sumCharges()
	return texts(r.tables["charges"], "period_start", "period_end")
}

// TestSettlingAgainDoesNothing (R5.2).
func TestSettlingAgainDoesNothing(t *testing.T) {
	eachWorld(t, smallWorld, func(t *testing.T, w *world) {
		s := newSite(t, w)
		s.settleUntil(w.later(), rating.InstantOf(w.end()))
		files, state := s.output(), s.visible()
		report := s.settleUntil(w.later(), rating.InstantOf(w.end()))
		if len(report.Periods) != 0 || !strings.Contains(report.Nothing, "no period is pending") {
			t.Errorf("it settled %d periods, and said %q", len(report.Periods), report.Nothing)
		}
		report = s.settleUntil(w.end().Add(time.Hour), rating.Never)
		if len(report.Periods) != 0 || !strings.Contains(report.Nothing, "2026-10-27 ends at 2026-10-27T23:00:00Z") {
			t.Errorf("it settled %d periods, and said %q", len(report.Periods), report.Nothing)
		}
		same(t, "files", files, s.output())
		same(t, "state", state, s.visible())
	})
}

// TestDryRunWritesNothing, and says what the run then does.
func TestDryRunWritesNothing(t *testing.T) {
	eachWorld(t, smallWorld, func(t *testing.T, w *world) {
		s := newSite(t, w)
		half := rating.InstantOf(w.start.AddDate(0, 0, 2))
		for _, until := range []rating.Instant{half, rating.InstantOf(w.end())} {
			before := s.content()
			dry, err := s.trySettle(w.later(), until, true)
			if err != nil {
				t.Fatal(err)
			}
			same(t, "the folder after the dry run", before, s.content())
			same(t, "report", comparable(s.settleUntil(w.later(), until)), comparable(dry))
		}
	})
}

// content is the site's folder, but for what SQLite lays beside a database while it is read.
func (s *site) content() map[string]string {
	s.t.Helper()
	files := tree(s.t, s.dir)
	if wal, err := os.ReadFile(s.path("drawdown.db-wal")); err == nil && len(wal) > 0 {
		s.t.Error("the database was written to")
	}
	delete(files, "drawdown.db-wal")
	delete(files, "drawdown.db-shm")
	return files
}

// comparable leaves out of a report what differs between runs.
func comparable(r *jobs.Report) *jobs.Report {
	c := *r
	c.Run, c.DryRun, c.Elapsed, c.Stages = 0, false, 0, nil
	c.Periods = slices.Clone(c.Periods)
	for i := range c.Periods {
		c.Periods[i].Manifest = tokenPattern.ReplaceAllString(c.Periods[i].Manifest, "rev=$1")
	}
	return &c
}

// TestManyPeriodsFitTheMemory: a shard has a page of lines at hand in each period that it is settled over. Of a backlog, a commit
// covers fewer periods where these are large.
func TestManyPeriodsFitTheMemory(t *testing.T) {
	const days = 30
	s := emptySite(t)
	s.configure("reminder_days: []\n", "shards: 2", "start: 2026-10-01", "period: day")
	start := time.Date(2026, 9, 30, 22, 0, 0, 0, time.UTC) // midnight of the world's zone
	s.writeBench(600_000, 200, 1, days, start)
	code, peak, _ := measured(t, "--config", s.path("drawdown.yaml"), "--memory", "64MiB", "--now", "2026-12-01T00:00:00Z", "settle",
		"--until", spell(start.AddDate(0, 0, days)))
	t.Logf("%d MiB at most", peak>>20)
	if code != exitDone || peak > 120<<20 {
		t.Errorf("it ended with %d, and took %d MiB", code, peak>>20)
	}
}
