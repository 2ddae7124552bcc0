package bucket

import (
	"cmp"
	"context"
	"errors"
	"slices"
)

// Objects are fetched in pieces, several at a time, ahead of those who read them: one stream of a bucket gives a fraction of
// what a core can decode. What has been fetched and not yet read is bounded by the window. An object that is open may always
// have one piece, so nobody waits for memory that only he could give back; of what is left, those that are open come first,
// and objects that are not open yet never get more than half.

// source is an object on its way here.
type source struct {
	object Object
	next   int64     // offset of the piece to ask for next
	pieces []*piece  // asked for and not read yet, in their order
	asked  bool      // the whole object is
	sum    *checksum // of an object of several pieces; there when its first piece is
	ctx    context.Context
	cancel context.CancelFunc
}

// piece is a part of an object. Data and err are there when done is closed.
type piece struct {
	source *source
	offset int64
	size   int64
	data   []byte
	err    error
	done   chan struct{}
	free   bool // nobody will read it: its memory is given back when it has come
}

// whole tells whether the piece is all of its object.
func (p *piece) whole() bool { return p.offset == 0 && p.size == p.source.object.Size }

// Expect says which objects are going to be opened, in their order, so that they can be fetched ahead. What was expected
// before and has not been opened is forgotten.
func (b *Bucket) Expect(objects []Object) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.ahead {
		b.drop(s)
	}
	b.ahead, b.expected, b.next = nil, objects, 0
	b.pump()
}

func (b *Bucket) newSource(o Object) *source {
	s := &source{object: o}
	s.ctx, s.cancel = context.WithCancel(b.ctx)
	return s
}

// open makes a source of an object, or finds the one that was fetched ahead.
func (b *Bucket) open(o Object) *source {
	b.mu.Lock()
	defer b.mu.Unlock()
	var s *source
	if i := slices.IndexFunc(b.ahead, func(s *source) bool { return s.object.Key == o.Key }); i >= 0 {
		s = b.ahead[i]
		b.ahead = slices.Delete(b.ahead, i, i+1)
		if s.object.ETag != o.ETag || s.object.Size != o.Size {
			b.drop(s)
			s = nil
		}
	} else { // the readers have overtaken what is fetched ahead
		rest := b.expected[b.next:]
		rest = rest[:min(len(rest), 4*requestsAtATime)]
		if i := slices.IndexFunc(rest, func(e Object) bool { return e.Key == o.Key }); i >= 0 {
			b.next += i + 1
		}
	}
	if s == nil {
		s = b.newSource(o)
	}
	b.opened = append(b.opened, s)
	b.pump()
	return s
}

// close gives back what a source holds.
func (b *Bucket) close(s *source) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.opened = slices.DeleteFunc(b.opened, func(o *source) bool { return o == s })
	b.drop(s)
	b.pump()
}

// drop is called with the lock, as are those below.
func (b *Bucket) drop(s *source) {
	s.cancel()
	for _, p := range s.pieces {
		b.release(p)
	}
	s.pieces = nil
}

// release gives a piece's memory back, now or when it has come.
func (b *Bucket) release(p *piece) {
	select {
	case <-p.done:
		b.window += p.size
		if int64(cap(p.data)) == b.pieceMax && int64(len(b.spare)) < b.settings.Memory/b.pieceMax {
			b.spare = append(b.spare, p.data[:0])
		}
		p.data = nil
	default:
		p.free = true
	}
}

// pump asks for pieces, as many as may be under way.
func (b *Bucket) pump() {
	for b.ctx.Err() == nil {
		s, waitedFor := b.choose()
		if s == nil || !waitedFor && b.inFlight >= requestsAtATime {
			return
		}
		p := &piece{source: s, offset: s.next, size: b.nextSize(s), done: make(chan struct{})}
		s.next += p.size
		s.asked = s.next == s.object.Size
		s.pieces = append(s.pieces, p)
		b.window -= p.size
		b.inFlight++
		buffer := b.buffer(p.size)
		b.group.Go(func() { b.deliver(p, buffer) })
	}
}

func (b *Bucket) nextSize(s *source) int64 { return min(b.pieceMax, s.object.Size-s.next) }

// choose finds the source that gets the next piece, and tells whether its reader has nothing else to wait for.
func (b *Bucket) choose() (s *source, waitedFor bool) {
	var best *source
	for _, s := range b.opened {
		if !s.asked && (best == nil || len(s.pieces) < len(best.pieces)) {
			best = s
		}
	}
	switch {
	case best == nil:
		return b.chooseAhead(), false
	case len(best.pieces) == 0:
		return best, true
	case b.window >= b.nextSize(best):
		return best, false
	}
	return nil, false
}

// chooseAhead finds an object that is not open yet.
func (b *Bucket) chooseAhead() *source {
	if b.inFlight >= requestsAtATime {
		return nil
	}
	half := b.settings.Memory / 2
	if n := len(b.ahead); n > 0 && !b.ahead[n-1].asked {
		if s := b.ahead[n-1]; b.window-b.nextSize(s) >= half {
			return s
		}
		return nil
	}
	if b.next == len(b.expected) || b.window-min(b.pieceMax, b.expected[b.next].Size) < half {
		return nil
	}
	s := b.newSource(b.expected[b.next])
	b.next++
	b.ahead = append(b.ahead, s)
	return s
}

func (b *Bucket) buffer(size int64) []byte {
	if size <= b.pieceMax/2 {
		return make([]byte, 0, size)
	}
	if n := len(b.spare); n > 0 {
		last := b.spare[n-1]
		b.spare = b.spare[:n-1]
		return last
	}
	return make([]byte, 0, b.pieceMax)
}

// deliver fetches a piece.
func (b *Bucket) deliver(p *piece, buffer []byte) {
	data, err := b.fetch(p, buffer)
	b.mu.Lock()
	defer b.mu.Unlock()
	p.data, p.err = data, err
	close(p.done)
	b.inFlight--
	if p.free {
		b.release(p)
	}
	b.pump()
}

// take waits for the next piece of a source; nil: there is none. The piece is the caller's until he gives it back.
func (b *Bucket) take(ctx context.Context, s *source) (*piece, error) {
	b.mu.Lock()
	if len(s.pieces) == 0 {
		asked := s.asked
		b.mu.Unlock()
		if asked {
			return nil, nil
		}
		return nil, cmp.Or(b.ctx.Err(), errors.New("its next bytes were not asked for, which is a fault of the program"))
	}
	p := s.pieces[0]
	s.pieces = s.pieces[1:]
	b.pump()
	b.mu.Unlock()
	select {
	case <-p.done:
		if p.err != nil {
			b.giveBack(p)
			return nil, p.err
		}
		return p, nil
	case <-ctx.Done():
		b.giveBack(p)
		return nil, ctx.Err()
	}
}

// giveBack is for the pieces that take gave.
func (b *Bucket) giveBack(p *piece) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.release(p)
	b.pump()
}
