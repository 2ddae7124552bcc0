package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"drawdown/jobs"
	"drawdown/rating"
)

// sparing counts the shards that a backfill takes over, and the objects of which it reads a part.
type sparing struct{ shards, objects atomic.Int64 }

func (s *sparing) watch(job *jobs.Settle) {
	job.Output, job.Reader = takingOutput{job.Output, s}, selectingReader{job.Reader, s}
}

type takingOutput struct {
	jobs.Output
	*sparing
}

func (o takingOutput) Create(period rating.Period, name string, revision int, objects []string) (jobs.Revision, error) {
	r, err := o.Output.Create(period, name, revision, objects)
	return takingRevision{r, o.sparing}, err
}

type takingRevision struct {
	jobs.Revision
	*sparing
}

func (r takingRevision) TakeOver(ctx context.Context, p *jobs.StandingPeriod, shards []bool) (*jobs.TakenOver, error) {
	for _, taken := range shards {
		if taken {
			r.shards.Add(1)
		}
	}
	return r.Revision.TakeOver(ctx, p, shards)
}

type selectingReader struct {
	jobs.Reader
	*sparing
}

func (r selectingReader) Select(ctx context.Context, o jobs.Object, accounts *rating.AccountSet, sink jobs.Sink) error {
	r.objects.Add(1)
	return r.Reader.Select(ctx, o, accounts, sink)
}

// TestUntouchedShardsAreTakenOver (R5.4): whatever is edited, a backfill that computes only what something has touched comes
// to the bytes, states, notices and manifests of one that computes all.
func TestUntouchedShardsAreTakenOver(t *testing.T) {
	t.Parallel()
	var taken sparing
	var whole atomic.Int64
	t.Run("worlds", func(t *testing.T) {
		for seed := range uint64(soakTimes(8)) {
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel()
				w := newWorld(400+seed, worldShape{records: 400, days: 4, homeless: seed%3 == 0})
				if seed%4 < 3 { // rows in quarantine have all objects read whole
					w.mend(rand.New(rand.NewPCG(seed, 6)))
				}
				lazy, full := newSite(t, w, "shards: 5"), newSite(t, w, "shards: 5")
				for _, s := range []*site{lazy, full} {
					s.configure("usage: {on_bad_object: quarantine}\n", "shards: 5")
				}
				full.watch = func(b *jobs.Backfill) { b.Standing = nil }
				if seed%2 == 1 { // each period is a batch of its own, or with few shards to compute several are
					lazy.memory, full.memory = []byteSize{1, byteSize(4 * 400 * len(w.catalog["packages"]))}[seed/2%2], 1
				}
				late := w.objects[int(seed)%len(w.objects)].name
				for _, s := range []*site{lazy, full} {
					if err := os.Remove(s.path("usage/" + late)); err != nil {
						t.Fatal(err)
					}
					s.settle(w)
				}
				var mine sparing
				lazy.tamper = mine.watch
				random := rand.New(rand.NewPCG(seed, 5))
				for step := range 6 {
					edit := edits()[random.IntN(len(edits()))]
					from := rating.InstantOf(w.start.AddDate(0, 0, random.IntN(3)))
					var reports [2]*jobs.Report
					for i, s := range []*site{lazy, full} {
						edit.do(s, w, rand.New(rand.NewPCG(seed, uint64(step))))
						before := mine.shards.Load()
						reports[i], _ = s.backfilled(w, from, w.until(), false)
						if i == 0 && mine.shards.Load() == before {
							whole.Add(1)
						}
					}
					at := fmt.Sprintf("step %d, %s", step, edit.what)
					if r := reports[0]; r.InPart > r.Objects {
						t.Errorf("%s: of %d objects, %d were read in part", at, r.Objects, r.InPart)
					}
					reports[0].Elapsed, reports[0].Stages, reports[1].Elapsed, reports[1].Stages = 0, nil, 0, nil
					same(t, at+": periods", reports[1].Periods, reports[0].Periods)
					same(t, at+": rows", reports[1].Rows, reports[0].Rows)
					same(t, at+": files", full.current(), lazy.current())
					same(t, at+": state", full.visible(), lazy.visible())
				}
				taken.shards.Add(mine.shards.Load())
				taken.objects.Add(mine.objects.Load())
				for _, f := range lazy.verify(w, true).Faults { // an object may be gone that an old revision was settled with
					t.Errorf("%+v", f)
				}
			})
		}
	})
	if taken.shards.Load() == 0 || taken.objects.Load() == 0 || whole.Load() == 0 {
		t.Errorf("%d shards were taken over, of %d objects a part was read, and %d backfills computed all", taken.shards.Load(), taken.objects.Load(), whole.Load())
	}
}

// TestRowsOfTheFutureComeDue (R4.4, R5.4): rows that were in the future when they were read, with faults and without, stood in
// quarantine. A backfill that has been told of nothing but late usage of one account looks at them again all the same.
func TestRowsOfTheFutureComeDue(t *testing.T) {
	t.Parallel()
	for seed := range uint64(soakTimes(3)) {
		w := newWorld(900+seed, worldShape{records: 300, days: 4, homeless: seed%2 == 0})
		lazy, full := newSite(t, w, "shards: 5", "max_quarantine: 100%"), newSite(t, w, "shards: 5", "max_quarantine: 100%")
		full.watch = func(b *jobs.Backfill) { b.Standing = nil }
		var found sparing
		lazy.tamper = found.watch
		for _, s := range []*site{lazy, full} {
			now := w.start.AddDate(0, 0, 2)
			if first := s.settleUntil(now, rating.InstantOf(now)); len(first.Periods) != 2 || first.Periods[1].Quarantined["future"] == 0 {
				t.Fatalf("no row is in the future: %+v", first.Periods)
			}
			s.settle(w)
			for step, from := range []int{2, 0, 0} {
				s.write(fmt.Sprintf("usage/late-%d.ndjson", step), fmt.Appendf(nil, `{"id": "late-%d", "account": "beta", "meter": "calls", "quantity": 1, "time": %q}`+"\n",
					step, spell(w.start.AddDate(0, 0, from).Add(time.Hour))))
				s.backfilled(w, rating.InstantOf(w.start.AddDate(0, 0, from)), w.until(), false)
			}
		}
		same(t, fmt.Sprintf("seed %d: files", seed), full.current(), lazy.current())
		same(t, fmt.Sprintf("seed %d: state", seed), full.visible(), lazy.visible())
		if found.objects.Load() == 0 {
			t.Error("of no object a part was read")
		}
		wantSound(t, lazy.verify(w, true))
	}
}

// TestWhatCameIntoTheCatalogSettles (R4.4, R5.4): a row whose account, or meter, the catalog did not know settles once it does,
// though the object that it stands in was settled as it is.
func TestWhatCameIntoTheCatalogSettles(t *testing.T) {
	t.Parallel()
	w := newWorld(1, worldShape{records: 1, days: 2})
	for edit, row := range map[string]string{
		"accounts: [{id: new}]": `"account": "new", "meter": "calls", "quantity": 1`,
		"meters: [{id: mail}]\nprices: [{id: mail, meter: mail, currency: USD, model: flat, price: 1}]": `"account": "acme", "meter": "mail", "quantity": 1`,
	} {
		s := emptySite(t, "shards: 5")
		s.write("catalog.yaml", []byte(plainCatalog))
		for name, row := range map[string]string{"a": `"account": "globex", "meter": "calls", "quantity": 1`, "b": row} {
			s.write("usage/"+name+".ndjson", fmt.Appendf(nil, `{"id": %q, "time": %q, %s}`+"\n", name, spell(w.start), row))
		}
		s.settle(w)
		s.write("edit.yaml", []byte(edit))
		if code, out := s.run(t, w.later(), "catalog", "apply", s.path("edit.yaml")); code != exitDone && code != exitWaiting {
			t.Fatal(out)
		}
		if report, _ := s.backfilled(w, rating.InstantOf(w.start), w.until(), false); report.Rows.Settled != 2 || report.Rows.Quarantined != 0 {
			t.Errorf("%s: %+v", edit, report.Rows)
		}
	}
}

// TestTheClockIsSetBack (R4.4, R5.4): a row that was in the future when its object came, and was in quarantine then, is in the
// future again when the clock is set back. A backfill puts it where it stood, also where it has no need to read the object.
func TestTheClockIsSetBack(t *testing.T) {
	t.Parallel()
	w := newWorld(1, worldShape{records: 1, days: 4})
	then := w.start.AddDate(0, 0, 2)
	row := func(id, account string, at time.Time) string {
		return fmt.Sprintf(`{"id": %q, "account": %q, "meter": "calls", "quantity": 1, "time": %q}`+"\n", id, account, spell(at))
	}
	var sites [2]*site
	for i := range sites {
		s := emptySite(t, "shards: 5")
		sites[i] = s
		s.write("catalog.yaml", []byte(plainCatalog))
		s.write("usage/a.ndjson", []byte(row("1", "acme", then.Add(-2*time.Hour))+row("2", "acme", then.Add(time.Hour))))
		if i == 1 {
			s.watch = func(b *jobs.Backfill) { b.Standing = nil }
		}
		s.settleUntil(then, rating.InstantOf(then))
		s.settle(w)
		s.backfilled(w, rating.InstantOf(w.start), rating.InstantOf(then), false)
		s.write("usage/b.ndjson", []byte(row("3", "globex", then.Add(-3*time.Hour))))
		plan := backfillPlan{from: rating.InstantOf(w.start), to: rating.InstantOf(then), reason: "a test"}
		report, _, err := s.app(then).backfill(s.config(), plan)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(report.Periods, func(p jobs.PeriodReport) bool { return p.Quarantined["future"] == 1 }) {
			t.Errorf("site %d: %+v", i, report.Periods)
		}
	}
	same(t, "files", sites[1].current(), sites[0].current())
	same(t, "state", sites[1].visible(), sites[0].visible())
}

// TestObjectsAreExpectedAsTheyAreRead: a bucket fetches objects ahead in the order in which it is told of them, and those that
// nobody is going to read in vain.
func TestObjectsAreExpectedAsTheyAreRead(t *testing.T) {
	t.Parallel()
	s := emptySite(t, "shards: 5")
	s.write("catalog.yaml", []byte(plainCatalog))
	w := newWorld(1, worldShape{records: 1, days: 2})
	put := func(name, account string) {
		s.write("usage/"+name, fmt.Appendf(nil, `{"id": %q, "account": %q, "meter": "calls", "quantity": 1, "time": %q}`+"\n", name, account, spell(w.start)))
	}
	for n := range 9 {
		put(fmt.Sprintf("%d.ndjson", n), []string{"acme", "globex"}[n%2])
	}
	s.settle(w)
	for _, late := range []string{"", "5-late.ndjson"} {
		if late != "" {
			put(late, "acme")
		}
		var expected, read []string
		s.tamper = func(job *jobs.Settle) {
			job.Workers, job.Bucket, job.Reader = 1, expectingBucket{job.Bucket, &expected}, orderedReader{job.Reader, &read}
		}
		s.backfilled(w, rating.InstantOf(w.start), w.until(), false)
		same(t, "expected", read, expected)
		if late != "" && (len(read) != 10 || read[0] != late) {
			t.Errorf("read: %q", read)
		}
	}
}

// TestABatchHasWhatFits (R5.4): where the closing states of all packages fit the memory for a few periods only, those of a shard
// fit it for all. Usage is then read once; where more turns out to be touched, it is read for each batch, and what was fresh once in vain.
func TestABatchHasWhatFits(t *testing.T) {
	t.Parallel()
	const days, accounts, packages, shards = 5, 32, 10, 32 // as many packages each
	w := newWorld(1, worldShape{records: 1, days: days})
	var catalog, usage strings.Builder
	catalog.WriteString("meters: [{id: calls}]\naccounts:\n")
	for n := range accounts {
		fmt.Fprintf(&catalog, "  - {id: a%d}\n", n)
	}
	catalog.WriteString("packages:\n")
	row := func(to *strings.Builder, id string, account, day int) {
		fmt.Fprintf(to, `{"id": %q, "account": "a%d", "meter": "calls", "quantity": 1, "time": %q}`+"\n", id, account, spell(w.start.AddDate(0, 0, day)))
	}
	for n := range accounts {
		for i := range packages {
			fmt.Fprintf(&catalog, "  - {id: p%d-%d, account: a%d, kind: pay_per_use, quota: 500, effective: 2026-01-01, expires: 2028-01-01, covers: [{meter: calls}]}\n", n, i, n)
		}
		for day := range days {
			for i := range 4 {
				row(&usage, fmt.Sprintf("%d-%d-%d", n, day, i), n, day)
			}
		}
	}
	var sites [2]*site
	for i := range sites {
		sites[i] = emptySite(t, fmt.Sprintf("shards: %d", shards))
		sites[i].write("catalog.yaml", []byte(catalog.String()))
		sites[i].write("usage/all.ndjson", []byte(usage.String()))
		sites[i].settle(w)
		sites[i].memory = 4 * 400 * accounts * packages // some three periods of all packages, by jobs.Settle.atOnce
	}
	sites[1].watch = func(b *jobs.Backfill) { b.Standing = nil }
	var read readings
	sites[0].tamper = func(job *jobs.Settle) {
		read = readings{job.Reader, &sync.Mutex{}, map[string]int{}}
		job.Reader = read
	}
	for late, test := range []struct{ touched, least, most, late int }{{1, 1, 1, 1}, {accounts, 2, days, 2}} {
		var usage strings.Builder
		for n := range test.touched {
			row(&usage, fmt.Sprintf("late-%d-%d", late, n), n, 0)
		}
		name := fmt.Sprintf("late-%d.ndjson", late)
		for _, s := range sites {
			s.write("usage/"+name, []byte(usage.String()))
			s.backfilled(w, rating.InstantOf(w.start), w.until(), false)
		}
		if n := read.times["all.ndjson"]; n < test.least || n > test.most || read.times[name] != test.late {
			t.Errorf("%d accounts are touched: %v", test.touched, read.times)
		}
		same(t, "files", sites[1].current(), sites[0].current())
		same(t, "state", sites[1].visible(), sites[0].visible())
	}
}

// TestAnObjectGoesWhileABackfillRuns (R4.5): it was settled as it is, and is not the one that was listed when its rows are wanted.
func TestAnObjectGoesWhileABackfillRuns(t *testing.T) {
	t.Parallel()
	s := emptySite(t, "shards: 5")
	s.configure("usage: {on_bad_object: quarantine}\n", "shards: 5")
	s.write("catalog.yaml", []byte(plainCatalog))
	w := newWorld(1, worldShape{records: 1, days: 2})
	put := func(name string) {
		s.write("usage/"+name, fmt.Appendf(nil, `{"id": %q, "account": "acme", "meter": "calls", "quantity": 1, "time": %q}`+"\n", name, spell(w.start)))
	}
	put("a.ndjson")
	s.settle(w)
	put("b.ndjson")
	s.tamper = func(job *jobs.Settle) {
		job.Reader = selecting{job.Reader, func() { _ = os.Remove(s.path("usage/a.ndjson")) }}
	}
	plan := backfillPlan{from: rating.InstantOf(w.start), to: w.until(), reason: "a test"}
	_, _, err := s.app(w.later()).backfill(s.config(), plan)
	if err == nil || !strings.Contains(err.Error(), "R4.5: usage object a.ndjson: has vanished") || !strings.Contains(err.Error(), "--all") {
		t.Errorf("got %v", err)
	}
	if report, _ := s.backfilled(w, plan.from, plan.to, false); report.Rows.Settled != 1 {
		t.Errorf("of what is left: %+v", report.Rows)
	}
}

// TestABackfillInPartFails (R5.6): wherever a backfill fails that reads objects in part and takes files over, the next one comes
// to what it would have come to.
func TestABackfillInPartFails(t *testing.T) {
	t.Parallel()
	w := newWorld(3, worldShape{records: 60, days: 2})
	from := rating.InstantOf(w.start.AddDate(0, 0, 1))
	late := func() *site {
		s := newSite(t, w, "shards: 5")
		s.settle(w)
		s.write("usage/late.ndjson", fmt.Appendf(nil, `{"id": "late", "account": "beta", "meter": "calls", "quantity": 9, "time": %q}`+"\n",
			spell(w.start.AddDate(0, 0, 1).Add(time.Hour))))
		return s
	}
	want := late()
	var mu sync.Mutex
	places := map[string]string{} // the last one of each kind
	want.tamper = faults(func(place string) error {
		mu.Lock()
		defer mu.Unlock()
		kind, _, _ := strings.Cut(place, " ")
		places[kind] = max(places[kind], place)
		return nil
	}).tamper
	want.backfilled(w, from, w.until(), false)
	if places["select"] == "" || places["take"] == "" {
		t.Fatalf("nothing was read in part, or taken over: %v", places)
	}
	for _, kind := range keysOf(places) {
		place := places[kind]
		s := late()
		s.tamper = failAt(place, func() error { return errBoom })
		plan := backfillPlan{from: from, to: w.until(), reason: "a test"}
		if _, _, err := s.app(w.later()).backfill(s.config(), plan); !errors.Is(err, errBoom) {
			continue // it is one that was passed over this time
		}
		s.tamper = nil
		s.backfilled(w, from, w.until(), false)
		same(t, place+": files", want.current(), s.current())
		same(t, place+": state", want.visible(), s.visible())
	}
}

// selecting does something before a part of an object is read.
type selecting struct {
	jobs.Reader
	before func()
}

func (r selecting) Select(ctx context.Context, o jobs.Object, accounts *rating.AccountSet, sink jobs.Sink) error {
	r.before()
	return r.Reader.Select(ctx, o, accounts, sink)
}

type expectingBucket struct {
	jobs.Bucket
	expected *[]string
}

func (b expectingBucket) Expect(objects []jobs.Object) {
	for _, o := range objects {
		*b.expected = append(*b.expected, o.Key)
	}
	b.Bucket.Expect(objects)
}

type orderedReader struct {
	jobs.Reader
	read *[]string
}

func (r orderedReader) Read(ctx context.Context, o jobs.Object, sink jobs.Sink) (jobs.Summary, error) {
	*r.read = append(*r.read, o.Key)
	return r.Reader.Read(ctx, o, sink)
}

func (r orderedReader) Select(ctx context.Context, o jobs.Object, accounts *rating.AccountSet, sink jobs.Sink) error {
	*r.read = append(*r.read, o.Key)
	return r.Reader.Select(ctx, o, accounts, sink)
}

// mend takes most kinds of faults out of the usage, and as a rule gives everything a price.
func (w *world) mend(random *rand.Rand) {
	for _, price := range w.catalog["prices"] {
		if price := price.(fields); price["id"] == "mail" && random.IntN(4) > 0 {
			delete(price, "from")
		}
	}
	gone := map[string]bool{}
	for _, kind := range []string{"malformed", "account", "meter", "missing", "time", "quantity"} {
		gone[kind] = random.IntN(3) > 0
	}
	kindOf := func(r worldRow) string {
		switch {
		case r.text != "":
			return "malformed"
		case r.Account == "nobody":
			return "account"
		case r.Meter == "nothing":
			return "meter"
		case r.ID == "", r.Quantity == "":
			return "missing"
		case r.Time == "", r.Time == "yesterday":
			return "time"
		case strings.HasPrefix(r.ID, "wrong"):
			return "quantity"
		}
		return ""
	}
	for i := range w.objects {
		w.objects[i].rows = slices.DeleteFunc(w.objects[i].rows, func(r worldRow) bool { return gone[kindOf(r)] })
	}
}

// soakTimes is how many random worlds there are: more of them in make soak.
func soakTimes(n int) int {
	if os.Getenv("TEST_SOAK") != "" {
		return 25 * n
	}
	return n
}
