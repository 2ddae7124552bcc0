package rating

import "slices"

// Records is a column batch of usage records of one object, as a reader makes them: parsed and resolved against the
// catalog, in the order of the object. All columns have the same length; an optional column may be nil.
type Records struct {
	Time     []Instant
	Account  []int32 // index in Catalog.Accounts
	Meter    []int32 // index in Catalog.Meters; None where Spoilt
	Quantity []int64 // in the meter's smallest units; 0 where Spoilt
	Row      []int64 // in the object, from 1
	IDs      []byte  // the record ids, one after another
	IDEnd    []uint32
	Version  []int64  // optional: all are 0
	Attrs    []int32  // optional: numbers of attribute sets; all are 0
	Content  []uint64 // optional: a hash of all attributes of the record, read or not; all are 0
	Spoilt   []bool   // optional: rows that are quarantined already, but whose version still supersedes (R4.3)
}

// Len is the number of records.
func (r *Records) Len() int { return len(r.Time) }

// ID is the id of record i. It is valid as long as the batch is.
func (r *Records) ID(i int) []byte {
	start := uint32(0)
	if i > 0 {
		start = r.IDEnd[i-1]
	}
	return r.IDs[start:r.IDEnd[i]]
}

// Reset empties the batch and keeps its memory.
func (r *Records) Reset() {
	r.Time, r.Account, r.Meter, r.Quantity = r.Time[:0], r.Account[:0], r.Meter[:0], r.Quantity[:0]
	r.Row, r.IDs, r.IDEnd = r.Row[:0], r.IDs[:0], r.IDEnd[:0]
	r.Version, r.Attrs, r.Content, r.Spoilt = r.Version[:0], r.Attrs[:0], r.Content[:0], r.Spoilt[:0]
}

// Reason is why a row is in quarantine; the order is that of R4.4: where several apply, the first one counts.
type Reason uint8

const (
	Malformed Reason = iota
	MissingField
	BadTime
	BadQuantity
	UnknownAccount
	UnknownMeter
	NoPrice
	Conflict
	Future
	TooLate   // for a closed period, and beyond the late horizon, or other than what is booked (R5.5)
	BadObject // the whole object, with usage.on_bad_object: quarantine (R4.5)
)

var reasonNames = [...]string{
	"malformed", "missing_field", "bad_time", "bad_quantity", "unknown_account", "unknown_meter", "no_price", "conflict",
	"future", "too_late", "bad_object",
}

func (r Reason) String() string { return reasonNames[r] }

// ReasonNamed gives the reason of a name.
func ReasonNamed(name string) (Reason, bool) {
	i := slices.Index(reasonNames[:], name)
	return Reason(max(i, 0)), i >= 0
}

// RawMax is how much of a quarantined row's bytes is kept.
const RawMax = 4096

// Rejected is a row that does not settle, with all that is known of it (R4.4).
type Rejected struct {
	Row      int64 // in the object, from 1; 0 for the object as a whole
	Reason   Reason
	Detail   string // in words, with the value
	RecordID string
	Account  string // as written, known or not
	Meter    string
	Raw      []byte // RawMax bytes at most; of a Parquet row, the row as a JSON object
	Time     Instant
	HasTime  bool // else the row belongs to no period
	Future   bool // that is later than now, so that the row belongs to no period yet, whatever its reason
}

// Batch is a column batch of records of one payer in canonical order: what a [Settler] takes.
type Batch struct {
	Time     []Instant
	Account  []int32
	Meter    []int32
	Quantity []int64
	Attrs    []int32 // numbers of attribute sets; nil when all are 0
	Object   []int32 // number of the object among the run's objects, in the order of their keys
	Row      []int64
	IDs      []byte
	IDStart  []uint32
	IDEnd    []uint32
}

// Len is the number of records.
func (b *Batch) Len() int { return len(b.Time) }

// ID is the id of record i. It is valid as long as the batch is.
func (b *Batch) ID(i int) []byte { return b.IDs[b.IDStart[i]:b.IDEnd[i]] }
