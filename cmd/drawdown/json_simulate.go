package main

import (
	"fmt"
	"strings"

	"drawdown/jobs"
)

type simulationJSON struct {
	Account string              `json:"account"`
	Payer   string              `json:"payer"`
	From    string              `json:"from"`
	To      string              `json:"to"`
	Cases   []simulatedCaseJSON `json:"cases"` // by rank; those without one last
	Control controlJSON         `json:"control"`
}

type simulatedCaseJSON struct {
	Name     string                `json:"name"`
	Actual   bool                  `json:"actual"` // as it was
	Rank     int                   `json:"rank"`   // among those of its currency; 0: it has several
	Totals   []simulatedTotalJSON  `json:"totals"`
	Accounts []simulatedChargeJSON `json:"accounts"`
	Meters   []simulatedMeterJSON  `json:"meters"`
	Unpriced int64                 `json:"unpriced"`
	Bought   []simulatedBoughtJSON `json:"bought"`
	Free     []string              `json:"free"`
	Periods  []simulatedPeriodJSON `json:"periods"`
}

type simulatedTotalJSON struct {
	Currency   string `json:"currency"`
	Packages   string `json:"packages"`
	Charges    string `json:"charges"`
	Total      string `json:"total"`
	Difference string `json:"difference"` // against as it was
}

type simulatedChargeJSON struct {
	Account  string `json:"account"`
	Currency string `json:"currency"`
	Charges  string `json:"charges"`
}

type simulatedMeterJSON struct {
	Meter    string `json:"meter"`
	Unit     string `json:"unit"`
	Settled  string `json:"settled"`
	Deducted string `json:"deducted"`
	Excess   string `json:"excess"`
	Stopped  string `json:"stopped"`
}

type simulatedBoughtJSON struct {
	ID       string `json:"id"`
	Start    string `json:"start"`
	End      string `json:"end"`
	Price    string `json:"price"`
	Counted  string `json:"counted"`
	Currency string `json:"currency"`
}

type simulatedPeriodJSON struct {
	Period string               `json:"period"`
	Totals []simulatedTotalJSON `json:"totals"`
}

type controlJSON struct {
	Agrees               bool                  `json:"agrees"`
	Lines                int64                 `json:"lines"`
	Booked               int64                 `json:"booked"`
	Differing            []differingPeriodJSON `json:"differing"`
	LateLines            int64                 `json:"late_lines"`
	Late                 []simulatedAmountJSON `json:"late"`
	ChangedObjects       []string              `json:"changed_objects"`
	CatalogNotKept       bool                  `json:"catalog_not_kept"`
	ConfigurationChanged bool                  `json:"configuration_changed"`
}

type simulatedAmountJSON struct {
	Currency string `json:"currency"`
	Amount   string `json:"amount"`
}

type differingPeriodJSON struct {
	Period  string `json:"period"`
	Lines   int64  `json:"lines"`
	Booked  int64  `json:"booked"`
	Account string `json:"account"`
	Record  string `json:"record"`
}

func (s *simulated) json() simulationJSON {
	out := simulationJSON{Account: s.job.account, Payer: s.job.payer, From: s.job.within.Start.String(), To: s.job.within.End.String(), Control: s.controlJSON()}
	groups := s.ranking()
	for _, currency := range keysOf(groups) {
		for _, r := range groups[currency] {
			if currency != "" {
				out.Cases = append(out.Cases, s.caseJSON(r))
			}
		}
	}
	for _, r := range groups[""] {
		out.Cases = append(out.Cases, s.caseJSON(r))
	}
	return out
}

func (s *simulated) caseJSON(r ranked) simulatedCaseJSON {
	c, costs, was := &s.Cases[r.number], s.costs(r.number), s.costs(0)
	out := simulatedCaseJSON{
		Name: s.name(r.number), Actual: r.number == 0, Rank: r.rank, Totals: totalsJSON(sumCosts(costs), sumCosts(was)), Unpriced: c.Unpriced, Free: append([]string{}, keysOf(c.Free)...),
		Accounts: []simulatedChargeJSON{}, Meters: []simulatedMeterJSON{}, Bought: []simulatedBoughtJSON{},
	}
	charges := sumByAccount(costs)
	for _, account := range keysOf(s.accounts()) {
		for _, currency := range currenciesOf(r.sums) {
			if amount := charges[jobs.AccountCurrency{Account: account, Currency: currency}]; amount.Sign() != 0 {
				out.Accounts = append(out.Accounts, simulatedChargeJSON{account, currency, amount.String()})
			}
		}
	}
	for _, meter := range keysOf(c.Meters) {
		m := c.Meters[meter]
		out.Meters = append(out.Meters, simulatedMeterJSON{meter, m.Unit, m.Settled.String(), m.Deducted.String(), m.Excess.String(), m.Stopped.String()})
	}
	for _, p := range c.Bought {
		out.Bought = append(out.Bought, simulatedBoughtJSON{p.ID, p.Start.String(), p.End.String(), p.Price.String(), p.Counted.String(), p.Currency})
	}
	for i := range costs {
		out.Periods = append(out.Periods, simulatedPeriodJSON{s.periods[i].Name, totalsJSON(sumCosts(costs[i:i+1]), sumCosts(was[i:i+1]))})
	}
	return out
}

func totalsJSON(is, was map[string]costSum) []simulatedTotalJSON {
	list := []simulatedTotalJSON{}
	for _, currency := range currenciesOf(is, was) {
		sum := is[currency]
		more, _ := sum.total.Sub(was[currency].total)
		list = append(list, simulatedTotalJSON{currency, sum.packages.String(), sum.charges.String(), sum.total.String(), more.String()})
	}
	return list
}

func (s *simulated) controlJSON() controlJSON {
	c := &s.Control
	out := controlJSON{
		Agrees: !c.Differs(), Lines: c.Lines, Booked: c.Booked, Differing: []differingPeriodJSON{}, LateLines: c.LateLines,
		Late: []simulatedAmountJSON{}, ChangedObjects: append([]string{}, c.Objects...), CatalogNotKept: c.Unkept, ConfigurationChanged: c.Configured,
	}
	for _, d := range c.Differing {
		out.Differing = append(out.Differing, differingPeriodJSON{d.Period, d.Lines, d.Booked, d.Account, d.ID})
	}
	for _, currency := range keysOf(c.Late) {
		out.Late = append(out.Late, simulatedAmountJSON{currency, c.Late[currency].String()})
	}
	return out
}

// describeDiffering says where a period first differs.
func describeDiffering(d *jobs.DifferingPeriod) string {
	if d.ID == "" {
		return fmt.Sprintf("%s, which has %s more than is booked.", d.Period, counted(d.Lines-d.Booked, "line", "lines"))
	}
	return fmt.Sprintf("%s, at record %q of account %s.", d.Period, d.ID, d.Account)
}

// notes says what stands in the way of the control, and what is not simulated.
func (s *simulated) notes() []string {
	c := &s.Control
	var notes []string
	if n := len(c.Objects); n > 0 {
		notes = append(notes, fmt.Sprintf("%s gone, or other than settled: %s.", counted(int64(n), "usage object is", "usage objects are"), strings.Join(c.Objects[:min(n, 5)], ", ")))
	}
	if c.Configured {
		notes = append(notes, "The configuration has changed since these periods were settled; it is today's that was simulated with.")
	}
	if c.Unkept {
		notes = append(notes, "An older drawdown settled some of these periods and kept no catalog; today's was taken.")
	}
	if c.LateLines > 0 {
		var sums []string
		for _, currency := range keysOf(c.Late) {
			sums = append(sums, s.money(c.Late[currency], currency)+" "+currency)
		}
		notes = append(notes, fmt.Sprintf("%s of usage for periods that were closed (%s). It is simulated where it was booked.",
			counted(c.LateLines, "booked line is", "booked lines are"), strings.Join(sums, ", ")))
	}
	return notes
}
