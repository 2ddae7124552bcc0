package rating

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"
)

// presets are the deduction orders that have a name (R3.3); docs/rules.md gives the source of each.
var presets = map[string][]Key{
	"default":       {ByPriority, ByScope, ByCycleEnd, BySource, ByEffective, ByCreated},
	"source_first":  {BySource, ByCreated, ByEffective, ByCycleEnd},
	"credit_grants": {ByPriority, ByCycleEnd, BySource, ByEffective, ByCreated},
	"oldest_first":  {ByEffective, ByCycleEnd},
}

// ParseOrder reads deduction_order: the name of a preset, or the names of keys. No names at all mean the default.
func ParseOrder(names []string) ([]Key, error) {
	if len(names) == 0 {
		names = []string{"default"}
	}
	if keys, ok := presets[names[0]]; ok && len(names) == 1 {
		return keys, nil
	}
	var keys []Key
	for _, name := range names {
		i := slices.Index(keyNames[:], name)
		if i < 0 {
			return nil, fmt.Errorf("%q is neither a key (%s) nor, alone, a preset (default, source_first, credit_grants, oldest_first)",
				name, strings.Join(keyNames[:], ", "))
		}
		if slices.Contains(keys, Key(i)) {
			return nil, fmt.Errorf("key %q stands twice", name)
		}
		keys = append(keys, Key(i))
	}
	return keys, nil
}

// maxKeys is how many numbers a deduction rank has: size takes two.
const maxKeys = 9

// rank is a package's place in the deduction order of one lane: numbers compared one after another, low first. The
// package's index, and so its id, comes last.
type rank [maxKeys]int64

// rankOf computes the rank that a package has while one of its entries serves a lane.
func (s *Settler) rankOf(r *packageRun, cover *Cover, own bool) rank {
	var k rank
	n := 0
	for _, key := range s.order {
		switch key {
		case ByPriority:
			k[n] = r.pkg.Priority
		case ByScope:
			k[n] = scopeOf(cover, own)
		case BySource:
			k[n] = int64(r.pkg.Source)
		case ByCycleEnd:
			k[n] = int64(r.CycleEnd)
		case ByEffective:
			k[n] = int64(r.TermStart)
		case ByExpires:
			k[n] = int64(r.TermEnd)
		case ByCreated:
			k[n] = int64(r.pkg.Created)
		case BySize:
			k[n], k[n+1] = sizeKey(r.Remaining, r.pkg.Scale)
			n++
		}
		n++
	}
	return k
}

// scopeOf puts own before shared, then an entry with hours before one without, then more conditions first.
func scopeOf(cover *Cover, own bool) int64 {
	scope := int64(1<<20 - len(cover.Where))
	if cover.Hours == (Hours{}) {
		scope |= 1 << 24
	}
	if !own {
		scope |= 1 << 25
	}
	return scope
}

// sizeKey orders remainders of packages with different scales, the larger first, in two numbers.
func sizeKey(remaining int64, scale int) (hi, lo int64) {
	h, l := bits.Mul64(uint64(remaining), uint64(pow10[maxScale-scale]))
	const sign = 1 << 63 // flipped, so that unsigned order becomes signed order
	return -int64(h), int64(^l ^ sign)
}

// before compares two ranks of the packages with the given indexes.
func (k *rank) before(other *rank, keys int, index, otherIndex int32) bool {
	for i := range keys {
		if k[i] != other[i] {
			return k[i] < other[i]
		}
	}
	return index < otherIndex
}

// DecidingKey names the key that puts one rank before another: the first in which they differ, or "id".
func (s *Settler) decidingKey(a, b *rank) string {
	n := 0
	for _, key := range s.order {
		if a[n] != b[n] || key == BySize && a[n+1] != b[n+1] {
			return key.String()
		}
		if key == BySize {
			n++
		}
		n++
	}
	return "id"
}
