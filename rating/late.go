package rating

import (
	"cmp"
	"fmt"
	"slices"
)

// Late usage (R5.5) is of periods that are closed, and settled in the first one that is open, before anything happens
// there. What a package had left at the time of a record is what its cycle of then left when it was over, or what is left
// of it now where it is still running, and what rolled over from it and is left of that; less what was granted after that
// time. How far the package's life had come follows from the catalog alone.

// lateBook is what late records of a payer's period need, and what they change.
type lateBook struct {
	last   Instant           // time of the last record
	begun  bool              // lives are there
	lives  []lateRun         // of all packages of the payer
	next   Instant           // nothing happens to them before
	owned  map[int32][]int32 // numbers of those that no other account may draw on, by owner: a group may have thousands
	open   []int32           // numbers of the shared ones
	pairs  []pair
	rows   []Balance // of cycles that are over
	order  []lateCandidate
	draws  []lateDraw
	pairOf map[monthKey]int // numbers of pairs
	rowOf  map[cycleKey]int // numbers of rows
}

type (
	monthKey struct {
		account, meter int32
		month          Month
	}
	cycleKey struct {
		pkg   int32
		start Instant
	}
)

// lateRun is a package's life, as it had come by the time of a record, as if nobody had drawn on it.
type lateRun struct {
	packageRun
	now int32 // number of the package's run in the period, or None
}

// latePool is what may be drawn of one cycle.
type latePool struct {
	run  int32 // the package's run, where the cycle is its current one; else None
	left int32 // number of what the cycle left; else None
	most int64 // units that a record of a time may draw
}

// lateCandidate is a package that is held at the time of a record, by the entry that matches.
type lateCandidate struct {
	life, cover int32
	own         bool
	pools       [2]latePool // of its cycle, and of what rolled over from that
	rank        rank
}

type lateDraw struct {
	draw
	pool latePool
	life int32
}

// leave keeps what a cycle leaves that is over.
func (s *Settler) leave(r *packageRun, left int64, silent bool) {
	if silent || left == 0 && len(r.Raises) == 0 {
		return
	}
	s.left = append(s.left, Leftover{
		Package: r.Package, Scale: r.Scale, CycleStart: r.CycleStart, CycleEnd: r.CycleEnd, ServesFrom: r.ServesFrom,
		LapsedAt: r.LapsedAt, Quota: r.Quota, Left: left, Rolled: r.Rolled, Raises: r.Raises,
	})
}

// takeBack gives what lapsed with a package's cycle back to it, and with it what resizes had added.
func (s *Settler) takeBack(r *packageRun) (raises []Raise) {
	if n := s.leftOf(r.Package, r.CycleStart); n != None {
		raises = s.left[n].Raises
		s.left = slices.Delete(s.left, int(n), int(n)+1)
	}
	return raises
}

// leftOf gives the number of what a cycle left, or None. What is left is in order as long as nothing has happened in the
// period.
func (s *Settler) leftOf(pkg int32, cycleStart Instant) int32 {
	n, found := slices.BinarySearchFunc(s.left, cycleStart, func(f Leftover, start Instant) int {
		return cmp.Or(cmp.Compare(f.Package, pkg), cmp.Compare(f.CycleStart, start))
	})
	if !found {
		return None
	}
	return int32(n)
}

func (s *Settler) beginLate(opening *PayerState) {
	l := &s.late
	l.last, l.begun = Beginning, false
	l.lives, l.pairs, l.rows = l.lives[:0], l.pairs[:0], l.rows[:0]
	s.older = s.older[:0]
	s.left = append(s.left[:0], opening.Leftovers...)
	for i := range s.left {
		f := &s.left[i]
		rise := s.catalog.Packages[f.Package].Scale - int(f.Scale)
		if rise == 0 {
			continue
		}
		f.Scale += int32(rise)
		f.Raises = risen(f.Raises, rise)
		for _, quantity := range [...]*int64{&f.Quota, &f.Left, &f.Rolled} {
			*quantity *= pow10[rise]
		}
	}
}

// cut takes a fall of the quota from raises, the last one first: what was added last is the first to go.
func cut(raises []Raise, fall int64) []Raise {
	rest := slices.Clone(raises)
	for n := len(rest); n > 0 && fall > 0; n = len(rest) {
		taken := min(rest[n-1].Quantity, fall)
		fall -= taken
		if rest[n-1].Quantity -= taken; rest[n-1].Quantity == 0 {
			rest = rest[:n-1]
		}
	}
	return rest
}

// risen gives raises in units that are finer by so many decimals.
func risen(raises []Raise, rise int) []Raise {
	finer := slices.Clone(raises)
	for i := range finer {
		finer[i].Quantity *= pow10[rise]
	}
	return finer
}

// risenCounter gives a counter in the meter's present scale.
func (s *Settler) risenCounter(c Counter) Counter {
	scale := s.catalog.Meters[c.Meter].Scale
	rise := pow10[scale-int(c.Scale)]
	c.Scale, c.Usage, c.Excess = int32(scale), c.Usage*rise, c.Excess*rise
	return c
}

// closeLeftovers keeps what late usage may still draw on.
func (s *Settler) closeLeftovers(closing *PayerState) {
	for i := range s.left {
		if f := &s.left[i]; f.CycleEnd > s.period.End-s.horizon && (f.Left > 0 || len(f.Raises) > 0) {
			closing.Leftovers = append(closing.Leftovers, *f)
		}
	}
	slices.SortFunc(closing.Leftovers, func(a, b Leftover) int {
		return cmp.Or(cmp.Compare(a.Package, b.Package), cmp.Compare(a.CycleStart, b.CycleStart))
	})
}

// AddLate settles records of the payer that are of closed periods, in canonical order, also across calls, and before any
// record of the period itself.
func (s *Settler) AddLate(b *Batch) error {
	for i, t := range b.Time {
		if t < s.late.last || t >= s.period.Start || len(s.lanes.lanes) > 0 {
			return fmt.Errorf("late record %q at %v does not follow one at %v before the period [%v, %v)",
				b.ID(i), t, s.late.last, s.period.Start, s.period.End)
		}
		s.late.last = t
		s.settleLate(b, i, t)
		if s.err != nil {
			return s.err
		}
	}
	return nil
}

// liveUntil brings all packages of the payer to where they were at t.
func (s *Settler) liveUntil(t Instant) {
	l := &s.late
	if !l.begun {
		l.begun, l.next = true, Beginning
		l.owned, l.open = map[int32][]int32{}, l.open[:0]
		l.pairOf, l.rowOf = map[monthKey]int{}, map[cycleKey]int{}
		now := 0
		for _, index := range s.catalog.packagesOf.of(s.payer) {
			pkg := &s.catalog.Packages[index]
			life := lateRun{packageRun: packageRun{pkg: pkg, zone: s.zoneOf(pkg.Account)}, now: None}
			if now < len(s.runs) && s.runs[now].Package == index {
				life.now = int32(now)
				now++
			}
			life.PackageState = PackageState{Package: index, TermStart: pkg.Effective, TermEnd: pkg.Expires, Quota: pkg.Quota, Scale: int32(pkg.Scale)}
			life.setCycle(0)
			if n := int32(len(l.lives)); pkg.Shared {
				l.open = append(l.open, n)
			} else {
				l.owned[pkg.Account] = append(l.owned[pkg.Account], n)
			}
			l.lives = append(l.lives, life)
		}
	}
	if t < l.next {
		return
	}
	l.next = Never
	for i := range l.lives {
		r := &l.lives[i].packageRun
		for r.nextEvent() <= t {
			r.skipUnusedCycles(t + 1)
			if next := r.nextEvent(); next <= t {
				s.apply(r, next, true)
			}
		}
		l.next = min(l.next, r.nextEvent())
	}
}

// settleLate takes one record through deduction, excess or stop.
func (s *Settler) settleLate(b *Batch, i int, t Instant) {
	s.liveUntil(t)
	account, meter, quantity := b.Account[i], b.Meter[i], b.Quantity[i]
	s.findLate(b, i, t)
	p := s.latePair(account, meter, monthOf(s.billing.wall(t)))
	s.watchLate(b, i, t, p)
	rest := s.drawLate(quantity)
	stopping := None
	if rest > 0 {
		stopping = s.stoppingLate()
	}
	if rest > 0 && stopping == None {
		if t < p.from || t >= p.until {
			p.price, p.from, p.until = s.catalog.priceAt(account, meter, t)
			p.totalOf = -1
		}
		if p.price == None {
			s.Result.Unpriced = append(s.Result.Unpriced, Unpriced{
				Object: b.Object[i], Row: b.Row[i], Account: account, Meter: meter, Time: t, Quantity: quantity, ID: string(b.ID(i)),
			})
			return
		}
	}
	if p.usage > maxQuantity-quantity || p.excess > maxQuantity-rest {
		s.failRecord(b, i, "the month's quantity")
		return
	}
	s.bookLate(b, i)
	p.usage += quantity - rest
	var sums Totals
	sums.Records = 1
	sums.Settled.addUnits(quantity)
	sums.Deducted.addUnits(quantity - rest)
	switch {
	case stopping != None:
		s.Result.Lines = append(s.Result.Lines, s.newLine(b, i, Stopped, rest))
		sums.Stopped.addUnits(rest)
		s.tellLateStop(b, i, stopping)
	case rest > 0:
		s.chargeExcess(b, i, p, rest)
		sums.Excess.addUnits(rest)
	}
	s.countLate(p)
	s.Totals[meter].Add(&sums)
	s.LateTotals[meter].Add(&sums)
}

// findLate collects the packages that are held at t, in deduction order, with what they had left then.
func (s *Settler) findLate(b *Batch, i int, t Instant) {
	var attributes AttributeSet
	if b.Attrs != nil && b.Attrs[i] != 0 {
		attributes = s.sets[b.Attrs[i]]
	}
	l := &s.late
	l.order = l.order[:0]
	for _, lives := range [...][]int32{l.owned[b.Account[i]], l.open} {
		for _, n := range lives {
			life := &l.lives[n]
			if life.Stage == StageFuture || life.Stage == StageEnded {
				continue
			}
			own := life.pkg.Account == b.Account[i]
			cover := life.coverOf(b.Meter[i], attributes, own, t)
			if cover == None {
				continue
			}
			c := lateCandidate{life: n, cover: cover, own: own, pools: s.latePools(life, t)}
			s.rankLate(&c)
			l.order = append(l.order, c)
		}
	}
	s.sortLate()
}

func (s *Settler) rankLate(c *lateCandidate) {
	r := s.late.lives[c.life].packageRun
	r.Remaining = c.pools[0].most + c.pools[1].most
	c.rank = s.rankOf(&r, &r.pkg.Covers[c.cover], c.own)
}

func (s *Settler) sortLate() {
	slices.SortFunc(s.late.order, func(a, b lateCandidate) int {
		if a.rank.before(&b.rank, s.keys, a.life, b.life) { // lives are in the order of packages
			return -1
		}
		return 1
	})
}

// coverOf gives the entry that serves a record, the one that scope puts first, or None.
func (r *packageRun) coverOf(meter int32, attributes AttributeSet, own bool, t Instant) int32 {
	best, bestScope := None, int64(0)
	for n := range r.pkg.Covers {
		c := &r.pkg.Covers[n]
		if c.Meter != meter || !attributes.meet(c.Where) || c.Hours != (Hours{}) && !c.Hours.hold(r.zone, t) {
			continue
		}
		if scope := scopeOf(c, own); best == None || scope < bestScope {
			best, bestScope = int32(n), scope
		}
	}
	return best
}

// latePools says what a package had left at t of what is left now.
func (s *Settler) latePools(life *lateRun, t Instant) (pools [2]latePool) {
	pools[0].run, pools[0].left, pools[1].run, pools[1].left = None, None, None, None
	if life.Stage != StageLive {
		return pools
	}
	own, left, _, raises := s.latePool(life, life.CycleStart, t)
	_, next, _ := life.zone.cycleBounds(life.pkg.Reset, life.TermStart, int(life.Cycle))
	rolled, _, rest, _ := s.latePool(life, next, t)
	rest = min(rest, maxQuantity-left)
	total := left + rest // what was granted later is drawn last, so the rest is from before
	for _, raise := range raises {
		if raise.At > t {
			total = max(0, total-raise.Quantity)
		}
	}
	own.most = max(0, min(left, total))
	rolled.most = max(0, min(rest, total-own.most))
	return [2]latePool{own, rolled}
}

// latePool finds what is left of a package's cycle, the part of it that rolled over from the cycle before, and the raises.
func (s *Settler) latePool(life *lateRun, cycleStart, t Instant) (p latePool, left, rolled int64, raises []Raise) {
	p = latePool{run: None, left: None}
	serves := func(from, lapsed Instant) bool { return t >= from || t < lapsed }
	if life.now != None {
		if r := &s.runs[life.now]; r.Stage == StageLive && r.CycleStart == cycleStart {
			if !serves(r.ServesFrom, r.LapsedAt) {
				return p, 0, 0, nil
			}
			p.run = life.now
			return p, r.Remaining, r.Rolled, r.Raises
		}
	}
	if n := s.leftOf(life.Package, cycleStart); n != None {
		if f := &s.left[n]; serves(f.ServesFrom, f.LapsedAt) {
			p.left = n
			return p, f.Left, f.Rolled, f.Raises
		}
	}
	return p, 0, 0, nil
}

// drawLate draws a quantity in order, and gives what nothing covers. Nothing is changed yet but what may be drawn.
func (s *Settler) drawLate(quantity int64) (rest int64) {
	l := &s.late
	l.draws = l.draws[:0]
	rest = quantity
	for n := range l.order {
		c := &l.order[n]
		factor := l.lives[c.life].pkg.Covers[c.cover].Factor
		for k := range c.pools {
			pool := &c.pools[k]
			take := min(rest, pool.most/factor)
			if take == 0 {
				continue
			}
			l.draws = append(l.draws, lateDraw{draw{cover: c.cover, quantity: take, consumed: take * factor}, *pool, c.life})
			pool.most -= take * factor
			rest -= take
		}
	}
	return rest
}

// stoppingLate gives the life that stops what is not covered, the first in order once all is drawn (R3.6); None: none does.
func (s *Settler) stoppingLate() int32 {
	l := &s.late
	for n := range l.order {
		if l.lives[l.order[n].life].pkg.Kind == PayPerUse {
			return None
		}
		if s.bySize {
			s.rankLate(&l.order[n])
		}
	}
	if len(l.order) == 0 {
		return None
	}
	if s.bySize {
		s.sortLate()
	}
	return l.order[0].life
}

// tellLateStop tells of a service stop, unless the cycle is over: then it came to nothing.
func (s *Settler) tellLateStop(b *Batch, i int, stopping int32) {
	life := &s.late.lives[stopping]
	if life.now == None {
		return
	}
	if r := &s.runs[life.now]; r.CycleStart == life.CycleStart && r.CycleEnd > s.period.Start {
		s.tellStop(Stop{b.Account[i], b.Meter[i], life.Package, life.CycleStart}, s.period.Start, b.ID(i))
	}
}

// bookLate books the draws of the last record. What a cycle had left was booked as expired when it was over, so that this
// is taken back.
func (s *Settler) bookLate(b *Batch, i int) {
	for n := range s.late.draws {
		d := &s.late.draws[n]
		life := &s.late.lives[d.life]
		line := s.newLine(b, i, Deduction, d.quantity)
		line.Package, line.Consumed = life.Package, d.consumed
		if d.pool.run != None {
			r := &s.runs[d.pool.run]
			d.before = r.Remaining
			r.Remaining -= d.consumed
			r.Rolled = max(0, r.Rolled-d.consumed)
			d.after = r.Remaining
			r.row.Deducted += d.consumed
			line.CycleStart = r.CycleStart
			if d.after <= r.alertFloor && r.CycleEnd > s.period.Start { // else it is over, and nobody can do anything about it
				s.alert(r, &d.draw, s.period.Start, b.ID(i))
			}
		} else {
			f := &s.left[d.pool.left]
			d.before = f.Left
			f.Left -= d.consumed
			f.Rolled = max(0, f.Rolled-d.consumed)
			d.after = f.Left
			line.CycleStart = f.CycleStart
			row := s.lateRow(life, f)
			row.Deducted += d.consumed
			row.Expired -= d.consumed
		}
		line.RemainingBefore, line.RemainingAfter = d.before, d.after
		s.Result.Lines = append(s.Result.Lines, line)
	}
}

// lateRow gives the balances row of a cycle that is over: the package's own, where it has not gone on since.
func (s *Settler) lateRow(life *lateRun, f *Leftover) *Balance {
	if life.now != None {
		if r := &s.runs[life.now]; r.CycleStart == f.CycleStart {
			r.Lapsed = min(r.Lapsed, f.Left)
			return &r.row
		}
	}
	rows, key := &s.late.rows, cycleKey{f.Package, f.CycleStart}
	if n, found := s.late.rowOf[key]; found {
		return &(*rows)[n]
	}
	s.late.rowOf[key] = len(*rows)
	*rows = append(*rows, Balance{
		Package: f.Package, CycleStart: f.CycleStart, CycleEnd: f.CycleEnd, Quota: f.Quota, State: StateExpired,
	})
	return &(*rows)[len(*rows)-1]
}

// latePair finds or makes what late records of an account, a meter and a month share.
func (s *Settler) latePair(account, meter int32, month Month) *pair {
	pairs, key := &s.late.pairs, monthKey{account, meter, month}
	if n, found := s.late.pairOf[key]; found {
		return &(*pairs)[n]
	}
	s.late.pairOf[key] = len(*pairs)
	p := pair{account: account, meter: meter, month: month, late: true, price: None, totalOf: -1}
	if month == s.month {
		now := &s.pairs[s.addPair(account, meter)]
		p.usage, p.excess = now.usage, now.excess
	} else if n, found := s.olderCounter(&p); found {
		p.usage, p.excess = s.older[n].Usage, s.older[n].Excess
	}
	*pairs = append(*pairs, p)
	return &(*pairs)[len(*pairs)-1]
}

func (s *Settler) olderCounter(p *pair) (int, bool) {
	return slices.BinarySearchFunc(s.older, p, func(c Counter, p *pair) int {
		return cmp.Or(cmp.Compare(c.Account, p.account), cmp.Compare(c.Meter, p.meter), cmp.Compare(c.Month, p.month))
	})
}

// countLate lets a month's quantities go on from what late records came to.
func (s *Settler) countLate(p *pair) {
	if p.month == s.month {
		now := &s.pairs[s.addPair(p.account, p.meter)]
		now.usage, now.excess = p.usage, p.excess
		return
	}
	if p.usage == 0 {
		return
	}
	n, found := s.olderCounter(p)
	if !found {
		s.older = slices.Insert(s.older, n, Counter{
			Account: p.account, Meter: p.meter, Month: p.month, Scale: int32(s.catalog.Meters[p.meter].Scale),
		})
	}
	s.older[n].Usage, s.older[n].Excess = p.usage, p.excess
}

// watchLate takes down what a watched record meets.
func (s *Settler) watchLate(b *Batch, i int, t Instant, p *pair) {
	if _, ok := s.watches[watchKey{p.account, string(b.ID(i))}]; !ok {
		return
	}
	e := Explanation{
		Account: p.account, Meter: p.meter, Time: t, ID: string(b.ID(i)), Object: b.Object[i], Row: b.Row[i],
		Quantity: b.Quantity[i], Usage: p.usage, Excess: p.excess,
	}
	e.Price, _, _ = s.catalog.priceAt(p.account, p.meter, t)
	held := map[int32]bool{}
	var before *lateCandidate
	for n := range s.late.order {
		c := &s.late.order[n]
		life := &s.late.lives[c.life]
		left := c.pools[0].most + c.pools[1].most
		held[c.life] = true
		switch {
		case life.Stage != StageLive:
			e.NotEligible = append(e.NotEligible, Rejection{life.Package, "expired at " + life.TermEnd.String()})
			continue
		case left < life.pkg.Covers[c.cover].Factor:
			e.NotEligible = append(e.NotEligible, Rejection{life.Package, "nothing is left of what it had then"})
			continue
		}
		found := Candidate{Package: life.Package, Cover: c.cover, CycleStart: life.CycleStart, CycleEnd: life.CycleEnd, Remaining: left}
		if before != nil {
			found.DecidedBy = s.decidingKey(&before.rank, &c.rank)
		}
		before = c
		e.Eligible = append(e.Eligible, found)
	}
	for n := range s.late.lives {
		if life := &s.late.lives[n]; !held[int32(n)] {
			e.NotEligible = append(e.NotEligible, Rejection{life.Package, life.whyNotHeld(p.account, t)})
		}
	}
	slices.SortFunc(e.NotEligible, func(x, y Rejection) int { return int(x.Package - y.Package) })
	s.Explanations = append(s.Explanations, e)
}

// whyNotHeld says in words why a package is none for a record at t.
func (r *packageRun) whyNotHeld(account int32, t Instant) string {
	switch {
	case r.pkg.Account != account && !r.pkg.Shared:
		return "belongs to another account and is not shared"
	case r.Stage == StageFuture:
		return "not effective before " + r.TermStart.String()
	case r.revoked:
		return "revoked"
	case r.Stage == StageEnded:
		return "released at " + r.releaseAt.String()
	}
	return "does not cover this meter with these attributes at that time"
}

// order puts false before true.
func order(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}
