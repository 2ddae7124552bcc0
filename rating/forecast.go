package rating

import "math/big"

// Forecast says when what is left of a package runs out, if it is drawn on as in some days before. Days are told from 1 on:
// day 1 is the one that begins at the forecast's instant.
type Forecast struct {
	PerDay Amount // the mean of the days, rounded to 10^-9
	// After is how long what is left lasts at the mean, in microseconds of days of 24 hours; the last of it is used before.
	After int64
	// First and Last are the days between which it runs out, two standard deviations to either side. Last is 0 where the
	// days differ so much that it may last for ever.
	First, Last int
}

// longestForecast is how far a forecast looks, in days; what lasts longer is not told from what lasts for ever.
const longestForecast = 3660

// RunsOut forecasts when what is left runs out, from the use of some days. False where nothing is left, where fewer than
// two days are known, where nothing was used, or where it lasts for longer than ten years.
//
// With k days of use x, their sum S and V = k Σx² - S², the mean of n days to come is nS/k, and the square of its standard
// error (k-1)⁻¹ n (k+n) V / k²: the days' own spread, and that of the mean that was measured. All of it is compared in whole
// numbers.
func RunsOut(left Amount, daily []Amount) (f Forecast, ok bool) {
	k := int64(len(daily))
	sum, squares := new(big.Int), new(big.Int)
	for _, used := range daily {
		x := used.big()
		sum.Add(sum, x)
		squares.Add(squares, new(big.Int).Mul(x, x))
	}
	if k < 2 || left.Sign() <= 0 || sum.Sign() <= 0 {
		return f, false
	}
	needed := new(big.Int).Mul(left.big(), big.NewInt(k)) // k R: is reached where n S is
	after := new(big.Int).Mul(needed, big.NewInt(int64(day)))
	after.Sub(after.Add(after, sum), big.NewInt(1))
	after.Quo(after, sum)
	if !after.IsInt64() || after.Int64() > longestForecast*int64(day) {
		return f, false
	}
	f.PerDay, ok = amountOfBig(divideHalfAway(sum, big.NewInt(k)))
	f.After = after.Int64()
	spread := new(big.Int).Mul(squares, big.NewInt(k))
	spread.Sub(spread, new(big.Int).Mul(sum, sum))
	for n := int64(1); n <= longestForecast && f.Last == 0; n++ {
		missing := new(big.Int).Mul(sum, big.NewInt(n))
		missing.Sub(needed, missing)
		within := within2Deviations(missing, spread, n, k)
		if f.First == 0 && (missing.Sign() <= 0 || within) {
			f.First = int(n)
		}
		if missing.Sign() <= 0 && (!within || missing.Sign() == 0 && spread.Sign() == 0) {
			f.Last = int(n)
		}
	}
	return f, ok
}

// within2Deviations tells whether what is missing after n days is at most two standard errors, both times k:
// (k-1) missing² <= 4 n (k+n) V.
func within2Deviations(missing, spread *big.Int, n, k int64) bool {
	distance := new(big.Int).Mul(missing, missing)
	distance.Mul(distance, big.NewInt(k-1))
	bound := new(big.Int).Mul(spread, big.NewInt(4*n*(k+n)))
	return distance.Cmp(bound) <= 0
}
