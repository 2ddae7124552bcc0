//go:build unix

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"drawdown/rating"
	"drawdown/readers/bucket/buckettest"
	"drawdown/writers/store"
	"drawdown/writers/store/storetest"
)

// What the program does as a child of these tests, by its environment.
const (
	killAt    = "TEST_KILL_AT"    // the number of the place at which it kills itself; 0: it says how many there are
	stopAt    = "TEST_STOP_AT"    // the name of the place at which it stops, until it is continued
	waitAt    = "TEST_WAIT_AT"    // the name of the place at which it says so, and waits for a byte on standard input
	aheadBy   = "TEST_AHEAD_BY"   // how much its clock is ahead
	largestAt = "TEST_LARGEST_AT" // how long a file may become, in bytes
)

// waitingAt is how it says so.
const waitingAt = "waiting at "

// childMain is main, with the faults that the environment asks for.
func childMain() {
	p := process{args: os.Args[1:], env: os.Environ(), clock: time.Now, stdout: os.Stdout, stderr: os.Stderr}
	var places atomic.Int64
	kill, counts := os.LookupEnv(killAt)
	stop, wait := os.Getenv(stopAt), os.Getenv(waitAt)
	if counts || stop != "" || wait != "" {
		last, _ := strconv.ParseInt(kill, 10, 64)
		hook := func(place string) error {
			if places.Add(1) == last {
				_, _ = os.Stderr.WriteString("killed at " + place)
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
			if place == stop {
				stopSelf()
			}
			if place == wait {
				_, _ = os.Stderr.WriteString(waitingAt + place + "\n")
				_, _ = os.Stdin.Read(make([]byte, 1))
			}
			return nil
		}
		p.tamper, p.notifyHook = faults(hook).tamper, hook
	}
	if ahead, err := time.ParseDuration(os.Getenv(aheadBy)); err == nil {
		p.clock = func() time.Time { return time.Now().Add(ahead) }
	}
	if largest, err := strconv.ParseUint(os.Getenv(largestAt), 10, 64); err == nil {
		signal.Ignore(syscall.SIGXFSZ) // so that writing fails instead
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: largest, Max: largest}); err != nil {
			panic(err)
		}
	}
	code := run(context.Background(), p)
	if counts {
		_, _ = os.Stderr.WriteString(" places=" + strconv.FormatInt(places.Load(), 10))
	}
	os.Exit(code)
}

// stopSelf stops the process, and returns once it is continued: the signal may take a moment to arrive.
func stopSelf() {
	continued := make(chan os.Signal, 1)
	signal.Notify(continued, syscall.SIGCONT)
	_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	<-continued
	signal.Stop(continued)
}

// with gives a command more environment.
func with(cmd *exec.Cmd, variables ...string) *exec.Cmd {
	cmd.Env = append(os.Environ(), variables...)
	return cmd
}

// crashes is how many times TestKilledAtEachPlace kills the program.
func crashes(t *testing.T) int {
	n, err := strconv.Atoi(os.Getenv("TEST_CRASHES"))
	if err != nil {
		n = 50
	}
	if testing.Short() {
		n = 10
	}
	t.Logf("TEST_CRASHES=%d", n)
	return n
}

// TestKilledAtEachPlace (R5.6): the program is killed where it has just done something, at one place after another, and
// run again; now and then the next run is killed too. In the end everything is as if nothing had happened, and what was
// left is gone after gc.
func TestKilledAtEachPlace(t *testing.T) {
	t.Parallel()
	killed(t, crashes(t), settleArgs, newSite)
}

// TestKilledOnRealStores is the same on PostgreSQL and S3, a fifth as often: each starts with a new database and a new server.
func TestKilledOnRealStores(t *testing.T) {
	server.Get(t)
	killed(t, crashes(t)/5, settleArgs, func(t testing.TB, w *world, settings ...string) *site {
		return newRealSite(t.(*testing.T), w, settings...)
	})
}

// TestKilledBackfill is the same for a backfill of what was settled without one of the objects.
func TestKilledBackfill(t *testing.T) {
	t.Parallel()
	backfill := func(w *world) []string {
		return []string{"backfill", "--from", spell(w.start), "--to", spell(w.until().Time())}
	}
	killed(t, crashes(t)/2, backfill, func(t testing.TB, w *world, settings ...string) *site {
		s := newSite(t, w, settings...)
		late := s.path("usage/" + w.objects[1].name)
		if err := os.Remove(late); err != nil {
			t.Fatal(err)
		}
		s.settle(w)
		s.write("usage/"+w.objects[1].name, w.objects[1].content(t))
		return s
	})
}

// TestKilledClose is the same for a close, where some usage waits that came after its period was settled.
func TestKilledClose(t *testing.T) {
	t.Parallel()
	closes := func(w *world) []string { return []string{"close", "--until", spell(w.end())} }
	killed(t, crashes(t)/2, closes, func(t testing.TB, w *world, settings ...string) *site {
		s := newSite(t, w, settings...)
		late := s.path("usage/" + w.objects[1].name)
		if err := os.Remove(late); err != nil {
			t.Fatal(err)
		}
		s.settleUntil(w.later(), rating.InstantOf(w.start.AddDate(0, 0, 1)))
		s.write("usage/"+w.objects[1].name, w.objects[1].content(t))
		s.settle(w)
		return s
	})
}

// TestKilledWithLateUsage is the same for a settle that books usage of closed periods.
func TestKilledWithLateUsage(t *testing.T) {
	t.Parallel()
	killed(t, crashes(t)/2, settleArgs, func(t testing.TB, w *world, settings ...string) *site {
		s := newSite(t, w, settings...)
		late := s.path("usage/" + w.objects[1].name)
		if err := os.Remove(late); err != nil {
			t.Fatal(err)
		}
		day := rating.InstantOf(w.start.AddDate(0, 0, 1))
		s.settleUntil(w.later(), day)
		s.closeUntil(w, day)
		s.write("usage/"+w.objects[1].name, w.objects[1].content(t))
		return s
	})
}

func settleArgs(w *world) []string { return []string{"settle", "--until", spell(w.until().Time())} }

func killed(t *testing.T, times int, argsOf func(*world) []string, makeSite func(testing.TB, *world, ...string) *site) {
	w := newWorld(6, worldShape{records: 600, days: 2, homeless: true})
	settle := argsOf(w)
	want := makeSite(t, w)
	counted := with(want.command(w, settle...), killAt+"=0")
	if code := exitCode(t, counted.Run()); code != exitWaiting && code != exitDone {
		t.Fatalf("it ended with %d: %s", code, counted.Stderr)
	}
	_, text, _ := strings.Cut(counted.Stderr.(*strings.Builder).String(), "places=")
	places, err := strconv.Atoi(text)
	if err != nil || places < 10 {
		t.Fatalf("%d places: %v", places, err)
	}
	files, state := want.output(), want.visible()
	random := rand.New(rand.NewPCG(10, 10))
	kills := 0
	for n := range times {
		first := 1 + n*7%places // neighbours are much alike
		passed := t.Run(fmt.Sprintf("%d", first), func(t *testing.T) {
			s := makeSite(t, w)
			for at := first; ; at = 1 + random.IntN(places) {
				if exitCode(t, with(s.command(w, settle...), killAt+"="+strconv.Itoa(at)).Run()) != -1 {
					break // the place was not reached: it finished
				}
				kills++
				s.checkWhole(t)
				if random.IntN(3) > 0 {
					break
				}
			}
			for _, args := range [][]string{settle, {"gc", "--apply", "--grace", "0s"}} {
				cmd := s.command(w, args...)
				if code := exitCode(t, cmd.Run()); code != exitWaiting && code != exitDone {
					t.Fatalf("%v ended with %d: %s", args, code, cmd.Stderr)
				}
			}
			same(t, "files in the end", files, s.output())
			same(t, "state in the end", state, s.visible())
		})
		if !passed {
			t.FailNow()
		}
	}
	t.Logf("killed %d times, at %d places", kills, places)
}

// checkWhole: what the state says is settled stands in the output, whole.
func (s *site) checkWhole(t *testing.T) {
	t.Helper()
	tables := `SELECT 1 FROM sqlite_master WHERE name = 'revision'`
	if s.state != "" {
		tables = `SELECT 1 FROM information_schema.tables WHERE table_name = 'revision'`
	} else if _, err := os.Stat(s.path("drawdown.db")); err != nil {
		return // killed before it began
	}
	if len(s.query(tables)) == 0 {
		return
	}
	for _, row := range s.query(`SELECT manifest_key FROM revision`) {
		if _, err := s.openOutput().ReadFile(strings.TrimPrefix(row, "manifest_key=")); err != nil {
			t.Errorf("a committed period has no manifest: %v", err)
		}
	}
}

// TestStoppedHolderCannotCommit: a process that is stopped loses its lease to another one, which settles; when it is woken,
// it finds its token too old, and nothing of it counts.
func TestStoppedHolderCannotCommit(t *testing.T) {
	t.Parallel()
	stoppedHolder(t, newSite)
}

// TestStoppedHolderOnRealStores is the same on PostgreSQL and S3.
func TestStoppedHolderOnRealStores(t *testing.T) {
	server.Get(t)
	stoppedHolder(t, func(t testing.TB, w *world, settings ...string) *site {
		return newRealSite(t.(*testing.T), w, settings...)
	})
}

func stoppedHolder(t *testing.T, makeSite func(testing.TB, *world, ...string) *site) {
	w := newWorld(9, smallWorld)
	settle := []string{"settle", "--until", spell(w.until().Time())}
	want := newSite(t, w)
	want.settle(w)
	for _, place := range []string{"list", "sync", store.StepCommitted} {
		t.Run(place, func(t *testing.T) {
			s := makeSite(t, w)
			holder := with(s.command(w, settle...), stopAt+"="+place)
			if err := holder.Start(); err != nil {
				t.Fatal(err)
			}
			waitStopped(t, holder.Process.Pid)
			early := s.command(w, settle...)
			if code := exitCode(t, early.Run()); code != exitHeld && place != store.StepCommitted {
				t.Errorf("before the lease ended, another one ended with %d: %s", code, early.Stderr)
			}
			if s.state != "" { // whose clocks must agree: the holder is silent since long ago
				s.exec(`UPDATE lease SET heartbeat_at = 0`)
			}
			other := s.command(w, settle...)
			if s.state == "" {
				other = with(other, aheadBy+"=2m")
			}
			if code := exitCode(t, other.Run()); code != exitDone && code != exitWaiting {
				t.Errorf("the other one ended with %d: %s", code, other.Stderr)
			}
			if err := holder.Process.Signal(syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
			code := exitCode(t, holder.Wait())
			if stderr := holder.Stderr.(*strings.Builder).String(); place != store.StepCommitted &&
				(code == exitDone || code == exitWaiting || !strings.Contains(stderr, "another run has taken the lease")) {
				t.Errorf("the stopped one ended with %d: %s", code, stderr)
			}
			same(t, "files in the end", want.current(), s.current())
			same(t, "state in the end", want.visible(), s.visible())
		})
	}
}

// waitStopped waits until a child is stopped; the wait status says so once.
func waitStopped(t *testing.T, pid int) {
	t.Helper()
	var status syscall.WaitStatus
	for {
		_, err := syscall.Wait4(pid, &status, syscall.WUNTRACED, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || !status.Stopped() {
			t.Fatalf("the child did not stop: %v, status %x", err, status)
		}
		return
	}
}

// TestDiskFull: files that cannot grow, be it a temporary file, one of the output or the database, end the run with an
// error, and nothing of it counts. A limit of the process stands for the disk: it fails the same calls.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	w := newWorld(12, worldShape{records: 3000, days: 2})
	settle := []string{"settle", "--until", spell(w.until().Time())}
	want := newSite(t, w)
	if code := exitCode(t, want.command(w, settle...).Run()); code != exitWaiting && code != exitDone {
		t.Fatalf("it ended with %d", code)
	}
	failed := 0
	for largest := 1 << 10; largest <= 1<<20; largest *= 4 {
		s := newSite(t, w)
		limited := with(s.command(w, settle...), largestAt+"="+strconv.Itoa(largest))
		code := exitCode(t, limited.Run())
		if code != exitDone && code != exitWaiting {
			failed++
			if stderr := limited.Stderr.(*strings.Builder).String(); code == -1 || stderr == "" {
				t.Errorf("with files up to %d bytes it ended with %d: %s", largest, code, stderr)
			}
			if _, err := os.Stat(s.path("settlements/current.json")); err == nil {
				t.Errorf("with files up to %d bytes it failed, and published", largest)
			}
		}
		if code := exitCode(t, s.command(w, settle...).Run()); code != exitWaiting && code != exitDone {
			t.Fatalf("after files up to %d bytes, the next run ended with %d", largest, code)
		}
		same(t, "files in the end", want.current(), s.current())
		same(t, "state in the end", want.visible(), s.visible())
	}
	if failed < 3 {
		t.Errorf("it failed with %d limits only", failed)
	}
}

// TestEveryCallFails: the first thing that the job asks of the outside fails, then the second, until it runs to its end.
// Each time nothing of it counts, or all of it.
func TestEveryCallFails(t *testing.T) {
	t.Parallel()
	w := newWorld(13, worldShape{records: 60, days: 1})
	want := newSite(t, w, "shards: 2")
	want.settle(w)
	final, finalState := want.current(), want.visible()
	n := int64(1)
	for ; ; n++ {
		s := newSite(t, w, "shards: 2")
		var calls atomic.Int64
		s.tamper = faults(func(string) error {
			if calls.Add(1) == n {
				return errBoom
			}
			return nil
		}).tamper
		_, err := s.trySettle(w.later(), w.until(), false)
		if err == nil {
			break
		}
		s.checkWhole(t)
		s.tamper = nil
		s.settle(w)
		same(t, "files in the end", final, s.current())
		same(t, "state in the end", finalState, s.visible())
		if t.Failed() {
			t.Fatalf("after call %d failed: %v", n, err)
		}
		os.RemoveAll(s.dir)
	}
	if n < 40 {
		t.Errorf("it makes %d calls only", n-1)
	}
	t.Logf("%d calls failed, one after another", n-1)
}

// TestEveryRequestFails is TestEveryCallFails on the wire: of a run on PostgreSQL and S3 the first request to the bucket is
// answered by an error that passes, or by one that stays, or cut off; then the second, and so on; and so the messages to the
// database, whose connection breaks before or after they arrive. What passes ends in success, and what
// stays in an error that says so; the next run ends in the same bytes. With TEST_CRASHES as `make crash` sets it each of them fails, else some.
func TestEveryRequestFails(t *testing.T) {
	w := newWorld(13, worldShape{records: 60, days: 1})
	want := newSite(t, w, "shards: 2")
	want.settle(w)
	final, finalState := want.current(), want.visible()
	step := 29
	if crashes(t) >= 200 {
		step = 1
	}
	next := func(n int) int { // the first ones are each of a kind of their own
		if n < 4 {
			return n + 1
		}
		return n + step
	}
	// try settles with a fault at a place, counted from 1, and tells whether there was such a place.
	try := func(name string, n int, fault func(n int, s3 *buckettest.Proxy, sql *storetest.Proxy) (there func() bool)) (there bool) {
		t.Run(fmt.Sprint(name, " ", n), func(t *testing.T) {
			s := newRealSite(t, w, "shards: 2")
			s3, sql := buckettest.NewProxy(t, s.s3), server.Get(t).Proxy(t)
			s.remote, s.state = s3.Endpoint, strings.Replace(s.state, fmt.Sprintf("127.0.0.1:%d", server.Get(t).Port), sql.Address(), 1)
			s.configure("", "shards: 2")
			reached := fault(n, s3, sql)
			_, err := s.trySettle(w.later(), w.until(), false)
			s3.Heal()
			there = reached()
			sql.Nth(0, storetest.Nothing)
			if err != nil {
				s.checkWhole(t)
			}
			if err != nil && (name != "403" || !strings.Contains(err.Error(), "do not allow it")) {
				t.Errorf("it ended with %v", err)
			}
			s.settle(w)
			same(t, "files in the end", final, s.current())
			same(t, "state in the end", finalState, s.visible())
		})
		return there
	}
	requests := map[string]buckettest.Fault{
		"500": buckettest.Answer(500, "InternalError"), "403": buckettest.Answer(403, "AccessDenied"), "cut off": buckettest.ResetAfter,
	}
	for _, name := range keysOf(requests) {
		n := 1
		for try(name, n, func(n int, s3 *buckettest.Proxy, _ *storetest.Proxy) func() bool {
			came, made := 0, false
			s3.Fail(1, func(*http.Request) bool {
				came++
				made = made || came == n
				return came == n
			}, requests[name])
			return func() bool { return made }
		}) && !t.Failed() {
			n = next(n)
		}
		t.Logf("%s: up to request %d", name, n)
	}
	for name, cut := range map[string]storetest.Cut{"broken before": storetest.BeforeCommit, "broken after": storetest.AfterCommit} {
		n := 1
		for try(name, n, func(n int, _ *buckettest.Proxy, sql *storetest.Proxy) func() bool {
			sql.Nth(n, cut)
			return func() bool { return sql.Messages() >= n }
		}) && !t.Failed() {
			n = next(n)
		}
		t.Logf("%s: up to message %d", name, n)
	}
}
