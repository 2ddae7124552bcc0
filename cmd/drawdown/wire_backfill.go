package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"drawdown/jobs"
	"drawdown/rating"
	"drawdown/writers/settlement"
	"drawdown/writers/store"
)

// backfillPlan is what a backfill is asked for.
type backfillPlan struct {
	from, to rating.Instant
	reason   string
	all      bool // nothing is left out
	dryRun   bool
}

// backfill plugs the readers and writers into jobs.Backfill. With a dry run nothing is written but to a temporary folder.
func (a *app) backfill(c *Config, plan backfillPlan) (report *jobs.Report, changes []periodChange, err error) {
	mode := a.writeMode()
	if plan.dryRun {
		mode = store.ReadOnly
	}
	st, err := store.Open(a.ctx, c.State, mode)
	if err != nil {
		return nil, nil, &failure{op: "open state", err: err}
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	stands, err := c.openOutput(a.ctx, a.memory(c))
	if err != nil {
		return nil, nil, &failure{op: "open output", err: err}
	}
	defer func() { err = errors.Join(err, stands.Close()) }()
	if plan.dryRun {
		return a.backfillDry(c, st, stands, plan)
	}
	held, err := a.takeLease(c, st, "backfill", plan.reason)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, held.release(a, err)) }()
	out, err := c.openOutput(held.ctx, a.memory(c))
	if err != nil {
		return nil, nil, &failure{op: "open output", err: err}
	}
	report, changes, err = a.backfillIn(held.ctx, c, st, stands, out, plan, held)
	if report != nil {
		report.Run = held.run
	}
	if err != nil {
		err = held.explainLoss(err)
	}
	return report, changes, err
}

func (a *app) backfillDry(
	c *Config, st *store.Store, stands *settlement.Output, plan backfillPlan,
) (report *jobs.Report, changes []periodChange, err error) {
	dir, err := os.MkdirTemp(c.TempDir, "drawdown-dry-run-*")
	if err != nil {
		return nil, nil, &failure{op: "backfill", err: fmt.Errorf("make a folder to work in: %w", err), hint: "name a folder that exists in temp_dir"}
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	out, err := settlement.OpenOutput(filepath.Join(dir, "settlements"))
	if err != nil {
		return nil, nil, &failure{op: "backfill", err: err}
	}
	return a.backfillIn(a.ctx, c, st, stands, out, plan, nil)
}

// backfillIn writes into an output, and compares with the one that stands.
func (a *app) backfillIn(
	ctx context.Context, c *Config, st *store.Store, stands, out *settlement.Output, plan backfillPlan, held *heldLease,
) (report *jobs.Report, changes []periodChange, err error) {
	use := trySettle
	if held != nil {
		use = settleWith
	}
	used, err := a.catalogIn(c, st, use)
	if err != nil {
		return nil, nil, errors.Join(err, out.Close())
	}
	job, closeJob, err := a.job(ctx, c, st, used, out)
	if err != nil {
		return nil, nil, err
	}
	job.DryRun, job.Ledger = plan.dryRun, &ledger{store: st, catalog: used, held: held, clock: a.clock, now: rating.InstantOf(a.now), config: c}
	job.Output.(*output).stands = stands
	if held != nil {
		job.Output.(*output).token = held.lease.Token
	}
	if a.tamper != nil {
		a.tamper(job)
	}
	past := &history{state: &state{store: st, shards: c.Settlement.Shards, whole: used.whole}, held: held}
	back := &jobs.Backfill{
		Settle: *job, From: plan.from, To: plan.to,
		History: past, Keeper: past,
		Standing: &standing{store: st, output: stands, config: c, used: used, now: rating.InstantOf(a.now), runs: map[int64]*store.Run{}},
		Changed: func(was *jobs.Booked, is *jobs.PeriodReport) error {
			change, err := changeOf(stands, out, was, is)
			changes = append(changes, change)
			return err
		},
	}
	if plan.all {
		back.Standing = nil
	}
	if a.watch != nil {
		a.watch(back)
	}
	report, err = back.Run(ctx)
	if err = errors.Join(err, closeJob()); err != nil {
		err = &failure{op: "backfill", err: err}
	}
	return report, changes, err
}

// history makes a store.Store what a backfill reads of what was settled.
type history struct {
	*state
	held *heldLease // nil for a dry run
}

func (h *history) Booked(ctx context.Context) ([]jobs.Booked, error) {
	if _, err := h.Last(ctx); err != nil { // also looks at the number of shards
		return nil, err
	}
	return h.all(ctx)
}

func (h *history) all(ctx context.Context) ([]jobs.Booked, error) {
	periods, err := h.store.Periods(ctx)
	booked := make([]jobs.Booked, 0, len(periods))
	for i := range periods {
		p := &periods[i]
		var totals revisionTotals
		if fault := json.Unmarshal([]byte(p.Totals), &totals); fault != nil {
			return nil, fmt.Errorf("read totals of period %s: %w", p.PeriodName, fault)
		}
		booked = append(booked, jobs.Booked{
			Settled: *settledOf(p), Name: p.PeriodName, Revision: p.Revision, ManifestKey: p.ManifestKey,
			ClosingSHA256: p.ClosingSHA256, Closed: p.State == store.PeriodClosed, HasLate: totals.Late > 0,
		})
	}
	return booked, err
}

func (h *history) OpeningAt(ctx context.Context, c *rating.Catalog, p rating.Period, shard int) ([]rating.PayerState, [32]byte, error) {
	return h.opening(ctx, c, p.Start, shard)
}

func (h *history) Unseal(ctx context.Context, c *rating.Catalog, s jobs.SealedState) ([]rating.PayerState, error) {
	if s.Blob == nil {
		return openState(ctx, h.store, c, s.SHA256)
	}
	return store.DecodeState(c, s.Blob)
}

func (h *history) Keep(ctx context.Context, states []jobs.SealedState) error {
	stored := make([]store.ShardState, len(states))
	for n, s := range states {
		stored[n] = store.ShardState{Shard: n, SHA256: s.SHA256, Payers: int64(s.Payers), Packages: int64(s.Packages), Content: s.Blob}
	}
	return h.store.PutStates(ctx, h.held.lease, stored)
}
