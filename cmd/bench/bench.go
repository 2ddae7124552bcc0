package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// bench is one invocation: the programs, and what was measured so far.
type bench struct {
	*options
	self    string
	scratch string // removed in the end
	out     report
}

func (b *bench) cleanUp() {
	if b.scratch != "" {
		os.RemoveAll(b.scratch)
	}
}

func (b *bench) run() (err error) {
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	if err = os.MkdirAll(b.cache, 0o777); err != nil {
		return err
	}
	if b.scratch, err = os.MkdirTemp(b.cache, "scratch-"); err != nil {
		return err
	}
	if err = b.build(); err != nil {
		return err
	}
	if err = b.machine(); err != nil {
		return err
	}
	for _, part := range []func() error{b.paired, b.withNotices, b.scaling, b.onePackageOrMany, b.text} {
		if err = part(); err != nil {
			break
		}
	}
	// What was measured before a failure is worth reading too.
	text := b.out.String()
	fmt.Print(text)
	if b.report != "" {
		err = errors.Join(err, os.WriteFile(b.report, []byte(text), 0o666))
	}
	return err
}

func (b *bench) withDrawdown() bool { return b.drawdown != "none" }
func (b *bench) withDuckDB() bool   { return b.sql != "none" }

// build makes the programs that were not given, from the module around this one.
func (b *bench) build() error {
	for _, program := range []struct {
		path *string
		name string
	}{{&b.usagegen, "usagegen"}, {&b.drawdown, "drawdown"}} {
		if *program.path == "" {
			binary := filepath.Join(b.scratch, program.name)
			if _, err := child(0, "go", "-C", filepath.Join("..", ".."), "build", "-o", binary, "./cmd/"+program.name); err != nil {
				return err
			}
			*program.path = binary
		}
	}
	return nil
}

// progress goes to standard error: the report stands alone on standard output.
func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

// worldSpec says which world; worlds are kept in the cache under its name.
type worldSpec struct {
	records  int64
	accounts int
	onePair  int64
	format   string
	notices  bool
}

// world is a generated world.
type world struct {
	dir   string
	fresh string // copy of the state database with the catalog applied
	worldSummary
}

// worldSummary is what usagegen says of a world in world.json.
type worldSummary struct {
	Records    int64  `json:"records"`
	Duplicates int64  `json:"duplicates"`
	Packages   int64  `json:"packages"`
	Pairs      int64  `json:"pairs"`
	Now        string `json:"now"`
}

func (b *bench) world(s worldSpec) (*world, error) {
	name := fmt.Sprintf("%d-%d-%d-%s-notices=%t-seed=%d", s.records, s.accounts, s.onePair, s.format, s.notices, b.seed)
	w := &world{dir: filepath.Join(b.cache, name)}
	marker := filepath.Join(w.dir, "world.json")
	text, err := os.ReadFile(marker)
	if err != nil {
		progress("making world %s", name)
		if err := os.RemoveAll(w.dir); err != nil {
			return nil, err
		}
		_, err := child(0, b.usagegen, "--records", fmt.Sprint(s.records), "--accounts", fmt.Sprint(s.accounts),
			"--one-pair", fmt.Sprint(s.onePair), "--format", s.format, "--seed", fmt.Sprint(b.seed),
			fmt.Sprintf("--notices=%t", s.notices), "--out", w.dir)
		if err != nil {
			return nil, err
		}
		if text, err = os.ReadFile(marker); err != nil {
			return nil, err
		}
	}
	if err := json.Unmarshal(text, &w.worldSummary); err != nil {
		return nil, fmt.Errorf("%s: %w", marker, err)
	}
	return w, nil
}

// paired settles one world with both programs in turns, on each number of cores, and compares what came out.
func (b *bench) paired() error {
	if b.records == 0 {
		return nil
	}
	w, err := b.world(worldSpec{b.records, b.accounts, 0, "parquet", false})
	if err != nil {
		return err
	}
	var share shares
	var loops int64
	if b.withDuckDB() {
		if share, loops, err = b.inspect(w); err != nil {
			return err
		}
	}
	p := pairing{world: w.worldSummary, accounts: b.accounts}
	for _, cores := range b.cores {
		var ours, theirs []measure
		var ratios []float64
		for n := range b.repeat {
			progress("%d records on %d cores, round %d", w.Records, cores, n+1)
			if b.withDrawdown() {
				m, err := b.settle(w, cores)
				if err != nil {
					return err
				}
				ours = append(ours, m)
			}
			if b.withDuckDB() {
				m, err := b.duckDB(w, cores, loops)
				if err != nil {
					return err
				}
				theirs = append(theirs, m)
			}
			if b.withDrawdown() && b.withDuckDB() {
				ratios = append(ratios, ours[n].wall.Seconds()/theirs[n].wall.Seconds())
			}
		}
		p.add(cores, ours, theirs, ratios)
	}
	if b.withDuckDB() {
		p.agreement, err = b.compare(w, share)
	}
	b.out.paired(&p)
	return err
}

// withNotices settles the same usage where every notice is due that the defaults make due.
func (b *bench) withNotices() error {
	if b.records == 0 || !b.notices || !b.withDrawdown() {
		return nil
	}
	var rows []row
	for _, notices := range []bool{false, true} {
		name := "none due"
		if notices {
			name = "as by default"
		}
		r, err := b.settleWorld(name, worldSpec{b.records, b.accounts, 0, "parquet", notices}, b.most())
		if err != nil {
			return err
		}
		rows = append(rows, r)
	}
	b.out.rows("Alerts, reminders and the life cycle of packages", "notices", b.most(), rows)
	return nil
}

func (b *bench) scaling() error {
	var rows []row
	for _, records := range b.onlyOurs(b.scale) {
		r, err := b.settleWorld(count(records), worldSpec{records, b.accounts, 0, "parquet", false}, b.most())
		if err != nil {
			return err
		}
		rows = append(rows, r)
	}
	b.out.rows("From a small month to a large one", "records", b.most(), rows)
	return nil
}

func (b *bench) onePackageOrMany() error {
	var rows []row
	for _, packages := range b.onlyOurs(b.onePair) {
		r, err := b.settleWorld(count(packages), worldSpec{b.onePairRecords, 1, packages, "parquet", false}, 1)
		if err != nil {
			return err
		}
		rows = append(rows, r)
	}
	b.out.rows(count(b.onePairRecords)+" records of one account and meter", "packages", 1, rows)
	return nil
}

func (b *bench) text() error {
	if b.textRecords == 0 || !b.withDrawdown() {
		return nil
	}
	var rows []row
	for _, format := range []string{"parquet", "ndjson.gz"} {
		r, err := b.settleWorld(format, worldSpec{b.textRecords, b.accounts, 0, format, false}, 1)
		if err != nil {
			return err
		}
		rows = append(rows, r)
	}
	b.out.rows(count(b.textRecords)+" records from text", "format", 1, rows)
	return nil
}

func (b *bench) most() int64 { return slices.Max(b.cores) }

func (b *bench) onlyOurs(list []int64) []int64 {
	if !b.withDrawdown() {
		return nil
	}
	return list
}

// settleWorld gives the median of some runs of drawdown alone.
func (b *bench) settleWorld(name string, s worldSpec, cores int64) (row, error) {
	w, err := b.world(s)
	if err != nil {
		return row{}, err
	}
	var all []measure
	for n := range b.repeat {
		progress("%s, round %d", name, n+1)
		m, err := b.settle(w, cores)
		if err != nil {
			return row{}, err
		}
		all = append(all, m)
	}
	return row{name, w.Records, medians(all)}, os.RemoveAll(filepath.Join(w.dir, "settlements"))
}

// medians takes each figure's median by itself, and the output of the run with the median wall time.
func medians(all []measure) measure {
	byWall := slices.SortedFunc(slices.Values(all), func(a, b measure) int { return int(a.wall - b.wall) })
	m := byWall[len(all)/2]
	m.cpu = median(all, func(m measure) time.Duration { return m.cpu })
	m.peakRSS = median(all, func(m measure) int64 { return m.peakRSS })
	return m
}

func median[T any, N int64 | float64 | time.Duration](all []T, figure func(T) N) N {
	var figures []N
	for _, m := range all {
		figures = append(figures, figure(m))
	}
	slices.Sort(figures)
	return figures[len(figures)/2]
}
