package shuffle

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"drawdown/rating"
)

// TestShardsAreForEver: the shard of a payer is part of the output format.
func TestShardsAreForEver(t *testing.T) {
	var got []int
	for _, id := range []string{"", "a", "acme", "account-000001", "жук"} {
		got = append(got, ShardOf(id, 16), ShardOf(id, 1000))
	}
	if want := []int{6, 342, 11, 315, 6, 574, 2, 82, 7, 519}; !slices.Equal(got, want) {
		t.Errorf("shards changed: %v, not %v", got, want)
	}
}

func TestUUIDs(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var last, text [uuidLen]byte
	var lastHi, lastLo uint64
	for range 20000 {
		putUUID(&text, rng.Uint64()>>rng.IntN(64), rng.Uint64()>>rng.IntN(64))
		hi, lo, ok := packUUID(text[:])
		if want := fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", hi>>32, hi>>16&0xffff, hi&0xffff, lo>>48, lo&0xffffffffffff); !ok || want != string(text[:]) {
			t.Fatalf("%s packs to %s, %t", text, want, ok)
		}
		if order := cmp.Or(cmp.Compare(hi, lastHi), cmp.Compare(lo, lastLo)); order != bytes.Compare(text[:], last[:]) {
			t.Fatalf("%s and %s have another order packed", text, last)
		}
		last, lastHi, lastLo = text, hi, lo
		for i := range text { // any other byte anywhere is no digit
			damaged := text
			damaged[i] = byte(rng.IntN(256))
			digit := strings.IndexByte("0123456789abcdef", damaged[i]) >= 0
			dash := i == 8 || i == 13 || i == 18 || i == 23
			if _, _, ok := packUUID(damaged[:]); ok != (dash && damaged[i] == '-' || !dash && digit) {
				t.Fatalf("%q packs: %t", damaged, ok)
			}
		}
	}
}

func TestSort(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	var s sorter
	for range 20000 {
		keys := make([]key, rng.IntN(400))
		runs := 1 + rng.IntN(4)
		for i := range keys {
			keys[i] = key{time: rating.Instant(i * runs % (len(keys) + 1)), at: uint32(i)}
			if rng.IntN(30) == 0 {
				keys[i].time = rating.Instant(rng.IntN(len(keys)))
			}
		}
		if rng.IntN(3) == 0 {
			rng.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
		}
		want := slices.Clone(keys)
		byAll := func(a, b key) int { return cmp.Or(cmp.Compare(a.time, b.time), cmp.Compare(a.at, b.at)) }
		slices.SortFunc(want, byAll)
		s.sort(keys)
		if !slices.IsSortedFunc(keys, func(a, b key) int { return cmp.Compare(a.time, b.time) }) {
			t.Fatalf("not sorted: %v", keys)
		}
		slices.SortFunc(keys, byAll)
		if !slices.Equal(keys, want) {
			t.Fatalf("other keys came out: %v", keys)
		}
	}
}

// giant is a world in which one payer has nearly everything, more than a cursor may hold.
func giant(records int) *world {
	rng := rand.New(rand.NewPCG(5, 6))
	w := &world{catalog: &rating.Catalog{Meters: make([]rating.Meter, 2)}, bounds: []rating.Instant{0, 500, 1000}}
	for i := range 20 {
		w.catalog.Accounts = append(w.catalog.Accounts, rating.Account{ID: fmt.Sprint("p", i), Payer: int32(max(0, i-15))})
	}
	w.objects = make([][]row, 5)
	for i := range records {
		object := rng.IntN(5)
		r := row{
			time: rating.Instant(rng.IntN(1010)), account: int32(rng.IntN(20)), meter: int32(rng.IntN(2)), quantity: int64(rng.IntN(50)),
			object: int32(object), row: int64(len(w.objects[object]) + 1), id: randomID(rng), version: int64(rng.IntN(50) / 49),
		}
		if i%7 == 0 {
			r.id = fmt.Sprintf("an id that is sent again, %d", rng.IntN(records/10))
		}
		w.objects[object] = append(w.objects[object], r)
	}
	return w
}

func TestGiantPayer(t *testing.T) {
	w := giant(30000)
	want := w.naive(2)
	for _, memory := range []int64{1 << 30, 2 << 20, 300_000, 20_000} {
		rng := rand.New(rand.NewPCG(uint64(memory), 1))
		got := w.shuffled(t, rng, Config{Catalog: w.catalog, Bounds: w.bounds, Shards: 2, TempDir: t.TempDir(), MemoryBytes: memory, Readers: 2})
		if !slices.Equal(got.lines, want.lines) || got.rest != want.rest {
			t.Errorf("with %d bytes the giant payer comes out otherwise: %s", memory, firstDifference(append(got.lines, got.rest), append(want.lines, want.rest)))
		}
	}
}

func firstDifference(got, want []string) string {
	for i := range want {
		g, w := strings.FieldsFunc(got[i], isBreak), strings.FieldsFunc(want[i], isBreak)
		for j := range min(len(g), len(w)) {
			if g[j] != w[j] {
				return fmt.Sprintf("%s, not %s", g[j], w[j])
			}
		}
	}
	return "the length"
}

func isBreak(r rune) bool { return r == '\n' || r == '{' }

// TestGiantPayerIsMerged: the test above does what it says.
func TestGiantPayerIsMerged(t *testing.T) {
	w := giant(30000)
	s, err := New(context.Background(), Config{Catalog: w.catalog, Bounds: w.bounds, Shards: 1, TempDir: t.TempDir(), MemoryBytes: 300_000})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := w.write(s, rand.New(rand.NewPCG(1, 1)), 1); err != nil {
		t.Fatal(err)
	}
	c, err := s.Shard(0, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !c.NextPayer() || c.merge == nil || len(c.merge.runs) < 3 || s.Spilled() == 0 {
		t.Errorf("the partition was not merged from runs")
	}
	if err := c.Close(); err != nil { // in the middle
		t.Fatal(err)
	}
	if len(s.Tallies()) > 0 {
		t.Errorf("a shard that was not read to its end has tallies")
	}
}

// spilledWorld is a shuffle with most of a world in the temp file.
func spilledWorld(t *testing.T, ctx context.Context, dir string) (*world, *Shuffle) {
	t.Helper()
	w := giant(5000)
	s, err := New(ctx, Config{Catalog: w.catalog, Bounds: w.bounds, Shards: 4, TempDir: dir, MemoryBytes: 100_000})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.write(s, rand.New(rand.NewPCG(1, 1)), 1); err != nil {
		t.Fatal(err)
	}
	if s.Spilled() == 0 {
		t.Fatal("nothing was spilled")
	}
	return w, s
}

func TestDamagedSpillIsFound(t *testing.T) {
	for _, at := range []int64{0, 1000, -1} {
		w, s := spilledWorld(t, context.Background(), t.TempDir())
		if at < 0 {
			at += s.Spilled()
		}
		var b [1]byte
		if _, err := s.file.file.ReadAt(b[:], at); err != nil {
			t.Fatal(err)
		}
		b[0] ^= 4
		if _, err := s.file.file.WriteAt(b[:], at); err != nil {
			t.Fatal(err)
		}
		if _, err := w.read(s, 1); !errors.Is(err, errChecksum) {
			t.Errorf("a changed bit at %d: %v", at, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTruncatedSpillIsFound(t *testing.T) {
	w, s := spilledWorld(t, context.Background(), t.TempDir())
	defer s.Close()
	if err := s.file.file.Truncate(s.Spilled() / 2); err != nil {
		t.Fatal(err)
	}
	if _, err := w.read(s, 1); err == nil || !strings.Contains(err.Error(), "read spilled usage records") {
		t.Errorf("half a temp file: %v", err)
	}
}

func TestNoPlaceToSpill(t *testing.T) {
	w := giant(5000)
	s, err := New(context.Background(), Config{Catalog: w.catalog, Bounds: w.bounds, TempDir: t.TempDir() + "/none", MemoryBytes: 1000})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	err = writeObject(s, 0, w.objects[0], 100)
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "free space there, name another folder") {
		t.Errorf("got %v", err)
	}
}

func TestNothingIsLeftBehind(t *testing.T) {
	ignore := goleak.IgnoreCurrent()
	dir := t.TempDir()
	w, s := spilledWorld(t, context.Background(), dir)
	if _, err := w.read(s, 1); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || runtime.GOOS != "windows" && len(left) > 0 {
		t.Errorf("the temp file has a name: %v, %v", left, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	goleak.VerifyNone(t, ignore)
}

func TestSmallRunsStayInMemory(t *testing.T) {
	w := giant(5000)
	s, err := New(context.Background(), Config{Catalog: w.catalog, Bounds: w.bounds, TempDir: "/nowhere", Readers: 2, Workers: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := w.write(s, rand.New(rand.NewPCG(1, 1)), 2); err != nil {
		t.Fatal(err)
	}
	if _, err := w.read(s, 2); err != nil || s.Spilled() > 0 {
		t.Errorf("%d bytes spilled, %v", s.Spilled(), err)
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	w, s := spilledWorld(t, ctx, t.TempDir())
	defer s.Close()
	cancel()
	if _, err := w.read(s, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestMisuse(t *testing.T) {
	w := giant(10)
	s, err := New(context.Background(), Config{Catalog: w.catalog, Bounds: w.bounds})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	refused := func(what string, err error) {
		t.Helper()
		if err == nil {
			t.Errorf("%s is not refused", what)
		}
	}
	_, err = s.Shard(0, nil)
	refused("reading before Seal", err)
	out := s.Writer(0)
	refused("a second writer", s.Writer(1).Records(&rating.Records{}))
	refused("Seal while a writer is open", s.Seal())
	refused("an unknown account", out.Records(recordsOf([]row{{account: 20}})))
	refused("Close after an error", out.Close())
	if err := s.Seal(); err != nil {
		t.Fatal(err)
	}
	refused("writing after Seal", s.Writer(0).Records(&rating.Records{}))
	_, err = s.Shard(16, nil)
	refused("an unknown shard", err)
	c, err := s.Shard(0, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Shard(1, nil)
	refused("a second cursor", err)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	for _, bounds := range [][]rating.Instant{nil, {1}, {2, 2}, {1, 3, 2}} {
		_, err := New(context.Background(), Config{Catalog: w.catalog, Bounds: bounds})
		refused(fmt.Sprint("bounds ", bounds), err)
	}
}

func TestTooManyConflicts(t *testing.T) {
	w := giant(5000)
	s, err := New(context.Background(), Config{Catalog: w.catalog, Bounds: w.bounds, MaxConflicts: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := w.write(s, rand.New(rand.NewPCG(1, 1)), 1); err != nil {
		t.Fatal(err)
	}
	if _, err := w.read(s, 1); !errors.Is(err, ErrTooManyConflicts) {
		t.Errorf("got %v", err)
	}
}

// TestConflictsCountOnce: the limit is on what there is, however often a shard is read.
func TestConflictsCountOnce(t *testing.T) {
	w := giant(5000)
	found := int64(0)
	for range 2 {
		s, err := New(context.Background(), Config{Catalog: w.catalog, Bounds: w.bounds, MaxConflicts: found})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if err := w.write(s, rand.New(rand.NewPCG(1, 1)), 1); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if _, err := w.read(s, 1); err != nil {
				t.Fatal(err)
			}
		}
		if found = int64(len(s.Conflicts())); found == 0 {
			t.Fatal("there is no conflict")
		}
	}
}

// TestManyAtOneInstant: thousands of records that agree in everything but the id, or in all but id and quantity, take no
// quadratic time.
func TestManyAtOneInstant(t *testing.T) {
	const n = 50_000
	w := &world{catalog: &rating.Catalog{Accounts: make([]rating.Account, 1), Meters: make([]rating.Meter, 1)}, bounds: []rating.Instant{0, 9}}
	rng := rand.New(rand.NewPCG(1, 1))
	rows := make([]row, n)
	for i := range rows {
		rows[i] = row{row: int64(i + 1), id: fmt.Sprintf("%020d", rng.Uint64()), quantity: int64(i % (n / 2))}
	}
	w.objects = [][]row{rows}
	s, err := New(context.Background(), Config{Catalog: w.catalog, Bounds: w.bounds})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := w.write(s, rng, 1); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	drain(t, s)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
	if got := s.Tallies(); len(got) != 1 || got[0].Settled != n || got[0].ProbableDuplicate != n/2 {
		t.Errorf("got %+v", got)
	}
}

// TestMemory: the whole stays within the budget, whether it is spilled, or a giant payer besides.
func TestMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("makes two million records")
	}
	const budget = 48 << 20
	w := makeWorkload(2_000_000, 20_000, 8)
	for account := range 6000 { // a third of everything
		w.catalog.Accounts[account].Payer = 0
	}
	runtime.GC()
	before := heap()
	defer debug.SetGCPercent(debug.SetGCPercent(10)) // what is measured is what is held, with little garbage
	s, err := New(context.Background(), Config{
		Catalog: w.catalog, Bounds: w.bounds, MemoryBytes: budget, TempDir: t.TempDir(), ExpectedRecords: int64(w.records),
	})
	if err != nil {
		t.Fatal(err)
	}
	var peak atomic.Uint64
	stop, done := make(chan bool), make(chan bool)
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Millisecond):
				peak.Store(max(peak.Load(), heap()))
			}
		}
	}()
	w.write(t, s)
	settled := drain(t, s)
	close(stop)
	<-done
	used := int64(peak.Load()) - int64(before)
	t.Logf("%d records settled, %d MiB spilled, %.1f MiB at most of %d", settled, s.Spilled()>>20, float64(used)/(1<<20), budget>>20)
	if used > budget*11/10 || s.Spilled() == 0 { // garbage of a tenth
		t.Errorf("%d bytes of %d used, %d spilled", used, budget, s.Spilled())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestAllocations: nothing is allocated for each record.
func TestAllocations(t *testing.T) {
	w := makeWorkload(200_000, 1000, 4)
	var s *Shuffle
	allocs := testing.AllocsPerRun(1, func() {
		var err error
		if s, err = New(context.Background(), Config{Catalog: w.catalog, Bounds: w.bounds, TempDir: t.TempDir(), MemoryBytes: 8 << 20}); err != nil {
			t.Fatal(err)
		}
		w.write(t, s)
		drain(t, s)
		s.Close()
	})
	if perRecord := allocs / float64(w.records); perRecord > 0.02 {
		t.Errorf("%.3f allocations a record", perRecord)
	}
}

// TestBatchesOfHugeIDs: places of ids in a batch are 32 bits, and 4,096 ids of a megabyte would be more than these count.
func TestBatchesOfHugeIDs(t *testing.T) {
	const (
		length  = 1 << 20
		records = 40
	)
	catalog := &rating.Catalog{Accounts: []rating.Account{{ID: "acme"}}, Meters: make([]rating.Meter, 1)}
	for _, memory := range []int64{1 << 30, 100_000} { // from memory, and merged
		s, err := New(context.Background(), Config{
			Catalog: catalog, Bounds: []rating.Instant{0, 1000}, Shards: 1, TempDir: t.TempDir(), MemoryBytes: memory,
		})
		if err != nil {
			t.Fatal(err)
		}
		w := s.Writer(0)
		for i := range records {
			id := append(bytes.Repeat([]byte{'x'}, length-8), fmt.Sprintf("%08d", i)...)
			err := w.Records(&rating.Records{
				Time: []rating.Instant{rating.Instant(i)}, Account: []int32{0}, Meter: []int32{0}, Quantity: []int64{1}, Row: []int64{int64(i + 1)},
				IDs: id, IDEnd: []uint32{length},
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(w.Close(), s.Seal()); err != nil {
			t.Fatal(err)
		}
		c, err := s.Shard(0, nil)
		if err != nil {
			t.Fatal(err)
		}
		n, batches, merged := 0, 0, false
		for c.NextPayer() {
			merged = merged || c.merge != nil
			for c.NextPeriod() {
				for c.NextBatch() {
					b := c.Batch()
					if batches++; len(b.IDs) > 17<<20 || cap(b.IDs) > 40<<20 {
						t.Errorf("a batch has %d bytes of ids, and room for %d", len(b.IDs), cap(b.IDs))
					}
					for i := range b.Len() {
						if id := b.ID(i); len(id) != length || string(id[length-8:]) != fmt.Sprintf("%08d", n) {
							t.Errorf("record %d has an id of %d bytes, …%s", n, len(id), id[len(id)-8:])
						}
						n++
					}
				}
			}
		}
		if n != records || batches != 3 || merged != (memory == 100_000) {
			t.Errorf("%d records in %d batches with %d bytes, merged: %t", n, batches, memory, merged)
		}
		if err := errors.Join(c.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	}
}
