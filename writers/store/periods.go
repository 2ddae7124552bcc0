package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"drawdown/rating"

	"github.com/jmoiron/sqlx"
)

// Revision is what a run made of a period.
type Revision struct {
	PeriodStart            rating.Instant `db:"period_start"`
	PeriodEnd              rating.Instant `db:"period_end"`
	PeriodName             string         `db:"period_name"`
	State                  string         // of the period: PeriodSettled or PeriodClosed
	ClosedAt               rating.Instant `db:"closed_at"`
	Revision               int
	Token                  int64
	RunID                  int64  `db:"run_id"`
	ManifestKey            string `db:"manifest_key"`
	ManifestSHA256         Hash   `db:"manifest_sha256"`
	PreviousManifestSHA256 Hash   `db:"previous_manifest_sha256"` // zero: the first period
	ConfigSHA256           Hash   `db:"config_sha256"`
	CatalogSHA256          Hash   `db:"catalog_sha256"`
	OpeningSHA256          Hash   `db:"opening_sha256"`
	ClosingSHA256          Hash   `db:"closing_sha256"`
	// Counts of the manifest, which the rows of a commit must add up to: shards, the payers and packages of their states,
	// and notices.
	Shards, Payers, Packages, Notices int64

	Totals       string // JSON
	NoticesSince int    `db:"notices_since"` // the oldest revision whose rows of the outbox still say what this one has found
	IsCurrent    bool   `db:"is_current"`
}

// States of a period that has been settled.
const (
	PeriodSettled = "settled"
	PeriodClosed  = "closed"
)

// ShardState is the closing state of a shard.
type ShardState struct {
	Shard            int
	SHA256           Hash
	Payers, Packages int64
	Content          []byte // as [StateEncoder] gives it; in a [Commit], nil: it is stored already. Lists leave it out
}

// Object is a usage object that was read. While its version is the same, so is its content.
type Object struct {
	Key             string
	Size            int64
	Version         string
	SHA256          Hash
	Records         int64
	FirstTime       rating.Instant `db:"first_time"` // of all rows with a time; FirstTime > LastTime where there is none
	LastTime        rating.Instant `db:"last_time"`
	HomePeriodStart rating.Instant `db:"home_period_start"`
}

const selectRevision = `SELECT revision.*, period_end, period_name, state, closed_at
	FROM revision JOIN period ON period.period_start = revision.period_start `

// Periods gives the current revision of each period that has been settled, oldest first.
func (s *Store) Periods(ctx context.Context) ([]Revision, error) {
	return s.revisions(ctx, selectRevision+`WHERE is_current = 1 ORDER BY revision.period_start`)
}

// Revisions gives all revisions of a period, oldest first.
func (s *Store) Revisions(ctx context.Context, periodStart rating.Instant) ([]Revision, error) {
	return s.revisions(ctx, selectRevision+`WHERE revision.period_start = ? ORDER BY revision`, periodStart)
}

func (s *Store) revisions(ctx context.Context, query string, args ...any) ([]Revision, error) {
	revisions, err := list[Revision](ctx, s, query, args...)
	if err != nil {
		return nil, fmt.Errorf("load periods from %s: %w", s.name, err)
	}
	return revisions, nil
}

// SettledBefore gives the current revision of the last settled period that starts before an instant, nil where there is
// none: with [rating.Never], the newest period; with a period's start, its predecessor, whose closing state is its opening
// state (R5.3).
func (s *Store) SettledBefore(ctx context.Context, t rating.Instant) (*Revision, error) {
	var r *Revision
	err := s.snapshot(ctx, func(tx *sqlx.Tx) (err error) {
		r, err = settledBefore(ctx, tx, t)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("load periods from %s: %w", s.name, err)
	}
	return r, nil
}

func settledBefore(ctx context.Context, q sqlx.ExtContext, t rating.Instant) (*Revision, error) {
	var r Revision
	err := sqlx.GetContext(ctx, q, &r, q.Rebind(selectRevision+
		`WHERE is_current = 1 AND revision.period_start < ? ORDER BY revision.period_start DESC LIMIT 1`), t)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return &r, err
}

// ShardStates lists the closing states of a revision by shard, without their content.
func (s *Store) ShardStates(ctx context.Context, periodStart rating.Instant, revision int) ([]ShardState, error) {
	shards, err := list[ShardState](ctx, s, `SELECT shard, shard_state.sha256, payers, packages
		FROM shard_state JOIN state ON state.sha256 = shard_state.sha256 WHERE period_start = ? AND revision = ? ORDER BY shard`,
		periodStart, revision)
	if err != nil {
		return nil, fmt.Errorf("load shards from %s: %w", s.name, err)
	}
	return shards, nil
}

// LoadState gives a stored state, for [DecodeState], which finds out whether it is damaged.
func (s *Store) LoadState(ctx context.Context, hash Hash) ([]byte, error) {
	var content []byte
	err := s.get(ctx, &content, `SELECT content FROM state WHERE sha256 = ?`, hash)
	if err != nil {
		return nil, fmt.Errorf("load state %s from %s: %w", hash, s.name, err)
	}
	if is, err := StateHash(content); err != nil || is != hash {
		return nil, fmt.Errorf("load state %s from %s: %w: it has the hash %s; restore the database, or settle from the first period on",
			hash, s.name, errors.Join(errDamaged, err), is)
	}
	return content, nil
}

// OpeningState gives the state that a shard has at the start of a period, encoded, and its hash; nil where no period was
// settled before.
func (s *Store) OpeningState(ctx context.Context, periodStart rating.Instant, shard int) ([]byte, Hash, error) {
	r, err := s.SettledBefore(ctx, periodStart)
	if r == nil || err != nil {
		return nil, Hash{}, err
	}
	if periodStart != rating.Never && r.PeriodEnd != periodStart {
		return nil, Hash{}, fmt.Errorf("the period before %v is not settled: the last one is %s, which ends at %v",
			periodStart, r.PeriodName, r.PeriodEnd)
	}
	var hash Hash
	err = s.get(ctx, &hash, `SELECT sha256 FROM shard_state WHERE period_start = ? AND revision = ? AND shard = ?`,
		r.PeriodStart, r.Revision, shard)
	if err != nil {
		return nil, Hash{}, fmt.Errorf("load shard %d of period %s from %s (it has %d shards): %w", shard, r.PeriodName, s.name, r.Shards, err)
	}
	content, err := s.LoadState(ctx, hash)
	return content, hash, err
}

// Objects gives the usage objects that were read, by key.
func (s *Store) Objects(ctx context.Context) (map[string]Object, error) {
	rows, err := list[Object](ctx, s, `SELECT key, size, version, sha256, records, first_time, last_time, home_period_start
		FROM object`)
	if err != nil {
		return nil, fmt.Errorf("load usage objects from %s: %w", s.name, err)
	}
	objects := make(map[string]Object, len(rows))
	for _, o := range rows {
		objects[o.Key] = o
	}
	return objects, nil
}
