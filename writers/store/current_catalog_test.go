package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"drawdown/rating"

	"github.com/google/go-cmp/cmp"
	"github.com/jmoiron/sqlx"
	"golang.org/x/sync/errgroup"
)

// edit gives what DROP TRIGGER is told to stop counting the edits of a table.
func edit(d database, table string) []string {
	if d.isPostgres() {
		return []string{table + "_edits_count ON " + table}
	}
	return []string{table + "_inserts_count", table + "_updates_count", table + "_deletes_count"}
}

// readBoth reads the catalog as a settle does, and the tables, and compares.
func readBoth(t testing.TB, s *Store, what string) *CatalogRows {
	t.Helper()
	rows, err := s.ReadCatalog(t.Context(), Hash{1})
	if err != nil {
		t.Fatal(what, err)
	}
	if diff := cmp.Diff(sorted(load(t, s)), sorted(rows.Draft), ignoreEmpty); diff != "" {
		t.Fatalf("after %s, from the copy: %t\n%s", what, rows.Copy != nil, diff)
	}
	if rows.Copy != nil && rows.Copy.SHA256 != HashDraft(rows.Draft) {
		t.Fatalf("after %s: the copy is known by another hash", what)
	}
	return rows
}

// keepCurrent keeps a copy as a settle does that has found the catalog valid.
func keepCurrent(t testing.TB, s *Store, rows *CatalogRows) {
	t.Helper()
	c, err := s.CopyCatalog(t.Context(), rows.Draft, rows.Edits, Hash{1})
	if err == nil {
		err = s.transact(t.Context(), func(tx *sqlx.Tx) error { return c.keep(t.Context(), tx) })
	}
	if err != nil {
		t.Fatal(err)
	}
}

// foreign gives a statement by which somebody else edits the catalog, at random.
func foreign(r *rand.Rand, postgres bool) string {
	n, other := r.IntN(40), r.IntN(40)
	statements := []string{
		fmt.Sprintf(`INSERT INTO accounts (id, name) VALUES ('a%d', 'by hand') ON CONFLICT (id) DO NOTHING`, n),
		fmt.Sprintf(`INSERT INTO accounts (id, name) VALUES ('a%d', 'again') ON CONFLICT (id) DO UPDATE SET name = 'again %d'`, n, other),
		fmt.Sprintf(`UPDATE accounts SET name = 'edited %d' WHERE id = 'a%d'`, other, n),
		`UPDATE accounts SET name = 'nobody' WHERE id = 'none'`,
		fmt.Sprintf(`DELETE FROM topups WHERE account = 'a%d'`, n),
		`DELETE FROM topups`,
		fmt.Sprintf(`INSERT INTO meters (id, scale) VALUES ('m%d', '%d') ON CONFLICT DO NOTHING`, n, other%10),
		fmt.Sprintf(`INSERT INTO topups (account, at, amount) SELECT id, '2026-10-%02d', '5' FROM accounts WHERE TRUE ON CONFLICT DO NOTHING`, 1+n%28),
		fmt.Sprintf(`UPDATE meters SET description = 'd%d' WHERE id = 'm%d'`, other, n),
		fmt.Sprintf(`DELETE FROM alert_rules WHERE id <> 'r%d'`, n),
		fmt.Sprintf(`INSERT INTO alert_rules (id, type, thresholds) VALUES ('r%d', 'percentage', '["%d"]') ON CONFLICT DO NOTHING`, n, other),
	}
	if postgres {
		statements = append(statements, `TRUNCATE topups`, `TRUNCATE accounts CASCADE`, `TRUNCATE alert_rules, topups`)
	} else {
		statements = append(statements, fmt.Sprintf(`INSERT OR REPLACE INTO meters (id, unit) VALUES ('m%d', 'u%d')`, n, other))
	}
	return statements[r.IntN(len(statements))]
}

// TestCopyStandsForTheTables: whoever edits the catalog, in whatever way, a settle uses just what its tables hold; and where
// nobody has, it does not read them.
func TestCopyStandsForTheTables(t *testing.T) { onEach(t, testCopyStandsForTheTables) }

func testCopyStandsForTheTables(t *testing.T, d database) {
	s := d.fresh(t)
	r := rand.New(rand.NewPCG(7, 11))
	copies, edited := 0, false
	for step := range 250 {
		what := ""
		switch r.IntN(9) {
		case 0: // our own
			file := &rating.Draft{}
			for range r.IntN(4) {
				file.Accounts = append(file.Accounts, rating.AccountDraft{ID: fmt.Sprintf("a%d", len(file.Accounts)+r.IntN(30)*4), Name: fmt.Sprint(r.IntN(3))})
			}
			apply(t, s, file)
			what = "catalog apply"
		case 1, 2, 3, 4:
			what = foreign(r, d.isPostgres())
			s.write.MustExec(what)
			edited = true
		case 5: // several at once, of which nothing comes
			tx := s.write.MustBegin()
			for range 1 + r.IntN(3) {
				if edit := foreign(r, d.isPostgres()); !strings.HasPrefix(edit, "TRUNCATE") { // which nobody reads past
					tx.MustExec(edit)
				}
			}
			readBoth(t, s, "edits that are not committed")
			if err := tx.Rollback(); err != nil {
				t.Fatal(err)
			}
			what = "edits that were rolled back"
		case 6: // a settle keeps what it has read before others wrote
			rows := readBoth(t, s, "nothing")
			what = "a copy that is late, and " + foreign(r, d.isPostgres())
			s.write.MustExec(strings.TrimPrefix(what, "a copy that is late, and "))
			keepCurrent(t, s, rows)
			edited = true
		default:
			keepCurrent(t, s, readBoth(t, s, "nothing"))
			what, edited = "a copy was made", false
		}
		rows := readBoth(t, s, fmt.Sprintf("step %d: %s", step, what))
		if rows.Copy != nil {
			copies++
		} else if !edited && what == "a copy was made" {
			t.Fatalf("step %d: %s, and the tables are read", step, what)
		}
		if err := s.VerifyCurrent(t.Context()); err != nil {
			t.Fatalf("step %d: %s: %v", step, what, err)
		}
	}
	if copies < 60 {
		t.Errorf("the copy was used %d times", copies)
	}
	other, err := s.ReadCatalog(t.Context(), Hash{2})
	if err != nil || other.Copy != nil {
		t.Errorf("a copy that another program has checked is used: %v", err)
	}
}

// TestEditsOfOthersWhileTheyCommit: of two that edit at once, a settle sees those that have committed, and the copy that it
// makes of them is not taken for what is there once the other one has committed as well.
func TestEditsOfOthersWhileTheyCommit(t *testing.T) {
	d := databases()[1]
	s := d.fresh(t)
	first, second := s.write.MustBegin(), s.write.MustBegin()
	first.MustExec(`INSERT INTO accounts (id) VALUES ('first')`)
	second.MustExec(`INSERT INTO accounts (id) VALUES ('second')`)
	if err := second.Commit(); err != nil {
		t.Fatal(err)
	}
	between := readBoth(t, s, "one of two")
	if err := first.Commit(); err != nil {
		t.Fatal(err)
	}
	keepCurrent(t, s, between)
	if rows := readBoth(t, s, "both"); rows.Copy != nil || len(rows.Accounts) != 2 {
		t.Errorf("%d accounts, from the copy: %t", len(rows.Accounts), rows.Copy != nil)
	}
	keepCurrent(t, s, readBoth(t, s, "both"))
	if rows := readBoth(t, s, "both"); rows.Copy == nil {
		t.Error("the copy is not used")
	}
}

// TestEditsAreFolded: rows that count edits become one, while others edit, who neither wait nor are lost.
func TestEditsAreFolded(t *testing.T) {
	s := databases()[1].fresh(t)
	for range 600 {
		s.write.MustExec(`INSERT INTO accounts (id) VALUES ('a') ON CONFLICT DO NOTHING`)
	}
	open := s.write.MustBegin()
	open.MustExec(`INSERT INTO accounts (id) VALUES ('open')`)
	before := readBoth(t, s, "600 edits")
	keepCurrent(t, s, before)
	rows := readBoth(t, s, "they were folded")
	if n := count(t, s, "catalog_edit"); n != 1 || rows.Edits != before.Edits || rows.Copy == nil {
		t.Errorf("%d rows, %d edits instead of %d", n, rows.Edits, before.Edits)
	}
	if err := open.Commit(); err != nil {
		t.Fatal(err)
	}
	if rows := readBoth(t, s, "another one"); rows.Edits != before.Edits+1 || rows.Copy != nil {
		t.Errorf("%d edits after %d", rows.Edits, before.Edits)
	}
}

// TestEditorsDoNotWaitForEachOther: many write packages at once, while copies are made and edits folded, and each edit counts.
func TestEditorsDoNotWaitForEachOther(t *testing.T) {
	s := databases()[1].fresh(t)
	before := readBoth(t, s, "nothing").Edits
	g, ctx := errgroup.WithContext(t.Context())
	const editors, edits = 3, 400
	for n := range editors {
		g.Go(func() error {
			for i := range edits {
				_, err := s.write.ExecContext(ctx, `INSERT INTO accounts (id) VALUES ($1)`, fmt.Sprintf("a%d-%d", n, i))
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	g.Go(func() error {
		for ctx.Err() == nil {
			rows, err := s.ReadCatalog(ctx, Hash{1})
			if err != nil {
				return err
			}
			c, err := s.CopyCatalog(ctx, rows.Draft, rows.Edits, Hash{1})
			if err == nil {
				err = s.transact(ctx, func(tx *sqlx.Tx) error { return c.keep(ctx, tx) })
			}
			if err != nil || int(rows.Edits-before) == editors*edits {
				return err
			}
			if int(rows.Edits-before) != len(rows.Accounts) {
				return fmt.Errorf("%d edits, and %d accounts", rows.Edits-before, len(rows.Accounts))
			}
		}
		return context.Cause(ctx)
	})
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if rows := readBoth(t, s, "all"); rows.Copy == nil || len(rows.Accounts) != editors*edits {
		t.Errorf("%d accounts, from the copy: %t", len(rows.Accounts), rows.Copy != nil)
	}
}

// TestUncountedEditsAreFound: where the triggers that count were dropped or disabled, verify finds it, and apply mends it.
func TestUncountedEditsAreFound(t *testing.T) { onEach(t, testUncountedEditsAreFound) }

func testUncountedEditsAreFound(t *testing.T, d database) {
	s := d.fresh(t)
	file := bigDraft(20, 40)
	apply(t, s, file)
	if rows := readBoth(t, s, "apply"); rows.Copy == nil {
		t.Fatal("apply makes no copy")
	}
	for _, trigger := range edit(d, "packages") {
		s.write.MustExec(map[bool]string{true: "ALTER TABLE packages DISABLE TRIGGER packages_edits_count", false: "DROP TRIGGER " + trigger}[d.isPostgres()])
	}
	s.write.MustExec(`UPDATE packages SET quota = '77' WHERE id = 'package-0000003'`)
	s.write.MustExec(`DELETE FROM packages WHERE id = 'package-0000005'`)
	err := s.VerifyCurrent(t.Context())
	wantError(t, err, "packages package-0000003", "package-0000005", "triggers", "drawdown catalog apply")
	var uncounted *UncountedError
	if !errors.As(err, &uncounted) || len(uncounted.rows) != 2 {
		t.Errorf("%v", err)
	}
	plan := apply(t, s, &rating.Draft{Accounts: file.Accounts[:1]})
	if !plan.Empty() {
		t.Errorf("%+v", plan)
	}
	if rows := readBoth(t, s, "apply"); rows.Copy == nil || slices.IndexFunc(rows.Packages, func(p rating.PackageDraft) bool { return p.Quota == "77" }) < 0 {
		t.Error("apply does not mend it")
	}
	if err := s.VerifyCurrent(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestDamagedCopyIsNotUsed: the tables are right, whatever became of the copy.
func TestDamagedCopyIsNotUsed(t *testing.T) { onEach(t, testDamagedCopyIsNotUsed) }

func testDamagedCopyIsNotUsed(t *testing.T, d database) {
	for name, damage := range map[string]string{
		"a chunk is gone":     `DELETE FROM catalog_chunk WHERE sha256 = (SELECT MIN(sha256) FROM catalog_chunk)`,
		"a chunk is another":  `UPDATE catalog_chunk SET content = (SELECT content FROM catalog_chunk ORDER BY sha256 LIMIT 1)`,
		"the list is cut":     `UPDATE catalog SET chunks = SUBSTR(chunks, 1, 32)`,
		"the catalog is gone": `DELETE FROM catalog`,
		"the row is gone":     `DELETE FROM catalog_current`,
		"the count is gone":   `DELETE FROM catalog_edit`,
	} {
		t.Run(name, func(t *testing.T) {
			s := d.fresh(t)
			apply(t, s, bigDraft(300, 600))
			s.write.MustExec(damage)
			if rows := readBoth(t, s, name); rows.Copy != nil {
				t.Error("it is used")
			}
		})
	}
}
