package rating

import "slices"

// Period is what is settled at a time: [Start, End).
type Period struct {
	Start, End Instant
}

// LineKind says what became of the units of a line.
type LineKind uint8

const (
	Deduction LineKind = iota
	Excess
	Stopped
)

var lineKindNames = [...]string{"deduction", "excess", "stopped"}

func (k LineKind) String() string { return lineKindNames[k] }

// Line is what became of some units of one record. Quantity is in the meter's smallest units; Consumed, RemainingBefore
// and RemainingAfter are in the package's.
type Line struct {
	EventTime                       Instant
	CycleStart                      Instant // of a deduction
	Quantity                        int64
	Consumed                        int64
	RemainingBefore, RemainingAfter int64
	Amount                          Amount
	SourceRow                       int64
	Account, Meter                  int32
	Package                         int32 // None but for a deduction
	Price                           int32 // None but for excess
	SourceObject                    int32
	IDStart, IDEnd                  uint32 // in Result.IDs
	LineNo                          int32  // from 1
	Tier                            int32  // from 1; 0 for flat and block prices
	Kind                            LineKind
	Late                            bool
}

// Charge is the excess of one account, meter, month, price and tier in a period.
type Charge struct {
	Account, Meter, Price, Tier int32
	Month                       Month
	Late                        bool
	Quantity                    int64
	Amount                      Amount
	LineCount                   int64
}

// Month is a calendar month of the billing zone, as year*12 + month-1.
type Month int32

// BalanceState is what a package's cycle is at the end of a period.
type BalanceState uint8

const (
	StateFuture BalanceState = iota
	StateActive
	StateExhausted
	StateExpired
	StateRevoked
	StateGrace
	StateRetention
	StateReleased
)

var balanceStateNames = [...]string{"future", "active", "exhausted", "expired", "revoked", "grace", "retention", "released"}

func (s BalanceState) String() string { return balanceStateNames[s] }

// Balance is one package's cycle in one period:
// Opening + Granted + RolledOver - Deducted - Expired - Revoked = Closing, all in the package's smallest units.
type Balance struct {
	Package              int32
	CycleStart, CycleEnd Instant
	Quota                int64
	Opening, Granted     int64
	RolledOver           int64 // negative in the cycle that hands on
	Deducted, Expired    int64
	Revoked, Closing     int64
	State                BalanceState
}

// NoticeKind is what there is to tell.
type NoticeKind uint8

const (
	NoticeArrears NoticeKind = iota
	NoticeExpiryReminder
	NoticeGrace
	NoticeReleased
	NoticeRetention
	NoticeServiceStop
	NoticeUsageAlert
)

// The kinds are declared in the order of their names, so that sorting by kind sorts by name.
var noticeKindNames = [...]string{
	"arrears", "expiry_reminder", "grace", "released", "retention", "service_stop", "usage_alert",
}

func (k NoticeKind) String() string { return noticeKindNames[k] }

// ParseNoticeKind reads what String writes.
func ParseNoticeKind(name string) (NoticeKind, bool) {
	i := slices.Index(noticeKindNames[:], name)
	return NoticeKind(max(i, 0)), i >= 0
}

// Notice is something that the owner of an account is to be told.
type Notice struct {
	At         Instant
	Kind       NoticeKind
	Account    int32
	Package    int32   // None for arrears
	Meter      int32   // of service_stop and arrears, else None
	CycleStart Instant // of usage_alert and service_stop
	Type       ThresholdType
	Threshold  int64 // of usage_alert: 10^-9; of expiry_reminder: days x 10^9
	Remaining  int64 // of usage_alert, in the package's smallest units
	RecordID   string
	DedupKey   string // the same whenever the same thing is found again
}

// Unpriced is a record that would have excess while no price is in force: it is quarantined whole (R4.4).
type Unpriced struct {
	Object   int32
	Row      int64
	Account  int32
	Meter    int32
	Time     Instant
	Quantity int64
	ID       string
}

// Totals are sums over records of one meter, in its smallest units: Settled = Deducted + Excess + Stopped (R4.6).
type Totals struct {
	Records                            int64 // settled ones, those of quantity 0 included
	Settled, Deducted, Excess, Stopped Amount
}

// Add adds other sums of the same meter.
func (t *Totals) Add(other *Totals) {
	t.Records += other.Records
	for _, sum := range [...]struct{ to, from *Amount }{
		{&t.Settled, &other.Settled},
		{&t.Deducted, &other.Deducted},
		{&t.Excess, &other.Excess},
		{&t.Stopped, &other.Stopped},
	} {
		*sum.to, _ = sum.to.Add(*sum.from) // sums of 63-bit quantities cannot leave 128 bits
	}
}

// Balanced tells whether every unit settled was deducted, charged or stopped. That the lines say so too is checked where
// they are read back.
func (t *Totals) Balanced() bool {
	sum, _ := t.Deducted.Add(t.Excess)
	sum, _ = sum.Add(t.Stopped)
	return sum == t.Settled
}

// Result is what settling gives. The slices grow from call to call until Reset.
type Result struct {
	Lines    []Line
	IDs      []byte // the ids of Lines
	Charges  []Charge
	Balances []Balance
	Notices  []Notice
	Unpriced []Unpriced
}

// Reset empties the result and keeps its memory.
func (r *Result) Reset() {
	r.Lines, r.IDs, r.Charges, r.Balances = r.Lines[:0], r.IDs[:0], r.Charges[:0], r.Balances[:0]
	r.Notices, r.Unpriced = r.Notices[:0], r.Unpriced[:0]
}

// ResetLines empties the lines alone, in the midst of a payer.
func (r *Result) ResetLines() { r.Lines, r.IDs = r.Lines[:0], r.IDs[:0] }

// RecordID is the record id of a line.
func (r *Result) RecordID(l *Line) []byte { return r.IDs[l.IDStart:l.IDEnd] }
