package main

import (
	"fmt"
	"iter"

	"drawdown/rating"
	"drawdown/writers/export"
	"drawdown/writers/settlement"
)

// exportTable is a table of the settlement that is exported as it is.
type exportTable struct {
	form *export.Table
	rows func(p *published) iter.Seq2[appender, error]
}

// appender is a row of a table.
type appender interface {
	AppendRow(row []export.Value) []export.Value
}

// tables are those of the format. Quarantine is for machines: its raw bytes belong into no spreadsheet.
func (j *exportJob) tables() []exportTable {
	tables := []exportTable{
		{export.Lines(), func(p *published) iter.Seq2[appender, error] {
			return exportRows(p.files("lines"), settlement.ReadLines, func(l settlement.Line) appender { return (*export.Line)(&l) })
		}},
		{export.Charges(), func(p *published) iter.Seq2[appender, error] {
			return exportRows(p.files("charges"), settlement.ReadCharges, func(c settlement.Charge) appender { return (*export.Charge)(&c) })
		}},
		{export.Balances(), func(p *published) iter.Seq2[appender, error] {
			return exportRows(p.files("balances"), settlement.ReadBalances, func(b settlement.Balance) appender { return (*export.Balance)(&b) })
		}},
		{export.Notices(), func(p *published) iter.Seq2[appender, error] {
			return exportRows(p.files("notices"), settlement.ReadNotices, func(n settlement.Notice) appender { return (*export.Notice)(&n) })
		}},
	}
	if j.command.Format != "parquet" {
		return tables
	}
	return append(tables, exportTable{export.Quarantine(), func(p *published) iter.Seq2[appender, error] {
		return exportRows(p.files("quarantine"), settlement.ReadQuarantine, func(q settlement.Quarantined) appender { return (*export.Quarantined)(&q) })
	}})
}

// exportRows gives the rows of a table's files one after the other.
func exportRows[F, T any](files []F, read func(F) iter.Seq2[T, error], row func(T) appender) iter.Seq2[appender, error] {
	return func(yield func(appender, error) bool) {
		for _, file := range files {
			for r, err := range read(file) {
				if !yield(row(r), err) || err != nil {
					return
				}
			}
		}
	}
}

// write writes a table of all periods.
func (j *exportJob) write(out *export.Out, number int, t exportTable) error {
	var row []export.Value
	for _, p := range j.periods {
		for r, err := range t.rows(p) {
			if err != nil {
				return err
			}
			row = r.AppendRow(row[:0])
			if err := out.Row(number, row); err != nil {
				return err
			}
			if err := j.count("rows of " + t.form.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkTotals holds what was written of lines and charges against the control totals of the settlement.
func (j *exportJob) checkTotals(m *export.Manifest) error {
	rows, units, money := map[string]int64{}, map[string]rating.Amount{}, map[string]rating.Amount{}
	add := func(to map[string]rating.Amount, of string, a settlement.Decimal) {
		to[of], _ = to[of].Add(rating.Amount(a)) // the sums that it is compared with were checked
	}
	for _, p := range j.periods {
		for _, f := range p.manifest.Files {
			rows[f.Table] += f.Rows
		}
		for _, t := range p.manifest.Totals.Meters {
			add(units, t.Meter, t.Settled)
		}
		for _, t := range p.manifest.Totals.Amounts {
			add(money, t.Currency, t.Amount)
		}
	}
	for _, t := range m.Tables {
		if settled, known := rows[t.Name]; known && settled != t.Rows {
			return fmt.Errorf("check %s: %d rows of %s were written, and the settlement has %d", m.File, t.Rows, t.Name, settled)
		}
		if t.Name != "lines" && t.Name != "charges" {
			continue
		}
		for _, sum := range t.Sums {
			settled := money[sum.Of]
			if sum.Column == "quantity" {
				settled = units[sum.Of]
			}
			if t.Name == "lines" || sum.Column == "amount" {
				if rating.Amount(sum.Sum) != settled {
					return fmt.Errorf("check %s: the %s of %s is %s, and the settlement's control total is %s", m.File, sum.Column, sum.Of, sum.Sum, settled)
				}
			}
		}
	}
	return nil
}
