package rating

// Revenue of packages: what was paid ahead is recognised as it is used, and as it lapses. Everything is booked cumulatively,
// as amounts are (R1.3): of what was paid, the part that is gone, rounded once, less what was recognised before. So nothing
// drifts, and what is recognised over a package's life is its price to the last digit.

// Term is a stretch of a package's life that is paid for at once: the first one, and each renewal.
type Term struct {
	Start, End Instant
	Bought     Instant
}

// Terms gives the terms of a package by what had happened to it before an instant. A renewal made ahead is a term from its
// purchase on.
func (c *Catalog) Terms(pkg int32, until Instant) []Term {
	p := &c.Packages[pkg]
	z := zoneCache{loc: c.Accounts[p.Account].Zone}
	terms := []Term{{Start: p.Effective, End: p.Expires, Bought: min(p.Created, p.Effective)}}
	for i := range p.Changes {
		change := &p.Changes[i]
		last := &terms[len(terms)-1]
		if change.At >= until || change.At >= z.addDays(last.End, p.GraceDays+p.RetentionDays) {
			break
		}
		switch change.Kind {
		case Renewed:
			terms = append(terms, Term{Start: last.End, End: change.Expires, Bought: change.At})
		case Extended:
			last.End = change.Expires
		case Revoked:
			return terms
		}
	}
	return terms
}

// cyclesFrom counts the cycles of a term that begin at an instant or later.
func (z *zoneCache) cyclesFrom(reset Reset, t Term, from Instant) int {
	last := z.cycleAt(reset, t.Start, t.End-1)
	if from <= t.Start {
		return last + 1
	}
	return last - z.cycleAt(reset, t.Start, min(from, t.End)-1)
}

// deferral is money paid for units, of which some are gone.
type deferral struct {
	money, units Amount // as of the last change of what there is to use
	gone         Amount // units since then
	taken        Amount // recognised since then
}

func (d *deferral) left() (Amount, bool) { return d.money.Sub(d.taken) }

// holds says how many units there are to use from now on. Where that is not what was left, what is left of the money is
// spread over them.
func (d *deferral) holds(units Amount) bool {
	expected, ok := d.units.Sub(d.gone)
	if !ok || expected == units {
		return ok
	}
	money, ok := d.left()
	*d = deferral{money: money, units: units}
	return ok
}

// take recognises the part of some more units.
func (d *deferral) take(units Amount) (Amount, bool) {
	gone, ok := d.gone.Add(units)
	if !ok || d.units.Sign() <= 0 {
		return Amount{}, ok
	}
	d.gone = gone
	taken, ok := d.money.Share(gone, d.units)
	if !ok {
		return Amount{}, false
	}
	part, ok := taken.Sub(d.taken)
	d.taken = taken
	return part, ok
}

// rest takes all that is left.
func (d *deferral) rest() (Amount, bool) {
	left, ok := d.left()
	*d = deferral{}
	return left, ok
}

// Movement is what happened to one cycle of a package in a period: a row of balances.
type Movement struct {
	CycleStart                        Instant
	Quota, Deducted, Expired, Closing Amount
	Revoked                           bool
}

// Recognition is the revenue of a package in a period: Opening + Bought - Used - Lapsed - Refunded = Closing.
type Recognition struct {
	Opening, Bought         Amount
	Used, Lapsed            Amount // recognised by use, and as breakage
	Refunded, Closing       Amount
	Terms                   []Term // bought in the period
	UnitsUsed, UnitsExpired Amount
}

// PackageRevenue follows one package from period to period. The zero value is one before its first period.
type PackageRevenue struct {
	terms []paidTerm
}

type paidTerm struct {
	Term
	deferral
}

// Next recognises what a period's movements of a package amount to; all periods are given, oldest first. A package bought
// before the first period of all opens with the part of its price that its cycles from then on have.
func (r *PackageRevenue) Next(c *Catalog, pkg int32, period Period, first bool, moves []Movement) (Recognition, error) {
	p := &c.Packages[pkg]
	s := revenueStep{catalog: c, pkg: p, zone: zoneCache{loc: c.Accounts[p.Account].Zone}, period: period, ok: true}
	for i := range r.terms {
		s.add(&s.Opening, s.checked(r.terms[i].left()))
	}
	known := len(r.terms)
	for i, t := range c.Terms(pkg, period.End) {
		if i < known {
			r.terms[i].Term = t
		} else if t.Bought < period.End {
			r.terms = append(r.terms, paidTerm{Term: t})
		}
	}
	revoked := false
	for i := range moves {
		revoked = revoked || moves[i].Revoked
	}
	for i := range r.terms {
		t := &r.terms[i]
		parts := s.parts(t, i == len(r.terms)-1, moves)
		if i >= known {
			s.buy(t, parts, first && t.Bought < period.Start)
		}
		s.move(t, parts, revoked)
	}
	for i := range r.terms {
		s.add(&s.Closing, s.checked(r.terms[i].left()))
	}
	if !s.ok {
		return s.Recognition, ErrOverflow
	}
	return s.Recognition, nil
}

// revenueStep is one package in one period.
type revenueStep struct {
	Recognition
	catalog *Catalog
	pkg     *Package
	zone    zoneCache
	period  Period
	ok      bool
}

// units are what a term has to use in a period.
type units struct {
	used, expired, all, quota Amount
}

func (s *revenueStep) checked(a Amount, ok bool) Amount {
	s.ok = s.ok && ok
	return a
}

func (s *revenueStep) add(to *Amount, a Amount) { *to = s.checked(to.Add(a)) }

// parts adds up the movements of a term's cycles, and what its later cycles will be granted.
func (s *revenueStep) parts(t *paidTerm, last bool, moves []Movement) units {
	u := units{quota: DecimalOf(s.pkg.Quota, s.pkg.Scale)}
	for i := range moves {
		m := &moves[i]
		u.quota = m.Quota
		if m.CycleStart < t.Start || m.CycleStart >= t.End && !last {
			continue
		}
		s.add(&u.used, m.Deducted)
		s.add(&u.expired, m.Expired)
		s.add(&u.all, m.Closing)
	}
	future := s.zone.cyclesFrom(s.pkg.Reset, t.Term, s.period.End)
	s.add(&u.all, s.checked(u.quota.Times(future)))
	s.add(&u.all, u.used)
	s.add(&u.all, u.expired)
	s.add(&s.UnitsUsed, u.used)
	s.add(&s.UnitsExpired, u.expired)
	return u
}

// buy books a term's price. What was paid before anything was settled is opened with.
func (s *revenueStep) buy(t *paidTerm, u units, before bool) {
	price := s.pkg.PricePaid
	if !before {
		t.money = price
		s.add(&s.Bought, price)
		s.Terms = append(s.Terms, t.Term)
		return
	}
	full := s.checked(u.quota.Times(s.zone.cyclesFrom(s.pkg.Reset, t.Term, t.Start)))
	if u.all.Cmp(full) < 0 {
		price = s.checked(price.Share(u.all, full))
	}
	t.money = price
	s.add(&s.Opening, price)
}

// move recognises what a term's cycles used and lost, and ends the term.
func (s *revenueStep) move(t *paidTerm, u units, revoked bool) {
	s.ok = s.ok && t.holds(u.all)
	s.add(&s.Used, s.checked(t.take(u.used)))
	s.add(&s.Lapsed, s.checked(t.take(u.expired)))
	switch {
	case revoked:
		s.add(&s.Refunded, s.checked(t.rest()))
	case t.End < s.period.End:
		s.add(&s.Lapsed, s.checked(t.rest()))
	}
}
