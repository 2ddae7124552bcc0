package main

import (
	"context"
	"errors"
	"fmt"
	"path"
	"sync"

	"drawdown/jobs"
	"drawdown/rating"
	"drawdown/writers/settlement"
	"drawdown/writers/store"
)

// closePlan is what a close is asked for.
type closePlan struct {
	until  rating.Instant
	reason string
	dryRun bool
}

// closePeriods plugs the state and the manifests into jobs.Close.
func (a *app) closePeriods(c *Config, plan closePlan) (closing *jobs.Closing, err error) {
	mode := a.writeMode()
	if plan.dryRun {
		mode = store.ReadOnly
	}
	st, err := store.Open(a.ctx, c.State, mode)
	if err != nil {
		return nil, &failure{op: "open state", err: err}
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	if plan.dryRun {
		return a.closeIn(a.ctx, c, st, plan, nil)
	}
	held, err := a.takeLease(c, st, "close", plan.reason)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, held.release(a, err)) }()
	if closing, err = a.closeIn(held.ctx, c, st, plan, held); err != nil {
		return nil, held.explainLoss(err)
	}
	closing.Run = held.run
	return closing, nil
}

func (a *app) closeIn(ctx context.Context, c *Config, st *store.Store, plan closePlan, held *heldLease) (closing *jobs.Closing, err error) {
	books := &closedBooks{store: st, open: func() (*settlement.Output, error) { return c.openOutput(ctx, a.memory(c)) }}
	defer func() { err = errors.Join(err, books.close()) }()
	past := &state{store: st, shards: c.Settlement.Shards}
	job := &jobs.Settle{State: past, Ledger: &ledger{
		store: st, catalog: &usedCatalog{}, held: held, clock: a.clock, now: rating.InstantOf(a.now), config: c,
	}}
	if a.tamper != nil {
		a.tamper(job)
	}
	closing, err = (&jobs.Close{
		Unit: rating.PeriodUnit(c.Settlement.Period), Rules: c.rating(), Start: c.Start, Until: plan.until, DryRun: plan.dryRun,
		History: &history{state: past}, Books: books, State: job.State, Ledger: job.Ledger,
	}).Run(ctx)
	var pending *jobs.PendingError
	switch {
	case errors.As(err, &pending):
		return nil, &failure{op: "close", err: pending, code: exitUsage, hint: "settle it first, or name an earlier --until; `drawdown periods` lists them"}
	case err != nil:
		return nil, &failure{op: "close", err: err}
	}
	return closing, nil
}

// closedBooks makes a store.Store and the files of a settlement a jobs.ClosedBooks. The output is opened once something of
// it is asked for.
type closedBooks struct {
	store *store.Store
	open  func() (*settlement.Output, error)

	mu     sync.Mutex
	output *settlement.Output
}

func (b *closedBooks) opened() (*settlement.Output, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var err error
	if b.output == nil {
		b.output, err = b.open()
	}
	return b.output, err
}

func (b *closedBooks) close() error {
	if b.output == nil {
		return nil
	}
	return b.output.Close()
}

func (b *closedBooks) Closed(ctx context.Context) ([]jobs.Booked, error) {
	all, err := (&history{state: &state{store: b.store}}).all(ctx)
	var closed []jobs.Booked
	for i := range all {
		if all[i].Closed {
			closed = append(closed, all[i])
		}
	}
	return closed, err
}

func (b *closedBooks) Manifest(ctx context.Context, booked *jobs.Booked) (*jobs.ArchivedManifest, error) {
	out, err := b.opened()
	if err != nil {
		return nil, err
	}
	r, err := (&archive{out}).Open(ctx, booked.ManifestKey)
	if err != nil {
		return nil, err
	}
	if r.Manifest().SHA256 != booked.ManifestSHA256 {
		return nil, fmt.Errorf("%s is not the manifest that was committed; `drawdown verify` says more", out.File(booked.ManifestKey))
	}
	return r.Manifest(), nil
}

func (b *closedBooks) Lines(ctx context.Context, booked *jobs.Booked, shards []bool, visit func(*jobs.BookedUnits) error) error {
	m, err := b.Manifest(ctx, booked)
	if err != nil {
		return err
	}
	for i := range m.Files {
		f := &m.Files[i]
		if f.Table != "lines" || f.Rows == 0 || !shards[f.Shard] {
			continue
		}
		file := b.output.File(path.Join(path.Dir(booked.ManifestKey), f.Name))
		for l, err := range settlement.ReadLines(file) {
			if err = errors.Join(err, ctx.Err()); err != nil {
				return fmt.Errorf("read %s: %w", file, err)
			}
			err = visit(&jobs.BookedUnits{
				Account: l.Account, RecordID: l.RecordID, Meter: l.Meter, Time: l.EventTime, Quantity: l.Quantity,
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}
