package rating

import (
	"fmt"
	"testing"
	"time"
)

// bulkDraft is a catalog of many packages, two to an account, in an order that is not that of their ids.
func bulkDraft(packages int) *Draft {
	d := &Draft{
		Meters: []MeterDraft{{ID: "calls", Unit: "call"}, {ID: "gb", Scale: "3"}},
		Prices: []PriceDraft{
			{ID: "calls-list", Meter: "calls", Model: "flat", Price: "0.01"},
			{ID: "gb-list", Meter: "gb", Model: "flat", Price: "0.25"},
		},
		Rules: []RuleDraft{{ID: "all", Type: "percentage", Thresholds: []string{"50", "0"}}},
	}
	for i := range packages / 2 {
		d.Accounts = append(d.Accounts, AccountDraft{ID: fmt.Sprintf("account-%06d", i*7919%(packages/2)), TimeZone: "Europe/Berlin"})
	}
	for i := range packages {
		p := PackageDraft{
			ID: fmt.Sprintf("package-%07d", i*7919%packages), Account: d.Accounts[i/2].ID, Product: "bundle", Kind: "pay_per_use",
			Quota: "1000.5", Reset: "month", Covers: []CoverDraft{{Meter: "gb"}},
		}
		p.Effective = fmt.Sprintf("2026-%02d-%02d", 1+i%12, 1+i%28)
		p.Expires = fmt.Sprintf("2027-%02d-%02d", 1+i%12, 1+i%28)
		d.Packages = append(d.Packages, p)
	}
	return d
}

func BenchmarkCompile(b *testing.B) {
	for _, n := range []int{200_000, 600_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			d := bulkDraft(n)
			b.ReportAllocs()
			for b.Loop() {
				if _, faults := Compile(d, CompileConfig{Zone: time.UTC, LoadZone: time.LoadLocation, Currency: "USD"}); faults != nil {
					b.Fatal(faults[0])
				}
			}
		})
	}
}
