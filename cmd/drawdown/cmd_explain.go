package main

import (
	"fmt"
	"strings"

	"drawdown/jobs"
	"drawdown/rating"
)

// explainCmd shows what became of one record.
type explainCmd struct {
	RecordID string `arg:"" name:"RECORD_ID" help:"The record's id, as in the column record_id of lines and quarantine."`
	Revision int    `placeholder:"N" help:"By this revision of its period (default: the current one)."`
}

// Help is the command's own help.
func (explainCmd) Help() string {
	return `Shows every row that bears the id and what became of it: which packages were eligible, in which order and why (the key that decided), the balances before and after, how the amount comes about, and the object and row it came from. Also of a duplicate, superseded or quarantined record. It reasons with the catalog that the period was settled with, whatever has changed since.

    drawdown explain 018c2f1e-7a44-7c1e-9d5b-3f0a1f2b3c4d
    drawdown explain 'conv.csv#17#prompt_tokens'
    drawdown explain --revision 1 018c2f1e-7a44-7c1e-9d5b-3f0a1f2b3c4d`
}

func (k *explainCmd) Run(a *app) error {
	c, err := a.config()
	if err != nil {
		return err
	}
	found, err := a.explain(c, k.RecordID, k.Revision)
	if err != nil {
		return err
	}
	if len(found.Rows) == 0 {
		return &failure{
			op: "explain", err: fmt.Errorf("no row of the usage has the id %q", k.RecordID),
			hint: "ids are compared byte by byte; with usage.emit they end in #METER",
		}
	}
	if a.flags.JSON {
		return printJSON(a.stdout, explanationJSON(found))
	}
	e := explainer{a: a, zone: c.Settlement.TimeZone, digits: c.Currency.Digits}
	for i := range found.Rows {
		if i > 0 {
			a.say("")
		}
		e.row(found.RecordID, &found.Rows[i])
	}
	return nil
}

// explainer writes an explanation for a person.
type explainer struct {
	a      *app
	c      *rating.Catalog
	zone   zone
	digits int
}

func (e *explainer) row(id string, r *jobs.ExplainedRow) {
	e.c = r.Catalog
	e.a.say("%s", e.a.ink.bold(wrapped("Record "+id, 0))+"\n")
	fate := strings.ReplaceAll(r.Fate, "_", " ")
	switch {
	case r.Period != "" && r.Fate == "not settled":
		fate += ", of period " + r.Period
	case r.Period != "":
		fate += " in period " + r.Period
		if r.Revision > 1 {
			fate += fmt.Sprintf(", revision %d", r.Revision)
		}
	}
	if r.Reason != "" {
		fate += ": " + r.Reason
	}
	e.fact("fate", fate)
	e.fact("note", r.Note)
	e.fact("source", fmt.Sprintf("%s, row %s", r.Object, groupedInt(r.Row)))
	account := r.Account
	if i, known := e.c.AccountIndex([]byte(r.Account)); known {
		account = labelled(r.Account, e.c.Accounts[i].Name)
	}
	e.fact("account", account)
	if r.Readable {
		e.fact("quantity", e.quantity(r.Quantity, r.Meter)+" of "+r.Meter)
		e.fact("at", moment(r.Time, e.zone.Location)+" "+e.zone.String())
	} else {
		e.fact("meter", r.Meter)
		e.fact("raw", strings.TrimSpace(string(r.Raw)))
	}
	if s := r.Settled; s != nil {
		if s.Met != nil {
			e.packages(s.Met, s.Differs)
		}
		e.lines(s, r.Meter)
	}
}

// fact writes what there is to say under a name; nothing, where there is nothing.
func (e *explainer) fact(name, value string) {
	if value != "" {
		e.a.say("  %s  %s", e.a.ink.faint(fmt.Sprintf("%-8s", name)), wrapped(value, len("  quantity  ")))
	}
}

// labelled writes an id with its name behind, where it has one.
func labelled(id, name string) string {
	if name == "" || name == id {
		return id
	}
	return id + " (" + name + ")"
}

// quantity writes a quantity with the unit of its meter.
func (e *explainer) quantity(q rating.Amount, meter string) string {
	unit := ""
	if i, known := e.c.MeterIndex([]byte(meter)); known {
		unit = e.c.Meters[i].Unit
	}
	return strings.TrimSpace(amount(q) + " " + unit)
}

// packages writes which packages could have served the record, in order, and why the others could not.
func (e *explainer) packages(x *rating.Explanation, today bool) {
	as := ""
	if today {
		as = " as of today's catalog"
	}
	if len(x.Eligible) > 0 {
		e.a.say("\nEligible packages%s, in deduction order:", as)
		t := table{columns: []column{{"", right}, {"package", ident}, {"left before", decimal}, {"unit", left}, {"cycle ends", fixed}, {"why here", fixed}}}
		for i, candidate := range x.Eligible {
			pkg := &e.c.Packages[candidate.Package]
			why := "first"
			if i > 0 {
				why = "later by " + candidate.DecidedBy
			}
			t.row(fmt.Sprint(i+1), pkg.ID, grouped(rating.FormatQuantity(candidate.Remaining, pkg.Scale)), pkg.Unit,
				end(candidate.CycleEnd, e.c.Accounts[pkg.Account].Zone), why)
		}
		t.print(e.a.stdout, e.a.ink)
	}
	if len(x.NotEligible) > 0 {
		e.a.say("\nNot eligible%s:", as)
		t := table{columns: []column{{"package", ident}, {"why not", fixed}}}
		for _, r := range x.NotEligible {
			t.row(e.c.Packages[r.Package].ID, r.Why)
		}
		t.print(e.a.stdout, e.a.ink)
	}
}

// lines writes what became of the record's units, line by line.
func (e *explainer) lines(s *jobs.SettledRecord, meter string) {
	if len(s.Lines) == 0 {
		e.a.say("\nIts quantity is 0: it settles without a line.")
		return
	}
	e.a.say("\nLines:")
	q := monthCount{known: s.Met != nil && !s.Differs}
	if q.known {
		scale := e.c.Meters[s.Met.Meter].Scale
		q.usage, q.excess = rating.DecimalOf(s.Met.Usage, scale), rating.DecimalOf(s.Met.Excess, scale)
	}
	for i := range s.Lines {
		l := &s.Lines[i]
		head := fmt.Sprintf("%d  %s ", l.LineNo, e.quantity(l.Quantity, meter))
		switch l.Kind {
		case rating.Deduction.String():
			unit := ""
			if i, known := e.c.PackageIndex(l.Package); known {
				unit = " " + e.c.Packages[i].Unit
			}
			e.line(head + fmt.Sprintf("from %s: takes %s%s, %s -> %s", l.Package, amount(l.Consumed), unit,
				amount(l.RemainingBefore), amount(l.RemainingAfter)))
		case rating.Stopped.String():
			e.line(head + "stopped: held packages stop before excess, nothing is charged")
		case rating.Excess.String():
			e.excess(head, l, &q)
		}
		q.count(l)
	}
}

// line writes what there is to say of a line, broken where it does not fit.
func (e *explainer) line(text string) {
	e.a.say("  %s", strings.Replace(wrapped(text, len("  1  ")), " ", "  ", 1))
}

// monthCount is Q of R1.3 while one goes through a record's lines; only known where the lines are what they would be today.
type monthCount struct {
	known         bool
	usage, excess rating.Amount
}

func (q *monthCount) count(l *jobs.BookedLine) {
	if l.Kind != rating.Stopped.String() {
		q.usage, _ = q.usage.Add(l.Quantity)
	}
	if l.Kind == rating.Excess.String() {
		q.excess, _ = q.excess.Add(l.Quantity)
	}
}

// around gives Q before and after a line, as its price counts; false where that is not known.
func (q *monthCount) around(c *rating.Catalog, l *jobs.BookedLine) (before, after rating.Amount, price *rating.Price, ok bool) {
	if price = priceOf(c, l.PriceID); price == nil || !q.known {
		return before, after, nil, false
	}
	before = q.excess
	if price.CountsUsage {
		before = q.usage
	}
	after, ok = before.Add(l.Quantity)
	return before, after, price, ok
}

// priceOf finds a price by its id; nil where the catalog has it no longer.
func priceOf(c *rating.Catalog, id string) *rating.Price {
	for i := range c.Prices {
		if c.Prices[i].ID == id {
			return &c.Prices[i]
		}
	}
	return nil
}

func (e *explainer) excess(head string, l *jobs.BookedLine, q *monthCount) {
	before, after, price, ok := q.around(e.c, l)
	tier := ""
	if l.Tier > 0 {
		tier = fmt.Sprintf(", tier %d", l.Tier)
	}
	if !ok {
		text := head + "excess at " + l.PriceID + tier + ": " + e.money(l.Amount, l.Currency)
		if l.Per.Sign() > 0 {
			text += " (" + e.money(l.UnitPrice, l.Currency) + perText(l.Per) + ")"
		}
		e.line(text)
		return
	}
	e.line(head + fmt.Sprintf("excess at %s (%s%s)", price.ID, modelNames[price.Model], tier))
	const indent = "     "
	e.a.say("%s%s", indent, wrapped(priceText(price, &e.c.Meters[price.Meter]), len(indent)))
	e.a.say("%s%s", indent, wrapped(fmt.Sprintf("total(%s) - total(%s) = %s", amount(after), amount(before), e.money(l.Amount, l.Currency)), len(indent)))
}

func (e *explainer) money(a rating.Amount, currency string) string {
	return money(a, e.digits) + " " + currency
}

// perText says how many units a price buys.
func perText(per rating.Amount) string {
	if text := amount(per); text != "1" {
		return " per " + text + " units"
	}
	return " a unit"
}
