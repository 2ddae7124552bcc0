package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"drawdown/rating"
	"drawdown/writers/page"
	"drawdown/writers/settlement"
	"drawdown/writers/store"
)

// How much of what a page shows; the rest is in its sums.
const (
	mostOdd     = 40
	mostBurns   = 12
	mostPayers  = 20
	mostRows    = 50
	mostSamples = 5
	mostRaw     = 160 // letters of a row
)

// head is what the page begins with.
func (j *reportJob) head() page.Head {
	c := j.config
	h := page.Head{
		Site: c.Site, From: page.At(j.from), To: page.At(j.to), TimeZone: c.Settlement.TimeZone.String(), Zone: c.Settlement.TimeZone.Location,
		Digits: c.digitsOf, Currency: c.Currency.Code, Per: j.days.per,
	}
	for _, p := range j.periods[j.first:] {
		state := store.PeriodSettled
		if j.closed[p.name] {
			state = store.PeriodClosed
		} else {
			h.Provisional = true
		}
		h.Periods = append(h.Periods, page.Period{Name: p.name, Revision: p.manifest.Revision, State: state})
	}
	return h
}

// overview gathers the page about all accounts: first what became of packages, then all lines, which also tell of those
// packages that turned out to be worth a look.
func (j *reportJob) overview() (*page.Overview, error) {
	notices, err := j.balances()
	if err != nil {
		return nil, err
	}
	o := &page.Overview{Head: j.head(), Packages: len(j.found), Rows: j.totalRows()}
	charged, err := j.charged()
	if err != nil {
		return nil, err
	}
	odd, reasons := j.odd(charged)
	o.Reasons, o.Odd = reasons, []page.Package{}
	for _, p := range odd[:min(len(odd), mostOdd)] {
		view := p.sum.page(j)
		view.Why = p.why
		o.Odd = append(o.Odd, view)
	}
	o.Most = j.mostDrawn()
	o.Quotas, o.States = j.quotas()
	o.Notices = []page.Count{}
	for _, kind := range keysOf(notices) {
		o.Notices = append(o.Notices, page.Count{Kind: kind, Count: notices[kind]})
	}
	chosen, err := j.chosen(odd)
	if err != nil {
		return nil, err
	}
	j.follow(chosen)
	sums, err := j.lines()
	if err != nil {
		return nil, err
	}
	if err := j.checkTotals(sums); err != nil {
		return nil, err
	}
	o.Meters, o.MoreMeters = j.pageMeters(sums)
	o.Charges = sums.charges.list()
	o.Late, o.MoreLate, o.LateCharges = j.lateUsage(sums)
	o.Chosen = []page.Package{}
	for _, s := range chosen {
		view := s.page(j)
		view.Burn = j.burns[s.id].burn(&j.days, j.to, j.to)
		o.Chosen = append(o.Chosen, view)
	}
	o.Payers = j.payers(charged, sums.charges)
	if o.Quarantine, err = j.quarantine(); err != nil {
		return nil, err
	}
	return o, j.backfills(o)
}

// chosen gives the packages whose burn-down is shown: those that were named, or those worth a look.
func (j *reportJob) chosen(odd []oddPackage) (list []*packageSum, err error) {
	for _, id := range j.command.Package {
		s := j.found[id]
		if s == nil {
			return nil, &failure{
				op: "report", err: fmt.Errorf("nothing was settled of package %q in these periods", id), code: exitUsage,
				hint: "`drawdown packages` lists packages and when they expire; take another --from or --to",
			}
		}
		if !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	if len(list) > 0 {
		return list, nil
	}
	for _, o := range odd[:min(len(odd), mostBurns)] {
		list = append(list, o.sum)
	}
	return list, nil
}

// totalRows adds up what became of rows.
func (j *reportJob) totalRows() (rows page.Rows) {
	for _, p := range j.periods[j.first:] {
		r := p.manifest.Totals.Rows
		rows.Read += r.Read
		rows.Settled += r.Settled
		rows.Duplicate += r.Duplicate
		rows.Superseded += r.Superseded
		rows.Quarantined += r.Quarantined
		rows.OutOfPeriod += r.OutOfPeriod
	}
	return rows
}

// checkTotals holds the sums of the lines against the control totals of the settlement.
func (j *reportJob) checkTotals(s *lineSums) error {
	units, money := map[string]*unitSums{}, moneys{}
	for _, p := range j.periods[j.first:] {
		for _, t := range p.manifest.Totals.Meters {
			u := units[t.Meter]
			if u == nil {
				u = &unitSums{}
				units[t.Meter] = u
			}
			j.add(&u.settled, rating.Amount(t.Settled))
			j.add(&u.deducted, rating.Amount(t.Deducted))
			j.add(&u.excess, rating.Amount(t.Excess))
			j.add(&u.stopped, rating.Amount(t.Stopped))
		}
		for _, t := range p.manifest.Totals.Amounts {
			j.addMoney(&money, t.Currency, rating.Amount(t.Amount))
		}
	}
	for meter, want := range units {
		is := &unitSums{}
		if m := s.meters[meter]; m != nil {
			is = &m.unitSums
		}
		if is.units() != want.units() {
			return fmt.Errorf("lines of %s add up to %v, and the control totals to %v; `drawdown verify` says where", meter, is.units(), want.units())
		}
	}
	for currency, want := range money {
		if is := s.charges[currency]; is != want {
			return fmt.Errorf("lines add up to %s %s, and the control totals to %s; `drawdown verify` says where", is, currency, want)
		}
	}
	return j.fault
}

// chargeSums is what is charged in one currency.
type chargeSums struct{ payers, accounts map[string]rating.Amount }

// charged adds up what is charged, by currency.
func (j *reportJob) charged() (map[string]*chargeSums, error) {
	sums := map[string]*chargeSums{}
	for _, p := range j.periods[j.first:] {
		for _, file := range p.files("charges") {
			for row, err := range settlement.ReadCharges(file) {
				if err != nil {
					return nil, err
				}
				if err := j.count("charges of " + p.name); err != nil {
					return nil, err
				}
				of := sums[row.Currency]
				if of == nil {
					of = &chargeSums{map[string]rating.Amount{}, map[string]rating.Amount{}}
					sums[row.Currency] = of
				}
				payer, account := of.payers[row.Payer], of.accounts[row.Account]
				j.add(&payer, row.Amount)
				j.add(&account, row.Amount)
				of.payers[row.Payer], of.accounts[row.Account] = payer, account
			}
		}
	}
	if j.fault != nil {
		return nil, fmt.Errorf("add up charges: %w", j.fault)
	}
	return sums, nil
}

// payers gives who is charged most, by currency, with the rest as one row.
func (j *reportJob) payers(charged map[string]*chargeSums, all moneys) []page.Payer {
	byCurrency := map[string][]page.Payer{}
	for currency, sums := range charged {
		for payer, sum := range sums.payers {
			byCurrency[currency] = append(byCurrency[currency], page.Payer{Payer: payer, Money: page.Money{Currency: currency, Amount: page.Number(sum)}})
		}
	}
	list := []page.Payer{}
	for _, currency := range keysOf(byCurrency) {
		of := byCurrency[currency]
		slices.SortFunc(of, func(a, b page.Payer) int {
			return cmp.Or(rating.Amount(b.Amount).Cmp(rating.Amount(a.Amount)), cmp.Compare(a.Payer, b.Payer))
		})
		rest := all[currency]
		for i := range of[:min(len(of), mostPayers)] {
			if index, known := j.catalog.AccountIndex([]byte(of[i].Payer)); known {
				of[i].Name = j.catalog.Accounts[index].Name
			}
			j.add(&rest, rating.Amount(of[i].Amount).Neg())
			list = append(list, of[i])
		}
		if others := len(of) - mostPayers; others > 0 {
			list = append(list, page.Payer{Others: others, Money: page.Money{Currency: currency, Amount: page.Number(rest)}})
		}
	}
	return list
}

// lateUsage gives what late usage came to, the dearest first.
func (j *reportJob) lateUsage(s *lineSums) (list []page.Late, more int, charges []page.Money) {
	list, all := []page.Late{}, moneys{}
	for k, sum := range s.late {
		list = append(list, page.Late{
			Account: k.account, Meter: k.meter, Unit: j.meterUnit(k.meter), Month: k.month, Deducted: page.Number(sum.deducted),
			Excess: page.Number(sum.excess), Money: page.Money{Currency: k.currency, Amount: page.Number(sum.charges[k.currency])},
		})
		j.addMoney(&all, k.currency, sum.charges[k.currency])
	}
	slices.SortFunc(list, func(a, b page.Late) int {
		return cmp.Or(cmp.Compare(a.Currency, b.Currency), rating.Amount(b.Amount).Cmp(rating.Amount(a.Amount)),
			cmp.Compare(a.Account, b.Account), cmp.Compare(a.Meter, b.Meter), cmp.Compare(a.Month, b.Month))
	})
	more = max(0, len(list)-mostRows)
	return list[:len(list)-more], more, all.list()
}

// quarantine gives the rows that could not be settled by reason, with the first of each.
func (j *reportJob) quarantine() ([]page.Quarantined, error) {
	byReason := map[string]*page.Quarantined{}
	for _, p := range j.periods[j.first:] {
		for _, file := range p.files("quarantine") {
			for row, err := range settlement.ReadQuarantine(file) {
				if err != nil {
					return nil, err
				}
				q := byReason[row.Reason]
				if q == nil {
					q = &page.Quarantined{Reason: row.Reason}
					byReason[row.Reason] = q
				}
				if q.Rows++; q.Rows <= mostSamples {
					q.Samples = append(q.Samples, sampleOf(p.name, &row))
				}
			}
		}
	}
	list := []page.Quarantined{}
	for _, reason := range keysOf(byReason) {
		list = append(list, *byReason[reason])
	}
	slices.SortStableFunc(list, func(a, b page.Quarantined) int { return cmp.Compare(b.Rows, a.Rows) })
	return list, nil
}

func sampleOf(period string, row *settlement.Quarantined) page.Sample {
	text := func(s *string) string {
		if s == nil {
			return ""
		}
		return shortened(*s)
	}
	s := page.Sample{
		Period: period, Object: shortened(row.SourceObject), Detail: shortened(row.Detail), Record: text(row.RecordID), Account: text(row.Account), Meter: text(row.Meter),
		Raw: shortened(string(row.Raw[:min(len(row.Raw), 4*mostRaw)])),
	}
	if row.SourceRow != nil {
		s.Row = *row.SourceRow
	}
	return s
}

// shortened gives the beginning of a text that somebody sent us, without what cannot be shown.
func shortened(text string) string {
	text = strings.ToValidUTF8(text, string(utf8.RuneError))
	if letters := []rune(text); len(letters) > mostRaw {
		text = string(letters[:mostRaw-1]) + "…"
	}
	return text
}

// backfills compares the periods that were settled again with their first revisions.
func (j *reportJob) backfills(o *page.Overview) error {
	o.Backfills, o.Changes = []page.Backfill{}, []page.Change{}
	money, changes := moneys{}, map[[3]string]*chargeChange{}
	err := j.app.reading(j.config, func(st *store.Store) error {
		reasons, err := j.reasons(st)
		if err != nil {
			return err
		}
		for _, p := range j.periods[j.first:] {
			if p.manifest.Revision == 1 {
				continue
			}
			revisions, err := st.Revisions(j.app.ctx, p.start())
			if err != nil {
				return err
			}
			b, err := j.backfill(p, revisions, money, changes)
			if err != nil {
				return err
			}
			for i := range revisions {
				if revisions[i].Revision == b.Is {
					b.Reason = shortened(reasons[revisions[i].RunID])
				}
			}
			o.Backfills = append(o.Backfills, b)
		}
		return nil
	})
	for _, key := range sortedKeys(changes) {
		c := changes[key]
		if c.units.Sign() != 0 || c.amount.Sign() != 0 {
			o.Changes = append(o.Changes, page.Change{
				Account: c.Account, Meter: c.Meter, Units: page.Number(c.units), Money: page.Money{Currency: c.Currency, Amount: page.Number(c.amount)},
			})
		}
	}
	slices.SortStableFunc(o.Changes, func(a, b page.Change) int {
		return cmp.Or(cmp.Compare(a.Currency, b.Currency), size(b.Amount).Cmp(size(a.Amount)))
	})
	o.MoreChanges = max(0, len(o.Changes)-mostRows)
	o.Changes = o.Changes[:len(o.Changes)-o.MoreChanges]
	o.BackfillMoney = money.list()
	return err
}

func sortedKeys(m map[[3]string]*chargeChange) [][3]string {
	keys := make([][3]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b [3]string) int { return slices.Compare(a[:], b[:]) })
	return keys
}

func size(n page.Number) rating.Amount {
	if a := rating.Amount(n); a.Sign() < 0 {
		return a.Neg()
	}
	return rating.Amount(n)
}

// reasons are those of the runs, by their numbers.
func (j *reportJob) reasons(st *store.Store) (map[int64]string, error) {
	const newest = 10_000
	runs, err := st.Runs(j.app.ctx, newest)
	reasons := make(map[int64]string, len(runs))
	for i := range runs {
		reasons[runs[i].ID] = runs[i].Reason
	}
	return reasons, err
}

// backfill compares one period with its first revision.
func (j *reportJob) backfill(p *published, revisions []store.Revision, money moneys, changes map[[3]string]*chargeChange) (page.Backfill, error) {
	b := page.Backfill{Period: p.name, Was: revisions[0].Revision, Is: p.manifest.Revision}
	first, err := openPublished(j.output, p.name, settlement.Current{Revision: revisions[0].Revision, Manifest: revisions[0].ManifestKey})
	if err != nil {
		return b, err
	}
	change, err := compareRevisions(first, p)
	if err != nil {
		return b, err
	}
	accounts, of := map[string]bool{}, moneys{}
	for i := range change.Charges {
		c := &change.Charges[i]
		accounts[c.Account] = true
		j.addMoney(&of, c.Currency, c.amount)
		j.addMoney(&money, c.Currency, c.amount)
		key := [3]string{c.Account, c.Meter, c.Currency}
		if changes[key] == nil {
			changes[key] = &chargeChange{Account: c.Account, Meter: c.Meter, Currency: c.Currency}
		}
		j.add(&changes[key].units, c.units)
		j.add(&changes[key].amount, c.amount)
	}
	for i := range change.Packages {
		accounts[change.Packages[i].Account] = true
	}
	b.Accounts, b.Packages, b.Charges = len(accounts), len(change.Packages), of.list()
	return b, j.fault
}
