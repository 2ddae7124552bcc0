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
		_, err := tx.ExecContext(ctx, tx.Rebind(`INSERT INTO lease (site, token, owner, host, pid, acquired_at, heartbeat_at)
			VALUES (?, 0, '', '', 0, 0, 0) ON CONFLICT (site) DO NOTHING`), site)
		if err != nil {
			return err
		}
		var was leaseRow
		if err := tx.GetContext(ctx, &was, tx.Rebind(`SELECT * FROM lease WHERE site = ?`), site); err != nil {
			return err
		}
		var others []string
		if err := tx.SelectContext(ctx, &others, tx.Rebind(`SELECT site FROM lease WHERE site <> ?`), site); err != nil {
			return err
		}
		if len(others) > 0 {
			return fmt.Errorf("%s is the database of site %s; give each site a database of its own (config: site, state)", s.name, others[0])
		}
		if was.held(now) {
			return &HeldError{site, was.Owner, was.Host, was.PID, was.AcquiredAt, was.HeartbeatAt}
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
	if err != nil {
		return Lease{}, fmt.Errorf("take the lease: %w", err)
	}
	return lease, nil
}

func owner(p Process) string {
	if p.Actor == "" {
		return "somebody"
	}
	return p.Actor
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
// transaction ends: writing to the row locks it.
func checkToken(ctx context.Context, tx *sqlx.Tx, l Lease) error {
	var token int64
	kept, err := updateOne(ctx, tx, `UPDATE lease SET token = token WHERE site = ? AND token = ? AND owner <> ''`, l.Site, l.Token)
	if err != nil || kept {
		return err
	}
	err = tx.GetContext(ctx, &token, tx.Rebind(`SELECT token FROM lease WHERE site = ?`), l.Site)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	return fmt.Errorf("%w (its token is %d, the newest one is %d)", ErrFenced, l.Token, token)
}
