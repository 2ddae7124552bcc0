package rating

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var testCompile = CompileConfig{Zone: time.UTC, LoadZone: time.LoadLocation, Currency: "USD"}

func mustCompile(t *testing.T, d *Draft) *Catalog {
	t.Helper()
	c, faults := Compile(d, testCompile)
	for _, f := range faults {
		t.Errorf("%s[%d].%s: %s: %s; %s", f.Kind, f.Index, f.Field, f.Rule, f.Message, f.Hint)
	}
	if c == nil {
		t.FailNow()
	}
	return c
}

func at(t *testing.T, text string) Instant {
	t.Helper()
	i, err := ParseInstant([]byte(text))
	if err != nil {
		t.Fatal(text, err)
	}
	return i
}

// smallDraft is in an order that is not that of the ids.
func smallDraft() *Draft {
	return &Draft{
		Accounts: []AccountDraft{{ID: "zed", Balance: "12345678901234.000000001"}, {ID: "acme", Payer: "zed", TimeZone: "Asia/Kolkata"}, {ID: "bolt"}},
		Meters:   []MeterDraft{{ID: "gb", Scale: "3", Max: "1.5"}, {ID: "calls"}},
		Prices: []PriceDraft{
			{ID: "2", Meter: "calls", Model: "flat", Price: "2", From: "2026-02-01"},
			{ID: "3", Meter: "calls", Account: "acme", Model: "block", Price: "1", Size: "10", Counts: "usage", From: "2026-02-01"},
			{ID: "1", Meter: "calls", Model: "flat", Price: "0.15", Per: "1000000", To: "2026-02-01"},
			{ID: "4", Meter: "gb", Model: "volume", Counts: "excess", Tiers: []TierDraft{{UpTo: "1.5", Price: "2"}, {Price: "1", Per: "10"}}},
		},
		Packages: []PackageDraft{
			{
				ID: "p2", Account: "acme", Kind: "stop_before_excess", Quota: "1.50", Effective: "2026-01-01", Expires: "2026-12-31",
				Covers: []CoverDraft{
					{Meter: "calls", Rate: "0.02"},
					{Meter: "gb", Hours: "22:00-24:00", Where: []ConditionDraft{{"region", []string{"us", "eu", "us"}}, {"plan", []string{"gold"}}}},
				},
			},
			{ID: "p1", Account: "bolt", Kind: "pay_per_use", Quota: "7", Effective: "2026-01-01T00:00:00Z", Expires: "9999-12-31", Scale: "0", Covers: []CoverDraft{{Meter: "calls", Hours: "00:00-24:00"}}},
			{ID: "p3", Account: "zed", Kind: "pay_per_use", Quota: "7", Effective: "2026-01-01", Expires: "2026-12-31T00:00:00+01:00", Covers: []CoverDraft{{Meter: "calls"}}},
		},
		Changes: []ChangeDraft{
			{Package: "p2", At: "2026-06-01", ResizedQuota: "2"},
			{Package: "p2", At: "2026-06-01", Extended: "2027-12-31"},
			{Package: "p1", At: "2026-03-01", Revoked: "true"},
		},
		Rules: []RuleDraft{
			{ID: "all", Type: "absolute", Thresholds: []string{"0", "0.5"}},
			{ID: "of acme", Account: "acme", Type: "percentage", Thresholds: []string{"0", "100", "12.5"}, Channels: []string{"webhook", "e-mail"}},
			{ID: "of p3", Package: "p3", Type: "percentage", Thresholds: []string{"1"}},
		},
		TopUps: []TopUpDraft{{Account: "zed", At: "2026-03-01", Amount: "5"}, {Account: "zed", At: "2026-02-01", Amount: "1e1"}},
	}
}

func TestCompileRows(t *testing.T) {
	d := smallDraft()
	c := mustCompile(t, d)
	if diff := cmp.Diff(smallDraft(), d); diff != "" {
		t.Errorf("the draft was changed:\n%s", diff)
	}
	acme, _ := c.AccountIndex([]byte("acme"))
	bolt, _ := c.AccountIndex([]byte("bolt"))
	zed, ok := c.AccountIndex([]byte("zed"))
	if !ok || acme != 0 || bolt != 1 || zed != 2 {
		t.Fatal(acme, bolt, zed)
	}
	if diff := cmp.Diff([][]int32{nil, {bolt}, {acme, zed}}, [][]int32{c.Members(acme), c.Members(bolt), c.Members(zed)}); diff != "" {
		t.Errorf("members: %s", diff)
	}
	if diff := cmp.Diff([][]int32{{0}, {1, 2}}, [][]int32{c.packagesOf.of(bolt), c.packagesOf.of(zed)}); diff != "" {
		t.Errorf("packages: %s", diff)
	}
	if a := &c.Accounts[zed]; !a.Tracked || a.Balance.String() != "12345678901234.000000001" || len(c.topUps(zed)) != 2 {
		t.Errorf("zed: %+v", a)
	}
	if c.TopUps[0].At != at(t, "2026-02-01T00:00:00Z") || c.TopUps[0].Amount != AmountOf(10_000000000) {
		t.Errorf("top-ups: %+v", c.TopUps)
	}
	gb, _ := c.MeterIndex([]byte("gb"))
	if c.Meters[gb].Max != 1500 || c.Meters[0].Max != math.MaxInt64 {
		t.Errorf("meters: %+v", c.Meters)
	}
	if diff := cmp.Diff(map[string][]string{"plan": {"gold"}, "region": {"eu", "us"}}, c.Conditions()); diff != "" {
		t.Errorf("conditions: %s", diff)
	}
}

func TestCompilePackages(t *testing.T) {
	c := mustCompile(t, smallDraft())
	p := &c.Packages[1]
	if p.Scale != 3 || p.Quota != 1500 || p.Covers[0].Factor != 20 || p.Covers[1].Factor != 1 || p.Created != p.Effective || p.Source != Subscription || p.GraceDays != 15 || p.RetentionDays != 15 {
		t.Errorf("p2: %+v", p)
	}
	if p.Effective != at(t, "2025-12-31T18:30:00Z") || p.Expires != at(t, "2026-12-31T18:30:00Z") {
		t.Errorf("p2 is not in its account's days: %s to %s", p.Effective, p.Expires)
	}
	if p.Covers[1].Hours != (Hours{22 * 3600e6, 24 * 3600e6}) || c.Packages[0].Covers[0].Hours != (Hours{}) {
		t.Errorf("hours: %+v, %+v", p.Covers[1].Hours, c.Packages[0].Covers[0].Hours)
	}
	want := []Condition{{"plan", []string{"gold"}}, {"region", []string{"eu", "us"}}}
	if diff := cmp.Diff(want, p.Covers[1].Where); diff != "" {
		t.Errorf("where: %s", diff)
	}
	if len(p.Changes) != 2 || p.Changes[0].Kind != Extended || p.Changes[1] != (Change{At: at(t, "2026-05-31T18:30:00Z"), Kind: Resized, Quota: 2000}) {
		t.Errorf("changes: %+v", p.Changes)
	}
	if got := c.Packages[0].Expires; got != maxInstant {
		t.Errorf("the end of time is %s", got)
	}
	if got := c.Packages[2].Expires; got != at(t, "2026-12-30T23:00:00Z") {
		t.Errorf("p3 expires at %s", got)
	}
	rules := []*AlertRule{c.Packages[0].rule, c.Packages[1].rule, c.Packages[2].rule}
	wantRules := []*AlertRule{
		{ID: "all", Type: Absolute, Thresholds: []int64{500000000, 0}, Channels: []string{"email", "sms"}},
		{ID: "of acme", Thresholds: []int64{100e9, 12.5e9, 0}, Channels: []string{"webhook", "email"}},
		{ID: "of p3", Thresholds: []int64{1e9}, Channels: []string{"email", "sms"}},
	}
	if diff := cmp.Diff(wantRules, rules); diff != "" {
		t.Errorf("rules: %s", diff)
	}
	d := smallDraft()
	d.Rules = nil
	want20 := &AlertRule{Thresholds: []int64{20e9, 0}, Channels: []string{"email", "sms"}}
	if diff := cmp.Diff(want20, mustCompile(t, d).Packages[0].rule); diff != "" {
		t.Errorf("the default rule: %s", diff)
	}
}

func TestCompilePrices(t *testing.T) {
	c := mustCompile(t, smallDraft())
	calls, gb := int32(0), int32(1)
	got := [][]int32{c.generalPrices(calls), c.generalPrices(gb), c.ownPrices(0, calls), c.ownPrices(1, calls), c.ownPrices(0, gb)}
	if diff := cmp.Diff([][]int32{{0, 1}, {3}, {2}, nil, nil}, got, cmp.Transformer("plain", func(m meterPrices) []int32 { return m })); diff != "" {
		t.Errorf("prices: %s", diff)
	}
	if p := &c.Prices[0]; p.From != Beginning || p.To != c.Prices[1].From || p.To != at(t, "2026-02-01T00:00:00Z") || p.Tiers[0] != (Tier{math.MaxInt64, 150000000, 1e15}) {
		t.Errorf("flat: %+v", p)
	}
	if p := &c.Prices[2]; p.Size != 10 || !p.CountsUsage || p.From != at(t, "2026-01-31T18:30:00Z") || p.Tiers[0].Price != 1e9 {
		t.Errorf("block: %+v", p)
	}
	if p := &c.Prices[3]; p.CountsUsage || p.Tiers[0] != (Tier{1500, 2e9, 1e9}) || p.Tiers[1] != (Tier{math.MaxInt64, 1e9, 1e10}) {
		t.Errorf("volume: %+v", p)
	}
	if amount, ok := c.Prices[0].total.total(7_000_000); !ok || amount.String() != "1.05" {
		t.Errorf("7M calls at 0.15 per 1M cost %s", amount)
	}
}

// Whatever is wrong, nothing is given, and the draft of nothing is a catalog of nothing.
func TestCompileAllOrNothing(t *testing.T) {
	if c, faults := Compile(&Draft{}, CompileConfig{}); c == nil || len(faults) > 0 || c.Zone != time.UTC {
		t.Errorf("%+v, %v", c, faults)
	}
	d := smallDraft()
	d.Accounts[0].Balance = "x"
	d.TopUps[1].Amount = "x"
	d.Packages[2].Quota = "-1"
	c, faults := Compile(d, testCompile)
	if c != nil || len(faults) < 3 {
		t.Errorf("%+v, %v", c, faults)
	}
	for i := range faults[1:] {
		if a, b := faults[i], faults[i+1]; kindRank(a.Kind) > kindRank(b.Kind) || a.Kind == b.Kind && a.Index > b.Index {
			t.Errorf("%+v stands before %+v", a, b)
		}
	}
}

func TestNearest(t *testing.T) {
	names := func(yield func(string) bool) { _ = yield("acme") && yield("acne") && yield("bolt") && yield("") }
	for text, want := range map[string]string{"acmee": "acme", "acm": "acme", "ACME": "acme", "accme": "acme", "bo": "", "a": "", "xxxx": "", "abne": "acne"} {
		if got := nearest(text, names); got != want {
			t.Errorf("nearest to %q is %q, not %q", text, got, want)
		}
	}
}

func TestParseAmount(t *testing.T) {
	for text, want := range map[string]string{"0": "0", "-1e2": "-100", "1e28": "10000000000000000000000000000", "0.000000001": "0.000000001"} {
		if a, err := parseAmount(text); err != nil || a.String() != want {
			t.Errorf("%s is %s, %v", text, a, err)
		}
	}
	for _, text := range []string{"1e29", "99999999999999999999999999999.999999999e1", "1e-10", "", "1,5", "0x1"} {
		if a, err := parseAmount(text); err == nil {
			t.Errorf("%s is %s", text, a)
		}
	}
}

func TestSortByID(t *testing.T) {
	ids := []string{"a\x00", "a", "", "ab", "a-000000010", "a-00000001", "a-00000001", "a-000000011", "ä", "a\x00\x00"}
	for _, prefix := range []string{"", "prefix of all "} {
		rows := make([]keyed, len(ids))
		want := make([]string, len(ids))
		for i, id := range ids {
			rows[i], want[i] = keyed{id: prefix + id, row: int32(i)}, prefix+id
		}
		sortByID(rows)
		slices.Sort(want)
		for i, k := range rows {
			if k.id != want[i] || i > 0 && rows[i-1].id == k.id && rows[i-1].row > k.row {
				t.Errorf("%d is %q, not %q", i, k.id, want[i])
			}
		}
	}
	sortByID(nil)
}
