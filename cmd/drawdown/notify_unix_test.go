//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"drawdown/notifier/notifiertest"
)

// remindedSite is a site whose accounts, each with an e-mail address, are all to be reminded of a package, which ends in two
// months: until then it is of use, however often a test kills and waits.
func remindedSite(t *testing.T, accounts int, notify string) *site {
	t.Helper()
	s := emptySite(t)
	s.configure("reminder_days: [60]\nnotify:\n" + notify)
	var catalog strings.Builder
	catalog.WriteString("meters: [{id: calls, unit: call}]\nprices: [{id: list, meter: calls, model: flat, price: 1}]\naccounts:\n")
	for i := range accounts {
		fmt.Fprintf(&catalog, "  - {id: a%d, email: a%d@example.com, phone: \"+49151%07d\"}\n", i, i, i)
	}
	catalog.WriteString("packages:\n")
	for i := range accounts {
		fmt.Fprintf(&catalog, "  - {id: p%d, account: a%d, kind: pay_per_use, quota: 10, effective: 2026-10-01, expires: %s, covers: [{meter: calls}]}\n",
			i, i, spell(reminded.Add(-3*time.Hour).AddDate(0, 0, 60)))
	}
	s.write("catalog.yaml", []byte(catalog.String()))
	s.write("usage/none.ndjson", nil)
	settle := s.drawdown("--now", spell(reminded.Add(24*time.Hour)), "settle", "--until", spell(reminded))
	if code := exitCode(t, settle.Run()); code != exitDone {
		t.Fatalf("settle ended with %d: %s", code, settle.Stderr)
	}
	return s
}

// reminded is the end of the period in which all are reminded.
var reminded = time.Date(2026, 10, 24, 22, 0, 0, 0, time.UTC)

func (s *site) drawdown(args ...string) *exec.Cmd {
	cmd := exec.Command("drawdown", append([]string{"--config", s.path("drawdown.yaml")}, args...)...)
	cmd.Stderr = &strings.Builder{}
	return cmd
}

// TestKilledWhileTelling: the program is killed at one step after another while it sends mails to a real server, and run
// again. In the end everybody was told, and told twice only where it died between the server's answer and its own note.
func TestKilledWhileTelling(t *testing.T) {
	t.Parallel()
	server := notifiertest.StartMailpit(t)
	kills := min(crashes(t), 5000) // in the simulated time of more, the packages expire
	accounts := 8 * kills
	s := remindedSite(t, accounts, fmt.Sprintf("  email: {server: %q, tls: none, from: billing@example.com, connections: 1}\n", server.SMTP))
	random := rand.New(rand.NewPCG(5, 5))
	now := reminded.Add(25 * time.Hour)
	killed, unnoted, steps := 0, 0, map[string]int{}
	accepted, noted := 0, 0
	for {
		now = now.Add(16 * time.Minute) // so that the claims of the one before have run out
		notify := s.drawdown("--now", spell(now), "notify")
		if killed < kills {
			at := 1 // the first time, behind the planning; then behind the claim as often as anywhere else
			if killed > 0 {
				at += random.IntN([]int{2, 40}[killed%2])
			}
			notify = with(notify, killAt+"="+strconv.Itoa(at))
		}
		code := exitCode(t, notify.Run())
		if code != -1 && code != exitDone {
			t.Fatalf("it ended with %d: %s", code, notify.Stderr)
		}
		nowAccepted, nowNoted := server.Count(t), len(s.query(`SELECT id FROM message WHERE channel = 'email' AND state = 'sent'`))
		unnoted += nowAccepted - accepted - (nowNoted - noted)
		accepted, noted = nowAccepted, nowNoted
		if code == exitDone {
			break
		}
		killed++
		_, step, _ := strings.Cut(notify.Stderr.(*strings.Builder).String(), "killed at ")
		steps[strings.TrimSpace(step)]++
	}
	came := map[string]int{}
	for _, mail := range server.IDs(t) {
		came[mail.MessageID]++
	}
	twice := accepted - len(came)
	t.Logf("killed %d times (%v): %d mails to tell, %d came, %d of them a second time", killed, steps, accounts, accepted, twice)
	if len(came) != accounts || noted != accounts {
		t.Errorf("%d of %d accounts were told, and %d were noted", len(came), accounts, noted)
	}
	if twice != unnoted {
		t.Errorf("%d mails came twice, and %d had been accepted without a note of it", twice, unnoted)
	}
	if killed < kills || len(steps) < 5 {
		t.Errorf("it was killed only %d times, at %d of 6 steps", killed, len(steps))
	}
}

// TestSeveralTell: processes that run at once share the outbox, and nobody is told twice.
func TestSeveralTell(t *testing.T) {
	t.Parallel()
	server := notifiertest.StartMailpit(t)
	const accounts = 300
	s := remindedSite(t, accounts, fmt.Sprintf("  email: {server: %q, tls: none, from: billing@example.com, connections: 2}\n", server.SMTP))
	var processes sync.WaitGroup
	for range 3 {
		processes.Go(func() {
			notify := s.drawdown("--now", spell(reminded.Add(25*time.Hour)), "notify")
			var exit *exec.ExitError
			if err := notify.Run(); errors.As(err, &exit) {
				t.Errorf("it ended with %v: %s", err, notify.Stderr)
			}
		})
	}
	processes.Wait()
	if n := server.Count(t); n != accounts {
		t.Errorf("%d mails to %d accounts", n, accounts)
	}
}

// TestInterruptedWhileTelling: an interrupt ends the sending, and what was sent is noted.
func TestInterruptedWhileTelling(t *testing.T) {
	t.Parallel()
	var came sync.Map
	interrupted, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if _, again := came.LoadOrStore(r.Header.Get("webhook-id"), true); again {
			t.Error("it came twice")
		}
		interrupt()
	}))
	defer hook.Close()
	const accounts = 200
	s := remindedSite(t, accounts, fmt.Sprintf("  webhook: {url: %q, allow_private: true, connections: 1}\n", hook.URL))
	notify := func(ctx context.Context, now time.Time) (int, string) {
		var stderr strings.Builder
		return run(ctx, process{
			args: []string{"--config", s.path("drawdown.yaml"), "--now", spell(now), "notify"}, clock: time.Now, stdout: io.Discard, stderr: &stderr,
			env: []string{"DRAWDOWN_NOTIFY_WEBHOOK_SECRET=0123456789abcdef"},
		}), stderr.String()
	}
	if code, stderr := notify(interrupted, reminded.Add(25*time.Hour)); code != exitInterrupted {
		t.Errorf("it ended with %d: %s", code, stderr)
	}
	if code, stderr := notify(t.Context(), reminded.Add(26*time.Hour)); code != exitDone {
		t.Errorf("it ended with %d: %s", code, stderr)
	}
	n := 0
	came.Range(func(any, any) bool { n++; return true })
	if n != accounts {
		t.Errorf("%d of %d accounts were told", n, accounts)
	}
}
