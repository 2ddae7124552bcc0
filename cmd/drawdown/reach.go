package main

import (
	"fmt"
	"slices"
	"time"

	"drawdown/rating"
	"drawdown/writers/store"
)

// reach is how far rows of the catalog that are added or edited reach into what is settled.
type reach struct {
	rows     []reachedRow
	from, to string // what a backfill of all of it is asked for; empty where all of it is closed
	closed   string // the last closed period that is reached; empty: none
}

// reachedRow is a row that reaches into settled periods, the first and the last of them by their names.
type reachedRow struct {
	Kind  string `json:"kind"`
	Key   string `json:"key"`
	First string `json:"first_period"`
	Last  string `json:"last_period"`
}

// reachOf finds out which settled periods a plan reaches into.
func (a *app) reachOf(c *Config, st *store.Store, plan *store.CatalogPlan, compiled *rating.Catalog) (*reach, error) {
	r := &reach{}
	if plan.Empty() {
		return r, nil
	}
	periods, err := st.Periods(a.ctx)
	if err != nil || len(periods) == 0 {
		return r, err
	}
	was, is := plan.Edits()
	low, high := len(periods), -1
	for _, row := range compiled.ReachOf(was, is, c.compileConfig()) {
		first := slices.IndexFunc(periods, func(p store.Revision) bool { return p.PeriodEnd > row.From })
		last := len(periods) - 1
		for last >= 0 && periods[last].PeriodStart >= row.To {
			last--
		}
		if first < 0 || first > last {
			continue
		}
		low, high = min(low, first), max(high, last)
		r.rows = append(r.rows, reachedRow{
			string(row.Kind), store.RowKey(is, row.Kind, row.Index), periods[first].PeriodName, periods[last].PeriodName,
		})
	}
	for ; low <= high && periods[low].State == store.PeriodClosed; low++ {
		r.closed = periods[low].PeriodName
	}
	if low <= high {
		zone := c.Settlement.TimeZone.Location
		r.from, r.to = dayOrInstant(periods[low].PeriodStart, zone), dayOrInstant(periods[high].PeriodEnd, zone)
	}
	return r, nil
}

func (r *reach) backfill() string {
	if r.from == "" {
		return ""
	}
	return fmt.Sprintf("drawdown backfill --from %s --to %s", r.from, r.to)
}

// reachJSON is what programs are told of it.
type reachJSON struct {
	Settled  []reachedRow `json:"settled"`
	Backfill string       `json:"backfill"`
}

func (r *reach) json() reachJSON { return reachJSON{append([]reachedRow{}, r.rows...), r.backfill()} }

// printReach says what is settled already of what a plan changes, and what to do about it.
func (a *app) printReach(r *reach) {
	if len(r.rows) == 0 {
		return
	}
	a.say("\nReaches into what is settled:\n")
	t := table{columns: []column{{"kind", fixed}, {"row", ident}, {"from period", fixed}, {"to period", fixed}}}
	for _, row := range r.rows[:min(len(r.rows), plannedRows)] {
		t.row(row.Kind, row.Key, row.First, row.Last)
	}
	t.print(a.stdout, a.ink)
	if more := len(r.rows) - plannedRows; more > 0 {
		a.say("  ... and %s more; --json lists them all", groupedInt(int64(more)))
	}
	if r.closed != "" {
		a.say("\n%s", wrapped("Periods up to "+r.closed+" are closed, and stay as they were booked.", 0))
	}
	if r.from != "" {
		a.say("\n%s\n\n    %s --dry-run", wrapped("No settle changes these periods. What settling them again would come to:", 0), r.backfill())
	}
}

// dayOrInstant writes a day's first instant as the day, and any other one whole.
func dayOrInstant(at rating.Instant, zone *time.Location) string {
	if local := at.Time().In(zone); local.Hour()+local.Minute()+local.Second()+local.Nanosecond() == 0 {
		return local.Format(time.DateOnly)
	}
	return at.String()
}
