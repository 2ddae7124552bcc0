package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"drawdown/rating"

	"github.com/jmoiron/sqlx"
	"github.com/klauspost/compress/zstd"
)

// Edits says how many times the catalog's tables were edited, by whomever: they hold the same wherever it is the same.
// Triggers count, so that no program can edit them past it; 0 is where that is not known.
type Edits int64

// CatalogRows are the catalog's rows as they are in the database, all of one moment.
type CatalogRows struct {
	*rating.Draft
	Edits Edits
	Copy  *CatalogCopy // that the database has of just these; nil: they were read row by row
}

// KeepCatalog keeps a copy, and says that it stands for the tables.
func (s *Store) KeepCatalog(ctx context.Context, c *CatalogCopy) error {
	err := s.transact(ctx, func(tx *sqlx.Tx) error { return c.keep(ctx, tx) })
	if err != nil {
		return fmt.Errorf("keep the catalog in %s: %w", s.name, err)
	}
	c.isKept()
	return nil
}

func (c *CatalogCopy) isKept() { c.kept, c.current, c.fresh = true, c.Edits > 0, nil }

// ReadCatalog reads the catalog's rows: those of the kept copy, where nobody has edited the tables since it was made, and
// where it has the form that is asked for; otherwise those of the tables, as LoadDraft does. No form is any.
func (s *Store) ReadCatalog(ctx context.Context, form CatalogForm) (rows *CatalogRows, err error) {
	err = s.snapshot(ctx, func(tx *sqlx.Tx) error {
		rows = &CatalogRows{}
		was, err := currentCatalog(ctx, tx)
		if err != nil {
			return err
		}
		rows.Edits = was.is
		if was.stands() && (form.Checked == Hash{} || form.Checked == was.Checked) {
			rows.Draft, rows.Copy, err = was.read(ctx, tx)
			if err == nil && (form.Shards == 0 || form.Shards == rows.Copy.layout.shards()) || err != nil && !isDamaged(err) {
				return err
			}
			rows.Copy = nil
		}
		rows.Draft, err = loadDraft(ctx, tx) // which is always right; that the copy is damaged, verify says
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("load the catalog from %s: %w", s.name, err)
	}
	return rows, nil
}

// currentRow is the row of catalog_current.
type currentRow struct {
	is      Edits // of the tables, now
	Edits   Edits // of the tables, when the copy was made
	SHA256  Hash
	Checked Hash
}

// stands tells whether the copy holds what the tables do.
func (c *currentRow) stands() bool { return c.is > 0 && c.Edits == c.is && c.SHA256 != Hash{} }

func editsOf(ctx context.Context, tx *sqlx.Tx) (Edits, error) {
	var edits sql.NullInt64
	err := tx.GetContext(ctx, &edits, `SELECT CAST(SUM(edits) AS BIGINT) FROM catalog_edit`)
	return Edits(edits.Int64), err
}

func currentCatalog(ctx context.Context, tx *sqlx.Tx) (*currentRow, error) {
	row := &currentRow{}
	err := tx.GetContext(ctx, row, `SELECT edits, sha256, checked FROM catalog_current`)
	if err == nil || errors.Is(err, sql.ErrNoRows) {
		row.is, err = editsOf(ctx, tx)
	}
	return row, err
}

// copied is the copy that the database has.
func (c *currentRow) copied(kept *keptCatalog) *CatalogCopy {
	return &CatalogCopy{
		SHA256: c.SHA256, Edits: c.Edits, checked: c.Checked, kept: true, current: true, layout: kept.layout, chunks: kept.chunks,
	}
}

func (c *currentRow) read(ctx context.Context, tx *sqlx.Tx) (*rating.Draft, *CatalogCopy, error) {
	kept, err := keptList(ctx, tx, c.SHA256)
	if err != nil {
		return nil, nil, err
	}
	d, err := readChunks(ctx, tx, kept.chunks)
	if err != nil {
		return nil, nil, err
	}
	return d, c.copied(kept), nil
}

// keep stores a copy, as far as the database lacks it, over what is damaged of it, and says that it stands for the tables.
func (c *CatalogCopy) keep(ctx context.Context, tx *sqlx.Tx) error {
	if !c.kept {
		list := make([]byte, 0, len(c.chunks)*len(Hash{}))
		for i := range c.chunks {
			list = append(list, c.chunks[i][:]...)
		}
		_, err := tx.ExecContext(ctx, tx.Rebind(`INSERT INTO catalog (sha256, token, chunks, layout)
			VALUES (?, (SELECT COALESCE(MAX(token), 0) FROM lease), ?, ?)
			ON CONFLICT (sha256) DO UPDATE SET chunks = excluded.chunks, layout = excluded.layout`), c.SHA256, list, c.layout.text())
		if err != nil {
			return err
		}
		insert := bulk{
			tx: tx, head: `INSERT INTO catalog_chunk (sha256, content) VALUES `, tail: ` ON CONFLICT (sha256) DO UPDATE SET content = excluded.content`,
		}
		err = insert.rows(ctx, 2, len(c.fresh), func(i int) ([]any, error) { return []any{c.fresh[i].SHA256, c.fresh[i].Content}, nil })
		if err != nil {
			return err
		}
	}
	if c.current || c.Edits == 0 {
		return nil
	}
	// What an earlier moment held is as true as what a later one does, so that it does not matter who comes last.
	_, err := tx.ExecContext(ctx, tx.Rebind(`INSERT INTO catalog_current (one, edits, sha256, checked) VALUES (1, ?, ?, ?)
		ON CONFLICT (one) DO UPDATE SET edits = excluded.edits, sha256 = excluded.sha256, checked = excluded.checked`),
		c.Edits, c.SHA256, c.checked)
	return err
}

// VerifyCurrent compares the kept copy that stands for the catalog's tables with these: they differ where somebody has
// edited them past the triggers that count.
func (s *Store) VerifyCurrent(ctx context.Context) error {
	return s.snapshot(ctx, func(tx *sqlx.Tx) error {
		was, err := currentCatalog(ctx, tx)
		if err != nil || !was.stands() {
			return err // the next settle reads the tables
		}
		kept, _, err := was.read(ctx, tx)
		if err != nil {
			return err
		}
		is, err := loadDraft(ctx, tx)
		var unreadable *UnreadableError
		if errors.As(err, &unreadable) {
			is = unreadable.Draft
		} else if err != nil {
			return err
		}
		removed, edited, err := differing(kept, is)
		if err != nil {
			return err
		}
		rows := differingRows(removed, edited)
		if unreadable == nil && len(rows) == 0 {
			return nil
		}
		return &UncountedError{rows: rows}
	})
}

// UncountedError says that the catalog's tables were edited past the triggers that count edits.
type UncountedError struct{ rows []CatalogRow }

func (e *UncountedError) Error() string {
	const most = 5
	var names []string
	for _, row := range e.rows[:min(len(e.rows), most)] {
		names = append(names, string(row.Kind)+" "+row.Key)
	}
	if more := len(e.rows) - most; more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return fmt.Sprintf("the kept copy that settle goes by, and the catalog's tables differ (%s): they were edited with their triggers "+
		"disabled or dropped, or restored; see that the triggers are there and enabled, and that the rows are right, then run "+
		"`drawdown catalog apply` with any file of the catalog: it reads the tables and makes the copy anew", strings.Join(names, ", "))
}

// differingRows names rows that are on either side.
func differingRows(removed, edited *rating.Draft) []CatalogRow {
	var rows []CatalogRow
	for _, t := range catalogTables() {
		v := make([]string, len(t.columns))
		seen := map[string]bool{}
		for _, d := range []*rating.Draft{removed, edited} {
			for i := range t.count(d) {
				t.key(d, i, v)
				if key := t.keyText(v); !seen[key] {
					seen[key] = true
					rows = append(rows, CatalogRow{t.kind, key})
				}
			}
		}
	}
	return rows
}

// keptCatalog are the chunks of a kept catalog, and how they lie.
type keptCatalog struct {
	chunks []Hash
	layout *catalogLayout
}

func keptList(ctx context.Context, tx *sqlx.Tx, hash Hash) (*keptCatalog, error) {
	var row struct {
		Chunks []byte
		Layout string
	}
	err := tx.GetContext(ctx, &row, tx.Rebind(`SELECT chunks, layout FROM catalog WHERE sha256 = ?`), hash)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrNotKept
	}
	if err != nil {
		return nil, err
	}
	chunks := hashesOf(row.Chunks)
	if hashOfChunks(row.Layout, chunks) != hash {
		return nil, fmt.Errorf("%w: the list of its chunks has another hash", errDamagedCatalog)
	}
	layout, err := readLayout(row.Layout, len(chunks))
	return &keptCatalog{chunks, layout}, err
}

func (s *Store) keptList(ctx context.Context, hash Hash) (kept *keptCatalog, err error) {
	err = s.snapshot(ctx, func(tx *sqlx.Tx) (err error) {
		kept, err = keptList(ctx, tx, hash)
		return err
	})
	return kept, err
}

// isDamaged tells that a kept catalog cannot be read, whatever the tables hold.
func isDamaged(err error) bool {
	return errors.Is(err, errDamagedCatalog) || errors.Is(err, ErrNotKept) || errors.Is(err, errOtherProgram)
}

func chunkContents(ctx context.Context, tx *sqlx.Tx, chunks []Hash) (map[Hash][]byte, error) {
	args := make([]any, len(chunks))
	for i := range chunks {
		args[i] = chunks[i]
	}
	var rows []storedChunk
	err := tx.SelectContext(ctx, &rows, tx.Rebind(`SELECT sha256, content FROM catalog_chunk WHERE sha256 IN (`+
		strings.Repeat("?, ", len(chunks)-1)+`?)`), args...)
	contents := make(map[Hash][]byte, len(rows))
	for _, row := range rows {
		contents[row.SHA256] = row.Content
	}
	return contents, err
}

// chunkReader reads many chunks into one draft: first how many rows each has, so that every row then has its place, and
// they can be read side by side.
type chunkReader struct {
	hashes  []Hash
	packed  [][]byte
	content []string
	kind    []int // of table
	rows    []int
	decoder *zstd.Decoder
}

func readChunks(ctx context.Context, tx *sqlx.Tx, hashes []Hash) (*rating.Draft, error) {
	c := &chunkReader{
		hashes: hashes, packed: make([][]byte, 0, len(hashes)), content: make([]string, len(hashes)), kind: make([]int, len(hashes)),
		rows: make([]int, len(hashes)),
	}
	for some := range slices.Chunk(hashes, 256) {
		contents, err := chunkContents(ctx, tx, some)
		if err != nil {
			return nil, err
		}
		for _, hash := range some {
			c.packed = append(c.packed, contents[hash])
		}
	}
	var err error
	c.decoder, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(runtime.GOMAXPROCS(0)), zstd.WithDecoderMaxMemory(maxChunkSize))
	if err != nil {
		return nil, err
	}
	defer c.decoder.Close()
	if err := c.each(c.unpack); err != nil {
		return nil, err
	}
	return c.draft()
}

// each does something with the chunks on all cores, and gives the first error in their order.
func (c *chunkReader) each(do func(w *chunkWork, i int) error) error {
	errs := make([]error, len(c.hashes))
	var next atomic.Int64
	var group sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(c.hashes)) {
		group.Go(func() {
			w := &chunkWork{tables: catalogTables(), memo: newMemo()}
			for {
				i := int(next.Add(1)) - 1
				if i >= len(errs) {
					return
				}
				errs[i] = do(w, i)
			}
		})
	}
	group.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// chunkWork is what one goroutine has for itself.
type chunkWork struct {
	tables  []table
	memo    *memo
	scratch []byte
}

// unpack checks a chunk's hash, and counts its rows.
func (c *chunkReader) unpack(w *chunkWork, i int) (err error) {
	w.scratch, err = c.decoder.DecodeAll(c.packed[i], w.scratch[:0])
	if err != nil || sha256.Sum256(w.scratch) != c.hashes[i] {
		return fmt.Errorf("%w: its chunk %s has another hash, or is not there", errDamagedCatalog, c.hashes[i])
	}
	c.content[i] = string(w.scratch)
	kind, rest, ok := cutText(c.content[i])
	if c.kind[i] = slices.IndexFunc(w.tables, func(t table) bool { return string(t.kind) == kind }); !ok || c.kind[i] < 0 {
		return unknownTable(kind)
	}
	texts := 0
	for ; ok && len(rest) > 0; texts++ {
		_, rest, ok = cutText(rest)
	}
	columns := len(w.tables[c.kind[i]].columns)
	if c.rows[i] = texts / columns; !ok || texts%columns != 0 {
		return otherColumns(kind)
	}
	return nil
}

// draft reads the rows of all chunks, each into its place.
func (c *chunkReader) draft() (*rating.Draft, error) {
	d := &rating.Draft{}
	from := make([]int, len(c.hashes))
	tables := catalogTables()
	counts := make([]int, len(tables))
	for i, kind := range c.kind {
		from[i] = counts[kind]
		counts[kind] += c.rows[i]
	}
	for n := range tables {
		tables[n].make(d, counts[n])
	}
	return d, c.each(func(w *chunkWork, i int) error {
		part := &rating.Draft{}
		w.tables[c.kind[i]].window(part, d, from[i], c.rows[i])
		return addChunk(w.tables, part, w.memo, c.content[i])
	})
}
