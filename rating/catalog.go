package rating

import "time"

// Catalog is a checked catalog. Rows are sorted by id as bytes and refer to each other by index, so that comparing two
// indexes compares two ids. It is never changed after [Compile], and safe for concurrent use.
type Catalog struct {
	Zone     *time.Location // the billing time zone (R1.7)
	Currency string         // the default currency

	Accounts []Account
	Meters   []Meter
	Prices   []Price
	Packages []Package
	TopUps   []TopUp // by account and instant

	accountByID map[string]int32 // while the catalog is compiled; the indexes take their place
	meterByID   map[string]int32
	packageByID map[string]int32
	accountIDs  idIndex
	meterIDs    idIndex
	packageIDs  idIndex
	prices      []meterPrices       // by meter: the general ones
	pricesOfOwn map[ownKey][]int32  // by account and meter, where there are any
	conditions  map[string][]string // the attributes that any `where` asks for, with their values sorted

	packagesOf groups     // by payer: the packages that its accounts own
	topUpsOf   groups     // by payer
	general    *AlertRule // of packages that no other rule is for

	// Of a catalog without packages, where these are in parts.
	inParts int
}

// None is the index that refers to no row.
const None int32 = -1

// Account is who uses, and who pays.
type Account struct {
	ID, Name, Currency, Email, Phone, Locale string
	Payer                                    int32 // itself, where nobody else pays
	Zone                                     *time.Location
	Tracked                                  bool // has a prepaid cash balance
	Balance                                  Amount

	members []int32 // of a payer: its accounts, itself included
}

// Meter is what is measured; quantities are in units of 10^-Scale.
type Meter struct {
	ID, Unit, Description string
	Scale                 int
	Max                   int64 // a record above it is quarantined
}

// Model is the way in which a price makes a total of a quantity (R2.3).
type Model uint8

const (
	Flat Model = iota
	Graduated
	Volume
	Block
)

// Price is a price list's entry. Its numbers are as written (10^-9 of a currency unit per Per units), for showing;
// settling uses the exact fractions made of them.
type Price struct {
	ID, Currency string
	Meter        int32
	Account      int32 // None: for everybody
	From, To     Instant
	Model        Model
	CountsUsage  bool // Q is all served usage, not the excess alone
	Tiers        []Tier
	Size         int64 // of a block, in the meter's smallest units

	total totalFunction
}

// Tier is a step of a price; flat and block prices have just one, without an end.
type Tier struct {
	UpTo  int64 // the last unit of the tier, in the meter's smallest units; the last tier ends at the largest int64
	Price int64 // 10^-9 of a currency unit …
	Per   int64 // … for this many 10^-9 of a unit
}

// PackageKind says what happens when a package is used up.
type PackageKind uint8

const (
	PayPerUse PackageKind = iota
	StopBeforeExcess
)

// Source says how a package was come by; the order is that of R3.3.
type Source uint8

const (
	Free Source = iota
	Promotion
	Subscription
)

// Reset is the unit of a package's cycles.
type Reset uint8

const (
	NoReset Reset = iota
	EveryHour
	EveryDay
	EveryWeek
	EveryMonth
	EveryYear
	CalendarMonth
)

// Package is a prepaid quota as purchased. Quantities are in units of 10^-Scale of its own unit.
type Package struct {
	ID, Product, Name, Unit     string
	Account                     int32
	Kind                        PackageKind
	Source                      Source
	Reset                       Reset
	Shared                      bool
	Scale                       int
	Quota, RolloverMax          int64
	Priority                    int64
	Effective, Expires, Created Instant
	GraceDays, RetentionDays    int
	PricePaid                   Amount
	Currency                    string
	Covers                      []Cover
	Changes                     []Change // by instant, then by kind

	rule *AlertRule // the most specific one
}

// Cover is what a package pays for, and at which rate.
type Cover struct {
	Meter int32
	// Factor is how many of the package's smallest units one of the meter's smallest units takes: the rate and the two
	// scales in one exact integer.
	Factor int64
	Where  []Condition // sorted by attribute
	Hours  Hours
}

// Condition holds when the attribute has one of the values.
type Condition struct {
	Attribute string
	Values    []string // sorted
}

// Hours is a window of local time of day in microseconds, [From, To); it wraps midnight where To < From. The zero
// value is the whole day.
type Hours struct {
	From, To int64
}

// ChangeKind is what happened to a package after its purchase; the order is that in which changes of one instant apply.
type ChangeKind uint8

const (
	Renewed ChangeKind = iota
	Extended
	Resized
	Revoked
)

// Change is a row of package_changes.
type Change struct {
	At      Instant
	Kind    ChangeKind
	Expires Instant // renewed, extended
	Quota   int64   // resized
}

// ThresholdType says what the numbers of an alert rule are.
type ThresholdType uint8

const (
	Percentage ThresholdType = iota
	Absolute
)

// AlertRule is when to tell an owner that a package runs low.
type AlertRule struct {
	ID         string
	Type       ThresholdType
	Thresholds []int64 // 10^-9 percent or 10^-9 quota units, high to low
	Channels   []string
}

// TopUp is cash paid in.
type TopUp struct {
	Account int32 // the payer
	At      Instant
	Amount  Amount
}

// AttributeSet is what a record's attributes say about the conditions of the catalog: only those attributes are in it
// that some `where` asks for with that value, sorted by name. Sets are numbered by the reader; number 0 is the empty one.
type AttributeSet []Attribute

// Attribute is one name and value.
type Attribute struct {
	Name, Value string
}

// AccountIndex finds an account by its id.
func (c *Catalog) AccountIndex(id []byte) (int32, bool) { return c.accountIDs.find(id) }

// AccountIndexes finds many accounts by their ids, into accounts; [None] where there is none. It is quicker than asking
// for each.
func (c *Catalog) AccountIndexes(accounts []int32, id func(i int) []byte) {
	c.accountIDs.findAll(accounts, id)
}

// MeterIndexes finds many meters by their ids, as AccountIndexes does.
func (c *Catalog) MeterIndexes(meters []int32, id func(i int) []byte) { c.meterIDs.findAll(meters, id) }

// MeterIndex finds a meter by its id.
func (c *Catalog) MeterIndex(id []byte) (int32, bool) { return c.meterIDs.find(id) }

// PackageIndex finds a package by its id.
func (c *Catalog) PackageIndex(id string) (int32, bool) { return c.packageIDs.find([]byte(id)) }

// Conditions gives every attribute that some `where` asks for, with the values it asks for, sorted. A reader keeps these
// pairs of a record's attributes and may forget the others.
func (c *Catalog) Conditions() map[string][]string { return c.conditions }

// Members gives the accounts that a payer pays for, itself included, by id.
func (c *Catalog) Members(payer int32) []int32 { return c.Accounts[payer].members }

// Lives tells whether a payer has anything that goes on without usage: packages of its accounts, or a balance.
func (c *Catalog) Lives(payer int32) bool {
	return len(c.packagesOf.of(payer)) > 0 || c.Accounts[payer].Tracked
}

// topUps gives the top-ups of a payer, by instant.
func (c *Catalog) topUps(payer int32) []int32 {
	return c.topUpsOf.of(payer)
}
