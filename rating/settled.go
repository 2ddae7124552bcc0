package rating

import (
	"fmt"
	"iter"
	"slices"
)

// CheckSettled says which rows of a catalog contradict what is settled up to an instant: with them, no period could open
// from these states of payers (R5.3). The catalog is what [Compile] made of the draft.
func CheckSettled(d *Draft, c *Catalog, until Instant, states iter.Seq[*PayerState]) []Fault {
	z := zoneCache{loc: c.Zone}
	month := monthOf(z.wall(until))
	var faults []Fault
	said := map[Fault]bool{} // many payers use one meter
	for s := range states {
		c.contradictions(s.Payer, s, until, month, func(f Fault) {
			if !said[f] {
				said[f] = true
				faults = append(faults, f)
			}
		})
	}
	if len(faults) > 0 {
		c.placeInDraft(d, faults)
	}
	return faults
}

// Contradiction gives the first thing in the catalog by which a payer could not go on from its state at an instant.
func (c *Catalog) Contradiction(s *PayerState, until Instant) (err error) {
	z := zoneCache{loc: c.Zone}
	c.contradictions(s.Payer, s, until, monthOf(z.wall(until)), func(f Fault) {
		if err == nil {
			err = &f
		}
	})
	return err
}

// placeInDraft makes indexes of the catalog those of the draft.
func (c *Catalog) placeInDraft(d *Draft, faults []Fault) {
	rows := map[Kind]map[string]int{KindAccount: {}, KindMeter: {}, KindPackage: {}}
	for i := range d.Accounts {
		rows[KindAccount][d.Accounts[i].ID] = i
	}
	for i := range d.Meters {
		rows[KindMeter][d.Meters[i].ID] = i
	}
	for i := range d.Packages {
		rows[KindPackage][d.Packages[i].ID] = i
	}
	for i := range faults {
		f := &faults[i]
		f.Index = rows[f.Kind][c.idOf(f.Kind, int32(f.Index))]
	}
}

// Error writes the fault as those do that end a settlement.
func (f *Fault) Error() string { return f.Rule + ": " + f.Message + "; " + f.Hint }

// contradictions reports what of the catalog contradicts a payer's state, with indexes of the catalog: what may not be
// edited once it is settled, because what is left would mean something else, be granted twice, or be lost.
func (c *Catalog) contradictions(payer int32, s *PayerState, until Instant, month Month, report func(Fault)) {
	if c.Accounts[payer].Payer != payer {
		report(c.contradiction(KindAccount, payer, "payer", "put its payer back", "it paid for itself when it was settled, up to %v, "+
			"and what is left of its packages, its quantities and its balance would be lost", until))
		return
	}
	for i := range s.Packages {
		c.packageContradictions(payer, &s.Packages[i], until, report)
	}
	for i := range s.Leftovers {
		c.leftoverContradictions(&s.Leftovers[i], until, report)
	}
	said := None // an account has a counter for each meter
	for i := range s.Counters {
		n := &s.Counters[i]
		if c.Accounts[n.Account].Payer != payer && said != n.Account {
			said = n.Account
			report(c.contradiction(KindAccount, n.Account, "payer", "put its payer back",
				"another account pays for it than when it was settled, up to %v, and the month's quantities would be lost", until))
		}
		rise := c.Meters[n.Meter].Scale - int(n.Scale)
		if n.Month == month && rise != 0 || rise < 0 || n.Usage > maxQuantity/pow10[rise] {
			report(c.contradiction(KindMeter, n.Meter, "scale", fmt.Sprintf("write scale: %d", n.Scale),
				"its scale was %d when it was settled, up to %v, and the month's quantities would mean something else", n.Scale, until))
		}
	}
}

// packageContradictions looks at one package of a payer.
func (c *Catalog) packageContradictions(payer int32, s *PackageState, until Instant, report func(Fault)) {
	p := &c.Packages[s.Package]
	if c.Accounts[p.Account].Payer != payer {
		report(c.contradiction(KindPackage, s.Package, "account", "put its account, and the account's payer, back",
			"it belonged to another account or payer when it was settled, up to %v, and what is left of it would be lost", until))
		return
	}
	if s.Terms != p.terms() {
		report(c.contradiction(KindPackage, s.Package, "", "put it back as it was, and enter a package change",
			"its quota, reset, effective or expires was edited after it had been settled, up to %v", until))
	}
	rise := p.Scale - int(s.Scale)
	switch {
	case rise < 0:
		report(c.contradiction(KindPackage, s.Package, "scale", fmt.Sprintf("write scale: %d", s.Scale),
			"its scale was %d when it was settled, up to %v, and what is left may not fit %d decimals", s.Scale, until, p.Scale))
	case max(s.Quota, s.Grant, s.Remaining, s.Rolled, s.Lapsed) > maxQuantity/pow10[rise]:
		f := c.contradiction(KindPackage, s.Package, "scale", fmt.Sprintf("write scale: %d", s.Scale),
			"what is left of it, settled up to %v, with %d decimals: %v", until, p.Scale, ErrOverflow)
		f.Rule = "R1.5"
		report(f)
	}
	known := 0
	for i := 0; i < len(p.Changes) && p.Changes[i].At < until; i++ {
		if slices.Contains(s.Applied, p.Changes[i].fingerprint(p.Scale)) {
			known++
		}
	}
	if known != len(s.Applied) {
		f := c.contradiction(KindPackage, s.Package, "", "put it back, and enter a further change",
			"a change before %v, up to which it is settled, is no longer in the catalog as it was", until)
		f.Rule = "R2.5"
		report(f)
	}
}

// leftoverContradictions looks at what a cycle left: it counts in the package's scale, which may rise as far as it fits.
func (c *Catalog) leftoverContradictions(f *Leftover, until Instant, report func(Fault)) {
	p := &c.Packages[f.Package]
	if rise := p.Scale - int(f.Scale); rise < 0 || max(f.Quota, f.Left) > maxQuantity/pow10[rise] {
		report(c.contradiction(KindPackage, f.Package, "scale", fmt.Sprintf("write scale: %d", f.Scale),
			"its scale was %d when it was settled, up to %v, and what a cycle left may not fit %d decimals", f.Scale, until, p.Scale))
	}
}

// contradiction is a fault of a row of the catalog.
func (c *Catalog) contradiction(kind Kind, index int32, field, hint, format string, args ...any) Fault {
	return Fault{
		Kind: kind, Index: int(index), Field: field, Rule: "R5.3", Hint: hint,
		Message: fmt.Sprintf("%s %q: ", rowNames[kind], c.idOf(kind, index)) + fmt.Sprintf(format, args...),
	}
}

// idOf gives the id of an account, a meter or a package.
func (c *Catalog) idOf(kind Kind, index int32) string {
	switch kind {
	case KindAccount:
		return c.Accounts[index].ID
	case KindMeter:
		return c.Meters[index].ID
	}
	return c.Packages[index].ID
}
