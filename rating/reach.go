package rating

import (
	"slices"
	"time"
)

// Reach is from when on, and until when, a row that is added or edited can change what usage comes to.
type Reach struct {
	Kind     Kind
	Index    int // of the row in the draft
	From, To Instant
}

// ReachOf tells how far the rows of a draft reach, those that were edited as they were and as they are. It is about what a
// settlement would come to with them, so names reach nowhere; nor do rows that nothing was settled by before, a new account
// or meter; nor alert rules, which say nothing of when they hold. The catalog is the one with the rows in it.
func (c *Catalog) ReachOf(was, is *Draft, config CompileConfig) []Reach {
	r := reacher{c: &compiler{catalog: c, config: config, days: map[dayKey]Instant{}, zones: map[string]*time.Location{}}}
	r.fixed(was, is)
	r.prices(was, is)
	r.packages(was, is)
	for i := range is.Changes {
		d := &is.Changes[i]
		r.add(KindChange, i, r.moment(d.At, r.zoneOfPackage(d.Package), Beginning), Never)
	}
	for i := range is.TopUps {
		d := &is.TopUps[i]
		r.add(KindTopUp, i, r.moment(d.At, r.zoneOf(d.Account), Beginning), Never)
	}
	return r.found
}

type reacher struct {
	c     *compiler
	found []Reach
}

func (r *reacher) add(kind Kind, index int, from, to Instant) {
	if from < to {
		r.found = append(r.found, Reach{kind, index, from, to})
	}
}

// moment reads an instant, which was read before, when the catalog was compiled.
func (r *reacher) moment(text string, zone *time.Location, missing Instant) Instant {
	if text == "" {
		return missing
	}
	at, ok := row{c: r.c}.moment("", text, zone)
	if !ok {
		return Beginning
	}
	return at
}

func (r *reacher) zoneOf(account string) *time.Location {
	if i, ok := r.c.catalog.AccountIndex([]byte(account)); ok {
		return r.c.catalog.Accounts[i].Zone
	}
	return r.c.catalog.Zone
}

func (r *reacher) zoneOfPackage(id string) *time.Location {
	if i, ok := r.c.catalog.PackageIndex(id); ok {
		return r.c.catalog.Accounts[r.c.catalog.Packages[i].Account].Zone
	}
	return r.c.catalog.Zone
}

// byID finds the rows that were edited.
func byID[R any](rows []R, id func(*R) string) map[string]*R {
	found := make(map[string]*R, len(rows))
	for i := range rows {
		found[id(&rows[i])] = &rows[i]
	}
	return found
}

// fixed is about rows that hold for all time.
func (r *reacher) fixed(was, is *Draft) {
	accounts := byID(was.Accounts, func(d *AccountDraft) string { return d.ID })
	for i := range is.Accounts {
		edited := &is.Accounts[i]
		if old := accounts[edited.ID]; old != nil &&
			[4]string{old.Payer, old.TimeZone, old.Currency, old.Balance} != [4]string{edited.Payer, edited.TimeZone, edited.Currency, edited.Balance} {
			r.add(KindAccount, i, Beginning, Never)
		}
	}
	meters := byID(was.Meters, func(d *MeterDraft) string { return d.ID })
	for i := range is.Meters {
		edited := &is.Meters[i]
		if old := meters[edited.ID]; old != nil && (old.Scale != edited.Scale || old.Max != edited.Max) {
			r.add(KindMeter, i, Beginning, Never)
		}
	}
}

// prices: where just an end of the interval moves, nothing but what lies between the two is charged otherwise.
func (r *reacher) prices(was, is *Draft) {
	prices := byID(was.Prices, func(d *PriceDraft) string { return d.ID })
	added := byID(is.Meters, func(d *MeterDraft) string { return d.ID })
	for i := range was.Meters {
		delete(added, was.Meters[i].ID)
	}
	for i := range is.Prices {
		edited := &is.Prices[i]
		zone := r.zoneOf(edited.Account)
		from, to := r.moment(edited.From, zone, Beginning), r.moment(edited.To, zone, Never)
		switch {
		case added[edited.Meter] != nil: // nothing of the meter was settled
			continue
		case prices[edited.ID] == nil:
			r.add(KindPrice, i, from, to)
			continue
		}
		old := prices[edited.ID]
		zone = r.zoneOf(old.Account)
		oldFrom, oldTo := r.moment(old.From, zone, Beginning), r.moment(old.To, zone, Never)
		switch same := chargesAs(old, edited); {
		case same && oldFrom == from:
			r.add(KindPrice, i, min(oldTo, to), max(oldTo, to))
		case same && oldTo == to:
			r.add(KindPrice, i, min(oldFrom, from), max(oldFrom, from))
		default:
			r.add(KindPrice, i, min(oldFrom, from), max(oldTo, to))
		}
	}
}

// chargesAs tells whether two prices differ in nothing but when they are in force.
func chargesAs(a, b *PriceDraft) bool {
	terms := func(d *PriceDraft) [8]string {
		return [8]string{d.Meter, d.Account, d.Currency, d.Model, d.Counts, d.Price, d.Per, d.Size}
	}
	return terms(a) == terms(b) && slices.Equal(a.Tiers, b.Tiers)
}

// packages reach from when they begin.
func (r *reacher) packages(was, is *Draft) {
	packages := byID(was.Packages, func(d *PackageDraft) string { return d.ID })
	for i := range is.Packages {
		edited := &is.Packages[i]
		from := r.moment(edited.Effective, r.zoneOf(edited.Account), Beginning)
		if packages[edited.ID] == nil {
			r.add(KindPackage, i, from, Never)
			continue
		}
		old := packages[edited.ID]
		from = min(from, r.moment(old.Effective, r.zoneOf(old.Account), Beginning))
		if !settlesAs(old, edited) {
			r.add(KindPackage, i, from, Never)
		}
	}
}

// settlesAs tells whether two packages differ in nothing that settling asks for.
func settlesAs(a, b *PackageDraft) bool {
	terms := func(d *PackageDraft) [15]string {
		return [15]string{
			d.ID, d.Account, d.Kind, d.Quota, d.Scale, d.Effective, d.Expires, d.Created, d.Priority, d.Source, d.Shared, d.Reset,
			d.RolloverMax, d.GraceDays, d.RetentionDays,
		}
	}
	return terms(a) == terms(b) && slices.EqualFunc(a.Covers, b.Covers, func(a, b CoverDraft) bool {
		return a.Meter == b.Meter && a.Rate == b.Rate && a.Hours == b.Hours && slices.EqualFunc(a.Where, b.Where, func(a, b ConditionDraft) bool {
			return a.Attribute == b.Attribute && slices.Equal(a.Values, b.Values)
		})
	})
}

// PayersOf gives the payers whose settlement between two instants may come to something else by an edit of rows, in
// ascending order; all: any payer's may. Rows that are in was alone are gone. The catalog is the one with the rows in it.
func (c *Catalog) PayersOf(was, is *Draft, from, to Instant, config CompileConfig) (payers []int32, all bool) {
	p := payersOf{c: c, payers: map[int32]bool{}}
	p.accounts(was, is)
	p.meters(was, is)
	p.prices(was, is, c.ReachOf(was, is, config), from, to)
	for _, d := range []*Draft{was, is} {
		for i := range d.Packages {
			p.account(d.Packages[i].Account)
		}
		for i := range d.Changes {
			p.owner(d.Changes[i].Package)
		}
		for i := range d.Rules {
			if r := &d.Rules[i]; r.Package != "" {
				p.owner(r.Package)
			} else {
				p.account(r.Account)
			}
		}
		for i := range d.TopUps {
			p.account(d.TopUps[i].Account)
		}
	}
	if p.all {
		return nil, true
	}
	for payer := range p.payers {
		payers = append(payers, payer)
	}
	slices.Sort(payers)
	return payers, false
}

type payersOf struct {
	c      *Catalog
	payers map[int32]bool
	all    bool
}

// account notes who pays for an account; none is everybody.
func (p *payersOf) account(id string) {
	i, known := p.c.AccountIndex([]byte(id))
	if !known {
		p.all = true
		return
	}
	p.payers[p.c.Accounts[i].Payer] = true
}

func (p *payersOf) owner(pkg string) {
	i, known := p.c.PackageIndex(pkg)
	if !known {
		p.all = true
		return
	}
	p.payers[p.c.Accounts[p.c.Packages[i].Account].Payer] = true
}

// accounts: an account that is new has rows that were quarantined so far.
func (p *payersOf) accounts(was, is *Draft) {
	old := byID(was.Accounts, func(d *AccountDraft) string { return d.ID })
	for i := range is.Accounts {
		edited := &is.Accounts[i]
		before := old[edited.ID]
		delete(old, edited.ID)
		if before != nil && [4]string{before.Payer, before.TimeZone, before.Currency, before.Balance} ==
			[4]string{edited.Payer, edited.TimeZone, edited.Currency, edited.Balance} {
			continue
		}
		p.account(edited.ID)
		if before != nil && before.Payer != "" {
			p.account(before.Payer)
		}
	}
	p.all = p.all || len(old) > 0
}

func (p *payersOf) meters(was, is *Draft) {
	old := byID(was.Meters, func(d *MeterDraft) string { return d.ID })
	for i := range is.Meters {
		edited := &is.Meters[i]
		before := old[edited.ID]
		delete(old, edited.ID)
		p.all = p.all || before == nil || before.Scale != edited.Scale || before.Max != edited.Max
	}
	p.all = p.all || len(old) > 0
}

func (p *payersOf) prices(was, is *Draft, reaches []Reach, from, to Instant) {
	old := byID(was.Prices, func(d *PriceDraft) string { return d.ID })
	for i := range is.Prices {
		edited := &is.Prices[i]
		before := old[edited.ID]
		delete(old, edited.ID)
		if !slices.ContainsFunc(reaches, func(r Reach) bool { return r.Kind == KindPrice && r.Index == i && r.From < to && r.To > from }) {
			continue
		}
		p.account(edited.Account)
		if before != nil {
			p.account(before.Account)
		}
	}
	p.all = p.all || len(old) > 0
}
