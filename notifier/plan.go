package notifier

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"drawdown/rating"
)

// Policy is what an operator decides about telling.
type Policy struct {
	Site         string
	Configured   []string      // the channels that there are senders for
	MaxAge       time.Duration // an older notice is not sent
	DigestAbove  int           // an account that has more at once gets one message for all
	Attempts     int           // after so many a message is given up
	PerRecipient int           // messages an hour to one address; 0: any number
	RepeatSMS    bool          // an SMS whose fate is not known is sent again
}

// What becomes of a message that is planned.
const (
	Pending    = "pending"
	Sent       = "sent"
	Unknown    = "unknown"
	Suppressed = "suppressed"
	Expired    = "expired"
	Dead       = "dead"
)

// Planned is a message to be: one notice on one channel, or a digest of several.
type Planned struct {
	ID, Channel, Account string
	State, Reason        string
	Keys                 []string
}

// useful says why a notice is no longer of use; "": it is.
func (p *Policy) useful(n *Notice, now rating.Instant) string {
	reminder := n.Kind == rating.NoticeExpiryReminder.String()
	switch {
	case n.Moot != "":
		return n.Moot
	case (reminder || n.Kind == rating.NoticeUsageAlert.String()) && n.Ends != 0 && n.Ends <= now:
		return "the package has expired meanwhile"
	case !reminder && now-n.At > rating.Instant(p.MaxAge.Microseconds()):
		return fmt.Sprintf("it was due %v ago, more than notify.max_age", (time.Duration(now-n.At) * time.Microsecond).Round(time.Minute))
	}
	return ""
}

// Plan makes messages of notices: for each channel on which a notice is told, unless the account has nowhere to be told,
// which is recorded. Notices are in order of their accounts.
func (p *Policy) Plan(notices []Notice, now rating.Instant, contact func(account string) *Contact) []Planned {
	var plan []Planned
	for len(notices) > 0 {
		n := 1
		for n < len(notices) && notices[n].Account == notices[0].Account {
			n++
		}
		plan = p.planAccount(plan, notices[:n], now, contact(notices[0].Account))
		notices = notices[n:]
	}
	return plan
}

// planAccount leaves out channels that the operator has not configured, as long as a notice is told at all.
func (p *Policy) planAccount(plan []Planned, notices []Notice, now rating.Instant, c *Contact) []Planned {
	told := make([]bool, len(notices))
	for _, channel := range p.Configured {
		var useful []string
		for i := range notices {
			n := &notices[i]
			if !n.toldOn(channel, c) {
				continue
			}
			told[i] = true
			if reason := p.useful(n, now); reason != "" {
				plan = append(plan, p.planned(channel, n.Account, Expired, reason, n.Key))
				continue
			}
			useful = append(useful, n.Key)
		}
		state, reason := p.reach(channel, c)
		if len(useful) > p.DigestAbove && channel != ChannelWebhook && state == Pending {
			plan = append(plan, p.planned(channel, c.Account, state, reason, useful...))
			continue
		}
		for _, key := range useful {
			plan = append(plan, p.planned(channel, c.Account, state, reason, key))
		}
	}
	for i := range notices {
		if n := &notices[i]; !told[i] && !n.toldOn(ChannelInbox, c) {
			channel, reason := ChannelEmail, "it is told on no channel (alert_rules, notify.channels, notify.accounts)"
			for _, wanted := range []string{ChannelWebhook, ChannelSMS, ChannelEmail} {
				if n.toldOn(wanted, c) {
					channel = wanted
					_, reason = p.reach(wanted, c)
				}
			}
			plan = append(plan, p.planned(channel, n.Account, Suppressed, reason, n.Key))
		}
	}
	return plan
}

// toldOn tells whether a notice is told on a channel, as the operator and the account want it.
func (n *Notice) toldOn(channel string, c *Contact) bool {
	return slices.Contains(n.Channels, channel) && (c.Channels == nil || slices.Contains(c.Channels, channel))
}

// reach tells whether a channel reaches an account.
func (p *Policy) reach(channel string, c *Contact) (state, reason string) {
	switch {
	case c.Unknown:
		return Suppressed, "the account is not in the catalog"
	case !slices.Contains(p.Configured, channel):
		return Suppressed, "no " + channelNoun(channel) + " is configured (notify." + channel + ")"
	case c.address(channel) == "":
		return Suppressed, "the account has no " + addressNoun(channel)
	}
	return Pending, ""
}

func (p *Policy) planned(channel, account, state, reason string, keys ...string) Planned {
	h := sha256.New()
	for _, part := range append([]string{p.Site, channel}, keys...) {
		fmt.Fprintf(h, "%d:%s\n", len(part), part)
	}
	return Planned{hex.EncodeToString(h.Sum(nil)[:16]), channel, account, state, reason, keys}
}

func channelNoun(channel string) string {
	return strings.NewReplacer(ChannelEmail, "mail server", ChannelSMS, "SMS gateway").Replace(channel)
}

func addressNoun(channel string) string {
	return strings.NewReplacer(ChannelEmail, "e-mail address", ChannelSMS, "phone number", ChannelWebhook, "webhook address").Replace(channel)
}

// backoff is how long to wait after so many attempts: half a minute, doubled each time, two hours at most, and up to half
// as much again by the message's id, so that what failed together does not come back together.
func backoff(id string, attempts int) time.Duration {
	wait := min(30*time.Second<<min(attempts-1, 10), 2*time.Hour)
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", id, attempts))
	return wait + wait/2*time.Duration(sum[0])/256
}
