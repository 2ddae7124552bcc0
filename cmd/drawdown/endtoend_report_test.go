package main

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"drawdown/rating"
	"drawdown/writers/page"
)

// report gathers a page of all that is settled of a world, or of an account.
func (s *site) report(now time.Time, k reportCmd) writtenPage {
	s.t.Helper()
	a := s.app(now)
	a.flags.Config = s.path("drawdown.yaml")
	c := s.config()
	out := s.openOutput()
	j := &reportJob{chosenPeriods: chosenPeriods{app: a, op: "report", config: c, output: out}, command: &k}
	if err := j.open(); err != nil {
		s.t.Fatal(err)
	}
	report, err := j.gather()
	if err != nil {
		s.t.Fatal(err)
	}
	return report
}

func written(t testing.TB, p writtenPage) string {
	t.Helper()
	var b bytes.Buffer
	if err := p.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// tally is figures by name, as texts, without zeros.
type tally map[string]rating.Amount

func (y tally) add(key string, n page.Number) { y[key], _ = y[key].Add(rating.Amount(n)) }

func (y tally) texts() map[string]string {
	texts := map[string]string{}
	for key, sum := range y {
		if sum.Sign() != 0 {
			texts[key] = sum.String()
		}
	}
	return texts
}

// meterTallies are a page's units by meter and kind, and money by meter and currency: as the meters have them, and by day.
func meterTallies(meters []page.Meter) (all, byDay tally) {
	all, byDay = tally{}, tally{}
	put := func(to tally, meter string, u *page.Units, charges []page.Money) {
		to.add(meter+" deduction", u.Deducted)
		to.add(meter+" excess", u.Excess)
		to.add(meter+" stopped", u.Stopped)
		to.add(meter+" settled", u.Settled)
		for _, c := range charges {
			to.add(meter+" "+c.Currency, c.Amount)
		}
	}
	for i := range meters {
		m := &meters[i]
		put(all, m.Meter, &m.Units, m.Charges)
		for k := range m.Days {
			put(byDay, m.Meter, &m.Days[k].Units, m.Days[k].Charges)
		}
	}
	return all, byDay
}

func addUp(q *page.Quota) rating.Amount {
	sum := rating.Amount{}
	for _, n := range []page.Number{q.Opening, q.Granted, q.RolledOver} {
		sum, _ = sum.Add(rating.Amount(n))
	}
	for _, n := range []page.Number{q.Deducted, q.Expired, q.Revoked} {
		sum, _ = sum.Sub(rating.Amount(n))
	}
	return sum
}

// TestReportsAgree: over random worlds, cut by hours, days and months, a report's totals are the export's and the control
// totals; its days add up to its meters, its payers to its charges, its packages to its quota; the pages for customers add up
// to it; the same bytes come again; and nothing of the site is touched.
func TestReportsAgree(t *testing.T) {
	t.Parallel()
	for seed := range uint64(5) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			shape, period := worldShape{records: 1500, days: 12}, "day"
			switch seed {
			case 3:
				shape, period = worldShape{records: 500, days: 1}, "hour"
			case 4:
				period = "month"
			}
			settings := []string{"period: " + period}
			if period == "month" {
				settings = append(settings, "start: 2026-10-01")
			}
			w := newWorld(seed, shape)
			s := newSite(t, w, settings...)
			until := w.until()
			switch period {
			case "hour":
				until = rating.InstantOf(w.end())
			case "month":
				until = rating.InstantOf(w.end().AddDate(0, 2, 0))
			}
			s.settleUntil(w.later().AddDate(0, 1, 0), until)
			before := s.onDisk()
			k := reportCmd{From: s.config().Start.String()}
			report := s.report(w.later(), k).(*page.Overview)
			if first := written(t, report); first != written(t, s.report(w.later(), k)) {
				t.Error("the same settlement makes another page")
			}
			checkReport(t, s, w, report)
			checkCustomers(t, s, w, report, k)
			if !maps.Equal(before, s.onDisk()) {
				t.Error("a report has changed something")
			}
		})
	}
}

func checkReport(t *testing.T, s *site, w *world, report *page.Overview) {
	t.Helper()
	out := s.exportRange(w.later(), "csv", report.From, report.To)
	lines, charges := readExport(t, out+"/lines.csv"), readExport(t, out+"/charges.csv")
	if len(lines) == 0 || len(charges) == 0 {
		t.Fatal("the world is empty")
	}
	all, byDay := meterTallies(report.Meters)
	agree(t, "days and meters", byDay.texts(), all.texts())
	exported := sums(t, lines, "quantity", func(r map[string]string) string { return r["meter"] + " " + r["kind"] })
	maps.Copy(exported, sums(t, lines, "quantity", func(r map[string]string) string { return r["meter"] + " settled" }))
	maps.Copy(exported, sums(t, charges, "amount", func(r map[string]string) string { return r["meter"] + " " + r["currency"] }))
	agree(t, "the report and the export", all.texts(), exported)
	payers, money := tally{}, tally{}
	for _, p := range report.Payers {
		payers.add(p.Currency, p.Amount)
	}
	for _, c := range report.Charges {
		money.add(c.Currency, c.Amount)
	}
	agree(t, "payers and charges", payers.texts(), money.texts())
	rows := report.Rows
	if rows.Read != rows.Settled+rows.Duplicate+rows.Superseded+rows.Quarantined+rows.OutOfPeriod {
		t.Errorf("rows do not balance: %+v", rows)
	}
	var quarantined, packages int64
	for _, q := range report.Quarantine {
		quarantined += q.Rows
	}
	if quarantined != rows.Quarantined {
		t.Errorf("%d rows in quarantine by reason, %d in all", quarantined, rows.Quarantined)
	}
	drawn := tally{}
	for i := range report.Quotas {
		q := &report.Quotas[i]
		packages += int64(q.Packages)
		if sum := addUp(&q.Quota); sum != rating.Amount(q.Closing) {
			t.Errorf("quota in %s comes to %s, not %s: %+v", q.Unit, sum, q.Closing, q.Quota)
		}
		drawn.add("all", q.Deducted)
	}
	agree(t, "packages and lines", drawn.texts(), sums(t, lines, "consumed", func(map[string]string) string { return "all" }))
	for _, c := range report.States {
		packages -= c.Count
	}
	if packages != 0 {
		t.Error("packages by unit and by state are not as many")
	}
	checkLate(t, lines, report)
	for _, p := range report.Chosen {
		if n := len(p.Burn.Days); n > 0 && p.Burn.Days[n-1].Left != p.Closing {
			t.Errorf("the days of %s end with %v, and %s is left", p.Package, p.Burn.Days[n-1], p.Closing)
		}
		if n := len(p.Burn.Points); p.State == "active" && (n == 0 || p.Burn.Points[n-1].Left != p.Closing) {
			t.Errorf("the burn-down of %s ends with %v, and %s is left", p.Package, p.Burn.Points[max(0, n-1):], p.Closing)
		}
	}
}

// checkLate: what the report says of late usage is what the lines say.
func checkLate(t *testing.T, lines []map[string]string, report *page.Overview) {
	t.Helper()
	deducted, excess, money := tally{}, tally{}, tally{}
	for _, l := range report.Late {
		deducted.add(l.Account+" "+l.Meter, l.Deducted)
		excess.add(l.Account+" "+l.Meter, l.Excess)
		money.add(l.Currency, l.Amount)
	}
	late := func(kind string) map[string]string {
		return sums(t, lines, "quantity", func(r map[string]string) string {
			if r["late"] != "true" || r["kind"] != kind {
				return ""
			}
			return r["account"] + " " + r["meter"]
		})
	}
	agree(t, "what is deducted late", deducted.texts(), late("deduction"))
	agree(t, "what is excess late", excess.texts(), late("excess"))
	agree(t, "what is charged late", money.texts(), sums(t, lines, "amount", func(r map[string]string) string {
		if r["late"] != "true" {
			return ""
		}
		return r["currency"]
	}))
}

// checkCustomers: what the payers' pages say adds up to the page about all.
func checkCustomers(t *testing.T, s *site, w *world, report *page.Overview, k reportCmd) {
	t.Helper()
	want, _ := meterTallies(report.Meters)
	got, lines := tally{}, tally{}
	packages := 0
	for _, id := range worldAccounts {
		if worldPayers[id] != "" {
			continue
		}
		k.Account = &id
		customer := s.report(w.later(), k).(*page.Account)
		if strings.Contains(written(t, customer), "ZgotmplZ") {
			t.Error("the template does not trust something")
		}
		all, byDay := meterTallies(customer.Meters)
		agree(t, "days and meters of "+id, byDay.texts(), all.texts())
		for key, sum := range all {
			got.add(key, page.Number(sum))
		}
		for i := range customer.Lines {
			lines.add(customer.Lines[i].Meter+" "+customer.Lines[i].Currency, customer.Lines[i].Amount)
		}
		packages += customer.PackageCount()
		for i := range customer.Packages {
			p := &customer.Packages[i]
			if sum := addUp(&p.Quota); sum != rating.Amount(p.Closing) {
				t.Errorf("package %s comes to %s, not %s", p.Package, sum, p.Closing)
			}
		}
	}
	agree(t, "all customers and the report", got.texts(), want.texts())
	if packages != report.Packages {
		t.Errorf("customers have %d packages, and all are %d", packages, report.Packages)
	}
	money := want.texts()
	maps.DeleteFunc(money, func(key, _ string) bool { return lines[key] == rating.Amount{} })
	agree(t, "charges of customers and of the report", lines.texts(), money)
}

// TestReportTellsWhatBackfillsChanged: what it says of backfills is the difference of what was charged before and after; the rest
// of the page is that of a site which had all of its usage in time.
func TestReportTellsWhatBackfillsChanged(t *testing.T) {
	t.Parallel()
	w := newWorld(106, worldShape{records: 900, days: 5})
	inTime := newSite(t, w)
	inTime.settle(w)
	s := newSite(t, w)
	for i := range w.objects[:3] {
		if err := os.Remove(s.path("usage/" + w.objects[i].name)); err != nil {
			t.Fatal(err)
		}
	}
	s.settle(w)
	k := reportCmd{From: rating.InstantOf(w.start).String(), To: w.until().String()}
	before := s.report(w.later(), k).(*page.Overview)
	for i := range w.objects[:3] {
		s.write("usage/"+w.objects[i].name, w.objects[i].content(t))
	}
	s.backfilled(w, rating.InstantOf(w.start), w.until(), false)
	after := s.report(w.later(), k).(*page.Overview)
	difference, told, byPeriod, byAccount := tally{}, tally{}, tally{}, tally{}
	for _, c := range after.Charges {
		difference.add(c.Currency, c.Amount)
	}
	for _, c := range before.Charges {
		difference.add(c.Currency, page.Number(rating.Amount(c.Amount).Neg()))
	}
	for _, c := range after.BackfillMoney {
		told.add(c.Currency, c.Amount)
	}
	for _, b := range after.Backfills {
		if b.Was != 1 || b.Is < 2 || b.Reason != "a test" || b.Accounts == 0 && b.Packages > 0 {
			t.Errorf("a backfill is told as %+v", b)
		}
		for _, c := range b.Charges {
			byPeriod.add(c.Currency, c.Amount)
		}
	}
	for _, c := range after.Changes {
		byAccount.add(c.Currency, c.Amount)
	}
	if len(before.Backfills) != 0 || len(after.Backfills) == 0 || len(difference.texts()) == 0 {
		t.Error("nothing was backfilled")
	}
	agree(t, "the change of charges and what is told", difference.texts(), told.texts())
	agree(t, "periods and their sum", byPeriod.texts(), told.texts())
	agree(t, "accounts and their sum", byAccount.texts(), told.texts())
	want := inTime.report(w.later(), k).(*page.Overview)
	for _, o := range []*page.Overview{after, want} {
		o.Periods, o.Backfills, o.Changes, o.BackfillMoney = nil, nil, nil, nil
		o.Rows.Read, o.Rows.OutOfPeriod = 0, 0 // an object that came late was read for other periods alone
	}
	if written(t, after) != written(t, want) {
		t.Error("after the backfill, the page is not that of usage in time")
	}
}

// TestReportTellsOfLateUsage: what came when its period was closed stands in rows of its own, and all still adds up; closed periods
// are not provisional.
func TestReportTellsOfLateUsage(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			w := newWorld(710+seed, worldShape{records: 700, days: 5})
			s := newSite(t, w)
			for i := range w.objects[:2] {
				if err := os.Remove(s.path("usage/" + w.objects[i].name)); err != nil {
					t.Fatal(err)
				}
			}
			day := func(n int) rating.Instant { return rating.InstantOf(w.start.AddDate(0, 0, n)) }
			s.settleUntil(w.later(), day(3))
			s.closeUntil(w, day(3))
			k := reportCmd{From: day(0).String()}
			if o := s.report(w.later(), k).(*page.Overview); o.Provisional || len(o.Late) > 0 {
				t.Errorf("closed periods: provisional %v, late %v", o.Provisional, o.Late)
			}
			for i := range w.objects[:2] {
				s.write("usage/"+w.objects[i].name, w.objects[i].content(t))
			}
			s.settle(w)
			report := s.report(w.later(), k).(*page.Overview)
			if !report.Provisional || len(report.Late) == 0 {
				t.Errorf("provisional %v, %d rows of late usage", report.Provisional, len(report.Late))
			}
			checkReport(t, s, w, report)
			checkCustomers(t, s, w, report, k)
		})
	}
}

// exportRange exports what a report tells of.
func (s *site) exportRange(now time.Time, format string, from, to page.At) string {
	s.t.Helper()
	a := s.app(now)
	a.flags.Config = s.path("drawdown.yaml")
	out := fastDir(s.t) + "/out"
	k := exportCmd{From: rating.Instant(from).String(), To: rating.Instant(to).String(), Format: format, Out: out, As: "csv"}
	if err := k.Run(a); err != nil {
		s.t.Fatal(err)
	}
	return out
}

// onDisk are the files of the site's settlements, and of its database.
func (s *site) onDisk() map[string]string {
	s.t.Helper()
	files := tree(s.t, s.path("settlements"))
	if content, err := os.ReadFile(s.path("drawdown.db")); err == nil {
		files["drawdown.db"] = string(content)
	}
	return files
}

// TestForecastIsRightToTheDay: where an account is steady, the day that a report says is the day on which the package is used up
// then; over the end of summer time, and whatever hour the last period ended.
func TestForecastIsRightToTheDay(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, period, start, until string
		each                       time.Duration // a record of 10 units
		quota                      int
		reset                      string
	}{
		{"each hour", "day", "2026-10-10", "2026-10-24", time.Hour, 4217, "none"},
		{"each hour, by hours", "hour", "2026-10-20", "2026-10-24T14:00:00Z", time.Hour, 1517, "none"},
		{"each day", "day", "2026-10-10", "2026-10-25", 24 * time.Hour, 260, "none"},
		{"for long", "day", "2026-10-10", "2026-10-29", 6 * time.Hour, 2000, "none"},
		{"used up before it was granted anew", "day", "2026-10-01", "2026-11-04", time.Hour, 1200, "calendar_month"},
		{"the same, by hours", "hour", "2026-10-25", "2026-11-03", time.Hour, 1200, "calendar_month"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := emptySite(t, "period: "+test.period, "start: "+test.start)
			zone := s.config().Settlement.TimeZone.Location
			s.write("catalog.yaml", fmt.Appendf(nil, `
accounts: [{id: acme}]
meters: [{id: calls, unit: call}]
prices: [{id: list, meter: calls, model: flat, price: 1}]
packages: [{id: p, account: acme, kind: pay_per_use, quota: %d, unit: call, effective: %s, expires: 2027-10-10, reset: %s, covers: [{meter: calls}]}]
`, test.quota, test.start, test.reset))
			var usage strings.Builder
			at, err := time.ParseInLocation("2006-01-02T15:04", test.start+"T00:30", zone)
			if err != nil {
				t.Fatal(err)
			}
			for n := 0; n < 2*test.quota/10 || test.reset != "none" && n < 1000; n++ {
				then := at.Add(time.Duration(n) * test.each)
				if test.each == 24*time.Hour {
					then = at.AddDate(0, 0, n) // by the clock, as one who comes each day
				}
				fmt.Fprintf(&usage, `{"id":"r%d","account":"acme","meter":"calls","quantity":10,"time":%q}`+"\n", n, then.Format(time.RFC3339))
			}
			s.write("usage/u.ndjson", []byte(usage.String()))
			until, err := parseInstantFlag("until", test.until, zone)
			if err != nil {
				t.Fatal(err)
			}
			later := time.Date(2027, 2, 1, 0, 0, 0, 0, zone)
			s.settleUntil(later, until)
			p := s.report(later, reportCmd{Account: new("acme")}).(*page.Account).Packages[0]
			if p.Forecast == nil || p.Forecast.RunsOut == 0 {
				t.Fatalf("there is no forecast: %+v", p.Forecast)
			}
			s.settleUntil(later, rating.Instant(p.Forecast.RunsOut)+3*86400e6)
			used := s.report(later, reportCmd{From: test.start, Package: []string{"p"}}).(*page.Overview).Chosen[0]
			last := used.Burn.Events[len(used.Burn.Events)-1]
			day := func(at page.At) string { return rating.Instant(at).Time().In(zone).Format(time.DateOnly) }
			if last.Text != "used up" || day(p.Forecast.RunsOut) != day(last.At) {
				t.Errorf("the forecast of %s was %s, and it was %s on %s: %+v", test.until, day(p.Forecast.RunsOut), last.Text, day(last.At), p.Forecast)
			}
			if first, latest := day(p.Forecast.Earliest), day(p.Forecast.Latest); first > day(last.At) || latest < day(last.At) {
				t.Errorf("%s is not between %s and %s", day(last.At), first, latest)
			}
		})
	}
}

// TestReportIsSmall: a page about 100,000 packages is below 2 MB, shows those worth a look, and counts all.
func TestReportIsSmall(t *testing.T) {
	if testing.Short() {
		t.Skip("settles 100,000 packages")
	}
	t.Parallel()
	const packages = 100_000
	s := emptySite(t, "start: 2026-10-01")
	var accounts, list, usage strings.Builder
	accounts.WriteString("id\n")
	list.WriteString("id,account,kind,quota,unit,effective,expires,covers\n")
	usage.WriteString("id,account,meter,quantity,time\n")
	for i := range packages {
		fmt.Fprintf(&accounts, "account-%d\n", i)
		fmt.Fprintf(&list, "package-%d,account-%d,pay_per_use,%d,call,2026-10-01,2026-10-%02d,\"[{meter: calls}]\"\n", i, i, 100+i%7, 3+i%28)
		if i%3 == 0 {
			fmt.Fprintf(&usage, "r%d,account-%d,calls,%d,2026-10-0%dT12:00:00Z\n", i, i, 20+i%200, 1+i%2)
		}
	}
	s.write("catalog/accounts.csv", []byte(accounts.String()))
	s.write("catalog/packages.csv", []byte(list.String()))
	s.write("catalog/rest.yaml", []byte("meters: [{id: calls, unit: call}]\nprices: [{id: list, meter: calls, model: flat, price: 1}]\n"))
	s.write("usage/u.csv", []byte(usage.String()))
	config, err := os.ReadFile(s.path("drawdown.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	s.write("drawdown.yaml", []byte(strings.Replace(string(config), "./catalog.yaml", "./catalog", 1)))
	later := time.Date(2026, 10, 3, 0, 0, 0, 0, time.UTC)
	s.settleUntil(later, rating.InstantOf(later))
	report := s.report(later, reportCmd{}).(*page.Overview)
	text := written(t, report)
	if len(text) > 2_000_000 || report.Packages != packages || len(report.Odd) != mostOdd || len(report.Chosen) != mostBurns || len(report.Payers) != mostPayers+1 {
		t.Errorf("%d bytes, %d packages, %d odd ones, %d burn-downs, %d payers", len(text), report.Packages, len(report.Odd), len(report.Chosen), len(report.Payers))
	}
	if !slices.ContainsFunc(report.Reasons, func(c page.Count) bool { return c.Kind == "used up" && c.Count > 10_000 }) {
		t.Errorf("reasons: %v", report.Reasons)
	}
	t.Logf("%d bytes", len(text))
}
