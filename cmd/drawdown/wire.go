package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"drawdown/jobs"
	"drawdown/rating"
	"drawdown/readers/usage"
	"drawdown/writers/settlement"
	"drawdown/writers/store"
)

// settle plugs the readers and writers into jobs.Settle. An until of Never settles all that is due.
func (a *app) settle(c *Config, until rating.Instant, dryRun bool) (*jobs.Report, error) {
	if dryRun {
		return a.settleDry(c, until)
	}
	st, err := store.Open(a.ctx, c.State, a.writeMode())
	if err != nil {
		return nil, &failure{op: "open state", err: err}
	}
	report, err := a.settleIn(c, st, until)
	return report, errors.Join(err, st.Close())
}

// writeMode opens a state for writing; what lives in a temporary folder need not outlive the machine.
func (a *app) writeMode() store.Mode {
	if a.scratch {
		return store.Scratch
	}
	return store.ReadWrite
}

// settleIn takes the lease, and settles.
func (a *app) settleIn(c *Config, st *store.Store, until rating.Instant) (report *jobs.Report, err error) {
	held, err := a.takeLease(c, st, "settle", "")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, held.release(a, err)) }()
	used, err := a.catalogIn(c, st, settleWith)
	if err != nil {
		return nil, err
	}
	out, err := c.openOutput(held.ctx, a.memory(c))
	if err != nil {
		return nil, &failure{op: "open output", err: err}
	}
	job, closeJob, err := a.job(held.ctx, c, st, used, out)
	if err != nil {
		return nil, err
	}
	ledger := &ledger{store: st, catalog: used, held: held, clock: a.clock, now: rating.InstantOf(a.now), config: c}
	job.Until, job.Ledger, job.Output.(*output).token = until, ledger, held.lease.Token
	if a.tamper != nil {
		a.tamper(job)
	}
	report, err = job.Run(held.ctx)
	if report != nil {
		report.Run = held.run
	}
	if err = errors.Join(err, closeJob()); err != nil {
		return report, held.explainLoss(&failure{op: "settle", err: err})
	}
	return report, nil
}

// settleDry settles by the same code into a temporary folder, and commits nothing.
func (a *app) settleDry(c *Config, until rating.Instant) (report *jobs.Report, err error) {
	dir, err := os.MkdirTemp(c.TempDir, "drawdown-dry-run-*")
	if err != nil {
		return nil, &failure{op: "settle", err: fmt.Errorf("make a folder to work in: %w", err), hint: "name a folder that exists in temp_dir"}
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	st, err := store.Open(a.ctx, c.State, store.ReadOnly)
	if errors.Is(err, store.ErrEmpty) {
		st, err = store.Open(a.ctx, filepath.Join(dir, "state.db"), store.Scratch)
	}
	if err != nil {
		return nil, &failure{op: "open state", err: err}
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	used, err := a.catalogIn(c, st, trySettle)
	if err != nil {
		return nil, err
	}
	out, err := settlement.OpenOutput(filepath.Join(dir, "settlements"))
	if err != nil {
		return nil, &failure{op: "settle", err: err}
	}
	job, closeJob, err := a.job(a.ctx, c, st, used, out)
	if err != nil {
		return nil, err
	}
	job.Until, job.DryRun, job.Ledger = until, true, &ledger{store: st, catalog: used, config: c, clock: a.clock}
	report, err = job.Run(a.ctx)
	if err = errors.Join(err, closeJob()); err != nil {
		err = &failure{op: "settle", err: err}
	}
	return report, err
}

// memory is what a run may use.
func (a *app) memory(c *Config) byteSize {
	if a.flags.Memory > 0 {
		return byteSize(a.flags.Memory)
	}
	return c.Memory
}

// keepWithin tells the runtime how much memory a run may use. Until it gets near to that, the heap may grow fivefold before
// it is collected: what a catalog is made into stays, and looking through it again and again frees nothing.
func keepWithin(memory byteSize) {
	uncounted := max(memory/10, min(memory/4, 40<<20)) // the program's own pages, and SQLite's caches
	debug.SetMemoryLimit(int64(memory - uncounted))
	debug.SetGCPercent(400)
}

// job makes a jobs.Settle of a configuration, all but the ledger. The output is closed with it, or if there is none.
func (a *app) job(
	ctx context.Context, c *Config, st *store.Store, used *usedCatalog, out *settlement.Output,
) (*jobs.Settle, func() error, error) {
	compiled := used.Catalog
	memory := a.memory(c)
	progress := a.progress()
	lies, err := a.openUsage(ctx, c, memory, progress)
	if err != nil {
		return nil, nil, errors.Join(&failure{op: "open usage", err: err}, out.Close())
	}
	reader, err := usage.NewReader(lies, compiled, c.Usage.Config, rating.InstantOf(a.now))
	if err != nil {
		return nil, nil, errors.Join(&failure{op: "read config", err: err, code: exitUsage}, lies.Close(), out.Close())
	}
	objects, err := newBucket(lies, c)
	if err != nil {
		return nil, nil, errors.Join(&failure{op: "read config", err: err, code: exitUsage}, lies.Close(), out.Close())
	}
	books := &closedBooks{store: st, open: func() (*settlement.Output, error) { return c.openOutput(ctx, memory) }}
	configSHA256 := c.hash()
	job := &jobs.Settle{
		Catalog: compiled, Parts: used.parts, CatalogSHA256: used.sha256, Rules: c.rating(),
		Unit: rating.PeriodUnit(c.Settlement.Period), Start: c.Start, Delay: time.Duration(c.Settlement.Delay),
		Now: rating.InstantOf(a.now), Until: rating.Never, MaxQuarantinePercent: int64(c.Settlement.MaxQuarantine),
		QuarantineBadObjects: c.Usage.OnBadObject == "quarantine",
		Shards:               c.Settlement.Shards, Workers: runtime.GOMAXPROCS(0), MemoryBytes: int64(memory), TempDir: c.TempDir,
		Bucket: objects, Reader: objectReader{reader},
		State:  &state{store: st, shards: c.Settlement.Shards, whole: used.whole},
		Output: &output{Output: out, scratch: a.scratch, site: c.Site, configSHA256: configSHA256[:], catalog: compiled},
		Closed: books,
		Clock:  a.clock, Progress: progress.report, Stop: a.stop,
	}
	closeJob := func() error {
		progress.done()
		return errors.Join(books.close(), out.Close(), lies.Close())
	}
	return job, closeJob, nil
}

// heldLease is the lease while a command works, with a heartbeat; its context ends when the lease is lost. Each commit is
// a run of its own.
type heldLease struct {
	store     *store.Store
	lease     store.Lease
	template  store.Run
	run       int64 // the newest
	committed bool  // it has committed
	ctx       context.Context
	cancel    context.CancelCauseFunc
	beat      sync.WaitGroup
}

func (a *app) takeLease(c *Config, st *store.Store, command, reason string) (*heldLease, error) {
	process := a.self()
	if err := a.checkClock(st); err != nil {
		return nil, &failure{op: command, err: err, hint: "set both clocks, by NTP"}
	}
	lease, err := st.AcquireLease(a.ctx, c.Site, process, rating.InstantOf(a.clock()))
	var held *store.HeldError
	switch {
	case errors.As(err, &held):
		return nil, &failure{op: command, err: held, code: exitHeld}
	case err != nil:
		return nil, &failure{op: command, err: err}
	}
	h := &heldLease{
		store: st, lease: lease, template: store.Run{Site: c.Site, Command: command, Token: lease.Token, Process: process, Reason: reason},
	}
	if err := h.start(a.ctx, a.clock); err != nil {
		return nil, errors.Join(&failure{op: command, err: err}, st.ReleaseLease(a.ctx, lease))
	}
	h.ctx, h.cancel = context.WithCancelCause(a.ctx)
	h.beat.Go(func() { h.heartbeat(a.clock) })
	return h, nil
}

// maxSkew is how far the clocks of two machines may be apart: a lease is judged by its age on them.
const maxSkew = store.LeaseTTL / 2

// checkClock compares this machine's clock with that of the database's server, where it has one.
func (a *app) checkClock(st *store.Store) error {
	theirs, ok, err := st.Clock(a.ctx)
	if err != nil || !ok {
		return err
	}
	if skew := a.clock().Sub(theirs.Time()); skew.Abs() > maxSkew {
		return fmt.Errorf("the clock of this machine and that of the database's are %v apart: a run could be taken for dead that is alive", skew.Abs().Round(time.Second))
	}
	return nil
}

// start writes down that a run begins.
func (h *heldLease) start(ctx context.Context, clock func() time.Time) (err error) {
	run := h.template
	run.StartedAt = rating.InstantOf(clock())
	h.run, err = h.store.StartRun(ctx, run)
	h.committed = false
	return err
}

func (h *heldLease) heartbeat(clock func() time.Time) {
	ticker := time.NewTicker(store.LeaseTTL / 4)
	defer ticker.Stop()
	renewed := clock()
	for {
		select {
		case <-h.ctx.Done():
			return
		case <-ticker.C:
			now := clock()
			err := h.store.RenewLease(h.ctx, h.lease, rating.InstantOf(now))
			switch {
			case err == nil:
				renewed = now
			case errors.Is(err, store.ErrFenced) || now.Sub(renewed) >= store.LeaseTTL:
				h.cancel(err)
				return
			} // a database that is busy for a moment is asked again before the lease runs out
		}
	}
}

// explainLoss puts the loss of the lease in the place of the cancellation that it caused.
func (h *heldLease) explainLoss(err error) error {
	if cause := context.Cause(h.ctx); cause != nil && errors.Is(err, context.Canceled) && !errors.Is(cause, context.Canceled) {
		return &failure{op: h.template.Command, err: cause}
	}
	return err
}

// release ends the heartbeat, writes down how the run ended, and gives the lease back, also after an interrupt.
func (h *heldLease) release(a *app, failed error) error {
	h.cancel(nil)
	h.beat.Wait()
	ctx := context.WithoutCancel(a.ctx)
	outcome := store.Outcome{State: store.RunNothingToDo, FinishedAt: rating.InstantOf(a.clock())}
	var err error
	if failed != nil {
		outcome.State, outcome.Error = store.RunFailed, failed.Error()
		if h.committed { // a part of the work is done; what failed is the next one
			err = h.start(ctx, a.clock)
		}
	}
	if err == nil && !h.committed {
		err = h.store.FinishRun(ctx, h.run, outcome)
	}
	return errors.Join(err, h.store.ReleaseLease(ctx, h.lease))
}

// self says who runs this process.
func (a *app) self() store.Process {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	actor := ""
	for _, name := range []string{"SUDO_USER", "USER", "LOGNAME", "USERNAME"} {
		for _, entry := range a.env {
			if value, found := strings.CutPrefix(entry, name+"="); found && actor == "" {
				actor = value
			}
		}
	}
	return store.Process{Actor: actor, Host: host, PID: os.Getpid(), Version: buildVersion().Version}
}
