package rating

import (
	"fmt"
	"hash/fnv"
	"math/bits"
	"slices"
	"strconv"
)

// packageRun is a package within the period that is being settled: its state, moved along by the events of its life.
type packageRun struct {
	PackageState
	pkg        *Package
	zone       *zoneCache // of the owner
	nextChange int        // the first change that has not been applied
	graceEnd   Instant    // once expired
	releaseAt  Instant
	revoked    bool
	knownFrom  Instant // before that, nobody could have been told of the package
	late       []int   // which of its changes were entered after their instants had been settled
	row        Balance // of the current cycle in this period
	alertFloor int64   // no threshold is crossed while Remaining stays above it; -1: none below
	slots      []slotRef
}

// slotRef names a slot of a lane in which the package may serve.
type slotRef struct {
	lane, slot int32
}

// alertFloorUnknown makes the next draw look at all thresholds.
const alertFloorUnknown = int64(1<<63 - 1)

// begin gives a package its state at the period's start, as if nothing had been drawn on it before (R5.3 knows nothing
// of it). Events before the period are applied in silence; those of its first instant belong to the period.
func (s *Settler) beginFresh(r *packageRun) {
	r.PackageState = PackageState{
		Package: r.Package, Stage: StageFuture, TermStart: r.pkg.Effective, TermEnd: r.pkg.Expires, Quota: r.pkg.Quota,
		Terms: r.pkg.terms(), Scale: int32(r.pkg.Scale),
	}
	r.setCycle(0)
	for {
		t := r.nextEvent()
		if t >= s.period.Start {
			return
		}
		r.skipUnusedCycles(s.period.Start)
		s.apply(r, r.nextEvent(), true)
	}
}

// skipUnusedCycles jumps over cycles that begin and end before the next change, the end of the term and the limit: all of
// them but the last hand on the same.
func (r *packageRun) skipUnusedCycles(limit Instant) {
	if r.Stage != StageLive || r.pkg.Reset == NoReset {
		return
	}
	limit = min(limit, r.TermEnd)
	if r.nextChange < len(r.pkg.Changes) {
		limit = min(limit, r.pkg.Changes[r.nextChange].At)
	}
	last := r.zone.cycleAt(r.pkg.Reset, r.TermStart, limit-1)
	if last-int(r.Cycle) < 3 {
		return
	}
	r.setCycle(last - 1)
	r.Rolled = min(r.Quota, r.pkg.RolloverMax)
	r.Grant = r.Quota + r.Rolled
	r.Remaining = r.Grant
	r.Arms = 0
}

// setCycle computes the borders of cycle n of the term.
func (r *packageRun) setCycle(n int) {
	r.Cycle = int32(n)
	start, end, _ := r.zone.cycleBounds(r.pkg.Reset, r.TermStart, n)
	r.CycleStart, r.CycleEnd = start, min(end, r.TermEnd)
}

// nextEvent is the instant at which something happens to the package by itself or by a change.
func (r *packageRun) nextEvent() Instant {
	t := Never
	switch r.Stage {
	case StageFuture:
		t = r.TermStart
	case StageLive:
		t = r.CycleEnd
	case StageGrace:
		t = r.graceEnd
	case StageRetention:
		t = r.releaseAt
	case StageEnded:
		return Never
	}
	if r.nextChange < len(r.pkg.Changes) {
		t = min(t, r.pkg.Changes[r.nextChange].At)
	}
	return t
}

// apply lets everything happen that is due at t: first changes of the term, then what time brings, then resizes and
// revocation, so that a renewal at the last instant is in time and a resize meets the new cycle (R3.7).
func (s *Settler) apply(r *packageRun, t Instant, silent bool) {
	s.applyChanges(r, t, Extended, silent)
	for s.pass(r, t, silent) {
	}
	s.applyChanges(r, t, Revoked, silent)
}

func (s *Settler) applyChanges(r *packageRun, t Instant, last ChangeKind, silent bool) {
	for r.nextChange < len(r.pkg.Changes) {
		c := &r.pkg.Changes[r.nextChange]
		if c.At > t || c.Kind > last {
			return
		}
		r.nextChange++
		s.applyChange(r, c, t, silent)
	}
}

func (s *Settler) applyChange(r *packageRun, c *Change, t Instant, silent bool) {
	known := c.fingerprint(r.pkg.Scale)
	i, _ := slices.BinarySearch(r.Applied, known)
	r.Applied = slices.Insert(r.Applied, i, known)
	if r.Stage == StageEnded {
		return
	}
	switch c.Kind {
	case Renewed:
		s.renew(r, c, t, silent)
	case Extended:
		s.extend(r, c, t, silent)
	case Resized:
		s.resize(r, c.Quota, t)
	case Revoked:
		if r.Stage == StageLive {
			s.addTo(r, &r.row.Revoked, r.Remaining)
		}
		r.Remaining, r.Rolled = 0, 0
		r.Stage, r.revoked = StageEnded, true
	}
}

// renew queues a new term, or begins it at once where the old one has ended: then the cycle counted from the old end in
// which the renewal falls is granted, and earlier ones never were.
func (s *Settler) renew(r *packageRun, c *Change, t Instant, silent bool) {
	if r.Stage == StageFuture || r.Stage == StageLive {
		r.NextEnds = append(slices.Clone(r.NextEnds), c.Expires)
		return
	}
	r.TermStart, r.TermEnd = r.TermEnd, c.Expires
	if r.TermEnd <= t { // entered after its end: only its grace is left
		s.expire(r, silent)
		return
	}
	s.finishRow(r, StateExpired, silent)
	r.ServesFrom = t
	s.grant(r, r.zone.cycleAt(r.pkg.Reset, r.TermStart, t), 0, silent)
}

func (s *Settler) extend(r *packageRun, c *Change, t Instant, silent bool) {
	if n := len(r.NextEnds); n > 0 {
		r.NextEnds = slices.Clone(r.NextEnds)
		r.NextEnds[n-1] = c.Expires
		return
	}
	if r.Stage == StageFuture || r.Stage == StageLive {
		r.TermEnd = c.Expires
		r.setCycle(int(r.Cycle))
		r.row.CycleEnd = r.CycleEnd
		return
	}
	s.extendLate(r, c, t, silent)
}

// extendLate extends a term whose end was settled before the extension was entered: the package serves again from now on,
// with what had expired, or with the grant of a cycle that began meanwhile.
func (s *Settler) extendLate(r *packageRun, c *Change, t Instant, silent bool) {
	ended := r.TermEnd
	r.TermEnd = c.Expires
	if r.TermEnd <= t {
		s.expire(r, silent)
		return
	}
	r.ServesFrom = t
	if n := r.zone.cycleAt(r.pkg.Reset, r.TermStart, t); n != int(r.Cycle) {
		s.finishRow(r, StateExpired, silent)
		s.grant(r, n, 0, silent)
		return
	}
	r.Stage = StageLive
	r.setCycle(int(r.Cycle))
	r.Remaining, r.Lapsed = r.Lapsed, 0
	r.Raises = s.takeBack(r)
	if r.LapsedAt == 0 {
		r.LapsedAt = ended
	}
	r.row.CycleEnd = r.CycleEnd
	s.addTo(r, &r.row.Granted, r.Remaining)
	r.alertFloor = alertFloorUnknown
}

// addTo adds to a column of a balances row.
func (s *Settler) addTo(r *packageRun, column *int64, quantity int64) {
	if *column > maxQuantity-quantity {
		s.fail(fmt.Errorf("R1.5: package %q: what was granted or revoked in one period: %w", r.pkg.ID, ErrOverflow))
		return
	}
	*column += quantity
}

// resize moves the current cycle's remainder by new - old at once, not below 0; what rolled over goes last.
func (s *Settler) resize(r *packageRun, quota int64, t Instant) {
	old := r.Quota
	r.Quota, r.row.Quota = quota, quota
	if r.Stage != StageLive {
		return
	}
	if quota >= old {
		grown, carry := bits.Add64(uint64(r.Grant), uint64(quota-old), 0)
		if carry != 0 || grown > 1<<63-1 {
			s.fail(fmt.Errorf("R1.5: package %q: its quota of %s and what rolled over: %w",
				r.pkg.ID, FormatQuantity(quota, r.pkg.Scale), ErrOverflow))
			return
		}
		r.Grant += quota - old
		r.Remaining += quota - old
		s.addTo(r, &r.row.Granted, quota-old)
		r.Arms++
		if quota > old {
			r.Raises = append(slices.Clone(r.Raises), Raise{t, quota - old})
		}
	} else {
		r.Grant = max(0, r.Grant-(old-quota))
		fall := min(r.Remaining, old-quota)
		r.Remaining -= fall
		s.addTo(r, &r.row.Revoked, fall)
		r.Rolled = min(r.Rolled, r.Remaining)
		r.Raises = cut(r.Raises, old-quota)
	}
	r.alertFloor = alertFloorUnknown
}

// pass lets the next thing happen that time alone brings by t; false when nothing is due.
func (s *Settler) pass(r *packageRun, t Instant, silent bool) bool {
	switch {
	case r.Stage == StageFuture && r.TermStart <= t:
		s.grant(r, 0, 0, silent)
	case r.Stage == StageLive && r.CycleEnd <= t && r.CycleEnd < r.TermEnd:
		s.turn(r, silent)
	case r.Stage == StageLive && r.CycleEnd <= t:
		r.row.Expired += r.Remaining
		s.leave(r, r.Remaining, silent)
		r.Lapsed, r.Remaining, r.Rolled = r.Remaining, 0, 0
		if len(r.NextEnds) == 0 {
			s.expire(r, silent)
			break
		}
		s.finishRow(r, StateExpired, silent)
		r.TermStart, r.TermEnd, r.NextEnds = r.TermEnd, r.NextEnds[0], r.NextEnds[1:]
		s.grant(r, 0, 0, silent)
	case r.Stage == StageGrace && r.graceEnd <= t:
		r.Stage = StageRetention
		if r.pkg.RetentionDays > 0 {
			s.lifeNotice(r, NoticeRetention, r.graceEnd, silent)
		}
	case r.Stage == StageRetention && r.releaseAt <= t:
		r.Stage = StageEnded
		s.lifeNotice(r, NoticeReleased, r.releaseAt, silent)
	default:
		return false
	}
	return true
}

// turn ends a cycle within a term: what is left of its own grant rolls over up to the limit, the rest expires.
func (s *Settler) turn(r *packageRun, silent bool) {
	rolls := min(r.Remaining-r.Rolled, r.pkg.RolloverMax)
	r.row.RolledOver -= rolls
	r.row.Expired += r.Remaining - rolls
	s.leave(r, r.Remaining-rolls, silent)
	r.Remaining = 0
	s.finishRow(r, StateExpired, silent)
	_, _, next := r.zone.cycleBounds(r.pkg.Reset, r.TermStart, int(r.Cycle))
	s.grant(r, next, rolls, silent)
}

// grant begins cycle n of the term.
func (s *Settler) grant(r *packageRun, n int, rolled int64, silent bool) {
	r.Stage = StageLive
	r.setCycle(n)
	r.Grant = r.Quota + rolled
	if r.Grant < 0 {
		s.fail(fmt.Errorf("R1.5: package %q: its quota and what rolled over: %w", r.pkg.ID, ErrOverflow))
	}
	r.Remaining, r.Rolled, r.Lapsed, r.Arms = r.Grant, rolled, 0, 0
	r.LapsedAt, r.Raises = 0, nil
	r.alertFloor = alertFloorUnknown
	r.startRow()
	r.row.Granted, r.row.RolledOver = r.Quota, rolled
}

// expire ends the last term: grace begins, or what follows it at once.
func (s *Settler) expire(r *packageRun, silent bool) {
	r.Stage = StageGrace
	r.setLifeEnd()
	if r.pkg.GraceDays > 0 {
		s.lifeNotice(r, NoticeGrace, r.TermEnd, silent)
	}
}

// setLifeEnd computes when grace and retention end: whole days on the owner's wall clock (R6.3).
func (r *packageRun) setLifeEnd() {
	r.graceEnd = r.zone.addDays(r.TermEnd, r.pkg.GraceDays)
	r.releaseAt = r.zone.addDays(r.TermEnd, r.pkg.GraceDays+r.pkg.RetentionDays)
}

func (r *packageRun) startRow() {
	r.row = Balance{Package: r.Package, CycleStart: r.CycleStart, CycleEnd: r.CycleEnd, Quota: r.Quota}
}

// finishRow books the row of a cycle that is over. One that ended with the period before, and left nothing, has none.
func (s *Settler) finishRow(r *packageRun, state BalanceState, silent bool) {
	if silent || r.row.CycleEnd <= s.period.Start && r.row == (Balance{
		Package: r.Package, CycleStart: r.row.CycleStart, CycleEnd: r.row.CycleEnd, Quota: r.row.Quota,
	}) {
		return
	}
	r.row.State = state
	s.Result.Balances = append(s.Result.Balances, r.row)
}

// closeRow books the row of the cycle that is current at the period's end.
func (s *Settler) closeRow(r *packageRun) {
	r.row.Closing = r.Remaining
	state := StateActive
	switch {
	case r.Stage == StageFuture:
		state = StateFuture
	case r.Stage == StageLive && r.Remaining == 0:
		state = StateExhausted
	case r.Stage == StageGrace:
		state = StateGrace
	case r.Stage == StageRetention:
		state = StateRetention
	case r.revoked:
		state = StateRevoked
	case r.Stage == StageEnded:
		state = StateReleased
	}
	r.row.State = state
	s.Result.Balances = append(s.Result.Balances, r.row)
}

// fingerprint tells changes of one package apart, whatever the package's scale, which may rise.
func (c *Change) fingerprint(scale int) uint64 {
	h := fnv.New64a()
	var text [128]byte
	quota := DecimalOf(c.Quota, scale)
	b := strconv.AppendInt(text[:0], int64(c.At), 10)
	for _, n := range [...]int64{int64(c.Kind), int64(c.Expires), quota.Hi, int64(quota.Lo)} {
		b = strconv.AppendInt(append(b, ' '), n, 10)
	}
	h.Write(b)
	return h.Sum64()
}

// terms tells a package's terms apart that may not change once it is settled: what is left of it would mean something
// else. They change by package_changes; its priority, its covers and its names may be edited.
func (p *Package) terms() uint64 {
	h := fnv.New64a()
	var text [128]byte
	quota := DecimalOf(p.Quota, p.Scale)
	b := strconv.AppendInt(text[:0], quota.Hi, 10)
	for _, n := range [...]int64{int64(quota.Lo), int64(p.Reset), int64(p.Effective), int64(p.Expires)} {
		b = strconv.AppendInt(append(b, ' '), n, 10)
	}
	h.Write(b)
	return h.Sum64()
}

// resume gives a package the state of the period before, and applies changes that were entered after their instant had
// been settled: they take effect now. False: the package is over, and only remembered.
func (s *Settler) resume(r *packageRun, state *PackageState) bool {
	r.PackageState = *state
	r.Applied = slices.Clone(state.Applied)
	r.rescale()
	if r.Stage == StageGrace || r.Stage == StageRetention {
		r.setLifeEnd()
	}
	r.startRow()
	if r.Stage == StageLive {
		r.row.Opening = r.Remaining
	}
	for ; r.nextChange < len(r.pkg.Changes) && r.pkg.Changes[r.nextChange].At < s.period.Start; r.nextChange++ {
		c := &r.pkg.Changes[r.nextChange]
		if !slices.Contains(state.Applied, c.fingerprint(r.pkg.Scale)) {
			r.late = append(r.late, r.nextChange)
			s.applyChange(r, c, s.period.Start, false)
		}
	}
	return state.Stage != StageEnded
}

// rescale makes the state's quantities those of the package's present scale, which rises when a finer meter is covered.
func (r *packageRun) rescale() {
	rise := r.pkg.Scale - int(r.Scale)
	if rise == 0 {
		return
	}
	r.Scale = int32(r.pkg.Scale)
	r.Raises = risen(r.Raises, rise)
	for _, quantity := range [...]*int64{&r.Quota, &r.Grant, &r.Remaining, &r.Rolled, &r.Lapsed} {
		*quantity *= pow10[rise]
	}
}

// rememberedDays is how long a package that is over is remembered, lest an edit of its row bring it back to life.
const rememberedDays = 400

// remember keeps what must be known of a package that is over.
func (s *Settler) remember(r *packageRun) (PackageState, bool) {
	p := PackageState{Package: r.Package, Stage: StageEnded, TermStart: r.TermStart, TermEnd: r.TermEnd, Terms: r.Terms, Scale: r.Scale}
	p.Applied = r.pkg.changesBefore(s.period.End)
	return p, r.TermEnd+rememberedDays*day > s.period.End
}

// changesBefore gives the fingerprints of the changes before an instant; those of a package that is over change nothing
// any more, but are known.
func (p *Package) changesBefore(t Instant) []uint64 {
	var list []uint64
	for i := range p.Changes {
		if p.Changes[i].At < t {
			list = append(list, p.Changes[i].fingerprint(p.Scale))
		}
	}
	slices.Sort(list)
	return list
}
