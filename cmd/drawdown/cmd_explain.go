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
}

// Help is the command's own help.
func (explainCmd) Help() string {
	return `Shows every row that bears the id and what became of it: which packages were eligible, in which order and why (the key that decided), the balances before and after, how the amount comes about, and the object and row it came from. Also of a duplicate, superseded or quarantined record.

    drawdown explain 018c2f1e-7a44-7c1e-9d5b-3f0a1f2b3c4d
    drawdown explain 'conv.csv#17#prompt_tokens'`
}

func (k *explainCmd) Run(a *app) error {
	c, err := a.config()
	if err != nil {
		return err
	}
	found, compiled, err := a.explain(c, k.RecordID)
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
		return printJSON(a.stdout, explanationJSON(found, compiled))
	}
	e := explainer{a: a, c: compiled, zone: c.Settlement.TimeZone}
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
	a    *app
	c    *rating.Catalog
	zone zone
}

func (e *explainer) row(id string, r *jobs.ExplainedRow) {
	e.a.say("%s", e.a.ink.bold("Record "+id)+"\n")
	fate := strings.ReplaceAll(r.Fate, "_", " ")
	if r.Period != "" {
		fate += " in period " + r.Period
	}
	if r.Reason != "" {
		fate += ": " + r.Reason
	}
	e.fact("fate", fate)
	e.fact("source", fmt.Sprintf("%s, row %s", r.Object, groupedInt(r.Row)))
	if s := r.Settled; s != nil {
		account, meter := &e.c.Accounts[s.Explanation.Account], &e.c.Meters[s.Explanation.Meter]
		e.fact("account", labelled(account.ID, account.Name))
		e.fact("quantity", e.quantity(s.Explanation.Quantity, meter)+" of "+meter.ID)
		e.fact("at", moment(s.Explanation.Time, e.zone.Location)+" "+e.zone.String())
	} else {
		e.fact("account", r.Account)
		e.fact("meter", r.Meter)
		e.fact("raw", strings.TrimSpace(string(r.Raw)))
	}
	if r.Settled != nil {
		e.packages(&r.Settled.Explanation)
		e.lines(r.Settled)
	}
}

// fact writes what there is to say under a name; nothing, where there is nothing.
func (e *explainer) fact(name, value string) {
	if value != "" {
		e.a.say("  %s  %s", e.a.ink.faint(fmt.Sprintf("%-8s", name)), value)
	}
}

// labelled writes an id with its name behind, where it has one.
func labelled(id, name string) string {
	if name == "" || name == id {
		return id
	}
	return id + " (" + name + ")"
}

func (e *explainer) quantity(units int64, m *rating.Meter) string {
	return strings.TrimSpace(grouped(rating.FormatQuantity(units, m.Scale)) + " " + m.Unit)
}

// packages writes which packages could have served the record, in order, and why the others could not.
func (e *explainer) packages(x *rating.Explanation) {
	if len(x.Eligible) > 0 {
		e.a.say("\nEligible packages, in deduction order:")
		t := table{columns: []column{{"", right}, {"package", ident}, {"left before", decimal}, {"unit", fixed}, {"cycle ends", fixed}, {"why here", left}}}
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
		e.a.say("\nNot eligible:")
		t := table{columns: []column{{"package", fixed}, {"why not", left}}}
		for _, r := range x.NotEligible {
			t.row(e.c.Packages[r.Package].ID, r.Why)
		}
		t.print(e.a.stdout, e.a.ink)
	}
}

// lines writes what became of the record's units, line by line.
func (e *explainer) lines(s *jobs.SettledRecord) {
	if len(s.Lines) == 0 {
		e.a.say("\nIts quantity is 0: it settles without a line.")
		return
	}
	e.a.say("\nLines:")
	meter := &e.c.Meters[s.Explanation.Meter]
	q := monthCount{usage: s.Explanation.Usage, excess: s.Explanation.Excess}
	for i := range s.Lines {
		l := &s.Lines[i]
		head := fmt.Sprintf("  %d  %s", l.LineNo, e.quantity(l.Quantity, meter))
		switch l.Kind {
		case rating.Deduction:
			pkg := &e.c.Packages[l.Package]
			e.a.say("%s from %s: takes %s %s, %s -> %s", head, pkg.ID, grouped(rating.FormatQuantity(l.Consumed, pkg.Scale)), pkg.Unit,
				grouped(rating.FormatQuantity(l.RemainingBefore, pkg.Scale)), grouped(rating.FormatQuantity(l.RemainingAfter, pkg.Scale)))
		case rating.Stopped:
			e.a.say("%s stopped: held packages stop before excess, nothing is charged", head)
		case rating.Excess:
			e.excess(head, l, meter, &q)
		}
		q.count(l)
	}
}

// monthCount is Q of R1.3 while one goes through a record's lines.
type monthCount struct{ usage, excess int64 }

func (q *monthCount) count(l *rating.Line) {
	if l.Kind != rating.Stopped {
		q.usage += l.Quantity
	}
	if l.Kind == rating.Excess {
		q.excess += l.Quantity
	}
}

// before is Q before a line, as its price counts.
func (q *monthCount) before(p *rating.Price) int64 {
	if p.CountsUsage {
		return q.usage
	}
	return q.excess
}

func (e *explainer) excess(head string, l *rating.Line, meter *rating.Meter, q *monthCount) {
	price := &e.c.Prices[l.Price]
	before := q.before(price)
	tier := ""
	if l.Tier > 0 {
		tier = fmt.Sprintf(", tier %d", l.Tier)
	}
	e.a.say("%s excess at %s (%s%s)", head, price.ID, modelNames[price.Model], tier)
	e.a.say("     %s", priceText(price, meter.Scale))
	e.a.say("     total(%s) - total(%s) = %s %s", grouped(rating.FormatQuantity(before+l.Quantity, meter.Scale)),
		grouped(rating.FormatQuantity(before, meter.Scale)), amount(l.Amount), price.Currency)
}
