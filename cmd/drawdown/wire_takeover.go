package main

import (
	"context"
	"fmt"
	"maps"
	"path"

	"drawdown/jobs"
	"drawdown/writers/settlement"
)

func (r *outputRevision) TakeOver(ctx context.Context, p *jobs.StandingPeriod, shards []bool) (*jobs.TakenOver, error) {
	stands := r.output.stands
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
		file := fileOf(f)
		if f.Table == "lines" && shards[f.Shard] == direct {
			of, err := stands.Verify(ctx, dir, file)
			if err != nil {
				return nil, fmt.Errorf("read %s: %w", stands.File(path.Join(dir, f.Name)), err)
			}
			sums.Add(of)
		}
		switch {
		case !shards[f.Shard] && f.Table == "notices":
			if err := sought(ctx, stands, dir, &file, taken); err != nil {
				return nil, fmt.Errorf("read %s: %w", stands.File(path.Join(dir, f.Name)), err)
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
	return taken, r.Revision.TakeOver(ctx, stands, dir, files, sums)
}

// sought reads which notices are to be found again; a file with another hash than its manifest says is not believed.
func sought(ctx context.Context, stands *settlement.Output, dir string, f *settlement.File, taken *jobs.TakenOver) error {
	if _, err := stands.Verify(ctx, dir, *f); err != nil {
		return err
	}
	return stands.VerifyNotices(ctx, path.Join(dir, f.Name), func(n *settlement.Notice) error {
		taken.Sought = append(taken.Sought, bookedNotice(n))
		if taken.Notices[n.Kind]--; taken.Notices[n.Kind] <= 0 {
			delete(taken.Notices, n.Kind)
		}
		return nil
	})
}

func fileOf(f *jobs.ArchivedFile) settlement.File {
	return settlement.File{Name: f.Name, Table: f.Table, Shard: f.Shard, Rows: f.Rows, Size: f.Size, SHA256: f.SHA256[:]}
}
