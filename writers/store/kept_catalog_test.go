package store

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"drawdown/rating"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func copyOf(t rapid.TB, s *Store, d *rating.Draft) *CatalogCopy {
	t.Helper()
	c, err := s.CopyCatalog(context.Background(), d, 0, CatalogForm{Checked: Hash{1}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// keeper commits one revision after another of one day, each with a catalog.
type keeper struct {
	*Store
	lease    Lease
	revision int
}

func (k *keeper) keep(t testing.TB, c *CatalogCopy) {
	t.Helper()
	k.revision++
	p := day(t, 1, k.revision, Hash{})
	p.CatalogSHA256 = c.SHA256
	if err := k.Commit(t.Context(), &Commit{Lease: k.lease, RunID: begin(t, k.Store, k.lease), Catalog: c, Periods: []PeriodCommit{p}}); err != nil {
		t.Fatal(err)
	}
}

func kept(t rapid.TB, s *Store, hash Hash) *rating.Draft {
	t.Helper()
	d, err := s.KeptCatalog(context.Background(), hash)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestCatalogIsKept(t *testing.T) { onEach(t, testCatalogIsKept) }

func testCatalogIsKept(t *testing.T, db database) {
	s := db.fresh(t)
	k := keeper{Store: s, lease: acquire(t, s, minute)}
	hashes := map[Hash]*rating.Draft{}
	rapid.Check(t, func(r *rapid.T) {
		d := drafts(r)
		if _, known := hashes[HashDraft(d)]; !known && len(hashes) > 20 {
			return // each commits
		}
		c := copyOf(r, s, shuffled(d, 3))
		if c.SHA256 != HashDraft(d) {
			r.Fatal("the copy has another hash than the draft")
		}
		k.keep(t, c)
		hashes[c.SHA256] = d
		for hash, d := range hashes {
			if diff := cmp.Diff(sorted(d), kept(r, s, hash), ignoreEmpty); diff != "" {
				r.Fatal(diff)
			}
		}
	})
	if err := s.CheckCatalog(t.Context(), Hash{1}, map[Hash]bool{}); !errors.Is(err, ErrNotKept) {
		t.Errorf("a catalog that was never used: %v", err)
	}
}

// A catalog that changes in a few rows is stored again in a few chunks, and the one that it was stays.
func TestKeptCatalogsShareChunks(t *testing.T) { onEach(t, testKeptCatalogsShareChunks) }

func testKeptCatalogsShareChunks(t *testing.T, db database) {
	s := db.fresh(t)
	k := keeper{Store: s, lease: acquire(t, s, minute)}
	first := bigDraft(4_000, 8_000)
	k.keep(t, copyOf(t, s, first))
	chunks := count(t, s, "catalog_chunk")
	if chunks < 12_000/128/2 || chunks > 12_000/128*2 {
		t.Errorf("%d chunks of 12,000 rows", chunks)
	}
	again := copyOf(t, s, first)
	if !again.kept || len(again.fresh) != 0 {
		t.Errorf("the same catalog is not known: %d chunks", len(again.fresh))
	}
	second := Merge(&rating.Draft{}, first)
	second.Packages[17].Quota = "2000000"                                                                 // edited
	second.Packages[4000], second.Packages = second.Packages[7999], second.Packages[:7999]                // gone: the last moves there
	second.Accounts = append(second.Accounts, rating.AccountDraft{ID: "account-000017-b", Name: "added"}) // added within
	changed := copyOf(t, s, second)
	k.keep(t, changed)
	if more := count(t, s, "catalog_chunk") - chunks; more != len(changed.fresh) || more > 8 || more < 3 {
		t.Errorf("%d chunks were stored for four edits, %d made", more, len(changed.fresh))
	}
	k.keep(t, copyOf(t, s, first))
	if n := count(t, s, "catalog"); n != 2 {
		t.Errorf("%d catalogs", n)
	}
	for _, d := range []*rating.Draft{first, second} {
		if diff := cmp.Diff(sorted(d), kept(t, s, HashDraft(d)), ignoreEmpty); diff != "" {
			t.Error(diff)
		}
		if err := s.CheckCatalog(t.Context(), HashDraft(d), map[Hash]bool{}); err != nil {
			t.Error(err)
		}
	}
}

func TestDamagedCatalogIsNoticed(t *testing.T) { onEach(t, testDamagedCatalogIsNoticed) }

func testDamagedCatalogIsNoticed(t *testing.T, db database) {
	for name, damage := range map[string]string{
		"a chunk is gone":    `DELETE FROM catalog_chunk WHERE sha256 = (SELECT MIN(sha256) FROM catalog_chunk)`,
		"a chunk is another": `UPDATE catalog_chunk SET content = (SELECT content FROM catalog_chunk ORDER BY sha256 LIMIT 1)`,
		"the list is cut":    `UPDATE catalog SET chunks = SUBSTR(chunks, 1, 32)`,
		"the list is gone":   `UPDATE catalog SET chunks = SUBSTR(chunks, 1, 0)`,
	} {
		t.Run(name, func(t *testing.T) {
			s := db.fresh(t)
			k := keeper{Store: s, lease: acquire(t, s, minute)}
			c := copyOf(t, s, bigDraft(300, 600))
			k.keep(t, c)
			if _, err := s.write.Exec(damage); err != nil {
				t.Fatal(err)
			}
			_, err := s.KeptCatalog(t.Context(), c.SHA256)
			wantError(t, err, "damaged", c.SHA256.String())
			wantError(t, s.CheckCatalog(t.Context(), c.SHA256, map[Hash]bool{}), "damaged")
		})
	}
}

// What is cut off, or of other columns, is an error and no panic.
func TestChunkOfAnotherProgram(t *testing.T) {
	tables := catalogTables()
	d := &rating.Draft{Meters: []rating.MeterDraft{{ID: "tokens", Unit: "token", Scale: "3"}}}
	var w chunkWriter
	content := string(w.chunk(&tables[1], d, []int32{0}))
	for n := range len(content) {
		if n == len("meters")+1 { // a chunk without rows
			continue
		}
		if err := addChunk(tables, &rating.Draft{}, newMemo(), content[:n]); err == nil {
			t.Errorf("%q is read", content[:n])
		}
	}
	if err := addChunk(tables, &rating.Draft{}, newMemo(), fmt.Sprintf("\x04what%s", content)); err == nil {
		t.Error("an unknown table is read")
	}
}
