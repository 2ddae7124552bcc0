package export

import "drawdown/rating"

// Line is a row of lines; what may be null is a pointer.
type Line struct {
	PeriodStart                     rating.Instant
	Payer, Account, Meter           string
	EventTime                       rating.Instant
	RecordID                        string
	LineNo                          int32
	Kind                            string
	Late                            bool
	Package                         *string
	CycleStart                      *rating.Instant
	Quantity                        rating.Amount
	Consumed                        *rating.Amount
	RemainingBefore, RemainingAfter *rating.Amount
	PriceID                         *string
	Tier                            *int32
	UnitPrice, Per                  *rating.Amount
	Amount                          rating.Amount
	Currency, SourceObject          string
	SourceRow                       int64
}

// Charge is a row of charges.
type Charge struct {
	PeriodStart, PeriodEnd rating.Instant
	Payer, Account, Meter  string
	Month, PriceID         string
	Tier                   *int32
	Late                   bool
	Quantity               rating.Amount
	UnitPrice, Per         *rating.Amount
	Amount                 rating.Amount
	Currency               string
	LineCount              int64
}

// Balance is a row of balances.
type Balance struct {
	PeriodStart, PeriodEnd    rating.Instant
	Payer, Account, Package   string
	CycleStart, CycleEnd      rating.Instant
	Quota, Opening, Granted   rating.Amount
	RolledOver, Deducted      rating.Amount
	Expired, Revoked, Closing rating.Amount
	State                     string
}

// Notice is a row of notices.
type Notice struct {
	PeriodStart          rating.Instant
	Kind, Payer, Account string
	Package, Meter       *string
	CycleStart           *rating.Instant
	ThresholdType        *string
	Threshold, Remaining *rating.Amount
	At                   rating.Instant
	RecordID             *string
	DedupKey             string
}

// Quarantined is a row of quarantine.
type Quarantined struct {
	SourceObject             string
	SourceRow                *int64
	Reason, Detail           string
	RecordID, Account, Meter *string
	Raw                      []byte
}

// The columns are those of the settlement's own tables (docs/file-formats.md), with the same names and in the same order.

// Lines is the table of lines.
func Lines() *Table {
	return &Table{"lines", []Column{
		{Name: "period_start", Kind: Instant},
		{Name: "payer"},
		{Name: "account"},
		{Name: "meter"},
		{Name: "event_time", Kind: Instant},
		{Name: "record_id"},
		{Name: "line_no", Kind: Integer},
		{Name: "kind"},
		{Name: "late", Kind: Boolean},
		{Name: "package", Nullable: true},
		{Name: "cycle_start", Kind: Instant, Nullable: true},
		{Name: "quantity", Kind: Decimal, By: "meter"},
		{Name: "consumed", Kind: Decimal, Nullable: true},
		{Name: "remaining_before", Kind: Decimal, Nullable: true},
		{Name: "remaining_after", Kind: Decimal, Nullable: true},
		{Name: "price_id", Nullable: true},
		{Name: "tier", Kind: Integer, Nullable: true},
		{Name: "unit_price", Kind: Decimal, Nullable: true},
		{Name: "per", Kind: Decimal, Nullable: true},
		{Name: "amount", Kind: Decimal, By: "currency"},
		{Name: "currency"},
		{Name: "source_object"},
		{Name: "source_row", Kind: Integer},
	}}
}

// AppendRow appends the cells of a line.
func (l *Line) AppendRow(row []Value) []Value {
	return append(row, instant(l.PeriodStart), text(l.Payer), text(l.Account), text(l.Meter), instant(l.EventTime),
		text(l.RecordID), integer(int64(l.LineNo)), text(l.Kind), boolean(l.Late), optionalText(l.Package),
		optionalInstant(l.CycleStart), decimal(l.Quantity), optionalAmount(l.Consumed), optionalAmount(l.RemainingBefore),
		optionalAmount(l.RemainingAfter), optionalText(l.PriceID), optionalTier(l.Tier), optionalAmount(l.UnitPrice),
		optionalAmount(l.Per), decimal(l.Amount), text(l.Currency), text(l.SourceObject), integer(l.SourceRow))
}

// Charges is the table of charges.
func Charges() *Table {
	return &Table{"charges", []Column{
		{Name: "period_start", Kind: Instant},
		{Name: "period_end", Kind: Instant},
		{Name: "payer"},
		{Name: "account"},
		{Name: "meter"},
		{Name: "month"},
		{Name: "price_id"},
		{Name: "tier", Kind: Integer, Nullable: true},
		{Name: "late", Kind: Boolean},
		{Name: "quantity", Kind: Decimal, By: "meter"},
		{Name: "unit_price", Kind: Decimal, Nullable: true},
		{Name: "per", Kind: Decimal, Nullable: true},
		{Name: "amount", Kind: Decimal, By: "currency"},
		{Name: "currency"},
		{Name: "line_count", Kind: Integer},
	}}
}

// AppendRow appends the cells of a charge.
func (c *Charge) AppendRow(row []Value) []Value {
	return append(row, instant(c.PeriodStart), instant(c.PeriodEnd), text(c.Payer), text(c.Account), text(c.Meter),
		text(c.Month), text(c.PriceID), optionalTier(c.Tier), boolean(c.Late), decimal(c.Quantity),
		optionalAmount(c.UnitPrice), optionalAmount(c.Per), decimal(c.Amount), text(c.Currency), integer(c.LineCount))
}

// Balances is the table of balances.
func Balances() *Table {
	t := &Table{"balances", []Column{
		{Name: "period_start", Kind: Instant},
		{Name: "period_end", Kind: Instant},
		{Name: "payer"},
		{Name: "account"},
		{Name: "package"},
		{Name: "cycle_start", Kind: Instant},
		{Name: "cycle_end", Kind: Instant},
	}}
	for _, name := range []string{"quota", "opening", "granted", "rolled_over", "deducted", "expired", "revoked", "closing"} {
		t.Columns = append(t.Columns, Column{Name: name, Kind: Decimal})
	}
	t.Columns = append(t.Columns, Column{Name: "state"})
	return t
}

// AppendRow appends the cells of a balance.
func (b *Balance) AppendRow(row []Value) []Value {
	return append(row, instant(b.PeriodStart), instant(b.PeriodEnd), text(b.Payer), text(b.Account), text(b.Package),
		instant(b.CycleStart), instant(b.CycleEnd), decimal(b.Quota), decimal(b.Opening), decimal(b.Granted),
		decimal(b.RolledOver), decimal(b.Deducted), decimal(b.Expired), decimal(b.Revoked), decimal(b.Closing), text(b.State))
}

// Notices is the table of notices.
func Notices() *Table {
	return &Table{"notices", []Column{
		{Name: "period_start", Kind: Instant},
		{Name: "kind"},
		{Name: "payer"},
		{Name: "account"},
		{Name: "package", Nullable: true},
		{Name: "meter", Nullable: true},
		{Name: "cycle_start", Kind: Instant, Nullable: true},
		{Name: "threshold_type", Nullable: true},
		{Name: "threshold", Kind: Decimal, Nullable: true},
		{Name: "remaining", Kind: Decimal, Nullable: true},
		{Name: "at", Kind: Instant},
		{Name: "record_id", Nullable: true},
		{Name: "dedup_key"},
	}}
}

// AppendRow appends the cells of a notice.
func (n *Notice) AppendRow(row []Value) []Value {
	return append(row, instant(n.PeriodStart), text(n.Kind), text(n.Payer), text(n.Account), optionalText(n.Package),
		optionalText(n.Meter), optionalInstant(n.CycleStart), optionalText(n.ThresholdType), optionalAmount(n.Threshold),
		optionalAmount(n.Remaining), instant(n.At), optionalText(n.RecordID), text(n.DedupKey))
}

// Quarantine is the table of quarantine; the raw bytes are written as far as they are text.
func Quarantine() *Table {
	return &Table{"quarantine", []Column{
		{Name: "source_object"},
		{Name: "source_row", Kind: Integer, Nullable: true},
		{Name: "reason"},
		{Name: "detail"},
		{Name: "record_id", Nullable: true},
		{Name: "account", Nullable: true},
		{Name: "meter", Nullable: true},
		{Name: "raw"},
	}}
}

// AppendRow appends the cells of a quarantined row.
func (q *Quarantined) AppendRow(row []Value) []Value {
	return append(row, text(q.SourceObject), optionalInt(q.SourceRow), text(q.Reason), text(q.Detail),
		optionalText(q.RecordID), optionalText(q.Account), optionalText(q.Meter), text(validText(q.Raw)))
}
