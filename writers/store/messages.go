package store

import (
	"context"
	"fmt"

	"drawdown/rating"

	"github.com/jmoiron/sqlx"
)

// What becomes of a message.
const (
	MessagePending    = "pending"
	MessageSending    = "sending"
	MessageSent       = "sent"
	MessageUnknown    = "unknown"
	MessageSuppressed = "suppressed"
	MessageExpired    = "expired"
	MessageDead       = "dead"
)

// MessageStates are all that can become of a message.
func MessageStates() []string {
	return []string{MessagePending, MessageSending, MessageSent, MessageUnknown, MessageSuppressed, MessageExpired, MessageDead}
}

// OutboxNotice is a row of the outbox, as it is told to people.
type OutboxNotice struct {
	DedupKey      string `db:"dedup_key"`
	Kind          string
	Account       string
	Package       string
	Meter         string
	CycleStart    rating.Instant `db:"cycle_start"`
	ThresholdType string         `db:"threshold_type"`
	Threshold     string
	Remaining     string
	RecordID      string `db:"record_id"`
	At            rating.Instant
}

const noticeColumns = `o.dedup_key, o.kind, o.account, o.package, o.meter, o.cycle_start, o.threshold_type, o.threshold,
	o.remaining, o.record_id, o.at`

// Message is what is to be sent on a channel: one notice, or a digest.
type Message struct {
	ID, Channel, Account string
	State                string // pending, suppressed or expired
	Error                string // why it is not to be sent
	NextAttemptAt        rating.Instant
	Keys                 []string // of the notices it tells of
}

// Claimed is a message that this process alone may send until its claim runs out.
type Claimed struct {
	ID, Channel, Account string
	Attempts             int
	Claim                int64
	WasSending           bool   // another worker had it, and was not heard of again
	Report               string // a delivery report has come meanwhile
	Notices              []OutboxNotice
}

// Outcome of a claimed message; the zero values of what does not concern its state are kept.
type MessageOutcome struct {
	ID            string
	Claim         int64
	State         string
	Attempted     bool // counts as an attempt
	NextAttemptAt rating.Instant
	SentAt        rating.Instant
	Recipient     string
	Reference     string
	Error         string
}

// skipLocked keeps workers from waiting for each other's rows; SQLite has but one writer at a time.
func skipLocked(tx *sqlx.Tx) string {
	if tx.DriverName() == "postgres" {
		return ` FOR UPDATE SKIP LOCKED`
	}
	return ""
}

// PlanMessages takes up to limit notices that nobody has planned yet, all of an account where that can be, and stores the
// messages that plan makes of them. It gives the number of notices taken.
func (s *Store) PlanMessages(ctx context.Context, now rating.Instant, limit int, plan func([]OutboxNotice) []Message) (n int, err error) {
	err = s.transact(ctx, func(tx *sqlx.Tx) error {
		var notices []OutboxNotice
		err := tx.SelectContext(ctx, &notices, tx.Rebind(`SELECT `+noticeColumns+` FROM outbox o
			WHERE o.state = 'pending' AND o.at <= ? ORDER BY o.account, o.at, o.dedup_key LIMIT ?`+skipLocked(tx)), now, limit)
		if err != nil {
			return err
		}
		if len(notices) == limit {
			notices = wholeAccounts(notices)
		}
		n = len(notices)
		if n == 0 {
			return nil
		}
		if err := insertMessages(ctx, tx, now, plan(notices)); err != nil {
			return err
		}
		keys := make([]string, n)
		for i := range notices {
			keys[i] = notices[i].DedupKey
		}
		return inChunks(keys, func(keys []string) error {
			return execIn(ctx, tx, `UPDATE outbox SET state = 'sending' WHERE state = 'pending' AND dedup_key IN (?)`, keys)
		})
	})
	if err != nil {
		return 0, fmt.Errorf("plan messages in %s: %w", s.name, err)
	}
	return n, nil
}

// wholeAccounts leaves out the last account, of which there may be more, unless it is the only one.
func wholeAccounts(notices []OutboxNotice) []OutboxNotice {
	end := len(notices)
	for end > 0 && notices[end-1].Account == notices[len(notices)-1].Account {
		end--
	}
	if end == 0 {
		return notices
	}
	return notices[:end]
}

func insertMessages(ctx context.Context, tx *sqlx.Tx, now rating.Instant, messages []Message) error {
	insert := bulk{
		tx:   tx,
		head: `INSERT INTO message (id, channel, account, state, created_at, next_attempt_at, last_error) VALUES `,
		tail: ` ON CONFLICT (id) DO NOTHING`,
	}
	err := insert.rows(ctx, 7, len(messages), func(i int) ([]any, error) {
		m := &messages[i]
		return []any{m.ID, m.Channel, m.Account, m.State, now, m.NextAttemptAt, m.Error}, nil
	})
	if err != nil {
		return err
	}
	type link struct{ key, channel, message string }
	var links []link
	for i := range messages {
		for _, key := range messages[i].Keys {
			links = append(links, link{key, messages[i].Channel, messages[i].ID})
		}
	}
	insert = bulk{
		tx: tx, head: `INSERT INTO message_notice (dedup_key, channel, message) VALUES `,
		tail: ` ON CONFLICT (dedup_key, channel) DO NOTHING`,
	}
	return insert.rows(ctx, 3, len(links), func(i int) ([]any, error) {
		return []any{links[i].key, links[i].channel, links[i].message}, nil
	})
}

// stillFound tells a message of which not every notice was withdrawn.
const stillFound = `EXISTS (SELECT 1 FROM message_notice JOIN outbox ON outbox.dedup_key = message_notice.dedup_key
	WHERE message_notice.message = message.id AND outbox.withdrawn_run = 0)`

// ClaimMessages takes up to limit messages that are due on a channel, for this process alone until an instant. A
// message of which every notice was withdrawn is not due.
func (s *Store) ClaimMessages(ctx context.Context, now, until rating.Instant, channel string, limit int) ([]Claimed, error) {
	var claimed []Claimed
	err := s.transact(ctx, func(tx *sqlx.Tx) error {
		claimed = nil
		const query = `SELECT id, channel, account, state, attempts, claim, report FROM message
			WHERE state IN ('pending', 'sending') AND channel = ? AND next_attempt_at <= ? AND ` + stillFound + `
			ORDER BY next_attempt_at, id LIMIT ?`
		var rows []struct {
			ID, Channel, Account, State, Report string
			Attempts                            int
			Claim                               int64
		}
		if err := tx.SelectContext(ctx, &rows, tx.Rebind(query+skipLocked(tx)), channel, now, limit); err != nil || len(rows) == 0 {
			return err
		}
		ids := make([]string, len(rows))
		for i, r := range rows {
			ids[i] = r.ID
			claimed = append(claimed, Claimed{
				ID: r.ID, Channel: r.Channel, Account: r.Account, Attempts: r.Attempts, Claim: r.Claim + 1, WasSending: r.State == MessageSending, Report: r.Report,
			})
		}
		err := execIn(ctx, tx, `UPDATE message SET state = 'sending', claim = claim + 1, next_attempt_at = ? WHERE id IN (?)`, until, ids)
		if err != nil {
			return err
		}
		return addNotices(ctx, tx, claimed, ids)
	})
	if err != nil {
		return nil, fmt.Errorf("claim messages in %s: %w", s.name, err)
	}
	return claimed, nil
}

// addNotices loads what messages tell of, without what was withdrawn.
func addNotices(ctx context.Context, tx *sqlx.Tx, claimed []Claimed, ids []string) error {
	query, args, err := sqlx.In(`SELECT n.message, `+noticeColumns+` FROM message_notice n
		JOIN outbox o ON o.dedup_key = n.dedup_key WHERE n.message IN (?) AND o.withdrawn_run = 0 ORDER BY o.at, o.dedup_key`, ids)
	if err != nil {
		return err
	}
	var rows []struct {
		Message string
		OutboxNotice
	}
	if err := tx.SelectContext(ctx, &rows, tx.Rebind(query), args...); err != nil {
		return err
	}
	place := make(map[string]int, len(claimed))
	for i := range claimed {
		place[claimed[i].ID] = i
	}
	for i := range rows {
		c := &claimed[place[rows[i].Message]]
		c.Notices = append(c.Notices, rows[i].OutboxNotice)
	}
	return nil
}

// MarkMessages writes down what became of claimed messages, and gives the number of those whose claim had run out and
// was taken by another worker: what became of them is that one's to say.
func (s *Store) MarkMessages(ctx context.Context, outcomes []MessageOutcome) (lost int, err error) {
	err = s.transact(ctx, func(tx *sqlx.Tx) error {
		lost = 0
		var final []string
		for i := range outcomes {
			o := &outcomes[i]
			attempt := 0
			if o.Attempted {
				attempt = 1
			}
			kept, err := updateOne(ctx, tx, `UPDATE message SET state = CASE WHEN ? = 'sent' AND report LIKE 'failed%' THEN 'dead' ELSE ? END, attempts = attempts + ?, next_attempt_at = ?, sent_at = ?,
				recipient = ?, reference = ?, last_error = ? WHERE id = ? AND claim = ? AND state = 'sending'`,
				o.State, o.State, attempt, o.NextAttemptAt, o.SentAt, o.Recipient, o.Reference, o.Error, o.ID, o.Claim)
			switch {
			case err != nil:
				return err
			case !kept:
				lost++
			case o.State != MessagePending:
				final = append(final, o.ID)
			}
		}
		return settleNotices(ctx, tx, final)
	})
	if err != nil {
		return 0, fmt.Errorf("mark messages in %s: %w", s.name, err)
	}
	return lost, nil
}

// settleNotices says in the outbox what its messages have come to. The first statement locks the rows, so that the second
// one sees what another worker has committed meanwhile.
func settleNotices(ctx context.Context, tx *sqlx.Tx, messages []string) error {
	const those = ` WHERE state IN ('sending', 'sent', 'dead')
		AND dedup_key IN (SELECT dedup_key FROM message_notice WHERE message IN (?))`
	return inChunks(messages, func(ids []string) error {
		if err := execIn(ctx, tx, `UPDATE outbox SET attempts = attempts + 1`+those, ids); err != nil {
			return err
		}
		return execIn(ctx, tx, `UPDATE outbox SET state = CASE
			WHEN EXISTS (SELECT 1 FROM message_notice n JOIN message m ON m.id = n.message
				WHERE n.dedup_key = outbox.dedup_key AND m.state IN ('pending', 'sending', 'unknown')) THEN 'sending'
			WHEN EXISTS (SELECT 1 FROM message_notice n JOIN message m ON m.id = n.message
				WHERE n.dedup_key = outbox.dedup_key AND m.state = 'sent') THEN 'sent'
			ELSE 'dead' END`+those, ids)
	})
}

// RetryMessages makes messages due that were given up, whose fate is not known, or that had nowhere to go; of an account,
// or of all where it is "". It gives their number.
func (s *Store) RetryMessages(ctx context.Context, now rating.Instant, account string) (n int, err error) {
	err = s.transact(ctx, func(tx *sqlx.Tx) error {
		var ids []string
		err := tx.SelectContext(ctx, &ids, tx.Rebind(`SELECT id FROM message WHERE state IN ('dead', 'unknown', 'suppressed')
			AND (? = '' OR account = ?) ORDER BY id`+skipLocked(tx)), account, account)
		if err != nil {
			return err
		}
		n = len(ids)
		err = inChunks(ids, func(ids []string) error {
			return execIn(ctx, tx, `UPDATE message SET state = 'pending', attempts = 0, next_attempt_at = ? WHERE id IN (?)`, now, ids)
		})
		if err != nil {
			return err
		}
		return settleNotices(ctx, tx, ids)
	})
	if err != nil {
		return 0, fmt.Errorf("retry messages in %s: %w", s.name, err)
	}
	return n, nil
}

// RecentlySent counts the messages that each of the recipients was sent since an instant, and says when the first was.
func (s *Store) RecentlySent(ctx context.Context, since rating.Instant, recipients []string) (map[string]Recent, error) {
	recent := make(map[string]Recent, len(recipients))
	err := inChunks(recipients, func(recipients []string) error {
		query, args, err := sqlx.In(`SELECT recipient, COUNT(*) AS messages, MIN(sent_at) AS first FROM message
			WHERE sent_at > 0 AND sent_at > ? AND recipient IN (?) GROUP BY recipient`, since, recipients)
		if err != nil {
			return err
		}
		var rows []struct {
			Recipient string
			Recent
		}
		if err := s.read.SelectContext(ctx, &rows, s.read.Rebind(query), args...); err != nil {
			return err
		}
		for _, r := range rows {
			recent[r.Recipient] = r.Recent
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("count what was sent, in %s: %w", s.name, err)
	}
	return recent, nil
}

// Recent is how much a recipient was sent of late.
type Recent struct {
	Messages int
	First    rating.Instant
}

// Report writes down what a delivery report says of a message; one whose fate was not known is known by it. It tells
// whether there is such a message.
func (s *Store) Report(ctx context.Context, id, report string, delivered, final bool, now rating.Instant) (found bool, err error) {
	err = s.transact(ctx, func(tx *sqlx.Tx) error {
		state := MessageSent
		if final && !delivered {
			state = MessageDead
		}
		lastError := ""
		if state == MessageDead {
			lastError = "the delivery report says: " + report
		}
		found, err = updateOne(ctx, tx, `UPDATE message SET
			report = CASE WHEN ? = 0 AND (report LIKE 'delivered%' OR report LIKE 'failed%') THEN report ELSE ? END, last_error = CASE WHEN state = 'sending' THEN last_error ELSE ? END,
			sent_at = CASE WHEN state = 'unknown' THEN ? ELSE sent_at END,
			state = CASE WHEN state IN ('sent', 'unknown') THEN ? ELSE state END WHERE id = ?`,
			boolean(final), report, lastError, now, state, id)
		if err != nil || !found {
			return err
		}
		return settleNotices(ctx, tx, []string{id})
	})
	if err != nil {
		return false, fmt.Errorf("write down a delivery report in %s: %w", s.name, err)
	}
	return found, nil
}

// inChunks hands down some hundred values at a time, as many as a statement takes.
func inChunks(values []string, do func([]string) error) error {
	const size = 900
	for len(values) > 0 {
		n := min(size, len(values))
		if err := do(values[:n]); err != nil {
			return err
		}
		values = values[n:]
	}
	return nil
}

// execIn runs a statement one of whose arguments is a list.
func execIn(ctx context.Context, tx *sqlx.Tx, query string, args ...any) error {
	query, args, err := sqlx.In(query, args...)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, tx.Rebind(query), args...)
	return err
}
