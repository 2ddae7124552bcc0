package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"drawdown/rating"

	"github.com/google/go-cmp/cmp"
)

// books commits periods, and tells what the outbox then holds.
type books struct {
	*testing.T
	s *Store
	l Lease
}

func newBooks(t *testing.T, s *Store) *books { return &books{t, s, acquire(t, s, minute)} }

func (b *books) commit(periods ...PeriodCommit) {
	b.Helper()
	if err := b.s.Commit(b.Context(), &Commit{Lease: b.l, RunID: begin(b.T, b.s, b.l), Periods: periods}); err != nil {
		b.Fatal(err)
	}
}

// is compares the outbox: for each notice its state, and whether a settlement no longer finds it.
func (b *books) is(want map[string]string) {
	b.Helper()
	var rows []struct {
		DedupKey  string `db:"dedup_key"`
		State     string
		Withdrawn bool
	}
	if err := b.s.read.Select(&rows, `SELECT dedup_key, state, withdrawn_run > 0 AS withdrawn FROM outbox`); err != nil {
		b.Fatal(err)
	}
	got := map[string]string{}
	for _, r := range rows {
		got[r.DedupKey] = r.State
		if r.Withdrawn && r.State != "withdrawn" {
			got[r.DedupKey] += ", withdrawn"
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		b.Error(diff)
	}
}

// found compares what the outbox has of the revision of a day, as verify reads it.
func (b *books) found(n int, want ...string) {
	b.Helper()
	got := map[string]bool{}
	err := b.s.KeptNotices(b.Context(), rating.Instant(n)*1440*minute, func(k *KeptNotice) error {
		got[fmt.Sprintf("%s by %d at %v", k.DedupKey, k.Revision, k.At)] = true
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	all := map[string]bool{}
	for _, key := range want {
		all[key+" at "+(rating.Instant(n)*1440*minute).String()] = true
	}
	if diff := cmp.Diff(all, got); diff != "" {
		b.Errorf("day %d: %s", n, diff)
	}
}

// sound is what verify asks of the outbox as a whole.
func (b *books) sound() {
	b.Helper()
	if n, err := b.s.StrayNotices(b.Context()); err != nil || n != 0 {
		b.Errorf("%d notices are of no current revision: %v", n, err)
	}
}

// TestNoticeOfTwoPeriods (R6.4): an edit of the catalog moves the due time of a notice into another period, and only one of
// the two periods is settled again. Then the current revisions of both have it, or none has; it is told once, and
// withdrawn when the last one no longer finds it.
func TestNoticeOfTwoPeriods(t *testing.T) { onEach(t, testNoticeOfTwoPeriods) }

func testNoticeOfTwoPeriods(t *testing.T, db database) {
	const pending, sent, gone = "pending", "sent", "withdrawn"
	one, two := Hash{1, 1}, Hash{2, 1}
	// The second day's revisions follow the first's, whose number may have grown meanwhile.
	second := func(t *testing.T, revision, first int, notices ...string) PeriodCommit {
		return day(t, 2, revision, Hash{1, byte(first)}, notices...)
	}
	start := func(t *testing.T, first, then []string) *books {
		b := newBooks(t, db.fresh(t))
		b.commit(day(t, 1, 1, Hash{}, first...), day(t, 2, 1, one, then...), day(t, 3, 1, two))
		return b
	}
	keys := []string{"k"}
	t.Run("later", func(t *testing.T) {
		b := start(t, keys, nil)
		b.commit(second(t, 2, 1, "k")) // it moved to the second day, and that is settled again
		b.is(map[string]string{"k": pending})
		b.found(1, "k by 1")
		b.found(2, "k by 2")
		b.commit(second(t, 3, 1)) // and back
		b.is(map[string]string{"k": pending})
		b.found(1, "k by 1")
		b.found(2)
		b.commit(day(t, 1, 2, Hash{}), second(t, 4, 2)) // and it is gone
		b.is(map[string]string{"k": gone})
		b.sound()
	})
	t.Run("later, then the earlier one", func(t *testing.T) {
		b := start(t, keys, nil)
		b.commit(second(t, 2, 1, "k"))
		b.commit(day(t, 1, 2, Hash{}), second(t, 3, 2, "k"))
		b.is(map[string]string{"k": pending})
		b.found(1)
		b.found(2, "k by 3")
		b.commit(second(t, 4, 2))
		b.is(map[string]string{"k": gone})
		b.sound()
	})
	t.Run("earlier", func(t *testing.T) {
		b := start(t, nil, keys)
		again := day(t, 1, 2, Hash{}, "k")
		again.ManifestSHA256 = one // the second day stays as it is
		b.commit(again)
		b.is(map[string]string{"k": pending})
		b.found(1, "k by 2")
		b.found(2, "k by 1")
		again = day(t, 1, 3, Hash{})
		again.ManifestSHA256 = one
		b.commit(again)
		b.is(map[string]string{"k": pending})
		b.found(1)
		b.found(2, "k by 1")
		b.commit(second(t, 2, 1))
		b.is(map[string]string{"k": gone})
		b.sound()
	})
	t.Run("the one that holds it goes first", func(t *testing.T) {
		b := start(t, keys, nil)
		b.commit(second(t, 2, 1, "k"))
		again := day(t, 1, 2, Hash{})
		again.ManifestSHA256 = one
		b.commit(again)
		b.is(map[string]string{"k": pending})
		b.found(1)
		b.found(2, "k by 2")
		b.commit(second(t, 3, 1))
		b.is(map[string]string{"k": gone})
		b.commit(second(t, 4, 1, "k"))
		b.is(map[string]string{"k": pending})
		b.sound()
	})
	t.Run("sent", func(t *testing.T) {
		b := start(t, keys, nil)
		if _, err := b.s.write.Exec(`UPDATE outbox SET state = 'sent'`); err != nil {
			t.Fatal(err)
		}
		b.commit(second(t, 2, 1, "k"))
		b.commit(second(t, 3, 1))
		b.is(map[string]string{"k": sent})
		b.commit(day(t, 1, 2, Hash{}), second(t, 4, 2))
		b.is(map[string]string{"k": "sent, withdrawn"})
		b.sound()
	})
}

// TestAheadOfTheSettlement: what is put into the outbox ahead is taken over by the settlement, or withdrawn by it; what was
// found from a period that is not the newest settled one any more is not put.
func TestAheadOfTheSettlement(t *testing.T) { onEach(t, testAheadOfTheSettlement) }

func testAheadOfTheSettlement(t *testing.T, db database) {
	b := newBooks(t, db.fresh(t))
	run := Run{Site: "demo", Command: "remind", Process: self(t), StartedAt: minute, Outcome: Outcome{FinishedAt: minute}}
	put := func(last Hash, day rating.Instant, keys ...string) (int64, int64, error) {
		a := Ahead{Run: run, Last: last, Until: (day + 1) * 1440 * minute}
		for _, key := range keys {
			n := Notice{DedupKey: key, Kind: "grace", Account: "a", Package: "p", At: day * 1440 * minute, Inbox: true}
			a.Notices = append(a.Notices, AheadNotice{n, day * 1440 * minute})
		}
		return b.s.PutAhead(t.Context(), &a, 5*1440*minute)
	}
	want := func(last Hash, day rating.Instant, wantPut, wantWithdrawn int64, keys ...string) {
		t.Helper()
		if n, gone, err := put(last, day, keys...); n != wantPut || gone != wantWithdrawn || err != nil {
			t.Errorf("put %d, withdrew %d: %v", n, gone, err)
		}
		b.sound()
	}
	want(Hash{}, 1, 3, 0, "found", "gone", "sent")
	want(Hash{}, 1, 1, 1, "found", "gone", "new") // "sent" was an error, for the moment
	want(Hash{}, 1, 1, 1, "found", "gone", "sent")
	if _, err := b.s.write.Exec(`UPDATE outbox SET state = 'sent' WHERE dedup_key = 'sent'`); err != nil {
		t.Fatal(err)
	}
	// What is due later is not put yet, and withdraws nothing.
	if n, gone, err := put(Hash{}, 9, "found", "gone", "sent", "later"); n != 0 || gone != 0 || err != nil {
		t.Errorf("put %d, withdrew %d: %v", n, gone, err)
	}
	b.commit(day(t, 1, 1, Hash{}, "found"))
	b.is(map[string]string{"found": "pending", "gone": "withdrawn", "new": "withdrawn", "sent": "sent, withdrawn"})
	b.found(1, "found by 1")
	b.sound()
	if _, _, err := put(Hash{}, 2, "stale"); !errors.Is(err, ErrSettledMeanwhile) {
		t.Errorf("error %v", err)
	}
	want(Hash{1, 1}, 2, 1, 0, "found", "gone") // a settled period has the one; the other comes back in the next
	b.commit(day(t, 2, 1, Hash{1, 1}, "gone"))
	b.is(map[string]string{"found": "pending", "gone": "pending", "new": "withdrawn", "sent": "sent, withdrawn"})
	b.found(2, "gone by 1")
	if n := count(t, b.s, "outbox WHERE inbox_read_at IS NOT NULL"); n != 4 {
		t.Errorf("%d rows in the inbox", n)
	}
}

// TestKeptNoticesStay: a revision that keeps what the one before has found comes to the outbox of one that finds all of it again:
// what is sought stays only where it is found, what was sent stays sent, and what another period holds stays its own.
func TestKeptNoticesStay(t *testing.T) { onEach(t, testKeptNoticesStay) }

func testKeptNoticesStay(t *testing.T, db database) {
	var outboxes [2][]map[string]any
	for i, keeps := range []bool{false, true} {
		s := db.fresh(t)
		l := acquire(t, s, minute)
		commit := func(periods ...PeriodCommit) {
			t.Helper()
			if err := s.Commit(t.Context(), &Commit{Lease: l, RunID: begin(t, s, l), Periods: periods}); err != nil {
				t.Fatal(err)
			}
		}
		commit(day(t, 1, 1, Hash{}, "both", "early", "gone", "sent", "stays"), day(t, 2, 1, Hash{1, 1}, "both", "late", "other"))
		if _, err := s.write.Exec(`UPDATE outbox SET state = 'sent' WHERE dedup_key = 'sent'`); err != nil {
			t.Fatal(err)
		}
		first, second := day(t, 1, 2, Hash{}, "both", "early", "new", "sent", "stays"), day(t, 2, 2, Hash{1, 2}, "both", "late")
		if keeps {
			first.Keeps, first.Sought, first.Notices = true, []string{"early", "gone"}, day(t, 1, 2, Hash{}, "early", "new").Notices
			second.Keeps, second.Sought, second.Notices = true, []string{"other"}, nil
		}
		commit(first, second)
		for table, rows := range snapshot(t, s) {
			if table == "outbox" {
				outboxes[i] = rows
			}
		}
		if stray, err := s.StrayNotices(t.Context()); err != nil || stray != 0 {
			t.Errorf("%d stray notices, %v", stray, err)
		}
		kinds, err := s.NoticeKinds(t.Context(), second.PeriodStart, 2)
		if err != nil || kinds["usage_alert"] != 2 {
			t.Errorf("the second day has found %v, %v", kinds, err)
		}
	}
	if diff := cmp.Diff(outboxes[0], outboxes[1]); diff != "" {
		t.Error(diff)
	}
}

// TestOutboxFollowsAnyHistory: whatever backfills find, move and no longer find, whole or in part, the outbox has of each day
// what its current revision has found, and as it has found it; and it has withdrawn what none has.
func TestOutboxFollowsAnyHistory(t *testing.T) { onEach(t, testOutboxFollowsAnyHistory) }

func testOutboxFollowsAnyHistory(t *testing.T, db database) {
	const days, keys, steps = 3, 8, 40
	random := rand.New(rand.NewPCG(7, 7))
	b := newBooks(t, db.fresh(t))
	revision, founds := [days + 1]int{}, [days + 1]map[string]string{} // what each remains at, by key
	for step := range steps {
		first, keeps := 1+random.IntN(days), step%2 == 1
		if step == 0 {
			first = 1
		}
		var commits []PeriodCommit
		for n := first; n <= days; n++ {
			found := map[string]string{}
			var sought, given []string
			for k := range keys {
				key := fmt.Sprintf("k%d", k)
				was, is := founds[n][key], ""
				if random.IntN(3) == 0 {
					is = fmt.Sprint(random.IntN(2))
				}
				touched := !keeps || k%2 == 1
				if random.IntN(2) == 0 || !touched {
					is = was
				}
				if is != "" {
					found[key] = is
				}
				if keeps && is == was && random.IntN(2) == 0 {
					continue // as a commit leaves it out that knows of the files
				}
				if touched && was != "" {
					sought = append(sought, key)
				}
				if is != "" && touched {
					given = append(given, key)
				}
			}
			before := Hash{}
			if n > 1 {
				before = Hash{byte(n - 1), byte(revision[n-1])}
			}
			revision[n]++
			c := day(t, n, revision[n], before)
			c.Revision.Notices = int64(len(found))
			for _, key := range given {
				c.Notices = append(c.Notices, day(t, n, 1, before, key).Notices...)
				c.Notices[len(c.Notices)-1].Remaining = found[key]
			}
			c.Keeps, c.Sought = keeps, sought
			commits, founds[n] = append(commits, c), found
		}
		b.commit(commits...)
		b.sound()
		told := map[string]bool{}
		for n := 1; n <= days; n++ {
			got := map[string]string{}
			err := b.s.KeptNotices(t.Context(), rating.Instant(n)*1440*minute, func(k *KeptNotice) error {
				if k.Revision != revision[n] {
					t.Errorf("step %d, day %d: %s is of revision %d, not %d", step, n, k.DedupKey, k.Revision, revision[n])
				}
				got[k.DedupKey], told[k.DedupKey] = k.Remaining, true
				return nil
			})
			if diff := cmp.Diff(founds[n], got); diff != "" || err != nil {
				t.Fatalf("step %d, day %d: %v %s", step, n, err, diff)
			}
			kinds, err := b.s.NoticeKinds(t.Context(), rating.Instant(n)*1440*minute, revision[n])
			if err != nil || kinds["usage_alert"] != len(got) {
				t.Fatalf("step %d, day %d: %v are counted, and %d are there: %v", step, n, kinds, len(got), err)
			}
		}
		var pending []string
		if err := b.s.read.Select(&pending, `SELECT dedup_key FROM outbox WHERE state = 'pending' AND withdrawn_run = 0`); err != nil || len(pending) != len(told) {
			t.Fatalf("step %d: %v wait, but %v are found: %v", step, pending, told, err)
		}
	}
}
