package store

import (
	"context"
	"fmt"

	"drawdown/rating"

	"github.com/jmoiron/sqlx"
)

// LastRuns is how a command fared last.
type LastRuns struct {
	Command     string
	Last        Run            // the newest that has ended
	LastSuccess rating.Instant // when the newest ended that did what it was to do; 0: none did
}

// Health is what is worth watching, as of one moment.
type Health struct {
	Periods  []Revision       // the current revision of each period, oldest first
	Outbox   map[string]int64 // notices by state
	Unseen   rating.Instant   // when the oldest notice was due that no notify has looked at; 0: there is none
	Messages []MessageCount   // by channel and state
	Backlog  []MessageBacklog // by channel
	LastRuns []LastRuns       // by command
}

// Health reads what is worth watching.
func (s *Store) Health(ctx context.Context) (*Health, error) {
	h := &Health{Outbox: map[string]int64{}}
	err := s.snapshot(ctx, func(tx *sqlx.Tx) error {
		*h = Health{Outbox: map[string]int64{}}
		if err := tx.SelectContext(ctx, &h.Periods, selectRevision+`WHERE is_current = 1 ORDER BY revision.period_start`); err != nil {
			return err
		}
		var states []struct {
			State   string
			Notices int64
		}
		if err := tx.SelectContext(ctx, &states, `SELECT state, COUNT(*) AS notices FROM outbox GROUP BY state`); err != nil {
			return err
		}
		for _, row := range states {
			h.Outbox[row.State] = row.Notices
		}
		if err := tx.GetContext(ctx, &h.Unseen, `SELECT COALESCE(MIN(at), 0) FROM outbox WHERE state = 'pending'`); err != nil {
			return err
		}
		if err := tx.SelectContext(ctx, &h.Messages, countMessages); err != nil {
			return err
		}
		if err := tx.SelectContext(ctx, &h.Backlog, messageBacklog); err != nil {
			return err
		}
		return h.readRuns(ctx, tx)
	})
	if err != nil {
		return nil, fmt.Errorf("read what is worth watching from %s: %w", s.name, err)
	}
	return h, nil
}

func (h *Health) readRuns(ctx context.Context, tx *sqlx.Tx) error {
	var last []Run
	err := tx.SelectContext(ctx, &last, `SELECT * FROM run WHERE id IN (SELECT MAX(id) FROM run WHERE finished_at > 0 GROUP BY command)
		ORDER BY command`)
	if err != nil {
		return err
	}
	var successes []struct {
		Command string
		At      rating.Instant
	}
	err = tx.SelectContext(ctx, &successes, tx.Rebind(`SELECT command, MAX(finished_at) AS at FROM run WHERE state IN (?, ?) GROUP BY command`),
		RunCommitted, RunNothingToDo)
	if err != nil {
		return err
	}
	for _, r := range last {
		runs := LastRuns{Command: r.Command, Last: r}
		for _, success := range successes {
			if success.Command == r.Command {
				runs.LastSuccess = success.At
			}
		}
		h.LastRuns = append(h.LastRuns, runs)
	}
	return nil
}
