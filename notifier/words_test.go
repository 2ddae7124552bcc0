package notifier_test

import (
	"encoding/json"
	"net/mail"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"drawdown/notifier"
	"drawdown/rating"

	"github.com/rivo/uniseg"
)

// hostile are names that try to be more than a name.
func hostile() []string {
	return []string{
		"x\r\nBcc: everybody@example.com\r\n\r\nhello", "<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "=cmd|' /C calc'!A1",
		"+1+1", "-2+3", "@SUM(A1:A9)", "\t=1+1", "＝1+1", "\u202eexe.gpj", "a\u0000b", "a\x1b[31mred", "line\u2028separator", "{{.Account}}", "%0d%0aX: y",
		"\xff\xfe", strings.Repeat("long ", 500), "\u200b=1", "&lt;b&gt;", "\n.\n", "'", "",
	}
}

// TestNamesStayNames: whatever a package or an account is called, it makes no header, no tag, no formula and no second line.
func TestNamesStayNames(t *testing.T) {
	t.Parallel()
	w := words(t)
	for _, name := range hostile() {
		for _, locale := range []string{"en", "zh"} {
			for _, kind := range notifier.Kinds() {
				contact := &notifier.Contact{Account: name, Name: name, Email: "owner@example.com", Phone: "+491", Locale: locale, Zone: time.UTC}
				n := notifier.Notice{
					Key: name, Kind: kind, Account: name, Package: name, PackageName: name, Unit: name, Meter: name, Percentage: false,
					Threshold: "20", Remaining: "1234567.5", Ends: 86400e6,
				}
				for _, notices := range [][]notifier.Notice{{n}, {n, n}} {
					m, err := w.Compose(notices, contact, notifier.ChannelEmail)
					if err != nil {
						t.Fatal(err)
					}
					checkMail(t, name, m)
					sms, err := w.Compose(notices, contact, notifier.ChannelSMS)
					if err != nil || strings.ContainsAny(sms.Text, "\r\n\x00\x1b\u202e\u2028") {
						t.Errorf("%q: %q %v", name, sms.Text, err)
					}
				}
			}
		}
	}
}

func checkMail(t *testing.T, name string, m *notifier.Message) {
	t.Helper()
	if strings.ContainsAny(m.Subject+m.Text+m.HTML, "\r\x00\x1b\u202e\u2028\u200b") || strings.Contains(m.Subject, "\n") {
		t.Errorf("%q: control characters in %q\n%s", name, m.Subject, m.Text)
	}
	// What the frame has is all that there is of tags.
	for _, tag := range []string{"<script", "<img", "<b>", "onerror=alert(1)>"} {
		if strings.Contains(m.HTML, tag) {
			t.Errorf("%q: %s in\n%s", name, tag, m.HTML)
		}
	}
	for line := range strings.Lines(m.Text) {
		if strings.ContainsRune("=+@＝", []rune(strings.TrimSpace(line) + " ")[0]) {
			t.Errorf("%q: a line that a spreadsheet would compute: %q", name, line)
		}
	}
	for _, cell := range strings.Split(m.HTML, "<td") {
		_, content, _ := strings.Cut(cell, ">")
		for _, formula := range []string{"=", "&#43;", "+", "@", "＝", "-"} {
			if strings.HasPrefix(content, formula) {
				t.Errorf("%q: a cell that a spreadsheet would compute: %q", name, content[:min(20, len(content))])
			}
		}
	}
}

// TestPlainTextFits: a plain text is at most 72 columns wide in any language, breaks no word, and begins no line with a formula.
func TestPlainTextFits(t *testing.T) {
	t.Parallel()
	w := words(t)
	for _, locale := range w.Locales() {
		for _, kind := range append(notifier.Kinds(), notifier.Digest) {
			for _, name := range []string{"Acme Ltd.", strings.Repeat("an extraordinarily long name of a company ", 3), strings.Repeat("一个很长的公司名称，", 12), "a =1+1 name " + strings.Repeat("=2 +3 ", 20)} {
				contact := &notifier.Contact{Account: "acme", Name: name, Email: "a@example.com", Zone: time.UTC}
				m, err := w.Sample(kind, notifier.ChannelEmail, locale, contact)
				if err != nil {
					t.Fatal(err)
				}
				for line := range strings.Lines(m.Text) {
					if width := uniseg.StringWidth(strings.TrimRight(line, "\n")); width > 72 && !strings.Contains(name, "=") {
						t.Errorf("%s %s: %d columns: %s", kind, locale, width, line)
					}
				}
				checkMail(t, name, m)
				joined := strings.Join(strings.Fields(m.Text), " ")
				if kind == "arrears" && !strings.Contains(joined, "Acme Ltd.") && name == "Acme Ltd." {
					t.Errorf("%s %s: the name is lost in\n%s", kind, locale, m.Text)
				}
			}
		}
	}
	m, err := w.Sample("usage_alert", notifier.ChannelEmail, "en", nil)
	if err != nil || !strings.Contains(m.Text, "\n  [####................] 20%\n") || !strings.Contains(m.Text, "\n  Left:    199.5 GB of 1,000 GB\n") {
		t.Errorf("%v\n%s", err, m.Text)
	}
}

// TestHeadersOfHostileNames: the raw mail has the headers that it should have, and no other.
func TestHeadersOfHostileNames(t *testing.T) {
	t.Parallel()
	w := words(t)
	e := openEmail(t, emailConfig(t, "127.0.0.1:1"))
	for _, name := range hostile() {
		contact := &notifier.Contact{Account: name, Name: name, Email: "owner@example.com", Zone: time.UTC}
		m, err := w.Compose([]notifier.Notice{{Kind: "arrears", Account: name, Meter: name}}, contact, notifier.ChannelEmail)
		if err != nil {
			t.Fatal(err)
		}
		m.ID = "id"
		raw, err := e.Raw(m)
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := mail.ReadMessage(strings.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		for header := range parsed.Header {
			if !strings.Contains(" Date Mime-Version Message-Id Subject Auto-Submitted X-Auto-Response-Suppress Content-Language List-Unsubscribe "+
				"User-Agent X-Mailer From To Content-Type ", " "+header+" ") {
				t.Errorf("%q makes a header %s", name, header)
			}
		}
	}
}

// TestWordsOfAnAccount: numbers, dates, zones and language are the account's.
func TestWordsOfAnAccount(t *testing.T) {
	t.Parallel()
	w := words(t)
	shanghai, err := time.LoadLocation("Asia/Shanghai")
	if err != nil {
		t.Fatal(err)
	}
	n := notifier.Notice{
		Kind: "usage_alert", Package: "p", PackageName: "大流量", Unit: "GB", Percentage: true, Threshold: "20", Remaining: "1234567.5",
		At: rating.InstantOf(time.Date(2026, 10, 24, 16, 30, 0, 0, time.UTC)), Ends: rating.InstantOf(time.Date(2026, 10, 31, 16, 0, 0, 0, time.UTC)),
	}
	m, err := w.Compose([]notifier.Notice{n}, &notifier.Contact{Account: "a", Locale: "zh_CN.UTF-8", Zone: shanghai}, notifier.ChannelEmail)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"2026年10月25日 00:30 (CST)", "1,234,567.5 GB", "2026年10月31日 23:59 (CST)"} {
		if !strings.Contains(m.Text, want) {
			t.Errorf("it does not say %s:\n%s", want, m.Text)
		}
	}
	if m, err = w.Compose([]notifier.Notice{n}, &notifier.Contact{Account: "a", Locale: "fr", Zone: time.UTC}, notifier.ChannelEmail); err != nil || m.Locale != "en" {
		t.Error(m, err)
	}
}

// TestTemplates: a folder replaces what it defines, and what is wrong with it is said before anybody is told anything.
func TestTemplates(t *testing.T) {
	t.Parallel()
	german := fstest.MapFS{"de.tmpl": {Data: []byte(`{{define "point"}},{{end}}{{define "comma"}}.{{end}}{{define "grace.subject"}}Abgelaufen: {{.Package}}{{end}}`)}}
	w, err := notifier.LoadWords(german, "de")
	if err != nil {
		t.Fatal(err)
	}
	m, err := w.Sample("grace", notifier.ChannelEmail, "de-AT", nil)
	if err != nil || m.Subject != "Abgelaufen: Starter 1000 GB" || !strings.Contains(m.Text, "Grace") && !strings.Contains(m.Text, "grace period") {
		t.Error(m, err)
	}
	if m, err = w.Sample("usage_alert", notifier.ChannelEmail, "de", nil); err != nil || !strings.Contains(m.Text, "199,5 GB") {
		t.Error(m, err)
	}
	for name, content := range map[string]string{
		"en.tmpl": `{{define "grace.sms"}}{{.Nothing}}{{end}}`, "zh.tmpl": `{{define "footer"}}{{`, "mail.html": `{{.Nothing}}`, "mail.txt": `x`,
	} {
		if _, err := notifier.LoadWords(fstest.MapFS{name: {Data: []byte(content)}}, "en"); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := notifier.LoadWords(nil, "xx"); err == nil {
		t.Error("a language without words was taken")
	}
}

func TestSegments(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]struct {
		segments int
		gsm      bool
	}{
		"":                              {1, true},
		strings.Repeat("a", 160):        {1, true},
		strings.Repeat("a", 161):        {2, true},
		strings.Repeat("a", 306):        {2, true},
		strings.Repeat("a", 307):        {3, true},
		strings.Repeat("€", 80):         {1, true},
		strings.Repeat("€", 81):         {2, true},
		strings.Repeat("[", 152) + "ab": {3, true}, // 76 to a segment, since none is cut in two
		"中":                             {1, false},
		strings.Repeat("中", 70):         {1, false},
		strings.Repeat("中", 71):         {2, false},
		strings.Repeat("😀", 35):         {1, false},
		strings.Repeat("😀", 36):         {2, false},
		strings.Repeat("😀", 67):         {3, false}, // 33 to a segment
	} {
		if segments, gsm := notifier.SegmentsOf(text); segments != want.segments || gsm != want.gsm {
			t.Errorf("%q: %d %v, want %+v", text, segments, gsm, want)
		}
	}
	// Long names are shortened until one segment suffices.
	w := words(t)
	n := notifier.Notice{Kind: "expiry_reminder", Package: "p", PackageName: strings.Repeat("Very long ", 12), Threshold: "7", Ends: 86400e6}
	for _, locale := range w.Locales() {
		m, err := w.Compose([]notifier.Notice{n}, &notifier.Contact{Account: "a", Locale: locale, Zone: time.UTC}, notifier.ChannelSMS)
		if err != nil {
			t.Fatal(err)
		}
		if segments, gsm := notifier.SegmentsOf(m.Text); segments != 1 || gsm != (locale == "en") {
			t.Errorf("%d segments: %q", segments, m.Text)
		}
	}
}

// TestPlan: which messages notices become.
func TestPlan(t *testing.T) {
	t.Parallel()
	const now = rating.Instant(100 * 86400e6)
	policy := &notifier.Policy{Site: "s", Configured: []string{"email", "sms"}, MaxAge: 7 * 24 * time.Hour, DigestAbove: 3}
	contacts := map[string]*notifier.Contact{
		"all":  {Account: "all", Email: "a@example.com", Phone: "+491", Webhook: "https://example.com"},
		"mute": {Account: "mute"},
		"mail": {Account: "mail", Email: "a@example.com", Phone: "+491", Channels: []string{"email"}},
		"gone": {Account: "gone", Unknown: true},
		"none": {Account: "none", Channels: []string{}},
	}
	both := []string{"email", "sms", "inbox"}
	alert := notifier.Notice{Key: "k", Kind: "usage_alert", Threshold: "20", At: now - 1, Channels: both}
	change := func(do func(*notifier.Notice)) notifier.Notice {
		n := alert
		do(&n)
		return n
	}
	for _, c := range []struct {
		what, account string
		notices       []notifier.Notice
		want          string
	}{
		{"on each channel", "all", []notifier.Notice{alert}, "email pending 1, sms pending 1"},
		{"no address is recorded", "mute", []notifier.Notice{alert}, "email suppressed 1, sms suppressed 1"},
		{"only where it wants", "mail", []notifier.Notice{alert}, "email pending 1"},
		{"an account that is gone", "gone", []notifier.Notice{alert}, "email suppressed 1, sms suppressed 1"},
		{"a channel that is not configured", "all", []notifier.Notice{change(func(n *notifier.Notice) { n.Channels = []string{"webhook"} })}, "webhook suppressed 1"},
		{"an account that wants none", "none", []notifier.Notice{alert}, "email suppressed 1"},
		{"no record of a channel that is not configured beside one that is", "all", []notifier.Notice{change(func(n *notifier.Notice) { n.Channels = []string{"webhook", "sms"} })}, "sms pending 1"},
		{"the inbox will do", "all", []notifier.Notice{change(func(n *notifier.Notice) { n.Channels = []string{"inbox"} })}, ""},
		{"three stay three", "all", []notifier.Notice{alert, alert, alert}, "email pending 1, email pending 1, email pending 1, sms pending 1, sms pending 1, sms pending 1"},
		{"four are a digest", "all", []notifier.Notice{alert, alert, alert, alert}, "email pending 4, sms pending 4"},
		{"too old", "all", []notifier.Notice{change(func(n *notifier.Notice) { n.At = now - 8*86400e6 })}, "email expired 1, sms expired 1"},
		{"of a package that has expired", "all", []notifier.Notice{change(func(n *notifier.Notice) { n.Ends = now })}, "email expired 1, sms expired 1"},
		{"renewed", "all", []notifier.Notice{change(func(n *notifier.Notice) { n.Moot = "renewed" })}, "email expired 1, sms expired 1"},
		{"a reminder however old, before its end", "all", []notifier.Notice{change(func(n *notifier.Notice) {
			n.Kind, n.At, n.Ends = "expiry_reminder", now-20*86400e6, now+1
		})}, "email pending 1, sms pending 1"},
		{"a reminder after its end", "all", []notifier.Notice{change(func(n *notifier.Notice) { n.Kind, n.Ends = "expiry_reminder", now })}, "email expired 1, sms expired 1"},
	} {
		for i := range c.notices {
			c.notices[i].Account = c.account
		}
		var got []string
		for _, p := range policy.Plan(c.notices, now, func(account string) *notifier.Contact { return contacts[account] }) {
			got = append(got, p.Channel+" "+p.State+" "+string(rune('0'+len(p.Keys))))
			if (p.State == "pending") != (p.Reason == "") || len(p.ID) != 32 {
				t.Errorf("%s: %+v", c.what, p)
			}
		}
		if text := strings.Join(got, ", "); text != c.want {
			t.Errorf("%s: %s, want %s", c.what, text, c.want)
		}
	}
}

// TestEventIsCloudEvents: the attributes that CloudEvents 1.0 requires.
func TestEventIsCloudEvents(t *testing.T) {
	t.Parallel()
	hook := notifier.NewWebhook(notifier.WebhookConfig{Site: "s/1"})
	for _, kind := range notifier.Kinds() {
		m, err := words(t).Sample(kind, notifier.ChannelWebhook, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		m.ID = "id"
		body, err := hook.Body(m)
		var event map[string]any
		if err != nil || json.Unmarshal(body, &event) != nil {
			t.Fatal(err)
		}
		if event["specversion"] != "1.0" || event["id"] != "id" || event["source"] != "/drawdown/s%2F1" || event["type"] != "drawdown."+kind+".v1" || event["subject"] != "acme" {
			t.Errorf("%s", body)
		}
	}
}
