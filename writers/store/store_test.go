package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"drawdown/writers/store/storetest"

	"github.com/jmoiron/sqlx"
	"go.uber.org/goleak"
)

// server is the PostgreSQL of these tests.
var server storetest.Shared

// withServer stops the server before goroutines are counted.
type withServer struct{ *testing.M }

func (m withServer) Run() int {
	code := m.M.Run()
	if err := server.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	return code
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(withServer{m}) }

// database is what the tests are run over.
type database struct {
	name  string
	state func(t testing.TB) string // an empty one
}

func databases() []database {
	return []database{
		{"SQLite", func(t testing.TB) string { return filepath.Join(t.TempDir(), "drawdown.db") }},
		{"PostgreSQL", func(t testing.TB) string { return server.Get(t).Fresh(t) }},
	}
}

func (d database) fresh(t testing.TB) *Store { return open(t, d.state(t), ReadWrite) }

func (d database) isPostgres() bool { return d.name == "PostgreSQL" }

// says gives what a message of the database must hold.
func (d database) says(sqlite, postgres string) string {
	if d.isPostgres() {
		return postgres
	}
	return sqlite
}

// onEach runs a test over each database.
func onEach(t *testing.T, test func(*testing.T, database)) {
	t.Helper()
	t.Parallel()
	for _, d := range databases() {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			test(t, d)
		})
	}
}

func open(t testing.TB, path string, mode Mode) *Store {
	t.Helper()
	s, err := Open(t.Context(), path, mode)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// count counts rows of a table, or of a query's FROM clause.
func count(t testing.TB, s *Store, from string) int {
	t.Helper()
	var n int
	if err := s.read.Get(&n, "SELECT COUNT(*) FROM "+from); err != nil {
		t.Fatal(err)
	}
	return n
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error; want one with %q", parts)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q lacks %q", err, part)
		}
	}
}

func TestOpenRefusesWhatIsNoDatabase(t *testing.T) {
	dir := t.TempDir()
	garbage := filepath.Join(dir, "garbage.db")
	if err := os.WriteFile(garbage, []byte(strings.Repeat("not a database ", 500)), 0o600); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(dir, "empty.db")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		state string
		mode  Mode
		parts []string
	}{
		{dir, ReadWrite, []string{"is a folder"}},
		{filepath.Join(dir, "missing.db"), ReadOnly, []string{"missing.db", "catalog apply"}},
		{filepath.Join(dir, "no", "such.db"), ReadWrite, []string{"such.db", "create it first"}},
		{garbage, ReadWrite, []string{"garbage.db", "not a database"}},
		{garbage, ReadOnly, []string{"garbage.db", "not a database"}},
		{empty, ReadOnly, []string{"empty.db", "nothing was settled"}},
	} {
		s, err := Open(t.Context(), c.state, c.mode)
		if s != nil {
			t.Fatalf("%s: opened", c.state)
		}
		wantError(t, err, c.parts...)
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("error %q tells a password", err)
		}
	}
}

func TestOpenKeepsToItsVersion(t *testing.T) { onEach(t, testOpenKeepsToItsVersion) }

func testOpenKeepsToItsVersion(t *testing.T, db database) {
	path := db.state(t)
	s := open(t, path, ReadWrite)
	if _, err := s.write.Exec(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, TRUE)`); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []Mode{ReadWrite, ReadOnly} {
		_, err := Open(t.Context(), path, mode)
		wantError(t, err, "version 99", "newer drawdown")
	}
	if _, err := s.write.Exec(`DELETE FROM goose_db_version WHERE version_id > 0`); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), path, ReadOnly)
	wantError(t, err, "version 0", "any command that writes")
}

func TestFilesMayHaveOddNames(t *testing.T) {
	path := filepath.Join(t.TempDir(), "odd name %20?#.db")
	open(t, path, ReadWrite)
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

func TestReadersDoNotWrite(t *testing.T) { onEach(t, testReadersDoNotWrite) }

func testReadersDoNotWrite(t *testing.T, db database) {
	path := db.state(t)
	open(t, path, ReadWrite)
	s := open(t, path, ReadOnly)
	err := s.snapshot(t.Context(), func(tx *sqlx.Tx) error {
		_, err := tx.Exec(`DELETE FROM run`)
		return err
	})
	if err == nil {
		t.Error("a reader's connection deleted rows")
	}
	if _, err := s.AcquireLease(t.Context(), "demo", Process{}, 0); !errors.Is(err, errReadOnly) {
		t.Errorf("error %v", err)
	}
	if _, err := s.LoadDraft(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestWritersAreDurable(t *testing.T) {
	s := databases()[0].fresh(t)
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1"} {
		var is string
		if err := s.write.Get(&is, "PRAGMA "+pragma); err != nil || is != want {
			t.Errorf("%s is %s, want %s (%v)", pragma, is, want, err)
		}
	}
}

func TestManyOpenAnEmptyDatabaseAtOnce(t *testing.T) { onEach(t, testManyOpenAnEmptyDatabaseAtOnce) }

func testManyOpenAnEmptyDatabaseAtOnce(t *testing.T, db database) {
	path := db.state(t)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			s, err := Open(t.Context(), path, ReadWrite)
			if err != nil {
				t.Error(err)
				return
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
}
