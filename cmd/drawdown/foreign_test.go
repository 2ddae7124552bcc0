package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"drawdown/rating"
	"drawdown/writers/settlement"
)

// foreignPython gives the Python of a virtual environment that make has installed, from a variable.
func foreignPython(t *testing.T, variable string) string {
	t.Helper()
	program := os.Getenv(variable)
	if program != "" {
		if _, err := os.Stat(program); err == nil {
			return program
		}
	}
	// Not every machine has a Python that can be given packages; the last lines of `make test` say what was not tested.
	t.Skipf("%s names no Python (`make servers` installs one): this is NOT tested", variable)
	return ""
}

func foreignRun(t *testing.T, dir, program string, args ...string) []byte {
	t.Helper()
	command := exec.Command(program, args...)
	command.Dir = dir
	answer, err := command.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		t.Fatalf("%v: %s\n%s", err, exit.Stderr, answer)
	}
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// wantedTable is a table with one of its decimals and one of its instants.
type wantedTable struct{ table, decimal, instant string }

func wantedTables() []wantedTable {
	return []wantedTable{
		{"lines", "amount", "event_time"},
		{"charges", "quantity", "period_end"},
		{"balances", "rolled_over", "cycle_end"}, // may be negative
	}
}

// foreignSum is what rows hold of a decimal and an instant, as tables.py tells it.
type foreignSum struct {
	rows        int
	sum         rating.Amount
	first, last rating.Instant
}

func (f *foreignSum) add(a rating.Amount, at rating.Instant) {
	if f.rows == 0 {
		f.first, f.last = at, at
	}
	f.rows++
	f.first, f.last = min(f.first, at), max(f.last, at)
	f.sum, _ = f.sum.Add(a)
}

func (f *foreignSum) told() []any {
	if f.rows == 0 {
		return []any{0.0, "0", "", ""}
	}
	const micros = "2006-01-02T15:04:05.000000Z"
	return []any{float64(f.rows), f.sum.String(), f.first.Time().Format(micros), f.last.Time().Format(micros)}
}

// TestForeignReaders: pyarrow, polars, pandas and DuckDB read exact decimals and instants from the settlement's own files and
// from exported ones; openpyxl reads the workbook, whose totals are what its cells add up to.
func TestForeignReaders(t *testing.T) {
	t.Parallel()
	python := foreignPython(t, "TEST_READERS")
	w := newWorld(11, worldShape{records: 2000, days: 6})
	s := newSite(t, w)
	s.settle(w)
	out := filepath.Join(fastDir(t), "out")
	a := s.app(w.later())
	a.flags.Config = s.path("drawdown.yaml")
	if err := (&exportCmd{From: spell(w.start), To: w.until().String(), Format: "parquet", Out: out, As: "csv"}).Run(a); err != nil {
		t.Fatal(err)
	}
	if err := (&exportCmd{From: spell(w.start), To: w.until().String(), Format: "xlsx", Out: out, As: "csv"}).Run(a); err != nil {
		t.Fatal(err)
	}
	want := settledSums(t, s)
	args := []string{filepath.Join("..", "..", "testdata", "foreign", "tables.py")}
	for _, wanted := range wantedTables() {
		args = append(args,
			strings.Join([]string{"settled " + wanted.table, wanted.decimal, wanted.instant, s.path("settlements/*/*/" + wanted.table + "-*.parquet")}, "|"),
			strings.Join([]string{"exported " + wanted.table, wanted.decimal, wanted.instant, filepath.Join(out, wanted.table+".parquet")}, "|"))
	}
	args = append(args, "workbook|amount|lines|"+filepath.Join(out, "settlement.xlsx"))
	var answer struct {
		Versions map[string]string
		Found    map[string]map[string][]any
	}
	if err := json.Unmarshal(foreignRun(t, "", python, args...), &answer); err != nil {
		t.Fatal(err)
	}
	t.Log(answer.Versions)
	for _, wanted := range wantedTables() {
		for _, where := range []string{"settled ", "exported "} {
			for reader, found := range answer.Found[where+wanted.table] {
				if got, want := sprint(found), sprint(want[wanted.table].told()); got != want {
					t.Errorf("%s finds %s in %s%s, and it is %s", reader, got, where, wanted.table, want)
				}
			}
		}
	}
	lines := want["lines"].told()
	if got, want := sprint(answer.Found["workbook"]["openpyxl"]), sprint([]any{lines[0], lines[1], lines[1]}); got != want {
		t.Errorf("openpyxl finds %s in the workbook, and it is %s", got, want)
	}
	if len(answer.Found) != 7 || want["lines"].rows == 0 {
		t.Errorf("%d tables were read, %d lines", len(answer.Found), want["lines"].rows)
	}
}

// TestLibreOfficeOpensTheWorkbook: its cells, as LibreOffice reads them, add up to the totals that stand beside them.
func TestLibreOfficeOpensTheWorkbook(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("soffice")
	if err != nil {
		t.Skip("there is no LibreOffice here: what it makes of the workbook is NOT tested")
	}
	w := newWorld(13, worldShape{records: 1000, days: 4})
	s := newSite(t, w)
	s.settle(w)
	dir := fastDir(t)
	a := s.app(w.later())
	a.flags.Config = s.path("drawdown.yaml")
	if err := (&exportCmd{From: spell(w.start), To: w.until().String(), Format: "xlsx", Out: dir, As: "csv"}).Run(a); err != nil {
		t.Fatal(err)
	}
	const allSheets = "csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,false,false,false,false,-1" // what cells hold, not what they show
	foreignRun(t, dir, program, "-env:UserInstallation=file://"+filepath.ToSlash(t.TempDir()), "--headless", "--convert-to", allSheets, "settlement.xlsx")
	totals, sums := sheetOf(t, dir, "totals"), 0
	for _, total := range totals[:slices.IndexFunc(totals, func(row map[string]string) bool { return row["table"] == "" })] {
		rows := sheetOf(t, dir, total["table"])
		sum := new(big.Rat)
		switch {
		case total["column"] == "rows":
			sum.SetInt64(int64(len(rows)))
		case total["by"] == "":
			continue
		}
		for _, row := range rows {
			if total["by"] == "" || row[total["by"]] != total["of"] {
				continue
			}
			if cell, ok := new(big.Rat).SetString(row[total["column"]]); ok {
				sum.Add(sum, cell)
			}
		}
		sums++
		if exactly, ok := new(big.Rat).SetString(total["sum, exactly"]); !ok || exactly.Cmp(sum) != 0 {
			t.Errorf("%v: the cells come to %s", total, sum.FloatString(9))
		}
	}
	if sums < 8 {
		t.Errorf("%d totals", sums)
	}
}

// sheetOf reads a sheet of the workbook, as a CSV file with its name.
func sheetOf(t *testing.T, dir, name string) (rows []map[string]string) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dir, "settlement-"+name+".csv"))
	if err != nil {
		t.Fatal(err)
	}
	all, err := csv.NewReader(bytes.NewReader(content)).ReadAll()
	if err != nil || len(all) == 0 {
		t.Fatal(err)
	}
	for _, cells := range all[1:] {
		row := map[string]string{}
		for i, column := range all[0] {
			row[column] = cells[i]
		}
		rows = append(rows, row)
	}
	return rows
}

func sprint(values []any) string {
	text, _ := json.Marshal(values)
	return string(text)
}

func settledSums(t *testing.T, s *site) map[string]*foreignSum {
	t.Helper()
	sums := map[string]*foreignSum{"lines": {}, "charges": {}, "balances": {}}
	each := func(table string, visit func(file settlement.Source) error) {
		files, err := filepath.Glob(s.path("settlements/*/*/" + table + "-*.parquet"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if err := visit(settlement.Path(file)); err != nil {
				t.Fatal(err)
			}
		}
	}
	each("lines", func(file settlement.Source) (err error) {
		for l, failed := range settlement.ReadLines(file) {
			err = failed
			sums["lines"].add(l.Amount, l.EventTime)
		}
		return err
	})
	each("charges", func(file settlement.Source) (err error) {
		for c, failed := range settlement.ReadCharges(file) {
			err = failed
			sums["charges"].add(c.Quantity, c.PeriodEnd)
		}
		return err
	})
	each("balances", func(file settlement.Source) (err error) {
		for b, failed := range settlement.ReadBalances(file) {
			err = failed
			sums["balances"].add(b.RolledOver, b.CycleEnd)
		}
		return err
	})
	return sums
}

// TestFocusValidator: the official validator finds nothing. Its newest release knows FOCUS 1.0, in which some columns had
// other names: it is given these columns under both. TestExportsAgree holds rows against the rules of 1.2.
func TestFocusValidator(t *testing.T) {
	t.Parallel()
	python := foreignPython(t, "TEST_FOCUS_VALIDATOR")
	w := newWorld(12, worldShape{records: 1000, days: 6})
	s := newSite(t, w)
	s.settle(w)
	rows := s.export(w, "focus", "focus.csv")
	older := map[string]string{
		"InvoiceIssuer": "InvoiceIssuerName", "Provider": "ProviderName", "Publisher": "PublisherName", "ResourceID": "ResourceId", "ChargeType": "ChargeCategory",
	}
	columns := append(keysOf(rows[0]), keysOf(older)...)
	name := filepath.Join(fastDir(t), "focus.csv")
	file, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	c := csv.NewWriter(file)
	err = c.Write(columns)
	for _, row := range rows {
		cells := make([]string, len(columns))
		for i, column := range columns {
			cells[i] = row[column]
			if newer, renamed := older[column]; renamed {
				cells[i] = row[newer]
			}
		}
		err = errors.Join(err, c.Write(cells))
	}
	c.Flush()
	if err := errors.Join(err, c.Error(), file.Close()); err != nil {
		t.Fatal(err)
	}
	answer := string(foreignRun(t, filepath.Join("..", "..", "testdata", "foreign"), python, "-c",
		"from focus_validator.main import main; main()", "--data-file", name, "--validate-version", "1.0"))
	if !strings.Contains(answer, "Validation succeeded") {
		t.Errorf("the validator says of %d rows:\n%s", len(rows), answer[max(0, len(answer)-4000):])
	}
}
