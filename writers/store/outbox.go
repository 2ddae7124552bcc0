package store

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"

	"drawdown/rating"

	"github.com/jmoiron/sqlx"
)

// heldByNobody tells a row of the outbox that no current revision stands behind: it was withdrawn, found by a revision that
// is no longer current, and not by those that followed, or found ahead of the settlement (revision 0).
const heldByNobody = `(outbox.withdrawn_run <> 0 OR NOT EXISTS (SELECT 1 FROM revision WHERE revision.period_start = outbox.period_start
	AND outbox.revision BETWEEN revision.notices_since AND revision.revision AND revision.is_current = 1))`

// takeOver gives a row of the outbox to whoever finds it now. A notice that comes back after it was withdrawn unsent is
// pending again; one that was sent is never sent again, and says what it said then.
const takeOver = ` ON CONFLICT (dedup_key) DO UPDATE SET period_start = excluded.period_start, revision = excluded.revision,
	inbox_read_at = COALESCE(outbox.inbox_read_at, excluded.inbox_read_at),
	withdrawn_run = 0, state = CASE WHEN outbox.state = 'withdrawn' THEN 'pending' ELSE outbox.state END,
	at = CASE WHEN outbox.state IN ('pending', 'withdrawn') THEN excluded.at ELSE outbox.at END,
	meter = CASE WHEN outbox.state IN ('pending', 'withdrawn') THEN excluded.meter ELSE outbox.meter END,
	remaining = CASE WHEN outbox.state IN ('pending', 'withdrawn') THEN excluded.remaining ELSE outbox.remaining END,
	record_id = CASE WHEN outbox.state IN ('pending', 'withdrawn') THEN excluded.record_id ELSE outbox.record_id END
	WHERE ` + heldByNobody

// foundNotices are the notices of a period of a commit.
type foundNotices struct {
	*PeriodCommit
	put []Notice // those of Notices that the outbox does not have as they are
}

// outbox puts in what the revisions found, once each, and withdraws what they no longer find (R6.4). The revisions are the
// current ones by now.
func (w *commitWriter) outbox(ctx context.Context) error {
	periods := make([]foundNotices, len(w.c.Periods))
	w.finders = findersOf(w.c.Periods)
	for i := range periods {
		periods[i] = foundNotices{&w.c.Periods[i], w.c.Periods[i].Notices}
	}
	for _, do := range []func(context.Context, *foundNotices) error{w.holdNotices, w.forgetElsewhere, w.putNotices, w.withdraw} {
		for i := range periods {
			if err := do(ctx, &periods[i]); err != nil {
				return fmt.Errorf("period %s: %w", periods[i].PeriodName, err)
			}
		}
	}
	return nil
}

// findersOf gives the first period that has found a notice, for notices that several have found.
func findersOf(periods []PeriodCommit) map[string]rating.Instant {
	if len(periods) < 2 {
		return nil
	}
	seed := maphash.MakeSeed()
	var hashes []uint64
	for i := range periods {
		for n := range periods[i].Notices {
			hashes = append(hashes, maphash.String(seed, periods[i].Notices[n].DedupKey))
		}
	}
	slices.Sort(hashes)
	several := map[uint64]bool{}
	for i := 1; i < len(hashes); i++ {
		if hashes[i-1] == hashes[i] {
			several[hashes[i]] = true
		}
	}
	if len(several) == 0 {
		return nil
	}
	finders := map[string]rating.Instant{}
	for i := range periods {
		for n := range periods[i].Notices {
			key := periods[i].Notices[n].DedupKey
			if _, known := finders[key]; !known && several[maphash.String(seed, key)] {
				finders[key] = periods[i].PeriodStart
			}
		}
	}
	return finders
}

// heldNotice is a row of the outbox that the revision before has found.
type heldNotice struct {
	DedupKey         string `db:"dedup_key"`
	Meter, Remaining string
	RecordID         string `db:"record_id"`
	At               rating.Instant
	Inbox, Sent      bool
}

// says tells whether the row would stay as it is if the notice were put in again.
func (h *heldNotice) says(n *Notice) bool {
	return (h.Inbox || !n.Inbox) && (h.Sent || h.At == n.At && h.Meter == n.Meter && h.Remaining == n.Remaining && h.RecordID == n.RecordID)
}

// holdNotices leaves rows alone that the revision before has found, and this one finds again as they are; nobody holds the
// others until they are found. What was not sought stays.
func (w *commitWriter) holdNotices(ctx context.Context, p *foundNotices) error {
	if p.NoticesSince == p.Revision.Revision {
		return nil // it is the first
	}
	found := make(map[string]*Notice, len(p.Notices))
	for i := range p.Notices {
		found[p.Notices[i].DedupKey] = &p.Notices[i]
	}
	var loose []string
	err := w.eachHeld(ctx, p, func(h *heldNotice) {
		finder, several := w.finders[h.DedupKey]
		if n := found[h.DedupKey]; n != nil && h.says(n) && (!several || finder == p.PeriodStart) {
			delete(found, h.DedupKey)
			return
		}
		loose = append(loose, h.DedupKey)
	})
	if err != nil {
		return err
	}
	p.put = make([]Notice, 0, len(found))
	for i := range p.Notices {
		if found[p.Notices[i].DedupKey] != nil {
			p.put = append(p.put, p.Notices[i])
		}
	}
	return inChunks(loose, func(keys []string) error {
		return execIn(ctx, w.tx, `UPDATE outbox SET revision = 0 WHERE dedup_key IN (?)`, keys)
	})
}

// eachHeld visits the rows that the revision before has found; of one that keeps them, those that are sought.
func (w *commitWriter) eachHeld(ctx context.Context, p *foundNotices, visit func(*heldNotice)) error {
	const held = `SELECT dedup_key, meter, remaining, record_id, at, CASE WHEN inbox_read_at IS NULL THEN 0 ELSE 1 END AS inbox,
		CASE WHEN state = 'pending' THEN 0 ELSE 1 END AS sent
		FROM outbox WHERE period_start = ? AND revision >= ? AND revision < ? AND withdrawn_run = 0`
	if !p.Keeps {
		return w.eachOf(ctx, visit, held, p.PeriodStart, p.NoticesSince, p.Revision.Revision)
	}
	return inChunks(p.Sought, func(keys []string) error {
		query, args, err := sqlx.In(held+` AND dedup_key IN (?)`, p.PeriodStart, p.NoticesSince, p.Revision.Revision, keys)
		if err != nil {
			return err
		}
		return w.eachOf(ctx, visit, query, args...)
	})
}

func (w *commitWriter) eachOf(ctx context.Context, visit func(*heldNotice), query string, args ...any) (err error) {
	rows, err := w.tx.QueryxContext(ctx, w.tx.Rebind(query), args...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var h heldNotice
	for rows.Next() {
		if err := rows.Scan(&h.DedupKey, &h.Meter, &h.Remaining, &h.RecordID, &h.At, &h.Inbox, &h.Sent); err != nil {
			return err
		}
		visit(&h)
	}
	return rows.Err()
}

// forgetElsewhere removes what earlier revisions of a period had found beside other periods, and this one has sought.
func (w *commitWriter) forgetElsewhere(ctx context.Context, p *foundNotices) error {
	const those = `DELETE FROM outbox_elsewhere WHERE period_start = ? AND revision < ?`
	if !p.Keeps {
		_, err := w.tx.ExecContext(ctx, w.tx.Rebind(those), p.PeriodStart, p.Revision.Revision)
		return err
	}
	return inChunks(p.Sought, func(keys []string) error {
		return execIn(ctx, w.tx, those+` AND dedup_key IN (?)`, p.PeriodStart, p.Revision.Revision, keys)
	})
}

func (w *commitWriter) putNotices(ctx context.Context, p *foundNotices) error {
	taken, err := insertNotices(ctx, w.tx, w.c.RunID, p.put, p.PeriodStart, p.Revision.Revision)
	if err == nil && taken < int64(len(p.put)) {
		err = w.putElsewhere(ctx, p)
	}
	return err
}

// insertNotices puts notices that a revision of a period has found into the outbox, where no current revision of another
// period has put them, and gives the number of those that it put in. Those of a kind stand together as a rule, and most of
// the life cycle say nothing but whom and when: then all else need not be bound.
func insertNotices(ctx context.Context, tx *sqlx.Tx, run int64, notices []Notice, period rating.Instant, revision int) (taken int64, err error) {
	same := fmt.Sprintf(", %d, %d, %d, '%s'", int64(period), revision, run, MessagePending)
	for len(notices) > 0 && err == nil {
		plain := notices[0].plain()
		n := 1
		for n < len(notices) && notices[n].plain() == plain {
			n++
		}
		insert := bulk{tx: tx, head: `INSERT INTO outbox (` + noticeBound + noticeDetail + `, period_start, revision, created_run, state) VALUES `, same: same, tail: takeOver}
		if plain {
			insert.same = ", '', 0, '', '', '', ''" + same
		}
		err = insert.notices(ctx, notices[:n], plain)
		taken += insert.changed
		notices = notices[n:]
	}
	return taken, err
}

const (
	noticeBound  = `dedup_key, kind, account, package, at, inbox_read_at`
	noticeDetail = `, meter, cycle_start, threshold_type, threshold, remaining, record_id`
)

// plain tells that a notice says nothing of a meter, a cycle, a threshold or a record.
func (n *Notice) plain() bool {
	return n.Meter == "" && n.CycleStart == 0 && n.ThresholdType == "" && n.Threshold == "" && n.Remaining == "" && n.RecordID == ""
}

func (b *bulk) notices(ctx context.Context, notices []Notice, plain bool) error {
	var unread any = int64(0)
	row := make([]any, 0, 12)
	columns := 12
	if plain {
		columns = 6
	}
	return b.rows(ctx, columns, len(notices), func(n int) ([]any, error) {
		o := &notices[n]
		row = append(row[:0], o.DedupKey, o.Kind, o.Account, o.Package, o.At, nil)
		if o.Inbox {
			row[5] = unread
		}
		if !plain {
			row = append(row, o.Meter, o.CycleStart, o.ThresholdType, o.Threshold, o.Remaining, o.RecordID)
		}
		return row, nil
	})
}

// putElsewhere writes down which notices the outbox holds for another period, whose current revision has them too.
func (w *commitWriter) putElsewhere(ctx context.Context, p *foundNotices) error {
	byKey := make(map[string]*Notice, len(p.put))
	keys := make([]string, len(p.put))
	for i := range p.put {
		keys[i] = p.put[i].DedupKey
		byKey[keys[i]] = &p.put[i]
	}
	return inChunks(keys, func(keys []string) error {
		query, args, err := sqlx.In(`SELECT dedup_key FROM outbox WHERE dedup_key IN (?) AND NOT (period_start = ? AND revision = ?)`,
			keys, p.PeriodStart, p.Revision.Revision)
		if err != nil {
			return err
		}
		var others []string
		if err := w.tx.SelectContext(ctx, &others, w.tx.Rebind(query), args...); err != nil {
			return err
		}
		insert := bulk{tx: w.tx, head: `INSERT INTO outbox_elsewhere (dedup_key, period_start, revision, meter, remaining, record_id, at) VALUES `}
		return insert.rows(ctx, 7, len(others), func(i int) ([]any, error) {
			o := byKey[others[i]]
			return []any{o.DedupKey, p.PeriodStart, p.Revision.Revision, o.Meter, o.Remaining, o.RecordID, o.At}, nil
		})
	})
}

// withdraw takes back what a period no longer finds. Where another one has found it too, it is held for that one.
func (w *commitWriter) withdraw(ctx context.Context, p *foundNotices) error {
	const gone = ` period_start = ? AND revision < ? AND withdrawn_run = 0`
	var handed []struct {
		DedupKey         string `db:"dedup_key"`
		Period           rating.Instant
		Revision         int
		Meter, Remaining string
		RecordID         string `db:"record_id"`
		At               rating.Instant
	}
	err := w.tx.SelectContext(ctx, &handed, w.tx.Rebind(`SELECT dedup_key, MIN(period_start) AS period FROM outbox_elsewhere
		WHERE EXISTS (SELECT 1 FROM outbox WHERE outbox.dedup_key = outbox_elsewhere.dedup_key AND outbox.period_start = ?
		AND outbox.revision < ? AND withdrawn_run = 0) GROUP BY dedup_key ORDER BY dedup_key`), p.PeriodStart, p.NoticesSince)
	if err != nil {
		return err
	}
	for i := range handed {
		h := &handed[i]
		err := w.tx.GetContext(ctx, h, w.tx.Rebind(`SELECT revision, meter, remaining, record_id, at FROM outbox_elsewhere
			WHERE dedup_key = ? AND period_start = ?`), h.DedupKey, h.Period)
		if err != nil {
			return err
		}
		_, err = w.tx.ExecContext(ctx, w.tx.Rebind(`UPDATE outbox SET period_start = ?, revision = ?,
			at = CASE WHEN state = 'pending' THEN ? ELSE at END, meter = CASE WHEN state = 'pending' THEN ? ELSE meter END,
			remaining = CASE WHEN state = 'pending' THEN ? ELSE remaining END, record_id = CASE WHEN state = 'pending' THEN ? ELSE record_id END
			WHERE dedup_key = ?`), h.Period, h.Revision, h.At, h.Meter, h.Remaining, h.RecordID, h.DedupKey)
		if err == nil {
			_, err = w.tx.ExecContext(ctx, w.tx.Rebind(`DELETE FROM outbox_elsewhere WHERE dedup_key = ? AND period_start = ?`), h.DedupKey, h.Period)
		}
		if err != nil {
			return err
		}
	}
	_, err = w.tx.ExecContext(ctx, w.tx.Rebind(`UPDATE outbox SET withdrawn_run = ?,
		state = CASE WHEN state = 'pending' THEN 'withdrawn' ELSE state END WHERE`+gone), w.c.RunID, p.PeriodStart, p.NoticesSince)
	return err
}

// countFound counts the notices of a revision, wherever they stand.
const countFound = `(SELECT COUNT(*) FROM outbox found` + byRevision + ` AND withdrawn_run = 0)
	+ (SELECT COUNT(*) FROM outbox_elsewhere found` + byRevision + `)`

// Ahead is notices that are due in periods that no settlement has reached yet, found from what the newest settled one left.
type Ahead struct {
	Run     Run            // of the command that found them
	Last    Hash           // the manifest of the newest settled period; the zero value: none was settled
	Until   rating.Instant // the end of the last period that was looked at
	Notices []AheadNotice  // all that was found
}

// AheadNotice is a notice, and the start of the period in which the settlement will find it.
type AheadNotice struct {
	Notice
	PeriodStart rating.Instant
}

// ErrSettledMeanwhile is what [Store.PutAhead] fails with where another period is the newest settled one by now.
var ErrSettledMeanwhile = errors.New("another period was settled meanwhile")

// PutAhead puts notices into the outbox that are due by now and not there, under revision 0, and withdraws what was put ahead
// before and is not found any more. The settlement of the period takes over those that it finds, and withdraws the others.
//
// It takes no lease, so that no settlement has to wait for it, or fails because of it. It locks the lease's row, as a commit
// does, and then looks whether what it was found from is still what was settled last: either the commit comes first, and
// nothing is put, or it comes later, and sees what was put.
func (s *Store) PutAhead(ctx context.Context, a *Ahead, now rating.Instant) (put, withdrawn int64, err error) {
	err = s.transact(ctx, func(tx *sqlx.Tx) error {
		put, withdrawn = 0, 0
		if _, err := s.lockLease(ctx, tx, a.Run.Site); err != nil {
			return err
		}
		last, err := settledBefore(ctx, tx, rating.Never)
		if err != nil {
			return err
		}
		if last == nil && a.Last != (Hash{}) || last != nil && last.ManifestSHA256 != a.Last {
			return ErrSettledMeanwhile
		}
		fresh, gone, err := compareAhead(ctx, tx, a, now)
		if err != nil {
			return err
		}
		put, withdrawn = int64(len(fresh)), int64(len(gone))
		run := a.Run
		if run.State = RunNothingToDo; put+withdrawn > 0 {
			run.State = RunCommitted
		}
		id, err := insertRun(ctx, tx, &run)
		if err != nil {
			return err
		}
		return putAhead(ctx, tx, id, fresh, gone)
	})
	if err != nil {
		return 0, 0, fmt.Errorf("put notices into the outbox of %s: %w", s.name, err)
	}
	return put, withdrawn, nil
}

// compareAhead finds out what is due and not in the outbox, or stands there otherwise and was not sent, and what was put there
// ahead and is not found any more.
func compareAhead(ctx context.Context, tx *sqlx.Tx, a *Ahead, now rating.Instant) (fresh []AheadNotice, gone []string, err error) {
	found := make(map[string]*AheadNotice, len(a.Notices))
	var due []string
	for i := range a.Notices {
		n := &a.Notices[i]
		if found[n.DedupKey] = n; n.At <= now {
			due = append(due, n.DedupKey)
		}
	}
	err = tx.SelectContext(ctx, &gone, tx.Rebind(`SELECT dedup_key FROM outbox
		WHERE revision = 0 AND withdrawn_run = 0 AND period_start < ? ORDER BY dedup_key`), a.Until)
	if err != nil {
		return nil, nil, err
	}
	gone = slices.DeleteFunc(gone, func(key string) bool { return found[key] != nil })
	err = inChunks(due, func(keys []string) error {
		query, args, err := sqlx.In(`SELECT dedup_key, at, period_start, revision, state FROM outbox
			WHERE dedup_key IN (?) AND (revision = 0 AND withdrawn_run = 0 OR NOT `+heldByNobody+`)`, keys)
		if err != nil {
			return err
		}
		var rows []struct {
			DedupKey    string `db:"dedup_key"`
			At          rating.Instant
			PeriodStart rating.Instant `db:"period_start"`
			Revision    int
			State       string
		}
		if err := tx.SelectContext(ctx, &rows, tx.Rebind(query), args...); err != nil {
			return err
		}
		there := make(map[string]bool, len(rows))
		for _, row := range rows {
			n := found[row.DedupKey]
			there[row.DedupKey] = row.Revision > 0 || row.PeriodStart == n.PeriodStart && (row.At == n.At || row.State != MessagePending)
		}
		for _, key := range keys {
			if !there[key] {
				fresh = append(fresh, *found[key])
			}
		}
		return nil
	})
	return fresh, gone, err
}

func putAhead(ctx context.Context, tx *sqlx.Tx, run int64, fresh []AheadNotice, gone []string) error {
	byPeriod := map[rating.Instant][]Notice{}
	for i := range fresh {
		byPeriod[fresh[i].PeriodStart] = append(byPeriod[fresh[i].PeriodStart], fresh[i].Notice)
	}
	for period, notices := range byPeriod {
		if _, err := insertNotices(ctx, tx, run, notices, period, 0); err != nil {
			return err
		}
	}
	return inChunks(gone, func(keys []string) error {
		return execIn(ctx, tx, `UPDATE outbox SET withdrawn_run = ?,
			state = CASE WHEN state = 'pending' THEN 'withdrawn' ELSE state END WHERE revision = 0 AND withdrawn_run = 0 AND dedup_key IN (?)`, run, keys)
	})
}
