package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jmoiron/sqlx"
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
	read  *sqlx.DB
	write *sqlx.DB // nil when read-only
	name  string   // for messages; it holds no secret

	dialect  dialect
	patience time.Duration
}

// ErrEmpty is what opening a state for reading fails with where nothing was ever written to it.
var ErrEmpty = errors.New("nothing was settled or applied here yet; run drawdown catalog apply, or settle")

// errReadOnly reports a fault of the program: it opened the database for reading and then wrote.
var errReadOnly = errors.New("the state was opened for reading only")

// Open opens the database that config `state` names: the path of an SQLite file, or postgres://user@host/database.
func Open(ctx context.Context, state string, mode Mode) (s *Store, err error) {
	if IsURL(state) {
		s, err = openPostgres(ctx, state, mode)
	} else {
		s, err = openSQLite(ctx, state, mode)
	}
	if err == nil && mode == ReadOnly {
		err = s.checkVersion(ctx)
	}
	if err != nil {
		if s != nil {
			err = errors.Join(fmt.Errorf("open state %s: %w", s.name, err), s.Close())
		}
		return nil, err
	}
	return s, nil
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

// transact runs do in a transaction that writes: all of it is stored, or nothing. Where it may succeed at another time
// (a deadlock, a server that starts again), all of it is tried again for a while. So do must be able to run again, also
// where its first run was stored and only the answer was lost.
func (s *Store) transact(ctx context.Context, do func(*sqlx.Tx) error) error {
	if s.write == nil {
		return errReadOnly
	}
	return s.persevere(ctx, func() error { return s.once(ctx, do) })
}

// patience is how long something is tried again that may succeed at another time.
const patience = 30 * time.Second

// persevere tries again what has failed only for the moment.
func (s *Store) persevere(ctx context.Context, attempt func() error) error {
	return s.dialect.explain(persevere(ctx, s.patience, s.dialect.transient, attempt))
}

func persevere(ctx context.Context, patience time.Duration, transient func(error) bool, attempt func() error) error {
	patient, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		err := attempt()
		if err == nil || !transient(err) || patient.Err() != nil {
			return err
		}
		timer := time.NewTimer(wait + rand.N(wait)) // those that were in each other's way do not come back together
		select {
		case <-patient.Done():
			timer.Stop()
			return err
		case <-timer.C:
		}
	}
}

// once runs do in a transaction that writes.
func (s *Store) once(ctx context.Context, do func(*sqlx.Tx) error) error {
	tx, err := s.write.BeginTxx(ctx, nil)
	if err != nil {
		return interruption(ctx, err)
	}
	if s.dialect.begin != "" {
		_, err = tx.ExecContext(ctx, s.dialect.begin)
	}
	if err == nil {
		err = do(tx)
	}
	if err != nil {
		return interruption(ctx, errors.Join(err, rollback(tx)))
	}
	return interruption(ctx, tx.Commit())
}

// interruption puts the reason in the place of what a database says when a context ends its transaction.
func interruption(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil && !errors.Is(err, context.Cause(ctx)) {
		return context.Cause(ctx)
	}
	return err
}

// snapshot runs do in a transaction that reads: all of it sees the same state of the database.
func (s *Store) snapshot(ctx context.Context, do func(*sqlx.Tx) error) error {
	return s.persevere(ctx, func() error {
		tx, err := s.read.BeginTxx(ctx, &s.dialect.reading)
		if err != nil {
			return interruption(ctx, err)
		}
		return interruption(ctx, errors.Join(do(tx), rollback(tx)))
	})
}

// get reads one row.
func (s *Store) get(ctx context.Context, row any, query string, args ...any) error {
	return s.snapshot(ctx, func(tx *sqlx.Tx) error { return tx.GetContext(ctx, row, tx.Rebind(query), args...) })
}

// list reads rows into a slice.
func list[T any](ctx context.Context, s *Store, query string, args ...any) (rows []T, err error) {
	err = s.snapshot(ctx, func(tx *sqlx.Tx) error {
		rows = nil
		return tx.SelectContext(ctx, &rows, tx.Rebind(query), args...)
	})
	return rows, err
}

// rollback ends a transaction. One that a cancelled context or a lost connection has ended is no fault.
func rollback(tx *sqlx.Tx) error {
	if err := tx.Rollback(); err != nil && !errors.Is(err, sql.ErrTxDone) && !connectionLost(err) {
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
