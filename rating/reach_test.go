package rating_test

import (
	"slices"
	"testing"
	"time"

	"drawdown/rating"
)

// TestReach: an edit reaches from when to when it can change what usage comes to, in the zone of who owns it.
func TestReach(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	config := rating.CompileConfig{Zone: time.UTC, Currency: "USD", LoadZone: time.LoadLocation}
	day := func(n int) rating.Instant { return rating.InstantOf(time.Date(2026, 10, n, 0, 0, 0, 0, time.UTC)) }
	there := func(n int) rating.Instant { return rating.InstantOf(time.Date(2026, 10, n, 0, 0, 0, 0, berlin)) }
	price := func(from, to, amount, account string) *rating.Draft {
		return &rating.Draft{Prices: []rating.PriceDraft{{ID: "p", Meter: "calls", Model: "flat", Price: amount, From: from, To: to, Account: account}}}
	}
	pkg := func(edit func(*rating.PackageDraft)) *rating.Draft {
		p := rating.PackageDraft{
			ID: "k", Account: "acme", Kind: "pay_per_use", Quota: "1", Effective: "2026-10-05", Expires: "2027-01-01",
			Covers: []rating.CoverDraft{{Meter: "calls"}},
		}
		edit(&p)
		return &rating.Draft{Packages: []rating.PackageDraft{p}}
	}
	nothing := func(*rating.PackageDraft) {}
	for _, test := range []struct {
		name    string
		was, is *rating.Draft
		want    []rating.Instant // from, to; none: it reaches nowhere
	}{
		{"a price", &rating.Draft{}, price("2026-10-02", "2026-10-04", "1", ""), []rating.Instant{day(2), day(4)}},
		{"a price of its own", &rating.Draft{}, price("2026-10-02", "2026-10-04", "1", "acme"), []rating.Instant{there(2), there(4)}},
		{"a price for ever", &rating.Draft{}, price("", "", "1", ""), []rating.Instant{rating.Beginning, rating.Never}},
		{"it costs more", price("2026-10-02", "", "1", ""), price("2026-10-03", "2026-10-09", "2", ""), []rating.Instant{day(2), rating.Never}},
		{"it ends", price("", "", "1", ""), price("", "2026-10-07", "1", ""), []rating.Instant{day(7), rating.Never}},
		{"it begins sooner", price("2026-10-07", "", "1", ""), price("2026-10-03", "", "1", ""), []rating.Instant{day(3), day(7)}},
		{"a package", &rating.Draft{}, pkg(nothing), []rating.Instant{there(5), rating.Never}},
		{"its name", pkg(nothing), pkg(func(p *rating.PackageDraft) { p.Name, p.PricePaid = "K", "9" }), nil},
		{"its priority", pkg(nothing), pkg(func(p *rating.PackageDraft) { p.Priority = "3" }), []rating.Instant{there(5), rating.Never}},
		{"it begins later", pkg(nothing), pkg(func(p *rating.PackageDraft) { p.Effective = "2026-10-09" }), []rating.Instant{there(5), rating.Never}},
		{"what it covers", pkg(nothing), pkg(func(p *rating.PackageDraft) { p.Covers[0].Hours = "01:00-02:00" }), []rating.Instant{there(5), rating.Never}},
		{"a change", &rating.Draft{}, &rating.Draft{Changes: []rating.ChangeDraft{{Package: "k", At: "2026-10-06", Revoked: "true"}}}, []rating.Instant{there(6), rating.Never}},
		{"a top-up", &rating.Draft{}, &rating.Draft{TopUps: []rating.TopUpDraft{{Account: "acme", At: "2026-10-06", Amount: "1"}}}, []rating.Instant{there(6), rating.Never}},
		{"an account", &rating.Draft{}, &rating.Draft{Accounts: []rating.AccountDraft{{ID: "new"}}}, nil},
		{"a new meter and its price", &rating.Draft{}, &rating.Draft{
			Meters: []rating.MeterDraft{{ID: "calls"}}, Prices: price("", "", "1", "").Prices,
		}, nil},
		{"a zone", &rating.Draft{Accounts: []rating.AccountDraft{{ID: "acme"}}}, &rating.Draft{Accounts: []rating.AccountDraft{{ID: "acme", TimeZone: "Europe/Berlin"}}}, []rating.Instant{rating.Beginning, rating.Never}},
		{"an address", &rating.Draft{Accounts: []rating.AccountDraft{{ID: "acme"}}}, &rating.Draft{Accounts: []rating.AccountDraft{{ID: "acme", Email: "a@b"}}}, nil},
		{"a maximum", &rating.Draft{Meters: []rating.MeterDraft{{ID: "calls"}}}, &rating.Draft{Meters: []rating.MeterDraft{{ID: "calls", Max: "9"}}}, []rating.Instant{rating.Beginning, rating.Never}},
		{"a unit", &rating.Draft{Meters: []rating.MeterDraft{{ID: "calls"}}}, &rating.Draft{Meters: []rating.MeterDraft{{ID: "calls", Unit: "call"}}}, nil},
		{"a rule", &rating.Draft{}, &rating.Draft{Rules: []rating.RuleDraft{{ID: "r", Type: "percentage", Thresholds: []string{"5"}}}}, nil},
	} {
		all := &rating.Draft{
			Accounts: []rating.AccountDraft{{ID: "acme", TimeZone: "Europe/Berlin", Balance: "5"}}, Meters: []rating.MeterDraft{{ID: "calls"}},
			Packages: pkg(nothing).Packages,
		}
		c, faults := rating.Compile(all, config)
		if len(faults) > 0 {
			t.Fatal(faults)
		}
		var got []rating.Instant
		for _, r := range c.ReachOf(test.was, test.is, config) {
			got = append(got, r.From, r.To)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, not %v", test.name, got, test.want)
		}
	}
}
