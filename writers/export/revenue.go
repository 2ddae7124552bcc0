package export

import (
	"cmp"

	"drawdown/rating"
)

// Revenue is the table of deferred revenue, a row per package and period in which anything moved or is deferred:
// opening + bought - recognised_by_use - recognised_as_breakage - refunded = closing. The closing_booked is the closing
// balance in the currency's minor unit: what is booked in a period is the difference of two of them, so nothing drifts.
func Revenue() *Table {
	t := &Table{"revenue", []Column{
		{Name: "period_start", Kind: Instant},
		{Name: "period_end", Kind: Instant},
		{Name: "payer"},
		{Name: "account"},
		{Name: "package"},
		{Name: "product", Nullable: true},
		{Name: "source"},
		{Name: "currency"},
	}}
	for _, c := range []struct {
		name string
		sums Sums
	}{
		{"opening", Opening},
		{"bought", All},
		{"recognised_by_use", All},
		{"recognised_as_breakage", All},
		{"refunded", All},
		{"closing", Closing},
		{"closing_booked", Closing},
	} {
		t.Columns = append(t.Columns, Column{Name: c.name, Kind: Decimal, By: "currency", Sums: c.sums})
	}
	t.Columns = append(t.Columns, Column{Name: "used", Kind: Decimal}, Column{Name: "lapsed", Kind: Decimal}, Column{Name: "unit"},
		Column{Name: "provisional", Kind: Boolean})
	return t
}

// RevenueRow gives the row of a package, none where there is nothing to tell.
func (b *Books) RevenueRow(row []Value, p *Payer, r *Recognized, provisional bool) ([]Value, bool, error) {
	zero := rating.Amount{}
	if r.Opening == zero && r.Bought == zero && len(r.Recognition.Terms) == 0 && r.Used == zero && r.Recognition.Lapsed == zero &&
		r.UnitsUsed == zero && r.UnitsExpired == zero {
		return row, false, nil
	}
	booked, ok := r.Closing.RoundTo(b.Digits(r.Currency))
	if !ok {
		return row, false, rating.ErrOverflow
	}
	pkg := &b.Catalog.Packages[r.Package]
	return append(row, instant(p.Period.Start), instant(p.Period.End), text(p.ID), text(r.Account), text(pkg.ID),
		textOrNull(pkg.Product), text(sourceName(pkg.Source)), text(r.Currency), decimal(r.Opening), decimal(r.Bought),
		decimal(r.Used), decimal(r.Recognition.Lapsed), decimal(r.Refunded), decimal(r.Closing), decimal(booked),
		decimal(r.UnitsUsed), decimal(r.UnitsExpired), text(cmp.Or(pkg.Unit, "unit")), boolean(provisional)), true, nil
}

func sourceName(s rating.Source) string {
	return [...]string{rating.Free: "free", rating.Promotion: "promotion", rating.Subscription: "subscription"}[s]
}
