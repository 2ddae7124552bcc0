package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"drawdown/rating"
)

// replay is one payer's period, settled once more while one record was watched.
type replay struct {
	met      *rating.Explanation // nil: it did not settle
	lines    []BookedLine
	object   string // where the row stood that settled, or that had no price
	row      int64
	unpriced bool
	err      error // why the period cannot be settled once more
}

// differs tells whether a row's lines, settled once more, are others than those that are booked.
func (r *replay) differs(row *foundRow, booked []BookedLine) bool {
	return r.met == nil || r.object != row.object || r.row != row.row || !slices.EqualFunc(r.lines, booked, func(a, b BookedLine) bool {
		b.Source, b.UnitPrice, b.Per = a.Source, a.UnitPrice, a.Per // these are the row's and the price's
		return a == b
	})
}

// replay settles the period of an account's payer again, from the objects that the settlement was made of, as far as they
// are what they were.
func (x *explaining) replay(ctx context.Context, b *openBooks, account int32) (*replay, error) {
	if r := b.replays[account]; r != nil {
		return r, nil
	}
	again := *x.Settle
	again.Bucket, again.State = x.inputs(b), forgetful{x.State}
	payer := x.Catalog.Accounts[account].Payer
	run := &work{periods: []PeriodReport{{Period: b.Period}}, stages: &stages{}, only: payer, home: b.Period.Start}
	if b.Late != nil {
		objects := map[string]Object{}
		for key, o := range x.found {
			objects[key] = o.Object
		}
		var err error
		if run.late, err = again.lateAgain(ctx, b.Period, b.Late, objects); err != nil {
			b.replays[account] = &replay{err: err}
			return b.replays[account], nil
		}
	}
	g, err := again.gather(ctx, run)
	if err != nil {
		return nil, fmt.Errorf("settle period %s of account %q once more: %w", b.name, x.Catalog.Accounts[account].ID, err)
	}
	r := &replay{}
	r.err = errors.Join(x.replayGathered(ctx, r, run, b, g, account), g.close())
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b.replays[account] = r
	return r, nil
}

// fixedBucket lists the objects that it is given.
type fixedBucket struct {
	Bucket
	objects []Object
}

func (b fixedBucket) List(context.Context) ([]Object, []string, error) { return b.objects, nil, nil }

// forgetful is a state that remembers no object, so that each one is read.
type forgetful struct{ State }

func (forgetful) Objects(context.Context) (map[string]Known, error) { return nil, nil }

// inputs gives the objects of a settlement, but for those that changed since, and those that it could not read.
func (x *explaining) inputs(b *openBooks) fixedBucket {
	var objects []Object
	for key, o := range x.found {
		if x.standing(b, key) == same && o.sha256 != [32]byte{} {
			objects = append(objects, o.Object)
		}
	}
	slices.SortFunc(objects, func(a, b Object) int { return cmp.Compare(a.Key, b.Key) })
	return fixedBucket{x.Bucket, objects}
}

func (x *explaining) replayGathered(ctx context.Context, r *replay, run *work, b *openBooks, g *gathered, account int32) error {
	payer, shard := run.only, x.shardOf(run.only)
	opening, err := x.openingOf(ctx, b, shard, payer)
	if err != nil {
		return err
	}
	cursor, err := g.shuffle.Shard(shard, g.isBad)
	if err != nil {
		return err
	}
	settler := rating.NewSettler(x.Catalog, x.Rules, x.Reader.AttributeSets())
	settler.Watch(account, x.id)
	if err := settler.Begin(payer, b.Period, opening); err != nil {
		return errors.Join(err, cursor.Close())
	}
	for cursor.NextPayer() {
		for cursor.NextPeriod() {
			for cursor.NextBatch() {
				add := settler.Add
				if cursor.Period() < run.lates() {
					add = settler.AddLate
				}
				batch := cursor.Batch()
				for i := range batch.Object {
					batch.Object[i], _ = g.own(batch.Object[i])
				}
				if err := add(batch); err != nil {
					return errors.Join(err, cursor.Close())
				}
				x.take(r, settler, g, account)
				settler.Result.ResetLines()
			}
		}
	}
	if err := cursor.Close(); err != nil {
		return err
	}
	if len(settler.Explanations) > 0 {
		met := &settler.Explanations[0]
		r.met, r.object, r.row = met, g.keys[met.Object], met.Row
	}
	for _, u := range settler.Result.Unpriced {
		if u.Account == account && u.ID == x.id {
			r.met, r.unpriced, r.object, r.row = nil, true, g.keys[u.Object], u.Row
		}
	}
	return nil
}

// take keeps the lines of the watched record.
func (x *explaining) take(r *replay, settler *rating.Settler, g *gathered, account int32) {
	for i := range settler.Result.Lines {
		line := &settler.Result.Lines[i]
		if line.Account == account && string(settler.Result.RecordID(line)) == x.id {
			r.lines = append(r.lines, namedLine(x.Catalog, g.keys, line))
		}
	}
}

// namedLine writes a line as it stands in the table, but for its unit price; objects are named by their numbers.
func namedLine(c *rating.Catalog, objects []string, l *rating.Line) BookedLine {
	meter := &c.Meters[l.Meter]
	out := BookedLine{
		LineNo: l.LineNo, Kind: l.Kind.String(), Quantity: rating.DecimalOf(l.Quantity, meter.Scale), Amount: l.Amount,
		Currency: cmp.Or(c.Accounts[l.Account].Currency, c.Currency),
		Source:   BookedSource{Object: objects[l.SourceObject], Row: l.SourceRow, Meter: meter.ID, Time: l.EventTime},
	}
	switch l.Kind {
	case rating.Deduction:
		pkg := &c.Packages[l.Package]
		out.Package, out.CycleStart = pkg.ID, l.CycleStart
		out.Consumed = rating.DecimalOf(l.Consumed, pkg.Scale)
		out.RemainingBefore = rating.DecimalOf(l.RemainingBefore, pkg.Scale)
		out.RemainingAfter = rating.DecimalOf(l.RemainingAfter, pkg.Scale)
	case rating.Excess:
		price := &c.Prices[l.Price]
		out.PriceID, out.Tier, out.Currency = price.ID, l.Tier, price.Currency
	}
	return out
}

func (x *explaining) openingOf(ctx context.Context, b *openBooks, shard int, payer int32) (*rating.PayerState, error) {
	switch {
	case len(b.OpeningSHA256) == 0:
		return nil, nil
	case shard >= len(b.OpeningSHA256):
		return nil, fmt.Errorf("the manifest has %d opening states, and none of shard %d", len(b.OpeningSHA256), shard)
	}
	states, err := x.past.Opening(ctx, x.Catalog, b.OpeningSHA256[shard])
	if err != nil {
		return nil, err
	}
	i, ok := slices.BinarySearchFunc(states, payer, func(p rating.PayerState, payer int32) int { return cmp.Compare(p.Payer, payer) })
	if !ok {
		return &rating.PayerState{}, nil
	}
	return &states[i], nil
}

// filter keeps the records of one payer of a batch.
type filter struct{ kept rating.Records }

// keep copies the payer's records; the copy is overwritten by the next call.
func (f *filter) keep(c *rating.Catalog, payer int32, r *rating.Records) *rating.Records {
	return f.keepIf(r, func(i int) bool { return c.Accounts[r.Account[i]].Payer == payer })
}

// keepIf copies those records for which is holds, likewise.
func (f *filter) keepIf(r *rating.Records, is func(i int) bool) *rating.Records {
	f.kept.Reset()
	for i := range r.Time {
		if !is(i) {
			continue
		}
		f.kept.Time = append(f.kept.Time, r.Time[i])
		f.kept.Account = append(f.kept.Account, r.Account[i])
		f.kept.Meter = append(f.kept.Meter, r.Meter[i])
		f.kept.Quantity = append(f.kept.Quantity, r.Quantity[i])
		f.kept.Row = append(f.kept.Row, r.Row[i])
		f.kept.IDs = append(f.kept.IDs, r.ID(i)...)
		f.kept.IDEnd = append(f.kept.IDEnd, uint32(len(f.kept.IDs)))
		if len(r.Version) > 0 {
			f.kept.Version = append(f.kept.Version, r.Version[i])
		}
		if len(r.Attrs) > 0 {
			f.kept.Attrs = append(f.kept.Attrs, r.Attrs[i])
		}
		if len(r.Content) > 0 {
			f.kept.Content = append(f.kept.Content, r.Content[i])
		}
		if len(r.Spoilt) > 0 {
			f.kept.Spoilt = append(f.kept.Spoilt, r.Spoilt[i])
		}
	}
	return &f.kept
}
