package usage

import (
	"testing"
	"time"

	"drawdown/rating"
)

// testCatalog knows the accounts acme and globex, and the meters calls (whole), gb (two decimals, at most 1000) and tokens. A
// package asks for the attributes region (eu or us) and tier (gold).
func testCatalog(t testing.TB) *rating.Catalog {
	t.Helper()
	draft := &rating.Draft{
		Accounts: []rating.AccountDraft{{ID: "acme"}, {ID: "globex"}, {ID: "customer-1"}, {ID: "readme-curl"}, {ID: "quickstart-curl"}},
		Meters:   []rating.MeterDraft{{ID: "calls"}, {ID: "gb", Scale: "2", Max: "1000"}, {ID: "tokens"}, {ID: "api-calls"}, {ID: "request"}},
		Packages: []rating.PackageDraft{{
			ID: "p", Account: "acme", Kind: "pay_per_use", Quota: "10", Effective: "2026-10-01", Expires: "2026-11-01",
			Covers: []rating.CoverDraft{{Meter: "calls", Where: []rating.ConditionDraft{
				{Attribute: "region", Values: []string{"eu", "us"}}, {Attribute: "tier", Values: []string{"gold"}},
			}}},
		}},
	}
	c, faults := rating.Compile(draft, rating.CompileConfig{Zone: time.UTC, LoadZone: time.LoadLocation, Currency: "USD"})
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	return c
}

const (
	acme, customer1, globex = 0, 1, 2
	calls, gb               = 1, 2
)
