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

// UnreadableError names all rows of the catalog's tables that cannot be read: another program wrote them.
type UnreadableError struct{ Rows []string }

func (e *UnreadableError) Error() string {
	return fmt.Sprintf("%d rows of the database cannot be read; mend them there:\n%s", len(e.Rows), strings.Join(e.Rows, "\n"))
}

func loadDraft(ctx context.Context, tx *sqlx.Tx) (*rating.Draft, error) {
	d, memo, unreadable := &rating.Draft{}, newMemo(), &UnreadableError{}
	for _, t := range catalogTables() {
		if err := t.load(ctx, tx, d, memo, unreadable); err != nil {
			return nil, fmt.Errorf("table %s: %w", t.kind, err)
		}
	}
	if len(unreadable.Rows) > 0 {
		return nil, unreadable
	}
	return d, nil
}

// load appends the table's rows, and puts aside those that cannot be read. It takes each row as one text: reading 21
// columns one by one costs twice as much.
func (t *table) load(ctx context.Context, tx *sqlx.Tx, d *rating.Draft, memo *memo, unreadable *UnreadableError) error {
	var n int
	if err := tx.GetContext(ctx, &n, "SELECT COUNT(*) FROM "+string(t.kind)); err != nil {
		return err
	}
	t.grow(d, n)
	rows, err := tx.QueryContext(ctx, "SELECT concat_ws('"+separator+"', "+quoteAll(t.columns)+") FROM "+string(t.kind))
	if err != nil {
		return err
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
				unreadable.Rows = append(unreadable.Rows, fmt.Sprintf("table %s: row %s", t.kind, fault))
			}
		}
	}
	scan.Wait()
	if scanned != nil {
		return scanned
	}
	t.sort(d)
	return nil
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

// addText adds a row, or says what keeps it from being read.
func (t *table) addText(d *rating.Draft, row string, v []string, memo *memo) (fault string) {
	if !split(row, v) {
		return fmt.Sprintf("%q: a field holds the control character U+001F; remove it", row)
	}
	if err := t.add(d, v, memo); err != nil {
		return fmt.Sprintf("%s: %v", t.keyText(v), err)
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
