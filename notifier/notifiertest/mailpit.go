// Package notifiertest starts real servers for tests, on free ports of the loopback address: a mail server (mailpit), and
// an SMS gateway (Kannel) before an SMS centre of our own that speaks SMPP. Only tests import it.
package notifiertest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// MailpitVersion is of the mail server. The Makefile builds the same one.
const MailpitVersion = "v1.27.11"

// Mailpit is a running mail server that keeps what it is sent.
type Mailpit struct {
	SMTP string // host:port
	API  string // http://host:port
}

// StartMailpit starts a mail server with more of its flags. It ends with the test. Where there is none and none can be
// built, the test fails if CI is "true", and is skipped elsewhere.
func StartMailpit(t testing.TB, flags ...string) *Mailpit {
	t.Helper()
	program, err := findMailpit()
	if err != nil {
		missing(t, "mailpit is missing, e-mail is NOT tested: %v", err)
	}
	for range 5 { // a port may be taken by somebody else before the server takes it
		var m *Mailpit
		if m, err = runMailpit(t, program, flags); err == nil {
			return m
		}
	}
	t.Fatal(err)
	return nil
}

func missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// findMailpit gives the program: by TEST_MAILPIT, or from the cache, where it is built unless it is there.
func findMailpit() (string, error) {
	if program := os.Getenv("TEST_MAILPIT"); program != "" {
		_, err := os.Stat(program)
		return program, err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "drawdown-test", "mailpit-"+MailpitVersion)
	program := filepath.Join(dir, "mailpit")
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	build := exec.CommandContext(ctx, "go", "install", "github.com/axllent/mailpit@"+MailpitVersion)
	build.Dir, build.Env = os.TempDir(), append(os.Environ(), "GOBIN="+dir, "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build mailpit: %w\n%s", err, out)
	}
	return program, nil
}

// freeAddress is one that nobody listens on, for the moment.
func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

func runMailpit(t testing.TB, program string, flags []string) (*Mailpit, error) {
	smtp, err := freeAddress()
	if err != nil {
		return nil, err
	}
	api, err := freeAddress()
	if err != nil {
		return nil, err
	}
	args := append([]string{
		"--smtp", smtp, "--listen", api, "--max", "0", "--disable-version-check", "--smtp-disable-rdns", "--quiet",
		"--database", filepath.Join(scratch(t), "mail.db"),
	}, flags...)
	m := &Mailpit{smtp, "http://" + api}
	return m, start(t, exec.Command(program, args...), func() error {
		_, err := m.call(http.MethodGet, "/readyz", nil)
		return err
	})
}

// scratch is a folder for a server's files, in memory where the machine has that.
func scratch(t testing.TB) string {
	t.Helper()
	parent := ""
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		parent = "/dev/shm"
	}
	dir, err := os.MkdirTemp(parent, "drawdown-notifier-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// start runs a server until the test ends, and waits until it is ready.
func start(t testing.TB, command *exec.Cmd, ready func() error) error {
	t.Helper()
	var log bytes.Buffer
	command.Stdout, command.Stderr, command.SysProcAttr = &log, &log, diesWithParent()
	if err := command.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		_ = command.Wait()
		close(ended)
	}()
	stop := func() {
		_ = command.Process.Kill()
		<-ended
	}
	for range 1500 {
		if ready() == nil {
			t.Cleanup(stop)
			return nil
		}
		select {
		case <-ended:
			return fmt.Errorf("%s ended at once: %s", command.Path, strings.TrimSpace(log.String()))
		case <-time.After(10 * time.Millisecond):
		}
	}
	stop()
	return fmt.Errorf("%s does not answer: %s", command.Path, strings.TrimSpace(log.String()))
}

func (m *Mailpit) call(method, path string, body any) ([]byte, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequest(method, m.API+path, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	request.Close = true // no goroutine is left behind
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	answer, err := io.ReadAll(response.Body)
	if err = errors.Join(err, response.Body.Close()); err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s: %s", method, path, response.Status, answer)
	}
	return answer, err
}

// Mail is a message as the server keeps it.
type Mail struct {
	ID, MessageID, Subject, Text, HTML string
	To                                 []struct{ Address string }
}

// IDs gives the Message-ID of every mail, also of those that came twice, with the server's own id.
func (m *Mailpit) IDs(t testing.TB) []Mail {
	t.Helper()
	var all []Mail
	for {
		var page struct {
			Total    int
			Messages []Mail
		}
		answer, err := m.call(http.MethodGet, fmt.Sprintf("/api/v1/messages?limit=1000&start=%d", len(all)), nil)
		if err == nil {
			err = json.Unmarshal(answer, &page)
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, page.Messages...)
		if len(page.Messages) == 0 {
			return all
		}
	}
}

// Count is how many mails there are.
func (m *Mailpit) Count(t testing.TB) int {
	t.Helper()
	var page struct{ Total int }
	answer, err := m.call(http.MethodGet, "/api/v1/messages?limit=1", nil)
	if err == nil {
		err = json.Unmarshal(answer, &page)
	}
	if err != nil {
		t.Fatal(err)
	}
	return page.Total
}

// Read gives a whole mail, with the lines as they came in.
func (m *Mailpit) Read(t testing.TB, id string) (mail Mail, raw string) {
	t.Helper()
	answer, err := m.call(http.MethodGet, "/api/v1/message/"+id, nil)
	if err == nil {
		err = json.Unmarshal(answer, &mail)
	}
	var text []byte
	if err == nil {
		text, err = m.call(http.MethodGet, "/api/v1/message/"+id+"/raw", nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return mail, string(text)
}

// Chaos makes the server answer with error codes, each with a probability in percent: of MAIL FROM, RCPT TO and AUTH. It
// must have been started with --enable-chaos.
func (m *Mailpit) Chaos(t testing.TB, code, sender, recipient, authentication int) {
	t.Helper()
	type trigger struct{ ErrorCode, Probability int }
	_, err := m.call(http.MethodPut, "/api/v1/chaos", map[string]trigger{
		"Sender": {code, sender}, "Recipient": {code, recipient}, "Authentication": {535, authentication},
	})
	if err != nil {
		t.Fatal(err)
	}
}
