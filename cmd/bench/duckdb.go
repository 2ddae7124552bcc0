package main

import (
	"context"
	"database/sql"
	_ "embed"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	_ "github.com/duckdb/duckdb-go/v2"
)

// settlementSQL settles the plain part: packages of one meter without reset, flat prices. It is exact, also where
// packages start or end inside the month.
//
//go:embed duckdb-settlement.sql
var settlementSQL string

// duckAnswer is what a child with DuckDB in it prints.
type duckAnswer struct {
	Version string
	Wall    time.Duration
	Loops   int64
	Shares  shares
	Totals  []meterTotals
	Wrong   []string
}

// shares are facts of a world, in DuckDB's words.
type shares struct {
	Records int64  // without duplicates
	Sum     string // of their quantities
}

// meterTotals are what both programs must agree on.
type meterTotals struct {
	Meter                               string
	Records, CoveredLines, ExcessLines  int64
	Covered, Excess, Amount, Used, Hash string
}

// openDuckDB opens a database in memory, on one connection so that its temporary tables are seen by all statements.
func openDuckDB(threads int64, memoryLimit, scratch string) (*sql.Conn, error) {
	db, err := sql.Open("duckdb", "")
	if err != nil {
		return nil, err
	}
	conn, err := db.Conn(context.Background())
	if err != nil {
		return nil, err
	}
	settings := []string{fmt.Sprintf("SET threads = %d", threads), fmt.Sprintf("SET temp_directory = '%s'", scratch)}
	if memoryLimit != "" {
		settings = append(settings, fmt.Sprintf("SET memory_limit = '%s'", memoryLimit))
	}
	for _, statement := range settings {
		if _, err := conn.ExecContext(context.Background(), statement); err != nil {
			return nil, fmt.Errorf("%s: %w", statement, err)
		}
	}
	return conn, nil
}

type duckFlags struct {
	in, out, sql, memoryLimit, scratch string
	threads, loops                     int64
}

func parseDuckFlags(args []string) (*duckFlags, error) {
	f := &duckFlags{}
	flags := flag.NewFlagSet("duckdb", flag.ContinueOnError)
	flags.StringVar(&f.in, "in", "", "the world")
	flags.StringVar(&f.out, "out", "", "file for the lines")
	flags.StringVar(&f.sql, "sql", "", "program")
	flags.StringVar(&f.memoryLimit, "memory", "", "memory limit")
	flags.StringVar(&f.scratch, "scratch", "", "folder to spill to")
	flags.Int64Var(&f.threads, "threads", 1, "threads")
	flags.Int64Var(&f.loops, "loops", 6, "repetitions of the looped part")
	return f, flags.Parse(args)
}

func printAnswer(a *duckAnswer) error { return json.NewEncoder(os.Stdout).Encode(a) }

// duckSettle runs in a child: the SQL on a world.
func duckSettle(args []string) error {
	f, err := parseDuckFlags(args)
	if err != nil {
		return err
	}
	program := settlementSQL
	if f.sql != "" {
		text, err := os.ReadFile(f.sql)
		if err != nil {
			return err
		}
		program = string(text)
	}
	statements, err := expand(program, f.loops, f.in, f.out)
	if err != nil {
		return err
	}
	conn, err := openDuckDB(f.threads, f.memoryLimit, f.scratch)
	if err != nil {
		return err
	}
	a := &duckAnswer{}
	start := time.Now()
	for _, statement := range statements {
		begin := time.Now()
		if _, err := conn.ExecContext(context.Background(), statement); err != nil {
			return fmt.Errorf("%w in\n%s", err, statement)
		}
		progress("%8.3f s  %.80s", time.Since(begin).Seconds(), strings.ReplaceAll(statement, "\n", " "))
	}
	a.Wall = time.Since(start)
	return printAnswer(a)
}

// expand makes statements of a program: the lines between "-- @loop N" and "-- @endloop" once for each {K} from 1 to N,
// where loops, if above 0, stands for the N that is written.
func expand(program string, loops int64, in, out string) ([]string, error) {
	var text, body strings.Builder
	var times int64
	for line := range strings.Lines(program) {
		switch words := strings.Fields(line); {
		case len(words) == 3 && words[0] == "--" && words[1] == "@loop":
			n, err := strconv.ParseInt(words[2], 10, 64)
			if err != nil || n < 1 {
				return nil, fmt.Errorf("%q does not say how often", strings.TrimSpace(line))
			}
			if times = n; loops > 0 {
				times = loops
			}
			body.Reset()
		case len(words) == 2 && words[0] == "--" && words[1] == "@endloop":
			for k := range times {
				text.WriteString(strings.ReplaceAll(body.String(), "{K}", strconv.FormatInt(k+1, 10)))
			}
			times = 0
		case times > 0:
			body.WriteString(line)
		default:
			text.WriteString(line)
		}
	}
	if times > 0 {
		return nil, fmt.Errorf("a @loop has no @endloop")
	}
	quote := func(path string) string { return strings.ReplaceAll(path, "'", "''") }
	whole := strings.NewReplacer("{IN}", quote(in), "{OUT}", quote(out)).Replace(text.String())
	var statements []string
	for statement := range strings.SplitSeq(whole, ";\n") {
		if statement = strings.TrimSpace(statement); statement != "" {
			statements = append(statements, statement)
		}
	}
	return statements, nil
}

// duckInspect runs in a child: what the usage of a world comes to, and how often the SQL must loop.
func duckInspect(args []string) error {
	f, err := parseDuckFlags(args)
	if err != nil {
		return err
	}
	conn, err := openDuckDB(f.threads, f.memoryLimit, f.scratch)
	if err != nil {
		return err
	}
	a := &duckAnswer{}
	ctx := context.Background()
	if err := conn.QueryRowContext(ctx, "SELECT version()").Scan(&a.Version); err != nil {
		return err
	}
	if f.in == "" {
		return printAnswer(a)
	}
	borders := `SELECT max(n) FROM (SELECT count(DISTINCT t) AS n FROM (
		SELECT account, meter, effective_time AS t FROM '%[1]s' UNION ALL SELECT account, meter, expiry_time FROM '%[1]s') GROUP BY account, meter)`
	if err := conn.QueryRowContext(ctx, fmt.Sprintf(borders, filepath.Join(f.in, "packages.parquet"))).Scan(&a.Loops); err != nil {
		return err
	}
	// A record's id is a random UUID, so that its first half is enough to tell records apart, in half the memory.
	usage := `SELECT count(*), sum(q)::VARCHAR FROM (SELECT any_value(quantity) AS q FROM read_parquet('%s') GROUP BY record_id::UUID)`
	err = conn.QueryRowContext(ctx, fmt.Sprintf(usage, filepath.Join(f.in, "usage", "*.parquet"))).Scan(&a.Shares.Records, &a.Shares.Sum)
	if err != nil {
		return err
	}
	return printAnswer(a)
}

func (b *bench) duckArgs(command string, w *world, args ...string) []string {
	all := []string{command, "-in", w.dir, "-memory", b.memoryLimit, "-scratch", b.scratch}
	return append(all, args...)
}

func (b *bench) duckOut() string { return filepath.Join(b.scratch, "duckdb.parquet") }

// duckDB settles a world with SQL. The time is that of the statements alone.
func (b *bench) duckDB(w *world, cores, loops int64) (measure, error) {
	args := b.duckArgs("duckdb-settle", w, "-out", b.duckOut(), "-sql", b.sql,
		"-threads", fmt.Sprint(cores), "-loops", fmt.Sprint(loops))
	m, err := child(cores, b.self, args...)
	if err != nil {
		return m, err
	}
	var a duckAnswer
	if err := json.Unmarshal(m.stdout, &a); err != nil {
		return m, err
	}
	m.wall = a.Wall
	return m, nil
}

func (b *bench) inspect(w *world) (shares, int64, error) {
	progress("inspecting %s", filepath.Base(w.dir))
	m, err := child(0, b.self, b.duckArgs("duckdb-inspect", w, "-threads", "2")...)
	if err != nil {
		return shares{}, 0, err
	}
	var a duckAnswer
	err = json.Unmarshal(m.stdout, &a)
	return a.Shares, a.Loops, err
}
