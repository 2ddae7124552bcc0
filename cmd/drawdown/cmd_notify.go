package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"drawdown/notifier"
	"drawdown/rating"
	"drawdown/writers/store"
)

// notifyCmd tells people what is due.
type notifyCmd struct {
	Send    notifySendCmd    `cmd:"" default:"withargs" help:"Send what is due (also without this word)."`
	Preview notifyPreviewCmd `cmd:"" help:"Show a notice as it would be sent, with made-up figures; send nothing."`
}

// notifySendCmd delivers the outbox.
type notifySendCmd struct {
	Retry   bool   `help:"Try again what was given up, what nobody knows of, and what had nowhere to go."`
	Account string `placeholder:"A" help:"With --retry, only of this account."`
}

// Help is the command's own help.
func (notifySendCmd) Help() string {
	return `Takes the notices that settlements have put into the outbox, makes messages of them, and sends those that are due. Several may run at once; each message is sent by one of them. Run it as often as you like, as from cron every five minutes: what failed for the moment is tried again when it is due.

    drawdown notify
    drawdown notify --retry                after a mail server was mended, say
    drawdown notify preview usage_alert    what that looks like

It ends with exit code 3 where messages were given up, or their fate is not known; ` + "`drawdown notices --state dead`" + ` lists them.`
}

// notifyJSON is the summary for programs.
type notifyJSON struct {
	Notices        int              `json:"notices"`
	Sent           int              `json:"sent"`
	Later          int              `json:"later"`
	Unknown        int              `json:"unknown"`
	Suppressed     int              `json:"suppressed"`
	Expired        int              `json:"expired"`
	Dead           int              `json:"dead"`
	TakenOver      int              `json:"taken_over"`
	Retried        int              `json:"retried"`
	ElapsedNS      int64            `json:"elapsed_ns"`
	Messages       []messageCount   `json:"messages"`
	OldestWaiting  string           `json:"oldest_waiting"`
	waitingPersons map[string]int64 // by state
}

type messageCount struct {
	Channel  string `json:"channel"`
	State    string `json:"state"`
	Messages int64  `json:"messages"`
}

func (k *notifySendCmd) Run(a *app) (err error) {
	c, err := a.config()
	if err != nil {
		return err
	}
	if len(c.Notify.sends()) == 0 {
		return &failure{
			op: "notify", err: errors.New("nothing is configured to send with"), code: exitUsage,
			hint: "write notify.email.server, notify.sms.url or notify.webhook.url; the inbox needs none of them",
		}
	}
	if _, err := os.Stat(c.State); isMissing(err) && !store.IsURL(c.State) {
		a.say("Nothing to do: nothing was settled yet.")
		return nil
	}
	st, err := store.Open(a.ctx, c.State, a.writeMode())
	if err != nil {
		return &failure{op: "open state", err: err}
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	started := a.clock()
	out := notifyJSON{}
	if k.Retry {
		if out.Retried, err = st.RetryMessages(a.ctx, rating.InstantOf(a.now), k.Account); err != nil {
			return &failure{op: "notify", err: err}
		}
	}
	summary, failed := a.notify(c, st)
	if summary == nil {
		return failed
	}
	out.ElapsedNS = a.clock().Sub(started).Nanoseconds()
	out.add(summary)
	counts, err := st.CountMessages(a.ctx)
	if err != nil {
		return errors.Join(failed, err)
	}
	backlog, err := st.Backlog(a.ctx)
	if err != nil {
		return errors.Join(failed, err)
	}
	out.count(counts, backlog)
	if a.flags.JSON {
		err = printJSON(a.stdout, out)
	} else {
		a.printNotify(&out)
	}
	if err = errors.Join(failed, err); err != nil {
		return err
	}
	return out.waiting()
}

func (n *notifyJSON) add(s *notifier.Summary) {
	n.Notices, n.TakenOver = s.Notices, s.Lost
	n.Sent, n.Later, n.Unknown = s.States[notifier.Sent], s.States[notifier.Pending], s.States[notifier.Unknown]
	n.Suppressed, n.Expired, n.Dead = s.States[notifier.Suppressed], s.States[notifier.Expired], s.States[notifier.Dead]
}

func (n *notifyJSON) count(counts []store.MessageCount, backlog []store.MessageBacklog) {
	n.Messages, n.waitingPersons = []messageCount{}, map[string]int64{}
	for _, c := range counts {
		n.Messages = append(n.Messages, messageCount{c.Channel, c.State, c.Messages})
		n.waitingPersons[c.State] += c.Messages
	}
	oldest := rating.Never
	for _, b := range backlog {
		oldest = min(oldest, b.Oldest)
	}
	if oldest != rating.Never {
		n.OldestWaiting = oldest.String()
	}
}

// waiting says that messages wait for a person.
func (n *notifyJSON) waiting() error {
	var waits []string
	if dead := n.waitingPersons[store.MessageDead]; dead > 0 {
		waits = append(waits, counted(dead, "message was given up", "messages were given up"))
	}
	if unknown := n.waitingPersons[store.MessageUnknown]; unknown > 0 {
		waits = append(waits, "of "+counted(unknown, "message", "messages")+" nobody knows whether it arrived")
	}
	if len(waits) == 0 {
		return nil
	}
	return &waiting{"notify", "done, but " + strings.Join(waits, ", and ") + "; `drawdown notices --state dead` (or unknown) lists them, and notify --retry tries again"}
}

func (a *app) printNotify(n *notifyJSON) {
	if n.Retried > 0 {
		a.say("%s due again.", counted(int64(n.Retried), "message is", "messages are"))
	}
	var parts []string
	for _, p := range []struct {
		n    int
		what string
	}{
		{n.Sent, "sent"},
		{n.Later, "to be tried again later"},
		{n.Unknown, "of unknown fate"},
		{n.Suppressed, "without an address"},
		{n.Expired, "past their use"},
		{n.Dead, "given up"},
		{n.TakenOver, "taken over by another process"},
	} {
		if p.n > 0 {
			parts = append(parts, groupedInt(int64(p.n))+" "+p.what)
		}
	}
	switch {
	case len(parts) == 0 && n.Notices == 0:
		a.say("Nothing to do: nobody is to be told anything.")
	case len(parts) == 0:
		a.say("%s, and nothing to send.", counted(int64(n.Notices), "new notice", "new notices"))
	default:
		a.say("%s. Messages: %s, in %s.", counted(int64(n.Notices), "new notice", "new notices"), strings.Join(parts, ", "),
			elapsed(time.Duration(n.ElapsedNS)))
	}
	if suppressed := n.waitingPersons[store.MessageSuppressed]; suppressed > 0 {
		a.say("%s had nowhere to go so far; `drawdown notices --state suppressed` says why.", counted(suppressed, "message", "messages"))
	}
}

// notifyPreviewCmd shows a notice on a channel.
type notifyPreviewCmd struct {
	Kind    string `arg:"" name:"KIND" help:"usage_alert, expiry_reminder, service_stop, grace, retention, released, arrears or digest."`
	Channel string `default:"email" help:"email, sms, webhook or inbox (default: email)."`
	Locale  string `help:"The language, as en or zh (default: the account's, or notify.locale)."`
	Account string `placeholder:"A" help:"To this account (default: a made-up one)."`
	HTML    string `name:"html" placeholder:"FILE" help:"Write the mail's HTML to a file, to look at in a browser."`
}

// Help is the command's own help.
func (notifyPreviewCmd) Help() string {
	return `The figures are made up; the words are those of notify.templates, or built in.

    drawdown notify preview usage_alert --locale zh
    drawdown notify preview expiry_reminder --channel sms
    drawdown notify preview digest --html mail.html`
}

func (k *notifyPreviewCmd) Run(a *app) error {
	c, err := a.config()
	if err != nil {
		return err
	}
	words, err := a.words(c)
	if err != nil {
		return err
	}
	contact, err := k.contact(a, c)
	if err != nil {
		return err
	}
	channel := k.Channel
	if checkChannels([]string{channel}) != nil {
		return &failure{op: "notify preview", err: checkChannels([]string{channel}), code: exitUsage}
	}
	if channel == notifier.ChannelInbox {
		channel = notifier.ChannelEmail // the inbox says what the mail says
	}
	m, err := words.Sample(k.Kind, channel, k.Locale, contact)
	if err != nil {
		return &failure{op: "notify preview", err: err, code: exitUsage}
	}
	view := previewJSON{Channel: k.Channel, To: m.To, Locale: m.Locale, Subject: m.Subject, Text: m.Text, HTML: m.HTML}
	switch channel {
	case notifier.ChannelSMS:
		view.Segments, view.GSM7 = notifier.SegmentsOf(m.Text)
		view.Subject = ""
	case notifier.ChannelWebhook:
		m.ID = "0123456789abcdef0123456789abcdef"
		hook := notifier.NewWebhook(notifier.WebhookConfig{Site: c.Site})
		body, err := hook.Body(m)
		if err != nil {
			return &failure{op: "notify preview", err: err}
		}
		view.Text = string(body)
	}
	if k.HTML != "" {
		if err := os.WriteFile(k.HTML, []byte(m.HTML), 0o666); err != nil {
			return &failure{op: "notify preview", err: fmt.Errorf("write %s: %w", filepath.Base(k.HTML), err)}
		}
	}
	if a.flags.JSON {
		return printJSON(a.stdout, view)
	}
	view.print(a)
	return nil
}

// contact is the account that it is shown for; nil: a made-up one.
func (k *notifyPreviewCmd) contact(a *app, c *Config) (*notifier.Contact, error) {
	if k.Account == "" {
		return nil, nil
	}
	compiled, err := a.catalog(c)
	if err != nil {
		return nil, err
	}
	contact := (&mouth{catalog: compiled, config: c}).contact(k.Account)
	if contact.Unknown {
		return nil, &failure{op: "notify preview", err: fmt.Errorf("there is no account %q", k.Account), code: exitUsage, hint: "`drawdown catalog show` lists them"}
	}
	return contact, nil
}

type previewJSON struct {
	Channel  string `json:"channel"`
	To       string `json:"to"`
	Locale   string `json:"locale"`
	Subject  string `json:"subject"`
	Text     string `json:"text"`
	HTML     string `json:"html"`
	Segments int    `json:"segments"`
	GSM7     bool   `json:"gsm7"`
}

func (v *previewJSON) print(a *app) {
	fmt.Fprintf(a.stdout, "To: %s\n", v.To)
	if v.Subject != "" {
		fmt.Fprintf(a.stdout, "Subject: %s\n", v.Subject)
	}
	fmt.Fprintf(a.stdout, "\n%s\n", strings.TrimRight(v.Text, "\n"))
	if v.Channel == notifier.ChannelSMS {
		alphabet := "UCS-2"
		if v.GSM7 {
			alphabet = "GSM-7"
		}
		a.say("\n%s, %s.", counted(int64(v.Segments), "segment", "segments"), alphabet)
	}
}
