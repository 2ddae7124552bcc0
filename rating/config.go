package rating

import "time"

// Key is a key of the deduction order (R3.3).
type Key uint8

const (
	ByPriority Key = iota
	ByScope
	BySource
	ByCycleEnd
	ByEffective
	ByExpires
	ByCreated
	BySize
)

var keyNames = [...]string{"priority", "scope", "source", "cycle_end", "effective", "expires", "created", "size"}

func (k Key) String() string { return keyNames[k] }

// Config is what an operator decides about settling, apart from the catalog.
type Config struct {
	Zone         *time.Location // billing time zone
	Currency     string         // default currency code
	Order        []Key
	ReminderDays []int
	LateHorizon  time.Duration // for how long what a cycle leaves is kept for late usage (R5.5)
}
