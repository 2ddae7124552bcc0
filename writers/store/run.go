package store

import (
	"context"
	"fmt"

	"drawdown/rating"

	"github.com/jmoiron/sqlx"
)

// What became of a run.
const (
	RunRunning     = "running"
	RunCommitted   = "committed"
	RunFailed      = "failed"
	RunNothingToDo = "nothing_to_do"
)

// Run is who ran what, when, why, how long, and what came of it.
type Run struct {
	ID      int64
	Site    string
	Command string
	Token   int64 // of its lease; 0: it took none
	Process
	Reason    string
	StartedAt rating.Instant `db:"started_at"`
	Outcome
}

// Outcome is what came of a run.
type Outcome struct {
	State      string
	FinishedAt rating.Instant `db:"finished_at"` // 0: not yet
	Error      string
	Periods    int64
	Records    int64
	Summary    string // JSON
}

// StartRun writes down that a run has begun, and gives its number. A run of an older token that is still marked as
// running was killed: it is marked as failed.
func (s *Store) StartRun(ctx context.Context, r Run) (id int64, err error) {
	err = s.transact(ctx, func(tx *sqlx.Tx) error {
		if r.Token > 0 {
			_, err := tx.ExecContext(ctx, tx.Rebind(`UPDATE run SET state = ?, finished_at = ?, error = ?
				WHERE state = ? AND site = ? AND token > 0 AND token < ?`),
				RunFailed, r.StartedAt, "it ended without a word: killed, or the machine went down", RunRunning, r.Site, r.Token)
			if err != nil {
				return err
			}
		}
		r.Outcome = Outcome{State: RunRunning}
		id, err = insertRun(ctx, tx, &r)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("write down the run: %w", err)
	}
	return id, nil
}

// insertRun adds a row, under the next number.
func insertRun(ctx context.Context, tx *sqlx.Tx, r *Run) (id int64, err error) {
	if err := tx.GetContext(ctx, &id, `SELECT COALESCE(MAX(id), 0) + 1 FROM run`); err != nil {
		return 0, err
	}
	_, err = tx.ExecContext(ctx, tx.Rebind(`INSERT INTO run
		(id, site, command, token, started_at, finished_at, actor, host, pid, version, reason, state, summary)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`),
		id, r.Site, r.Command, r.Token, r.StartedAt, r.FinishedAt, r.Actor, r.Host, r.PID, r.Version, r.Reason, r.State, r.Summary)
	return id, err
}

// FinishRun writes down what came of a run that commits nothing. One that has committed stays so.
func (s *Store) FinishRun(ctx context.Context, id int64, o Outcome) error {
	err := s.transact(ctx, func(tx *sqlx.Tx) error { return finishRun(ctx, tx, id, o) })
	if err != nil {
		return fmt.Errorf("write down how run %d ended: %w", id, err)
	}
	return nil
}

func finishRun(ctx context.Context, tx *sqlx.Tx, id int64, o Outcome) error {
	found, err := updateOne(ctx, tx, `UPDATE run SET state = ?, finished_at = ?, error = ?, periods = ?, records = ?, summary = ?
		WHERE id = ? AND state <> ?`, o.State, o.FinishedAt, o.Error, o.Periods, o.Records, o.Summary, id, RunCommitted)
	if err == nil && !found {
		err = fmt.Errorf("run %d does not exist, or has committed before", id)
	}
	return err
}

// Closes gives the runs that closed periods, by when these say that they were closed.
func (s *Store) Closes(ctx context.Context) (map[rating.Instant]Run, error) {
	runs, err := list[Run](ctx, s, `SELECT * FROM run WHERE command = ? AND state = ?`, "close", RunCommitted)
	if err != nil {
		return nil, fmt.Errorf("load runs from %s: %w", s.name, err)
	}
	byTime := make(map[rating.Instant]Run, len(runs))
	for _, r := range runs {
		byTime[r.FinishedAt] = r
	}
	return byTime, nil
}

// Runs gives the newest runs, newest first.
func (s *Store) Runs(ctx context.Context, limit int) ([]Run, error) {
	runs, err := list[Run](ctx, s, `SELECT * FROM run ORDER BY id DESC LIMIT ?`, limit)
	if err != nil {
		return nil, fmt.Errorf("load runs from %s: %w", s.name, err)
	}
	return runs, nil
}
