package store

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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

func fresh(t testing.TB) *Store {
	t.Helper()
	return open(t, filepath.Join(t.TempDir(), "drawdown.db"), ReadWrite)
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
		{empty, ReadOnly, []string{"empty.db", "no database of drawdown"}},
		{"postgres://user:secret@host/db", ReadWrite, []string{"postgres://…", "SQLite"}},
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

func TestOpenKeepsToItsVersion(t *testing.T) {
	path := filepath.Join(t.TempDir(), "odd name %20?#.db")
	s := open(t, path, ReadWrite)
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
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

func TestReadersDoNotWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "drawdown.db")
	open(t, path, ReadWrite)
	s := open(t, path, ReadOnly)
	if _, err := s.read.Exec(`DELETE FROM run`); err == nil {
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
	s := fresh(t)
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1"} {
		var is string
		if err := s.write.Get(&is, "PRAGMA "+pragma); err != nil || is != want {
			t.Errorf("%s is %s, want %s (%v)", pragma, is, want, err)
		}
	}
}

func TestManyOpenAnEmptyDatabaseAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "drawdown.db")
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
