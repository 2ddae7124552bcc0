package rating

import "slices"

// watchKey names a record whose settling is to be explained.
type watchKey struct {
	account int32
	id      string
}

// Watch asks for an explanation of a record, before Begin.
func (s *Settler) Watch(account int32, id string) { s.watches[watchKey{account, id}] = struct{}{} }

// Explanation is what a record met: the packages that could have served it, in order, as they stood before it.
type Explanation struct {
	Account, Meter int32
	Time           Instant
	ID             string
	Object         int32
	Row            int64
	Quantity       int64
	Usage, Excess  int64 // Q of the month before it, both ways of counting
	Eligible       []Candidate
	NotEligible    []Rejection
	Price          int32 // in force at the event time, or None
}

// Candidate is an eligible package, in deduction order.
type Candidate struct {
	Package, Cover       int32
	CycleStart, CycleEnd Instant
	Remaining            int64
	DecidedBy            string // the key that puts it behind the one before it; empty for the first
}

// Rejection is a package of the payer that was not eligible.
type Rejection struct {
	Package int32
	Why     string
}

// watchBefore takes down what a watched record meets, before it draws on anything.
func (s *Settler) watchBefore(b *Batch, i int, l *lane) {
	if _, ok := s.watches[watchKey{l.account, string(b.ID(i))}]; !ok {
		return
	}
	t := b.Time[i]
	p := &s.pairs[l.pair]
	e := Explanation{
		Account: l.account, Meter: l.meter, Time: t, ID: string(b.ID(i)), Object: b.Object[i], Row: b.Row[i],
		Quantity: b.Quantity[i],
		Usage:    p.usage, Excess: p.excess,
	}
	e.Price, _, _ = s.catalog.priceAt(l.account, l.meter, t)
	type ranked struct {
		Candidate
		rank rank
	}
	var eligible []ranked
	inLane := map[int32]bool{}
	for k := range l.slots {
		sl := &l.slots[k]
		r := &s.runs[sl.run]
		inLane[sl.run] = true
		c := s.coverAt(sl, t)
		why := r.whyNot(c, t)
		if why != "" {
			e.NotEligible = append(e.NotEligible, Rejection{r.Package, why})
			continue
		}
		eligible = append(eligible, ranked{
			Candidate{Package: r.Package, Cover: c, CycleStart: r.CycleStart, CycleEnd: r.CycleEnd, Remaining: r.Remaining},
			s.rankOf(r, &r.pkg.Covers[c], sl.own),
		})
	}
	for k := range s.runs {
		if r := &s.runs[k]; !inLane[int32(k)] {
			why := "does not cover this meter with these attributes"
			if r.pkg.Account != l.account && !r.pkg.Shared {
				why = "belongs to another account and is not shared"
			}
			e.NotEligible = append(e.NotEligible, Rejection{r.Package, why})
		}
	}
	slices.SortFunc(eligible, func(x, y ranked) int {
		if x.rank.before(&y.rank, s.keys, x.Package, y.Package) {
			return -1
		}
		return 1
	})
	for k := range eligible {
		if k > 0 {
			eligible[k].DecidedBy = s.decidingKey(&eligible[k-1].rank, &eligible[k].rank)
		}
		e.Eligible = append(e.Eligible, eligible[k].Candidate)
	}
	slices.SortFunc(e.NotEligible, func(x, y Rejection) int { return int(x.Package - y.Package) })
	s.Explanations = append(s.Explanations, e)
}

// whyNot says in words why a package whose entry matches may not serve at t; "" when it may.
func (r *packageRun) whyNot(cover int32, t Instant) string {
	switch {
	case r.Stage == StageFuture:
		return "not effective before " + r.TermStart.String()
	case r.Stage == StageGrace || r.Stage == StageRetention:
		return "expired at " + r.TermEnd.String()
	case r.revoked:
		return "revoked"
	case r.Stage == StageEnded:
		return "released at " + r.releaseAt.String()
	case cover == None:
		return "outside its hours"
	case t < r.ServesFrom:
		return "serves from " + r.ServesFrom.String()
	case r.Remaining == 0:
		return "used up"
	case r.Remaining < r.pkg.Covers[cover].Factor:
		return "what is left does not cover the smallest unit"
	}
	return ""
}
