package jobs

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"sync"

	"drawdown/jobs/shuffle"
	"drawdown/rating"
)

// Late usage (R5.5) is of closed periods. The first open period settles it: in the shuffle the closed periods that are not
// beyond the late horizon stand before those of the run, so that records are deduplicated within their own periods, and
// beside them what is booked there. Which objects have such rows follows from what the state remembers: an object of the
// same version has none, since whoever closes a period, or settles another one than the first that is open, lets what
// still waits be read again.

// ClosedBooks is what is closed.
type ClosedBooks interface {
	// Closed gives the closed periods, oldest first.
	Closed(ctx context.Context) ([]Booked, error)
	Manifest(ctx context.Context, b *Booked) (*ArchivedManifest, error)
	// Lines visits the records that have lines in some shards of a period, each line by itself.
	Lines(ctx context.Context, b *Booked, shards []bool, visit func(*BookedUnits) error) error
}

// BookedUnits is a line, as far as it is about what was used.
type BookedUnits struct {
	Account, RecordID, Meter string
	Time                     rating.Instant
	Quantity                 rating.Amount // DECIMAL(38,9)
}

// LateSettled is what a period settled of closed ones. It is a part of the period's own counts and sums.
type LateSettled struct {
	Rows    RowCounts // Read and OutOfPeriod are not counted
	Meters  []MeterReport
	Amounts []CurrencyAmount
	Objects []string   // that have the rows, by key
	Beside  []Compared // what was booked before, and read again to compare with, by key
}

// Compared is an object of closed periods that late usage was compared with.
type Compared struct {
	Key    string
	SHA256 [32]byte
}

// lateWork is what the first open period settles of those before it.
type lateWork struct {
	from    rating.Instant  // what is older is beyond the horizon
	until   rating.Instant  // start of the first open period
	periods []rating.Period // the closed ones that are not, oldest first
	closed  []Booked        // all of them
	objects map[string]bool // that have late rows by what stands, though they are known
	beside  []Compared      // where they are fixed
	listed  []Object        // the same objects, as they are listed
	fixed   bool            // objects and beside are all that there is
}

// latePlan finds out whether a run settles late usage: whether it begins with the first open period.
func (s *Settle) latePlan(ctx context.Context, w *work) error {
	closed, err := s.Closed.Closed(ctx)
	if err != nil {
		return fmt.Errorf("load the closed periods: %w", err)
	}
	if len(closed) == 0 {
		return nil
	}
	w.closedUntil = closed[len(closed)-1].Period.End
	w.firstOpen = s.periodAt(w.closedUntil)
	if len(w.periods) > 0 && w.periods[0].Period.Start == w.closedUntil {
		w.late = s.lateBefore(w.closedUntil)
		w.late.closed = closed
	}
	return nil
}

// lateBefore is the work on late usage of a first open period.
func (s *Settle) lateBefore(until rating.Instant) *lateWork {
	first := rating.PeriodAt(s.Unit, s.Catalog.Zone, s.Start)
	l := &lateWork{until: until, from: max(first.Start, until-rating.Instant(s.Rules.LateHorizon.Microseconds())), objects: map[string]bool{}}
	for t := l.from; t < until; {
		p := rating.PeriodAt(s.Unit, s.Catalog.Zone, t)
		l.periods = append(l.periods, p)
		t = p.End
	}
	return l
}

// lateAgain is the work on the late usage that a period has settled, beside the same that was booked.
func (s *Settle) lateAgain(ctx context.Context, p rating.Period, was *LateSettled, objects map[string]Object) (*lateWork, error) {
	closed, err := s.Closed.Closed(ctx)
	if err != nil {
		return nil, fmt.Errorf("load the closed periods: %w", err)
	}
	l := s.lateBefore(p.Start)
	l.fixed, l.beside = true, was.Beside
	for _, c := range was.Beside {
		o, there := objects[c.Key]
		if !there {
			return nil, fmt.Errorf("the usage object %s, which late usage was compared with, is gone", c.Key)
		}
		l.listed = append(l.listed, o)
	}
	for i := range closed {
		if closed[i].Period.End <= p.Start {
			l.closed = append(l.closed, closed[i])
		}
	}
	for _, key := range was.Objects {
		l.objects[key] = true
	}
	return l, nil
}

// lates is how many closed periods stand before those of the run.
func (w *work) lates() int {
	if w.late == nil {
		return 0
	}
	return len(w.late.periods)
}

// ownPeriod gives the period of the run to which a period of the shuffle belongs: late ones to the first.
func (w *work) ownPeriod(period int32) int32 { return max(0, period-int32(w.lates())) }

// mayBeLate tells whether an object's rows of closed periods are settled by the run.
func (w *work) mayBeLate(o *gatheredObject) bool {
	return w.late != nil && (w.late.objects[o.Key] || o.fresh && !w.late.fixed)
}

// Late rows of object n have the number n + len(objects); behind them come what is booked, as the shuffle wants it.
func (g *gathered) lateNumber(n int32) int32 { return n + int32(len(g.objects)) }

func (g *gathered) bookedNumber() int32 { return 2 * int32(len(g.objects)) }

// own gives the object that a number of the shuffle belongs to; late: with its rows of closed periods.
func (g *gathered) own(number int32) (object int32, late bool) {
	if n := int32(len(g.objects)); number >= n && n > 0 {
		return number - n, true
	}
	return number, false
}

// lateSink takes an object's rows from before the first open period.
type lateSink struct {
	writer   *shuffle.Writer
	now      filter // rows of the run's own periods, or later
	then     filter // late rows
	rows     int64  // late rows, too old ones included
	rejected int64
	tooOld   []rating.Rejected
	ids      map[uint64]bool
	shards   map[int32]bool
	periods  map[int]bool
}

// split takes the rows of closed periods out of a batch.
func (o *objectSink) split(r *rating.Records) (*rating.Records, error) {
	late := o.run.late
	earliest := rating.Never
	for _, t := range r.Time {
		earliest = min(earliest, t)
	}
	if earliest >= late.until {
		return r, nil
	}
	object := &o.gathered.objects[o.number]
	settles := o.run.mayBeLate(object)
	start := rating.PeriodAt(o.unit, o.catalog.Zone, o.start).Start
	spoilt := func(i int) bool { return len(r.Spoilt) > 0 && r.Spoilt[i] }
	for i, t := range r.Time {
		switch {
		case t >= late.until || t < start || spoilt(i):
		case !settles:
			object.outOfPeriod++
		case t < late.from:
			o.late.rows++
			if len(o.late.tooOld) > maxLateRejections {
				return nil, fmt.Errorf("R5.5: more than %d rows are older than settlement.late_horizon allows; take the object away, or raise it", maxLateRejections)
			}
			o.late.tooOld = append(o.late.tooOld, o.tooOld(r, i))
		default:
			o.late.rows++
		}
	}
	if settles {
		then := o.late.then.keepIf(r, func(i int) bool { return r.Time[i] >= late.from && r.Time[i] < late.until })
		o.noteLate(then)
		if o.late.writer == nil {
			o.late.writer = o.gathered.shuffle.Writer(o.gathered.lateNumber(o.number))
		}
		if err := o.late.writer.Records(then); err != nil {
			return nil, err
		}
	}
	return o.late.now.keepIf(r, func(i int) bool { return r.Time[i] >= late.until || r.Time[i] < start }), nil
}

func (o *objectSink) tooOld(r *rating.Records, i int) rating.Rejected {
	meter := &o.catalog.Meters[r.Meter[i]]
	return rating.Rejected{
		Row: r.Row[i], Reason: rating.TooLate, RecordID: string(r.ID(i)), Account: o.catalog.Accounts[r.Account[i]].ID,
		Meter: meter.ID, Time: r.Time[i], HasTime: true,
		Detail: fmt.Sprintf("it is of a closed period, and older than settlement.late_horizon allows: from before %v", o.run.late.from),
	}
}

// noteLate notes what is to be compared with what is booked.
func (o *objectSink) noteLate(r *rating.Records) {
	if len(r.Time) > 0 && o.late.ids == nil {
		o.late.ids, o.late.shards, o.late.periods = map[uint64]bool{}, map[int32]bool{}, map[int]bool{}
	}
	for i, t := range r.Time {
		o.late.ids[o.gathered.idHash(r.Account[i], r.ID(i))] = true
		o.late.shards[o.catalog.Accounts[r.Account[i]].Payer] = true
		o.late.periods[o.run.late.periodOf(t)] = true
	}
}

func (l *lateWork) periodOf(t rating.Instant) int {
	return slices.IndexFunc(l.periods, func(p rating.Period) bool { return p.Start <= t && t < p.End })
}

func (g *gathered) idHash(account int32, id []byte) uint64 {
	var h maphash.Hash
	h.SetSeed(g.seed)
	maphash.WriteComparable(&h, account)
	_, _ = h.Write(id) // which never fails
	return h.Sum64()
}

// rejectLate puts a rejected row of a closed period where the late ones stand; false: it is none.
func (o *objectSink) rejectLate(object *gatheredObject, r *rating.Rejected) (bool, error) {
	late := o.run.late
	if late == nil || r.Time >= late.until || r.Time < rating.PeriodAt(o.unit, o.catalog.Zone, o.start).Start {
		return false, nil
	}
	if !o.run.mayBeLate(object) {
		object.outOfPeriod++
		return true, nil
	}
	o.late.rejected++
	return true, o.gathered.quarantine.add(o.number, lateRows, r)
}

// takeLate decides about an object's rows of closed periods, once it is known whether it says what it said before.
func (g *gathered) takeLate(n int32, l *lateSink, counts bool) {
	o := &g.objects[n]
	if !counts {
		o.outOfPeriod += l.rows + g.quarantine.move(n, lateRows, -1)
		return
	}
	o.settlesLate = l.rows+l.rejected > 0
	o.tooOld, o.lateRejected = l.tooOld, g.quarantine.move(n, lateRows, 0)
	if o.lateRejected > 0 {
		o.rejected[0] += o.lateRejected
	}
	if len(l.ids) == 0 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	maps.Copy(g.lateIDs, l.ids)
	maps.Copy(g.latePayers, l.shards)
	maps.Copy(g.latePeriods, l.periods)
}

// compareLate brings what is booked beside the late rows.
func (s *Settle) compareLate(ctx context.Context, run *work, g *gathered, listed []Object) error {
	if run.late == nil || len(g.lateIDs) == 0 {
		return nil
	}
	shards := make([]bool, s.Shards)
	for payer := range g.latePayers {
		shards[s.shardOf(payer)] = true
	}
	beside := map[string][32]byte{}
	lines := &bookedLines{Settle: s, g: g, run: run, found: map[bookedKey]*bookedLine{}}
	for i := range run.late.closed {
		b := &run.late.closed[i]
		n := run.late.periodOf(b.Period.Start)
		touched := n >= 0 && g.latePeriods[n]
		if !touched && !b.HasLate || b.Period.End <= run.late.from {
			continue
		}
		m, err := s.Closed.Manifest(ctx, b)
		if err != nil {
			return fmt.Errorf("read what is booked of period %s: %w", b.Name, err)
		}
		for k := range m.Inputs {
			if in := &m.Inputs[k]; touched || m.Late != nil && slices.Contains(m.Late.Objects, in.Key) {
				beside[in.Key] = in.SHA256
			}
		}
		if err := s.Closed.Lines(ctx, b, shards, lines.take); err != nil {
			return fmt.Errorf("read the lines of period %s: %w", b.Name, err)
		}
	}
	if err := lines.write(); err != nil {
		return err
	}
	if run.late.fixed {
		beside = map[string][32]byte{}
		for _, c := range run.late.beside {
			beside[c.Key] = c.SHA256
		}
		listed = run.late.listed
	}
	return s.readBeside(ctx, run, g, listed, beside)
}

// readBeside reads the objects of closed periods for rows that bear the ids of late ones.
func (s *Settle) readBeside(ctx context.Context, run *work, g *gathered, listed []Object, beside map[string][32]byte) error {
	var objects []Object
	for _, o := range listed {
		if _, is := beside[o.Key]; is {
			objects = append(objects, o)
		}
	}
	s.Bucket.Expect(objects)
	g.beside = make([]besideObject, len(objects))
	return side(ctx, s.Workers, len(objects), func(ctx context.Context, n int) error {
		b := &g.beside[n]
		b.Compared = Compared{objects[n].Key, beside[objects[n].Key]}
		sink := &besideSink{run: run, g: g, writer: g.shuffle.Writer(g.bookedNumber() + 1 + int32(n))}
		summary, err := s.Reader.Read(ctx, objects[n], sink)
		err = errors.Join(err, sink.writer.Close())
		var bad *ObjectError
		switch {
		case err == nil && summary.SHA256 == b.SHA256:
			b.same = true
		case run.late.fixed && (err == nil || errors.As(err, &bad)):
			return fmt.Errorf("the usage object %s, which late usage was compared with, is another one now", b.Key)
		case err != nil && (!errors.As(err, &bad) || ctx.Err() != nil):
			return fmt.Errorf("read usage object %s: %w", b.Key, err)
		}
		return nil
	})
}

// besideObject is an object of closed periods that was read again; one that has changed is left out.
type besideObject struct {
	Compared
	same bool
}

// besideSink keeps those rows of a booked object that bear the id of a late one.
type besideSink struct {
	run    *work
	g      *gathered
	writer *shuffle.Writer
	filter filter
}

func (b *besideSink) Records(r *rating.Records) error {
	late := b.run.late
	kept := b.filter.keepIf(r, func(i int) bool {
		return r.Time[i] >= late.from && r.Time[i] < late.until && b.g.lateIDs[b.g.idHash(r.Account[i], r.ID(i))]
	})
	if len(kept.Time) == 0 {
		return nil
	}
	shuffle.Book(kept)
	return b.writer.Records(kept)
}

func (b *besideSink) Reject(*rating.Rejected) error { return nil }

// bookedLines adds up lines that bear the ids of late records.
type bookedLines struct {
	*Settle
	g     *gathered
	run   *work
	found map[bookedKey]*bookedLine
}

type bookedKey struct {
	account int32
	period  int
	id      string
}

type bookedLine struct {
	time     rating.Instant
	meter    int32
	quantity rating.Amount
}

func (l *bookedLines) take(u *BookedUnits) error {
	late := l.run.late
	if u.Time < late.from || u.Time >= late.until {
		return nil
	}
	account, known := l.Catalog.AccountIndex([]byte(u.Account))
	if !known || !l.g.lateIDs[l.g.idHash(account, []byte(u.RecordID))] {
		return nil
	}
	meter, known := l.Catalog.MeterIndex([]byte(u.Meter))
	if !known {
		meter = rating.None
	}
	key := bookedKey{account, late.periodOf(u.Time), u.RecordID}
	line := l.found[key]
	if line == nil {
		line = &bookedLine{time: u.Time, meter: meter}
		l.found[key] = line
	}
	line.quantity, _ = line.quantity.Add(u.Quantity)
	return nil
}

// write hands the records that have lines to the shuffle.
func (l *bookedLines) write() error {
	r := &rating.Records{}
	row := int64(0)
	for key, line := range l.found {
		quantity := int64(-1)
		if line.meter != rating.None {
			quantity = rating.UnitsOf(line.quantity, l.Catalog.Meters[line.meter].Scale)
		}
		row++
		r.Time, r.Account, r.Meter = append(r.Time, line.time), append(r.Account, key.account), append(r.Meter, line.meter)
		r.Quantity, r.Row = append(r.Quantity, quantity), append(r.Row, row)
		r.IDs = append(r.IDs, key.id...)
		r.IDEnd = append(r.IDEnd, uint32(len(r.IDs)))
	}
	shuffle.Book(r)
	writer := l.g.shuffle.Writer(l.g.bookedNumber())
	return errors.Join(writer.Records(r), writer.Close())
}

// lateSettled says what a run settled of closed periods; nil: nothing.
func (s *Settle) lateSettled(run *work, g *gathered, all *rated) (*LateSettled, error) {
	if run.late == nil {
		return nil, nil
	}
	l := &LateSettled{Amounts: amounts(all.late.amounts)}
	for n := range g.objects {
		o := &g.objects[n]
		if !o.settlesLate {
			continue
		}
		l.Objects = append(l.Objects, o.Key)
		if f := run.inputs[0][int32(n)]; f != nil {
			l.Rows.add(&f.Late)
		}
	}
	if len(l.Objects) == 0 {
		return nil, nil
	}
	for i := range g.beside {
		if g.beside[i].same {
			l.Beside = append(l.Beside, g.beside[i].Compared)
		}
	}
	for m := range s.Catalog.Meters {
		report, err := s.meterReport(int32(m), &all.late.meters[m])
		if err != nil {
			return nil, err
		}
		if report.Settled.Sign() != 0 {
			l.Meters = append(l.Meters, report)
		}
	}
	return l, nil
}

// lateTotals are the sums of late lines.
type lateTotals struct {
	meters  []rating.Totals
	amounts map[string]rating.Amount // by currency
}

// lateGathered is what reading found of closed periods.
type lateGathered struct {
	seed        maphash.Seed
	mu          sync.Mutex
	lateIDs     map[uint64]bool // hashes of account and id
	latePayers  map[int32]bool
	latePeriods map[int]bool
	beside      []besideObject
}
