package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"

	"drawdown/rating"

	"github.com/google/go-cmp/cmp"
)

const minute = rating.Instant(60e6)

// self is the process of these tests, as a lease knows it.
func self(t testing.TB) Process {
	t.Helper()
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	return Process{Actor: "ada", Host: host, PID: os.Getpid(), Version: "test"}
}

func acquire(t testing.TB, s *Store, now rating.Instant) Lease {
	t.Helper()
	l, err := s.AcquireLease(t.Context(), "demo", self(t), now)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func begin(t testing.TB, s *Store, l Lease) int64 {
	t.Helper()
	id, err := s.StartRun(t.Context(), Run{Site: l.Site, Command: "settle", Token: l.Token, StartedAt: 1, Process: self(t)})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestLeaseIsHeldAndTakenOver(t *testing.T) { onEach(t, testLeaseIsHeldAndTakenOver) }

func testLeaseIsHeldAndTakenOver(t *testing.T, db database) {
	path := db.state(t)
	a, b := open(t, path, ReadWrite), open(t, path, ReadWrite)
	first := acquire(t, a, minute)
	_, err := b.AcquireLease(t.Context(), "demo", self(t), minute+minute/2)
	var held *HeldError
	if !errors.As(err, &held) || held.Owner != "ada" || held.Since != minute {
		t.Fatalf("error %v", err)
	}
	wantError(t, err, "ada", "1970-01-01T00:01:00Z", "site demo")
	if err := a.RenewLease(t.Context(), first, 2*minute); err != nil {
		t.Fatal(err)
	}
	if _, err := b.AcquireLease(t.Context(), "demo", self(t), 3*minute-1); !errors.As(err, &held) {
		t.Fatalf("error %v", err)
	}
	second := acquire(t, b, 3*minute) // a minute without a heartbeat
	if second.Token != first.Token+1 {
		t.Errorf("tokens %d, %d", first.Token, second.Token)
	}
	if err := a.RenewLease(t.Context(), first, 3*minute); !errors.Is(err, ErrFenced) {
		t.Errorf("error %v", err)
	}
	if err := a.ReleaseLease(t.Context(), first); err != nil {
		t.Error(err)
	}
	if _, err := a.AcquireLease(t.Context(), "demo", self(t), 3*minute); !errors.As(err, &held) {
		t.Errorf("the old holder released the new one's lease: %v", err)
	}
	if err := b.ReleaseLease(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	if third := acquire(t, a, 3*minute); third.Token != second.Token+1 {
		t.Errorf("token %d after %d", third.Token, second.Token)
	}
	// The clock was set back by an hour: a heartbeat from the future does not hold.
	acquire(t, b, -60*minute)
	_, err = b.AcquireLease(t.Context(), "other", self(t), 90*minute)
	wantError(t, err, "database of site demo")
}

func TestLeaseOfADeadProcessIsTakenOver(t *testing.T) { onEach(t, testLeaseOfADeadProcessIsTakenOver) }

func testLeaseOfADeadProcessIsTakenOver(t *testing.T, db database) {
	s := db.fresh(t)
	gone := exec.Command(os.Args[0], "-test.run=^$")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	p := self(t)
	p.PID = gone.Process.Pid
	if _, err := s.AcquireLease(t.Context(), "demo", p, minute); err != nil {
		t.Fatal(err)
	}
	l := acquire(t, s, minute+1)
	if l.Token != 2 {
		t.Errorf("token %d", l.Token)
	}
	if err := s.ReleaseLease(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	p.Host = "another host"
	if _, err := s.AcquireLease(t.Context(), "demo", p, minute); err != nil {
		t.Fatal(err)
	}
	var held *HeldError
	if _, err := s.AcquireLease(t.Context(), "demo", self(t), minute+1); !errors.As(err, &held) {
		t.Errorf("nobody knows whether a process of another host is alive: %v", err)
	}
}

func TestOneOfManyGetsTheLease(t *testing.T) { onEach(t, testOneOfManyGetsTheLease) }

func testOneOfManyGetsTheLease(t *testing.T, db database) {
	path := db.state(t)
	var group sync.WaitGroup
	var won, lost atomic.Int32
	for range 8 {
		s := open(t, path, ReadWrite)
		group.Go(func() {
			_, err := s.AcquireLease(context.Background(), "demo", self(t), minute)
			var held *HeldError
			switch {
			case err == nil:
				won.Add(1)
			case errors.As(err, &held):
				lost.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	group.Wait()
	if won.Load() != 1 || lost.Load() != 7 {
		t.Errorf("%d won, %d lost", won.Load(), lost.Load())
	}
}

// day gives a revision of the n-th day, with two shards and a notice for each word.
func day(t testing.TB, n, revision int, previous Hash, notices ...string) PeriodCommit {
	t.Helper()
	c := world(4, 1, 4)
	p := PeriodCommit{Revision: Revision{
		PeriodStart: rating.Instant(n) * 1440 * minute, PeriodEnd: rating.Instant(n+1) * 1440 * minute,
		PeriodName: fmt.Sprintf("day %d", n), Revision: revision, ManifestKey: fmt.Sprintf("period=%d/rev=%d/manifest.json", n, revision),
		ManifestSHA256: Hash{byte(n), byte(revision)}, PreviousManifestSHA256: previous, CatalogSHA256: Hash{7}, ClosingSHA256: Hash{8},
		Shards: 2, Payers: 4, Packages: 4, Notices: int64(len(notices)), Totals: `{"lines": 3}`,
	}}
	payers := many(4, 4, n%2)
	for shard, part := range [][]rating.PayerState{payers[:2], payers[2:]} {
		blob := encode(t, c, part)
		hash, err := StateHash(blob)
		if err != nil {
			t.Fatal(err)
		}
		p.Shards = append(p.Shards, ShardState{Shard: shard, SHA256: hash, Payers: 2, Packages: 2, Content: blob})
	}
	for _, key := range notices {
		p.Notices = append(p.Notices, Notice{DedupKey: key, Kind: "usage_alert", Account: "a", Package: "p", Threshold: "20", At: p.PeriodStart})
	}
	return p
}

// snapshot gives all rows of all tables, but the lease's heartbeat.
func snapshot(t testing.TB, s *Store) map[string][]map[string]any {
	t.Helper()
	all := map[string][]map[string]any{}
	for _, table := range []string{"run", "period", "revision", "state", "shard_state", "object", "outbox", "catalog", "catalog_chunk"} {
		rows, err := s.read.Queryx("SELECT * FROM " + table + " ORDER BY 1, 2")
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			row := map[string]any{}
			if err := rows.MapScan(row); err != nil {
				t.Fatal(err)
			}
			all[table] = append(all[table], row)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func TestCommitIsVisibleWhole(t *testing.T) { onEach(t, testCommitIsVisibleWhole) }

func testCommitIsVisibleWhole(t *testing.T, db database) {
	s := db.fresh(t)
	l := acquire(t, s, minute)
	id := begin(t, s, l)
	first := day(t, 1, 1, Hash{}, "n1", "n2")
	second := day(t, 2, 1, first.ManifestSHA256, "n3")
	c := &Commit{
		Lease: l, RunID: id, Outcome: Outcome{FinishedAt: 9, Periods: 2, Records: 30, Summary: `{}`}, Periods: []PeriodCommit{first, second},
		Objects: []Object{{Key: "a.csv", Size: 3, Version: "v", SHA256: Hash{1}, Records: 30, FirstTime: rating.Never, LastTime: rating.Beginning, HomePeriodStart: 5}},
	}
	if err := s.Commit(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	periods, err := s.Periods(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []Revision{first.Revision, second.Revision}
	for i := range want {
		want[i].State, want[i].Token, want[i].RunID, want[i].IsCurrent = PeriodSettled, 1, id, true
		want[i].NoticesSince = 1
	}
	if diff := cmp.Diff(want, periods); diff != "" {
		t.Error(diff)
	}
	objects, err := s.Objects(t.Context())
	if diff := cmp.Diff(map[string]Object{"a.csv": c.Objects[0]}, objects); diff != "" || err != nil {
		t.Error(diff, err)
	}
	runs, err := s.Runs(t.Context(), 10)
	if err != nil || len(runs) != 1 || runs[0].State != RunCommitted || runs[0].Records != 30 || runs[0].Actor != "ada" {
		t.Errorf("runs %+v, %v", runs, err)
	}
	if n := count(t, s, "outbox WHERE state = 'pending'"); n != 3 {
		t.Errorf("%d notices", n)
	}
	for shard, is := range second.Shards {
		blob, hash, err := s.OpeningState(t.Context(), second.PeriodEnd, shard)
		if err != nil || hash != is.SHA256 || !cmp.Equal(blob, is.Content) {
			t.Errorf("shard %d: %v, %v", shard, hash, err)
		}
	}
	list, err := s.ShardStates(t.Context(), first.PeriodStart, 1)
	if err != nil || len(list) != 2 || list[1].SHA256 != first.Shards[1].SHA256 || list[1].Packages != 2 {
		t.Errorf("%+v, %v", list, err)
	}
	if blob, _, err := s.OpeningState(t.Context(), first.PeriodStart, 0); blob != nil || err != nil {
		t.Errorf("the first period opens with %d bytes, %v", len(blob), err)
	}
	_, _, err = s.OpeningState(t.Context(), second.PeriodEnd+1, 0)
	wantError(t, err, "is not settled", "day 2")
	wantError(t, s.FinishRun(t.Context(), id, Outcome{State: RunFailed}), "has committed before")
	wantError(t, s.Commit(t.Context(), c), "has committed before")
}

// Whatever ends a commit, at whatever step, nothing of it is visible; and then it can be done again.
func TestCommitIsAllOrNothing(t *testing.T) { onEach(t, testCommitIsAllOrNothing) }

func testCommitIsAllOrNothing(t *testing.T, db database) {
	steps := []string{StepBegin, StepToken, StepRun, StepCatalog, StepRevisions, StepCloses, StepStates, StepOutbox, StepObjects, StepSums}
	s := db.fresh(t)
	l := acquire(t, s, minute)
	first := day(t, 1, 1, Hash{}, "n1", "n2")
	if err := s.Commit(t.Context(), &Commit{Lease: l, RunID: begin(t, s, l), Periods: []PeriodCommit{first}}); err != nil {
		t.Fatal(err)
	}
	c := &Commit{
		Lease: l, RunID: begin(t, s, l), Objects: []Object{{Key: "a"}}, Catalog: copyOf(t, s, bigDraft(300, 600)),
		Periods: []PeriodCommit{day(t, 1, 2, Hash{}, "n2"), day(t, 2, 1, Hash{1, 2}, "n4")},
	}
	before := snapshot(t, s)
	var seen []string
	errStop := errors.New("stop")
	for i, stop := range steps {
		seen = nil
		c.Hook = func(step string) error {
			seen = append(seen, step)
			if step == stop {
				return errStop
			}
			return nil
		}
		if err := s.Commit(t.Context(), c); !errors.Is(err, errStop) {
			t.Fatalf("%s: %v", stop, err)
		}
		if diff := cmp.Diff(steps[:i+1], seen); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(before, snapshot(t, s)); diff != "" {
			t.Errorf("stopped at %s: %s", stop, diff)
		}
		// The same where the context ends instead.
		ctx, cancel := context.WithCancel(t.Context())
		c.Hook = func(step string) error {
			if step == stop {
				cancel()
			}
			return nil
		}
		if err := s.Commit(ctx, c); !errors.Is(err, context.Canceled) {
			t.Fatalf("%s: %v", stop, err)
		}
		if diff := cmp.Diff(before, snapshot(t, s)); diff != "" {
			t.Errorf("cancelled at %s: %s", stop, diff)
		}
	}
	c.Hook = nil
	if err := s.Commit(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	periods, err := s.Periods(t.Context())
	if err != nil || len(periods) != 2 || periods[0].Revision != 2 {
		t.Errorf("%+v, %v", periods, err)
	}
	all, err := s.Revisions(t.Context(), first.PeriodStart)
	if err != nil || len(all) != 2 || all[0].IsCurrent || !all[1].IsCurrent {
		t.Errorf("%+v, %v", all, err)
	}
	_, err = s.write.Exec(`UPDATE revision SET is_current = 1`)
	wantError(t, err, db.says("UNIQUE", "revision_current")) // the schema's own guard
}

func TestStolenLeaseCannotCommit(t *testing.T) { onEach(t, testStolenLeaseCannotCommit) }

func testStolenLeaseCannotCommit(t *testing.T, db database) {
	path := db.state(t)
	old, thief := open(t, path, ReadWrite), open(t, path, ReadWrite)
	l := acquire(t, old, minute)
	c := &Commit{Lease: l, RunID: begin(t, old, l), Periods: []PeriodCommit{day(t, 1, 1, Hash{})}}
	stolen := acquire(t, thief, 3*minute)
	before := snapshot(t, thief)
	err := old.Commit(t.Context(), c)
	if !errors.Is(err, ErrFenced) {
		t.Fatalf("error %v", err)
	}
	wantError(t, err, "token is 1", "newest one is 2")
	if err := old.PutStates(t.Context(), l, c.Periods[0].Shards); !errors.Is(err, ErrFenced) {
		t.Errorf("error %v", err)
	}
	if diff := cmp.Diff(before, snapshot(t, thief)); diff != "" {
		t.Error(diff)
	}
	id := begin(t, thief, stolen)
	runs, err := thief.Runs(t.Context(), 10)
	if err != nil || runs[1].State != RunFailed || runs[0].State != RunRunning {
		t.Errorf("%+v, %v", runs, err)
	}
	c.Lease, c.RunID = stolen, id
	if err := thief.Commit(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	// A lease that was given back commits nothing either.
	if err := thief.ReleaseLease(t.Context(), stolen); err != nil {
		t.Fatal(err)
	}
	if err := thief.PutStates(t.Context(), stolen, nil); !errors.Is(err, ErrFenced) {
		t.Errorf("error %v", err)
	}
}

func TestCommitRefuses(t *testing.T) { onEach(t, testCommitRefuses) }

func testCommitRefuses(t *testing.T, db database) {
	s := db.fresh(t)
	l := acquire(t, s, minute)
	first := day(t, 1, 1, Hash{}, "n1")
	if err := s.Commit(t.Context(), &Commit{Lease: l, RunID: begin(t, s, l), Periods: []PeriodCommit{first}}); err != nil {
		t.Fatal(err)
	}
	id := begin(t, s, l)
	refused := func(name string, p PeriodCommit, parts ...string) {
		t.Run(name, func(t *testing.T) {
			before := snapshot(t, s)
			err := s.Commit(t.Context(), &Commit{Lease: l, RunID: id, Periods: []PeriodCommit{p}})
			wantError(t, err, parts...)
			if diff := cmp.Diff(before, snapshot(t, s)); diff != "" {
				t.Error(diff)
			}
		})
	}
	edit := func(change func(*PeriodCommit)) PeriodCommit {
		p := day(t, 2, 1, first.ManifestSHA256, "n2")
		change(&p)
		return p
	}
	refused("the same revision again", day(t, 1, 1, Hash{}), "day 1 revision 1", db.says("UNIQUE", "revision_pkey"))
	refused("a gap", day(t, 3, 1, first.ManifestSHA256), "day 3", "not settled")
	refused("another predecessor", day(t, 2, 1, Hash{9}), "day 2", "settle again")
	refused("a shard too few", edit(func(p *PeriodCommit) { p.Shards = p.Shards[:1] }), "2 shards, 4 payers", "the database 1, 2")
	refused("other packages", edit(func(p *PeriodCommit) { p.Packages = 5 }), "5 packages")
	refused("a notice twice", edit(func(p *PeriodCommit) { p.Notices = append(p.Notices, p.Notices[0]); p.Revision.Notices = 2 }), db.says("2 notices", "second time"))
	refused("a state under another name", edit(func(p *PeriodCommit) { p.Shards[0].SHA256[0]++ }), "shard 0", "damaged")
	refused("a state that is not there", edit(func(p *PeriodCommit) { p.Shards[0].Content, p.Shards[0].SHA256 = nil, Hash{5} }), db.says("FOREIGN KEY", "shard_state_sha256_fkey"))
	refused("another end", edit(func(p *PeriodCommit) {
		p.PeriodStart, p.PeriodName = first.PeriodStart, "x"
		p.PreviousManifestSHA256 = Hash{}
	}),
		"ends at")
	if _, err := s.write.Exec(`UPDATE period SET state = 'closed'`); err != nil {
		t.Fatal(err)
	}
	refused("a closed period", day(t, 1, 2, Hash{}), "R5.5", "closed")
	err := s.Commit(t.Context(), &Commit{Lease: l, RunID: 99})
	wantError(t, err, "run 99 does not exist")
}

// A backfill sends nothing again, withdraws what is gone, and takes back a withdrawal.
// TestClosesInOrder (R5.5): a period is closed once, and none behind one that is open; what is closed stays.
func TestClosesInOrder(t *testing.T) { onEach(t, testClosesInOrder) }

func testClosesInOrder(t *testing.T, db database) {
	s := db.fresh(t)
	l := acquire(t, s, minute)
	var previous Hash
	for n := 1; n <= 3; n++ {
		p := day(t, n, 1, previous)
		previous = p.ManifestSHA256
		if err := s.Commit(t.Context(), &Commit{Lease: l, RunID: begin(t, s, l), Periods: []PeriodCommit{p}}); err != nil {
			t.Fatal(err)
		}
	}
	start := func(n int) rating.Instant { return rating.Instant(n) * 1440 * minute }
	closes := func(at rating.Instant, days ...int) error {
		c := &Commit{Lease: l, RunID: begin(t, s, l), Outcome: Outcome{FinishedAt: at}}
		for _, n := range days {
			c.Closes = append(c.Closes, start(n))
		}
		return s.Commit(t.Context(), c)
	}
	before := func() map[string][]map[string]any {
		all := snapshot(t, s)
		delete(all, "run")
		return all
	}
	for _, days := range [][]int{{2}, {3, 1}, {1, 3}, {4}, {1, 1}} {
		was := before()
		wantError(t, closes(5*minute, days...), "closes", "not the first open one")
		if diff := cmp.Diff(was, before()); diff != "" {
			t.Errorf("%v: %s", days, diff)
		}
	}
	if err := closes(7*minute, 1, 2); err != nil {
		t.Fatal(err)
	}
	wantError(t, closes(8*minute, 2), "not the first open one")
	periods, err := s.Periods(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{PeriodClosed, PeriodClosed, PeriodSettled} {
		if p := periods[i]; p.State != want || (p.ClosedAt == 7*minute) != (want == PeriodClosed) {
			t.Errorf("%s is %s at %v", p.PeriodName, p.State, p.ClosedAt)
		}
	}
}

func TestOutboxFollowsTheCurrentRevision(t *testing.T) {
	onEach(t, testOutboxFollowsTheCurrentRevision)
}

func testOutboxFollowsTheCurrentRevision(t *testing.T, db database) {
	s := db.fresh(t)
	l := acquire(t, s, minute)
	commit := func(periods ...PeriodCommit) {
		t.Helper()
		if err := s.Commit(t.Context(), &Commit{Lease: l, RunID: begin(t, s, l), Periods: periods}); err != nil {
			t.Fatal(err)
		}
	}
	is := func(want map[string]string) {
		t.Helper()
		var rows []struct {
			DedupKey  string `db:"dedup_key"`
			State     string
			Withdrawn bool `db:"withdrawn"`
			Day       int
		}
		err := s.read.Select(&rows, `SELECT dedup_key, state, withdrawn_run > 0 AS withdrawn, period_start / 86400000000 AS day FROM outbox`)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, r := range rows {
			got[r.DedupKey] = fmt.Sprintf("%s %v day %d", r.State, r.Withdrawn, r.Day)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	commit(day(t, 1, 1, Hash{}, "gone", "sent", "stays", "moves"))
	if _, err := s.write.Exec(`UPDATE outbox SET state = 'sent' WHERE dedup_key IN ('sent', 'stays')`); err != nil {
		t.Fatal(err)
	}
	commit(day(t, 1, 2, Hash{}, "stays"), day(t, 2, 1, Hash{1, 2}, "moves"))
	is(map[string]string{
		"gone": "withdrawn true day 1", "sent": "sent true day 1", "stays": "sent false day 1", "moves": "pending false day 2",
	})
	commit(day(t, 1, 3, Hash{}, "stays", "gone", "sent"), day(t, 2, 2, Hash{1, 3}))
	is(map[string]string{
		"gone": "pending false day 1", "sent": "sent false day 1", "stays": "sent false day 1", "moves": "withdrawn true day 2",
	})
}

func TestStatesStoredAheadCountFromTheCommitOn(t *testing.T) {
	onEach(t, testStatesStoredAheadCountFromTheCommitOn)
}

func testStatesStoredAheadCountFromTheCommitOn(t *testing.T, db database) {
	s := db.fresh(t)
	l := acquire(t, s, minute)
	p, lost := day(t, 1, 1, Hash{}), day(t, 2, 1, Hash{})
	for _, shards := range [][]ShardState{p.Shards, lost.Shards, p.Shards} {
		if err := s.PutStates(t.Context(), l, shards); err != nil {
			t.Fatal(err)
		}
	}
	hashes := []Hash{p.Shards[0].SHA256, p.Shards[1].SHA256}
	for i := range p.Shards {
		p.Shards[i].Content = nil
	}
	if err := s.Commit(t.Context(), &Commit{Lease: l, RunID: begin(t, s, l), Periods: []PeriodCommit{p}}); err != nil {
		t.Fatal(err)
	}
	if err := s.ReleaseLease(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	if n := count(t, s, "state"); n != 4 {
		t.Errorf("%d states", n)
	}
	if err := s.SweepStates(t.Context(), acquire(t, s, minute)); err != nil {
		t.Fatal(err)
	}
	if n := count(t, s, "state"); n != 2 {
		t.Errorf("%d states", n)
	}
	for _, hash := range hashes {
		if _, err := s.LoadState(t.Context(), hash); err != nil {
			t.Error(err)
		}
	}
	// Somebody edits the database.
	if _, err := s.write.Exec(`UPDATE state SET content = (SELECT content FROM state ORDER BY sha256 LIMIT 1)`); err != nil {
		t.Fatal(err)
	}
	_, first := s.LoadState(t.Context(), hashes[0])
	_, second := s.LoadState(t.Context(), hashes[1])
	if err := errors.Join(first, second); !errors.Is(err, errDamaged) {
		t.Errorf("error %v", err)
	}
}

func BenchmarkCommit(b *testing.B) {
	s := databases()[0].fresh(b)
	l := acquire(b, s, minute)
	c := world(100_000, 5, 100_000)
	payers := many(100_000, 100_000, 5)
	previous, n := Hash{}, 0
	for b.Loop() {
		n++
		p := day(b, n, 1, previous)
		p.Shards, p.Revision.Shards, p.Payers, p.Packages = nil, 16, 100_000, 100_000
		previous = p.ManifestSHA256
		b.StopTimer()
		for shard := range 16 {
			part := payers[shard*6250 : (shard+1)*6250]
			part[0].Counters[0].Usage += int64(n)
			blob := encode(b, c, part)
			hash, _ := StateHash(blob)
			p.Shards = append(p.Shards, ShardState{Shard: shard, SHA256: hash, Payers: 6250, Packages: 6250, Content: blob})
		}
		for i := range 10_000 {
			p.Notices = append(p.Notices, Notice{DedupKey: fmt.Sprintf("%d/%d", n, i), Kind: "usage_alert"})
		}
		p.Revision.Notices = 10_000
		id := begin(b, s, l)
		b.StartTimer()
		if err := s.Commit(b.Context(), &Commit{Lease: l, RunID: id, Periods: []PeriodCommit{p}}); err != nil {
			b.Fatal(err)
		}
	}
}

// Two writers that read before they write would fail half-way, or give out a number twice, if they began without a lock.
func TestManyWritersTakeTurns(t *testing.T) { onEach(t, testManyWritersTakeTurns) }

func testManyWritersTakeTurns(t *testing.T, db database) {
	path := db.state(t)
	var group sync.WaitGroup
	for range 4 {
		s := open(t, path, ReadWrite)
		group.Go(func() {
			for range 20 {
				if _, err := s.StartRun(context.Background(), Run{Site: "demo", Command: "remind"}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	runs, err := open(t, path, ReadOnly).Runs(t.Context(), 100)
	if err != nil || len(runs) != 80 || runs[0].ID != 80 {
		t.Errorf("%d runs, %v", len(runs), err)
	}
}
