package rating

import (
	"cmp"
	"slices"
)

// Spending is what packages cost within a range of time. A package that lies within it counts whole. Of one that reaches
// beyond it, the part of the term that lies within counts, or the part of the quota that was used there, where that is more:
// what has been used up is not there for later. Everything is counted cumulatively, so that nothing drifts.
type Spending struct {
	within  Period
	counted map[purchaseKey]*CountedPurchase
	used    map[string][]usedCycle // by package
}

type purchaseKey struct {
	id    string
	start Instant
}

// CountedPurchase is a purchase, and what of its price counts so far.
type CountedPurchase struct {
	Purchase
	Counted Amount
}

type usedCycle struct {
	start           Instant
	deducted, quota Amount
}

// NewSpending begins with nothing counted.
func NewSpending(within Period) *Spending {
	return &Spending{within: within, counted: map[purchaseKey]*CountedPurchase{}, used: map[string][]usedCycle{}}
}

// Purchases gives what was paid for packages of a payer, by what was known before an instant.
func (c *Catalog) Purchases(payer int32, until Instant) []Purchase {
	var list []Purchase
	for _, index := range c.packagesOf.of(payer) {
		p := &c.Packages[index]
		if p.PricePaid.Sign() == 0 {
			continue
		}
		revoked := Never
		for i := range p.Changes {
			if p.Changes[i].Kind == Revoked && p.Changes[i].At < until {
				revoked = min(revoked, p.Changes[i].At)
			}
		}
		for _, t := range c.Terms(index, until) {
			list = append(list, Purchase{
				ID: p.ID, Packages: []string{p.ID}, Price: p.PricePaid, Currency: p.Currency, Start: t.Start, End: t.End, Until: min(t.End, revoked),
			})
		}
	}
	return list
}

// WithoutPrice gives the packages of a payer that are to be paid for by their source, are in force within a period, and of
// which no purchase says what was paid.
func (c *Catalog) WithoutPrice(payer int32, within Period, bought []Purchase) []string {
	paid := map[string]bool{}
	for i := range bought {
		for _, id := range bought[i].Packages {
			paid[id] = true
		}
	}
	var list []string
	for _, index := range c.packagesOf.of(payer) {
		p := &c.Packages[index]
		terms := c.Terms(index, within.End)
		if p.Source == Subscription && !paid[p.ID] && len(terms) > 0 && terms[len(terms)-1].End > within.Start {
			list = append(list, p.ID)
		}
	}
	return list
}

// Next counts a period more, and gives what it costs, by currency. Periods follow each other.
func (s *Spending) Next(c *Catalog, period Period, bought []Purchase, balances []Balance) (map[string]Amount, error) {
	for i := range balances {
		b := &balances[i]
		if p := &c.Packages[b.Package]; p.Reset == NoReset && !s.use(p, b) {
			return nil, ErrOverflow
		}
	}
	costs := map[string]Amount{}
	for i := range bought {
		b := &bought[i]
		key := purchaseKey{b.ID, b.Start}
		if b.Start >= period.End || b.Until <= s.within.Start && s.counted[key] == nil {
			continue
		}
		now, ok := s.partOf(b, min(period.End, s.within.End))
		was := s.counted[key]
		if was == nil {
			was = &CountedPurchase{}
			s.counted[key] = was
		}
		more, fits := now.Sub(was.Counted)
		sum, adds := costs[b.Currency].Add(more)
		if !ok || !fits || !adds {
			return nil, ErrOverflow
		}
		costs[b.Currency], *was = sum, CountedPurchase{*b, now}
	}
	return costs, nil
}

// use adds what was used of a cycle in a period. A cycle lasts for many periods, and is kept once.
func (s *Spending) use(p *Package, b *Balance) bool {
	cycles, quota := s.used[p.ID], DecimalOf(b.Quota, p.Scale)
	if n := len(cycles); n == 0 || cycles[n-1].start != b.CycleStart {
		cycles = append(cycles, usedCycle{start: b.CycleStart})
		s.used[p.ID] = cycles
	}
	last := &cycles[len(cycles)-1]
	if last.quota.Cmp(quota) < 0 {
		last.quota = quota
	}
	sum, ok := last.deducted.Add(DecimalOf(b.Deducted, p.Scale))
	last.deducted = sum
	return ok
}

// partOf gives what counts of a purchase by an instant.
func (s *Spending) partOf(b *Purchase, until Instant) (Amount, bool) {
	from, to := max(b.Start, s.within.Start), min(b.Until, until)
	part, ok := b.Price.Share(AmountOf(int64(max(0, to-from))), AmountOf(int64(b.End-b.Start)))
	for _, id := range b.Packages {
		var used, quota Amount
		for _, u := range s.used[id] {
			if u.start < b.Start || u.start >= b.End {
				continue
			}
			var fits bool
			used, fits = used.Add(u.deducted)
			ok = ok && fits
			if quota.Cmp(u.quota) < 0 {
				quota = u.quota
			}
		}
		if used.Sign() == 0 || quota.Sign() == 0 {
			continue
		}
		gone, fits := b.Price.Share(used, quota)
		if ok = ok && fits; gone.Cmp(b.Price) > 0 {
			gone = b.Price
		}
		if part.Cmp(gone) < 0 {
			part = gone
		}
	}
	return part, ok
}

// List gives what was counted, by id and start.
func (s *Spending) List() []CountedPurchase {
	list := make([]CountedPurchase, 0, len(s.counted))
	for _, p := range s.counted {
		list = append(list, *p)
	}
	slices.SortFunc(list, func(a, b CountedPurchase) int { return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Start, b.Start)) })
	return list
}
