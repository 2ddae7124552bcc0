package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"drawdown/rating"
)

// Past is what explaining needs of what was settled.
type Past interface {
	// PeriodAt gives the settled period that holds t; nil: that time is not settled. First says that no period was settled
	// before it.
	PeriodAt(ctx context.Context, t rating.Instant) (p *Settled, first bool, err error)
	// OpeningOf gives a shard's payers as the predecessor of a settled period left them.
	OpeningOf(ctx context.Context, p rating.Period, shard int) ([]rating.PayerState, error)
}

// Explain finds every row of the usage that bears an id, and says what became of it: it settles the payer's period once
// more, by the same code and from the same opening state, and watches the record.
func (s *Settle) Explain(ctx context.Context, past Past, id string) (*Explanation, error) {
	objects, _, err := s.Bucket.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list usage objects: %w", err)
	}
	found := &idSearch{id: id}
	for _, o := range objects {
		found.object = o.Key
		var bad *ObjectError
		if _, err := s.Reader.Read(ctx, o, found); err != nil && !(errors.As(err, &bad) && s.QuarantineBadObjects) {
			return nil, fmt.Errorf("look for record %q: %w", id, err)
		}
	}
	e := &Explanation{RecordID: id}
	for i := range found.rows {
		row, err := s.explainRow(ctx, past, found, &found.rows[i])
		if err != nil {
			return nil, err
		}
		e.Rows = append(e.Rows, *row)
	}
	return e, nil
}

// idSearch is a sink that keeps the rows with one id.
type idSearch struct {
	id     string
	object string
	rows   []foundRow
}

// foundRow is a row with the id that was asked for; rejected is set where it was rejected by the reader.
type foundRow struct {
	object         string
	row, version   int64
	account, meter int32
	time           rating.Instant
	rejected       *rating.Rejected
}

func (f *idSearch) Records(r *rating.Records) error {
	for i := range r.Time {
		if string(r.ID(i)) != f.id || len(r.Spoilt) > 0 && r.Spoilt[i] {
			continue
		}
		row := foundRow{object: f.object, row: r.Row[i], account: r.Account[i], meter: r.Meter[i], time: r.Time[i]}
		if len(r.Version) > 0 {
			row.version = r.Version[i]
		}
		f.rows = append(f.rows, row)
	}
	return nil
}

func (f *idSearch) Reject(r *rating.Rejected) error {
	if r.RecordID == f.id {
		rejected := *r
		rejected.Raw = slices.Clone(r.Raw)
		f.rows = append(f.rows, foundRow{object: f.object, row: r.Row, rejected: &rejected, account: rating.None, time: r.Time})
	}
	return nil
}

// explainRow says what became of one row.
func (s *Settle) explainRow(ctx context.Context, past Past, found *idSearch, row *foundRow) (*ExplainedRow, error) {
	e := &ExplainedRow{Object: row.object, Row: row.row}
	if r := row.rejected; r != nil {
		e.Account, e.Meter, e.Raw = r.Account, r.Meter, r.Raw
		e.Fate, e.Reason = "quarantined", r.Reason.String()+": "+r.Detail
		return e, nil
	}
	e.Account, e.Meter = s.Catalog.Accounts[row.account].ID, s.Catalog.Meters[row.meter].ID
	settled, first, err := past.PeriodAt(ctx, row.time)
	if err != nil {
		return nil, fmt.Errorf("find the period of %v: %w", row.time, err)
	}
	if settled == nil {
		e.Fate = "not settled"
		e.Reason = "its period is not settled yet"
		if row.time < s.Start {
			e.Fate, e.Reason = "out_of_period", "it is from before settlement.start"
		}
		return e, nil
	}
	e.Period = settled.Period.Name(s.Unit, s.Catalog.Zone)
	replay, err := s.replay(ctx, past, settled.Period, first, row.account, found.id)
	if err != nil {
		return nil, fmt.Errorf("settle period %s of account %q once more: %w", e.Period, e.Account, err)
	}
	e.Fate, e.Reason = replay.fateOf(row, found.rows)
	if e.Fate == "settled" {
		e.Settled = replay.settled
	}
	return e, nil
}

// replay is one payer's period, settled once more.
type replay struct {
	settled   *SettledRecord
	object    string
	row       int64
	conflicts map[string]bool // object and row
	unpriced  bool
}

func place(object string, row int64) string { return fmt.Sprintf("%s#%d", object, row) }

// fateOf tells a row's fate from where the settled record came from and from the versions of its siblings.
func (r *replay) fateOf(row *foundRow, all []foundRow) (fate, reason string) {
	switch {
	case r.unpriced && row.object == r.object && row.row == r.row:
		return "quarantined", "no_price: it has excess, and no price was in force"
	case r.settled != nil && row.object == r.object && row.row == r.row:
		return "settled", ""
	case r.conflicts[place(row.object, row.row)]:
		return "quarantined", "conflict: another row with this id and version says something else"
	}
	for i := range all {
		if all[i].rejected == nil && all[i].account == row.account && all[i].version > row.version {
			return "superseded", fmt.Sprintf("version %d of it is in %s, row %d", all[i].version, all[i].object, all[i].row)
		}
	}
	switch {
	case r.unpriced:
		return "duplicate", fmt.Sprintf("the same as row %d of %s, which is in quarantine", r.row, r.object)
	case r.settled == nil:
		return "superseded", "a later version of it is in quarantine"
	}
	return "duplicate", fmt.Sprintf("the same as row %d of %s, which settled", r.row, r.object)
}

// replay settles the period of an account's payer again and watches one record.
func (s *Settle) replay(ctx context.Context, past Past, p rating.Period, first bool, account int32, id string) (*replay, error) {
	payer := s.Catalog.Accounts[account].Payer
	run := &work{periods: []PeriodReport{{Period: p}}, stages: &stages{}, only: payer}
	g, err := s.gather(ctx, run)
	if err != nil {
		return nil, err
	}
	r, err := s.replayGathered(ctx, past, run, g, first, account, id)
	return r, errors.Join(err, g.close())
}

func (s *Settle) replayGathered(
	ctx context.Context, past Past, run *work, g *gathered, first bool, account int32, id string,
) (*replay, error) {
	payer, p := run.only, run.periods[0].Period
	shard := s.shardOf(payer)
	opening, err := s.openingOf(ctx, past, p, first, shard, payer)
	if err != nil {
		return nil, err
	}
	cursor, err := g.shuffle.Shard(shard, g.isBad)
	if err != nil {
		return nil, err
	}
	settler := rating.NewSettler(s.Catalog, s.Rules, s.Reader.AttributeSets())
	settler.Watch(account, id)
	r := &replay{conflicts: map[string]bool{}}
	if err := settler.Begin(payer, p, opening); err != nil {
		return nil, errors.Join(err, cursor.Close())
	}
	for cursor.NextPayer() {
		for cursor.NextPeriod() {
			for cursor.NextBatch() {
				if err := settler.Add(cursor.Batch()); err != nil {
					return nil, errors.Join(err, cursor.Close())
				}
				r.take(settler, account, id)
				settler.Result.ResetLines()
			}
		}
	}
	if err := cursor.Close(); err != nil {
		return nil, err
	}
	for _, c := range g.shuffle.Conflicts() {
		r.conflicts[place(g.keys[c.Object], c.Row)] = true
	}
	for _, u := range settler.Result.Unpriced {
		if u.Account == account && u.ID == id {
			r.unpriced, r.object, r.row = true, g.keys[u.Object], u.Row
		}
	}
	if len(settler.Explanations) > 0 && !r.unpriced {
		if r.settled == nil {
			r.settled = &SettledRecord{} // of quantity 0: settled without a line
		}
		r.settled.Explanation = settler.Explanations[0]
		r.object, r.row = g.keys[settler.Explanations[0].Object], settler.Explanations[0].Row
	}
	return r, nil
}

// take keeps the lines of the watched record.
func (r *replay) take(settler *rating.Settler, account int32, id string) {
	for i := range settler.Result.Lines {
		line := &settler.Result.Lines[i]
		if line.Account == account && string(settler.Result.RecordID(line)) == id {
			if r.settled == nil {
				r.settled = &SettledRecord{}
			}
			r.settled.Lines = append(r.settled.Lines, *line)
		}
	}
}

func (s *Settle) openingOf(
	ctx context.Context, past Past, p rating.Period, first bool, shard int, payer int32,
) (*rating.PayerState, error) {
	if first {
		return nil, nil
	}
	states, err := past.OpeningOf(ctx, p, shard)
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
	f.kept.Reset()
	for i := range r.Time {
		if c.Accounts[r.Account[i]].Payer != payer {
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
