package page

import (
	"time"

	"drawdown/rating"
)

// Number is a quantity or an amount, exactly.
type Number rating.Amount

func (n Number) String() string { return rating.Amount(n).String() }

// MarshalText writes the decimal without trailing zeros.
func (n Number) MarshalText() ([]byte, error) { return []byte(n.String()), nil }

// At is an instant; 0 is none.
type At rating.Instant

// MarshalText writes RFC 3339, or nothing.
func (a At) MarshalText() ([]byte, error) {
	if a == 0 {
		return nil, nil
	}
	return []byte(rating.Instant(a).String()), nil
}

// Head is what both pages begin with.
type Head struct {
	Site        string   `json:"site"`
	From        At       `json:"from"`
	To          At       `json:"to"`
	TimeZone    string   `json:"time_zone"`
	Provisional bool     `json:"provisional"`
	Periods     []Period `json:"periods"`

	Per string `json:"per"` // what a day is on this page: hour, day or month

	Zone     *time.Location            `json:"-"`
	Currency string                    `json:"-"` // the site's
	Digits   func(currency string) int `json:"-"` // of a currency's minor unit
}

// Period is a settled period of which the page tells.
type Period struct {
	Name     string `json:"name"`
	Revision int    `json:"revision"`
	State    string `json:"state"` // settled or closed
}

// Money is an amount in one currency. Those of different currencies are never added up.
type Money struct {
	Currency string `json:"currency"`
	Amount   Number `json:"amount"`
}

// Units are what became of a meter's units: settled = deducted + excess + stopped.
type Units struct {
	Settled  Number `json:"settled"`
	Deducted Number `json:"deducted"`
	Excess   Number `json:"excess"`
	Stopped  Number `json:"stopped"`
}

// Day is what happened on a day, or in an hour or a month where the range is short or long.
type Day struct {
	Day string `json:"day"` // on the clock of the page; late: usage of earlier days that came late
	Units
	Charges []Money `json:"charges"`
}

// Meter is a meter's usage and money.
type Meter struct {
	Meter string `json:"meter"`
	Unit  string `json:"unit"`
	Units
	Charges []Money `json:"charges"`
	Days    []Day   `json:"days"`
}

// Rows says what became of rows: read = settled + duplicate + superseded + quarantined + out of period.
type Rows struct {
	Read        int64 `json:"read"`
	Settled     int64 `json:"settled"`
	Duplicate   int64 `json:"duplicate"`
	Superseded  int64 `json:"superseded"`
	Quarantined int64 `json:"quarantined"`
	OutOfPeriod int64 `json:"out_of_period"`
}

// Quota says what became of the quota of packages: opening + granted + rolled over - deducted - expired - revoked = closing.
type Quota struct {
	Opening    Number `json:"opening"`
	Granted    Number `json:"granted"`
	RolledOver Number `json:"rolled_over"`
	Deducted   Number `json:"deducted"`
	Expired    Number `json:"expired"`
	Revoked    Number `json:"revoked"`
	Closing    Number `json:"closing"`
}

// UnitQuota is the quota of all packages that count in one unit.
type UnitQuota struct {
	Unit     string `json:"unit"`
	Packages int    `json:"packages"`
	Quota
}

// Package is a package as the range left it.
type Package struct {
	Package string   `json:"package"`
	Name    string   `json:"name"`
	Account string   `json:"account"`
	Unit    string   `json:"unit"`
	Cycle   string   `json:"cycle"` // hour, day, …; empty: granted once
	State   string   `json:"state"`
	Size    Number   `json:"quota"`
	Quota            // over the range
	Begins  At       `json:"begins"`
	Ends    At       `json:"cycle_ends"`
	Expires At       `json:"expires"`
	Why     []string `json:"why"` // it is worth a look

	Forecast *Forecast `json:"forecast,omitempty"`
	Burn     *Burn     `json:"burn_down,omitempty"`
}

// Forecast is when a package runs out, or why that cannot be told.
type Forecast struct {
	Days     int    `json:"days"` // of use that it is made from
	PerDay   Number `json:"per_day"`
	RunsOut  At     `json:"runs_out"`
	Earliest At     `json:"earliest"`
	Latest   At     `json:"latest"` // none: it may never run out
	Note     string `json:"note"`   // in place of the rest: why there is no forecast; or what comes before it
}

// Burn is a package's burn-down.
type Burn struct {
	From    At        `json:"-"`
	To      At        `json:"-"`
	Points  []Point   `json:"points"`
	Events  []Event   `json:"events"`
	More    int       `json:"more_events"`
	Days    []DayLeft `json:"days"`
	Granted Number    `json:"-"` // in the last cycle, which begins at Begins
	Begins  At        `json:"-"`
}

// DayLeft is what was left at the end of a day.
type DayLeft struct {
	Day  string `json:"day"`
	Left Number `json:"left"`
}

// Point is what is left at an instant, from then on.
type Point struct {
	At   At     `json:"at"`
	Left Number `json:"left"`
}

// Event is something that happened to a package.
type Event struct {
	At   At     `json:"at"`
	Left Number `json:"left"`
	Text string `json:"text"`
}

// Count is how many there are of a kind.
type Count struct {
	Kind  string `json:"kind"`
	Count int64  `json:"count"`
}

// Payer is what a payer is charged in one currency.
type Payer struct {
	Payer  string `json:"payer"` // empty: all others
	Name   string `json:"name"`
	Others int    `json:"others,omitempty"`
	Money
}

// Late is what usage changed that came after its period was closed.
type Late struct {
	Account  string `json:"account"`
	Meter    string `json:"meter"`
	Unit     string `json:"unit"`
	Month    string `json:"month"`
	Deducted Number `json:"deducted"`
	Excess   Number `json:"excess"`
	Money
}

// Backfill is what another revision changed in a period.
type Backfill struct {
	Period   string  `json:"period"`
	Was      int     `json:"was_revision"`
	Is       int     `json:"is_revision"`
	Reason   string  `json:"reason"`
	Accounts int     `json:"accounts"`
	Packages int     `json:"packages"`
	Charges  []Money `json:"charges"` // more, or with a minus less
}

// Change is what an account is charged otherwise, over all backfills.
type Change struct {
	Account string `json:"account"`
	Meter   string `json:"meter"`
	Units   Number `json:"units"`
	Money
}

// Quarantined are the rows that could not be settled for one reason.
type Quarantined struct {
	Reason  string   `json:"reason"`
	Rows    int64    `json:"rows"`
	Samples []Sample `json:"samples"`
}

// Sample is one of these rows.
type Sample struct {
	Period  string `json:"period"`
	Object  string `json:"source_object"`
	Row     int64  `json:"source_row"`
	Detail  string `json:"detail"`
	Record  string `json:"record_id"`
	Account string `json:"account"`
	Meter   string `json:"meter"`
	Raw     string `json:"raw"` // its beginning
}

// Overview is the page about all accounts.
type Overview struct {
	Head
	Rows          Rows          `json:"rows"`
	Meters        []Meter       `json:"meters"`
	MoreMeters    int           `json:"more_meters"` // whose days are not told
	Charges       []Money       `json:"charges"`
	Quotas        []UnitQuota   `json:"quotas"`
	Packages      int           `json:"packages"`
	States        []Count       `json:"states"`
	Reasons       []Count       `json:"why"` // packages by what is odd about them
	Odd           []Package     `json:"odd"`
	Chosen        []Package     `json:"chosen"` // burn-downs
	Most          []Package     `json:"most_drawn"`
	Notices       []Count       `json:"notices"`
	Payers        []Payer       `json:"payers"`
	Late          []Late        `json:"late"`
	MoreLate      int           `json:"more_late"`
	LateCharges   []Money       `json:"late_charges"`
	Backfills     []Backfill    `json:"backfills"`
	Changes       []Change      `json:"changes"`
	MoreChanges   int           `json:"more_changes"`
	BackfillMoney []Money       `json:"backfill_charges"`
	Quarantine    []Quarantined `json:"quarantine"`
}

// Charge is what is charged for a meter beyond the packages.
type Charge struct {
	Account   string `json:"account"`
	Meter     string `json:"meter"`
	Unit      string `json:"unit"`
	Month     string `json:"month"`
	Price     string `json:"price"`
	Tier      int    `json:"tier"` // 0: the price has none
	Late      bool   `json:"late"`
	Quantity  Number `json:"quantity"`
	UnitPrice Number `json:"unit_price"` // 0: the price is of the whole quantity
	Per       Number `json:"per"`
	Money
}

// Drawn is what an account took from a package of somebody else.
type Drawn struct {
	Account  string `json:"account"`
	Package  string `json:"package"`
	Owner    string `json:"owner"`
	Unit     string `json:"unit"`
	Consumed Number `json:"consumed"`
}

// Account is the page for a customer.
type Account struct {
	Head
	Account      string    `json:"account"`
	Name         string    `json:"name"`
	Accounts     []string  `json:"accounts"` // that it pays for, itself included
	Meters       []Meter   `json:"meters"`
	MoreMeters   int       `json:"more_meters"`
	Packages     []Package `json:"packages"`
	MorePackages int       `json:"more_packages"`
	Shared       []Drawn   `json:"shared"`
	Lines        []Charge  `json:"charge_lines"`
	MoreLines    int       `json:"more_charge_lines"`
	Charges      []Money   `json:"charges"`
}
