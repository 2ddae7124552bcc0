package rating

import "strings"

// Rule is the alert rule that holds for the package: the most specific one (R2.6).
func (p *Package) Rule() *AlertRule { return p.rule }

// NoticeTermEnd reads from a dedup key the end of the term that an expiry_reminder, grace, retention or released notice
// is about; false for the other kinds.
func NoticeTermEnd(key string) (Instant, bool) {
	parts := splitKey(key)
	if len(parts) < 3 {
		return 0, false
	}
	switch parts[0] {
	case NoticeExpiryReminder.String(), NoticeGrace.String(), NoticeRetention.String(), NoticeReleased.String():
		end, err := ParseInstant([]byte(parts[2]))
		return end, err == nil
	}
	return 0, false
}

// splitKey takes apart what dedupKey has joined.
func splitKey(key string) []string {
	var parts []string
	var part strings.Builder
	for i := 0; i < len(key); i++ {
		switch {
		case key[i] == '\\' && i+1 < len(key):
			i++
			part.WriteByte(key[i])
		case key[i] == '/':
			parts = append(parts, part.String())
			part.Reset()
		default:
			part.WriteByte(key[i])
		}
	}
	return append(parts, part.String())
}
