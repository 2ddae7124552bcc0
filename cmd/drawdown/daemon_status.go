package main

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"drawdown/jobs/schedule"
	"drawdown/rating"
)

// How a job ended.
const (
	outcomeDone        = "done"        // or nothing to do
	outcomeWaiting     = "waiting"     // done, but something waits for a person
	outcomeHeld        = "held"        // another run held the lease
	outcomeFailed      = "failed"      // it is tried again
	outcomeInterrupted = "interrupted" // the daemon had to stop
)

// daemonStatus is what the daemon knows of its jobs. It is safe for concurrent use.
type daemonStatus struct {
	clock func() time.Time

	mu       sync.Mutex
	jobs     map[string]*jobStatus
	beat     rating.Instant
	stopping bool
}

// jobStatus is how a job fares.
type jobStatus struct {
	result      jobResult
	planned     bool
	running     bool
	next        rating.Instant
	lastSuccess rating.Instant
	lastElapsed time.Duration
	failures    int // one after another
	runs        map[string]int64
}

// jobResult is what came of a job's last run.
type jobResult struct {
	outcome string
	attrs   []any // for the log
	err     error
}

func newDaemonStatus(clock func() time.Time) *daemonStatus {
	return &daemonStatus{clock: clock, jobs: map[string]*jobStatus{}, beat: rating.InstantOf(clock())}
}

func (s *daemonStatus) job(name string) *jobStatus {
	if s.jobs[name] == nil {
		s.jobs[name] = &jobStatus{runs: map[string]int64{}}
	}
	return s.jobs[name]
}

func (s *daemonStatus) result(name string, r jobResult) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.job(name).result = r
}

func (s *daemonStatus) resultOf(name string) jobResult {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.job(name).result
}

// take follows what happens.
func (s *daemonStatus) take(e schedule.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch e.Kind {
	case schedule.Planned:
		s.job(e.Job).planned, s.job(e.Job).next = true, e.Next
	case schedule.Removed:
		s.job(e.Job).planned = false
	case schedule.Started:
		s.job(e.Job).running = true
	case schedule.Ended:
		j := s.job(e.Job)
		j.running, j.next, j.lastElapsed, j.failures = false, e.Next, e.Elapsed, e.Failures
		if j.runs[j.result.outcome]++; j.result.outcome == outcomeDone || j.result.outcome == outcomeWaiting {
			j.lastSuccess = e.At
		}
	case schedule.Beat:
		s.beat = e.At
	case schedule.Stopping:
		s.stopping = true
	}
}

// snapshot is the jobs that have a place in the schedule, by name.
func (s *daemonStatus) snapshot() map[string]jobStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	jobs := map[string]jobStatus{}
	for name, j := range s.jobs {
		if j.planned {
			jobs[name] = *j
			copied := jobs[name]
			copied.runs = maps.Clone(j.runs)
			jobs[name] = copied
		}
	}
	return jobs
}

// stuckAfter is after how long without a look at the schedule something is wrong; it is looked through each minute.
const stuckAfter = 5 * time.Minute

// healthJSON is what /healthz says (docs/json.md).
type healthJSON struct {
	State string          `json:"state"` // working, stopping, stuck
	Jobs  []jobHealthJSON `json:"jobs"`
}

type jobHealthJSON struct {
	Job         string `json:"job"`
	Running     bool   `json:"running"`
	Next        string `json:"next"`
	LastSuccess string `json:"last_success"`
	LastOutcome string `json:"last_outcome"`
	Failures    int    `json:"failures"`
	Error       string `json:"error"`
}

// health tells whether the daemon works. A job that fails does not make it ill: to start it again would not help.
func (s *daemonStatus) health() (healthJSON, bool) {
	jobs := s.snapshot()
	s.mu.Lock()
	defer s.mu.Unlock()
	h := healthJSON{State: "working", Jobs: []jobHealthJSON{}}
	switch {
	case s.stopping:
		h.State = "stopping"
	case s.clock().Sub(s.beat.Time()) > stuckAfter:
		h.State = "stuck"
	}
	for _, name := range slices.Sorted(maps.Keys(jobs)) {
		j := jobs[name]
		view := jobHealthJSON{Job: name, Running: j.running, Next: j.next.String(), LastOutcome: j.result.outcome, Failures: j.failures}
		if j.lastSuccess > 0 {
			view.LastSuccess = j.lastSuccess.String()
		}
		if j.result.err != nil {
			view.Error = oneLine(j.result.err)
		}
		h.Jobs = append(h.Jobs, view)
	}
	return h, h.State == "working"
}

// serve answers on the loopback port until it is over.
func (d *daemon) serve(over <-chan struct{}) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(&metricsCollector{app: d.app, config: d.config.Load, status: d.status},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	routes := http.NewServeMux()
	routes.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 2, Timeout: 30 * time.Second}))
	routes.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		health, well := d.status.health()
		w.Header().Set("Content-Type", "application/json")
		if !well {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(health)
	})
	server := &http.Server{Handler: routes, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, ErrorLog: nil}
	served := make(chan error, 1)
	go func() { served <- server.Serve(d.listener) }()
	d.log.Info("listening", "address", d.listener.Addr().String())
	select {
	case err := <-served:
		d.log.Error("nobody is answered any more", "error", oneLine(err))
		return
	case <-over:
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(d.app.ctx), 5*time.Second)
	defer cancel()
	if server.Shutdown(ctx) != nil {
		_ = server.Close()
	}
	<-served
}
