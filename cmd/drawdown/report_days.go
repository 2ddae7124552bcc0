package main

import (
	"maps"
	"slices"
	"sort"
	"time"

	"drawdown/rating"
	"drawdown/writers/page"
)

// reportDays are the days of a page; hours where its range is short, months where it is long.
type reportDays struct {
	per    string
	starts []rating.Instant
	names  []string
	last   int // of the row before: rows come in the order of time, payer by payer
}

// daysOf cuts a range so that a plot of it can be read.
func daysOf(from, to rating.Instant, location *time.Location) reportDays {
	const day = rating.Instant(86400e6)
	d, unit, layout := reportDays{per: "day"}, rating.Daily, "2006-01-02"
	switch {
	case to-from <= 2*day:
		d.per, unit, layout = "hour", rating.Hourly, "2006-01-02 15:04"
	case to-from > 100*day:
		d.per, unit, layout = "month", rating.Monthly, "2006-01"
	}
	for at := from; at < to; {
		d.starts = append(d.starts, at)
		local := at.Time().In(location)
		name := local.Format(layout)
		if n := len(d.names); n > 0 && d.names[n-1] == name {
			name += local.Format(" MST") // an hour that comes twice
		}
		d.names = append(d.names, name)
		at = rating.PeriodAt(unit, location, at).End
	}
	return d
}

// at is the number of the day of an instant; one outside is of the first or the last.
func (d *reportDays) at(t rating.Instant) int {
	if d.starts[d.last] <= t && (d.last+1 == len(d.starts) || t < d.starts[d.last+1]) {
		return d.last
	}
	d.last = max(0, sort.Search(len(d.starts), func(i int) bool { return d.starts[i] > t })-1)
	return d.last
}

// moneys are amounts by currency: those of different ones are never added up.
type moneys map[string]rating.Amount

func (m moneys) list() []page.Money {
	list := []page.Money{}
	for _, currency := range slices.Sorted(maps.Keys(m)) {
		list = append(list, page.Money{Currency: currency, Amount: page.Number(m[currency])})
	}
	return list
}

// unitSums is what became of units, and what they cost.
type unitSums struct {
	settled, deducted, excess, stopped rating.Amount
	charges                            moneys
}

func (u *unitSums) units() page.Units {
	return page.Units{
		Settled: page.Number(u.settled), Deducted: page.Number(u.deducted), Excess: page.Number(u.excess), Stopped: page.Number(u.stopped),
	}
}

// meterSum is a meter's usage by day.
type meterSum struct {
	unitSums
	lines int64
	days  []unitSums
	late  unitSums
}

// add adds, and notes the first sum that does not fit (R1.5).
func (j *reportJob) add(to *rating.Amount, a rating.Amount) {
	sum, ok := to.Add(a)
	if !ok && j.fault == nil {
		j.fault = rating.ErrOverflow
	}
	*to = sum
}

func (j *reportJob) addMoney(to *moneys, currency string, a rating.Amount) {
	if *to == nil {
		*to = moneys{}
	}
	sum := (*to)[currency]
	j.add(&sum, a)
	(*to)[currency] = sum
}
