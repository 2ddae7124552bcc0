//go:build unix

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// daemonProcess is the real program as a daemon.
type daemonProcess struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines *bufio.Scanner // its log
	seen  []string
}

// scheduledSite is what init writes, by the hour, so that more is due than one commit covers.
func scheduledSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, dir: fastDir(t)}
	if code := run(t.Context(), process{
		args: []string{"init", s.dir}, clock: time.Now, stdout: io.Discard, stderr: io.Discard,
	}); code != exitDone {
		t.Fatal(code)
	}
	s.rewrite("period: day ", "period: hour ")
	s.rewrite("15 * * * *", "@yearly") // so that it settles at the start, and then no more
	return s
}

func (s *site) rewrite(old, replacement string) {
	s.t.Helper()
	data, err := os.ReadFile(s.path("drawdown.yaml"))
	if err != nil || !bytes.Contains(data, []byte(old)) {
		s.t.Fatal(err, old)
	}
	s.write("drawdown.yaml", bytes.Replace(data, []byte(old), []byte(replacement), 1))
}

func startDaemon(t *testing.T, s *site, variables ...string) *daemonProcess {
	t.Helper()
	cmd := with(exec.Command("drawdown", "--config", s.path("drawdown.yaml"), "schedule", "--log", "json", "--listen", "127.0.0.1:0"), variables...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return &daemonProcess{t: t, cmd: cmd, stdin: stdin, lines: bufio.NewScanner(stderr)}
}

// await reads the log up to a line with a text.
func (d *daemonProcess) await(text string) string {
	d.t.Helper()
	for d.lines.Scan() {
		line := d.lines.Text()
		d.seen = append(d.seen, line)
		if strings.Contains(line, text) {
			return line
		}
	}
	d.t.Fatalf("it never said %q, but:\n%s", text, strings.Join(d.seen, "\n"))
	return ""
}

func (d *daemonProcess) signal(s syscall.Signal) {
	d.t.Helper()
	if err := d.cmd.Process.Signal(s); err != nil {
		d.t.Fatal(err)
	}
}

// end gives the exit code, and reads the log to its end.
func (d *daemonProcess) end() int {
	for d.lines.Scan() {
		d.seen = append(d.seen, d.lines.Text())
	}
	return exitCode(d.t, d.cmd.Wait())
}

// TestSIGTERMLetsTheCommitEnd: a settle that is running ends its commit and begins no other; told twice, it leaves nothing.
func TestSIGTERMLetsTheCommitEnd(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		how      string
		code     int
		settled  string
		runState string
	}{
		{"once", exitDone, "n=62", "state=committed error="},
		{"twice", exitInterrupted, "n=0", "state=failed error=settle … terminated signal received"},
		{"for longer than the grace time", exitInterrupted, "n=0", "state=failed error=settle … what was running was ended before it was done"},
	} {
		t.Run(c.how, func(t *testing.T) {
			t.Parallel()
			s := scheduledSite(t)
			variables := []string{waitAt + "=sync"}
			if strings.Contains(c.how, "grace") {
				variables = append(variables, "DRAWDOWN_SCHEDULE_GRACE=0s")
			}
			d := startDaemon(t, s, variables...)
			d.await(waitingAt + "sync")
			d.signal(syscall.SIGTERM)
			d.await("stopping: nothing is started any more")
			switch {
			case c.how == "twice":
				d.signal(syscall.SIGTERM)
				d.await("ending at once")
			case c.code != exitDone:
				d.await("what runs is ended")
			}
			if c.how == "once" { // the configuration is not read any more, but that ends nothing
				d.signal(syscall.SIGHUP)
			}
			if _, err := d.stdin.Write([]byte{'\n'}); err != nil {
				t.Fatal(err)
			}
			if code := d.end(); code != c.code {
				t.Errorf("exit code %d:\n%s", code, strings.Join(d.seen, "\n"))
			}
			same(t, "revisions", []string{c.settled}, s.query(`SELECT COUNT(*) AS n FROM revision`))
			same(t, "lease", []string{"owner="}, s.query(`SELECT owner FROM lease`))
			runs := s.query(`SELECT state, error FROM run`)
			begins, ends, _ := strings.Cut(c.runState, " … ") // between them, where in the commit it was
			if len(runs) != 1 || !strings.HasPrefix(runs[0], begins) || !strings.HasSuffix(runs[0], ends) {
				t.Errorf("runs %q, not %q", runs, c.runState)
			}
			want := scheduledSite(t)
			for _, s := range []*site{s, want} {
				until := s.config().Start.Time().Add(71 * time.Hour) // due, whatever the hour
				settle := exec.Command("drawdown", "--config", s.path("drawdown.yaml"), "--quiet", "settle", "--until", spell(until))
				if code := exitCode(t, settle.Run()); code != exitDone {
					t.Errorf("the next run ended with %d", code)
				}
			}
			same(t, "files in the end", want.current(), s.current())
		})
	}
}

// TestSIGHUPReadsTheConfigurationAgain: a faulty one is not taken over.
func TestSIGHUPReadsTheConfigurationAgain(t *testing.T) {
	t.Parallel()
	s := scheduledSite(t)
	d := startDaemon(t, s)
	address := between(t, d.await(`"msg":"listening"`), `"address":"`, `"`)
	d.await(`"msg":"done"`)

	s.rewrite(`settle: "@yearly"`, `settle: "0 2 31 2 *"`)
	d.signal(syscall.SIGHUP)
	if line := d.await("not taken over"); !strings.Contains(line, "schedule.settle") || !strings.Contains(line, "is never due") {
		t.Error(line)
	}
	s.rewrite(`settle: "0 2 31 2 *"`, "settle: \"0 0 1 1 *\"\n  remind: \"0 0 1 1 *\"")
	d.signal(syscall.SIGHUP)
	d.await(`"msg":"the configuration was read again"`)
	if line := d.await(`"msg":"done"`); !strings.Contains(line, `"job":"remind"`) { // it is new, and runs at once
		t.Error(line)
	}

	var health healthJSON
	if err := json.Unmarshal(get(t, address, "/healthz", http.StatusOK), &health); err != nil || health.State != "working" || len(health.Jobs) != 2 ||
		health.Jobs[0].Job != "remind" || health.Jobs[0].LastOutcome != "done" || health.Jobs[1].Failures != 0 {
		t.Errorf("%+v %v", health, err)
	}
	metrics := string(get(t, address, "/metrics", http.StatusOK))
	for _, line := range []string{
		`drawdown_schedule_runs_total{command="remind",outcome="done",site="demo"} 1`, `drawdown_periods{site="demo",state="closed"} 0`,
		`drawdown_charges{currency="USD",site="demo"} 10.325`, `drawdown_state_readable{site="demo"} 1`, "process_resident_memory_bytes ",
	} {
		if !strings.Contains(metrics, "\n"+line) {
			t.Errorf("no %s in:\n%s", line, metrics)
		}
	}
	get(t, address, "/", http.StatusNotFound)
	d.signal(syscall.SIGTERM)
	if code := d.end(); code != exitDone {
		t.Errorf("exit code %d:\n%s", code, strings.Join(d.seen, "\n"))
	}
}

// TestHeldLeaseIsNoFailure: another process is at it; the daemon waits, and says so.
func TestHeldLeaseIsNoFailure(t *testing.T) {
	t.Parallel()
	s := scheduledSite(t)
	other := startDaemon(t, s, waitAt+"=list")
	other.await(waitingAt + "list")
	d := startDaemon(t, s)
	if line := d.await("another run holds the lease"); !strings.Contains(line, `"level":"INFO"`) || !strings.Contains(line, `"outcome":"held"`) {
		t.Error(line)
	}
	d.signal(syscall.SIGTERM)
	if code := d.end(); code != exitDone {
		t.Errorf("exit code %d", code)
	}
	other.signal(syscall.SIGTERM)
	other.await("stopping")
	if _, err := other.stdin.Write([]byte{'\n'}); err != nil {
		t.Fatal(err)
	}
	if code := other.end(); code != exitDone {
		t.Errorf("exit code %d", code)
	}
}

func between(t *testing.T, text, before, after string) string {
	t.Helper()
	_, rest, found := strings.Cut(text, before)
	found = found && strings.Contains(rest, after)
	if !found {
		t.Fatalf("no %s…%s in %s", before, after, text)
	}
	rest, _, _ = strings.Cut(rest, after)
	return rest
}

func get(t *testing.T, address, path string, code int) []byte {
	t.Helper()
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != code {
		t.Fatalf("%s: %d %v %s", path, response.StatusCode, err, body)
	}
	return body
}
