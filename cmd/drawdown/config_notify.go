package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"drawdown/notifier"
)

// notifyConfig is the section `notify`: how people are told (R6.5). Nothing in it changes a settlement.
type notifyConfig struct {
	Channels     noticeChannels `yaml:"channels"`
	Locale       string         `yaml:"locale"`
	Templates    string         `yaml:"templates"` // a folder; "": the words that are built in
	QuietHours   quietHours     `yaml:"quiet_hours"`
	MaxAge       span           `yaml:"max_age"`
	DigestAbove  int            `yaml:"digest_above"`
	Attempts     int            `yaml:"attempts"`
	PerRecipient int            `yaml:"per_recipient"`
	Accounts     accountNotify  `yaml:"accounts"`
	Email        emailConfig    `yaml:"email"`
	SMS          smsConfig      `yaml:"sms"`
	Webhook      webhookConfig  `yaml:"webhook"`
}

type emailConfig struct {
	Server       string `yaml:"server"`
	TLS          string `yaml:"tls"`
	CAFile       string `yaml:"ca_file"`
	Username     string `yaml:"username"`
	Password     string `yaml:"password"`
	PasswordFile string `yaml:"password_file"`
	From         string `yaml:"from"`
	ReplyTo      string `yaml:"reply_to"`
	Unsubscribe  string `yaml:"unsubscribe"`
	Connections  int    `yaml:"connections"`
	PerSecond    int    `yaml:"per_second"`
}

type smsConfig struct {
	Gateway      string            `yaml:"gateway"` // kannel, or http: by templates
	URL          string            `yaml:"url"`
	Method       string            `yaml:"method"`
	Body         string            `yaml:"body"`
	Headers      map[string]string `yaml:"headers"`
	Username     string            `yaml:"username"`
	Password     string            `yaml:"password"`
	PasswordFile string            `yaml:"password_file"`
	From         string            `yaml:"from"`
	ReportsURL   string            `yaml:"reports_url"`
	Repeat       bool              `yaml:"repeat"`
	Connections  int               `yaml:"connections"`
	PerSecond    int               `yaml:"per_second"`
}

type webhookConfig struct {
	URL          string `yaml:"url"`
	Secret       string `yaml:"secret"`
	SecretFile   string `yaml:"secret_file"`
	AllowPrivate bool   `yaml:"allow_private"`
	Connections  int    `yaml:"connections"`
	PerSecond    int    `yaml:"per_second"`
}

func defaultNotify() notifyConfig {
	all := []string{notifier.ChannelEmail, notifier.ChannelSMS, notifier.ChannelInbox, notifier.ChannelWebhook}
	channels := noticeChannels{}
	for _, kind := range notifier.Kinds() {
		if kind != "usage_alert" { // its rule says where
			channels[kind] = all
		}
	}
	return notifyConfig{
		Channels: channels, Locale: "en", MaxAge: span(7 * 24 * time.Hour), DigestAbove: 3, Attempts: 12, PerRecipient: 20,
		Email: emailConfig{TLS: string(notifier.StartTLS), Connections: 4}, SMS: smsConfig{Gateway: "kannel", Connections: 2},
		Webhook: webhookConfig{Connections: 4},
	}
}

// noticeChannels says on which channels a kind of notice is told.
type noticeChannels map[string][]string

func (n *noticeChannels) UnmarshalYAML(node *yaml.Node) error {
	const hint = "; write kinds with their channels, such as {expiry_reminder: [email, inbox]}"
	written := map[string][]string{}
	if err := node.Decode(&written); err != nil {
		return errors.New("it is no list of channels by kind" + hint)
	}
	merged := defaultNotify().Channels
	for kind, channels := range written {
		if merged[kind] == nil {
			return fmt.Errorf("%q is no kind that has channels here; write one of %s (alert_rules has those of a usage_alert)", kind, strings.Join(keysOf(merged), ", "))
		}
		if err := checkChannels(channels); err != nil {
			return err
		}
		merged[kind] = channels
	}
	*n = merged
	return nil
}

func checkChannels(channels []string) error {
	known := []string{notifier.ChannelEmail, notifier.ChannelSMS, notifier.ChannelInbox, notifier.ChannelWebhook}
	for _, channel := range channels {
		if !slices.Contains(known, channel) {
			return fmt.Errorf("%q is no channel; write one of %s", channel, strings.Join(known, ", "))
		}
	}
	return nil
}

// quietHours is the time of day in which no SMS is sent: "22:00-08:00" on the account's clock, or never.
type quietHours struct{ notifier.Quiet }

func (q *quietHours) UnmarshalYAML(node *yaml.Node) error {
	if node.Value == "never" {
		q.Quiet = notifier.Quiet{}
		return nil
	}
	from, to, found := strings.Cut(node.Value, "-")
	start, err := minuteOfDay(from)
	end, endErr := minuteOfDay(to)
	if !found || err != nil || endErr != nil || start == end {
		return fmt.Errorf("%q is no time of day; write it as \"22:00-08:00\", or never", node.Value)
	}
	q.Quiet = notifier.Quiet{From: start, To: end}
	return nil
}

func minuteOfDay(text string) (int, error) {
	t, err := time.Parse("15:04", strings.TrimSpace(text))
	return t.Hour()*60 + t.Minute(), err
}

// accountNotify is what single accounts want otherwise.
type accountNotify map[string]accountPreference

type accountPreference struct {
	Channels   []string    // nil: all
	QuietHours *quietHours // nil: as everybody
	Webhook    string
	Locale     string
}

func (a *accountNotify) UnmarshalYAML(node *yaml.Node) error {
	const hint = "; write {ACCOUNT: {channels: [email], quiet_hours: \"22:00-08:00\", webhook: https://…, locale: en}}"
	sections := map[string]map[string]yaml.Node{}
	if err := node.Decode(&sections); err != nil {
		return errors.New("it is no set of accounts" + hint)
	}
	*a = accountNotify{}
	for account, section := range sections {
		var p accountPreference
		for key, value := range section {
			var err error
			switch key {
			case "channels":
				p.Channels = []string{}
				if err = value.Decode(&p.Channels); err == nil {
					err = checkChannels(p.Channels)
				}
			case "quiet_hours":
				p.QuietHours = &quietHours{}
				err = value.Decode(p.QuietHours)
			case "webhook":
				err = value.Decode(&p.Webhook)
			case "locale":
				err = value.Decode(&p.Locale)
			default:
				err = fmt.Errorf("there is no key %s%s", key, hint)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", account, err)
			}
		}
		(*a)[account] = p
	}
	return nil
}

// checkNotify finds what is wrong with the section notify.
func (c *Config) checkNotify(d *decoder) {
	n := &c.Notify
	for key, value := range map[string]int{
		"attempts": n.Attempts, "email.connections": n.Email.Connections, "sms.connections": n.SMS.Connections, "webhook.connections": n.Webhook.Connections,
	} {
		if value < 1 || value > 100 {
			d.faultAt("notify."+key, "write a small number, such as 4", "%d is not in 1..100", value)
		}
	}
	for key, value := range map[string]int{
		"digest_above": n.DigestAbove, "per_recipient": n.PerRecipient, "email.per_second": n.Email.PerSecond, "sms.per_second": n.SMS.PerSecond,
		"webhook.per_second": n.Webhook.PerSecond,
	} {
		if value < 0 || value > 1_000_000 {
			d.faultAt("notify."+key, "write 0 or more", "%d is not in 0..1000000", value)
		}
	}
	c.checkEmail(d)
	c.checkSMS(d)
	c.checkWebhook(d)
}

// secretKeys are the keys that no message may show the value of, with what names a file for it.
var secretKeys = map[string]string{
	"notify.email.password": "password_file", "notify.sms.password": "password_file", "notify.webhook.secret": "secret_file",
}

func (c *Config) checkEmail(d *decoder) {
	e := &c.Notify.Email
	if e.Server == "" {
		return
	}
	if _, _, err := e.address(); err != nil {
		d.faultAt("notify.email.server", "write host and port, such as smtp.example.com:587", "%q is no server", e.Server)
	}
	if !slices.Contains([]string{"starttls", "tls", "none"}, e.TLS) {
		d.faultAt("notify.email.tls", "write starttls (port 587), tls (port 465), or none for a server on this machine", "%q is unknown", e.TLS)
	}
	if _, err := mail.ParseAddress(e.From); err != nil {
		d.faultAt("notify.email.from", "write it as Billing <billing@example.com>", "%q is no sender", e.From)
	}
	if _, err := mail.ParseAddress(e.ReplyTo); err != nil && e.ReplyTo != "" {
		d.faultAt("notify.email.reply_to", "write it as Support <support@example.com>", "%q is no address", e.ReplyTo)
	}
	if u, err := url.Parse(strings.ReplaceAll(e.Unsubscribe, "{account}", "a")); e.Unsubscribe != "" && (err != nil || u.Scheme != "https" && u.Scheme != "mailto") || strings.ContainsAny(e.Unsubscribe, "<>\r\n, ") {
		d.faultAt("notify.email.unsubscribe", "write https://example.com/notices?account={account}, or mailto:…", "%q is no address", e.Unsubscribe)
	}
}

func (c *Config) checkSMS(d *decoder) {
	s := &c.Notify.SMS
	if s.Gateway != "kannel" && s.Gateway != "http" {
		d.faultAt("notify.sms.gateway", "write kannel, or http for another gateway by templates", "%q is unknown", s.Gateway)
	}
	if s.URL == "" {
		return
	}
	if _, err := notifier.NewSMS(s.sender("")); err != nil {
		d.faultAt("notify.sms.url", "docs/notices.md has examples", "%v", err)
	}
}

func (c *Config) checkWebhook(d *decoder) {
	check := notifier.WebhookConfig{AllowPrivate: c.Notify.Webhook.AllowPrivate}
	report := func(key, whose, address string) {
		if address == "" {
			return
		}
		if err := check.CheckURL(address); err != nil {
			message, hint, _ := strings.Cut(err.Error(), "; ")
			d.faultAt(key, hint, "%s: %s", whose, message) // of the address any part may be a secret
		}
	}
	report("notify.webhook.url", "the address", c.Notify.Webhook.URL)
	for _, account := range keysOf(c.Notify.Accounts) {
		report("notify.accounts", "the webhook of "+account, c.Notify.Accounts[account].Webhook)
	}
}

// resolve makes paths relative to the folder of the configuration.
func (n *notifyConfig) resolve(dir string) {
	for _, path := range []*string{&n.Templates, &n.Email.PasswordFile, &n.Email.CAFile, &n.SMS.PasswordFile, &n.Webhook.SecretFile} {
		if *path != "" && !filepath.IsAbs(*path) {
			*path = filepath.Join(dir, *path)
		}
	}
}

func (e *emailConfig) address() (host string, port int, err error) {
	host, text, err := net.SplitHostPort(e.Server)
	if err == nil {
		port, err = strconv.Atoi(text)
	}
	if err == nil && (host == "" || port < 1 || port > 65535) {
		err = errors.New("it names no host and port")
	}
	return host, port, err
}

// secret gives a secret that stands in a variable, or in a file.
func secret(key, value, file string) (string, error) {
	if value != "" || file == "" {
		return value, nil
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("%s: %w", key, err)
	}
	return strings.TrimRight(string(content), "\r\n"), nil
}

// sender gives the mail server in the notifier's words.
func (e *emailConfig) sender(clock func() time.Time) (notifier.EmailConfig, error) {
	host, port, err := e.address()
	if err != nil {
		return notifier.EmailConfig{}, err
	}
	out := notifier.EmailConfig{
		Host: host, Port: port, TLS: notifier.TLSMode(e.TLS), Username: e.Username, Unsubscribe: e.Unsubscribe, Connections: e.Connections, Clock: clock,
	}
	if out.Password, err = secret("notify.email.password_file", e.Password, e.PasswordFile); err != nil {
		return out, err
	}
	if out.From, err = mail.ParseAddress(e.From); err == nil && e.ReplyTo != "" {
		out.ReplyTo, err = mail.ParseAddress(e.ReplyTo)
	}
	if err != nil || e.CAFile == "" {
		return out, err
	}
	pem, err := os.ReadFile(e.CAFile)
	if err != nil {
		return out, fmt.Errorf("notify.email.ca_file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return out, fmt.Errorf("notify.email.ca_file: %s holds no certificate in PEM form", e.CAFile)
	}
	out.Certificates = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	return out, nil
}

func (s *smsConfig) sender(password string) notifier.SMSConfig {
	return notifier.SMSConfig{
		URL: s.URL, Method: s.Method, Body: s.Body, Headers: s.Headers, Template: s.Gateway == "http", Username: s.Username,
		Password: password, From: s.From, ReportsURL: s.ReportsURL, Connections: s.Connections,
	}
}
