package shuffle

import (
	"errors"
	"math/bits"

	"drawdown/rating"
)

// This file reads partitions that are too large for a cursor's share of the memory.

// bucket is what is gathered in a temp file: an open chunk, and those that were written.
type bucket struct {
	open   *chunk
	pieces []piece
}

func (b *bucket) add(file *spillFile, from *chunk, r *record) error {
	b.open.add(from, r)
	if b.open.full() {
		return b.flush(file)
	}
	return nil
}

func (b *bucket) flush(file *spillFile) error {
	if len(b.open.records) == 0 {
		return nil
	}
	written, err := file.write(b.open)
	b.pieces = append(b.pieces, piece{block: written})
	b.open.reset()
	return err
}

// mergeLarge reads a partition by way of buckets that fit, each of which has all records of the ids in it.
func (c *Cursor) mergeLarge(pieces []piece, base, payers int32) (*merge, error) {
	buckets := &spillFile{dir: c.s.cfg.TempDir}
	runs := &spillFile{dir: c.s.cfg.TempDir}
	parts, err := c.spread(pieces, buckets)
	var sorted [][]piece
	for i := 0; i < len(parts) && err == nil; i++ {
		var run []piece
		run, err = c.sortBucket(parts[i], buckets, runs, base, payers)
		if len(run) > 0 {
			sorted = append(sorted, run)
		}
		parts[i] = nil
	}
	err = errors.Join(err, buckets.close())
	if err != nil {
		return nil, errors.Join(err, runs.close())
	}
	c.pile.release()
	return newMerge(c.s, runs, sorted)
}

// spread distributes the records of a partition to buckets by a hash of account, id and period.
func (c *Cursor) spread(pieces []piece, to *spillFile) ([][]piece, error) {
	total, records := int64(0), int64(0)
	for i := range pieces {
		b := &pieces[i].block
		records += int64(b.records)
		if pieces[i].chunk != nil {
			total += int64(pieces[i].chunk.size())
		} else {
			total += int64(b.size())
		}
	}
	n := (total+records*64)*5/4/c.s.cursorBytes + 1 // a quarter more, as hashes are not quite even
	n = min(n, records/minChunk+1)
	buckets := make([]bucket, n)
	room := c.s.smallChunk(n)
	for i := range buckets {
		buckets[i].open = &chunk{records: make([]record, 0, room)}
	}
	p := c.pile
	for i := range pieces {
		if err := p.open(pieces[i : i+1]); err != nil {
			return nil, err
		}
		from := p.chunks[0]
		for j := range from.records {
			r := &from.records[j]
			if p.excluded != nil && p.excluded[r.object()] {
				continue
			}
			h := c.s.hash.record(r) ^ uint64(c.s.periodOf(r.time))*0x9e3779b97f4a7c15
			which, _ := bits.Mul64(h*0xff51afd7ed558ccd, uint64(n))
			if err := buckets[which].add(to, from, r); err != nil {
				return nil, err
			}
		}
	}
	parts := make([][]piece, n)
	for i := range buckets {
		if err := buckets[i].flush(to); err != nil {
			return nil, err
		}
		parts[i] = buckets[i].pieces
	}
	return parts, nil
}

// smallChunk is how many records a chunk may have when a cursor has n of them.
func (s *Shuffle) smallChunk(n int64) int {
	room := minChunk
	for room < s.chunkRecords && int64(2*room*recordSize)*n <= s.cursorBytes/2 {
		room *= 2
	}
	return min(room, s.chunkRecords)
}

// sortBucket deduplicates a bucket and writes what settles as a run in the order of payers and the canonical order.
func (c *Cursor) sortBucket(pieces []piece, from, to *spillFile, base, payers int32) ([]piece, error) {
	p := c.pile
	p.file = from
	if err := p.load(pieces, base, payers); err != nil {
		return nil, err
	}
	run := bucket{open: &chunk{records: make([]record, 0, c.s.smallChunk(1))}}
	for slot := base; slot < base+payers; slot++ {
		p.settle(slot, c.result)
		for _, span := range p.spans {
			for _, k := range p.keys[span.from:span.to] {
				r, chunk := p.at(k)
				if err := run.add(to, chunk, r); err != nil {
					return nil, err
				}
			}
		}
	}
	if err := run.flush(to); err != nil {
		return nil, err
	}
	return run.pieces, c.countConflicts()
}

// merge reads sorted runs as one, payer by payer.
type merge struct {
	s    *Shuffle
	file *spillFile
	err  error
	runs []*run // a heap: the run with the smallest record is first

	slot   int32 // of the payer that is read
	record *record
	chunk  *chunk
}

// run is a sorted run and the chunk of it that is in memory.
type run struct {
	pieces []piece
	chunk  chunk
	next   int // record of the chunk after the head
	slot   int32
	time   rating.Instant
	head   *record
}

func newMerge(s *Shuffle, file *spillFile, runs [][]piece) (*merge, error) {
	m := &merge{s: s, file: file, slot: -1}
	for _, pieces := range runs {
		r := &run{pieces: pieces}
		if ok, err := m.step(r); err != nil {
			return nil, errors.Join(err, file.close())
		} else if ok {
			m.runs = append(m.runs, r)
		}
	}
	for i := len(m.runs)/2 - 1; i >= 0; i-- {
		m.sink(i)
	}
	return m, nil
}

// step goes to the next record of a run; false at its end.
func (m *merge) step(r *run) (bool, error) {
	if r.next == len(r.chunk.records) {
		if len(r.pieces) == 0 {
			return false, nil
		}
		if err := m.s.ctx.Err(); err != nil {
			return false, err
		}
		b := &r.pieces[0].block
		r.chunk.records = resize(r.chunk.records, int(b.records))
		r.chunk.extras = resize(r.chunk.extras, int(b.extras))
		r.chunk.ids = resize(r.chunk.ids, int(b.ids))
		if err := m.file.read(b, &r.chunk); err != nil {
			return false, err
		}
		r.pieces, r.next = r.pieces[1:], 0
	}
	r.head = &r.chunk.records[r.next]
	r.next++
	r.slot, r.time = m.s.slotOf[r.head.account], r.head.time
	return true, nil
}

func (r *run) before(o *run) bool {
	if r.slot != o.slot {
		return r.slot < o.slot
	}
	if r.time != o.time {
		return r.time < o.time
	}
	return compareRecords(r.head, &r.chunk, o.head, &o.chunk) < 0
}

func (m *merge) sink(i int) {
	for {
		child := 2*i + 1
		if child >= len(m.runs) {
			return
		}
		if child+1 < len(m.runs) && m.runs[child+1].before(m.runs[child]) {
			child++
		}
		if !m.runs[child].before(m.runs[i]) {
			return
		}
		m.runs[i], m.runs[child] = m.runs[child], m.runs[i]
		i = child
	}
}

// nextPayer goes to the payer of the smallest record; all records of the one before must have been read.
func (m *merge) nextPayer() bool {
	if m.err != nil || len(m.runs) == 0 {
		return false
	}
	m.slot = m.runs[0].slot
	return true
}

// ahead shows the payer's next record: its time, and in m.record and m.chunk all of it.
func (m *merge) ahead() (rating.Instant, bool) {
	if m.err != nil || len(m.runs) == 0 || m.runs[0].slot != m.slot {
		return 0, false
	}
	top := m.runs[0]
	m.record, m.chunk = top.head, &top.chunk
	return top.time, true
}

// advance passes the record that ahead showed.
func (m *merge) advance() {
	ok, err := m.step(m.runs[0])
	if err != nil {
		m.err = err
		return
	}
	if !ok {
		last := len(m.runs) - 1
		m.runs[0], m.runs[last] = m.runs[last], nil
		m.runs = m.runs[:last]
	}
	m.sink(0)
}

func (m *merge) close() error {
	return errors.Join(m.err, m.file.close())
}
