// Command bench measures how fast drawdown settles, on worlds made by usagegen, against DuckDB settling the same files
// with SQL, and fails when the two do not agree on every line.
//
//	go run . -records 10000000
//
// Each run is a child process, pinned to the cores it may use; runs of the two programs take turns. The report is
// Markdown, fit for the README.
//
// It is a module of its own, because DuckDB needs cgo and drawdown does without.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run is also the entry of the child processes that have DuckDB in them.
func run(args []string) error {
	if len(args) > 0 {
		switch args[0] {
		case "duckdb-settle":
			return duckSettle(args[1:])
		case "duckdb-inspect":
			return duckInspect(args[1:])
		case "duckdb-compare":
			return duckCompare(args[1:])
		}
	}
	o, err := parseOptions(args)
	if err != nil {
		return err
	}
	b := &bench{options: o}
	defer b.cleanUp()
	return b.run()
}

// options are the flags.
type options struct {
	drawdown, usagegen string // binaries
	cache, report      string
	sql, memoryLimit   string
	settleArgs         []string
	accounts, repeat   int
	records            int64
	seed               uint64
	cores, onePair     []int64
	scale              []int64
	onePairRecords     int64
	textRecords        int64
	notices            bool
}

func parseOptions(args []string) (*options, error) {
	o := &options{}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&o.drawdown, "drawdown", "", "the drawdown binary; built from ../.. when not given, \"none\" for DuckDB alone")
	flags.StringVar(&o.usagegen, "usagegen", "", "the usagegen binary; built from ../.. when not given")
	flags.StringVar(&o.cache, "cache", filepath.Join(os.TempDir(), "drawdown-bench"), "folder that keeps worlds between runs")
	flags.StringVar(&o.report, "report", "", "file for the report, besides standard output")
	flags.StringVar(&o.sql, "sql", "", "DuckDB's program instead of the one built in; \"none\" leaves DuckDB out")
	flags.StringVar(&o.memoryLimit, "duckdb-memory", "", "DuckDB's memory limit, as 1100MiB; its own default when empty")
	settleArgs := flags.String("settle-args", "", "more arguments for drawdown settle, as \"--memory 512MiB\"")
	flags.Int64Var(&o.records, "records", 10_000_000, "records of the paired runs; 0 leaves them out")
	flags.IntVar(&o.accounts, "accounts", 100_000, "accounts")
	flags.Uint64Var(&o.seed, "seed", 1, "seed of the worlds")
	flags.IntVar(&o.repeat, "repeat", 3, "runs of each kind; medians are reported")
	cores := flags.String("cores", "1,2", "numbers of cores for the paired runs")
	scale := flags.String("scale", "1000000,10000000", "records of the scaling runs, as 1000000,10000000,100000000; empty leaves them out")
	onePair := flags.String("one-pair", "1,10,100,1000,10000", "packages on one account and meter; empty leaves these runs out")
	flags.Int64Var(&o.onePairRecords, "one-pair-records", 1_000_000, "records of the one-pair runs")
	flags.Int64Var(&o.textRecords, "text-records", 10_000_000, "records of the NDJSON.gz run; 0 leaves it out")
	flags.BoolVar(&o.notices, "notices", true, "also settle the world of -records with alerts, reminders and life cycle at their defaults")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("what is %q? there are only flags", flags.Arg(0))
	}
	o.settleArgs = strings.Fields(*settleArgs)
	for _, list := range []struct {
		name, text string
		to         *[]int64
	}{{"cores", *cores, &o.cores}, {"scale", *scale, &o.scale}, {"one-pair", *onePair, &o.onePair}} {
		var err error
		if *list.to, err = parseList(list.text); err != nil {
			return nil, fmt.Errorf("-%s: %w", list.name, err)
		}
	}
	if len(o.cores) == 0 {
		return nil, fmt.Errorf("-cores names none")
	}
	if o.repeat < 1 {
		return nil, fmt.Errorf("-repeat must be 1 or more")
	}
	return o, nil
}

func parseList(text string) ([]int64, error) {
	var list []int64
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' }) {
		n, err := strconv.ParseInt(word, 10, 64)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%q is not a number above 0", word)
		}
		list = append(list, n)
	}
	return list, nil
}
