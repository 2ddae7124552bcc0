package main

import (
	"cmp"
	"slices"

	"drawdown/rating"
	"drawdown/writers/page"
	"drawdown/writers/settlement"
)

const (
	// forecastDays is from how many days of use a forecast is made.
	forecastDays = 14
	// forecastBlocks has one day more: was it used before them?
	forecastBlocks = forecastDays + 1
	// mostPackages is how many packages a customer's page shows.
	mostPackages = 40
)

// blocksBefore are the beginnings of the days before an instant, the newest first.
func (j *reportJob) blocksBefore() []rating.Instant {
	end := j.to.Time().In(j.config.Settlement.TimeZone.Location)
	starts := make([]rating.Instant, forecastBlocks)
	for i := range starts {
		starts[i] = rating.InstantOf(end.AddDate(0, 0, -i-1))
	}
	return starts
}

// account gathers the page for a customer.
func (j *reportJob) account() (*page.Account, error) {
	if _, err := j.balances(); err != nil {
		return nil, err
	}
	index, _ := j.catalog.AccountIndex([]byte(*j.command.Account)) // it was looked up before
	a := &page.Account{
		Head: j.head(), Account: *j.command.Account, Name: j.catalog.Accounts[index].Name, Accounts: keysOf(j.only),
	}
	a.Name, a.Packages, a.Shared = shortened(a.Name), []page.Package{}, []page.Drawn{}
	shown, err := j.shownPackages()
	if err != nil {
		return nil, err
	}
	a.MorePackages = len(shown)
	shown = shown[:min(len(shown), mostPackages)]
	a.MorePackages -= len(shown)
	j.blockStarts = j.blocksBefore()
	j.follow(shown)
	sums, err := j.lines()
	if err != nil {
		return nil, err
	}
	a.Meters, a.MoreMeters = j.pageMeters(sums)
	a.Charges = sums.charges.list()
	for _, s := range shown {
		a.Packages = append(a.Packages, j.customerPackage(s))
	}
	for key, consumed := range sums.shared {
		d := page.Drawn{Account: key[0], Package: key[1], Consumed: page.Number(consumed)}
		if pkg := j.packageOf(d.Package); pkg != nil {
			d.Owner, d.Unit = j.catalog.Accounts[pkg.Account].ID, pkg.Unit
		}
		a.Shared = append(a.Shared, d)
	}
	slices.SortFunc(a.Shared, func(x, y page.Drawn) int {
		return cmp.Or(cmp.Compare(x.Account, y.Account), cmp.Compare(x.Package, y.Package))
	})
	return a, j.chargeLines(a)
}

// shownPackages are those that were asked for, or all: what still serves first, and of that what ends first.
func (j *reportJob) shownPackages() ([]*packageSum, error) {
	if len(j.command.Package) > 0 {
		return j.chosen(nil)
	}
	var list []*packageSum
	for _, s := range j.found {
		list = append(list, s)
	}
	rank := func(s *packageSum) int {
		return slices.Index([]string{"active", "exhausted", "future", "grace", "retention", "expired", "revoked", "released"}, s.state)
	}
	slices.SortFunc(list, func(a, b *packageSum) int {
		return cmp.Or(rank(a)-rank(b), cmp.Compare(j.endOf(a), j.endOf(b)), cmp.Compare(a.id, b.id))
	})
	return list, nil
}

func (j *reportJob) endOf(s *packageSum) rating.Instant {
	if pkg := j.packageOf(s.id); pkg != nil {
		return expiryOf(pkg, j.to)
	}
	return s.ends
}

// customerPackage gives a package with its burn-down and forecast. The plot goes on to where both lead, unless that is far away;
// what is left lapses with the cycle, wherever the forecast leads.
func (j *reportJob) customerPackage(s *packageSum) page.Package {
	view, b := s.page(j), j.burns[s.id]
	view.Forecast = j.forecast(s, b)
	until := j.to
	farthest := page.At(j.to + 2*(j.to-j.from))
	for _, at := range []page.At{view.Ends, view.Expires, view.Forecast.RunsOut, view.Forecast.Latest} {
		if at <= farthest {
			until = max(until, min(rating.Instant(at), max(s.ends, j.to)))
		}
	}
	view.Burn = b.burn(&j.days, j.to, until)
	return view
}

// forecast says when a package runs out if it is used on as in the last days. Days before it was first used do not count, nor does
// the one on which that was: it is not a whole one.
func (j *reportJob) forecast(s *packageSum, b *burnGather) *page.Forecast {
	pkg := j.packageOf(s.id)
	switch {
	case s.state == "exhausted":
		return &page.Forecast{Note: "It is used up."}
	case pkg == nil || s.state != "active":
		return &page.Forecast{}
	case pkg.Reset == rating.EveryHour || pkg.Reset == rating.EveryDay:
		return &page.Forecast{Note: "It is granted anew each " + cycleNames[pkg.Reset] + ", so there is no forecast."}
	}
	daily := j.wholeDays(b)
	switch f, ok := rating.RunsOut(s.closing, daily); {
	case ok:
		return j.forecastOn(&f, len(daily))
	case !slices.ContainsFunc(b.blocks[:forecastDays], func(a rating.Amount) bool { return a.Sign() > 0 }):
		return &page.Forecast{Note: "It was not used in the last 14 days, so there is nothing to forecast from."}
	case len(daily) < 2:
		return &page.Forecast{Note: "It is used for too short a time to forecast when it runs out."}
	}
	return &page.Forecast{Note: "At the use of the last days, it lasts for more than ten years."}
}

// wholeDays is the use of the last days, the oldest first, from the first whole one on, without those on which it was used up.
func (j *reportJob) wholeDays(b *burnGather) []rating.Amount {
	usedBefore := b.before || b.blocks[forecastDays].Sign() > 0
	var daily []rating.Amount
	for i := forecastDays - 1; i >= 0; i-- {
		switch {
		case j.blockStarts[i] < j.config.Start:
		case b.empty[i]: // nobody could use it, or not all day
			usedBefore = true
		case usedBefore || len(daily) > 0:
			daily = append(daily, b.blocks[i])
		case b.blocks[i].Sign() > 0: // used for the first time: not a whole day
			usedBefore = true
		}
	}
	return daily
}

// forecastOn puts a forecast on the calendar: days are those of the clock, whatever it is turned by.
func (j *reportJob) forecastOn(f *rating.Forecast, days int) *page.Forecast {
	const day = 86400e6
	end := j.to.Time().In(j.config.Settlement.TimeZone.Location)
	after := func(days int) rating.Instant { return rating.InstantOf(end.AddDate(0, 0, days)) }
	p := &page.Forecast{
		Days: days, PerDay: page.Number(f.PerDay), RunsOut: page.At(after(int(f.After/day)) + rating.Instant(f.After%day) - 1),
		Earliest: page.At(after(f.First - 1)),
	}
	if f.Last > 0 {
		p.Latest = page.At(after(f.Last) - 1)
	}
	return p
}

// chargeLines adds up the charges by account, meter, month, price and tier.
func (j *reportJob) chargeLines(a *page.Account) error {
	type key struct {
		account, meter, month, price, currency string
		tier                                   int32
		late                                   bool
	}
	lines := map[key]*page.Charge{}
	var keys []key
	for _, p := range j.periods[j.first:] {
		for _, file := range p.shardsOf("charges", j.shards) {
			for row, err := range settlement.ReadCharges(file) {
				if err != nil {
					return err
				}
				if !j.tells(row.Payer, row.Account) {
					continue
				}
				k := key{row.Account, row.Meter, row.Month, row.PriceID, row.Currency, 0, row.Late}
				if row.Tier != nil {
					k.tier = *row.Tier
				}
				c := lines[k]
				if c == nil {
					c = &page.Charge{Account: k.account, Meter: k.meter, Unit: j.meterUnit(k.meter), Month: k.month, Price: k.price, Tier: int(k.tier), Late: k.late}
					c.Currency = k.currency
					if row.UnitPrice != nil {
						c.UnitPrice, c.Per = page.Number(*row.UnitPrice), page.Number(*row.Per)
					}
					lines[k], keys = c, append(keys, k)
				}
				j.add((*rating.Amount)(&c.Quantity), row.Quantity)
				j.add((*rating.Amount)(&c.Amount), row.Amount)
			}
		}
	}
	slices.SortFunc(keys, func(x, y key) int {
		late := func(k key) int {
			if k.late {
				return 1
			}
			return 0
		}
		return cmp.Or(cmp.Compare(x.account, y.account), cmp.Compare(x.month, y.month), late(x)-late(y), cmp.Compare(x.meter, y.meter),
			cmp.Compare(x.price, y.price), cmp.Compare(x.tier, y.tier), cmp.Compare(x.currency, y.currency))
	})
	const most = 4 * mostRows
	a.Lines, a.MoreLines = []page.Charge{}, max(0, len(keys)-most)
	for _, k := range keys[:min(len(keys), most)] {
		a.Lines = append(a.Lines, *lines[k])
	}
	return j.fault
}
