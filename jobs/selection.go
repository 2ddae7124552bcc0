package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"drawdown/jobs/shuffle"
	"drawdown/rating"
)

// selection is what a batch of a backfill reads of objects that the standing periods were settled with as they are: only the
// rows of the shards that it computes. What became of the others, the standing manifests and quarantines say.
type selection struct {
	periods []*StandingPeriod
	kept    []bool // by object, that it was settled as it is
	fresh   bool   // there are others

	touched []bool          // by shard; nil: the objects are read as a whole after all
	before  []shuffle.Tally // what became of the rows of touched shards, as it stands
}

// selects tells what a batch may leave unread, before anything is read; nil: nothing. That an object is settled as it is
// says its version alone. So nothing is left out where something that was settled is gone or is another version, nor where
// a row in quarantine might settle today.
func (w *work) selects(g *gathered) *selection {
	b := w.rewriting
	if b == nil || w.late != nil || b.standsAs.touched == nil {
		return nil
	}
	u := b.standsAs
	s := &selection{periods: u.periods, kept: make([]bool, len(g.objects))}
	for i := range g.objects {
		o := &g.objects[i]
		s.kept[i] = !o.fresh && u.settled(&o.Known)
		s.fresh = s.fresh || !s.kept[i]
	}
	for _, p := range u.periods {
		if len(p.Unpriced) > 0 || p.Manifest.CatalogSHA256 != b.CatalogSHA256 && !p.lasts() {
			return nil
		}
		for i := range p.Manifest.Inputs {
			if n, listed := slices.BinarySearch(g.keys, p.Manifest.Inputs[i].Key); !listed || !s.kept[n] {
				return nil
			}
		}
		for n, kept := range s.kept { // what was in the future then is so no more, or the other way round
			if o := &g.objects[n].Known; kept && o.Last > p.Now && p.houses(o) {
				return nil
			}
		}
	}
	return s
}

// keeps tells whether only a part of an object was read.
func (g *gathered) keeps(object int32) bool { return g.selected != nil && g.selected.kept[object] }

// expected estimates of how many bytes records come: of what is kept, those of the touched shards and of one more.
func (s *selection) expected(g *gathered, touched []bool) (bytes int64) {
	some := int64(1)
	for _, is := range touched {
		if is {
			some++
		}
	}
	for n, kept := range s.kept {
		if size := g.objects[n].Size; kept {
			bytes += size / int64(len(touched)) * some
		} else {
			bytes += size
		}
	}
	return bytes
}

// houses tells whether an object has rows in quarantine here, or would have those that belong to no period.
func (p *StandingPeriod) houses(o *Known) bool {
	in := p.input(o.Key)
	return in != nil && in.Rows.Quarantined > 0 || o.Home >= p.Manifest.Period.Start && o.Home < p.Manifest.Period.End
}

// lasts tells whether rows stay in quarantine whatever accounts and meters there are.
func (p *StandingPeriod) lasts() bool {
	for reason := range p.Reasons {
		switch reason {
		case rating.Malformed, rating.MissingField, rating.BadTime, rating.Conflict:
		default:
			return false
		}
	}
	return true
}

// readUsage reads the objects of the run: of a backfill first what may say something new, so that it is known which shards
// that touches.
func (s *Settle) readUsage(ctx context.Context, run *work, g *gathered, selected *selection) error {
	first, rest := make([]int32, 0, len(g.objects)), []int32(nil)
	for n := range g.objects {
		if selected != nil && selected.kept[n] {
			rest = append(rest, int32(n))
		} else {
			first = append(first, int32(n))
		}
	}
	if err := s.readAll(ctx, run, g, first, s.readObject); err != nil || len(rest) == 0 {
		return err
	}
	run.rewriting.standsAs.find(g)
	if err := s.fits(run, g, run.rewriting.standsAs.shards); err != nil {
		return err
	}
	if run.rewriting.standsAs.shards == nil {
		return s.readAll(ctx, run, g, rest, s.readObject)
	}
	g.selected = selected
	if err := selected.adopt(ctx, run, g); err != nil {
		return err
	}
	if !slices.Contains(selected.touched, true) {
		return nil
	}
	accounts := s.Catalog.SelectAccounts(func(account int32) bool {
		return selected.touched[run.rewriting.shardOfAccount[account]]
	})
	return s.readAll(ctx, run, g, rest, func(ctx context.Context, run *work, g *gathered, n int32) error {
		return s.selectObject(ctx, run, g, n, accounts)
	})
}

// selectObject reads what an object has of some accounts into the shuffle.
func (s *Settle) selectObject(ctx context.Context, run *work, g *gathered, n int32, accounts *rating.AccountSet) error {
	o := &g.objects[n]
	sink := &selectedSink{writer: g.shuffle.Writer(n), clock: s.Clock}
	started := s.Clock()
	err := errors.Join(s.Reader.Select(ctx, o.Object, accounts, sink), sink.writer.Close())
	run.stages.add(stageRead, s.Clock().Sub(started)-sink.busy)
	run.stages.add(stageSort, sink.busy)
	var bad *ObjectError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &bad):
		return fmt.Errorf("R4.5: %w; it was settled before: bring it back as it was, or let the backfill read all with --all", bad)
	}
	return fmt.Errorf("read usage object %s: %w", o.Key, err)
}

// selectedSink takes rows of objects that were told of before.
type selectedSink struct {
	writer *shuffle.Writer
	clock  Clock
	busy   time.Duration
}

func (s *selectedSink) Records(r *rating.Records) error {
	started := s.clock()
	err := s.writer.Records(r)
	s.busy += s.clock().Sub(started)
	return err
}

func (s *selectedSink) Reject(r *rating.Rejected) error {
	return fmt.Errorf("row %d does not settle, of which the quarantine tells", r.Row)
}

// adopt takes over what does not depend on the touched shards: the rows of other periods, and those in quarantine. A
// conflict is found again where its shard is computed.
func (s *selection) adopt(ctx context.Context, run *work, g *gathered) error {
	b := run.rewriting
	s.touched = make([]bool, b.Shards)
	for n, untouched := range b.standsAs.shards {
		s.touched[n] = !untouched
	}
	for n, kept := range s.kept {
		if kept {
			g.objects[n].outOfPeriod = g.objects[n].Read
		}
	}
	for i, p := range s.periods {
		for n := range p.Manifest.Inputs {
			in := &p.Manifest.Inputs[n]
			number, _ := slices.BinarySearch(g.keys, in.Key)
			g.objects[number].outOfPeriod -= in.Rows.inPeriod()
		}
		for row, err := range b.Standing.Quarantined(ctx, p) {
			if err != nil {
				return fmt.Errorf("read what of period %s stands in quarantine: %w", p.Manifest.Name, err)
			}
			number, listed := slices.BinarySearch(g.keys, row.Object)
			account, known := b.Catalog.AccountIndex([]byte(row.Account))
			switch {
			case !listed:
				return fmt.Errorf("period %s has a row of %s in quarantine, but no such object", p.Manifest.Name, row.Object)
			case row.Reason == rating.Conflict && known && s.touched[b.shardOfAccount[account]]:
				continue
			}
			g.objects[number].rejected[i]++
			if err := g.quarantine.add(int32(number), int32(i), &row.Rejected); err != nil {
				return err
			}
		}
	}
	return nil
}

// count goes through a touched shard as it stands, without what is fresh.
func (s *selection) count(w *shardWork, all *rated) error {
	tallies, err := w.gathered.count(w.number, func(object int32) bool { return !s.kept[object] })
	if err != nil {
		return err
	}
	all.mu.Lock()
	defer all.mu.Unlock()
	s.before = append(s.before, tallies...)
	return nil
}

// settled gives what became of the rows of touched shards before: where nothing is fresh, what becomes of them now.
func (s *selection) settled(g *gathered) []shuffle.Tally {
	if s.fresh {
		return s.before
	}
	return g.shuffle.Tallies()
}

// addRows adds the rows that were not read: all that settled with the standing revision, but for those of touched shards.
func (s *selection) addRows(g *gathered, inputs []objectRows) {
	for i, p := range s.periods {
		for n := range p.Manifest.Inputs {
			in := &p.Manifest.Inputs[n]
			number, _ := slices.BinarySearch(g.keys, in.Key)
			if in.Rows.inPeriod() == 0 {
				continue
			}
			f := inputs[i].of(int32(number))
			f.Settled += in.Rows.Settled
			f.Duplicate += in.Rows.Duplicate
			f.Superseded += in.Rows.Superseded
			f.Probable += in.Probable
		}
	}
	for _, t := range s.settled(g) {
		f := inputs[t.Period].of(t.Object)
		f.Settled -= t.Settled
		f.Duplicate -= t.Duplicate
		f.Superseded -= t.Superseded
		f.Probable -= t.ProbableDuplicate
	}
}

// addQuantities adds likewise what was to be settled, by period and meter, so that what is taken over is held against it.
func (s *selection) addQuantities(c *rating.Catalog, g *gathered, handed [][]rating.Amount) {
	for i, p := range s.periods {
		for _, m := range p.Manifest.Meters {
			if meter, known := c.MeterIndex([]byte(m.Meter)); known {
				handed[i][meter], _ = handed[i][meter].Add(m.Settled)
			}
		}
	}
	for _, t := range s.settled(g) {
		if t.Meter != rating.None {
			handed[t.Period][t.Meter], _ = handed[t.Period][t.Meter].Sub(t.Quantity)
		}
	}
}
