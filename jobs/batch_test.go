package jobs

import (
	"slices"
	"testing"

	"drawdown/rating"
)

// TestAtOnce: it is the large shards that are held, as many as are computed side by side, not those of average size.
func TestAtOnce(t *testing.T) {
	s := &Settle{MemoryBytes: 4 << 20, Workers: 2}
	even := slices.Repeat([]shardLoad{{packages: 10, lines: 10}}, 64)
	uneven := slices.Clone(even)
	uneven[17].packages = 640
	for name, test := range map[string]struct {
		shards []shardLoad
		want   int
	}{
		"nothing":         {nil, maxPeriods},
		"a shard":         {even[:1], maxPeriods},
		"even":            {even, (4 << 20) / 4 / (64*10*sealedBytes + 2*(10*openBytes+10*lineBytes))},
		"uneven":          {uneven, (4 << 20) / 4 / ((63*10+640)*sealedBytes + 650*openBytes + 20*lineBytes)},
		"a page of lines": {[]shardLoad{{lines: 1e9}}, 1},
		"too large":       {[]shardLoad{{packages: 1e9}}, 1},
	} {
		if got := s.atOnce(test.shards); got != test.want {
			t.Errorf("%s: %d periods, not %d", name, got, test.want)
		}
	}
}

// TestRecordsOfPeriod: how many records a period has does not depend on how many periods are asked for.
func TestRecordsOfPeriod(t *testing.T) {
	const days = 60
	object := func(from, to rating.Instant, read int64) gatheredObject {
		return gatheredObject{Known: Known{Read: read, First: from, Last: to - 1, Object: Object{Size: read * recordBytes}}}
	}
	month, daily, unread := &gathered{}, &gathered{}, &gathered{}
	month.objects = []gatheredObject{object(0, days*100, 6000), object(rating.Never, rating.Beginning, 7)}
	for day := range rating.Instant(days) {
		daily.objects = append(daily.objects, object(day*100, day*100+100, 100))
		unread.objects = append(unread.objects, gatheredObject{fresh: true, Known: Known{Object: Object{Size: 100 * recordBytes}}})
	}
	for name, g := range map[string]*gathered{"an object": month, "an object a day": daily, "nobody has read them": unread} {
		for _, n := range []int{1, 7, 30, days} {
			w := &work{home: (days - 1) * 100}
			for day := range rating.Instant(n) {
				w.periods = append(w.periods, PeriodReport{Period: rating.Period{Start: day * 100, End: day*100 + 100}})
			}
			if got := w.recordsOfPeriod(g, func(*gatheredObject) bool { return true }); got < 99 || got > 100 {
				t.Errorf("%s: of %d periods, one has %d records", name, n, got)
			}
		}
	}
}

// TestNewUsageIsCounted: also where a run before has read it, without settling it; and it is the shards that are computed that
// have it.
func TestNewUsageIsCounted(t *testing.T) {
	const days, perDay = 30, 20_000
	s := &Settle{MemoryBytes: 256 << 20, Workers: 2, Shards: 4, Catalog: &rating.Catalog{}}
	w := &work{mayShrink: true, rewriting: &rewriting{standsAs: &untouched{touched: make([]bool, s.Shards)}}}
	settled := Input{Known: Known{Object: Object{Key: "a"}, SHA256: [32]byte{1}}}
	for day := range rating.Instant(days) {
		p := rating.Period{Start: day * 100, End: day*100 + 100}
		w.periods = append(w.periods, PeriodReport{Period: p})
		w.rewriting.standsAs.periods = append(w.rewriting.standsAs.periods, &StandingPeriod{
			Manifest: &ArchivedManifest{Manifest: Manifest{Period: p, Inputs: []Input{settled}}},
		})
	}
	for _, test := range []struct {
		key       string
		untouched []bool
		want      int
	}{
		{"a", nil, 0},
		{"b", nil, (256 << 20) / 4 / (2 * perDay / 4 * lineBytes)},
		{"b", []bool{true, true, false, true}, (256 << 20) / 4 / (pageLines * lineBytes)},
	} {
		g := &gathered{objects: []gatheredObject{{Known: Known{
			Object: Object{Key: test.key}, SHA256: settled.SHA256, Read: days * perDay, First: 0, Last: days*100 - 1,
		}}}}
		got := 0
		if wide, is := s.fits(w, g, test.untouched).(*tooWide); is {
			got = wide.most
		}
		if got != test.want {
			t.Errorf("object %s, without %v: at most %d periods, not %d", test.key, test.untouched, got, test.want)
		}
	}
}
