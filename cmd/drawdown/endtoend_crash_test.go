package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"drawdown/jobs"
	"drawdown/rating"
	"drawdown/writers/store"
)

var errBoom = errors.New("boom")

// current is what a reader of the output sees: current.json, and the files that it and the manifests name. Tokens are left
// out.
func (s *site) current() map[string]string {
	s.t.Helper()
	all := s.output()
	files := map[string]string{"current.json": all["current.json"]}
	current := s.publishedPeriods()
	for name, c := range current {
		p := s.openPublished(name, c)
		names := []string{"manifest.json"}
		for _, f := range p.manifest.Files {
			names = append(names, f.Name)
		}
		for _, name := range names {
			data, err := p.output.ReadFile(path.Join(p.dir, name))
			if err != nil {
				s.t.Error(err)
			}
			files[tokenPattern.ReplaceAllString(p.dir, "rev=$1")+"/"+name] = sum(data).String()
		}
	}
	return files
}

// TestFailureAnywhereCommitsNothing (R5.6): and running again ends in the same bytes.
func TestFailureAnywhereCommitsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(4, smallWorld)
	half := rating.InstantOf(w.start.AddDate(0, 0, 2))
	want := newSite(t, w)
	want.settleUntil(w.later(), half)
	wantHalf, wantHalfState := want.current(), want.visible()
	want.settle(w)
	for _, place := range []string{
		"create 2026-10-24", "create 2026-10-26", "append 2026-10-25 1", "close 2026-10-24 0", "finish 2026-10-24", "finish 2026-10-27",
		"sync", store.StepBegin, store.StepToken, store.StepRun, store.StepCatalog, store.StepRevisions, store.StepStates, store.StepOutbox,
		store.StepObjects, store.StepSums,
	} {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, w)
			s.settleUntil(w.later(), half)
			s.tamper = failAt(place, func() error { return errBoom })
			if _, err := s.trySettle(w.later(), w.until(), false); !errors.Is(err, errBoom) {
				t.Fatalf("it did not fail there: %v", err)
			}
			same(t, "files after the failure", wantHalf, s.current())
			same(t, "state after the failure", wantHalfState, s.visible())
			same(t, "the run", []string{"state=failed"}, s.query(`SELECT state FROM run ORDER BY id DESC LIMIT 1`))
			s.tamper = nil
			s.settle(w)
			same(t, "files in the end", want.current(), s.current())
			same(t, "state in the end", want.visible(), s.visible())
		})
	}
}

// TestEveryRowIsAccountedFor (R4.6): a reader that counts a row which it never hands on fails the run.
func TestEveryRowIsAccountedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(4, smallWorld)
	s := newSite(t, w)
	s.tamper = func(job *jobs.Settle) { job.Reader = miscounting{job.Reader} }
	if _, err := s.trySettle(w.later(), w.until(), false); err == nil || !strings.Contains(err.Error(), "R4.6") {
		t.Errorf("got %v", err)
	}
	same(t, "revisions", []string{}, s.query(`SELECT * FROM revision`))
}

type miscounting struct{ jobs.Reader }

func (m miscounting) Read(ctx context.Context, o jobs.Object, sink jobs.Sink) (jobs.Summary, error) {
	summary, err := m.Reader.Read(ctx, o, sink)
	summary.Read++
	return summary, err
}

// TestFailureAfterTheCommit: what is committed is true, whatever fails then, and the next run mends current.json.
func TestFailureAfterTheCommit(t *testing.T) {
	t.Parallel()
	w := newWorld(5, smallWorld)
	want := newSite(t, w)
	want.settle(w)
	for _, place := range []string{store.StepCommitted, "publish"} {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, w)
			s.tamper = failAt(place, func() error { return errBoom })
			if _, err := s.trySettle(w.later(), w.until(), false); !errors.Is(err, errBoom) {
				t.Fatalf("it did not fail there: %v", err)
			}
			same(t, "state after the failure", want.visible(), s.visible())
			s.tamper = nil
			if report := s.settle(w); report.Nothing == "" {
				t.Errorf("it settled %d periods again", len(report.Periods))
			}
			same(t, "files in the end", want.current(), s.current())
			same(t, "state in the end", want.visible(), s.visible())
		})
	}
}

// command is the program as a process of its own.
func (s *site) command(w *world, args ...string) *exec.Cmd {
	args = append([]string{"--config", s.path("drawdown.yaml"), "--quiet", "--now", spell(w.later())}, args...)
	cmd := exec.Command("drawdown", args...)
	cmd.Stderr = new(strings.Builder)
	return cmd
}

// TestKilledAnywhere (R5.6): the program is killed at random moments, and run again.
func TestKilledAnywhere(t *testing.T) {
	t.Parallel()
	w := newWorld(6, worldShape{records: 4000, days: 3, homeless: true})
	settings := []string{"period: hour", "shards: 2"}
	want := newSite(t, w, settings...)
	untilText := spell(w.start.Add(64 * time.Hour)) // two commits, of 62 periods and of 2
	started := time.Now()
	// Some rows are in quarantine: they wait for a person.
	if out := want.command(w, "settle", "--until", untilText); exitCode(t, out.Run()) != exitWaiting {
		t.Fatal(out.Stderr)
	}
	length := time.Since(started) * 4 / 5
	final, finalState := want.current(), want.visible()
	random := rand.New(rand.NewPCG(6, 6))
	killed, finished := 0, 0
	s := newSite(t, w, settings...)
	for killed < 20 && finished < 20 {
		cmd := s.command(w, "settle", "--until", untilText)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Duration(random.Int64N(int64(length))), func() { cmd.Process.Kill() })
		switch code := exitCode(t, cmd.Wait()); code {
		case -1:
			killed++
			s.checkCommits(t)
			continue
		case exitWaiting, exitDone:
			finished++
		default:
			t.Fatalf("it ended with %d: %s", code, cmd.Stderr)
		}
		same(t, "files in the end", final, s.current())
		same(t, "state in the end", finalState, s.visible())
		s = newSite(t, w, settings...)
	}
	if killed < 20 {
		t.Errorf("it was killed only %d times", killed)
	}
	if code := exitCode(t, s.command(w, "settle", "--until", untilText).Run()); code != exitWaiting && code != exitDone {
		t.Errorf("the last run ended with %d", code)
	}
	same(t, "files in the end", final, s.current())
	same(t, "state in the end", finalState, s.visible())
	t.Logf("a run takes %v; killed %d times, finished %d times before", length, killed, finished)
}

// checkCommits: a site in the midst has whole commits only.
func (s *site) checkCommits(t *testing.T) {
	t.Helper()
	st, err := store.Open(t.Context(), s.config().State, store.ReadOnly)
	if errors.Is(err, store.ErrEmpty) || err != nil && strings.Contains(err.Error(), "any command that writes") {
		return // killed before it began, or while it made the tables
	}
	if err := errors.Join(err, st.Close()); err != nil {
		t.Fatal(err)
	}
	if rows := s.query(`SELECT COUNT(*) AS n FROM revision`); rows[0] != "n=0" && rows[0] != "n=62" && rows[0] != "n=64" {
		t.Errorf("a commit is there in part: %s periods", rows[0])
	}
}

func exitCode(t *testing.T, err error) int {
	t.Helper()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	if err != nil {
		t.Fatal(err)
	}
	return 0
}

// TestTwoAtOnce: one of two processes settles, the other one says who does.
func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(7, worldShape{records: 2000, days: 3})
	want := newSite(t, w)
	want.settle(w)
	s := newSite(t, w)
	settle := []string{"settle", "--until", spell(w.until().Time())}
	var processes [3]*exec.Cmd
	for i := range processes {
		processes[i] = s.command(w, settle...)
		if err := processes[i].Start(); err != nil {
			t.Fatal(err)
		}
	}
	done := 0
	for _, p := range processes {
		switch code := exitCode(t, p.Wait()); code {
		case exitDone, exitWaiting:
			done++
		case exitHeld:
		default:
			t.Errorf("it ended with %d: %s", code, p.Stderr)
		}
	}
	if done == 0 {
		t.Error("none of them settled")
	}
	sameSite(t, "in the end", want, s)
}

// TestPostgresSettlesTheSameBytes: where the state is makes no difference to what is settled.
func TestPostgresSettlesTheSameBytes(t *testing.T) {
	t.Parallel()
	state := strings.Replace(server.Get(t).Fresh(t), "@", ":s3cret@", 1) // of which nobody is to hear
	w := newWorld(10, smallWorld)
	want, s := newSite(t, w), newSiteIn(t, state, w)
	half := rating.InstantOf(w.start.AddDate(0, 0, 2))
	for _, site := range []*site{want, s} {
		site.settleUntil(w.later(), half)
		site.settle(w)
	}
	sameSite(t, "in the end", want, s)
	checkBooks(t, s)
	told := strings.Join(s.query(`SELECT * FROM run`), "") + strings.Join(s.query(`SELECT * FROM revision`), "")
	for name := range s.output() {
		if content, err := os.ReadFile(s.path("settlements/" + name)); err == nil {
			told += string(content)
		}
	}
	if strings.Contains(told, "s3cret") {
		t.Error("the password stands in what was written")
	}
	for _, args := range [][]string{{"runs"}, {"periods"}, {"packages"}, {"catalog", "show"}, {"settle", "--dry-run"}} {
		if cmd := s.command(w, args...); cmd.Run() != nil {
			t.Errorf("%v: %s", args, cmd.Stderr)
		}
	}
}

// TestClocksMustAgree: a lease is judged by its age, on the clocks of several machines.
func TestClocksMustAgree(t *testing.T) {
	t.Parallel()
	state := server.Get(t).Fresh(t)
	w := newWorld(13, worldShape{records: 50, days: 2})
	s := newSiteIn(t, state, w)
	for _, skew := range []time.Duration{-40 * time.Second, 40 * time.Second} {
		a := s.app(w.later())
		a.clock = func() time.Time { return time.Now().Add(skew) }
		if _, err := a.settle(s.config(), w.until(), false); err == nil || !strings.Contains(err.Error(), "40s apart") {
			t.Errorf("error %v", err)
		}
	}
	s.settle(w)
}

// TestPostgresSettlesTheDemo, hour by hour.
func TestPostgresSettlesTheDemo(t *testing.T) {
	t.Parallel()
	state := server.Get(t).Fresh(t)
	files := map[string]map[string]string{}
	for name, setting := range map[string]string{"SQLite": "NO_COLOR=1", "PostgreSQL": "DRAWDOWN_STATE=" + state} {
		dir := fastDir(t)
		cmd := exec.Command("drawdown", "--quiet", "demo", dir)
		cmd.Env = append(os.Environ(), setting)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", name, err, out)
		}
		files[name] = tree(t, filepath.Join(dir, "settlements"))
	}
	same(t, "files", files["SQLite"], files["PostgreSQL"])
	if len(files["SQLite"]) < 10 {
		t.Errorf("only %d files", len(files["SQLite"]))
	}
}

// TestEightAtOnce on PostgreSQL and S3: one settles; the others find the lease held, and say by whom, or find nothing left to do.
func TestEightAtOnce(t *testing.T) {
	w := newWorld(11, worldShape{records: 2000, days: 3})
	want, s := newSite(t, w), newRealSite(t, w)
	want.settle(w)
	var processes [8]*exec.Cmd
	for i := range processes {
		processes[i] = s.command(w, "settle", "--until", spell(w.until().Time()))
		if err := processes[i].Start(); err != nil {
			t.Fatal(err)
		}
	}
	ended := map[int]int{}
	for _, p := range processes {
		code, stderr := exitCode(t, p.Wait()), fmt.Sprint(p.Stderr)
		ended[code]++
		if code == exitHeld && !strings.Contains(stderr, "another run holds the lease of site test") {
			t.Errorf("it does not say why: %s", stderr)
		} else if code != exitHeld && code != exitWaiting && code != exitDone {
			t.Errorf("it ended with %d: %s", code, stderr)
		}
	}
	t.Logf("exit codes %v", ended)
	if ended[exitWaiting] != 1 {
		t.Errorf("exit codes %v", ended)
	}
	sameSite(t, "in the end", want, s)
	same(t, "runs that committed", []string{"n=1"}, s.query(`SELECT COUNT(*) AS n FROM run WHERE state = 'committed'`))
}

// settleCommand runs the whole program in this process.
func (s *site) settleCommand(w *world) (code int, stderr string) {
	var out, errs strings.Builder
	code = run(context.Background(), process{
		args:  []string{"--config", s.path("drawdown.yaml"), "--now", spell(w.later()), "settle", "--until", spell(w.until().Time())},
		clock: time.Now, stdout: &out, stderr: &errs,
	})
	return code, errs.String()
}

// TestLease (R5.6): who finds the lease held stops; a lease that nobody can hold any more is taken over.
func TestLease(t *testing.T) {
	t.Parallel()
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	gone := exec.Command("drawdown", "version")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	w := newWorld(8, worldShape{records: 50, days: 2})
	for name, test := range map[string]struct {
		holder store.Process
		age    time.Duration
		code   int
	}{
		"alive":               {store.Process{Actor: "maria", Host: host, PID: os.Getpid()}, time.Second, exitHeld},
		"on another host":     {store.Process{Actor: "maria", Host: "elsewhere", PID: gone.Process.Pid}, time.Second, exitHeld},
		"silent for too long": {store.Process{Actor: "maria", Host: host, PID: os.Getpid()}, 2 * store.LeaseTTL, exitWaiting},
		"dead":                {store.Process{Actor: "maria", Host: host, PID: gone.Process.Pid}, time.Second, exitWaiting},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, w)
			st := openStore(t, s)
			if _, err := st.AcquireLease(t.Context(), "test", test.holder, rating.InstantOf(time.Now().Add(-test.age))); err != nil {
				t.Fatal(err)
			}
			code, stderr := s.settleCommand(w)
			if code != test.code {
				t.Errorf("it ended with %d, not %d: %s", code, test.code, stderr)
			}
			if test.code != exitHeld {
				return
			}
			for _, text := range []string{"maria", test.holder.Host, fmt.Sprint(test.holder.PID)} {
				if !strings.Contains(stderr, text) {
					t.Errorf("it does not say %q: %s", text, stderr)
				}
			}
			if _, err := os.Stat(s.path("settlements/current.json")); err == nil {
				t.Error("it has settled")
			}
		})
	}
}

// TestLostLeaseCommitsNothing: a run that was taken for dead wakes up, and finds that another one has settled meanwhile.
func TestLostLeaseCommitsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(9, smallWorld)
	want := newSite(t, w)
	want.settle(w)
	for _, place := range []string{"finish 2026-10-22", "sync"} {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, w)
			other := *s
			var reached atomic.Bool
			s.tamper = failAt(place, func() error {
				if reached.Swap(true) {
					return nil
				}
				other.exec(`UPDATE lease SET heartbeat_at = 0`)
				_, err := other.app(w.later()).settle(other.config(), w.until(), false)
				return err
			})
			_, err := s.trySettle(w.later(), w.until(), false)
			if !errors.Is(err, jobs.ErrFenced) {
				t.Errorf("got %v", err)
			}
			sameSite(t, "in the end", want, &other)
			same(t, "runs", []string{"state=failed", "state=committed"}, s.query(`SELECT state FROM run ORDER BY id`))
			same(t, "folders of 2026-10-22", 1, len(revisions(t, s, "2026-10-22")))
		})
	}
}

func revisions(t *testing.T, s *site, period string) []string {
	t.Helper()
	found, err := filepath.Glob(s.path("settlements/period=" + period + "/rev=*"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}
