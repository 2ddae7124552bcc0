package rating_test

import (
	"math/big"
	"slices"
)

// The model's late usage (R5.5): everything that is left of the past is kept for ever, and how far a package had come at a
// time is found by letting a fresh one live until then.

type modelRaise struct {
	at       int64
	quantity *big.Rat
}

// modelPast is a cycle that is over.
type modelPast struct {
	start, end          int64
	quota, left, rolled *big.Rat
	raises              []modelRaise
}

// settledLate tells whether a record is settled late in the period that starts then; beyond the horizon it is put aside.
func (r *modelRecord) settledLate(w *modelWorld, start int64) bool {
	return r.Delivered == start && r.Time >= start-w.LateHorizon
}

// modelPool is what may be drawn of one cycle.
type modelPool struct {
	p       *modelPackage
	past    *modelPast // nil: the current cycle
	most    *big.Rat
	present bool
}

// pool finds what is left of a cycle, and the part of it that rolled over from the one before.
func (p *modelPackage) pool(start int64) (pool modelPool, left, rolled *big.Rat, raises []modelRaise) {
	if p.stage == "live" && p.currentCycle().start == start {
		return modelPool{p: p, present: true}, p.remaining, p.rolled, p.raises
	}
	for _, past := range p.past {
		if past.start == start {
			return modelPool{p: p, past: past, present: true}, past.left, past.rolled, past.raises
		}
	}
	return modelPool{p: p}, nought(), nought(), nil
}

// poolsAt says what a package had left at a time, of its cycle of then and of what rolled over from that.
func (p *modelPackage) poolsAt(life *modelPackage, t int64) []modelPool {
	if life.stage != "live" {
		return nil
	}
	start := life.currentCycle().start
	next := start
	for n := life.cycle + 1; next <= start; n++ {
		next = cycleStart(life.reset, life.termStart, n, life.zone)
	}
	own, left, _, raises := p.pool(start)
	after, _, rolled, _ := p.pool(next)
	total := plus(left, rolled)
	for _, raise := range raises {
		if raise.at > t {
			total = minus(total, raise.quantity)
		}
	}
	total = larger(total, nought())
	own.most = smaller(left, total)
	after.most = smaller(rolled, minus(total, own.most))
	return []modelPool{own, after}
}

// settleLate settles a record in the period that starts then.
func (m *modelSettler) settleLate(r *modelRecord, start int64) {
	then := newModelSettler(m.world)
	then.out = &modelPeriod{}
	then.advance(r.Time, true)
	held := then.candidates(r)
	pools := map[string][]modelPool{}
	for _, c := range held {
		for _, p := range m.packages {
			if p.id == c.p.id {
				pools[p.id] = p.poolsAt(c.p, r.Time)
			}
		}
		c.p.remaining = nought()
		for _, pool := range pools[c.p.id] {
			c.p.remaining = plus(c.p.remaining, pool.most)
		}
	}
	slices.SortFunc(held, m.compare)
	type drawing struct {
		pool           modelPool
		taken, consume *big.Rat
	}
	var drawings []drawing
	rest, covered := modelNumber(r.Quantity), nought()
	for _, c := range held {
		for _, pool := range pools[c.p.id] {
			taken := smaller(rest, floored(over(pool.most, c.entry.rate), m.scale[r.Meter]))
			if taken.Sign() > 0 {
				consume := times(taken, c.entry.rate)
				drawings = append(drawings, drawing{pool, taken, consume})
				rest, covered = minus(rest, taken), plus(covered, taken)
				c.p.remaining = minus(c.p.remaining, consume)
			}
		}
	}
	stopper := stoppingPackage(held)
	price := m.priceFor(r)
	if rest.Sign() > 0 && stopper == nil && price == nil {
		m.out.Unpriced = append(m.out.Unpriced, modelUnpriced{r.Account, r.Meter, r.Time, r.ID})
		return
	}
	told := *r
	told.Time = start
	add := m.adder(r, true)
	for _, d := range drawings {
		before, after, cycle := m.drawPast(&told, d.pool, d.consume)
		add(modelLine{
			Kind: "deduction", Package: d.pool.p.id, CycleStart: cycle, quantity: d.taken,
			Consumed: decimalText(d.consume), Before: decimalText(before), After: decimalText(after),
		})
	}
	m.finish(r, &told, rest, covered, stopper, price, add, func() {
		slices.SortFunc(held, m.compare)
		life := stoppingPackage(held)
		for _, p := range m.packages { // of a cycle that is over nobody is told any more
			if p.id == life.id && p.held() && p.currentCycle().start == life.currentCycle().start && p.currentCycle().end > start {
				m.stop(&told, p)
			}
		}
	})
}

// drawPast draws on a cycle, and takes back what of it was booked as expired.
func (m *modelSettler) drawPast(told *modelRecord, pool modelPool, consume *big.Rat) (before, after *big.Rat, cycle int64) {
	p := pool.p
	if pool.past == nil {
		before = p.remaining
		thresholds := p.thresholds
		if p.cycleEnd() <= told.Time { // of a cycle that is over, nobody is alerted
			p.thresholds = nil
		}
		p.draw(told, consume)
		p.thresholds = thresholds
		return before, p.remaining, p.currentCycle().start
	}
	past := pool.past
	before = past.left
	past.left = minus(past.left, consume)
	past.rolled = larger(nought(), minus(past.rolled, consume))
	if row := p.currentCycle(); p.held() && row.start == past.start {
		row.deducted, row.expired = plus(row.deducted, consume), minus(row.expired, consume)
		return before, past.left, past.start
	}
	for i := range m.out.Balances {
		if b := &m.out.Balances[i]; b.Package == p.id && b.CycleStart == past.start {
			b.Deducted = decimalText(plus(modelNumber(b.Deducted), consume))
			b.Expired = decimalText(minus(modelNumber(b.Expired), consume))
			return before, past.left, past.start
		}
	}
	m.out.Balances = append(m.out.Balances, modelBalance{
		Package: p.id, Account: p.account, CycleStart: past.start, CycleEnd: past.end, Quota: decimalText(past.quota), Opening: "0", Granted: "0",
		RolledOver: "0", Deducted: decimalText(consume), Expired: decimalText(minus(nought(), consume)), Revoked: "0", Closing: "0", State: "expired",
	})
	return before, past.left, past.start
}

// cutModel takes a fall of the quota from raises, the last one first.
func cutModel(raises []modelRaise, fall *big.Rat) (rest []modelRaise) {
	for i := len(raises) - 1; i >= 0; i-- {
		taken := smaller(raises[i].quantity, fall)
		fall = minus(fall, taken)
		rest = append(rest, modelRaise{raises[i].at, minus(raises[i].quantity, taken)})
	}
	slices.Reverse(rest)
	return rest
}
