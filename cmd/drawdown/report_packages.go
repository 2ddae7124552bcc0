package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"drawdown/rating"
	"drawdown/writers/page"
	"drawdown/writers/settlement"
)

// packageSum is what the balances and notices of a range say of a package.
type packageSum struct {
	id, account, payer string
	state              string
	quota              rating.Amount // of the last cycle
	cycle, ends        rating.Instant
	inCycle            rating.Amount // granted in the last cycle, with what rolled over

	opening, granted, rolledOver, deducted, expired, revoked, closing rating.Amount

	firstPeriod, lastPeriod int
	usedUp, stopped         rating.Instant // the first time in the range; 0: never
	alerts                  int
}

// balances adds up what became of packages, and notices by package and kind.
func (j *reportJob) balances() (notices map[string]int64, err error) {
	j.found, notices = map[string]*packageSum{}, map[string]int64{}
	for i, p := range j.periods {
		if i < j.first {
			continue
		}
		for _, file := range p.shardsOf("balances", j.shards) {
			for row, err := range settlement.ReadBalances(file) {
				if err != nil {
					return nil, err
				}
				if err := j.count("balances of " + p.name); err != nil {
					return nil, err
				}
				if j.tells(row.Payer, row.Account) {
					j.addBalance(i, &row)
				}
			}
		}
		for _, file := range p.shardsOf("notices", j.shards) {
			for row, err := range settlement.ReadNotices(file) {
				if err != nil {
					return nil, err
				}
				if j.tells(row.Payer, row.Account) {
					notices[row.Kind]++
					j.addNotice(&row)
				}
			}
		}
	}
	if j.fault != nil {
		return nil, fmt.Errorf("add up balances: %w", j.fault)
	}
	return notices, nil
}

// addBalance adds a row. A package opens as its first period says, and closes as its last one does.
func (j *reportJob) addBalance(period int, row *settlement.Balance) {
	s := j.found[row.Package]
	if s == nil {
		s = &packageSum{id: row.Package, account: row.Account, payer: row.Payer, firstPeriod: period, lastPeriod: period}
		j.found[row.Package] = s
	}
	if period == s.firstPeriod {
		j.add(&s.opening, row.Opening)
	}
	if period != s.lastPeriod {
		s.lastPeriod, s.closing = period, rating.Amount{}
	}
	if row.CycleStart != s.cycle {
		s.cycle, s.inCycle = row.CycleStart, rating.Amount{}
	}
	s.state, s.quota, s.ends = row.State, row.Quota, row.CycleEnd
	for _, part := range []struct {
		to *rating.Amount
		a  rating.Amount
	}{
		{&s.granted, row.Granted},
		{&s.rolledOver, row.RolledOver},
		{&s.deducted, row.Deducted},
		{&s.expired, row.Expired},
		{&s.revoked, row.Revoked},
		{&s.closing, row.Closing},
		{&s.inCycle, row.Granted},
	} {
		j.add(part.to, part.a)
	}
	if row.RolledOver.Sign() > 0 {
		j.add(&s.inCycle, row.RolledOver)
	}
}

func (j *reportJob) addNotice(n *settlement.Notice) {
	if n.Package == nil || j.found[*n.Package] == nil {
		return
	}
	s := j.found[*n.Package]
	switch {
	case n.Kind == "service_stop":
		s.stopped = earliest(s.stopped, n.At)
	case n.Kind == "usage_alert" && n.Threshold.Sign() == 0:
		s.usedUp = earliest(s.usedUp, n.At)
	case n.Kind == "usage_alert":
		s.alerts++
	}
}

// earliest gives the earlier one; 0 is none.
func earliest(a, b rating.Instant) rating.Instant {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// page says on the page what a package has come to.
func (s *packageSum) page(j *reportJob) page.Package {
	p := page.Package{
		Package: s.id, Account: s.account, State: s.state, Size: page.Number(s.quota), Ends: page.At(s.ends), Expires: page.At(s.ends),
		Begins: page.At(s.cycle), Why: []string{}, Quota: page.Quota{
			Opening: page.Number(s.opening), Granted: page.Number(s.granted), RolledOver: page.Number(s.rolledOver),
			Deducted: page.Number(s.deducted), Expired: page.Number(s.expired), Revoked: page.Number(s.revoked), Closing: page.Number(s.closing),
		},
	}
	if pkg := j.packageOf(s.id); pkg != nil {
		p.Name, p.Unit, p.Cycle = pkg.Name, pkg.Unit, cycleNames[pkg.Reset]
		p.Expires = page.At(expiryOf(pkg, j.to))
		if s.state == "future" {
			p.Begins = page.At(pkg.Effective)
		}
	}
	return p
}

// cycleNames say what a package is granted anew each.
var cycleNames = [...]string{
	rating.NoReset: "", rating.EveryHour: "hour", rating.EveryDay: "day", rating.EveryWeek: "week", rating.EveryMonth: "month",
	rating.EveryYear: "year", rating.CalendarMonth: "calendar month",
}

// packageOf is nil for one that is no longer in the catalog.
func (j *reportJob) packageOf(id string) *rating.Package {
	if i, known := j.catalog.PackageIndex(id); known {
		return &j.catalog.Packages[i]
	}
	return nil
}

// unitOf is the unit of a package, and empty for one that is no longer in the catalog.
func (j *reportJob) unitOf(id string) string {
	if pkg := j.packageOf(id); pkg != nil {
		return pkg.Unit
	}
	return ""
}

// soonDays is how long before its end a package is looked at.
const soonDays = 7

// oddity is a reason to look at a package, the gravest first.
type oddity struct {
	kind string
	of   func(j *reportJob, s *packageSum) (text string, since rating.Instant, odd bool)
}

func oddities() []oddity {
	at := func(what string, when func(*packageSum) rating.Instant) func(*reportJob, *packageSum) (string, rating.Instant, bool) {
		return func(j *reportJob, s *packageSum) (string, rating.Instant, bool) {
			t := when(s)
			return what + " " + moment(t-t%1e6, j.config.Settlement.TimeZone.Location), t, t != 0
		}
	}
	return []oddity{
		{"service stopped", at("service stopped", func(s *packageSum) rating.Instant { return s.stopped })},
		{"used up", at("used up", func(s *packageSum) rating.Instant { return s.usedUp })},
		{"expires soon, more than half left", func(j *reportJob, s *packageSum) (string, rating.Instant, bool) {
			pkg := j.packageOf(s.id)
			if pkg == nil || s.state != "active" || !moreThanHalf(s.closing, s.quota) {
				return "", 0, false
			}
			ends := expiryOf(pkg, j.to)
			return "expires within 7 days, more than half left", ends, ends-j.to <= soonDays*rating.Instant(86400e6)
		}},
		{"more than half lapsed", func(_ *reportJob, s *packageSum) (string, rating.Instant, bool) {
			return "lapsed " + amount(s.expired), s.ends, moreThanHalf(s.expired, s.granted) || s.granted.Sign() == 0 && moreThanHalf(s.expired, s.quota)
		}},
		{"in grace or retention", func(_ *reportJob, s *packageSum) (string, rating.Instant, bool) {
			return "in " + s.state, s.ends, s.state == "grace" || s.state == "retention"
		}},
	}
}

func moreThanHalf(part, whole rating.Amount) bool {
	twice, _ := part.Add(part)
	return whole.Sign() > 0 && twice.Cmp(whole) > 0
}

// oddPackage is a package with what is odd about it.
type oddPackage struct {
	sum   *packageSum
	why   []string
	grade int // by the gravest reason
	since rating.Instant
	cost  rating.Amount // what its account is charged in the site's currency
}

// odd gives the packages that are worth a look, and how many there are by reason: the gravest first, and of these the ones whose
// account is charged most.
func (j *reportJob) odd(charged map[string]*chargeSums) (list []oddPackage, counts []page.Count) {
	kinds, costs := oddities(), map[string]rating.Amount{}
	if of := charged[j.config.Currency.Code]; of != nil {
		costs = of.accounts
	}
	counts = make([]page.Count, len(kinds))
	for _, s := range j.found {
		o := oddPackage{sum: s, grade: -1, cost: costs[s.account]}
		for i := range kinds {
			text, since, odd := kinds[i].of(j, s)
			if !odd {
				continue
			}
			counts[i].Kind = kinds[i].kind
			counts[i].Count++
			if o.why = append(o.why, text); o.grade < 0 {
				o.grade, o.since = i, since
			}
		}
		if o.grade >= 0 {
			list = append(list, o)
		}
	}
	slices.SortFunc(list, func(a, b oddPackage) int {
		return cmp.Or(a.grade-b.grade, b.cost.Cmp(a.cost), cmp.Compare(a.since, b.since), cmp.Compare(a.sum.id, b.sum.id))
	})
	return list, slices.DeleteFunc(counts, func(c page.Count) bool { return c.Count == 0 })
}

// mostDrawn gives the packages from which most was deducted, some of each unit.
func (j *reportJob) mostDrawn() []page.Package {
	const each, units = 5, 6
	byUnit := map[string][]*packageSum{}
	for _, s := range j.found {
		if s.deducted.Sign() > 0 {
			unit := j.unitOf(s.id)
			byUnit[unit] = append(byUnit[unit], s)
		}
	}
	list := []page.Package{}
	for i, unit := range slices.Sorted(maps.Keys(byUnit)) {
		if i == units {
			break
		}
		of := byUnit[unit]
		slices.SortFunc(of, func(a, b *packageSum) int { return cmp.Or(b.deducted.Cmp(a.deducted), cmp.Compare(a.id, b.id)) })
		for _, s := range of[:min(each, len(of))] {
			list = append(list, s.page(j))
		}
	}
	return list
}

// quotas adds up what became of packages by unit, and counts them by state.
func (j *reportJob) quotas() (quotas []page.UnitQuota, states []page.Count) {
	units, counts := map[string]*packageSum{}, map[string]int64{}
	packages := map[string]int{}
	for _, s := range j.found {
		unit := j.unitOf(s.id)
		all := units[unit]
		if all == nil {
			all = &packageSum{}
			units[unit] = all
		}
		packages[unit]++
		counts[s.state]++
		j.add(&all.opening, s.opening)
		j.add(&all.granted, s.granted)
		j.add(&all.rolledOver, s.rolledOver)
		j.add(&all.deducted, s.deducted)
		j.add(&all.expired, s.expired)
		j.add(&all.revoked, s.revoked)
		j.add(&all.closing, s.closing)
	}
	quotas, states = []page.UnitQuota{}, []page.Count{}
	for _, unit := range slices.Sorted(maps.Keys(units)) {
		quotas = append(quotas, page.UnitQuota{Unit: unit, Packages: packages[unit], Quota: units[unit].page(j).Quota})
	}
	for _, state := range []string{"future", "active", "exhausted", "expired", "grace", "retention", "released", "revoked"} {
		if counts[state] > 0 {
			states = append(states, page.Count{Kind: state, Count: counts[state]})
		}
	}
	return quotas, states
}
