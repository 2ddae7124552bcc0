package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"drawdown/jobs/schedule"
)

// daemon is schedule at work.
type daemon struct {
	app      *app
	log      *slog.Logger
	listener net.Listener // nil: nobody listens
	status   *daemonStatus
	config   atomic.Pointer[Config] // as it was read last
	stop     chan struct{}
	reload   chan []schedule.Job
	timer    func(time.Duration) (<-chan time.Time, func() bool) // tests have their own
}

func newDaemon(a *app, c *Config, asJSON bool, listener net.Listener) *daemon {
	options := &slog.HandlerOptions{ReplaceAttr: func(groups []string, attr slog.Attr) slog.Attr {
		if attr.Key == slog.TimeKey && len(groups) == 0 {
			attr.Value = slog.TimeValue(a.clock().UTC())
		}
		return attr
	}}
	var handler slog.Handler = slog.NewTextHandler(a.stderr, options)
	if asJSON {
		handler = slog.NewJSONHandler(a.stderr, options)
	}
	d := &daemon{
		app: a, log: slog.New(handler).With("site", c.Site), listener: listener, status: newDaemonStatus(a.clock),
		stop: make(chan struct{}), reload: make(chan []schedule.Job),
		timer: func(wait time.Duration) (<-chan time.Time, func() bool) {
			t := time.NewTimer(wait)
			return t.C, t.Stop
		},
	}
	d.config.Store(c)
	return d
}

// errInterrupted is where what was running had to be ended. It reads like that of package signal, so that `runs` says so.
var errInterrupted = errors.New("terminated signal received")

// run is the daemon from its start to its end.
func (d *daemon) run() error {
	ctx, cut := context.WithCancelCause(context.WithoutCancel(d.app.ctx))
	defer cut(nil)
	var others sync.WaitGroup
	defer others.Wait()
	over := make(chan struct{})
	defer close(over)
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	others.Go(func() { d.heed(signals, over, cut) })
	if d.listener != nil {
		others.Go(func() { d.serve(over) })
	}
	c := d.config.Load()
	d.log.Info("scheduling", "jobs", len(c.Schedule.entries), "version", buildVersion().Version, "pid", os.Getpid())
	err := (&schedule.Scheduler{
		Jobs: d.jobs(c), Clock: d.app.clock, Timer: d.timer, Grace: time.Duration(c.Schedule.Grace), Reload: d.reload, Watch: d.watch,
	}).Run(ctx, d.stop)
	if err != nil {
		d.log.Warn("stopped before what was running was done; nothing of it was committed, and the next start settles it")
		return &failure{op: "schedule", err: err, code: exitInterrupted, hint: "nothing of it was committed; it is due at the next start"}
	}
	d.log.Info("stopped")
	return nil
}

// heed does what signals say, until it is over. The end of the program's own context asks to stop, too.
func (d *daemon) heed(signals <-chan os.Signal, over <-chan struct{}, cut context.CancelCauseFunc) {
	asked, stopped, terminations := d.app.ctx.Done(), false, 0
	stop := func() {
		if !stopped {
			stopped = true
			close(d.stop)
		}
	}
	for {
		select {
		case <-over:
			return
		case <-asked:
			asked = nil
			stop()
		case s := <-signals:
			switch {
			case s == syscall.SIGHUP && !stopped:
				d.readAgain()
			case s == syscall.SIGHUP:
			case terminations > 0:
				cut(errInterrupted)
				d.log.Warn("told to stop once more: ending at once")
			default:
				terminations++
				stop()
			}
		}
	}
}

// readAgain takes the configuration over as it is now, if it is in order.
func (d *daemon) readAgain() {
	c, err := d.app.config()
	if err == nil && len(c.Schedule.entries) == 0 {
		err = errNoEntries(d.app.flags.Config)
	}
	if err != nil {
		d.log.Error("the configuration is not taken over; what was read before stays in force", "error", oneLine(err), "hint", hintOf(err))
		return
	}
	d.log.Info("the configuration was read again", "jobs", len(c.Schedule.entries))
	d.config.Store(c)
	d.reload <- d.jobs(c) // it is waited for as long as it is not stopped
}

func (d *daemon) jobs(c *Config) []schedule.Job {
	var jobs []schedule.Job
	for _, e := range c.Schedule.entries {
		jobs = append(jobs, schedule.Job{Name: e.name, Entry: e.entry, Alone: e.alone, Run: func(ctx context.Context) error {
			return d.work(ctx, e.scheduledJob, c)
		}})
	}
	return jobs
}

// work runs a job as its command would, under the configuration as it was when the job was scheduled.
func (d *daemon) work(ctx context.Context, job scheduledJob, c *Config) error {
	a, flags := *d.app, *d.app.flags
	flags.JSON, flags.Quiet = true, true
	a.ctx, a.now, a.flags, a.loaded, a.stop = ctx, d.app.clock().UTC(), &flags, c, d.stop
	a.stdout, a.stderr, a.stderrTerminal = io.Discard, io.Discard, false
	result, err := job.run(&a)
	err = a.withRoom(err)
	outcome, failed := outcomeOf(ctx, err)
	d.status.result(job.name, jobResult{outcome, result, err})
	if outcome == outcomeHeld {
		return fmt.Errorf("%w: %w", schedule.ErrHeld, err)
	}
	if failed {
		return err
	}
	return nil
}

// outcomeOf tells in a word how a job ended, and whether it is to be tried again.
func outcomeOf(ctx context.Context, err error) (outcome string, failed bool) {
	var waits *waiting
	switch {
	case err == nil:
		return outcomeDone, false
	case ctx.Err() != nil:
		return outcomeInterrupted, true
	case errors.As(err, &waits):
		return outcomeWaiting, false
	case exitCodeOf(err) == exitHeld:
		return outcomeHeld, false
	}
	return outcomeFailed, true
}

// watch logs what happens, and remembers it.
func (d *daemon) watch(e schedule.Event) {
	d.status.take(e)
	switch e.Kind {
	case schedule.Planned:
		d.log.Info("planned", "job", e.Job, "next", e.Next.String())
	case schedule.Removed:
		d.log.Info("not planned any more", "job", e.Job)
	case schedule.Started:
		d.log.Info("started", "job", e.Job)
	case schedule.Ended:
		d.logEnd(e)
		a := *d.app
		a.ctx, a.loaded = context.WithoutCancel(a.ctx), d.config.Load()
		if err := a.sendMetrics(a.loaded, d.status); err != nil {
			d.log.Error("metrics are not written", "error", oneLine(err))
		}
	case schedule.Stopping:
		d.log.Info("stopping: nothing is started any more, and what runs ends its commit", "grace", time.Duration(d.config.Load().Schedule.Grace).String())
	case schedule.Cutting:
		d.log.Warn("what runs is ended")
	}
}

// logEnd writes one line of how a job ended.
func (d *daemon) logEnd(e schedule.Event) {
	r := d.status.resultOf(e.Job)
	attrs := append([]any{"job", e.Job, "outcome", r.outcome, "took", e.Elapsed.Round(time.Millisecond).String()}, r.attrs...)
	attrs = append(attrs, "next", e.Next.String())
	switch r.outcome {
	case outcomeDone:
		d.log.Info("done", attrs...)
	case outcomeWaiting:
		d.log.Warn("done, but something waits for a person", append(attrs, "error", oneLine(r.err))...)
	case outcomeHeld:
		d.log.Info("another run holds the lease; waiting until the next tick", append(attrs, "error", oneLine(r.err))...)
	case outcomeInterrupted:
		d.log.Warn("interrupted", attrs...)
	default:
		d.log.Error("failed", append(attrs, "error", oneLine(r.err), "hint", hintOf(r.err), "exit_code", exitCodeOf(r.err), "failures", e.Failures)...)
	}
}
