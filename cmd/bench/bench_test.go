package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestALoopIsWrittenOutOnceForEachNumber(t *testing.T) {
	program := "A '{IN}/x';\n-- @loop 6\nB {K};\nC {K};\n-- @endloop\nD '{OUT}';\n"
	for loops, want := range map[int64]string{
		2: "A '/it''s/x'|B 1|C 1|B 2|C 2|D 'o'",
		0: "A '/it''s/x'|B 1|C 1|B 2|C 2|B 3|C 3|B 4|C 4|B 5|C 5|B 6|C 6|D 'o'",
	} {
		statements, err := expand(program, loops, "/it's", "o")
		if err != nil {
			t.Fatal(err)
		}
		for i := range statements {
			statements[i] = strings.TrimSuffix(statements[i], ";")
		}
		if got := strings.Join(statements, "|"); got != want {
			t.Errorf("%d loops: %s, want %s", loops, got, want)
		}
	}
	if _, err := expand("-- @loop 2\nB;\n", 0, "", ""); err == nil {
		t.Error("a loop without an end is taken")
	}
}

func TestASummaryIsFoundAmongWhatSettlePrints(t *testing.T) {
	want := settleSummary{Records: 5, PeakRSS: 7, Stages: []stage{{"read", 1, 2, 3}, {"write", 3, 4, 5}}}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	for _, stdout := range []string{string(text), `{"records":"many"}` + "\n" + string(text) + "\n", string(text) + `{"records":1}`} {
		if got := parseSummary([]byte(stdout)); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %+v", stdout, got)
		}
	}
	if got := parseSummary([]byte("done")); len(got.Stages) != 0 {
		t.Errorf("%+v", got)
	}
}

func TestTheReportFitsAPage(t *testing.T) {
	var r report
	m := measure{wall: 123456 * time.Millisecond, cpu: 234567 * time.Millisecond, peakRSS: 12345 << 20}
	m.stdout = []byte(`{"stages":[{"name":"partition and sort","wall_ns":123456000000,"busy_ns":123456000000}]}`)
	p := pairing{world: worldSummary{Records: 100_000_000, Packages: 600_000}, accounts: 100_000}
	p.add(1, []measure{m}, []measure{m}, []float64{1})
	p.add(2, []measure{m}, []measure{m}, []float64{1})
	p.agreement = &agreement{withDrawdown: true, records: 99_500_000, lines: 112_345_678, duplicatesFound: 500_000, excess: "28.1", amount: "1234567890.12"}
	r.paired(&p)
	r.rows("Title", "packages", 1, []row{{"10,000", 1_000_000, m}, {"as by default", 1_000_000, m}})
	for line := range strings.Lines(r.String()) {
		if len([]rune(line)) > 101 {
			t.Errorf("%d columns: %s", len([]rune(line)), line)
		}
	}
	if testing.Verbose() {
		fmt.Print(r.String())
	}
}

// TestTheComparisonSeesASingleLine settles a small world with the SQL, writes the lines as drawdown would, and changes one.
func TestTheComparisonSeesASingleLine(t *testing.T) {
	o, err := parseOptions([]string{"-cache", t.TempDir(), "-drawdown", "none", "-accounts", "200"})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{options: o, scratch: t.TempDir()}
	if err := b.build(); err != nil {
		t.Fatal(err)
	}
	w, err := b.world(worldSpec{records: 20_000, accounts: 200, format: "parquet"})
	if err != nil {
		t.Fatal(err)
	}
	if err := duckSettle([]string{"-in", w.dir, "-out", b.duckOut(), "-scratch", b.scratch}); err != nil {
		t.Fatal(err)
	}
	conn, err := openDuckDB(1, "", b.scratch)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := totals(conn, fmt.Sprintf(sqlLines, b.duckOut()))
	if err != nil || len(theirs) != 5 {
		t.Fatal(theirs, err)
	}
	dir := filepath.Join(w.dir, "settlements", "period=2026-10-01", "rev=1-1")
	if err := os.MkdirAll(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	for change, wrong := range map[string]bool{"quantity": false, "CASE rn WHEN 77 THEN quantity + 0.000004 ELSE quantity END": true} {
		lines := filepath.Join(dir, "lines-00.parquet")
		copied := `COPY (SELECT record_id, account, meter, CASE WHEN package_id IS NULL THEN 'excess' ELSE 'deduction' END AS kind,
			package_id AS package, (%s)::DECIMAL(38,9) AS quantity, amount::DECIMAL(38,9) AS amount
			FROM (SELECT *, row_number() OVER () AS rn FROM '%s')) TO '%s'`
		if _, err := conn.ExecContext(context.Background(), fmt.Sprintf(copied, change, b.duckOut(), lines)); err != nil {
			t.Fatal(err)
		}
		ours, err := totals(conn, fmt.Sprintf(drawdownLines, lines))
		if err != nil {
			t.Fatal(err)
		}
		if found := differences(ours, theirs); (len(found) > 0) != wrong {
			t.Errorf("quantity is %s: %v", change, found)
		}
	}
	for i := range theirs { // packages and excess both matter in this world
		if theirs[i].CoveredLines == 0 || theirs[i].ExcessLines == 0 {
			t.Errorf("%+v", theirs[i])
		}
	}
}

// TestMain lets the test binary be the child processes, too.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && strings.HasPrefix(os.Args[1], "duckdb-") {
		if err := run(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// TestDrawdownAndTheSQLAgreeOnEveryLine settles a small world by both programs: DuckDB opens drawdown's files, and every
// line of one is a line of the other.
func TestDrawdownAndTheSQLAgreeOnEveryLine(t *testing.T) {
	report := filepath.Join(t.TempDir(), "report.md")
	err := run([]string{
		"-cache", t.TempDir(), "-records", "20000", "-accounts", "500", "-repeat", "1", "-cores", "1", "-scale", "", "-one-pair", "",
		"-text-records", "0", "-notices=false", "-report", report,
	})
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(report)
	if err != nil || !strings.Contains(string(text), "drawdown") {
		t.Errorf("%s %v", text, err)
	}
}
