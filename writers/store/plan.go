package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"drawdown/rating"

	"github.com/jmoiron/sqlx"
)

// CatalogPlan is what applying a catalog's file would do to the database: rows are added and changed, never deleted.
type CatalogPlan struct {
	Added     []CatalogRow
	Changed   []CatalogChange
	Kept      []CatalogRow // only in the database: left alone
	Unchanged int

	// Merged is the catalog as it will be: check it with [rating.Compile] before the plan is applied. The file's rows
	// come first (see [Merge]).
	Merged *rating.Draft

	was  *rating.Draft // the rows of Changed as they are in the database
	base Hash          // of the database's catalog when the plan was made
	made Edits         // of its tables then
	file *rating.Draft
	rows []plannedRows // by table
}

// plannedRows are rows of the file that are to be written to a table.
type plannedRows struct{ added, changed []int32 }

// CatalogRow names a row of the catalog; the key of one that has several columns is written with spaces.
type CatalogRow struct {
	Kind rating.Kind
	Key  string
}

// CatalogChange is a row that will be another one.
type CatalogChange struct {
	CatalogRow
	Fields []FieldChange
}

// FieldChange is a field of a row before and after; composed fields are JSON.
type FieldChange struct {
	Field, Old, New string
}

// Empty tells whether there is nothing to apply.
func (p *CatalogPlan) Empty() bool { return len(p.Added)+len(p.Changed) == 0 }

// Edits gives the rows that are added or changed as they will be, and the changed ones as they are.
func (p *CatalogPlan) Edits() (was, is *rating.Draft) {
	is = &rating.Draft{}
	for n, t := range catalogTables() {
		for _, row := range append(slices.Clone(p.rows[n].added), p.rows[n].changed...) {
			t.share(is, p.file, int(row))
		}
	}
	return p.was, is
}

// RowKey names a row of a draft as plans do.
func RowKey(d *rating.Draft, kind rating.Kind, index int) string {
	for _, t := range catalogTables() {
		if t.kind == kind {
			v := make([]string, t.keys)
			t.key(d, index, v[:t.keys:t.keys])
			return t.keyText(v)
		}
	}
	return ""
}

// PlanCatalog compares a catalog's file with the database. It fails where the file has two rows with one key.
func (s *Store) PlanCatalog(ctx context.Context, file *rating.Draft) (*CatalogPlan, error) {
	var database *rating.Draft
	var edits Edits
	err := s.snapshot(ctx, func(tx *sqlx.Tx) (err error) { // of the tables, never of the copy: it also mends what was edited past it
		if edits, err = editsOf(ctx, tx); err == nil {
			database, err = loadDraft(ctx, tx)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("load the catalog from %s: %w", s.name, err)
	}
	p, err := planCatalog(database, file)
	if err == nil {
		p.made = edits
	}
	return p, err
}

func planCatalog(database, file *rating.Draft) (*CatalogPlan, error) {
	p := &CatalogPlan{Merged: &rating.Draft{}, file: file, was: &rating.Draft{}}
	for _, t := range catalogTables() {
		rows, err := p.compare(&t, database, file)
		if err != nil {
			return nil, err
		}
		p.rows = append(p.rows, rows)
	}
	if !p.Empty() {
		p.base = HashDraft(database)
	}
	return p, nil
}

// compare tells which rows of a table are to be written.
func (p *CatalogPlan) compare(t *table, database, file *rating.Draft) (write plannedRows, err error) {
	was, is := make([]string, len(t.columns)), make([]string, len(t.columns))
	inFile := t.index(file)
	known := make([]int32, t.count(file)) // by row of the file: 1 + the row of the database
	t.merge(p.Merged, database, file, inFile, func(old, row int32) {
		if row >= 0 {
			known[row] = old + 1
			return
		}
		t.key(database, int(old), is)
		p.Kept = append(p.Kept, CatalogRow{t.kind, t.keyText(is)})
	})
	var key [3]string
	for i, old := range known {
		if err := t.row(file, i, is); err != nil {
			return write, err
		}
		row := CatalogRow{t.kind, t.keyText(is)}
		if t.key(file, i, key[:]); inFile[key] != int32(i) {
			return write, fmt.Errorf("R2.8: %s: %s stands in the file twice; remove one", t.kind, row.Key)
		}
		if old == 0 {
			p.Added, write.added = append(p.Added, row), append(write.added, int32(i))
			continue
		}
		if err := t.values(database, int(old-1), was); err != nil {
			return write, err
		}
		if slices.Equal(was, is) {
			p.Unchanged++
			continue
		}
		change := CatalogChange{CatalogRow: row}
		for n := range is {
			if was[n] != is[n] {
				change.Fields = append(change.Fields, FieldChange{t.columns[n], was[n], is[n]})
			}
		}
		t.share(p.was, database, int(old-1))
		p.Changed, write.changed = append(p.Changed, change), append(write.changed, int32(i))
	}
	return write, nil
}

// ErrCatalogMoved is what applying a plan fails with when the database's catalog changed after the plan was made: what
// was checked then is not what would be there now. Make the plan again.
var ErrCatalogMoved = errors.New("the catalog in the database was changed meanwhile; try again")

// ApplyCatalog does what a plan says, all of it or nothing, and keeps a copy of what the tables hold then. The plan's
// Merged was found to be valid, as the form says.
func (s *Store) ApplyCatalog(ctx context.Context, p *CatalogPlan, form CatalogForm) (*CatalogCopy, error) {
	made, err := s.CopyCatalog(ctx, p.Merged, p.made, form)
	if err != nil || p.Empty() && made.current {
		return made, err
	}
	attempts := 0
	err = s.transact(ctx, func(tx *sqlx.Tx) error {
		attempts++
		if p.Empty() {
			return made.keep(ctx, tx)
		}
		if s.dialect.lockCatalog != "" {
			if _, err := tx.ExecContext(ctx, s.dialect.lockCatalog); err != nil {
				return err
			}
		}
		applied, err := p.applied(ctx, tx, attempts)
		if err == nil && !applied {
			err = p.write(ctx, tx)
		}
		if err == nil {
			made.Edits, err = editsOf(ctx, tx)
		}
		if made.current = false; err != nil {
			return err
		}
		return made.keep(ctx, tx)
	})
	if err != nil {
		return nil, fmt.Errorf("apply the catalog to %s: %w", s.name, err)
	}
	made.isKept()
	return made, nil
}

// write puts the rows of the plan into the tables.
func (p *CatalogPlan) write(ctx context.Context, tx *sqlx.Tx) error {
	for n, t := range catalogTables() {
		err := t.insert(ctx, tx, p.file, p.rows[n].added)
		if err == nil {
			err = t.update(ctx, tx, p.file, p.rows[n].changed)
		}
		if err != nil {
			return fmt.Errorf("table %s: %w", t.kind, err)
		}
	}
	return nil
}

// applied makes sure that the tables hold what the plan was made of; true: they hold what it makes of them already.
func (p *CatalogPlan) applied(ctx context.Context, tx *sqlx.Tx, attempts int) (bool, error) {
	edits, err := editsOf(ctx, tx)
	if err != nil || edits == p.made && edits > 0 {
		return false, err
	}
	database, err := loadDraft(ctx, tx)
	if err != nil {
		return false, err
	}
	switch is := HashDraft(database); {
	case is != p.base && attempts > 1 && is == HashDraft(p.Merged):
		return true, nil // it was applied, and the answer was lost
	case is != p.base:
		return false, ErrCatalogMoved
	}
	return false, nil
}

// insert adds rows of a draft that the table does not have.
func (t *table) insert(ctx context.Context, tx *sqlx.Tx, d *rating.Draft, rows []int32) error {
	return dialectOf(tx).insert(ctx, tx, string(t.kind), t.columns, len(rows), t.reader(d, rows))
}

// update writes rows of a draft over those with the same key.
func (t *table) update(ctx context.Context, tx *sqlx.Tx, d *rating.Draft, rows []int32) error {
	conflict := " ON CONFLICT (" + quoteAll(t.columns[:t.keys]) + ") DO UPDATE SET "
	for n, column := range t.columns[t.keys:] {
		if n > 0 {
			conflict += ", "
		}
		conflict += `"` + column + `" = excluded."` + column + `"`
	}
	insert := bulk{tx: tx, head: "INSERT INTO " + string(t.kind) + " (" + quoteAll(t.columns) + ") VALUES ", tail: conflict}
	return insert.rows(ctx, len(t.columns), len(rows), t.reader(d, rows))
}

// reader gives rows of a draft column by column.
func (t *table) reader(d *rating.Draft, rows []int32) rowReader {
	v, args := make([]string, len(t.columns)), make([]any, len(t.columns))
	return func(i int) ([]any, error) {
		err := t.row(d, int(rows[i]), v)
		for n := range v {
			args[n] = v[n]
		}
		return args, err
	}
}

// bulk is an INSERT of many rows, some hundred a statement.
type bulk struct {
	tx         *sqlx.Tx
	head, tail string
	same       string // what follows in each row, as SQL: what need not be bound again and again
	changed    int64  // rows that were inserted or updated so far
}

// rows inserts n rows of so many columns. The slice that row gives is read at once.
func (b *bulk) rows(ctx context.Context, columns, n int, row rowReader) error {
	const parameters = 6000 // SQLite takes 32766 and PostgreSQL 65535, but more than this makes nothing quicker
	batch := min(n, parameters/columns)
	args := make([]any, 0, batch*columns)
	var statement *sqlx.Stmt
	var result sql.Result
	for i := range n {
		values, err := row(i)
		if err != nil {
			return err
		}
		args = append(args, values...)
		full, last := len(args) == batch*columns, i == n-1
		switch {
		case full && n >= 2*batch:
			if statement == nil {
				if statement, err = b.tx.PreparexContext(ctx, b.query(columns, batch)); err != nil {
					return err
				}
				defer statement.Close()
			}
			result, err = statement.ExecContext(ctx, args...)
		case full || last:
			result, err = b.tx.ExecContext(ctx, b.query(columns, len(args)/columns), args...)
		default:
			continue
		}
		if err != nil {
			return err
		}
		changed, err := result.RowsAffected()
		if err != nil {
			return err
		}
		b.changed += changed
		args = args[:0]
	}
	return nil
}

func (b *bulk) query(columns, rows int) string {
	row := "(" + strings.Repeat("?, ", columns-1) + "?" + b.same + ")"
	return b.tx.Rebind(b.head + strings.Repeat(row+", ", rows-1) + row + b.tail)
}
