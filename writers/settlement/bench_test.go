//go:build unix

package settlement

import (
	"sync"
	"syscall"
	"testing"
	"time"

	"drawdown/rating"
)

// benchWorld is made once: a million lines of 100,000 accounts.
var benchWorld = sync.OnceValue(func() *world { return newWorld(7, 100_000, 1_000_000) })

func BenchmarkLines(b *testing.B) {
	w := benchWorld()
	o, err := OpenOutput(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	write := func(token int64) int64 {
		r, err := o.Create(w.period, "2026-10", 1, token, w.names)
		if err != nil {
			b.Fatal(err)
		}
		w.writeLines(b, r)
		if err := o.Discard("2026-10", 1, token); err != nil {
			b.Fatal(err)
		}
		return r.written[0].Size
	}
	size := write(0) // the memory of a shard is that of the one before
	b.ReportAllocs()
	before, token := cpuTime(), int64(0)
	for b.Loop() {
		token++
		write(token)
	}
	perLine(b, w, before)
	b.ReportMetric(float64(size)/float64(w.lines), "B/line")
}

func (w *world) writeLines(b *testing.B, r *Revision) {
	s := r.Shard(0, r.names.Catalog)
	for k, payer := range w.payers {
		if err := s.Append(payer, &rating.Result{Lines: w.results[k].Lines, IDs: w.results[k].IDs}); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkCheck(b *testing.B) {
	w := benchWorld()
	r := w.create(b, b.TempDir())
	w.writeLines(b, r)
	b.ReportAllocs()
	before := cpuTime()
	for b.Loop() {
		if err := r.Check(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	perLine(b, w, before)
}

// perLine reports processor time too, because machines are shared and disks wait.
func perLine(b *testing.B, w *world, before time.Duration) {
	lines := float64(b.N) * float64(w.lines)
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/lines, "ns/line")
	b.ReportMetric(float64((cpuTime()-before).Nanoseconds())/lines, "cpu-ns/line")
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
