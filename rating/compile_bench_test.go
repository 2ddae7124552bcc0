package rating

import (
	"fmt"
	"runtime"
	"testing"
)

// bulkDraft is a catalog of many packages and accounts, in an order that is not that of their ids.
func bulkDraft(packages, accounts int) *Draft {
	d := &Draft{
		Meters: []MeterDraft{{ID: "calls", Unit: "call"}, {ID: "gb", Scale: "3"}},
		Prices: []PriceDraft{
			{ID: "calls-list", Meter: "calls", Model: "flat", Price: "0.01"},
			{ID: "gb-list", Meter: "gb", Model: "flat", Price: "0.25"},
		},
		Rules: []RuleDraft{{ID: "all", Type: "percentage", Thresholds: []string{"50", "0"}}},
	}
	for i := range accounts {
		d.Accounts = append(d.Accounts, AccountDraft{ID: fmt.Sprintf("account-%06d", i*7919%accounts), TimeZone: "Europe/Berlin"})
	}
	for i := range packages {
		p := PackageDraft{
			ID: fmt.Sprintf("package-%07d", i*7919%packages), Account: d.Accounts[i%accounts].ID, Product: "bundle", Kind: "pay_per_use",
			Quota: "1000.5", Reset: "month", Covers: []CoverDraft{{Meter: "gb"}},
		}
		p.Effective = fmt.Sprintf("2026-%02d-%02d", 1+i%12, 1+i%28)
		p.Expires = fmt.Sprintf("2027-%02d-%02d", 1+i%12, 1+i%28)
		d.Packages = append(d.Packages, p)
	}
	return d
}

func liveBytes() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func BenchmarkCompile(b *testing.B) {
	for _, n := range []int{200_000, 600_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			d := bulkDraft(n, 100_000)
			before := liveBytes()
			var c *Catalog
			for b.Loop() {
				var faults []Fault
				if c, faults = Compile(d, testCompile); faults != nil {
					b.Fatal(faults[0])
				}
			}
			b.ReportMetric(float64(liveBytes()-before)/(1<<20), "MiB-kept")
			runtime.KeepAlive(c)
			runtime.KeepAlive(d)
		})
	}
}

// BenchmarkPart compiles one of 64 parts of a catalog: what it costs should be that of its packages, however many accounts
// the catalog has.
func BenchmarkPart(b *testing.B) {
	for _, accounts := range []int{3_000, 100_000} {
		b.Run(fmt.Sprintf("accounts=%d", accounts), func(b *testing.B) {
			d := bulkDraft(200_000/64, accounts)
			packages := d.Packages
			d.Packages = nil
			whole, faults := Compile(d, testCompile)
			if faults != nil {
				b.Fatal(faults[0])
			}
			head := whole.Head(200_000, nil)
			b.ReportAllocs()
			for b.Loop() {
				if _, faults := head.Part(&Draft{Packages: packages}, testCompile); faults != nil {
					b.Fatal(faults[0])
				}
			}
		})
	}
}
