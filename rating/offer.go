package rating

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
)

// Offer is what an account might have had instead of what it had: packages, their changes, and prices, as somebody wrote
// them. What is left out of a package is taken from the range that is simulated.
type Offer struct {
	Name string
	Rows Draft // packages, changes and prices alone
	// Packages says that the account's own packages are replaced, also by none at all.
	Packages bool
	// Cost is the price of the offer as a whole, for each of its terms; empty: its packages say what was paid for them.
	Cost, Currency string
	// Every is the term in which the offer is bought anew, from the start of the range on; empty: once, for the range.
	Every string
}

// Purchase is something that was paid for at once, and the term that it was paid for.
type Purchase struct {
	ID         string
	Packages   []string // what it consists of
	Price      Amount
	Currency   string
	Start, End Instant
	Until      Instant // when it ended early: revoked; else End
}

// OfPayer gives the rows that settling one payer needs: what its accounts have, and what everybody has.
func (d *Draft) OfPayer(payer string) *Draft {
	own := &Draft{Meters: d.Meters}
	accounts, packages := map[string]bool{"": true}, map[string]bool{"": true}
	for i := range d.Accounts {
		if a := &d.Accounts[i]; a.Payer == payer || a.ID == payer {
			accounts[a.ID] = true
			own.Accounts = append(own.Accounts, *a)
		}
	}
	own.Prices = kept(d.Prices, func(p *PriceDraft) bool { return accounts[p.Account] })
	own.Packages = kept(d.Packages, func(p *PackageDraft) bool { return p.Account != "" && accounts[p.Account] })
	for i := range own.Packages {
		packages[own.Packages[i].ID] = true
	}
	own.Changes = kept(d.Changes, func(c *ChangeDraft) bool { return c.Package != "" && packages[c.Package] })
	own.Rules = kept(d.Rules, func(r *RuleDraft) bool { return accounts[r.Account] && packages[r.Package] })
	own.TopUps = kept(d.TopUps, func(t *TopUpDraft) bool { return accounts[t.Account] })
	return own
}

func kept[T any](rows []T, keep func(*T) bool) []T {
	var list []T
	for i := range rows {
		if keep(&rows[i]) {
			list = append(list, rows[i])
		}
	}
	return list
}

// Check says what of an offer's own rows cannot be simulated, before anything else is looked at.
func (o *Offer) Check(account string) []Fault {
	var faults []Fault
	fault := func(kind Kind, index int, field, message, hint string) {
		faults = append(faults, Fault{Kind: kind, Index: index, Field: field, Rule: "R2.8", Message: message, Hint: hint})
	}
	const foreign = "leave account out: what is simulated is the account's own"
	for i := range o.Rows.Packages {
		p := &o.Rows.Packages[i]
		if p.Account != "" && p.Account != account {
			fault(KindPackage, i, "account", fmt.Sprintf("package %q: it belongs to account %q, and %q is simulated", p.ID, p.Account, account), foreign)
		}
		if o.Every != "" && (p.Effective != "" || p.Expires != "" || p.Created != "") {
			fault(KindPackage, i, "effective", fmt.Sprintf("package %q: it has times of its own, and is bought anew every %s", p.ID, o.Every),
				"leave effective, expires and created out, or every")
		}
	}
	for i := range o.Rows.Prices {
		if p := &o.Rows.Prices[i]; p.Account != "" && p.Account != account {
			fault(KindPrice, i, "account", fmt.Sprintf("price %q: it is of account %q, and %q is simulated", p.ID, p.Account, account), foreign)
		}
	}
	for i := range o.Rows.Changes {
		if o.Every != "" {
			fault(KindChange, i, "package", fmt.Sprintf("change of package %q: its package is bought anew every %s", o.Rows.Changes[i].Package, o.Every), "leave it out, or every")
		}
	}
	return faults
}

// Offered is an offer in the place of what an account has.
type Offered struct {
	Draft  *Draft
	Gone   map[string]bool // packages of which nothing is carried on
	Terms  []Period        // of an offer that is bought anew; one: the range
	bought [][]string      // the packages of each term
}

// Over puts an offer in the place of what an account has. Of each kind the offer's rows come first, in their order; what is
// bought anew follows.
func (o *Offer) Over(base *Draft, account string, within Period, c *Catalog) *Offered {
	owner, _ := c.AccountIndex([]byte(account))
	out := &Offered{Draft: &Draft{}, Gone: map[string]bool{}, Terms: o.terms(within, zoneCache{loc: c.Accounts[owner].Zone})}
	*out.Draft = *base
	var prices []PriceDraft
	for _, p := range o.Rows.Prices {
		p.Account = account
		prices = append(prices, p)
	}
	priced := func(p *PriceDraft) bool {
		return p.Account == account && slices.ContainsFunc(prices, func(own PriceDraft) bool { return own.Meter == p.Meter })
	}
	out.Draft.Prices = append(prices, kept(base.Prices, func(p *PriceDraft) bool { return !priced(p) })...)
	if o.Packages {
		o.buy(out, base, account)
	}
	return out
}

// terms cuts a range into the terms for which the offer is bought; the last one may reach beyond it.
func (o *Offer) terms(within Period, zone zoneCache) []Period {
	every := Reset(max(0, slices.Index(resetNames, o.Every)))
	if every == NoReset {
		return []Period{within}
	}
	var terms []Period
	for n := 0; ; {
		start, end, next := zone.cycleBounds(every, within.Start, n)
		if start >= within.End {
			return terms
		}
		terms, n = append(terms, Period{start, end}), next
	}
}

// buy replaces the packages of an account.
func (o *Offer) buy(out *Offered, base *Draft, account string) {
	for i := range base.Packages {
		if p := &base.Packages[i]; p.Account == account {
			out.Gone[p.ID] = true
		}
	}
	var packages []PackageDraft
	for n, term := range out.Terms {
		var ids []string
		for _, p := range o.Rows.Packages {
			p.Account = account
			if p.Effective == "" {
				p.Effective = term.Start.String()
			}
			if p.Expires == "" {
				p.Expires = term.End.String()
			}
			if n > 0 {
				p.ID = fmt.Sprintf("%s#%d", p.ID, n+1)
			}
			packages, ids = append(packages, p), append(ids, p.ID)
		}
		out.bought = append(out.bought, ids)
	}
	out.Draft.Packages = append(packages, kept(base.Packages, func(p *PackageDraft) bool { return !out.Gone[p.ID] })...)
	out.Draft.Changes = append(slices.Clone(o.Rows.Changes), kept(base.Changes, func(c *ChangeDraft) bool { return !out.Gone[c.Package] })...)
	left := map[string]bool{}
	for i := range out.Draft.Packages {
		left[out.Draft.Packages[i].ID] = true
	}
	out.Draft.Rules = kept(base.Rules, func(r *RuleDraft) bool { return r.Package == "" || left[r.Package] })
}

// Keep finds the packages that are what they were, in all but name and price: these keep what is left of them.
func (o *Offered) Keep(was, is *Catalog) {
	for id := range o.Gone {
		before, _ := was.PackageIndex(id)
		after, found := is.PackageIndex(id)
		if found && reflect.DeepEqual(was.Packages[before].unlabelled(), is.Packages[after].unlabelled()) {
			delete(o.Gone, id)
		}
	}
}

// unlabelled is a package without what has no part in settling it.
func (p *Package) unlabelled() Package {
	plain := *p
	plain.Product, plain.Name, plain.Unit, plain.PricePaid, plain.Currency, plain.rule = "", "", "", Amount{}, "", nil
	return plain
}

// Bundles gives what the offer as a whole is paid for: its cost, once for each term.
func (o *Offered) Bundles(offer *Offer, currency string) []Purchase {
	if offer.Cost == "" {
		return nil
	}
	price, err := ParseCost(offer.Cost)
	if err != nil {
		return nil // the reader has refused it
	}
	var bundles []Purchase
	for n, term := range o.Terms {
		b := Purchase{ID: offer.Name, Price: price, Currency: currency, Start: term.Start, End: term.End, Until: term.End}
		if offer.Currency != "" {
			b.Currency = offer.Currency
		}
		if n < len(o.bought) {
			b.Packages = o.bought[n]
		}
		bundles = append(bundles, b)
	}
	return bundles
}

// ParseCost reads what an offer costs: a decimal of 0 or more with at most nine decimals.
func ParseCost(text string) (Amount, error) {
	cost, err := parseAmount(text)
	if err == nil && cost.Sign() < 0 {
		err = errors.New("it is negative")
	}
	return cost, err
}

// Carry hands a state on to another catalog, by ids. What the other one does not have, and the packages that are named, are
// left behind.
func (p *PayerState) Carry(from, to *Catalog, without map[string]bool) *PayerState {
	out := *p
	out.Packages, out.Leftovers, out.Counters, out.Stops = nil, nil, nil, nil
	account := func(i int32) (int32, bool) { return to.AccountIndex([]byte(from.Accounts[i].ID)) }
	pkg := func(i int32) (int32, bool) {
		id := from.Packages[i].ID
		index, found := to.PackageIndex(id)
		return index, found && !without[id]
	}
	out.Payer, _ = account(p.Payer)
	for _, state := range p.Packages {
		var found bool
		if state.Package, found = pkg(state.Package); found {
			state.NextEnds, state.Applied, state.Raises = slices.Clone(state.NextEnds), slices.Clone(state.Applied), slices.Clone(state.Raises)
			out.Packages = append(out.Packages, state)
		}
	}
	for _, left := range p.Leftovers {
		var found bool
		if left.Package, found = pkg(left.Package); found {
			left.Raises = slices.Clone(left.Raises)
			out.Leftovers = append(out.Leftovers, left)
		}
	}
	for _, c := range p.Counters {
		var found, metered bool
		meter := from.Meters[c.Meter].ID
		c.Account, found = account(c.Account)
		if c.Meter, metered = to.MeterIndex([]byte(meter)); found && metered {
			out.Counters = append(out.Counters, c)
		}
	}
	for _, s := range p.Stops {
		var found [3]bool
		meter := from.Meters[s.Meter].ID
		s.Account, found[0] = account(s.Account)
		s.Meter, found[1] = to.MeterIndex([]byte(meter))
		s.Package, found[2] = pkg(s.Package)
		if found == [3]bool{true, true, true} {
			out.Stops = append(out.Stops, s)
		}
	}
	return &out
}
