package rating_test

import (
	"fmt"
	"testing"
	"time"

	"drawdown/rating"
)

// lateSite settles days of October 2026 of one account, with a catalog that may change in between.
type lateSite struct {
	t       *testing.T
	draft   rating.Draft
	opening *rating.PayerState
	day     int // of October that is settled next
}

func newLateSite(t *testing.T, packages ...rating.PackageDraft) *lateSite {
	return &lateSite{t: t, day: 1, draft: rating.Draft{
		Accounts: []rating.AccountDraft{{ID: "a"}}, Meters: []rating.MeterDraft{{ID: "calls"}},
		Prices:   []rating.PriceDraft{{ID: "list", Meter: "calls", Model: "flat", Price: "1"}},
		Packages: packages,
	}}
}

func octoberAt(day, hour int) rating.Instant {
	return rating.InstantOf(time.Date(2026, 10, day, hour, 0, 0, 0, time.UTC))
}

// use is some usage of a day, at an hour.
type use struct{ day, hour, quantity int }

// settle settles a day with its usage and that of closed days, which comes first, and gives the lines.
func (s *lateSite) settle(late []use, now ...use) (lines []string) {
	s.t.Helper()
	catalog, faults := rating.Compile(&s.draft, rating.CompileConfig{Zone: time.UTC, LoadZone: time.LoadLocation, Currency: "USD"})
	if len(faults) > 0 {
		s.t.Fatal(faults)
	}
	settler := rating.NewSettler(catalog, rating.Config{Zone: time.UTC, Currency: "USD", Order: []rating.Key{rating.ByPriority}, LateHorizon: 840 * time.Hour}, nil)
	if err := settler.Begin(0, rating.Period{Start: octoberAt(s.day, 0), End: octoberAt(s.day+1, 0)}, s.opening); err != nil {
		s.t.Fatal(err)
	}
	for i, u := range append(late, now...) {
		id := fmt.Sprint("r", i)
		batch := &rating.Batch{
			Time: []rating.Instant{octoberAt(u.day, u.hour)}, Account: []int32{0}, Meter: []int32{0}, Quantity: []int64{int64(u.quantity)},
			Object: []int32{0}, Row: []int64{int64(i)}, IDs: []byte(id), IDStart: []uint32{0}, IDEnd: []uint32{uint32(len(id))},
		}
		add := settler.Add
		if i < len(late) {
			add = settler.AddLate
		}
		if err := add(batch); err != nil {
			s.t.Fatal(err)
		}
	}
	var err error
	if s.opening, err = settler.End(); err != nil {
		s.t.Fatal(err)
	}
	s.day++
	for _, l := range settler.Result.Lines {
		text := fmt.Sprintf("%v %s %d", l.EventTime, l.Kind, l.Quantity)
		if l.Kind == rating.Deduction {
			text += fmt.Sprintf(" of %s: %d -> %d", catalog.Packages[l.Package].ID, l.RemainingBefore, l.RemainingAfter)
		}
		lines = append(lines, text)
	}
	for _, b := range settler.Result.Balances {
		if b.Opening+b.Granted+b.RolledOver-b.Deducted-b.Expired-b.Revoked != b.Closing {
			s.t.Errorf("balance %+v", b)
		}
	}
	return lines
}

func (s *lateSite) want(what string, got []string, want ...string) {
	s.t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		s.t.Errorf("%s: lines\n%q, not\n%q", what, got, want)
	}
}

func tenUntil(expires string) rating.PackageDraft {
	return rating.PackageDraft{
		ID: "ten", Account: "a", Kind: "pay_per_use", Quota: "10", Effective: "2026-10-01", Expires: expires, Covers: []rating.CoverDraft{{Meter: "calls"}},
	}
}

// TestLateUsageAndAnExtensionEnteredLater: what late usage has drawn of what lapsed does not come back with the term; what
// comes back serves usage of before the lapse and after the extension was entered, and none of the time between.
func TestLateUsageAndAnExtensionEnteredLater(t *testing.T) {
	t.Parallel()
	s := newLateSite(t, tenUntil("2026-10-02T12:00:00Z"))
	s.settle(nil, use{1, 8, 2})
	s.settle(nil)
	s.want("of what lapsed", s.settle([]use{{2, 11, 3}, {2, 13, 1}}),
		"2026-10-02T11:00:00Z deduction 3 of ten: 8 -> 5", "2026-10-02T13:00:00Z excess 1")
	s.draft.Changes = []rating.ChangeDraft{{Package: "ten", At: "2026-10-02T10:00:00Z", Extended: "2026-10-20"}}
	s.want("of what came back", s.settle([]use{{2, 11, 1}, {2, 13, 1}, {3, 8, 1}}, use{4, 8, 1}),
		"2026-10-02T11:00:00Z deduction 1 of ten: 5 -> 4", "2026-10-02T13:00:00Z excess 1", "2026-10-03T08:00:00Z excess 1",
		"2026-10-04T08:00:00Z deduction 1 of ten: 4 -> 3")
}

// TestLateUsageFromBeforeAPackageWasEntered: a package that was entered later serves no usage from before, whenever that comes.
func TestLateUsageFromBeforeAPackageWasEntered(t *testing.T) {
	t.Parallel()
	s := newLateSite(t)
	s.settle(nil)
	s.settle(nil)
	s.draft.Packages = []rating.PackageDraft{tenUntil("2026-10-20")}
	s.want("the day it was entered", s.settle([]use{{1, 8, 1}}, use{3, 8, 1}),
		"2026-10-01T08:00:00Z excess 1", "2026-10-03T08:00:00Z deduction 1 of ten: 10 -> 9")
	s.want("later", s.settle([]use{{1, 8, 1}, {2, 8, 1}, {3, 9, 1}}),
		"2026-10-01T08:00:00Z excess 1", "2026-10-02T08:00:00Z excess 1", "2026-10-03T09:00:00Z deduction 1 of ten: 9 -> 8")
}

// TestLateUsageOfARevokedPackage: what was given back is not left; what a cycle left before is.
func TestLateUsageOfARevokedPackage(t *testing.T) {
	t.Parallel()
	daily := tenUntil("2026-10-20")
	daily.Reset = "day"
	s := newLateSite(t, daily)
	s.draft.Changes = []rating.ChangeDraft{{Package: "ten", At: "2026-10-02T12:00:00Z", Revoked: "true"}}
	s.settle(nil, use{1, 8, 2})
	s.settle(nil)
	s.want("after it", s.settle([]use{{1, 9, 9}, {2, 8, 1}, {2, 13, 1}}),
		"2026-10-01T09:00:00Z deduction 8 of ten: 8 -> 0", "2026-10-01T09:00:00Z excess 1", "2026-10-02T08:00:00Z excess 1", "2026-10-02T13:00:00Z excess 1")
}

// TestLateUsageAfterTheScaleRose: what is left counts in the package's present units.
func TestLateUsageAfterTheScaleRose(t *testing.T) {
	t.Parallel()
	daily := tenUntil("2026-10-20")
	daily.Reset = "day"
	s := newLateSite(t, daily)
	s.settle(nil, use{1, 8, 2})
	s.settle(nil)
	s.draft.Packages[0].Scale = "2"
	s.want("in hundredths", s.settle([]use{{1, 9, 3}}), "2026-10-01T09:00:00Z deduction 3 of ten: 800 -> 500")
}

// TestLateUsageComesFirst: behind a record of the period there is no late one any more, nor out of order, nor one that is not late.
func TestLateUsageComesFirst(t *testing.T) {
	t.Parallel()
	s := newLateSite(t, tenUntil("2026-10-20"))
	s.settle(nil)
	catalog, _ := rating.Compile(&s.draft, rating.CompileConfig{Zone: time.UTC, LoadZone: time.LoadLocation, Currency: "USD"})
	batch := func(at rating.Instant) *rating.Batch {
		return &rating.Batch{
			Time: []rating.Instant{at}, Account: []int32{0}, Meter: []int32{0}, Quantity: []int64{1}, Object: []int32{0}, Row: []int64{0},
			IDs: []byte("r"), IDStart: []uint32{0}, IDEnd: []uint32{1},
		}
	}
	for name, steps := range map[string][]rating.Instant{
		"of the period":  {octoberAt(2, 1)},
		"out of order":   {octoberAt(1, 2), octoberAt(1, 1)},
		"behind the own": {-octoberAt(2, 1), octoberAt(1, 1)},
	} {
		settler := rating.NewSettler(catalog, rating.Config{Zone: time.UTC, Currency: "USD"}, nil)
		err := settler.Begin(0, rating.Period{Start: octoberAt(2, 0), End: octoberAt(3, 0)}, s.opening)
		for _, at := range steps {
			if at < 0 { // one of the period's own
				err = settler.Add(batch(-at))
			} else if err == nil {
				err = settler.AddLate(batch(at))
			}
		}
		if err == nil {
			t.Error("a late record " + name + " is settled")
		}
	}
}

// TestLateUsageConserves (R5.5): in any world, each record that is not beyond the horizon settles once and whole, or has no
// price; and over all periods no cycle gives more than it had, whatever was booked as expired before late usage drew on it.
func TestLateUsageConserves(t *testing.T) {
	t.Parallel()
	worlds, late, tookBack := uint64(6_000), 0, 0
	if testing.Short() {
		worlds = 600
	}
	for number := range worlds {
		w := makeWorld(worldsEnv("TEST_SEED", 1)+2_000_000, number)
		run, err := engineSettle(w)
		if err != nil {
			t.Fatalf("world %d: %v\n%s", number, err, worldText(w))
		}
		if len(run.faults) > 0 {
			continue
		}
		settled, unpriced := map[string]string{}, map[string]bool{}
		had, expired := map[string]string{}, map[string]string{}
		for i := range run.periods {
			for _, u := range run.periods[i].Unpriced {
				unpriced[u.ID] = true
			}
			for _, l := range run.periods[i].Lines {
				settled[l.RecordID] = decimalText(plus(modelNumberOr(settled[l.RecordID], "0"), modelNumber(l.Quantity)))
				if l.Late != (l.Time < w.Bounds[i]) {
					t.Errorf("world %d: line %+v in the period from %d", number, l, w.Bounds[i])
				}
				if l.Late {
					late++
				}
			}
			for _, b := range run.periods[i].Balances {
				key := b.Package + " " + instantText(b.CycleStart)
				if i == 0 {
					had[key] = b.Opening
				}
				gives := plus(modelNumber(b.Granted), modelNumber(b.RolledOver))
				gives = minus(minus(gives, modelNumber(b.Deducted)), modelNumber(b.Revoked))
				had[key] = decimalText(plus(modelNumberOr(had[key], "0"), gives))
				expired[key] = decimalText(plus(modelNumberOr(expired[key], "0"), modelNumber(b.Expired)))
				if modelNumber(b.Expired).Sign() < 0 {
					tookBack++
				}
			}
		}
		for key := range had {
			if modelNumber(had[key]).Sign() < 0 || modelNumber(expired[key]).Sign() < 0 || modelNumber(had[key]).Cmp(modelNumber(expired[key])) < 0 {
				t.Errorf("world %d: cycle %s gave more than it had: %s left in all, of which %s expired", number, key, had[key], expired[key])
			}
		}
		for _, r := range w.Records {
			want := decimalText(modelNumber(r.Quantity))
			if unpriced[r.ID] || r.Delivered != 0 && !r.settledLate(w, r.Delivered) {
				want = "0"
			}
			if got := decimalText(modelNumberOr(settled[r.ID], "0")); got != want {
				t.Errorf("world %d: record %s: %s of %s settled", number, r.ID, got, want)
			}
		}
		if t.Failed() {
			t.Fatal(worldText(w))
		}
	}
	if t.Logf("%d late lines, %d balances with something taken back", late, tookBack); late < int(worlds)/4 || tookBack < int(worlds)/100 {
		t.Error("too little of it is late")
	}
}
