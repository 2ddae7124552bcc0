package main

import (
	"cmp"
	"errors"

	"drawdown/rating"
	"drawdown/writers/export"
)

// books are what the formats for finance are made of.
func (j *exportJob) books() *export.Books {
	c := j.config
	return &export.Books{Terms: export.Terms{
		Catalog: j.catalog, Provider: cmp.Or(j.command.Provider, c.Site),
		Digits: c.digitsOf,
		Closed: func(month string) bool { return j.monthClosed(month) },
	}}
}

// digitsOf are those of a currency's minor unit.
func (c *Config) digitsOf(currency string) int {
	if currency == c.Currency.Code {
		return c.Currency.Digits
	}
	return rating.CurrencyDigits(currency)
}

// monthClosed tells whether all periods of a month are closed.
func (j *exportJob) monthClosed(month string) bool {
	unit, location := rating.PeriodUnit(j.config.Settlement.Period), j.config.Settlement.TimeZone.Location
	whole, err := parseInstantFlag("month", month+"-01", location)
	if err != nil {
		return false
	}
	bounds := rating.PeriodAt(rating.Monthly, location, whole)
	if bounds.End <= j.config.Start { // it was billed before anything was settled here
		return true
	}
	for at := max(bounds.Start, j.config.Start); at < bounds.End; {
		p := rating.PeriodAt(unit, location, at)
		if !j.closed[p.Name(unit, location)] {
			return false
		}
		at = p.End
	}
	return true
}

// month is the calendar month of a period, and whether it is provisional: not closed, or not all of it is exported.
func (j *exportJob) month(p *published) (month rating.Period, provisional bool) {
	location := j.config.Settlement.TimeZone.Location
	month = rating.PeriodAt(rating.Monthly, location, p.start())
	name := month.Start.Time().In(location).Format("2006-01")
	return month, month.Start < j.from || month.End > j.to || !j.monthClosed(name)
}

// follow recognises the revenue of all periods since the first one, and gives those that are exported.
func (j *exportJob) follow(books *export.Books, withDraws bool, visit func(*published, *export.Payer, []export.Recognized) error) error {
	all := append(append([]*published{}, j.before...), j.periods...)
	j.counts(all, nil, "charges", "balances")
	if withDraws {
		j.counts(j.periods, nil, "lines")
	}
	for i, p := range all {
		exported := i >= len(j.before)
		err := j.eachPayer(p, withDraws && exported, func(payer *export.Payer) error {
			list, err := books.Recognize(payer, i == 0)
			if err != nil || !exported {
				return err
			}
			return visit(p, payer, list)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (j *exportJob) revenue() error {
	out, err := j.writer.Create("revenue."+j.command.As, export.Revenue())
	if err != nil {
		return err
	}
	books := j.books()
	var row []export.Value
	err = j.follow(books, false, func(p *published, payer *export.Payer, list []export.Recognized) error {
		for i := range list {
			var told bool
			var err error
			if row, told, err = books.RevenueRow(row[:0], payer, &list[i], !j.closed[p.name]); told && err == nil {
				err = out.Row(0, row)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	return errors.Join(err, j.finish(out))
}

func (j *exportJob) statement() error {
	out, err := j.writer.Create("statements."+j.command.As, export.Statements())
	if err != nil {
		return err
	}
	books := j.books()
	var month *export.Month
	end := func() error {
		if month == nil {
			return nil
		}
		return month.Rows(func(row []export.Value) error { return out.Row(0, row) })
	}
	err = j.follow(books, false, func(p *published, payer *export.Payer, list []export.Recognized) error {
		if month == nil || month.Name() != payer.Month {
			if err := end(); err != nil {
				return err
			}
			_, provisional := j.month(p)
			month = books.NewMonth(payer.Month, provisional)
		}
		month.Add(payer, list)
		return nil
	})
	if err == nil {
		err = end()
	}
	return errors.Join(err, j.finish(out))
}

func (j *exportJob) focus() error {
	out, err := j.writer.Create("focus."+j.command.As, export.FOCUS())
	if err != nil {
		return err
	}
	focus := j.books().NewFocus()
	put := func(row []export.Value) error { return out.Row(0, row) }
	var last *published
	endMonth := func() error {
		if last == nil {
			return nil
		}
		month, provisional := j.month(last)
		return focus.EndMonth(month, provisional, put)
	}
	err = j.follow(focus.Books, true, func(p *published, payer *export.Payer, list []export.Recognized) error {
		month, _ := j.month(p)
		if last != nil && last.start() < month.Start {
			if err := endMonth(); err != nil {
				return err
			}
		}
		last = p
		return focus.Rows(payer, list, month, !j.closed[p.name], put)
	})
	if err == nil {
		err = endMonth()
	}
	return errors.Join(err, j.finish(out))
}
