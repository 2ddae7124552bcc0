package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"drawdown/notifier/notifiertest"
)

// toldCatalog has an account of each sort, and a package of each that runs low at once.
const toldCatalog = `
meters: [{id: calls, unit: call}]
prices: [{id: list, meter: calls, model: flat, price: 1}]
accounts:
  - {id: both, email: both@example.com, phone: "+491511", time_zone: Europe/Berlin}
  - {id: mail, email: mail@example.com, locale: zh}
  - {id: many, email: many@example.com}
  - {id: mute}
alert_rules:
  - {id: several, account: many, type: percentage, thresholds: [80, 60, 40, 20, 0], channels: [email, inbox]}
packages:
  - {id: p-both, account: both, kind: pay_per_use, quota: 10, effective: 2026-10-01, expires: 2027-10-01, covers: [{meter: calls}]}
  - {id: p-mail, account: mail, kind: pay_per_use, quota: 10, effective: 2026-10-01, expires: 2027-10-01, covers: [{meter: calls}]}
  - {id: p-many, account: many, kind: pay_per_use, quota: 10, effective: 2026-10-01, expires: 2027-10-01, covers: [{meter: calls}]}
  - {id: p-mute, account: mute, kind: pay_per_use, quota: 10, effective: 2026-10-01, expires: 2027-10-01, covers: [{meter: calls}]}
`

// told is a site on which each account has used a package up to 9 tenths, and many all of it.
func told(t *testing.T, notify string) *site {
	t.Helper()
	s := emptySite(t)
	s.configure("notify:\n" + notify)
	s.write("catalog.yaml", []byte(toldCatalog))
	var usage strings.Builder
	for _, account := range []string{"both", "mail", "mute"} {
		fmt.Fprintf(&usage, `{"id":"u-%s","account":"%s","meter":"calls","quantity":9,"time":"2026-10-24T08:00:00Z"}`+"\n", account, account)
	}
	usage.WriteString(`{"id":"u-many","account":"many","meter":"calls","quantity":10,"time":"2026-10-24T08:00:00Z"}` + "\n")
	s.write("usage/a.ndjson", []byte(usage.String()))
	if code, out := s.run(t, reminded, "settle", "--until", spell(reminded)); code != exitDone {
		t.Fatalf("settle ended with %d: %s", code, out)
	}
	return s
}

// run runs a command in this process, and gives its exit code and all that it says.
func (s *site) run(t *testing.T, now time.Time, args ...string) (int, string) {
	t.Helper()
	var out strings.Builder
	code := run(t.Context(), process{
		args: append([]string{"--config", s.path("drawdown.yaml"), "--now", spell(now)}, args...), clock: time.Now, stdout: &out, stderr: &out,
		env: []string{"DRAWDOWN_NOTIFY_SMS_PASSWORD=word", "DRAWDOWN_NOTIFY_WEBHOOK_SECRET=0123456789abcdef"},
	})
	return code, out.String()
}

// messages lists what stands in the database of messages, as "account channel state".
func (s *site) messages() []string {
	return s.query(`SELECT account || ' ' || channel || ' ' || state AS message FROM message ORDER BY 1`)
}

func (s *site) wantMessages(t *testing.T, want ...string) {
	t.Helper()
	for i := range want {
		want[i] = "message=" + want[i]
	}
	if got := s.messages(); !slices.Equal(got, want) {
		t.Helper()
		t.Errorf("the messages are\n  %s\nnot\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

// wantMetrics looks at metrics of the site; names are without drawdown_.
func (s *site) wantMetrics(t *testing.T, now time.Time, want map[string]int) {
	t.Helper()
	file := s.path("drawdown.prom")
	if code, out := s.run(t, now, "--metrics-file", file, "notices"); code != exitDone {
		t.Fatalf("it ended with %d: %s", code, out)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range want {
		_, rest, found := strings.Cut(string(text), "\ndrawdown_"+name+" ")
		line, _, _ := strings.Cut(rest, "\n")
		is, err := strconv.ParseFloat(line, 64)
		if !found || err != nil || int(math.Round(is)) != value {
			t.Errorf("%s is %q, want %d", name, line, value)
		}
	}
}

// TestToldByMail: mails arrive once, five notices in one; who has no address is recorded; and nobody is told again.
func TestToldByMail(t *testing.T) {
	t.Parallel()
	server := notifiertest.StartMailpit(t, "--enable-chaos")
	s := told(t, fmt.Sprintf("  email: {server: %q, tls: none, from: billing@example.com}\n", server.SMTP))
	// The server refuses all for the moment: they wait, and the next attempts are due later.
	now := reminded.Add(time.Hour)
	server.Chaos(t, 451, 0, 100, 0)
	if code, out := s.run(t, now, "notify"); code != exitDone || !strings.Contains(out, "to be tried again later") {
		t.Errorf("it ended with %d: %s", code, out)
	}
	s.wantMessages(t, "both email pending", "mail email pending", "many email pending", "mute email suppressed")
	s.wantMetrics(t, now.Add(10*time.Second), map[string]int{
		`messages{channel="email",site="test",state="pending"}`: 3, `messages{channel="email",site="test",state="suppressed"}`: 1,
		`messages{channel="email",site="test",state="sent"}`: 0, `failing_messages{channel="email",site="test"}`: 3,
		`oldest_waiting_message_age_seconds{channel="email",site="test"}`: 10, `oldest_new_notice_age_seconds{site="test"}`: 0,
	})
	server.Chaos(t, 451, 0, 0, 0)
	if code, out := s.run(t, now.Add(time.Second), "notify"); code != exitDone || server.Count(t) != 0 {
		t.Errorf("it ended with %d, and has not waited: %s", code, out)
	}
	// Then it refuses one for good: they are given up, and somebody is to look.
	server.Chaos(t, 550, 0, 100, 0)
	if code, out := s.run(t, now.Add(time.Minute), "notify"); code != exitWaiting || !strings.Contains(out, "3 messages were given up") {
		t.Errorf("it ended with %d: %s", code, out)
	}
	if code, out := s.run(t, now, "notices", "--state", "dead"); code != exitDone || !strings.Contains(out, "550") {
		t.Errorf("it ended with %d: %s", code, out)
	}
	server.Chaos(t, 550, 0, 0, 0)
	if code, out := s.run(t, now.Add(2*time.Minute), "notify", "--retry"); code != exitDone {
		t.Errorf("it ended with %d: %s", code, out)
	}
	s.wantMessages(t, "both email sent", "mail email sent", "many email sent", "mute email suppressed")
	s.wantMetrics(t, now.Add(time.Hour), map[string]int{
		`messages{channel="email",site="test",state="sent"}`: 3, `failing_messages{channel="email",site="test"}`: 0,
		`oldest_waiting_message_age_seconds{channel="email",site="test"}`: 0,
	})
	if code, out := s.run(t, now.Add(time.Hour), "notify"); code != exitDone || server.Count(t) != 3 {
		t.Errorf("it ended with %d, and %d mails: %s", code, server.Count(t), out)
	}
	subjects := map[string]string{}
	for _, mail := range server.IDs(t) {
		subjects[mail.To[0].Address] = mail.Subject
	}
	for to, want := range map[string]string{
		"both@example.com": "Package p-both: 20% left", "mail@example.com": "套餐“p-mail”剩余 20%", "many@example.com": "5 notices about your packages",
	} {
		if subjects[to] != want {
			t.Errorf("%s: %q, want %q", to, subjects[to], want)
		}
	}
	if code, out := s.run(t, now, "inbox", "--account", "many"); code != exitDone || !strings.Contains(out, "5 messages, 5 unread") {
		t.Errorf("it ended with %d: %s", code, out)
	}
}

// gateway takes SMS by a template, and answers as it is told.
type gateway struct {
	*httptest.Server
	lock   sync.Mutex
	bodies []string
	answer func(w http.ResponseWriter)
}

func newGateway(t *testing.T) *gateway {
	g := &gateway{answer: func(http.ResponseWriter) {}}
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		g.lock.Lock()
		defer g.lock.Unlock()
		g.bodies = append(g.bodies, string(body))
		g.answer(w)
	}))
	t.Cleanup(g.Close)
	return g
}

func (g *gateway) config(more string) string {
	return fmt.Sprintf("  sms: {gateway: http, url: '%s/?to={{query .To}}', body: '{\"text\": {{json .Text}}, \"key\": \"{{.ID}}\"}', username: u%s}\n", g.URL, more)
}

// TestToldBySMS: quiet hours are waited for on the account's clock, and an SMS whose fate nobody knows is not sent again
// by itself.
func TestToldBySMS(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	s := told(t, "  quiet_hours: \"22:00-08:00\"\n"+g.config(""))
	night := time.Date(2026, 10, 24, 22, 30, 0, 0, time.UTC) // 00:30 in Berlin
	if code, out := s.run(t, night, "notify"); code != exitDone || len(g.bodies) != 0 {
		t.Errorf("it ended with %d: %s", code, out)
	}
	if code, out := s.run(t, night, "notices", "--state", "pending"); code != exitDone || !strings.Contains(out, "next 2026-10-25T07:00:00Z") {
		t.Errorf("it ended with %d: %s", code, out) // summer time has ended meanwhile
	}
	g.answer = func(http.ResponseWriter) { panic(http.ErrAbortHandler) } // it has taken it, and says nothing
	morning := time.Date(2026, 10, 25, 7, 0, 0, 0, time.UTC)
	if code, out := s.run(t, morning, "notify"); code != exitWaiting || len(g.bodies) != 1 || !strings.Contains(out, "nobody knows whether it arrived") {
		t.Errorf("it ended with %d: %s %q", code, out, g.bodies)
	}
	g.answer = func(http.ResponseWriter) {}
	if code, out := s.run(t, morning.Add(time.Hour), "notify"); code != exitWaiting || len(g.bodies) != 1 {
		t.Errorf("it ended with %d, and sent again: %s", code, out)
	}
	if code, out := s.run(t, morning.Add(time.Hour), "notify", "--retry", "--account", "both"); code != exitDone || len(g.bodies) != 2 || g.bodies[0] != g.bodies[1] {
		t.Errorf("it ended with %d: %s %q", code, out, g.bodies)
	}
	if !strings.Contains(g.bodies[0], `"Package \"p-both\": 20% left since 24 October 2026, 10:00 (CEST)."`) && !strings.Contains(g.bodies[0], `Package \"p-both\": 20% left`) {
		t.Error(g.bodies[0])
	}
}

// TestTooManyForOne: an address gets so many messages an hour; the others wait.
func TestTooManyForOne(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	s := told(t, "  per_recipient: 2\n  digest_above: 100\n"+g.config(""))
	// The account many is told by e-mail only; here it is told by SMS, five times.
	s.write("catalog.yaml", []byte(strings.NewReplacer("channels: [email, inbox]", "channels: [sms]", "email: many@example.com", "phone: \"+492\"").Replace(toldCatalog)))
	now := reminded.Add(time.Hour)
	for hour, want := range []int{3, 5, 6, 6} { // one to the account both
		if code, out := s.run(t, now.Add(time.Duration(hour)*61*time.Minute), "notify"); code != exitDone || len(g.bodies) != want {
			t.Errorf("hour %d: it ended with %d, and %d messages: %s", hour, code, len(g.bodies), out)
		}
	}
}

// TestReportsAreTaken: a delivery report with its token says what became of an SMS; one without it is none.
func TestReportsAreTaken(t *testing.T) {
	t.Parallel()
	var reports []string
	kannel := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reports = append(reports, r.URL.Query().Get("dlr-url"))
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, "0: Accepted for delivery")
	}))
	defer kannel.Close()
	s := told(t, fmt.Sprintf("  sms: {url: '%s/cgi-bin/sendsms', username: u, reports_url: 'http://127.0.0.1:1/reports'}\n", kannel.URL))
	if code, out := s.run(t, reminded.Add(time.Hour), "notify"); code != exitDone || len(reports) != 1 {
		t.Fatalf("it ended with %d: %s", code, out)
	}
	call := s.reportsHandler(t)
	address, err := url.Parse(strings.ReplaceAll(strings.ReplaceAll(reports[0], "%d", "8"), "%A", "ok"))
	if err != nil {
		t.Fatal(err)
	}
	forged := *address
	forged.Path = address.Path[:len(address.Path)-1] + "x"
	for _, c := range []struct {
		address, status string
		answer          int
		state           string
	}{
		{forged.Path, "2", http.StatusNotFound, "sent "},
		{address.Path, "99", http.StatusBadRequest, "sent "},
		{address.Path, "8", http.StatusNoContent, "sent accepted: a'b"},
		{address.Path, "1", http.StatusNoContent, "sent delivered: a'b"},
		{address.Path, "8", http.StatusNoContent, "sent delivered: a'b"},
		{address.Path, "2", http.StatusNoContent, "dead failed: a'b"},
	} {
		if got := call(c.address + "?status=" + c.status + "&answer=" + url.QueryEscape("a'b")); got != c.answer {
			t.Errorf("%+v: %d", c, got)
		}
		if got := s.query(`SELECT state || ' ' || report AS message FROM message WHERE channel = 'sms' AND account = 'both'`); got[0] != "message="+c.state {
			t.Errorf("%+v: %s", c, got[0])
		}
	}
}

// reportsHandler serves `drawdown reports` without a port, and gives what calls it.
func (s *site) reportsHandler(t *testing.T) func(path string) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	listening, said := io.Pipe()
	go func() {
		ended <- run(ctx, process{
			args: []string{"--config", s.path("drawdown.yaml"), "reports", "--listen", address}, clock: time.Now, stdout: said, stderr: io.Discard,
			env: []string{"DRAWDOWN_NOTIFY_SMS_PASSWORD=word"},
		})
		said.Close()
	}()
	if _, err := listening.Read(make([]byte, 100)); err != nil {
		t.Fatalf("it does not listen: %v", err)
	}
	go io.Copy(io.Discard, listening)
	t.Cleanup(func() {
		cancel()
		if code := <-ended; code != exitDone {
			t.Errorf("it ended with %d", code)
		}
	})
	return func(path string) int {
		request, err := http.NewRequest(http.MethodGet, "http://"+address+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Close = true
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return response.StatusCode
	}
}
