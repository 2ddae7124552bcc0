package rating

import (
	"errors"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func TestParseDecimal(t *testing.T) {
	for _, c := range []struct {
		text     string
		scale    int
		rounding Rounding
		want     int64
		err      error
	}{
		{"1.50", 1, Exact, 15, nil},
		{"1e3", 0, Exact, 1000, nil},
		{"-0", 0, Exact, 0, nil},
		{"-0.000000000000", 0, Exact, 0, nil},
		{"+2.", 0, Exact, 2, nil},
		{".5", 1, Exact, 5, nil},
		{"150e-2", 1, Exact, 15, nil},
		{"0e999999999999", 9, Exact, 0, nil},
		{"9223372036854775807", 0, Exact, 1<<63 - 1, nil},
		{"-9223372036854775807", 0, Exact, -(1<<63 - 1), nil},
		{"9223372036854775808", 0, Exact, 0, ErrOverflow},
		{"1.05", 1, Exact, 0, ErrTooManyDecimals},
		{"1.05", 1, HalfUp, 11, nil},
		{"-1.05", 1, HalfUp, -11, nil},
		{"1.0499999", 1, HalfUp, 10, nil},
		{"1.09", 1, Down, 10, nil},
		{"-1.09", 1, Down, -10, nil},
		{"0.5", 0, HalfUp, 1, nil},
		{"0.05", 0, HalfUp, 0, nil},
		{"5e-1000000", 0, HalfUp, 0, nil},
		{"5e-99999999999", 0, HalfUp, 0, nil},
		{"0." + strings.Repeat("3", 60), 9, Down, 333333333, nil},
		{"0." + strings.Repeat("3", 60), 9, Exact, 0, ErrTooManyDecimals},
		{"0.9999999995", 9, HalfUp, 1000000000, nil},
		{"1e30", 0, Exact, 0, ErrOverflow},
		{"1e9999999", 0, Exact, 0, ErrOverflow},
		{"", 0, Exact, 0, ErrNotDecimal},
		{"-", 0, Exact, 0, ErrNotDecimal},
		{".", 0, Exact, 0, ErrNotDecimal},
		{"1e", 0, Exact, 0, ErrNotDecimal},
		{"1e+", 0, Exact, 0, ErrNotDecimal},
		{"1.2.3", 0, Exact, 0, ErrNotDecimal},
		{" 1", 0, Exact, 0, ErrNotDecimal},
		{"1 ", 0, Exact, 0, ErrNotDecimal},
		{"NaN", 0, Exact, 0, ErrNotDecimal},
		{"Infinity", 0, Exact, 0, ErrNotDecimal},
		{"0x10", 0, Exact, 0, ErrNotDecimal},
		{"1_000", 0, Exact, 0, ErrNotDecimal},
		{"1,5", 0, Exact, 0, ErrNotDecimal},
		{strings.Repeat("9", 60) + "x", 0, Exact, 0, ErrNotDecimal},
	} {
		got, err := ParseDecimal([]byte(c.text), c.scale, c.rounding)
		if got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%q scale %d rounding %d: %d, %v; want %d, %v", c.text, c.scale, c.rounding, got, err, c.want, c.err)
		}
	}
}

var decimalPattern = regexp.MustCompile(`^[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]{1,3})?$`)

// FuzzDecimal compares with math/big.
func FuzzDecimal(f *testing.F) {
	for _, s := range []string{"1.50", "1e3", "-0.05", "9223372036854775807", "0.00000000049999999999999999999999999999999999999999", "12345678901234567890123456789012345678901e-30", "x"} {
		f.Add(s, uint8(3), uint8(1))
	}
	f.Fuzz(func(t *testing.T, text string, scale, rounding uint8) {
		scale, rounding = scale%10, rounding%3
		got, err := ParseDecimal([]byte(text), int(scale), Rounding(rounding))
		if !decimalPattern.MatchString(text) {
			if err == nil && len(text) < 60 && !regexp.MustCompile(`[eE][-+]?[0-9]{4,}$`).MatchString(text) {
				t.Fatalf("%q was taken as %d", text, got)
			}
			return
		}
		value, ok := new(big.Rat).SetString(strings.TrimPrefix(text, "+"))
		if !ok {
			t.Skip()
		}
		value.Mul(value, new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil)))
		want := new(big.Int).Quo(value.Num(), value.Denom())
		switch {
		case value.IsInt():
		case Rounding(rounding) == Exact:
			if !errors.Is(err, ErrTooManyDecimals) && !errors.Is(err, ErrOverflow) {
				t.Fatalf("%q scale %d: %d, %v; it has too many decimals", text, scale, got, err)
			}
			return
		case Rounding(rounding) == HalfUp:
			twice := new(big.Rat).Add(new(big.Rat).Abs(value), big.NewRat(1, 2))
			want.Quo(twice.Num(), twice.Denom())
			if value.Sign() < 0 {
				want.Neg(want)
			}
		}
		fits := want.IsInt64() && want.Int64() != -1<<63
		switch {
		case err == nil && (!fits || strconv.FormatInt(got, 10) != want.String()):
			t.Fatalf("%q scale %d rounding %d: %d, want %s", text, scale, rounding, got, want)
		case err != nil && fits:
			t.Fatalf("%q scale %d rounding %d: %v, want %s", text, scale, rounding, err, want)
		}
	})
}
