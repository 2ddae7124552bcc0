package store

import (
	"context"
	"fmt"
	"strings"

	"drawdown/rating"

	"github.com/jmoiron/sqlx"
)

// NoticeStatus is what became of a notice on one channel.
type NoticeStatus struct {
	OutboxNotice
	Channel       string // "": not planned yet, or withdrawn before
	State         string // of the outbox where there is no channel, else of the message; withdrawn; read or unread in the inbox
	Message       string
	Attempts      int
	NextAttemptAt rating.Instant `db:"next_attempt_at"`
	SentAt        rating.Instant `db:"sent_at"`
	Withdrawn     bool           // the settlement no longer finds it
	Reference     string
	Report        string
	LastError     string `db:"last_error"`
}

// NoticeFilter says which notices are asked for; the zero value is all.
type NoticeFilter struct {
	Account, State string
	Limit          int
}

// noticeStatuses is every notice on each of its channels.
const noticeStatuses = `
	SELECT ` + noticeColumns + `, COALESCE(m.channel, '') AS channel, COALESCE(m.id, '') AS message,
		CASE WHEN m.id IS NULL THEN o.state WHEN o.withdrawn_run <> 0 AND m.state = 'pending' THEN 'withdrawn' ELSE m.state END AS state,
		COALESCE(m.attempts, 0) AS attempts, COALESCE(m.next_attempt_at, 0) AS next_attempt_at, COALESCE(m.sent_at, 0) AS sent_at,
		COALESCE(m.reference, '') AS reference, COALESCE(m.report, '') AS report, COALESCE(m.last_error, '') AS last_error,
		CASE WHEN o.withdrawn_run <> 0 THEN 1 ELSE 0 END AS withdrawn
	FROM outbox o LEFT JOIN message_notice n ON n.dedup_key = o.dedup_key LEFT JOIN message m ON m.id = n.message
	UNION ALL
	SELECT ` + noticeColumns + `, 'inbox', '',
		CASE WHEN o.inbox_read_at > 0 THEN 'read' WHEN o.withdrawn_run <> 0 THEN 'withdrawn' ELSE 'unread' END,
		0, 0, 0, '', '', '', CASE WHEN o.withdrawn_run <> 0 THEN 1 ELSE 0 END
	FROM outbox o WHERE o.inbox_read_at IS NOT NULL`

// Notices gives the newest notices with what became of them, the newest last.
func (s *Store) Notices(ctx context.Context, f NoticeFilter) ([]NoticeStatus, error) {
	var where []string
	var args []any
	if f.Account != "" {
		where, args = append(where, "account = ?"), append(args, f.Account)
	}
	if f.State != "" {
		where, args = append(where, "state = ?"), append(args, f.State)
	}
	query := `SELECT * FROM (` + noticeStatuses + `) AS told`
	if len(where) > 0 {
		query += " WHERE " + strings.Join(where, " AND ")
	}
	query = `SELECT * FROM (` + query + ` ORDER BY at DESC, dedup_key DESC, channel DESC LIMIT ?) AS newest ORDER BY at, dedup_key, channel`
	var statuses []NoticeStatus
	if err := s.read.SelectContext(ctx, &statuses, s.read.Rebind(query), append(args, f.Limit)...); err != nil {
		return nil, fmt.Errorf("load notices from %s: %w", s.name, err)
	}
	return statuses, nil
}

// MessageCount is how many messages of a channel are in a state.
type MessageCount struct {
	Channel, State string
	Messages       int64
}

// CountMessages counts all messages.
func (s *Store) CountMessages(ctx context.Context) ([]MessageCount, error) {
	counts, err := list[MessageCount](ctx, s, countMessages)
	if err != nil {
		return nil, fmt.Errorf("count messages in %s: %w", s.name, err)
	}
	return counts, nil
}

const countMessages = `SELECT channel, state, COUNT(*) AS messages FROM message GROUP BY channel, state ORDER BY channel, state`

// MessageBacklog is what waits to be sent on a channel, or is being sent.
type MessageBacklog struct {
	Channel string
	Failing int64          // messages of which an attempt has failed
	Oldest  rating.Instant // when the oldest was planned
}

// Backlog gives what waits, by channel. A message of which every notice was withdrawn waits for nothing.
func (s *Store) Backlog(ctx context.Context) ([]MessageBacklog, error) {
	backlog, err := list[MessageBacklog](ctx, s, messageBacklog)
	if err != nil {
		return nil, fmt.Errorf("look for messages that wait in %s: %w", s.name, err)
	}
	return backlog, nil
}

const messageBacklog = `SELECT channel, COALESCE(SUM(CASE WHEN attempts > 0 THEN 1 ELSE 0 END), 0) AS failing, MIN(created_at) AS oldest
	FROM message WHERE state IN ('pending', 'sending') AND ` + stillFound + ` GROUP BY channel ORDER BY channel`

// InboxMessage is what an account finds in its inbox.
type InboxMessage struct {
	OutboxNotice
	ReadAt    rating.Instant `db:"read_at"` // 0: not yet
	Withdrawn bool           // after it was read
}

// Inbox gives an account's inbox, the newest last. A notice that was withdrawn before anybody had read it is not in it.
func (s *Store) Inbox(ctx context.Context, account string, unread bool, limit int) ([]InboxMessage, error) {
	var messages []InboxMessage
	err := s.read.SelectContext(ctx, &messages, s.read.Rebind(`SELECT * FROM (SELECT `+noticeColumns+`, o.inbox_read_at AS read_at,
		CASE WHEN o.withdrawn_run <> 0 THEN 1 ELSE 0 END AS withdrawn FROM outbox o
		WHERE o.account = ? AND o.inbox_read_at IS NOT NULL AND (o.withdrawn_run = 0 OR o.inbox_read_at > 0) AND (? = 0 OR o.inbox_read_at = 0)
		ORDER BY o.at DESC, o.dedup_key DESC LIMIT ?) AS newest ORDER BY at, dedup_key`), account, boolean(unread), limit)
	if err != nil {
		return nil, fmt.Errorf("load the inbox of %s from %s: %w", account, s.name, err)
	}
	return messages, nil
}

// MarkRead marks messages of an account's inbox as read, and gives the number of those that were not.
func (s *Store) MarkRead(ctx context.Context, account string, keys []string, now rating.Instant) (n int64, err error) {
	err = s.transact(ctx, func(tx *sqlx.Tx) error {
		n = 0
		return inChunks(keys, func(keys []string) error {
			query, args, err := sqlx.In(`UPDATE outbox SET inbox_read_at = ? WHERE account = ? AND inbox_read_at = 0 AND dedup_key IN (?)`, now, account, keys)
			if err != nil {
				return err
			}
			result, err := tx.ExecContext(ctx, tx.Rebind(query), args...)
			if err != nil {
				return err
			}
			changed, err := result.RowsAffected()
			n += changed
			return err
		})
	})
	if err != nil {
		return 0, fmt.Errorf("mark as read in the inbox of %s: %w", account, err)
	}
	return n, nil
}

func boolean(b bool) int {
	if b {
		return 1
	}
	return 0
}
