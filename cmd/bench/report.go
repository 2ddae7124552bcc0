package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
)

// report is Markdown, at most 100 columns wide.
type report struct{ strings.Builder }

func (r *report) line(format string, args ...any) { fmt.Fprintf(&r.Builder, format+"\n", args...) }

// table writes cells padded, so that it reads as well unrendered. The first column is text, the others are figures.
func (r *report) table(rows [][]string) {
	width := make([]int, len(rows[0]))
	for _, cells := range rows {
		for i, cell := range cells {
			width[i] = max(width[i], len([]rune(cell)), 3)
		}
	}
	for n, cells := range rows {
		for i, cell := range cells {
			pad := strings.Repeat(" ", width[i]-len([]rune(cell)))
			if i == 0 {
				r.WriteString("| " + cell + pad)
			} else {
				r.WriteString(" | " + pad + cell)
			}
		}
		r.WriteString(" |\n")
		if n == 0 {
			for i := range cells {
				if i == 0 {
					r.WriteString("|" + strings.Repeat("-", width[i]+2))
				} else {
					r.WriteString("|" + strings.Repeat("-", width[i]+1) + ":")
				}
			}
			r.WriteString("|\n")
		}
	}
	r.WriteString("\n")
}

// machine says where the figures are from.
func (b *bench) machine() error {
	version := "without DuckDB"
	if b.withDuckDB() {
		m, err := child(0, b.self, "duckdb-inspect")
		if err != nil {
			return err
		}
		var a duckAnswer
		if err := json.Unmarshal(m.stdout, &a); err != nil {
			return err
		}
		version = "DuckDB " + a.Version
	}
	b.out.line("%s, %s, %s; %s, %s; %s/%s. Medians of %d.", procField("/proc/cpuinfo", "model name", "unknown CPU"),
		coreCount(int64(runtime.NumCPU())), memory(), runtime.Version(), version, runtime.GOOS, runtime.GOARCH, b.repeat)
	b.out.line("")
	return nil
}

func procField(file, field, missing string) string {
	f, err := os.Open(file)
	if err != nil {
		return missing
	}
	defer f.Close()
	for scanner := bufio.NewScanner(f); scanner.Scan(); {
		if name, value, found := strings.Cut(scanner.Text(), ":"); found && strings.TrimSpace(name) == field {
			return strings.TrimSpace(value)
		}
	}
	return missing
}

func memory() string {
	var kilobytes int64
	if _, err := fmt.Sscan(procField("/proc/meminfo", "MemTotal", ""), &kilobytes); err != nil {
		return "unknown memory"
	}
	return fmt.Sprintf("%.0f GiB", float64(kilobytes)/(1<<20))
}

// pairing is what the paired runs gave.
type pairing struct {
	world     worldSummary
	accounts  int
	table     [][]string
	stages    []stageColumn
	agreement *agreement
}

type stageColumn struct {
	cores   int64
	summary settleSummary
}

func (p *pairing) add(cores int64, ours, theirs []measure, ratios []float64) {
	if p.table == nil {
		p.table = [][]string{{"", "cores", "time", "records/s", "CPU/record", "peak memory", "ratio"}}
	}
	line := func(name string, all []measure, ratio string) {
		if len(all) > 0 {
			p.table = append(p.table, append([]string{name, fmt.Sprint(cores)}, append(figures(p.world.Records, medians(all)), ratio)...))
		}
	}
	ratio := ""
	if len(ratios) > 0 {
		cpu := medians(ours).cpu.Seconds() / medians(theirs).cpu.Seconds()
		ratio = fmt.Sprintf("%.2f (CPU %.2f)", median(ratios, func(x float64) float64 { return x }), cpu)
	}
	line("drawdown settle", ours, ratio)
	line("DuckDB, SQL", theirs, "")
	if len(ours) > 0 {
		p.stages = append(p.stages, stageColumn{cores, parseSummary(medians(ours).stdout)})
	}
}

func figures(records int64, m measure) []string {
	return []string{
		fmt.Sprintf("%.2f s", m.wall.Seconds()),
		fmt.Sprintf("%.2fM", float64(records)/m.wall.Seconds()/1e6),
		fmt.Sprintf("%d ns", m.cpu.Nanoseconds()/records),
		fmt.Sprintf("%d MiB", m.peakRSS>>20),
	}
}

func (r *report) paired(p *pairing) {
	r.line("**%s records, %s accounts, %s packages, Parquet to Parquet**", count(p.world.Records), count(int64(p.accounts)), count(p.world.Packages))
	r.line("")
	r.table(p.table)
	r.stageTable(p)
	if a := p.agreement; a != nil {
		who := "The SQL's totals are those of the usage"
		if a.withDrawdown {
			who = "drawdown and the SQL agree on every line"
		}
		r.line("%s: %s records (%s duplicates", who, count(a.records), count(a.duplicatesFound))
		r.line("left out), %s lines, %s %% excess, %s to pay.", count(a.lines), a.excess, a.amount)
		r.line("")
	}
}

// stageTable shows what drawdown says of its stages, if it does.
func (r *report) stageTable(p *pairing) {
	if len(p.stages) == 0 || len(p.stages[0].summary.Stages) == 0 {
		return
	}
	rows := [][]string{{"stage"}}
	for _, s := range p.stages[0].summary.Stages {
		rows = append(rows, []string{s.Name})
	}
	for _, column := range p.stages {
		rows[0] = append(rows[0], coreCount(column.cores), "per record", "records/s")
		for i := range rows[1:] {
			cells := []string{"", "", ""}
			if i < len(column.summary.Stages) && column.summary.Stages[i].spent() > 0 {
				spent := column.summary.Stages[i].spent()
				cells[0] = fmt.Sprintf("%.2f s", time.Duration(spent).Seconds())
				cells[1] = fmt.Sprintf("%d ns", spent/p.world.Records)
				cells[2] = fmt.Sprintf("%.1fM", float64(p.world.Records)/float64(spent)*1e3)
			}
			rows[i+1] = append(rows[i+1], cells...)
		}
	}
	r.line("By stage: the time of all workers together, and what one of them does in a second.")
	r.line("Of payers with few records one in eight is timed.")
	r.line("")
	r.table(rows)
}

// row is a world that drawdown settled alone.
type row struct {
	name    string
	records int64
	measure
}

// rows writes runs that differ in one thing; each is compared with the first by its CPU time per record.
func (r *report) rows(title, what string, cores int64, rows []row) {
	if len(rows) == 0 {
		return
	}
	r.line("**%s, %s**", title, coreCount(cores))
	r.line("")
	table := [][]string{{what, "time", "records/s", "CPU/record", "peak memory", "cost"}}
	perRecord := func(row row) float64 { return row.cpu.Seconds() / float64(row.records) }
	for _, row := range rows {
		cost := fmt.Sprintf("%.2fx", perRecord(row)/perRecord(rows[0]))
		table = append(table, append(append([]string{row.name}, figures(row.records, row.measure)...), cost))
	}
	r.table(table)
}

func coreCount(n int64) string {
	if n == 1 {
		return "1 core"
	}
	return fmt.Sprintf("%d cores", n)
}

// count writes a number with its thousands apart.
func count(n int64) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
