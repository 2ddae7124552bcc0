package schedule

import (
	"context"
	"errors"
	"slices"
	"time"

	"drawdown/rating"
)

// Job is something that is run whenever its entry is due.
type Job struct {
	Name  string
	Entry Entry
	// Alone is of jobs that would keep each other from working: they wait for one another.
	Alone bool
	// Run does what is due. Its context ends where it is not waited for any longer.
	Run func(ctx context.Context) error
}

// ErrHeld is what a job returns that could not begin because somebody else is at it. It is no failure: the job is run again
// when its entry is due next.
var ErrHeld = errors.New("somebody else is at it")

// ErrCutShort is what Run returns where a job was ended before it was done.
var ErrCutShort = errors.New("what was running was ended before it was done")

// Event is what happens to a job. Its Kind says which of the other fields are set.
type Event struct {
	Kind     EventKind
	Job      string
	At       rating.Instant
	Next     rating.Instant // Ended, Planned: when it is run next
	Elapsed  time.Duration  // Ended
	Failures int            // Ended: how often it has failed, one time after another
	Err      error          // Ended
}

// EventKind is what happened.
type EventKind int

// What happens to a job, and to all of them where Event.Job is empty.
const (
	Planned  EventKind = iota // it has a place in the schedule from now on
	Removed                   // it has none any more
	Started                   // it runs
	Ended                     // it has run
	Stopping                  // nothing is started any more; what runs is waited for
	Cutting                   // what runs is not waited for any longer
	Beat                      // the schedule has been looked through
)

// Scheduler runs jobs. All fields must be set, but for Reload and Watch.
type Scheduler struct {
	Jobs   []Job
	Clock  func() time.Time
	Timer  func(time.Duration) (fired <-chan time.Time, stop func() bool)
	Grace  time.Duration // how long what runs is waited for in the end
	Reload <-chan []Job  // jobs that take the place of Jobs; what runs is not disturbed
	Watch  func(Event)   // is told of everything, one event after another
}

const (
	// longestWait is how late it is noticed that the clock was set, or that the machine has slept.
	longestWait = time.Minute
	// A job that fails is run again after the first of these, then after twice as long, up to the second one; until it has
	// worked, its entry does not count.
	firstRetry, lastRetry = time.Minute, 15 * time.Minute
)

// plan is a job with what is known of it.
type plan struct {
	Job
	next     rating.Instant // when it is run next
	started  rating.Instant
	failures int
	running  bool
	removed  bool // when it has run, it is forgotten
}

// ended is a job that has run.
type ended struct {
	plan *plan
	err  error
}

// loop is a Scheduler at work. Only its own goroutine touches it.
type loop struct {
	*Scheduler
	plans    []*plan // in the order of the jobs
	running  int
	stopping bool
	done     chan ended
	last     rating.Instant  // reading of the clock
	ctx      context.Context // of the jobs
	cancel   context.CancelCauseFunc
}

// Run runs each job once, to catch up with what was missed, and then whenever its entry is due, until stop is closed. Then
// it waits for what runs, as long as Grace. Where ctx ends, it waits no longer. When it returns, nothing runs any more.
func (s *Scheduler) Run(ctx context.Context, stop <-chan struct{}) error {
	l := &loop{Scheduler: s, done: make(chan ended), last: rating.InstantOf(s.Clock())}
	l.ctx, l.cancel = context.WithCancelCause(ctx)
	defer l.cancel(nil)
	l.replace(s.Jobs)
	for !isOver(stop) && !isOver(ctx.Done()) {
		fired, disarm := s.Timer(l.start())
		select {
		case <-fired:
		case jobs := <-s.Reload:
			l.replace(jobs)
		case e := <-l.done:
			l.end(e)
		case <-stop:
		case <-ctx.Done():
		}
		disarm()
	}
	return l.wind(ctx)
}

// wind waits for what runs, and ends it where that takes too long.
func (l *loop) wind(ctx context.Context) error {
	l.stopping = true
	l.tell(Event{Kind: Stopping})
	grace, disarm := l.Timer(l.Grace)
	defer disarm()
	for l.running > 0 {
		select {
		case e := <-l.done:
			l.end(e)
			continue
		case <-grace:
		case <-ctx.Done():
		}
		l.tell(Event{Kind: Cutting})
		l.cancel(ErrCutShort)
		for l.running > 0 {
			l.end(<-l.done)
		}
		return ErrCutShort
	}
	return nil
}

func isOver[T any](c <-chan T) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// replace puts jobs into the schedule. Those that were not in it before are due at once.
func (l *loop) replace(jobs []Job) {
	now, before := l.now(), l.plans
	l.plans = nil
	for _, job := range jobs {
		p := &plan{next: now}
		if i := slices.IndexFunc(before, func(p *plan) bool { return p.Name == job.Name }); i >= 0 {
			p = before[i]
			before = slices.Delete(before, i, i+1)
			if p.failures > 0 { // it may be the cure
				p.next = now
			} else if p.next > now {
				p.next = job.Entry.Next(now)
			}
		}
		p.Job, p.removed = job, false
		l.plans = append(l.plans, p)
		l.tell(Event{Kind: Planned, Job: p.Name, At: now, Next: p.next})
	}
	for _, p := range before {
		if !p.removed {
			l.tell(Event{Kind: Removed, Job: p.Name, At: now})
		}
		if p.removed = true; p.running {
			l.plans = append(l.plans, p)
		}
	}
}

// now reads the clock. Where it was set back, what is due is found anew, instead of waiting until it is as late again.
func (l *loop) now() rating.Instant {
	now := rating.InstantOf(l.Clock())
	if l.last-now > rating.Instant(longestWait.Microseconds()) {
		for _, p := range l.plans {
			p.next = min(p.next, p.Entry.Next(now))
		}
	}
	l.last = now
	return now
}

// start runs what is due, and tells how long to wait.
func (l *loop) start() time.Duration {
	now := l.now()
	wait := longestWait
	for _, p := range l.plans {
		if p.running || p.removed {
			continue
		}
		if p.next <= now && l.mayRun(p) {
			p.running, p.started = true, now
			l.running++
			l.tell(Event{Kind: Started, Job: p.Name, At: now})
			job := p.Job
			go func() { l.done <- ended{p, job.Run(l.ctx)} }()
			continue
		}
		if p.next > now {
			wait = min(wait, time.Duration(p.next-now)*time.Microsecond)
		}
	}
	l.tell(Event{Kind: Beat, At: now})
	return wait
}

func (l *loop) mayRun(p *plan) bool {
	for _, other := range l.plans {
		if p.Alone && other.Alone && other.running {
			return false
		}
	}
	return true
}

// end takes down how a job has ended. It is due next after it was started, not after it has ended: what became due while it
// was running, it may have missed.
func (l *loop) end(e ended) {
	p, now := e.plan, l.now()
	p.running = false
	l.running--
	switch {
	case e.err == nil:
		p.failures, p.next = 0, p.Entry.Next(min(p.started, now)) // the clock may have been set back
	case errors.Is(e.err, ErrHeld):
		p.next = p.Entry.Next(now)
	case !l.stopping:
		p.failures++
		p.next = now + rating.Instant(retryAfter(p.failures).Microseconds())
	}
	l.tell(Event{
		Kind: Ended, Job: p.Name, At: now, Next: p.next, Failures: p.failures, Err: e.err,
		Elapsed: time.Duration(now-p.started) * time.Microsecond,
	})
	if p.removed {
		l.plans = slices.DeleteFunc(l.plans, func(other *plan) bool { return other == p })
	}
}

func retryAfter(failures int) time.Duration {
	return min(firstRetry<<min(failures-1, 10), lastRetry)
}

func (l *loop) tell(e Event) {
	if e.At == 0 {
		e.At = l.last
	}
	if l.Watch != nil {
		l.Watch(e)
	}
}
