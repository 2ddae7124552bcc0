package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
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
		Alike: m.ConfigSHA256 == s.config.hash() && run != nil && run.Version == buildVersion().Version &&
			min(nowOf(run), s.now) >= was.Period.End,
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
	p.Unpriced, err = s.unpriced(p)
	return p, err
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

// unpriced gives the accounts that stand in quarantine because no price was in force.
func (s *standing) unpriced(p *jobs.StandingPeriod) (accounts []string, err error) {
	for _, f := range p.Manifest.Files {
		if f.Table != "quarantine" || f.Rows == 0 {
			continue
		}
		for row, err := range settlement.ReadQuarantine(s.output.File(path.Join(path.Dir(p.Key), f.Name))) {
			if err != nil {
				return nil, fmt.Errorf("read %s: %w", f.Name, err)
			}
			if row.Reason == rating.NoPrice.String() {
				accounts = append(accounts, orZero(row.Account))
			}
		}
	}
	return accounts, nil
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

func (s *standing) TakeOver(ctx context.Context, r jobs.Revision, p *jobs.StandingPeriod, shards []bool) (*jobs.TakenOver, error) {
	into, ok := r.(*outputRevision)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	dir := path.Dir(p.Key)
	taken := &jobs.TakenOver{Notices: maps.Clone(p.Notices)}
	var files []settlement.File
	few := 0
	for _, is := range shards {
		if is {
			few++
		}
	}
	direct := 2*few <= len(shards) // else the others are added up, and taken from the whole
	sums := settlement.NewSums()
	for i := range p.Manifest.Files {
		f := &p.Manifest.Files[i]
		if f.Table == "quarantine" || f.Rows == 0 {
			continue
		}
		file := settlement.File{Name: f.Name, Table: f.Table, Shard: f.Shard, Rows: f.Rows, Size: f.Size, SHA256: f.SHA256[:]}
		if f.Table == "lines" && shards[f.Shard] == direct {
			of, err := s.output.Verify(ctx, dir, file)
			if err != nil {
				return nil, fmt.Errorf("read %s: %w", s.output.File(path.Join(dir, f.Name)), err)
			}
			sums.Add(of)
		}
		switch {
		case !shards[f.Shard] && f.Table == "notices":
			if err := s.sought(ctx, path.Join(dir, f.Name), taken); err != nil {
				return nil, err
			}
		case shards[f.Shard] && f.Table == "lines":
			taken.Lines += f.Rows
		}
		if shards[f.Shard] {
			files = append(files, file)
		}
	}
	if !direct {
		whole := settlement.NewSums()
		for _, m := range p.Manifest.Meters {
			whole.Meters[m.Meter] = settlement.MeterSum{Deducted: m.Deducted, Excess: m.Excess, Stopped: m.Stopped}
		}
		for _, a := range p.Manifest.Amounts {
			whole.Amounts[a.Currency] = a.Amount
		}
		whole.Without(sums)
		sums = whole
	}
	for meter, m := range sums.Meters {
		all, _ := m.Deducted.Add(m.Excess)
		all, _ = all.Add(m.Stopped)
		taken.Meters = append(taken.Meters, jobs.MeterReport{Meter: meter, Settled: all, Deducted: m.Deducted, Excess: m.Excess, Stopped: m.Stopped})
	}
	for currency, amount := range sums.Amounts {
		taken.Amounts = append(taken.Amounts, jobs.CurrencyAmount{Currency: currency, Amount: amount})
	}
	return taken, into.TakeOver(ctx, s.output, dir, files, sums)
}

// sought reads which notices are to be found again.
func (s *standing) sought(ctx context.Context, name string, taken *jobs.TakenOver) error {
	err := s.output.VerifyNotices(ctx, name, func(n *settlement.Notice) error {
		taken.Sought = append(taken.Sought, bookedNotice(n))
		if taken.Notices[n.Kind]--; taken.Notices[n.Kind] <= 0 {
			delete(taken.Notices, n.Kind)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read %s: %w", s.output.File(name), err)
	}
	return nil
}
