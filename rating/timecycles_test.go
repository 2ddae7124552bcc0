package rating_test

import (
	"cmp"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"drawdown/rating"
)

// cycleCase is one expectation that other billing systems state in their tests or documentation (see SOURCE.md there).
type cycleCase struct {
	ID, Kind, Anchor, Start, Zone, Period, At, From, To, Instant string
	N                                                            int
	BillingAt                                                    string   `json:"billing_at"`
	CurrentPeriodStart                                           string   `json:"current_period_start"`
	Bounds                                                       []string `json:"expected_bounds"`
	OnGrid                                                       bool     `json:"on_clamped_anchor_grid"`
	Events                                                       []string
	Expected                                                     any
}

// Kinds of which our cycles know nothing.
var cycleKindsLeftOut = map[string]string{
	"first_cycle_date":     "a bill-cycle day apart from the purchase: our cycles are counted from the effective time",
	"next_cycle_date":      "a bill-cycle day apart from the purchase",
	"effective_end":        "a bill-cycle day apart from the purchase",
	"day_of_month_in_zone": "the day of an instant, which no result shows",
}

// Cases that say something else than R3.2.
var cyclesLeftOut = map[string]string{
	"c012": "counts backwards", "c005": "counts backwards", "c095": "counts backwards",
	"c019": "a month and a day is no unit of ours",
	"c127": "upstream skips the boundary of the same day, 2024-03-06T14:30+05:30, which is the next one after 00:00",
}

func TestCyclesOfOtherBillingSystems(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "testdata", "time-cycles", "cycles.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Cases []cycleCase }
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	run, left := 0, 0
	for _, c := range file.Cases {
		reason := cycleKindsLeftOut[c.Kind] + cyclesLeftOut[c.ID]
		if c.Kind == "next_after" && (!c.OnGrid || c.N != 1) {
			reason = "not on the grid of the anchor, or several units from the current period"
		}
		if reason != "" {
			left++
			continue
		}
		run++
		t.Run(c.ID+" "+c.Kind, c.check)
	}
	t.Logf("%d cases run, %d left out", run, left)
	if run < 60 {
		t.Error("most of the cases should run")
	}
}

func (c cycleCase) check(t *testing.T) {
	zone := modelZone(cmp.Or(c.Zone, "UTC"))
	at := func(text string) int64 { return modelInstant(text, zone, false) }
	is := func(name string, got int64, want string) {
		t.Helper()
		if want != "" && got != at(want) {
			t.Errorf("%s is %s, want %s", name, instantText(got), want)
		}
	}
	bounds := c.bounds(t, zone)
	// next is the position of the first boundary after an instant.
	next := func(text string) int {
		return slices.IndexFunc(bounds, func(b int64) bool { return b > at(text) })
	}
	switch c.Kind {
	case "add":
		is("boundary", bounds[c.N], c.Expected.(string))
	case "period_at":
		i := next(c.At)
		is("from", bounds[i-1], c.From)
		is("to", bounds[i], c.To)
	case "period_before":
		billed := modelInstant(c.BillingAt, time.UTC, false)
		i := slices.IndexFunc(bounds, func(b int64) bool { return b > billed })
		is("from", bounds[i-2], c.From)
		is("to", bounds[i-1], c.To)
	case "period_of_subscription":
		i := next(c.From)
		is("from", bounds[i-1], c.From)
		is("to", bounds[i], c.To)
	case "periods":
		for _, bound := range c.Bounds {
			if at(bound) >= at(c.Anchor) && !slices.Contains(bounds, at(bound)) {
				t.Errorf("%s is no boundary", bound)
			}
		}
		if from := slices.Index(bounds, at(c.Anchor)); len(bounds) < from+len(c.Bounds)-1 {
			t.Error("too few boundaries")
		}
	case "next_after":
		is("next", bounds[next(c.CurrentPeriodStart)], c.Expected.(string))
	case "floor_day", "floor_hour":
		is("floor", bounds[next(c.Instant)-1], c.Expected.(string))
	case "usage_split":
		c.checkSplit(t, zone, bounds)
	default:
		t.Fatal("kind ", c.Kind)
	}
}

// bounds are the boundaries of the case's periods as the engine turns the cycles of a package.
func (c cycleCase) bounds(t *testing.T, zone *time.Location) []int64 {
	t.Helper()
	anchor, reset, every := c.Anchor, c.Period, 1
	switch {
	case c.Kind == "floor_day" || c.Kind == "floor_hour": // from a midnight some days before
		anchor = goTime(modelInstant(c.Instant, zone, false)).AddDate(0, 0, -5).Format(time.DateOnly)
		reset = strings.TrimPrefix(c.Kind, "floor_")
	case c.Anchor == "calendar" || c.Kind == "usage_split":
		anchor, reset = "2021-11-01", "calendar_month"
	case strings.HasSuffix(c.Period, " months"): // every so many months lie on the boundaries of months
		reset = "month"
		every, _ = strconv.Atoi(strings.TrimSuffix(c.Period, " months"))
	}
	start := modelInstant(anchor, zone, false)
	until := start + 3*366*modelDay
	if reset == "hour" || reset == "day" {
		until = start + 20*modelDay
	}
	run := c.settle(t, anchor, reset, zone, start, until)
	var bounds []int64
	for i, b := range run.periods[0].Balances {
		if i%every == 0 {
			bounds = append(bounds, b.CycleStart)
		}
	}
	return bounds
}

func (c cycleCase) settle(t *testing.T, anchor, reset string, zone *time.Location, start, until int64) *engineRun {
	t.Helper()
	w := &modelWorld{Zone: "UTC", Bounds: []int64{start, until}}
	w.Draft = rating.Draft{
		Accounts: []rating.AccountDraft{{ID: "a", TimeZone: zone.String()}},
		Meters:   []rating.MeterDraft{{ID: "m"}},
		Packages: []rating.PackageDraft{{
			ID: "p", Account: "a", Kind: "pay_per_use", Quota: "100", Reset: reset, Effective: anchor,
			Expires: instantText(until), Covers: []rating.CoverDraft{{Meter: "m"}},
		}},
	}
	for i, event := range c.Events {
		w.Records = append(w.Records, modelRecord{
			ID: strconv.Itoa(i), Account: "a", Meter: "m", Quantity: "1", Time: modelInstant(event, zone, false),
		})
	}
	run, err := engineSettle(w)
	if err != nil || len(run.faults) > 0 {
		t.Fatal(err, run.faults)
	}
	return run
}

// checkSplit counts usage by the cycle that it was drawn from.
func (c cycleCase) checkSplit(t *testing.T, zone *time.Location, bounds []int64) {
	t.Helper()
	run := c.settle(t, "2021-11-01", "calendar_month", zone, bounds[0], bounds[0]+3*366*modelDay)
	counts := map[string]any{}
	for _, l := range run.periods[0].Lines {
		month := goTime(l.CycleStart).In(zone).Format("2006-01")
		count, _ := counts[month].(float64)
		counts[month] = count + 1
	}
	if want := c.Expected.(map[string]any); !maps.Equal(counts, want) {
		t.Errorf("usage by month is %v, want %v", counts, want)
	}
}
