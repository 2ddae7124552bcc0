package rating

import (
	"errors"
	"math/bits"
)

// ErrOverflow reports a number that leaves its type (R1.5). Whoever returns it names the record or the package.
var ErrOverflow = errors.New("number too large")

// Amount is money in units of 10^-9 of a currency unit, 128 bits wide, so that it has the range of DECIMAL(38,9).
// The zero value is 0. Amounts of different currencies are never added up; the type does not know its currency.
type Amount struct {
	Hi int64
	Lo uint64
}

// AmountOf widens n units of 10^-9.
func AmountOf(n int64) Amount { return Amount{Hi: n >> 63, Lo: uint64(n)} }

// Add gives a + b, and whether the sum fits.
func (a Amount) Add(b Amount) (Amount, bool) {
	lo, carry := bits.Add64(a.Lo, b.Lo, 0)
	hi, _ := bits.Add64(uint64(a.Hi), uint64(b.Hi), carry)
	sum := Amount{Hi: int64(hi), Lo: lo}
	overflow := (a.Hi < 0) == (b.Hi < 0) && (sum.Hi < 0) != (a.Hi < 0)
	return sum, !overflow
}

// Sub gives a - b, and whether the difference fits.
func (a Amount) Sub(b Amount) (Amount, bool) {
	lo, borrow := bits.Sub64(a.Lo, b.Lo, 0)
	hi, _ := bits.Sub64(uint64(a.Hi), uint64(b.Hi), borrow)
	diff := Amount{Hi: int64(hi), Lo: lo}
	overflow := (a.Hi < 0) != (b.Hi < 0) && (diff.Hi < 0) != (a.Hi < 0)
	return diff, !overflow
}

// Sign is -1, 0 or 1.
func (a Amount) Sign() int {
	switch {
	case a.Hi < 0:
		return -1
	case a.Hi == 0 && a.Lo == 0:
		return 0
	}
	return 1
}

// Cmp compares as numbers.
func (a Amount) Cmp(b Amount) int {
	switch {
	case a.Hi < b.Hi || a.Hi == b.Hi && a.Lo < b.Lo:
		return -1
	case a == b:
		return 0
	}
	return 1
}

// String writes the amount with nine decimals at most and no trailing zeros, as "-70" or "0.185185050".
func (a Amount) String() string { return formatFixed(a, amountScale) }

// Int64 gives the amount in units of 10^-9 where it fits.
func (a Amount) Int64() (int64, bool) { return int64(a.Lo), a.Hi == int64(a.Lo)>>63 }

// DecimalOf widens a quantity of the given scale to DECIMAL(38,9): the unit of every decimal column (section 7).
func DecimalOf(quantity int64, scale int) Amount {
	hi, lo := bits.Mul64(magnitude(quantity), uint64(pow10[amountScale-scale]))
	return Amount{Hi: int64(hi), Lo: lo}.negateIf(quantity < 0)
}

// UnitsOf gives the quantity of a scale that was widened by [DecimalOf]; it is not negative.
func UnitsOf(a Amount, scale int) int64 {
	divisor := uint64(pow10[amountScale-scale])
	if a.Hi < 0 || uint64(a.Hi) >= divisor {
		return 0
	}
	units, _ := bits.Div64(uint64(a.Hi), a.Lo, divisor)
	return int64(units)
}

func magnitude(n int64) uint64 {
	if n < 0 {
		return uint64(-n) // also right for the smallest int64, whose negation wraps to itself
	}
	return uint64(n)
}

func (a Amount) negateIf(negative bool) Amount {
	if !negative {
		return a
	}
	lo, borrow := bits.Sub64(0, a.Lo, 0)
	hi, _ := bits.Sub64(0, uint64(a.Hi), borrow)
	return Amount{Hi: int64(hi), Lo: lo}
}

// Decimal widens a sum of quantities of the given scale to DECIMAL(38,9); false when it does not fit.
func (a Amount) Decimal(scale int) (Amount, bool) {
	factor := pow10[amountScale-scale]
	negative := a.Hi < 0
	a = a.negateIf(negative)
	over, hi := bits.Mul64(uint64(a.Hi), uint64(factor))
	carry, lo := bits.Mul64(a.Lo, uint64(factor))
	hi, c := bits.Add64(hi, carry, 0)
	if over != 0 || c != 0 || hi>>63 != 0 {
		return Amount{}, false
	}
	return Amount{Hi: int64(hi), Lo: lo}.negateIf(negative), true
}

// addUnits adds a quantity, which is not negative, to a sum of quantities. Such a sum cannot leave 128 bits.
func (a *Amount) addUnits(quantity int64) {
	var carry uint64
	a.Lo, carry = bits.Add64(a.Lo, uint64(quantity), 0)
	a.Hi += int64(carry)
}
