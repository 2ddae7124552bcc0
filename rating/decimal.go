package rating

import (
	"errors"
	"fmt"
	"math/bits"
)

const (
	maxScale    = 9 // decimals of a quantity, a price and an amount at most
	amountScale = 9
)

var pow10 = [...]int64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18}

// The ways in which a text is no quantity of a given scale.
var (
	ErrNotDecimal      = errors.New("not a decimal number")
	ErrTooManyDecimals = errors.New("too many decimals")
)

// Rounding says what becomes of the decimals that a quantity has beyond its scale (R4.2).
type Rounding uint8

const (
	Exact  Rounding = iota // more decimals are an error
	HalfUp                 // half away from zero
	Down                   // towards zero
)

// ParseDecimal reads an exact decimal as an int64 in units of 10^-scale. The value counts, not its spelling: "1.50" fits
// scale 1, "1e3" is 1000, "-0" is 0 (R1.1). A sign, digits, one point and an exponent are understood; nothing else is,
// not even white space.
func ParseDecimal(text []byte, scale int, rounding Rounding) (int64, error) {
	d, err := scanDecimal(text)
	if err != nil {
		return 0, err
	}
	return d.units(scale, rounding)
}

// scanned is a decimal as written: coefficient x 10^-decimals, and a little more where digits were cut off. That happens
// from the 38th significant digit on at the earliest: then the number is too large, or the rest is far beyond its scale.
type scanned struct {
	hi, lo   uint64
	decimals int // may be negative after an exponent
	negative bool
	cut      bool
}

func scanDecimal(text []byte) (scanned, error) {
	var d scanned
	i := 0
	if i < len(text) && (text[i] == '-' || text[i] == '+') {
		d.negative = text[i] == '-'
		i++
	}
	digits, point, pending := 0, false, 0
	for ; i < len(text); i++ {
		c := text[i]
		if c == '.' && !point {
			point = true
			continue
		}
		if c < '0' || c > '9' {
			break
		}
		digits++
		if point {
			d.decimals++
		}
		if c == '0' { // trailing zeros cost no precision, so they wait until a digit follows
			pending++
			continue
		}
		if d.cut = d.cut || !d.push(pending, c-'0'); d.cut {
			d.decimals -= pending + 1
		}
		pending = 0
	}
	if digits == 0 {
		return d, ErrNotDecimal
	}
	d.decimals -= pending
	if i < len(text) && (text[i] == 'e' || text[i] == 'E') {
		exponent, ok := scanExponent(text[i+1:])
		if !ok {
			return d, ErrNotDecimal
		}
		d.decimals -= exponent
		i = len(text)
	}
	if i != len(text) {
		return d, ErrNotDecimal
	}
	return d, nil
}

// push appends zeros and a digit to the coefficient; false, and nothing appended, when 128 bits do not hold it.
func (d *scanned) push(zeros int, digit byte) bool {
	if d.hi == 0 && d.lo == 0 {
		d.lo = uint64(digit)
		return true
	}
	hi, lo := d.hi, d.lo
	var c uint64
	for ; zeros >= 0; zeros-- {
		over, high := bits.Mul64(hi, 10)
		carry, low := bits.Mul64(lo, 10)
		high, c = bits.Add64(high, carry, 0)
		if over != 0 || c != 0 {
			return false
		}
		hi, lo = high, low
	}
	lo, c = bits.Add64(lo, uint64(digit), 0)
	hi, c = bits.Add64(hi, 0, c)
	if c != 0 {
		return false
	}
	d.hi, d.lo = hi, lo
	return true
}

func scanExponent(text []byte) (int, bool) {
	i, negative := 0, false
	if len(text) > 0 && (text[0] == '-' || text[0] == '+') {
		negative = text[0] == '-'
		i = 1
	}
	if i == len(text) {
		return 0, false
	}
	n := 0
	for ; i < len(text); i++ {
		if text[i] < '0' || text[i] > '9' {
			return 0, false
		}
		if n < 1e6 { // beyond that every number but 0 is out of range anyway
			n = n*10 + int(text[i]-'0')
		}
	}
	if negative {
		n = -n
	}
	return n, true
}

func (d scanned) units(scale int, rounding Rounding) (int64, error) {
	if d.hi == 0 && d.lo == 0 {
		return 0, nil
	}
	hi, lo := d.hi, d.lo
	up := false
	for shift := d.decimals - scale; shift > 0; shift-- {
		if rounding == Exact {
			// The last digit of the coefficient is not 0, so one decimal too many is one that counts.
			return 0, ErrTooManyDecimals
		}
		var rest uint64
		hi, rest = hi/10, hi%10
		lo, rest = bits.Div64(rest, lo, 10)
		up = rest >= 5
		if hi == 0 && lo == 0 && shift > 1 {
			up = false
			break
		}
	}
	if up && rounding == HalfUp {
		var c uint64
		lo, c = bits.Add64(lo, 1, 0)
		hi += c
	}
	for shift := scale - d.decimals; shift > 0; shift-- {
		over, low := bits.Mul64(lo, 10)
		if hi != 0 || over != 0 {
			return 0, ErrOverflow
		}
		lo = low
	}
	if hi != 0 || lo > 1<<63-1 {
		return 0, ErrOverflow
	}
	if d.cut && rounding == Exact {
		return 0, ErrTooManyDecimals
	}
	if d.negative {
		return -int64(lo), nil
	}
	return int64(lo), nil
}

// FormatQuantity writes a quantity of the given scale without trailing zeros: (150, 2) is "1.5".
func FormatQuantity(quantity int64, scale int) string {
	return formatFixed(DecimalOf(quantity, scale), amountScale)
}

// formatFixed writes a number of the given scale without trailing zeros.
func formatFixed(a Amount, scale int) string {
	negative := a.Hi < 0
	a = a.negateIf(negative)
	hi, lo := uint64(a.Hi), a.Lo
	var digits [48]byte
	i := len(digits)
	for n := 0; hi != 0 || lo != 0 || n <= scale; n++ {
		if n == scale && scale > 0 {
			i--
			digits[i] = '.'
		}
		var rest uint64
		hi, rest = hi/10, hi%10
		lo, rest = bits.Div64(rest, lo, 10)
		i--
		digits[i] = byte('0' + rest)
	}
	end := len(digits)
	if scale > 0 {
		for digits[end-1] == '0' {
			end--
		}
		if digits[end-1] == '.' {
			end--
		}
	}
	if negative {
		i--
		digits[i] = '-'
	}
	return string(digits[i:end])
}

// describeDecimal says in words why a text is no decimal of a scale.
func describeDecimal(text string, scale int, err error) string {
	switch {
	case errors.Is(err, ErrTooManyDecimals):
		return fmt.Sprintf("%q has more than %d decimals", text, scale)
	case errors.Is(err, ErrOverflow):
		return fmt.Sprintf("%q with %d decimals does not fit 64 bits", text, scale)
	}
	return fmt.Sprintf("%q is not a decimal number", text)
}
