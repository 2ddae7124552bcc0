package jobs

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"drawdown/jobs/shuffle"
	"drawdown/rating"
)

// rated is what rating all shards gave, besides the files.
type rated struct {
	mu      sync.Mutex
	periods []ratedPeriod
	opening [][32]byte // by shard; empty where nothing was settled before
	late    lateTotals // a part of the first period
}

type ratedPeriod struct {
	meters   []rating.Totals
	amounts  map[string]rating.Amount // of lines, by currency
	lines    int64
	notices  [][]Outgoing // by shard
	unpriced []rating.Unpriced
	closing  []SealedState // by shard
}

// rate settles all payers, shard by shard, as many at a time as there are workers.
func (s *Settle) rate(ctx context.Context, run *work, g *gathered, revisions []Revision) (*rated, error) {
	all := &rated{
		periods: make([]ratedPeriod, len(run.periods)),
		late:    lateTotals{make([]rating.Totals, len(s.Catalog.Meters)), map[string]rating.Amount{}},
	}
	for i := range all.periods {
		all.periods[i] = ratedPeriod{
			meters: make([]rating.Totals, len(s.Catalog.Meters)), amounts: map[string]rating.Amount{},
			notices: make([][]Outgoing, s.Shards), closing: make([]SealedState, s.Shards),
		}
	}
	if run.opening != nil {
		all.opening = make([][32]byte, s.Shards)
	}
	payers := s.payersByShard()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next, done atomic.Int64
	var group sync.WaitGroup
	for range min(s.Workers, s.Shards) {
		group.Go(func() {
			settler := rating.NewSettler(s.Catalog, s.Rules, s.Reader.AttributeSets())
			for ctx.Err() == nil {
				n := int(next.Add(1)) - 1
				if n >= s.Shards {
					return
				}
				w := shardWork{Settle: s, run: run, gathered: g, settler: settler, number: n, revisions: revisions}
				if err := w.settle(ctx, payers[n], all); err != nil {
					cancel(err)
					return
				}
				s.progress("settle", done.Add(1), int64(s.Shards))
			}
		})
	}
	group.Wait()
	for i := range all.periods {
		if taken := run.taken(i); taken != nil {
			taken.add(&all.periods[i])
		}
	}
	return all, context.Cause(ctx)
}

// payersByShard gives the paying accounts of each shard, by index.
func (s *Settle) payersByShard() [][]int32 {
	shards := make([][]int32, s.Shards)
	for i := range s.Catalog.Accounts {
		if a := &s.Catalog.Accounts[i]; a.Payer == int32(i) {
			n := s.shardOf(int32(i))
			shards[n] = append(shards[n], int32(i))
		}
	}
	return shards
}

func (s *Settle) shardOf(payer int32) int {
	return shuffle.ShardOf(s.Catalog.Accounts[payer].ID, s.Shards)
}

// shardWork settles the payers of one shard through all periods of the run.
type shardWork struct {
	*Settle
	run       *work
	gathered  *gathered
	settler   *rating.Settler
	catalog   *rating.Catalog // that has the shard's packages
	number    int
	revisions []Revision
	shards    []Shard
	periods   []shardPeriod
	late      shardPeriod // the part of the first one that came late
	stages    [stageCount]time.Duration
	last      time.Time
	untimed   bool // laps are skipped
}

// shardPeriod is what one shard adds to a period.
type shardPeriod struct {
	meters   []rating.Totals
	amounts  []rating.Amount // by price
	lines    int64
	notices  []Outgoing
	unpriced []rating.Unpriced
	closing  []rating.PayerState
}

// A payer with few records is done sooner than a clock is read five times: of such, one in timedOf is timed, and the others
// are taken to divide their time likewise.
const (
	timedOf   = 8
	fewAtMost = 256 // records of a batch
)

// lap books the time since the last lap to a stage.
func (w *shardWork) lap(n stage) {
	if w.untimed {
		return
	}
	now := w.Clock()
	w.stages[n] += now.Sub(w.last)
	w.last = now
}

// time begins to time again, and books the time since the last lap.
func (w *shardWork) time() {
	if !w.untimed {
		return
	}
	now := w.Clock()
	passed, all := now.Sub(w.last), time.Duration(0)
	for _, d := range w.stages {
		all += d
	}
	for n, d := range w.stages {
		w.stages[n] += time.Duration(float64(passed) * float64(d) / float64(max(all, 1)))
	}
	w.last, w.untimed = now, false
}

func (w *shardWork) settle(ctx context.Context, payers []int32, all *rated) (err error) {
	w.last = w.Clock()
	if w.run.takes(w.number) {
		return w.take(all)
	}
	w.settler.Use(w.Catalog) // the part that it worked with goes before the next one comes
	if w.catalog, err = w.part(ctx, w.number); err != nil {
		return err
	}
	w.settler.Use(w.catalog)
	var opening []rating.PayerState
	if w.run.opening != nil {
		if opening, all.opening[w.number], err = w.State.Opening(ctx, w.catalog, w.number); err != nil {
			return fmt.Errorf("load the opening state of shard %d: %w", w.number, err)
		}
	}
	w.late = shardPeriod{meters: make([]rating.Totals, len(w.Catalog.Meters)), amounts: make([]rating.Amount, len(w.Catalog.Prices))}
	w.settler.LateTotals = w.late.meters
	for _, r := range w.revisions {
		w.shards = append(w.shards, r.Shard(w.number, w.catalog))
		w.periods = append(w.periods, shardPeriod{
			meters: make([]rating.Totals, len(w.Catalog.Meters)), amounts: make([]rating.Amount, len(w.Catalog.Prices)),
			closing: make([]rating.PayerState, 0, len(opening)+len(opening)/16), // mostly those that it opens with
		})
	}
	if s := w.gathered.selected; s != nil && s.fresh {
		if err := s.count(w, all); err != nil {
			return err
		}
	}
	cursor, err := w.gathered.shuffle.Shard(w.number, w.gathered.isBad)
	if err == nil {
		err = w.settlePayers(ctx, payers, opening, cursor)
		err = errors.Join(err, cursor.Close())
	}
	w.time()
	for _, shard := range w.shards { // also after an error: files must be closed
		err = errors.Join(err, shard.Close())
	}
	w.lap(stageWrite)
	if err != nil {
		return fmt.Errorf("settle shard %d: %w", w.number, err)
	}
	return w.hand(all)
}

// settlePayers goes through the shard's payers by index; those with records come from the cursor in the same order.
func (w *shardWork) settlePayers(ctx context.Context, payers []int32, opening []rating.PayerState, cursor *shuffle.Cursor) error {
	records := cursor.NextPayer()
	w.lap(stageSort)
	for n, payer := range payers {
		if n%timedOf == 0 {
			w.time()
		} else {
			w.untimed = true
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		var state *rating.PayerState
		if len(opening) > 0 && opening[0].Payer < payer {
			return w.noPayer(&opening[0])
		}
		if len(opening) > 0 && opening[0].Payer == payer {
			state, opening = &opening[0], opening[1:]
		}
		has := records && cursor.Payer() == payer
		if !has && state == nil && !w.catalog.Lives(payer) {
			continue
		}
		if state == nil && w.run.opening != nil {
			state = &rating.PayerState{}
		}
		if err := w.settlePayer(payer, state, cursor, has); err != nil {
			return err
		}
		if has {
			records = cursor.NextPayer()
			w.lap(stageSort)
		}
	}
	if len(opening) > 0 {
		return w.noPayer(&opening[0])
	}
	if records {
		return fmt.Errorf("payer %q has records but is none of the shard's", w.Catalog.Accounts[cursor.Payer()].ID)
	}
	return nil
}

// noPayer says why what is left of an account that paid would be lost.
func (w *shardWork) noPayer(state *rating.PayerState) error {
	if err := w.catalog.Contradiction(state, w.run.opening.Period.End); err != nil {
		return err
	}
	return fmt.Errorf("payer %q has an opening state but is none of the shard's", w.Catalog.Accounts[state.Payer].ID)
}

// settlePayer settles a payer's periods one after another.
func (w *shardWork) settlePayer(payer int32, state *rating.PayerState, cursor *shuffle.Cursor, records bool) error {
	records = records && cursor.NextPeriod()
	for i := range w.periods {
		p := &w.periods[i]
		w.settler.Totals = p.meters
		if err := w.settler.Begin(payer, w.run.periods[i].Period, state); err != nil {
			return err
		}
		for records && cursor.Period() <= i+w.run.lates() { // late records belong to the first period
			if err := w.settleRecords(payer, i, cursor); err != nil {
				return err
			}
			records = cursor.NextPeriod()
			w.lap(stageSort)
		}
		var err error
		if state, err = w.settler.End(); err != nil {
			return err
		}
		if !state.Empty() {
			p.closing = append(p.closing, *state)
		}
		for _, n := range w.settler.Result.Notices {
			p.notices = append(p.notices, outgoing(w.catalog, n))
		}
		p.unpriced = append(p.unpriced, w.settler.Result.Unpriced...)
		if len(p.unpriced) > maxLateRejections {
			return fmt.Errorf("R4.4: more than %d records have excess and no price is in force for them, as for meter %s; "+
				"give it a price, or settlement.max_quarantine would be exceeded at the end", maxLateRejections,
				w.Catalog.Meters[p.unpriced[0].Meter].ID)
		}
		w.lap(stageRate)
		if err := w.append(payer, i, &w.settler.Result); err != nil {
			return err
		}
		w.settler.Result.Reset()
	}
	return nil
}

// settleRecords settles the records of a payer that the cursor stands at.
func (w *shardWork) settleRecords(payer int32, period int, cursor *shuffle.Cursor) error {
	late := cursor.Period() < w.run.lates()
	for cursor.NextBatch() {
		batch := cursor.Batch()
		if len(batch.Time) > fewAtMost {
			w.time()
		}
		w.lap(stageSort)
		var err error
		if late {
			for n := range batch.Object {
				batch.Object[n], _ = w.gathered.own(batch.Object[n])
			}
			err = w.settler.AddLate(batch)
		} else {
			err = w.settler.Add(batch)
		}
		if err != nil {
			return err
		}
		w.lap(stageRate)
		if result := &w.settler.Result; len(result.Lines) >= linesAtATime {
			// The payer's other rows are complete only at the end.
			if err := w.append(payer, period, &rating.Result{Lines: result.Lines, IDs: result.IDs}); err != nil {
				return err
			}
			result.ResetLines()
		}
	}
	return nil
}

const linesAtATime = 4096

// append hands what the settler gave to the files of a period.
func (w *shardWork) append(payer int32, period int, result *rating.Result) error {
	p := &w.periods[period]
	for i := range result.Lines {
		if line := &result.Lines[i]; line.Kind == rating.Excess {
			var ok bool
			if p.amounts[line.Price], ok = p.amounts[line.Price].Add(line.Amount); !ok {
				return fmt.Errorf("R1.5: sum of amounts at price %q: %w", w.Catalog.Prices[line.Price].ID, rating.ErrOverflow)
			}
			if line.Late {
				w.late.amounts[line.Price], _ = w.late.amounts[line.Price].Add(line.Amount) // a part of the above
			}
		}
	}
	p.lines += int64(len(result.Lines))
	err := w.shards[period].Append(payer, result)
	w.lap(stageWrite)
	return err
}

// hand adds the shard's sums to those of the run.
func (w *shardWork) hand(all *rated) error {
	sealed := make([]SealedState, len(w.periods))
	for i := range w.periods {
		var err error
		if sealed[i], err = w.Ledger.Seal(w.catalog, w.periods[i].closing); err != nil {
			return fmt.Errorf("encode the closing state of shard %d: %w", w.number, err)
		}
	}
	w.lap(stageCommit)
	for n, d := range w.stages {
		w.run.stages.add(stage(n), d)
	}
	all.mu.Lock()
	defer all.mu.Unlock()
	for m := range w.late.meters {
		all.late.meters[m].Add(&w.late.meters[m])
	}
	w.addAmounts(all.late.amounts, w.late.amounts)
	for i := range w.periods {
		from, to := &w.periods[i], &all.periods[i]
		for m := range from.meters {
			to.meters[m].Add(&from.meters[m])
		}
		w.addAmounts(to.amounts, from.amounts)
		to.lines += from.lines
		to.notices[w.number], to.closing[w.number] = from.notices, sealed[i]
		to.unpriced = append(to.unpriced, from.unpriced...)
	}
	return nil
}

// addAmounts adds amounts by price to sums by currency.
func (s *Settle) addAmounts(to map[string]rating.Amount, byPrice []rating.Amount) {
	for price, amount := range byPrice {
		currency := s.Catalog.Prices[price].Currency
		if amount.Sign() != 0 {
			to[currency], _ = to[currency].Add(amount)
		}
	}
}
