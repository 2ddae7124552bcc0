package notifier

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// mostRunes is how much of a name is shown.
const mostRunes = 120

// plain makes a name of a catalog fit to stand in a message, wherever that is shown: one line without control characters
// (header and log injection) or invisible ones (which turn text around, or hide in it), and no formula should somebody
// paste it into a spreadsheet. HTML is the template's to escape.
func plain(name string) string {
	text := plainLine(name)
	if utf8.RuneCountInString(text) > mostRunes {
		text = string([]rune(text)[:mostRunes-1]) + "…"
	}
	if text != "" && strings.ContainsRune("=+-@＝＋－＠", firstRune(text)) {
		text = "'" + text
	}
	return text
}

// plainLine makes one line of a text, without what is not seen.
func plainLine(name string) string {
	var b strings.Builder
	for _, r := range strings.ToValidUTF8(name, "\ufffd") {
		switch {
		case unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp, unicode.Zs):
			b.WriteByte(' ')
		case unicode.In(r, unicode.Cf, unicode.Co, unicode.Cs):
		default:
			b.WriteRune(r)
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

func firstRune(text string) rune {
	r, _ := utf8.DecodeRuneInString(text)
	return r
}
