package schedule

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"drawdown/rating"
)

// simulation is the clock and the timers of a scheduler. Nothing waits: while no job runs, a timer sets the clock on and
// fires. While one runs, the clock stands still, unless the test sets it.
type simulation struct {
	now     rating.Instant
	until   rating.Instant // the scheduler is stopped then
	running int
	waits   int
	log     []string // when jobs were started, in minutes
	events  []Event
	next    map[string]rating.Instant
	stop    chan struct{}
	leaps   bool // to when a job is due, instead of minute by minute
	from    rating.Instant

	onTimer func(d time.Duration) (<-chan time.Time, bool) // may take over
}

func newSimulation(from, until rating.Instant) *simulation {
	return &simulation{from: from, now: from, until: until, stop: make(chan struct{}), next: map[string]rating.Instant{}}
}

func (s *simulation) clock() time.Time { return s.now.Time() }

func (s *simulation) timer(d time.Duration) (<-chan time.Time, func() bool) {
	s.waits++
	nothing := func() bool { return false }
	if s.onTimer != nil {
		if fired, taken := s.onTimer(d); taken {
			return fired, nothing
		}
	}
	if s.running > 0 {
		return nil, nothing
	}
	if s.now >= s.until {
		select {
		case <-s.stop:
		default:
			close(s.stop)
		}
		return nil, nothing
	}
	at := s.now + rating.Instant(d.Microseconds())
	if s.leaps && d == longestWait { // years would take long, minute by minute
		at = rating.Never
		for _, next := range s.next {
			at = min(at, next)
		}
	}
	s.now = min(at, s.until)
	return fired(), nothing
}

func fired() <-chan time.Time {
	c := make(chan time.Time, 1)
	c <- time.Time{}
	return c
}

func (s *simulation) watch(e Event) {
	switch e.Kind {
	case Beat:
		return
	case Started:
		s.running++
		s.log = append(s.log, fmt.Sprintf("%s+%d", e.Job, int64(e.At-s.from)/60e6))
	case Ended:
		s.running--
		s.next[e.Job] = e.Next
	case Planned:
		s.next[e.Job] = e.Next
	case Removed:
		delete(s.next, e.Job)
	}
	s.events = append(s.events, e)
}

func (s *simulation) scheduler(jobs ...Job) *Scheduler {
	return &Scheduler{Jobs: jobs, Clock: s.clock, Timer: s.timer, Grace: time.Minute, Watch: s.watch}
}

func (s *simulation) run(t *testing.T, jobs ...Job) {
	t.Helper()
	if err := s.scheduler(jobs...).Run(t.Context(), s.stop); err != nil {
		t.Fatal(err)
	}
}

// job may fail, as often as it is run.
func job(t testing.TB, name, entry string, fails func(n int) error) Job {
	n := 0
	return Job{Name: name, Entry: entryOf(t, entry, "UTC"), Run: func(context.Context) error {
		n++
		if fails == nil {
			return nil
		}
		return fails(n)
	}}
}

// books are periods that a model of settle has settled.
type books struct {
	unit    rating.PeriodUnit
	zone    *time.Location
	start   rating.Instant
	delay   rating.Instant
	settled []rating.Period
	at      []rating.Instant // when
}

func (b *books) next() rating.Period {
	if len(b.settled) == 0 {
		return rating.PeriodAt(b.unit, b.zone, b.start)
	}
	return rating.PeriodAt(b.unit, b.zone, b.settled[len(b.settled)-1].End)
}

// settle settles what is due, as jobs.Settle does; where it fails, some of it.
func (b *books) settle(now rating.Instant, most int) {
	for p := b.next(); p.End+b.delay <= now && most > 0; p = b.next() {
		b.settled, b.at = append(b.settled, p), append(b.at, now)
		most--
	}
}

// TestTwoYears: a daemon that is down now and then settles each period once, in order, and at the first tick after it is due,
// or when it comes up again; each local day has one tick, also where midnight does not exist or comes twice.
func TestTwoYears(t *testing.T) {
	for _, c := range []struct{ zone, from string }{
		{"Europe/Berlin", "2025-09-01T00:00:00Z"},
		{"America/New_York", "2024-06-01T00:00:00Z"},
		{"America/Sao_Paulo", "2017-06-01T00:00:00Z"},
		{"Africa/Cairo", "2023-01-01T00:00:00Z"},
		{"Asia/Beirut", "2024-01-01T00:00:00Z"},
	} {
		for _, entry := range []string{"0 0 * * *", "30 2 * * *", "15 * * * *"} {
			for unit, name := range map[rating.PeriodUnit]string{rating.Hourly: "hour", rating.Daily: "day", rating.Monthly: "month"} {
				t.Run(c.zone+" "+entry+" "+name, func(t *testing.T) {
					t.Parallel()
					if testing.Short() && unit == rating.Hourly {
						t.Skip("takes long under the race detector")
					}
					random := rand.New(rand.NewPCG(uint64(len(c.zone)), uint64(unit)))
					b := &books{unit: unit, zone: zoneOf(t, c.zone), start: instant(t, c.from), delay: 30 * 60e6}
					simulateYears(t, random, b, entryOf(t, entry, c.zone))
				})
			}
		}
	}
}

func simulateYears(t *testing.T, random *rand.Rand, b *books, e Entry) {
	const day = 86400e6
	end := b.start + 2*365*day
	ticks := map[string]int{} // by local date
	var starts []rating.Instant
	var ups []period
	for now := b.start; now < end; {
		up := min(now+rating.Instant(random.Int64N(90*day)), end)
		s := newSimulation(now, up)
		s.leaps = true
		failed := false
		s.run(t, Job{Name: "settle", Entry: e, Run: func(context.Context) error {
			starts = append(starts, s.now)
			if s.now > now && !failed {
				ticks[s.now.Time().In(b.zone).Format(time.DateOnly)]++
			}
			if failed = random.IntN(50) == 0; failed {
				b.settle(s.now, random.IntN(3))
				return errors.New("boom")
			}
			b.settle(s.now, 1<<30)
			return nil
		}})
		ups = append(ups, period{now, up})
		now = up + rating.Instant(random.Int64N(5*day))
	}
	if !slices.IsSorted(starts) {
		t.Error("the clock went back")
	}
	if b.next().End+b.delay < end-6*day && b.next().End+b.delay < ups[len(ups)-1].to-6*day {
		t.Errorf("%v is not settled", b.next())
	}
	for i, p := range b.settled {
		if i > 0 && p.Start != b.settled[i-1].End {
			t.Fatalf("%v follows %v", p, b.settled[i-1])
		}
		// It was settled at the first tick after it was due: or later by what a failure takes, or when it came up again.
		due := p.End + b.delay
		latest := e.Next(due-1) + 15*60e6
		for _, up := range ups {
			if up.from > due && up.from <= latest || up.from > due && isDown(ups, latest) && up.from >= latest {
				latest = max(latest, up.from+15*60e6)
				break
			}
		}
		if b.at[i] < due || b.at[i] > latest {
			t.Errorf("%v was due at %v and settled at %v", p, due, b.at[i])
		}
	}
	for up := range slices.Values(ups) {
		for date := up.from.Time().In(b.zone); !e.everyHour && date.AddDate(0, 0, 2).Before(up.to.Time()); {
			date = date.AddDate(0, 0, 1) // it was up all day
			if name := date.Format(time.DateOnly); ticks[name] != 1 {
				t.Errorf("%d ticks on %s", ticks[name], name)
			}
		}
	}
}

type period struct{ from, to rating.Instant }

func isDown(ups []period, at rating.Instant) bool {
	return !slices.ContainsFunc(ups, func(p period) bool { return p.from <= at && at+15*60e6 < p.to })
}

// TestStartCatchesUp: each job runs at once, and then when it is due; however many ticks were missed, it runs once.
func TestStartCatchesUp(t *testing.T) {
	from := instant(t, "2026-10-01T00:10:00Z")
	s := newSimulation(from, from+150*60e6)
	s.run(t, job(t, "settle", "15 * * * *", nil), job(t, "gc", "0 2 * * *", nil))
	slices.Sort(s.log)
	if want := "gc+0 gc+110 settle+0 settle+125 settle+5 settle+65"; strings.Join(s.log, " ") != want {
		t.Error(s.log)
	}
}

// TestMachineSlept: the clock is hours later all of a sudden.
func TestMachineSlept(t *testing.T) {
	from := instant(t, "2026-10-01T00:10:00Z")
	s := newSimulation(from, from+600*60e6)
	slept := false
	s.onTimer = func(d time.Duration) (<-chan time.Time, bool) {
		if s.now > from+70*60e6 && !slept && s.running == 0 {
			slept = true
			s.now += 300 * 60e6
			return fired(), true
		}
		return nil, false
	}
	s.run(t, job(t, "settle", "15 * * * *", nil))
	if got := strings.Join(s.log[:4], " "); got != "settle+0 settle+5 settle+65 settle+371" {
		t.Error(s.log)
	}
	if got := strings.Join(s.log[4:6], " "); got != "settle+425 settle+485" {
		t.Error(s.log)
	}
}

// TestClockSetBack: the ticks are those of the new time.
func TestClockSetBack(t *testing.T) {
	from := instant(t, "2026-10-02T00:10:00Z")
	s := newSimulation(from, from)
	set := false
	s.onTimer = func(d time.Duration) (<-chan time.Time, bool) {
		if s.running == 0 && !set {
			set = true
			s.now -= 86400e6
			s.until = s.now + 100*60e6
			return fired(), true
		}
		return nil, false
	}
	s.run(t, job(t, "settle", "15 * * * *", nil))
	if got := strings.Join(s.log, " "); got != "settle+0 settle+-1435 settle+-1375" {
		t.Error(got)
	}
}

// TestNeverOverlapsItself: ticks come while it runs; when it has run, it runs once more.
func TestNeverOverlapsItself(t *testing.T) {
	from := instant(t, "2026-10-01T00:00:00Z")
	s := newSimulation(from, from+60*60e6)
	end := make(chan struct{})
	s.onTimer = func(d time.Duration) (<-chan time.Time, bool) {
		switch {
		case s.running == 0:
			return nil, false
		case s.now < from+12*60e6:
			s.now += 60e6
			return fired(), true
		case s.now == from+12*60e6 && len(s.events) == 2: // planned, started
			close(end)
		}
		return nil, true
	}
	var running atomic.Int32
	s.run(t, Job{Name: "settle", Entry: entryOf(t, "*/5 * * * *", "UTC"), Run: func(context.Context) error {
		if running.Add(1) > 1 {
			t.Error("it runs twice at once")
		}
		<-end
		running.Add(-1)
		return nil
	}})
	if got := strings.ReplaceAll(strings.Join(s.log, " "), "settle+", ""); got != "0 12 15 20 25 30 35 40 45 50 55 60" {
		t.Error(got)
	}
}

// TestAlone: jobs that would keep each other from working take turns; others do not wait for them.
func TestAlone(t *testing.T) {
	from := instant(t, "2026-10-01T00:10:00Z")
	s := newSimulation(from, from+60e6)
	free := make(chan struct{})
	runs := func(name string, alone bool, run func()) Job {
		return Job{Name: name, Alone: alone, Entry: entryOf(t, "0 0 1 1 *", "UTC"), Run: func(context.Context) error { run(); return nil }}
	}
	s.run(t,
		runs("settle", true, func() { <-free }),
		runs("gc", true, func() {}),
		runs("notify", false, func() { close(free) })) // while settle runs
	var order []string
	for _, e := range s.events {
		switch e.Kind {
		case Started:
			order = append(order, "+"+e.Job)
		case Ended:
			order = append(order, "-"+e.Job)
		}
	}
	if !slices.Equal(order[:2], []string{"+settle", "+notify"}) || slices.Index(order, "+gc") < slices.Index(order, "-settle") {
		t.Error(order)
	}
}

// TestBackOff: a job that fails is run again after 1, 2, 4, 8 and then 15 minutes, until it works.
func TestBackOff(t *testing.T) {
	from := instant(t, "2026-10-01T00:10:00Z")
	s := newSimulation(from, from+200*60e6)
	s.run(t, job(t, "settle", "15 * * * *", func(n int) error {
		if n >= 2 && n < 10 {
			return errors.New("boom")
		}
		return nil
	}))
	if got := strings.Join(s.log, " "); got != "settle+0 settle+5 settle+6 settle+8 settle+12 settle+20 settle+35 settle+50 settle+65 settle+80 settle+125 settle+185" {
		t.Error(got)
	}
	if e := s.events[len(s.events)-2]; e.Kind != Ended || e.Failures != 0 {
		t.Errorf("%+v", e)
	}
}

// TestHeld: somebody else is at it, which is no failure.
func TestHeld(t *testing.T) {
	from := instant(t, "2026-10-01T00:10:00Z")
	s := newSimulation(from, from+130*60e6)
	s.run(t, job(t, "settle", "15 * * * *", func(int) error { return fmt.Errorf("settle: %w", ErrHeld) }))
	if got := strings.Join(s.log, " "); got != "settle+0 settle+5 settle+65 settle+125" {
		t.Error(got)
	}
	for _, e := range s.events {
		if e.Failures > 0 {
			t.Errorf("%+v", e)
		}
	}
}

// TestStop: what runs is waited for, as long as the grace time and the context last.
func TestStop(t *testing.T) {
	for _, how := range []string{"it ends", "the grace time ends", "the context ends"} {
		t.Run(how, func(t *testing.T) {
			from := instant(t, "2026-10-01T00:10:00Z")
			s := newSimulation(from, from+86400e6)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			finish := make(chan struct{})
			s.onTimer = func(d time.Duration) (<-chan time.Time, bool) {
				if s.waits == 1 { // it runs now
					close(s.stop)
					return nil, true
				}
				switch how {
				case "it ends":
					close(finish)
				case "the grace time ends":
					if d != time.Minute {
						t.Error(d)
					}
					return fired(), true
				default:
					cancel()
				}
				return nil, true
			}
			var ended error
			err := s.scheduler(Job{Name: "settle", Entry: entryOf(t, "@hourly", "UTC"), Run: func(ctx context.Context) error {
				select {
				case <-finish:
				case <-ctx.Done():
					ended = ctx.Err()
				}
				return ended
			}}).Run(ctx, s.stop)
			if short := how != "it ends"; (ended != nil) != short || errors.Is(err, ErrCutShort) != short || err != nil && !short {
				t.Errorf("%v %v", err, ended)
			}
			if last := s.events[len(s.events)-1]; last.Kind != Ended || last.Failures > 0 {
				t.Errorf("%+v", last)
			}
		})
	}
}

// TestNothingBeginsOnceStopped: also where a job is due at that very moment.
func TestNothingBeginsOnceStopped(t *testing.T) {
	for range 100 {
		from := instant(t, "2026-10-01T00:10:00Z")
		s := newSimulation(from, from)
		s.onTimer = func(time.Duration) (<-chan time.Time, bool) {
			if s.running == 0 && len(s.log) == 1 && s.waits < 1000 {
				s.waits = 1000
				s.now += 3600e6
				close(s.stop)
				return fired(), true
			}
			return nil, s.waits >= 1000
		}
		s.run(t, job(t, "settle", "15 * * * *", nil))
		if len(s.log) != 1 {
			t.Fatal(s.log)
		}
	}
}

// TestReload: new jobs run at once, others keep their ticks, those that fail are tried at once, and what is gone is gone.
func TestReload(t *testing.T) {
	from := instant(t, "2026-10-01T00:10:00Z")
	s := newSimulation(from, from+130*60e6)
	reload := make(chan []Job, 1)
	settle := job(t, "settle", "15 * * * *", nil)
	failing := job(t, "notify", "0 0 * * *", func(n int) error {
		if n < 3 {
			return errors.New("boom")
		}
		return nil
	})
	gone, added := job(t, "gc", "0 * * * *", nil), job(t, "remind", "0 2 * * *", nil)
	sent := false
	s.onTimer = func(time.Duration) (<-chan time.Time, bool) {
		if s.running == 0 && !sent && s.now >= from+2*60e6 {
			sent = true
			later := settle
			later.Entry = entryOf(t, "30 * * * *", "UTC")
			reload <- []Job{later, failing, added}
			return nil, true
		}
		return nil, false
	}
	scheduler := s.scheduler(settle, failing, gone)
	scheduler.Reload = reload
	if err := scheduler.Run(t.Context(), s.stop); err != nil {
		t.Fatal(err)
	}
	slices.Sort(s.log)
	want := "gc+0 notify+0 notify+1 notify+2 remind+110 remind+2 settle+0 settle+20 settle+80"
	if diff := cmp.Diff(strings.Fields(want), s.log); diff != "" {
		t.Error(diff)
	}
}
