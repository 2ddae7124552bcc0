package notifier

import (
	"strings"
	"unicode/utf16"
)

// The characters of GSM 03.38, which an SMS has 160 of, and those that take two of its places. A text with any other is
// sent as UCS-2, of which an SMS has 70. A text that is longer is cut into segments, whose header takes 7 or 3 places.
const (
	gsmBasic = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
	gsmTwice = "^{}\\[~]|€\f"
)

// SegmentsOf counts the segments in which a text goes out, each of which costs as one SMS, and tells whether GSM-7 can
// write it.
func SegmentsOf(text string) (segments int, gsm bool) {
	places := 0
	for _, r := range text {
		switch {
		case strings.ContainsRune(gsmBasic, r):
			places++
		case strings.ContainsRune(gsmTwice, r):
			places += 2
		default:
			return ucs2Segments(text), false
		}
	}
	if places <= 160 {
		return 1, true
	}
	return countSegments(text, 153, func(r rune) int {
		if strings.ContainsRune(gsmTwice, r) {
			return 2
		}
		return 1
	}), true
}

func ucs2Segments(text string) int {
	places := 0
	for _, r := range text {
		places += utf16.RuneLen(r)
	}
	if places <= 70 {
		return 1
	}
	return countSegments(text, 67, utf16.RuneLen)
}

// countSegments fills segments; a character of two places is not cut in two.
func countSegments(text string, room int, places func(rune) int) int {
	segments, used := 1, 0
	for _, r := range text {
		n := places(r)
		if used+n > room {
			segments++
			used = 0
		}
		used += n
	}
	return segments
}

// plainQuotes writes typographic signs by those that GSM-7 has, where that makes all of the text fit for it.
func plainQuotes(text string) string {
	plain := strings.NewReplacer("“", "\"", "”", "\"", "„", "\"", "‘", "'", "’", "'", "–", "-", "—", "-", "…", "...", "\u00a0", " ", "\u202f", " ").Replace(text)
	if _, gsm := SegmentsOf(plain); gsm {
		return plain
	}
	return text
}
