package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
	"modernc.org/sqlite" // the driver "sqlite", too
	sqlite3 "modernc.org/sqlite/lib"
)

// Mode says what a [Store] may do.
type Mode uint8

const (
	ReadWrite Mode = iota // creates and migrates the database where needed
	ReadOnly              // fails where the database is missing or of another version
	Scratch               // as ReadWrite, but nothing need outlive the machine: for tests and trials in temporary folders
)

// Store is an open database.
type Store struct {
	read  *sqlx.DB // several connections
	write *sqlx.DB // one connection; nil when read-only
	name  string   // for messages; it holds no secret
}

// errReadOnly reports a fault of the program: it opened the database for reading and then wrote.
var errReadOnly = errors.New("the state was opened for reading only")

// How a connection of each pool to SQLite behaves. Writers take the write lock when they begin, so that a transaction
// never fails half-way because another one was quicker; a commit is on the disk when it returns.
const (
	sqliteCommon = "_pragma=busy_timeout(30000)&_pragma=foreign_keys(1)"
	sqliteWriter = "?_txlock=immediate&" + sqliteCommon + "&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)"
	sqliteReader = "?mode=ro&" + sqliteCommon + "&_pragma=query_only(1)"
	readers      = 4
)

// Open opens the database that config `state` names: the path of an SQLite file.
func Open(ctx context.Context, state string, mode Mode) (*Store, error) {
	if scheme, _, ok := strings.Cut(state, "://"); ok {
		return nil, fmt.Errorf("state %s://…: only the path of an SQLite file is supported so far; write e.g. state: drawdown.db", scheme)
	}
	path, err := sqlitePath(state, mode)
	if err != nil {
		return nil, err
	}
	s := &Store{name: state}
	if mode != ReadOnly {
		writer := sqliteWriter
		if mode == Scratch {
			writer = strings.Replace(writer, "synchronous(FULL)", "synchronous(OFF)", 1)
		}
		s.write, err = openWriter(ctx, path+writer)
	}
	if err == nil {
		s.read, err = connect(ctx, path+sqliteReader, readers)
	}
	if err == nil && mode == ReadOnly {
		err = checkVersion(ctx, s.read)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open state %s: %w", state, err), s.Close())
	}
	return s, nil
}

// openWriter opens the connection that writes, and migrates. Where several processes open a new database at once, turning
// it to WAL fails for all but one without any waiting, whatever the busy timeout says; so it is tried again for a while.
func openWriter(ctx context.Context, dsn string) (*sqlx.DB, error) {
	patience, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		db, err := connect(ctx, dsn, 1)
		if err == nil {
			err = migrate(ctx, db)
		}
		var busy *sqlite.Error
		if err == nil || patience.Err() != nil || !errors.As(err, &busy) || busy.Code()&0xff != sqlite3.SQLITE_BUSY {
			return db, err
		}
		if db != nil {
			err = errors.Join(err, db.Close())
		}
		select {
		case <-patience.Done():
			return nil, errors.Join(err, ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// sqlitePath gives the file's URI, after checks whose failure SQLite reports as "out of memory" or "unable to open".
func sqlitePath(state string, mode Mode) (string, error) {
	path, err := filepath.Abs(state)
	if err != nil {
		return "", fmt.Errorf("state %s: %w", state, err)
	}
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		return "", fmt.Errorf("state %s is a folder; write the path of a file, e.g. %s", state, filepath.Join(state, "drawdown.db"))
	case err != nil && mode == ReadOnly:
		return "", fmt.Errorf("state %s: nothing was settled or applied here yet: %w; run drawdown catalog apply, or settle", state, err)
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return "", fmt.Errorf("state %s: %w", state, err)
	}
	if _, err := os.Stat(filepath.Dir(path)); err != nil {
		return "", fmt.Errorf("state %s: the folder it is to stand in: %w; create it first", state, err)
	}
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path // a drive letter
	}
	return "file:" + (&url.URL{Path: path}).EscapedPath(), nil
}

func connect(ctx context.Context, dsn string, connections int) (*sqlx.DB, error) {
	db, err := sqlx.Open("sqlite", dsn)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	if err := db.PingContext(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// Close releases the connections.
func (s *Store) Close() error {
	var err error
	for _, db := range []*sqlx.DB{s.read, s.write} {
		if db != nil {
			err = errors.Join(err, db.Close())
		}
	}
	return err
}

// transact runs do in a transaction that writes: all of it is stored, or nothing.
func (s *Store) transact(ctx context.Context, do func(*sqlx.Tx) error) error {
	if s.write == nil {
		return errReadOnly
	}
	tx, err := s.write.BeginTxx(ctx, nil)
	if err != nil {
		return err
	}
	if err := do(tx); err != nil {
		return errors.Join(err, rollback(tx))
	}
	err = tx.Commit()
	if errors.Is(err, sql.ErrTxDone) && ctx.Err() != nil {
		err = context.Cause(ctx) // the context has rolled it back
	}
	return err
}

// snapshot runs do in a transaction that reads: all of it sees the same state of the database.
func (s *Store) snapshot(ctx context.Context, do func(*sqlx.Tx) error) error {
	tx, err := s.read.BeginTxx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	return errors.Join(do(tx), rollback(tx))
}

// rollback ends a transaction; one that a cancelled context has ended is no fault.
func rollback(tx *sqlx.Tx) error {
	if err := tx.Rollback(); err != nil && !errors.Is(err, sql.ErrTxDone) {
		return fmt.Errorf("roll back: %w", err)
	}
	return nil
}

// updateOne runs a statement that must change just one row, and tells whether it did.
func updateOne(ctx context.Context, tx *sqlx.Tx, query string, args ...any) (bool, error) {
	result, err := tx.ExecContext(ctx, tx.Rebind(query), args...)
	if err != nil {
		return false, err
	}
	n, err := result.RowsAffected()
	return n == 1, err
}

// Hash is a SHA-256; the zero value says that there is nothing to hash. It is stored in hex.
type Hash [32]byte

func (h Hash) String() string {
	if h == (Hash{}) {
		return ""
	}
	return hex.EncodeToString(h[:])
}

// Value implements [driver.Valuer].
func (h Hash) Value() (driver.Value, error) { return h.String(), nil }

// Scan implements [sql.Scanner].
func (h *Hash) Scan(value any) error {
	text, ok := value.(string)
	if b, is := value.([]byte); is {
		text, ok = string(b), true
	}
	*h = Hash{}
	if text == "" && ok {
		return nil
	}
	if b, err := hex.DecodeString(text); !ok || err != nil || copy(h[:], b) != len(h) || len(b) != len(h) {
		return fmt.Errorf("%v is no SHA-256 in hex", value)
	}
	return nil
}
