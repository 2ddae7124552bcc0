package notifier

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	htmltemplate "html/template"
	"io/fs"
	"slices"
	"strings"
	"text/template"
	"time"

	"drawdown/rating"
)

//go:embed words
var builtIn embed.FS

// Words are the templates of every language.
type Words struct {
	locales  map[string]*template.Template
	html     *htmltemplate.Template
	fallback string
}

// Message is a notice, or several, in words, on its way to one address.
type Message struct {
	ID, Channel string
	To          string
	Account     string
	Locale      string
	Subject     string
	Paragraphs  []string // of a mail: what it says in words
	Text, HTML  string   // of an SMS, the whole of it
	Notices     []Notice
}

// Kinds are the kinds of notice, by name.
func Kinds() []string {
	return []string{"arrears", "expiry_reminder", "grace", "released", "retention", "service_stop", "usage_alert"}
}

// LoadWords reads the templates that are built in, and over them those of a folder, which may be nil: LOCALE.tmpl for a
// language, mail.html for the frame of an HTML mail. fallback is the language of accounts whose own is not there. All
// words are tried with a sample, so that a fault in a file is found before anybody is to be told anything.
func LoadWords(folder fs.FS, fallback string) (*Words, error) {
	w := &Words{locales: map[string]*template.Template{}, fallback: language(fallback)}
	words, err := fs.Sub(builtIn, "words")
	if err == nil {
		err = w.read(words)
	}
	if err == nil && folder != nil {
		err = w.read(folder)
	}
	if err != nil {
		return nil, err
	}
	if w.locales[w.fallback] == nil {
		return nil, fmt.Errorf("there are no words in %q; write one of %s, or add %s.tmpl to notify.templates",
			fallback, strings.Join(w.Locales(), ", "), w.fallback)
	}
	var faults []error
	for _, locale := range w.Locales() {
		for _, kind := range append(Kinds(), Digest) {
			for _, channel := range []string{ChannelEmail, ChannelSMS} {
				if _, err := w.Sample(kind, channel, locale, nil); err != nil {
					faults = append(faults, err)
				}
			}
		}
	}
	return w, errors.Join(faults...)
}

// Locales are the languages that there are words in.
func (w *Words) Locales() []string {
	var names []string
	for name := range w.locales {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (w *Words) read(folder fs.FS) error {
	entries, err := fs.ReadDir(folder, ".")
	if err != nil {
		return err
	}
	for _, entry := range entries {
		content, err := fs.ReadFile(folder, entry.Name())
		if err != nil {
			return err
		}
		locale, isWords := strings.CutSuffix(entry.Name(), ".tmpl")
		switch {
		case isWords:
			t := w.locales[language(locale)]
			if t == nil { // a new language: what it does not define, it says in English
				if t, err = template.New(entry.Name()).Option("missingkey=error").Parse(""); err != nil {
					return err
				}
				if english := w.locales["en"]; english != nil {
					if t, err = english.Clone(); err != nil {
						return err
					}
				}
			}
			if t, err = t.New(entry.Name()).Parse(string(content)); err != nil {
				return fmt.Errorf("%s: %w", entry.Name(), err)
			}
			w.locales[language(locale)] = t
		case entry.Name() == "mail.html":
			if w.html, err = htmltemplate.New(entry.Name()).Option("missingkey=error").Parse(string(content)); err != nil {
				return fmt.Errorf("%s: %w", entry.Name(), err)
			}
		default:
			return fmt.Errorf("%s: is neither LOCALE.tmpl (as de.tmpl) nor mail.html; remove it, or name it so", entry.Name())
		}
	}
	return nil
}

// language writes a locale as the names of files are written: zh_CN.UTF-8 is zh-cn.
func language(locale string) string {
	locale, _, _ = strings.Cut(locale, ".")
	return strings.ToLower(strings.ReplaceAll(locale, "_", "-"))
}

// locale finds the words for an account: its own language, else the one without its region, else the fallback.
func (w *Words) locale(wanted string) (string, *template.Template) {
	for name := language(wanted); name != ""; {
		if t := w.locales[name]; t != nil {
			return name, t
		}
		end := strings.LastIndexByte(name, '-')
		if end < 0 {
			break
		}
		name = name[:end]
	}
	return w.fallback, w.locales[w.fallback]
}

// speech says things in one language, on the clock of one account; the first fault ends it.
type speech struct {
	locale  string
	words   *template.Template
	contact *Contact
	err     error
}

func (s *speech) say(name string, data any) string {
	var b bytes.Buffer
	if s.err == nil {
		if err := s.words.ExecuteTemplate(&b, name, data); err != nil {
			s.err = fmt.Errorf("%s.tmpl: %w", s.locale, err)
		}
	}
	return strings.TrimSpace(b.String())
}

// moment writes an instant as the account's clock shows it, with the zone's abbreviation or offset.
func (s *speech) moment(at rating.Instant) string {
	t := at.Time().In(s.contact.Zone)
	zone := t.Format("MST")
	if strings.HasPrefix(zone, "+") || strings.HasPrefix(zone, "-") || zone == "" {
		zone = "UTC" + t.Format("-07:00")
	}
	return t.Format(s.say("date", nil)) + " (" + zone + ")"
}

// end writes when something ends: of a date, it is that day and not the first moment of the next one.
func (s *speech) end(at rating.Instant) string {
	t := at.Time().In(s.contact.Zone)
	if t.Hour() == 0 && t.Minute() == 0 && t.Second() == 0 && t.Nanosecond() == 0 {
		at -= 60e6 // 23:59 of the last day
	}
	return s.moment(at)
}

// when says when something happened. The stages of a package's life begin where a day, or a term, ends.
func (s *speech) when(n *Notice) string {
	switch n.Kind {
	case rating.NoticeGrace.String(), rating.NoticeRetention.String(), rating.NoticeReleased.String():
		return s.end(n.At)
	}
	return s.moment(n.At)
}

// number writes a decimal with the language's signs.
func (s *speech) number(decimal string) string {
	whole, fraction, _ := strings.Cut(decimal, ".")
	sign := ""
	if strings.HasPrefix(whole, "-") {
		sign, whole = "-", whole[1:]
	}
	comma := s.say("comma", nil)
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + comma + whole[i:]
	}
	if fraction != "" {
		whole += s.say("point", nil) + fraction
	}
	return sign + whole
}

// view is what a template may say of a notice: all of it fit to be shown.
type view struct {
	Kind, Account, AccountID, Package, PackageID, Meter string
	Threshold, Remaining, Quota, Days                   string
	At, Ends                                            string
	UsedUp, Stops                                       bool
	Count                                               int
}

func (s *speech) view(n *Notice) view {
	v := view{
		Kind: n.Kind, AccountID: plain(n.Account), Account: plain(s.contact.Name), PackageID: plain(n.Package),
		Package: plain(n.PackageName), Meter: plain(n.Meter), At: s.when(n),
		UsedUp: n.Threshold == "0", Stops: n.StopsBeforeExcess, Count: 1,
	}
	if v.Account == "" {
		v.Account = v.AccountID
	}
	if v.Package == "" {
		v.Package = v.PackageID
	}
	if n.Ends != 0 {
		v.Ends = s.end(n.Ends)
	}
	unit := plain(n.Unit)
	if unit != "" {
		unit = " " + unit
	}
	switch {
	case n.Kind == rating.NoticeExpiryReminder.String():
		v.Days, v.UsedUp = s.number(n.Threshold), false
	case n.Threshold != "" && n.Percentage:
		v.Threshold = s.say("percent", s.number(n.Threshold))
	case n.Threshold != "":
		v.Threshold = s.number(n.Threshold) + unit
	}
	if n.Remaining != "" {
		v.Remaining = s.number(n.Remaining) + unit
	}
	if n.Quota != "" {
		v.Quota = s.number(n.Quota) + unit
	}
	return v
}

// Compose puts notices of one account into words for a channel. Several of them make a digest.
func (w *Words) Compose(notices []Notice, c *Contact, channel string) (*Message, error) {
	locale, words := w.locale(c.Locale)
	s := &speech{locale: locale, words: words, contact: c}
	m := &Message{Channel: channel, To: c.address(channel), Account: c.Account, Locale: locale, Notices: notices}
	if channel == ChannelWebhook {
		return m, nil
	}
	first := s.view(&notices[0])
	subject := notices[0].Kind
	if len(notices) > 1 {
		subject, first.Count = Digest, len(notices)
	}
	m.Subject = oneLine(s.say(subject+".subject", first))
	if channel == ChannelSMS {
		m.Text = s.short(subject+".sms", first)
		return m, s.err
	}
	m.Paragraphs = strings.Split(s.say(subject+".text", first), "\n\n")
	page := s.page(notices, m)
	page.Footer = s.say("footer", first)
	m.Text = page.text()
	var b bytes.Buffer
	if err := w.html.Execute(&b, page); err != nil && s.err == nil {
		s.err = fmt.Errorf("mail.html: %w", err)
	}
	m.HTML = b.String()
	return m, s.err
}

// oneLine keeps what a template wrote from becoming two headers.
func oneLine(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == '\r' || r == '\n' || r == 0 }), " ")
}

// short writes an SMS, shortening names until it fits one segment where that can be.
func (s *speech) short(name string, v view) string {
	text := plainQuotes(oneLine(s.say(name, v)))
	for room := 40; room >= 12 && s.err == nil; room -= 4 {
		if segments, _ := SegmentsOf(text); segments == 1 {
			break
		}
		v.Package, v.Account, v.Meter = shortened(v.Package, room), shortened(v.Account, room), shortened(v.Meter, room)
		text = plainQuotes(oneLine(s.say(name, v)))
	}
	return text
}

func shortened(name string, room int) string {
	runes := []rune(name)
	if len(runes) <= room {
		return name
	}
	return strings.TrimSpace(string(runes[:room-1])) + "…"
}

// Digest is what several notices of an account at once become, beside the kinds of a single one.
const Digest = "digest"

// Sample puts a made-up notice of a kind, or a digest of one of each, into words, to look at; contact may be nil.
func (w *Words) Sample(kind, channel, locale string, c *Contact) (*Message, error) {
	kinds := []string{kind}
	if kind == Digest {
		kinds = Kinds()
	} else if !slices.Contains(Kinds(), kind) {
		return nil, fmt.Errorf("%q is no kind of notice; write one of %s, or %s", kind, strings.Join(Kinds(), ", "), Digest)
	}
	if c == nil {
		c = &Contact{Account: "acme", Name: "Acme Ltd.", Email: "owner@example.com", Phone: "+4915112345678", Zone: time.UTC, Webhook: "https://example.com/hook"}
	}
	if locale != "" {
		sample := *c
		sample.Locale = locale
		c = &sample
	}
	notices := make([]Notice, len(kinds))
	for i, kind := range kinds {
		notices[i] = sampleNotice(kind, rating.InstantOf(time.Date(2026, 10, 24, 14, 30, 0, 0, time.UTC)))
		notices[i].Account = c.Account
	}
	if channel == ChannelWebhook {
		notices = notices[:1] // each is an event of its own
	}
	return w.Compose(notices, c, channel)
}

func sampleNotice(kind string, at rating.Instant) Notice {
	const day = 86400e6
	midnight := at - at%day
	n := Notice{
		Key: "sample/" + kind, Kind: kind, Account: "acme", Package: "acme-2026-10", PackageName: "Starter 1000 GB", Unit: "GB",
		At: at, Ends: midnight + 8*day,
	}
	switch kind {
	case rating.NoticeUsageAlert.String():
		n.Percentage, n.Threshold, n.Remaining, n.Quota = true, "20", "199.5", "1000"
	case rating.NoticeExpiryReminder.String():
		n.Threshold = "7"
	case rating.NoticeServiceStop.String():
		n.Meter = "traffic"
	case rating.NoticeArrears.String():
		n.Package, n.PackageName, n.Ends = "", "", 0
	default:
		n.At, n.Ends = midnight, midnight
	}
	return n
}
