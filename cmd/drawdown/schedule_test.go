package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"gopkg.in/yaml.v3"

	"drawdown/jobs"
	"drawdown/rating"
)

// daemonYears is the clock of a daemon that settles years in seconds: while nothing runs, it goes on to when something is due.
type daemonYears struct {
	t     *testing.T
	site  *site
	zone  *time.Location
	now   time.Time
	until time.Time
	end   context.CancelFunc
	usage rating.Instant // of the periods up to here the usage has come
	late  []lateRecord   // that is still to come

	operator
}

// lateRecord is the middle one of a day, in an object of its own.
type lateRecord struct {
	rating.Period
	name  string
	comes time.Time
}

// operator settles again what came late, while the daemon is up: between its jobs, while one of them is due and must wait for
// the lease, or while one of them has it, and then once more.
type operator struct {
	backfills int
	due       []rating.Period
	barges    bool          // it comes while the next job runs
	holds     chan struct{} // it has the lease; closed: it goes on
	done      chan error
	refused   int
	held      int // jobs that found the lease taken
}

func (y *daemonYears) clock() time.Time { return y.now }

// timer is asked by the scheduler's own goroutine, so that what it sees is as the scheduler sees it.
func (y *daemonYears) timer(d *daemon) func(time.Duration) (<-chan time.Time, func() bool) {
	return func(wait time.Duration) (<-chan time.Time, func() bool) {
		at := y.now.Add(wait)
		for _, j := range d.status.snapshot() {
			if j.running {
				return nil, func() bool { return false }
			}
			if wait == time.Minute {
				at = j.next.Time()
			}
		}
		if !at.Before(y.until) {
			at = y.until
			y.end()
		}
		y.release()
		y.advance(at)
		y.operate()
		fired := make(chan time.Time, 1)
		fired <- at
		return fired, func() bool { return false }
	}
}

// release lets the operator go on who has the lease: a job was due meanwhile, and found it taken.
func (y *daemonYears) release() {
	if y.holds != nil {
		close(y.holds)
		if err := <-y.done; err != nil {
			y.t.Errorf("backfill: %v", err)
		}
		y.holds = nil
	}
}

// operate is what the operator does at the moment when a job is due.
func (y *daemonYears) operate() {
	if len(y.due) == 0 {
		return
	}
	y.backfills++
	switch p := y.due[0]; {
	case y.backfills%3 == 1 && !y.barges:
		y.barges = true
	case y.backfills%3 == 2:
		y.due = y.due[1:]
		holds := make(chan struct{})
		y.holds, y.done = holds, make(chan error, 1)
		has := make(chan struct{})
		a := y.operators()
		a.watch = func(*jobs.Backfill) {
			close(has)
			<-holds
		}
		go func() { y.done <- y.backfill(a, p) }()
		<-has
	default:
		y.barges, y.due = false, y.due[1:]
		if err := y.backfill(y.operators(), p); err != nil {
			y.t.Errorf("backfill: %v", err)
		}
	}
}

// operators is the operator's own program.
func (y *daemonYears) operators() *app {
	a, now := newApp(y.now), y.now
	a.clock = func() time.Time { return now }
	return a
}

func (y *daemonYears) backfill(a *app, p rating.Period) error {
	_, _, err := a.backfill(y.site.config(), backfillPlan{from: p.Start, to: p.End, reason: "a late record"})
	return err
}

// barge is the operator who comes while a job has the lease.
func (y *daemonYears) barge(*jobs.Settle) {
	if y.barges && len(y.due) > 0 {
		if code := exitCodeOf(y.backfill(y.operators(), y.due[0])); code != exitHeld {
			y.t.Errorf("a backfill beside a settle ended with %d", code)
		}
		y.refused++
		y.barges = false
	}
}

// advance delivers the usage of the days that end by then.
func (y *daemonYears) advance(to time.Time) {
	for {
		p := rating.PeriodAt(rating.Daily, y.zone, y.usage)
		if p.End > rating.InstantOf(to) {
			break
		}
		name, days := p.Name(rating.Daily, y.zone), int(p.Start/(24*3600*1e6))
		y.site.write("usage/"+name+".ndjson", usageOfDay(p, days%31 == 3, false))
		if days%31 == 3 {
			y.late = append(y.late, lateRecord{p, "usage/late-" + name + ".ndjson", p.End.Time().AddDate(0, 0, 1+days%23)})
		}
		y.usage = p.End
	}
	y.now = to
	for len(y.late) > 0 && !y.late[0].comes.After(to) {
		y.comeLate()
	}
}

// comeLate delivers the next late record, and tells the operator if its day is settled.
func (y *daemonYears) comeLate() {
	late := y.late[0]
	y.late = y.late[1:]
	y.site.write(late.name, usageOfDay(late.Period, true, true))
	if _, err := os.Stat(y.site.path("drawdown.db")); err == nil &&
		len(y.site.query(fmt.Sprintf(`SELECT 1 AS n FROM period WHERE period_start = %d`, late.Start))) > 0 {
		y.due = append(y.due, late.Period)
	}
}

// usageOfDay is a record at each end of a day, and one in its midst; of a split day, what is late or what is not.
func usageOfDay(p rating.Period, split, late bool) []byte {
	var b bytes.Buffer
	for i, at := range []rating.Instant{p.Start, (p.Start + p.End) / 2, p.End - 1} {
		if split && late != (i == 1) {
			continue
		}
		fmt.Fprintf(&b, `{"id":"%d-%d","account":"acme","meter":"sms","quantity":%d,"time":"%v"}`+"\n", p.Start, i, 7+i, at)
	}
	return b.Bytes()
}

const yearsCatalog = `accounts: [{id: acme, email: a@example.com}]
meters: [{id: sms}]
prices: [{id: list, meter: sms, model: flat, price: "0.01"}]
packages:
  - {id: monthly, account: acme, kind: pay_per_use, quota: 600, reset: month, effective: %[1]s, expires: %[2]s, covers: [{meter: sms}]}
`

// up runs the daemon until then, and the clock goes on to when it comes up again.
func (y *daemonYears) up(until, again time.Time) {
	y.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	y.until, y.end = until, cancel
	a := newApp(y.now)
	a.ctx, a.clock, a.flags.Config = ctx, y.clock, y.site.path("drawdown.yaml")
	var log bytes.Buffer
	a.stderr = &log
	d := newDaemon(a, y.site.config(), true, nil)
	d.timer = y.timer(d)
	a.tamper = y.barge
	err := d.run()
	for line := range strings.Lines(log.String()) {
		expected := strings.Contains(line, "another run holds the lease") || strings.Contains(line, "something waits for a person")
		if strings.Contains(line, "another run holds the lease") {
			y.held++
		}
		if err != nil || !strings.Contains(line, `"level":"INFO"`) && !expected {
			y.t.Fatalf("%v\n%s", err, log.String())
		}
	}
	y.release()
	y.advance(again)
}

// TestDaemonSettlesTwoYears: the real thing, on both sides of each day on which the clock is set and down for weeks in
// between, while an operator settles again what came late, settles each period once, in order, and ends in the same bytes as
// one settle of it all.
func TestDaemonSettlesTwoYears(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ zone, entry, from string }{
		{"America/Sao_Paulo", "0 0 * * *", "2017-09-01"}, // no midnight on 2017-10-15 and 2018-11-04
		{"Africa/Cairo", "0 0 * * *", "2023-03-01"},
		{"Europe/Berlin", "30 2 * * *", "2025-03-01"},
		{"America/New_York", "30 1 * * *", "2024-09-01"},
	} {
		t.Run(c.zone, func(t *testing.T) {
			t.Parallel()
			if testing.Short() && c.zone != "America/Sao_Paulo" {
				t.Skip("settles two years")
			}
			zone, err := time.LoadLocation(c.zone)
			if err != nil {
				t.Fatal(err)
			}
			from, err := time.ParseInLocation(time.DateOnly, c.from, zone)
			if err != nil {
				t.Fatal(err)
			}
			end := from.AddDate(2, 0, 0)
			years := func() *daemonYears {
				s := &site{t: t, dir: fastDir(t)}
				s.write("catalog.yaml", fmt.Appendf(nil, yearsCatalog, c.from, end.AddDate(1, 0, 0).Format(time.DateOnly)))
				s.write("drawdown.yaml", fmt.Appendf(nil, "catalog: ./catalog.yaml\nsettlement: {start: %s, time_zone: %s, delay: 0s, shards: 1}\n"+
					"schedule: {time_zone: %[2]s, settle: %q}\n", c.from, c.zone, c.entry))
				s.write("usage/first.ndjson", nil)
				return &daemonYears{t: t, site: s, zone: zone, now: from, usage: rating.InstantOf(from)}
			}
			y := years()
			random := rand.New(rand.NewPCG(4, uint64(len(c.zone))))
			for y.now.Before(end) {
				_, change := y.now.ZoneBounds()
				next := y.now.Add(time.Duration(random.IntN(60)) * time.Hour)
				again := next.Add(time.Duration(random.IntN(60*24)) * time.Hour)
				switch {
				case change.IsZero() || again.Before(change):
				case y.now.Before(change.AddDate(0, 0, -4)): // never down where the clock is set
					again = change.Add(-time.Duration(40+random.IntN(24)) * time.Hour)
					next = earlier(next, again)
				default:
					next = change.Add(time.Duration(24+random.IntN(48)) * time.Hour)
					again = next
				}
				y.up(earlier(next, end), earlier(again, end))
			}
			y.up(end.Add(time.Hour), end.Add(time.Hour))
			for len(y.late)+len(y.due) > 0 {
				if len(y.late) > 0 {
					y.comeLate()
				}
				y.operate()
				y.release()
			}

			want := years()
			want.advance(end.Add(time.Hour))
			for len(want.late) > 0 {
				want.comeLate()
			}
			want.site.settleUntil(want.now, rating.InstantOf(end))
			same(t, "what is settled", want.site.settledAs(), y.site.settledAs())
			same(t, "periods, in the order of their runs", periodsOf(zone, from, end), y.site.query(
				`SELECT period_name, revision FROM period JOIN revision USING (period_start) WHERE revision = 1 ORDER BY run_id, period_start`))
			if y.backfills < 8 || y.refused < 2 || y.held < 1 {
				t.Errorf("%d backfills, %d of them refused; the daemon found the lease taken %d times", y.backfills, y.refused, y.held)
			}
			runs := y.site.query(`SELECT state, COUNT(*) AS n FROM run GROUP BY state ORDER BY 1`)
			if strings.Contains(strings.Join(runs, " "), "state=failed") {
				t.Error(runs)
			}
			t.Log(runs)
		})
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func periodsOf(zone *time.Location, from, end time.Time) []string {
	var list []string
	for at := rating.InstantOf(from); at < rating.InstantOf(end); {
		p := rating.PeriodAt(rating.Daily, zone, at)
		list = append(list, "period_name="+p.Name(rating.Daily, zone)+" revision=1")
		at = p.End
	}
	return list
}

// TestMetrics compares all of them: before anything was settled, when it was, when something is due, and with a daemon.
func TestMetrics(t *testing.T) {
	t.Parallel()
	s := &site{t: t, dir: fastDir(t)}
	s.write("catalog.yaml", fmt.Appendf(nil, yearsCatalog, "2026-10-01", "2026-11-01"))
	s.write("drawdown.yaml", []byte("site: demo\ncatalog: ./catalog.yaml\nsettlement: {start: 2026-10-01, max_quarantine: 50%}\nschedule: {settle: \"15 * * * *\"}\n"))
	s.write("usage/a.ndjson", []byte(`{"id":"1","account":"acme","meter":"sms","quantity":590,"time":"2026-10-01T10:00:00Z"}
{"id":"1","account":"acme","meter":"sms","quantity":590,"time":"2026-10-01T10:00:00Z"}
{"id":"2","account":"acme","meter":"sms","quantity":34,"time":"2026-10-02T10:00:00Z"}
{"id":"3","account":"nobody","meter":"sms","quantity":1,"time":"2026-10-02T11:00:00Z"}
`))
	metrics := func(at string, status *daemonStatus) string {
		t.Helper()
		now, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		a := newApp(now)
		a.clock, a.flags.MetricsFile = func() time.Time { return now }, s.path("drawdown.prom")
		if err := a.sendMetrics(s.config(), status); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(a.flags.MetricsFile)
		if err != nil {
			t.Fatal(err)
		}
		text := regexp.MustCompile(`(?m)^#.*\n`).ReplaceAllString(string(data), "")
		return strings.NewReplacer(buildVersion().Version, "VERSION", `,site="demo"`, "", `site="demo",`, "", `{site="demo"}`, "").Replace(text)
	}
	check := func(what, want, got string) {
		t.Helper()
		if diff := cmp.Diff(strings.Split(strings.TrimSpace(want), "\n"), strings.Split(strings.TrimSpace(got), "\n")); diff != "" {
			t.Errorf("%s:\n%s", what, diff)
		}
	}
	const outbox = `drawdown_outbox_notices{state="dead"} 0
drawdown_outbox_notices{state="pending"} %d
drawdown_outbox_notices{state="sending"} 0
drawdown_outbox_notices{state="sent"} 0
drawdown_outbox_notices{state="withdrawn"} 0
`
	check("nothing was settled", `drawdown_build_info{version="VERSION"} 1
drawdown_oldest_pending_period_lag_seconds 5400
`+fmt.Sprintf(outbox, 0)+`drawdown_periods{state="closed"} 0
drawdown_periods{state="pending"} 1
drawdown_periods{state="settled"} 0
drawdown_rows{fate="duplicate"} 0
drawdown_rows{fate="quarantined"} 0
drawdown_rows{fate="settled"} 0
drawdown_rows{fate="superseded"} 0
drawdown_state_readable 1
`, metrics("2026-10-02T02:30:00Z", nil))

	now := time.Date(2026, 10, 3, 1, 15, 0, 0, time.UTC)
	a := s.app(now)
	a.clock = func() time.Time { return now }
	if _, err := a.settle(s.config(), rating.Never, false); err != nil {
		t.Fatal(err)
	}
	settled := fmt.Sprintf(outbox, 2) + `drawdown_periods{state="closed"} 0
drawdown_periods{state="pending"} %d
drawdown_periods{state="settled"} 2
drawdown_rows{fate="duplicate"} 1
drawdown_rows{fate="quarantined"} 1
drawdown_rows{fate="settled"} 2
drawdown_rows{fate="superseded"} 0
drawdown_run_last_duration_seconds{command="settle"} 0
drawdown_run_last_failed{command="settle"} 0
drawdown_run_last_success_timestamp_seconds{command="settle"} 1.7909901e+09
%sdrawdown_settled_until_timestamp_seconds 1.7909856e+09
drawdown_state_readable 1
`
	const head = `drawdown_build_info{version="VERSION"} 1
drawdown_charges{currency="USD"} 0.24
drawdown_oldest_pending_period_lag_seconds %d
`
	check("settled", fmt.Sprintf(head, 0)+fmt.Sprintf(settled, 0, ""), metrics("2026-10-03T02:00:00Z", nil))

	status := newDaemonStatus(a.clock)
	status.mu.Lock()
	j := status.job("settle")
	j.planned, j.running, j.failures, j.next, j.lastElapsed = true, true, 2, rating.InstantOf(now), 1500*time.Millisecond
	j.runs[outcomeFailed] = 2
	status.mu.Unlock()
	check("due, with a daemon", fmt.Sprintf(head, 90000)+fmt.Sprintf(settled, 2, `drawdown_schedule_failures{command="settle"} 2
drawdown_schedule_last_duration_seconds{command="settle"} 1.5
drawdown_schedule_next_run_timestamp_seconds{command="settle"} 1.7909901e+09
drawdown_schedule_running{command="settle"} 1
drawdown_schedule_runs_total{command="settle",outcome="done"} 0
drawdown_schedule_runs_total{command="settle",outcome="failed"} 2
drawdown_schedule_runs_total{command="settle",outcome="held"} 0
drawdown_schedule_runs_total{command="settle",outcome="interrupted"} 0
drawdown_schedule_runs_total{command="settle",outcome="waiting"} 0
`), metrics("2026-10-05T02:00:00Z", status))

	s.write("drawdown.db", []byte("this is no database"))
	os.Remove(s.path("drawdown.db-wal"))
	if got := metrics("2026-10-05T02:00:00Z", nil); !strings.Contains(got, "drawdown_state_readable 0\n") || strings.Contains(got, "drawdown_rows") {
		t.Error(got)
	}
}

// TestMetricsArePushed to a Pushgateway, in the place of what was there, and with the password that stands in the URL.
func TestMetricsArePushed(t *testing.T) {
	t.Parallel()
	s := scheduledHere(t)
	type push struct{ method, path, user, body string }
	var mu sync.Mutex
	var pushes []push
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gateway := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		user, password, _ := r.BasicAuth()
		mu.Lock()
		defer mu.Unlock()
		pushes = append(pushes, push{r.Method, r.URL.Path, user + ":" + password, string(body)})
	})}
	go func() { _ = gateway.Serve(listener) }()
	defer gateway.Close()
	a := newApp(time.Now())
	a.flags.Config, a.flags.MetricsPush = s.path("drawdown.yaml"), "http://ada:secret@"+listener.Addr().String()
	if err := a.writeMetrics(nil); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(pushes) != 1 || pushes[0].method != http.MethodPut || pushes[0].path != "/metrics/job/drawdown/instance/demo" || pushes[0].user != "ada:secret" ||
		!strings.Contains(pushes[0].body, "drawdown_periods") {
		t.Errorf("%+v", pushes)
	}
}

// scheduledHere is what init writes.
func scheduledHere(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, dir: fastDir(t)}
	if code := run(t.Context(), process{args: []string{"init", s.dir}, clock: time.Now, stdout: io.Discard, stderr: io.Discard}); code != exitDone {
		t.Fatal(code)
	}
	return s
}

// TestDaemonLeavesNothingBehind: no goroutine is left of it, nor of those that ask it.
func TestDaemonLeavesNothingBehind(t *testing.T) {
	s := scheduledHere(t)
	ignore := goleak.IgnoreCurrent()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	a := newApp(time.Now())
	a.ctx, a.flags.Config = ctx, s.path("drawdown.yaml")
	listener, err := listenOnLoopback(a, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	log, lines := io.Pipe()
	a.stderr = lines
	d := newDaemon(a, s.config(), true, listener)
	ended := make(chan error, 1)
	go func() {
		ended <- d.run()
		lines.Close()
	}()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	asked := false
	for decoder := json.NewDecoder(log); ; {
		var line struct{ Msg, Outcome string }
		if decoder.Decode(&line) != nil {
			break
		}
		if line.Msg != "done" || asked {
			continue
		}
		asked = true
		for _, path := range []string{"/healthz", "/metrics"} {
			response, err := client.Get("http://" + listener.Addr().String() + path)
			if err != nil {
				t.Fatal(err)
			}
			if body, err := io.ReadAll(response.Body); err != nil || response.StatusCode != http.StatusOK || len(body) == 0 {
				t.Errorf("%s: %d %v", path, response.StatusCode, err)
			}
			response.Body.Close()
		}
		cancel()
	}
	if err := <-ended; err != nil || !asked {
		t.Error(err, asked)
	}
	goleak.VerifyNone(t, ignore)
	if health, well := d.status.health(); well || health.State != "stopping" {
		t.Errorf("%+v", health)
	}
}

// TestHealthOfAStuckDaemon: it has not looked at its schedule for a while.
func TestHealthOfAStuckDaemon(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 10, 3, 1, 15, 0, 0, time.UTC)
	s := newDaemonStatus(func() time.Time { return now })
	if _, well := s.health(); !well {
		t.Error("it has just begun")
	}
	now = now.Add(stuckAfter + time.Second)
	if health, well := s.health(); well || health.State != "stuck" {
		t.Errorf("%+v", health)
	}
}

// TestEveryMetricIsWrittenDown: and Prometheus finds no fault with them.
func TestEveryMetricIsWrittenDown(t *testing.T) {
	t.Parallel()
	a := newApp(time.Now())
	registry := prometheus.NewPedanticRegistry()
	c := scheduledHere(t).config()
	registry.MustRegister(&metricsCollector{app: a, config: func() *Config { return c }, status: newDaemonStatus(a.clock)})
	families, err := registry.Gather()
	if err != nil || len(families) < 5 {
		t.Fatal(err, len(families))
	}
	operations, err := os.ReadFile(filepath.Join("..", "..", "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("metrics.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range regexp.MustCompile(`"(drawdown_[a-z_]+)"`).FindAllStringSubmatch(string(source), -1) {
		if !strings.Contains(string(operations), "`"+name[1]+"`") {
			t.Errorf("docs/operations.md does not list %s", name[1])
		}
	}
}

// TestUnits: what docs/deploy offers is in order, as far as that can be told here.
func TestUnits(t *testing.T) {
	t.Parallel()
	dir := filepath.Join("..", "..", "docs", "deploy")
	data, err := os.ReadFile(filepath.Join(dir, "cronjob.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var job struct {
		Kind string
		Spec struct {
			Schedule                string
			TimeZone                string `yaml:"timeZone"`
			ConcurrencyPolicy       string `yaml:"concurrencyPolicy"`
			StartingDeadlineSeconds int    `yaml:"startingDeadlineSeconds"`
			JobTemplate             struct {
				Spec struct {
					Template struct {
						Spec struct {
							TerminationGracePeriodSeconds int    `yaml:"terminationGracePeriodSeconds"`
							RestartPolicy                 string `yaml:"restartPolicy"`
							Containers                    []struct{ Args []string }
						}
					}
				}
			} `yaml:"jobTemplate"`
		}
	}
	if err := yaml.Unmarshal(data, &job); err != nil {
		t.Fatal(err)
	}
	pod := job.Spec.JobTemplate.Spec.Template.Spec
	if job.Kind != "CronJob" || job.Spec.ConcurrencyPolicy != "Forbid" || job.Spec.TimeZone != "Etc/UTC" || job.Spec.StartingDeadlineSeconds < 60 ||
		pod.TerminationGracePeriodSeconds < 30 || pod.RestartPolicy != "Never" || len(pod.Containers) != 1 {
		t.Errorf("%+v", job)
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("there is no systemd-analyze here: the units are NOT verified")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	units, err := filepath.Glob(filepath.Join(dir, "*.[st]*e*"))
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"verify"}
	copied := t.TempDir()
	for _, unit := range units {
		if filepath.Ext(unit) != ".service" && filepath.Ext(unit) != ".timer" {
			continue
		}
		text, err := os.ReadFile(unit)
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(copied, filepath.Base(unit))
		if err := os.WriteFile(to, bytes.ReplaceAll(text, []byte("/usr/local/bin/drawdown"), []byte(self)), 0o644); err != nil {
			t.Fatal(err)
		}
		args = append(args, to)
	}
	if out, err := exec.Command(analyze, args...).CombinedOutput(); err != nil || len(args) != 4 || bytes.Contains(out, []byte(copied)) {
		t.Errorf("%v %v\n%s", args, err, out)
	}
}
