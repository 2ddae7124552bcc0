package jobs

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"drawdown/jobs/shuffle"
	"drawdown/rating"
)

// Standing is what stands of the periods that a backfill settles again: shards that nothing has touched since are taken
// over as they are (R5.4), and must fit to the control totals of the run.
type Standing interface {
	Of(ctx context.Context, was *Booked) (*StandingPeriod, error)
	// Edited gives the payers that the catalog was edited for since, in what can matter between two instants, and the shards
	// of others; all: any may be meant.
	Edited(ctx context.Context, catalogSHA256 [32]byte, from, to rating.Instant) (payers []int32, shards []int, all bool, err error)
	// Quarantined gives the rows that a period has in quarantine.
	Quarantined(ctx context.Context, p *StandingPeriod) iter.Seq2[BookedRejection, error]
}

// BookedRejection is a row that stands in quarantine; of its time nothing is known.
type BookedRejection struct {
	Object string
	rating.Rejected
}

// StandingPeriod is the current revision of a period, as it was made.
type StandingPeriod struct {
	Manifest *ArchivedManifest
	Key      string                  // of the manifest
	Closing  []SealedState           // by shard, without their contents
	Alike    bool                    // this program and this configuration made it, after the period had ended
	Now      rating.Instant          // when it was made
	Reasons  map[rating.Reason]int64 // rows in quarantine
	Unpriced []string                // accounts with records that had no price
	Notices  map[string]int          // that the outbox has of it, by kind
}

// TakenOver is what stands in files that were taken over.
type TakenOver struct {
	Meters  []MeterReport
	Amounts []CurrencyAmount
	Lines   int64
	Notices map[string]int // by kind; they stay in the outbox as they are
	// Sought are the standing notices of all other shards: these stay only where they are found again.
	Sought []BookedNotice
}

// untouched is what a batch of a backfill need not compute.
type untouched struct {
	periods []*StandingPeriod
	touched []bool // by shard: the catalog was edited for it, or it opens with something else; nil: any shard may be touched
	shards  []bool // by number; nil: each is computed
	taken   []*TakenOver
}

// load reads what stands of a batch.
func (b *rewriting) load(ctx context.Context, w *work) error {
	b.standsAs = &untouched{}
	if b.Standing == nil {
		return nil
	}
	for i := range w.periods {
		p := b.loaded[b.first+i]
		if p == nil {
			var err error
			if p, err = b.Standing.Of(ctx, b.standing(i)); err != nil {
				return fmt.Errorf("read what stands of period %s: %w; restore it, or compute all with --all", w.periods[i].Name, err)
			}
			b.loaded[b.first+i] = p
		}
		b.standsAs.periods = append(b.standsAs.periods, p)
	}
	return b.touchedByBooks(ctx, w)
}

// touchedByBooks finds the shards that something else than usage has touched.
func (b *rewriting) touchedByBooks(ctx context.Context, w *work) error {
	u := b.standsAs
	if !u.chained() {
		return nil
	}
	touched := make([]bool, b.Shards)
	opening, err := b.opens(ctx)
	if err != nil {
		return err
	}
	for n, was := range u.periods[0].Manifest.OpeningSHA256 {
		touched[n] = opening[n] != was
	}
	if whole, err := b.byCatalog(ctx, w, touched); whole || err != nil {
		return err
	}
	if slices.Contains(touched, false) {
		u.touched = touched
	}
	return nil
}

// touch notes the shards that have rows of an object which may say something else than what was settled.
func (b *rewriting) touch(o *gatheredObject, r *rating.Records) {
	if len(b.standsAs.periods) == 0 || !o.fresh && b.standsAs.settled(&o.Known) {
		return
	}
	if o.touches == nil {
		o.touches = make([]bool, b.Shards)
	}
	for _, account := range r.Account {
		o.touches[b.shardOfAccount[account]] = true
	}
}

// settled tells whether the standing periods were settled with an object as it is.
func (u *untouched) settled(o *Known) bool {
	listed := false
	for _, p := range u.periods {
		in := p.input(o.Key)
		if in != nil && in.SHA256 != o.SHA256 || in == nil && o.mayHold(p.Manifest.Period) {
			return false
		}
		listed = listed || in != nil
	}
	return listed
}

func (p *StandingPeriod) input(key string) *Input {
	i, found := slices.BinarySearchFunc(p.Manifest.Inputs, key, func(in Input, key string) int {
		if in.Key < key {
			return -1
		} else if in.Key > key {
			return 1
		}
		return 0
	})
	if !found {
		return nil
	}
	return &p.Manifest.Inputs[i]
}

// find tells which shards nothing has touched: neither usage, nor the catalog, nor what they open with.
func (u *untouched) find(g *gathered) {
	if u.touched == nil {
		return
	}
	touched := slices.Clone(u.touched)
	if !u.byUsage(g, touched) || !slices.Contains(touched, false) {
		return
	}
	u.shards = touched
	for n := range u.shards {
		u.shards[n] = !u.shards[n]
	}
}

// chained tells whether the periods were made alike, and each from what the one before left.
func (u *untouched) chained() bool {
	for i, p := range u.periods {
		m := p.Manifest
		if !p.Alike || len(m.ClosingSHA256) != len(p.Closing) || i > 0 && !slices.Equal(m.OpeningSHA256, u.periods[i-1].Manifest.ClosingSHA256) {
			return false
		}
		for n := range p.Closing {
			if p.Closing[n].SHA256 != m.ClosingSHA256[n] {
				return false
			}
		}
	}
	return true
}

// byUsage marks the shards of what has come. False: something has gone, or is another one, so that nobody knows whose rows
// it had.
func (u *untouched) byUsage(g *gathered, touched []bool) bool {
	there := map[string]*gatheredObject{}
	for i := range g.objects {
		o := &g.objects[i]
		there[o.Key] = o
		if o.bad {
			return false
		}
		if !u.settled(&o.Known) {
			for n, t := range o.touches {
				touched[n] = touched[n] || t
			}
		}
	}
	for _, p := range u.periods {
		for i := range p.Manifest.Inputs {
			in := &p.Manifest.Inputs[i]
			if o := there[in.Key]; o == nil || o.SHA256 != in.SHA256 {
				return false
			}
		}
	}
	return true
}

// opens gives the hashes of the states that the batch opens with, by shard; none where nothing was settled before.
func (b *rewriting) opens(ctx context.Context) (hashes [][32]byte, err error) {
	hashes = make([][32]byte, b.Shards)
	switch {
	case b.closing != nil:
		for n := range b.closing {
			hashes[n] = b.closing[n].SHA256
		}
	case b.first > 0:
		before, err := b.Standing.Of(ctx, &b.all[b.first-1])
		if err != nil {
			return nil, fmt.Errorf("read what stands of period %s: %w", b.all[b.first-1].Name, err)
		}
		copy(hashes, before.Manifest.ClosingSHA256)
	}
	return hashes, nil
}

// byCatalog marks the shards that the catalog was edited for; true: it may have been for any.
func (b *rewriting) byCatalog(ctx context.Context, w *work, touched []bool) (whole bool, err error) {
	from, to := w.periods[0].Period.Start, w.newest().Period.End
	catalogs := map[[32]byte]bool{b.CatalogSHA256: true}
	for _, p := range b.standsAs.periods {
		if sum := p.Manifest.CatalogSHA256; !catalogs[sum] {
			catalogs[sum] = true
			payers, shards, all, err := b.Standing.Edited(ctx, sum, from, to)
			if all || err != nil {
				return true, err
			}
			for _, payer := range payers {
				touched[b.shardOf(payer)] = true
			}
			for _, shard := range shards {
				touched[shard] = true
			}
		}
		for _, id := range p.Unpriced {
			account, known := b.Catalog.AccountIndex([]byte(id))
			if !known {
				return true, nil
			}
			touched[b.shardOf(b.Catalog.Accounts[account].Payer)] = true
		}
	}
	return false, nil
}

// takeOver makes the files of untouched shards files of the new revisions, periods side by side.
func (b *rewriting) takeOver(ctx context.Context, w *work, g *gathered, revisions []Revision) error {
	u := b.standsAs
	if g.selected == nil {
		u.find(g)
	}
	if u.shards == nil {
		return nil
	}
	u.taken = make([]*TakenOver, len(w.periods))
	return side(ctx, b.Workers, len(w.periods), func(ctx context.Context, i int) (err error) {
		u.taken[i], err = revisions[i].TakeOver(ctx, u.periods[i], u.shards)
		return err
	})
}

// takes tells whether a shard is taken over.
func (w *work) takes(shard int) bool {
	return w.rewriting != nil && w.rewriting.standsAs.shards != nil && w.rewriting.standsAs.shards[shard]
}

// taken gives what was taken over of a period; nil: nothing.
func (w *work) taken(period int) *TakenOver {
	if w.rewriting == nil || w.rewriting.standsAs.taken == nil {
		return nil
	}
	return w.rewriting.standsAs.taken[period]
}

// count goes through the records of a shard for nothing but what becomes of them.
func (g *gathered) count(shard int, exclude func(object int32) bool) ([]shuffle.Tally, error) {
	cursor, err := g.shuffle.Shard(shard, exclude)
	if err != nil {
		return nil, err
	}
	for cursor.NextPayer() {
		continue
	}
	if err := cursor.Close(); err != nil {
		return nil, fmt.Errorf("count the records of shard %d: %w", shard, err)
	}
	return cursor.Tallies(), nil
}

// take gives what a shard that is taken over closed with, and counts those of its records that were read.
func (w *shardWork) take(all *rated) error {
	if w.gathered.selected == nil {
		if _, err := w.gathered.count(w.number, w.gathered.isBad); err != nil {
			return err
		}
	}
	w.lap(stageSort)
	for n, d := range w.stages {
		w.run.stages.add(stage(n), d)
	}
	all.mu.Lock()
	defer all.mu.Unlock()
	u := w.run.rewriting.standsAs
	if len(all.opening) > 0 {
		all.opening[w.number] = u.periods[0].Manifest.OpeningSHA256[w.number]
	}
	for i, p := range u.periods {
		all.periods[i].closing[w.number] = p.Closing[w.number]
	}
	return nil
}

// add adds what was taken over to the sums of what was computed.
func (t *TakenOver) add(p *ratedPeriod) {
	p.lines += t.Lines
	for _, a := range t.Amounts {
		if a.Amount.Sign() != 0 {
			p.amounts[a.Currency], _ = p.amounts[a.Currency].Add(a.Amount)
		}
	}
}

// plus adds the units of a meter that were taken over.
func (t *TakenOver) plus(r *MeterReport) {
	i := slices.IndexFunc(t.Meters, func(m MeterReport) bool { return m.Meter == r.Meter })
	if i < 0 {
		return
	}
	m := &t.Meters[i]
	for _, sum := range []struct{ to, from *rating.Amount }{
		{&r.Settled, &m.Settled}, {&r.Deducted, &m.Deducted}, {&r.Excess, &m.Excess}, {&r.Stopped, &m.Stopped},
	} {
		*sum.to, _ = sum.to.Add(*sum.from) // what the manifest had as a whole
	}
}

// shardsOfAccounts gives the shard of each account's payer.
func (s *Settle) shardsOfAccounts() []int32 {
	shards := make([]int32, len(s.Catalog.Accounts))
	for n, payers := range s.payersByShard() {
		for _, payer := range payers {
			shards[payer] = int32(n)
		}
	}
	for i := range shards {
		shards[i] = shards[s.Catalog.Accounts[i].Payer] // who pays for itself (R2.1)
	}
	return shards
}
