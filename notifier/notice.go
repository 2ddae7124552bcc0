package notifier

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"

	"drawdown/rating"
)

// The channels that are delivered to. The inbox is a table, and needs no delivery.
const (
	ChannelEmail   = "email"
	ChannelSMS     = "sms"
	ChannelWebhook = "webhook"
	ChannelInbox   = "inbox"
)

// Notice is what there is to tell, with all that its words need. Decimals are texts.
type Notice struct {
	Key, Kind            string
	Account              string
	Package, PackageName string
	Unit                 string // of Threshold and Remaining
	Meter                string
	Percentage           bool
	Threshold, Remaining string // of a usage_alert; of an expiry_reminder Threshold is its days
	Quota                string // of a usage_alert: of the package's cycle, without what rolled over; "": not known
	StopsBeforeExcess    bool
	RecordID             string
	At                   rating.Instant
	Ends                 rating.Instant // of the package; 0: it has none, or is gone from the catalog
	Channels             []string       // on which it is told
	Moot                 string         // why nobody need be told any more; "": it is of use
}

// Contact is whom an account's notices go to.
type Contact struct {
	Account, Name string
	Email, Phone  string
	Webhook       string
	Locale        string
	Zone          *time.Location
	Quiet         Quiet
	Channels      []string // the only ones on which it wants to be told; nil: all
	Unknown       bool     // it is not in the catalog
}

// address is where a channel reaches the account; "": nowhere.
func (c *Contact) address(channel string) string {
	switch channel {
	case ChannelEmail:
		return c.Email
	case ChannelSMS:
		return c.Phone
	case ChannelWebhook:
		return c.Webhook
	}
	return ""
}

// recipient stands for an address where it is counted: the database shall not hold the address itself.
func recipient(channel, address string) string {
	sum := sha256.Sum256([]byte(channel + "\n" + strings.ToLower(address)))
	return hex.EncodeToString(sum[:16])
}

// Quiet is the time of day in which a phone is left alone, in minutes since midnight; it wraps midnight where From > To.
// The zero value is never.
type Quiet struct{ From, To int }

// until gives when quiet hours end that hold at an instant, on the clock of the zone; false when none do.
func (q Quiet) until(now rating.Instant, zone *time.Location) (rating.Instant, bool) {
	if q.From == q.To {
		return 0, false
	}
	local := now.Time().In(zone)
	minute := local.Hour()*60 + local.Minute()
	days := 0
	switch {
	case q.From < q.To && minute >= q.From && minute < q.To:
	case q.From > q.To && minute >= q.From:
		days = 1
	case q.From > q.To && minute < q.To:
	default:
		return 0, false
	}
	end := time.Date(local.Year(), local.Month(), local.Day()+days, q.To/60, q.To%60, 0, 0, zone)
	return rating.InstantOf(end), true
}
