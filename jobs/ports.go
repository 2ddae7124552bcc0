package jobs

import (
	"context"
	"errors"
	"iter"
	"time"

	"drawdown/rating"
)

// Object is a usage object as the bucket lists it. Version changes whenever the content may have changed.
type Object struct {
	Key     string
	Size    int64
	Version string
}

// Summary is what reading an object found.
type Summary struct {
	Read        int64          // records, rejected ones included
	First, Last rating.Instant // of all rows with a readable time; First > Last where there is none
	SHA256      [32]byte
}

// Sink takes what a reader finds. Batches are the reader's again after the call.
type Sink interface {
	Records(*rating.Records) error
	Reject(*rating.Rejected) error
}

// Bucket lists usage objects by key, and names that are none.
type Bucket interface {
	List(ctx context.Context) (objects []Object, ignored []string, err error)
	// Expect says which objects are going to be read, in their order, so that they can be fetched ahead.
	Expect([]Object)
}

// Reader reads usage objects.
type Reader interface {
	Decoder
	// Raw gives the bytes of rows, at most rating.RawMax of each.
	Raw(ctx context.Context, o Object, rows []int64) (map[int64][]byte, error)
	// AttributeSets gives the sets that batches name by number; only after all objects are read.
	AttributeSets() []rating.AttributeSet
}

// Decoder makes batches of usage objects; of many at a time. An object that cannot be read whole is an [ObjectError].
type Decoder interface {
	Read(ctx context.Context, o Object, sink Sink) (Summary, error)
	// Select reads what an object of a version that was read before has of some accounts, and rejects nothing.
	Select(ctx context.Context, o Object, accounts *rating.AccountSet, sink Sink) error
}

// ObjectError is an object that cannot be read whole (R4.5).
type ObjectError struct {
	Key string
	Err error
}

func (e *ObjectError) Error() string { return e.Err.Error() }
func (e *ObjectError) Unwrap() error { return e.Err }

// Known is a usage object that an earlier run has read: while its version is the same, so is its content.
type Known struct {
	Object
	SHA256      [32]byte
	Read        int64
	First, Last rating.Instant
	// Home is the start of the period in which those rows stand that belong to no period: the newest one of the run that
	// first read this content.
	Home rating.Instant
}

// Settled is the period that was settled last.
type Settled struct {
	Period         rating.Period
	ManifestSHA256 [32]byte
}

// State is what was settled before.
type State interface {
	// Last gives the newest settled period; nil: none was.
	Last(ctx context.Context) (*Settled, error)
	// Objects gives the remembered usage objects by key.
	Objects(ctx context.Context) (map[string]Known, error)
	// Opening gives a shard's payers as the last settled period left them, by payer, and a hash of that; in the numbers of a
	// catalog that has the shard.
	Opening(ctx context.Context, c *rating.Catalog, shard int) ([]rating.PayerState, [32]byte, error)
}

// ErrFenced is what Commit fails with when another run took the lease meanwhile.
var ErrFenced = errors.New("another run has taken the lease")

// Ledger makes a run true.
type Ledger interface {
	// Seal encodes the closing states of a shard, which are in the numbers of a catalog.
	Seal(c *rating.Catalog, states []rating.PayerState) (SealedState, error)
	// Commit stores all of it in one transaction, or nothing.
	Commit(ctx context.Context, c *Commit) error
	// Current gives the current revision of every period, by name.
	Current(ctx context.Context) (map[string]Current, error)
}

// SealedState is the closing state of a shard, encoded.
type SealedState struct {
	Blob     []byte
	SHA256   [32]byte
	Payers   int
	Packages int
}

// Commit is all that a run makes true at once.
type Commit struct {
	Periods []PeriodCommit
	Objects []Known
	Closes  []rating.Instant // starts of the periods that it closes
}

// PeriodCommit is one period of a commit.
type PeriodCommit struct {
	Report         *PeriodReport
	Manifest       *Manifest
	ManifestKey    string
	ManifestSHA256 [32]byte
	Shards         []SealedState // by number
	Notices        []Outgoing
	Taken          *TakenOver // its notices stay as they are; nil: there are none
}

// Outgoing is a notice on its way into the outbox, by the names of things.
type Outgoing struct {
	rating.Notice
	AccountID, PackageID, MeterID string
	PackageScale                  int
	Channels                      []string // of the package's alert rule
}

// Manifest is what is said of a period's files; the writer adds the files themselves.
type Manifest struct {
	Period         rating.Period
	Name           string
	Revision       int
	Inputs         []Input
	CatalogSHA256  [32]byte
	OpeningSHA256  [][32]byte // by shard; empty in the first period
	ClosingSHA256  [][32]byte // by shard
	Rows           RowCounts
	Meters         []MeterReport
	Amounts        []CurrencyAmount
	PreviousSHA256 [32]byte
	Late           *LateSettled // nil: nothing was settled of closed periods
	// Standing is of a backfill: the key of the manifest that the period has. Where the new files come to what it says,
	// none is written, so that nobody ever takes them for another settlement.
	Standing string
}

// Input is a usage object that can hold rows of a period, and what became of its rows there.
type Input struct {
	Known
	Rows     RowCounts
	Probable int64
}

// Output makes folders of settled periods.
type Output interface {
	Create(period rating.Period, name string, revision int, objects []string) (Revision, error)
	// Sync makes the files of all revisions last, so that a commit may refer to them.
	Sync(ctx context.Context) error
	// Publish names the current revision of every period, where that is not what is said already.
	Publish(ctx context.Context, current map[string]Current) error
}

// Current is what current.json says of a period.
type Current struct {
	Revision       int
	ManifestKey    string
	ManifestSHA256 [32]byte
}

// Revision is the files of a period in the making.
type Revision interface {
	Shards
	// Finish writes the quarantine, reads everything back and checks it, and writes the manifest last. An empty key says
	// that all of it comes to the standing manifest, and that there is no other.
	Finish(ctx context.Context, m *Manifest, quarantine iter.Seq2[Rejection, error]) (key string, sha256 [32]byte, err error)
	// Discard removes a revision that will not be committed.
	Discard() error
}

// Shards are the files of a revision by shard: made, or those of a standing revision.
type Shards interface {
	// Shard makes the files of a shard, of results in the numbers of a catalog that has it.
	Shard(number int, c *rating.Catalog) Shard
	// TakeOver makes the standing files of some shards files of this revision, too.
	TakeOver(ctx context.Context, p *StandingPeriod, shards []bool) (*TakenOver, error)
}

// Shard is the files of one shard of a period; payers come in ascending order.
type Shard interface {
	Append(payer int32, result *rating.Result) error
	Close() error
}

// Rejection is a row of the quarantine table.
type Rejection struct {
	Object int32
	*rating.Rejected
}

// Clock tells the time that passes; business time comes from Settle.Now.
type Clock func() time.Time
