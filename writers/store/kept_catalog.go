package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"runtime"
	"slices"
	"sync"

	"drawdown/rating"

	"github.com/jmoiron/sqlx"
	"github.com/klauspost/compress/zstd"
)

const (
	catalogMagic = "drawdown catalog 2\n"
	shardedMagic = "drawdown catalog 3\n"
	chunkBits    = 7 // a chunk has 128 rows on average
	maxChunk     = 64 << 10
	maxChunkSize = 1 << 30 // so that a damaged length cannot take all memory; a row may be larger than maxChunk
)

// ErrNotKept is what loading a catalog fails with that no run has kept.
var ErrNotKept = errors.New("the catalog it was settled with was not kept: an older drawdown settled it")

// chunk is a run of rows of a table, by key.
type chunk struct {
	table  int
	rows   []int32
	sha256 Hash
}

// chunker cuts a draft into chunks. Where a chunk ends depends on the keys of its rows alone, so that a row that is added,
// edited or gone changes one chunk or two.
type chunker struct {
	draft  *rating.Draft
	tables []table
	chunks []chunk
	layout *catalogLayout // nil: the chunks lie by table and key

	scratch []byte
}

// chunksOf cuts a draft, and hashes each chunk.
func chunksOf(d *rating.Draft, form CatalogForm) *chunker {
	c := &chunker{draft: d, tables: catalogTables()}
	if form.Shards == 0 {
		for n := range c.tables {
			c.cut(n, c.tables[n].order(d))
		}
		return c
	}
	parts := partsOf(d, form)
	rows := make([][][]int32, len(c.tables)) // by table and part
	for n := range c.tables {
		rows[n] = parts.split(&c.tables[n], d, c.tables[n].order(d))
	}
	c.layout = &catalogLayout{Packages: len(d.Packages), Where: rating.ConditionsOf(d)}
	for part := range form.Shards + 1 {
		for n := range c.tables {
			c.cut(n, rows[n][part])
		}
		c.layout.Ends = append(c.layout.Ends, len(c.chunks))
	}
	return c
}

// cut makes chunks of rows of a table.
func (c *chunker) cut(n int, rows []int32) {
	t := &c.tables[n]
	w := chunkWriter{b: c.scratch[:0], columns: make([]string, len(t.columns))}
	from := 0
	for i, row := range rows {
		if i == from {
			w.begin(t)
		}
		w.row(t, c.draft, int(row))
		if i+1 == len(rows) || len(w.b) >= maxChunk || bits.LeadingZeros64(keyHash(w.columns[:t.keys])) >= chunkBits {
			c.chunks = append(c.chunks, chunk{table: n, rows: rows[from : i+1], sha256: sha256.Sum256(w.b)})
			from = i + 1
		}
	}
	c.scratch = w.b
}

// keyHash is FNV-1a, with its bits mixed.
func keyHash(key []string) uint64 {
	h := uint64(0xcbf29ce484222325)
	for _, part := range key {
		for i := range len(part) {
			h = (h ^ uint64(part[i])) * 0x100000001b3
		}
		h *= 0x100000001b3
	}
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	return h ^ h>>33
}

func (c *chunker) hash() Hash {
	hashes := make([]Hash, len(c.chunks))
	for i := range c.chunks {
		hashes[i] = c.chunks[i].sha256
	}
	return hashOfChunks(c.layout.text(), hashes)
}

func hashOfChunks(layout string, chunks []Hash) Hash {
	h := sha256.New()
	if layout == "" {
		h.Write([]byte(catalogMagic))
	} else {
		h.Write(append(binary.AppendUvarint([]byte(shardedMagic), uint64(len(layout))), layout...))
	}
	for i := range chunks {
		h.Write(chunks[i][:])
	}
	return Hash(h.Sum(nil))
}

// chunkWriter writes the content of chunks.
type chunkWriter struct {
	b       []byte
	columns []string
}

func (w *chunkWriter) begin(t *table) {
	w.b = w.b[:0]
	w.text(string(t.kind))
}

func (w *chunkWriter) row(t *table, d *rating.Draft, i int) {
	if err := t.values(d, i, w.columns); err != nil {
		w.text(err.Error()) // a change that is several, or none: no catalog compiles with it
	}
	for _, value := range w.columns {
		w.text(value)
	}
}

func (w *chunkWriter) text(s string) { w.b = append(binary.AppendUvarint(w.b, uint64(len(s))), s...) }

// HashDraft is a hash of what a draft says, whatever the order of its rows.
func HashDraft(d *rating.Draft) Hash { return CatalogForm{}.Hash(d) }

// CatalogCopy is a catalog as a run uses it, ready to be kept: just what the database lacks of it.
type CatalogCopy struct {
	SHA256  Hash
	Edits   Edits // of the tables that hold just this; 0: they do not
	checked Hash  // how it was found to be valid
	kept    bool  // the database has all of it
	current bool  // and says that it stands for the tables
	layout  *catalogLayout
	chunks  []Hash
	fresh   []storedChunk
}

type storedChunk struct {
	SHA256  Hash
	Content []byte
}

// CopyCatalog makes a copy of a catalog, to be kept once it was found to be valid, as the form says. The draft is not
// needed any more after it.
func (s *Store) CopyCatalog(ctx context.Context, d *rating.Draft, edits Edits, form CatalogForm) (*CatalogCopy, error) {
	c := chunksOf(d, form)
	made := &CatalogCopy{SHA256: c.hash(), Edits: edits, checked: form.Checked, layout: c.layout}
	for i := range c.chunks {
		made.chunks = append(made.chunks, c.chunks[i].sha256)
	}
	known, err := s.newestCatalog(ctx, made)
	if err == nil && form.Anew {
		made.kept, made.current = false, false
		known, err = s.soundChunks(ctx, made.chunks)
	}
	if err != nil {
		return nil, fmt.Errorf("look for the kept catalog in %s: %w", s.name, err)
	}
	if !made.kept {
		made.fresh, err = c.encode(known)
	}
	return made, err
}

// newestCatalog gives the chunks of the catalog that was kept last, most of which a new one has too, and finds out whether
// the new one is kept already.
func (s *Store) newestCatalog(ctx context.Context, c *CatalogCopy) (map[Hash]bool, error) {
	known := map[Hash]bool{}
	err := s.snapshot(ctx, func(tx *sqlx.Tx) error {
		var n int
		if err := tx.GetContext(ctx, &n, tx.Rebind(`SELECT COUNT(*) FROM catalog WHERE sha256 = ?`), c.SHA256); err != nil {
			return err
		}
		was, err := currentCatalog(ctx, tx)
		if err != nil {
			return err
		}
		c.current = was.SHA256 == c.SHA256 && was.Edits == c.Edits && was.Checked == c.checked
		if c.kept = n > 0; c.kept {
			return nil
		}
		var list []byte
		err = tx.GetContext(ctx, &list, tx.Rebind(`SELECT chunks FROM catalog WHERE sha256 = ?`), was.SHA256)
		if errors.Is(err, sql.ErrNoRows) {
			err = tx.GetContext(ctx, &list, `SELECT chunks FROM catalog ORDER BY token DESC, sha256 LIMIT 1`)
		}
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		for _, hash := range hashesOf(list) {
			known[hash] = true
		}
		return err
	})
	return known, err
}

// soundChunks gives those chunks that the database has, and that are what their hashes say.
func (s *Store) soundChunks(ctx context.Context, chunks []Hash) (map[Hash]bool, error) {
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxChunkSize))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	sound := make(map[Hash]bool, len(chunks))
	for some := range slices.Chunk(chunks, 256) {
		contents, err := s.chunkContents(ctx, some)
		if err != nil {
			return nil, err
		}
		var content []byte
		for _, chunk := range some {
			content, err = z.DecodeAll(contents[chunk], content[:0])
			sound[chunk] = err == nil && Hash(sha256.Sum256(content)) == chunk
		}
	}
	return sound, nil
}

func hashesOf(list []byte) []Hash {
	hashes := make([]Hash, 0, len(list)/len(Hash{}))
	for c := range slices.Chunk(list, len(Hash{})) {
		if len(c) == len(Hash{}) {
			hashes = append(hashes, Hash(c))
		}
	}
	return hashes
}

// encode compresses the chunks that are not known, on all cores.
func (c *chunker) encode(known map[Hash]bool) ([]storedChunk, error) {
	var list []storedChunk
	var which []*chunk
	for i := range c.chunks {
		if !known[c.chunks[i].sha256] {
			which = append(which, &c.chunks[i])
			list = append(list, storedChunk{SHA256: c.chunks[i].sha256})
		}
	}
	workers := min(runtime.GOMAXPROCS(0), len(which))
	if workers == 0 {
		return nil, nil
	}
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(workers), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderCRC(false),
		zstd.WithWindowSize(1<<17))
	if err != nil {
		return nil, err
	}
	var group sync.WaitGroup
	for n := range workers {
		group.Go(func() {
			tables := catalogTables() // a table serves one goroutine
			var w chunkWriter
			for i := n; i < len(which); i += workers {
				list[i].Content = z.EncodeAll(w.chunk(&tables[which[i].table], c.draft, which[i].rows), nil)
			}
		})
	}
	group.Wait()
	return list, z.Close()
}

func (w *chunkWriter) chunk(t *table, d *rating.Draft, rows []int32) []byte {
	w.columns = slices.Grow(w.columns[:0], len(t.columns))[:len(t.columns)]
	w.begin(t)
	for _, row := range rows {
		w.row(t, d, int(row))
	}
	return w.b
}

// catalog keeps the catalog that the revisions were settled with, as far as it is not there.
func (w *commitWriter) catalog(ctx context.Context) error {
	if w.c.Catalog == nil || len(w.c.Periods) == 0 {
		return nil
	}
	return w.c.Catalog.keep(ctx, w.tx)
}

// KeptCatalog gives the rows of a catalog as runs used it, by its hash. It fails with [ErrNotKept] where none did.
func (s *Store) KeptCatalog(ctx context.Context, hash Hash) (d *rating.Draft, err error) {
	err = s.snapshot(ctx, func(tx *sqlx.Tx) error {
		kept, err := keptList(ctx, tx, hash)
		if err == nil {
			d, err = readChunks(ctx, tx, kept.chunks)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("load catalog %s from %s: %w", hash, s.name, err)
	}
	return d, nil
}

// CheckCatalog makes sure that a kept catalog is what its hash says. Chunks that were seen are not looked at again.
func (s *Store) CheckCatalog(ctx context.Context, hash Hash, seen map[Hash]bool) error {
	err := s.eachChunk(ctx, hash, seen, func(chunk Hash, _ string) error {
		seen[chunk] = true
		return nil
	})
	if err != nil {
		return fmt.Errorf("check catalog %s of %s: %w", hash, s.name, err)
	}
	return nil
}

// eachChunk visits the chunks of a kept catalog, but for those that are left out, and checks all hashes.
func (s *Store) eachChunk(ctx context.Context, hash Hash, without map[Hash]bool, visit func(chunk Hash, content string) error) error {
	kept, err := s.keptList(ctx, hash)
	if err != nil {
		return err
	}
	chunks := slices.DeleteFunc(kept.chunks, func(h Hash) bool { return without[h] })
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxChunkSize))
	if err != nil {
		return err
	}
	defer z.Close()
	for some := range slices.Chunk(chunks, 256) {
		contents, err := s.chunkContents(ctx, some)
		if err != nil {
			return err
		}
		var content []byte
		for _, chunk := range some {
			content, err = z.DecodeAll(contents[chunk], content[:0])
			if err != nil || Hash(sha256.Sum256(content)) != chunk {
				return fmt.Errorf("%w: its chunk %s has another hash, or is not there", errDamagedCatalog, chunk)
			}
			if err := visit(chunk, string(content)); err != nil {
				return err
			}
		}
	}
	return nil
}

var errOtherProgram = errors.New("another drawdown has written it")

var errDamagedCatalog = errors.New("the kept catalog is damaged; restore its rows from a copy of the database")

func (s *Store) chunkContents(ctx context.Context, chunks []Hash) (contents map[Hash][]byte, err error) {
	err = s.snapshot(ctx, func(tx *sqlx.Tx) (err error) {
		contents, err = chunkContents(ctx, tx, chunks)
		return err
	})
	return contents, err
}

// addChunk adds the rows of a chunk to a draft.
func addChunk(tables []table, d *rating.Draft, memo *memo, content string) error {
	kind, rest, ok := cutText(content)
	n := slices.IndexFunc(tables, func(t table) bool { return string(t.kind) == kind })
	if !ok || n < 0 {
		return unknownTable(kind)
	}
	t := &tables[n]
	for v := make([]string, len(t.columns)); len(rest) > 0; {
		for i := range v {
			if v[i], rest, ok = cutText(rest); !ok {
				return otherColumns(kind)
			}
		}
		if err := t.add(d, v, memo); err != nil {
			return fmt.Errorf("%s: %s: %w", kind, t.keyText(v), err)
		}
	}
	return nil
}

func unknownTable(kind string) error {
	return fmt.Errorf("it has rows of %q, and this program knows no such table: %w; install that version", kind, errOtherProgram)
}

func otherColumns(kind string) error {
	return fmt.Errorf("a row of %s has not the columns that this program knows: %w", kind, errOtherProgram)
}

// cutText takes a text off what a chunkWriter wrote.
func cutText(s string) (text, rest string, ok bool) {
	length, n := binary.Uvarint([]byte(s[:min(len(s), binary.MaxVarintLen64)]))
	if n <= 0 || length > uint64(len(s)-n) {
		return "", "", false
	}
	return s[n : n+int(length)], s[n+int(length):], true
}

// CompareCatalog gives the rows in which a kept catalog and a copy differ: as they were, and as they are. Only the chunks
// that the two do not share are looked at. Where both are kept in the same shards, these are the rows that concern everybody,
// and the shards in which others differ.
func (s *Store) CompareCatalog(ctx context.Context, hash Hash, c *CatalogCopy) (was, is *rating.Draft, shards []int, err error) {
	stored, err := s.keptList(ctx, hash)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("load catalog %s from %s: %w", hash, s.name, err)
	}
	before, now := map[Hash]bool{}, map[Hash]bool{}
	theirs, ours := stored.chunks, c.chunks
	if alike := stored.layout.shards(); alike > 0 && alike == c.layout.shards() {
		shards = c.changedShards(stored)
		for _, h := range slices.Concat(theirs[stored.layout.Ends[0]:], ours[c.layout.Ends[0]:]) { // they are not looked at
			before[h], now[h] = true, true
		}
		theirs, ours = theirs[:stored.layout.Ends[0]], ours[:c.layout.Ends[0]]
	}
	for _, h := range theirs {
		before[h] = true
	}
	for _, h := range ours {
		now[h] = true
	}
	was, is = &rating.Draft{}, &rating.Draft{}
	tables, memo := catalogTables(), newMemo()
	err = s.eachChunk(ctx, hash, now, func(_ Hash, content string) error { return addChunk(tables, was, memo, content) })
	if err == nil {
		err = s.eachOf(ctx, c, before, func(content string) error { return addChunk(tables, is, memo, content) })
	}
	if err == nil {
		was, is, err = differing(was, is)
	}
	if err != nil {
		return nil, nil, nil, fmt.Errorf("compare catalog %s in %s: %w", hash, s.name, err)
	}
	return was, is, shards, nil
}

// eachOf visits the chunks of a copy, those that it brings and those that the database has, but for those left out.
func (s *Store) eachOf(ctx context.Context, c *CatalogCopy, without map[Hash]bool, visit func(content string) error) error {
	fresh := map[Hash][]byte{}
	for i := range c.fresh {
		fresh[c.fresh[i].SHA256] = c.fresh[i].Content
	}
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxChunkSize))
	if err != nil {
		return err
	}
	defer z.Close()
	for some := range slices.Chunk(c.chunks, 256) {
		some = slices.DeleteFunc(slices.Clone(some), func(h Hash) bool { return without[h] })
		absent := slices.DeleteFunc(slices.Clone(some), func(h Hash) bool { return fresh[h] != nil })
		contents := map[Hash][]byte{}
		if len(absent) > 0 {
			if contents, err = s.chunkContents(ctx, absent); err != nil {
				return err
			}
		}
		for _, chunk := range some {
			packed := fresh[chunk]
			if packed == nil {
				packed = contents[chunk]
			}
			content, err := z.DecodeAll(packed, nil)
			if err != nil || Hash(sha256.Sum256(content)) != chunk {
				return fmt.Errorf("%w: its chunk %s has another hash, or is not there", errDamagedCatalog, chunk)
			}
			if err := visit(string(content)); err != nil {
				return err
			}
		}
	}
	return nil
}

// differing leaves out the rows that two drafts have alike.
func differing(was, is *rating.Draft) (old, edited *rating.Draft, err error) {
	old, edited = &rating.Draft{}, &rating.Draft{}
	for _, t := range catalogTables() {
		v, u := make([]string, len(t.columns)), make([]string, len(t.columns))
		index, same := t.index(was), make([]bool, t.count(was))
		var key [3]string
		for i := range t.count(is) {
			t.key(is, i, key[:])
			if n, known := index[key]; known {
				if err := errors.Join(t.values(was, int(n), v), t.values(is, i, u)); err != nil {
					return nil, nil, err
				}
				if same[n] = slices.Equal(v, u); same[n] {
					continue
				}
			}
			t.share(edited, is, i)
		}
		for n := range same {
			if !same[n] {
				t.share(old, was, n)
			}
		}
	}
	return old, edited, nil
}
