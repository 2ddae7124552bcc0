package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"drawdown/rating"
	"drawdown/writers/export"
)

// export writes one format of all that is settled of a world, and gives the rows of a file by their columns.
func (s *site) export(w *world, format, file string) []map[string]string {
	s.t.Helper()
	return readExport(s.t, filepath.Join(s.exportTo(w, format), file))
}

// exportTo writes one format, and gives the folder.
func (s *site) exportTo(w *world, format string) string {
	s.t.Helper()
	out := filepath.Join(fastDir(s.t), "out")
	a := s.app(w.later())
	a.flags.Config = s.path("drawdown.yaml")
	k := exportCmd{From: spell(w.start), To: w.until().String(), Format: format, Out: out, As: "csv"}
	if err := k.Run(a); err != nil {
		s.t.Fatal(format, ": ", err)
	}
	return out
}

func readExport(t testing.TB, name string) []map[string]string {
	t.Helper()
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	table, err := csv.NewReader(file).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	rows := make([]map[string]string, 0, len(table))
	for _, cells := range table[1:] {
		row := map[string]string{}
		for i, cell := range cells {
			row[table[0][i]] = cell
		}
		rows = append(rows, row)
	}
	return rows
}

// sums adds up a column of rows by a key; what has no key is left out.
func sums(t testing.TB, rows []map[string]string, column string, key func(map[string]string) string) map[string]string {
	t.Helper()
	all := map[string]rating.Amount{}
	for _, row := range rows {
		if k := key(row); k != "" && row[column] != "" {
			sum, ok := all[k].Add(exactly(t, row[column]))
			if !ok {
				t.Fatal(rating.ErrOverflow)
			}
			all[k] = sum
		}
	}
	texts := map[string]string{}
	for k, sum := range all {
		if sum.Sign() != 0 {
			texts[k] = sum.String()
		}
	}
	return texts
}

func exactly(t testing.TB, text string) rating.Amount {
	t.Helper()
	units, err := rating.ParseDecimal([]byte(text), 9, rating.Exact)
	if err != nil {
		t.Fatal(text, err)
	}
	return rating.AmountOf(units)
}

func agree(t *testing.T, what string, a, b map[string]string) {
	t.Helper()
	if !maps.Equal(a, b) {
		t.Errorf("%s do not agree:\n%v\n%v", what, a, b)
	}
}

// TestExportsAgree: over random worlds, lines = charges = statements, FOCUS is billed what the statements say, revenue
// balances, equals FOCUS's effective costs, and is a package's price to the last digit once its life is over. Every FOCUS row
// keeps the rules of FOCUS 1.2.
func TestExportsAgree(t *testing.T) {
	t.Parallel()
	rules := loadFocusRules(t)
	for seed := range uint64(5) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			shape, period := worldShape{records: 1500, days: 12}, "day"
			if seed == 3 {
				shape, period = worldShape{records: 500, days: 3}, "hour"
			}
			w := newWorld(seed, shape)
			s := newSite(t, w, "period: "+period)
			s.settle(w)
			out := s.exportTo(w, "csv")
			lines, charges := readExport(t, filepath.Join(out, "lines.csv")), readExport(t, filepath.Join(out, "charges.csv"))
			statements := s.export(w, "statement", "statements.csv")
			revenue, focus := s.export(w, "revenue", "revenue.csv"), s.export(w, "focus", "focus.csv")
			if len(lines) == 0 || len(charges) == 0 || len(revenue) == 0 || len(focus) < len(charges) {
				t.Fatal("the world is empty")
			}
			payer := func(r map[string]string) string { return r["payer"] + " " + r["currency"] }
			agree(t, "lines and charges", sums(t, lines, "amount", payer), sums(t, charges, "amount", payer))
			agree(t, "charges and statements", sums(t, charges, "amount", payer), sums(t, statements, "amount", func(r map[string]string) string {
				if r["meter"] == "" {
					return ""
				}
				return payer(r)
			}))
			payerMonth := func(r map[string]string) string { return r["payer"] + " " + r["month"] + " " + r["currency"] }
			totals := sums(t, statements, "total", payerMonth)
			agree(t, "amounts and totals of statements", sums(t, statements, "amount", payerMonth), totals)
			agree(t, "statements and billed costs", totals, sums(t, focus, "BilledCost", func(r map[string]string) string {
				return r["BillingAccountId"] + " " + berlinMonth(t, r["BillingPeriodStart"]) + " " + r["BillingCurrency"]
			}))
			for k, total := range totals {
				if rounded, _ := exactly(t, total).RoundTo(2); rounded.String() != total {
					t.Errorf("the total of %s is %s, not whole cents", k, total)
				}
			}
			checkRevenue(t, w, s, revenue, focus)
			rules.check(t, focus)
		})
	}
}

func berlinMonth(t testing.TB, at string) string {
	t.Helper()
	zone, err := time.LoadLocation(worldZone)
	if err != nil {
		t.Fatal(err)
	}
	instant, err := time.Parse(time.RFC3339, at)
	if err != nil {
		t.Fatal(err)
	}
	return instant.In(zone).Format("2006-01")
}

func checkRevenue(t *testing.T, w *world, s *site, revenue, focus []map[string]string) {
	t.Helper()
	closing := map[string]string{}
	for _, r := range revenue {
		sum := exactly(t, r["opening"])
		sum, _ = sum.Add(exactly(t, r["bought"]))
		for _, less := range []string{"recognised_by_use", "recognised_as_breakage", "refunded", "closing"} {
			sum, _ = sum.Sub(exactly(t, r[less]))
		}
		if sum.Sign() != 0 {
			t.Errorf("a row of revenue does not balance: %v", r)
		}
		if before, known := closing[r["package"]]; known && before != r["opening"] {
			t.Errorf("package %s opens with %s, and closed with %s", r["package"], r["opening"], before)
		}
		closing[r["package"]] = r["closing"]
	}
	of := func(column string) func(map[string]string) string {
		return func(r map[string]string) string { return r[column] }
	}
	recognised := map[string]string{}
	use, breakage := sums(t, revenue, "recognised_by_use", of("package")), sums(t, revenue, "recognised_as_breakage", of("package"))
	for _, k := range slices.Concat(keysOf(use), keysOf(breakage)) {
		sum := rating.Amount{}
		for _, part := range []string{use[k], breakage[k]} {
			if part != "" {
				sum, _ = sum.Add(exactly(t, part))
			}
		}
		if sum.Sign() != 0 {
			recognised[k] = sum.String()
		}
	}
	agree(t, "revenue and effective costs", recognised, sums(t, focus, "EffectiveCost", of("CommitmentDiscountId")))
	checkLives(t, w, s, revenue, closing, recognised)
}

// checkLives: what a package whose life is over recognised and was refunded is what was paid for its terms.
func checkLives(t *testing.T, w *world, s *site, revenue []map[string]string, closing, recognised map[string]string) {
	t.Helper()
	catalog, err := s.app(w.later()).catalog(s.config())
	if err != nil {
		t.Fatal(err)
	}
	over := 0
	for i := range catalog.Packages {
		p := &catalog.Packages[i]
		terms := catalog.Terms(int32(i), w.until())
		if closing[p.ID] != "0" || terms[len(terms)-1].End >= w.until() || terms[0].Bought < rating.InstantOf(w.start) {
			continue
		}
		over++
		paid, _ := p.PricePaid.Times(len(terms))
		for _, r := range revenue {
			if r["package"] == p.ID {
				paid, _ = paid.Sub(exactly(t, r["refunded"]))
			}
		}
		if got := recognised[p.ID]; got != paid.String() && !(got == "" && paid.Sign() == 0) {
			t.Errorf("package %s recognised %s, and %s was paid for its %d terms less refunds", p.ID, got, paid, len(terms))
		}
	}
	if over == 0 {
		t.Log("no package lived and died in this world")
	}
}

// TestExportsOfTheDemoAgree: control totals = lines = charges = statements = what FOCUS bills, over real usage.
func TestExportsOfTheDemoAgree(t *testing.T) {
	t.Parallel()
	s, now := demoSite(t), demoTime(t)
	s.settleUntil(now, rating.Never)
	out := fastDir(t)
	for _, format := range []string{"csv", "statement", "focus"} {
		a := s.app(now)
		a.flags.Config = s.path("drawdown.yaml")
		k := exportCmd{From: "2023-11-16T18:00:00Z", To: "2023-11-16T20:00:00Z", Format: format, Out: out, As: "csv"}
		if err := k.Run(a); err != nil {
			t.Fatal(format, ": ", err)
		}
	}
	var total rating.Amount
	for _, m := range s.published() {
		for _, of := range m.Totals.Amounts {
			total, _ = total.Add(rating.Amount(of.Amount))
		}
	}
	control := map[string]string{"USD": total.String()}
	currency := func(r map[string]string) string { return r["currency"] }
	statements := readExport(t, filepath.Join(out, "statements.csv"))
	agree(t, "control totals and lines", control, sums(t, readExport(t, filepath.Join(out, "lines.csv")), "amount", currency))
	agree(t, "control totals and charges", control, sums(t, readExport(t, filepath.Join(out, "charges.csv")), "amount", currency))
	agree(t, "control totals and statements", control, sums(t, statements, "amount", func(r map[string]string) string {
		if r["meter"] == "" {
			return "" // packages, and the rounding
		}
		return r["currency"]
	}))
	agree(t, "statements and billed costs", sums(t, statements, "total", currency), sums(t, readExport(t, filepath.Join(out, "focus.csv")),
		"BilledCost", func(r map[string]string) string { return r["BillingCurrency"] }))
	if total == (rating.Amount{}) {
		t.Error("the demo charges nothing")
	}
}

// TestExportOfFailureLeavesNothing: what was written of an export that fails is taken away, and nothing is overwritten.
func TestExportOfFailureLeavesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(3, worldShape{records: 200, days: 2})
	s := newSite(t, w)
	s.settle(w)
	var damaged string
	for _, m := range s.published() {
		for _, f := range m.Files {
			if f.Table == "charges" && f.Rows > 0 {
				damaged = s.path(fmt.Sprintf("settlements/period=%s/rev=1-1/%s", m.Period.Name, f.Name))
			}
		}
	}
	if damaged == "" {
		t.Fatal("the world has no charges")
	}
	if err := os.WriteFile(damaged, []byte("PAR1 no more PAR1"), 0o666); err != nil {
		t.Fatal(err)
	}
	a := s.app(w.later())
	a.flags.Config = s.path("drawdown.yaml")
	out := filepath.Join(fastDir(t), "out")
	k := exportCmd{From: spell(w.start), To: w.until().String(), Format: "csv", Out: out, As: "csv"}
	if err := k.Run(a); err == nil {
		t.Fatal("a damaged file is exported")
	} else if errors.Is(err, export.ErrExists) {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(out); len(left) != 0 {
		t.Errorf("%d files are left", len(left))
	}
}
