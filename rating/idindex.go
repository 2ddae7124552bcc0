package rating

import (
	"encoding/binary"
	"math/bits"
)

// idIndex finds rows by id. It is asked for every account of every page of usage, and what that costs are cache misses:
// one for the slot, which has all but the id itself, and one for the id.
type idIndex struct {
	slots []idSlot // open addressing
	arena []byte   // all ids
}

// idSlot is a row; its length is one more than that of the id, so that an empty slot has none.
type idSlot struct {
	hash, row, start, length uint32
}

func newIDIndex(rows int, id func(row int) string) idIndex {
	size := 8
	for size < rows+rows/4 {
		size *= 2
	}
	x := idIndex{slots: make([]idSlot, size)}
	for row := range rows {
		text := id(row)
		h := hashID([]byte(text))
		i := h & uint64(size-1)
		for x.slots[i].length != 0 {
			i = (i + 1) & uint64(size-1)
		}
		x.slots[i] = idSlot{uint32(h >> 32), uint32(row), uint32(len(x.arena)), uint32(len(text)) + 1}
		x.arena = append(x.arena, text...)
	}
	return x
}

func (x *idIndex) find(id []byte) (int32, bool) {
	h := hashID(id)
	mask := uint64(len(x.slots) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
		s := &x.slots[i]
		if s.length == 0 {
			return 0, false
		}
		if s.hash == uint32(h>>32) && int(s.length) == len(id)+1 && string(x.arena[s.start:s.start+s.length-1]) == string(id) {
			return int32(s.row), true
		}
	}
}

// findAll finds many ids, into rows; [None] where there is none. It asks for the slots of a block of ids one after another,
// and then for the ids of those slots, so that the misses of a block overlap where find would wait for each.
func (x *idIndex) findAll(rows []int32, id func(i int) []byte) {
	const block = 128
	var hashes [block]uint64
	var slots [block]idSlot
	var first [block]byte
	mask := uint64(len(x.slots) - 1)
	for from := 0; from < len(rows); from += block {
		n := min(block, len(rows)-from)
		for i := range n {
			hashes[i] = hashID(id(from + i))
		}
		for i := range n {
			slots[i] = x.slots[hashes[i]&mask]
		}
		for i := range n {
			if slots[i].length > 1 {
				first[i] = x.arena[slots[i].start]
			}
		}
		for i := range n {
			text, s := id(from+i), &slots[i]
			if s.hash == uint32(hashes[i]>>32) && int(s.length) == len(text)+1 && (len(text) == 0 || text[0] == first[i]) &&
				string(x.arena[s.start:s.start+s.length-1]) == string(text) {
				rows[from+i] = int32(s.row)
				continue
			}
			row, ok := x.find(text)
			if !ok {
				row = None
			}
			rows[from+i] = row
		}
	}
}

// hashID mixes eight bytes at a time by multiplying to 128 bits and folding, as wyhash does.
func hashID(id []byte) uint64 {
	const odd = 0x9e3779b97f4a7c15
	h := uint64(len(id)) ^ odd
	for len(id) >= 8 {
		hi, lo := bits.Mul64(h^binary.LittleEndian.Uint64(id), 0xd6e8feb86659fd93)
		h, id = hi^lo, id[8:]
	}
	var tail [8]byte
	copy(tail[:], id)
	hi, lo := bits.Mul64(h^binary.LittleEndian.Uint64(tail[:]), odd)
	return hi ^ lo
}
