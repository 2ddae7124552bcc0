package store

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jmoiron/sqlx"
)

// TestEditsAreFoldedInAPublication: who publishes all tables of the database, to capture changes, is in nobody's way.
func TestEditsAreFoldedInAPublication(t *testing.T) {
	s := databases()[1].fresh(t)
	s.write.MustExec(`CREATE PUBLICATION everything FOR ALL TABLES`)
	for range 600 {
		s.write.MustExec(`INSERT INTO accounts (id) VALUES ('a') ON CONFLICT DO NOTHING`)
	}
	keepCurrent(t, s, readBoth(t, s, "600 edits"))
	if n := count(t, s, "catalog_edit"); n != 1 {
		t.Errorf("%d rows", n)
	}
	tables, err := list[string](t.Context(), s, `SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = CAST('public' AS REGNAMESPACE)
		AND relreplident = 'd' AND NOT EXISTS (SELECT 1 FROM pg_index WHERE indrelid = pg_class.oid AND indisprimary)`)
	if err != nil || len(tables) > 0 {
		t.Errorf("rows of %v can be neither updated nor deleted: %v", tables, err)
	}
}

// TestReplicatedEditsAreCounted: rows that another database publishes get into the tables by a worker, which fires no trigger
// of a statement, and has an empty search path.
func TestReplicatedEditsAreCounted(t *testing.T) {
	cluster := own(t)
	cluster.Exec(t, "postgres", "ALTER SYSTEM SET wal_level = logical")
	if err := errors.Join(cluster.Stop(), cluster.Run()); err != nil {
		t.Fatal(err)
	}
	shopURL, url := cluster.Fresh(t), cluster.Fresh(t)
	shop, s := open(t, shopURL, ReadWrite), open(t, url, ReadWrite)
	shop.write.MustExec(`CREATE PUBLICATION sales FOR TABLE accounts, meters, alert_rules`)
	shop.write.MustExec(`SELECT pg_create_logical_replication_slot('sales', 'pgoutput')`)
	s.write.MustExec(`CREATE SUBSCRIPTION sales CONNECTION '` + shopURL + `' PUBLICATION sales WITH (create_slot = false, copy_data = false)`)
	defer s.write.MustExec(`DROP SUBSCRIPTION sales`)
	for _, edit := range []string{
		`INSERT INTO accounts (id) VALUES ('a')`, `UPDATE accounts SET name = 'Ada' WHERE id = 'a'`, `DELETE FROM accounts WHERE id = 'a'`,
		`INSERT INTO meters (id, scale) VALUES ('m', '2')`, `INSERT INTO alert_rules (id, type, thresholds) VALUES ('r', 'percentage', '["5"]')`,
		`TRUNCATE alert_rules`,
	} {
		before := readBoth(t, s, "what was replicated")
		keepCurrent(t, s, before)
		shop.write.MustExec(edit)
		patient, cancel := context.WithTimeout(t.Context(), patience)
		for arrived := false; !arrived; {
			tables, err := s.LoadDraft(patient)
			if err != nil {
				t.Fatal(edit, err)
			}
			arrived = !cmp.Equal(tables, before.Draft, ignoreEmpty)
		}
		cancel()
		readBoth(t, s, edit)
	}
}

// TestDumpIsRestored: what pg_dump writes, pg_restore reads, as docs/operations.md says; also what it wrote of an older schema.
func TestDumpIsRestored(t *testing.T) {
	from := server.Get(t).Fresh(t)
	s := open(t, from, ReadWrite)
	apply(t, s, bigDraft(20, 40))
	now := runPostgres(t, nil, "pg_dump", "--format=custom", from)
	for _, function := range []string{"drawdown_is_quantity(value TEXT)", "drawdown_is_whole(value TEXT, low BIGINT, high BIGINT)"} {
		s.write.MustExec(`CREATE OR REPLACE FUNCTION ` + function + ` RETURNS BOOLEAN LANGUAGE sql IMMUTABLE AS $$ SELECT drawdown_is_decimal(value) $$`)
	}
	s.write.MustExec(`DELETE FROM goose_db_version WHERE version_id >= 12`)
	older := runPostgres(t, nil, "pg_dump", "--format=custom", from)
	mend, err := migrations.ReadFile("migrations/postgres/00012_restore.sql")
	if err != nil {
		t.Fatal(err)
	}

	to, old := server.Get(t).Fresh(t), server.Get(t).Fresh(t)
	restore := []string{"--no-owner", "--role=postgres", "--exit-on-error"}
	runPostgres(t, now, "pg_restore", append(restore, "--dbname="+to)...)
	runPostgres(t, older, "pg_restore", append(restore, "--dbname="+old, "--section=pre-data")...)
	db := sqlx.MustConnect("postgres", old)
	db.MustExec(string(mend))
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	runPostgres(t, older, "pg_restore", append(restore, "--dbname="+old, "--section=data", "--section=post-data")...)
	for _, url := range []string{to, old} {
		rows := readBoth(t, open(t, url, ReadWrite), "restore")
		if rows.Copy == nil || len(rows.Packages) != 40 {
			t.Errorf("%d packages, from the copy: %t", len(rows.Packages), rows.Copy != nil)
		}
	}
}

// runPostgres runs one of PostgreSQL's programs, and gives what it writes.
func runPostgres(t *testing.T, input []byte, program string, args ...string) []byte {
	t.Helper()
	var out, stderr bytes.Buffer
	cmd := server.Get(t).Program(program, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), &out, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v: %s", program, err, &stderr)
	}
	return out.Bytes()
}
