package notifier

import (
	"strings"
	"time"

	"drawdown/rating"
)

// Raw is the mail as it is sent.
func (e *Email) Raw(m *Message) (string, error) {
	msg, err := e.compose(m)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	_, err = msg.WriteTo(&b)
	return b.String(), err
}

// Until gives when quiet hours end.
func (q Quiet) Until(now rating.Instant, zone *time.Location) (rating.Instant, bool) {
	return q.until(now, zone)
}

// CheckPublic tells whether an address may be connected to.
func CheckPublic(address string) error { return checkPublic(address) }

// Backoff is how long is waited after so many attempts.
func Backoff(id string, attempts int) time.Duration { return backoff(id, attempts) }
