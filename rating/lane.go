package rating

import (
	"cmp"
	"slices"
)

// lane is the way of the records of one account, meter and attribute set: which packages may serve them, in deduction
// order. While nothing changes (no package begins, turns, ends, is resized; no hour strikes) the order stands, and a
// record costs a look at the top of a heap.
type lane struct {
	account, meter, attrs int32
	pair                  int32
	slots                 []slot
	heap                  []int32 // numbers of the slots that can serve now, by rank
	hoursUntil            Instant // until then no entry with hours begins or ends to match
	stops                 bool    // some stop-before-excess package is among the slots
	verdict               verdict // of stopping, as long as nothing happens to the slots
	told                  Stop    // the last service stop found here
	place                 int     // in the table's index
}

// slot is a package that may serve a lane, by the entries of its covers that match meter and attributes, the one that
// scope puts first standing first.
type slot struct {
	rank   rank
	run    int32
	cover  int32 // the entry that serves now; None outside its hours
	place  int32 // in the heap, or None
	own    bool
	covers []int32
}

// verdict is which package stops what a lane's packages do not cover.
type verdict struct {
	known bool
	run   int32 // None: none, the rest is excess
}

// laneTable finds lanes by account, meter and attribute set.
type laneTable struct {
	lanes []lane
	index []int32 // open addressing; lane number + 1
	last  int32
}

func (t *laneTable) reset() {
	for i := range t.lanes { // not the whole index, which is as large as the largest payer needed
		t.index[t.lanes[i].place] = 0
	}
	t.lanes = t.lanes[:0]
	t.last = None
}

func laneHash(account, meter, attrs int32) uint64 {
	h := uint64(uint32(account))<<32 | uint64(uint32(meter))
	h = (h ^ uint64(uint32(attrs))*0x9e3779b97f4a7c15) * 0xff51afd7ed558ccd
	return h ^ h>>32
}

// find gives the lane's number, or None and the place in the index where it belongs.
func (t *laneTable) find(account, meter, attrs int32) (int32, int) {
	if len(t.index) == 0 {
		t.index = make([]int32, 16)
	}
	mask := len(t.index) - 1
	for i := int(laneHash(account, meter, attrs)) & mask; ; i = (i + 1) & mask {
		n := t.index[i] - 1
		if n < 0 {
			return None, i
		}
		if l := &t.lanes[n]; l.account == account && l.meter == meter && l.attrs == attrs {
			return n, i
		}
	}
}

// add makes room for a lane; its slices are those of an earlier one.
func (t *laneTable) add(account, meter, attrs int32, place int) int32 {
	if 2*(len(t.lanes)+1) > len(t.index) {
		t.index = make([]int32, 2*len(t.index))
		for n := range t.lanes {
			_, place := t.find(t.lanes[n].account, t.lanes[n].meter, t.lanes[n].attrs)
			t.index[place], t.lanes[n].place = int32(n)+1, place
		}
		_, place = t.find(account, meter, attrs)
	}
	n := len(t.lanes)
	if n < cap(t.lanes) {
		t.lanes = t.lanes[:n+1]
	} else {
		t.lanes = append(t.lanes, lane{})
	}
	l := &t.lanes[n]
	*l = lane{
		account: account, meter: meter, attrs: attrs, slots: l.slots[:0], heap: l.heap[:0], hoursUntil: Never, place: place,
		told: Stop{Package: None},
	}
	t.index[place] = int32(n) + 1
	return int32(n)
}

// laneFor finds the lane of a record, or opens it.
func (s *Settler) laneFor(account, meter, attrs int32, t Instant) *lane {
	if last := s.lanes.last; last != None {
		if l := &s.lanes.lanes[last]; l.meter == meter && l.account == account && l.attrs == attrs {
			return s.strike(l, last, t)
		}
	}
	n, place := s.lanes.find(account, meter, attrs)
	if n == None {
		n = s.lanes.add(account, meter, attrs, place)
		s.openLane(&s.lanes.lanes[n], n, t)
	}
	s.lanes.last = n
	return s.strike(&s.lanes.lanes[n], n, t)
}

// strike brings the entries with hours up to date.
func (s *Settler) strike(l *lane, n int32, t Instant) *lane {
	if t >= l.hoursUntil {
		l.hoursUntil = Never
		for i := range l.slots {
			if sl := &l.slots[i]; s.hasHours(sl) {
				s.refreshSlot(l, sl, int32(i), t)
				l.hoursUntil = min(l.hoursUntil, s.nextStroke(sl, t))
			}
		}
	}
	return l
}

// openLane collects the packages that may serve a lane (R3.1).
func (s *Settler) openLane(l *lane, n int32, t Instant) {
	l.pair = s.addPair(l.account, l.meter)
	var attributes AttributeSet
	if l.attrs != 0 {
		attributes = s.sets[l.attrs]
	}
	if len(s.runs) < s.many {
		for i := range s.runs {
			pkg := s.runs[i].pkg
			if own := pkg.Account == l.account; own || pkg.Shared {
				s.addSlot(l, n, int32(i), own, attributes)
			}
		}
	} else {
		for _, i := range s.owned[l.account] {
			s.addSlot(l, n, i, true, attributes)
		}
		for _, i := range s.shared {
			if s.runs[i].pkg.Account != l.account {
				s.addSlot(l, n, i, false, attributes)
			}
		}
	}
	for i := range l.slots {
		sl := &l.slots[i]
		s.refreshSlot(l, sl, int32(i), t)
		if s.hasHours(sl) {
			l.hoursUntil = min(l.hoursUntil, s.nextStroke(sl, t))
		}
	}
}

func (s *Settler) addSlot(l *lane, n, run int32, own bool, attributes AttributeSet) {
	r := &s.runs[run]
	added := false
	var sl *slot
	for c := range r.pkg.Covers {
		cover := &r.pkg.Covers[c]
		if cover.Meter != l.meter || !attributes.meet(cover.Where) {
			continue
		}
		if !added {
			added = true
			if k := len(l.slots); k < cap(l.slots) {
				l.slots = l.slots[:k+1]
			} else {
				l.slots = append(l.slots, slot{})
			}
			sl = &l.slots[len(l.slots)-1]
			*sl = slot{run: run, cover: None, place: None, covers: sl.covers[:0], own: own}
		}
		sl.covers = append(sl.covers, int32(c))
	}
	if !added {
		return
	}
	if len(sl.covers) > 1 {
		slices.SortFunc(sl.covers, func(a, b int32) int {
			return cmp.Or(cmp.Compare(scopeOf(&r.pkg.Covers[a], own), scopeOf(&r.pkg.Covers[b], own)), cmp.Compare(a, b))
		})
	}
	r.slots = append(r.slots, slotRef{n, int32(len(l.slots) - 1)})
	l.stops = l.stops || r.pkg.Kind == StopBeforeExcess
}

// meet tells whether a record's attributes meet all conditions.
func (a AttributeSet) meet(where []Condition) bool {
	for i := range where {
		j, ok := slices.BinarySearchFunc(a, where[i].Attribute, func(x Attribute, name string) int { return cmp.Compare(x.Name, name) })
		if !ok {
			return false
		}
		if _, ok := slices.BinarySearch(where[i].Values, a[j].Value); !ok {
			return false
		}
	}
	return true
}

func (s *Settler) hasHours(sl *slot) bool {
	covers := s.runs[sl.run].pkg.Covers
	for _, c := range sl.covers {
		if covers[c].Hours != (Hours{}) {
			return true
		}
	}
	return false
}

// coverAt gives the entry of a slot that matches at t, or None.
func (s *Settler) coverAt(sl *slot, t Instant) int32 {
	r := &s.runs[sl.run]
	for _, c := range sl.covers {
		if h := r.pkg.Covers[c].Hours; h == (Hours{}) || h.hold(r.zone, t) {
			return c
		}
	}
	return None
}

// hold tells whether the local time of day is within the hours.
func (h Hours) hold(z *zoneCache, t Instant) bool {
	clock := mod(int64(z.wall(t)), int64(day))
	if h.From < h.To {
		return h.From <= clock && clock < h.To
	}
	return clock >= h.From || clock < h.To
}

// nextStroke gives the first instant after t at which an entry of the slot may begin or end to match: an hour of the
// clock, or a change of the clock itself.
func (s *Settler) nextStroke(sl *slot, t Instant) Instant {
	r := &s.runs[sl.run]
	clock := mod(int64(r.zone.wall(t)), int64(day))
	next := r.zone.end
	for _, c := range sl.covers {
		h := r.pkg.Covers[c].Hours
		if h == (Hours{}) {
			continue
		}
		for _, border := range [...]int64{h.From, h.To} {
			wait := mod(border-clock, int64(day))
			if wait == 0 {
				wait = int64(day)
			}
			next = min(next, t+Instant(wait))
		}
	}
	return next
}

// refresh brings all lanes up to date in which a package stands after something happened to it.
func (s *Settler) refresh(r *packageRun, t Instant) {
	for _, ref := range r.slots {
		l := &s.lanes.lanes[ref.lane]
		s.refreshSlot(l, &l.slots[ref.slot], ref.slot, t)
	}
}

// refreshSlot ranks a slot anew, and takes it into the heap or out of it.
func (s *Settler) refreshSlot(l *lane, sl *slot, n int32, t Instant) {
	r := &s.runs[sl.run]
	l.verdict.known = false
	if sl.place != None {
		s.remove(l, sl.place)
	}
	sl.cover = s.coverAt(sl, t)
	if sl.cover == None || r.Stage != StageLive || t < r.ServesFrom {
		return
	}
	cover := &r.pkg.Covers[sl.cover]
	if r.Remaining < cover.Factor {
		return
	}
	sl.rank = s.rankOf(r, cover, sl.own)
	s.push(l, n)
}

func (s *Settler) less(l *lane, a, b int32) bool {
	x, y := &l.slots[a], &l.slots[b]
	return x.rank.before(&y.rank, s.keys, s.runs[x.run].Package, s.runs[y.run].Package)
}

func (l *lane) set(place int, n int32) {
	l.heap[place] = n
	l.slots[n].place = int32(place)
}

func (s *Settler) push(l *lane, n int32) {
	l.heap = append(l.heap, n)
	s.siftUp(l, len(l.heap)-1)
}

// remove takes the slot at a place out of the heap.
func (s *Settler) remove(l *lane, place int32) {
	l.slots[l.heap[place]].place = None
	last := len(l.heap) - 1
	moved := l.heap[last]
	l.heap = l.heap[:last]
	if int(place) == last {
		return
	}
	l.set(int(place), moved)
	s.siftDown(l, int(place))
	s.siftUp(l, int(l.slots[moved].place))
}

func (s *Settler) siftUp(l *lane, i int) {
	n := l.heap[i]
	for i > 0 {
		parent := (i - 1) / 2
		if !s.less(l, n, l.heap[parent]) {
			break
		}
		l.set(i, l.heap[parent])
		i = parent
	}
	l.set(i, n)
}

func (s *Settler) siftDown(l *lane, i int) {
	n := l.heap[i]
	for {
		child := 2*i + 1
		if child >= len(l.heap) {
			break
		}
		if child+1 < len(l.heap) && s.less(l, l.heap[child+1], l.heap[child]) {
			child++
		}
		if !s.less(l, l.heap[child], n) {
			break
		}
		l.set(i, l.heap[child])
		i = child
	}
	l.set(i, n)
}

// top gives the slot that serves next, or nil. With the key size the rank of the top may be older than what was drawn on
// its package since; it can only have become worse, so the slot sinks until the top is true.
func (s *Settler) top(l *lane) *slot {
	for len(l.heap) > 0 {
		sl := &l.slots[l.heap[0]]
		if !s.bySize {
			return sl
		}
		r := &s.runs[sl.run]
		rank := s.rankOf(r, &r.pkg.Covers[sl.cover], sl.own)
		if rank == sl.rank {
			return sl
		}
		sl.rank = rank
		s.siftDown(l, 0)
	}
	return nil
}
