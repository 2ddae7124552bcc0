package rating

import (
	"encoding/binary"
	"math/bits"
)

// idIndex finds rows by id. It is asked for every account of every page of usage, so it keeps what it touches together:
// a slot has half of the hash and the row, and all ids stand in one arena.
type idIndex struct {
	slots []uint64 // high half: of the hash; low half: row + 1, 0 for none
	arena []byte
	ends  []uint32 // of the ids in the arena, by row
}

func newIDIndex(rows int, id func(row int) string) idIndex {
	size := 8
	for size < 2*rows {
		size *= 2
	}
	x := idIndex{slots: make([]uint64, size), ends: make([]uint32, rows)}
	for row := range rows {
		x.arena = append(x.arena, id(row)...)
		x.ends[row] = uint32(len(x.arena))
		h := hashID([]byte(id(row)))
		i := h & uint64(size-1)
		for x.slots[i] != 0 {
			i = (i + 1) & uint64(size-1)
		}
		x.slots[i] = h>>32<<32 | uint64(row+1)
	}
	return x
}

func (x *idIndex) find(id []byte) (int32, bool) {
	h := hashID(id)
	mask := uint64(len(x.slots) - 1)
	for i := h & mask; x.slots[i] != 0; i = (i + 1) & mask {
		if x.slots[i]>>32 != h>>32 {
			continue
		}
		row := uint32(x.slots[i]) - 1
		start := uint32(0)
		if row > 0 {
			start = x.ends[row-1]
		}
		if string(x.arena[start:x.ends[row]]) == string(id) {
			return int32(row), true
		}
	}
	return 0, false
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
