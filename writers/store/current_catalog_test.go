package store

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"drawdown/rating"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sync/errgroup"
)

// edit gives what DROP TRIGGER is told to stop counting the edits of a table.
func edit(d database, table string) []string {
	if d.isPostgres() {
		return []string{table + "_edits_count ON " + table}
	}
	return []string{table + "_inserts_count", table + "_updates_count", table + "_deletes_count"}
}

// inShards is a form in shards, as settles ask for it.
func inShards() CatalogForm {
	return CatalogForm{Shards: 5, Checked: Hash{1}, ShardOf: func(payer string, shards int) int {
		return int(crc32.ChecksumIEEE([]byte(payer))) % shards
	}}
}

// readParts reads the catalog as a settle does, a part at a time, and looks at what stands where; nil: no copy stands for
// the tables.
func readParts(t testing.TB, s *Store, what string) *rating.Draft {
	t.Helper()
	form := inShards()
	head, err := s.ReadHead(t.Context(), form)
	if err != nil {
		t.Fatal(what, err)
	}
	if head == nil {
		return nil
	}
	all, packages := head.Draft, 0
	payers := map[string]string{}
	for _, a := range head.Accounts {
		if payers[a.ID] = a.Payer; a.Payer == "" {
			payers[a.ID] = a.ID
		}
	}
	if len(head.Draft.Packages)+len(head.Changes)+len(head.TopUps) > 0 {
		t.Fatalf("after %s: packages, changes or top-ups stand in everybody's part", what)
	}
	for n := range form.Shards {
		d, err := s.ReadShard(t.Context(), head.Copy, n)
		if err != nil {
			t.Fatal(what, err)
		}
		if len(d.Accounts)+len(d.Meters)+len(d.Prices) > 0 {
			t.Fatalf("after %s: what everybody needs stands in shard %d", what, n)
		}
		packages += len(d.Packages)
		for _, p := range d.Packages {
			if of := form.ShardOf(payers[p.Account], form.Shards); of != n {
				t.Fatalf("after %s: package %s stands in shard %d, and not in %d", what, p.ID, n, of)
			}
		}
		all = Merge(all, d)
	}
	if packages != head.Packages {
		t.Fatalf("after %s: there are %d packages, and it says %d", what, packages, head.Packages)
	}
	if diff := cmp.Diff(rating.ConditionsOf(all), head.Conditions, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("after %s: %s", what, diff)
	}
	return all
}

// readBoth reads the catalog as a settle does, and the tables, and compares.
func readBoth(t testing.TB, s *Store, what string) *CatalogRows {
	t.Helper()
	rows, err := s.ReadCatalog(t.Context(), inShards())
	if err != nil {
		t.Fatal(what, err)
	}
	if diff := cmp.Diff(sorted(load(t, s)), sorted(rows.Draft), ignoreEmpty); diff != "" {
		t.Fatalf("after %s, from the copy: %t\n%s", what, rows.Copy != nil, diff)
	}
	if rows.Copy != nil && rows.Copy.SHA256 != inShards().Hash(rows.Draft) {
		t.Fatalf("after %s: the copy is known by another hash", what)
	}
	parts := readParts(t, s, what)
	if (parts != nil) != (rows.Copy != nil) {
		t.Fatalf("after %s: the copy is used as a whole: %t, and in parts: %t", what, rows.Copy != nil, parts != nil)
	}
	if parts != nil {
		if diff := cmp.Diff(sorted(rows.Draft), sorted(parts), ignoreEmpty); diff != "" {
			t.Fatalf("after %s, in parts: %s", what, diff)
		}
	}
	return rows
}

// keepCurrent keeps a copy as a settle does that has found the catalog valid.
func keepCurrent(t testing.TB, s *Store, rows *CatalogRows) {
	t.Helper()
	c, err := s.CopyCatalog(t.Context(), rows.Draft, rows.Edits, inShards())
	if err == nil {
		err = s.KeepCatalog(t.Context(), c)
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
	keepCurrent(t, s, readBoth(t, s, "nothing"))
	for what, edit := range map[string]func(*CatalogForm){
		"that another program has checked": func(f *CatalogForm) { f.Checked = Hash{2} },
		"in other shards":                  func(f *CatalogForm) { f.Shards++ },
	} {
		form := inShards()
		edit(&form)
		other, err := s.ReadCatalog(t.Context(), form)
		if err != nil || other.Copy != nil {
			t.Errorf("a copy %s is used: %v", what, err)
		}
	}
	if other, err := s.ReadCatalog(t.Context(), CatalogForm{}); err != nil || other.Copy == nil {
		t.Errorf("who only looks does not read the copy: %v", err)
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
			rows, err := s.ReadCatalog(ctx, inShards())
			if err != nil {
				return err
			}
			c, err := s.CopyCatalog(ctx, rows.Draft, rows.Edits, inShards())
			if err == nil {
				err = s.KeepCatalog(ctx, c)
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
		"the layout is gone":  `UPDATE catalog SET layout = ''`,
		"another layout":      `UPDATE catalog SET layout = '{"ends":[1,2,2],"packages":0}'`,
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

// TestDamagedCopyIsMended: what reads a shard says what to do where the copy of it is damaged, and that mends it.
func TestDamagedCopyIsMended(t *testing.T) { onEach(t, testDamagedCopyIsMended) }

func testDamagedCopyIsMended(t *testing.T, d database) {
	s := d.fresh(t)
	file := bigDraft(300, 600)
	apply(t, s, file)
	head, err := s.ReadHead(t.Context(), inShards())
	if err != nil {
		t.Fatal(err)
	}
	of, _ := head.Copy.layout.shard(2)
	for _, damage := range []string{
		`DELETE FROM catalog_chunk WHERE sha256 = '` + head.Copy.chunks[of].String() + `'`,
		`UPDATE catalog_chunk SET content = (SELECT content FROM catalog_chunk ORDER BY sha256 LIMIT 1)`,
		`UPDATE catalog SET chunks = SUBSTR(chunks, 1, 32)`,
		`UPDATE catalog SET layout = ''`,
	} {
		s.write.MustExec(damage)
		_, err := s.ReadShard(t.Context(), head.Copy, 2)
		if strings.Contains(damage, "catalog_chunk") {
			wantError(t, err, "shard 2", "damaged", "drawdown catalog apply")
		}
		plan, err := s.PlanCatalog(t.Context(), &rating.Draft{Accounts: file.Accounts[:1]})
		if err != nil {
			t.Fatal(err)
		}
		form := inShards()
		form.Anew = true
		if _, err := s.ApplyCatalog(t.Context(), plan, form); err != nil {
			t.Fatal(damage, err)
		}
		if rows := readBoth(t, s, damage); rows.Copy == nil || len(rows.Packages) != 600 {
			t.Errorf("after %s: %d packages, from the copy: %t", damage, len(rows.Packages), rows.Copy != nil)
		}
	}
}

// TestComparedByShards: of two catalogs in the same shards, it is told in which ones they differ, and which rows do that
// concern everybody; of others, all rows that differ.
func TestComparedByShards(t *testing.T) { onEach(t, testComparedByShards) }

func testComparedByShards(t *testing.T, d database) {
	s, form := d.fresh(t), inShards()
	first := bigDraft(300, 900)
	keep := func(d *rating.Draft, form CatalogForm) *CatalogCopy {
		t.Helper()
		c, err := s.CopyCatalog(t.Context(), d, 0, form)
		if err == nil {
			err = s.KeepCatalog(t.Context(), c)
		}
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	before, old := keep(first, form), keep(first, CatalogForm{Checked: Hash{1}})
	second := Merge(&rating.Draft{}, first)
	second.Packages[17].Quota = "2000000"
	second.Meters = append(second.Meters, rating.MeterDraft{ID: "another"})
	second.Changes = append(second.Changes, rating.ChangeDraft{Package: second.Packages[40].ID, At: "2026-11-01", ResizedQuota: "7"})
	second.Rules = append(second.Rules, rating.RuleDraft{ID: "r", Account: second.Packages[60].Account, Type: "percentage", Thresholds: []string{"5"}},
		rating.RuleDraft{ID: "everybody", Type: "percentage", Thresholds: []string{"7"}})
	after := keep(second, form)
	want := map[int]bool{}
	for _, n := range []int{17, 40, 60} {
		want[form.ShardOf(second.Packages[n].Account, form.Shards)] = true
	}
	was, is, shards, err := s.CompareCatalog(t.Context(), before.SHA256, after)
	if err != nil || !slices.Equal(shards, slices.Sorted(maps.Keys(want))) {
		t.Errorf("shards %v, want %v: %v", shards, want, err)
	}
	everybody := &rating.Draft{Meters: second.Meters[len(second.Meters)-1:], Rules: second.Rules[len(second.Rules)-1:]}
	if diff := cmp.Diff(everybody, is, ignoreEmpty); diff != "" || was.Packages != nil {
		t.Errorf("%s", diff)
	}
	if _, _, shards, err = s.CompareCatalog(t.Context(), before.SHA256, keep(first, form)); err != nil || len(shards) > 0 {
		t.Errorf("the same catalog differs in shards %v: %v", shards, err)
	}
	was, is, shards, err = s.CompareCatalog(t.Context(), old.SHA256, after)
	if err != nil || len(shards) > 0 || len(is.Packages) != 1 || len(was.Packages) != 1 || len(is.Changes) != 1 || len(is.Rules) != 2 {
		t.Errorf("with one that is not in shards: %v, %v", shards, err)
	}
}
