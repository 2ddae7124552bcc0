package main

import (
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"drawdown/rating"
	"drawdown/testdata"
	"drawdown/writers/settlement"
)

// demoCmd is the main job on real data.
type demoCmd struct {
	Dir string `arg:"" optional:"" default:"drawdown-demo" name:"DIR" help:"An empty folder, or one that does not exist yet (default: drawdown-demo)."`
}

//go:embed demo
var demoFiles embed.FS

// demoNow is the clock of the demo: its two hours are over by then.
const demoNow = "2023-11-16T21:00:00Z"

// demoRecord is the record at which a package is used up, so that its rest is charged.
const demoRecord = "conv.csv#9704#prompt_tokens"

// Help is the command's own help.
func (demoCmd) Help() string {
	return `An hour of real calls to two LLM services (28,185 calls, CC BY 4.0) is settled against packages and prices that we made up: some are used up, one stops the service, one is granted anew each hour, one is about to expire.

    drawdown demo
    drawdown demo /tmp/demo`
}

func (k *demoCmd) Run(a *app) error {
	if err := emptyDir("demo", k.Dir); err != nil {
		return err
	}
	if err := writeDemo(k.Dir); err != nil {
		return &failure{op: "demo", err: err}
	}
	a.flags.Config, a.flags.Now = filepath.Join(k.Dir, "drawdown.yaml"), demoNow
	now, err := a.parseNow()
	if err != nil {
		return err
	}
	a.now = now
	c, err := a.config()
	if err != nil {
		return err
	}
	a.say("One hour of real calls to two LLM services, %s and %s, on 2023-11-16.", a.ink.bold("coding"), a.ink.bold("chat"))
	a.say("Settling it hour by hour, in %s:\n", k.Dir)
	r, err := a.settle(c, rating.Never, false)
	if err != nil {
		return err
	}
	if a.flags.JSON {
		return printJSON(a.stdout, settleJSON(r))
	}
	a.printSettle(c, r)
	return a.tour(c, k.Dir)
}

func writeDemo(dir string) error {
	config, err := fs.Sub(demoFiles, "demo")
	if err == nil {
		err = copyFiles(config, dir, strings.NewReplacer())
	}
	if err != nil {
		return err
	}
	usage := filepath.Join(dir, "usage")
	if err := os.MkdirAll(usage, 0o755); err != nil {
		return err
	}
	for _, name := range []string{"code.csv", "conv.csv"} {
		data, err := testdata.LLMTrace.ReadFile("azure-llm-trace/" + name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(usage, name), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// tour shows what the settlement says, and what to try next.
func (a *app) tour(c *Config, dir string) error {
	out, err := c.openOutput(a.ctx, c.Memory)
	if err != nil {
		return &failure{op: "demo", err: err}
	}
	defer out.Close()
	p, err := settledBy(out, "demo", rating.Never)
	if err != nil {
		return err
	}
	compiled, err := a.catalog(c)
	if err != nil {
		return err
	}
	views, err := packageViews(p, compiled, "")
	if err != nil {
		return &failure{op: "demo", err: err}
	}
	a.say("\n%s\n", a.ink.bold("What is left of the packages, at 20:00"))
	a.printPackages(views)
	periods, err := allPublished(out)
	if err != nil {
		return &failure{op: "demo", err: err}
	}
	a.say("\n%s\n", a.ink.bold("What is charged beyond them"))
	if err := a.printCharges(c, periods); err != nil {
		return &failure{op: "demo", err: err}
	}
	a.say("\n%s\n", a.ink.bold("Who is to be told what"))
	if err := a.printNoticeTable(periods); err != nil {
		return &failure{op: "demo", err: err}
	}
	if isRemote(c.Output.URL) {
		return nil
	}
	a.say("\n%s\n", a.ink.bold("Try next"))
	a.say("    cd %s", dir)
	a.say("    drawdown explain '%s'", demoRecord)
	a.say("    drawdown packages --account chat")
	a.say("    duckdb -c \"select account, meter, kind, sum(quantity) as units,\n" +
		"        sum(amount) as usd from 'settlements/*/*/lines-*.parquet'\n        group by all order by all\"")
	return nil
}

// allPublished opens all settled periods, oldest first.
func allPublished(out *settlement.Output) ([]*published, error) {
	current, err := out.ReadCurrent()
	if err != nil {
		return nil, err
	}
	var all []*published
	for _, name := range keysOf(current) {
		p, err := openPublished(out, name, current[name])
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// printCharges writes the charges of periods, summed by account, meter and price.
func (a *app) printCharges(c *Config, periods []*published) error {
	type key struct{ account, meter, price, currency string }
	quantities, amounts := map[key]rating.Amount{}, map[key]rating.Amount{}
	var keys []key
	for _, p := range periods {
		for _, file := range p.files("charges") {
			for row, err := range settlement.ReadCharges(file) {
				if err != nil {
					return fmt.Errorf("read %s: %w", file, err)
				}
				k := key{row.Account, row.Meter, row.PriceID, row.Currency}
				if _, known := amounts[k]; !known {
					keys = append(keys, k)
				}
				quantities[k], _ = quantities[k].Add(row.Quantity)
				amounts[k], _ = amounts[k].Add(row.Amount)
			}
		}
	}
	t := table{columns: []column{
		{"account", ident}, {"meter", ident}, {"units", decimal}, {"price", ident}, {"amount", decimal}, {"", fixed},
	}}
	for _, k := range keys {
		t.row(k.account, k.meter, amount(quantities[k]), k.price, money(amounts[k], c.Currency.Digits), k.currency)
	}
	t.print(a.stdout, a.ink)
	return nil
}

// printNoticeTable writes the notices of periods in the order of time.
func (a *app) printNoticeTable(periods []*published) error {
	var rows []settlement.Notice
	for _, p := range periods {
		for _, file := range p.files("notices") {
			for row, err := range settlement.ReadNotices(file) {
				if err != nil {
					return fmt.Errorf("read %s: %w", file, err)
				}
				rows = append(rows, row)
			}
		}
	}
	sort.SliceStable(rows, func(i, j int) bool { return rows[i].At < rows[j].At })
	t := table{columns: []column{{"at", fixed}, {"account", ident}, {"package", ident}, {"notice", left}}}
	for _, row := range rows {
		pkg := ""
		if row.Package != nil {
			pkg = *row.Package
		}
		t.row(row.At.Time().Format("15:04:05"), row.Account, pkg, noticeText(&row))
	}
	t.print(a.stdout, a.ink)
	return nil
}

// noticeText says in words what a notice is about.
func noticeText(n *settlement.Notice) string {
	switch {
	case n.Kind == "usage_alert" && n.Threshold.Sign() == 0:
		return "used up"
	case n.Kind == "usage_alert" && *n.ThresholdType == "percentage":
		return amount(*n.Threshold) + " % left"
	case n.Kind == "usage_alert":
		return amount(*n.Threshold) + " left"
	case n.Kind == "expiry_reminder":
		return "expires in " + amount(*n.Threshold) + " days"
	case n.Kind == "service_stop":
		return "service stops for " + *n.Meter
	}
	return strings.ReplaceAll(n.Kind, "_", " ")
}
