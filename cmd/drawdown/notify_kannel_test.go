package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"drawdown/notifier/notifiertest"
)

// TestToldByKannel: SMS go through a real gateway to an SMS centre, in GSM-7 and in UCS-2, and the reports of their
// delivery come back.
func TestToldByKannel(t *testing.T) {
	t.Parallel()
	kannel := notifiertest.StartKannel(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	s := told(t, fmt.Sprintf("  sms: {url: %q, username: %s, from: Billing, reports_url: 'http://%s/reports'}\n", kannel.SendSMS, kannel.Username, address))
	s.write("catalog.yaml", []byte(strings.NewReplacer("email: mail@example.com", "phone: \"+492222\"").Replace(toldCatalog)))
	environment := []string{"DRAWDOWN_NOTIFY_SMS_PASSWORD=" + kannel.Password}
	ctx, cancel := context.WithCancel(t.Context())
	listening, said := io.Pipe()
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, process{
			args: []string{"--config", s.path("drawdown.yaml"), "reports", "--listen", address}, clock: time.Now, stdout: said, stderr: io.Discard, env: environment,
		})
		said.Close()
	}()
	if _, err := listening.Read(make([]byte, 100)); err != nil {
		t.Fatalf("it does not listen: %v", err)
	}
	go io.Copy(io.Discard, listening)
	var out strings.Builder
	code := run(t.Context(), process{
		args: []string{"--config", s.path("drawdown.yaml"), "--now", spell(reminded.Add(time.Hour)), "notify"}, clock: time.Now, stdout: &out, stderr: &out, env: environment,
	})
	if code != exitDone {
		t.Fatalf("it ended with %d: %s", code, &out)
	}
	texts := map[string]notifiertest.ShortMessage{}
	for _, m := range kannel.Centre.Wait(t, 2) {
		texts[strings.TrimPrefix(m.To, "+")] = m
	}
	if m := texts["491511"]; m.UCS2 || m.Text != `Package "p-both": 20% left since 24 October 2026, 10:00 (CEST).` {
		t.Errorf("%+v", m)
	}
	if m := texts["492222"]; !m.UCS2 || m.Text != "套餐“p-mail”自2026年10月24日 10:00 (CEST)起剩余20%。" {
		t.Errorf("%+v", m)
	}
	reported := func() int {
		return len(s.query(`SELECT id FROM message WHERE channel = 'sms' AND state = 'sent' AND report LIKE 'delivered%'`))
	}
	for range 1000 {
		if reported() == 2 {
			break
		}
		time.Sleep(20 * time.Millisecond) // what is waited for is in another process
	}
	if n := reported(); n != 2 {
		t.Errorf("%d of 2 reports came: %v", n, s.query(`SELECT state, report, reference, last_error FROM message WHERE channel = 'sms'`))
	}
	cancel()
	if code := <-ended; code != exitDone {
		t.Errorf("reports ended with %d", code)
	}
}
