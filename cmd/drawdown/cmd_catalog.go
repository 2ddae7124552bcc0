package main

import (
	"errors"
	"fmt"
	"strings"

	"drawdown/rating"
	"drawdown/readers/catalog"
	"drawdown/writers/store"
)

// catalogCmd is about the catalog.
type catalogCmd struct {
	Check catalogCheckCmd `cmd:"" help:"Check catalog files; say all faults at once, each with file and line."`
	Apply catalogApplyCmd `cmd:"" help:"Put catalog files into the database: all of them, or nothing."`
	Show  catalogShowCmd  `cmd:"" help:"Show the catalog."`
}

// catalogCheckCmd checks catalog files.
type catalogCheckCmd struct {
	Files []string `arg:"" optional:"" name:"FILE" help:"Files or folders (default: the configuration's catalog)."`
}

// Help is the command's own help.
func (catalogCheckCmd) Help() string {
	return `Every fault is reported with file, line, the rule's number in docs/rules.md, and what to write instead. Where the configuration's state has settled periods, an edit that contradicts them is a fault too. Nothing is changed.

    drawdown catalog check catalog.yaml packages.csv
    drawdown catalog check ./catalog`
}

func (k *catalogCheckCmd) Run(a *app) error {
	c, paths, err := a.catalogPaths(k.Files)
	if err != nil {
		return err
	}
	compiled, source, err := c.catalogFiles(paths...)
	if err != nil {
		return err
	}
	settled, err := a.checkApplied(c, source)
	if err != nil {
		return err
	}
	if a.flags.JSON {
		return printJSON(a.stdout, catalogSummaryJSON(compiled, source, settled))
	}
	a.say("%s", wrapped(a.ink.green("No fault:")+" "+catalogSummary(compiled, source)+".", 2))
	a.printReach(settled)
	return nil
}

// checkApplied checks files together with what the database has of the catalog and of settled periods, if there is one.
func (a *app) checkApplied(c *Config, source *catalog.Source) (settled *reach, err error) {
	err = a.reading(c, func(st *store.Store) error {
		compiled, plan, err := a.planCatalog(c, st, source)
		if err == nil {
			err = a.checkSettled(st, source, plan.Merged, compiled)
		}
		if err == nil {
			settled, err = a.reachOf(c, st, plan, compiled)
		}
		return err
	})
	if errors.Is(err, store.ErrEmpty) {
		return &reach{}, nil
	}
	return settled, err
}

// catalogPaths gives the files that were named, or the configuration's, and the configuration; without one, a default.
func (a *app) catalogPaths(named []string) (*Config, []string, error) {
	c, err := a.config()
	if err != nil && len(named) > 0 && a.flags.Config == "drawdown.yaml" && isMissing(err) {
		return defaultConfig(), named, nil
	}
	if err != nil || len(named) > 0 {
		return c, named, err
	}
	if c.Catalog == "" {
		return nil, nil, &failure{
			op: "find catalog", err: fmt.Errorf("no file is named, and %s has no catalog", a.flags.Config), code: exitUsage,
			hint: "name the files, as in `drawdown catalog check catalog.yaml`",
		}
	}
	return c, []string{c.Catalog}, nil
}

func catalogSummary(c *rating.Catalog, source *catalog.Source) string {
	return fmt.Sprintf("%s, %s, %s, %s in %s", counted(int64(len(c.Accounts)), "account", "accounts"), counted(int64(len(c.Meters)), "meter", "meters"),
		counted(int64(len(c.Prices)), "price", "prices"), counted(int64(len(c.Packages)), "package", "packages"), counted(int64(len(source.Files)), "file", "files"))
}

func catalogSummaryJSON(c *rating.Catalog, source *catalog.Source, settled *reach) any {
	hash := sourceHash(source)
	return struct {
		Accounts int    `json:"accounts"`
		Meters   int    `json:"meters"`
		Prices   int    `json:"prices"`
		Packages int    `json:"packages"`
		Changes  int    `json:"package_changes"`
		Rules    int    `json:"alert_rules"`
		TopUps   int    `json:"topups"`
		Files    int    `json:"files"`
		SHA256   string `json:"sha256"`
		reachJSON
	}{
		len(c.Accounts), len(c.Meters), len(c.Prices), len(c.Packages), len(source.Draft.Changes), len(source.Draft.Rules),
		len(c.TopUps), len(source.Files), fmt.Sprintf("%x", hash), settled.json(),
	}
}

// catalogApplyCmd puts catalog files into the database.
type catalogApplyCmd struct {
	Files  []string `arg:"" name:"FILE" help:"Files or folders."`
	DryRun bool     `help:"Show what would change, and change nothing."`
}

// Help is the command's own help.
func (catalogApplyCmd) Help() string {
	return `The rows are added to the database's catalog, or replace those of the same id; rows that the files do not name stay. What changes is printed. Settle does the same with the catalog that drawdown.yaml names, before each run.

    drawdown catalog apply catalog.yaml
    drawdown catalog apply --dry-run ./catalog

What reaches into periods that are settled (a price corrected, a package revoked in the past) is applied, and reported with those periods and the backfill that would settle them again; it ends with exit code 3 then.`
}

func (k *catalogApplyCmd) Run(a *app) error {
	c, err := a.config()
	if err != nil {
		return err
	}
	source, err := catalog.Read(k.Files...)
	if err != nil {
		return &failure{op: "read catalog", err: err, code: exitUsage}
	}
	st, err := store.Open(a.ctx, c.State, store.ReadWrite)
	if err != nil {
		return &failure{op: "open state", err: err}
	}
	err = a.applyCatalog(c, st, source, k.DryRun)
	return errors.Join(err, st.Close())
}

// applyCatalog prints what applying files changes, and changes it, unless it is a dry run.
func (a *app) applyCatalog(c *Config, st *store.Store, source *catalog.Source, dryRun bool) error {
	compiled, plan, err := a.planCatalog(c, st, source)
	if err == nil {
		err = a.checkSettled(st, source, plan.Merged, compiled)
	}
	if err != nil {
		return err
	}
	settled, err := a.reachOf(c, st, plan, compiled)
	if err == nil && !dryRun {
		form := c.catalogForm()
		form.Anew = true
		_, err = st.ApplyCatalog(a.ctx, plan, form)
	}
	if err != nil {
		return &failure{op: "apply catalog", err: err}
	}
	if a.flags.JSON {
		err = printJSON(a.stdout, planJSON(plan, settled, dryRun))
	} else {
		a.printPlan(plan, dryRun)
		a.printReach(settled)
		if err = a.adviseShards(c, st, len(compiled.Accounts)); err != nil {
			err = &failure{op: "look for what is settled, after the catalog was taken", err: err}
		}
	}
	if err != nil || dryRun || settled.from == "" {
		return err
	}
	n := int64(len(settled.rows))
	return &waiting{"catalog apply", "done, but " + counted(n, "row reaches", "rows reach") + " into what is settled; `" + settled.backfill() + "` settles it again"}
}

// From so many accounts on, more shards than these are worth their files.
const manyAccounts, fewShards = 100_000, 16

// adviseShards tells of a choice while it can still be made.
func (a *app) adviseShards(c *Config, st *store.Store, accounts int) error {
	if accounts < manyAccounts || c.Settlement.Shards > fewShards {
		return nil
	}
	last, err := st.SettledBefore(a.ctx, rating.Never)
	if err != nil || last != nil {
		return err
	}
	a.say("%s", wrapped(fmt.Sprintf("settlement.shards is %d, and stays so once a period is settled. With %s accounts, 64 at least halve what a correction for one of them costs.",
		c.Settlement.Shards, groupedInt(int64(accounts))), 2))
	return nil
}

// plannedRows is how many rows of a kind of change a person is shown.
const plannedRows = 50

func (a *app) printPlan(plan *store.CatalogPlan, dryRun bool) {
	for _, row := range plan.Added[:min(len(plan.Added), plannedRows)] {
		a.say("%s", wrapped(a.ink.green("+")+" "+string(row.Kind)+" "+row.Key, 2))
	}
	if more := len(plan.Added) - plannedRows; more > 0 {
		a.say("  ... and %s more; --json lists them all", groupedInt(int64(more)))
	}
	for _, row := range plan.Changed[:min(len(plan.Changed), plannedRows)] {
		a.say("%s", wrapped(a.ink.yellow("~")+" "+string(row.Kind)+" "+row.Key, 2))
		for _, f := range row.Fields {
			a.say("    %s", wrapped(f.Field+": "+orNothing(f.Old)+" -> "+orNothing(f.New), 6))
		}
	}
	if more := len(plan.Changed) - plannedRows; more > 0 {
		a.say("  ... and %s more changed; --json lists them all", groupedInt(int64(more)))
	}
	does := "Applied"
	if dryRun {
		does = "Would apply"
	}
	a.say("%s", wrapped(fmt.Sprintf("%s: %s added, %s changed, %s the same; %s of the database stay as they are.", does, groupedInt(int64(len(plan.Added))),
		groupedInt(int64(len(plan.Changed))), groupedInt(int64(plan.Unchanged)), groupedInt(int64(len(plan.Kept)))), 2))
}

// orNothing writes a field that was left out.
func orNothing(value string) string {
	if value == "" {
		return "(nothing)"
	}
	return value
}

type planRowJSON struct {
	Kind   string      `json:"kind"`
	Key    string      `json:"key"`
	Fields []fieldJSON `json:"fields,omitempty"`
}

type fieldJSON struct {
	Field string `json:"field"`
	Old   string `json:"old"`
	New   string `json:"new"`
}

func planJSON(plan *store.CatalogPlan, settled *reach, dryRun bool) any {
	out := struct {
		DryRun    bool          `json:"dry_run"`
		Added     []planRowJSON `json:"added"`
		Changed   []planRowJSON `json:"changed"`
		Unchanged int           `json:"unchanged"`
		Kept      int           `json:"kept"`
		reachJSON
	}{dryRun, []planRowJSON{}, []planRowJSON{}, plan.Unchanged, len(plan.Kept), settled.json()}
	for _, row := range plan.Added {
		out.Added = append(out.Added, planRowJSON{Kind: string(row.Kind), Key: row.Key})
	}
	for _, row := range plan.Changed {
		changed := planRowJSON{Kind: string(row.Kind), Key: row.Key}
		for _, f := range row.Fields {
			changed.Fields = append(changed.Fields, fieldJSON(f))
		}
		out.Changed = append(out.Changed, changed)
	}
	return out
}

// catalogShowCmd shows the catalog.
type catalogShowCmd struct {
	Files    []string `arg:"" optional:"" name:"FILE" help:"Files or folders (default: the catalog that settle uses)."`
	Period   string   `placeholder:"P" xor:"past" help:"The catalog that this period was settled with."`
	Revision int      `placeholder:"N" help:"With --period: by this revision (default: the current one)."`
	RunID    int64    `name:"run" placeholder:"N" xor:"past" help:"The catalog that this run used."`
}

// Help is the command's own help.
func (catalogShowCmd) Help() string {
	return `Without files, it is the catalog that the next settle would use. That of each settlement is kept, too.

    drawdown catalog show
    drawdown catalog show --period 2026-10-03
    drawdown catalog show --period 2026-10-03 --revision 1`
}

func (k *catalogShowCmd) Run(a *app) error {
	var compiled *rating.Catalog
	c, err := a.config()
	switch {
	case err == nil && (k.Period != "" || k.RunID != 0):
		compiled, err = k.kept(a, c)
	case len(k.Files) > 0:
		var paths []string
		if c, paths, err = a.catalogPaths(k.Files); err == nil {
			compiled, _, err = c.catalogFiles(paths...)
		}
	case err == nil:
		compiled, err = a.catalog(c)
	}
	if err != nil {
		return err
	}
	if a.flags.JSON {
		return printJSON(a.stdout, catalogJSON(compiled))
	}
	a.showCatalog(compiled)
	return nil
}

// kept gives the catalog that something was settled with.
func (k *catalogShowCmd) kept(a *app, c *Config) (compiled *rating.Catalog, err error) {
	err = a.reading(c, func(st *store.Store) error {
		revisions, err := st.AllRevisions(a.ctx)
		if err != nil {
			return &failure{op: "show catalog", err: err}
		}
		for i := range revisions {
			r := &revisions[i]
			asked := r.PeriodName == k.Period && (r.Revision == k.Revision || k.Revision == 0 && r.IsCurrent) || k.RunID != 0 && r.RunID == k.RunID
			if !asked {
				continue
			}
			used, err := a.keptCatalog(a.ctx, c, st, r.CatalogSHA256)
			if err != nil {
				return &failure{op: "show catalog", err: err}
			}
			compiled = used.Catalog
			return nil
		}
		return &failure{
			op: "show catalog", err: errors.New("no such revision was settled"), code: exitUsage,
			hint: "`drawdown periods` and `drawdown runs` list what was",
		}
	})
	return compiled, err
}

func (a *app) showCatalog(c *rating.Catalog) {
	accounts := table{columns: []column{{"account", ident}, {"name", left}, {"payer", ident}, {"time zone", fixed}, {"balance", decimal}}}
	for i := range c.Accounts {
		row := &c.Accounts[i]
		payer, balance := "", ""
		if row.Payer != int32(i) {
			payer = c.Accounts[row.Payer].ID
		}
		if row.Tracked {
			balance = amount(row.Balance)
		}
		accounts.row(row.ID, row.Name, payer, row.Zone.String(), balance)
	}
	meters := table{columns: []column{{"meter", ident}, {"unit", left}, {"decimals", right}, {"description", left}}}
	for i := range c.Meters {
		row := &c.Meters[i]
		meters.row(row.ID, row.Unit, fmt.Sprint(row.Scale), row.Description)
	}
	prices := table{columns: []column{{"price", ident}, {"meter", ident}, {"account", ident}, {"model", fixed}, {"from", fixed}}}
	for i := range c.Prices {
		row := &c.Prices[i]
		account, from := "everybody", ""
		if row.Account != rating.None {
			account = c.Accounts[row.Account].ID
		}
		if row.From != rating.Beginning {
			from = moment(row.From, c.Zone)
		}
		prices.row(row.ID, c.Meters[row.Meter].ID, account, modelNames[row.Model], from)
		prices.note(priceText(row, &c.Meters[row.Meter]))
	}
	packages := table{columns: []column{
		{"package", ident}, {"account", ident}, {"quota", decimal}, {"unit", left}, {"used up", fixed}, {"expires", fixed},
	}}
	for i := range c.Packages {
		row := &c.Packages[i]
		owner := &c.Accounts[row.Account]
		packages.row(row.ID, owner.ID, grouped(rating.FormatQuantity(row.Quota, row.Scale)), unitPerCycle(row),
			usedUpNames[row.Kind], end(row.Expires, owner.Zone))
	}
	for i, t := range []*table{&accounts, &meters, &prices, &packages} {
		if i > 0 {
			a.say("")
		}
		t.print(a.stdout, a.ink)
	}
}

var (
	modelNames  = [...]string{"flat", "graduated", "volume", "block"}
	resetNames  = [...]string{"", "/hour", "/day", "/week", "/month", "/year", "/month from the 1st"}
	usedUpNames = [...]string{"charge", "stop"} // what happens when a package is used up
)

// unitPerCycle writes what a quota counts: token, or token/hour.
func unitPerCycle(p *rating.Package) string { return p.Unit + resetNames[p.Reset] }

// priceText writes a price as one says it: 0.50 USD per 1,000,000 token.
func priceText(p *rating.Price, m *rating.Meter) string {
	unit := strings.TrimRight(" "+m.Unit, " ")
	if p.Model == rating.Block {
		return unitPrice(p, 0) + " per block of " + grouped(rating.FormatQuantity(p.Size, m.Scale)) + unit
	}
	var parts []string
	for i := range p.Tiers {
		t := &p.Tiers[i]
		part := unitPrice(p, i)
		switch per := decimal9(t.Per); {
		case per != "1":
			part += " per " + per + unit
		case unit != "":
			part += " per" + unit
		}
		if i < len(p.Tiers)-1 {
			part = "to " + grouped(rating.FormatQuantity(t.UpTo, m.Scale)) + ": " + part
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ", ")
}

// unitPrice writes a tier's price as money.
func unitPrice(p *rating.Price, tier int) string {
	return money(rating.AmountOf(p.Tiers[tier].Price), 2) + " " + p.Currency
}

// decimal9 writes a number in units of 10^-9.
func decimal9(n int64) string { return amount(rating.AmountOf(n)) }

type (
	catalogOutJSON struct {
		Accounts []accountJSON  `json:"accounts"`
		Meters   []catMeterJSON `json:"meters"`
		Prices   []priceJSON    `json:"prices"`
		Packages []packJSON     `json:"packages"`
	}
	accountJSON struct {
		ID       string `json:"id"`
		Name     string `json:"name"`
		Payer    string `json:"payer"`
		TimeZone string `json:"time_zone"`
		Currency string `json:"currency"`
		Balance  string `json:"balance"` // empty where it is not tracked
	}
	catMeterJSON struct {
		ID    string `json:"id"`
		Unit  string `json:"unit"`
		Scale int    `json:"scale"`
	}
	priceJSON struct {
		ID       string `json:"id"`
		Meter    string `json:"meter"`
		Account  string `json:"account"` // empty: everybody
		Currency string `json:"currency"`
		Model    string `json:"model"`
		Text     string `json:"text"`
	}
	packJSON struct {
		ID        string `json:"id"`
		Account   string `json:"account"`
		Name      string `json:"name"`
		Kind      string `json:"kind"`
		Quota     string `json:"quota"`
		Unit      string `json:"unit"`
		Effective string `json:"effective"`
		Expires   string `json:"expires"`
	}
)

func catalogJSON(c *rating.Catalog) catalogOutJSON {
	out := catalogOutJSON{[]accountJSON{}, []catMeterJSON{}, []priceJSON{}, []packJSON{}}
	for i := range c.Accounts {
		row := &c.Accounts[i]
		balance := ""
		if row.Tracked {
			balance = row.Balance.String()
		}
		out.Accounts = append(out.Accounts, accountJSON{row.ID, row.Name, c.Accounts[row.Payer].ID, row.Zone.String(), row.Currency, balance})
	}
	for i := range c.Meters {
		out.Meters = append(out.Meters, catMeterJSON{c.Meters[i].ID, c.Meters[i].Unit, c.Meters[i].Scale})
	}
	for i := range c.Prices {
		row := &c.Prices[i]
		account := ""
		if row.Account != rating.None {
			account = c.Accounts[row.Account].ID
		}
		out.Prices = append(out.Prices, priceJSON{
			row.ID, c.Meters[row.Meter].ID, account, row.Currency, modelNames[row.Model], priceText(row, &c.Meters[row.Meter]),
		})
	}
	for i := range c.Packages {
		row := &c.Packages[i]
		out.Packages = append(out.Packages, packJSON{
			row.ID, c.Accounts[row.Account].ID, row.Name, kindNames[row.Kind], rating.FormatQuantity(row.Quota, row.Scale),
			row.Unit, row.Effective.String(), row.Expires.String(),
		})
	}
	return out
}

var kindNames = [...]string{"pay_per_use", "stop_before_excess"}
