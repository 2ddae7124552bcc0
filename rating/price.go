package rating

import (
	"errors"
	"math/big"
	"math/bits"
)

// totalFunction is total(Q) of R1.3: what a month's quantity Q costs, computed exactly and rounded once, half away from
// zero, to 10^-9. All prices are fractions of one denominator, made when the catalog is compiled.
type totalFunction struct {
	model       Model
	denominator uint64
	tiers       []totalTier
	size        int64  // block
	block       uint64 // price of a block
}

type totalTier struct {
	upTo      int64     // the last unit of the tier
	from      int64     // graduated: the last unit of the tier before
	numerator uint64    // price of one smallest unit, over the denominator
	below     unsigned2 // graduated: what all tiers before cost in full, over the denominator
}

// unsigned2 is an unsigned number of 128 bits.
type unsigned2 struct{ hi, lo uint64 }

func (u unsigned2) add(v unsigned2) (unsigned2, bool) {
	lo, carry := bits.Add64(u.lo, v.lo, 0)
	hi, carry := bits.Add64(u.hi, v.hi, carry)
	return unsigned2{hi, lo}, carry == 0
}

func multiply(a, b uint64) unsigned2 {
	hi, lo := bits.Mul64(a, b)
	return unsigned2{hi, lo}
}

// divideHalfUp gives u / d, rounded half away from zero; false when the result is no Amount.
func (u unsigned2) divideHalfUp(d uint64) (Amount, bool) {
	hi, rest := u.hi/d, u.hi%d
	lo, rest := bits.Div64(rest, u.lo, d)
	if rest >= d-rest {
		var carry uint64
		lo, carry = bits.Add64(lo, 1, 0)
		hi += carry
	}
	return Amount{Hi: int64(hi), Lo: lo}, hi>>63 == 0
}

var errPriceTooFine = errors.New("the price, its per and the meter's scale make a fraction that does not fit 64 bits")

// newTotalFunction makes the exact fractions of a price for a meter of the given scale.
func newTotalFunction(p *Price, meterScale int) (totalFunction, error) {
	f := totalFunction{model: p.Model, denominator: 1, size: p.Size}
	if p.Model == Block {
		f.block = uint64(p.Tiers[0].Price)
		return f, nil
	}
	unit := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(meterScale)), nil)
	fractions := make([]*big.Rat, len(p.Tiers))
	denominator := big.NewInt(1)
	for i, t := range p.Tiers {
		numerator := new(big.Int).Mul(big.NewInt(t.Price), big.NewInt(pow10[maxScale]))
		fractions[i] = new(big.Rat).SetFrac(numerator, new(big.Int).Mul(big.NewInt(t.Per), unit))
		shared := new(big.Int).GCD(nil, nil, denominator, fractions[i].Denom())
		denominator.Mul(denominator, new(big.Int).Quo(fractions[i].Denom(), shared))
	}
	if !denominator.IsUint64() || denominator.Uint64() > 1<<63 {
		return f, errPriceTooFine
	}
	f.denominator = denominator.Uint64()
	return f, f.setTiers(p, fractions, denominator)
}

func (f *totalFunction) setTiers(p *Price, fractions []*big.Rat, denominator *big.Int) error {
	var from int64
	var below unsigned2
	for i, t := range p.Tiers {
		numerator := new(big.Int).Mul(fractions[i].Num(), denominator)
		numerator.Quo(numerator, fractions[i].Denom())
		if !numerator.IsUint64() {
			return errPriceTooFine
		}
		tier := totalTier{upTo: t.UpTo, from: from, numerator: numerator.Uint64(), below: below}
		f.tiers = append(f.tiers, tier)
		if i == len(p.Tiers)-1 {
			break
		}
		var ok bool
		if below, ok = below.add(multiply(uint64(t.UpTo-from), tier.numerator)); !ok {
			return errPriceTooFine
		}
		from = t.UpTo
	}
	return nil
}

// tierOf gives the tier that q reaches, from 0.
func (f *totalFunction) tierOf(q int64) int {
	i := 0
	for i < len(f.tiers)-1 && q > f.tiers[i].upTo {
		i++
	}
	return i
}

// total gives what q costs; false when it is no Amount.
func (f *totalFunction) total(q int64) (Amount, bool) {
	if f.model == Block {
		blocks := q / f.size
		if q%f.size != 0 {
			blocks++
		}
		return multiply(uint64(blocks), f.block).divideHalfUp(1)
	}
	t := &f.tiers[f.tierOf(q)]
	if f.model != Graduated {
		return multiply(uint64(q), t.numerator).divideHalfUp(f.denominator)
	}
	sum, ok := t.below.add(multiply(uint64(q-t.from), t.numerator))
	if !ok {
		return Amount{}, false
	}
	return sum.divideHalfUp(f.denominator)
}

// priceAt gives the price in force for an account and a meter at t, or None, and the stretch of time around t in which
// that holds. An account's own price wins over the general one (R2.3).
func (c *Catalog) priceAt(account, meter int32, t Instant) (price int32, from, until Instant) {
	from, until = Beginning, Never
	for _, prices := range [...][]int32{c.ownPrices(account, meter), c.generalPrices(meter)} {
		for _, index := range prices {
			p := &c.Prices[index]
			if p.To <= t {
				from = max(from, p.To)
				continue
			}
			if p.From > t {
				until = min(until, p.From)
				break
			}
			return index, max(from, p.From), min(until, p.To)
		}
	}
	return None, from, until
}
