package rating

import "math/big"

func billion() *big.Int { return big.NewInt(pow10[amountScale]) }

func (a Amount) big() *big.Int {
	n := new(big.Int).Lsh(big.NewInt(a.Hi), 64)
	return n.Add(n, new(big.Int).SetUint64(a.Lo))
}

// amountOfBig gives a number of 10^-9 as an Amount; false when it does not fit.
func amountOfBig(n *big.Int) (Amount, bool) {
	hi := new(big.Int).Rsh(n, 64)
	lo := new(big.Int).And(n, new(big.Int).SetUint64(1<<64-1))
	return Amount{Hi: hi.Int64(), Lo: lo.Uint64()}, hi.IsInt64()
}

// divideHalfAway gives n / d, rounded half away from zero; d is positive.
func divideHalfAway(n, d *big.Int) *big.Int {
	twice := new(big.Int).Lsh(new(big.Int).Abs(n), 1)
	quotient := twice.Add(twice, d)
	quotient.Quo(quotient, new(big.Int).Lsh(d, 1))
	if n.Sign() < 0 {
		quotient.Neg(quotient)
	}
	return quotient
}

// Neg gives -a; an Amount is never the smallest number of 128 bits.
func (a Amount) Neg() Amount { return a.negateIf(true) }

// Share gives a x part / whole, rounded half away from zero to 10^-9: cumulatively, shares of a growing part add up to a.
// False when whole is not positive or the result does not fit.
func (a Amount) Share(part, whole Amount) (Amount, bool) {
	if whole.Sign() <= 0 {
		return Amount{}, false
	}
	return amountOfBig(divideHalfAway(new(big.Int).Mul(a.big(), part.big()), whole.big()))
}

// Times gives a x n; false when it does not fit.
func (a Amount) Times(n int) (Amount, bool) {
	return amountOfBig(new(big.Int).Mul(a.big(), big.NewInt(int64(n))))
}

// Product gives a x b where nine decimals hold it exactly.
func (a Amount) Product(b Amount) (Amount, bool) {
	product, rest := new(big.Int).QuoRem(new(big.Int).Mul(a.big(), b.big()), billion(), new(big.Int))
	result, ok := amountOfBig(product)
	return result, ok && rest.Sign() == 0
}

// Quotient gives a / b where nine decimals hold it exactly.
func (a Amount) Quotient(b Amount) (Amount, bool) {
	if b.Sign() == 0 {
		return Amount{}, false
	}
	quotient, rest := new(big.Int).QuoRem(new(big.Int).Mul(a.big(), billion()), b.big(), new(big.Int))
	result, ok := amountOfBig(quotient)
	return result, ok && rest.Sign() == 0
}

// RoundTo rounds half away from zero to a currency's digits: the one rounding of a statement (R1.4).
func (a Amount) RoundTo(digits int) (Amount, bool) {
	if digits >= amountScale {
		return a, true
	}
	unit := big.NewInt(pow10[amountScale-digits])
	return amountOfBig(unit.Mul(unit, divideHalfAway(a.big(), unit)))
}

// CurrencyDigits gives the digits of a currency's minor unit (ISO 4217).
func CurrencyDigits(currency string) int {
	switch currency {
	case "BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF":
		return 0
	case "BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND":
		return 3
	case "CLF", "UYW":
		return 4
	}
	return 2
}
