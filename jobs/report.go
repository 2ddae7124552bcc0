package jobs

import (
	"time"

	"drawdown/rating"
)

// Report is what a settle did, or with a dry run would do.
type Report struct {
	Run     int64 // 0 for a dry run, or where there was nothing to do
	DryRun  bool
	Nothing string // why there was nothing to do; empty where something was settled
	Periods []PeriodReport
	Ignored []string // names in the usage folder that are no usage objects
	Stages  []Stage
	Objects int // read
	InPart  int // of these, objects that were settled as they are: only the rows of shards that are computed were read
	Skipped int // objects that cannot hold the periods' records, and were not read again
	Read    int64
	Rows    RowCounts // over all periods; in a period's own counts, other periods' rows are out of period
	// Late counts rows of periods that had been settled before their object came, or changed: nothing has settled them.
	Late        int64
	Replaced    []string // objects of which rows of settled periods had been read with other content
	Unchanged   int      // periods of a backfill that came to what was settled, and stay as they are
	LateObjects []string // some of the objects
	LateSettled []string // objects of which rows of closed periods were settled
	// FirstOpen is set where rows of closed periods wait: the settled period that takes them in when it is settled again.
	FirstOpen *rating.Period
	Elapsed   time.Duration

	read map[string]objectRead // by key
}

// objectRead is an object that was read, by one batch of periods or more.
type objectRead struct {
	rows   int64 // that it has
	inPart bool  // by none of them as a whole
}

// Stage is how long a part of the work took, summed over the workers.
type Stage struct {
	Name string // "read", "partition and sort", "rate", "write", "check", "commit"
	Busy time.Duration
}

// PeriodReport is one settled period.
type PeriodReport struct {
	Period      rating.Period
	Name        string
	Revision    int
	Manifest    string // key below the output
	Rows        RowCounts
	Meters      []MeterReport
	Charges     []CurrencyAmount
	Notices     map[string]int // by kind
	Lines       int64
	Quarantined map[string]int64 // by reason
	Probable    int64            // probable duplicates
	Late        *LateSettled     // of closed periods; nil: nothing
}

// RowCounts are the control totals by rows (R4.6): Read = Settled + Duplicate + Superseded + Quarantined + OutOfPeriod.
type RowCounts struct {
	Read, Settled, Duplicate, Superseded, Quarantined, OutOfPeriod int64
}

// MeterReport is the control total by quantity of one meter: Settled = Deducted + Excess + Stopped.
type MeterReport struct {
	Meter, Unit                        string
	Settled, Deducted, Excess, Stopped rating.Amount // DECIMAL(38,9)
}

// CurrencyAmount is a sum of charges in one currency.
type CurrencyAmount struct {
	Currency string
	Amount   rating.Amount
}
