package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"drawdown/notifier"
	"drawdown/rating"
	"drawdown/writers/store"
)

// channelsOf says where a kind of notice is told: a usage alert where its rule says, others where the configuration does.
func (c *Config) channelsOf(kind string, ofRule []string) []string {
	if kind != rating.NoticeUsageAlert.String() {
		return c.Notify.Channels[kind]
	}
	return ofRule
}

// mouth makes a store.Store the notifier's queue and history, in the words of a catalog.
type mouth struct {
	store   *store.Store
	catalog *rating.Catalog
	config  *Config
	policy  *notifier.Policy
	now     rating.Instant
}

// notice adds to a row of the outbox what the catalog knows of it.
func (m *mouth) notice(o *store.OutboxNotice) notifier.Notice {
	n := notifier.Notice{
		Key: o.DedupKey, Kind: o.Kind, Account: o.Account, Package: o.Package, Meter: o.Meter, Percentage: o.ThresholdType == rating.Percentage.String(),
		Threshold: o.Threshold, Remaining: o.Remaining, RecordID: o.RecordID, At: o.At,
	}
	index, known := m.catalog.PackageIndex(o.Package)
	var ofRule []string
	if known {
		if rule := m.catalog.Packages[index].Rule(); rule != nil {
			ofRule = rule.Channels
		}
	} else if o.Package != "" {
		n.Moot = "its package is no longer in the catalog"
	}
	n.Channels = m.config.channelsOf(o.Kind, ofRule)
	if !known {
		return n
	}
	pkg := &m.catalog.Packages[index]
	n.PackageName, n.Unit, n.StopsBeforeExcess = pkg.Name, pkg.Unit, pkg.Kind == rating.StopBeforeExcess
	n.Ends = expiryOf(pkg, m.now)
	if o.Remaining != "" {
		n.Quota = rating.FormatQuantity(quotaOf(pkg, o.At), pkg.Scale)
	}
	term, hasTerm := rating.NoticeTermEnd(o.DedupKey)
	switch {
	case revokedBy(pkg, m.now):
		n.Moot = "its package has been revoked meanwhile"
	case hasTerm && n.Ends > term:
		n.Moot = "its package has been renewed or extended meanwhile"
	}
	return n
}

// quotaOf is what a cycle of a package grants, by what had happened to it by an instant.
func quotaOf(pkg *rating.Package, by rating.Instant) int64 {
	quota := pkg.Quota
	for _, change := range pkg.Changes {
		if change.At <= by && change.Kind == rating.Resized {
			quota = change.Quota
		}
	}
	return quota
}

func (m *mouth) notices(rows []store.OutboxNotice) []notifier.Notice {
	notices := make([]notifier.Notice, len(rows))
	for i := range rows {
		notices[i] = m.notice(&rows[i])
	}
	return notices
}

// contact finds whom an account's notices go to, by what stands in the catalog now.
func (m *mouth) contact(account string) *notifier.Contact {
	c := &notifier.Contact{Account: account, Zone: m.config.Settlement.TimeZone.Location, Locale: m.config.Notify.Locale, Quiet: m.config.Notify.QuietHours.Quiet}
	index, known := m.catalog.AccountIndex([]byte(account))
	c.Unknown = !known
	if known {
		a := &m.catalog.Accounts[index]
		c.Name, c.Email, c.Phone, c.Zone, c.Webhook = a.Name, a.Email, a.Phone, a.Zone, m.config.Notify.Webhook.URL
		if a.Locale != "" {
			c.Locale = a.Locale
		}
	}
	preference := m.config.Notify.Accounts[account]
	c.Channels = preference.Channels
	if preference.QuietHours != nil {
		c.Quiet = preference.QuietHours.Quiet
	}
	if preference.Webhook != "" {
		c.Webhook = preference.Webhook
	}
	if preference.Locale != "" {
		c.Locale = preference.Locale
	}
	return c
}

// planAtOnce is how many notices are planned in one transaction.
const planAtOnce = 5000

func (m *mouth) Plan(ctx context.Context, now rating.Instant) (int, error) {
	return m.store.PlanMessages(ctx, now, planAtOnce, func(rows []store.OutboxNotice) []store.Message {
		planned := m.policy.Plan(m.notices(rows), now, m.contact)
		messages := make([]store.Message, len(planned))
		for i, p := range planned {
			messages[i] = store.Message{
				ID: p.ID, Channel: p.Channel, Account: p.Account, State: p.State, Error: p.Reason, NextAttemptAt: now, Keys: p.Keys,
			}
		}
		return messages
	})
}

func (m *mouth) Claim(ctx context.Context, now, until rating.Instant, channel string, limit int) ([]notifier.Claimed, error) {
	rows, err := m.store.ClaimMessages(ctx, now, until, channel, limit)
	claimed := make([]notifier.Claimed, len(rows))
	for i, r := range rows {
		claimed[i] = notifier.Claimed{
			ID: r.ID, Channel: r.Channel, Account: r.Account, Attempts: r.Attempts, Claim: r.Claim, WasSending: r.WasSending, Report: r.Report,
			Notices: m.notices(r.Notices),
		}
	}
	return claimed, err
}

func (m *mouth) Mark(ctx context.Context, outcomes []notifier.Outcome) (int, error) {
	rows := make([]store.MessageOutcome, len(outcomes))
	for i, o := range outcomes {
		rows[i] = store.MessageOutcome(o)
	}
	return m.store.MarkMessages(ctx, rows)
}

func (m *mouth) Recent(ctx context.Context, since rating.Instant, recipients []string) (map[string]notifier.Recent, error) {
	rows, err := m.store.RecentlySent(ctx, since, recipients)
	recent := make(map[string]notifier.Recent, len(rows))
	for to, r := range rows {
		recent[to] = notifier.Recent(r)
	}
	return recent, err
}

// words loads the templates.
func (a *app) words(c *Config) (*notifier.Words, error) {
	var folder fs.FS
	if c.Notify.Templates != "" {
		if _, err := os.Stat(c.Notify.Templates); err != nil {
			return nil, &failure{op: "read templates", err: err, code: exitUsage, hint: "notify.templates names the folder"}
		}
		folder = os.DirFS(c.Notify.Templates)
	}
	words, err := notifier.LoadWords(folder, c.Notify.Locale)
	if err != nil {
		return nil, &failure{op: "read templates", err: err, code: exitUsage, hint: "docs/notices.md lists what a template may say"}
	}
	return words, nil
}

// closer is a sender with connections that it keeps.
type closer interface {
	notifier.Sender
	Close() error
}

// senders makes a sender for each channel that is configured.
func (a *app) senders(c *Config) (map[string]notifier.Channel, func() error, error) {
	n := &c.Notify
	channels := map[string]notifier.Channel{}
	var open []closer
	add := func(name string, s closer, workers, perSecond int) {
		open = append(open, s)
		channels[name] = notifier.Channel{Sender: s, Workers: workers, PerSecond: perSecond}
	}
	closeAll := func() error {
		var err error
		for _, s := range open {
			err = errors.Join(err, s.Close())
		}
		return err
	}
	if n.Email.Server != "" {
		config, err := n.Email.sender(a.clock)
		if err != nil {
			return nil, closeAll, err
		}
		email, err := notifier.NewEmail(config)
		if err != nil {
			return nil, closeAll, err
		}
		add(notifier.ChannelEmail, email, n.Email.Connections, n.Email.PerSecond)
	}
	if n.SMS.URL != "" {
		sms, err := n.SMS.open()
		if err != nil {
			return nil, closeAll, err
		}
		add(notifier.ChannelSMS, sms, n.SMS.Connections, n.SMS.PerSecond)
	}
	if n.usesWebhooks() {
		key, err := secret("notify.webhook.secret_file", n.Webhook.Secret, n.Webhook.SecretFile)
		if err == nil && len(key) < 16 {
			err = errors.New("notify.webhook.secret has fewer than 16 characters; set DRAWDOWN_NOTIFY_WEBHOOK_SECRET, or name a file in secret_file")
		}
		if err != nil {
			return nil, closeAll, err
		}
		add(notifier.ChannelWebhook, notifier.NewWebhook(notifier.WebhookConfig{
			Site: c.Site, Secret: []byte(key), AllowPrivate: n.Webhook.AllowPrivate, Connections: n.Webhook.Connections, Clock: a.clock,
		}), n.Webhook.Connections, n.Webhook.PerSecond)
	}
	return channels, closeAll, nil
}

func (s *smsConfig) open() (*notifier.SMS, error) {
	password, err := secret("notify.sms.password_file", s.Password, s.PasswordFile)
	if err != nil {
		return nil, err
	}
	return notifier.NewSMS(s.sender(password))
}

// sends are the channels that there is something to send with.
func (n *notifyConfig) sends() []string {
	var channels []string
	for channel, configured := range map[string]bool{
		notifier.ChannelEmail: n.Email.Server != "", notifier.ChannelSMS: n.SMS.URL != "", notifier.ChannelWebhook: n.usesWebhooks(),
	} {
		if configured {
			channels = append(channels, channel)
		}
	}
	slices.Sort(channels)
	return channels
}

func (n *notifyConfig) usesWebhooks() bool {
	for _, preference := range n.Accounts {
		if preference.Webhook != "" {
			return true
		}
	}
	return n.Webhook.URL != ""
}

// moving is the clock of work that takes long: it starts at now, which --now may have set, and goes on as the real one does.
func (a *app) moving() func() rating.Instant {
	started := a.clock()
	return func() rating.Instant { return rating.InstantOf(a.now.Add(a.clock().Sub(started))) }
}

// policy is what the configuration says about telling.
func (c *Config) policy(channels map[string]notifier.Channel) *notifier.Policy {
	return &notifier.Policy{
		Site: c.Site, Configured: slices.Sorted(keysIn(channels)), MaxAge: time.Duration(c.Notify.MaxAge), DigestAbove: c.Notify.DigestAbove,
		Attempts: c.Notify.Attempts, PerRecipient: c.Notify.PerRecipient, RepeatSMS: c.Notify.SMS.Repeat,
	}
}

func keysIn[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for key := range m {
			if !yield(key) {
				return
			}
		}
	}
}

// notify delivers what the outbox holds.
func (a *app) notify(c *Config, st *store.Store) (*notifier.Summary, error) {
	words, err := a.words(c)
	if err != nil {
		return nil, err
	}
	channels, closeAll, err := a.senders(c)
	if err != nil {
		return nil, errors.Join(&failure{op: "notify", err: err, code: exitUsage}, closeAll())
	}
	used, err := a.catalogIn(c, st, lookUp)
	if err != nil {
		return nil, errors.Join(err, closeAll())
	}
	m := &mouth{store: st, catalog: used.Catalog, config: c, policy: c.policy(channels), now: rating.InstantOf(a.now)}
	progress := a.progress()
	var told atomic.Int64
	delivery := &notifier.Delivery{
		Queue: m, History: m, Words: words, Policy: m.policy, Contact: m.contact, Channels: channels, Clock: a.moving(), Hook: a.notifyHook,
		Progress: func(messages int) { progress.report("messages", told.Add(int64(messages)), 0) },
	}
	summary, err := delivery.Run(a.ctx)
	progress.done()
	if err = errors.Join(err, closeAll()); err != nil {
		err = &failure{op: "notify", err: fmt.Errorf("%w", err), hint: "what was sent stays sent; run it again"}
	}
	return summary, err
}
