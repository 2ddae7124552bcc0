package shuffle

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"drawdown/rating"
)

// workload is made once for all benchmarks: days of usage in hourly objects, zipf over payers, UUID ids, mostly in
// order of time with 2 % late, 0.5 % repeated.
type workload struct {
	catalog *rating.Catalog
	bounds  []rating.Instant
	objects [][]*rating.Records
	records int
}

func makeWorkload(records, payers, objects int) *workload {
	const month = 31 * 86400e6
	rng := rand.New(rand.NewPCG(7, 7))
	w := &workload{catalog: &rating.Catalog{}, bounds: []rating.Instant{0, month}}
	for i := range payers {
		w.catalog.Accounts = append(w.catalog.Accounts, rating.Account{ID: fmt.Sprintf("account-%06d", i), Payer: int32(i)})
	}
	w.catalog.Meters = make([]rating.Meter, 5)
	ranks := rng.Perm(payers)
	zipf := rand.NewZipf(rng, 1.05, 50, uint64(payers-1))
	times := make([]rating.Instant, records)
	for i := range times {
		times[i] = rating.Instant(rng.Int64N(month))
	}
	slices.SortFunc(times, cmp.Compare)
	for i := range times {
		if rng.IntN(50) == 0 {
			times[i] = max(0, times[i]-rating.Instant(rng.Int64N(86400e6)))
		}
	}
	w.records = records
	per := records / objects
	var id [uuidLen]byte
	for o := range objects {
		var batches []*rating.Records
		row := int64(0)
		for at := o * per; at < (o+1)*per; {
			b := &rating.Records{}
			for ; len(b.Time) < 4096 && at < (o+1)*per; at++ {
				row++
				n := len(b.Time)
				if n > 0 && rng.IntN(200) == 0 {
					b.Time, b.Account, b.Meter = append(b.Time, b.Time[n-1]), append(b.Account, b.Account[n-1]), append(b.Meter, b.Meter[n-1])
					b.Quantity = append(b.Quantity, b.Quantity[n-1])
				} else {
					putUUID(&id, rng.Uint64(), rng.Uint64())
					b.Time, b.Account = append(b.Time, times[at]), append(b.Account, int32(ranks[zipf.Uint64()]))
					b.Meter, b.Quantity = append(b.Meter, int32(rng.IntN(5))), append(b.Quantity, rng.Int64N(1e9))
				}
				b.Row = append(b.Row, row)
				b.IDs = append(b.IDs, id[:]...)
				b.IDEnd = append(b.IDEnd, uint32(len(b.IDs)))
			}
			batches = append(batches, b)
		}
		w.objects = append(w.objects, batches)
	}
	return w
}

func (w *workload) write(tb testing.TB, s *Shuffle) {
	for object, batches := range w.objects {
		out := s.Writer(int32(object))
		for _, b := range batches {
			if err := out.Records(b); err != nil {
				tb.Fatal(err)
			}
		}
		if err := out.Close(); err != nil {
			tb.Fatal(err)
		}
	}
	if err := s.Seal(); err != nil {
		tb.Fatal(err)
	}
}

func drain(tb testing.TB, s *Shuffle) (settled int) {
	for shard := range s.cfg.Shards {
		c, err := s.Shard(shard, nil)
		if err != nil {
			tb.Fatal(err)
		}
		for c.NextPayer() {
			for c.NextPeriod() {
				for c.NextBatch() {
					settled += c.Batch().Len()
				}
			}
		}
		if err := c.Close(); err != nil {
			tb.Fatal(err)
		}
	}
	return settled
}

func (w *workload) run(b *testing.B, memory int64) {
	cfg := Config{Catalog: w.catalog, Bounds: w.bounds, MemoryBytes: memory, TempDir: b.TempDir(), ExpectedRecords: int64(w.records), Workers: 2}
	for range b.N {
		b.StopTimer()
		s, err := New(b.Context(), cfg)
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		began := time.Now()
		w.write(b, s)
		wrote := time.Now()
		drain(b, s)
		records := float64(w.records)
		b.ReportMetric(float64(wrote.Sub(began))/records, "write-ns/record")
		b.ReportMetric(float64(time.Since(wrote))/records, "read-ns/record")
		b.ReportMetric(float64(s.Spilled())/records, "spilled-B/record")
		s.Close()
	}
}

// every cuts the month into periods.
func (w *workload) every(period rating.Instant) *workload {
	cut := *w
	cut.bounds = nil
	for at := w.bounds[0]; at <= w.bounds[1]; at += period {
		cut.bounds = append(cut.bounds, at)
	}
	return &cut
}

// overlapping deals the batches to n objects, each of which has the whole month then.
func (w *workload) overlapping(n int) *workload {
	dealt := *w
	dealt.objects = make([][]*rating.Records, n)
	next := 0
	for _, batches := range w.objects {
		for _, b := range batches {
			dealt.objects[next%n] = append(dealt.objects[next%n], b)
			next++
		}
	}
	return &dealt
}

// BenchmarkShuffle wants -cpu 1 for times of one core, and a quiet machine.
func BenchmarkShuffle(b *testing.B) {
	w := makeWorkload(10_000_000, 100_000, 31)
	b.Run("memory", func(b *testing.B) { w.run(b, 4<<30) })
	b.Run("spill", func(b *testing.B) { w.run(b, 256<<20) })
	b.Run("little-memory", func(b *testing.B) { w.run(b, 32<<20) })
	b.Run("days", func(b *testing.B) { w.every(86400e6).run(b, 4<<30) })
	b.Run("hours", func(b *testing.B) { w.every(3600e6).run(b, 4<<30) })
	b.Run("overlapping", func(b *testing.B) { w.overlapping(8).run(b, 4<<30) })
}
