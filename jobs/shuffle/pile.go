package shuffle

import (
	"math"
	"slices"

	"drawdown/rating"
)

// pile is a partition (or a bucket of one) in memory, and the space to sort and deduplicate it. It is re-used.
type pile struct {
	s        *Shuffle
	file     *spillFile // where the partition's spilled pieces are
	excluded []bool     // by object; nil: none
	chunks   []*chunk
	rows     [][]record // of the chunks
	spoilt   bool       // some records are

	base   int32   // slot of the first payer
	starts []int32 // by payer: the first of its keys; one more at the end
	keys   []key
	sorter sorter

	records []record // what was loaded from the temp file
	extras  []extra
	ids     []byte
	loaded  []chunk

	slots []uint64 // hash table of ids: hash, place + 1
	pairs []pair
	group []int32
	spans []span
}

// key stands for a record while a payer is sorted.
type key struct {
	time rating.Instant
	at   uint32 // chunk and place in it; gone when the record does not settle
	hash uint32 // of account and id
}

const gone = math.MaxUint32

// pair is two keys of a period with the same account and id: the first one met, and another.
type pair struct{ first, other int32 }

// span is the keys of a period.
type span struct{ period, from, to int32 }

func (p *pile) at(k key) (*record, *chunk) {
	n := k.at >> p.s.chunkShift
	return &p.rows[n][k.at&uint32(p.s.chunkRecords-1)], p.chunks[n]
}

// pileBytes is what a pile needs for the pieces at worst: what has to be loaded, and 64 bytes a record to sort and
// deduplicate them, were they all of one payer and period.
func pileBytes(pieces []piece) int64 {
	total := int64(0)
	for i := range pieces {
		b := &pieces[i]
		total += int64(b.records) * 64
		if b.chunk == nil {
			total += int64(b.size())
		}
	}
	return total
}

// load takes the pieces of a partition whose payers stand in the slots from base on.
func (p *pile) load(pieces []piece, base, payers int32) error {
	if err := p.open(pieces); err != nil {
		return err
	}
	p.base, p.spoilt = base, false
	p.starts = resize(p.starts, int(payers)+2)
	clear(p.starts)
	count := p.starts[2:] // two ahead: the first pass counts, the second moves the starts to their places
	total := 0
	for _, rows := range p.rows {
		for i := range rows {
			r := &rows[i]
			if p.excluded == nil || !p.excluded[r.object()] {
				count[p.s.slotOf[r.account]-base]++
				total++
			}
		}
	}
	for i := 1; i < len(p.starts); i++ {
		p.starts[i] += p.starts[i-1]
	}
	p.keys = resize(p.keys, total)
	next := p.starts[1:]
	marks := uint32(0)
	for n, rows := range p.rows {
		first := uint32(n) << p.s.chunkShift
		for i := range rows {
			r := &rows[i]
			if p.excluded != nil && p.excluded[r.object()] {
				continue
			}
			marks |= r.marks
			to := &next[p.s.slotOf[r.account]-base]
			p.keys[*to] = key{r.time, first + uint32(i), uint32(p.s.hash.record(r))}
			*to++
		}
	}
	p.spoilt = marks&spoilt != 0
	return nil
}

// open makes the chunks of the pieces accessible, and reads those that were spilled.
func (p *pile) open(pieces []piece) error {
	records, extras, ids, loaded := 0, 0, 0, 0
	for i := range pieces {
		if b := &pieces[i]; b.chunk == nil {
			records += int(b.records)
			extras += int(b.extras)
			ids += int(b.ids)
			loaded++
		}
	}
	p.records, p.extras, p.ids = resize(p.records, records), resize(p.extras, extras), resize(p.ids, ids)
	p.loaded = resize(p.loaded, loaded)
	p.chunks, p.rows = p.chunks[:0], p.rows[:0]
	records, extras, ids, loaded = 0, 0, 0, 0
	for i := range pieces {
		b := &pieces[i]
		c := b.chunk
		if c == nil {
			c = &p.loaded[loaded]
			c.records = p.records[records : records+int(b.records)]
			c.extras = p.extras[extras : extras+int(b.extras)]
			c.ids = p.ids[ids : ids+int(b.ids)]
			records, extras, ids, loaded = records+len(c.records), extras+len(c.extras), ids+len(c.ids), loaded+1
			if err := p.file.read(&b.block, c); err != nil {
				return err
			}
		}
		p.chunks, p.rows = append(p.chunks, c), append(p.rows, c.records)
	}
	return p.s.ctx.Err()
}

// settle sorts and deduplicates the records of the payer in a slot. The keys of those that settle stand one after another
// then, in canonical order, and p.spans says which are of which period.
func (p *pile) settle(slot int32, res *result) {
	p.spans = p.spans[:0]
	from, to := p.starts[slot-p.base], p.starts[slot-p.base+1]
	if from == to {
		return
	}
	p.sort(p.keys[from:to])
	bounds := p.s.cfg.Bounds
	period := p.s.periodOf(p.keys[from].time)
	live := from
	for from < to {
		for p.keys[from].time >= bounds[period+1] {
			period++
		}
		end := from + 1
		if bound := bounds[period+1]; p.keys[to-1].time < bound {
			end = to
		} else {
			for p.keys[end].time < bound {
				end++
			}
		}
		if n := p.dedupe(p.keys[from:end], int32(period), res); n > 0 {
			if live < from {
				copy(p.keys[live:], p.keys[from:from+n])
			}
			p.spans = append(p.spans, span{int32(period), live, live + n})
			live += n
		}
		from = end
	}
}

// sort brings keys into canonical order. Records that agree in everything that orders stay in any order.
func (p *pile) sort(keys []key) {
	p.sorter.sort(keys)
	for i := 1; i < len(keys); i++ {
		if keys[i].time != keys[i-1].time {
			continue
		}
		from := i - 1
		for i++; i < len(keys) && keys[i].time == keys[from].time; i++ {
		}
		slices.SortFunc(keys[from:i], func(a, b key) int {
			ra, ca := p.at(a)
			rb, cb := p.at(b)
			return compareRecords(ra, ca, rb, cb)
		})
	}
}

// dedupe applies R4.3 to the keys of a payer and period: it moves those that settle to the front, in their order, and
// gives their number.
func (p *pile) dedupe(keys []key, period int32, res *result) int32 {
	p.findPairs(keys)
	if len(p.pairs) == 0 && !p.spoilt {
		return int32(len(keys))
	}
	slices.SortFunc(p.pairs, func(a, b pair) int {
		if a.first != b.first {
			return int(a.first) - int(b.first)
		}
		return int(a.other) - int(b.other)
	})
	for i := 0; i < len(p.pairs); {
		first := p.pairs[i].first
		p.group = append(p.group[:0], first)
		for ; i < len(p.pairs) && p.pairs[i].first == first; i++ {
			p.group = append(p.group, p.pairs[i].other)
		}
		p.resolve(keys, period, res)
	}
	live := int32(0)
	for _, k := range keys {
		if k.at == gone {
			continue
		}
		if p.spoilt {
			if r, _ := p.at(k); r.isSpoilt() {
				continue
			}
		}
		keys[live] = k
		live++
	}
	return live
}

// findPairs finds the keys with the same account and id.
func (p *pile) findPairs(keys []key) {
	p.pairs = p.pairs[:0]
	if len(keys) <= 8 {
		for i := 1; i < len(keys); i++ {
			for j := range i {
				if keys[i].hash == keys[j].hash && p.same(keys[i], keys[j]) {
					p.pairs = append(p.pairs, pair{int32(j), int32(i)})
					break
				}
			}
		}
		return
	}
	bits := 5
	for 1<<bits < 2*len(keys) {
		bits++
	}
	p.slots = resize(p.slots, 1<<bits)
	clear(p.slots)
	slots, mask := p.slots, uint32(1)<<bits-1
	for i, k := range keys {
		for at := k.hash >> (32 - bits); ; at = (at + 1) & mask {
			slot := slots[at]
			if slot == 0 {
				slots[at] = uint64(k.hash)<<32 | uint64(i+1)
				break
			}
			if first := int32(uint32(slot)) - 1; uint32(slot>>32) == k.hash && p.same(k, keys[first]) {
				p.pairs = append(p.pairs, pair{first, int32(i)})
				break
			}
		}
	}
}

func (p *pile) same(a, b key) bool {
	ra, ca := p.at(a)
	rb, cb := p.at(b)
	return ra.account == rb.account && sameID(ra, ca, rb, cb)
}

// resolve decides which one of a group of records with the same account, id and period settles, if any (R4.3).
func (p *pile) resolve(keys []key, period int32, res *result) {
	if p.s.cfg.Booked > 0 && p.resolveBooked(keys, period, res) {
		return
	}
	highest, kept := int64(math.MinInt64), int32(-1)
	for _, i := range p.group {
		r, c := p.at(keys[i])
		highest = max(highest, c.extra(r).version)
	}
	agree := true
	for _, i := range p.group {
		r, c := p.at(keys[i])
		if c.extra(r).version < highest {
			continue
		}
		if kept < 0 {
			kept = i
			agree = !r.isSpoilt()
			continue
		}
		rk, ck := p.at(keys[kept])
		agree = agree && !r.isSpoilt() && sameContent(r, c, rk, ck)
		if r.origin < rk.origin {
			kept = i
		}
	}
	for _, i := range p.group {
		r, c := p.at(keys[i])
		if i == kept && agree {
			continue
		}
		if !r.isSpoilt() {
			t := res.tally(period, r.object(), r.meter)
			switch {
			case c.extra(r).version < highest:
				t.Superseded++
			case agree:
				t.Duplicate++
			default:
				t.Conflict++
				var text [uuidLen]byte
				res.conflicts = append(res.conflicts, Conflict{
					Period: period, Object: r.object(), Account: r.account, Meter: r.meter, Row: r.row(), Time: r.time,
					ID: string(c.id(r, &text)),
				})
			}
		}
		keys[i].at = gone
	}
}

// sameContent compares what two records of the same account and id say.
func sameContent(a *record, ca *chunk, b *record, cb *chunk) bool {
	return a.time == b.time && a.meter == b.meter && a.quantity == b.quantity && ca.extra(a).content == cb.extra(b).content
}

// release lets go of the large pieces of memory.
func (p *pile) release() {
	*p = pile{s: p.s, file: p.file, excluded: p.excluded}
}

// resize gives a slice of n elements, with the memory of s where that is enough.
func resize[T any](s []T, n int) []T {
	if n <= cap(s) {
		return s[:n]
	}
	return make([]T, n, n+n/8)
}
