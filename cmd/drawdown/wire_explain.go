package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"

	"drawdown/jobs"
	"drawdown/rating"
	"drawdown/writers/settlement"
	"drawdown/writers/store"
)

// explain finds what became of a record, by the current revisions, or those of a number.
func (a *app) explain(c *Config, recordID string, revision int) (explanation *jobs.Explanation, err error) {
	st, err := store.Open(a.ctx, c.State, store.ReadOnly)
	if err != nil {
		return nil, &failure{op: "open state", err: err}
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	used, err := a.catalogIn(c, st, lookUp)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(c.TempDir, "drawdown-explain-*")
	if err != nil {
		return nil, &failure{op: "explain", err: err}
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	p := &past{app: a, config: c, store: st, dir: dir, revision: revision}
	defer func() { err = errors.Join(err, p.close()) }()
	if p.output, err = c.openOutput(a.ctx, c.Memory); err != nil {
		return nil, &failure{op: "open output", err: err}
	}
	job, err := p.job(a.ctx, used)
	if err != nil {
		return nil, err
	}
	explanation, err = job.Explain(a.ctx, p, recordID)
	if unknown := (*unknownRevision)(nil); errors.As(err, &unknown) {
		return nil, &failure{op: "explain", err: unknown, code: exitUsage, hint: "`drawdown diff PERIOD` compares revisions"}
	}
	if err != nil {
		return nil, &failure{op: "explain", err: err}
	}
	return explanation, nil
}

// past makes a store.Store and the files of a settlement a jobs.Past.
type past struct {
	*app
	config   *Config
	store    *store.Store
	output   *settlement.Output
	dir      string // of jobs, which write nothing
	revision int    // that was asked for; 0: the current ones
	closers  []func() error
}

// job makes a job that reads usage with a catalog.
func (p *past) job(ctx context.Context, used *usedCatalog) (*jobs.Settle, error) {
	scratch, err := settlement.OpenOutput(p.dir)
	if err != nil {
		return nil, &failure{op: "explain", err: err}
	}
	job, closeJob, err := p.app.job(ctx, p.config, p.store, used, scratch)
	if err == nil {
		p.closers = append(p.closers, closeJob)
	}
	return job, err
}

func (p *past) close() (err error) {
	for _, c := range p.closers {
		err = errors.Join(err, c())
	}
	if p.output != nil {
		err = errors.Join(err, p.output.Close())
	}
	return err
}

func (p *past) As(ctx context.Context, catalogSHA256 [32]byte) (*jobs.Settle, error) {
	used, err := p.keptCatalog(ctx, p.config, p.store, catalogSHA256)
	switch {
	case errors.Is(err, store.ErrNotKept):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return p.job(ctx, used)
}

func (p *past) Opening(ctx context.Context, catalog *rating.Catalog, sha256 [32]byte) ([]rating.PayerState, error) {
	return openState(ctx, p.store, catalog, sha256)
}

func (p *past) BooksAt(ctx context.Context, t rating.Instant) (*jobs.Books, error) {
	current, err := p.store.SettledBefore(ctx, t+1)
	if err != nil || current == nil || current.PeriodEnd <= t {
		return nil, err
	}
	r, err := revisionOf(ctx, p.store, current.PeriodStart, p.revision)
	if err != nil {
		return nil, err
	}
	file := p.output.File(r.ManifestKey)
	manifest, sha, err := p.output.ReadManifest(r.ManifestKey)
	if sha != [32]byte{} && sha != r.ManifestSHA256 {
		return nil, fmt.Errorf("%s is not the manifest that was committed: it was changed since, or is of another site", file)
	}
	if err != nil {
		return nil, err
	}
	books := &jobs.Books{
		Period: settledOf(r).Period, Revision: r.Revision, Inputs: make(map[string]jobs.BookedInput, len(manifest.Inputs)), CatalogSHA256: r.CatalogSHA256,
		Tables: &bookedTables{published: published{name: r.PeriodName, manifest: manifest, output: p.output, dir: path.Dir(r.ManifestKey)}},
	}
	for i := range manifest.Inputs {
		in := &manifest.Inputs[i]
		booked := jobs.BookedInput{Size: in.Size}
		copy(booked.SHA256[:], in.SHA256)
		books.Inputs[in.Key] = booked
	}
	if books.Late = lateOf(manifest); p.revision == 0 {
		if books.LateIn, err = p.lateIn(ctx, r.PeriodEnd); err != nil {
			return nil, err
		}
	}
	for _, h := range manifest.OpeningSHA256 {
		books.OpeningSHA256 = append(books.OpeningSHA256, hash32(h))
	}
	return books, nil
}

// lateIn gives the starts of periods from an instant on that have settled usage of closed ones.
func (p *past) lateIn(ctx context.Context, from rating.Instant) (starts []rating.Instant, err error) {
	periods, err := (&history{state: &state{store: p.store}}).all(ctx)
	for i := range periods {
		if start := periods[i].Period.Start; start >= from && periods[i].HasLate {
			starts = append(starts, start)
		}
	}
	return starts, err
}

// revisionOf gives a revision of the period that starts at an instant; 0: the current one.
func revisionOf(ctx context.Context, st *store.Store, start rating.Instant, number int) (*store.Revision, error) {
	revisions, err := st.Revisions(ctx, start)
	if err != nil {
		return nil, err
	}
	if len(revisions) == 0 {
		return nil, fmt.Errorf("the period that starts at %v is not settled", start)
	}
	for i := range revisions {
		if r := &revisions[i]; r.Revision == number || number == 0 && r.IsCurrent {
			return r, nil
		}
	}
	return nil, &unknownRevision{revisions[0].PeriodName, revisions[len(revisions)-1].Revision, number}
}

// unknownRevision is one that somebody asked for and that there is none of.
type unknownRevision struct {
	period        string
	newest, asked int
}

func (e *unknownRevision) Error() string {
	return fmt.Sprintf("period %s has revisions 1 to %d, and no %d", e.period, e.newest, e.asked)
}

// bookedTables looks up rows in the files of a settled period.
type bookedTables struct{ published }

func (t *bookedTables) Lines(ctx context.Context, shard int, account, id string) ([]jobs.BookedLine, error) {
	files := slices.Clone(t.manifest.Files)
	slices.SortStableFunc(files, func(a, b settlement.File) int { // that of the shard first
		switch {
		case (a.Shard == shard) == (b.Shard == shard):
			return 0
		case a.Shard == shard:
			return -1
		}
		return 1
	})
	for i := range files {
		if files[i].Table != "lines" {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		name := t.file(files[i].Name)
		var lines []jobs.BookedLine
		for l, err := range settlement.ReadLines(name) {
			if err != nil {
				return nil, fmt.Errorf("read %s: %w", name, err)
			}
			if l.RecordID == id && l.Account == account {
				lines = append(lines, bookedLine(&l))
			} else if len(lines) > 0 { // the lines of a record stand together
				break
			}
		}
		if len(lines) > 0 {
			return lines, nil
		}
	}
	return nil, nil
}

func bookedLine(l *settlement.Line) jobs.BookedLine {
	return jobs.BookedLine{
		LineNo: l.LineNo, Kind: l.Kind, Package: orZero(l.Package), CycleStart: orZero(l.CycleStart), Quantity: l.Quantity,
		Consumed: orZero(l.Consumed), RemainingBefore: orZero(l.RemainingBefore), RemainingAfter: orZero(l.RemainingAfter),
		PriceID: orZero(l.PriceID), Tier: orZero(l.Tier), UnitPrice: orZero(l.UnitPrice), Per: orZero(l.Per),
		Amount: l.Amount, Currency: l.Currency,
		Source: jobs.BookedSource{Object: l.SourceObject, Row: l.SourceRow, Meter: l.Meter, Time: l.EventTime},
	}
}

// orZero gives what a pointer points to; of null, zero.
func orZero[T any](p *T) (value T) {
	if p != nil {
		value = *p
	}
	return value
}

func (t *bookedTables) Quarantined(ctx context.Context, object string, row int64, id string) (why jobs.BookedReason, found bool, err error) {
	for _, name := range t.files("quarantine") {
		if err := ctx.Err(); err != nil {
			return why, false, err
		}
		for q, err := range settlement.ReadQuarantine(name) {
			if err != nil {
				return why, false, fmt.Errorf("read %s: %w", name, err)
			}
			whole := q.SourceRow == nil
			this := !whole && *q.SourceRow == row && (q.RecordID == nil || *q.RecordID == id)
			if q.SourceObject == object && (whole || this) {
				return jobs.BookedReason{Reason: q.Reason, Detail: q.Detail}, true, nil
			}
		}
	}
	return why, false, nil
}
