package main

import (
	"context"
	"iter"
	"reflect"

	"drawdown/jobs"
	"drawdown/rating"
	"drawdown/writers/settlement"
)

// output makes a settlement.Output a jobs.Output.
type output struct {
	*settlement.Output
	site         string
	configSHA256 settlement.Hash
	catalog      *rating.Catalog
	token        int64
	stands       *settlement.Output // of a backfill: where the manifests are that it compares with
	scratch      bool               // nothing need outlive the machine
}

func (o *output) Sync(ctx context.Context) error {
	if o.scratch {
		return nil
	}
	return o.Output.Sync(ctx)
}

func (o *output) Create(period rating.Period, name string, revision int, objects []string) (jobs.Revision, error) {
	created, err := o.Output.Create(period, name, revision, o.token, settlement.Names{
		Catalog: o.catalog, Objects: objects,
	})
	if err != nil {
		return nil, err
	}
	return &outputRevision{Revision: created, output: o, name: name, number: revision}, nil
}

func (o *output) Publish(ctx context.Context, current map[string]jobs.Current) error {
	named := map[string]settlement.Current{}
	for name, c := range current {
		named[name] = settlement.Current{Revision: c.Revision, Manifest: c.ManifestKey, SHA256: settlement.Hash(c.ManifestSHA256[:])}
	}
	if published, err := o.ReadCurrent(); err != nil || !reflect.DeepEqual(published, named) {
		if err := o.SetCurrent(named); err != nil {
			return err
		}
	}
	return o.CheckCurrent(ctx, named)
}

// outputRevision makes a settlement.Revision a jobs.Revision.
type outputRevision struct {
	*settlement.Revision
	output *output
	name   string
	number int
}

func (r *outputRevision) Shard(number int, c *rating.Catalog) jobs.Shard {
	return r.Revision.Shard(number, c)
}

func (r *outputRevision) Discard() error {
	return r.output.Discard(r.name, r.number, r.output.token)
}

func (r *outputRevision) Finish(
	ctx context.Context, m *jobs.Manifest, quarantine iter.Seq2[jobs.Rejection, error],
) (key string, sha256 [32]byte, err error) {
	err = r.Quarantine(func(yield func(settlement.Rejection, error) bool) {
		for row, err := range quarantine {
			if !yield(settlement.Rejection{Object: row.Object, Rejected: row.Rejected}, err) {
				return
			}
		}
	})
	if err != nil {
		return "", sha256, err
	}
	if err := r.Check(ctx); err != nil {
		return "", sha256, err
	}
	manifest := r.output.manifest(m)
	if m.Standing != "" {
		standing, _, err := r.output.stands.ReadManifest(m.Standing)
		if err != nil || r.ComesTo(manifest, standing) {
			return "", sha256, err
		}
	}
	return r.Revision.Finish(manifest)
}

// manifest says in the file format's words what a job says of a period.
func (o *output) manifest(m *jobs.Manifest) settlement.Manifest {
	out := settlement.Manifest{
		Site: o.site, Revision: m.Revision,
		Period: settlement.ManifestPeriod{
			Name: m.Name, Start: m.Period.Start.String(), End: m.Period.End.String(), TimeZone: o.catalog.Zone.String(),
		},
		ConfigSHA256: o.configSHA256, CatalogSHA256: m.CatalogSHA256[:],
		OpeningSHA256: hashes(m.OpeningSHA256), ClosingSHA256: hashes(m.ClosingSHA256),
		Totals: settlement.Totals{Rows: settlement.Rows(m.Rows)},
	}
	if m.PreviousSHA256 != [32]byte{} {
		out.PreviousManifestSHA256 = m.PreviousSHA256[:]
	}
	for i := range m.Inputs {
		in := &m.Inputs[i]
		input := settlement.Input{
			Key: in.Key, Size: in.Size, SHA256: in.SHA256[:], Rows: settlement.Rows(in.Rows), ProbableDuplicate: in.Probable,
		}
		if in.First <= in.Last {
			input.First, input.Last = in.First.String(), in.Last.String()
		}
		out.Inputs = append(out.Inputs, input)
	}
	out.Totals.Meters, out.Totals.Amounts = meterTotals(m.Meters), currencyTotals(m.Amounts)
	if l := m.Late; l != nil {
		out.Late = &settlement.Late{
			Rows:   settlement.LateRows{Settled: l.Rows.Settled, Duplicate: l.Rows.Duplicate, Superseded: l.Rows.Superseded, Quarantined: l.Rows.Quarantined},
			Meters: meterTotals(l.Meters), Amounts: currencyTotals(l.Amounts), Objects: l.Objects,
		}
		for _, c := range l.Beside {
			out.Late.Beside = append(out.Late.Beside, settlement.Beside{Key: c.Key, SHA256: c.SHA256[:]})
		}
	}
	return out
}

func meterTotals(meters []jobs.MeterReport) (totals []settlement.MeterTotal) {
	for _, t := range meters {
		totals = append(totals, settlement.MeterTotal{
			Meter: t.Meter, Settled: settlement.Decimal(t.Settled), Deducted: settlement.Decimal(t.Deducted),
			Excess: settlement.Decimal(t.Excess), Stopped: settlement.Decimal(t.Stopped),
		})
	}
	return totals
}

func currencyTotals(amounts []jobs.CurrencyAmount) (totals []settlement.CurrencyTotal) {
	for _, c := range amounts {
		totals = append(totals, settlement.CurrencyTotal{Currency: c.Currency, Amount: settlement.Decimal(c.Amount)})
	}
	return totals
}

func hashes(sums [][32]byte) []settlement.Hash {
	list := make([]settlement.Hash, len(sums))
	for i := range sums {
		list[i] = sums[i][:]
	}
	return list
}
