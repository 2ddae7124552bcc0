package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"drawdown/jobs/shuffle"
	"drawdown/rating"
	"drawdown/writers/page"
)

// reportCmd writes a page to look at.
type reportCmd struct {
	From    string   `placeholder:"D" help:"The first period: a date, or an instant (default: the first one of the month of the newest settled period)."`
	To      string   `placeholder:"D" help:"Where the last period ends: a date (its first instant), or an instant (default: where the newest settled one ends)."`
	Account *string  `placeholder:"A" help:"The page for a customer: this account, and those that it pays for."`
	Package []string `placeholder:"P" help:"Show the burn-down of this package, instead of those worth a look; may be repeated."`
	Out     string   `placeholder:"FILE" help:"Where the page goes; - is standard output (default: report.html, with --json nowhere)."`
}

// Help is the command's own help.
func (reportCmd) Help() string {
	return `Writes a range of settled periods as one HTML page that needs nothing else: money and usage by day and meter, packages by state, burn-downs, the largest payers, what late usage and backfills changed, quarantine with samples, and a balance that one can check with a pocket calculator. It can be printed, and read in the dark, on a phone and by a screen reader.

With --account it is a page for that customer: packages with what is left, when each runs out if it is used on as in the last 14 days, and charges.

Only settled periods are told of; those that are not closed yet are marked provisional. A report that drawdown wrote is replaced, and no other file. Nothing else is written, and no lease is taken.

    drawdown report
    drawdown report --from 2026-10-01 --to 2026-11-01 --out october.html
    drawdown report --account acme --out acme.html
    drawdown report --package acme-sms --package globex-daily`
}

// reportJob is what a report is gathered by.
type reportJob struct {
	chosenPeriods
	command *reportCmd
	catalog *rating.Catalog
	days    reportDays
	first   int                    // of periods, from which on the page tells; those before are read for the forecast alone
	cut     int                    // into how many shards
	shards  map[int]bool           // that are read; nil: all
	only    map[string]bool        // accounts that are told of; nil: all
	payer   string                 // theirs
	fault   error                  // of an addition
	found   map[string]*packageSum // by package
	burns   map[string]*burnGather // by package

	blockStarts []rating.Instant // of the days that a forecast is made from, the newest first; nil: there is none
}

func (k *reportCmd) Run(a *app) (err error) {
	c, err := a.config()
	if err != nil {
		return err
	}
	j := &reportJob{chosenPeriods: chosenPeriods{app: a, op: "report", config: c, show: a.progress()}, command: k}
	if j.output, err = c.openOutput(a.ctx, a.memory(c)); err != nil {
		return &failure{op: "report", err: err}
	}
	defer func() { err = errors.Join(err, j.output.Close()) }()
	name, err := k.place(a.flags.JSON)
	if err != nil {
		return err
	}
	keepWithin(a.memory(c))
	if err := j.open(); err != nil {
		return err
	}
	report, err := j.gather()
	j.show.done()
	if err != nil {
		var known *failure
		if errors.As(err, &known) {
			return err
		}
		return &failure{op: "report", err: err}
	}
	if err := writePage(a, report, name); err != nil {
		return err
	}
	if a.flags.JSON {
		return printJSON(a.stdout, report)
	}
	return nil
}

// writtenPage is a page of either kind.
type writtenPage interface {
	Write(w io.Writer) error
}

// gather gathers the page that was asked for.
func (j *reportJob) gather() (writtenPage, error) {
	if j.command.Account != nil {
		j.counts(j.periods, j.shards, "lines", "balances")
		return j.account()
	}
	j.counts(j.periods, nil, "lines", "balances", "charges")
	return j.overview()
}

// place says where the page goes, before anything is read for it; empty: nowhere, - is standard output.
func (k *reportCmd) place(json bool) (string, error) {
	name := k.Out
	switch {
	case name == "-" && json:
		return "", &failure{op: "report", err: errors.New("--out - and --json both want standard output"), code: exitUsage, hint: "name a file in --out"}
	case name == "-" || name == "" && json:
		return name, nil
	case name == "":
		name = "report.html"
	}
	if _, err := os.Stat(filepath.Dir(name)); err != nil {
		return "", &failure{op: "report", err: err, hint: "name a folder that exists in --out"}
	}
	return name, ownPage(name)
}

// writePage puts the page in its place, whole or not at all.
func writePage(a *app, report writtenPage, name string) error {
	switch name {
	case "-":
		return report.Write(a.stdout)
	case "":
		return nil
	}
	file, err := os.CreateTemp(filepath.Dir(name), ".drawdown-report-*")
	if err != nil {
		return &failure{op: "report", err: err, hint: "name a folder that exists in --out"}
	}
	err = errors.Join(report.Write(file), file.Chmod(0o644), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), name)
	}
	if err != nil {
		return &failure{op: "report", err: errors.Join(err, os.Remove(file.Name()))}
	}
	a.say("Written: %s", filepath.Clean(name))
	return nil
}

// ownPage refuses to replace a file that is no report.
func ownPage(name string) error {
	file, err := os.Open(name)
	if isMissing(err) {
		return nil
	}
	if err != nil {
		return &failure{op: "report", err: err}
	}
	defer file.Close()
	beginning := make([]byte, 1024)
	n, err := io.ReadFull(file, beginning)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return &failure{op: "report", err: err}
	}
	if !bytes.Contains(beginning[:n], []byte(page.Mark)) {
		return &failure{op: "report", err: fmt.Errorf("%s is there already, and is no report", name), hint: "name another file in --out: only a report is replaced"}
	}
	return nil
}

// open finds the periods, the accounts, and the days of the page.
func (j *reportJob) open() error {
	newest, err := settledBy(j.output, "report", rating.Never)
	if err != nil {
		return err
	}
	j.cut = len(newest.manifest.ClosingSHA256)
	from, err := j.bounds(newest)
	if err != nil {
		return err
	}
	if j.catalog, err = j.app.catalog(j.config); err != nil {
		return err
	}
	if err := j.chooseAccounts(); err != nil {
		return err
	}
	if err := j.choose(nil, false); err != nil {
		return err
	}
	for j.first < len(j.periods) && j.periods[j.first].start() < from {
		j.first++
	}
	j.from = from
	j.days = daysOf(from, j.to, j.config.Settlement.TimeZone.Location)
	return nil
}

// bounds reads --from and --to. Periods are chosen from two weeks before the end on, where a forecast is wanted.
func (j *reportJob) bounds(newest *published) (from rating.Instant, err error) {
	c, location := j.config, j.config.Settlement.TimeZone.Location
	j.to = newest.end()
	if j.command.To != "" {
		if j.to, err = parseInstantFlag("--to", j.command.To, location); err != nil {
			return 0, err
		}
	}
	from = max(c.Start, rating.PeriodAt(rating.Monthly, location, j.to-1).Start)
	if j.command.From != "" {
		if from, err = parseInstantFlag("--from", j.command.From, location); err != nil {
			return 0, err
		}
	}
	j.from = from
	unit := rating.PeriodUnit(c.Settlement.Period)
	whole := rating.PeriodAt(unit, location, from).Start == from && rating.PeriodAt(unit, location, j.to).Start == j.to
	if whole && from >= c.Start && from < j.to && j.command.Account != nil {
		back := rating.PeriodAt(unit, location, rating.InstantOf(j.to.Time().In(location).AddDate(0, 0, -forecastBlocks)))
		j.from = min(from, max(c.Start, back.Start))
	}
	return from, nil
}

// chooseAccounts finds whom the page is about: a payer with all that it pays for, or one account.
func (j *reportJob) chooseAccounts() error {
	for _, pkg := range j.command.Package {
		if _, known := j.catalog.PackageIndex(pkg); !known {
			return &failure{op: "report", err: fmt.Errorf("there is no package %q", pkg), code: exitUsage, hint: "`drawdown packages` lists them"}
		}
	}
	if j.command.Account == nil {
		return nil
	}
	id := *j.command.Account // an empty one is none that there is: a page for a customer never becomes the page about all
	index, known := j.catalog.AccountIndex([]byte(id))
	if !known {
		return &failure{op: "report", err: fmt.Errorf("there is no account %q", id), code: exitUsage, hint: "`drawdown catalog show` lists them"}
	}
	j.only = map[string]bool{id: true}
	payer := j.catalog.Accounts[index].Payer
	if payer == index {
		for _, member := range j.catalog.Members(payer) {
			j.only[j.catalog.Accounts[member].ID] = true
		}
	}
	for _, pkg := range j.command.Package {
		if owner := j.catalog.Accounts[j.packageOf(pkg).Account].ID; !j.only[owner] {
			return &failure{op: "report", err: fmt.Errorf("package %q is not of account %q, or of one that it pays for", pkg, id), code: exitUsage, hint: fmt.Sprintf("`drawdown packages --account %s` lists them", id)}
		}
	}
	j.payer = j.catalog.Accounts[payer].ID
	j.shards = map[int]bool{}
	for account := range j.only {
		j.shards[j.shardOf(account)] = true
	}
	j.shards[j.shardOf(j.payer)] = true
	return nil
}

func (j *reportJob) shardOf(payer string) int { return shuffle.ShardOf(payer, j.cut) }

// tells says whether the page is about an account's rows: those that its payer of today paid, or it itself.
func (j *reportJob) tells(payer, account string) bool {
	return j.only == nil || j.only[account] && (payer == j.payer || payer == account)
}
