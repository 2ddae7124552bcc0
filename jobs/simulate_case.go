package jobs

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"

	"drawdown/rating"
)

// caseWork settles some periods of a simulation with one catalog.
type caseWork struct {
	*simulating
	number   int // 0: as it was
	catalog  *rating.Catalog
	periods  []SimulatedPeriod
	gathered *gathered
	lates    int // closed periods that stand before them in the shuffle
	state    *rating.PayerState
	accounts []int32 // of the catalog, by number in the one that usage is read with
	mapped   []int32
	objects  []int32
	lines    *linesAgain // of the control
}

// mapAccounts finds the payer's accounts in the case's catalog.
func (w *caseWork) mapAccounts(read *rating.Catalog) {
	w.accounts = make([]int32, len(read.Accounts))
	for i := range read.Accounts {
		w.accounts[i], _ = w.catalog.AccountIndex([]byte(read.Accounts[i].ID))
	}
}

func (w *caseWork) settle(ctx context.Context, shard int) (err error) {
	cursor, err := w.gathered.shuffle.Shard(shard, w.gathered.isBad)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cursor.Close()) }()
	payer, known := w.catalog.AccountIndex([]byte(w.Payer))
	if !known {
		return fmt.Errorf("account %q is not in the catalog", w.Payer)
	}
	settler := rating.NewSettler(w.catalog, w.world.Rules, w.world.Reader.AttributeSets())
	records := cursor.NextPayer() && cursor.NextPeriod()
	for i := range w.periods {
		if err := ctx.Err(); err != nil {
			return err
		}
		if w.number == 0 {
			w.lines = newLinesAgain(w)
		}
		settler.Totals = make([]rating.Totals, len(w.catalog.Meters))
		if err := settler.Begin(payer, w.periods[i].Period, w.state); err != nil {
			return err
		}
		for records && cursor.Period() <= i+w.lates {
			add := settler.Add
			if cursor.Period() < w.lates {
				add = settler.AddLate
			}
			for cursor.NextBatch() {
				if err := add(w.translated(cursor.Batch())); err != nil {
					return err
				}
				w.take(&settler.Result)
			}
			records = cursor.NextPeriod()
		}
		if w.state, err = settler.End(); err != nil {
			return err
		}
		w.take(&settler.Result)
		if err := w.finish(ctx, i, shard, payer, settler); err != nil {
			return fmt.Errorf("period %s: %w", w.periods[i].Name, err)
		}
		settler.Result.Reset()
	}
	return nil
}

// translated is a batch with the accounts of the case's catalog, and late rows with the numbers of their objects.
func (w *caseWork) translated(b *rating.Batch) *rating.Batch {
	out := *b
	w.mapped = w.mapped[:0]
	for _, account := range b.Account {
		w.mapped = append(w.mapped, w.accounts[account])
	}
	w.objects = w.objects[:0]
	for _, object := range b.Object {
		own, _ := w.gathered.own(object)
		w.objects = append(w.objects, own)
	}
	out.Account, out.Object = w.mapped, w.objects
	return &out
}

// take keeps what the control needs of the lines; of an offer they are not needed.
func (w *caseWork) take(result *rating.Result) {
	if w.lines != nil {
		for i := range result.Lines {
			w.lines.add(result, &result.Lines[i])
		}
	}
	result.ResetLines()
}

// finish adds up a period.
func (w *caseWork) finish(ctx context.Context, i, shard int, payer int32, settler *rating.Settler) error {
	period, to := &w.periods[i], &w.Cases[w.number]
	cost := PeriodCost{Charges: map[AccountCurrency]rating.Amount{}}
	for n := range settler.Result.Charges {
		c := &settler.Result.Charges[n]
		if err := addTo(cost.Charges, AccountCurrency{w.catalog.Accounts[c.Account].ID, w.catalog.Prices[c.Price].Currency}, c.Amount); err != nil {
			return err
		}
	}
	bought := w.catalog.Purchases(payer, period.Period.End)
	bought = append(bought, w.world.Bundles[w.number]...)
	var err error
	if cost.Packages, err = w.spending[w.number].Next(w.catalog, period.Period, bought, settler.Result.Balances); err != nil {
		return fmt.Errorf("R1.5: what packages cost: %w", err)
	}
	for _, id := range w.catalog.WithoutPrice(payer, period.Period, bought) {
		to.Free[id] = true
	}
	to.Periods = append(to.Periods, cost)
	to.Unpriced += int64(len(settler.Result.Unpriced))
	for m := range w.catalog.Meters {
		report, err := w.meterReport(m, &settler.Totals[m])
		if err != nil {
			return err
		}
		sum := to.Meters[report.Meter]
		sum.Meter, sum.Unit = report.Meter, report.Unit
		for _, s := range []struct{ to, from *rating.Amount }{
			{&sum.Settled, &report.Settled}, {&sum.Deducted, &report.Deducted}, {&sum.Excess, &report.Excess}, {&sum.Stopped, &report.Stopped},
		} {
			*s.to, _ = s.to.Add(*s.from)
		}
		if sum.Settled.Sign() != 0 {
			to.Meters[report.Meter] = sum
		}
	}
	if w.lines != nil {
		return w.lines.compare(ctx, period, shard)
	}
	return nil
}

func (w *caseWork) meterReport(m int, totals *rating.Totals) (MeterReport, error) {
	of := Settle{Catalog: w.catalog}
	return of.meterReport(int32(m), totals)
}

func addTo[K comparable](sums map[K]rating.Amount, key K, amount rating.Amount) error {
	sum, ok := sums[key].Add(amount)
	if !ok {
		return fmt.Errorf("R1.5: sum of charges: %w", rating.ErrOverflow)
	}
	sums[key] = sum
	return nil
}

// linesAgain are the lines of a period as they come when it is settled again: a hash of each, since a period may have many.
type linesAgain struct {
	*caseWork
	seed   maphash.Seed
	hashes []uint64
}

func newLinesAgain(w *caseWork) *linesAgain {
	return &linesAgain{caseWork: w, seed: maphash.MakeSeed()}
}

func (l *linesAgain) hash(line *PayerLine) uint64 {
	same := *line
	same.UnitPrice, same.Per = rating.Amount{}, rating.Amount{} // the price's, which is compared by its id
	return maphash.Comparable(l.seed, same)
}

func (l *linesAgain) add(result *rating.Result, line *rating.Line) {
	l.hashes = append(l.hashes, l.hash(&PayerLine{
		Account: l.catalog.Accounts[line.Account].ID, RecordID: string(result.RecordID(line)), Late: line.Late,
		BookedLine: namedLine(l.catalog, l.gathered.keys, line),
	}))
}

// compare holds the lines against those that are booked, one by one.
func (l *linesAgain) compare(ctx context.Context, p *SimulatedPeriod, shard int) error {
	cost := PeriodCost{Charges: map[AccountCurrency]rating.Amount{}}
	control, booked := &l.Control, int64(0)
	var differing *DifferingPeriod
	err := l.BookedLines(ctx, p.Name, shard, func(line *PayerLine) error {
		if line.Late {
			control.LateLines++
			if err := addTo(control.Late, line.Currency, line.Amount); err != nil {
				return err
			}
		}
		if n := booked; differing == nil && (n >= int64(len(l.hashes)) || l.hashes[n] != l.hash(line)) {
			differing = &DifferingPeriod{Period: p.Name, Account: line.Account, ID: line.RecordID}
		}
		booked++
		if line.Amount.Sign() == 0 {
			return nil
		}
		return addTo(cost.Charges, AccountCurrency{line.Account, line.Currency}, line.Amount)
	})
	if err != nil {
		return err
	}
	if differing == nil && booked < int64(len(l.hashes)) {
		differing = &DifferingPeriod{Period: p.Name}
	}
	control.Lines, control.Booked = control.Lines+int64(len(l.hashes)), control.Booked+booked
	if differing != nil {
		differing.Lines, differing.Booked = int64(len(l.hashes)), booked
		control.Differing = append(control.Differing, *differing)
	}
	l.Booked = append(l.Booked, cost)
	return nil
}
