package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"drawdown/jobs"
	"drawdown/rating"
	"drawdown/readers/catalog"
)

// simulateCmd settles an account's past again with other packages or prices.
type simulateCmd struct {
	Account string   `required:"" placeholder:"A" help:"The account whose packages and prices are replaced; all that its payer pays for is settled."`
	From    string   `placeholder:"D" help:"The first period: a date, or an instant (default: the first one that is settled)."`
	To      string   `placeholder:"D" help:"Where the last period ends: a date (its first instant), or an instant (default: where the newest settled one ends)."`
	With    []string `placeholder:"FILE" help:"Packages and prices, as in a catalog, in the place of the account's own; may be repeated."`
	Prices  string   `placeholder:"FILE" help:"A price list: products, each simulated by itself, and ranked."`
	By      string   `enum:"day,month," default:"" placeholder:"U" help:"Show the cost by day or by month (default: as fits the range)."`
}

// Help is the command's own help.
func (simulateCmd) Help() string {
	return `Settles what was settled once more, by the same code and from the same usage, with other packages or prices, and writes nothing: what it would have cost, and which product of a price list would have been cheapest.

    drawdown simulate --account acme --with package.yaml
    drawdown simulate --account acme --prices products.yaml \
        --from 2026-07-01 --to 2026-10-01

A file for --with is a piece of a catalog. Account and times may be left out: then the package is the account's, for the whole range.

    packages:
      - {id: big, kind: pay_per_use, quota: 5000, price_paid: 99,
         covers: [{meter: sms}]}
    prices:
      - {id: special, meter: sms, model: flat, price: "0.03"}

A price list names products; every: month has each bought anew every month.

    products:
      - name: big
        cost: 99
        every: month
        packages:
          - {id: big, kind: pay_per_use, quota: 5000, covers: [{meter: sms}]}
      - name: pay as you go

Whether it is right shows the control: settled again as it was, the lines must be those that are booked. Where they are not, it says so, and ends with exit code 3. docs/simulate.md has the rules.`
}

func (k *simulateCmd) Run(a *app) error {
	c, err := a.config()
	if err != nil {
		return err
	}
	location := c.Settlement.TimeZone.Location
	within := rating.Period{Start: rating.Beginning, End: rating.Never} // all that is settled
	if k.From != "" {
		if within.Start, err = parseInstantFlag("--from", k.From, location); err != nil {
			return err
		}
	}
	if k.To != "" {
		if within.End, err = parseInstantFlag("--to", k.To, location); err != nil {
			return err
		}
	}
	offers, err := k.offers()
	if err != nil {
		return err
	}
	s, err := a.simulate(c, k, within, offers)
	if err != nil {
		return err
	}
	if err := s.fits(); err != nil {
		return &failure{op: "simulate", err: err}
	}
	if a.flags.JSON {
		err = printJSON(a.stdout, s.json())
	} else {
		s.print(k.By)
	}
	if err == nil && s.Control.Differs() {
		err = &waiting{"simulate", fmt.Sprintf("settled again as it was, %s to other lines than are booked",
			counted(int64(len(s.Control.Differing)), "period comes", "periods come"))}
	}
	return err
}

// offers reads what is to be simulated.
func (k *simulateCmd) offers() ([]catalog.Product, error) {
	if len(k.With) == 0 && k.Prices == "" {
		return nil, &failure{
			op: "simulate", err: fmt.Errorf("there is nothing to simulate"), code: exitUsage,
			hint: "name other packages or prices by --with FILE, or a price list by --prices FILE",
		}
	}
	var offers []catalog.Product
	if len(k.With) > 0 {
		offer, err := k.with()
		if err != nil {
			return nil, err
		}
		offers = append(offers, offer)
	}
	if k.Prices != "" {
		products, err := catalog.ReadProducts(k.Prices)
		if faults := catalogFault(err); err != nil && faults != err {
			return nil, faults
		} else if err != nil {
			return nil, &failure{op: "read price list", err: err, code: exitUsage}
		}
		offers = append(offers, products...)
	}
	for i := range offers {
		p := &offers[i]
		if err := p.Located(&p.Rows, p.Check(k.Account)); err != nil {
			return nil, catalogFault(err)
		}
	}
	return offers, nil
}

// with reads the files that stand in the place of what the account had.
func (k *simulateCmd) with() (offer catalog.Product, err error) {
	names := make([]string, len(k.With))
	for i := range k.With {
		names[i] = filepath.Base(k.With[i])
	}
	source, err := catalog.Read(k.With...)
	if err != nil {
		return offer, &failure{op: "read --with", err: err, code: exitUsage}
	}
	var foreign []string
	for _, kind := range []rating.Kind{rating.KindAccount, rating.KindMeter, rating.KindRule, rating.KindTopUp} {
		if source.Names(kind) {
			foreign = append(foreign, string(kind))
		}
	}
	if len(foreign) > 0 {
		return offer, &failure{
			op: "read --with", err: fmt.Errorf("%s: %s cannot be simulated", strings.Join(k.With, ", "), strings.Join(foreign, " and ")), code: exitUsage,
			hint: "keep packages, package_changes and prices alone; all else is as it was",
		}
	}
	offer.Source, offer.Name, offer.Rows, offer.Packages = source, strings.Join(names, "+"), source.Draft, source.Names(rating.KindPackage)
	if !offer.Packages && (len(source.Draft.Changes) > 0 || !source.Names(rating.KindPrice) && len(source.Draft.Prices) == 0) {
		if err := source.Broken(); err != nil {
			return offer, catalogFault(err)
		}
		return offer, &failure{
			op: "read --with", err: fmt.Errorf("%s: it names no packages and no prices", strings.Join(k.With, ", ")), code: exitUsage,
			hint: "write `packages: […]` or `prices: […]`; `packages: []` is what it would have cost without any",
		}
	}
	return offer, nil
}

// simulated is a simulation, to be shown.
type simulated struct {
	*jobs.Simulation
	job     *simulateJob
	periods []jobs.SimulatedPeriod
}

// costs gives what the periods of a case cost. As it was, the charges are those that are booked.
func (s *simulated) costs(n int) []jobs.PeriodCost {
	costs := s.Cases[n].Periods
	if n > 0 {
		return costs
	}
	booked := make([]jobs.PeriodCost, len(costs))
	for i := range costs {
		booked[i] = jobs.PeriodCost{Charges: s.Booked[i].Charges, Packages: costs[i].Packages}
	}
	return booked
}

// name gives a case's name.
func (s *simulated) name(n int) string {
	if n == 0 {
		return "as it was"
	}
	return s.Cases[n].Name
}

// costSum is what some periods cost in one currency.
type costSum struct{ packages, charges, total rating.Amount }

// fits tells whether what each case costs can be added up. All that is shown are parts of these sums.
func (s *simulated) fits() error {
	for n := range s.Cases {
		all := map[string]rating.Amount{}
		add := func(currency string, amount rating.Amount) (ok bool) {
			all[currency], ok = all[currency].Add(amount)
			return ok
		}
		for _, cost := range s.costs(n) {
			ok := true
			for key, amount := range cost.Charges {
				ok = add(key.Currency, amount) && ok
			}
			for currency, amount := range cost.Packages {
				ok = add(currency, amount) && ok
			}
			if !ok {
				return fmt.Errorf("R1.5: what %s costs: %w", s.name(n), rating.ErrOverflow)
			}
		}
	}
	return nil
}

// sumCosts adds up periods, by currency. That their sums fit was seen before.
func sumCosts(costs []jobs.PeriodCost) map[string]costSum {
	sums := map[string]costSum{}
	for i := range costs {
		for key, amount := range costs[i].Charges {
			s := sums[key.Currency]
			s.charges, _ = s.charges.Add(amount)
			s.total, _ = s.total.Add(amount)
			sums[key.Currency] = s
		}
		for currency, amount := range costs[i].Packages {
			s := sums[currency]
			s.packages, _ = s.packages.Add(amount)
			s.total, _ = s.total.Add(amount)
			sums[currency] = s
		}
	}
	for currency, s := range sums {
		if s == (costSum{}) {
			delete(sums, currency)
		}
	}
	return sums
}
