package store

import (
	"context"
	"crypto/tls"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"
	"github.com/pressly/goose/v3"
)

// dialect is all in which the two databases differ, but for how they are opened (sqlite.go, postgres.go). Placeholders are
// written as ? and bound by sqlx.
type dialect struct {
	driver     string
	migrations goose.Dialect
	guards     string // migrations that are in another language than the common ones
	reading    sql.TxOptions

	begin       string // is run first in each transaction that writes
	clock       string // asks for the server's time in microseconds; "": it is this machine's
	lockCatalog string // keeps others from writing to the catalog until the transaction ends
	lockRow     string // at the end of a SELECT: keeps others from the row until the transaction ends
	lockBriefly string // is run before a lock of which another run may be the holder

	// transient tells an error after which the whole transaction may succeed when it is tried again.
	transient func(error) bool
	// lacksTable tells that a statement names a table that is not there.
	lacksTable func(error) bool
	// explain says what to do about an error, where the database itself does not.
	explain func(error) error
	// insert adds rows to a table.
	insert func(ctx context.Context, tx *sqlx.Tx, table string, columns []string, n int, row rowReader) error
}

// rowReader gives the values of row i. The slice is read before the next call.
type rowReader func(i int) ([]any, error)

// dialectOf gives the dialect of a transaction or a database.
func dialectOf(q interface{ DriverName() string }) dialect {
	if q.DriverName() == "postgres" {
		return postgresDialect()
	}
	return sqliteDialect()
}

// sqliteDialect: a transaction that writes holds the only write lock from its beginning (_txlock=immediate), so nothing
// needs a lock of its own, nothing has to be tried again, and what is not committed when the process dies never was.
func sqliteDialect() dialect {
	return dialect{
		driver: "sqlite", migrations: goose.DialectSQLite3, guards: "sqlite", reading: sql.TxOptions{ReadOnly: true},
		transient:  func(error) bool { return false },
		lacksTable: func(err error) bool { return strings.Contains(err.Error(), "no such table") },
		explain:    func(err error) error { return err },
		insert: func(ctx context.Context, tx *sqlx.Tx, table string, columns []string, n int, row rowReader) error {
			insert := bulk{tx: tx, head: "INSERT INTO " + table + " (" + quoteAll(columns) + ") VALUES "}
			return insert.rows(ctx, len(columns), n, row)
		},
	}
}

// postgresDialect: transactions see what is committed (READ COMMITTED) and lock what they rely on. All settings are of a
// transaction and not of a session, so that PgBouncer may give each transaction another session.
func postgresDialect() dialect {
	return dialect{
		driver: "postgres", migrations: goose.DialectPostgres, guards: "postgres",
		reading: sql.TxOptions{ReadOnly: true, Isolation: sql.LevelRepeatableRead},
		begin:   postgresBegin,
		clock:   `SELECT CAST(extract(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)`,
		lockCatalog: `LOCK TABLE accounts, meters, prices, packages, package_changes, alert_rules, topups
			IN SHARE ROW EXCLUSIVE MODE`,
		lockRow:     ` FOR UPDATE`,
		lockBriefly: `SET LOCAL lock_timeout = '3s'`,
		transient:   postgresTransient,
		lacksTable:  func(err error) bool { return pq.As(err, pqerror.UndefinedTable) != nil },
		explain:     postgresExplain,
		insert:      copyIn,
	}
}

// postgresBegin: a lock is waited for 30 seconds, a statement is given 10 minutes, and a transaction whose program hangs
// or is cut off is ended, so that it holds no lock for longer than a lease lasts. A server may not answer a COMMIT before
// it is on the disk: then a crash of it could lose what was settled.
const postgresBegin = `SELECT set_config('lock_timeout', '30s', true), set_config('statement_timeout', '10min', true),
	set_config('idle_in_transaction_session_timeout', '60s', true),
	set_config('tcp_keepalives_idle', '5', true), set_config('tcp_keepalives_interval', '2', true),
	set_config('tcp_keepalives_count', '3', true),
	CASE WHEN current_setting('synchronous_commit') = 'off' THEN set_config('synchronous_commit', 'on', true) END`

// connectionLost tells an error of the connection itself, after which it is not known what the server has done.
func connectionLost(err error) bool {
	var network net.Error
	return errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) || errors.Is(err, io.EOF) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || errors.As(err, &network)
}

// notNow tells that a server turns connections away for a while: it starts, recovers, or has too many.
func notNow(err error) bool {
	return pq.As(err, pqerror.CannotConnectNow, pqerror.TooManyConnections, pqerror.AdminShutdown, pqerror.CrashShutdown) != nil
}

// brokenOff tells that the server, or what is before it, has ended a connection.
func brokenOff(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET)
}

func postgresTransient(err error) bool {
	if connectionLost(err) || notNow(err) || pq.As(err, pqerror.TRSerializationFailure, pqerror.TRDeadlockDetected) != nil {
		return true
	}
	// Two runs have given themselves the same number.
	taken := pq.As(err, pqerror.UniqueViolation)
	return taken != nil && taken.Constraint == "run_pkey"
}

func postgresExplain(err error) error {
	var unproved *tls.CertificateVerificationError
	switch {
	case errors.As(err, &unproved):
		return fmt.Errorf("%w; name the authority that signed the server's certificate by sslrootcert=FILE in `state`, and the host as the certificate does", err)
	case brokenOff(err):
		return fmt.Errorf("%w: the server, or a proxy before it, has ended the connection; its log says why", err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w; is the server running, and are host and port those of `state`", err)
	case pq.As(err, pqerror.InvalidPassword, pqerror.InvalidAuthorizationSpecification) != nil:
		return fmt.Errorf("%w; set PGPASSWORD or write the user into ~/.pgpass, and look at the server's pg_hba.conf", err)
	case errors.Is(err, pq.ErrSSLNotSupported):
		return fmt.Errorf("%w; write sslmode=disable into `state` if what is sent may be read on the way", err)
	case pq.As(err, pqerror.ReadOnlySQLTransaction) != nil || err != nil && strings.Contains(err.Error(), "session is read-only"):
		return fmt.Errorf("%w: this server takes no writes: it is a replica, or became one; name the primary in `state`", err)
	case denied(err):
		return fmt.Errorf("%w; docs/operations.md has what each role is granted", err)
	case lockTimedOut(err):
		return fmt.Errorf("%w: another program holds a lock on it (pg_locks, pg_stat_activity say which one); try again later", err)
	}
	return err
}

// copyIn adds rows by COPY, which is many times faster than INSERT.
func copyIn(ctx context.Context, tx *sqlx.Tx, table string, columns []string, n int, row rowReader) (err error) {
	if n == 0 {
		return nil
	}
	statement, err := tx.PrepareContext(ctx, "COPY "+table+" ("+quoteAll(columns)+") FROM STDIN")
	if err != nil {
		return err
	}
	defer func() {
		if closed := statement.Close(); err == nil {
			err = closed
		}
	}()
	for i := range n {
		values, err := row(i)
		if err != nil {
			return err
		}
		if _, err := statement.ExecContext(ctx, values...); err != nil {
			return err
		}
	}
	_, err = statement.ExecContext(ctx)
	return err
}

// lockTimedOut tells that a lock was not given in time.
func lockTimedOut(err error) bool { return pq.As(err, pqerror.LockNotAvailable) != nil }

// denied tells that the user may not do it.
func denied(err error) bool { return pq.As(err, pqerror.InsufficientPrivilege) != nil }
