package usage

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"slices"
	"sync"

	"drawdown/rating"
)

// pair is an attribute of a record.
type pair struct{ name, value []byte }

// setNumbers gives attribute sets their numbers, for all goroutines of a Reader.
type setNumbers struct {
	conditions map[string][]string

	mu     sync.Mutex
	number map[string]int32 // by the set's key
	sets   []rating.AttributeSet
}

func newSetNumbers(conditions map[string][]string) *setNumbers {
	return &setNumbers{
		conditions: conditions,
		number:     map[string]int32{"": 0},
		sets:       []rating.AttributeSet{{}},
	}
}

func (s *setNumbers) all() []rating.AttributeSet {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.sets)
}

func (s *setNumbers) numberOf(key []byte, pairs []pair) int32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n, ok := s.number[string(key)]; ok {
		return n
	}
	set := make(rating.AttributeSet, len(pairs))
	for i, p := range pairs {
		set[i] = rating.Attribute{Name: string(p.name), Value: string(p.value)}
	}
	n := int32(len(s.sets))
	s.number[string(key)] = n
	s.sets = append(s.sets, set)
	return n
}

// attributeCoder turns a record's attributes into a set's number and a hash. One goroutine uses it.
type attributeCoder struct {
	shared *setNumbers
	known  map[string]int32
	kept   []pair
	key    []byte
	text   []byte
}

func newAttributeCoder(shared *setNumbers) *attributeCoder {
	return &attributeCoder{shared: shared, known: map[string]int32{}}
}

// code sorts the pairs. Content is a 64-bit hash of all of them, and 0 only where there are none.
func (a *attributeCoder) code(pairs []pair) (set int32, content uint64) {
	if len(pairs) == 0 {
		return 0, 0
	}
	sortPairs(pairs)
	a.kept, a.key, a.text = a.kept[:0], a.key[:0], a.text[:0]
	for _, p := range pairs {
		a.text = appendPair(a.text, p)
		if values := a.shared.conditions[string(p.name)]; len(values) > 0 {
			if _, asked := slices.BinarySearchFunc(values, p.value, compareText); asked {
				a.kept = append(a.kept, p)
				a.key = appendPair(a.key, p)
			}
		}
	}
	if content = hash64(a.text); content == 0 {
		content = 1
	}
	if len(a.kept) == 0 {
		return 0, content
	}
	set, ok := a.known[string(a.key)]
	if !ok {
		set = a.shared.numberOf(a.key, a.kept)
		a.known[string(a.key)] = set
	}
	return set, content
}

func compareText(a string, b []byte) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return int(a[i]) - int(b[i])
		}
	}
	return len(a) - len(b)
}

func sortPairs(pairs []pair) {
	slices.SortFunc(pairs, func(a, b pair) int { return bytes.Compare(a.name, b.name) })
}

func appendPair(to []byte, p pair) []byte {
	to = binary.AppendUvarint(to, uint64(len(p.name)))
	to = append(to, p.name...)
	to = binary.AppendUvarint(to, uint64(len(p.value)))
	return append(to, p.value...)
}

// hash64 is a hash that never changes: results may not depend on a process. Eight bytes at a time are folded by a
// 128-bit product (the construction of wyhash).
func hash64(b []byte) uint64 {
	const k0, k1 = 0x9e3779b97f4a7c15, 0xe7037ed1a0b428db
	h := uint64(len(b)) ^ k0
	for len(b) >= 8 {
		h = fold(h^binary.LittleEndian.Uint64(b), k1)
		b = b[8:]
	}
	var tail [8]byte
	copy(tail[:], b)
	return fold(fold(h^binary.LittleEndian.Uint64(tail[:]), k1)^k0, k1)
}

func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}
