package shuffle

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"hash/maphash"
	"math/bits"
	"unsafe"

	"drawdown/rating"
)

// record is a usage record as it travels here: no pointers, no padding, so that a slice of them is written to the temp
// file as it stands.
type record struct {
	time     rating.Instant
	idHi     uint64 // a UUID's first half, or the hash of an id in the arena …
	idLo     uint64 // … and the second half, or where in its chunk's arena the id stands
	quantity int64
	origin   uint64 // object and row; ordered as (object, row)
	account  int32
	meter    int32
	attrs    int32
	marks    uint32 // longID, spoilt, and above them 1 + the number of the record's extra, or 0
}

const (
	recordSize = int(unsafe.Sizeof(record{}))
	extraSize  = int(unsafe.Sizeof(extra{}))

	longID    = 1
	spoilt    = 2
	markBits  = 2
	rowBits   = 36 // rows of one object: 68 billion
	maxRow    = 1<<rowBits - 1
	maxObject = 1<<(64-rowBits) - 1
)

// extra is what most records do not have.
type extra struct {
	version int64
	content uint64
}

func (r *record) object() int32 { return int32(r.origin >> rowBits) }
func (r *record) row() int64    { return int64(r.origin & maxRow) }
func (r *record) isLong() bool  { return r.marks&longID != 0 }
func (r *record) isSpoilt() bool {
	return r.marks&spoilt != 0
}

// chunk is a piece of a partition: records and what they refer to.
type chunk struct {
	records []record
	extras  []extra
	ids     []byte // each id after its length (4 bytes)
	counted int    // bytes of it that the budget knows of
}

// size is how much memory the chunk holds.
func (c *chunk) size() int {
	return cap(c.records)*recordSize + cap(c.extras)*extraSize + cap(c.ids)
}

func (c *chunk) reset() {
	c.records, c.extras, c.ids = c.records[:0], c.extras[:0], c.ids[:0]
}

// full tells whether the chunk should be closed: no place for another record, or ids that outgrew the records.
func (c *chunk) full() bool {
	return len(c.records) == cap(c.records) || len(c.ids) >= cap(c.records)*recordSize
}

// middle is a time that stands for the chunk: that of the record in the middle, as a late one may come first.
func (c *chunk) middle() rating.Instant { return c.records[len(c.records)/2].time }

// putID appends an id to the arena and gives its place.
func (c *chunk) putID(id []byte) uint64 {
	at := len(c.ids)
	c.ids = binary.LittleEndian.AppendUint32(c.ids, uint32(len(id)))
	c.ids = append(c.ids, id...)
	return uint64(at)
}

// putExtra appends an extra and gives the mark that refers to it.
func (c *chunk) putExtra(e extra) uint32 {
	c.extras = append(c.extras, e)
	return uint32(len(c.extras)) << markBits
}

// extra gives what the record has of it.
func (c *chunk) extra(r *record) extra {
	if n := r.marks >> markBits; n > 0 {
		return c.extras[n-1]
	}
	return extra{}
}

// longID gives an id from the arena.
func (c *chunk) longID(r *record) []byte {
	at := r.idLo + 4
	return c.ids[at : at+uint64(binary.LittleEndian.Uint32(c.ids[r.idLo:]))]
}

// id gives the text of the record's id; scratch holds it when it has to be written out.
func (c *chunk) id(r *record, scratch *[uuidLen]byte) []byte {
	if r.isLong() {
		return c.longID(r)
	}
	putUUID(scratch, r.idHi, r.idLo)
	return scratch[:]
}

// add copies a record of another chunk to the end of this one.
func (c *chunk) add(from *chunk, r *record) {
	n := len(c.records)
	c.records = append(c.records, *r)
	if r.marks == 0 {
		return
	}
	to := &c.records[n]
	if r.isLong() {
		to.idLo = c.putID(from.longID(r))
	}
	if r.marks>>markBits > 0 {
		to.marks = r.marks&(1<<markBits-1) | c.putExtra(from.extra(r))
	}
}

// sameID compares the ids of two records. A text has just one form here, so ids of different forms differ.
func sameID(a *record, ca *chunk, b *record, cb *chunk) bool {
	if a.idHi != b.idHi || a.isLong() != b.isLong() {
		return false
	}
	if a.isLong() {
		return bytes.Equal(ca.longID(a), cb.longID(b))
	}
	return a.idLo == b.idLo
}

// compareIDs orders the ids of two records as bytes of text.
func compareIDs(a *record, ca *chunk, b *record, cb *chunk) int {
	if !a.isLong() && !b.isLong() {
		if order := cmp.Compare(a.idHi, b.idHi); order != 0 {
			return order
		}
		return cmp.Compare(a.idLo, b.idLo)
	}
	var sa, sb [uuidLen]byte
	return bytes.Compare(ca.id(a, &sa), cb.id(b, &sb))
}

// compareRecords is the canonical order within a payer (R1.8).
func compareRecords(a *record, ca *chunk, b *record, cb *chunk) int {
	switch {
	case a.time != b.time:
		return cmp.Compare(a.time, b.time)
	case a.account != b.account:
		return cmp.Compare(a.account, b.account)
	case a.meter != b.meter:
		return cmp.Compare(a.meter, b.meter)
	}
	return compareIDs(a, ca, b, cb)
}

// hasher hashes ids with a seed of its own: what comes out of the shuffle does not depend on it, and nobody can choose
// ids that collide.
type hasher struct {
	seed   maphash.Seed
	k0, k1 uint64
}

func newHasher() hasher {
	seed := maphash.MakeSeed()
	return hasher{seed: seed, k0: maphash.String(seed, "0"), k1: maphash.String(seed, "1")}
}

// text hashes the text of a long id.
func (h *hasher) text(id []byte) uint64 { return maphash.Bytes(h.seed, id) }

// record hashes account and id.
func (h *hasher) record(r *record) uint64 {
	lo := r.idLo
	if r.isLong() {
		lo = 0 // a place, which says nothing
	}
	hi, low := bits.Mul64(r.idHi^h.k0, lo^h.k1)
	hi, low = bits.Mul64(hi^low^h.k1, uint64(uint32(r.account))^h.k0)
	return hi ^ low
}

// asBytes shows records or extras as the bytes they are made of, to write them to the temp file and read them back on
// the same machine. Both types are free of pointers and padding.
func asBytes[T record | extra](s []T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(s))), len(s)*int(unsafe.Sizeof(*new(T))))
}
