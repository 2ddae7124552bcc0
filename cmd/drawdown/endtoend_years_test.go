package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"drawdown/jobs"
	"drawdown/rating"
)

// years are two simulated years of a site, with a clock of their own: files that come late, days on which nothing runs,
// purchases, renewals in time and in grace, refunds, payments, and an operator who settles again what came late.
type years struct {
	*site
	t       *testing.T
	random  *rand.Rand
	start   time.Time
	entered []string             // files of the catalog, in their order
	waits   map[int][]string     // usage by the day on which it comes, of earlier days
	expires map[string]time.Time // packages that may be renewed
	late    int                  // backfills
	names   int
	rarely  int                       // one row of so many comes late
	closed  rating.Instant            // up to then all is closed, where somebody closes
	booked  map[string]string         // files of what is closed
	closes  map[rating.Instant]string // closes, and what they were for
}

// yearZones each have summer times, on other days, two of them in the south.
var yearZones = []string{"Europe/Berlin", "America/New_York", "Australia/Sydney", "America/Santiago"}

const yearFrom = "2026-02-01"

// TestTwoYears: at the end everything balances, each notice stands once, all of it can be settled again from what was kept;
// and the lines, charges and notices are those of a site that settles the same in one go.
func TestTwoYears(t *testing.T) {
	t.Parallel()
	for seed := range uint64(soakTimes(1)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			days := 370 // each zone's summer time begins and ends in them
			if os.Getenv("TEST_SOAK") != "" {
				days = 730
			}
			y := newYears(t, seed)
			for day := range days {
				y.day(day)
			}
			y.flush(days)
			end := y.start.AddDate(0, 0, days)
			y.settleUntil(end.Add(3*time.Hour), rating.InstantOf(end))
			if y.late < 2 {
				t.Errorf("%d backfills", y.late)
			}
			wantSound(t, y.verify(&world{start: y.start, days: days}, true))
			once := emptySite(t, yearSettings()...)
			once.rewriteConfig("catalog: ./catalog.yaml\n", "")
			y.copyTo(once)
			once.settleUntil(end.Add(3*time.Hour), rating.InstantOf(end))
			for _, table := range []string{"lines", "charges", "notices"} {
				same(t, table, once.filesOf(table), y.filesOf(table))
			}
			notices := `SELECT dedup_key, kind, account, package, at FROM outbox WHERE withdrawn_run = 0 ORDER BY dedup_key`
			same(t, "outbox", once.query(notices), y.query(notices))
			if len(y.query(notices)) < 50 {
				t.Errorf("%d notices", len(y.query(notices)))
			}
			same(t, "in the inbox", y.query(`SELECT COUNT(*) AS n FROM outbox WHERE kind = 'expiry_reminder'`),
				y.query(`SELECT COUNT(*) AS n FROM outbox WHERE kind = 'expiry_reminder' AND inbox_read_at IS NOT NULL`))
		})
	}
}

// TestYearsWithCloses: finance closes each month a few days after its end, and usage goes on coming late, for closed months
// as well. At the end each unit is settled once, late or not; nothing that was closed has changed; everything balances, and
// can be settled again from what was kept.
func TestYearsWithCloses(t *testing.T) {
	t.Parallel()
	for seed := range uint64(soakTimes(1)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			days := 200
			if os.Getenv("TEST_SOAK") != "" {
				days = 370
			}
			y := newYears(t, 1000+seed)
			y.rarely = 8
			for day := range days {
				y.day(day)
				if now := y.start.AddDate(0, 0, day+1).Add(4 * time.Hour); now.Day() == 4 {
					y.closeMonth(now)
				}
			}
			y.flush(days)
			end := y.start.AddDate(0, 0, days)
			y.settleUntil(end.Add(3*time.Hour), rating.InstantOf(end))
			plan := backfillPlan{from: y.closed, to: rating.InstantOf(end), reason: "what came at last"} // a settle with nothing to do reads nothing
			if report, _, err := y.app(end.Add(3*time.Hour)).backfill(y.config(), plan); err != nil || report.Late != 0 {
				t.Errorf("%v, and something waits: %+v", err, report)
			}
			same(t, "what was closed", y.booked, y.filesBefore(y.closed))
			if len(y.closes) < 4 {
				t.Errorf("%d closes", len(y.closes))
			}
			wantSound(t, y.verify(&world{start: y.start, days: days}, true))
			once := emptySite(t, yearSettings()...)
			once.rewriteConfig("catalog: ./catalog.yaml\n", "")
			y.copyTo(once)
			once.settleUntil(end.Add(3*time.Hour), rating.InstantOf(end))
			if late := wantConserved(t, once, y.site); late < 3 {
				t.Errorf("%d late lines", late)
			}
			same(t, "notices that stand twice", []string{}, y.query(`SELECT dedup_key FROM outbox GROUP BY dedup_key HAVING COUNT(*) > 1`))
		})
	}
}

// closeMonth closes the month before, unless down-time has left some of it pending.
func (y *years) closeMonth(now time.Time) {
	until := rating.InstantOf(now.AddDate(0, 0, -3).Add(-4 * time.Hour))
	_, err := y.app(now).closePeriods(y.config(), closePlan{until: until, reason: "month " + now.Month().String()})
	var pending *jobs.PendingError
	switch {
	case errors.As(err, &pending):
		return
	case err != nil:
		y.t.Fatalf("close at %v: %v", now, err)
	}
	if y.booked != nil {
		same(y.t, "what was closed before", y.booked, y.filesBefore(y.closed))
	}
	y.closed, y.closes[until] = until, now.Month().String()
	y.booked = y.filesBefore(until)
}

func yearSettings() []string { return []string{"shards: 2", "start: " + yearFrom} }

func newYears(t *testing.T, seed uint64) *years {
	y := &years{
		site: emptySite(t, yearSettings()...), t: t, random: rand.New(rand.NewPCG(seed, 9)), start: berlin(t, yearFrom),
		waits: map[int][]string{}, expires: map[string]time.Time{}, rarely: 120, closes: map[rating.Instant]string{},
	}
	var catalog bytes.Buffer
	catalog.WriteString("meters: [{id: calls}]\nprices:\n  - {id: list, meter: calls, model: graduated, counts: excess, tiers: [{up_to: 50, price: 3}, {price: 2, per: 7}]}\naccounts:\n")
	for i := range 8 {
		fmt.Fprintf(&catalog, "  - {id: a%d, time_zone: %s, payer: a%d%s}\n", i, yearZones[i%4], i/2*2, map[bool]string{true: ", balance: 500"}[i == 4])
	}
	y.write("catalog.yaml", catalog.Bytes())
	y.entered = append(y.entered, y.path("catalog.yaml"))
	y.rewriteConfig("catalog: ./catalog.yaml\n", "")
	if code, out := y.run(t, y.start, "catalog", "apply", y.entered[0]); code != exitDone {
		t.Fatal(out)
	}
	return y
}

// day is one day: what happens in it, and what is run behind it.
func (y *years) day(day int) {
	noon := y.start.AddDate(0, 0, day).Add(12 * time.Hour)
	y.buy(noon)
	for i := range y.random.IntN(4) {
		at := y.start.AddDate(0, 0, day).Add(time.Duration(y.random.Int64N(23 * 3600e9)))
		line := fmt.Sprintf(`{"id": "r%d-%d", "account": "a%d", "meter": "calls", "quantity": %d, "time": %q}`+"\n",
			day, i, y.random.IntN(8), 1+y.random.IntN(40), spell(at))
		comes := day
		if y.random.IntN(y.rarely) == 0 {
			comes += 1 + y.random.IntN(12)
		}
		y.waits[comes] = append(y.waits[comes], line)
	}
	y.deliver(day)
	if y.random.IntN(5) > 1 || day%97 > 85 { // nothing runs: for days, or for weeks
		return
	}
	y.night(noon.AddDate(0, 0, 1).Add(-9 * time.Hour))
}

// buy enters what comes into force later than anything that is settled.
func (y *years) buy(now time.Time) {
	var text bytes.Buffer
	if y.random.IntN(6) == 0 {
		y.names++
		id, from := fmt.Sprintf("p%03d", y.names), now.AddDate(0, 0, 1)
		to := from.AddDate(0, 0, 15+y.random.IntN(60))
		fmt.Fprintf(&text, "packages: [{id: %s, account: a%d, kind: %s, quota: %d, shared: %t, reset: %s, grace_days: 10, effective: %q, expires: %q, covers: [{meter: calls}]}]\n",
			id, y.random.IntN(8), []string{"pay_per_use", "pay_per_use", "stop_before_excess"}[y.random.IntN(3)], 20+y.random.IntN(200),
			y.random.IntN(2) == 0, []string{"none", "day", "week", "calendar_month"}[y.random.IntN(4)], spell(from), spell(to))
		y.expires[id] = to
	}
	var changes bytes.Buffer
	for _, id := range keysOf(y.expires) {
		left := y.expires[id].Sub(now)
		switch {
		case left < -9*24*time.Hour || left > 0 && y.random.IntN(150) == 0 && left < 10*24*time.Hour:
			if left > 0 {
				fmt.Fprintf(&changes, "  - {package: %s, at: %q, revoked: true}\n", id, spell(now))
			}
			delete(y.expires, id)
		case left < 3*24*time.Hour && y.random.IntN(15) == 0: // in time, or in grace
			y.expires[id] = y.expires[id].AddDate(0, 0, 30)
			fmt.Fprintf(&changes, "  - {package: %s, at: %q, renewed: {expires: %q}}\n", id, spell(now), spell(y.expires[id]))
		}
	}
	if changes.Len() > 0 {
		text.WriteString("package_changes:\n" + changes.String())
	}
	if y.random.IntN(40) == 0 {
		fmt.Fprintf(&text, "topups: [{account: a4, at: %q, amount: %d}]\n", spell(now), 1+y.random.IntN(200))
	}
	if text.Len() == 0 {
		return
	}
	name := fmt.Sprintf("entered-%04d.yaml", len(y.entered))
	y.write(name, text.Bytes())
	y.entered = append(y.entered, y.path(name))
	if code, out := y.run(y.t, now, "catalog", "apply", y.path(name)); code != exitDone {
		y.t.Fatalf("%v: %s: %s", now, text.String(), out)
	}
}

// deliver puts the usage of a day into the bucket.
func (y *years) deliver(day int) {
	if lines := y.waits[day]; len(lines) > 0 {
		var text bytes.Buffer
		for _, line := range lines {
			text.WriteString(line)
		}
		y.write(fmt.Sprintf("usage/%04d.ndjson", day), text.Bytes())
		delete(y.waits, day)
	}
}

func (y *years) flush(days int) {
	for day := range days + 20 {
		y.deliver(day)
	}
	y.night(y.start.AddDate(0, 0, days).Add(3 * time.Hour))
}

// night is what runs each night: settle, and where rows came late, the operator's backfill of their days.
func (y *years) night(now time.Time) {
	report, err := y.trySettle(now, rating.Never, false)
	if err != nil {
		y.t.Fatalf("settle at %v: %v", now, err)
	}
	if report.Late == 0 {
		return
	}
	y.late++
	plan := backfillPlan{from: max(y.closed, rating.InstantOf(now.AddDate(0, 0, -50))), to: rating.InstantOf(now), reason: "late files"}
	if _, _, err := y.app(now).backfill(y.config(), plan); err != nil {
		y.t.Fatalf("backfill at %v: %v", now, err)
	}
}

// copyTo gives another site the usage, and the catalog as it is in the end.
func (y *years) copyTo(to *site) {
	if err := os.CopyFS(to.path("usage"), os.DirFS(y.path("usage"))); err != nil {
		y.t.Fatal(err)
	}
	for _, file := range y.entered {
		if code, out := to.run(y.t, y.start, "catalog", "apply", file); code != exitDone {
			y.t.Fatal(out)
		}
	}
}

// filesOf gives the rows of a table in the current revisions, by the hashes of their files.
func (s *site) filesOf(table string) (list []string) {
	for name, m := range s.published() {
		for _, f := range m.Files {
			if f.Table == table && f.Rows > 0 {
				list = append(list, fmt.Sprint(name, " ", f.Name, " ", f.Rows, " ", f.SHA256))
			}
		}
	}
	slices.Sort(list)
	return list
}

// rewriteConfig edits drawdown.yaml.
func (s *site) rewriteConfig(old, replacement string) {
	s.t.Helper()
	text, err := os.ReadFile(s.path("drawdown.yaml"))
	if err != nil || !strings.Contains(string(text), old) {
		s.t.Fatal(err, string(text))
	}
	s.write("drawdown.yaml", []byte(strings.Replace(string(text), old, replacement, 1)))
}
