package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"

	"drawdown/rating"

	"github.com/jmoiron/sqlx"
)

// LoadDraft reads the catalog's rows, by primary key as bytes. Equal composed fields, as covers, are shared by rows: they
// are not to be changed.
func (s *Store) LoadDraft(ctx context.Context) (*rating.Draft, error) {
	var d *rating.Draft
	err := s.snapshot(ctx, func(tx *sqlx.Tx) (err error) {
		d, err = loadDraft(ctx, tx)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("load the catalog from %s: %w", s.name, err)
	}
	return d, nil
}

// separator stands between the columns of a row that is read. No field may hold it, and a row that does is refused.
const separator = "\x1f"

// UnreadableError names all rows of the catalog's tables that cannot be read: another program wrote them. The draft has
// them, as far as they can be read, and all others, so that what else is wrong can be said along with it.
type UnreadableError struct {
	Draft *rating.Draft
	rows  []unreadableRow
}

type unreadableRow struct {
	table int
	key   [3]string
	place string
	fault string
}

func (e *UnreadableError) Error() string {
	text := fmt.Sprintf("%d rows of the database cannot be read; mend them there:", len(e.rows))
	for _, r := range e.rows {
		text += fmt.Sprintf("\ntable %s: row %s: %s", catalogTables()[r.table].kind, r.place, r.fault)
	}
	return text
}

// Faults gives the rows as faults of a draft: of Draft, or of what a file and Draft make together. A row that the file has
// too does not matter; the file may be nil.
func (e *UnreadableError) Faults(of, file *rating.Draft) []rating.Fault {
	var faults []rating.Fault
	for n, t := range catalogTables() {
		var index, inFile map[[3]string]int32
		for _, r := range e.rows {
			if r.table != n {
				continue
			}
			if index == nil {
				if index = t.index(of); file != nil {
					inFile = t.index(file)
				}
			}
			i, there := index[r.key]
			if _, replaced := inFile[r.key]; replaced || !there {
				continue
			}
			faults = append(faults, rating.Fault{Kind: t.kind, Index: int(i), Rule: "R2.8", Message: r.fault, Hint: "mend the row in the database"})
		}
	}
	return faults
}

func loadDraft(ctx context.Context, tx *sqlx.Tx) (*rating.Draft, error) {
	d, memo := &rating.Draft{}, newMemo()
	unreadable := &UnreadableError{Draft: d}
	for n, t := range catalogTables() {
		rows, err := t.load(ctx, tx, d, memo)
		if err != nil {
			return nil, fmt.Errorf("table %s: %w", t.kind, err)
		}
		for _, r := range rows {
			r.table = n
			unreadable.rows = append(unreadable.rows, r)
		}
	}
	if len(unreadable.rows) > 0 {
		return nil, unreadable
	}
	return d, nil
}

// load appends the table's rows, and names those that cannot be read. It takes each row as one text: reading 21
// columns one by one costs twice as much.
func (t *table) load(ctx context.Context, tx *sqlx.Tx, d *rating.Draft, memo *memo) (unreadable []unreadableRow, err error) {
	var n int
	if err := tx.GetContext(ctx, &n, "SELECT COUNT(*) FROM "+string(t.kind)); err != nil {
		return nil, err
	}
	t.grow(d, n)
	rows, err := tx.QueryContext(ctx, "SELECT concat_ws('"+separator+"', "+quoteAll(t.columns)+") FROM "+string(t.kind))
	if err != nil {
		return nil, err
	}
	batches := make(chan []string, 4)
	var scanned error
	var scan sync.WaitGroup
	scan.Go(func() {
		defer close(batches)
		scanned = scanTexts(rows, batches)
	})
	v := make([]string, len(t.columns))
	for batch := range batches {
		for _, row := range batch {
			if fault := t.addText(d, row, v, memo); fault != "" {
				r := unreadableRow{place: t.keyText(v), fault: fault}
				t.key(d, t.count(d)-1, r.key[:])
				unreadable = append(unreadable, r)
			}
		}
	}
	scan.Wait()
	if scanned != nil {
		return nil, scanned
	}
	t.sort(d)
	return unreadable, nil
}

// scanTexts takes rows from the database, so many at a time, while those before are taken apart on another core.
func scanTexts(rows *sql.Rows, batches chan<- []string) error {
	const most = 256
	batch := make([]string, 0, most)
	for rows.Next() {
		batch = append(batch, "")
		if err := rows.Scan(&batch[len(batch)-1]); err != nil {
			return errors.Join(err, rows.Close())
		}
		if len(batch) == most {
			batches <- batch
			batch = make([]string, 0, most)
		}
	}
	batches <- batch
	return errors.Join(rows.Err(), rows.Close())
}

// addText adds a row, and says what of it cannot be read.
func (t *table) addText(d *rating.Draft, row string, v []string, memo *memo) (fault string) {
	if !split(row, v) {
		clear(v)
		copy(v, strings.Split(row, separator)) // so that its key is there, which others may refer to
		_ = t.add(d, v, memo)
		return fmt.Sprintf("a field of %q holds the control character U+001F; remove it", row)
	}
	if err := t.add(d, v, memo); err != nil {
		return err.Error()
	}
	return ""
}

func split(row string, v []string) bool {
	for n := range v {
		end := strings.IndexByte(row, separator[0])
		if last := n == len(v)-1; last != (end < 0) {
			return false
		} else if last {
			v[n] = row
			break
		}
		v[n], row = row[:end], row[end+1:]
	}
	return true
}

func quoteAll(columns []string) string { return `"` + strings.Join(columns, `", "`) + `"` }

// Merge lays the rows of a file over those of the database: a row of the file stands for the whole of the row with the
// same key. The file's rows come first and keep their positions, so that a fault's index still says which row it is.
func Merge(database, file *rating.Draft) *rating.Draft {
	merged := &rating.Draft{}
	for _, t := range catalogTables() {
		t.merge(merged, database, file, t.index(file), func(_, _ int32) {})
	}
	return merged
}

// merge appends the table's rows of both to merged, and calls each with every row of the database: its position, and the
// position of the file's row with the same key, or -1.
func (t *table) merge(merged, database, file *rating.Draft, inFile map[[3]string]int32, each func(old, row int32)) {
	t.grow(merged, max(t.count(file), t.count(database)))
	for i := range t.count(file) {
		t.share(merged, file, i)
	}
	var key [3]string
	for i := range t.count(database) {
		t.key(database, i, key[:])
		row, ok := inFile[key]
		if !ok {
			row = -1
			t.share(merged, database, i)
		}
		each(int32(i), row)
	}
}

// index finds rows by key: the last one of those that share it.
func (t *table) index(d *rating.Draft) map[[3]string]int32 {
	index := make(map[[3]string]int32, t.count(d))
	var key [3]string
	for i := range t.count(d) {
		t.key(d, i, key[:])
		index[key] = int32(i)
	}
	return index
}
