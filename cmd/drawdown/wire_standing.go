package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"path"

	"drawdown/jobs"
	"drawdown/rating"
	"drawdown/writers/settlement"
	"drawdown/writers/store"
)

// standing makes a store.Store and a settlement.Output a jobs.Standing.
type standing struct {
	store  *store.Store
	output *settlement.Output
	config *Config
	used   *usedCatalog
	now    rating.Instant
	runs   map[int64]*store.Run
}

func (s *standing) Of(ctx context.Context, was *jobs.Booked) (*jobs.StandingPeriod, error) {
	r, err := revisionOf(ctx, s.store, was.Period.Start, was.Revision)
	if err != nil {
		return nil, err
	}
	run, seen := s.runs[r.RunID]
	if !seen {
		if run, err = s.store.RunOf(ctx, r.RunID); err != nil {
			return nil, err
		}
		s.runs[r.RunID] = run
	}
	opened, err := (&archive{s.output}).Open(ctx, was.ManifestKey)
	if err != nil {
		return nil, err
	}
	m := opened.Manifest()
	if m.SHA256 != was.ManifestSHA256 {
		return nil, fmt.Errorf("%s is not the manifest that was committed; `drawdown verify` says more", s.output.File(was.ManifestKey))
	}
	p := &jobs.StandingPeriod{
		Manifest: m, Key: was.ManifestKey,
		Reasons: map[rating.Reason]int64{},
	}
	if run != nil {
		p.Now = min(nowOf(run), s.now)
		p.Alike = m.ConfigSHA256 == s.config.hash() && run.Version == buildVersion().Version && p.Now >= was.Period.End
	}
	states, err := s.store.NamedStates(ctx, was.Period.Start, was.Revision)
	if err != nil {
		return nil, err
	}
	for _, state := range states {
		p.Alike = p.Alike && state.Found
		p.Closing = append(p.Closing, jobs.SealedState{SHA256: state.SHA256, Payers: int(state.Payers), Packages: int(state.Packages)})
	}
	if p.Notices, err = s.store.NoticeKinds(ctx, was.Period.Start, was.Revision); err != nil {
		return nil, err
	}
	p.Alike = p.Alike && noticeRows(m) == sumOf(p.Notices)
	for row, err := range s.Quarantined(ctx, p) {
		if err != nil {
			return nil, err
		}
		if p.Reasons[row.Reason]++; row.Reason == rating.NoPrice {
			p.Unpriced = append(p.Unpriced, row.Account)
		}
	}
	return p, nil
}

func noticeRows(m *jobs.ArchivedManifest) (rows int64) {
	for i := range m.Files {
		if m.Files[i].Table == "notices" {
			rows += m.Files[i].Rows
		}
	}
	return rows
}

func sumOf(counts map[string]int) (sum int64) {
	for _, n := range counts {
		sum += int64(n)
	}
	return sum
}

// Quarantined reads a file only if its hash is what the manifest says.
func (s *standing) Quarantined(ctx context.Context, p *jobs.StandingPeriod) iter.Seq2[jobs.BookedRejection, error] {
	return func(yield func(jobs.BookedRejection, error) bool) {
		dir := path.Dir(p.Key)
		for i := range p.Manifest.Files {
			f := &p.Manifest.Files[i]
			if f.Table != "quarantine" || f.Rows == 0 {
				continue
			}
			if _, err := s.output.Verify(ctx, dir, fileOf(f)); err != nil {
				yield(jobs.BookedRejection{}, fmt.Errorf("read %s: %w", s.output.File(path.Join(dir, f.Name)), err))
				return
			}
			for row, err := range settlement.ReadQuarantine(s.output.File(path.Join(dir, f.Name))) {
				if err != nil {
					yield(jobs.BookedRejection{}, err)
					return
				}
				reason, known := rating.ReasonNamed(row.Reason)
				if !known {
					yield(jobs.BookedRejection{}, fmt.Errorf("read %s: there is no reason %q", f.Name, row.Reason))
					return
				}
				if !yield(jobs.BookedRejection{Object: row.SourceObject, Rejected: rating.Rejected{
					Row: orZero(row.SourceRow), Reason: reason, Detail: row.Detail, RecordID: orZero(row.RecordID), Account: orZero(row.Account),
					Meter: orZero(row.Meter), Raw: row.Raw,
				}}, nil) {
					return
				}
			}
		}
	}
}

func (s *standing) Edited(ctx context.Context, catalogSHA256 [32]byte, from, to rating.Instant) (payers []int32, shards []int, all bool, err error) {
	was, is, shards, err := s.store.CompareCatalog(ctx, catalogSHA256, s.used.copy)
	switch {
	case errors.Is(err, store.ErrNotKept):
		return nil, nil, true, nil
	case err != nil:
		return nil, nil, false, err
	}
	payers, all = s.used.PayersOf(was, is, from, to, s.config.compileConfig())
	return payers, shards, all, nil
}
