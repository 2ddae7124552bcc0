package jobs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"

	"drawdown/rating"
)

// Backfill settles periods again that were settled before, from what bucket and catalog hold now, each that comes to
// something else as a new revision (R5.4). Later settled periods follow as long as they open with something else. All of it
// is one commit. Start, Delay and Until of Settle are not used. All fields must be set.
type Backfill struct {
	Settle
	From, To rating.Instant // periods that lie within
	History  History
	Keeper   StateKeeper // nil for a dry run
	Standing Standing    // nil: each shard is computed, also where nothing has touched it
	// Changed is told of each period that comes to something else, before anything is committed, or with a dry run dropped.
	Changed func(was *Booked, is *PeriodReport) error
}

// Booked is the current revision of a settled period.
type Booked struct {
	Settled
	Name          string
	Revision      int
	ManifestKey   string
	ClosingSHA256 [32]byte // of the hashes of all shards
	Closed        bool
	HasLate       bool // it has settled usage of closed periods
}

// History is what a backfill reads of what was settled.
type History interface {
	// Booked gives the current revision of every settled period, oldest first.
	Booked(ctx context.Context) ([]Booked, error)
	// OpeningAt gives a shard's payers as the period before left them, and a hash of that.
	OpeningAt(ctx context.Context, c *rating.Catalog, p rating.Period, shard int) ([]rating.PayerState, [32]byte, error)
	// Unseal decodes a closing state; one without its content is loaded.
	Unseal(ctx context.Context, c *rating.Catalog, s SealedState) ([]rating.PayerState, error)
}

// StateKeeper stores closing states that a commit is going to name.
type StateKeeper interface {
	Keep(ctx context.Context, states []SealedState) error
}

// rewriting are the books while a backfill writes: a batch of periods, as part of the whole.
type rewriting struct {
	*Backfill
	all     []Booked
	first   int // of the batch
	end     int // of the range that was asked for: what is behind follows only as long as something differs
	done    bool
	most    int    // periods of a batch, at most, as far as that has shown
	changed []bool // by number
	bucket  Bucket

	standsAs       *untouched              // of the batch
	loaded         map[int]*StandingPeriod // what stands of periods to come, by number
	shardOfAccount []int32

	// What the periods so far left: the closing state and the manifest of the last one, and the objects that were read.
	closing  []SealedState
	previous [32]byte
	read     map[string]Known
	fresh    bool                     // some of them are new to the state
	others   map[string]map[int]int64 // of those, rows by the number of their settled period
	before   map[string]gatheredObject
}

// Run settles the range, and what follows from it.
func (b *Backfill) Run(ctx context.Context) (*Report, error) {
	started := b.Clock()
	report := &Report{DryRun: b.DryRun, read: map[string]objectRead{}}
	stages := &stages{}
	err := b.run(ctx, report, stages)
	report.Elapsed, report.Stages = b.Clock().Sub(started), stages.list()
	if err == nil && !b.DryRun {
		err = b.publish(context.WithoutCancel(ctx))
	}
	return report, err
}

func (b *Backfill) run(ctx context.Context, report *Report, stages *stages) error {
	books, err := b.open(ctx)
	if err != nil {
		return err
	}
	commit, revisions := &Commit{}, []Revision{}
	var last *work
	for books.first < len(books.all) && !books.done {
		last = books.batch(stages, report.Rows)
		made, err := books.settle(ctx, last, commit, report)
		if wide, is := err.(*tooWide); is { // and nothing else has failed
			books.most = wide.most
			continue
		}
		if revisions = append(revisions, made...); err != nil {
			return errors.Join(err, discard(revisions))
		}
	}
	books.countLate(report)
	report.drop(books.unchanged())
	if len(commit.Periods) == 0 {
		report.Nothing = "nothing differs from what was settled"
	}
	if b.DryRun || len(commit.Periods) == 0 && !books.fresh {
		return discard(revisions)
	}
	for _, key := range slices.Sorted(maps.Keys(books.read)) {
		commit.Objects = append(commit.Objects, books.read[key])
	}
	return b.commit(ctx, last, &gathered{}, commit, revisions)
}

// open finds the range in the books.
func (b *Backfill) open(ctx context.Context) (*rewriting, error) {
	all, err := b.History.Booked(ctx)
	if err != nil {
		return nil, fmt.Errorf("load the settled periods: %w", err)
	}
	objects, _, err := b.Bucket.List(ctx) // once: what comes meanwhile is not a part of it
	if err != nil {
		return nil, fmt.Errorf("list usage objects: %w", err)
	}
	books := &rewriting{
		Backfill: b, all: all, bucket: fixedBucket{b.Bucket, objects}, changed: make([]bool, len(all)), most: maxPeriods,
		shardOfAccount: b.shardsOfAccounts(), loaded: map[int]*StandingPeriod{}, read: map[string]Known{},
		others: map[string]map[int]int64{}, before: map[string]gatheredObject{},
	}
	books.first = sort.Search(len(all), func(i int) bool { return all[i].Period.Start >= b.From })
	books.end = sort.Search(len(all), func(i int) bool { return all[i].Period.End > b.To })
	if books.first >= books.end {
		return nil, fmt.Errorf("R5.4: no settled period lies between %v and %v; `drawdown periods` lists them, and `drawdown settle` "+
			"settles what is pending", b.From, b.To)
	}
	for i := books.first; i < len(all); i++ {
		if all[i].Closed {
			return nil, fmt.Errorf("R5.5: period %s is closed, and a closed period is never rewritten; name a range behind it", all[i].Name)
		}
	}
	if books.first > 0 && all[books.first-1].Closed {
		b.Standing = nil // what is taken over knows nothing of late usage: all of it is computed
	}
	return books, nil
}

// batch begins the next periods.
func (b *rewriting) batch(stages *stages, earlier RowCounts) *work {
	w := &work{only: rating.None, stages: stages, earlier: earlier, rewriting: b, mayShrink: true}
	for _, was := range b.all[b.first : b.first+b.next()] {
		w.periods = append(w.periods, PeriodReport{
			Period: was.Period, Name: was.Name, Revision: was.Revision + 1, Notices: map[string]int{}, Quarantined: map[string]int64{},
		})
	}
	w.home = b.all[b.end-1].Period.Start // of the range, however it is cut
	if b.first > 0 {
		before := b.all[b.first-1].Settled
		if b.closing != nil {
			before.ManifestSHA256 = b.previous
		}
		w.opening = &before
	}
	return w
}

// next gives the number of periods of the next batch: those of the range, then twice as many each time, since nobody knows
// how far a difference reaches.
func (b *rewriting) next() int {
	left := b.end - b.first
	if left <= 0 {
		left = min(1+b.first-b.end, len(b.all)-b.first)
	}
	return min(left, b.most)
}

// settle settles a batch, which opens with what the batch before closed with.
func (b *rewriting) settle(ctx context.Context, w *work, commit *Commit, report *Report) (revisions []Revision, err error) {
	job := b.Settle
	job.State, job.Bucket = &bookedState{b.State, b, w.periods[0].Period}, b.bucket
	if err := errors.Join(b.load(ctx, w), b.planLate(ctx, w)); err != nil {
		return nil, err
	}
	g, err := job.gather(ctx, w)
	if err != nil {
		return nil, err
	}
	revisions, err = job.write(ctx, w, g, commit)
	if err = errors.Join(err, g.close()); err != nil {
		return revisions, err
	}
	unused := revisions[len(w.periods):] // behind the last difference
	revisions = revisions[:len(w.periods)]
	for range w.periods {
		delete(b.loaded, b.first)
		b.first++
	}
	report.take(w, g)
	for _, k := range g.remembered() {
		b.read[k.Key] = k
	}
	for i := range g.objects {
		o := &g.objects[i]
		if o.fresh && !o.bad {
			b.fresh, b.others[o.Key] = true, o.elsewhere
		}
		if o.before != nil {
			b.before[o.Key] = *o
		}
	}
	return revisions, errors.Join(discard(unused), b.keep(ctx, commit))
}

// keep puts closing states into the database ahead of the commit, which then needs not hold those of all periods. In a dry
// run they are of no use.
func (b *rewriting) keep(ctx context.Context, commit *Commit) error {
	for i := range commit.Periods {
		shards := commit.Periods[i].Shards
		if !slices.ContainsFunc(shards, func(s SealedState) bool { return s.Blob != nil }) {
			continue
		}
		if !b.DryRun {
			if err := b.Keeper.Keep(ctx, shards); err != nil {
				return err
			}
		}
		commit.Periods[i].Shards = slices.Clone(shards) // b.closing may be these
		for n := range shards {
			commit.Periods[i].Shards[n].Blob = nil
		}
	}
	return nil
}

// bookedState opens with what the batch before left, or for the first one, with what the history says; and it knows of the
// objects that were read.
type bookedState struct {
	State
	*rewriting
	first rating.Period
}

func (s *bookedState) Opening(ctx context.Context, c *rating.Catalog, shard int) ([]rating.PayerState, [32]byte, error) {
	if s.closing == nil {
		return s.History.OpeningAt(ctx, c, s.first, shard)
	}
	states, err := s.History.Unseal(ctx, c, s.closing[shard])
	return states, s.closing[shard].SHA256, err
}

func (s *bookedState) Objects(ctx context.Context) (map[string]Known, error) {
	objects, err := s.State.Objects(ctx)
	if err == nil {
		maps.Copy(objects, s.read)
	}
	return objects, err
}

// standing is the current revision of period number i of the batch.
func (b *rewriting) standing(i int) *Booked { return &b.all[b.first+i] }

// take adds period number i of the batch to the commit, unless it comes to what was settled: then that stays. It gives the
// hash of the manifest that the next period follows.
func (b *rewriting) take(i int, c PeriodCommit, revisions []Revision, commit *Commit) ([32]byte, error) {
	was := b.standing(i)
	b.closing = c.Shards
	if b.previous = was.ManifestSHA256; c.ManifestKey == "" {
		err := revisions[i].Discard()
		revisions[i] = nil
		return b.previous, err
	}
	b.changed[b.first+i], b.previous = true, c.ManifestSHA256
	if err := b.Changed(was, c.Report); err != nil {
		return [32]byte{}, err
	}
	commit.Periods = append(commit.Periods, c)
	return b.previous, nil
}

// settled tells whether nothing behind period number i of the batch can differ: it closes as it did before, and the range
// ends with it.
func (b *rewriting) settled(i int, closing [][32]byte) bool {
	b.done = b.first+i >= b.end-1 && HashOfShards(closing) == b.standing(i).ClosingSHA256
	return b.done
}

// planLate finds out whether a batch settles late usage again: whether it begins with the first open period.
func (b *rewriting) planLate(ctx context.Context, w *work) error {
	if !b.all[0].Closed {
		return nil
	}
	w.settledFrom, w.closedUntil = b.all[0].Period.Start, b.firstOpen().Period.Start
	w.firstOpen = b.firstOpen().Period
	if w.periods[0].Period.Start != w.closedUntil {
		return nil
	}
	w.late = b.lateBefore(w.closedUntil)
	for i := range b.all {
		if b.all[i].Closed {
			w.late.closed = append(w.late.closed, b.all[i])
		}
	}
	m, err := b.Settle.Closed.Manifest(ctx, b.standing(0))
	if err != nil {
		return fmt.Errorf("read what stands of period %s: %w", b.standing(0).Name, err)
	}
	if m.Late != nil {
		for _, key := range m.Late.Objects {
			w.late.objects[key] = true
		}
	}
	return nil
}

// firstOpen is the first period that is not closed.
func (b *rewriting) firstOpen() *Booked {
	return &b.all[slices.IndexFunc(b.all, func(was Booked) bool { return !was.Closed })]
}

// countElsewhere counts a fresh object's rows of settled periods: those that no batch settles are late.
func (b *rewriting) countElsewhere(o *gatheredObject, times []rating.Instant, settlesLate bool) {
	if o.elsewhere == nil {
		o.elsewhere = map[int]int64{}
	}
	for _, t := range times {
		i := sort.Search(len(b.all), func(i int) bool { return b.all[i].Period.End > t })
		if i < len(b.all) && b.all[i].Period.Start <= t && !(settlesLate && b.all[i].Closed) {
			o.elsewhere[i]++
		}
	}
}

func (b *rewriting) countLate(report *Report) {
	from := sort.Search(len(b.all), func(i int) bool { return b.all[i].Period.Start >= b.From })
	report.Late, report.LateObjects = 0, nil
	for _, key := range slices.Sorted(maps.Keys(b.before)) {
		o := b.before[key]
		if from > 0 && o.lost(b.firstOpen().Period.Start, b.all[from].Period.Start) ||
			b.first < len(b.all) && o.lost(b.all[b.first].Period.Start, rating.Never) {
			report.Replaced = append(report.Replaced, key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(b.others)) {
		late := int64(0)
		for number, rows := range b.others[key] {
			if number < from || number >= b.first {
				late += rows
			}
		}
		if report.Late += late; late > 0 && len(report.LateObjects) < maxLateExamples {
			report.LateObjects = append(report.LateObjects, key)
		}
	}
}

// unchanged gives the names of the periods that come to what was settled.
func (b *rewriting) unchanged() map[string]bool {
	names := map[string]bool{}
	for i, changed := range b.changed {
		if !changed {
			names[b.all[i].Name] = true
		}
	}
	return names
}

// drop leaves periods out of the report, and their rows.
func (r *Report) drop(names map[string]bool) {
	r.Unchanged, r.Rows = 0, RowCounts{Read: r.Read}
	r.Periods = slices.DeleteFunc(r.Periods, func(p PeriodReport) bool {
		if names[p.Name] {
			r.Unchanged++
		}
		return names[p.Name]
	})
	for i := range r.Periods {
		rows := r.Periods[i].Rows
		rows.Read = 0
		r.Rows.add(&rows)
	}
	r.Rows.OutOfPeriod = r.Read - r.Rows.inPeriod()
}
