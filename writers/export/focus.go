package export

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"drawdown/rating"
)

// FOCUS is the table of FOCUS 1.2 rows: all its columns in the order of their names, then two of ours. Prepaid packages are
// shown as its SaaS appendix and its pages on commitments have it:
//
//	Purchase, One-Time      a term of a package: billed its price, effective 0; a refund is one with negative numbers
//	Usage, Usage-Based      what a package covered (Committed, Used): billed 0, effective the part of the price;
//	                        pay-per-use (Standard): billed and effective the amount
//	Usage, One-Time         what lapsed (Committed, Unused): billed 0, effective the part of the price
//	Adjustment, One-Time    the one rounding of a payer's month, so that BilledCost is the statement's total
//
// ChargeClass is Correction where late usage, or a refund, belongs to a month of which all periods are closed.
//
// Unit prices times quantities are costs exactly, as FOCUS demands. Where no price per unit does that (a volume or block
// price, a price per 7 units, a part of a package's price) the quantity priced is 1 charge at the cost.
func FOCUS() *Table {
	t := &Table{Name: "focus"}
	for _, c := range focusColumns {
		t.Columns = append(t.Columns, c.Column)
	}
	return t
}

// focusRow is a row of FOCUS by what differs between rows; the rest follows from it.
type focusRow struct {
	payer, account             string
	currency                   string
	month                      rating.Period // billing period
	period                     rating.Period // charge period
	category, class, frequency string
	description                string
	billed, effective          rating.Amount
	listCost                   rating.Amount
	priced                     bool // the next three are not null
	pricingQuantity, unitPrice rating.Amount
	pricingUnit                string
	pricingCategory            string
	consumed                   *rating.Amount
	consumedUnit               string
	commitment, commitmentName string
	commitmentStatus           string
	commitmentQuantity         *rating.Amount
	commitmentUnit             string
	sku, skuMeter, skuPrice    string
	tier                       int32
	belongs                    string // the month of the usage
	accountName, payerName     string
	provider                   string
	provisional                bool
}

type focusColumn struct {
	Column
	value func(*focusRow) Value
}

func of(name string, value func(*focusRow) string) focusColumn {
	return focusColumn{Column{Name: name}, func(r *focusRow) Value { return text(value(r)) }}
}

func maybe(name string, value func(*focusRow) string) focusColumn {
	return focusColumn{Column{Name: name, Nullable: true}, func(r *focusRow) Value { return textOrNull(value(r)) }}
}

func never(name string) focusColumn { return maybe(name, func(*focusRow) string { return "" }) }

func at(name string, value func(*focusRow) rating.Instant) focusColumn {
	return focusColumn{Column{Name: name, Kind: Instant}, func(r *focusRow) Value { return instant(value(r)) }}
}

func cost(name string, value func(*focusRow) rating.Amount) focusColumn {
	return focusColumn{Column{Name: name, Kind: Decimal, By: "BillingCurrency"}, func(r *focusRow) Value { return decimal(value(r)) }}
}

func price(name string, value func(*focusRow) rating.Amount) focusColumn {
	return focusColumn{Column{Name: name, Kind: Decimal, Nullable: true}, func(r *focusRow) Value {
		if !r.priced {
			return null()
		}
		return decimal(value(r))
	}}
}

func units(name string, value func(*focusRow) *rating.Amount) focusColumn {
	return focusColumn{Column{Name: name, Kind: Decimal, Nullable: true}, func(r *focusRow) Value { return optionalAmount(value(r)) }}
}

var focusColumns = []focusColumn{
	never("AvailabilityZone"),
	cost("BilledCost", func(r *focusRow) rating.Amount { return r.billed }),
	of("BillingAccountId", func(r *focusRow) string { return r.payer }),
	of("BillingAccountName", func(r *focusRow) string { return cmp.Or(r.payerName, r.payer) }),
	of("BillingAccountType", func(*focusRow) string { return "Payer" }),
	of("BillingCurrency", func(r *focusRow) string { return r.currency }),
	at("BillingPeriodEnd", func(r *focusRow) rating.Instant { return r.month.End }),
	at("BillingPeriodStart", func(r *focusRow) rating.Instant { return r.month.Start }),
	never("CapacityReservationId"),
	never("CapacityReservationStatus"),
	of("ChargeCategory", func(r *focusRow) string { return r.category }),
	maybe("ChargeClass", func(r *focusRow) string { return r.class }),
	of("ChargeDescription", func(r *focusRow) string { return r.description }),
	of("ChargeFrequency", func(r *focusRow) string { return r.frequency }),
	at("ChargePeriodEnd", func(r *focusRow) rating.Instant { return r.period.End }),
	at("ChargePeriodStart", func(r *focusRow) rating.Instant { return r.period.Start }),
	maybe("CommitmentDiscountCategory", func(r *focusRow) string { return whereCommitted(r, "Usage") }),
	maybe("CommitmentDiscountId", func(r *focusRow) string { return r.commitment }),
	maybe("CommitmentDiscountName", func(r *focusRow) string { return whereCommitted(r, cmp.Or(r.commitmentName, r.commitment)) }),
	units("CommitmentDiscountQuantity", func(r *focusRow) *rating.Amount { return r.commitmentQuantity }),
	maybe("CommitmentDiscountStatus", func(r *focusRow) string { return r.commitmentStatus }),
	maybe("CommitmentDiscountType", func(r *focusRow) string { return whereCommitted(r, "Prepaid Package") }),
	maybe("CommitmentDiscountUnit", func(r *focusRow) string { return r.commitmentUnit }),
	units("ConsumedQuantity", func(r *focusRow) *rating.Amount { return r.consumed }),
	maybe("ConsumedUnit", func(r *focusRow) string { return r.consumedUnit }),
	cost("ContractedCost", func(r *focusRow) rating.Amount { return r.listCost }),
	price("ContractedUnitPrice", func(r *focusRow) rating.Amount { return r.unitPrice }),
	cost("EffectiveCost", func(r *focusRow) rating.Amount { return r.effective }),
	never("InvoiceId"),
	of("InvoiceIssuerName", func(r *focusRow) string { return r.provider }),
	cost("ListCost", func(r *focusRow) rating.Amount { return r.listCost }),
	price("ListUnitPrice", func(r *focusRow) rating.Amount { return r.unitPrice }),
	maybe("PricingCategory", func(r *focusRow) string { return r.pricingCategory }),
	of("PricingCurrency", func(r *focusRow) string { return r.currency }),
	price("PricingCurrencyContractedUnitPrice", func(r *focusRow) rating.Amount { return r.unitPrice }),
	cost("PricingCurrencyEffectiveCost", func(r *focusRow) rating.Amount { return r.effective }),
	price("PricingCurrencyListUnitPrice", func(r *focusRow) rating.Amount { return r.unitPrice }),
	price("PricingQuantity", func(r *focusRow) rating.Amount { return r.pricingQuantity }),
	maybe("PricingUnit", func(r *focusRow) string { return r.pricingUnit }),
	of("ProviderName", func(r *focusRow) string { return r.provider }),
	of("PublisherName", func(r *focusRow) string { return r.provider }),
	never("RegionId"),
	never("RegionName"),
	never("ResourceId"),
	never("ResourceName"),
	never("ResourceType"),
	of("ServiceCategory", func(*focusRow) string { return "Other" }),
	of("ServiceName", func(r *focusRow) string { return r.provider }),
	of("ServiceSubcategory", func(*focusRow) string { return "Other (Other)" }),
	maybe("SkuId", func(r *focusRow) string { return r.sku }),
	maybe("SkuMeter", func(r *focusRow) string { return r.skuMeter }),
	maybe("SkuPriceDetails", func(r *focusRow) string {
		if r.tier == 0 {
			return ""
		}
		return `{"x_Tier":` + strconv.Itoa(int(r.tier)) + `}`
	}),
	maybe("SkuPriceId", func(r *focusRow) string { return r.skuPrice }),
	maybe("SubAccountId", func(r *focusRow) string { return r.account }),
	maybe("SubAccountName", func(r *focusRow) string { return cmp.Or(r.accountName, r.account) }),
	maybe("SubAccountType", func(r *focusRow) string {
		if r.account == "" {
			return ""
		}
		return "Account"
	}),
	never("Tags"),
	maybe("x_UsageMonth", func(r *focusRow) string { return r.belongs }),
	{Column{Name: "x_Provisional", Kind: Boolean}, func(r *focusRow) Value { return boolean(r.provisional) }},
}

func whereCommitted(r *focusRow, s string) string {
	if r.commitment == "" {
		return ""
	}
	return s
}

// one is the quantity of a charge that is priced as a whole.
func one() rating.Amount { return rating.AmountOf(1e9) }

// atUnitPrice prices a row by the unit where that is exact, and as one charge elsewhere; a negative one is minus one charge,
// since no unit price may be negative.
func (r *focusRow) atUnitPrice(quantity rating.Amount, unit string, numerator, per *rating.Amount) {
	r.priced = true
	if numerator != nil {
		unitPrice, exact := numerator.Quotient(*per)
		if listCost, fits := unitPrice.Product(quantity); exact && fits && unitPrice.Sign() >= 0 {
			r.pricingQuantity, r.unitPrice, r.listCost, r.pricingUnit = quantity, unitPrice, listCost, unit
			return
		}
		lots, exact := quantity.Quotient(*per)
		if listCost, fits := lots.Product(*numerator); exact && fits && numerator.Sign() >= 0 {
			r.pricingQuantity, r.unitPrice, r.listCost, r.pricingUnit = lots, *numerator, listCost, per.String()+" "+unit
			return
		}
	}
	r.asOneCharge("Charge")
}

// atPackagePrice prices units of a package: its price buys its quota, where that is granted once.
func (r *focusRow) atPackagePrice(pkg *rating.Package, units rating.Amount) {
	quota := rating.DecimalOf(pkg.Quota, pkg.Scale)
	if pkg.Reset == rating.NoReset && quota.Sign() > 0 {
		r.atUnitPrice(units, cmp.Or(pkg.Unit, "Units"), &pkg.PricePaid, &quota)
		return
	}
	r.asOneCharge("Charge")
}

// asOneCharge prices a row by its list cost.
func (r *focusRow) asOneCharge(unit string) {
	r.priced, r.pricingQuantity, r.unitPrice, r.pricingUnit = true, one(), r.listCost, unit
	if r.listCost.Sign() < 0 {
		r.pricingQuantity, r.unitPrice = one().Neg(), r.listCost.Neg()
	}
}

// Focus makes FOCUS rows. What a month's rows are billed is kept for its rounding.
type Focus struct {
	*Books
	billed roundings
	row    []Value
}

// NewFocus makes rows of what the books hold.
func (b *Books) NewFocus() *Focus { return &Focus{Books: b, billed: roundings{}} }

// Rows gives the rows of a payer in a period; month is the month that they are billed in.
func (f *Focus) Rows(p *Payer, list []Recognized, month rating.Period, provisional bool, yield func([]Value) error) error {
	base := focusRow{payer: p.ID, month: month, period: p.Period, provisional: provisional}
	for i := range list {
		if err := f.packageRows(base, &list[i], yield); err != nil {
			return fmt.Errorf("package %q: %w", f.Catalog.Packages[list[i].Package].ID, err)
		}
	}
	for i := range p.Charges {
		if err := f.chargeRow(base, &p.Charges[i], yield); err != nil {
			return err
		}
	}
	return nil
}

// EndMonth gives the rows of the roundings of a month.
func (f *Focus) EndMonth(month rating.Period, provisional bool, yield func([]Value) error) error {
	err := f.billed.each(f.Digits, func(k payerCurrency, _, rounding rating.Amount) error {
		if rounding.Sign() == 0 {
			return nil
		}
		return f.put(focusRow{
			payer: k.payer, currency: k.currency, month: month, period: month, category: "Adjustment", frequency: "One-Time",
			description: "Rounding of the month to the currency", billed: rounding, effective: rounding, listCost: rounding,
			provisional: provisional,
		}, yield)
	})
	f.billed = roundings{}
	return err
}

func (f *Focus) put(r focusRow, yield func([]Value) error) error {
	r.provider = f.Provider
	r.payerName, r.accountName = f.accountName(r.payer), f.accountName(r.account)
	if r.category != "Adjustment" {
		f.billed.add(r.payer, r.currency, r.billed)
	}
	f.row = f.row[:0]
	for i := range focusColumns {
		f.row = append(f.row, focusColumns[i].value(&r))
	}
	return yield(f.row)
}

func (t *Terms) accountName(id string) string {
	if i, known := t.Catalog.AccountIndex([]byte(id)); known {
		return t.Catalog.Accounts[i].Name
	}
	return ""
}

// packageRows are a package's purchases, what it covered, what lapsed, and a refund.
func (f *Focus) packageRows(base focusRow, r *Recognized, yield func([]Value) error) error {
	pkg := &f.Catalog.Packages[r.Package]
	name := cmp.Or(pkg.Name, pkg.ID)
	base.account, base.currency = r.Account, r.Currency
	base.commitment, base.commitmentName, base.commitmentUnit = pkg.ID, pkg.Name, cmp.Or(pkg.Unit, "Units")
	base.sku, base.skuPrice = "product/"+cmp.Or(pkg.Product, pkg.ID), "package/"+pkg.ID
	quota := rating.DecimalOf(pkg.Quota, pkg.Scale)
	for _, term := range r.Recognition.Terms {
		row := base
		row.category, row.frequency, row.pricingCategory = "Purchase", "One-Time", "Standard"
		row.description = "Purchase of " + name
		row.period = rating.Period{Start: term.Start, End: term.End}
		row.billed, row.listCost, row.commitmentQuantity = pkg.PricePaid, pkg.PricePaid, &quota
		row.asOneCharge("Packages")
		if err := f.put(row, yield); err != nil {
			return err
		}
	}
	if err := f.drawRows(base, r, name, yield); err != nil {
		return err
	}
	if r.UnitsExpired.Sign() != 0 || r.Recognition.Lapsed.Sign() != 0 {
		row := base
		row.category, row.frequency, row.pricingCategory, row.commitmentStatus = "Usage", "One-Time", "Committed", "Unused"
		row.description = "Unused remainder of " + name
		row.effective, row.listCost, row.commitmentQuantity = r.Recognition.Lapsed, r.Recognition.Lapsed, &r.UnitsExpired
		row.atPackagePrice(pkg, r.UnitsExpired)
		if err := f.put(row, yield); err != nil {
			return err
		}
	}
	if r.Refunded.Sign() == 0 {
		return nil
	}
	row := base
	row.category, row.frequency, row.pricingCategory = "Purchase", "One-Time", "Standard"
	row.description = "Refund of what was left of " + name
	row.billed, row.listCost, row.commitmentQuantity = r.Refunded.Neg(), r.Refunded.Neg(), &rating.Amount{}
	if f.Closed(monthName(f.Catalog, min(pkg.Created, pkg.Effective))) {
		row.class = "Correction"
	}
	row.asOneCharge("Packages")
	return f.put(row, yield)
}

func monthName(c *rating.Catalog, at rating.Instant) string {
	return at.Time().In(c.Zone).Format("2006-01")
}

// drawRows spread what a package's use recognises over those who used it, cumulatively.
func (f *Focus) drawRows(base focusRow, r *Recognized, name string, yield func([]Value) error) error {
	pkg := &f.Catalog.Packages[r.Package]
	late := func(d Draw) int {
		if d.Late {
			return 1
		}
		return 0
	}
	slices.SortFunc(r.Draws, func(a, b Draw) int {
		return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Meter, b.Meter), cmp.Compare(a.Month, b.Month), late(a)-late(b))
	})
	var all sum
	for i := range r.Draws {
		all.add(r.Draws[i].Consumed)
	}
	whole, err := all.value()
	if err != nil {
		return err
	}
	if whole != r.UnitsUsed {
		return fmt.Errorf("its lines take %s of it, and its balances say %s", whole, r.UnitsUsed)
	}
	var part sum
	before := rating.Amount{}
	for i := range r.Draws {
		d := &r.Draws[i]
		part.add(d.Consumed)
		after, ok := r.Used.Share(part.of, whole)
		if !ok {
			return rating.ErrOverflow
		}
		row := base
		row.effective, _ = after.Sub(before) // both are parts of one amount
		before = after
		row.account = d.Account
		row.category, row.frequency, row.pricingCategory, row.commitmentStatus = "Usage", "Usage-Based", "Committed", "Used"
		row.description = "Usage of " + d.Meter + " covered by " + name
		row.skuMeter, row.commitmentQuantity, row.consumed = d.Meter, &d.Consumed, &d.Quantity
		row.consumedUnit = cmp.Or(f.meterUnit(d.Meter), "Units")
		row.listCost = row.effective
		row.atPackagePrice(pkg, d.Consumed)
		if d.Late && d.Month != "" && f.Closed(d.Month) {
			row.class = "Correction"
		}
		row.belongs = d.Month
		if err := f.put(row, yield); err != nil {
			return err
		}
	}
	return nil
}

func (f *Focus) chargeRow(base focusRow, c *Charge, yield func([]Value) error) error {
	row := base
	row.account, row.currency = c.Account, c.Currency
	row.category, row.frequency, row.pricingCategory = "Usage", "Usage-Based", "Standard"
	row.description = "Usage of " + c.Meter + " beyond packages"
	row.billed, row.effective, row.listCost = c.Amount, c.Amount, c.Amount
	row.consumed, row.consumedUnit = &c.Quantity, cmp.Or(f.meterUnit(c.Meter), "Units")
	row.sku, row.skuMeter, row.skuPrice = "meter/"+c.Meter, c.Meter, "price/"+c.PriceID
	if c.Tier != nil {
		row.tier = *c.Tier
		row.description += fmt.Sprintf(", tier %d", row.tier)
	}
	row.belongs = c.Month
	if c.Late && f.Closed(c.Month) {
		row.class = "Correction"
	}
	row.atUnitPrice(c.Quantity, row.consumedUnit, c.UnitPrice, c.Per)
	return f.put(row, yield)
}
