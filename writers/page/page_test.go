package page_test

import (
	"bytes"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"drawdown/rating"
	"drawdown/writers/page"
)

// hostile are names that somebody may have chosen to break a page.
var hostile = []string{
	`"><script>top.broken=true</script>`, `' onload='top.broken=true`, `</title><img src=x onerror="top.broken=true">`, `{{.}}`, "\u202egnorw",
	`--><!--`, `&lt;b&gt;`, strings.Repeat("averyverylongname", 12), strings.Repeat("套餐", 60), `</svg></desc><script>top.broken=true</script>`, "a\x00b\x1b[31m",
}

func number(n int64) page.Number { return page.Number(rating.DecimalOf(n, 0)) }

func cents(n int64) page.Number { return page.Number(rating.DecimalOf(n, 2)) }

const day = 86400e6

func at(days float64) page.At { return page.At(1_790_812_800e6 + days*day) } // 2026-10-01

func head() page.Head {
	return page.Head{
		Site: hostile[0], From: at(0), To: at(31), TimeZone: "Europe/Berlin", Per: "day", Provisional: true, Zone: time.UTC, Currency: "USD",
		Periods: []page.Period{{Name: "2026-10-01", Revision: 1, State: "closed"}, {Name: "2026-10-02", Revision: 3, State: "settled"}},
		Digits:  rating.CurrencyDigits,
	}
}

// meters are some with hostile names, of a month.
func meters() []page.Meter {
	var list []page.Meter
	for k, name := range hostile[:3] {
		m := page.Meter{Meter: name, Unit: hostile[4], Charges: []page.Money{{Currency: "USD", Amount: cents(0)}, {Currency: "JPY", Amount: cents(310_000)}}}
		var usd int64
		for d := range int64(31) {
			u := page.Units{Deducted: number(1000 - 20*d), Excess: number(d * d), Stopped: number(d % 3 * 40)}
			u.Settled = number(1000 - 20*d + d*d + d%3*40)
			usd += d * d * 13
			m.Days = append(m.Days, page.Day{
				Day: rating.Instant(at(float64(d))).Time().Format(time.DateOnly), Units: u,
				Charges: []page.Money{{Currency: "USD", Amount: cents(d * d * 13)}, {Currency: "JPY", Amount: number(100)}},
			})
		}
		m.Charges[0].Amount = cents(usd)
		m.Days = append(m.Days, page.Day{Day: page.LateDay, Units: page.Units{Settled: number(7), Deducted: number(int64(k))}})
		m.Settled, m.Deducted = number(123_456_789_012), number(123_456_789_012)
		list = append(list, m)
	}
	return list
}

func packages() []page.Package {
	var list []page.Package
	for i, name := range hostile {
		p := page.Package{
			Package: name, Name: hostile[(i+1)%len(hostile)], Account: hostile[(i+2)%len(hostile)], Unit: "GB", State: "active", Size: number(1_000_000),
			Quota: page.Quota{Opening: number(1_000_000), Deducted: number(700_000), Closing: number(300_000)}, Begins: at(-10), Ends: at(60), Expires: at(60),
			Why:      []string{"used up 2026-10-03 11:22:33", "lapsed 1,000"},
			Forecast: &page.Forecast{Days: 14, PerDay: number(10_000), RunsOut: at(54.5), Earliest: at(50), Latest: at(58.9)},
			Burn:     &page.Burn{From: at(0), To: at(60), Granted: number(1_000_000), Begins: at(-10)},
		}
		for d := range 32 {
			p.Burn.Points = append(p.Burn.Points, page.Point{At: at(float64(d)), Left: number(int64(1_000_000 - d*22_500))})
		}
		p.Burn.Days = []page.DayLeft{{Day: "2026-10-01", Left: number(977_500)}, {Day: "2026-10-02", Left: number(955_000)}}
		for k := range 12 {
			p.Burn.Events = append(p.Burn.Events, page.Event{At: at(2 + float64(k)*float64(1+i%2)*1.3), Left: number(int64(900_000 - 40_000*k)), Text: name})
		}
		switch i {
		case 1: // granted anew, and of another kind of forecast
			p.Cycle, p.Ends, p.Forecast.Latest = "month", at(45), 0
		case 2:
			p.State, p.Forecast, p.Closing = "exhausted", &page.Forecast{Note: "It is used up."}, number(0)
		case 3:
			p.State, p.Burn, p.Begins, p.Size = "future", nil, at(70), number(0)
		case 4:
			p.Forecast.RunsOut, p.Forecast.Latest = at(100), at(120)
		}
		list = append(list, p)
	}
	return list
}

func overview() *page.Overview {
	o := &page.Overview{
		Head: head(), Rows: page.Rows{Read: 12, Settled: 10, Quarantined: 2}, Meters: meters(), MoreMeters: 2,
		Charges: []page.Money{{Currency: "JPY", Amount: number(930_000)}, {Currency: "USD", Amount: cents(123_456_789)}}, Packages: 100_000,
		Quotas:  []page.UnitQuota{{Unit: hostile[1], Packages: 3, Quota: page.Quota{Opening: number(10), Deducted: number(4), Closing: number(6)}}},
		States:  []page.Count{{Kind: "active", Count: 99_999}, {Kind: "exhausted", Count: 1}},
		Reasons: []page.Count{{Kind: "used up", Count: 12_345}}, Odd: packages(), Chosen: packages(), Most: packages(),
		Notices:  []page.Count{{Kind: "usage_alert", Count: 7}},
		Payers:   []page.Payer{{Payer: hostile[0], Name: hostile[7], Money: page.Money{Currency: "USD", Amount: cents(12_345)}}, {Others: 7, Money: page.Money{Currency: "USD", Amount: cents(1)}}},
		MoreLate: 1, LateCharges: []page.Money{{Currency: "USD", Amount: cents(12)}}, MoreChanges: 3,
		Backfills: []page.Backfill{{Period: "2026-10-02", Was: 1, Is: 3, Reason: hostile[2], Accounts: 3, Packages: 4, Charges: []page.Money{{Currency: "USD", Amount: cents(-12)}}}},
	}
	for _, name := range hostile {
		o.Late = append(o.Late, page.Late{Account: name, Meter: name, Unit: name, Month: "2026-09", Deducted: number(5), Money: page.Money{Currency: "USD", Amount: cents(12)}})
		o.Changes = append(o.Changes, page.Change{Account: name, Meter: name, Units: number(5), Money: page.Money{Currency: "USD", Amount: cents(12)}})
		o.Quarantine = append(o.Quarantine, page.Quarantined{Reason: "malformed", Rows: 1234, Samples: []page.Sample{{Period: "2026-10-02", Object: name, Row: 17, Detail: name, Record: name, Account: name, Meter: name, Raw: name}}})
	}
	return o
}

func customer() *page.Account {
	a := &page.Account{
		Head: head(), Account: hostile[0], Name: hostile[2], Accounts: hostile, Meters: meters(), Packages: packages(), MorePackages: 2,
		Charges: []page.Money{{Currency: "USD", Amount: cents(12)}}, MoreLines: 3,
	}
	for i, name := range hostile {
		a.Shared = append(a.Shared, page.Drawn{Account: name, Package: name, Owner: name, Unit: name, Consumed: number(12)})
		a.Lines = append(a.Lines, page.Charge{Account: name, Meter: name, Unit: name, Month: "2026-10", Price: name, Tier: i, Quantity: number(5), UnitPrice: cents(5), Per: number(1000), Money: page.Money{Currency: "USD", Amount: cents(12)}})
	}
	return a
}

func pages(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for name, p := range map[string]interface{ Write(*bytes.Buffer) error }{
		"overview": writer(overview().Write), "customer": writer(customer().Write),
		"empty overview": writer((&page.Overview{Head: head()}).Write), "empty customer": writer((&page.Account{Head: head()}).Write),
	} {
		var b bytes.Buffer
		if err := p.Write(&b); err != nil {
			t.Fatal(name, ": ", err)
		}
		texts[name] = b.String()
	}
	return texts
}

// TestHostileNamesStayNames: whatever a name is, it is shown, and does nothing; a page asks for nothing else, and is the same each
// time.
func TestHostileNamesStayNames(t *testing.T) {
	t.Parallel()
	foreign := regexp.MustCompile(`(?i)<script|<img|<link|<iframe|\son[a-z]+\s*=\s*["']|https?://|@import|url\([^#]|ZgotmplZ`)
	again := pages(t)
	for name, text := range pages(t) {
		if text != again[name] {
			t.Errorf("%s: not the same bytes", name)
		}
		if !strings.Contains(text[:300], page.Mark) {
			t.Errorf("%s does not say what it is", name)
		}
		if found := foreign.FindString(strings.ReplaceAll(text, "&#39; onload=&#39;", "")); found != "" {
			t.Errorf("%s: has %q", name, found)
		}
		if strings.HasPrefix(name, "empty") {
			continue
		}
		for _, shown := range []string{"&lt;script&gt;", "{{.}}", "&amp;lt;b&amp;gt;", "<bdi>\u202egnorw</bdi>", hostile[8]} {
			if !strings.Contains(text, shown) {
				t.Errorf("%s does not show %q", name, shown)
			}
		}
		if strings.Contains(text, ">\u202egnorw") != strings.Contains(text, "<bdi>\u202egnorw") {
			t.Errorf("%s: a name that turns text around is not isolated", name)
		}
	}
}

// TestBackfillsThatChangedNothing are counted, and take no room.
func TestBackfillsThatChangedNothing(t *testing.T) {
	t.Parallel()
	o := page.Overview{Head: head()}
	for range 700 {
		o.Backfills = append(o.Backfills, page.Backfill{Period: "2026-10-02", Was: 1, Is: 2})
	}
	for _, want := range []string{"700 periods were settled again. Against their first revision, no charge and no package changed.", "1 → 2"} {
		var b bytes.Buffer
		if err := o.Write(&b); err != nil || !strings.Contains(b.String(), want) {
			t.Errorf("%v: the page does not say %q", err, want)
		}
		o.Backfills[3].Packages = 1
	}
}

// TestForecastSaysHowSureItIs: each kind of forecast in words.
func TestForecastSaysHowSureItIs(t *testing.T) {
	t.Parallel()
	text := pages(t)["customer"]
	for _, want := range []string{
		"At 10,000 GB a day, the mean of the last 14 days, it runs out on 2026-11-24 (between 2026-11-20 and 2026-11-28; two standard deviations of how the days differ).",
		"it lasts until this cycle ends, 2026-11-14",
		"It is used up.",
		"it lasts until it expires, 2026-11-29, though it may run out from 2026-11-20 on",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
}

// writer makes a method that writes a page one of an interface.
type writer func(w io.Writer) error

func (f writer) Write(b *bytes.Buffer) error { return f(b) }

// TestPageCountsWhatItLeavesOut: of the periods that were settled again those beyond the first are counted.
func TestPageCountsWhatItLeavesOut(t *testing.T) {
	t.Parallel()
	o := overview()
	for len(o.Backfills) < 63 {
		o.Backfills = append(o.Backfills, o.Backfills[0])
	}
	var b strings.Builder
	if err := o.Write(&b); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), "3 more periods are in the sums") {
		t.Error("the page does not say that it leaves periods out")
	}
}

// TestRevokedPackageHasNoExpiry: nothing is held any more that could expire.
func TestRevokedPackageHasNoExpiry(t *testing.T) {
	t.Parallel()
	a := customer()
	a.Packages = a.Packages[:1]
	a.Packages[0].State = "revoked"
	var b strings.Builder
	if err := a.Write(&b); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "expires 2") {
		t.Error("a revoked package is said to expire")
	}
}
