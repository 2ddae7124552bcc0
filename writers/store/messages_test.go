package store

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"drawdown/rating"

	"github.com/google/go-cmp/cmp"
)

// planAll makes a message of each notice that nobody has planned yet.
func planAll(t testing.TB, s *Store, now rating.Instant) {
	t.Helper()
	_, err := s.PlanMessages(t.Context(), now, 1000, func(notices []OutboxNotice) []Message {
		var messages []Message
		for _, n := range notices {
			messages = append(messages, Message{
				ID: "m-" + n.DedupKey, Channel: "email", Account: n.Account, State: MessagePending, NextAttemptAt: now, Keys: []string{n.DedupKey},
			})
		}
		return messages
	})
	if err != nil {
		t.Fatal(err)
	}
}

func claim(t testing.TB, s *Store, now rating.Instant, limit int) []Claimed {
	t.Helper()
	claimed, err := s.ClaimMessages(t.Context(), now, now+minute, "email", limit)
	if err != nil {
		t.Fatal(err)
	}
	return claimed
}

func keysOf(claimed []Claimed) []string {
	var keys []string
	for _, c := range claimed {
		for _, n := range c.Notices {
			keys = append(keys, n.DedupKey)
		}
	}
	slices.Sort(keys)
	return keys
}

func mark(t testing.TB, s *Store, c Claimed, state string, next rating.Instant) (lost int) {
	t.Helper()
	lost, err := s.MarkMessages(t.Context(), []MessageOutcome{{ID: c.ID, Claim: c.Claim, State: state, Attempted: true, NextAttemptAt: next}})
	if err != nil {
		t.Fatal(err)
	}
	return lost
}

// TestWithdrawnMessagesAreNotSent (R6.4): what a later revision no longer finds is not sent, and is due again when it
// comes back; the inbox keeps what was read.
func TestWithdrawnMessagesAreNotSent(t *testing.T) { onEach(t, withdrawnMessagesAreNotSent) }

func withdrawnMessagesAreNotSent(t *testing.T, d database) {
	s := d.fresh(t)
	l := acquire(t, s, minute)
	commit := func(periods ...PeriodCommit) {
		t.Helper()
		for i := range periods {
			for n := range periods[i].Notices {
				periods[i].Notices[n].Inbox = true
			}
		}
		if err := s.Commit(t.Context(), &Commit{Lease: l, RunID: begin(t, s, l), Periods: periods}); err != nil {
			t.Fatal(err)
		}
	}
	inbox := func() []string {
		t.Helper()
		messages, err := s.Inbox(t.Context(), "a", false, 100)
		if err != nil {
			t.Fatal(err)
		}
		var texts []string
		for _, m := range messages {
			texts = append(texts, fmt.Sprintf("%s %v %v", m.DedupKey, m.ReadAt > 0, m.Withdrawn))
		}
		return texts
	}
	commit(day(t, 1, 1, Hash{}, "gone", "read", "sent", "stays"))
	const now = 3000 * minute
	planAll(t, s, now)
	sent := claim(t, s, now, 100)
	if got := keysOf(sent); !slices.Equal(got, []string{"gone", "read", "sent", "stays"}) {
		t.Fatal(got)
	}
	for _, c := range sent {
		state := MessagePending
		if c.ID == "m-sent" {
			state = MessageSent
		}
		mark(t, s, c, state, now)
	}
	if n, err := s.MarkRead(t.Context(), "a", []string{"read"}, now); err != nil || n != 1 {
		t.Error(n, err)
	}
	commit(day(t, 1, 2, Hash{}, "stays"))
	if got := keysOf(claim(t, s, now, 100)); !slices.Equal(got, []string{"stays"}) {
		t.Errorf("due are %v", got)
	}
	health, err := s.Health(t.Context())
	if want := []MessageBacklog{{"email", 1, now}}; err != nil || !cmp.Equal(health.Backlog, want) { // nothing of what was withdrawn
		t.Error(health.Backlog, err)
	}
	if diff := cmp.Diff([]string{"read true true", "stays false false"}, inbox()); diff != "" {
		t.Error(diff)
	}
	statuses, err := s.Notices(t.Context(), NoticeFilter{Account: "a", State: "withdrawn", Limit: 100})
	if err != nil || len(statuses) != 4 { // of the two that were not sent, and their places in the inbox but the one that was read; sent's inbox
		var texts []string
		for _, n := range statuses {
			texts = append(texts, n.DedupKey+" "+n.Channel)
		}
		t.Errorf("%v %v", texts, err)
	}
	commit(day(t, 1, 3, Hash{}, "stays", "gone", "sent"))
	if got := keysOf(claim(t, s, now, 100)); !slices.Equal(got, []string{"gone"}) {
		t.Errorf("due are %v", got)
	}
	planAll(t, s, now)
	if got := keysOf(claim(t, s, now, 100)); got != nil {
		t.Errorf("sent a second time: %v", got)
	}
}

// TestLateWorkerIsNotHeard: a claim that ran out is another worker's, and what the first one says no longer counts.
func TestLateWorkerIsNotHeard(t *testing.T) { onEach(t, lateWorkerIsNotHeard) }

func lateWorkerIsNotHeard(t *testing.T, d database) {
	s := d.fresh(t)
	l := acquire(t, s, minute)
	if err := s.Commit(t.Context(), &Commit{Lease: l, RunID: begin(t, s, l), Periods: []PeriodCommit{day(t, 1, 1, Hash{}, "one")}}); err != nil {
		t.Fatal(err)
	}
	const now = 3000 * minute
	planAll(t, s, now)
	first := claim(t, s, now, 1)
	if again := claim(t, s, now, 1); len(again) != 0 {
		t.Fatalf("claimed twice: %v", again)
	}
	second := claim(t, s, now+minute, 1)
	if len(second) != 1 || !second[0].WasSending || second[0].Claim != first[0].Claim+1 {
		t.Fatalf("%+v", second)
	}
	if lost := mark(t, s, first[0], MessageDead, 0); lost != 1 {
		t.Errorf("%d lost", lost)
	}
	if lost := mark(t, s, second[0], MessageSent, 0); lost != 0 {
		t.Errorf("%d lost", lost)
	}
	var state string
	if err := s.read.Get(&state, `SELECT state FROM outbox`); err != nil || state != "sent" {
		t.Error(state, err)
	}
}

// TestWorkersShareTheOutbox: many at once plan and claim; each notice is planned once, and each message claimed by one.
func TestWorkersShareTheOutbox(t *testing.T) { onEach(t, workersShareTheOutbox) }

func workersShareTheOutbox(t *testing.T, d database) {
	s := d.fresh(t)
	l := acquire(t, s, minute)
	var keys []string
	for i := range 200 {
		keys = append(keys, fmt.Sprintf("key %03d", i))
	}
	if err := s.Commit(t.Context(), &Commit{Lease: l, RunID: begin(t, s, l), Periods: []PeriodCommit{day(t, 1, 1, Hash{}, keys...)}}); err != nil {
		t.Fatal(err)
	}
	const now = 3000 * minute
	var lock sync.Mutex
	var all []string
	var workers sync.WaitGroup
	for range 6 {
		workers.Go(func() {
			planAll(t, s, now)
			for {
				claimed := claim(t, s, now, 7)
				if len(claimed) == 0 {
					return
				}
				lock.Lock()
				all = append(all, keysOf(claimed)...)
				lock.Unlock()
			}
		})
	}
	workers.Wait()
	rest := claim(t, s, now, 1000) // of those whose planning came after the last look
	all = append(all, keysOf(rest)...)
	slices.Sort(all)
	if diff := cmp.Diff(keys, all); diff != "" {
		t.Error(diff)
	}
}

// TestRetriedAndReported: what was given up is due again when asked for, of one account alone; a delivery report tells the
// fate of what nobody knew of; and what was sent is counted by its recipient.
func TestRetriedAndReported(t *testing.T) { onEach(t, retriedAndReported) }

func retriedAndReported(t *testing.T, d database) {
	s := d.fresh(t)
	l := acquire(t, s, minute)
	period := day(t, 1, 1, Hash{}, "dead", "reported", "sent")
	period.Notices[0].Account = "b"
	if err := s.Commit(t.Context(), &Commit{Lease: l, RunID: begin(t, s, l), Periods: []PeriodCommit{period}}); err != nil {
		t.Fatal(err)
	}
	const now = 3000 * minute
	planAll(t, s, now)
	for _, c := range claim(t, s, now, 100) {
		o := MessageOutcome{ID: c.ID, Claim: c.Claim, State: MessageDead, Attempted: true, Error: "no"}
		switch c.ID {
		case "m-reported":
			o.State = MessageUnknown
		case "m-sent":
			o.State, o.SentAt, o.Recipient = MessageSent, now, "somebody"
		}
		if _, err := s.MarkMessages(t.Context(), []MessageOutcome{o}); err != nil {
			t.Fatal(err)
		}
	}
	recent, err := s.RecentlySent(t.Context(), now-minute, []string{"somebody", "nobody"})
	if want := map[string]Recent{"somebody": {1, now}}; err != nil || !cmp.Equal(recent, want) {
		t.Error(recent, err)
	}
	if found, err := s.Report(t.Context(), "m-reported", "delivered", true, true, now); err != nil || !found {
		t.Error(found, err)
	}
	if found, err := s.Report(t.Context(), "m-nothing", "delivered", true, true, now); err != nil || found {
		t.Error(found, err)
	}
	counts, err := s.CountMessages(t.Context())
	if want := []MessageCount{{"email", "dead", 1}, {"email", "sent", 2}}; err != nil || !cmp.Equal(counts, want) {
		t.Error(counts, err)
	}
	for account, want := range map[string]int{"a": 0, "b": 1} {
		if n, err := s.RetryMessages(t.Context(), now, account); err != nil || n != want {
			t.Errorf("%s: %d %v", account, n, err)
		}
	}
	if got := keysOf(claim(t, s, now, 100)); !slices.Equal(got, []string{"dead"}) {
		t.Errorf("due are %v", got)
	}
}

// TestOldInboxIsTakenOver: a database whose inboxes stood in a table of their own keeps what they held.
func TestOldInboxIsTakenOver(t *testing.T) { onEach(t, oldInboxIsTakenOver) }

func oldInboxIsTakenOver(t *testing.T, d database) {
	s := d.fresh(t)
	l := acquire(t, s, minute)
	commit := &Commit{Lease: l, RunID: begin(t, s, l), Periods: []PeriodCommit{day(t, 1, 1, Hash{}, "mailed", "read", "unread")}}
	if err := s.Commit(t.Context(), commit); err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{
		`DROP INDEX outbox_inbox`,
		`ALTER TABLE outbox DROP COLUMN inbox_read_at`,
		`CREATE TABLE inbox (dedup_key TEXT NOT NULL PRIMARY KEY REFERENCES outbox (dedup_key), account TEXT NOT NULL,
			at BIGINT NOT NULL, read_at BIGINT NOT NULL DEFAULT 0)`,
		`INSERT INTO inbox (dedup_key, account, at, read_at) VALUES ('read', 'a', 1, 7), ('unread', 'a', 1, 0)`,
		`DELETE FROM goose_db_version WHERE version_id >= 8`,
		`ALTER TABLE catalog DROP COLUMN layout`, `ALTER TABLE revision DROP COLUMN notices_since`,
		`DROP TABLE catalog_edit`, `DROP TABLE catalog_current`,
	} {
		if _, err := s.write.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	if d.isPostgres() {
		s.write.MustExec("DROP FUNCTION drawdown_count_edit(), drawdown_fold_edits() CASCADE")
	} else {
		for _, table := range catalogTables() {
			for _, trigger := range edit(d, string(table.kind)) {
				s.write.MustExec("DROP TRIGGER " + trigger)
			}
		}
	}
	if err := migrate(t.Context(), s.write); err != nil {
		t.Fatal(err)
	}
	messages, err := s.Inbox(t.Context(), "a", false, 10)
	if err != nil || len(messages) != 2 || messages[0].DedupKey != "read" || messages[0].ReadAt != 7 || messages[1].ReadAt != 0 {
		t.Errorf("%+v %v", messages, err)
	}
}
