package jobs

import (
	"fmt"
	"slices"

	"drawdown/rating"
)

// A long backlog is settled in several commits, and a long backfill in several batches: one covers so many periods at most,
// and fewer where what it holds of them would take more than a quarter of the memory.
const (
	maxPeriods  = 62
	sealedBytes = 120      // of a package's closing state in a period, until it is stored
	openBytes   = 320      // of a package in a period, in a shard that is being computed: its state, and its row in balances
	lineBytes   = 256      // of a line, until its page is full
	pageLines   = 16 << 10 // of a file's page, as writers/settlement has it
	recordBytes = 24       // of an object, for each record: compressed texts have less, others more
)

// shardLoad is what a shard has in a period.
type shardLoad struct{ packages, lines int64 }

// atOnce is how many periods may be settled at once.
func (s *Settle) atOnce(shards []shardLoad) int {
	bytes, open := int64(0), make([]int64, len(shards))
	for n, of := range shards {
		bytes += of.packages * sealedBytes
		open[n] = of.packages*openBytes + min(of.lines, pageLines)*lineBytes
	}
	slices.Sort(open)
	for _, largest := range open[max(0, len(open)-s.Workers):] {
		bytes += largest
	}
	return int(min(max(s.MemoryBytes/4/max(1, bytes), 1), maxPeriods))
}

// evenLoads spreads the packages of the catalog, and so many lines, over all shards.
func (s *Settle) evenLoads(lines int64) []shardLoad {
	all := int64(s.Shards)
	return slices.Repeat([]shardLoad{{(int64(s.Catalog.PackageCount()) + all - 1) / all, (lines + all - 1) / all}}, s.Shards)
}

// bookedLoads gives the most that each shard had in a period, but for untouched ones, and spreads new lines over those.
func (s *Settle) bookedLoads(manifests []*ArchivedManifest, untouched []bool, lines int64) []shardLoad {
	most := make([]shardLoad, s.Shards)
	for _, m := range manifests {
		for i := range m.Files {
			switch f := &m.Files[i]; {
			case f.Shard >= len(most): // of another configuration
			case f.Table == "balances":
				most[f.Shard].packages = max(most[f.Shard].packages, f.Rows)
			case f.Table == "lines":
				most[f.Shard].lines = max(most[f.Shard].lines, f.Rows)
			}
		}
	}
	shards := most[:0]
	for n, of := range most {
		if untouched == nil || !untouched[n] {
			shards = append(shards, of)
		}
	}
	for n := range shards {
		shards[n].lines += lines / int64(len(shards))
	}
	return shards
}

// tooWide says that a batch has more periods than fit the memory, before anything was computed.
type tooWide struct{ most int }

func (e *tooWide) Error() string {
	return fmt.Sprintf("more than %d periods do not fit the memory", e.most)
}

// fits fails with tooWide where a batch has more periods than fit, without the shards that it need not compute.
func (s *Settle) fits(run *work, g *gathered, untouched []bool) error {
	var shards []shardLoad
	if b := run.rewriting; b != nil && b.standsAs.touched != nil {
		var manifests []*ArchivedManifest
		for _, p := range b.standsAs.periods {
			manifests = append(manifests, p.Manifest)
		}
		isNew := func(o *gatheredObject) bool { return !b.standsAs.settled(&o.Known) }
		shards = s.bookedLoads(manifests, untouched, run.recordsOfPeriod(g, isNew))
	} else {
		shards = s.evenLoads(run.recordsOfPeriod(g, func(*gatheredObject) bool { return true }))
	}
	if most := s.atOnce(shards); run.mayShrink && len(run.periods) > most {
		return &tooWide{most}
	}
	return nil
}

// recordsOfPeriod estimates how many records of some objects a period has. An object that nobody has read yet may have them
// in any of the pending periods.
func (w *work) recordsOfPeriod(g *gathered, of func(*gatheredObject) bool) int64 {
	periods := float64(len(w.periods))
	start, end := w.periods[0].Period.Start, w.newest().Period.End
	pending := max(end, w.home+(end-start)/rating.Instant(len(w.periods)))
	records := 0.0
	for n := range g.objects {
		o := &g.objects[n]
		if !of(o) {
			continue
		}
		count, from, to := o.Read, o.First, o.Last+1
		if o.fresh && o.Read == 0 {
			count, from, to = o.Size/recordBytes, start, pending
		}
		if inFrom, inTo := max(from, start), min(to, end); inFrom < inTo { // it may have none at all
			records += float64(count) * float64(inTo-inFrom) / float64(to-from)
		}
	}
	return int64(records / periods)
}

// admit fails with tooWide before anything is read, unless a backfill may turn out to compute few shards, which it finds out
// when it has read what is fresh: little enough to read it again with fewer periods.
func (s *Settle) admit(run *work, g *gathered, selected *selection) error {
	const inVain = 16 // a part of the usage
	fresh, all := int64(0), int64(0)
	for n := range g.objects {
		if all += g.objects[n].Size; selected != nil && !selected.kept[n] {
			fresh += g.objects[n].Size
		}
	}
	if selected != nil && fresh < all/inVain {
		return nil
	}
	return s.fits(run, g, nil)
}
