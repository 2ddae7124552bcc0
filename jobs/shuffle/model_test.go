package shuffle

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"drawdown/rating"
)

// row is a usage record as the stupid model sees it.
type row struct {
	time           rating.Instant
	account, meter int32
	quantity       int64
	object         int32
	row            int64
	id             string
	version        int64
	attrs          int32
	content        uint64
	spoilt         bool
}

// world is a small run: what is read, and how.
type world struct {
	catalog *rating.Catalog
	bounds  []rating.Instant
	objects [][]row
	exclude map[int32]bool
}

// answer is all that comes out of a world, as text.
type answer struct {
	lines []string // by shard
	rest  string
}

func (w *world) payerOf(account int32) int32 { return w.catalog.Accounts[account].Payer }

func randomWorld(rng *rand.Rand) *world {
	w := &world{catalog: &rating.Catalog{}, exclude: map[int32]bool{}}
	accounts := 1 + rng.IntN(12)
	for i := range accounts {
		payer := int32(i)
		if i > 0 && rng.IntN(2) == 0 {
			payer = w.catalog.Accounts[rng.IntN(i)].Payer
		}
		w.catalog.Accounts = append(w.catalog.Accounts, rating.Account{ID: fmt.Sprintf("account-%03d", i), Payer: payer})
	}
	meters := 1 + rng.IntN(3)
	for range meters {
		w.catalog.Meters = append(w.catalog.Meters, rating.Meter{Scale: rng.IntN(10)})
	}
	at := rating.Instant(-20 + rng.IntN(10))
	for range 2 + rng.IntN(5) {
		w.bounds = append(w.bounds, at)
		at += rating.Instant(1 + rng.IntN(20))
	}
	ids := make([]string, 1+rng.IntN(60))
	for i := range ids {
		ids[i] = randomID(rng)
	}
	span := int(at-w.bounds[0]) + 4
	rare := rng.IntN(4)
	rows := rng.IntN(200)
	if rng.IntN(4) == 0 {
		rows *= 8
		ids = nil // nearly all different
	}
	w.objects = make([][]row, 1+rng.IntN(6))
	for range rows {
		object := rng.IntN(len(w.objects))
		r := row{
			time: w.bounds[0] - 2 + rating.Instant(rng.IntN(span)), account: int32(rng.IntN(accounts)), meter: int32(rng.IntN(meters)),
			quantity: int64(rng.IntN(3)), object: int32(object), row: int64(len(w.objects[object]) + 1),
		}
		if rng.IntN(100) == 0 {
			r.quantity = 1<<63 - 1
		}
		if len(ids) == 0 {
			r.id = randomID(rng)
		} else {
			r.id = ids[rng.IntN(len(ids))]
		}
		if rare > 0 {
			r.version, r.attrs, r.content = int64(rng.IntN(3)-1), int32(rng.IntN(2)), uint64(rng.IntN(2))
			if r.spoilt = rng.IntN(8) == 0; r.spoilt {
				r.meter, r.quantity = rating.None, 0
			}
		}
		if n := len(w.objects[object]); n > 0 && rng.IntN(6) == 0 { // the same again
			again := w.objects[object][rng.IntN(n)]
			again.row = r.row
			r = again
		}
		w.objects[object] = append(w.objects[object], r)
	}
	for object := range w.objects {
		if rng.IntN(3) > 0 { // as a producer does
			rows := w.objects[object]
			slices.SortStableFunc(rows, func(a, b row) int { return cmp.Compare(a.time, b.time) })
			for i := range rows {
				rows[i].row = int64(i + 1)
			}
		}
		if rng.IntN(10) == 0 {
			w.exclude[int32(object)] = true
		}
	}
	return w
}

func randomID(rng *rand.Rand) string {
	uuid := fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", rng.Uint32(), rng.IntN(1<<16), rng.IntN(1<<16), rng.IntN(1<<16), rng.Int64N(1<<48))
	switch rng.IntN(6) {
	case 0:
		return strings.ToUpper(uuid)
	case 1:
		return fmt.Sprintf("usage/2026/10/01.parquet/%d", rng.IntN(1000))
	case 2:
		return fmt.Sprint(rng.IntN(10))
	case 3:
		return uuid[:rng.IntN(36)]
	}
	return uuid
}

// naive answers by the rules' letter.
func (w *world) naive(shards int) answer {
	type idKey struct {
		account int32
		id      string
		period  int
	}
	groups := map[idKey][]row{}
	out := map[int32]int64{}
	for _, rows := range w.objects {
		for _, r := range rows {
			if r.time < w.bounds[0] || r.time >= w.bounds[len(w.bounds)-1] {
				if !r.spoilt {
					out[r.object]++
				}
				continue
			}
			if w.exclude[r.object] {
				continue
			}
			period := 0
			for r.time >= w.bounds[period+1] {
				period++
			}
			k := idKey{r.account, r.id, period}
			groups[k] = append(groups[k], r)
		}
	}
	type tallyKey struct{ period, object, meter int32 }
	tallies := map[tallyKey]*Tally{}
	tally := func(period int, r row) *Tally {
		k := tallyKey{int32(period), r.object, r.meter}
		if tallies[k] == nil {
			tallies[k] = &Tally{Period: k.period, Object: k.object, Meter: k.meter}
		}
		return tallies[k]
	}
	var conflicts []Conflict
	type settledKey struct {
		payer  int32
		period int
	}
	settled := map[settledKey][]row{}
	for k, rows := range groups {
		highest := rows[0].version
		for _, r := range rows {
			highest = max(highest, r.version)
		}
		var top []row
		conflict := false
		for _, r := range rows {
			if r.version == highest {
				top = append(top, r)
				a, b := r, top[0]
				conflict = conflict || a.time != b.time || a.meter != b.meter || a.quantity != b.quantity || a.content != b.content || a.spoilt != b.spoilt
			} else if !r.spoilt {
				tally(k.period, r).Superseded++
			}
		}
		slices.SortFunc(top, func(a, b row) int { return cmp.Or(cmp.Compare(a.object, b.object), cmp.Compare(a.row, b.row)) })
		for i, r := range top {
			switch {
			case r.spoilt:
			case conflict:
				tally(k.period, r).Conflict++
				conflicts = append(conflicts, Conflict{int32(k.period), r.object, r.account, r.meter, r.row, r.time, r.id, false})
			case i > 0:
				tally(k.period, r).Duplicate++
			default:
				t := tally(k.period, r)
				t.Settled++
				t.Quantity, _ = t.Quantity.Add(rating.DecimalOf(r.quantity, w.catalog.Meters[r.meter].Scale))
				sk := settledKey{w.payerOf(r.account), k.period}
				settled[sk] = append(settled[sk], r)
			}
		}
	}
	a := answer{lines: make([]string, shards)}
	for payer := range w.catalog.Accounts {
		shard := ShardOf(w.catalog.Accounts[payer].ID, shards)
		var text strings.Builder
		for period := range w.bounds[1:] {
			rows := settled[settledKey{int32(payer), period}]
			slices.SortFunc(rows, func(a, b row) int {
				return cmp.Or(cmp.Compare(a.time, b.time), cmp.Compare(a.account, b.account), cmp.Compare(a.meter, b.meter), strings.Compare(a.id, b.id))
			})
			for i, r := range rows {
				for _, o := range rows[:i] {
					if o.time == r.time && o.account == r.account && o.meter == r.meter && o.quantity == r.quantity {
						tally(period, r).ProbableDuplicate++
						break
					}
				}
				fmt.Fprintln(&text, payer, period, r.time, r.account, r.meter, r.quantity, r.attrs, r.object, r.row, r.id)
			}
		}
		a.lines[shard] += text.String()
	}
	var list []Tally
	for _, t := range tallies {
		list = append(list, *t)
	}
	slices.SortFunc(list, compareTallies)
	slices.SortFunc(conflicts, func(a, b Conflict) int { return cmp.Or(cmp.Compare(a.Object, b.Object), cmp.Compare(a.Row, b.Row)) })
	var rows []ObjectRows
	for object := range w.objects {
		if n := out[int32(object)]; n > 0 {
			rows = append(rows, ObjectRows{int32(object), n})
		}
	}
	a.rest = fmt.Sprintln(list, conflicts, rows)
	return a
}

// write hands the objects to the shuffle from several goroutines, in random batches.
func (w *world) write(s *Shuffle, rng *rand.Rand, readers int) error {
	order := rng.Perm(len(w.objects))
	next := make(chan int, len(order))
	for _, object := range order {
		next <- object
	}
	close(next)
	errs := make([]error, readers)
	var wg sync.WaitGroup
	for g := range readers {
		most := 1 + rng.IntN(50)
		wg.Go(func() {
			for object := range next {
				if err := writeObject(s, int32(object), w.objects[object], most); err != nil {
					errs[g] = err
				}
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return s.Seal()
}

func writeObject(s *Shuffle, object int32, rows []row, most int) error {
	out := s.Writer(object)
	for len(rows) > 0 {
		n := min(len(rows), most)
		if err := out.Records(recordsOf(rows[:n])); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return out.Close()
}

func recordsOf(rows []row) *rating.Records {
	b := &rating.Records{}
	version, attrs, content, spoilt := false, false, false, false
	for _, r := range rows {
		b.Time, b.Account, b.Meter = append(b.Time, r.time), append(b.Account, r.account), append(b.Meter, r.meter)
		b.Quantity, b.Row = append(b.Quantity, r.quantity), append(b.Row, r.row)
		b.IDs = append(b.IDs, r.id...)
		b.IDEnd = append(b.IDEnd, uint32(len(b.IDs)))
		b.Version, b.Attrs = append(b.Version, r.version), append(b.Attrs, r.attrs)
		b.Content, b.Spoilt = append(b.Content, r.content), append(b.Spoilt, r.spoilt)
		version, attrs, content, spoilt = version || r.version != 0, attrs || r.attrs != 0, content || r.content != 0, spoilt || r.spoilt
	}
	if !version {
		b.Version = nil
	}
	if !attrs {
		b.Attrs = nil
	}
	if !content {
		b.Content = nil
	}
	if !spoilt {
		b.Spoilt = nil
	}
	return b
}

// read reads all shards, side by side, and checks what a caller relies on.
func (w *world) read(s *Shuffle, workers int) (answer, error) {
	shards := s.cfg.Shards
	a := answer{lines: make([]string, shards)}
	next := make(chan int, shards)
	for shard := range shards {
		next <- shard
	}
	close(next)
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for g := range workers {
		wg.Go(func() {
			for shard := range next {
				text, err := w.readShard(s, shard)
				if a.lines[shard] = text; err != nil {
					errs[g] = err
				}
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return a, err
		}
	}
	var rows []ObjectRows
	rows = append(rows, s.OutOfPeriod()...)
	a.rest = fmt.Sprintln(s.Tallies(), s.Conflicts(), rows)
	return a, nil
}

func (w *world) readShard(s *Shuffle, shard int) (string, error) {
	var exclude func(int32) bool
	if len(w.exclude) > 0 {
		exclude = func(object int32) bool { return w.exclude[object] }
	}
	c, err := s.Shard(shard, exclude)
	if err != nil {
		return "", err
	}
	var text bytes.Buffer
	last := int32(-1)
	for c.NextPayer() {
		if c.Payer() <= last {
			return "", fmt.Errorf("payer %d after %d", c.Payer(), last)
		}
		last = c.Payer()
		periods, period := 0, -1
		for c.NextPeriod() {
			if periods++; c.Period() <= period {
				return "", fmt.Errorf("period %d after %d", c.Period(), period)
			}
			period = c.Period()
			batches := 0
			for c.NextBatch() {
				batches++
				writeBatch(&text, c)
			}
			if batches == 0 {
				return "", fmt.Errorf("period %d of payer %d is empty", period, last)
			}
		}
		if periods == 0 {
			return "", fmt.Errorf("payer %d has no period", last)
		}
	}
	return text.String(), c.Close()
}

func writeBatch(text *bytes.Buffer, c *Cursor) {
	b := c.Batch()
	for i := range b.Len() {
		attrs := int32(0)
		if b.Attrs != nil {
			attrs = b.Attrs[i]
		}
		fmt.Fprintln(text, c.Payer(), c.Period(), b.Time[i], b.Account[i], b.Meter[i], b.Quantity[i], attrs, b.Object[i], b.Row[i], string(b.ID(i)))
	}
}

func (w *world) config(rng *rand.Rand, dir string) Config {
	return Config{
		Catalog: w.catalog, Bounds: w.bounds, Shards: 1 + rng.IntN(4), TempDir: dir,
		MemoryBytes: []int64{1, 5_000, 50_000, 500_000, 50_000_000}[rng.IntN(5)], ExpectedRecords: int64(rng.IntN(3)) * 300,
		Readers: 1 + rng.IntN(4), Workers: 1 + rng.IntN(3),
	}
}

// TestAgreesWithModel: a stupid model gives the same records, counts and conflicts in random small worlds, however they
// are read and whatever the budget.
func TestAgreesWithModel(t *testing.T) {
	worlds := 6000
	if testing.Short() {
		worlds = 1000
	}
	dir := t.TempDir()
	for seed := range worlds {
		rng := rand.New(rand.NewPCG(uint64(seed), 1))
		w := randomWorld(rng)
		cfg := w.config(rng, dir)
		want := w.naive(cfg.Shards)
		got := w.shuffled(t, rng, cfg)
		for shard := range want.lines {
			if got.lines[shard] != want.lines[shard] {
				t.Fatalf("seed %d, shard %d of %d, budget %d: got\n%swant\n%s", seed, shard, cfg.Shards, cfg.MemoryBytes, got.lines[shard], want.lines[shard])
			}
		}
		if got.rest != want.rest {
			t.Fatalf("seed %d, budget %d: got\n%swant\n%s", seed, cfg.MemoryBytes, got.rest, want.rest)
		}
	}
}

func (w *world) shuffled(t *testing.T, rng *rand.Rand, cfg Config) answer {
	t.Helper()
	s, err := New(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.write(s, rng, s.cfg.Readers); err != nil {
		t.Fatal(err)
	}
	got, err := w.read(s, s.cfg.Workers)
	if err != nil {
		t.Fatal(err)
	}
	if rng.IntN(4) == 0 { // again gives the same
		if got, err = w.read(s, s.cfg.Workers); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return got
}
