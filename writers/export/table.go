package export

import (
	"strings"

	"drawdown/rating"
)

// Kind is what the cells of a column are.
type Kind uint8

const (
	Text Kind = iota
	Decimal
	Instant
	Integer
	Boolean
)

// Column is a column of a table.
type Column struct {
	Name     string
	Kind     Kind
	Nullable bool
	By       string // of decimals that are added up: the column of text that says of what
	Sums     Sums
}

// Sums says which rows of a column are added up, in a table whose first column is the period's start.
type Sums uint8

const (
	All     Sums = iota
	Opening      // those of the first period
	Closing      // those of the last one
)

// Table is the form of a table.
type Table struct {
	Name    string
	Columns []Column
}

func (t *Table) column(name string) int {
	for i := range t.Columns {
		if t.Columns[i].Name == name {
			return i
		}
	}
	return -1
}

// Value is a cell; what it holds its column's kind says.
type Value struct {
	Null    bool
	Text    string
	Decimal rating.Amount
	Int     int64 // also an instant, and a boolean as 0 or 1
}

// Row writers of a few lines, so that a row reads like its table.

func text(s string) Value            { return Value{Text: s} }
func textOrNull(s string) Value      { return Value{Text: s, Null: s == ""} }
func decimal(a rating.Amount) Value  { return Value{Decimal: a} }
func instant(i rating.Instant) Value { return Value{Int: int64(i)} }
func integer(n int64) Value          { return Value{Int: n} }
func null() Value                    { return Value{Null: true} }
func optionalText(s *string) Value   { return optional(s, text) }
func optionalTier(n *int32) Value {
	return optional(n, func(n int32) Value { return integer(int64(n)) })
}
func optionalInt(n *int64) Value              { return optional(n, integer) }
func optionalAmount(a *rating.Amount) Value   { return optional(a, decimal) }
func optionalInstant(i *rating.Instant) Value { return optional(i, instant) }

func boolean(b bool) Value {
	if b {
		return integer(1)
	}
	return integer(0)
}

func optional[T any](v *T, of func(T) Value) Value {
	if v == nil {
		return null()
	}
	return of(*v)
}

// validText is bytes as a text, what is none of it replaced.
func validText(raw []byte) string { return strings.ToValidUTF8(string(raw), "\uFFFD") }
