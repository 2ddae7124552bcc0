package jobs

import (
	"bufio"
	"cmp"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"sync"

	"drawdown/rating"
)

// quarantine collects rejected rows in a temporary file, since there may be as many as settled ones, and gives them back
// in order. It is safe for concurrent use.
type quarantine struct {
	mu     sync.Mutex
	dir    string
	file   *os.File
	buffer *bufio.Writer
	size   int64
	rows   []rejectedRow
}

// rejectedRow says where a row stands in the file.
type rejectedRow struct {
	offset, row int64
	object      int32
	period      int32
	reason      rating.Reason
	homeless    bool // it belongs to no period
}

func newQuarantine(dir string) *quarantine { return &quarantine{dir: dir} }

// add keeps a row for one of the run's periods.
func (q *quarantine) add(object, period int32, r *rating.Rejected) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.file == nil {
		file, err := os.CreateTemp(q.dir, "drawdown-quarantine-*")
		if err != nil {
			return fmt.Errorf("keep quarantined rows: %w", err)
		}
		q.file, q.buffer = file, bufio.NewWriterSize(file, 1<<16)
	}
	counter := &countingWriter{to: q.buffer}
	if err := gob.NewEncoder(counter).Encode(r); err != nil {
		return fmt.Errorf("keep quarantined rows in %s: %w", q.file.Name(), err)
	}
	q.rows = append(q.rows, rejectedRow{
		offset: q.size, row: r.Row, object: object, period: period, reason: r.Reason, homeless: isHomeless(r),
	})
	q.size += counter.n
	return nil
}

type countingWriter struct {
	to io.Writer
	n  int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	c.n += int64(n)
	return n, err
}

// drop forgets the rows of an object.
func (q *quarantine) drop(object int32) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.rows = slices.DeleteFunc(q.rows, func(r rejectedRow) bool { return r.object == object })
}

// rehome puts those rows of an object that belong to no period into another one, or forgets them where that is negative.
// It tells how many they are.
func (q *quarantine) rehome(object, period int32) (moved int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.rows = slices.DeleteFunc(q.rows, func(r rejectedRow) bool {
		if r.object == object && r.homeless && period < 0 {
			moved++
			return true
		}
		return false
	})
	for i := range q.rows {
		if r := &q.rows[i]; r.object == object && r.homeless {
			r.period = period
			moved++
		}
	}
	return moved
}

// seal sorts what was added; nothing may be added while rows are read.
func (q *quarantine) seal() error {
	slices.SortFunc(q.rows, func(a, b rejectedRow) int {
		return cmp.Or(cmp.Compare(a.period, b.period), cmp.Compare(a.object, b.object), cmp.Compare(a.row, b.row),
			cmp.Compare(a.reason, b.reason), cmp.Compare(a.offset, b.offset))
	})
	if q.buffer == nil {
		return nil
	}
	if err := q.buffer.Flush(); err != nil {
		return fmt.Errorf("keep quarantined rows in %s: %w", q.file.Name(), err)
	}
	return nil
}

// of gives the rows of a period by object and row.
func (q *quarantine) of(period int32) iter.Seq2[Rejection, error] {
	return func(yield func(Rejection, error) bool) {
		for _, r := range q.rows {
			if r.period != period {
				continue
			}
			rejected := new(rating.Rejected)
			section := io.NewSectionReader(q.file, r.offset, q.size-r.offset)
			if err := gob.NewDecoder(section).Decode(rejected); err != nil {
				yield(Rejection{}, fmt.Errorf("read back quarantined rows from %s: %w", q.file.Name(), err))
				return
			}
			if !yield(Rejection{Object: r.object, Rejected: rejected}, nil) {
				return
			}
		}
	}
}

func (q *quarantine) close() error {
	if q.file == nil {
		return nil
	}
	return errors.Join(q.file.Close(), os.Remove(q.file.Name()))
}
