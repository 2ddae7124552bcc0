package notifier

import (
	"math/big"
	"strings"

	"drawdown/rating"

	"github.com/rivo/uniseg"
)

// mailPage is an e-mail: what mail.html is given, and what the plain text says.
type mailPage struct {
	Language, Subject, Account, Footer string
	Tone                               string
	Paragraphs                         []string
	Sections                           []mailSection
}

// mailSection is a notice in figures; it has a title of its own where a mail tells of several.
type mailSection struct {
	Title, Tone string
	Bar         *mailBar
	Facts       []fact
}

// mailBar shows how much of a package is left.
type mailBar struct {
	Percent int // that are filled
	Text    string
}

type fact struct{ Label, Value string }

// Tones of a mail: how much there is to do about it.
const (
	toneCalm    = "calm"
	toneWarning = "warning"
	toneAlarm   = "alarm"
)

// toneOf is how a notice is shown.
func toneOf(n *Notice) string {
	switch n.Kind {
	case rating.NoticeExpiryReminder.String():
		return toneCalm
	case rating.NoticeUsageAlert.String():
		if n.Threshold != "0" {
			return toneWarning
		}
	case rating.NoticeGrace.String(), rating.NoticeRetention.String():
		return toneWarning
	}
	return toneAlarm
}

// page lays a mail out.
func (s *speech) page(notices []Notice, m *Message) *mailPage {
	digest := len(notices) > 1
	page := &mailPage{Language: m.Locale, Subject: m.Subject, Paragraphs: m.Paragraphs, Account: s.view(&notices[0]).Account, Tone: toneCalm}
	for i := range notices {
		if tone := toneOf(&notices[i]); tone == toneAlarm || page.Tone == toneCalm {
			page.Tone = tone // the most pressing of them
		}
		section := mailSection{Tone: toneOf(&notices[i]), Bar: s.bar(&notices[i]), Facts: s.facts(&notices[i], digest)}
		if digest {
			section.Title = oneLine(s.say(notices[i].Kind+".subject", s.view(&notices[i])))
		}
		page.Sections = append(page.Sections, section)
	}
	return page
}

// bar is what is left of a package's quota. Where that does not go together with the threshold that was reached, since
// something had rolled over, it is the threshold.
func (s *speech) bar(n *Notice) *mailBar {
	if n.Kind != rating.NoticeUsageAlert.String() {
		return nil
	}
	percent, ok := percentOf(n)
	if !ok {
		return nil
	}
	whole := percent.String()
	if strings.Contains(whole, "/") {
		whole = percent.FloatString(0)
	}
	filled := new(big.Int).Quo(percent.Num(), percent.Denom()).Int64()
	if filled == 0 && percent.Sign() > 0 {
		filled, whole = 1, "<1"
	}
	return &mailBar{Percent: int(filled), Text: s.say("percent", whole)}
}

// percentOf is how much of a package is left, as exactly as is known; false: nothing is known of it.
func percentOf(n *Notice) (percent *big.Rat, ok bool) {
	threshold, isNumber := new(big.Rat).SetString(n.Threshold)
	known := isNumber && n.Percentage
	left, isLeft := new(big.Rat).SetString(n.Remaining)
	quota, isQuota := new(big.Rat).SetString(n.Quota)
	if isLeft && isQuota && quota.Sign() > 0 {
		share := left.Quo(left, quota)
		share.Mul(share, big.NewRat(100, 1))
		if share.Cmp(big.NewRat(100, 1)) <= 0 && share.Sign() >= 0 && (!known || share.Cmp(threshold) <= 0) {
			return share, true
		}
	}
	return threshold, known
}

// facts are what a notice says in figures.
func (s *speech) facts(n *Notice, digest bool) []fact {
	v := s.view(n)
	var facts []fact
	add := func(label, value string) {
		if value != "" {
			facts = append(facts, fact{s.say("label."+label, v), value})
		}
	}
	named := func(name, id string) string {
		if name != id {
			name += " (" + id + ")"
		}
		return name
	}
	if !digest {
		add("account", named(v.Account, v.AccountID))
	}
	add("package", named(v.Package, v.PackageID))
	add("meter", v.Meter)
	if v.Quota != "" && v.Remaining != "" {
		v.Remaining = s.say("remaining", v)
	}
	add("remaining", v.Remaining)
	switch n.Kind {
	case rating.NoticeExpiryReminder.String(): // what counts is when it ends
		add("ends", v.Ends)
	case rating.NoticeGrace.String(), rating.NoticeRetention.String(), rating.NoticeReleased.String(): // it has ended
		add("at", v.At)
	default:
		add("at", v.At)
		add("ends", v.Ends)
	}
	return facts
}

// columns is how wide a plain text is.
const columns = 72

// text is the same without HTML.
func (p *mailPage) text() string {
	var b strings.Builder
	for i, paragraph := range p.Paragraphs {
		if i > 0 {
			b.WriteByte('\n')
		}
		writeWrapped(&b, "", "", paragraph)
	}
	for _, section := range p.Sections {
		b.WriteByte('\n')
		if section.Title != "" {
			writeWrapped(&b, "* ", "  ", section.Title)
		}
		widest := 0
		for _, f := range section.Facts {
			widest = max(widest, uniseg.StringWidth(f.Label))
		}
		if bar := section.Bar; bar != nil {
			filled := (bar.Percent + 4) / 5
			b.WriteString("  [" + strings.Repeat("#", filled) + strings.Repeat(".", 20-filled) + "] " + bar.Text + "\n")
		}
		for _, f := range section.Facts {
			label := "  " + f.Label + ": " + strings.Repeat(" ", widest-uniseg.StringWidth(f.Label))
			writeWrapped(&b, label, strings.Repeat(" ", widest+4), f.Value)
		}
	}
	b.WriteString("\n-- \n")
	writeWrapped(&b, "", "", p.Footer)
	return b.String()
}

// writeWrapped writes a text in lines of at most so many columns as there are, where the language allows to break it. No
// line begins with what a spreadsheet would take for a formula.
func writeWrapped(b *strings.Builder, first, next, text string) {
	line, used := first, uniseg.StringWidth(first)
	empty := true // the line holds nothing of the text yet
	for state := -1; text != ""; {
		var piece string
		piece, text, _, state = uniseg.FirstLineSegmentInString(text, state)
		for text != "" && strings.ContainsRune("=+-@＝＋－＠", firstRune(text)) {
			var glued string
			glued, text, _, state = uniseg.FirstLineSegmentInString(text, state)
			piece += glued
		}
		width := uniseg.StringWidth(strings.TrimRight(piece, " "))
		if !empty && used+width > columns {
			b.WriteString(strings.TrimRight(line, " ") + "\n")
			line, used = next, uniseg.StringWidth(next)
		}
		line += piece
		used += uniseg.StringWidth(piece)
		empty = false
	}
	b.WriteString(strings.TrimRight(line, " \n") + "\n")
}
