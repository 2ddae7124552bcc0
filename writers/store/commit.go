package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"drawdown/rating"

	"github.com/jmoiron/sqlx"
)

// Commit is all that a run makes true at once.
type Commit struct {
	Lease   Lease
	RunID   int64
	Outcome Outcome // State is set by the commit
	Periods []PeriodCommit
	Objects []Object
	Closes  []rating.Instant // starts of periods that are closed: never to be rewritten
	Catalog *CatalogCopy     // that the periods were settled with

	// Hook, where it is set, is called after each step of the transaction with its name; its error ends the commit. Tests
	// stop or kill the program there.
	Hook func(step string) error
}

// PeriodCommit is a revision that becomes current. Periods come oldest first.
type PeriodCommit struct {
	Revision // State, Token, RunID, NoticesSince and IsCurrent are set by the commit
	Shards   []ShardState
	Notices  []Notice
	// Keeps says that the notices of the revision before stay as they are, but for those of Sought, which stay where Notices
	// has them. Else all that stand are sought.
	Keeps  bool
	Sought []string
}

// Notice is a row of the outbox, in the words of the settlement's files: ids, and decimals as text.
type Notice struct {
	DedupKey                      string
	Kind, Account, Package, Meter string
	CycleStart                    rating.Instant
	ThresholdType, Threshold      string
	Remaining, RecordID           string
	At                            rating.Instant
	Inbox                         bool // it is told in the account's inbox, too
}

// Steps of a commit, in their order: after StepBegin nothing is written, after StepSums everything but COMMIT is done.
const (
	StepBegin     = "begin"
	StepToken     = "token"
	StepRun       = "run"
	StepCatalog   = "catalog"
	StepRevisions = "revisions"
	StepCloses    = "closes"
	StepStates    = "states"
	StepOutbox    = "outbox"
	StepObjects   = "objects"
	StepSums      = "sums"
	StepCommitted = "committed"
)

// ErrClosed is what a commit fails with that would rewrite a closed period (R5.5).
var ErrClosed = errors.New("R5.5: the period is closed, and a closed period is never rewritten")

// PutStates stores the contents of states ahead of the commit that will refer to them, so that a run of many periods need
// not hold them all. They do not count until then.
func (s *Store) PutStates(ctx context.Context, l Lease, states []ShardState) error {
	err := s.transact(ctx, func(tx *sqlx.Tx) error {
		if err := checkToken(ctx, tx, l); err != nil {
			return err
		}
		return putStates(ctx, tx, l, states)
	})
	if err != nil {
		return fmt.Errorf("store states in %s: %w", s.name, err)
	}
	return nil
}

func putStates(ctx context.Context, tx *sqlx.Tx, l Lease, states []ShardState) error {
	for i := range states {
		st := &states[i]
		if st.Content == nil {
			continue
		}
		if hash, err := StateHash(st.Content); err != nil || hash != st.SHA256 {
			return fmt.Errorf("shard %d: the state has the hash %s, not %s: %w", st.Shard, hash, st.SHA256, errors.Join(errDamaged, err))
		}
		_, err := tx.ExecContext(ctx, tx.Rebind(`INSERT INTO state (sha256, token, payers, packages, content) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT (sha256) DO NOTHING`), st.SHA256, l.Token, st.Payers, st.Packages, st.Content)
		if err != nil {
			return err
		}
	}
	return nil
}

// Commit stores all of it in one transaction, or nothing. It fails with [ErrFenced] when the lease was lost. An error of
// the COMMIT itself does not say what became of it: the run is looked up, and committed again where it is not there.
func (s *Store) Commit(ctx context.Context, c *Commit) error {
	w := &commitWriter{c: c}
	if s.write == nil {
		return errReadOnly
	}
	err := s.persevere(ctx, func() error {
		err := s.once(ctx, func(tx *sqlx.Tx) error {
			w.tx, w.complete = tx, false
			return w.write(ctx)
		})
		if err != nil && w.complete {
			return s.lookUp(context.WithoutCancel(ctx), c, err)
		}
		return err
	})
	if err == nil {
		err = w.step(StepCommitted)
	}
	if err != nil {
		return fmt.Errorf("commit to %s: %w", s.name, err)
	}
	return nil
}

// lookUp finds out what became of a COMMIT that had no answer, or a bad one. It waits for the lease's row, which the lost
// transaction holds as long as it lives. Without a word from the database, nobody knows.
func (s *Store) lookUp(ctx context.Context, c *Commit, lost error) error {
	var state string
	err := s.transact(ctx, func(tx *sqlx.Tx) error {
		if _, err := s.lockLease(ctx, tx, c.Lease.Site); err != nil {
			return err
		}
		return tx.GetContext(ctx, &state, tx.Rebind(`SELECT state FROM run WHERE id = ?`), c.RunID)
	})
	switch {
	case err != nil:
		return &UnknownError{RunID: c.RunID, Lost: lost, Why: err}
	case state == RunCommitted:
		return nil
	}
	return lost
}

// UnknownError says that nobody knows whether a run was committed: the answer to its COMMIT was lost, and then the
// database could not be asked. It unwraps to nothing, since it is neither a success nor any failure.
type UnknownError struct {
	RunID     int64
	Lost, Why error
}

func (e *UnknownError) Error() string {
	return fmt.Sprintf("it is not known whether run %d was committed: the answer was lost (%v), and the database cannot be asked (%v); "+
		"once it can be reached, run the same command again: it finds out, and settles nothing twice", e.RunID, e.Lost, e.Why)
}

type commitWriter struct {
	c        *Commit
	tx       *sqlx.Tx
	complete bool // all is written but COMMIT
	finders  map[string]rating.Instant
}

func (w *commitWriter) step(name string) error {
	if w.c.Hook == nil {
		return nil
	}
	return w.c.Hook(name)
}

func (w *commitWriter) write(ctx context.Context) error {
	steps := []struct {
		name string
		do   func(context.Context) error
	}{
		{StepBegin, func(context.Context) error { return nil }},
		{StepToken, func(ctx context.Context) error { return checkToken(ctx, w.tx, w.c.Lease) }},
		{StepRun, w.run},
		{StepCatalog, w.catalog},
		{StepRevisions, w.revisions},
		{StepCloses, w.closes},
		{StepStates, w.states},
		{StepOutbox, w.outbox},
		{StepObjects, w.objects},
		{StepSums, w.sums},
	}
	for _, step := range steps {
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		if err := w.step(step.name); err != nil {
			return err
		}
	}
	w.complete = true
	return nil
}

func (w *commitWriter) run(ctx context.Context) error {
	outcome := w.c.Outcome
	outcome.State = RunCommitted
	return finishRun(ctx, w.tx, w.c.RunID, outcome)
}

func (w *commitWriter) revisions(ctx context.Context) error {
	for i := range w.c.Periods {
		r := &w.c.Periods[i].Revision
		if err := w.revision(ctx, r); err != nil {
			return fmt.Errorf("period %s revision %d: %w", r.PeriodName, r.Revision, err)
		}
	}
	return nil
}

// revision makes a revision the current one of its period, if it builds on what is current of the period before.
func (w *commitWriter) revision(ctx context.Context, r *Revision) error {
	previous, err := settledBefore(ctx, w.tx, r.PeriodStart)
	if err != nil {
		return err
	}
	switch {
	case previous == nil && r.PreviousManifestSHA256 != Hash{}:
		return errors.New("it builds on a period that was never settled")
	case previous != nil && previous.PeriodEnd != r.PeriodStart:
		return fmt.Errorf("the period before it is not settled: the last one is %s, which ends at %v", previous.PeriodName, previous.PeriodEnd)
	case previous != nil && previous.ManifestSHA256 != r.PreviousManifestSHA256:
		return fmt.Errorf("it builds on the manifest %s of the period before, of which %s is current; settle again",
			r.PreviousManifestSHA256, previous.ManifestSHA256)
	}
	_, err = w.tx.ExecContext(ctx, w.tx.Rebind(`INSERT INTO period (period_start, period_end, period_name, state) VALUES (?, ?, ?, ?)
		ON CONFLICT (period_start) DO NOTHING`), r.PeriodStart, r.PeriodEnd, r.PeriodName, PeriodSettled)
	if err != nil {
		return err
	}
	var period struct {
		State string
		End   rating.Instant `db:"period_end"`
	}
	err = w.tx.GetContext(ctx, &period, w.tx.Rebind(`SELECT state, period_end FROM period WHERE period_start = ?`), r.PeriodStart)
	switch {
	case err != nil:
		return err
	case period.State == PeriodClosed:
		return ErrClosed
	case period.End != r.PeriodEnd:
		return fmt.Errorf("it ends at %v, but was settled before until %v; settlement.period and time_zone must stay as they are",
			r.PeriodEnd, period.End)
	}
	r.NoticesSince = r.Revision
	err = w.tx.GetContext(ctx, &r.NoticesSince, w.tx.Rebind(`SELECT notices_since FROM revision WHERE period_start = ? AND is_current = 1`), r.PeriodStart)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	_, err = w.tx.ExecContext(ctx, w.tx.Rebind(`UPDATE revision SET is_current = 0 WHERE period_start = ? AND is_current = 1`), r.PeriodStart)
	if err != nil {
		return err
	}
	_, err = w.tx.ExecContext(ctx, w.tx.Rebind(`INSERT INTO revision (period_start, revision, token, run_id, manifest_key,
		manifest_sha256, previous_manifest_sha256, config_sha256, catalog_sha256, opening_sha256, closing_sha256,
		shards, payers, packages, notices, totals, notices_since, is_current)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1)`),
		r.PeriodStart, r.Revision, w.c.Lease.Token, w.c.RunID, r.ManifestKey, r.ManifestSHA256, r.PreviousManifestSHA256,
		r.ConfigSHA256, r.CatalogSHA256, r.OpeningSHA256, r.ClosingSHA256, r.Shards, r.Payers, r.Packages, r.Notices, r.Totals, r.NoticesSince)
	return err
}

// closes locks periods, the oldest open one first, so that none is closed behind an open one.
func (w *commitWriter) closes(ctx context.Context) error {
	for _, start := range w.c.Closes {
		found, err := updateOne(ctx, w.tx, `UPDATE period SET state = ?, closed_at = ? WHERE period_start = ? AND state = ?
			AND NOT EXISTS (SELECT 1 FROM period AS earlier WHERE earlier.state = ? AND earlier.period_start < ?)`,
			PeriodClosed, w.c.Outcome.FinishedAt, start, PeriodSettled, PeriodSettled, start)
		switch {
		case err != nil:
			return err
		case !found:
			return fmt.Errorf("the period that starts at %v is not the first open one", start)
		}
	}
	return nil
}

func (w *commitWriter) states(ctx context.Context) error {
	for i := range w.c.Periods {
		p := &w.c.Periods[i]
		if err := putStates(ctx, w.tx, w.c.Lease, p.Shards); err != nil {
			return err
		}
		columns := []string{"period_start", "revision", "shard", "sha256"}
		err := dialectOf(w.tx).insert(ctx, w.tx, "shard_state", columns, len(p.Shards), func(n int) ([]any, error) {
			return []any{p.PeriodStart, p.Revision.Revision, p.Shards[n].Shard, p.Shards[n].SHA256}, nil
		})
		if err != nil {
			return fmt.Errorf("period %s: %w", p.PeriodName, err)
		}
	}
	return nil
}

func (w *commitWriter) objects(ctx context.Context) error {
	insert := bulk{
		tx:   w.tx,
		head: `INSERT INTO object (key, size, version, sha256, records, first_time, last_time, home_period_start) VALUES `,
		tail: ` ON CONFLICT (key) DO UPDATE SET size = excluded.size, version = excluded.version, sha256 = excluded.sha256,
			records = excluded.records, first_time = excluded.first_time, last_time = excluded.last_time,
			home_period_start = excluded.home_period_start`,
	}
	return insert.rows(ctx, 8, len(w.c.Objects), func(i int) ([]any, error) {
		o := &w.c.Objects[i]
		return []any{o.Key, o.Size, o.Version, o.SHA256, o.Records, o.FirstTime, o.LastTime, o.HomePeriodStart}, nil
	})
}

// sums adds up in the database what was written, and compares it with what the manifests say.
func (w *commitWriter) sums(ctx context.Context) error {
	for i := range w.c.Periods {
		r := &w.c.Periods[i].Revision
		var is struct{ Shards, Payers, Packages, Notices int64 }
		err := w.tx.GetContext(ctx, &is, w.tx.Rebind(`SELECT COUNT(*) AS shards, COALESCE(SUM(payers), 0) AS payers,
			COALESCE(SUM(packages), 0) AS packages, `+countFound+` AS notices
			FROM shard_state JOIN state ON state.sha256 = shard_state.sha256 WHERE period_start = ? AND revision = ?`),
			r.PeriodStart, r.Revision, r.PeriodStart, r.Revision, r.PeriodStart, r.Revision)
		if err != nil {
			return err
		}
		if is.Shards != r.Shards || is.Payers != r.Payers || is.Packages != r.Packages || is.Notices != r.Notices {
			return fmt.Errorf("period %s: the manifest has %d shards, %d payers, %d packages and %d notices, the database %d, %d, %d and %d; "+
				"this is a fault of the program", r.PeriodName, r.Shards, r.Payers, r.Packages, r.Notices,
				is.Shards, is.Payers, is.Packages, is.Notices)
		}
	}
	return nil
}
