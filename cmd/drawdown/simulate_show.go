package main

import (
	"fmt"
	"strings"

	"drawdown/jobs"
	"drawdown/rating"
)

// print shows a simulation to a person.
func (s *simulated) print(by string) {
	a, zone := s.job.app, s.job.config.Settlement.TimeZone.Location
	who := s.job.account
	if s.job.payer != s.job.account {
		who += ", with all that " + s.job.payer + " pays for,"
	} else if n := len(s.accounts()); n > 1 {
		who += ", with all that it pays for,"
	}
	a.say("%s", wrapped(fmt.Sprintf("What %s would have cost, %s to %s", who, moment(s.job.within.Start, zone), end(s.job.within.End, zone)), 0))
	groups := s.ranking()
	for _, currency := range keysOf(groups) {
		if currency != "" {
			s.printRanking(currency, groups[currency])
		}
	}
	s.printUnranked(groups[""])
	best := s.best()
	s.printDays(by, best)
	s.printAccounts(best)
	s.printControl()
}

func (s *simulated) printRanking(currency string, group []ranked) {
	a := s.job.app
	a.say("")
	t := table{columns: []column{{"", right}, {"", ident}, {"packages", decimal}, {"charges", decimal}, {"total", decimal}, {currency, fixed}, {"against as it was", decimal}}}
	was, ranked := sumCosts(s.costs(0)), false
	for _, r := range group {
		ranked = ranked || r.number == 0
	}
	for _, r := range group {
		sum, against := r.sums[currency], ""
		if more, ok := sum.total.Sub(was[currency].total); ok && ranked && r.number > 0 {
			against = signed(s.money(more, currency), more)
		}
		t.row(fmt.Sprint(r.rank), s.name(r.number), s.money(sum.packages, currency), s.money(sum.charges, currency), s.money(sum.total, currency), "", against)
		s.noteCase(&t, r)
	}
	t.columns[5].title = ""
	t.columns[4].title = "total " + currency
	t.print(a.stdout, a.ink)
}

// noteCase says below a case what there is to know of it.
func (s *simulated) noteCase(t *table, r ranked) {
	var notes []string
	if len(r.short) > 0 {
		notes = append(notes, "not served: "+strings.Join(r.short, ", "))
	}
	if partly := s.partly(r.number); partly != "" {
		notes = append(notes, partly)
	}
	if free := keysOf(s.Cases[r.number].Free); len(free) > 0 {
		more := ""
		if len(free) > 3 {
			more = fmt.Sprintf(" and %d more", len(free)-3)
		}
		notes = append(notes, "counted as free, since no price is known: "+strings.Join(free[:min(3, len(free))], ", ")+more)
	}
	if len(notes) > 0 {
		t.note(strings.Join(notes, "; "))
	}
}

func (s *simulated) printUnranked(group []ranked) {
	if len(group) == 0 {
		return
	}
	a := s.job.app
	a.say("\nIn several currencies, which are not added up or compared:\n")
	t := table{columns: []column{{"", ident}, {"packages", decimal}, {"charges", decimal}, {"total", decimal}, {"", fixed}}}
	for _, r := range group {
		name := s.name(r.number)
		for _, currency := range keysOf(r.sums) {
			sum := r.sums[currency]
			t.row(name, s.money(sum.packages, currency), s.money(sum.charges, currency), s.money(sum.total, currency), currency)
			name = ""
		}
		s.noteCase(&t, r)
	}
	t.print(a.stdout, a.ink)
}

// stretch is a stretch of periods that are shown as one.
type stretch struct {
	name     string
	from, to int
}

// spans cuts the periods into days or months of the billing zone.
func (s *simulated) spans(by string) []stretch {
	zone, unit := s.job.config.Settlement.TimeZone.Location, rating.PeriodUnit(s.job.config.Settlement.Period)
	days := cutSpans(s.periods, func(p *jobs.SimulatedPeriod) string { return p.Period.Start.Time().In(zone).Format("2006-01-02") })
	if by == "month" || unit == rating.Monthly || by == "" && len(days) > 31 {
		return cutSpans(s.periods, func(p *jobs.SimulatedPeriod) string { return p.Period.Start.Time().In(zone).Format("2006-01") })
	}
	return days
}

func cutSpans(periods []jobs.SimulatedPeriod, name func(*jobs.SimulatedPeriod) string) []stretch {
	var spans []stretch
	for i := range periods {
		if n := name(&periods[i]); len(spans) == 0 || spans[len(spans)-1].name != n {
			spans = append(spans, stretch{n, i, i})
		}
		spans[len(spans)-1].to = i + 1
	}
	return spans
}

// printDays shows the cost of the days or months, as it was and with an offer.
func (s *simulated) printDays(by string, offer int) {
	a := s.job.app
	was, is := s.costs(0), s.costs(offer)
	t := table{columns: []column{{"from", fixed}, {"as it was", decimal}, {"simulated", decimal}, {"difference", decimal}, {"", fixed}}}
	for _, span := range s.spans(by) {
		before, after := sumCosts(was[span.from:span.to]), sumCosts(is[span.from:span.to])
		name := span.name
		for _, currency := range currenciesOf(before, after) {
			x, y := before[currency].total, after[currency].total
			more, _ := y.Sub(x)
			t.row(name, s.money(x, currency), s.money(y, currency), signed(s.money(more, currency), more), currency)
			name = ""
		}
		if name != "" {
			none := s.money(rating.Amount{}, s.job.config.Currency.Code)
			t.row(name, none, none, none, s.job.config.Currency.Code)
		}
	}
	a.say("\n%s\n", wrapped("With "+s.name(offer), 0))
	t.print(a.stdout, a.ink)
}

func currenciesOf(sums ...map[string]costSum) []string {
	all := map[string]bool{}
	for _, sum := range sums {
		for currency := range sum {
			all[currency] = true
		}
	}
	return keysOf(all)
}

// accounts gives the accounts that have charges in any case.
func (s *simulated) accounts() map[string]bool {
	accounts := map[string]bool{s.job.account: true}
	for n := range s.Cases {
		for _, cost := range s.costs(n) {
			for key := range cost.Charges {
				accounts[key.Account] = true
			}
		}
	}
	return accounts
}

func sumByAccount(costs []jobs.PeriodCost) map[jobs.AccountCurrency]rating.Amount {
	sums := map[jobs.AccountCurrency]rating.Amount{}
	for i := range costs {
		for key, amount := range costs[i].Charges {
			sums[key], _ = sums[key].Add(amount)
		}
	}
	return sums
}

// printAccounts shows the charges by account, where the payer has several.
func (s *simulated) printAccounts(offer int) {
	accounts := s.accounts()
	if len(accounts) < 2 {
		return
	}
	was, is := sumByAccount(s.costs(0)), sumByAccount(s.costs(offer))
	t := table{columns: []column{{"charges of", ident}, {"as it was", decimal}, {"simulated", decimal}, {"difference", decimal}, {"", fixed}}}
	for _, account := range keysOf(accounts) {
		for _, currency := range currenciesOf(sumCosts(s.costs(0)), sumCosts(s.costs(offer))) {
			key := jobs.AccountCurrency{Account: account, Currency: currency}
			more, _ := is[key].Sub(was[key])
			if was[key] != is[key] || was[key].Sign() != 0 {
				t.row(account, s.money(was[key], currency), s.money(is[key], currency), signed(s.money(more, currency), more), currency)
			}
		}
	}
	if len(t.rows) > 0 {
		s.job.app.say("")
		t.print(s.job.app.stdout, s.job.app.ink)
	}
}

// printControl says whether the simulation is to be believed.
func (s *simulated) printControl() {
	a, c := s.job.app, &s.Control
	if !c.Differs() {
		a.say("\n%s", wrapped(fmt.Sprintf("Control: settled again as it was, %s those that are booked.", counted(c.Lines, "line is", "lines are")), 0))
	} else {
		text := fmt.Sprintf("Control: settled again as it was, %s of %d to other lines than are booked, so the simulation is not to be relied upon. The first is %s",
			counted(int64(len(c.Differing)), "period comes", "periods come"), len(s.periods), describeDiffering(&c.Differing[0]))
		a.say("\n%s", a.ink.red(wrapped(text, 0)))
	}
	for _, note := range s.notes() {
		a.say("%s", wrapped(note, 0))
	}
}
