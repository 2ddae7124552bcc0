package rating

import (
	"encoding/binary"
	"math/bits"
)

// idIndex finds rows by id. It is asked for every account of every page of usage, and what that costs are cache misses:
// one for the slot, which has all of an id that is not long.
type idIndex struct {
	slots []idSlot // open addressing
	arena []byte   // the ids that are long
}

// idSlot is a row; its length is one more than that of the id, so that an empty slot has none.
type idSlot struct {
	key         idKey
	row, length uint32
}

// idKey is an id of up to shortID bytes: its first and its last eight, which overlap, or fewer and nothing. Of a longer id
// it is the hash, and where the id stands.
type idKey struct{ first, last uint64 }

const shortID = 16

func newIDIndex(rows int, id func(row int) string) idIndex {
	size := 8
	for size < rows+rows/4 {
		size *= 2
	}
	x := idIndex{slots: make([]idSlot, size)}
	for row := range rows {
		text := []byte(id(row))
		key, h := keyOf(text)
		if len(text) > shortID {
			key.last = uint64(len(x.arena))
			x.arena = append(x.arena, text...)
		}
		i := h & uint64(size-1)
		for x.slots[i].length != 0 {
			i = (i + 1) & uint64(size-1)
		}
		x.slots[i] = idSlot{key, uint32(row), uint32(len(text)) + 1}
	}
	return x
}

func (x *idIndex) find(id []byte) (int32, bool) {
	key, h := keyOf(id)
	return x.findKey(key, h, id)
}

func (x *idIndex) findKey(key idKey, hash uint64, id []byte) (int32, bool) {
	mask := uint64(len(x.slots) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		s := &x.slots[i]
		if s.length == 0 {
			return 0, false
		}
		if x.is(s, key, id) {
			return int32(s.row), true
		}
	}
}

// is tells whether a slot is that of an id.
func (x *idIndex) is(s *idSlot, key idKey, id []byte) bool {
	if s.length != uint32(len(id))+1 || s.key.first != key.first {
		return false
	}
	if len(id) <= shortID {
		return s.key.last == key.last
	}
	return string(x.arena[s.key.last:][:len(id)]) == string(id)
}

// findAll finds many ids, into rows; [None] where there is none. It asks for the slots of a block of ids one after another,
// so that the misses of a block overlap where find would wait for each.
func (x *idIndex) findAll(rows []int32, id func(i int) []byte) {
	const block = 128
	var keys [block]idKey
	var hashes, first [block]uint64
	mask := uint64(len(x.slots) - 1)
	for from := 0; from < len(rows); from += block {
		n := min(block, len(rows)-from)
		for i := range n {
			keys[i], hashes[i] = keyOf(id(from + i))
		}
		for i := range n {
			first[i] = x.slots[hashes[i]&mask].key.first
		}
		for i := range n {
			text, slot := id(from+i), &x.slots[hashes[i]&mask]
			if first[i] == keys[i].first && x.is(slot, keys[i], text) {
				rows[from+i] = int32(slot.row)
				continue
			}
			row, ok := x.findKey(keys[i], hashes[i], text)
			if !ok {
				row = None
			}
			rows[from+i] = row
		}
	}
}

// AccountSet is some accounts of a catalog. Most of what it is asked for is not among them, which costs a hash and a bit.
type AccountSet struct {
	ids      idIndex
	accounts []int32
	sieve    []uint64 // by hash: a bit that is set may be an account's; a power of two
}

// sieveBits is how many bits the sieve has for each account: nearly all others then fall through.
const sieveBits = 32

// SelectAccounts gives those accounts that a function says.
func (c *Catalog) SelectAccounts(is func(account int32) bool) *AccountSet {
	s := &AccountSet{}
	for i := range c.Accounts {
		if is(int32(i)) {
			s.accounts = append(s.accounts, int32(i))
		}
	}
	s.ids = newIDIndex(len(s.accounts), func(row int) string { return c.Accounts[s.accounts[row]].ID })
	words := 1
	for words*64 < len(s.accounts)*sieveBits {
		words *= 2
	}
	s.sieve = make([]uint64, words)
	for _, account := range s.accounts {
		_, h := keyOf([]byte(c.Accounts[account].ID))
		s.sieve[h>>6&uint64(words-1)] |= 1 << (h & 63)
	}
	return s
}

// AccountIndex is [Catalog.AccountIndex] for the accounts of the set.
func (s *AccountSet) AccountIndex(id []byte) (int32, bool) {
	key, h := keyOf(id)
	if s.sieve[h>>6&uint64(len(s.sieve)-1)]>>(h&63)&1 == 0 {
		return 0, false
	}
	row, ok := s.ids.findKey(key, h, id)
	if !ok {
		return 0, false
	}
	return s.accounts[row], true
}

// AccountIndexes is [Catalog.AccountIndexes] for the accounts of the set.
func (s *AccountSet) AccountIndexes(accounts []int32, id func(i int) []byte) {
	for i := range accounts {
		accounts[i] = None
		if account, ok := s.AccountIndex(id(i)); ok {
			accounts[i] = account
		}
	}
}

// keyOf gives what an id is found by. Its hash mixes eight bytes at a time by multiplying to 128 bits and folding, as
// wyhash does.
func keyOf(id []byte) (key idKey, hash uint64) {
	const odd, even = 0x9e3779b97f4a7c15, 0xd6e8feb86659fd93
	switch n := len(id); {
	case n > shortID:
		h := uint64(n) ^ odd
		for rest := id; len(rest) > 8; rest = rest[8:] {
			hi, lo := bits.Mul64(h^binary.LittleEndian.Uint64(rest), even)
			h = hi ^ lo
		}
		hi, lo := bits.Mul64(h^binary.LittleEndian.Uint64(id[n-8:]), odd)
		return idKey{first: hi ^ lo}, hi ^ lo
	case n >= 8:
		key = idKey{binary.LittleEndian.Uint64(id), binary.LittleEndian.Uint64(id[n-8:])}
	default:
		for i, b := range id {
			key.first |= uint64(b) << (8 * i)
		}
	}
	hi, lo := bits.Mul64(key.first^odd, key.last^even^uint64(len(id)))
	return key, hi ^ lo
}
