package notifier_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"drawdown/notifier"
	"drawdown/rating"
)

func event(t testing.TB, to string) *notifier.Message {
	t.Helper()
	m, err := words(t).Sample("service_stop", notifier.ChannelWebhook, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	m.ID, m.To = "0123", to
	return m
}

// TestWebhookIsSigned: a receiver checks it as Standard Webhooks says.
func TestWebhookIsSigned(t *testing.T) {
	t.Parallel()
	secret := []byte("0123456789abcdef")
	now := time.Now()
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mac := hmac.New(sha256.New, secret)
		_, _ = io.WriteString(mac, r.Header.Get("webhook-id")+"."+r.Header.Get("webhook-timestamp")+"."+string(body))
		if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); r.Header.Get("webhook-signature") != want || r.Header.Get("webhook-id") != "0123" {
			t.Errorf("%v is not signed with %s", r.Header, want)
		}
		if r.Header.Get("Content-Type") != "application/cloudevents+json; charset=UTF-8" || !strings.Contains(string(body), `"type":"drawdown.service_stop.v1"`) {
			t.Errorf("%v %s", r.Header, body)
		}
	}))
	defer receiver.Close()
	hook := notifier.NewWebhook(notifier.WebhookConfig{Site: "s", Secret: secret, AllowPrivate: true, Clock: func() time.Time { return now }})
	defer hook.Close()
	if _, err := hook.Send(t.Context(), event(t, receiver.URL)); err != nil {
		t.Error(err)
	}
}

// TestWebhookAnswers: which answers end it, and that a redirect is not followed.
func TestWebhookAnswers(t *testing.T) {
	t.Parallel()
	followed := false
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { followed = true }))
	defer elsewhere.Close()
	status := http.StatusOK
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", elsewhere.URL)
		w.WriteHeader(status)
	}))
	defer receiver.Close()
	hook := notifier.NewWebhook(notifier.WebhookConfig{AllowPrivate: true, Clock: time.Now})
	defer hook.Close()
	for code, permanent := range map[int]bool{204: false, 307: true, 400: true, 404: true, 408: false, 410: true, 429: false, 500: false, 503: false} {
		status = code
		_, err := hook.Send(t.Context(), event(t, receiver.URL+"/?token=s3cret"))
		var ends *notifier.Permanent
		if errors.As(err, &ends) != permanent || (err == nil) != (code == 204) || err != nil && strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%d: %v", code, err)
		}
	}
	if followed {
		t.Error("a redirect was followed")
	}
}

// TestWebhookStaysOutside: nothing on this machine or in a private network is called, whatever name it goes by.
func TestWebhookStaysOutside(t *testing.T) {
	t.Parallel()
	called := false
	receiver := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called = true }))
	defer receiver.Close()
	_, port, _ := strings.Cut(strings.TrimPrefix(receiver.URL, "https://"), ":")
	hook := notifier.NewWebhook(notifier.WebhookConfig{Clock: time.Now})
	defer hook.Close()
	for _, address := range []string{"https://localhost:" + port, receiver.URL, "https://[::ffff:127.0.0.1]:" + port, "https://2130706433:" + port, "http://example.com", "https://user:word@example.com", "ftp://example.com", "https://"} {
		_, err := hook.Send(t.Context(), event(t, address))
		var permanent *notifier.Permanent
		if !errors.As(err, &permanent) && !strings.Contains(address, "2130706433") || err == nil {
			t.Errorf("%s: %v", address, err)
		}
	}
	if called {
		t.Error("it was called")
	}
	for address, public := range map[string]bool{
		"8.8.8.8:443": true, "[2606:4700::1111]:443": true, "127.0.0.1:1": false, "10.1.2.3:1": false, "172.16.0.1:1": false, "192.168.1.1:1": false,
		"169.254.169.254:80": false, "100.64.0.1:1": false, "0.0.0.0:1": false, "[::1]:1": false, "[::]:1": false, "[fe80::1%25eth0]:1": false, "[fd00::1]:1": false,
		"[::ffff:10.0.0.1]:1": false, "[64:ff9b::7f00:1]:1": false, "[2002:7f00:1::]:1": false, "224.0.0.1:1": false, "255.255.255.255:1": false, "198.18.0.1:1": false,
	} {
		if err := notifier.CheckPublic(address); (err == nil) != public {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestQuietHours(t *testing.T) {
	t.Parallel()
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	at := func(day, hour, minute int) rating.Instant {
		return rating.InstantOf(time.Date(2026, 10, day, hour, minute, 0, 0, berlin))
	}
	night, noon := notifier.Quiet{From: 22 * 60, To: 8 * 60}, notifier.Quiet{From: 12 * 60, To: 13 * 60}
	for _, c := range []struct {
		quiet notifier.Quiet
		now   rating.Instant
		until rating.Instant // 0: none
	}{
		{night, at(1, 21, 59), 0},
		{night, at(1, 22, 0), at(2, 8, 0)},
		{night, at(2, 7, 59), at(2, 8, 0)},
		{night, at(2, 8, 0), 0},
		{night, at(24, 23, 0), at(25, 8, 0)}, // summer time ends in between
		{noon, at(1, 12, 30), at(1, 13, 0)},
		{noon, at(1, 13, 0), 0},
		{notifier.Quiet{}, at(1, 3, 0), 0},
	} {
		if until, is := c.quiet.Until(c.now, berlin); is != (c.until != 0) || until != c.until {
			t.Errorf("%+v: %v %v", c, until, is)
		}
	}
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	spread := map[time.Duration]bool{}
	for attempts := 1; attempts < 30; attempts++ {
		for _, id := range []string{"a", "b", "c", "d"} {
			wait := notifier.Backoff(id, attempts)
			if least := min(30*time.Second<<min(attempts-1, 10), 2*time.Hour); wait < least || wait > least*3/2 {
				t.Errorf("%d: %v", attempts, wait)
			}
			spread[wait] = true
		}
	}
	if len(spread) < 60 {
		t.Errorf("only %d different waits", len(spread))
	}
}
