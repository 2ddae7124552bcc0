package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"drawdown/jobs"
	"drawdown/rating"
	"drawdown/writers/settlement"
	"drawdown/writers/store"
)

// abandoned puts a file somewhere below the site that was written days before gc looks.
func (s *site) abandoned(w *world, days int, name, content string) {
	s.t.Helper()
	s.write(name, []byte(content))
	s.age(w, days, name)
}

func (s *site) age(w *world, days int, name string) {
	s.t.Helper()
	old := w.later().AddDate(0, 0, -days)
	if err := os.Chtimes(s.path(name), old, old); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) gc(w *world, apply bool) (*jobs.Sweepings, error) {
	s.t.Helper()
	return s.app(w.later()).gc(s.config(), 72*time.Hour, apply)
}

func (s *site) mustGC(w *world, apply bool) map[string]string {
	s.t.Helper()
	found, err := s.gc(w, apply)
	if err != nil {
		s.t.Fatal(err)
	}
	fates := map[string]string{}
	for _, l := range append(found.Folders, found.Temporary...) {
		fates[strings.TrimPrefix(l.Name, s.dir+"/")] = l.Fate
	}
	return fates
}

// ownTemp gives the site a folder for temporary files of its own.
func (s *site) ownTemp(settings ...string) {
	s.t.Helper()
	if err := os.Mkdir(s.path("temp"), 0o777); err != nil {
		s.t.Fatal(err)
	}
	s.configure("temp_dir: ./temp\n", settings...)
}

// settledForGC is a settled site whose newest token is 3, and whose temporary folder is its own.
func settledForGC(t *testing.T, w *world) *site {
	s := newSite(t, w, "shards: 2")
	s.ownTemp("shards: 2")
	for range 3 {
		s.settle(w)
	}
	return s
}

// TestGCRemovesWhatNothingRefersTo, and leaves everything else.
func TestGCRemovesWhatNothingRefersTo(t *testing.T) {
	t.Parallel()
	w := newWorld(80, worldShape{records: 300, days: 2})
	s := settledForGC(t, w)
	before, state := s.output(), s.visible()
	files := map[string]string{ // that are there besides
		"settlements/period=2026-10-22/rev=1-2/lines-000.parquet":   jobs.FateGoes, // killed while it wrote
		"settlements/period=2026-10-22/rev=1-2/charges-000.parquet": jobs.FateGoes,
		"settlements/period=2026-10-23/rev=1-3/manifest.json":       jobs.FateGoes, // killed before it committed, and settled since
		"settlements/period=2026-10-23/rev=1-3/lines-000.parquet":   jobs.FateGoes,
		"settlements/period=2026-10-29/rev=1-2/lines-000.parquet":   jobs.FateGoes, // of a period that is not settled
		"settlements/period=2026-10-29/rev=2-2/manifest.json":       jobs.FateKept, // whole, and unknown
		"settlements/.current.json." + strings.Repeat("0a", 32):     jobs.FateGoes,
		"settlements/notes.txt":                                     "", // not ours
		"settlements/period=2026-10-22/rev=01-2/x":                  "",
		"settlements/period=2026-10-22/x":                           "",
		"temp/drawdown-dry-run-12/period=1/x":                       jobs.FateGoes,
		"temp/drawdown-77.spill":                                    jobs.FateGoes,
		"temp/drawdown-notes.txt":                                   "",
	}
	for name := range files {
		s.abandoned(w, 4, name, "x")
	}
	longAgo := time.Now().AddDate(0, 0, -4)
	for _, name := range []string{
		"temp/drawdown-dry-run-12/period=1/x", "temp/drawdown-dry-run-12/period=1", "temp/drawdown-dry-run-12", "temp/drawdown-77.spill",
	} {
		if err := os.Chtimes(s.path(name), longAgo, longAgo); err != nil {
			t.Fatal(err)
		}
	}
	s.write("temp/drawdown-explain-3/x", []byte("of a process that works, whatever --now says"))
	young := "settlements/period=2026-10-30/rev=1-2/lines-000.parquet"
	s.abandoned(w, 4, strings.Replace(young, "lines", "charges", 1), "x")
	s.abandoned(w, 2, young, "x")
	if err := os.Mkdir(s.path("settlements/period=2026-10-22/rev=7-1"), 0o777); err != nil { // killed before it wrote
		t.Fatal(err)
	}
	s.age(w, 4, "settlements/period=2026-10-22/rev=7-1")
	blob := []byte("a state that was stored ahead")
	s.exec(`INSERT INTO state (sha256, token, payers, packages, content) VALUES ('unnamed', 2, 1, 1, ?)`, blob)
	all, temp := s.output(), tree(t, s.path("temp"))

	want := map[string]string{
		"period=2026-10-22/rev=1-2": jobs.FateGoes, "period=2026-10-22/rev=7-1": jobs.FateGoes, "period=2026-10-23/rev=1-3": jobs.FateGoes,
		"period=2026-10-29/rev=1-2": jobs.FateGoes, "period=2026-10-29/rev=2-2": jobs.FateKept, "period=2026-10-30/rev=1-2": jobs.FateYoung,
		".current.json." + strings.Repeat("0a", 32): jobs.FateGoes, "temp/drawdown-dry-run-12": jobs.FateGoes, "temp/drawdown-77.spill": jobs.FateGoes,
	}
	same(t, "what a dry run finds", want, s.mustGC(w, false))
	same(t, "what a dry run changes", all, s.output())
	same(t, "what a dry run changes in temp", temp, tree(t, s.path("temp")))
	found, err := s.gc(w, true)
	if err != nil || found.States != 1 || found.StateBytes != int64(len(blob)) || found.Foreign != 3 {
		t.Errorf("it swept %+v: %v", found, err)
	}
	for name, fate := range files {
		if _, err := os.Lstat(s.path(name)); (err != nil) != (fate == jobs.FateGoes) {
			t.Errorf("%s: %v, and its fate is %q", name, err, fate)
		}
		if fate != jobs.FateGoes {
			if err := os.RemoveAll(s.path(name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	same(t, "what is left", map[string]string{"period=2026-10-29/rev=2-2": jobs.FateGoes, "period=2026-10-30/rev=1-2": jobs.FateYoung}, s.mustGC(w, false))
	for _, name := range []string{"period=2026-10-29", "period=2026-10-30", "period=2026-10-22/rev=01-2"} {
		if err := os.RemoveAll(s.path("settlements/" + name)); err != nil {
			t.Fatal(err)
		}
	}
	same(t, "what was settled", before, s.output())
	same(t, "the state", state, s.visible())
	wantSound(t, s.verify(w, false))
}

// TestGCRefusesWhereTheOutputIsNewer: a backup of the database was put back, or another database.
func TestGCRefusesWhereTheOutputIsNewer(t *testing.T) {
	t.Parallel()
	w := newWorld(81, worldShape{records: 300, days: 2})
	s := newSite(t, w, "shards: 2")
	s.ownTemp("shards: 2")
	s.settleUntil(w.later(), rating.InstantOf(w.start.AddDate(0, 0, 1)))
	s.exec(`PRAGMA wal_checkpoint(TRUNCATE)`)
	backup, err := os.ReadFile(s.path("drawdown.db"))
	if err != nil {
		t.Fatal(err)
	}
	s.settle(w)
	s.abandoned(w, 9, "settlements/period=2026-10-22/rev=9-1/lines-000.parquet", "x")
	for _, name := range []string{"drawdown.db", "drawdown.db-wal", "drawdown.db-shm"} {
		os.Remove(s.path(name))
	}
	s.write("drawdown.db", backup)
	before := s.output()
	refused := func(says string) {
		t.Helper()
		for _, apply := range []bool{false, true, true} {
			_, err := s.gc(w, apply)
			var newer *jobs.NewerOutputError
			if !errors.As(err, &newer) || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "nothing was removed") {
				t.Errorf("got %v", err)
			}
		}
		same(t, "files", before, s.output())
		same(t, "tokens", []string{"token=1"}, s.query(`SELECT token FROM lease`))
	}
	refused("current.json names revision 1 of period 2026-10-23")
	// Without it, tokens tell.
	if err := os.Remove(s.path("settlements/current.json")); err != nil {
		t.Fatal(err)
	}
	before = s.output()
	refused("was written under the token 2, and the database has given out none above 1")
	// Even where the database has given out tokens since, whole settlements that it does not know stay.
	s.exec(`UPDATE lease SET token = 7`)
	for name, fate := range s.mustGC(w, false) {
		if want := map[bool]string{true: jobs.FateGoes, false: jobs.FateYoung}[strings.HasSuffix(name, "rev=9-1")]; fate != want && fate != jobs.FateKept {
			t.Errorf("%s: %s", name, fate)
		}
	}
}

// TestGCAfterKills: whatever kills settle, after another one and gc the output is as if nothing had happened.
func TestGCAfterKills(t *testing.T) {
	t.Parallel()
	w := newWorld(82, worldShape{records: 4000, days: 3})
	want := newSite(t, w)
	started := time.Now()
	want.settle(w)
	length := time.Since(started) + 20*time.Millisecond
	random := rand.New(rand.NewPCG(82, 82))
	s := newSite(t, w)
	s.ownTemp()
	for range 8 {
		cmd := s.command(w, "settle", "--until", spell(w.until().Time()))
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Duration(random.Int64N(int64(length))), func() { cmd.Process.Kill() })
		_ = cmd.Wait()
	}
	s.settle(w)
	a := s.app(w.later())
	a.now = time.Now().Add(time.Hour) // files are as old as they are
	found, err := a.gc(s.config(), time.Minute, true)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d leftovers", len(found.Folders))
	same(t, "files", want.output(), s.output())
	wantSound(t, s.verify(w, true))
}

// TestGCMayBeKilled: what is left after each removal is no settlement, and the next one takes it.
func TestGCMayBeKilled(t *testing.T) {
	t.Parallel()
	w := newWorld(83, worldShape{records: 100, days: 1})
	s := settledForGC(t, w)
	before := s.output()
	names := []string{"manifest.json", "lines-000.parquet", "charges-000.parquet", "quarantine.parquet"}
	for stop := range len(names) {
		for _, name := range names {
			s.abandoned(w, 9, "settlements/period=2026-10-22/rev=1-2/"+name, "x")
		}
		st := openStore(t, s)
		a := s.app(w.later())
		folder, err := settlement.OpenOutput(s.path("settlements"))
		if err != nil {
			t.Fatal(err)
		}
		defer folder.Close()
		out := &stoppingAttic{attic: &attic{archive{folder}}, left: stop}
		sweep := &jobs.Sweep{Token: 3, Now: rating.InstantOf(w.later()), Attic: out, Temp: tempFolder(s.path("temp"))}
		found, err := a.plugged(s.config(), st, sweep, store.Lease{}).Find(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := sweep.Remove(t.Context(), found); !errors.Is(err, errBoom) {
			t.Fatalf("it was not stopped: %v", err)
		}
		if _, err := os.Stat(s.path("settlements/period=2026-10-22/rev=1-2/manifest.json")); stop > 0 && err == nil {
			t.Errorf("after %d files the manifest is still there", stop)
		}
		wantSound(t, s.verify(w, false))
		s.mustGC(w, true)
		same(t, "files", before, s.output())
	}
}

// stoppingAttic stops after so many files.
type stoppingAttic struct {
	*attic
	left int
}

func (o *stoppingAttic) Remove(ctx context.Context, names ...string) error {
	for _, name := range names {
		if o.left == 0 {
			return errBoom
		}
		o.left--
		if err := o.attic.Remove(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// TestGCLeavesARunAlone: where a run holds the lease, it removes nothing.
func TestGCLeavesARunAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(84, worldShape{records: 100, days: 1})
	s := settledForGC(t, w)
	s.abandoned(w, 9, "settlements/period=2026-10-29/rev=1-4/lines-000.parquet", "x")
	st := openStore(t, s)
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	lease, err := st.AcquireLease(t.Context(), "test", store.Process{Actor: "maria", Host: host, PID: os.Getpid()}, rating.InstantOf(time.Now()))
	if err != nil || lease.Token != 4 {
		t.Fatal(lease, err)
	}
	same(t, "beside a run", map[string]string{"period=2026-10-29/rev=1-4": jobs.FateLive}, s.mustGC(w, false))
	_, err = s.gc(w, true)
	var held *failure
	if !errors.As(err, &held) || held.ExitCode() != exitHeld {
		t.Errorf("got %v", err)
	}
	if err := st.ReleaseLease(t.Context(), lease); err != nil {
		t.Fatal(err)
	}
	same(t, "after it", map[string]string{"period=2026-10-29/rev=1-4": jobs.FateGoes}, s.mustGC(w, true))
	same(t, "runs", []string{"command=gc state=committed"}, s.query(`SELECT command, state FROM run ORDER BY id DESC LIMIT 1`))
}

// TestGCFollowsNoLink: links go, and what they lead to stays.
func TestGCFollowsNoLink(t *testing.T) {
	t.Parallel()
	w := newWorld(85, worldShape{records: 100, days: 1})
	s := settledForGC(t, w)
	before := s.output()
	s.write("outside/precious.parquet", []byte("precious"))
	s.write("temp/drawdown-explain-1/x", []byte("x"))
	s.write("settlements/period=2026-10-22/rev=1-2/lines-000.parquet", []byte("x"))
	for _, link := range []string{
		"settlements/period=2026-10-22/rev=1-2/folder", "settlements/period=2026-10-22/rev=2-2", "temp/drawdown-explain-1/folder",
		"temp/drawdown-verify-2",
	} {
		if err := os.Symlink(s.path("outside"), s.path(link)); err != nil {
			t.Fatal(err)
		}
	}
	a := s.app(time.Now().Add(time.Hour))
	a.clock = func() time.Time { return time.Now().AddDate(0, 0, 7) }
	if _, err := a.gc(s.config(), time.Minute, true); err != nil {
		t.Fatal(err)
	}
	same(t, "what links led to", 2, len(tree(t, s.path("outside"))))
	left := tree(t, s.path("temp"))
	same(t, "temporary files", map[string]string{"./": ""}, left)
	if err := os.Remove(s.path("settlements/period=2026-10-22/rev=2-2")); err != nil { // it is no file of a revision
		t.Error(err)
	}
	same(t, "files", before, s.output())
}

// TestGCOnRealStores: the same, of a bucket and of PostgreSQL: what nothing refers to goes, and the rest stays; where the output
// is newer than the database, all of it stays.
func TestGCOnRealStores(t *testing.T) {
	w := newWorld(86, worldShape{records: 300, days: 2})
	s := newRealSite(t, w, "shards: 2")
	s.ownTemp("shards: 2")
	s.settleUntil(w.later(), rating.InstantOf(w.start.AddDate(0, 0, 1)))
	base := regexp.MustCompile(`test_\d+`).FindString(s.state)
	backup := base + "_backup"
	server.Get(t).Exec(t, "postgres", "CREATE DATABASE "+backup+" TEMPLATE "+base)
	t.Cleanup(func() { server.Get(t).Exec(t, "postgres", "DROP DATABASE "+backup+" WITH (FORCE)") })
	s.settle(w)
	s.settle(w)
	before, state := s.output(), s.visible()
	bucket := openTestBucket(t, s.remote, "settlements")
	abandon := func(names ...string) {
		for _, name := range names {
			if err := bucket.Put(t.Context(), name, strings.NewReader("x"), 1, sha256.Sum256([]byte("x"))); err != nil {
				t.Fatal(err)
			}
		}
	}
	abandon("period=2026-10-22/rev=1-2/lines-000.parquet", "period=2026-10-23/rev=1-3/manifest.json", "period=2026-10-23/rev=1-3/lines-000.parquet",
		"period=2026-10-29/rev=2-2/manifest.json", "period=2026-10-22/rev=01-2/x", "notes.txt")
	s.exec(`INSERT INTO state (sha256, token, payers, packages, content) VALUES ('` + strings.Repeat("0", 64) + `', 2, 1, 1, 'x')`)
	gc := func(at time.Time, apply bool) (*jobs.Sweepings, map[string]string, error) {
		a := s.app(at)
		found, err := a.gc(s.config(), 72*time.Hour, apply)
		fates := map[string]string{}
		if found != nil {
			for _, l := range found.Folders {
				fates[l.Name] = l.Fate
			}
		}
		return found, fates, err
	}
	all := s.output()
	old := time.Now().Add(4 * 24 * time.Hour)
	want := map[string]string{
		"period=2026-10-22/rev=1-2": jobs.FateGoes, "period=2026-10-23/rev=1-3": jobs.FateGoes, "period=2026-10-29/rev=2-2": jobs.FateKept,
	}
	_, fates, err := gc(old, false)
	same(t, "what a dry run finds", want, fates)
	same(t, "what a dry run changes", all, s.output())
	found, young, errYoung := gc(time.Now(), true) // states are old by their token alone
	if same(t, "what is young", all, s.output()); errors.Join(err, errYoung) != nil || young["period=2026-10-22/rev=1-2"] != jobs.FateYoung || found.States != 1 {
		t.Error(err, errYoung, found)
	}
	if found, _, err := gc(old, true); err != nil {
		t.Errorf("it swept %+v: %v", found, err)
	}
	if err := bucket.Remove(t.Context(), "period=2026-10-29/rev=2-2/manifest.json", "period=2026-10-22/rev=01-2/x", "notes.txt"); err != nil {
		t.Fatal(err)
	}
	same(t, "what was settled", before, s.output())
	same(t, "the state", state, s.visible())
	wantSound(t, s.verify(w, false))

	s.state = strings.Replace(s.state, base, backup, 1)
	s.configure("temp_dir: ./temp\n", "shards: 2")
	abandon("period=2026-10-22/rev=9-1/lines-000.parquet")
	before = s.output()
	for _, apply := range []bool{false, true} {
		var newer *jobs.NewerOutputError
		if _, _, err := gc(old, apply); !errors.As(err, &newer) {
			t.Errorf("got %v", err)
		}
	}
	same(t, "files", before, s.output())
}
