package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"drawdown/notifier"
	"drawdown/rating"
	"drawdown/writers/store"
)

// noticesCmd shows what people are told.
type noticesCmd struct {
	Account string `placeholder:"A" help:"Only notices of this account."`
	State   string `placeholder:"S" help:"Only in this state: pending, sending, sent, unknown, suppressed, expired, dead, withdrawn, read or unread."`
	Last    int    `default:"50" placeholder:"N" help:"Show the newest N (default: 50)."`
}

// Help is the command's own help.
func (noticesCmd) Help() string {
	return `One line for each notice and channel, the newest last. What has not been looked at by notify yet is pending, without a channel.

    drawdown notices --account acme
    drawdown notices --state dead          given up, with the last error
    drawdown notices --state suppressed    nowhere to go`
}

var noticeStates = []string{"pending", "sending", "sent", "unknown", "suppressed", "expired", "dead", "withdrawn", "read", "unread"}

func (k *noticesCmd) Run(a *app) error {
	c, err := a.config()
	if err != nil {
		return err
	}
	if k.State != "" && !slices.Contains(noticeStates, k.State) {
		return &failure{op: "notices", err: fmt.Errorf("%q is no state", k.State), code: exitUsage, hint: "write one of " + strings.Join(noticeStates, ", ")}
	}
	compiled, err := a.knownAccount(c, "notices", k.Account)
	if err != nil {
		return err
	}
	var rows []store.NoticeStatus
	err = a.reading(c, func(st *store.Store) (err error) {
		rows, err = st.Notices(a.ctx, store.NoticeFilter{Account: k.Account, State: k.State, Limit: max(1, k.Last)})
		return err
	})
	if err != nil {
		return &failure{op: "notices", err: err}
	}
	views := make([]noticeView, len(rows))
	for i := range rows {
		views[i] = viewOfNotice(&rows[i])
	}
	if a.flags.JSON {
		return printJSON(a.stdout, struct {
			Notices []noticeView `json:"notices"`
		}{views})
	}
	if len(views) == 0 {
		a.say("There is no such notice.")
		return nil
	}
	t := table{columns: []column{{"due", fixed}, {"account", ident}, {"package", ident}, {"notice", left}, {"channel", fixed}, {"state", fixed}}}
	for i := range views {
		v, r := &views[i], &rows[i]
		t.row(moment(r.At, zoneOfAccount(c, compiled, r.Account)), r.Account, r.Package, shortNotice(&r.OutboxNotice), r.Channel, a.ink.messageState(v.State))
		if note := v.note(); note != "" {
			t.note(note)
		}
	}
	t.print(a.stdout, a.ink)
	return nil
}

// knownAccount loads the catalog, and refuses an account that it does not have.
func (a *app) knownAccount(c *Config, op, account string) (*rating.Catalog, error) {
	compiled, err := a.catalog(c)
	if err != nil {
		return nil, err
	}
	if _, known := compiled.AccountIndex([]byte(account)); !known && account != "" {
		return nil, &failure{op: op, err: fmt.Errorf("there is no account %q", account), code: exitUsage, hint: "`drawdown catalog show` lists them"}
	}
	return compiled, nil
}

func zoneOfAccount(c *Config, compiled *rating.Catalog, account string) *time.Location {
	if i, known := compiled.AccountIndex([]byte(account)); known {
		return compiled.Accounts[i].Zone
	}
	return c.Settlement.TimeZone.Location
}

// shortNotice says in a few words what a notice is about.
func shortNotice(n *store.OutboxNotice) string {
	switch {
	case n.Kind == rating.NoticeUsageAlert.String() && n.Threshold == "0":
		return "used up"
	case n.Kind == rating.NoticeUsageAlert.String() && n.ThresholdType == rating.Percentage.String():
		return grouped(n.Threshold) + " % left"
	case n.Kind == rating.NoticeUsageAlert.String():
		return grouped(n.Threshold) + " left"
	case n.Kind == rating.NoticeExpiryReminder.String():
		return "expires in " + n.Threshold + " days"
	case n.Meter != "":
		return strings.ReplaceAll(n.Kind, "_", " ") + ": " + n.Meter
	}
	return strings.ReplaceAll(n.Kind, "_", " ")
}

// noticeView is a notice on a channel as it is shown.
type noticeView struct {
	DedupKey      string `json:"dedup_key"`
	Kind          string `json:"kind"`
	Account       string `json:"account"`
	Package       string `json:"package"`
	Meter         string `json:"meter"`
	ThresholdType string `json:"threshold_type"`
	Threshold     string `json:"threshold"`
	Remaining     string `json:"remaining"`
	RecordID      string `json:"record_id"`
	At            string `json:"at"`
	Channel       string `json:"channel"`
	State         string `json:"state"`
	Withdrawn     bool   `json:"withdrawn"`
	Message       string `json:"message"`
	Attempts      int    `json:"attempts"`
	NextAttempt   string `json:"next_attempt"`
	Sent          string `json:"sent"`
	Reference     string `json:"reference"`
	Report        string `json:"report"`
	LastError     string `json:"last_error"`
}

func viewOfNotice(r *store.NoticeStatus) noticeView {
	v := noticeView{
		DedupKey: r.DedupKey, Kind: r.Kind, Account: r.Account, Package: r.Package, Meter: r.Meter, ThresholdType: r.ThresholdType,
		Threshold: r.Threshold, Remaining: r.Remaining, RecordID: r.RecordID, At: r.At.String(), Channel: r.Channel, State: r.State,
		Withdrawn: r.Withdrawn, Message: r.Message, Attempts: r.Attempts, Reference: r.Reference, Report: r.Report, LastError: r.LastError,
	}
	if r.State == store.MessagePending && r.Channel != "" {
		v.NextAttempt = r.NextAttemptAt.String()
	}
	if r.SentAt > 0 {
		v.Sent = r.SentAt.String()
	}
	return v
}

func (v *noticeView) note() string {
	var parts []string
	if v.Withdrawn && v.State != "withdrawn" {
		parts = append(parts, "no longer found by the settlement")
	}
	if v.Sent != "" {
		parts = append(parts, "sent "+v.Sent)
	}
	if v.Attempts > 1 || v.Attempts > 0 && v.State != store.MessageSent {
		parts = append(parts, counted(int64(v.Attempts), "attempt", "attempts"))
	}
	if v.NextAttempt != "" {
		parts = append(parts, "next "+v.NextAttempt)
	}
	if v.Report != "" {
		parts = append(parts, "report: "+v.Report)
	}
	if v.LastError != "" {
		parts = append(parts, v.LastError)
	}
	return strings.Join(parts, ", ")
}

func (k ink) messageState(state string) string {
	switch state {
	case "dead", "unknown":
		return k.red(state)
	case "suppressed", "expired", "withdrawn":
		return k.yellow(state)
	case "sent", "read":
		return k.green(state)
	}
	return state
}

// inboxCmd shows an account's inbox.
type inboxCmd struct {
	Account  string `required:"" placeholder:"A" help:"Whose inbox."`
	Unread   bool   `help:"Only what was not read yet."`
	MarkRead bool   `help:"Mark what is shown as read."`
	Last     int    `default:"50" placeholder:"N" help:"Show the newest N (default: 50)."`
}

// Help is the command's own help.
func (inboxCmd) Help() string {
	return `What an account is told in its inbox: written by the settlement itself, each notice once, whatever becomes of mails. A console shows the same by --json.

    drawdown inbox --account acme
    drawdown inbox --account acme --unread --mark-read`
}

// inboxView is a message of an inbox as it is shown.
type inboxView struct {
	DedupKey  string `json:"dedup_key"`
	Kind      string `json:"kind"`
	At        string `json:"at"`
	Subject   string `json:"subject"`
	Text      string `json:"text"`
	Locale    string `json:"locale"`
	Package   string `json:"package"`
	Read      string `json:"read"` // when; empty: not yet
	Withdrawn bool   `json:"withdrawn"`
}

func (k *inboxCmd) Run(a *app) (err error) {
	c, err := a.config()
	if err != nil {
		return err
	}
	compiled, err := a.knownAccount(c, "inbox", k.Account)
	if err != nil {
		return err
	}
	words, err := a.words(c)
	if err != nil {
		return err
	}
	var rows []store.InboxMessage
	use := func(st *store.Store) (err error) {
		if rows, err = st.Inbox(a.ctx, k.Account, k.Unread, max(1, k.Last)); err != nil || !k.MarkRead {
			return err
		}
		var keys []string
		for i := range rows {
			keys = append(keys, rows[i].DedupKey)
		}
		_, err = st.MarkRead(a.ctx, k.Account, keys, rating.InstantOf(a.now))
		return err
	}
	if k.MarkRead {
		err = a.writing(c, use)
	} else {
		err = a.reading(c, use)
	}
	if err != nil {
		return err
	}
	m := &mouth{catalog: compiled, config: c, now: rating.InstantOf(a.now)}
	views, err := inboxViews(rows, m, words)
	if err != nil {
		return &failure{op: "inbox", err: err}
	}
	if a.flags.JSON {
		return printJSON(a.stdout, struct {
			Account  string      `json:"account"`
			Messages []inboxView `json:"messages"`
		}{k.Account, views})
	}
	a.printInbox(views)
	return nil
}

func inboxViews(rows []store.InboxMessage, m *mouth, words *notifier.Words) ([]inboxView, error) {
	views := make([]inboxView, len(rows))
	for i := range rows {
		r := &rows[i]
		message, err := words.Compose([]notifier.Notice{m.notice(&r.OutboxNotice)}, m.contact(r.Account), notifier.ChannelEmail)
		if err != nil {
			return nil, err
		}
		views[i] = inboxView{
			DedupKey: r.DedupKey, Kind: r.Kind, At: r.At.String(), Subject: message.Subject, Text: strings.Join(message.Paragraphs, "\n\n"), Locale: message.Locale,
			Package: r.Package, Withdrawn: r.Withdrawn,
		}
		if r.ReadAt > 0 {
			views[i].Read = r.ReadAt.String()
		}
	}
	return views, nil
}

func (a *app) printInbox(views []inboxView) {
	if len(views) == 0 {
		a.say("The inbox is empty.")
		return
	}
	for i := range views {
		v := &views[i]
		mark := a.ink.bold("●")
		if v.Read != "" {
			mark = " "
		}
		fmt.Fprintf(a.stdout, "%s %s\n", mark, wrapped(a.ink.bold(v.Subject), 2))
		for paragraph := range strings.SplitSeq(v.Text, "\n\n") {
			fmt.Fprintf(a.stdout, "  %s\n", wrapped(paragraph, 2))
		}
		if v.Withdrawn {
			fmt.Fprintf(a.stdout, "  %s\n", a.ink.yellow("A later settlement no longer finds this."))
		}
		fmt.Fprintln(a.stdout)
	}
	unread := 0
	for i := range views {
		if views[i].Read == "" {
			unread++
		}
	}
	a.say("%s, %s unread.", counted(int64(len(views)), "message", "messages"), groupedInt(int64(unread)))
}

// writing opens the state for writing, for as long as something is done with it.
func (a *app) writing(c *Config, do func(*store.Store) error) error {
	st, err := store.Open(a.ctx, c.State, a.writeMode())
	if err != nil {
		return &failure{op: "open state", err: err}
	}
	return errors.Join(do(st), st.Close())
}

// reportsCmd takes in delivery reports.
type reportsCmd struct {
	Listen string `default:"127.0.0.1:8025" placeholder:"ADDRESS" help:"Where to listen (default: 127.0.0.1:8025)."`
}

// Help is the command's own help.
func (reportsCmd) Help() string {
	return `The SMS gateway calls it back with what became of each SMS: notify.sms.reports_url says where it reaches this command, perhaps through a proxy of yours. A report is taken only with the token that its address was given.

    drawdown reports --listen 127.0.0.1:8025`
}

func (k *reportsCmd) Run(a *app) error {
	c, err := a.config()
	if err != nil {
		return err
	}
	if c.Notify.SMS.URL == "" {
		return &failure{op: "reports", err: errors.New("no SMS gateway is configured"), code: exitUsage, hint: "write notify.sms.url and reports_url"}
	}
	sms, err := c.Notify.SMS.open()
	if err != nil {
		return &failure{op: "reports", err: err, code: exitUsage}
	}
	listener, err := (&net.ListenConfig{}).Listen(a.ctx, "tcp", k.Listen)
	if err != nil {
		return &failure{op: "reports", err: err, hint: "name another address with --listen"}
	}
	return a.writing(c, func(st *store.Store) error {
		handler := sms.Reports(func(ctx context.Context, r notifier.Report) (bool, error) {
			return st.Report(ctx, r.ID, r.Text, r.Delivered, r.Final, rating.InstantOf(a.clock()))
		})
		a.say("Listening on %s.", listener.Addr())
		return errors.Join(serve(a.ctx, listener, handler), sms.Close())
	})
}

// serve answers until the context ends, and then ends what is being answered.
func serve(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second, MaxHeaderBytes: 32 << 10}
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(closed)
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		_ = server.Shutdown(closing)
	})
	err := server.Serve(listener)
	if stop() { // it ended by itself
		return &failure{op: "reports", err: err}
	}
	<-closed
	return nil
}
