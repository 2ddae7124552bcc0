package jobs

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"math"
	"os"
	"slices"
	"sort"
	"strings"
	"sync"

	"drawdown/rating"
)

// quarantine collects rejected rows in a temp file, since there may be as many as settled ones, and gives them back in an
// order that depends on the rows alone. It is safe for concurrent use. The file has no name any more where the system
// allows that, so that a run that is killed leaves no usage behind.
type quarantine struct {
	dir     string
	most    int // rows, of which each has its place in memory; 0: any number
	crc     *crc32.Table
	scratch sync.Pool // of *[]byte, to encode rows in

	mu     sync.Mutex
	file   *os.File
	name   string // still to be removed
	buffer *bufio.Writer
	size   int64
	rows   []rejectedRow
	counts map[int32]int // of rows, by object
}

// rejectedRow says where a row stands in the file.
type rejectedRow struct {
	offset, row    int64
	object, period int32
	size           uint32
	reason         rating.Reason
	homeless       bool // it belongs to no period
}

const (
	rejectedRowBytes = 32      // of memory, for each row
	leastQuarantine  = 1 << 20 // rows that there is room for, however little memory a run has
)

func newQuarantine(dir string) *quarantine {
	q := &quarantine{dir: dir, crc: crc32.MakeTable(crc32.Castagnoli), counts: map[int32]int{}}
	q.scratch.New = func() any { return new([]byte) }
	return q
}

// add keeps a row for one of the run's periods.
func (q *quarantine) add(object, period int32, r *rating.Rejected) error {
	scratch := q.scratch.Get().(*[]byte)
	defer q.scratch.Put(scratch)
	b := q.encode((*scratch)[:0], r)
	*scratch = b
	if len(b) > math.MaxInt32 {
		return fmt.Errorf("keep a quarantined row: row %d has texts of %d bytes", r.Row, len(b))
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.most > 0 && len(q.rows) >= q.most {
		return fmt.Errorf("R4.4: more than %d rows are in quarantine, and memory has no room for more, the last one (%s) because %s; "+
			"mend the mapping, the catalog or the rows, or raise memory", q.most, r.Reason, r.Detail)
	}
	if q.file == nil {
		file, err := os.CreateTemp(q.dir, "drawdown-*.quarantine") // mode 0600
		if err != nil {
			return q.unkept(err)
		}
		if os.Remove(file.Name()) != nil {
			q.name = file.Name()
		}
		q.use(file)
	}
	if _, err := q.buffer.Write(b); err != nil {
		return q.unkept(err)
	}
	q.rows = append(q.rows, rejectedRow{
		offset: q.size, row: r.Row, object: object, period: period, size: uint32(len(b)), reason: r.Reason, homeless: isHomeless(r),
	})
	q.size += int64(len(b))
	q.counts[object]++
	return nil
}

func (q *quarantine) use(file *os.File) {
	q.file, q.buffer = file, bufio.NewWriterSize(file, 1<<16)
}

func (q *quarantine) unkept(err error) error {
	return fmt.Errorf("keep quarantined rows in a temp file in %s: %w; free space there, or set temp_dir", q.folder(), err)
}

func (q *quarantine) folder() string {
	if q.dir == "" {
		return os.TempDir()
	}
	return q.dir
}

// drop forgets the rows of an object.
func (q *quarantine) drop(object int32) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.forget(object, func(*rejectedRow) bool { return true })
}

// rehome puts those rows of an object that belong to no period into another one, or forgets them where that is negative.
// It tells how many they are.
func (q *quarantine) rehome(object, period int32) (moved int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.forget(object, func(r *rejectedRow) bool {
		if !r.homeless {
			return false
		}
		moved++
		r.period = period
		return period < 0
	})
	return moved
}

// lateRows is the period of rejected rows of closed periods, until it is known whether they are of any account.
const lateRows = int32(-2)

// move puts those rows of an object that stand for one period into another one, or forgets them where that is negative. It
// tells how many they are.
func (q *quarantine) move(object, from, to int32) (moved int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.forget(object, func(r *rejectedRow) bool {
		if r.period != from {
			return false
		}
		moved++
		r.period = to
		return to < 0
	})
	return moved
}

// forget takes those rows of an object away that gone says. It looks from the end: an object is judged when it has just
// been read, and looking through all rows for each object would take for ever where both are many.
func (q *quarantine) forget(object int32, gone func(*rejectedRow) bool) {
	first := len(q.rows)
	for left := q.counts[object]; left > 0; {
		if first--; q.rows[first].object == object {
			left--
		}
	}
	kept := q.rows[:first]
	for _, r := range q.rows[first:] {
		if r.object == object && gone(&r) {
			q.counts[object]--
			continue
		}
		kept = append(kept, r)
	}
	q.rows = kept
}

// seal sorts what was added; nothing may be added while rows are read.
func (q *quarantine) seal() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.buffer != nil {
		if err := q.buffer.Flush(); err != nil {
			return q.unkept(err)
		}
	}
	slices.SortFunc(q.rows, func(a, b rejectedRow) int { return cmp.Or(comparePlaces(a, b), cmp.Compare(a.offset, b.offset)) })
	window := q.window()
	for rest := q.rows; len(rest) > 0; {
		n := 1
		for n < len(rest) && comparePlaces(rest[0], rest[n]) == 0 {
			n++
		}
		if n > 1 {
			if err := window.sort(rest[:n]); err != nil {
				return err
			}
		}
		rest = rest[n:]
	}
	return nil
}

func comparePlaces(a, b rejectedRow) int {
	return cmp.Or(cmp.Compare(a.period, b.period), cmp.Compare(a.object, b.object), cmp.Compare(a.row, b.row))
}

// of gives the rows of a period by object, row, record id, meter and reason.
func (q *quarantine) of(period int32) iter.Seq2[Rejection, error] {
	return func(yield func(Rejection, error) bool) {
		first := sort.Search(len(q.rows), func(i int) bool { return q.rows[i].period >= period })
		window := q.window()
		for _, r := range q.rows[first:] {
			if r.period != period {
				return
			}
			b, err := window.read(r)
			if err != nil {
				yield(Rejection{}, err)
				return
			}
			if !yield(Rejection{Object: r.object, Rejected: decodeRejected(b)}, nil) {
				return
			}
		}
	}
}

func (q *quarantine) close() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.file == nil {
		return nil
	}
	err := q.file.Close()
	if q.name != "" {
		err = errors.Join(err, os.Remove(q.name))
	}
	q.file, q.buffer, q.rows = nil, nil, nil
	return err
}

// The form of a row in the file. All but the head is under the checksum, and so is the length in it; texts are the very
// bytes that came.
//
//	length   4 bytes, little-endian: of what follows the head
//	CRC32C   4 bytes, little-endian: of length and what follows
//	row, time, reason, 1 if it has a time or 3 if that is in the future; lengths of record id, account, meter, detail, raw: varints
//	record id, account, meter, detail, raw
const (
	lengthSize = 4
	headSize   = 8
)

// encode appends a row.
func (q *quarantine) encode(b []byte, r *rating.Rejected) []byte {
	b = append(b, make([]byte, headSize)...)
	b = binary.AppendVarint(b, r.Row)
	b = binary.AppendVarint(b, int64(r.Time))
	hasTime := byte(0)
	switch {
	case r.Future:
		hasTime = 3
	case r.HasTime:
		hasTime = 1
	}
	b = append(b, byte(r.Reason), hasTime)
	for _, n := range [...]int{len(r.RecordID), len(r.Account), len(r.Meter), len(r.Detail), len(r.Raw)} {
		b = binary.AppendUvarint(b, uint64(n))
	}
	b = append(append(append(append(append(b, r.RecordID...), r.Account...), r.Meter...), r.Detail...), r.Raw...)
	binary.LittleEndian.PutUint32(b, uint32(len(b)-headSize))
	binary.LittleEndian.PutUint32(b[lengthSize:], q.sum(b))
	return b
}

func (q *quarantine) sum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:lengthSize], q.crc), q.crc, b[headSize:])
}

// decodeRejected reads what [quarantine.encode] made; its checksum has been seen to be right.
func decodeRejected(b []byte) *rating.Rejected {
	b = b[headSize:]
	row, n := binary.Varint(b)
	b = b[n:]
	time, n := binary.Varint(b)
	b = b[n:]
	r := &rating.Rejected{Row: row, Time: rating.Instant(time), Reason: rating.Reason(b[0]), HasTime: b[1] != 0, Future: b[1] == 3}
	b = b[2:]
	var lengths [5]int
	for i := range lengths {
		length, n := binary.Uvarint(b)
		lengths[i], b = int(length), b[n:]
	}
	texts := string(b[:len(b)-lengths[4]])
	for i, into := range [...]*string{&r.RecordID, &r.Account, &r.Meter, &r.Detail} {
		*into, texts = texts[:lengths[i]], texts[lengths[i]:]
	}
	if lengths[4] > 0 {
		r.Raw = bytes.Clone(b[len(b)-lengths[4]:])
	}
	return r
}

// rejectedWindow reads rows through a window on the file, because those that follow each other mostly stand together.
type rejectedWindow struct {
	q     *quarantine
	start int64
	text  []byte
}

const windowSize = 32 << 10

func (q *quarantine) window() *rejectedWindow { return &rejectedWindow{q: q} }

// read gives the bytes of a row, until the next call.
func (w *rejectedWindow) read(r rejectedRow) ([]byte, error) {
	q, end := w.q, r.offset+int64(r.size)
	if r.offset < w.start || end > w.start+int64(len(w.text)) {
		n := int(max(int64(r.size), min(windowSize, q.size-r.offset)))
		w.start, w.text = r.offset, slices.Grow(w.text[:0], n)[:n]
		if n, err := q.file.ReadAt(w.text, r.offset); err != nil {
			w.text = w.text[:n]
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, fmt.Errorf("read quarantined rows again at %d of the temp file in %s: %w; check the disk, and run again", r.offset, q.folder(), err)
		}
	}
	b := w.text[r.offset-w.start : end-w.start]
	if int64(binary.LittleEndian.Uint32(b)) != int64(r.size)-headSize || binary.LittleEndian.Uint32(b[lengthSize:]) != q.sum(b) {
		return nil, fmt.Errorf("quarantined row at %d of the temp file in %s came back changed: %w; check the disk, and run again",
			r.offset, q.folder(), errRejectedChecksum)
	}
	return b, nil
}

var errRejectedChecksum = errors.New("CRC32C does not match")

// sort orders what was rejected of one row: with usage.emit it makes several records.
func (w *rejectedWindow) sort(rows []rejectedRow) error {
	type full struct {
		place rejectedRow
		*rating.Rejected
		text []byte
	}
	all := make([]full, len(rows))
	for i, r := range rows {
		b, err := w.read(r)
		if err != nil {
			return err
		}
		all[i] = full{r, decodeRejected(b), bytes.Clone(b)}
	}
	slices.SortFunc(all, func(a, b full) int {
		return cmp.Or(strings.Compare(a.RecordID, b.RecordID), strings.Compare(a.Meter, b.Meter), cmp.Compare(a.Reason, b.Reason),
			strings.Compare(a.Detail, b.Detail), bytes.Compare(a.text, b.text))
	})
	for i := range all {
		rows[i] = all[i].place
	}
	return nil
}
