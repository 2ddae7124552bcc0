package rating

// PayerState is what one period hands to the next (R5.3): one period's closing state is the next one's opening state.
// A package of which it says nothing is taken as unused so far.
type PayerState struct {
	Payer    int32
	Packages []PackageState // by package
	// Leftovers are what cycles left that are over, by package and cycle: late usage may still draw on it (R5.5).
	Leftovers []Leftover
	Counters  []Counter // by account, meter and month
	Stops     []Stop    // by account, meter, package and cycle
	Cash      Amount    // of a tracked payer
	Tracked   bool      // Cash counts: the payer had a balance
	TopUps    Amount    // of a tracked payer: all that was paid in so far
	Arrears   bool      // told, and not made whole since
}

// Empty tells whether there is nothing to hand on.
func (p *PayerState) Empty() bool {
	return len(p.Packages)+len(p.Leftovers)+len(p.Counters)+len(p.Stops) == 0 && !p.Tracked
}

// Stage is how far the life of a package has come.
type Stage uint8

const (
	StageFuture    Stage = iota
	StageLive            // may be drawn on
	StageGrace           // expired, not renewed
	StageRetention       // the same, later
	StageEnded           // released or revoked: remembered for a while, so that it does not begin anew
)

// PackageState is what is left of a package, in its smallest units.
type PackageState struct {
	Package              int32
	Stage                Stage
	Scale                int32   // of the quantities here
	Arms                 int32   // resizes in this cycle that lifted the remainder: alerts may fire again after each
	Cycle                int32   // number of the cycle in its term, from 0
	TermStart, TermEnd   Instant // of the current term; cycles are counted from its start
	CycleStart, CycleEnd Instant
	ServesFrom           Instant   // a term renewed after the old end serves no usage from before the renewal
	NextEnds             []Instant // ends of the terms that were renewed ahead
	Quota                int64     // of later cycles
	Grant                int64     // of this cycle: quota and what rolled over
	Remaining            int64
	Rolled               int64    // the part of Remaining that rolled over: used first, and not again
	Lapsed               int64    // what expired with the term; an extension that is entered late gives it back
	Terms                uint64   // fingerprint of what may not change once the package is settled
	Applied              []uint64 // fingerprints of the changes that were applied, ascending
	LapsedAt             Instant  // where an extension gave back what had lapsed: when that was; 0: none did
	Raises               []Raise  // by resizes in this cycle, oldest first
}

// Raise is what a resize added to the remainder of a cycle. Usage from before it may not draw on it.
type Raise struct {
	At       Instant
	Quantity int64
}

// Leftover is what expired with a cycle, in the package's smallest units: usage of that time which comes late draws on it.
type Leftover struct {
	Package              int32
	Scale                int32 // of the quantities here
	CycleStart, CycleEnd Instant
	ServesFrom, LapsedAt Instant // as in PackageState
	Quota                int64
	Left                 int64
	Rolled               int64 // the part of it that rolled over from the cycle before
	Raises               []Raise
}

// Counter is Q of R1.3: what counts so far of an account, a meter and a calendar month of the billing zone.
type Counter struct {
	Account, Meter int32
	Scale          int32 // of the meter, which may not change while it counts
	Month          Month
	Usage          int64 // served: covered or charged
	Excess         int64 // charged
}

// Stop is a service stop that its account was told of: once per account, meter and cycle of the stopping package.
type Stop struct {
	Account, Meter, Package int32
	CycleStart              Instant
}
