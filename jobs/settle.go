package jobs

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strconv"
	"sync/atomic"
	"time"

	"drawdown/rating"
)

// Settle settles every pending period, oldest first (R5.2): it reads the usage that can belong to them, rates each payer's
// periods one after another, writes the settlement, and commits. All fields must be set.
type Settle struct {
	Catalog              *rating.Catalog
	Parts                Parts // where its packages are; nil: in Catalog
	CatalogSHA256        [32]byte
	Rules                rating.Config
	Unit                 rating.PeriodUnit
	Start                rating.Instant // settlement.start
	Delay                time.Duration  // settlement.delay
	Now                  rating.Instant
	Until                rating.Instant // periods that end later stay pending
	MaxQuarantinePercent int64          // settlement.max_quarantine, in 10^-9 percent
	QuarantineBadObjects bool           // usage.on_bad_object
	Shards               int
	Workers              int
	MemoryBytes          int64
	TempDir              string
	DryRun               bool

	Bucket   Bucket
	Reader   Reader
	State    State
	Ledger   Ledger
	Output   Output
	Closed   ClosedBooks
	Clock    Clock
	Progress func(stage string, done, total int64) // may be nil
	Stop     <-chan struct{}                       // once it is closed, no further commit is begun; may be nil
}

// Parts gives parts of a catalog whose packages are not all there at once: that of the payers of a shard. It is compiled for
// each call, so that it is gone when it is not needed any more.
type Parts func(ctx context.Context, shard int) (*rating.Catalog, error)

// part gives a catalog with the packages of a shard.
func (s *Settle) part(ctx context.Context, shard int) (*rating.Catalog, error) {
	if s.Parts == nil {
		return s.Catalog, nil
	}
	return s.Parts(ctx, shard)
}

const maxLateExamples = 5

// Run settles. What it reports was committed, also where it then fails.
func (s *Settle) Run(ctx context.Context) (*Report, error) {
	started := s.Clock()
	report := &Report{DryRun: s.DryRun, read: map[string]objectRead{}}
	stages := &stages{}
	most := s.atOnce(s.evenLoads(0))
	for {
		done, err := s.runOnce(ctx, report, stages, &most)
		report.Elapsed = s.Clock().Sub(started)
		report.Stages = stages.list()
		if !done && err == nil && !s.DryRun && !s.stopped() {
			continue
		}
		if !s.DryRun && (err == nil || len(report.Periods) > 0) {
			err = errors.Join(err, s.publish(context.WithoutCancel(ctx)))
		}
		return report, err
	}
}

func (s *Settle) stopped() bool {
	select {
	case <-s.Stop:
		return true
	default:
		return false
	}
}

// work is the part of a run that is settled and committed at once.
type work struct {
	periods []PeriodReport
	opening *Settled // nil: nothing was settled before
	stages  *stages
	only    int32 // the payer whose records alone are wanted, or None

	home        rating.Instant // start of the newest pending period, where rows of no period stand
	more        bool           // periods are pending after these
	settledFrom rating.Instant // settlement.start
	closedUntil rating.Instant // start of the first open period, where any is closed
	firstOpen   rating.Period  // which it is
	late        *lateWork      // nil: the run settles no late usage
	earlier     RowCounts      // of the commits before, in the same run

	inputs []objectRows // by period
	rows   RowCounts    // over all periods

	rewriting *rewriting // of a backfill; nil: the periods are pending
	mayShrink bool       // where all its periods do not fit the memory, others have fewer
}

func (w *work) newest() *PeriodReport { return &w.periods[len(w.periods)-1] }

func (w *work) bounds() []rating.Instant {
	bounds := make([]rating.Instant, 0, w.lates()+len(w.periods)+1)
	if w.late != nil {
		for i := range w.late.periods {
			bounds = append(bounds, w.late.periods[i].Start)
		}
	}
	for i := range w.periods {
		bounds = append(bounds, w.periods[i].Period.Start)
	}
	return append(bounds, w.newest().Period.End)
}

// periodOf gives the number of the period that holds t.
func (w *work) periodOf(t rating.Instant) (int, bool) {
	i := sort.Search(len(w.periods), func(i int) bool { return w.periods[i].Period.End > t })
	return i, i < len(w.periods) && w.periods[i].Period.Start <= t
}

// runOnce settles the next periods; true when no more are pending.
func (s *Settle) runOnce(ctx context.Context, report *Report, stages *stages, most *int) (bool, error) {
	run, g, err := s.begin(ctx, report, stages, most)
	if err != nil {
		return false, err
	}
	if len(run.periods) == 0 {
		if len(report.Periods) == 0 {
			report.Nothing = s.whyNothing(run)
		}
		return true, nil
	}
	err = s.compute(ctx, run, g)
	if err = errors.Join(err, g.close()); err != nil {
		return false, err
	}
	report.take(run, g)
	return !run.more, nil
}

// begin plans the next commit, of so many periods at most, and gathers usage for it. Where fewer fit, it notes that.
func (s *Settle) begin(ctx context.Context, report *Report, stages *stages, most *int) (*work, *gathered, error) {
	for {
		run, err := s.plan(ctx, *most)
		if err != nil {
			return nil, nil, err
		}
		if err := s.latePlan(ctx, run); err != nil {
			return nil, nil, err
		}
		run.stages, run.earlier = stages, report.Rows
		if len(run.periods) == 0 {
			return run, nil, nil
		}
		g, err := s.gather(ctx, run)
		if wide, is := err.(*tooWide); is { // and nothing else has failed
			*most = wide.most
			continue
		}
		return run, g, err
	}
}

// take adds what was settled. An object that is read for several commits counts once.
func (r *Report) take(run *work, g *gathered) {
	r.Ignored, r.Skipped = g.ignored, g.skipped
	r.Periods = append(r.Periods, run.periods...)
	r.Rows.add(&run.rows)
	for i := range g.objects {
		o := &g.objects[i]
		was, again := r.read[o.Key]
		r.read[o.Key] = objectRead{o.Read, g.keeps(int32(i)) && (was.inPart || !again)}
		if o.waits {
			r.FirstOpen = &run.firstOpen
		}
		if o.settlesLate {
			r.LateSettled = append(r.LateSettled, o.Key)
		}
		if r.Late += o.late; o.late > 0 && len(r.LateObjects) < maxLateExamples {
			r.LateObjects = append(r.LateObjects, o.Key)
		}
		if run.rewriting == nil && o.lost(max(run.settledFrom, run.closedUntil), run.periods[0].Period.Start) {
			r.Replaced = append(r.Replaced, o.Key)
		}
	}
	r.Objects, r.InPart, r.Read = len(r.read), 0, 0
	for _, o := range r.read {
		if r.Read += o.rows; o.inPart {
			r.InPart++
		}
	}
	r.Rows.Read = r.Read
	r.Rows.OutOfPeriod = r.Read - r.Rows.inPeriod()
}

// lost tells whether an object had rows of a time with other content than it has now, so that what was settled of it may
// stand no longer.
func (o *gatheredObject) lost(from, to rating.Instant) bool {
	b := o.before
	return b != nil && b.SHA256 != [32]byte{} && b.First <= b.Last && b.First < to && b.Last >= from
}

func (c *RowCounts) inPeriod() int64 { return c.Settled + c.Duplicate + c.Superseded + c.Quarantined }

// plan finds the pending periods: those that have ended, with the delay, since the last one settled; of these
// the first ones, as many as a commit is to cover at most.
func (s *Settle) plan(ctx context.Context, most int) (*work, error) {
	last, err := s.State.Last(ctx)
	if err != nil {
		return nil, fmt.Errorf("find the last settled period: %w", err)
	}
	w := &work{opening: last, only: rating.None, settledFrom: s.Start, mayShrink: true}
	next := rating.PeriodAt(s.Unit, s.Catalog.Zone, s.Start)
	if last != nil {
		next = rating.PeriodAt(s.Unit, s.Catalog.Zone, last.Period.End)
	}
	delay := rating.Instant(s.Delay.Microseconds())
	for next.End+delay <= s.Now && next.End <= s.Until {
		w.home = next.Start
		if w.more = len(w.periods) == most; w.more {
			next = rating.PeriodAt(s.Unit, s.Catalog.Zone, next.End)
			continue
		}
		w.periods = append(w.periods, PeriodReport{
			Period: next, Name: next.Name(s.Unit, s.Catalog.Zone), Revision: 1, Notices: map[string]int{},
			Quarantined: map[string]int64{},
		})
		next = rating.PeriodAt(s.Unit, s.Catalog.Zone, next.End)
	}
	return w, nil
}

func (s *Settle) whyNothing(w *work) string {
	from := s.Start
	if w.opening != nil {
		from = w.opening.Period.End
	}
	next := rating.PeriodAt(s.Unit, s.Catalog.Zone, from)
	due := next.End + rating.Instant(s.Delay.Microseconds())
	return fmt.Sprintf("no period is pending: %s ends at %v and is settled from %v on", next.Name(s.Unit, s.Catalog.Zone), next.End, due)
}

// compute rates and writes what was gathered, and commits it, or takes it back.
func (s *Settle) compute(ctx context.Context, run *work, g *gathered) error {
	commit := &Commit{}
	revisions, err := s.write(ctx, run, g, commit)
	if err != nil || s.DryRun {
		return errors.Join(err, discard(revisions))
	}
	return s.commit(ctx, run, g, commit, revisions)
}

// write rates what was gathered, writes and checks it, and adds it to a commit. The revisions are all that it made, also
// where it failed.
func (s *Settle) write(ctx context.Context, run *work, g *gathered, commit *Commit) ([]Revision, error) {
	revisions := make([]Revision, len(run.periods))
	for i := range run.periods {
		p := &run.periods[i]
		var err error
		if revisions[i], err = s.Output.Create(p.Period, p.Name, p.Revision, g.keys); err != nil {
			return revisions, fmt.Errorf("create the files of period %s: %w", p.Name, err)
		}
	}
	if run.rewriting != nil {
		if err := run.rewriting.takeOver(ctx, run, g, revisions); err != nil {
			return revisions, err
		}
	}
	rated, err := s.rate(ctx, run, g, revisions)
	if err != nil {
		return revisions, err
	}
	g.letGo()
	if err := s.balance(ctx, run, g, rated); err != nil {
		return revisions, err
	}
	return revisions, s.finish(ctx, run, g, rated, revisions, commit)
}

func discard(revisions []Revision) (err error) {
	for _, r := range revisions {
		if r != nil {
			err = errors.Join(err, r.Discard())
		}
	}
	return err
}

// commit makes the run true.
func (s *Settle) commit(ctx context.Context, run *work, g *gathered, commit *Commit, revisions []Revision) error {
	started := s.Clock()
	defer func() { run.stages.add(stageCommit, s.Clock().Sub(started)) }()
	commit.Objects = append(commit.Objects, g.remembered()...)
	if err := s.Output.Sync(ctx); err != nil {
		return err
	}
	if err := s.Ledger.Commit(ctx, commit); err != nil {
		err = fmt.Errorf("commit: %w", err)
		if errors.Is(err, ErrFenced) { // nothing of it is true, and nobody else uses the folders
			err = errors.Join(err, discard(revisions))
		}
		return err
	}
	return nil
}

// remembered is what the state is to know of the objects: those that were read, as they are. What was away or bad while
// periods were settled that it has rows of is forgotten, so that its return is noticed.
func (g *gathered) remembered() []Known {
	objects := make([]Known, 0, len(g.objects)+len(g.absent))
	for i := range g.objects {
		o := &g.objects[i]
		switch {
		case o.waits: // for a run of the first open period, which is to notice it
			objects = append(objects, unsettled(o.Known))
		case !o.bad:
			objects = append(objects, o.Known)
		case o.before != nil || !o.fresh:
			objects = append(objects, forgotten(o.Known))
		}
	}
	for _, k := range g.absent {
		objects = append(objects, forgotten(k))
	}
	return objects
}

// unsettled is an object that is to be read again, though its content is known: some of its rows wait for another run.
func unsettled(k Known) Known {
	k.Version = ""
	return k
}

// forgotten is an object of which no version is known.
func forgotten(k Known) Known {
	k.Version, k.SHA256 = "", [32]byte{}
	return k
}

// publish tells readers without database access what is current; it also mends what an earlier run could not write.
func (s *Settle) publish(ctx context.Context) error {
	current, err := s.Ledger.Current(ctx)
	if err != nil {
		return fmt.Errorf("find the current revisions: %w", err)
	}
	if err := s.Output.Publish(ctx, current); err != nil {
		return fmt.Errorf("what is settled is committed, but it cannot all be read (the next run looks again): %w", err)
	}
	return nil
}

func (s *Settle) progress(stage string, done, total int64) {
	if s.Progress != nil {
		s.Progress(stage, done, total)
	}
}

// stage is a part of the work whose time is reported.
type stage int

const (
	stageRead stage = iota
	stageSort
	stageRate
	stageWrite
	stageCheck
	stageCommit
	stageCount
)

var stageNames = [stageCount]string{"read", "partition and sort", "rate", "write", "check", "commit"}

// stages adds up the time that all workers spent in each stage.
type stages [stageCount]atomic.Int64

func (s *stages) add(n stage, d time.Duration) { s[n].Add(int64(d)) }

func (s *stages) list() []Stage {
	var list []Stage
	for i, name := range stageNames {
		list = append(list, Stage{Name: name, Busy: time.Duration(s[i].Load())})
	}
	return list
}

func percent(part, whole int64) string {
	return strconv.FormatFloat(float64(part)*100/float64(whole), 'f', 2, 64) + " %"
}
