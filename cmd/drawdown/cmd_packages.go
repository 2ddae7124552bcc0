package main

import (
	"errors"
	"fmt"

	"drawdown/rating"
	"drawdown/writers/settlement"
	"drawdown/writers/store"
)

// packagesCmd shows packages as the newest settled period left them.
type packagesCmd struct {
	Account  string `placeholder:"A" help:"Only packages of this account."`
	At       string `placeholder:"T" help:"As of the last period that was settled by T: a date, or an instant."`
	Revision int    `placeholder:"N" help:"By this revision of that period (default: the current one)."`
}

// Help is the command's own help.
func (packagesCmd) Help() string {
	return `What remains is as of the end of the newest settled period; usage after it is not in it yet. With --at or --revision, all else is as the catalog was when that was settled.

    drawdown packages
    drawdown packages --account acme
    drawdown packages --at 2026-10-03
    drawdown packages --at 2026-10-03 --revision 1`
}

// packageView is one package as it stands.
type packageView struct {
	Package    string `json:"package"`
	Account    string `json:"account"`
	Name       string `json:"name"`
	Unit       string `json:"unit"`
	Kind       string `json:"kind"`
	Quota      string `json:"quota"`
	Remaining  string `json:"remaining"`
	CycleStart string `json:"cycle_start"`
	CycleEnd   string `json:"cycle_end"`
	Expires    string `json:"expires"`
	State      string `json:"state"`

	quota, remaining rating.Amount
	cycleEnd, ends   rating.Instant
	reset            bool
	unit             string // with the cycle
	owner            *rating.Account
}

func (k *packagesCmd) Run(a *app) error {
	c, err := a.config()
	if err != nil {
		return err
	}
	by := rating.Never
	if k.At != "" {
		if by, err = parseInstantFlag("--at", k.At, c.Settlement.TimeZone.Location); err != nil {
			return err
		}
	}
	out, err := c.openOutput(a.ctx, c.Memory)
	if err != nil {
		return &failure{op: "packages", err: err}
	}
	defer out.Close()
	p, err := settledBy(out, "packages", by)
	if err == nil && k.Revision > 0 {
		p, err = a.anotherRevision(c, p, k.Revision)
	}
	if err != nil {
		return err
	}
	compiled, err := k.catalog(a, c, p)
	if err != nil {
		return err
	}
	if _, known := compiled.AccountIndex([]byte(k.Account)); !known && k.Account != "" {
		return &failure{op: "packages", err: fmt.Errorf("there is no account %q", k.Account), code: exitUsage, hint: "`drawdown catalog show` lists them"}
	}
	views, err := packageViews(p, compiled, k.Account)
	if err != nil {
		return &failure{op: "packages", err: err}
	}
	if a.flags.JSON {
		return printJSON(a.stdout, struct {
			AsOf     string        `json:"as_of"`
			Revision int           `json:"revision"`
			Packages []packageView `json:"packages"`
		}{p.end().String(), p.current.Revision, append([]packageView{}, views...)})
	}
	a.printPackages(views)
	as := moment(p.end(), c.Settlement.TimeZone.Location) + " " + c.Settlement.TimeZone.String()
	if k.Revision > 0 {
		as += fmt.Sprintf(", by revision %d", k.Revision)
	}
	a.say("\nAs of %s.", as)
	return nil
}

// catalog gives today's catalog, or of a past that was asked for the one that it was settled with.
func (k *packagesCmd) catalog(a *app, c *Config, p *published) (compiled *rating.Catalog, err error) {
	if k.At == "" && k.Revision == 0 {
		return a.catalog(c)
	}
	err = a.reading(c, func(st *store.Store) error {
		kept, err := a.keptCatalog(a.ctx, c, st, hash32(p.manifest.CatalogSHA256))
		if err == nil {
			compiled = kept.Catalog
		}
		return err
	})
	switch {
	case errors.Is(err, store.ErrNotKept):
		fmt.Fprintln(a.stderr, "Names and times are of today's catalog: the one of then was not kept, since an older drawdown settled that period.")
		return a.catalog(c)
	case err != nil:
		return nil, &failure{op: "load catalog", err: err}
	}
	return compiled, nil
}

// anotherRevision opens a revision of a period by its number.
func (a *app) anotherRevision(c *Config, p *published, number int) (other *published, err error) {
	start, err := rating.ParseInstant([]byte(p.manifest.Period.Start))
	if err != nil {
		return nil, &failure{op: "read manifest", err: err}
	}
	err = a.reading(c, func(st *store.Store) error {
		r, err := revisionOf(a.ctx, st, start, number)
		if unknown := (*unknownRevision)(nil); errors.As(err, &unknown) {
			return &failure{op: "packages", err: unknown, code: exitUsage}
		}
		if err == nil {
			other, err = openPublished(p.output, r.PeriodName, settlement.Current{Revision: r.Revision, Manifest: r.ManifestKey})
		}
		return err
	})
	return other, err
}

// packageViews gives the packages of an account, or of all: the last cycle that a period has of each.
func packageViews(p *published, c *rating.Catalog, account string) ([]packageView, error) {
	rows, err := p.balances()
	if err != nil {
		return nil, err
	}
	var views []packageView
	for _, row := range rows {
		if account != "" && row.Account != account {
			continue
		}
		v := packageView{
			Package: row.Package, Account: row.Account, State: row.State, Quota: row.Quota.String(), Remaining: row.Closing.String(),
			CycleStart: row.CycleStart.String(), CycleEnd: row.CycleEnd.String(),
			quota: row.Quota, remaining: row.Closing, cycleEnd: row.CycleEnd,
		}
		if i, known := c.PackageIndex(row.Package); known {
			v.describe(c, &c.Packages[i], p.end())
		}
		if n := len(views); n > 0 && views[n-1].Package == v.Package {
			views[n-1] = v
			continue
		}
		views = append(views, v)
	}
	return views, nil
}

// describe adds what the catalog knows of a package.
func (v *packageView) describe(c *rating.Catalog, pkg *rating.Package, by rating.Instant) {
	v.Name, v.Unit, v.Kind, v.reset, v.unit = pkg.Name, pkg.Unit, kindNames[pkg.Kind], pkg.Reset != rating.NoReset, unitPerCycle(pkg)
	v.ends, v.owner = expiryOf(pkg, by), &c.Accounts[pkg.Account]
	v.Expires = v.ends.String()
}

// expiryOf is when a package expires, by what had happened to it by an instant.
func expiryOf(pkg *rating.Package, by rating.Instant) rating.Instant {
	expires := pkg.Expires
	for _, change := range pkg.Changes {
		if change.At <= by && (change.Kind == rating.Renewed || change.Kind == rating.Extended) {
			expires = change.Expires
		}
	}
	return expires
}

// printPackages writes two lines for each package, the second one with what concerns time.
func (a *app) printPackages(views []packageView) {
	t := table{columns: []column{
		{"package", ident}, {"remaining", decimal}, {"", fixed}, {"quota", decimal}, {"unit", left}, {"state", fixed},
	}}
	for i := range views {
		v := &views[i]
		t.row(v.Package, amount(v.remaining), a.ink.bar(v.remaining, v.quota), amount(v.quota), v.unit, a.ink.state(v.State))
		t.note(v.times())
	}
	t.print(a.stdout, a.ink)
}

// times says whose a package is, and when its cycle and it itself end.
func (v *packageView) times() string {
	text := v.Account
	if v.owner == nil {
		return text + ", no longer in the catalog"
	}
	if v.reset && v.cycleEnd < v.ends {
		text += ", cycle ends " + end(v.cycleEnd, v.owner.Zone)
	}
	return text + ", expires " + end(v.ends, v.owner.Zone)
}

// state colours what needs a look.
func (k ink) state(state string) string {
	switch state {
	case "exhausted", "expired", "released", "revoked":
		return k.red(state)
	case "grace", "retention":
		return k.yellow(state)
	}
	return state
}
