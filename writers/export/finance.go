package export

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"drawdown/rating"
)

// Terms are what the rows for finance are made with.
type Terms struct {
	Catalog  *rating.Catalog
	Digits   func(currency string) int // of a currency's minor unit
	Provider string
	Closed   func(month string) bool // whether all of a month's periods are closed
}

// Draw is what one account's usage of one meter took from one package in a period.
type Draw struct {
	Package, Account, Meter string
	Month                   string // of the usage
	Late                    bool   // for a period that was closed
	Quantity, Consumed      rating.Amount
}

// Payer is what a period has of one payer.
type Payer struct {
	ID       string
	Period   rating.Period
	Month    string // of the period
	Balances []Balance
	Charges  []Charge
	Draws    []Draw // of no use but for FOCUS rows
}

// Recognized is the revenue of one package in a period.
type Recognized struct {
	rating.Recognition
	Package  int32
	Account  string
	Currency string
	Draws    []Draw
}

// Books follow the packages from period to period.
type Books struct {
	Terms
	packages map[int32]*rating.PackageRevenue
}

// Recognize gives the revenue of a payer's packages in a period. Each period since the first one is to be given, in their
// order; first says that it is the first one.
func (b *Books) Recognize(p *Payer, first bool) ([]Recognized, error) {
	if b.packages == nil {
		b.packages = map[int32]*rating.PackageRevenue{}
	}
	draws := map[string][]Draw{}
	for _, d := range p.Draws {
		draws[d.Package] = append(draws[d.Package], d)
	}
	var list []Recognized
	for rest := p.Balances; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].Package == rest[0].Package {
			n++
		}
		r, err := b.recognize(p, rest[:n], first)
		if err != nil {
			return nil, fmt.Errorf("package %q: %w", rest[0].Package, err)
		}
		r.Draws = draws[rest[0].Package]
		list = append(list, r)
		rest = rest[n:]
	}
	return list, nil
}

func (b *Books) recognize(p *Payer, rows []Balance, first bool) (Recognized, error) {
	index, known := b.Catalog.PackageIndex(rows[0].Package)
	if !known {
		return Recognized{}, fmt.Errorf("it was settled and is no longer in the catalog, so its price is not known; put it back")
	}
	pkg := &b.Catalog.Packages[index]
	books := b.packages[index]
	if books == nil {
		books = &rating.PackageRevenue{}
		b.packages[index] = books
	}
	moves := make([]rating.Movement, len(rows))
	for i := range rows {
		moves[i] = rating.Movement{
			CycleStart: rows[i].CycleStart, Quota: rows[i].Quota, Deducted: rows[i].Deducted, Expired: rows[i].Expired,
			Closing: rows[i].Closing, Revoked: rows[i].State == rating.StateRevoked.String(),
		}
	}
	r, err := books.Next(b.Catalog, index, p.Period, first, moves)
	return Recognized{Recognition: r, Package: index, Account: rows[0].Account, Currency: pkg.Currency}, err
}

// sum adds amounts of one currency, or units of one kind; a sum that does not fit ends in an error at the end.
type sum struct {
	of    rating.Amount
	wrong bool
}

func (s *sum) add(a rating.Amount) {
	var ok bool
	s.of, ok = s.of.Add(a)
	s.wrong = s.wrong || !ok
}

func (s *sum) value() (rating.Amount, error) {
	if s.wrong {
		return rating.Amount{}, rating.ErrOverflow
	}
	return s.of, nil
}

// roundings keeps what each payer is billed in a month, currency by currency, for the one rounding at its end.
type roundings map[payerCurrency]*sum

type payerCurrency struct{ payer, currency string }

func (r roundings) add(payer, currency string, a rating.Amount) {
	k := payerCurrency{payer, currency}
	if r[k] == nil {
		r[k] = &sum{}
	}
	r[k].add(a)
}

// each gives what was billed and what the rounding adds to it, by payer and currency.
func (r roundings) each(digits func(string) int, visit func(k payerCurrency, billed, rounding rating.Amount) error) error {
	keys := slices.SortedFunc(maps.Keys(r), func(a, b payerCurrency) int {
		return cmp.Or(cmp.Compare(a.payer, b.payer), cmp.Compare(a.currency, b.currency))
	})
	for _, k := range keys {
		billed, err := r[k].value()
		if err != nil {
			return fmt.Errorf("payer %q: what is billed in %s: %w", k.payer, k.currency, err)
		}
		rounded, ok := billed.RoundTo(digits(k.currency))
		if !ok {
			return fmt.Errorf("payer %q: what is billed in %s: %w", k.payer, k.currency, rating.ErrOverflow)
		}
		difference, _ := rounded.Sub(billed) // less than a minor unit
		if err := visit(k, billed, difference); err != nil {
			return err
		}
	}
	return nil
}
