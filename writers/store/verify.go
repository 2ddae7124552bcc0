package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"drawdown/rating"

	"github.com/jmoiron/sqlx"
)

// What is here reads the books to check them: it leaves out nothing because something else does not fit to it.

// AllRevisions gives every revision of every period that has been settled, by period and revision.
func (s *Store) AllRevisions(ctx context.Context) ([]Revision, error) {
	return s.revisions(ctx, selectRevision+`ORDER BY revision.period_start, revision`)
}

// NamedState is the state that a shard of a revision names, and what its row says of it.
type NamedState struct {
	Shard            int
	SHA256           Hash
	Found            bool // there is such a state
	Payers, Packages int64
}

// NamedStates gives the closing states that a revision names, by shard.
func (s *Store) NamedStates(ctx context.Context, periodStart rating.Instant, revision int) ([]NamedState, error) {
	states, err := list[NamedState](ctx, s, `SELECT shard, shard_state.sha256,
		CASE WHEN state.sha256 IS NULL THEN 0 ELSE 1 END AS found, COALESCE(payers, 0) AS payers, COALESCE(packages, 0) AS packages
		FROM shard_state LEFT JOIN state ON state.sha256 = shard_state.sha256
		WHERE period_start = ? AND revision = ? ORDER BY shard`, periodStart, revision)
	if err != nil {
		return nil, fmt.Errorf("load shards from %s: %w", s.name, err)
	}
	return states, nil
}

// OpenState reads a state without the catalog: the one that it gives has the ids of what the state is about, and nothing
// else.
func OpenState(blob []byte) (*rating.Catalog, []rating.PayerState, error) {
	content, err := unseal(blob)
	if err != nil {
		return nil, nil, err
	}
	c := &rating.Catalog{}
	d := &stateDecoder{b: content}
	d.eachID(func(id string) { c.Accounts = append(c.Accounts, rating.Account{ID: id}) })
	d.eachID(func(id string) { c.Meters = append(c.Meters, rating.Meter{ID: id}) })
	d.eachID(func(id string) { c.Packages = append(c.Packages, rating.Package{ID: id}) })
	if d.err != nil {
		return nil, nil, d.err
	}
	payers, err := decodeContent(c, content, versionOf(blob))
	return c, payers, err
}

// eachID goes through a table of ids.
func (d *stateDecoder) eachID(visit func(id string)) {
	var text []byte
	for range d.count(2) {
		shared := d.u()
		if shared > uint64(len(text)) {
			d.fail("an id shares more than there is")
		}
		rest := d.bytes(d.u())
		if d.err != nil {
			return
		}
		text = append(text[:shared], rest...)
		visit(string(text))
	}
}

// KeptNotice is a row of the outbox, as far as it is about what was found and by which revision.
type KeptNotice struct {
	Notice
	Revision int
	Sent     bool // or being sent: it says what it said then
}

// KeptNotices visits what the outbox has of a period and was not withdrawn; also what it holds for another period that has
// found the same.
func (s *Store) KeptNotices(ctx context.Context, periodStart rating.Instant, visit func(*KeptNotice) error) (err error) {
	tx, err := s.read.BeginTxx(ctx, &s.dialect.reading)
	if err != nil {
		return fmt.Errorf("load the outbox from %s: %w", s.name, err)
	}
	defer func() { err = errors.Join(err, rollback(tx)) }()
	const finder = `CASE WHEN found.revision BETWEEN r.notices_since AND r.revision THEN r.revision ELSE found.revision END`
	const current = ` LEFT JOIN revision r ON r.period_start = found.period_start AND r.is_current = 1 `
	rows, err := tx.QueryxContext(ctx, tx.Rebind(`SELECT dedup_key, kind, account, package, meter, cycle_start, threshold_type,
		threshold, remaining, record_id, at, `+finder+`, CASE WHEN state = 'pending' THEN 0 ELSE 1 END
		FROM outbox found`+current+`WHERE found.period_start = ? AND withdrawn_run = 0
		UNION ALL
		SELECT o.dedup_key, o.kind, o.account, o.package, found.meter, o.cycle_start, o.threshold_type,
		o.threshold, found.remaining, found.record_id, found.at, `+finder+`, 0
		FROM outbox_elsewhere found JOIN outbox o ON o.dedup_key = found.dedup_key`+current+`WHERE found.period_start = ?`), periodStart, periodStart)
	if err != nil {
		return fmt.Errorf("load the outbox from %s: %w", s.name, err)
	}
	defer rows.Close()
	for rows.Next() {
		var n KeptNotice
		err := rows.Scan(&n.DedupKey, &n.Kind, &n.Account, &n.Package, &n.Meter, &n.CycleStart, &n.ThresholdType,
			&n.Threshold, &n.Remaining, &n.RecordID, &n.At, &n.Revision, &n.Sent)
		if err == nil {
			err = visit(&n)
		}
		if err != nil {
			return fmt.Errorf("load the outbox from %s: %w", s.name, err)
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("load the outbox from %s: %w", s.name, err)
	}
	return nil
}

// byRevision narrows what was found to a period and a revision.
const byRevision = ` JOIN revision r ON r.period_start = found.period_start AND found.revision BETWEEN r.notices_since AND r.revision
	WHERE r.period_start = ? AND r.revision = ?`

// NoticeKinds counts what a revision has found, and was not withdrawn, by kind.
func (s *Store) NoticeKinds(ctx context.Context, periodStart rating.Instant, revision int) (map[string]int, error) {
	kinds := map[string]int{}
	for _, found := range []string{
		// In the order of the index, which has all that is counted.
		`SELECT kind, COUNT(*) AS n FROM outbox found` + byRevision + ` AND withdrawn_run = 0 GROUP BY found.revision, kind`,
		`SELECT o.kind, COUNT(*) AS n FROM outbox_elsewhere found JOIN outbox o ON o.dedup_key = found.dedup_key` + byRevision + ` GROUP BY o.kind`,
	} {
		counts, err := list[struct {
			Kind string
			N    int
		}](ctx, s, found, periodStart, revision)
		if err != nil {
			return nil, fmt.Errorf("load the outbox from %s: %w", s.name, err)
		}
		for _, c := range counts {
			kinds[c.Kind] += c.N
		}
	}
	return kinds, nil
}

// StrayNotices counts the notices that say they were found by a revision that is not the current one of its period, and
// were not withdrawn. Revision 0 has found ahead of the settlement, and stands in no period that was settled.
func (s *Store) StrayNotices(ctx context.Context) (n int64, err error) {
	err = s.get(ctx, &n, `SELECT (SELECT COUNT(*) FROM outbox WHERE withdrawn_run = 0 AND NOT EXISTS (SELECT 1 FROM revision
			WHERE revision.period_start = outbox.period_start AND outbox.revision BETWEEN notices_since AND revision.revision AND is_current = 1)
			AND (revision > 0 OR EXISTS (SELECT 1 FROM period WHERE period.period_start = outbox.period_start)))
		+ (SELECT COUNT(*) FROM outbox_elsewhere e WHERE NOT EXISTS (SELECT 1 FROM revision
			WHERE revision.period_start = e.period_start AND e.revision BETWEEN notices_since AND revision.revision AND is_current = 1))`)
	if err != nil {
		return 0, fmt.Errorf("load the outbox from %s: %w", s.name, err)
	}
	return n, nil
}

// RunOf gives a run; nil where there is none of the number.
func (s *Store) RunOf(ctx context.Context, id int64) (*Run, error) {
	var r Run
	err := s.get(ctx, &r, `SELECT * FROM run WHERE id = ?`, id)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("load run %d from %s: %w", id, s.name, err)
	}
	return &r, nil
}

// NewestToken gives the newest token that a lease was given; 0: none was.
func (s *Store) NewestToken(ctx context.Context, site string) (token int64, held bool, err error) {
	var row struct {
		Token int64
		Owner string
	}
	err = s.get(ctx, &row, `SELECT token, owner FROM lease WHERE site = ?`, site)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, false, fmt.Errorf("load the lease from %s: %w", s.name, err)
	}
	return row.Token, row.Owner != "", nil
}

// unnamed tells a state that nothing names and that a run of an older token has stored.
const unnamed = `token < ? AND NOT EXISTS (SELECT 1 FROM shard_state WHERE shard_state.sha256 = state.sha256)`

// UnnamedStates counts the states that runs of tokens before one stored ahead and never committed, and their bytes.
func (s *Store) UnnamedStates(ctx context.Context, token int64) (states, bytes int64, err error) {
	var n struct{ States, Bytes int64 }
	err = s.get(ctx, &n, `SELECT COUNT(*) AS states, COALESCE(SUM(LENGTH(content)), 0) AS bytes
		FROM state WHERE `+unnamed, token)
	if err != nil {
		return 0, 0, fmt.Errorf("look for states that nothing names in %s: %w", s.name, err)
	}
	return n.States, n.Bytes, nil
}

// SweepStates removes states that runs before this one stored ahead and never committed.
func (s *Store) SweepStates(ctx context.Context, l Lease) error {
	err := s.transact(ctx, func(tx *sqlx.Tx) error {
		if err := checkToken(ctx, tx, l); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, tx.Rebind(`DELETE FROM state WHERE `+unnamed), l.Token)
		return err
	})
	if err != nil {
		return fmt.Errorf("sweep states of %s: %w", s.name, err)
	}
	return nil
}
