package main

import (
	"context"
	"crypto/sha256"
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

// explain finds what became of a record, with the catalog that its numbers refer to.
func (a *app) explain(c *Config, recordID string) (explanation *jobs.Explanation, compiled *rating.Catalog, err error) {
	st, err := store.Open(a.ctx, c.State, store.ReadOnly)
	if err != nil {
		return nil, nil, &failure{op: "open state", err: err}
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	compiled, sha256, err := a.catalogIn(c, st, lookUp)
	if err != nil {
		return nil, nil, err
	}
	dir, err := os.MkdirTemp(c.TempDir, "drawdown-explain-*")
	if err != nil {
		return nil, nil, &failure{op: "explain", err: err}
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	scratch, err := settlement.OpenOutput(dir)
	if err != nil {
		return nil, nil, &failure{op: "explain", err: err}
	}
	job, closeJob, err := a.job(a.ctx, c, st, compiled, sha256, scratch)
	if err != nil {
		return nil, nil, err
	}
	books, err := c.openOutput(a.ctx, c.Memory)
	if err != nil {
		return nil, nil, errors.Join(&failure{op: "open output", err: err}, closeJob())
	}
	explanation, err = job.Explain(a.ctx, &past{job.State.(*state), books}, recordID)
	if err = errors.Join(err, books.Close(), closeJob()); err != nil {
		return nil, nil, &failure{op: "explain", err: err}
	}
	return explanation, compiled, nil
}

// past makes a store.Store and the files of a settlement a jobs.Past.
type past struct {
	*state
	output *settlement.Output
}

func (p *past) Books(ctx context.Context, period rating.Period) (*jobs.Books, error) {
	r, err := p.store.SettledBefore(ctx, period.Start+1)
	if err != nil || r == nil || r.PeriodStart != period.Start {
		return nil, errors.Join(err, fmt.Errorf("the period that starts at %v is not settled", period.Start))
	}
	file := p.output.File(r.ManifestKey)
	content, err := p.output.ReadFile(r.ManifestKey)
	if err != nil {
		return nil, err
	}
	if sha256.Sum256(content) != r.ManifestSHA256 {
		return nil, fmt.Errorf("%s is not the manifest that was committed: it was changed since, or is of another site", file)
	}
	manifest, err := settlement.ParseManifest(content)
	if err != nil {
		return nil, fmt.Errorf("read manifest %s: %w", file, err)
	}
	books := &jobs.Books{
		Inputs: make(map[string]jobs.BookedInput, len(manifest.Inputs)), CatalogSHA256: r.CatalogSHA256,
		Tables: &bookedTables{published: published{name: r.PeriodName, manifest: manifest, output: p.output, dir: path.Dir(r.ManifestKey)}},
	}
	for i := range manifest.Inputs {
		in := &manifest.Inputs[i]
		booked := jobs.BookedInput{Size: in.Size}
		copy(booked.SHA256[:], in.SHA256)
		books.Inputs[in.Key] = booked
	}
	return books, nil
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
