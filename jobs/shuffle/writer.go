package shuffle

import (
	"errors"
	"fmt"

	"drawdown/rating"
)

// lane is the open chunks of one writer at a time; writers come and go with the objects, and lanes pass from one to the
// next, so that small objects fill a chunk together.
type lane struct {
	open []*chunk // by partition
}

// Writer takes the records of one object. It is used by one goroutine; any number of writers up to Config.Readers may be
// open at once.
type Writer struct {
	s           *Shuffle
	lane        *lane
	object      int32
	outOfPeriod int64
	parts       []uint16 // of a batch: the partition of each record
	err         error
}

// Writer begins an object. Objects are numbered in the order of their keys, from 0.
func (s *Shuffle) Writer(object int32) *Writer {
	w := &Writer{s: s, object: object}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.sealed:
		w.err = errors.New("shuffle: written to after it was sealed")
	case object < 0 || object > maxObject:
		w.err = fmt.Errorf("shuffle: object number %d: at most %d are possible", object, maxObject)
	case len(s.idle) > 0:
		w.lane = s.idle[len(s.idle)-1]
		s.idle = s.idle[:len(s.idle)-1]
	case len(s.lanes) < s.cfg.Readers:
		w.lane = &lane{open: make([]*chunk, len(s.pieces))}
		s.lanes = append(s.lanes, w.lane)
	default:
		w.err = fmt.Errorf("shuffle: more than %d writers open at once", s.cfg.Readers)
	}
	s.maxObject = max(s.maxObject, object)
	return w
}

// Records takes a batch of the object. The batch is the caller's again afterwards.
func (w *Writer) Records(r *rating.Records) error {
	if w.err == nil {
		w.err = w.s.ctx.Err()
	}
	if w.err == nil {
		w.err = w.add(r)
	}
	return w.err
}

func (w *Writer) add(r *rating.Records) error {
	s, lane := w.s, w.lane
	from, to := s.cfg.Bounds[0], s.cfg.Bounds[len(s.cfg.Bounds)-1]
	object := uint64(w.object) << rowBits
	rare := len(r.Version) > 0 || len(r.Attrs) > 0 || len(r.Content) > 0 || len(r.Spoilt) > 0
	if err := w.route(r); err != nil {
		return err
	}
	for i, t := range r.Time {
		if t < from || t >= to {
			if len(r.Spoilt) == 0 || !r.Spoilt[i] {
				w.outOfPeriod++
			}
			continue
		}
		account, row, part := r.Account[i], r.Row[i], w.parts[i]
		c := lane.open[part]
		if c == nil || c.full() {
			var err error
			if c, err = s.nextChunk(int(part), c); err != nil {
				return err
			}
			lane.open[part] = c
		}
		n := len(c.records)
		c.records = c.records[:n+1]
		to := &c.records[n]
		id := r.ID(i)
		hi, lo, ok := packUUID(id)
		to.marks = 0
		if !ok {
			hi, lo, to.marks = s.hash.text(id), c.putID(id), longID
		}
		to.time, to.idHi, to.idLo, to.quantity = t, hi, lo, r.Quantity[i]
		to.origin, to.account, to.meter, to.attrs = object|uint64(row), account, r.Meter[i], 0
		if rare {
			addRare(c, to, r, i)
		}
	}
	return nil
}

// route finds the partition of each record. The table is large and asked in any order: a loop that does nothing else keeps
// many look-ups on the way at once.
func (w *Writer) route(r *rating.Records) error {
	w.parts = resize(w.parts, len(r.Time))
	partOf, rows := w.s.partOf, r.Row[:len(r.Time)]
	for i, account := range r.Account[:len(r.Time)] {
		if uint(account) >= uint(len(partOf)) || uint64(rows[i]) > maxRow {
			return fmt.Errorf("shuffle: object %d: row %d or account index %d out of range", w.object, rows[i], account)
		}
		w.parts[i] = partOf[account]
	}
	return nil
}

// addRare completes a record with what most records do not have.
func addRare(c *chunk, to *record, r *rating.Records, i int) {
	var e extra
	if len(r.Version) > 0 {
		e.version = r.Version[i]
	}
	if len(r.Content) > 0 {
		e.content = r.Content[i]
	}
	if e != (extra{}) {
		to.marks |= c.putExtra(e)
	}
	if len(r.Attrs) > 0 {
		to.attrs = r.Attrs[i]
	}
	if len(r.Spoilt) > 0 && r.Spoilt[i] {
		to.marks |= spoilt
	}
}

// nextChunk closes a full chunk (nil: there was none yet) and gives an empty one.
func (s *Shuffle) nextChunk(part int, c *chunk) (*chunk, error) {
	fresh := int64(s.chunkRecords * recordSize)
	if c != nil {
		grown := int64(c.size() - c.counted)
		c.counted = c.size()
		if s.held.Add(grown+fresh) > s.storeBytes {
			s.held.Add(-fresh)
			b, err := s.file.write(c)
			s.pieces[part].spilled(b)
			c.reset()
			return c, err
		}
		s.pieces[part].keep(c)
	} else {
		s.held.Add(fresh)
	}
	return &chunk{records: make([]record, 0, s.chunkRecords), counted: int(fresh)}, nil
}

// Close ends the object. It does not matter whether the object was read to its end: a bad one is left out on reading.
func (w *Writer) Close() error {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	if w.lane != nil {
		w.s.idle = append(w.s.idle, w.lane)
		w.lane = nil
	}
	if w.outOfPeriod > 0 {
		w.s.outOfPeriod[w.object] += w.outOfPeriod
		w.outOfPeriod = 0
	}
	err := w.err
	if err == nil {
		w.err = errors.New("shuffle: written to after it was closed")
	}
	return err
}
