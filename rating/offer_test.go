package rating

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func offerBase() *Draft {
	return &Draft{
		Accounts: []AccountDraft{{ID: "a"}, {ID: "a-lab", Payer: "a"}, {ID: "b"}},
		Meters:   []MeterDraft{{ID: "m"}, {ID: "n"}},
		Prices: []PriceDraft{
			{ID: "list", Meter: "m", Model: "flat", Price: "1"},
			{ID: "own", Meter: "m", Account: "a", Model: "flat", Price: "2"},
			{ID: "b-own", Meter: "n", Account: "b", Model: "flat", Price: "3"},
		},
		Packages: []PackageDraft{
			{ID: "p", Account: "a", Kind: "pay_per_use", Quota: "10", Effective: "2026-10-01", Expires: "2026-12-31", Covers: []CoverDraft{{Meter: "m"}}},
			{ID: "lab", Account: "a-lab", Kind: "pay_per_use", Quota: "10", Effective: "2026-10-01", Expires: "2026-12-31", Covers: []CoverDraft{{Meter: "m"}}},
			{ID: "q", Account: "b", Kind: "pay_per_use", Quota: "10", Effective: "2026-10-01", Expires: "2026-12-31", Covers: []CoverDraft{{Meter: "m"}}},
		},
		Changes: []ChangeDraft{{Package: "p", At: "2026-10-05", ResizedQuota: "20"}, {Package: "q", At: "2026-10-05", ResizedQuota: "20"}},
		Rules:   []RuleDraft{{ID: "all", Type: "percentage", Thresholds: []string{"0"}}, {ID: "of-p", Package: "p", Type: "percentage", Thresholds: []string{"0"}}},
		TopUps:  []TopUpDraft{{Account: "b", At: "2026-10-02", Amount: "1"}},
	}
}

func instants(t *testing.T, texts ...string) []Instant {
	t.Helper()
	var list []Instant
	for _, text := range texts {
		at, err := ParseInstant([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, at)
	}
	return list
}

func compiled(t *testing.T, d *Draft) *Catalog {
	t.Helper()
	c, faults := Compile(d, CompileConfig{Currency: "USD", LoadZone: time.LoadLocation})
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	return c
}

func idsOf[T any](rows []T, id func(*T) string) string {
	var ids []string
	for i := range rows {
		ids = append(ids, id(&rows[i]))
	}
	return strings.Join(ids, " ")
}

// TestRowsOfPayer: what settling a payer needs, and nothing of others.
func TestRowsOfPayer(t *testing.T) {
	own := offerBase().OfPayer("a")
	compiled(t, own)
	got := idsOf(own.Accounts, func(a *AccountDraft) string { return a.ID }) + "; " + idsOf(own.Prices, func(p *PriceDraft) string { return p.ID }) + "; " +
		idsOf(own.Packages, func(p *PackageDraft) string { return p.ID }) + "; " + idsOf(own.Changes, func(c *ChangeDraft) string { return c.Package }) + "; " +
		idsOf(own.Rules, func(r *RuleDraft) string { return r.ID }) + "; " + idsOf(own.TopUps, func(u *TopUpDraft) string { return u.Account })
	if want := "a a-lab; list own; p lab; p; all of-p; "; got != want {
		t.Errorf("got %q, not %q", got, want)
	}
}

// TestOfferReplacesWhatTheAccountHas: its packages, and its own prices of the meters that the offer prices.
func TestOfferReplacesWhatTheAccountHas(t *testing.T) {
	base := offerBase().OfPayer("a")
	was := compiled(t, base)
	at := instants(t, "2026-10-31T00:00:00Z", "2027-01-31T00:00:00Z")
	offer := Offer{
		Name: "o", Packages: true, Every: "month", Cost: "5.5",
		Rows: Draft{
			Packages: []PackageDraft{{ID: "new", Kind: "pay_per_use", Quota: "7", Covers: []CoverDraft{{Meter: "m"}}}},
			Prices:   []PriceDraft{{ID: "special", Meter: "m", Model: "flat", Price: "0.5"}},
		},
	}
	offered := offer.Over(base, "a", Period{at[0], at[1]}, was)
	is := compiled(t, offered.Draft)
	offered.Keep(was, is)
	if got := idsOf(is.Packages, func(p *Package) string { return p.ID + " " + p.Effective.String()[:10] }); got !=
		"lab 2026-10-01 new 2026-10-31 new#2 2026-11-30 new#3 2026-12-31" {
		t.Errorf("packages: %s", got)
	}
	if got := idsOf(is.Prices, func(p *Price) string { return p.ID }); got != "list special" {
		t.Errorf("prices: %s", got)
	}
	if !offered.Gone["p"] || len(offered.Gone) != 1 {
		t.Errorf("gone: %v", offered.Gone)
	}
	bundles := offered.Bundles(&offer, "USD")
	if len(bundles) != 3 || bundles[1].Price.String() != "5.5" || !slices.Equal(bundles[1].Packages, []string{"new#2"}) || bundles[1].Start != bundles[0].End {
		t.Errorf("bundles: %+v", bundles)
	}
	if faults := (&Offer{Every: "day", Rows: base.OfPayer("a").withoutAccounts()}).Check("a-lab"); len(faults) != 5 {
		t.Errorf("faults: %+v", faults)
	}
}

// withoutAccounts are rows as an offer may have them.
func (d *Draft) withoutAccounts() Draft {
	return Draft{Packages: d.Packages, Changes: d.Changes, Prices: d.Prices}
}

// TestPackageThatStaysKeepsWhatIsLeft: the same row under another name and price is the same package, and another quota is not.
func TestPackageThatStaysKeepsWhatIsLeft(t *testing.T) {
	base := offerBase().OfPayer("a")
	was := compiled(t, base)
	at := instants(t, "2026-10-10T00:00:00Z", "2026-10-20T00:00:00Z")
	for quota, gone := range map[string]bool{"10": false, "10.0": false, "11": true} {
		row := base.Packages[0]
		row.Name, row.PricePaid, row.Quota = "other", "3", quota
		offer := Offer{Packages: true, Rows: Draft{Packages: []PackageDraft{row}, Changes: base.Changes[:1]}}
		offered := offer.Over(base, "a", Period{at[0], at[1]}, was)
		is := compiled(t, offered.Draft)
		if offered.Keep(was, is); offered.Gone["p"] != gone {
			t.Errorf("quota %s: gone is %t", quota, offered.Gone["p"])
		}
		index, _ := was.PackageIndex("p")
		lab, _ := was.PackageIndex("lab")
		account, _ := was.AccountIndex([]byte("a"))
		state := &PayerState{Payer: account, Packages: []PackageState{{Package: lab, Remaining: 4}, {Package: index, Remaining: 3}}, Stops: []Stop{{Package: index}}}
		slices.SortFunc(state.Packages, func(a, b PackageState) int { return int(a.Package - b.Package) })
		carried := state.Carry(was, is, offered.Gone)
		if len(carried.Packages) != map[bool]int{false: 2, true: 1}[gone] || len(carried.Stops) != map[bool]int{false: 1, true: 0}[gone] {
			t.Errorf("quota %s: %+v", quota, carried)
		}
	}
}

// TestSpending: terms within the range count whole; of others the part of time, or of use where that is more; and the days add
// up to the whole.
func TestSpending(t *testing.T) {
	draft := offerBase().OfPayer("b")
	draft.TopUps, draft.Changes = nil, nil
	draft.Packages[0].PricePaid, draft.Packages[0].Expires = "92", "2026-12-31" // 92 days
	c := compiled(t, draft)
	at := instants(t, "2026-10-11T00:00:00Z", "2026-10-12T00:00:00Z", "2026-10-13T00:00:00Z", "2026-10-14T00:00:00Z")
	for name, test := range map[string]struct {
		used []int64
		want string
	}{
		"by time":        {[]int64{0, 0, 0}, "1 1 1"},
		"by use":         {[]int64{5, 0, 1}, "46 0 9.2"},
		"time overtakes": {[]int64{0, 0, 1}, "1 1 7.2"},
		"all of it":      {[]int64{10, 0, 0}, "92 0 0"},
		"more than all":  {[]int64{10, 10, 0}, "92 0 0"},
	} {
		s := NewSpending(Period{at[0], at[3]})
		payer, _ := c.AccountIndex([]byte("b"))
		var got []string
		for i, used := range test.used {
			period := Period{at[i], at[i+1]}
			costs, err := s.Next(c, period, c.Purchases(payer, period.End), []Balance{{Package: 0, CycleStart: c.Packages[0].Effective, Quota: 10, Deducted: used}})
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, costs["USD"].String())
		}
		if text := strings.Join(got, " "); text != test.want {
			t.Errorf("%s: %s, not %s", name, text, test.want)
		}
		for id, cycles := range s.used {
			if len(cycles) != 1 {
				t.Errorf("%s: %d periods of one cycle of %s are kept as %d", name, len(test.used), id, len(cycles))
			}
		}
	}
}
