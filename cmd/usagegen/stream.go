package main

import (
	"math/bits"
	"math/rand/v2"
)

// record is a usage record as generated, in whatever format it is written.
type record struct {
	id       [36]byte
	time     int64 // microseconds since 1970
	account  int   // rank
	meter    int
	quantity int64 // in units of 10^-6
}

// Shares of records in 65536: 2 % come late, 0.5 % are sent a second time.
const (
	lateShare      = 1311
	duplicateShare = 328
	lateMostMicros = 6 * 3600 * 1_000_000 // how late, at most
	recentRecords  = 1024                 // a record is sent again among this many after it
)

// stream makes the records of one usage object, in the order of the object.
type stream struct {
	*world
	object           int
	rng              *rand.ChaCha8
	next, end        uint64 // numbers of records in the world
	start            int64  // of the object's time
	span             uint64 // of the world, in microseconds
	recent           [recentRecords]record
	made             int
	duplicates, late int64
}

func (w *world) newStream(object int) *stream {
	st := &stream{world: w, object: object, rng: w.source("usage", object)}
	records, objects := uint64(w.Records), uint64(w.Objects)
	st.next, st.end = mulDiv(records, uint64(object), objects), mulDiv(records, uint64(object)+1, objects)
	st.span = uint64(w.Days) * 24 * 3600 * 1_000_000
	st.start = st.slot(st.next)
	return st
}

// slot is the time from which on record n may have happened.
func (st *stream) slot(n uint64) int64 {
	return monthStart.UnixMicro() + int64(mulDiv(n, st.span, uint64(st.Records)))
}

// fill makes the next records; it gives how many, 0 at the end.
func (st *stream) fill(batch []record) int {
	n := 0
	for ; n < len(batch) && st.next < st.end; n++ {
		st.one(&batch[n])
		st.next++
	}
	return n
}

func (st *stream) one(r *record) {
	dice := st.rng.Uint64()
	if dice&0xffff < duplicateShare && st.made > 0 {
		*r = st.recent[(dice>>16)%uint64(min(st.made, recentRecords))]
		st.duplicates++
		return
	}
	dice >>= 16
	begin := st.slot(st.next)
	gap := uint64(max(st.slot(st.next+1)-begin, 1))
	r.time = begin + int64(st.rng.Uint64()%gap)
	if dice&0xffff < lateShare && r.time > st.start {
		r.time -= int64(st.rng.Uint64() % uint64(min(r.time-st.start, lateMostMicros)))
		st.late++
	}
	dice >>= 16
	r.meter = st.meterOf(dice % shareSum)
	r.account = st.sampler.draw(st.rng.Uint64())
	r.quantity = quantity(st.rng.Uint64())
	putUUID(&r.id, st.rng.Uint64(), st.rng.Uint64())
	st.recent[st.made%recentRecords] = *r
	st.made++
}

func (w *world) meterOf(dice uint64) int {
	for i, m := range w.meters {
		if dice < m.share {
			return i
		}
		dice -= m.share
	}
	panic("shares of meters do not add up")
}

// quantity draws from ten octaves, each as likely as the other: many small quantities, few large ones, up to 33.55.
func quantity(dice uint64) int64 {
	octave := dice % 10
	return quantum * int64(dice>>32&(1<<(14+octave)-1)+1)
}

const hexDigits = "0123456789abcdef"

// putUUID writes a random UUID (version 4) made of two random numbers.
func putUUID(id *[36]byte, hi, lo uint64) {
	hi = hi&^0xf000 | 0x4000
	lo = lo&^(3<<62) | 2<<62
	for i := range id {
		switch i {
		case 8, 13, 18, 23:
			id[i] = '-'
			continue
		}
		id[i] = hexDigits[hi>>60]
		hi = hi<<4 | lo>>60
		lo <<= 4
	}
}

// sampler draws numbers with given weights in constant time, without floats (Vose's alias method).
type sampler struct {
	limit []uint32 // below: the cell's own number, otherwise its alias
	alias []int32
}

func newSampler(weights []uint64, sum uint64) sampler {
	n := uint64(len(weights))
	s := sampler{make([]uint32, n), make([]int32, n)}
	scaled := make([]uint64, n) // against sum
	var small, large []int32
	for i, weight := range weights {
		scaled[i] = weight * n
		s.alias[i] = int32(i)
		if scaled[i] < sum {
			small = append(small, int32(i))
		} else {
			large = append(large, int32(i))
		}
	}
	for len(small) > 0 && len(large) > 0 {
		low, high := small[len(small)-1], large[len(large)-1]
		small = small[:len(small)-1]
		s.limit[low] = uint32(mulDiv(scaled[low], 1<<32, sum))
		s.alias[low] = high
		scaled[high] -= sum - scaled[low]
		if scaled[high] < sum {
			large = large[:len(large)-1]
			small = append(small, high)
		}
	}
	return s
}

func (s *sampler) draw(dice uint64) int {
	cell, _ := bits.Mul64(dice<<32, uint64(len(s.alias)))
	if uint32(dice>>32) < s.limit[cell] {
		return int(cell)
	}
	return int(s.alias[cell])
}
