package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/push"

	"drawdown/rating"
	"drawdown/writers/store"
)

// metricsCollector gives what is worth watching: of the state, as it is in the database, so that it makes no difference who
// asks; and of the daemon's jobs, if there is a daemon.
type metricsCollector struct {
	app    *app
	config func() *Config
	status *daemonStatus // nil: no daemon
}

// metric is a name, with what it says and its labels behind "site".
type metric struct {
	name, help string
	kind       prometheus.ValueType
	labels     []string
}

// The metrics; docs/operations.md lists them.
var (
	metricBuild        = metric{"drawdown_build_info", "The version that is running.", prometheus.GaugeValue, []string{"version"}}
	metricReadable     = metric{"drawdown_state_readable", "Whether the state could be read: without it, what stands in it is left out.", prometheus.GaugeValue, nil}
	metricPeriods      = metric{"drawdown_periods", "Periods, by state; a pending one is due and not settled.", prometheus.GaugeValue, []string{"state"}}
	metricLag          = metric{"drawdown_oldest_pending_period_lag_seconds", "For how long the oldest pending period has been due; 0: none is.", prometheus.GaugeValue, nil}
	metricSettledUntil = metric{"drawdown_settled_until_timestamp_seconds", "The end of the newest settled period.", prometheus.GaugeValue, nil}
	metricRows         = metric{"drawdown_rows", "Rows of usage in all settled periods, by what became of them.", prometheus.GaugeValue, []string{"fate"}}
	metricCharges      = metric{"drawdown_charges", "Charges of all settled periods. A float: to be watched, not booked.", prometheus.GaugeValue, []string{"currency"}}
	metricOutbox       = metric{"drawdown_outbox_notices", "Notices in the outbox, by state.", prometheus.GaugeValue, []string{"state"}}
	metricUnseen       = metric{"drawdown_oldest_new_notice_age_seconds", "For how long the oldest notice has been due that no notify has looked at; 0: there is none.", prometheus.GaugeValue, nil}
	metricMessages     = metric{"drawdown_messages", "Messages, by channel and by what became of them.", prometheus.GaugeValue, []string{"channel", "state"}}
	metricFailing      = metric{"drawdown_failing_messages", "Messages that are to be tried again after an attempt that failed.", prometheus.GaugeValue, []string{"channel"}}
	metricBacklog      = metric{"drawdown_oldest_waiting_message_age_seconds", "How old the oldest message is that is still to be sent; 0: none is.", prometheus.GaugeValue, []string{"channel"}}
	metricRunSuccess   = metric{"drawdown_run_last_success_timestamp_seconds", "When a command last did what it was to do, or found nothing to do.", prometheus.GaugeValue, []string{"command"}}
	metricRunDuration  = metric{"drawdown_run_last_duration_seconds", "How long a command took last.", prometheus.GaugeValue, []string{"command"}}
	metricRunFailed    = metric{"drawdown_run_last_failed", "Whether a command failed last.", prometheus.GaugeValue, []string{"command"}}

	metricJobRuns     = metric{"drawdown_schedule_runs_total", "Runs of a job since the daemon started, by how they ended.", prometheus.CounterValue, []string{"command", "outcome"}}
	metricJobRunning  = metric{"drawdown_schedule_running", "Whether a job is running.", prometheus.GaugeValue, []string{"command"}}
	metricJobFailures = metric{"drawdown_schedule_failures", "How often a job has failed, one time after another.", prometheus.GaugeValue, []string{"command"}}
	metricJobNext     = metric{"drawdown_schedule_next_run_timestamp_seconds", "When a job is run next.", prometheus.GaugeValue, []string{"command"}}
	metricJobSuccess  = metric{"drawdown_schedule_last_success_timestamp_seconds", "When a job last did what it was to do since the daemon started.", prometheus.GaugeValue, []string{"command"}}
	metricJobDuration = metric{"drawdown_schedule_last_duration_seconds", "How long a job took last.", prometheus.GaugeValue, []string{"command"}}
)

// sample makes a value of a metric. Labels come in the order in which the metric names them.
func (m metric) sample(site string, value float64, labels ...string) prometheus.Metric {
	described := prometheus.NewDesc(m.name, m.help, append([]string{"site"}, m.labels...), nil)
	return prometheus.MustNewConstMetric(described, m.kind, value, append([]string{site}, labels...)...)
}

// Describe describes nothing beforehand, as what there is depends on what was settled.
func (*metricsCollector) Describe(chan<- *prometheus.Desc) {}

// Collect reads the state.
func (m *metricsCollector) Collect(out chan<- prometheus.Metric) {
	c := m.config()
	gather := func(kind metric, value float64, labels ...string) { out <- kind.sample(c.Site, value, labels...) }
	gather(metricBuild, 1, buildVersion().Version)
	if m.status != nil {
		m.status.gather(gather)
	}
	a := *m.app
	ctx, cancel := context.WithTimeout(context.WithoutCancel(a.ctx), 20*time.Second)
	defer cancel()
	a.ctx = ctx
	health, err := a.healthOf(c)
	if err == nil {
		now := a.clock()
		if a.flags.Now != "" {
			now = a.now
		}
		err = gatherState(c, health, rating.InstantOf(now), gather)
	}
	gather(metricReadable, truth(err == nil))
}

// healthOf reads what the state says; one that does not exist yet says nothing.
func (a *app) healthOf(c *Config) (health *store.Health, err error) {
	err = a.reading(c, func(st *store.Store) (err error) {
		health, err = st.Health(a.ctx)
		return err
	})
	if errors.Is(err, store.ErrEmpty) {
		return &store.Health{}, nil
	}
	return health, err
}

// gatherState gives nothing of a state that it cannot make sense of.
func gatherState(c *Config, h *store.Health, now rating.Instant, gather func(metric, float64, ...string)) error {
	var rows revisionTotals
	sums, periods := map[string]rating.Amount{}, map[string]int{store.PeriodSettled: 0, store.PeriodClosed: 0}
	for i := range h.Periods {
		var totals revisionTotals
		if err := json.Unmarshal([]byte(h.Periods[i].Totals), &totals); err != nil {
			return fmt.Errorf("read totals of period %s: %w", h.Periods[i].PeriodName, err)
		}
		rows.Settled += totals.Settled
		rows.Duplicate += totals.Duplicate
		rows.Superseded += totals.Superseded
		rows.Quarantined += totals.Quarantined
		for currency, charged := range totals.Charges {
			sum, ok := sums[currency].Add(rating.Amount(charged))
			if !ok {
				return fmt.Errorf("charges in %s are too large to add up", currency)
			}
			sums[currency] = sum
		}
		periods[h.Periods[i].State]++
	}
	pending, due := pendingPeriods(c, h.Periods, now)
	gather(metricPeriods, float64(pending), "pending")
	for _, state := range keysOf(periods) {
		gather(metricPeriods, float64(periods[state]), state)
	}
	gather(metricLag, seconds(max(0, now-due)))
	if n := len(h.Periods); n > 0 {
		gather(metricSettledUntil, seconds(h.Periods[n-1].PeriodEnd))
	}
	for fate, n := range map[string]int64{
		"settled": rows.Settled, "duplicate": rows.Duplicate, "superseded": rows.Superseded, "quarantined": rows.Quarantined,
	} {
		gather(metricRows, float64(n), fate)
	}
	for _, currency := range keysOf(sums) {
		sum, err := strconv.ParseFloat(sums[currency].String(), 64)
		if err != nil {
			return err
		}
		gather(metricCharges, sum, currency)
	}
	for _, state := range []string{"pending", "withdrawn", "sending", "sent", "dead"} {
		gather(metricOutbox, float64(h.Outbox[state]), state)
	}
	gatherDelivery(c, h, now, gather)
	for i := range h.LastRuns {
		r := &h.LastRuns[i]
		gather(metricRunDuration, seconds(r.Last.FinishedAt-r.Last.StartedAt), r.Command)
		gather(metricRunFailed, truth(r.Last.State == store.RunFailed), r.Command)
		if r.LastSuccess > 0 {
			gather(metricRunSuccess, seconds(r.LastSuccess), r.Command)
		}
	}
	return nil
}

// gatherDelivery gives how the channels fare that there is something to send with, and those that there were messages for.
func gatherDelivery(c *Config, h *store.Health, now rating.Instant, gather func(metric, float64, ...string)) {
	age := func(since rating.Instant) float64 { return seconds(max(0, now-since)) }
	channels := map[string]*store.MessageBacklog{}
	for _, channel := range c.Notify.sends() {
		channels[channel] = &store.MessageBacklog{Oldest: now}
	}
	if len(channels) > 0 { // the inbox alone needs no notify
		unseen := h.Unseen
		if unseen == 0 {
			unseen = now
		}
		gather(metricUnseen, age(unseen))
	}
	counts := map[[2]string]int64{}
	for _, m := range h.Messages {
		if counts[[2]string{m.Channel, m.State}] = m.Messages; channels[m.Channel] == nil {
			channels[m.Channel] = &store.MessageBacklog{Oldest: now}
		}
	}
	for i := range h.Backlog {
		channels[h.Backlog[i].Channel] = &h.Backlog[i]
	}
	for channel, backlog := range channels {
		for _, state := range store.MessageStates() {
			gather(metricMessages, float64(counts[[2]string{channel, state}]), channel, state)
		}
		gather(metricFailing, float64(backlog.Failing), channel)
		gather(metricBacklog, age(backlog.Oldest), channel)
	}
}

// pendingPeriods counts the periods that are due and not settled, and tells since when the oldest of them is; where none is,
// when the next one will be.
func pendingPeriods(c *Config, settled []store.Revision, now rating.Instant) (pending int, due rating.Instant) {
	unit, location := rating.PeriodUnit(c.Settlement.Period), c.Settlement.TimeZone.Location
	delay := rating.Instant(c.delay().Microseconds())
	next := c.Start
	if n := len(settled); n > 0 {
		next = settled[n-1].PeriodEnd
	}
	p := rating.PeriodAt(unit, location, next)
	due = p.End + delay
	for ; p.End+delay <= now; pending++ {
		p = rating.PeriodAt(unit, location, p.End)
	}
	return pending, due
}

// gather gives how the daemon's jobs fare.
func (s *daemonStatus) gather(gather func(metric, float64, ...string)) {
	for name, j := range s.snapshot() {
		for _, outcome := range []string{outcomeDone, outcomeWaiting, outcomeHeld, outcomeFailed, outcomeInterrupted} {
			gather(metricJobRuns, float64(j.runs[outcome]), name, outcome)
		}
		gather(metricJobRunning, truth(j.running), name)
		gather(metricJobFailures, float64(j.failures), name)
		gather(metricJobNext, seconds(j.next), name)
		gather(metricJobDuration, j.lastElapsed.Seconds(), name)
		if j.lastSuccess > 0 {
			gather(metricJobSuccess, seconds(j.lastSuccess), name)
		}
	}
}

func seconds(i rating.Instant) float64 { return float64(i) / 1e6 }

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// writeMetrics writes metrics at the end of a command, where that is asked for. What the command did is done in any case. A
// command whose configuration cannot be read has nothing to tell, and has said so.
func (a *app) writeMetrics(failed error) error {
	if a.flags.MetricsFile == "" && a.flags.MetricsPush == "" {
		return nil
	}
	c, err := a.config()
	if err == nil {
		err = a.sendMetrics(c, nil)
	} else if failed != nil {
		return nil
	}
	if err == nil {
		return nil
	}
	return &failure{op: "write metrics", err: err, hint: "what the command did is done; `drawdown runs` lists it"}
}

// sendMetrics writes metrics to the file, and pushes them.
func (a *app) sendMetrics(c *Config, status *daemonStatus) error {
	registry := prometheus.NewRegistry()
	registry.MustRegister(&metricsCollector{app: a, config: func() *Config { return c }, status: status})
	var failed error
	if file := a.flags.MetricsFile; file != "" {
		if err := prometheus.WriteToTextfile(file, registry); err != nil { // by a temporary file beside it
			failed = fmt.Errorf("write %s: %w", file, err)
		}
	}
	if a.flags.MetricsPush != "" {
		failed = errors.Join(failed, a.pushMetrics(c.Site, registry))
	}
	return failed
}

// pushMetrics takes the place of what this site has pushed before.
func (a *app) pushMetrics(site string, registry *prometheus.Registry) error {
	to, err := url.Parse(a.flags.MetricsPush)
	if err != nil || to.Host == "" || to.Scheme != "http" && to.Scheme != "https" {
		return errors.New("--metrics-push is no URL such as http://127.0.0.1:9091") // it may hold a password, and is not shown
	}
	user := to.User
	to.User = nil
	pusher := push.New(to.String(), "drawdown").Grouping("instance", site).Gatherer(registry).
		Client(&http.Client{Timeout: 10 * time.Second})
	if user != nil {
		password, _ := user.Password()
		pusher = pusher.BasicAuth(user.Username(), password)
	}
	if err := pusher.PushContext(context.WithoutCancel(a.ctx)); err != nil {
		return fmt.Errorf("push to %s: %w", to.Redacted(), err)
	}
	return nil
}
