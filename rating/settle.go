package rating

import (
	"fmt"
)

// draw is what a record takes from one package.
type draw struct {
	run, cover         int32
	quantity, consumed int64
	before, after      int64
	rolledBefore       int64
}

// pair is what all lanes of one account and meter share: the month's quantities, the price in force, the charges.
type pair struct {
	account, meter int32
	month          Month
	late           bool
	usage, excess  int64 // Q of R1.3 for the month, both ways of counting
	price          int32
	from, until    Instant // the price is in force in between; empty until the first look
	total          Amount  // total(totalOf) at that price
	totalOf        int64
	charges        []Charge
	charge         int32 // the last one used
}

// addPair finds or makes the pair of an account and a meter. It is asked once a lane.
func (s *Settler) addPair(account, meter int32) int32 {
	n := len(s.pairs)
	if n < s.many {
		for i := range s.pairs {
			if p := &s.pairs[i]; p.account == account && p.meter == meter {
				return int32(i)
			}
		}
	} else {
		if len(s.pairOf) == 0 {
			for i := range s.pairs {
				s.pairOf[pairKey(s.pairs[i].account, s.pairs[i].meter)] = int32(i)
			}
		}
		if i, ok := s.pairOf[pairKey(account, meter)]; ok {
			return i
		}
		s.pairOf[pairKey(account, meter)] = int32(n)
	}
	if n < cap(s.pairs) {
		s.pairs = s.pairs[:n+1]
	} else {
		s.pairs = append(s.pairs, pair{})
	}
	s.pairs[n] = pair{account: account, meter: meter, month: s.month, price: None, totalOf: -1, charges: s.pairs[n].charges[:0]}
	return int32(n)
}

func pairKey(account, meter int32) uint64 { return uint64(uint32(account))<<32 | uint64(uint32(meter)) }

// settle takes one record through deduction, excess or stop.
func (s *Settler) settle(b *Batch, i int, t Instant) {
	attrs := int32(0)
	if b.Attrs != nil {
		attrs = b.Attrs[i]
	}
	l := s.laneFor(b.Account[i], b.Meter[i], attrs, t)
	quantity := b.Quantity[i]
	if len(s.watches) > 0 {
		s.watchBefore(b, i, l)
	}
	rest := s.deduct(l, quantity)
	totals := &s.Totals[l.meter]
	if rest > 0 {
		if !s.charge(b, i, l, quantity, rest) {
			s.undo(l)
			return
		}
	} else if quantity > 0 {
		p := &s.pairs[l.pair]
		if p.usage > maxQuantity-quantity {
			s.failRecord(b, i, "the month's quantity")
			return
		}
		p.usage += quantity
		s.emitDraws(b, i, l)
	}
	totals.Records++
	totals.Settled.addUnits(quantity)
	totals.Deducted.addUnits(quantity - rest)
}

const maxQuantity = int64(1<<63 - 1)

func (s *Settler) failRecord(b *Batch, i int, what string) {
	s.fail(fmt.Errorf("R1.5: record %q of account %q: %s: %w", b.ID(i), s.catalog.Accounts[b.Account[i]].ID, what, ErrOverflow))
}

// deduct draws a quantity from the lane's packages in order, and gives what none of them covers (R3.4). The draws are
// in s.draws; slots that have nothing left for this meter are out of the heap.
func (s *Settler) deduct(l *lane, quantity int64) int64 {
	s.draws, s.popped = s.draws[:0], s.popped[:0]
	rest := quantity
	for rest > 0 {
		sl := s.top(l)
		if sl == nil {
			break
		}
		r := &s.runs[sl.run]
		factor := r.pkg.Covers[sl.cover].Factor
		available := r.Remaining
		if factor != 1 {
			available /= factor
		}
		take := min(rest, available)
		if take > 0 {
			d := draw{run: sl.run, cover: sl.cover, quantity: take, consumed: take * factor, before: r.Remaining, rolledBefore: r.Rolled}
			r.Remaining -= d.consumed
			r.Rolled = max(0, r.Rolled-d.consumed)
			d.after = r.Remaining
			s.draws = append(s.draws, d)
			rest -= take
		}
		if r.Remaining < factor {
			s.popped = append(s.popped, l.heap[0])
			s.remove(l, 0)
		}
	}
	return rest
}

// undo gives back what the last record drew.
func (s *Settler) undo(l *lane) {
	for i := range s.draws {
		r := &s.runs[s.draws[i].run]
		r.Remaining, r.Rolled = s.draws[i].before, s.draws[i].rolledBefore
	}
	for _, n := range s.popped {
		if sl := &l.slots[n]; s.runs[sl.run].Remaining >= s.runs[sl.run].pkg.Covers[sl.cover].Factor {
			sl.rank = s.rankOf(&s.runs[sl.run], &s.runs[sl.run].pkg.Covers[sl.cover], sl.own)
			s.push(l, n)
		}
	}
	if s.bySize { // ranks may have been made worse by draws that are taken back
		for n := range l.slots {
			if sl := &l.slots[n]; sl.place != None {
				s.remove(l, sl.place)
				sl.rank = s.rankOf(&s.runs[sl.run], &s.runs[sl.run].pkg.Covers[sl.cover], sl.own)
				s.push(l, int32(n))
			}
		}
	}
}

// charge books what is left of a record: as excess, or as stopped. False: it cannot be priced, and nothing is booked.
func (s *Settler) charge(b *Batch, i int, l *lane, quantity, rest int64) bool {
	t := b.Time[i]
	if l.stops {
		if stopping := s.stopping(l, t); stopping != nil {
			p := &s.pairs[l.pair]
			if p.usage > maxQuantity-(quantity-rest) {
				s.failRecord(b, i, "the month's quantity")
				return true
			}
			p.usage += quantity - rest // stopped usage never counts
			s.emitDraws(b, i, l)
			line := s.newLine(b, i, Stopped, rest)
			s.Result.Lines = append(s.Result.Lines, line)
			s.Totals[l.meter].Stopped.addUnits(rest)
			s.noticeStop(b, i, l, stopping)
			return true
		}
	}
	p := &s.pairs[l.pair]
	if t < p.from || t >= p.until {
		p.price, p.from, p.until = s.catalog.priceAt(l.account, l.meter, t)
		p.totalOf = -1
	}
	if p.price == None {
		s.Result.Unpriced = append(s.Result.Unpriced, Unpriced{
			Object: b.Object[i], Row: b.Row[i], Account: l.account, Meter: l.meter, Time: t, Quantity: quantity, ID: string(b.ID(i)),
		})
		return false
	}
	if p.usage > maxQuantity-quantity || p.excess > maxQuantity-rest {
		s.failRecord(b, i, "the month's quantity")
		return true
	}
	s.emitDraws(b, i, l)
	p.usage += quantity - rest
	s.chargeExcess(b, i, p, rest)
	s.Totals[l.meter].Excess.addUnits(rest)
	return true
}

// chargeExcess books excess at the price in force; a graduated price is split at the borders of its tiers (R3.5).
func (s *Settler) chargeExcess(b *Batch, i int, p *pair, rest int64) {
	price := &s.catalog.Prices[p.price]
	for rest > 0 {
		counted := p.excess
		if price.CountsUsage {
			counted = p.usage
		}
		part, tier := rest, 0
		switch price.Model {
		case Graduated:
			tier = price.total.tierOf(counted + 1)
			part = min(rest, price.Tiers[tier].UpTo-counted)
			tier++
		case Volume:
			tier = price.total.tierOf(counted+part) + 1
		}
		amount, ok := p.amount(price, counted, part)
		if !ok {
			s.failRecord(b, i, "its amount")
			return
		}
		line := s.newLine(b, i, Excess, part)
		line.Price, line.Tier, line.Amount = p.price, int32(tier), amount
		s.Result.Lines = append(s.Result.Lines, line)
		p.usage += part
		p.excess += part
		rest -= part
		s.addCharge(b, i, p, &line)
		s.takeCash(b, i, &line, price)
	}
}

// amount is total(Q after) - total(Q before); the total after is kept for the next record.
func (p *pair) amount(price *Price, counted, part int64) (Amount, bool) {
	before, ok := p.total, true
	if p.totalOf != counted {
		if before, ok = price.total.total(counted); !ok {
			return Amount{}, false
		}
	}
	after, ok := price.total.total(counted + part)
	if !ok {
		return Amount{}, false
	}
	p.total, p.totalOf = after, counted+part
	return after.Sub(before)
}

func (s *Settler) addCharge(b *Batch, i int, p *pair, line *Line) {
	c := s.chargeOf(p, line.Price, line.Tier)
	var ok bool
	c.Quantity += line.Quantity // at most the month's excess, which fits
	if c.Amount, ok = c.Amount.Add(line.Amount); !ok {
		s.failRecord(b, i, "the sum of its charges")
	}
	c.LineCount++
}

func (s *Settler) chargeOf(p *pair, price, tier int32) *Charge {
	if int(p.charge) < len(p.charges) {
		if c := &p.charges[p.charge]; c.Price == price && c.Tier == tier {
			return c
		}
	}
	for i := range p.charges {
		if c := &p.charges[i]; c.Price == price && c.Tier == tier {
			p.charge = int32(i)
			return c
		}
	}
	p.charge = int32(len(p.charges))
	p.charges = append(p.charges, Charge{Account: p.account, Meter: p.meter, Price: price, Tier: tier, Month: p.month, Late: p.late})
	return &p.charges[p.charge]
}

func (s *Settler) bookCharges() {
	for i := range s.pairs {
		s.Result.Charges = append(s.Result.Charges, s.pairs[i].charges...)
	}
	for i := range s.late.pairs {
		s.Result.Charges = append(s.Result.Charges, s.late.pairs[i].charges...)
	}
}

// takeCash lowers the payer's balance by a charge, and tells once when it does not suffice (R6.3). A charge in another
// currency than the payer's cannot meet a tracked balance: the catalog refuses such prices.
func (s *Settler) takeCash(b *Batch, i int, line *Line, price *Price) {
	if !s.tracked {
		return
	}
	var ok bool
	if s.cash, ok = s.cash.Sub(line.Amount); !ok {
		s.failRecord(b, i, "the payer's balance")
		return
	}
	if s.cash.Sign() < 0 && !s.arrears && line.Amount.Sign() > 0 {
		s.arrears = true
		s.noticeArrears(b, i)
	}
}

// emitDraws makes lines of the last record's draws, books them, and lets alerts fire.
func (s *Settler) emitDraws(b *Batch, i int, l *lane) {
	for k := range s.draws {
		d := &s.draws[k]
		r := &s.runs[d.run]
		line := s.newLine(b, i, Deduction, d.quantity)
		line.Package, line.CycleStart = r.Package, r.CycleStart
		line.Consumed, line.RemainingBefore, line.RemainingAfter = d.consumed, d.before, d.after
		s.Result.Lines = append(s.Result.Lines, line)
		r.row.Deducted += d.consumed
		if d.after <= r.alertFloor {
			s.alert(r, d, b.Time[i], b.ID(i))
		}
	}
}

// newLine makes the next line of a record. Its id stands in Result.IDs once for all of its lines.
func (s *Settler) newLine(b *Batch, i int, kind LineKind, quantity int64) Line {
	line := Line{
		EventTime: b.Time[i], Account: b.Account[i], Meter: b.Meter[i], Kind: kind, Quantity: quantity,
		Package: None, Price: None, SourceObject: b.Object[i], SourceRow: b.Row[i], LineNo: 1,
		Late: b.Time[i] < s.period.Start,
	}
	if n := len(s.Result.Lines); n > 0 {
		last := &s.Result.Lines[n-1]
		if last.SourceRow == line.SourceRow && last.SourceObject == line.SourceObject && last.Meter == line.Meter &&
			last.EventTime == line.EventTime && string(s.Result.RecordID(last)) == string(b.ID(i)) {
			line.LineNo = last.LineNo + 1
			line.IDStart, line.IDEnd = last.IDStart, last.IDEnd
			return line
		}
	}
	line.IDStart = uint32(len(s.Result.IDs))
	s.Result.IDs = append(s.Result.IDs, b.ID(i)...)
	line.IDEnd = uint32(len(s.Result.IDs))
	return line
}

// stopping gives the package that stops what the lane's packages do not cover, the first in order; nil when some
// pay-per-use package is held, or none of either kind (R3.6). Held is a package from its effective time to the end of
// its retention, used up or not.
func (s *Settler) stopping(l *lane, t Instant) *packageRun {
	if !l.verdict.known || s.bySize { // size changes with every draw
		l.verdict = verdict{known: true, run: s.findStopping(l, t)}
	}
	if l.verdict.run == None {
		return nil
	}
	return &s.runs[l.verdict.run]
}

func (s *Settler) findStopping(l *lane, t Instant) int32 {
	first := None
	var firstRank rank
	for i := range l.slots {
		sl := &l.slots[i]
		r := &s.runs[sl.run]
		if r.Stage == StageFuture || r.Stage == StageEnded {
			continue
		}
		c := s.coverAt(sl, t)
		if c == None {
			continue
		}
		if r.pkg.Kind == PayPerUse {
			return None
		}
		rank := s.rankOf(r, &r.pkg.Covers[c], sl.own)
		if first == None || rank.before(&firstRank, s.keys, r.Package, s.runs[first].Package) {
			first, firstRank = sl.run, rank
		}
	}
	return first
}
