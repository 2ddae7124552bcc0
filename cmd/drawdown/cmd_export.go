package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"drawdown/rating"
	"drawdown/writers/export"
	"drawdown/writers/store"
)

// exportCmd writes files for finance.
type exportCmd struct {
	From     string   `required:"" placeholder:"D" help:"The first period: a date, or an instant."`
	To       string   `required:"" placeholder:"D" help:"Where the last period ends: a date (its first instant), or an instant."`
	Format   string   `required:"" enum:"csv,xlsx,parquet,statement,revenue,focus" placeholder:"F" help:"csv, xlsx or parquet: the tables as they are; statement: per payer and month; revenue: of packages, deferred and recognised; focus: FOCUS 1.2 rows."`
	Out      string   `required:"" placeholder:"DIR" help:"A folder for the files; none in it is overwritten."`
	As       string   `enum:"csv,xlsx,parquet" default:"csv" placeholder:"F" help:"The kind of file of a statement, revenue or FOCUS export: csv, xlsx or parquet (default: csv)."`
	Revision []string `placeholder:"PERIOD=N" help:"Take revision N of a period instead of its current one; may be repeated."`
	Provider string   `placeholder:"NAME" help:"Who provides and invoices, in FOCUS rows (default: the site's name)."`
}

// Help is the command's own help.
func (exportCmd) Help() string {
	return `Writes the settled periods from --from up to --to as files that finance takes as they are, each with a manifest beside it: rows, sums per meter and currency, the SHA-256, the periods with their revisions. Periods that are not closed yet are exported too, and marked provisional. Periods that are not settled are refused.

    drawdown export --from 2026-10-01 --to 2026-11-01 --format csv --out october
    drawdown export --from 2026-10-01 --to 2026-11-01 --format xlsx --out book

Of the finance formats (statement, revenue, focus) --as says which kind of file; --revision takes another revision than the current one:

    drawdown export --from 2026-10-01 --to 2026-11-01 --out october \
        --format revenue --as xlsx
    drawdown export --from 2026-10-01 --to 2026-11-01 --out before \
        --format csv --revision 2026-10-05=1`
}

// exportJob is what an export works on.
type exportJob struct {
	chosenPeriods
	command *exportCmd
	catalog *rating.Catalog
	writer  *export.Writer
	files   []*export.Manifest
}

func (k *exportCmd) Run(a *app) error {
	c, err := a.config()
	if err != nil {
		return err
	}
	j := &exportJob{chosenPeriods: chosenPeriods{app: a, op: "export", config: c, show: a.progress()}, command: k}
	if j.output, err = c.openOutput(a.ctx, a.memory(c)); err != nil {
		return &failure{op: "export", err: err}
	}
	defer j.output.Close()
	keepWithin(a.memory(c))
	if err := j.open(); err != nil {
		return err
	}
	err = j.run()
	j.show.done()
	if err != nil {
		return &failure{op: "export", err: errors.Join(err, j.writer.Discard()), hint: exportHint(err)}
	}
	if a.flags.JSON {
		return printJSON(a.stdout, struct {
			Files []*export.Manifest `json:"files"`
		}{j.files})
	}
	if !a.flags.Quiet {
		j.print()
	}
	return nil
}

// exportHint is what to do about an export that failed.
func exportHint(err error) string {
	if errors.Is(err, export.ErrExists) {
		return "name another folder in --out, or remove the file: an export overwrites nothing"
	}
	return ""
}

// open finds the periods, and what else is needed.
func (j *exportJob) open() (err error) {
	c, k, location := j.config, j.command, j.config.Settlement.TimeZone.Location
	if j.from, err = parseInstantFlag("--from", k.From, location); err != nil {
		return err
	}
	if j.to, err = parseInstantFlag("--to", k.To, location); err != nil {
		return err
	}
	history := k.Format == "revenue" || k.Format == "statement" || k.Format == "focus"
	if err := j.choose(k.Revision, history); err != nil {
		return err
	}
	if j.catalog, err = j.app.catalog(c); err != nil {
		return err
	}
	j.writer = &export.Writer{Dir: k.Out, TempDir: c.TempDir, Head: export.Manifest{
		Site: c.Site, Format: k.Format, From: j.periods[0].start().String(), To: j.periods[len(j.periods)-1].end().String(),
		TimeZone: c.Settlement.TimeZone.String(),
	}}
	for _, p := range j.periods {
		state := store.PeriodSettled
		if j.closed[p.name] {
			state = store.PeriodClosed
		} else {
			j.writer.Head.Provisional = true
		}
		j.writer.Head.Periods = append(j.writer.Head.Periods, export.Period{
			Name: p.name, Revision: p.manifest.Revision, State: state, ManifestSHA256: p.current.SHA256.String(),
		})
	}
	return nil
}

// run writes the files of the format.
func (j *exportJob) run() error {
	switch j.command.Format {
	case "statement":
		return j.statement()
	case "revenue":
		return j.revenue()
	case "focus":
		return j.focus()
	case "xlsx":
		return j.workbook()
	}
	j.countTables(j.tables())
	for _, t := range j.tables() {
		out, err := j.writer.Create(t.form.Name+"."+j.command.Format, t.form)
		if err != nil {
			return err
		}
		if err := errors.Join(j.write(out, 0, t), j.finish(out)); err != nil {
			return err
		}
	}
	return nil
}

func (j *exportJob) countTables(tables []exportTable) {
	for _, t := range tables {
		j.counts(j.periods, nil, t.form.Name)
	}
}

func (j *exportJob) workbook() error {
	tables := j.tables()
	j.countTables(tables)
	forms := make([]*export.Table, len(tables))
	for i := range tables {
		forms[i] = tables[i].form
	}
	out, err := j.writer.Create("settlement.xlsx", forms...)
	if err != nil {
		return err
	}
	for i := range tables {
		err = errors.Join(err, j.write(out, i, tables[i]))
	}
	return errors.Join(err, j.finish(out))
}

func (j *exportJob) finish(out *export.Out) error {
	m, err := out.Finish()
	if err == nil {
		j.files = append(j.files, m)
		err = j.checkTotals(m)
	}
	return err
}

func (j *exportJob) print() {
	t := table{columns: []column{{"file", ident}, {"table", fixed}, {"rows", right}, {"sum of", fixed}, {"", decimal}, {"", left}}}
	for _, m := range j.files {
		for i := range m.Tables {
			name, rows := m.File, groupedInt(m.Tables[i].Rows)
			for _, sum := range m.Tables[i].Sums {
				t.row(name, m.Tables[i].Name, rows, sum.Column, grouped(sum.Sum.String()), sum.Of)
				name, rows = "", ""
			}
			if name != "" {
				t.row(name, m.Tables[i].Name, rows, "", "", "")
			}
		}
	}
	t.print(j.app.stdout, j.app.ink)
	j.app.say("\n%s in %s, each with a manifest beside it.", counted(int64(len(j.files)), "file", "files"), filepath.Clean(j.command.Out))
	if open := len(j.periods) - j.countClosed(); open > 0 {
		j.app.say("Provisional: %s not closed yet.", counted(int64(open), "period is", "periods are"))
	}
}

func (j *exportJob) countClosed() int {
	closed := 0
	for _, p := range j.periods {
		if j.closed[p.name] {
			closed++
		}
	}
	return closed
}

// parseRevisions reads PERIOD=N.
func parseRevisions(flags []string) (map[string]int, error) {
	revisions := map[string]int{}
	for _, flag := range flags {
		name, number, found := strings.Cut(flag, "=")
		n, err := strconv.Atoi(number)
		if !found || err != nil || n < 1 {
			return nil, &failure{op: "read --revision", err: fmt.Errorf("%q names no revision of a period", flag), code: exitUsage, hint: "write it as 2026-10-05=1"}
		}
		revisions[name] = n
	}
	return revisions, nil
}
