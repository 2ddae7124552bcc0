package main

import (
	"crypto/sha256"
	"fmt"
	"math/big"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"drawdown/rating"
	"drawdown/writers/settlement"
)

// books sums up decimals by name.
type books map[string]*big.Rat

func (b books) add(name, decimal string) {
	if b[name] == nil {
		b[name] = new(big.Rat)
	}
	b[name].Add(b[name], number(decimal))
}

func number(decimal string) *big.Rat {
	if decimal == "" {
		return new(big.Rat)
	}
	x, ok := new(big.Rat).SetString(decimal)
	if !ok {
		panic(decimal + " is no decimal")
	}
	return x
}

// texts leaves out what is zero.
func (b books) texts() map[string]string {
	all := map[string]string{}
	for name, x := range b {
		if x.Sign() != 0 {
			all[name] = trimZeros(x.FloatString(12))
		}
	}
	return all
}

func key(r resultRow, columns ...string) string {
	parts := make([]string, len(columns))
	for i, column := range columns {
		parts[i] = r[column]
	}
	return strings.Join(parts, " ")
}

// checkBooks checks all that an auditor can check with the files alone: nothing is lost, nothing comes from nowhere.
func checkBooks(t testing.TB, s *site) {
	t.Helper()
	current := s.publishedPeriods()
	var before *published
	closing := books{}
	for _, name := range keysOf(current) {
		p := s.openPublished(name, current[name])
		tables := &results{tables: map[string][]resultRow{}}
		for _, f := range p.manifest.Files {
			file := p.file(f.Name)
			if data, err := p.output.ReadFile(path.Join(p.dir, f.Name)); err != nil || !slices.Equal(sum(data), f.SHA256) || int64(len(data)) != f.Size {
				t.Errorf("%s: %s is not what the manifest says: %v", name, f.Name, err)
			}
			if err := tables.read(f.Table, file); err != nil {
				t.Fatal(err)
			}
		}
		checkChain(t, s, before, p)
		checkLines(t, p, tables.tables)
		checkManifestRows(t, p, tables.tables)
		closing = checkBalances(t, name, before == nil, closing, tables.tables)
		before = p
	}
	if before == nil {
		t.Error("nothing was settled")
	}
}

func sum(data []byte) settlement.Hash {
	hash := sha256.Sum256(data)
	return hash[:]
}

// checkChain: each manifest names the one before, and opens with the states that one closed with.
func checkChain(t testing.TB, s *site, before, p *published) {
	t.Helper()
	if before == nil {
		if len(p.manifest.PreviousManifestSHA256) != 0 || len(p.manifest.OpeningSHA256) != 0 {
			t.Errorf("%s: the first period follows another one", p.name)
		}
		return
	}
	data, err := os.ReadFile(s.path("settlements/" + before.current.Manifest))
	if err != nil {
		t.Fatal(err)
	}
	same(t, p.name+": the manifest before", sum(data).String(), p.manifest.PreviousManifestSHA256.String())
	same(t, p.name+": opening states", before.manifest.ClosingSHA256, p.manifest.OpeningSHA256)
	same(t, p.name+": start", before.manifest.Period.End, p.manifest.Period.Start)
}

// checkLines: each unit was deducted, charged or stopped; charges are the sums of excess lines; balances tell the deductions.
func checkLines(t testing.TB, p *published, tables map[string][]resultRow) {
	t.Helper()
	meters, amounts, charged, deducted := books{}, books{}, books{}, books{}
	count := map[string]int{}
	for _, l := range tables["lines"] {
		meters.add(l["meter"]+" "+l["kind"], l["quantity"])
		amounts.add(l["currency"], l["amount"])
		switch l["kind"] {
		case "excess":
			name := key(l, "payer", "account", "meter", "price_id", "tier", "late", "unit_price", "per", "currency") + " " + monthOf(t, l["event_time"])
			charged.add(name+" quantity", l["quantity"])
			charged.add(name+" amount", l["amount"])
			charged.add(name+" lines", "1")
		case "deduction":
			deducted.add(key(l, "payer", "package", "cycle_start"), l["consumed"])
			after := new(big.Rat).Sub(number(l["remaining_before"]), number(l["consumed"]))
			if after.Cmp(number(l["remaining_after"])) != 0 || after.Sign() < 0 {
				t.Errorf("%s: it takes more than there is, or leaves something else: %v", p.name, l)
			}
			fallthrough
		case "stopped":
			if l["amount"] != "0" || l["price_id"] != "" {
				t.Errorf("%s: it costs something: %v", p.name, l)
			}
		}
		count[l["kind"]]++
	}
	said := books{}
	for _, c := range tables["charges"] {
		name := key(c, "payer", "account", "meter", "price_id", "tier", "late", "unit_price", "per", "currency") + " " + c["month"]
		said.add(name+" quantity", c["quantity"])
		said.add(name+" amount", c["amount"])
		said.add(name+" lines", c["line_count"])
	}
	same(t, p.name+": charges", charged.texts(), said.texts())
	said = books{}
	for _, b := range tables["balances"] {
		said.add(key(b, "payer", "package", "cycle_start"), b["deducted"])
	}
	same(t, p.name+": deductions", deducted.texts(), said.texts())
	said = books{}
	for _, m := range p.manifest.Totals.Meters {
		said.add(m.Meter+" deduction", m.Deducted.String())
		said.add(m.Meter+" excess", m.Excess.String())
		said.add(m.Meter+" stopped", m.Stopped.String())
		all := new(big.Rat).Add(number(m.Deducted.String()), number(m.Excess.String()))
		if all.Add(all, number(m.Stopped.String())).Cmp(number(m.Settled.String())) != 0 {
			t.Errorf("%s: %s does not balance: %v", p.name, m.Meter, m)
		}
	}
	same(t, p.name+": quantities of the manifest", meters.texts(), said.texts())
	said = books{}
	for _, a := range p.manifest.Totals.Amounts {
		said.add(a.Currency, a.Amount.String())
	}
	same(t, p.name+": amounts of the manifest", amounts.texts(), said.texts())
}

func monthOf(t testing.TB, instant string) string {
	t.Helper()
	zone, err := time.LoadLocation(worldZone)
	if err != nil {
		t.Fatal(err)
	}
	at, err := rating.ParseInstant([]byte(instant))
	if err != nil {
		t.Fatal(err)
	}
	return at.Time().In(zone).Format("2006-01")
}

// checkManifestRows: each row that was read became one thing, and those in the files are as many as are said.
func checkManifestRows(t testing.TB, p *published, tables map[string][]resultRow) {
	t.Helper()
	total := &p.manifest.Totals.Rows
	var inputs settlement.Rows
	for _, in := range p.manifest.Inputs {
		r := in.Rows
		if r.Read != r.Settled+r.Duplicate+r.Superseded+r.Quarantined+r.OutOfPeriod {
			t.Errorf("%s: %s does not balance: %+v", p.name, in.Key, r)
		}
		inputs = settlement.Rows{
			Read: inputs.Read + r.Read, Settled: inputs.Settled + r.Settled, Duplicate: inputs.Duplicate + r.Duplicate,
			Superseded: inputs.Superseded + r.Superseded, Quarantined: inputs.Quarantined + r.Quarantined,
			OutOfPeriod: inputs.OutOfPeriod + r.OutOfPeriod,
		}
	}
	same(t, p.name+": rows by object", inputs, *total)
	records := map[string]bool{}
	for _, l := range tables["lines"] {
		records[key(l, "source_object", "source_row")] = true
	}
	if n := int64(len(records)); n > total.Settled { // a record of quantity 0 has no line
		t.Errorf("%s: lines of %d records, of which %d are said to be settled", p.name, n, total.Settled)
	}
	if n := int64(len(tables["quarantine"])); n != total.Quarantined {
		t.Errorf("%s: %d rows in quarantine, and %d are said to be", p.name, n, total.Quarantined)
	}
}

// checkBalances: every balance adds up, and opens with what the period before closed with. It gives the closing ones.
func checkBalances(t testing.TB, name string, first bool, before books, tables map[string][]resultRow) (closing books) {
	t.Helper()
	opening, closing, rolled := books{}, books{}, books{}
	for _, b := range tables["balances"] {
		sum := new(big.Rat)
		for _, column := range []string{"opening", "granted", "rolled_over"} {
			sum.Add(sum, number(b[column]))
		}
		for _, column := range []string{"deducted", "expired", "revoked", "closing"} {
			sum.Sub(sum, number(b[column]))
		}
		if sum.Sign() != 0 || number(b["closing"]).Sign() < 0 {
			t.Errorf("%s: it does not add up, or is below nothing: %v", name, b)
		}
		opening.add(key(b, "package", "cycle_start"), b["opening"])
		closing.add(key(b, "package", "cycle_start"), b["closing"])
		rolled.add(b["package"], b["rolled_over"])
	}
	if !first {
		same(t, name+": openings", before.texts(), opening.texts())
	}
	for pkg, decimal := range rolled.texts() {
		known := slices.ContainsFunc(keysOf(before), func(k string) bool { return strings.HasPrefix(k, pkg+" ") })
		if known || strings.HasPrefix(decimal, "-") { // what was entered late comes with what rolled before it was known
			t.Errorf("%s: %s rolls out of cycles of %s, and not into the next", name, decimal, pkg)
		}
	}
	return closing
}

// TestBooksBalance (R4.6, section 7).
func TestBooksBalance(t *testing.T) {
	t.Parallel()
	for seed := uint64(10); seed < 16; seed++ {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			w := newWorld(seed, smallWorld)
			s := newSite(t, w)
			s.settleUntil(w.later(), rating.InstantOf(w.end().AddDate(0, 0, 7))) // over the end of a month
			checkBooks(t, s)
		})
	}
}

// lateWorld is one account with a package of 100 and usage of 30 a day, at noon.
func lateWorld(days int) *world {
	zone, err := time.LoadLocation(worldZone)
	if err != nil {
		panic(err)
	}
	start, err := time.ParseInLocation(time.DateOnly, worldFrom, zone)
	if err != nil {
		panic(err)
	}
	w := &world{start: start, days: days, catalog: map[string][]any{}}
	w.add("accounts", fields{"id": "a"})
	w.add("meters", fields{"id": "m"})
	w.add("prices", fields{"id": "list", "meter": "m", "model": "flat", "price": "1"})
	w.add("packages", fields{"id": "old", "account": "a", "kind": "pay_per_use", "quota": 100, "effective": worldFrom, "expires": "2026-12-31", "covers": []fields{{"meter": "m"}}})
	object := worldObject{name: "usage.ndjson"}
	for i := range days {
		at := start.AddDate(0, 0, i).Add(12 * time.Hour)
		object.rows = append(object.rows, worldRow{ID: fmt.Sprintf("day%d", i+1), Account: "a", Meter: "m", Quantity: "30", Time: spell(at)})
	}
	w.objects = []worldObject{object}
	return w
}

// settleDay settles one day more, which is the first but so many.
func (s *site) settleDay(w *world, day int) {
	s.t.Helper()
	report := s.settleUntil(w.later(), rating.InstantOf(w.start.AddDate(0, 0, day+1)))
	if len(report.Periods) != 1 {
		s.t.Fatalf("day %d: %d periods were settled: %s", day, len(report.Periods), report.Nothing)
	}
}

// TestCatalogRowsThatComeLate: what is entered after its time counts from the first period that is settled with it.
func TestCatalogRowsThatComeLate(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		kind string
		row  fields
		want string // balances of days 2 and 3
	}{
		"package": {
			"packages",
			fields{"id": "new", "account": "a", "kind": "pay_per_use", "quota": 50, "priority": -1, "effective": worldFrom, "expires": "2026-12-31", "covers": []fields{{"meter": "m"}}},
			"new 0 +50 -30 =20, old 70 =70; new 20 -20 =0, old 70 -10 =60",
		},
		"revocation": {
			"package_changes",
			fields{"package": "old", "at": "2026-10-22T18:00:00Z", "revoked": true},
			"old 70 revoked 70 =0; ",
		},
		"resize up": {
			"package_changes",
			fields{"package": "old", "at": "2026-10-22T18:00:00Z", "resized": fields{"quota": 130}},
			"old 70 +30 -30 =70; old 70 -30 =40",
		},
		"resize down": {
			"package_changes",
			fields{"package": "old", "at": "2026-10-22T18:00:00Z", "resized": fields{"quota": 80}},
			"old 70 -30 revoked 20 =20; old 20 -20 =0",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := lateWorld(4)
			s := newSite(t, w)
			s.settleDay(w, 0)
			first := s.output()
			w.add(test.kind, test.row)
			s.write("catalog.yaml", w.catalogYAML(t))
			s.settleDay(w, 1)
			s.settleDay(w, 2)
			s.settleDay(w, 3)
			checkBooks(t, s)
			for file, hash := range first {
				if file != "current.json" {
					same(t, file, hash, s.output()[file])
				}
			}
			same(t, "balances of days 2 and 3", test.want, describeBalances(s, "2026-10-22T22:00:00Z")+"; "+describeBalances(s, "2026-10-23T22:00:00Z"))
		})
	}
}

// describeBalances writes a period's balances shortly.
func describeBalances(s *site, start string) string {
	var all []string
	for _, b := range s.rows("balances") {
		if b["period_start"] != start {
			continue
		}
		text := b["package"] + " " + b["opening"]
		for column, sign := range map[string]string{"granted": " +", "deducted": " -"} {
			if b[column] != "0" && column == "granted" {
				text = strings.Replace(text, b["package"]+" "+b["opening"], b["package"]+" "+b["opening"]+sign+b[column], 1)
			} else if b[column] != "0" {
				text += sign + b[column]
			}
		}
		if b["revoked"] != "0" {
			text += " revoked " + b["revoked"]
		}
		all = append(all, text+" ="+b["closing"])
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// TestSettledChangesStayAsTheyWere (R2.5): one that was settled with cannot be edited afterwards.
func TestSettledChangesStayAsTheyWere(t *testing.T) {
	t.Parallel()
	w := lateWorld(4)
	change := fields{"package": "old", "at": "2026-10-22T18:00:00Z", "resized": fields{"quota": 130}}
	w.add("package_changes", change)
	s := newSite(t, w)
	s.settleDay(w, 0)
	before, files := s.visible(), s.output()
	change["resized"] = fields{"quota": 131}
	s.write("catalog.yaml", w.catalogYAML(t))
	_, err := s.trySettle(w.later(), rating.Never, false)
	if err == nil || !strings.Contains(err.Error(), "R2.5") || !strings.Contains(err.Error(), `"old"`) {
		t.Errorf("got %v", err)
	}
	same(t, "state", before, s.visible())
	same(t, "files", withoutFolders(files), withoutFolders(s.output()))
	change["resized"] = fields{"quota": 130}
	s.write("catalog.yaml", w.catalogYAML(t))
	s.settleDay(w, 1)
	checkBooks(t, s)
}

func withoutFolders(files map[string]string) map[string]string {
	kept := map[string]string{}
	for name, hash := range files {
		if hash != "" {
			kept[name] = hash
		}
	}
	return kept
}

// TestRandomCatalogRowsThatComeLate: whatever is entered late, no book is broken.
func TestRandomCatalogRowsThatComeLate(t *testing.T) {
	eachWorld(t, tidyWorld, func(t *testing.T, w *world) {
		s := newSite(t, w)
		var late []map[string][]any // by day
		all := w.catalog
		for day := range w.days {
			late = append(late, map[string][]any{})
			for kind, rows := range all {
				for _, row := range rows {
					_, extended := row.(fields)["extended"] // of what has been released it would grant anew
					if !extended && (kind == "packages" || kind == "package_changes" || kind == "topups") {
						if n := len(fmt.Sprint(row)) % w.days; n > day {
							continue
						}
					}
					late[day][kind] = append(late[day][kind], row)
				}
			}
			late[day]["package_changes"] = slices.DeleteFunc(late[day]["package_changes"], func(change any) bool {
				return !slices.ContainsFunc(late[day]["packages"], func(p any) bool { return p.(fields)["id"] == change.(fields)["package"] })
			})
			w.catalog = late[day]
			s.write("catalog.yaml", w.catalogYAML(t))
			s.settleDay(w, day)
		}
		checkBooks(t, s)
	})
}

// TestFaultyRowsOfTheDatabaseSettleNothing: leaving them out would charge usage that is paid for, so the run names all of
// them and stops, and goes on when they are mended.
func TestFaultyRowsOfTheDatabaseSettleNothing(t *testing.T) {
	t.Parallel()
	test := func(t *testing.T, state string) {
		w := newWorld(12, smallWorld)
		want, s := newSite(t, w), newSiteIn(t, state, w)
		half := rating.InstantOf(w.start.AddDate(0, 0, 2))
		want.settleUntil(w.later(), half)
		s.settleUntil(w.later(), half)
		before, state1 := s.current(), s.visible()
		account := strings.TrimPrefix(s.query(`SELECT id FROM accounts ORDER BY id LIMIT 1`)[0], "id=")
		for i, row := range []string{
			`'2026-10-24T08:00:00Z', '2026-10-24T07:00:00Z', '[{"meter": "no such meter"}]'`, // ends before it begins, and covers nothing
			`'2026-10-24', '2026-10-24', '[{"metre": "x"}]'`,
		} {
			s.exec(fmt.Sprintf(`INSERT INTO packages (id, account, kind, quota, effective, expires, covers)
				VALUES ('bad%d', '%s', 'pay_per_use', '1', %s)`, i, account, row))
			code, stderr := s.settleCommand(w)
			if code != exitUsage || !strings.Contains(stderr, fmt.Sprintf("bad%d", i)) {
				t.Errorf("it ended with %d: %s", code, stderr)
			}
			if i == 0 && (!strings.Contains(stderr, "no such meter") || !strings.Contains(stderr, "expires")) {
				t.Errorf("it does not name all that is wrong: %s", stderr)
			}
		}
		same(t, "files", before, s.current())
		same(t, "state", state1, s.visible())
		s.exec(`DELETE FROM packages WHERE id LIKE 'bad%'`)
		want.settle(w)
		s.settle(w)
		sameSite(t, "in the end", want, s)
	}
	t.Run("SQLite", func(t *testing.T) { test(t, "") })
	t.Run("PostgreSQL", func(t *testing.T) { test(t, server.Get(t).Fresh(t)) })
}
