package rating_test

// What must hold in every world, whatever the rules about prices and packages are.

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"drawdown/rating"
)

// eachWorld runs a property over random worlds, with numbers that the comparison with the model does not reach.
func eachWorld(t *testing.T, worlds int, property func(t *testing.T, w *modelWorld, run *engineRun)) {
	t.Helper()
	t.Parallel()
	if testing.Short() {
		worlds /= 10
	}
	seed := worldsEnv("TEST_SEED", 1)
	for number := range uint64(worlds) {
		w := makeWorld(seed+1_000_000, number)
		for i := range w.Records { // late records have properties of their own
			w.Records[i].Delivered = 0
		}
		run, err := engineSettle(w)
		if err != nil {
			t.Fatalf("world %d: %v\n%s", number, err, worldText(w))
		}
		if len(run.faults) > 0 {
			continue
		}
		property(t, w, run)
		if t.Failed() {
			t.Fatalf("world %d\n%s", number, worldText(w))
		}
	}
}

func TestEveryUnitIsDeductedChargedOrStopped(t *testing.T) {
	eachWorld(t, 5_000, func(t *testing.T, w *modelWorld, run *engineRun) {
		settled, unpriced := map[string]string{}, map[string]bool{}
		totals := make([]rating.Totals, len(run.settler.Totals))
		for i := range run.periods {
			for _, u := range run.periods[i].Unpriced {
				unpriced[u.ID] = true
			}
			for _, l := range run.periods[i].Lines {
				sum := plus(modelNumberOr(settled[l.RecordID], "0"), modelNumber(l.Quantity))
				settled[l.RecordID] = decimalText(sum)
				if l.LineNo < 1 || l.Quantity == "0" || l.Kind != "excess" && l.Amount != "0" {
					t.Errorf("line %+v", l)
				}
			}
		}
		for _, r := range w.Records {
			want := decimalText(modelNumber(r.Quantity))
			if unpriced[r.ID] {
				want = "0"
			} else {
				meter, _ := run.catalog.MeterIndex([]byte(r.Meter))
				totals[meter].Records++
			}
			if got := decimalText(modelNumberOr(settled[r.ID], "0")); got != want {
				t.Errorf("record %s: %s of %s settled", r.ID, got, want)
			}
		}
		for i := range run.settler.Totals {
			if sum := &run.settler.Totals[i]; !sum.Balanced() || sum.Records != totals[i].Records {
				t.Errorf("meter %d: totals %+v, want %d records", i, sum, totals[i].Records)
			}
		}
	})
}

func TestBalancesAddUpAndGoOn(t *testing.T) {
	eachWorld(t, 5_000, func(t *testing.T, w *modelWorld, run *engineRun) {
		closing := map[string]string{}
		for i := range run.periods {
			opened := map[string]bool{}
			next := map[string]string{}
			for _, b := range run.periods[i].Balances {
				key := fmt.Sprint(b.Package, " ", b.CycleStart)
				sum := plus(plus(modelNumber(b.Opening), modelNumber(b.Granted)), modelNumber(b.RolledOver))
				sum = minus(minus(minus(sum, modelNumber(b.Deducted)), modelNumber(b.Expired)), modelNumber(b.Revoked))
				if sum.Cmp(modelNumber(b.Closing)) != 0 || sum.Sign() < 0 {
					t.Errorf("balance %+v", b)
				}
				if before, known := closing[key]; known && before != b.Opening || !known && i > 0 && b.Opening != "0" {
					t.Errorf("balance opens with %s, the period before closed with %q: %+v", b.Opening, before, b)
				}
				if opened[key] {
					t.Errorf("two rows of one cycle: %+v", b)
				}
				opened[key], next[key] = true, b.Closing
			}
			for key, left := range closing {
				if left != "0" && !opened[key] {
					t.Errorf("%s closed with %s and is gone", key, left)
				}
			}
			closing = next
		}
		for _, states := range run.closing {
			for _, state := range states {
				for _, p := range state.Packages {
					if p.Stage == rating.StageLive && (p.Rolled < 0 || p.Rolled > p.Remaining || p.Remaining > p.Grant) {
						t.Errorf("state %+v", p)
					}
				}
			}
		}
	})
}

func TestNothingIsDrawnOutsideItsValidity(t *testing.T) {
	eachWorld(t, 5_000, func(t *testing.T, w *modelWorld, run *engineRun) {
		m := newModelSettler(w)
		packages := map[string]*modelPackage{}
		for _, p := range m.packages {
			packages[p.id] = p
		}
		for i := range run.periods {
			for _, l := range run.periods[i].Lines {
				if l.Time < w.Bounds[i] || l.Time >= w.Bounds[i+1] {
					t.Errorf("line out of its period: %+v", l)
				}
				if l.Kind != "deduction" {
					continue
				}
				p := packages[l.Package]
				last := p.firstEnd
				for _, c := range p.changes {
					if c.kind == "revoked" && c.at <= l.Time {
						t.Errorf("revoked before: %+v", l)
					}
					last = max(last, c.expires)
				}
				if l.Time < p.effective || l.Time >= last || l.CycleStart > l.Time {
					t.Errorf("outside its life: %+v", l)
				}
				if p.account != l.Account && !(p.shared && p.payer == l.Payer) {
					t.Errorf("not theirs: %+v", l)
				}
				before, after, consumed := modelNumber(l.Before), modelNumber(l.After), modelNumber(l.Consumed)
				if after.Sign() < 0 || consumed.Sign() <= 0 || minus(before, consumed).Cmp(after) != 0 {
					t.Errorf("sums: %+v", l)
				}
			}
		}
	})
}

// TestAmountsAreWhatTheMonthCosts: where one price alone was met in a month, lines sum to its total (R1.3).
func TestAmountsAreWhatTheMonthCosts(t *testing.T) {
	eachWorld(t, 5_000, func(t *testing.T, w *modelWorld, run *engineRun) {
		prices := map[string]*modelPrice{}
		for i := range w.Draft.Prices {
			p := readModelPrice(&w.Draft.Prices[i], modelZone(w.Zone), map[string]*time.Location{w.Draft.Prices[i].Account: time.UTC})
			prices[p.id] = &p
		}
		type month struct{ account, meter, month string }
		used, quantity, amount := map[month]map[string]bool{}, map[month]string{}, map[month]string{}
		for i := range run.periods {
			for _, c := range run.periods[i].Charges {
				key := month{c.Account, c.Meter, c.Month}
				if used[key] == nil {
					used[key] = map[string]bool{}
				}
				used[key][c.Price] = true
				quantity[key] = decimalText(plus(modelNumberOr(quantity[key], "0"), modelNumber(c.Quantity)))
				amount[key] = decimalText(plus(modelNumberOr(amount[key], "0"), modelNumber(c.Amount)))
			}
		}
		for key, names := range used {
			p := prices[slices.Collect(maps.Keys(names))[0]]
			if len(names) > 1 || p.usage {
				continue
			}
			if want := decimalText(p.total(modelNumber(quantity[key]))); amount[key] != want {
				t.Errorf("%v: lines sum to %s, the month costs %s", key, amount[key], want)
			}
		}
	})
}

// TestSlicingChangesNothing: the same time settled in larger or smaller periods gives the same lines, charges, notices
// with the same keys, and the same closing state (R1.8).
func TestSlicingChangesNothing(t *testing.T) {
	eachWorld(t, 3_000, func(t *testing.T, w *modelWorld, run *engineRun) {
		random := rand.New(rand.NewPCG(uint64(w.Bounds[0]), 7))
		first, last := w.Bounds[0], w.Bounds[len(w.Bounds)-1]
		zone := modelZone(w.Zone)
		months := []int64{first} // a period never holds parts of two months
		for t := modelPeriodEnd("month", modelPeriodStart("month", first, zone), zone); t < last; t = modelPeriodEnd("month", t, zone) {
			months = append(months, t)
		}
		months = append(months, last)
		pieces := slices.Clone(w.Bounds)
		for range 6 {
			pieces = append(pieces, first+1+random.Int64N(last-first-1))
		}
		for _, r := range w.Records {
			pieces = append(pieces, max(first, r.Time), min(last, r.Time+1))
		}
		slices.Sort(pieces)
		for name, bounds := range map[string][]int64{"months": months, "pieces": slices.Compact(pieces)} {
			other := *w
			other.Bounds = bounds
			sliced, err := engineSettle(&other)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if difference := cmp.Diff(wholeOf(run), wholeOf(sliced)); difference != "" {
				t.Errorf("%s %v: - as given, + sliced\n%s", name, bounds, difference)
			}
			if !maps.Equal(run.keys, sliced.keys) {
				t.Errorf("%s: other dedup keys", name)
			}
			for payer, states := range run.closing {
				if difference := cmp.Diff(states[len(states)-1], sliced.closing[payer][len(bounds)-2]); difference != "" {
					t.Errorf("%s: closing state: - as given, + sliced\n%s", name, difference)
				}
			}
		}
	})
}

// wholeOf puts the periods of a run together, in a form that does not know how time was cut.
func wholeOf(run *engineRun) []string {
	var all modelPeriod
	moved := map[string][6]string{}
	for i := range run.periods {
		p := &run.periods[i]
		all.Lines, all.Notices, all.Unpriced = append(all.Lines, p.Lines...), append(all.Notices, p.Notices...), append(all.Unpriced, p.Unpriced...)
		for j := range p.Lines {
			if l := &p.Lines[j]; l.Kind == "excess" {
				all.charge(l, goTime(l.Time).In(modelZone(run.world.Zone)).Format("2006-01"))
			}
		}
		for _, b := range p.Balances {
			key := fmt.Sprint(b.Package, " ", b.CycleStart)
			sums := moved[key]
			for n, text := range []string{b.Granted, b.RolledOver, b.Deducted, b.Expired, b.Revoked} {
				sums[n] = decimalText(plus(modelNumberOr(sums[n], "0"), modelNumber(text)))
			}
			moved[key] = sums
		}
	}
	slices.SortStableFunc(all.Lines, func(a, b modelLine) int { return strings.Compare(a.Payer, b.Payer) })
	all.sort()
	all.Cash = run.periods[len(run.periods)-1].Cash
	rows := readable(&all)
	for _, key := range slices.Sorted(maps.Keys(moved)) {
		if sums := moved[key]; sums != [6]string{"0", "0", "0", "0", "0", ""} { // a cycle in which nothing moved may have had no row
			rows = append(rows, fmt.Sprint(key, sums))
		}
	}
	return rows
}

// TestOtherPayersChangeNothing: what one payer's accounts use is nothing to another payer.
func TestOtherPayersChangeNothing(t *testing.T) {
	eachWorld(t, 3_000, func(t *testing.T, w *modelWorld, run *engineRun) {
		payers := map[string]string{}
		for _, a := range w.Draft.Accounts {
			payers[a.ID] = a.ID
			if a.Payer != "" {
				payers[a.ID] = a.Payer
			}
		}
		alone := *w
		alone.Records = slices.DeleteFunc(slices.Clone(w.Records), func(r modelRecord) bool { return payers[r.Account] != payers["a"] })
		other, err := engineSettle(&alone)
		if err != nil {
			t.Fatal(err)
		}
		mine, _ := run.catalog.AccountIndex([]byte(payers["a"]))
		if difference := cmp.Diff(run.closing[mine], other.closing[mine]); difference != "" {
			t.Errorf("closing states: - together, + alone\n%s", difference)
		}
		for i := range run.periods {
			lines := slices.DeleteFunc(slices.Clone(run.periods[i].Lines), func(l modelLine) bool { return l.Payer != payers["a"] })
			if !slices.Equal(lines, other.periods[i].Lines) {
				t.Errorf("period %d: other lines", i)
			}
		}
	})
}

// TestAgainGivesTheSame: the engine keeps nothing between runs but what is in the state.
func TestAgainGivesTheSame(t *testing.T) {
	eachWorld(t, 2_000, func(t *testing.T, w *modelWorld, run *engineRun) {
		again, err := engineSettle(w)
		if err != nil {
			t.Fatal(err)
		}
		for i := range run.periods {
			if !samePeriod(&run.periods[i], &again.periods[i]) {
				t.Errorf("period %d differs", i)
			}
		}
	})
}
