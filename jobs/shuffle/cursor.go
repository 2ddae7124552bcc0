package shuffle

import (
	"errors"
	"fmt"

	"drawdown/rating"
)

// BatchRecords is how many records a batch has at most; it has fewer where their ids are huge.
const BatchRecords = 4096

// batchIDBytes ends a batch early: what is beyond it is one id. Ids have a length of 32 bits, and so have their places in
// a batch; a reader's ids are 1 GiB at most.
const batchIDBytes = 16 << 20

const stageRecords = 512

// Cursor reads a shard: its payers that have records to settle, ascending; the periods of each; their records in batches.
// It is used by one goroutine. What the caller does not ask for is passed over, and counted all the same.
type Cursor struct {
	s      *Shuffle
	pile   *pile
	result *result
	err    error
	done   bool
	closed bool

	part, lastPart int   // the partition that is read, and the last one
	slot, lastSlot int32 // the payer in it, and the last one
	merge          *merge

	period    int32
	until     rating.Instant // the end of the period
	span      int            // of the pile: the next one
	from, to  int32
	staged    []record // copies of the pile's next records; the first one is that of key number stagedAt
	stagedAt  int32
	batch     rating.Batch
	emptied   rating.Batch // the columns of batch at full length
	attrs     bool         // some attribute set of the batch is not 0
	last      instantKey   // of the record handed on last
	lastUnits int64
	seen      quantities
}

// instantKey is what probable duplicates agree in, besides the quantity.
type instantKey struct {
	time           rating.Instant
	account, meter int32
}

// Shard opens a cursor on a shard. Records of objects for which exclude (may be nil) says true are left out as if they
// had never been read. A shard may be read again.
func (s *Shuffle) Shard(shard int, exclude func(object int32) bool) (*Cursor, error) {
	if shard < 0 || shard >= s.cfg.Shards {
		return nil, fmt.Errorf("shuffle: no shard %d of %d", shard, s.cfg.Shards)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !s.sealed:
		return nil, errors.New("shuffle: read before it was sealed")
	case s.pieces == nil:
		return nil, errors.New("shuffle: read after it was closed")
	case s.open == s.cfg.Workers:
		return nil, fmt.Errorf("shuffle: more than %d cursors open at once", s.cfg.Workers)
	}
	s.open++
	if was := s.results[shard]; was != nil { // it is read again
		s.conflicts.Add(-int64(was.counted))
		s.results[shard] = nil
	}
	c := &Cursor{s: s, result: &result{}, part: shard*s.perShard - 1, lastPart: (shard+1)*s.perShard - 1}
	c.last.account = rating.None
	if n := len(s.scratch); n > 0 {
		c.pile, s.scratch = s.scratch[n-1], s.scratch[:n-1]
	} else {
		c.pile = &pile{s: s}
	}
	c.staged = make([]record, 0, stageRecords)
	c.pile.excluded, c.pile.spans = nil, c.pile.spans[:0]
	if exclude != nil {
		c.pile.excluded = make([]bool, s.maxObject+1)
		for object := range c.pile.excluded {
			c.pile.excluded[object] = exclude(int32(object))
		}
	}
	c.emptied = rating.Batch{
		Time: make([]rating.Instant, BatchRecords), Account: make([]int32, BatchRecords), Meter: make([]int32, BatchRecords),
		Quantity: make([]int64, BatchRecords), Attrs: make([]int32, BatchRecords), Object: make([]int32, BatchRecords),
		Row: make([]int64, BatchRecords), IDStart: make([]uint32, BatchRecords), IDEnd: make([]uint32, BatchRecords),
	}
	c.slot, c.lastSlot = 0, -1
	return c, nil
}

// NextPayer goes to the next payer that has a record to settle; false at the end of the shard or after an error.
func (c *Cursor) NextPayer() bool {
	for c.NextPeriod() {
	}
	for c.err == nil && !c.done {
		if c.err = c.s.ctx.Err(); c.err != nil {
			break
		}
		if c.merge != nil {
			if c.merge.nextPayer() {
				c.slot, c.until = c.merge.slot, rating.Beginning
				return true
			}
			c.fail(c.merge.close())
			c.merge = nil
			c.slot = c.lastSlot
		}
		for c.slot < c.lastSlot {
			c.slot++
			c.pile.settle(c.slot, c.result)
			if len(c.pile.spans) > 0 {
				c.span, c.staged, c.stagedAt = 0, c.staged[:0], c.pile.spans[0].from
				return true
			}
		}
		c.nextPartition()
	}
	return false
}

// nextPartition loads the next partition that has records.
func (c *Cursor) nextPartition() {
	s := c.s
	c.fail(c.countConflicts())
	for c.part++; c.part <= c.lastPart && len(s.pieces[c.part].pieces) == 0; c.part++ {
	}
	switch {
	case c.err != nil:
	case c.part > c.lastPart:
		c.finish()
	default:
		pieces, first, end := s.pieces[c.part].pieces, s.firsts[c.part], s.firsts[c.part+1]
		c.slot, c.lastSlot = first-1, end-1
		c.pile.file = s.file
		if pileBytes(pieces) <= s.cursorBytes && len(pieces) < gone>>s.chunkShift {
			c.fail(c.pile.load(pieces, first, end-first))
			return
		}
		var err error
		c.merge, err = c.mergeLarge(pieces, first, end-first)
		c.fail(err)
	}
}

func (c *Cursor) fail(err error) {
	if c.err == nil {
		c.err = err
	}
}

// countConflicts compares the conflicts of all cursors with the limit.
func (c *Cursor) countConflicts() error {
	fresh := int64(len(c.result.conflicts) - c.result.counted)
	c.result.counted = len(c.result.conflicts)
	if all := c.s.conflicts.Add(fresh); c.s.cfg.MaxConflicts > 0 && all > c.s.cfg.MaxConflicts {
		first := c.result.conflicts
		if len(first) == 0 {
			return ErrTooManyConflicts
		}
		return fmt.Errorf("%w: %d rows so far, one of them is record %q in row %d of object %d", ErrTooManyConflicts, all,
			first[0].ID, first[0].Row, first[0].Object)
	}
	return nil
}

// Tallies gives the counts and sums of the shard, once it was read to its end.
func (c *Cursor) Tallies() []Tally { return c.result.tallies }

// finish publishes what was found out about the shard.
func (c *Cursor) finish() {
	c.done = true
	c.result.finish(c.s.cfg.Catalog.Meters)
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.s.results[c.lastPart/c.s.perShard] = c.result
}

// Payer is the index of the payer's account.
func (c *Cursor) Payer() int32 { return c.s.payers[c.slot] }

// NextPeriod goes to the payer's next period that has a record to settle.
func (c *Cursor) NextPeriod() bool {
	for c.NextBatch() {
	}
	if c.err != nil || c.done {
		return false
	}
	if c.merge != nil {
		t, ok := c.merge.ahead()
		if ok {
			c.period = int32(c.s.periodOf(t))
			c.until = c.s.cfg.Bounds[c.period+1]
		}
		return ok
	}
	if c.span >= len(c.pile.spans) {
		return false
	}
	span := c.pile.spans[c.span]
	c.span++
	c.period, c.from, c.to = span.period, span.from, span.to
	return true
}

// Period is the number of the period.
func (c *Cursor) Period() int { return int(c.period) }

// NextBatch goes to the next records of the payer and period.
func (c *Cursor) NextBatch() bool {
	if c.err != nil || c.merge == nil && c.from == c.to {
		return false
	}
	n := 0
	b := &c.batch
	*b = c.emptied
	b.IDs = b.IDs[:0]
	c.attrs = false
	if c.merge != nil {
		for ; n < BatchRecords && len(b.IDs) < batchIDBytes; n++ {
			if t, ok := c.merge.ahead(); !ok || t >= c.until {
				break
			}
			c.emit(n, c.merge.record, c.merge.chunk)
			c.merge.advance()
		}
		c.fail(c.merge.err)
	} else {
		for ; n < BatchRecords && len(b.IDs) < batchIDBytes && c.from < c.to; n++ {
			if c.from-c.stagedAt >= int32(len(c.staged)) {
				c.stage()
			}
			r := &c.staged[c.from-c.stagedAt]
			from := (*chunk)(nil)
			if r.isLong() {
				_, from = c.pile.at(c.pile.keys[c.from])
			}
			c.from++
			c.emit(n, r, from)
		}
	}
	c.emptied.IDs = b.IDs
	b.Time, b.Account, b.Meter, b.Quantity = b.Time[:n], b.Account[:n], b.Meter[:n], b.Quantity[:n]
	b.Object, b.Row, b.IDStart, b.IDEnd, b.Attrs = b.Object[:n], b.Row[:n], b.IDStart[:n], b.IDEnd[:n], b.Attrs[:n]
	if !c.attrs {
		b.Attrs = nil
	}
	return n > 0 && c.err == nil
}

// stage copies the payer's next records. They lie scattered about the partition: a loop that does nothing but copy keeps
// many of them on the way at once, where handing them on one by one would wait for each.
func (c *Cursor) stage() {
	const most = stageRecords
	p := c.pile
	end := min(p.spans[len(p.spans)-1].to, c.from+most)
	c.staged, c.stagedAt = resize(c.staged, int(end-c.from)), c.from
	shift, mask := p.s.chunkShift, uint32(p.s.chunkRecords-1)
	for i, k := range p.keys[c.from:end] {
		c.staged[i] = p.rows[k.at>>shift][k.at&mask]
	}
}

// Batch is the records; they are valid until the cursor moves.
func (c *Cursor) Batch() *rating.Batch { return &c.batch }

// emit hands on a record as number n of the batch.
func (c *Cursor) emit(n int, r *record, from *chunk) {
	b := &c.batch
	b.Time[n], b.Account[n], b.Meter[n], b.Quantity[n], b.Attrs[n] = r.time, r.account, r.meter, r.quantity, r.attrs
	b.Object[n], b.Row[n] = r.object(), r.row()
	start := len(b.IDs)
	b.IDStart[n] = uint32(start)
	if r.isLong() {
		b.IDs = append(b.IDs, from.longID(r)...)
	} else {
		if cap(b.IDs)-start < uuidLen {
			b.IDs = append(b.IDs, make([]byte, uuidLen)...)
		}
		b.IDs = b.IDs[:start+uuidLen]
		putUUID((*[uuidLen]byte)(b.IDs[start:]), r.idHi, r.idLo)
	}
	b.IDEnd[n] = uint32(len(b.IDs))
	c.attrs = c.attrs || r.attrs != 0

	t := c.result.tally(c.period, r.object(), r.meter)
	t.settle(r.quantity, int(c.s.scales[r.meter]))
	if now := (instantKey{r.time, r.account, r.meter}); now != c.last {
		c.last, c.lastUnits = now, r.quantity
		c.seen.reset()
	} else {
		c.seen.add(c.lastUnits)
		if !c.seen.add(r.quantity) {
			t.ProbableDuplicate++
		}
		c.lastUnits = r.quantity
	}
}

// quantities is a set; it is small as a rule.
type quantities struct {
	few  []int64
	many map[int64]struct{}
}

func (q *quantities) reset() {
	q.few, q.many = q.few[:0], nil
}

// add reports whether the quantity is new.
func (q *quantities) add(quantity int64) bool {
	if q.many == nil {
		for _, have := range q.few {
			if have == quantity {
				return false
			}
		}
		if len(q.few) < 16 {
			q.few = append(q.few, quantity)
			return true
		}
		q.many = make(map[int64]struct{}, 64)
		for _, have := range q.few {
			q.many[have] = struct{}{}
		}
	}
	if _, have := q.many[quantity]; have {
		return false
	}
	q.many[quantity] = struct{}{}
	return true
}

// Close ends the reading, and gives the error that ended it, if any. A shard whose cursor is closed before its end has no
// tallies.
func (c *Cursor) Close() error {
	if c.closed {
		return c.err
	}
	c.closed, c.from = true, c.to
	if c.merge != nil {
		c.fail(c.merge.close())
		c.merge = nil
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.s.open--
	c.s.scratch = append(c.s.scratch, c.pile)
	c.pile = &pile{s: c.s}
	if c.err == nil && !c.done {
		c.done = true
	}
	return c.err
}
