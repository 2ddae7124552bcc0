// Command mailbench measures how fast notices become mails. It starts a mailpit on loopback, has the simplest possible sender
// fill it with the same bytes over as many connections (that is the server's own limit on this machine), then has drawdown
// notify tell as many accounts, and prints both and their ratio.
//
//	go run ./cmd/mailbench -drawdown bin/drawdown -mailpit mailpit -mails 100000
package main

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	b := bench{}
	flag.StringVar(&b.drawdown, "drawdown", "bin/drawdown", "the program")
	flag.StringVar(&b.mailpit, "mailpit", "mailpit", "the mail server")
	flag.IntVar(&b.mails, "mails", 100_000, "how many to send")
	flag.IntVar(&b.rounds, "rounds", 1, "in how many rounds, of which each has a share of the mails: so that all meet the same load of a busy machine")
	flag.IntVar(&b.connections, "connections", 4, "to the mail server, at once")
	flag.BoolVar(&b.apart, "apart", false, "the server has the first core and the sender the second, as if it were another machine")
	flag.StringVar(&b.keep, "keep", "", "keep the site in this folder, to look at it")
	flag.Parse()
	run := b.run
	if b.apart && os.Getenv(onItsCore) == "" {
		run = again
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "mailbench:", err)
		os.Exit(1)
	}
}

type bench struct {
	drawdown, mailpit, keep    string
	mails, rounds, connections int
	apart                      bool
}

// onItsCore is a variable of the environment that is set where this process has its own core.
const onItsCore = "MAILBENCH_ON_ITS_CORE"

// again runs this program once more on the second core, and with it all that it starts.
func again() error {
	self := exec.Command("taskset", append([]string{"-c", "1"}, os.Args...)...)
	self.Env, self.Stdout, self.Stderr = append(os.Environ(), onItsCore+"=1"), os.Stdout, os.Stderr
	return self.Run()
}

// taken is what sending took.
type taken struct {
	wall, cpu, server time.Duration
	peak              int64 // bytes
}

func (t *taken) add(other taken) {
	t.wall, t.cpu, t.server, t.peak = t.wall+other.wall, t.cpu+other.cpu, t.server+other.server, max(t.peak, other.peak)
}

func (b *bench) run() (err error) {
	dir := b.keep
	if dir == "" {
		if dir, err = os.MkdirTemp("", "drawdown-mailbench-*"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	all := b.mails
	b.mails = all / b.rounds / b.connections * b.connections
	var ours, plain, pipelined taken
	var raw []byte
	for n := range b.rounds {
		dir := filepath.Join(dir, strconv.Itoa(n))
		if err := b.site(dir); err != nil {
			return err
		}
		var t taken
		if t, raw, err = b.ours(dir); err != nil {
			return fmt.Errorf("drawdown notify: %w", err)
		}
		ours.add(t)
		for _, limit := range []*taken{&plain, &pipelined} {
			if t, err = b.alone(dir, raw, limit == &pipelined); err != nil {
				return fmt.Errorf("the server alone: %w", err)
			}
			limit.add(t)
		}
	}
	b.mails *= b.rounds
	fmt.Printf("%-34s %10s %8s %8s %12s %12s %9s\n", "", "mails", "time", "mails/s", "CPU/mail", "server/mail", "peak")
	b.print("drawdown notify", ours)
	b.print("the server alone", plain)
	b.print("the server alone, pipelined", pipelined)
	fmt.Printf("drawdown notify is at %.0f %% of the server's own limit (%.0f %% of the pipelined one), %d connections, %d bytes a mail\n",
		100*plain.wall.Seconds()/ours.wall.Seconds(), 100*pipelined.wall.Seconds()/ours.wall.Seconds(), b.connections, len(raw))
	return nil
}

func (b *bench) print(what string, t taken) {
	perMail := func(d time.Duration) string { return (d / time.Duration(b.mails)).Round(time.Microsecond).String() }
	peak := ""
	if t.peak > 0 {
		peak = fmt.Sprintf("%d MiB", t.peak>>20)
	}
	fmt.Printf("%-34s %10d %8s %8.0f %12s %12s %9s\n", what, b.mails, t.wall.Round(10*time.Millisecond), float64(b.mails)/t.wall.Seconds(),
		perMail(t.cpu), perMail(t.server), peak)
}

// site settles a day on which all accounts are to be reminded.
func (b *bench) site(dir string) error {
	var accounts, packages strings.Builder
	accounts.WriteString("id,name,email\n")
	packages.WriteString("id,name,account,kind,quota,effective,expires,covers\n")
	for i := range b.mails {
		fmt.Fprintf(&accounts, "a%06d,Account %d,owner%d@example.com\n", i, i, i)
		fmt.Fprintf(&packages, "p%06d,Starter %d,a%06d,stop_before_excess,1000,2026-10-01,2026-10-30,calls\n", i, i, i)
	}
	files := map[string]string{
		"usage/none.ndjson":    "",
		"catalog/catalog.yaml": "meters: [{id: calls, unit: call}]\n",
		"catalog/accounts.csv": accounts.String(),
		"catalog/packages.csv": packages.String(),
		"drawdown.yaml": "site: bench\ncatalog: ./catalog\nsettlement: {start: 2026-10-24, delay: 0s}\n" +
			"notify: {email: {server: '127.0.0.1:1', tls: none, from: 'Billing <billing@example.com>', connections: " + strconv.Itoa(b.connections) + "}}\n",
	}
	for name, content := range files {
		name = filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(name), 0o777)
		if err == nil {
			err = os.WriteFile(name, []byte(content), 0o666)
		}
		if err != nil {
			return err
		}
	}
	settle := exec.Command(b.drawdown, "--config", filepath.Join(dir, "drawdown.yaml"), "--quiet", "--now", "2026-10-25T00:00:00Z", "settle")
	if out, err := settle.CombinedOutput(); err != nil {
		return fmt.Errorf("settle: %w\n%s", err, out)
	}
	return nil
}

// ours has drawdown tell everybody, and gives a mail as it arrived.
func (b *bench) ours(dir string) (t taken, raw []byte, err error) {
	server, err := b.start(dir)
	if err != nil {
		return t, nil, err
	}
	defer func() { err = errors.Join(err, server.end()) }()
	notify := exec.Command(b.drawdown, "--config", filepath.Join(dir, "drawdown.yaml"), "--now", "2026-10-25T01:00:00Z", "notify")
	notify.Env = append(os.Environ(), "DRAWDOWN_NOTIFY_EMAIL_SERVER="+server.smtp)
	began := time.Now()
	out, err := notify.CombinedOutput()
	t.wall = time.Since(began)
	if err != nil {
		return t, nil, fmt.Errorf("%w\n%s", err, out)
	}
	t.cpu = notify.ProcessState.UserTime() + notify.ProcessState.SystemTime()
	if usage, ok := notify.ProcessState.SysUsage().(*syscall.Rusage); ok {
		t.peak = int64(usage.Maxrss) << 10
	}
	t.server = server.cpu()
	if err := server.holds(b.mails); err != nil {
		return t, nil, fmt.Errorf("%w\n%s", err, out)
	}
	raw, err = server.get("/api/v1/message/latest/raw")
	return t, raw, err
}

// alone sends the same mail over and over, as fast as the server takes it.
func (b *bench) alone(dir string, raw []byte, pipelined bool) (t taken, err error) {
	server, err := b.start(dir)
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, server.end()) }()
	var before, after syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &before)
	began := time.Now()
	var senders sync.WaitGroup
	failed := make([]error, b.connections)
	for n := range b.connections {
		senders.Go(func() { failed[n] = blast(server.smtp, raw, n, b.mails/b.connections, pipelined) })
	}
	senders.Wait()
	t.wall, t.server = time.Since(began), server.cpu()
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &after)
	t.cpu = time.Duration(after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano())
	return t, errors.Join(append(failed, server.holds(b.mails))...)
}

// blast sends mails over one connection. Each has a Message-ID of its own, and else the same bytes.
func blast(address string, raw []byte, connection, mails int, pipelined bool) error {
	socket, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer socket.Close()
	in, out := bufio.NewReader(socket), bufio.NewWriterSize(socket, 64<<10)
	answer := func(want byte) error {
		for {
			line, err := in.ReadSlice('\n')
			if err != nil {
				return err
			}
			if len(line) > 3 && line[3] == '-' {
				continue
			}
			if line[0] != want {
				return fmt.Errorf("the server answered %q", line)
			}
			return nil
		}
	}
	say := func(want byte, text string) error {
		if _, err := out.WriteString(text + "\r\n"); err != nil {
			return err
		}
		if err := out.Flush(); err != nil {
			return err
		}
		return answer(want)
	}
	if err := errors.Join(answer('2'), say('2', "EHLO localhost")); err != nil {
		return err
	}
	head, tail, found := bytes.Cut(bytes.ReplaceAll(bytes.ReplaceAll(raw, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n")), []byte("Message-ID: <"))
	if !found {
		return errors.New("the mail has no Message-ID")
	}
	envelope := []string{"MAIL FROM:<billing@example.com>", "RCPT TO:<owner@example.com>", "DATA"}
	for n := range mails {
		if pipelined {
			if _, err := out.WriteString(strings.Join(envelope, "\r\n") + "\r\n"); err != nil {
				return err
			}
			if err := errors.Join(out.Flush(), answer('2'), answer('2'), answer('3')); err != nil {
				return err
			}
		} else {
			for i, text := range envelope {
				if err := say("223"[i], text); err != nil {
					return err
				}
			}
		}
		_, err := fmt.Fprintf(out, "%sMessage-ID: <%d-%d-", head, connection, n)
		if err == nil {
			_, err = out.Write(tail)
		}
		if err == nil {
			err = say('2', "\r\n.")
		}
		if err != nil {
			return err
		}
	}
	return say('2', "QUIT")
}

// server is a running mailpit.
type server struct {
	command   *exec.Cmd
	smtp, api string
	mails     string
}

func (b *bench) start(dir string) (*server, error) {
	s := &server{mails: filepath.Join(dir, "mails.db")}
	for _, to := range []*string{&s.smtp, &s.api} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		*to = listener.Addr().String()
		if err := listener.Close(); err != nil {
			return nil, err
		}
	}
	command := []string{
		b.mailpit, "--smtp", s.smtp, "--listen", s.api, "--max", "0", "--disable-version-check", "--smtp-disable-rdns", "--quiet",
		"--database", s.mails,
	}
	if b.apart {
		command = append([]string{"taskset", "-c", "0"}, command...)
	}
	s.command = exec.Command(command[0], command[1:]...)
	s.command.Stderr = os.Stderr
	if err := s.command.Start(); err != nil {
		return nil, err
	}
	for range 500 {
		if _, err := s.get("/readyz"); err == nil {
			return s, nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil, errors.Join(errors.New("the mail server does not answer"), s.end())
}

// end ends the server, and removes its mails.
func (s *server) end() error {
	_ = s.command.Process.Kill()
	_ = s.command.Wait()
	names, err := filepath.Glob(s.mails + "*")
	for _, name := range names {
		err = errors.Join(err, os.Remove(name))
	}
	return err
}

func (s *server) get(path string) ([]byte, error) {
	response, err := http.Get("http://" + s.api + path)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", path, response.Status)
	}
	return text, err
}

// holds makes sure that the server has all mails.
func (s *server) holds(mails int) error {
	text, err := s.get("/api/v1/messages?limit=1")
	if err == nil && !bytes.Contains(text, []byte(`"total":`+strconv.Itoa(mails)+",")) {
		err = fmt.Errorf("the server does not have %d mails: %.200s", mails, text)
	}
	return err
}

// cpu is what the server has used so far.
func (s *server) cpu() time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.command.Process.Pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond
}
