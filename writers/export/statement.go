package export

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"drawdown/rating"
)

// Statements is the table of statements: per payer, month and currency what was bought, used, lapsed and charged, then the
// one rounding to the currency's minor unit, then the total. The kind of a row is
//
//	package     bought (how many terms, and the amount) or refunded; used and lapsed: units of it, already paid for
//	charge      pay-per-use, by account, meter, price and tier
//	adjustment  a charge for late usage, with the month that it belongs to
//	rounding    what makes the sum of the amounts the total
//	total       what is to be paid
//
// The totals of the file leave out the rows of kind total, lest they count twice.
func Statements() *Table {
	return &Table{"statements", []Column{
		{Name: "payer"},
		{Name: "payer_name", Nullable: true},
		{Name: "month"},
		{Name: "currency"},
		{Name: "kind"},
		{Name: "account", Nullable: true},
		{Name: "package", Nullable: true},
		{Name: "meter", Nullable: true},
		{Name: "price_id", Nullable: true},
		{Name: "tier", Kind: Integer, Nullable: true},
		{Name: "belongs_to", Nullable: true},
		{Name: "quantity", Kind: Decimal, Nullable: true},
		{Name: "unit", Nullable: true},
		{Name: "unit_price", Kind: Decimal, Nullable: true},
		{Name: "per", Kind: Decimal, Nullable: true},
		{Name: "bought", Kind: Integer, Nullable: true},
		{Name: "used", Kind: Decimal, Nullable: true},
		{Name: "lapsed", Kind: Decimal, Nullable: true},
		{Name: "amount", Kind: Decimal, Nullable: true, By: "currency"},
		{Name: "total", Kind: Decimal, Nullable: true, By: "currency"},
		{Name: "provisional", Kind: Boolean},
	}}
}

// Month gathers the statements of one month. It grows with the packages and charges of the month, not with its lines.
type Month struct {
	books       *Books
	name        string
	provisional bool
	packages    map[packageItem]*packageSum
	charges     map[chargeItem]*chargeSum
	billed      roundings
}

type packageItem struct{ payer, currency, account, id string }

type packageSum struct {
	used, lapsed, bought, refunded sum
	terms                          int
	unit                           string
}

type chargeItem struct {
	payer, currency, account, meter, month, price string
	tier                                          int32
	late                                          bool
}

type chargeSum struct {
	quantity, amount sum
	unitPrice, per   *rating.Amount
}

// NewMonth begins the statements of a month, which is provisional where it is not whole, or not closed.
func (b *Books) NewMonth(name string, provisional bool) *Month {
	return &Month{b, name, provisional, map[packageItem]*packageSum{}, map[chargeItem]*chargeSum{}, roundings{}}
}

// Name is the month's, as 2026-10.
func (m *Month) Name() string { return m.name }

// Add adds what a period has of a payer.
func (m *Month) Add(p *Payer, list []Recognized) {
	for i := range list {
		m.addPackage(p.ID, &list[i])
	}
	for i := range p.Charges {
		m.addCharge(&p.Charges[i])
	}
}

func (m *Month) addPackage(payer string, r *Recognized) {
	zero := rating.Amount{}
	if len(r.Recognition.Terms) == 0 && r.UnitsUsed == zero && r.UnitsExpired == zero && r.Refunded == zero {
		return
	}
	pkg := &m.books.Catalog.Packages[r.Package]
	key := packageItem{payer, r.Currency, r.Account, pkg.ID}
	s := m.packages[key]
	if s == nil {
		s = &packageSum{unit: pkg.Unit}
		m.packages[key] = s
	}
	s.terms += len(r.Recognition.Terms)
	s.used.add(r.UnitsUsed)
	s.lapsed.add(r.UnitsExpired)
	s.bought.add(r.Bought)
	s.refunded.add(r.Refunded.Neg())
	m.billed.add(payer, r.Currency, r.Bought)
	m.billed.add(payer, r.Currency, r.Refunded.Neg())
}

func (m *Month) addCharge(c *Charge) {
	key := chargeItem{payer: c.Payer, currency: c.Currency, account: c.Account, meter: c.Meter, month: c.Month, price: c.PriceID, late: c.Late}
	if c.Tier != nil {
		key.tier = *c.Tier
	}
	s := m.charges[key]
	if s == nil {
		s = &chargeSum{}
		m.charges[key] = s
	}
	s.unitPrice, s.per = c.UnitPrice, c.Per
	s.quantity.add(c.Quantity)
	s.amount.add(c.Amount)
	m.billed.add(c.Payer, c.Currency, c.Amount)
}

// Rows gives the month's rows: a payer's statement in one currency after the other.
func (m *Month) Rows(yield func(row []Value) error) error {
	packages := groupOf(slices.SortedFunc(maps.Keys(m.packages), comparePackages), func(k packageItem) payerCurrency { return payerCurrency{k.payer, k.currency} })
	charges := groupOf(slices.SortedFunc(maps.Keys(m.charges), compareCharges), func(k chargeItem) payerCurrency { return payerCurrency{k.payer, k.currency} })
	return m.billed.each(m.books.Digits, func(k payerCurrency, billed, rounding rating.Amount) error {
		for _, p := range packages[k] {
			if err := m.packageRows(p, yield); err != nil {
				return fmt.Errorf("package %q: %w", p.id, err)
			}
		}
		for _, c := range charges[k] {
			if err := m.chargeRow(c, yield); err != nil {
				return fmt.Errorf("account %q, meter %q: %w", c.account, c.meter, err)
			}
		}
		total, ok := billed.Add(rounding)
		if !ok {
			return rating.ErrOverflow
		}
		if err := yield(m.row(k, "rounding", func(r *statementRow) { r.amount = decimal(rounding) })); err != nil {
			return err
		}
		return yield(m.row(k, "total", func(r *statementRow) { r.total = decimal(total) }))
	})
}

func groupOf[T any](items []T, of func(T) payerCurrency) map[payerCurrency][]T {
	groups := map[payerCurrency][]T{}
	for _, item := range items {
		groups[of(item)] = append(groups[of(item)], item)
	}
	return groups
}

func comparePackages(a, b packageItem) int {
	return cmp.Or(cmp.Compare(a.account, b.account), cmp.Compare(a.id, b.id))
}

func compareCharges(a, b chargeItem) int {
	late := func(c chargeItem) int {
		if c.late {
			return 1
		}
		return 0
	}
	return cmp.Or(late(a)-late(b), cmp.Compare(a.account, b.account), cmp.Compare(a.meter, b.meter), cmp.Compare(a.month, b.month),
		cmp.Compare(a.price, b.price), cmp.Compare(a.tier, b.tier))
}

// statementRow is a row by its columns; all but the first ones are null.
type statementRow struct {
	account, pkg, meter, price, tier, belongs, quantity, unit, unitPrice, per, bought, used, lapsed, amount, total Value
}

func (m *Month) row(k payerCurrency, kind string, fill func(*statementRow)) []Value {
	n := null()
	r := statementRow{n, n, n, n, n, n, n, n, n, n, n, n, n, n, n}
	fill(&r)
	name := ""
	if i, known := m.books.Catalog.AccountIndex([]byte(k.payer)); known {
		name = m.books.Catalog.Accounts[i].Name
	}
	return []Value{
		text(k.payer), textOrNull(name), text(m.name), text(k.currency), text(kind), r.account, r.pkg, r.meter, r.price, r.tier,
		r.belongs, r.quantity, r.unit, r.unitPrice, r.per, r.bought, r.used, r.lapsed, r.amount, r.total, boolean(m.provisional),
	}
}

func (m *Month) packageRows(k packageItem, yield func([]Value) error) error {
	s := m.packages[k]
	of := payerCurrency{k.payer, k.currency}
	about := func(fill func(*statementRow)) []Value {
		return m.row(of, "package", func(r *statementRow) {
			r.account, r.pkg, r.unit = text(k.account), text(k.id), textOrNull(s.unit)
			fill(r)
		})
	}
	bought, err1 := s.bought.value()
	used, err2 := s.used.value()
	lapsed, err3 := s.lapsed.value()
	refunded, err4 := s.refunded.value()
	if err := cmp.Or(err1, err2, err3, err4); err != nil {
		return err
	}
	if err := yield(about(func(r *statementRow) {
		r.used, r.lapsed, r.amount = decimal(used), decimal(lapsed), decimal(bought)
		r.bought = integer(int64(s.terms))
	})); err != nil || refunded.Sign() == 0 {
		return err
	}
	return yield(about(func(r *statementRow) { r.amount = decimal(refunded) }))
}

func (m *Month) chargeRow(k chargeItem, yield func([]Value) error) error {
	s := m.charges[k]
	quantity, err1 := s.quantity.value()
	amount, err2 := s.amount.value()
	if err := cmp.Or(err1, err2); err != nil {
		return err
	}
	kind := "charge"
	if k.late {
		kind = "adjustment"
	}
	return yield(m.row(payerCurrency{k.payer, k.currency}, kind, func(r *statementRow) {
		r.account, r.meter, r.price, r.belongs = text(k.account), text(k.meter), text(k.price), text(k.month)
		if k.tier > 0 {
			r.tier = integer(int64(k.tier))
		}
		r.quantity, r.unit = decimal(quantity), textOrNull(m.books.meterUnit(k.meter))
		r.unitPrice, r.per = optionalAmount(s.unitPrice), optionalAmount(s.per)
		r.amount = decimal(amount)
	}))
}

func (t *Terms) meterUnit(meter string) string {
	if i, known := t.Catalog.MeterIndex([]byte(meter)); known {
		return t.Catalog.Meters[i].Unit
	}
	return ""
}
