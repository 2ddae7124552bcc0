package store

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"testing"

	"drawdown/rating"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// world is a catalog with ids only, which is all that a state refers to.
func world(accounts, meters, packages int) *rating.Catalog {
	c := &rating.Catalog{}
	for i := range accounts {
		c.Accounts = append(c.Accounts, rating.Account{ID: fmt.Sprintf("account-%06d", i)})
	}
	for i := range meters {
		c.Meters = append(c.Meters, rating.Meter{ID: fmt.Sprintf("meter-%03d", i)})
	}
	for i := range packages {
		c.Packages = append(c.Packages, rating.Package{ID: fmt.Sprintf("package-%06d", i)})
	}
	return c
}

func encode(t rapid.TB, c *rating.Catalog, payers []rating.PayerState) []byte {
	t.Helper()
	blob, err := new(StateEncoder).Encode(c, payers)
	if err != nil {
		t.Fatal(err)
	}
	return blob
}

func decode(t rapid.TB, c *rating.Catalog, blob []byte) []rating.PayerState {
	t.Helper()
	payers, err := DecodeState(c, blob)
	if err != nil {
		t.Fatal(err)
	}
	return payers
}

// states makes any states of a world of 6 accounts, 3 meters and 8 packages.
func states(t *rapid.T) []rating.PayerState {
	subset := func(name string, n int) []int32 {
		var list []int32
		for i := range n {
			if rapid.Bool().Draw(t, name) {
				list = append(list, int32(i))
			}
		}
		return list
	}
	instant := func() rating.Instant { return rating.Instant(rapid.Int64().Draw(t, "instant")) }
	number := func() int64 { return rapid.Int64().Draw(t, "number") }
	small := func() int32 { return rapid.Int32().Draw(t, "small") }
	var payers []rating.PayerState
	for _, payer := range subset("payers", 6) {
		p := rating.PayerState{Payer: payer, Tracked: rapid.Bool().Draw(t, "tracked"), Arrears: rapid.Bool().Draw(t, "arrears")}
		if p.Tracked {
			p.Cash = rating.Amount{Hi: number(), Lo: rapid.Uint64().Draw(t, "low")}
			p.TopUps = rating.Amount{Hi: number(), Lo: rapid.Uint64().Draw(t, "low")}
		}
		for _, i := range subset("packages", 8) {
			k := rating.PackageState{
				Package: i, Stage: rating.Stage(rapid.IntRange(0, int(rating.StageEnded)).Draw(t, "stage")), Arms: small(), Cycle: small(),
				TermStart: instant(), TermEnd: instant(), CycleStart: instant(), CycleEnd: instant(), ServesFrom: instant(),
				Quota: number(), Grant: number(), Remaining: number(), Rolled: number(),
				Scale: i % 10, Lapsed: number(), Terms: rapid.Uint64().Draw(t, "terms"),
			}
			for range rapid.IntRange(0, 2).Draw(t, "next") {
				k.NextEnds = append(k.NextEnds, instant())
				k.Applied = append(k.Applied, rapid.Uint64().Draw(t, "applied"))
				k.LapsedAt = instant()
				k.Raises = append(k.Raises, rating.Raise{At: instant(), Quantity: number()})
			}
			p.Packages = append(p.Packages, k)
		}
		for _, i := range subset("leftovers", 8) {
			f := rating.Leftover{
				Package: i, Scale: i % 10, CycleStart: instant(), CycleEnd: instant(), ServesFrom: instant(), LapsedAt: instant(),
				Quota: number(), Left: number(), Rolled: number(),
			}
			if i%2 == 0 {
				f.Raises = []rating.Raise{{At: instant(), Quantity: number()}}
			}
			p.Leftovers = append(p.Leftovers, f)
		}
		for _, i := range subset("counters", 6) {
			p.Counters = append(p.Counters, rating.Counter{Account: i, Meter: i % 3, Scale: i % 4, Month: rating.Month(small()), Usage: number(), Excess: number()})
		}
		for _, i := range subset("stops", 6) {
			p.Stops = append(p.Stops, rating.Stop{Account: i, Meter: i % 2, Package: i + 2, CycleStart: instant()})
		}
		payers = append(payers, p)
	}
	return payers
}

func TestStateRoundTrip(t *testing.T) {
	c := world(6, 3, 8)
	rapid.Check(t, func(t *rapid.T) {
		payers := states(t)
		blob := encode(t, c, payers)
		again := decode(t, c, blob)
		if diff := cmp.Diff(payers, again); diff != "" && len(payers) > 0 {
			t.Fatal(diff)
		}
		slices.Reverse(payers)
		if !bytes.Equal(blob, encode(t, c, payers)) || !bytes.Equal(blob, encode(t, c, again)) {
			t.Fatal("the same state gives other bytes")
		}
	})
}

// Every field of the state survives: also one that somebody adds to rating tomorrow.
func TestStateKeepsEveryField(t *testing.T) {
	var payer rating.PayerState
	fill(reflect.ValueOf(&payer).Elem())
	c := world(2, 2, 2)
	if diff := cmp.Diff([]rating.PayerState{payer}, decode(t, c, encode(t, c, []rating.PayerState{payer}))); diff != "" {
		t.Error("Encode loses something; raise its version:\n", diff)
	}
}

func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Uint8, reflect.Uint64:
		v.SetUint(1)
	default:
		v.SetInt(1)
	}
}

func TestStateIsIndependentOfTheCatalogAround(t *testing.T) {
	small, large := world(3, 1, 4), world(3, 1, 4)
	large.Accounts = slices.Insert(large.Accounts, 1, rating.Account{ID: "account-000000x"})
	large.Packages = append([]rating.Package{{ID: "a package before all"}}, large.Packages...)
	of := func(account, pack int32) []rating.PayerState {
		return []rating.PayerState{{
			Payer:    account,
			Packages: []rating.PackageState{{Package: pack, Quota: 5}},
			Counters: []rating.Counter{{Account: account}},
		}}
	}
	blob := encode(t, small, of(2, 3))
	if !bytes.Equal(blob, encode(t, large, of(3, 4))) {
		t.Error("the same state gives other bytes in a larger catalog")
	}
	if diff := cmp.Diff(of(3, 4), decode(t, large, blob)); diff != "" {
		t.Error(diff)
	}
	large.Packages = large.Packages[:4]
	_, err := DecodeState(large, blob)
	wantError(t, err, `package "package-000003"`, "not in the catalog", "put it back")
	if errors.Is(err, errDamaged) {
		t.Error("a package that is missing is no damage")
	}
}

func TestStateRefusesDisorder(t *testing.T) {
	c := world(3, 2, 3)
	for name, payers := range map[string][]rating.PayerState{
		"payer account-000001 is there twice":        {{Payer: 1}, {Payer: 1}},
		"packages are not in ascending order":        {{Packages: []rating.PackageState{{Package: 1}, {Package: 1}}}},
		"counters are not in ascending order":        {{Counters: []rating.Counter{{Month: 2}, {Month: 1}}}},
		"what cycles left is not in ascending order": {{Leftovers: []rating.Leftover{{CycleStart: 2}, {CycleStart: 2}}}},
		"stops are not in ascending order":           {{Stops: []rating.Stop{{Meter: 1}, {Account: 0}}}},
	} {
		_, err := new(StateEncoder).Encode(c, payers)
		wantError(t, err, name)
	}
}

func TestTamperedStateIsFound(t *testing.T) {
	c := world(40, 2, 40)
	blob := encode(t, c, many(40, 40, 1))
	want := decode(t, c, blob)
	for i := range blob {
		for bit := range 8 {
			b := bytes.Clone(blob)
			b[i] ^= 1 << bit
			// A bit or two of a zstd frame mean nothing.
			if is, err := DecodeState(c, b); err == nil && !reflect.DeepEqual(is, want) {
				t.Fatalf("byte %d, bit %d: not found", i, bit)
			}
		}
	}
	for n := range blob {
		if _, err := DecodeState(c, blob[:n]); err == nil {
			t.Fatalf("cut at %d: not found", n)
		}
	}
	b := bytes.Clone(blob)
	b[len(stateMagic)-1]++
	_, err := DecodeState(c, b)
	wantError(t, err, fmt.Sprint("version ", stateVersion+1), "newer drawdown")
}

// TestStateEncoderForgets encodes one state after another with one encoder, also of a larger catalog: each is as if it were
// the first.
func TestStateEncoderForgets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var encoder StateEncoder
		var c *rating.Catalog
		var payers []rating.PayerState
		for range 4 {
			if c == nil || rapid.Bool().Draw(t, "another catalog") {
				c = world(6+rapid.IntRange(0, 3).Draw(t, "more"), 3, 8)
				c.Packages[rapid.IntRange(0, 7).Draw(t, "package")].ID += "x"
			}
			if payers == nil || rapid.Bool().Draw(t, "another state") {
				payers = states(t)
			}
			blob, err := encoder.Encode(c, payers)
			if err != nil || !bytes.Equal(blob, encode(t, c, payers)) {
				t.Fatal("a state depends on the one that was encoded before", err)
			}
		}
	})
}

// TestStateOfVersion1 reads what was written before late usage was settled: one account with one live package.
func TestStateOfVersion1(t *testing.T) {
	e, err := newStateEncoding()
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"account-000000", "", "package-000000"} {
		if id == "" {
			e.u(0)
			continue
		}
		e.u(1, 0, uint64(len(id)))
		e.b = append(e.b, id...)
	}
	e.u(1, 1, 0, 0)                           // one payer, one package
	e.u(0, 0, 1)                              // the payer, no flags, its packages
	e.u(0, uint64(rating.StageLive), 2)       // stage and scale
	e.s(0, 3, 1000, 500, 100, 50, -1000)      // arms, cycle, bounds
	e.u(0)                                    // no terms to come
	e.s(70, 0, 30, 5, 0)                      // quota, grant, drawn, rolled
	e.b = append(e.b, 1, 0, 0, 0, 0, 0, 0, 0) // fingerprint
	e.u(0, 0, 0)                              // changes, counters, stops
	blob := e.seal()
	blob[len(stateMagic)-1] = 1
	want := []rating.PayerState{{Packages: []rating.PackageState{{
		Stage: rating.StageLive, Scale: 2, Cycle: 3, TermStart: 1000, TermEnd: 1500, CycleStart: 1100, CycleEnd: 1150, Quota: 70, Grant: 70,
		Remaining: 40, Rolled: 5, Terms: 1,
	}}}}
	if diff := cmp.Diff(want, decode(t, world(1, 0, 1), blob)); diff != "" {
		t.Error(diff)
	}
}

func FuzzDecodeContent(f *testing.F) {
	c := world(6, 3, 8)
	for _, payers := range [][]rating.PayerState{nil, many(6, 8, 2), {{Payer: 3, Tracked: true, Stops: []rating.Stop{{Account: 1}}}}} {
		blob, err := new(StateEncoder).Encode(c, payers)
		if err != nil {
			f.Fatal(err)
		}
		content, err := unseal(blob)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		payers, err := decodeContent(c, content, stateVersion)
		if err != nil {
			return
		}
		if diff := cmp.Diff(payers, decode(t, c, encode(t, c, payers))); diff != "" && len(payers) > 0 {
			t.Error(diff)
		}
	})
}

// many makes states of so many accounts, with packages spread over them and some counters for each account.
func many(accounts, packages, counters int) []rating.PayerState {
	payers := make([]rating.PayerState, accounts)
	start := rating.Instant(1_790_812_800_000_000)
	for i := range payers {
		p := &payers[i]
		p.Payer = int32(i)
		for k := i * packages / accounts; k < (i+1)*packages/accounts; k++ {
			used := int64(k) * 7919 % 1_000_000
			p.Packages = append(p.Packages, rating.PackageState{
				Package: int32(k), Stage: rating.StageLive, Cycle: 2, TermStart: start, TermEnd: start + 365*86400e6,
				CycleStart: start + 61*86400e6, CycleEnd: start + 92*86400e6, ServesFrom: math.MinInt64,
				Quota: 1_000_000, Grant: 1_000_000, Remaining: 1_000_000 - used,
			})
		}
		for m := range counters {
			p.Counters = append(p.Counters, rating.Counter{Account: int32(i), Meter: int32(m), Month: 24322, Usage: int64(i*31+m) * 7919 % 5_000_000})
		}
	}
	return payers
}

func BenchmarkState(b *testing.B) {
	c := world(100_000, 5, 100_000)
	payers := many(100_000, 100_000, 5)
	blob := encode(b, c, payers)
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		var encoder StateEncoder
		for b.Loop() {
			if _, err := encoder.Encode(c, payers); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(len(blob)), "blob-bytes")
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			decode(b, c, blob)
		}
	})
}
