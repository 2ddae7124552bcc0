package store

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/jmoiron/sqlx"
	"modernc.org/sqlite" // the driver "sqlite", too
	sqlite3 "modernc.org/sqlite/lib"
)

// How a connection of each pool to SQLite behaves. Writers take the write lock when they begin, so that a transaction
// never fails half-way because another one was quicker; a commit is on the disk when it returns.
const (
	sqliteCommon = "_pragma=busy_timeout(30000)&_pragma=foreign_keys(1)"
	sqliteWriter = "?_txlock=immediate&" + sqliteCommon + "&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=cache_size(-4096)"
	sqliteReader = "?mode=ro&" + sqliteCommon + "&_pragma=query_only(1)"
	readers      = 4
)

func openSQLite(ctx context.Context, state string, mode Mode) (*Store, error) {
	path, err := sqlitePath(state, mode)
	if err != nil {
		return nil, err
	}
	s := &Store{name: state, dialect: sqliteDialect(), patience: patience}
	if mode != ReadOnly {
		writer := sqliteWriter
		if mode == Scratch {
			writer = strings.Replace(writer, "synchronous(FULL)", "synchronous(OFF)", 1)
		}
		s.write, err = openSQLiteWriter(ctx, path+writer)
	}
	if err == nil {
		s.read, err = connectSQLite(ctx, path+sqliteReader, readers)
	}
	return s, err
}

// openSQLiteWriter opens the connection that writes, and migrates. Where several processes open a new database at once,
// turning it to WAL fails for all but one without any waiting, whatever the busy timeout says; so it is tried again.
func openSQLiteWriter(ctx context.Context, dsn string) (db *sqlx.DB, err error) {
	isBusy := func(err error) bool {
		var busy *sqlite.Error
		return errors.As(err, &busy) && busy.Code()&0xff == sqlite3.SQLITE_BUSY
	}
	err = persevere(ctx, patience, isBusy, func() error {
		db, err = connectSQLite(ctx, dsn, 1)
		if err != nil {
			return err
		}
		if err := migrate(ctx, db); err != nil {
			return errors.Join(err, db.Close())
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return db, nil
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
		if errors.Is(err, os.ErrNotExist) {
			err = ErrEmpty
		}
		return "", fmt.Errorf("state %s: %w", state, err)
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

func connectSQLite(ctx context.Context, dsn string, connections int) (*sqlx.DB, error) {
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
