package main

import (
	"cmp"
	"slices"

	"drawdown/rating"
	"drawdown/writers/page"
	"drawdown/writers/settlement"
)

// burnGather follows what is left of one package through the periods.
type burnGather struct {
	sum  *packageSum
	from rating.Instant // of the plot
	step rating.Instant // of one place on it

	pending []burnPoint // of the period that is being read
	points  []page.Point
	place   burnPlace
	events  []page.Event
	more    int
	days    []*rating.Amount // what was left at the end of each day of the page; nil: nothing happened on it

	blocks [forecastBlocks]rating.Amount     // the use of the last days, the newest first
	before bool                              // it was used before them
	empty  [forecastBlocks]bool              // nothing was left on them, for a time or all the time
	ends   map[rating.Instant]rating.Instant // of the cycles of the period that is being read, or of that period
}

// burnPoint is what is left at an instant. At one instant the end of a period comes first, then what lapses with a cycle, then
// the beginning of the next one, and all before usage.
type burnPoint struct {
	at   rating.Instant
	rank int
	left rating.Amount
}

// The ranks of points at one instant.
const (
	endOfPeriod = iota
	endOfCycle
	beginOfCycle
	afterUsage
)

// burnPlace is what was left within one place of a plot: a plot has some hundreds of them, however many lines there are.
type burnPlace struct {
	number      int64
	filled      bool
	at          rating.Instant
	first       rating.Amount
	least, most rating.Amount
	last        rating.Amount
}

const (
	// burnPlaces is into how many places a plot is cut.
	burnPlaces = 300
	// mostEvents is how many events a plot has room for.
	mostEvents = 12
)

// follow begins to follow packages.
func (j *reportJob) follow(list []*packageSum) {
	j.burns = map[string]*burnGather{}
	for _, s := range list {
		j.burns[s.id] = &burnGather{sum: s, from: j.from, step: max(1, (j.to-j.from)/burnPlaces), days: make([]*rating.Amount, len(j.days.starts))}
	}
}

// burnBalances takes from a period's balances and notices what the followed packages had at the borders of their cycles.
func (j *reportJob) burnBalances(p *published, number int) error {
	if len(j.burns) == 0 {
		return nil
	}
	shards := map[int]bool{}
	for _, b := range j.burns {
		shards[j.shardOf(b.sum.payer)] = true
	}
	period := p.period()
	for _, file := range p.shardsOf("balances", shards) {
		for row, err := range settlement.ReadBalances(file) {
			if err != nil {
				return err
			}
			b := j.burns[row.Package]
			if b == nil || row.State == "future" || row.CycleEnd < period.Start {
				continue
			}
			j.burnCycle(b, period, &row)
			if number == 0 && row.Opening.Sign() > 0 && row.Opening.Cmp(row.Quota) < 0 {
				b.before = true
			}
			if number >= j.first {
				b.balance(period, &row)
			}
		}
	}
	if number < j.first {
		return nil
	}
	for _, file := range p.shardsOf("notices", shards) {
		for row, err := range settlement.ReadNotices(file) {
			if err != nil {
				return err
			}
			if row.Package != nil && j.burns[*row.Package] != nil {
				j.burns[*row.Package].notice(&row)
			}
		}
	}
	return nil
}

// burnCycle notes until when what a line leaves of a cycle stays, and the days on which nothing was left from the beginning on.
func (j *reportJob) burnCycle(b *burnGather, period rating.Period, row *settlement.Balance) {
	if b.ends == nil {
		b.ends = map[rating.Instant]rating.Instant{}
	}
	b.ends[row.CycleStart] = min(row.CycleEnd, period.End)
	if row.CycleStart < period.Start && row.Opening.Sign() == 0 && row.Granted.Sign() == 0 {
		j.burnEmpty(b, period.Start, b.ends[row.CycleStart])
	}
}

// burnEmpty notes the days on which nothing was left, from an instant to another one.
func (j *reportJob) burnEmpty(b *burnGather, from, to rating.Instant) {
	end := j.to
	for i, start := range j.blockStarts {
		b.empty[i] = b.empty[i] || from < end && to > start
		end = start
	}
}

// balance notes what a cycle began and ended with, within the period.
func (b *burnGather) balance(period rating.Period, row *settlement.Balance) {
	begins := row.Opening
	if row.CycleStart >= period.Start {
		begins, _ = begins.Add(row.Granted) // the sum was checked when it was settled
		if row.RolledOver.Sign() > 0 {
			begins, _ = begins.Add(row.RolledOver)
		}
	}
	if at := max(row.CycleStart, period.Start); at < min(row.CycleEnd, period.End) {
		b.pending = append(b.pending, burnPoint{at, beginOfCycle, begins})
	}
	if row.CycleEnd < period.End {
		b.pending = append(b.pending, burnPoint{row.CycleEnd, endOfCycle, row.Closing})
	} else {
		b.pending = append(b.pending, burnPoint{period.End, endOfPeriod, row.Closing})
	}
}

// notice notes an event; the place of a mark is what the notice says is left.
func (b *burnGather) notice(n *settlement.Notice) {
	if n.Kind != "usage_alert" && n.Kind != "service_stop" {
		return
	}
	if len(b.events) == mostEvents {
		b.more++
		return
	}
	e := page.Event{At: page.At(n.At), Text: noticeText(n)}
	if n.Remaining != nil {
		e.Left = page.Number(*n.Remaining)
	}
	b.events = append(b.events, e)
}

// burnLine takes from a line what it left of a followed package, and what it took in the last days. Late lines draw on what
// earlier cycles had left, and belong to no day of the plot.
func (j *reportJob) burnLine(l *settlement.Line) {
	b := j.burns[*l.Package]
	if b == nil || l.Late {
		return
	}
	if l.EventTime >= j.from {
		b.pending = append(b.pending, burnPoint{l.EventTime, afterUsage, *l.RemainingAfter})
		if len(b.pending) >= 1<<16 { // in the order of time, but for the period's balances, of which there are few
			b.thin(&j.days)
		}
	}
	if l.RemainingAfter.Sign() == 0 {
		j.burnEmpty(b, l.EventTime, b.ends[*l.CycleStart])
	}
	for i, start := range j.blockStarts {
		if l.EventTime >= start {
			if l.EventTime < j.to {
				j.add(&b.blocks[i], *l.Consumed)
			}
			break
		}
	}
}

// thin keeps, of many lines, the last of each place and day; what began or ended stays.
func (b *burnGather) thin(days *reportDays) {
	b.sort()
	kept := b.pending[:0]
	for i, p := range b.pending {
		if i+1 < len(b.pending) {
			next := b.pending[i+1]
			if p.rank == afterUsage && next.rank == afterUsage && (p.at-b.from)/b.step == (next.at-b.from)/b.step && days.at(p.at) == days.at(next.at) {
				continue
			}
		}
		kept = append(kept, p)
	}
	b.pending = kept
}

func (b *burnGather) sort() {
	slices.SortStableFunc(b.pending, func(x, y burnPoint) int { return cmp.Or(cmp.Compare(x.at, y.at), x.rank-y.rank) })
}

// endPeriod moves what the period had to the plot.
func (b *burnGather) endPeriod(days *reportDays) {
	b.sort()
	for _, p := range b.pending {
		day := p.at
		if p.rank == endOfPeriod { // what is left then belongs to what was before; what lapses with a cycle, to what follows
			day--
		}
		b.days[days.at(day)] = &p.left
		number := int64((p.at - b.from) / b.step)
		if b.place.filled && b.place.number != number {
			b.flush()
		}
		if !b.place.filled {
			b.place = burnPlace{number: number, filled: true, at: p.at, first: p.left, least: p.left, most: p.left}
		}
		if p.left.Cmp(b.place.least) < 0 {
			b.place.least = p.left
		}
		if p.left.Cmp(b.place.most) > 0 {
			b.place.most = p.left
		}
		b.place.last = p.left
	}
	b.pending = b.pending[:0]
	clear(b.ends)
}

// flush ends a place: its first, highest, lowest and last value, where they differ.
func (b *burnGather) flush() {
	if !b.place.filled {
		return
	}
	for _, left := range []rating.Amount{b.place.first, b.place.most, b.place.least, b.place.last} {
		if n := len(b.points); n == 0 || b.points[n-1].Left != page.Number(left) {
			b.points = append(b.points, page.Point{At: page.At(b.place.at), Left: page.Number(left)})
		}
	}
	b.place.filled = false
}

// daysLeft gives what was left at the end of each day, from the first to the last on which anything is known.
func (b *burnGather) daysLeft(days *reportDays) []page.DayLeft {
	list, last := []page.DayLeft{}, -1
	for i := range b.days {
		if b.days[i] != nil {
			last = i
		}
	}
	var left *rating.Amount
	for i := range last + 1 {
		if b.days[i] != nil {
			left = b.days[i]
		}
		if left != nil {
			list = append(list, page.DayLeft{Day: days.names[i], Left: page.Number(*left)})
		}
	}
	return list
}

// burn gives the plot's figures, up to an instant.
func (b *burnGather) burn(days *reportDays, to, until rating.Instant) *page.Burn {
	end := b.place
	b.flush()
	if n := len(b.points); n > 0 {
		last := page.Point{At: page.At(min(to, b.sum.ends)), Left: b.points[n-1].Left}
		if end.filled && last.At > b.points[n-1].At {
			b.points = append(b.points, last)
		}
	}
	slices.SortStableFunc(b.events, func(x, y page.Event) int { return cmp.Compare(x.At, y.At) })
	return &page.Burn{
		From: page.At(b.from), To: page.At(until), Points: append([]page.Point{}, b.points...), Events: append([]page.Event{}, b.events...), More: b.more,
		Days: b.daysLeft(days), Granted: page.Number(b.sum.inCycle), Begins: page.At(b.sum.cycle),
	}
}
