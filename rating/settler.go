package rating

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Settler settles payers, one after another, and re-uses its memory. It is not safe for concurrent use; any number of
// them may work side by side on one Catalog.
//
//	s := rating.NewSettler(catalog, config, sets)
//	s.Begin(payer, period, opening)
//	s.AddLate(batch) // any number of times: usage of closed periods, in canonical order
//	s.Add(batch)     // any number of times: the period's own, likewise
//	closing, err := s.End()
//
// What comes out stands in Result, to which every call appends; the caller takes it and resets it when it likes.
type Settler struct {
	Result Result
	// Totals are sums by meter, to which every record adds. The caller may put others in their place between payers.
	Totals []Totals
	// LateTotals are the part of Totals that came late. They may be replaced likewise.
	LateTotals []Totals

	catalog   *Catalog
	order     []Key
	keys      int // numbers in a rank
	bySize    bool
	reminders []int
	sets      []AttributeSet
	billing   zoneCache
	zones     map[*time.Location]*zoneCache
	watches   map[watchKey]struct{}

	// Explanations are of the records that were asked for by Watch.
	Explanations []Explanation

	// What follows belongs to the payer's period that is being settled.
	payer     int32
	period    Period
	month     Month
	first     bool // nothing was settled before this period
	err       error
	runs      []packageRun
	many      int
	owned     map[int32][]int32 // runs by owner; only where the payer has many
	shared    []int32           // runs that all accounts may draw on; likewise
	over      []PackageState    // packages that are only remembered
	left      []Leftover
	horizon   Instant   // how long that is kept
	older     []Counter // of earlier months, kept likewise
	late      lateBook
	events    []event // a heap
	nextEvent Instant
	topUps    []int32 // still to come
	stops     []Stop
	tracked   bool
	cash      Amount
	topUpSum  Amount // of all top-ups so far
	arrears   bool
	episode   Instant // the last top-up: arrears are told once after each
	lastTime  Instant
	closing   *PayerState // that the period before gave
	// where this payer's rows begin in Result
	balancesFrom, noticesFrom, chargesFrom int

	pairs  []pair
	pairOf map[uint64]int32 // number of a pair; only where there are many
	lanes  laneTable
	draws  []draw

	// Room for closing states, which there are as many of as payers and periods.
	states   slab[PayerState]
	packages slab[PackageState]
	counters slab[Counter]

	popped []int32 // slots that this record took out of the heap
}

// slab cuts small slices off larger ones, which are allocated for many at once.
type slab[T any] struct{ rest []T }

const slabSize = 64

func (s *slab[T]) take(n int) []T {
	if n == 0 {
		return nil
	}
	if len(s.rest) < n {
		s.rest = make([]T, max(n, slabSize))
	}
	part := s.rest[:n:n]
	s.rest = s.rest[n:]
	return part
}

// event is the next thing that happens to a package.
type event struct {
	at  Instant
	run int32
}

// NewSettler makes a settler. sets gives the meaning of the numbers in Batch.Attrs.
func NewSettler(c *Catalog, config Config, sets []AttributeSet) *Settler {
	s := &Settler{
		catalog: c, order: config.Order, reminders: config.ReminderDays, sets: sets,
		billing: zoneCache{loc: config.Zone},
		zones:   map[*time.Location]*zoneCache{},
		Totals:  make([]Totals, len(c.Meters)), LateTotals: make([]Totals, len(c.Meters)),
		horizon: Instant(config.LateHorizon.Microseconds()),
		many:    many,
		owned:   map[int32][]int32{},
		pairOf:  map[uint64]int32{},
		watches: map[watchKey]struct{}{},
	}
	s.bySize = slices.Contains(s.order, BySize)
	s.keys = len(s.order)
	if s.bySize {
		s.keys++
	}
	return s
}

// Use makes the settler go on with another part of the same catalog.
func (s *Settler) Use(part *Catalog) {
	if part == s.catalog {
		return
	}
	s.catalog = part
	for i := range s.runs[:cap(s.runs)] {
		s.runs[:cap(s.runs)][i].pkg = nil // so that the part before it can go
	}
	clear(s.late.lives[:cap(s.late.lives)])
}

// Begin starts a payer's period from its opening state. An opening of nil says that nothing was settled before this
// period, of any payer: then packages that began earlier open as unused. An empty one says that this payer is new.
func (s *Settler) Begin(payer int32, period Period, opening *PayerState) error {
	s.payer, s.period, s.first, s.err = payer, period, opening == nil, nil
	s.month = monthOf(s.billing.wall(period.Start))
	s.lastTime = period.Start
	s.pairs, s.stops = s.pairs[:0], s.stops[:0]
	clear(s.pairOf)
	s.lanes.reset()
	account := &s.catalog.Accounts[payer]
	s.tracked, s.cash, s.arrears, s.episode, s.topUpSum = account.Tracked, account.Balance, false, Beginning, Amount{}
	if opening == nil {
		opening = &PayerState{}
	}
	if opening != s.closing { // what this catalog has left does not contradict it
		s.catalog.contradictions(payer, opening, period.Start, s.month, func(f Fault) { s.fail(&f) })
		if s.err != nil {
			return s.err
		}
	}
	if opening.Tracked {
		s.cash, s.arrears = opening.Cash, opening.Arrears
	}
	s.stops = append(s.stops, opening.Stops...)
	s.beginLate(opening)
	s.balancesFrom, s.noticesFrom, s.chargesFrom = len(s.Result.Balances), len(s.Result.Notices), len(s.Result.Charges)
	s.beginTopUps(s.catalog.topUps(payer), opening)
	s.beginPackages(s.catalog.packagesOf.of(payer), opening)
	s.beginCounters(opening.Counters)
	return s.err
}

// beginTopUps counts what was paid before the period. Where that is not what the state has counted, a top-up was entered
// after its instant had been settled: the difference is paid now.
func (s *Settler) beginTopUps(all []int32, opening *PayerState) {
	i := 0
	var sum Amount
	for ok := true; i < len(all) && s.catalog.TopUps[all[i]].At < s.period.Start; i++ {
		t := &s.catalog.TopUps[all[i]]
		s.episode = t.At
		if sum, ok = sum.Add(t.Amount); !ok {
			s.failTopUp(t)
		}
	}
	s.topUps = all[i:]
	if !s.tracked {
		return
	}
	if late, ok := sum.Sub(opening.TopUps); ok && late.Sign() != 0 {
		s.pay(late, s.episode)
	}
	s.topUpSum = sum
}

func (s *Settler) failTopUp(t *TopUp) {
	s.fail(fmt.Errorf("R1.5: top-up of account %q at %v: %w", s.catalog.Accounts[s.payer].ID, t.At, ErrOverflow))
}

func (s *Settler) pay(amount Amount, at Instant) {
	var ok bool
	if s.cash, ok = s.cash.Add(amount); !ok {
		s.fail(fmt.Errorf("R1.5: balance of account %q at %v: %w", s.catalog.Accounts[s.payer].ID, at, ErrOverflow))
	}
	if s.cash.Sign() >= 0 {
		s.arrears = false
	}
	s.episode = at
}

func (s *Settler) beginPackages(packages []int32, opening *PayerState) {
	s.events = s.events[:0]
	if cap(s.runs) < len(packages) {
		s.runs = make([]packageRun, 0, len(packages)+len(packages)/2)
	}
	used := s.runs[:cap(s.runs)]
	s.runs = s.runs[:0]
	states := opening.Packages
	s.over = s.over[:0]
	for _, index := range packages {
		pkg := &s.catalog.Packages[index]
		run := packageRun{pkg: pkg, alertFloor: alertFloorUnknown, knownFrom: Beginning, slots: used[len(s.runs)].slots[:0]}
		run.zone = s.zoneOf(pkg.Account)
		run.Package = index
		if len(states) > 0 && states[0].Package == index {
			lives := s.resume(&run, &states[0])
			states = states[1:]
			if !lives {
				s.over = append(s.over, run.PackageState)
				continue
			}
		} else {
			over := pkg.Expires + Instant(pkg.GraceDays+pkg.RetentionDays+2)*day
			if len(pkg.Changes) == 0 && max(over, pkg.Expires+rememberedDays*day) < s.period.Start {
				continue
			}
			s.beginFresh(&run)
			if run.Stage == StageEnded {
				if state, ok := s.remember(&run); ok {
					s.over = append(s.over, state)
				}
				continue
			}
			s.openFresh(&run)
		}
		s.runs = append(s.runs, run)
	}
	for i := range s.runs {
		if at := s.runs[i].nextEvent(); at < s.period.End {
			s.events = append(s.events, event{at, int32(i)})
		}
	}
	for i := len(s.events)/2 - 1; i >= 0; i-- {
		s.siftEvent(i)
	}
	s.scheduleNext()
	s.indexOwners()
}

// many is from how many packages and pairs on a payer's are looked up by index: a group of a thousand accounts opens
// thousands of lanes, and each must not look at everything that the group has.
const many = 32

func (s *Settler) indexOwners() {
	clear(s.owned)
	s.shared = s.shared[:0]
	if len(s.runs) < s.many {
		return
	}
	for i := range s.runs {
		pkg := s.runs[i].pkg
		s.owned[pkg.Account] = append(s.owned[pkg.Account], int32(i))
		if pkg.Shared {
			s.shared = append(s.shared, int32(i))
		}
	}
}

// openFresh books what a package brings along that no period knew before: in the very first period it opens with that,
// later it is a grant of the period in which the package became known.
func (s *Settler) openFresh(r *packageRun) {
	r.startRow()
	r.knownFrom = s.period.Start
	if !s.first && r.Stage == StageLive {
		r.ServesFrom = max(r.ServesFrom, s.period.Start) // no usage from before, also where it comes late
	}
	if r.Stage != StageLive {
		r.Remaining = 0
	}
	if s.first {
		r.row.Opening = r.Remaining
		return
	}
	s.lateLifeNotice(r)
	r.row.Granted, r.row.RolledOver = r.Remaining-r.Rolled, r.Rolled
}

func (s *Settler) zoneOf(account int32) *zoneCache {
	loc := s.catalog.Accounts[account].Zone
	if loc == s.billing.loc {
		return &s.billing
	}
	z := s.zones[loc]
	if z == nil {
		z = &zoneCache{loc: loc}
		s.zones[loc] = z
	}
	return z
}

func (s *Settler) beginCounters(counters []Counter) {
	for i := range counters {
		c := counters[i]
		if c.Month != s.month {
			s.older = append(s.older, s.risenCounter(c))
			continue
		}
		p := s.addPair(c.Account, c.Meter)
		s.pairs[p].usage, s.pairs[p].excess = c.Usage, c.Excess
	}
}

func (s *Settler) fail(err error) {
	if s.err == nil {
		s.err = err
	}
}

func (s *Settler) scheduleNext() {
	s.nextEvent = Never
	if len(s.events) > 0 {
		s.nextEvent = s.events[0].at
	}
	if len(s.topUps) > 0 {
		s.nextEvent = min(s.nextEvent, s.catalog.TopUps[s.topUps[0]].At)
	}
}

// advance lets everything happen that is due at t or before.
func (s *Settler) advance(t Instant) {
	for s.nextEvent <= t {
		now := s.nextEvent
		for len(s.topUps) > 0 && s.catalog.TopUps[s.topUps[0]].At <= now {
			if t := &s.catalog.TopUps[s.topUps[0]]; s.tracked {
				s.pay(t.Amount, t.At)
				var ok bool
				if s.topUpSum, ok = s.topUpSum.Add(t.Amount); !ok {
					s.failTopUp(t)
				}
			}
			s.topUps = s.topUps[1:]
		}
		for len(s.events) > 0 && s.events[0].at <= now {
			r := &s.runs[s.events[0].run]
			s.apply(r, now, false)
			s.refresh(r, now)
			s.events[0].at = r.nextEvent()
			if s.events[0].at >= s.period.End {
				last := len(s.events) - 1
				s.events[0] = s.events[last]
				s.events = s.events[:last]
			}
			s.siftEvent(0)
		}
		s.scheduleNext()
	}
}

func (s *Settler) siftEvent(i int) {
	for {
		child := 2*i + 1
		if child >= len(s.events) {
			return
		}
		if child+1 < len(s.events) && s.events[child+1].less(s.events[child]) {
			child++
		}
		if !s.events[child].less(s.events[i]) {
			return
		}
		s.events[i], s.events[child] = s.events[child], s.events[i]
		i = child
	}
}

func (e event) less(other event) bool {
	return e.at < other.at || e.at == other.at && e.run < other.run
}

// Add settles records of the payer, in canonical order, also across calls.
func (s *Settler) Add(b *Batch) error {
	for i, t := range b.Time {
		if t < s.lastTime || t >= s.period.End {
			return fmt.Errorf("record %q at %v does not follow one at %v within the period [%v, %v)",
				b.ID(i), t, s.lastTime, s.period.Start, s.period.End)
		}
		s.lastTime = t
		if t >= s.nextEvent {
			s.advance(t)
		}
		s.settle(b, i, t)
		if s.err != nil {
			return s.err
		}
	}
	return nil
}

// End finishes the period and gives the closing state, which is the caller's to keep.
func (s *Settler) End() (*PayerState, error) {
	s.advance(s.period.End - 1)
	s.bookCharges()
	s.Result.Balances = append(s.Result.Balances, s.late.rows...)
	s.remind()
	closing := &s.states.take(1)[0]
	closing.Payer, closing.Tracked, closing.Arrears = s.payer, s.tracked, s.arrears
	closing.Packages = s.packages.take(len(s.runs))[:0]
	for i := range s.runs {
		r := &s.runs[i]
		s.closeRow(r)
		if r.Stage != StageEnded {
			closing.Packages = append(closing.Packages, r.PackageState)
		} else if over, ok := s.remember(r); ok {
			closing.Packages = append(closing.Packages, over)
		}
	}
	s.closeOver(closing)
	s.closeLeftovers(closing)
	if s.tracked {
		closing.Cash, closing.TopUps = s.cash, s.topUpSum
	}
	s.closeCounters(closing)
	s.closeStops(closing)
	s.sortResult()
	s.closing = closing
	return closing, s.err
}

func (s *Settler) closeCounters(closing *PayerState) {
	for i := range s.pairs {
		p := &s.pairs[i]
		if p.usage != 0 {
			if closing.Counters == nil {
				closing.Counters = s.counters.take(len(s.pairs) - i)[:0]
			}
			closing.Counters = append(closing.Counters, Counter{
				Account: p.account, Meter: p.meter, Month: s.month, Usage: p.usage, Excess: p.excess,
				Scale: int32(s.catalog.Meters[p.meter].Scale),
			})
		}
	}
	for _, c := range s.older {
		if s.billing.startOfMonth(c.Month+1) > s.period.End-s.horizon {
			closing.Counters = append(closing.Counters, c)
		}
	}
	slices.SortFunc(closing.Counters, func(a, b Counter) int {
		return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Meter, b.Meter), cmp.Compare(a.Month, b.Month))
	})
}

// closeOver keeps the packages that are only remembered, in their places.
func (s *Settler) closeOver(closing *PayerState) {
	kept := len(closing.Packages)
	for i := range s.over {
		if s.over[i].TermEnd+rememberedDays*day > s.period.End {
			s.over[i].Applied = s.catalog.Packages[s.over[i].Package].changesBefore(s.period.End)
			closing.Packages = append(closing.Packages, s.over[i])
		}
	}
	if len(closing.Packages) > kept {
		slices.SortFunc(closing.Packages, func(a, b PackageState) int { return cmp.Compare(a.Package, b.Package) })
	}
}

// closeStops keeps the service stops of cycles that may still stop something.
func (s *Settler) closeStops(closing *PayerState) {
	for _, stop := range s.stops {
		i, ok := slices.BinarySearchFunc(closing.Packages, stop.Package, func(p PackageState, index int32) int {
			return cmp.Compare(p.Package, index)
		})
		if ok && closing.Packages[i].CycleStart == stop.CycleStart {
			closing.Stops = append(closing.Stops, stop)
		}
	}
	slices.SortFunc(closing.Stops, func(a, b Stop) int {
		return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Meter, b.Meter),
			cmp.Compare(a.Package, b.Package), cmp.Compare(a.CycleStart, b.CycleStart))
	})
}

// sortResult puts the payer's rows into the order of the tables.
func (s *Settler) sortResult() {
	accountOf := func(pkg int32) int32 {
		if pkg == None {
			return s.payer
		}
		return s.catalog.Packages[pkg].Account
	}
	slices.SortFunc(s.Result.Balances[s.balancesFrom:], func(a, b Balance) int {
		return cmp.Or(cmp.Compare(accountOf(a.Package), accountOf(b.Package)), cmp.Compare(a.Package, b.Package),
			cmp.Compare(a.CycleStart, b.CycleStart))
	})
	slices.SortFunc(s.Result.Charges[s.chargesFrom:], func(a, b Charge) int {
		return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Meter, b.Meter), cmp.Compare(a.Month, b.Month),
			cmp.Compare(a.Price, b.Price), cmp.Compare(a.Tier, b.Tier), order(a.Late, b.Late))
	})
	slices.SortFunc(s.Result.Notices[s.noticesFrom:], func(a, b Notice) int {
		return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Package, b.Package),
			cmp.Compare(b.Threshold, a.Threshold), cmp.Compare(a.Account, b.Account), cmp.Compare(a.Meter, b.Meter))
	})
}
