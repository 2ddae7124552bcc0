package jobs

import "fmt"

// A long backlog is settled in several commits, and a long backfill in several batches: one covers so many periods at most,
// and fewer where what it holds of them would not fit the memory.
const (
	maxPeriods   = 62
	sealedBytes  = 120      // of a package's closing state in a period, until it is stored
	openBytes    = 320      // of a package in a period, in a shard that is being computed: its state, and its row in balances
	lineBytes    = 256      // of a line, until its page is full
	pageLines    = 16 << 10 // of a file's page, as writers/settlement has it
	recordAtMost = 48       // bytes, of an object whose records nobody has counted
)

// fit is how many periods fit the memory where so many shards are computed, which have so many lines in a period each: the
// states a quarter of it, and the lines as much.
func (s *Settle) fit(shards int, lines int64) int {
	all, some, open := int64(s.Shards), int64(shards), int64(min(shards, s.Workers))
	states := int64(s.Catalog.PackageCount()) * (sealedBytes*some + openBytes*open) / all
	rows := open * lineBytes * min(lines, pageLines)
	fit := s.MemoryBytes / 4 / max(1, states, rows)
	return int(min(max(fit, 1), maxPeriods))
}

// tooWide says that a batch has more periods than fit the memory, before anything was computed.
type tooWide struct{ most int }

func (e *tooWide) Error() string {
	return fmt.Sprintf("more than %d periods do not fit the memory", e.most)
}

// fits fails with tooWide where a batch has more periods than fit with so many shards to compute.
func (s *Settle) fits(run *work, g *gathered, shards int) error {
	records := int64(0)
	for n := range g.objects {
		if o := &g.objects[n]; o.fresh {
			records += o.Size / recordAtMost
		} else {
			records += o.Read
		}
	}
	if most := s.fit(shards, records/int64(s.Shards)/int64(len(run.periods))); run.mayShrink && len(run.periods) > most {
		return &tooWide{most}
	}
	return nil
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
	return s.fits(run, g, s.Shards)
}
