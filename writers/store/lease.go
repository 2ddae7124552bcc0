package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"

	"drawdown/rating"

	"github.com/jmoiron/sqlx"
)

// LeaseTTL is how long a lease holds after its last heartbeat. Its holder renews it several times within that.
const LeaseTTL = 60 * time.Second

// Process says who runs the program, and where.
type Process struct {
	Actor, Host, Version string
	PID                  int
}

// Lease is the right to commit, until another holder has a larger token.
type Lease struct {
	Site  string
	Token int64
}

// HeldError says that another run holds the lease.
type HeldError struct {
	Site, Owner, Host string
	PID               int
	Since, Heartbeat  rating.Instant
}

func (e *HeldError) Error() string {
	return fmt.Sprintf("another run holds the lease of site %s: %s on %s, process %d, since %v (last heartbeat %v); wait for it, "+
		"or until %v after its last heartbeat", e.Site, e.Owner, e.Host, e.PID, e.Since, e.Heartbeat, LeaseTTL)
}

// ErrFenced is what a run fails with that lost its lease to another one: nothing of it was stored.
var ErrFenced = errors.New("another run has taken the lease meanwhile; nothing was committed")

// leaseRow is the row of table lease.
type leaseRow struct {
	Site        string
	Token       int64
	Owner, Host string
	PID         int
	AcquiredAt  rating.Instant `db:"acquired_at"`
	HeartbeatAt rating.Instant `db:"heartbeat_at"`
}

// AcquireLease takes the lease, or fails with a [HeldError]. A lease without a heartbeat for [LeaseTTL], or whose process
// is gone from this host, is taken over: should its holder be alive after all, its token is too old to commit.
func (s *Store) AcquireLease(ctx context.Context, site string, p Process, now rating.Instant) (Lease, error) {
	lease := Lease{Site: site}
	err := s.transact(ctx, func(tx *sqlx.Tx) error {
		if s.dialect.lockBriefly != "" {
			if _, err := tx.ExecContext(ctx, s.dialect.lockBriefly); err != nil {
				return err
			}
		}
		was, err := s.lockLease(ctx, tx, site)
		if err != nil {
			return err
		}
		if lease.Token > 0 && was.Token == lease.Token && was.AcquiredAt == now && was.PID == p.PID && was.Host == p.Host {
			return nil // it was taken, and the answer was lost
		}
		if was.held(now) {
			return was.heldError()
		}
		lease.Token = was.Token + 1
		taken, err := updateOne(ctx, tx, `UPDATE lease SET token = ?, owner = ?, host = ?, pid = ?, acquired_at = ?, heartbeat_at = ?
			WHERE site = ? AND token = ? AND heartbeat_at = ?`,
			lease.Token, owner(p), p.Host, p.PID, now, now, site, was.Token, was.HeartbeatAt)
		if err == nil && !taken {
			err = &HeldError{Site: site, Owner: "a run that started just now", Since: now, Heartbeat: now}
		}
		return err
	})
	if lockTimedOut(err) { // somebody commits under it
		var was leaseRow
		if err = s.get(ctx, &was, `SELECT * FROM lease WHERE site = ?`, site); err == nil {
			err = was.heldError()
		}
	}
	if err != nil {
		return Lease{}, fmt.Errorf("take the lease: %w", err)
	}
	return lease, nil
}

// lockLease makes the site's row where there is none, reads it, and keeps it from others until the transaction ends.
func (s *Store) lockLease(ctx context.Context, tx *sqlx.Tx, site string) (*leaseRow, error) {
	_, err := tx.ExecContext(ctx, tx.Rebind(`INSERT INTO lease (site, token, owner, host, pid, acquired_at, heartbeat_at)
		VALUES (?, 0, '', '', 0, 0, 0) ON CONFLICT DO NOTHING`), site)
	if err != nil {
		return nil, err
	}
	var others []string
	if err := tx.SelectContext(ctx, &others, tx.Rebind(`SELECT site FROM lease WHERE site <> ?`), site); err != nil {
		return nil, err
	}
	if len(others) > 0 {
		return nil, fmt.Errorf("%s is the database of site %s; give each site a database of its own (config: site, state)", s.name, others[0])
	}
	var row leaseRow
	err = tx.GetContext(ctx, &row, tx.Rebind(`SELECT * FROM lease WHERE site = ?`+s.dialect.lockRow), site)
	return &row, err
}

// Clock gives the time of the database's server, which several machines may go by; false: it has none of its own.
func (s *Store) Clock(ctx context.Context) (now rating.Instant, ok bool, err error) {
	if s.dialect.clock == "" {
		return 0, false, nil
	}
	if err := s.get(ctx, &now, s.dialect.clock); err != nil {
		return 0, false, fmt.Errorf("ask %s for the time: %w", s.name, err)
	}
	return now, true, nil
}

func owner(p Process) string {
	if p.Actor == "" {
		return "somebody"
	}
	return p.Actor
}

func (l *leaseRow) heldError() error {
	return &HeldError{l.Site, l.Owner, l.Host, l.PID, l.AcquiredAt, l.HeartbeatAt}
}

// held tells whether the lease belongs to a run that may be alive. A heartbeat from the future is one from before the
// clock was set back.
func (l *leaseRow) held(now rating.Instant) bool {
	age := max(now-l.HeartbeatAt, l.HeartbeatAt-now)
	if l.Owner == "" || age >= rating.Instant(LeaseTTL.Microseconds()) {
		return false
	}
	host, err := os.Hostname()
	return err != nil || host != l.Host || alive(l.PID)
}

// alive tells whether a process of this host exists. Where that cannot be told, it does.
func alive(pid int) bool {
	if pid <= 0 {
		return true
	}
	p, err := os.FindProcess(pid)
	if err != nil {
		return false
	}
	defer p.Release()
	if runtime.GOOS == "windows" {
		return true // only those that exist are found
	}
	err = p.Signal(syscall.Signal(0))
	return err == nil || errors.Is(err, os.ErrPermission)
}

// RenewLease is the heartbeat; it fails with [ErrFenced] when the lease was lost.
func (s *Store) RenewLease(ctx context.Context, l Lease, now rating.Instant) error {
	err := s.transact(ctx, func(tx *sqlx.Tx) error {
		kept, err := updateOne(ctx, tx, `UPDATE lease SET heartbeat_at = ? WHERE site = ? AND token = ? AND owner <> ''`,
			now, l.Site, l.Token)
		if err == nil && !kept {
			err = ErrFenced
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("renew the lease: %w", err)
	}
	return nil
}

// ReleaseLease gives the lease back. One that was lost already is no fault.
func (s *Store) ReleaseLease(ctx context.Context, l Lease) error {
	err := s.transact(ctx, func(tx *sqlx.Tx) error {
		_, err := updateOne(ctx, tx, `UPDATE lease SET owner = '' WHERE site = ? AND token = ?`, l.Site, l.Token)
		return err
	})
	if err != nil {
		return fmt.Errorf("release the lease: %w", err)
	}
	return nil
}

// checkToken makes sure, inside a transaction, that the lease was not lost, and keeps it from being taken until the
// transaction ends.
func checkToken(ctx context.Context, tx *sqlx.Tx, l Lease) error {
	var is struct {
		Token int64
		Owner string
	}
	err := tx.GetContext(ctx, &is, tx.Rebind(`SELECT token, owner FROM lease WHERE site = ?`+dialectOf(tx).lockRow), l.Site)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	if is.Token != l.Token || is.Owner == "" {
		return fmt.Errorf("%w (its token is %d, the newest one is %d)", ErrFenced, l.Token, is.Token)
	}
	return nil
}
