package main

import (
	"cmp"
	"fmt"
	"path"
	"slices"

	"drawdown/jobs"
	"drawdown/rating"
	"drawdown/writers/settlement"
)

// periodChange is what one revision of a period says otherwise than another, by account.
type periodChange struct {
	Period   string          `json:"period"`
	Was      int             `json:"was_revision"`
	Is       int             `json:"is_revision"`
	Charges  []chargeChange  `json:"charges"`
	Packages []packageChange `json:"packages"`
}

// chargeChange is what an account is charged more, or less, for a meter.
type chargeChange struct {
	Account  string `json:"account"`
	Meter    string `json:"meter"`
	Currency string `json:"currency"`
	Units    string `json:"units"`
	Amount   string `json:"amount"`

	units, amount rating.Amount
}

// packageChange is what more, or less, is deducted from a package, and left of it.
type packageChange struct {
	Account  string `json:"account"`
	Package  string `json:"package"`
	Deducted string `json:"deducted"`
	Closing  string `json:"closing"`

	deducted, closing rating.Amount
}

// changeOf compares a period that was settled again with what stands.
func changeOf(stands, out *settlement.Output, was *jobs.Booked, is *jobs.PeriodReport) (periodChange, error) {
	before, err := openPublished(stands, was.Name, settlement.Current{Revision: was.Revision, Manifest: was.ManifestKey})
	if err != nil {
		return periodChange{}, err
	}
	after, err := openPublished(out, is.Name, settlement.Current{Revision: is.Revision, Manifest: is.Manifest})
	if err != nil {
		return periodChange{}, err
	}
	return compareRevisions(before, after)
}

// compareRevisions adds up what two revisions of a period differ in.
func compareRevisions(before, after *published) (periodChange, error) {
	c := periodChange{
		Period: after.name, Was: before.current.Revision, Is: after.current.Revision,
		Charges: []chargeChange{}, Packages: []packageChange{},
	}
	before, after = before.besides(after), after.besides(before)
	charges, packages := map[[3]string]*chargeChange{}, map[string]*packageChange{}
	for _, side := range []struct {
		p    *published
		sign func(rating.Amount) rating.Amount
	}{{before, negative}, {after, func(a rating.Amount) rating.Amount { return a }}} {
		if err := addCharges(side.p, side.sign, charges); err != nil {
			return c, err
		}
		if err := addBalances(side.p, side.sign, packages); err != nil {
			return c, err
		}
	}
	for _, charge := range charges {
		if charge.units.Sign() != 0 || charge.amount.Sign() != 0 {
			charge.Units, charge.Amount = charge.units.String(), charge.amount.String()
			c.Charges = append(c.Charges, *charge)
		}
	}
	for _, p := range packages {
		if p.deducted.Sign() != 0 || p.closing.Sign() != 0 {
			p.Deducted, p.Closing = p.deducted.String(), p.closing.String()
			c.Packages = append(c.Packages, *p)
		}
	}
	slices.SortFunc(c.Charges, func(a, b chargeChange) int {
		return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Meter, b.Meter), cmp.Compare(a.Currency, b.Currency))
	})
	slices.SortFunc(c.Packages, func(a, b packageChange) int {
		return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Package, b.Package))
	})
	return c, nil
}

func negative(a rating.Amount) rating.Amount {
	n, _ := rating.Amount{}.Sub(a)
	return n
}

func addCharges(p *published, sign func(rating.Amount) rating.Amount, to map[[3]string]*chargeChange) error {
	for _, file := range p.files("charges") {
		for row, err := range settlement.ReadCharges(file) {
			if err != nil {
				return fmt.Errorf("read %s: %w", path.Base(file.String()), err)
			}
			key := [3]string{row.Account, row.Meter, row.Currency}
			c := to[key]
			if c == nil {
				c = &chargeChange{Account: row.Account, Meter: row.Meter, Currency: row.Currency}
				to[key] = c
			}
			c.units, _ = c.units.Add(sign(row.Quantity))
			c.amount, _ = c.amount.Add(sign(row.Amount))
		}
	}
	return nil
}

func addBalances(p *published, sign func(rating.Amount) rating.Amount, to map[string]*packageChange) error {
	for _, file := range p.files("balances") {
		err := settlement.ReadMoved(file, func(m *settlement.Moved) error {
			c := to[string(m.Package)]
			if c == nil {
				c = &packageChange{Account: string(m.Account), Package: string(m.Package)}
				to[c.Package] = c
			}
			c.deducted, _ = c.deducted.Add(sign(m.Deducted))
			c.closing, _ = c.closing.Add(sign(m.Closing))
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// printChanges shows what changed, period by period; the largest accounts alone where there are many.
func (a *app) printChanges(c *Config, changes []periodChange) {
	const most = 40
	charges := table{columns: []column{{"period", fixed}, {"account", ident}, {"meter", ident}, {"units", decimal}, {"amount", decimal}, {"", fixed}}}
	packages := table{columns: []column{{"period", fixed}, {"account", ident}, {"package", ident}, {"deducted", decimal}, {"left", decimal}}}
	shown, shownPackages, more := 0, 0, 0
	for i := range changes {
		for _, charge := range changes[i].Charges {
			if shown++; shown > most {
				more++
				continue
			}
			charges.row(changes[i].Period, charge.Account, charge.Meter, signed(amount(charge.units), charge.units),
				signed(money(charge.amount, c.Currency.Digits), charge.amount), charge.Currency)
		}
		for _, p := range changes[i].Packages {
			if shownPackages++; shownPackages > most {
				more++
				continue
			}
			packages.row(changes[i].Period, p.Account, p.Package, signed(amount(p.deducted), p.deducted), signed(amount(p.closing), p.closing))
		}
	}
	if shown > 0 {
		a.say("\n%s\n", "What is charged otherwise")
		charges.print(a.stdout, a.ink)
	}
	if shownPackages > 0 {
		a.say("\n%s\n", "What is deducted otherwise")
		packages.print(a.stdout, a.ink)
	}
	if more > 0 {
		a.say("\n... and %s more; --json has all of them.", groupedInt(int64(more)))
	}
}

// signed writes a plus before what is more.
func signed(text string, a rating.Amount) string {
	if a.Sign() > 0 {
		return "+" + text
	}
	return text
}
