package jobs

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"drawdown/jobs/shuffle"
	"drawdown/rating"
)

// gathered is what reading the usage of some periods gave. Objects are numbered in the order of their keys.
type gathered struct {
	objects    []gatheredObject
	keys       []string
	ignored    []string
	skipped    int
	shuffle    *shuffle.Shuffle
	quarantine *quarantine
	done       atomic.Int64 // objects that were read
	absent     []Known      // that were read before, can hold rows of the periods, and are not listed
	selected   *selection   // of a backfill; nil: all objects are read as a whole
	freeing    sync.WaitGroup
	freed      error
	lateGathered
}

// gatheredObject is a usage object and what was found in it.
type gatheredObject struct {
	Known
	before       *Known // what was remembered of it, where it may have changed since
	bad          bool
	fresh        bool          // no run before has read this version of it
	homeless     bool          // it has rows that belong to no period
	touches      []bool        // of a backfill, by shard: it has rows of it that may not have been settled
	late         int64         // rows of periods that were settled before the object was there
	elsewhere    map[int]int64 // of a fresh object in a backfill: rows of other settled periods, by their number in the books
	rejected     map[int]int64 // by period
	outOfPeriod  int64         // rejected rows of other periods
	waits        bool          // it has rows of closed periods, which another run settles
	settlesLate  bool          // it has such rows, and this run settles them
	lateRejected int64         // of these
	tooOld       []rating.Rejected
}

// gather reads every object that can hold rows of the periods into the shuffle.
func (s *Settle) gather(ctx context.Context, run *work) (*gathered, error) {
	objects, ignored, err := s.Bucket.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list usage objects: %w", err)
	}
	known, err := s.State.Objects(ctx)
	if err != nil {
		return nil, fmt.Errorf("load remembered usage objects: %w", err)
	}
	g := &gathered{ignored: ignored, quarantine: newQuarantine(s.TempDir), lateGathered: lateGathered{
		seed: maphash.MakeSeed(), lateIDs: map[uint64]bool{}, latePayers: map[int32]bool{}, latePeriods: map[int]bool{},
	}}
	g.quarantine.most = max(leastQuarantine, int(s.MemoryBytes/4/rejectedRowBytes))
	var bytes int64
	listed := make(map[string]bool, len(objects))
	for _, o := range objects {
		listed[o.Key] = true
		k, same := known[o.Key]
		same = same && k.Object == o
		if same && !run.mayHold(&k) {
			g.skipped++
			continue
		}
		var before *Known
		if !same {
			if was, ok := known[o.Key]; ok {
				before = &was
			}
			k = Known{Object: o, Home: run.home}
		}
		bytes += o.Size
		g.objects = append(g.objects, gatheredObject{Known: k, before: before, fresh: !same, rejected: map[int]int64{}})
		g.keys = append(g.keys, o.Key)
	}
	for _, key := range slices.Sorted(maps.Keys(known)) {
		if k := known[key]; !listed[key] && run.mayHold(&k) {
			g.absent = append(g.absent, k)
		}
	}
	selected := run.selects(g)
	if err := s.admit(run, g, selected); err != nil {
		return nil, err
	}
	if selected != nil {
		bytes = selected.expected(g, run.rewriting.standsAs.touched)
	}
	if g.shuffle, err = s.partition(ctx, run, g, bytes); err != nil {
		return nil, fmt.Errorf("partition usage: %w", err)
	}
	err = s.readUsage(ctx, run, g, selected)
	if err == nil {
		err = s.compareLate(ctx, run, g, objects)
	}
	if err == nil {
		if err = g.shuffle.Seal(); err != nil {
			err = fmt.Errorf("partition usage: %w", err)
		}
	}
	if err == nil {
		return g, nil
	}
	if failed := g.close(); failed != nil {
		err = errors.Join(err, failed)
	}
	return nil, err
}

// partition makes a shuffle for objects that have so many bytes.
func (s *Settle) partition(ctx context.Context, run *work, g *gathered, bytes int64) (*shuffle.Shuffle, error) {
	booked, writers := int32(0), s.Workers
	if run.late != nil {
		booked, writers = g.bookedNumber(), 2*writers // an object's late rows have a writer of their own
	}
	return shuffle.New(ctx, shuffle.Config{
		Booked:  booked,
		Catalog: s.Catalog, Bounds: run.bounds(), Shards: s.Shards, MemoryBytes: s.MemoryBytes / 4, TempDir: s.TempDir,
		ExpectedRecords: bytes / recordBytes, Readers: writers, Workers: s.Workers, MaxConflicts: maxLateRejections,
	})
}

// isBad tells whether an object could not be read whole; the shuffle asks for number 0 also where there are no objects.
func (g *gathered) isBad(number int32) bool {
	if n := number - g.bookedNumber(); n >= 0 {
		return n > 0 && int(n) <= len(g.beside) && !g.beside[n-1].same
	}
	object, late := g.own(number)
	return g.objects[object].bad || late && !g.objects[object].settlesLate
}

// letGo frees the records, which are rated, while their lines are checked: a large temporary file takes a while to remove.
func (g *gathered) letGo() {
	g.freeing.Go(func() { g.freed = g.shuffle.Close() })
}

func (g *gathered) close() error {
	g.freeing.Wait()
	return errors.Join(g.freed, g.shuffle.Close(), g.quarantine.close())
}

// mayHold tells whether an object that was read before may have rows in the periods of the run.
func (w *work) mayHold(k *Known) bool {
	first, last := w.periods[0].Period.Start, w.newest().Period.End
	return k.First < last && k.Last >= first || k.Home >= first && k.Home < last || w.late != nil && w.late.objects[k.Key]
}

// readAll reads objects, several at a time.
func (s *Settle) readAll(
	ctx context.Context, run *work, g *gathered, numbers []int32, readObject func(context.Context, *work, *gathered, int32) error,
) error {
	expected := make([]Object, len(numbers))
	for i, n := range numbers {
		expected[i] = g.objects[n].Object
	}
	s.Bucket.Expect(expected)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var group sync.WaitGroup
	for range min(s.Workers, len(numbers)) {
		group.Go(func() {
			for ctx.Err() == nil {
				n := int(next.Add(1)) - 1
				if n >= len(numbers) {
					return
				}
				if err := readObject(ctx, run, g, numbers[n]); err != nil {
					cancel(err)
					return
				}
				s.progress("read", g.done.Add(1), int64(len(g.objects)))
			}
		})
	}
	group.Wait()
	return context.Cause(ctx)
}

// readObject reads one object into the shuffle and the quarantine.
func (s *Settle) readObject(ctx context.Context, run *work, g *gathered, n int32) error {
	o := &g.objects[n]
	sink := &objectSink{
		run: run, gathered: g, number: n, writer: g.shuffle.Writer(n), clock: s.Clock, catalog: s.Catalog, unit: s.Unit, start: s.Start,
	}
	started := s.Clock()
	summary, err := s.Reader.Read(ctx, o.Object, sink)
	err = errors.Join(err, sink.writer.Close())
	if sink.late.writer != nil {
		err = errors.Join(err, sink.late.writer.Close())
	}
	run.stages.add(stageRead, s.Clock().Sub(started)-sink.busy)
	run.stages.add(stageSort, sink.busy)
	var bad *ObjectError
	switch {
	case err == nil:
		o.SHA256, o.Read, o.First, o.Last = summary.SHA256, summary.Read, summary.First, summary.Last
		o.late, o.waits = sink.waiting, sink.waits
		settles, said := true, !o.fresh
		if o.before != nil && o.before.SHA256 == o.SHA256 { // it says what it said
			o.Home, said = o.before.Home, true
			if o.before.Version != "" { // it was copied or touched, and nothing of it waits
				o.late, o.elsewhere, o.waits = 0, nil, false
				settles = run.late != nil && run.late.objects[o.Key]
			}
			o.before = nil
		}
		g.takeLate(n, &sink.late, settles)
		g.house(run, n, said)
		return nil
	case errors.As(err, &bad) && s.QuarantineBadObjects && ctx.Err() == nil:
		return g.reject(run, n, bad)
	case errors.As(err, &bad):
		return fmt.Errorf("R4.5: %w; repair or remove the object, or set usage.on_bad_object: quarantine", err)
	}
	return fmt.Errorf("read usage object %s: %w", o.Key, err)
}

// house puts the rows of an object that belong to no period where they stand. Only now is it known whether the object says
// what it said when it was read before.
func (g *gathered) house(run *work, n int32, said bool) {
	o := &g.objects[n]
	period, ok := run.periodOf(o.Home)
	if !o.homeless { // any more, where it was before: what stood in the future then stands in the period of its time now
		if !said {
			o.Home = rating.Beginning
		}
		return
	}
	if !ok {
		o.outOfPeriod += g.quarantine.rehome(n, -1)
		return
	}
	o.rejected[period] += g.quarantine.rehome(n, int32(period))
}

// reject puts a whole object into the quarantine: no record of it settles.
func (g *gathered) reject(run *work, n int32, bad *ObjectError) error {
	o := &g.objects[n]
	g.quarantine.drop(n)
	clear(o.rejected)
	o.outOfPeriod = 0
	o.bad, o.Read, o.First, o.Last = true, 1, rating.Never, rating.Beginning
	period, ok := run.periodOf(run.home)
	if !ok {
		o.outOfPeriod = 1
		return nil
	}
	o.rejected[period] = 1
	return g.quarantine.add(n, int32(period), &rating.Rejected{Reason: rating.BadObject, Detail: bad.Err.Error()})
}

// objectSink takes what is read of one object.
type objectSink struct {
	run      *work
	gathered *gathered
	number   int32
	writer   *shuffle.Writer
	clock    Clock
	busy     time.Duration
	catalog  *rating.Catalog
	filter   filter
	unit     rating.PeriodUnit
	start    rating.Instant // settlement.start
	waiting  int64          // rows of periods that are settled already
	waits    bool           // some are of closed ones, which another run settles
	late     lateSink
}

func (o *objectSink) Records(r *rating.Records) error {
	started := o.clock()
	if o.run.only != rating.None {
		r = o.filter.keep(o.catalog, o.run.only, r)
	}
	o.countLate(&o.gathered.objects[o.number], r.Time...)
	if o.run.rewriting != nil {
		o.run.rewriting.touch(&o.gathered.objects[o.number], r)
	}
	var err error
	if o.run.late != nil {
		r, err = o.split(r)
	}
	if err == nil {
		err = o.writer.Records(r)
	}
	o.busy += o.clock().Sub(started)
	return err
}

// Reject keeps a row for the period it belongs to; a row that belongs to none stands in its object's home period.
func (o *objectSink) Reject(r *rating.Rejected) error {
	object := &o.gathered.objects[o.number]
	if isHomeless(r) {
		object.homeless = true
		return o.gathered.quarantine.add(o.number, 0, r) // until house
	}
	o.countLate(object, r.Time)
	if late, err := o.rejectLate(object, r); late || err != nil {
		return err
	}
	period, ok := o.run.periodOf(r.Time)
	if !ok {
		object.outOfPeriod++
		return nil
	}
	object.rejected[period]++
	return o.gathered.quarantine.add(o.number, int32(period), r)
}

// countLate counts rows of periods that were settled before, of an object that no run has read like this.
func (o *objectSink) countLate(object *gatheredObject, times ...rating.Instant) {
	if !object.fresh {
		return
	}
	for _, t := range times {
		o.waits = o.waits || o.run.late == nil && o.run.settledFrom <= t && t < o.run.closedUntil
	}
	switch {
	case o.run.rewriting != nil:
		o.run.rewriting.countElsewhere(object, times, o.run.late != nil)
	case o.run.opening != nil && o.run.late == nil:
		for _, t := range times {
			if o.run.settledFrom <= t && t < o.run.periods[0].Period.Start {
				o.waiting++
			}
		}
	}
}

// isHomeless tells whether a row belongs to no period.
func isHomeless(r *rating.Rejected) bool { return !r.HasTime || r.Future }
