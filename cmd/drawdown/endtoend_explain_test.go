package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"drawdown/jobs"
	"drawdown/rating"
)

// place is a row of an object, from 1.
type place struct {
	object string
	row    int64
}

// expectedFates says what becomes of every row of a world whose first days are settled, by the words of R4.3 and R4.4. Of
// several equal rows one settles: they are "settled or duplicate".
func expectedFates(w *world, settledUntil rating.Instant) map[place]string {
	type group struct{ id, account string }
	newest, contents := map[group]int64{}, map[group]map[string]bool{}
	each := func(do func(place, worldRow, group, string)) {
		for _, o := range w.objects {
			for i, row := range o.rows {
				do(place{o.name, int64(i + 1)}, row, group{row.ID, row.Account}, rejection(row))
			}
		}
	}
	each(func(_ place, row worldRow, g group, rejected string) {
		if rejected != "" && rejected != "bad_quantity" && rejected != "unknown_meter" {
			return // it has no place among its siblings
		}
		switch content := fmt.Sprint(row.Meter, number(row.Quantity), instantOf(row.Time), row.Region); {
		case row.Version > newest[g] || contents[g] == nil:
			newest[g], contents[g] = row.Version, map[string]bool{content: true}
		case row.Version == newest[g]:
			contents[g][content] = true
		}
	})
	fates := map[place]string{}
	each(func(at place, row worldRow, g group, rejected string) {
		switch t := instantOf(row.Time); {
		case rejected != "":
			fates[at] = "quarantined " + rejected
		case t < rating.InstantOf(w.start):
			fates[at] = "out_of_period"
		case t >= settledUntil:
			fates[at] = "not settled"
		case row.Version < newest[g]:
			fates[at] = "superseded"
		case len(contents[g]) > 1:
			fates[at] = "quarantined conflict"
		default:
			fates[at] = "settled or duplicate"
		}
	})
	return fates
}

func instantOf(text string) rating.Instant {
	at, err := rating.ParseInstant([]byte(text))
	if err != nil {
		return rating.Never
	}
	return at
}

// rejection is why a row is refused by itself.
func rejection(row worldRow) string {
	switch {
	case row.text != "":
		return "malformed"
	case row.ID == "" || row.Quantity == "" || row.Time == "":
		return "missing_field"
	case row.Time == "yesterday":
		return "bad_time"
	case strings.HasPrefix(row.Quantity, "-") || row.Quantity == "1.5" && row.Meter == "calls" || row.Quantity == "5000001":
		return "bad_quantity"
	case row.Account == "nobody":
		return "unknown_account"
	case row.Meter == "nothing":
		return "unknown_meter"
	}
	return ""
}

// TestExplainTellsWhatWasSettled: of every record, the same lines as in the files, and the right fate of every row.
func TestExplainTellsWhatWasSettled(t *testing.T) {
	eachWorld(t, worldShape{records: 80, days: 3, homeless: true}, func(t *testing.T, w *world) {
		s := newSite(t, w, "shards: 2")
		until := rating.InstantOf(w.start.AddDate(0, 0, 2))
		s.settleUntil(w.later(), until)
		lines, quarantine := map[string][]resultRow{}, map[place]string{}
		for _, l := range s.rows("lines") {
			lines[key(l, "account", "record_id")] = append(lines[key(l, "account", "record_id")], l)
		}
		for _, q := range s.rows("quarantine") {
			quarantine[place{q["source_object"], int64(number(q["source_row"]).Num().Int64())}] = q["reason"]
		}
		fates := expectedFates(w, until)
		seen, settled := map[string]int{}, map[string]int{}
		asked := map[string]bool{"": true} // a row without an id cannot be asked for
		for _, row := range w.rows() {
			if asked[row.ID] {
				continue
			}
			asked[row.ID] = true
			found := s.explain(w, row.ID)
			for i := range found.Rows {
				r := &found.Rows[i]
				at := place{r.Object, r.Row}
				seen[r.Fate]++
				checkFate(t, at, r, fates[at], quarantine[at])
				delete(fates, at)
				if r.Fate == "settled" {
					settled[key(resultRow{"account": r.Account, "record_id": row.ID}, "account", "record_id")]++
				}
			}
			s.checkExplainedLines(t, w, found, lines)
		}
		for name := range lines {
			if settled[name] != 1 {
				t.Errorf("%s has lines, and %d rows that settled", name, settled[name])
			}
		}
		for at, fate := range fates {
			if !strings.HasPrefix(fate, "quarantined m") { // malformed, or without an id
				t.Errorf("%v was not explained: %s", at, fate)
			}
		}
		for _, fate := range []string{"settled", "duplicate", "superseded", "quarantined", "not settled", "out_of_period"} {
			if seen[fate] == 0 {
				t.Logf("this world has no row that is %s", fate)
			}
		}
	})
}

// TestExplainDuplicateOfAnUnpricedRecord: it is a duplicate all the same, and nothing later has replaced it.
func TestExplainDuplicateOfAnUnpricedRecord(t *testing.T) {
	t.Parallel()
	w := lateWorld(1)
	w.add("meters", fields{"id": "free"})
	row := w.objects[0].rows[0]
	row.ID, row.Meter = "unpriced", "free"
	good := row
	good.ID, good.Meter = "good", "m"
	w.objects[0].rows = append(w.objects[0].rows, row, row, good)
	s := newSite(t, w)
	s.settleDay(w, 0)
	var fates []string
	for _, r := range s.explain(w, "unpriced").Rows {
		fates = append(fates, r.Fate+" "+r.Reason)
	}
	same(t, "fates", []string{
		"quarantined no_price: no price of meter free is in force for the account at 2026-10-22T10:00:00Z",
		"duplicate the same as row 2 of usage.ndjson, which is in quarantine",
	}, fates)
}

func (s *site) explain(w *world, id string) *explainJSON {
	s.t.Helper()
	found, err := s.app(w.later()).explain(s.config(), id, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	explained := explanationJSON(found)
	return &explained
}

func checkFate(t *testing.T, at place, r *explainRowJSON, expected, quarantined string) {
	t.Helper()
	reason, _, _ := strings.Cut(r.Reason, ":")
	got := r.Fate
	if r.Fate == "quarantined" {
		got += " " + reason
	}
	ok := got == expected
	if expected == "settled or duplicate" {
		ok = got == "settled" || got == "duplicate" || got == "quarantined no_price"
	}
	if !ok {
		t.Errorf("%v: it is %s (%s), and should be %s", at, got, r.Reason, expected)
	}
	if quarantined != "" && got != "quarantined "+quarantined {
		t.Errorf("%v: it is %s (%s), and stands in quarantine as %s", at, got, r.Reason, quarantined)
	}
}

// checkExplainedLines compares the lines of an explanation with those in the files.
func (s *site) checkExplainedLines(t *testing.T, w *world, found *explainJSON, lines map[string][]resultRow) {
	t.Helper()
	for i := range found.Rows {
		r := &found.Rows[i]
		if r.Fate != "settled" {
			if len(r.Lines) > 0 {
				t.Errorf("%s: it is %s, and has lines", found.RecordID, r.Fate)
			}
			continue
		}
		filed := lines[r.Account+" "+found.RecordID]
		if len(filed) != len(r.Lines) {
			t.Errorf("%s of %s: %d lines are explained, %d are filed", found.RecordID, r.Account, len(r.Lines), len(filed))
			continue
		}
		for n, l := range filed {
			e := &r.Lines[n]
			same(t, found.RecordID+": where it comes from", place{l["source_object"], number(l["source_row"]).Num().Int64()}, place{r.Object, r.Row})
			same(t, found.RecordID+": texts", key(l, "kind", "package", "price_id", "meter"), strings.Join([]string{e.Kind, e.Package, e.Price, r.Meter}, " "))
			for _, pair := range [][2]string{
				{l["line_no"], fmt.Sprint(e.LineNo)},
				{l["tier"], fmt.Sprint(e.Tier)},
				{l["quantity"], e.Quantity},
				{l["consumed"], e.Consumed},
				{l["remaining_before"], e.RemainingBefore},
				{l["remaining_after"], e.RemainingAfter},
				{l["amount"], e.Amount},
			} {
				if number(pair[0]).Cmp(number(pair[1])) != 0 {
					t.Errorf("%s: filed %v, explained %+v", found.RecordID, l, *e)
				}
			}
			if e.Kind == "deduction" && (len(r.Eligible) == 0 || n < len(r.Eligible) && r.Eligible[n].Package != e.Package) {
				t.Errorf("%s: it draws on %s, and eligible were %v", found.RecordID, e.Package, r.Eligible)
			}
		}
	}
}

// noonOf is usage at noon of a day, with more behind it in the same object.
func (w *world) noonOf(t *testing.T, day int, more ...worldRow) *worldObject {
	t.Helper()
	return &worldObject{
		name: fmt.Sprintf("day%d.ndjson", day),
		rows: append([]worldRow{lateWorld(w.days).objects[0].rows[day-1]}, more...),
	}
}

func (s *site) put(o *worldObject) { s.write("usage/"+o.name, o.content(s.t)) }

// checkRead tells how many objects a run has read and passed over, and how many rows it put into quarantine.
func checkRead(t *testing.T, what string, r *jobs.Report, read, skipped int, quarantined int64) {
	t.Helper()
	if r.Objects != read || r.Skipped != skipped || r.Rows.Quarantined != quarantined {
		t.Errorf("%s: it read %d objects, passed over %d, and put %d rows into quarantine; not %d, %d and %d",
			what, r.Objects, r.Skipped, r.Rows.Quarantined, read, skipped, quarantined)
	}
}

// TestObjectsAreRemembered: one that cannot hold a period's rows is not read again, one that changed is.
func TestObjectsAreRemembered(t *testing.T) {
	t.Parallel()
	w := lateWorld(4)
	s := newSite(t, &world{catalog: w.catalog})
	settle := func(day int) *jobs.Report { return s.settleUntil(w.start.AddDate(0, 0, day), rating.Never) }
	malformed := worldRow{text: `{"id": "broken`}
	s.put(w.noonOf(t, 1, malformed))
	checkRead(t, "day 1", settle(1), 1, 0, 1)
	s.put(w.noonOf(t, 2))
	checkRead(t, "day 2", settle(2), 1, 1, 0)
	// More comes into the object of day 1: a row of day 3, and one of day 1, which is settled already.
	rows := lateWorld(4).objects[0].rows
	early := rows[0]
	early.ID = "early"
	s.put(w.noonOf(t, 1, rows[2], early))
	report := settle(3)
	checkRead(t, "day 3", report, 1, 1, 0)
	same(t, "rows of day 3", jobs.RowCounts{Read: 3, Settled: 1, OutOfPeriod: 2}, report.Rows)
	checkRead(t, "day 4", settle(4), 0, 2, 0)
	checkBooks(t, s)
	same(t, "records", []string{"{record_id: day1}", "{record_id: day2}", "{record_id: day3}"}, only(s.rows("lines"), "record_id"))
}

func only(rows []resultRow, column string) []string {
	var kept []resultRow
	for _, r := range rows {
		kept = append(kept, resultRow{column: r[column]})
	}
	return texts(kept)
}

// TestRowsOfNoPeriodStandInOne (R4.4): in the newest of the run that first read them, although the object is read again.
func TestRowsOfNoPeriodStandInOne(t *testing.T) {
	t.Parallel()
	w := lateWorld(4)
	w.objects[0].rows = append(w.objects[0].rows, worldRow{text: "no JSON"}, worldRow{ID: "timeless", Account: "a", Meter: "m", Quantity: "1"})
	s := newSite(t, w)
	until := func(day int) *jobs.Report {
		return s.settleUntil(w.later(), rating.InstantOf(w.start.AddDate(0, 0, day)))
	}
	checkRead(t, "days 1 and 2", until(2), 1, 0, 2)
	checkRead(t, "day 3", until(3), 1, 0, 0)
	checkRead(t, "day 4", until(4), 1, 0, 0)
	counts := map[string]int64{}
	for name, m := range s.published() {
		counts[name] = m.Totals.Rows.Quarantined
	}
	same(t, "quarantine by period", map[string]int64{"2026-10-22": 0, "2026-10-23": 2, "2026-10-24": 0, "2026-10-25": 0}, counts)
	checkBooks(t, s)
}

// TestTouchedObjectsAreTheSame: to copy the usage folder, which makes all its times new, changes nothing.
func TestTouchedObjectsAreTheSame(t *testing.T) {
	t.Parallel()
	w := lateWorld(4)
	w.objects[0].rows = append(w.objects[0].rows, worldRow{text: "no JSON"}, worldRow{ID: "timeless", Account: "a", Meter: "m", Quantity: "1"})
	want, s := newSite(t, w), newSite(t, w)
	for day := 2; day <= 4; day++ {
		until := rating.InstantOf(w.start.AddDate(0, 0, day))
		want.settleUntil(w.later(), until)
		report := s.settleUntil(w.later(), until)
		if day > 2 {
			checkRead(t, fmt.Sprintf("day %d", day), report, 1, 0, 0)
		}
		at := time.Unix(1_700_000_000+int64(day), 0)
		if err := os.Chtimes(s.path("usage/usage.ndjson"), at, at); err != nil {
			t.Fatal(err)
		}
	}
	sameSite(t, "touched each day", want, s)
	checkBooks(t, s)
}

// TestFutureRowsSettleWhenTheirTimeComes (R4.4): until then they are in quarantine, and the object, which stays as it is, is
// read again.
func TestFutureRowsSettleWhenTheirTimeComes(t *testing.T) {
	t.Parallel()
	w := lateWorld(2)
	w.objects[0].rows = append(w.objects[0].rows, worldRow{text: "no JSON"})
	w.objects = append(w.objects, worldObject{name: "more.ndjson", rows: []worldRow{{
		ID: "more", Account: "a", Meter: "m", Quantity: "1", Time: spell(w.start.Add(time.Hour)),
	}}})
	s := newSite(t, w)
	checkRead(t, "day 1", s.settleUntil(w.start.AddDate(0, 0, 1), rating.Never), 2, 0, 2)
	same(t, "reasons", []string{"{reason: future}", "{reason: malformed}"}, only(s.rows("quarantine"), "reason"))
	checkRead(t, "day 2", s.settleUntil(w.start.AddDate(0, 0, 2), rating.Never), 1, 1, 0)
	same(t, "records", []string{"{record_id: day1}", "{record_id: day2}", "{record_id: more}"}, only(s.rows("lines"), "record_id"))
	checkBooks(t, s)
}

// TestBadObjects (R4.5): one that cannot be read whole fails the run, or goes to quarantine as a whole until it is mended.
func TestBadObjects(t *testing.T) {
	t.Parallel()
	w := lateWorld(3)
	good := w.noonOf(t, 1)
	bad := &worldObject{name: "bad.ndjson.gz", rows: w.objects[0].rows}
	content := bad.content(t)
	s := newSite(t, &world{catalog: w.catalog})
	s.put(good)
	s.write("usage/"+bad.name, content[:len(content)-9])
	_, err := s.trySettle(w.later(), rating.InstantOf(w.start.AddDate(0, 0, 1)), false)
	if err == nil || !strings.Contains(err.Error(), "R4.5") || !strings.Contains(err.Error(), bad.name) {
		t.Errorf("got %v", err)
	}
	same(t, "what was settled", 0, len(s.published()))
	s.configure("usage: {on_bad_object: quarantine}\n")
	report := s.settleUntil(w.later(), rating.InstantOf(w.start.AddDate(0, 0, 1)))
	checkRead(t, "day 1", report, 2, 0, 1)
	same(t, "lines of day 1", []string{"{source_object: day1.ndjson}"}, only(s.rows("lines"), "source_object"))
	for _, q := range s.rows("quarantine") {
		if _, hasRow := q["source_row"]; hasRow || q["reason"] != "bad_object" || q["source_object"] != bad.name {
			t.Errorf("in quarantine is %v", q)
		}
	}
	s.write("usage/"+bad.name, content)
	checkRead(t, "day 2", s.settleUntil(w.later(), rating.InstantOf(w.start.AddDate(0, 0, 2))), 1, 1, 0)
	same(t, "records", []string{"{record_id: day1}", "{record_id: day2}"}, only(s.rows("lines"), "record_id"))
	checkBooks(t, s)
}
