package shuffle

import (
	"cmp"
	"slices"

	"drawdown/rating"
)

// Tally is what became of the rows of one period, object and meter (R4.6).
type Tally struct {
	Period, Object, Meter int32

	Settled, Duplicate, Superseded, Conflict int64         // rows
	TooLate                                  int64         // rows that would change what is booked
	ProbableDuplicate                        int64         // settled rows that repeat another but for the id (R4.3)
	Quantity                                 rating.Amount // settled, as DECIMAL(38,9)

	units int64 // settled, in the meter's units, not yet in Quantity
}

// Conflict is a row that is quarantined because another one with its id and version says something else.
type Conflict struct {
	Period, Object, Account, Meter int32
	Row                            int64
	Time                           rating.Instant
	ID                             string
	TooLate                        bool // with a row that is booked, which cannot be changed any more
}

// ObjectRows is a number of rows of an object.
type ObjectRows struct {
	Object int32
	Rows   int64
}

// result is what a cursor found out about a shard besides the records it handed on.
type result struct {
	tallies   []Tally
	slots     []int32    // hash table of the tallies: number + 1
	recent    [256]int32 // tallies found lately, by the low bits of object and meter
	conflicts []Conflict
	counted   int // conflicts that the limit knows of
}

// tally finds the tally of a period, object and meter.
func (r *result) tally(period, object, meter int32) *Tally {
	recent := &r.recent[(object*8+meter)&255]
	if int(*recent) < len(r.tallies) {
		if t := &r.tallies[*recent]; t.is(period, object, meter) {
			return t
		}
	}
	if len(r.tallies)*2 >= len(r.slots) {
		r.grow()
	}
	at := r.slot(period, object, meter)
	if r.slots[at] == 0 {
		r.tallies = append(r.tallies, Tally{Period: period, Object: object, Meter: meter})
		r.slots[at] = int32(len(r.tallies))
	}
	*recent = r.slots[at] - 1
	return &r.tallies[*recent]
}

func (t *Tally) is(period, object, meter int32) bool {
	return t.Period == period && t.Object == object && t.Meter == meter
}

func (r *result) slot(period, object, meter int32) uint64 {
	h := (uint64(uint32(object))<<32 | uint64(uint32(period))) * 0x9e3779b97f4a7c15
	h = (h ^ h>>32 ^ uint64(uint32(meter))) * 0xff51afd7ed558ccd
	mask := uint64(len(r.slots) - 1)
	for at := h >> 32 & mask; ; at = (at + 1) & mask {
		n := r.slots[at]
		if n == 0 {
			return at
		}
		if r.tallies[n-1].is(period, object, meter) {
			return at
		}
	}
}

func (r *result) grow() {
	r.slots = make([]int32, max(2*len(r.slots), 64))
	for i := range r.tallies {
		t := &r.tallies[i]
		r.slots[r.slot(t.Period, t.Object, t.Meter)] = int32(i + 1)
	}
}

// settle counts a row that is handed on.
func (t *Tally) settle(quantity int64, scale int) {
	t.Settled++
	sum := t.units + quantity
	if (sum > t.units) != (quantity > 0) && quantity != 0 {
		t.fold(scale)
		sum = quantity
	}
	t.units = sum
}

// fold moves the units into the sum. A sum of int64 quantities fits: 2^36 rows of 2^63 units of 10^9 are below 2^127.
func (t *Tally) fold(scale int) {
	t.Quantity, _ = t.Quantity.Add(rating.DecimalOf(t.units, scale))
	t.units = 0
}

// finish completes the sums and sorts.
func (r *result) finish(meters []rating.Meter) {
	for i := range r.tallies {
		if t := &r.tallies[i]; t.units != 0 {
			t.fold(meters[t.Meter].Scale)
		}
	}
	slices.SortFunc(r.tallies, compareTallies)
	r.slots = nil
}

func compareTallies(a, b Tally) int {
	return cmp.Or(cmp.Compare(a.Period, b.Period), cmp.Compare(a.Object, b.Object), cmp.Compare(a.Meter, b.Meter))
}

// Tallies gives the counts and sums of all shards that were read to their end, by period, object and meter; only those
// that have a row. A shard that was read again counts once, as it was read last.
func (s *Shuffle) Tallies() []Tally {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Tally
	for _, r := range s.results {
		if r != nil {
			all = append(all, r.tallies...)
		}
	}
	slices.SortFunc(all, compareTallies)
	merged := all[:0]
	for _, t := range all {
		if n := len(merged); n > 0 && compareTallies(merged[n-1], t) == 0 {
			merged[n-1].add(t)
		} else {
			merged = append(merged, t)
		}
	}
	return merged
}

func (t *Tally) add(other Tally) {
	t.Settled += other.Settled
	t.Duplicate += other.Duplicate
	t.Superseded += other.Superseded
	t.Conflict += other.Conflict
	t.TooLate += other.TooLate
	t.ProbableDuplicate += other.ProbableDuplicate
	t.Quantity, _ = t.Quantity.Add(other.Quantity)
}

// Conflicts gives the rows in conflict of all shards that were read to their end, by object and row.
func (s *Shuffle) Conflicts() []Conflict {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Conflict
	for _, r := range s.results {
		if r != nil {
			all = append(all, r.conflicts...)
		}
	}
	slices.SortFunc(all, func(a, b Conflict) int {
		// One row may be several records, which have different ids ("#meter").
		return cmp.Or(cmp.Compare(a.Object, b.Object), cmp.Compare(a.Row, b.Row), cmp.Compare(a.ID, b.ID))
	})
	return all
}

// OutOfPeriod gives the rows outside of all periods, by object. Objects that are excluded on reading are in it too.
func (s *Shuffle) OutOfPeriod() []ObjectRows {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]ObjectRows, 0, len(s.outOfPeriod))
	for object, rows := range s.outOfPeriod {
		all = append(all, ObjectRows{object, rows})
	}
	slices.SortFunc(all, func(a, b ObjectRows) int { return cmp.Compare(a.Object, b.Object) })
	return all
}
