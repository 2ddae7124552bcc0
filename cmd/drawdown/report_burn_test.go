package main

import (
	"testing"
	"time"

	"drawdown/rating"
	"drawdown/writers/page"
	"drawdown/writers/settlement"
)

// TestBurnDownEndsWithItsCycle: what lapses at the very end of a period, and stands in the next one's balances, is left until then
// and not after; and the day says what was left before it lapsed, as in the middle of a period.
func TestBurnDownEndsWithItsCycle(t *testing.T) {
	t.Parallel()
	const day = rating.Instant(86400e6)
	start := rating.Instant(1_790_812_800e6) // a midnight
	n := func(left int64) rating.Amount { return rating.AmountOf(left) }
	row := func(from, to rating.Instant, state string, opening, granted, expired, closing int64) *settlement.Balance {
		return &settlement.Balance{
			Package: "p", CycleStart: start + from*day, CycleEnd: start + to*day, State: state,
			Quota: n(100), Opening: n(opening), Granted: n(granted), Expired: n(expired), Closing: n(closing),
		}
	}
	byDay := [][]*settlement.Balance{
		{row(0, 1, "active", 0, 100, 0, 100)},
		{row(0, 1, "expired", 100, 0, 100, 0), row(1, 3, "active", 0, 70, 0, 70)},
		{row(1, 3, "active", 70, 0, 0, 70)},
		{row(1, 3, "grace", 70, 0, 70, 0)},
		{row(1, 3, "grace", 0, 0, 0, 0)},
	}
	for _, test := range []struct {
		name    string
		periods []rating.Period
		rows    [][]*settlement.Balance
	}{
		{"by day", nil, byDay},
		{"at once", []rating.Period{{Start: start, End: start + 5*day}}, [][]*settlement.Balance{{row(0, 1, "expired", 0, 100, 100, 0), row(1, 3, "grace", 0, 70, 70, 0)}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			days := daysOf(start, start+5*day, rating.Instant(0).Time().Location())
			b := &burnGather{sum: &packageSum{ends: start + 3*day}, from: start, step: day / 60, days: make([]*rating.Amount, len(days.starts))}
			for i, rows := range test.rows {
				period := rating.Period{Start: start + rating.Instant(i)*day, End: start + rating.Instant(i+1)*day}
				if test.periods != nil {
					period = test.periods[i]
				}
				for _, r := range rows {
					if r.CycleEnd >= period.Start {
						b.balance(period, r)
					}
				}
				b.endPeriod(&days)
			}
			burn := b.burn(&days, start+5*day, start+5*day)
			if last := burn.Points[len(burn.Points)-1]; last.Left != (page.Number{}) || last.At != page.At(start+3*day) {
				t.Errorf("the burn-down ends with %v", last)
			}
			for i, want := range []int64{100, 70, 70, 0} {
				if i >= len(burn.Days) || burn.Days[i].Left != page.Number(n(want)) {
					t.Errorf("on day %d %d was left: %v", i+1, want, burn.Days)
				}
			}
		})
	}
}

// TestHoursHaveNames: also the two of the night in which clocks are put back.
func TestHoursHaveNames(t *testing.T) {
	t.Parallel()
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	from := time.Date(2026, 10, 25, 0, 0, 0, 0, berlin)
	d := daysOf(rating.InstantOf(from), rating.InstantOf(from.AddDate(0, 0, 1)), berlin)
	if len(d.names) != 25 || d.names[2] != "2026-10-25 02:00" || d.names[3] != "2026-10-25 02:00 CET" {
		t.Errorf("the hours are %v", d.names)
	}
}
