package rating

import (
	"math/big"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// revenueCatalog is a catalog of one package.
func revenueCatalog(p Package) *Catalog {
	return &Catalog{Zone: time.UTC, Accounts: []Account{{ID: "a", Zone: time.UTC}}, Packages: []Package{p}}
}

func whole(n int64) Amount { return AmountOf(n * 1e9) }

// TestRevenueIsThePrice: whatever is used when, a package's life recognises its price to the last digit, and no period's
// balance fails to balance. What is recognised by use is price x used / quota, rounded once.
func TestRevenueIsThePrice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		quota := rapid.Int64Range(1, 1000).Draw(t, "quota")
		price := AmountOf(rapid.Int64Range(0, 1e12).Draw(t, "price"))
		const days = 10
		c := revenueCatalog(Package{ID: "p", Quota: quota, Effective: 0, Expires: days * day, PricePaid: price})
		var books PackageRevenue
		left, used := quota, int64(0)
		var recognised, byUse, closing Amount
		for d := range Instant(days + 1) {
			move := Movement{Quota: whole(quota)}
			taken := min(left, rapid.Int64Range(0, quota).Draw(t, "taken"))
			if d == days {
				taken = 0
				move.Expired = whole(left)
			}
			left, used = left-taken, used+taken
			move.Deducted, move.Closing = whole(taken), whole(left)
			if d == days {
				move.Closing = Amount{}
			}
			r, err := books.Next(c, 0, Period{d * day, (d + 1) * day}, d == 0, []Movement{move})
			if err != nil {
				t.Fatal(err)
			}
			checkBalance(t, &r)
			if r.Opening != closing {
				t.Fatalf("day %d opens with %s, and the day before closed with %s", d, r.Opening, closing)
			}
			closing = r.Closing
			byUse, _ = byUse.Add(r.Used)
			recognised, _ = recognised.Add(r.Used)
			recognised, _ = recognised.Add(r.Lapsed)
			if want := rounded(price, used, quota); byUse != want {
				t.Fatalf("day %d: %s is recognised for %d of %d at %s, not %s", d, byUse, used, quota, price, want)
			}
		}
		if recognised != price || closing != (Amount{}) {
			t.Fatalf("%s of %s is recognised, and %s is left", recognised, price, closing)
		}
	})
}

// rounded is price x used / quota in the slowest way.
func rounded(price Amount, used, quota int64) Amount {
	r := new(big.Rat).SetFrac(new(big.Int).Mul(price.big(), big.NewInt(used)), big.NewInt(quota))
	text := r.FloatString(0) // half away from zero
	n, _ := new(big.Int).SetString(text, 10)
	a, _ := amountOfBig(n)
	return a
}

func checkBalance(t interface{ Fatalf(string, ...any) }, r *Recognition) {
	sum, _ := r.Opening.Add(r.Bought)
	for _, less := range []Amount{r.Used, r.Lapsed, r.Refunded} {
		sum, _ = sum.Sub(less)
	}
	if sum != r.Closing {
		t.Fatalf("it does not balance: %+v", r)
	}
}

// TestRevenueCases: what changes do to what is deferred.
func TestRevenueCases(t *testing.T) {
	base := Package{ID: "p", Quota: 100, Effective: 0, Expires: 4 * day, PricePaid: whole(100)}
	for _, test := range []struct {
		name    string
		change  func(*Package)
		first   Instant // day
		moves   [][]Movement
		closing []int64
		bought  []int64
	}{
		{
			"resized up: what is left is spread over more", func(p *Package) { p.Changes = []Change{{At: day, Kind: Resized, Quota: 150}} }, 0,
			[][]Movement{{{Quota: whole(100), Deducted: whole(50), Closing: whole(50)}}, {{Quota: whole(150), Deducted: whole(50), Closing: whole(50)}}},
			[]int64{50, 25},
			[]int64{100, 0},
		},
		{
			"revoked: what is left is refunded", func(p *Package) { p.Changes = []Change{{At: day, Kind: Revoked}} }, 0,
			[][]Movement{{{Quota: whole(100), Deducted: whole(50), Closing: whole(50)}}, {{Quota: whole(100), Revoked: true}}},
			[]int64{50, 0},
			[]int64{100, 0},
		},
		{
			"renewed ahead: both terms are deferred", func(p *Package) { p.Changes = []Change{{At: day, Kind: Renewed, Expires: 8 * day}} }, 0,
			[][]Movement{{{Quota: whole(100), Deducted: whole(50), Closing: whole(50)}}, {{Quota: whole(100), Deducted: whole(10), Closing: whole(40)}}},
			[]int64{50, 140},
			[]int64{100, 100},
		},
		{
			"nothing left to use: the money lapses with the term", func(p *Package) { p.Expires = day + 1 }, 0,
			[][]Movement{{{Quota: whole(100), Deducted: whole(50), Closing: whole(50)}}, {{}}},
			[]int64{50, 0},
			[]int64{100, 0},
		},
		{
			"daily grants: each day's lapse takes its part", func(p *Package) { p.Reset = EveryDay }, 0,
			[][]Movement{{{Quota: whole(100), Deducted: whole(50), Closing: whole(50)}}, {{Quota: whole(100), Expired: whole(50)}, {CycleStart: day, Quota: whole(100), Closing: whole(100)}}},
			[]int64{87, 75},
			[]int64{100, 0},
		},
		{
			"begun before the first period: its cycles from then on count", func(p *Package) { p.Reset = EveryDay }, 2,
			[][]Movement{{{CycleStart: 2 * day, Quota: whole(100), Closing: whole(100)}}},
			[]int64{50},
			[]int64{0},
		},
	} {
		p := base
		test.change(&p)
		c := revenueCatalog(p)
		var books PackageRevenue
		for i, move := range test.moves {
			start := (test.first + Instant(i)) * day
			r, err := books.Next(c, 0, Period{start, start + day}, i == 0, move)
			if err != nil {
				t.Fatal(err)
			}
			checkBalance(t, &r)
			closing, _ := r.Closing.Int64()
			if closing/1e9 != test.closing[i] || r.Bought != whole(test.bought[i]) {
				t.Errorf("%s: day %d closes with %s and buys %s", test.name, i, r.Closing, r.Bought)
			}
		}
	}
}

func TestRoundTo(t *testing.T) {
	for _, test := range []struct {
		units  int64
		digits int
		want   int64
	}{{5_000_000, 2, 10_000_000}, {-5_000_000, 2, -10_000_000}, {4_999_999, 2, 0}, {1_500_000_000, 0, 2_000_000_000}, {7, 9, 7}, {-1_004_999_999, 2, -1_000_000_000}} {
		if got, ok := AmountOf(test.units).RoundTo(test.digits); !ok || got != AmountOf(test.want) {
			t.Errorf("%s to %d digits is %s", AmountOf(test.units), test.digits, got)
		}
	}
}
