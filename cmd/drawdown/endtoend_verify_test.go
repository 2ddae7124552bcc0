package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"

	"drawdown/jobs"
	"drawdown/rating"
	"drawdown/writers/settlement"
	"drawdown/writers/store"
)

// verify checks the whole site.
func (s *site) verify(w *world, deep bool) *jobs.Verification {
	s.t.Helper()
	found, err := s.app(w.later()).verify(s.config(), func(*jobs.BookedRevision) bool { return true }, deep)
	if err != nil {
		s.t.Fatal(err)
	}
	return found
}

// wantSound fails the test where something is wrong, or a period cannot be settled again.
func wantSound(t testing.TB, found *jobs.Verification) {
	t.Helper()
	for _, f := range found.Faults {
		t.Errorf("%+v", f)
	}
	for _, r := range found.Revisions {
		if r.Unrepeated != "" {
			t.Errorf("%s: %s", r.Period, r.Unrepeated)
		}
	}
}

// TestWhatWasSettledIsSound: verify finds nothing wrong with what settle did, however it did it, and settles it again to the
// same bytes.
func TestWhatWasSettledIsSound(t *testing.T) {
	t.Parallel()
	for seed, settings := range [][]string{nil, {"shards: 1"}, {"period: hour", "shards: 2"}, {"period: month", "start: 2026-10-01"}} {
		t.Run(fmt.Sprint(settings), func(t *testing.T) {
			t.Parallel()
			w := newWorld(uint64(50+seed), worldShape{records: 3000, days: 3, homeless: true})
			s := newSite(t, w, settings...)
			// In several runs, each of which has rows of its own future in quarantine.
			s.settleUntil(w.start.AddDate(0, 0, 2), w.until())
			until := w.end()
			if len(settings) > 0 && settings[0] == "period: month" {
				until = until.AddDate(0, 0, 10)
			}
			s.settleUntil(w.later(), rating.InstantOf(until))
			found := s.verify(w, true)
			wantSound(t, found)
			if len(found.Revisions) == 0 {
				t.Error("nothing was settled")
			}
		})
	}
	t.Run("bad objects", func(t *testing.T) {
		t.Parallel()
		w := newWorld(60, worldShape{records: 500, days: 3, homeless: true})
		s := newSite(t, w)
		s.configure("usage: {on_bad_object: quarantine}\n")
		s.write("usage/bad.parquet", []byte("PAR1, and then nothing"))
		s.write("usage/bad.ndjson.gz", []byte("no gzip"))
		s.settle(w)
		wantSound(t, s.verify(w, true))
	})
}

// tampered is a small settled site that is spoilt again and again, and mended each time.
type tampered struct {
	*site
	w     *world
	files map[string][]byte // of the output, as they were settled
	spoil map[string]bool   // files that are not as they were settled
	edits int               // of the database
	base  string            // the database as it was, of PostgreSQL
	saved []byte            // the database as it was, of SQLite
}

// onAllStores runs a test on a settled site with files on this machine, and on one with PostgreSQL and a bucket.
func onAllStores(t *testing.T, test func(*testing.T, *tampered)) {
	t.Run("SQLite and a folder", func(t *testing.T) {
		test(t, newTampered(t, func(w *world, settings ...string) *site { return newSite(t, w, settings...) }))
	})
	t.Run("PostgreSQL and S3", func(t *testing.T) {
		server.Get(t)
		test(t, newTampered(t, func(w *world, settings ...string) *site { return newRealSite(t, w, settings...) }))
	})
}

func newTampered(t *testing.T, makeSite func(*world, ...string) *site) *tampered {
	w := newWorld(70, worldShape{records: 400, days: 2, homeless: true})
	s := &tampered{site: makeSite(w, "shards: 2"), w: w, files: map[string][]byte{}, spoil: map[string]bool{}}
	s.settleUntil(w.later(), rating.InstantOf(w.end()))
	out := s.openOutput()
	for name := range s.output() {
		if strings.HasSuffix(name, "/") {
			continue
		}
		name = s.named(name)
		content, err := out.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		s.files[name] = content
	}
	s.keepDatabase()
	wantSound(t, s.verify(w, false))
	return s
}

// named gives a name of the output its token again, which [tree] leaves out: there is one run.
func (s *tampered) named(name string) string { return strings.Replace(name, "/rev=1/", "/rev=1-1/", 1) }

// keepDatabase keeps the database as it is, for mend. That of PostgreSQL becomes a template, and the site gets a copy.
func (s *tampered) keepDatabase() {
	s.t.Helper()
	if s.state == "" {
		s.exec("PRAGMA wal_checkpoint(TRUNCATE)")
		content, err := os.ReadFile(s.path("drawdown.db"))
		if err != nil {
			s.t.Fatal(err)
		}
		s.saved = content
		return
	}
	s.base = regexp.MustCompile(`test_\d+`).FindString(s.state)
	s.state = strings.Replace(s.state, s.base, s.base+"_copy", 1)
	s.configure("", "shards: 2")
	s.edits++
	s.mend()
	s.t.Cleanup(func() { server.Get(s.t).Exec(s.t, "postgres", "DROP DATABASE "+s.base+"_copy WITH (FORCE)") })
}

// mend puts everything back.
func (s *tampered) mend() {
	s.t.Helper()
	if s.remote == "" {
		if err := os.RemoveAll(s.path("settlements")); err != nil {
			s.t.Fatal(err)
		}
		for name := range s.files {
			s.spoil[name] = true
		}
	}
	for name := range s.spoil {
		if content, settled := s.files[name]; settled {
			s.put(name, content)
		} else {
			s.remove(name)
		}
	}
	clear(s.spoil)
	if s.edits == 0 {
		return
	}
	s.edits = 0
	if s.state != "" {
		server.Get(s.t).Exec(s.t, "postgres", "DROP DATABASE IF EXISTS "+s.base+"_copy WITH (FORCE)", "CREATE DATABASE "+s.base+"_copy TEMPLATE "+s.base)
		return
	}
	for _, name := range []string{"drawdown.db-wal", "drawdown.db-shm"} {
		os.Remove(s.path(name))
	}
	s.write("drawdown.db", s.saved)
}

// put writes a file of the output, over what is there.
func (s *tampered) put(name string, content []byte) {
	s.t.Helper()
	s.spoil[name] = true
	if s.remote == "" {
		s.write("settlements/"+name, content)
	} else if err := openTestBucket(s.t.(*testing.T), s.remote, "settlements").Replace(s.t.Context(), name, content); err != nil {
		s.t.Fatal(err)
	}
}

// remove takes a file of the output away.
func (s *tampered) remove(name string) {
	s.t.Helper()
	s.spoil[name] = true
	var err error
	if s.remote == "" {
		err = os.RemoveAll(s.path("settlements/" + name))
	} else {
		err = openTestBucket(s.t.(*testing.T), s.remote, "settlements").Remove(s.t.Context(), name)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// exec edits the database as one who may do everything there: no constraint between tables is asked. It gives -1 where
// the database refuses what would stand in a row.
func (s *tampered) exec(statement string, args ...any) int64 {
	s.t.Helper()
	s.edits++
	if s.state == "" {
		return s.site.exec(statement, args...)
	}
	db := s.database("")
	defer db.Close()
	db.SetMaxOpenConns(1)
	statement = sqlx.Rebind(sqlx.DOLLAR, strings.ReplaceAll(statement, "AS BLOB", "AS BYTEA"))
	_, err := db.Exec("SET session_replication_role = replica")
	if err != nil {
		s.t.Fatal(err)
	}
	result, err := db.Exec(statement, args...)
	if pq.As(err, pqerror.CheckViolation) != nil {
		return -1
	}
	if err != nil {
		s.t.Fatalf("%s: %v", statement, err)
	}
	n, _ := result.RowsAffected()
	return n
}

// exec runs a statement on the state, as an ordering system does, or somebody who tampers with it: SQLite's constraints are
// not asked.
func (s *site) exec(statement string, args ...any) int64 {
	s.t.Helper()
	db := s.database("_pragma=foreign_keys(0)&_pragma=ignore_check_constraints(1)")
	defer db.Close()
	result, err := db.Exec(statement, args...)
	if err != nil {
		s.t.Fatalf("%s: %v", statement, err)
	}
	n, _ := result.RowsAffected()
	return n
}

// wantFault fails the test unless verify finds a fault of the kind, and says all of the texts of it.
func (s *tampered) wantFault(what, kind string, texts ...string) {
	s.t.Helper()
	found := s.verify(s.w, false)
	for _, f := range found.Faults {
		text := f.Place + ": " + f.What
		if f.Kind == kind && !slices.ContainsFunc(texts, func(want string) bool { return !strings.Contains(text, want) }) {
			if verdict(found).(*failure).ExitCode() != exitFailed {
				s.t.Errorf("%s: the exit code is not %d", what, exitFailed)
			}
			return
		}
	}
	s.t.Errorf("%s: there is no fault %q that says %q:", what, kind, texts)
	for _, f := range found.Faults {
		s.t.Logf("  %+v", f)
	}
}

// settled gives the names of the files of the output.
func (s *tampered) settled() []string { return keysOf(s.files) }

// TestVerifyFindsEveryFlip: in each file of each table, the manifests and current.json.
func TestVerifyFindsEveryFlip(t *testing.T) {
	onAllStores(t, findFlips)
}

func findFlips(t *testing.T, s *tampered) {
	random := rand.New(rand.NewPCG(70, 1))
	for _, name := range s.settled() {
		whole := s.files[name]
		kind := jobs.FaultChanged
		switch path.Base(name) {
		case "manifest.json":
			kind = jobs.FaultManifest
		case "current.json":
			kind = jobs.FaultCurrent
		}
		places, more := []int{0, len(whole) - 5}, 4 // where it begins, and where the footer's length is
		if s.remote != "" {
			places, more = nil, 2
		}
		for range more {
			places = append(places, random.IntN(len(whole)))
		}
		for _, at := range places {
			damaged := slices.Clone(whole)
			damaged[at] ^= 1 << random.IntN(8)
			s.put(name, damaged)
			s.wantFault(fmt.Sprintf("byte %d of %s", at, name), kind, name)
		}
		s.put(name, whole[:len(whole)-1])
		s.wantFault("the end of "+name, kind, name)
		s.put(name, whole)
	}
}

// TestVerifyFindsEveryName: files that are missing, too many, renamed or in each other's place.
func TestVerifyFindsEveryName(t *testing.T) { onAllStores(t, findNames) }

func findNames(t *testing.T, s *tampered) {
	for _, name := range s.settled() {
		dir := path.Dir(name)
		if name == "current.json" {
			continue
		}
		s.remove(name)
		s.wantFault("without "+name, jobs.FaultMissing, name)
		s.mend()
		if path.Base(name) == "manifest.json" {
			continue
		}
		s.remove(name)
		s.put(dir+"/other.parquet", s.files[name])
		s.wantFault(name+" renamed", jobs.FaultRenamed, "other.parquet", path.Base(name))
		s.mend()
		s.put(dir+"/copy.parquet", s.files[name])
		s.wantFault(name+" copied", jobs.FaultExtra, "copy.parquet")
		s.mend()
	}
	for _, name := range s.settled() {
		if other := strings.Replace(name, "-000.", "-001.", 1); other != name && s.files[other] != nil {
			s.put(name, s.files[other])
			s.put(other, s.files[name])
			s.wantFault(name+" in the other's place", jobs.FaultChanged, path.Base(name))
			s.mend()
		}
	}
	first, _, _ := strings.Cut(s.settled()[1], "/")
	for _, name := range s.settled() {
		if strings.HasPrefix(name, first) {
			s.remove(name)
		}
	}
	s.wantFault("without "+first, jobs.FaultMissing, first, "manifest")
	s.mend()
	s.put("current.json", []byte(strings.Replace(string(s.files["current.json"]), "2026-10-23", "2026-10-29", 1)))
	s.wantFault("current.json without a period", jobs.FaultCurrent, "does not name the period")
	s.wantFault("current.json with another period", jobs.FaultCurrent, "the database does not know")
}

// forge writes a manifest that was edited, as one could who has the whole output to himself: with all hashes that depend on it
// made anew.
func (s *tampered) forge(key string, edit func(m *settlement.Manifest)) {
	s.t.Helper()
	current := s.publishedPeriods()
	var previous settlement.Hash
	for _, name := range keysOf(current) {
		c := current[name]
		m := s.openPublished(name, c).manifest
		if len(m.PreviousManifestSHA256) > 0 {
			m.PreviousManifestSHA256 = previous
		}
		if c.Manifest == key {
			edit(m)
		}
		var text bytes.Buffer
		encoder := json.NewEncoder(&text)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(m); err != nil {
			s.t.Fatal(err)
		}
		s.put(c.Manifest, text.Bytes())
		previous = sum(text.Bytes())
		c.SHA256 = previous
		current[name] = c
	}
	s.spoil["current.json"] = true
	if err := s.openOutput().SetCurrent(current); err != nil {
		s.t.Fatal(err)
	}
}

// TestVerifyFindsForgedManifests: each field of a manifest is edited, by one who may write to the bucket alone and makes all
// hashes anew.
func TestVerifyFindsForgedManifests(t *testing.T) { onAllStores(t, findManifests) }

func findManifests(t *testing.T, s *tampered) {
	current := s.publishedPeriods()
	key := current[keysOf(current)[0]].Manifest
	more := func(d *settlement.Decimal) { *d = settlement.Decimal(addOne(rating.Amount(*d))) }
	for what, edit := range map[string]func(m *settlement.Manifest){
		"site":         func(m *settlement.Manifest) { m.Site += "x" },
		"period.name":  func(m *settlement.Manifest) { m.Period.Name = "2026-10-21" },
		"period.start": func(m *settlement.Manifest) { m.Period.Start = "2026-10-20T22:00:00Z" },
		"period.end":   func(m *settlement.Manifest) { m.Period.End = "2026-10-22T22:00:01Z" },
		"time_zone":    func(m *settlement.Manifest) { m.Period.TimeZone = "UTC" },
		"revision":     func(m *settlement.Manifest) { m.Revision++ },
		"an input":     func(m *settlement.Manifest) { m.Inputs = m.Inputs[:0]; m.Totals.Rows = settlement.Rows{} },
		"input key":    func(m *settlement.Manifest) { m.Inputs[0].Key = "a.a" },
		"input size":   func(m *settlement.Manifest) { m.Inputs[0].Size++ },
		"input hash":   func(m *settlement.Manifest) { m.Inputs[0].SHA256[0]++ },
		"input rows": func(m *settlement.Manifest) {
			m.Inputs[0].Rows.Settled++
			m.Inputs[0].Rows.OutOfPeriod--
			m.Totals.Rows.Settled++
			m.Totals.Rows.OutOfPeriod--
		},
		"input times":   func(m *settlement.Manifest) { m.Inputs[0].First = m.Inputs[0].Last },
		"probable":      func(m *settlement.Manifest) { m.Inputs[0].ProbableDuplicate++ },
		"config":        func(m *settlement.Manifest) { m.ConfigSHA256[0]++ },
		"catalog":       func(m *settlement.Manifest) { m.CatalogSHA256[0]++ },
		"opening":       func(m *settlement.Manifest) { m.OpeningSHA256 = append(m.OpeningSHA256, make(settlement.Hash, 32)) },
		"closing":       func(m *settlement.Manifest) { m.ClosingSHA256[1][0]++ },
		"closing count": func(m *settlement.Manifest) { m.ClosingSHA256 = m.ClosingSHA256[:1] },
		"file name":     func(m *settlement.Manifest) { m.Files[0].Name = "lines-009.parquet" },
		"file beside":   func(m *settlement.Manifest) { m.Files[0].Name = "../../current.json" },
		"file table":    func(m *settlement.Manifest) { m.Files[0].Table = "charges" },
		"file shard":    func(m *settlement.Manifest) { m.Files[0].Shard++ },
		"file rows":     func(m *settlement.Manifest) { m.Files[0].Rows++ },
		"file size":     func(m *settlement.Manifest) { m.Files[0].Size++ },
		"file hash":     func(m *settlement.Manifest) { m.Files[0].SHA256[0]++ },
		"a file":        func(m *settlement.Manifest) { m.Files = m.Files[1:] },
		"deducted and excess": func(m *settlement.Manifest) {
			for i := range m.Totals.Meters {
				more(&m.Totals.Meters[i].Settled)
				more(&m.Totals.Meters[i].Excess)
			}
		},
		"amount":   func(m *settlement.Manifest) { more(&m.Totals.Amounts[0].Amount) },
		"previous": func(m *settlement.Manifest) { m.PreviousManifestSHA256 = make(settlement.Hash, 32) },
	} {
		s.forge(key, edit)
		s.wantFault(what, jobs.FaultManifest, key, "not the manifest that was committed")
		if what == "amount" || what == "deducted and excess" {
			s.wantFault(what, jobs.FaultTotals, key, "but the totals say")
		}
		s.mend()
	}
	// One whose hash was edited in the database as well is found by what else there is: files, totals, the next period.
	s.forge(key, func(m *settlement.Manifest) { more(&m.Totals.Amounts[0].Amount) })
	content, err := s.openOutput().ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	s.exec(`UPDATE revision SET manifest_sha256 = ? WHERE manifest_key = ?`, sum(content).String(), key)
	s.wantFault("with the database's hash", jobs.FaultTotals, key, "the lines hold")
	s.wantFault("with the database's hash", jobs.FaultManifest, "2026-10-23")
}

func addOne(a rating.Amount) rating.Amount {
	a, _ = a.Add(rating.AmountOf(1))
	return a
}

// TestVerifyFindsEditsOfTheDatabase: each column of what was settled, in a row of the first period.
func TestVerifyFindsEditsOfTheDatabase(t *testing.T) { onAllStores(t, findEdits) }

func findEdits(t *testing.T, s *tampered) {
	const first = ` WHERE period_start = (SELECT MIN(period_start) FROM period)`
	const zeros = `'0000000000000000000000000000000000000000000000000000000000000001'`
	for _, edit := range []struct{ statement, kind, says string }{
		{`UPDATE period SET period_name = '2026-10-20'` + first, jobs.FaultDatabase, "period_name"},
		{`UPDATE period SET period_end = period_end - 1` + first, jobs.FaultDatabase, "period_end"},
		{`UPDATE revision SET revision = 2` + first, jobs.FaultDatabase, "revision is 2"},
		{`UPDATE revision SET token = token + 1` + first, jobs.FaultDatabase, "token"},
		{`UPDATE revision SET run_id = 99` + first, jobs.FaultDatabase, "run 99"},
		{`UPDATE run SET state = 'failed'`, jobs.FaultDatabase, "is failed"},
		{`UPDATE revision SET manifest_key = 'period=2026-10-22/rev=1-9/manifest.json'` + first, jobs.FaultMissing, "rev=1-9"},
		{`UPDATE revision SET manifest_sha256 = ` + zeros + first, jobs.FaultManifest, "not the manifest"},
		{`UPDATE revision SET previous_manifest_sha256 = ` + zeros + first, jobs.FaultDatabase, "previous_manifest_sha256"},
		{`UPDATE revision SET config_sha256 = ` + zeros + first, jobs.FaultDatabase, "config_sha256"},
		{`UPDATE revision SET catalog_sha256 = ` + zeros + first, jobs.FaultDatabase, "catalog_sha256"},
		{`UPDATE revision SET opening_sha256 = ` + zeros + first, jobs.FaultDatabase, "opening_sha256"},
		{`UPDATE revision SET closing_sha256 = ` + zeros + first, jobs.FaultDatabase, "closing_sha256"},
		{`UPDATE revision SET closing_sha256 = ` + zeros + first, jobs.FaultChain, "it opens with"},
		{`UPDATE revision SET shards = shards + 1` + first, jobs.FaultDatabase, "shards"},
		{`UPDATE revision SET payers = payers + 1` + first, jobs.FaultDatabase, "payers"},
		{`UPDATE revision SET packages = packages + 1` + first, jobs.FaultDatabase, "packages"},
		{`UPDATE revision SET notices = notices + 1` + first, jobs.FaultDatabase, "notices"},
		{`UPDATE revision SET totals = '{}'` + first, jobs.FaultDatabase, "totals"},
		{`UPDATE revision SET totals = 'x'` + first, jobs.FaultDatabase, "totals"},
		{`UPDATE revision SET is_current = 0` + first, jobs.FaultDatabase, "is_current"},
		{`DELETE FROM revision` + first, jobs.FaultChain, "no period before"},
		{`DELETE FROM revision WHERE period_start = (SELECT MAX(period_start) FROM period)`, jobs.FaultCurrent, "does not know"},
		{`UPDATE shard_state SET sha256 = (SELECT MIN(sha256) FROM state)` + first, jobs.FaultState, "the manifest says"},
		{`UPDATE shard_state SET sha256 = ` + zeros + first + ` AND shard = 0`, jobs.FaultState, "there is no state"},
		{`DELETE FROM shard_state` + first + ` AND shard = 1`, jobs.FaultDatabase, "shards"},
		{`DELETE FROM state WHERE token = 1`, jobs.FaultState, "there is no state"},
		{`UPDATE state SET payers = payers + 1`, jobs.FaultState, "payers"},
		{`UPDATE state SET packages = packages + 1`, jobs.FaultState, "packages"},
		{`UPDATE state SET content = CAST('x' AS BLOB)`, jobs.FaultState, "damaged"},
		{`DELETE FROM outbox WHERE dedup_key = (SELECT MIN(dedup_key) FROM outbox)`, jobs.FaultNotice, "is not in the outbox"},
		{`INSERT INTO outbox (dedup_key, kind, account, package, meter, cycle_start, threshold_type, threshold, remaining, record_id, at,
			period_start, revision, created_run, withdrawn_run, state, attempts, next_attempt_at, last_error) SELECT 'forged', kind, account, package, meter, cycle_start, threshold_type, threshold, remaining, record_id, at,
			period_start, revision, created_run, withdrawn_run, state, attempts, next_attempt_at, last_error FROM outbox LIMIT 1`, jobs.FaultNotice, "forged"},
		{`UPDATE outbox SET revision = 7`, jobs.FaultNotice, "does not exist"},
		{`UPDATE outbox SET revision = 0`, jobs.FaultNotice, "not the current one"},
		{`INSERT INTO outbox_elsewhere SELECT MIN(dedup_key), (SELECT MAX(period_start) FROM period), 1, '', '', '', 7 FROM outbox
			WHERE period_start < (SELECT MAX(period_start) FROM period)`, jobs.FaultNotice, "the notices table does not have it"},
		{`UPDATE outbox SET withdrawn_run = 1`, jobs.FaultNotice, "is not in the outbox"},
		{`UPDATE outbox SET kind = 'forged'`, jobs.FaultNotice, `kind is "forged"`},
		{`UPDATE outbox SET account = 'forged'`, jobs.FaultNotice, `account is "forged"`},
		{`UPDATE outbox SET package = 'forged'`, jobs.FaultNotice, `package is "forged"`},
		{`UPDATE outbox SET meter = 'forged'`, jobs.FaultNotice, `meter is "forged"`},
		{`UPDATE outbox SET cycle_start = 7`, jobs.FaultNotice, `cycle_start is`},
		{`UPDATE outbox SET threshold_type = 'forged'`, jobs.FaultNotice, `threshold_type is "forged"`},
		{`UPDATE outbox SET threshold = '77'`, jobs.FaultNotice, `threshold is "77"`},
		{`UPDATE outbox SET remaining = '77'`, jobs.FaultNotice, `remaining is "77"`},
		{`UPDATE outbox SET record_id = 'forged'`, jobs.FaultNotice, `record_id is "forged"`},
		{`UPDATE outbox SET at = at + 1`, jobs.FaultNotice, "at is"},
		{`UPDATE catalog SET chunks = SUBSTR(chunks, 33)`, jobs.FaultCatalog, "the kept catalog is damaged"},
		{`DELETE FROM catalog_chunk`, jobs.FaultCatalog, "the kept catalog is damaged"},
	} {
		switch s.exec(edit.statement) {
		case 0:
			t.Errorf("%s: it changes nothing", edit.statement)
		case -1:
			t.Logf("refused by the database: %s", edit.statement)
			continue
		}
		s.wantFault(edit.statement, edit.kind, edit.says)
		s.mend()
	}
	// What was sent keeps what it said then.
	s.exec(`UPDATE outbox SET state = 'sent', at = at + 1, remaining = 'x', record_id = 'x'`)
	wantSound(t, s.verify(s.w, false))
}

// TestVerifyFindsAnEditedBalance: what is left of a package is edited in the database, with all hashes there made anew.
func TestVerifyFindsAnEditedBalance(t *testing.T) { onAllStores(t, findBalances) }

func findBalances(t *testing.T, s *tampered) {
	compiled, err := s.app(s.w.later()).catalog(s.config())
	if err != nil {
		t.Fatal(err)
	}
	st := openStore(t, s.site)
	periods, err := st.Periods(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	edited := 0
	for _, p := range periods {
		shards, err := st.ShardStates(t.Context(), p.PeriodStart, p.Revision)
		if err != nil {
			t.Fatal(err)
		}
		for n, shard := range shards {
			blob, err := st.LoadState(t.Context(), shard.SHA256)
			if err != nil {
				t.Fatal(err)
			}
			payers, err := store.DecodeState(compiled, blob)
			if err != nil {
				t.Fatal(err)
			}
			pkg := raiseOne(payers)
			if pkg < 0 {
				continue
			}
			if blob, err = new(store.StateEncoder).Encode(compiled, payers); err != nil {
				t.Fatal(err)
			}
			hash, err := store.StateHash(blob)
			if err != nil {
				t.Fatal(err)
			}
			hashes := make([][32]byte, len(shards))
			for i := range shards {
				hashes[i] = shards[i].SHA256
			}
			hashes[n] = hash
			s.exec(`UPDATE state SET sha256 = ?, content = ? WHERE sha256 = ?`, hash.String(), blob, shard.SHA256.String())
			s.exec(`UPDATE shard_state SET sha256 = ? WHERE sha256 = ?`, hash.String(), shard.SHA256.String())
			s.exec(`UPDATE revision SET closing_sha256 = ? WHERE period_start = ?`, store.Hash(jobs.HashOfShards(hashes)).String(), p.PeriodStart)
			id := compiled.Packages[pkg].ID
			s.wantFault("balance of "+id, jobs.FaultBalance, fmt.Sprintf("balances-%03d.parquet", n), "package "+id+":", "is left")
			s.wantFault("state with "+id, jobs.FaultState, "but the manifest says")
			edited++
			if err := st.Close(); err != nil {
				t.Fatal(err)
			}
			s.mend()
			st = openStore(t, s.site)
		}
	}
	if edited == 0 {
		t.Error("no balance was edited")
	}
}

// raiseOne gives a package one unit more, and says which; -1: there is none that lives.
func raiseOne(payers []rating.PayerState) int32 {
	for i := range payers {
		for n := range payers[i].Packages {
			if p := &payers[i].Packages[n]; p.Stage == rating.StageLive {
				p.Remaining++
				return p.Package
			}
		}
	}
	return -1
}

// crooked settles wrongly: it does something to what is written, but to no total.
type crooked func(*rating.Result)

func (c crooked) tamper(job *jobs.Settle) { job.Output = crookedOutput{job.Output, c} }

type crookedOutput struct {
	jobs.Output
	do crooked
}

func (o crookedOutput) Create(period rating.Period, name string, revision int, objects []string) (jobs.Revision, error) {
	r, err := o.Output.Create(period, name, revision, objects)
	return crookedRevision{r, o.do}, err
}

type crookedRevision struct {
	jobs.Revision
	do crooked
}

func (r crookedRevision) Shard(number int, c *rating.Catalog) jobs.Shard {
	return crookedShard{r.Revision.Shard(number, c), r.do}
}

type crookedShard struct {
	jobs.Shard
	do crooked
}

func (s crookedShard) Append(payer int32, result *rating.Result) error {
	s.do(result)
	return s.Shard.Append(payer, result)
}

// TestVerifyFindsAForgedOpening: a row of balances that adds up, but does not open with what the period before left.
func TestVerifyFindsAForgedOpening(t *testing.T) {
	t.Parallel()
	w := newWorld(73, smallWorld)
	s := newSite(t, w)
	s.tamper = crooked(func(r *rating.Result) {
		for i := range r.Balances {
			r.Balances[i].Opening++
			r.Balances[i].Granted--
		}
	}).tamper
	s.settle(w)
	wrong := 0
	for _, f := range s.verify(w, false).Faults {
		if f.Kind != jobs.FaultBalance || !strings.Contains(f.What, "it opens with") && !strings.HasPrefix(f.What, "and ") {
			t.Errorf("%+v", f)
		}
		wrong++
	}
	if wrong == 0 {
		t.Error("nothing was found")
	}
}

// TestDeepFindsWhatNoHashTells: files that agree with everything, and are wrong.
func TestDeepFindsWhatNoHashTells(t *testing.T) {
	t.Parallel()
	w := newWorld(71, smallWorld)
	s := newSite(t, w)
	s.tamper = crooked(func(r *rating.Result) { // every line says that it came from the row after its own
		for i := range r.Lines {
			r.Lines[i].SourceRow++
		}
	}).tamper
	s.settle(w)
	s.tamper = nil
	wantSound(t, s.verify(w, false))
	found := s.verify(w, true)
	wrong := 0
	for _, f := range found.Faults {
		if f.Kind == jobs.FaultDeep && strings.Contains(f.Place, "/lines-") && strings.HasPrefix(f.What, "row 1: source_row is ") {
			wrong++
			continue
		}
		t.Errorf("%+v", f)
	}
	if wrong == 0 {
		t.Error("nothing was found")
	}
	if before, after := s.output(), s.visible(); len(before) == 0 || len(after["revision"]) == 0 {
		t.Error("it is gone")
	}
}

// TestDeepSaysWhatCannotBeSettledAgain instead of finding differences that are none.
func TestDeepSaysWhatCannotBeSettledAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(72, smallWorld)
	s := newSite(t, w)
	s.settle(w)
	object := w.objects[0].name
	content, err := os.ReadFile(s.path("usage/" + object))
	if err != nil {
		t.Fatal(err)
	}
	catalog := w.catalogYAML(t)
	files, state := s.output(), s.visible()
	for _, c := range []struct {
		what, why string
		do        func()
	}{
		{"nothing", "", func() {}},
		{"an object is touched", "", func() { s.write("usage/"+object, content) }},
		{"an object came late", "", func() { s.write("usage/late.ndjson", []byte(strings.ReplaceAll(string(content), "r", "x"))) }},
		{"an object is gone", "the usage object " + object + " is gone", func() {
			if err := errors.Join(os.Remove(s.path("usage/late.ndjson")), os.Remove(s.path("usage/"+object))); err != nil {
				t.Fatal(err)
			}
		}},
		{"an object has grown", "the usage object " + object + " has changed since", func() {
			s.write("usage/"+object, append(slices.Clone(content), content...))
		}},
		{"an object has other bytes", "the usage object " + object + " has changed since", func() {
			s.write("usage/"+object, []byte(strings.Replace(string(content), "0", "1", 1)))
		}},
		{"a unit was renamed", "", func() {
			s.write("usage/"+object, content)
			s.write("catalog.yaml", []byte(strings.Replace(string(catalog), "unit: calls", "unit: call", 1)))
		}},
		{"the configuration has changed", "the configuration has changed since", func() {
			s.write("catalog.yaml", catalog)
			s.configure("reminder_days: [3]\n")
		}},
	} {
		c.do()
		found := s.verify(w, true)
		for _, f := range found.Faults {
			t.Errorf("%s: %+v", c.what, f)
		}
		reasons := 0
		for _, r := range found.Revisions {
			if r.Repeated == (r.Unrepeated != "") {
				t.Errorf("%s: %+v", c.what, r)
			}
			if r.Unrepeated != "" {
				reasons++
				if c.why == "" || !strings.Contains(r.Unrepeated, c.why) {
					t.Errorf("%s: %s cannot be settled again: %s", c.what, r.Period, r.Unrepeated)
				}
			}
		}
		if (reasons > 0) != (c.why != "") {
			t.Errorf("%s: %d of %d cannot be settled again", c.what, reasons, len(found.Revisions))
		}
	}
	same(t, "files", files, s.output())
	same(t, "state", state, s.visible())
}

// TestCatalogThatWasNotKept: what an older drawdown settled is looked at with today's catalog, and that is said.
func TestCatalogThatWasNotKept(t *testing.T) {
	t.Parallel()
	w := newWorld(72, smallWorld)
	s := newSite(t, w)
	s.settle(w)
	s.exec(`DELETE FROM catalog`)
	s.write("catalog.yaml", []byte(strings.Replace(string(w.catalogYAML(t)), "unit: calls", "unit: call", 1)))
	for _, r := range s.verify(w, true).Revisions {
		if !strings.Contains(r.Unrepeated, "was not kept") {
			t.Errorf("%s: %+v", r.Period, r)
		}
	}
	if code, out := s.run(t, w.later(), "packages", "--at", "2026-10-27"); code != exitDone || !strings.Contains(out, "the one of then was not kept") {
		t.Errorf("%d: %s", code, out)
	}
	if code, out := s.run(t, w.later(), "catalog", "show", "--run", "1"); code != exitFailed || !strings.Contains(out, "was not kept") {
		t.Errorf("%d: %s", code, out)
	}
}

// TestDeepOfOldRevisions: each revision is settled again with the catalog of its run, whatever came after it.
func TestDeepOfOldRevisions(t *testing.T) {
	t.Parallel()
	w := newWorld(74, smallWorld)
	s := newSite(t, w)
	half := rating.InstantOf(w.start.AddDate(0, 0, 3))
	s.settleUntil(w.later(), half)
	for _, price := range []string{"0.7", "0.8"} {
		s.write("more.yaml", []byte("prices:\n  - {id: p-extra, meter: extra, model: flat, price: "+price+"}\nmeters:\n  - {id: extra}\n"))
		if code, out := s.run(t, w.later(), "catalog", "apply", s.path("more.yaml")); code != exitDone && code != exitWaiting { // the second one reaches back
			t.Fatal(out)
		}
		s.settle(w)
	}
	s.write("catalog.yaml", dearer(t, w.catalogYAML(t)))
	if report, _ := s.backfilled(w, rating.InstantOf(w.start), rating.InstantOf(w.start.AddDate(0, 0, 2)), false); len(report.Periods) == 0 {
		t.Fatal("dearer prices change nothing")
	}
	s.write("catalog.yaml", w.catalogYAML(t)) // and back again
	s.backfilled(w, rating.InstantOf(w.start), rating.InstantOf(w.start.AddDate(0, 0, 1)), false)
	found := s.verify(w, true)
	if len(found.Faults) > 0 {
		t.Errorf("%+v", found.Faults)
	}
	revisions := 0
	for _, r := range found.Revisions {
		if revisions = max(revisions, r.Revision); !r.Repeated {
			t.Errorf("%s, revision %d: %s", r.Period, r.Revision, r.Unrepeated)
		}
	}
	if revisions < 3 {
		t.Errorf("%d revisions at most", revisions)
	}
}

// dearer edits each flat price of a catalog.
func dearer(t *testing.T, catalog []byte) []byte {
	t.Helper()
	edited := regexp.MustCompile(`price: "?0\.`).ReplaceAllFunc(catalog, func(old []byte) []byte { return append(old[:len(old)-2:len(old)-2], "1."...) })
	if bytes.Equal(edited, catalog) {
		t.Fatal("the catalog has no price that could be edited")
	}
	return edited
}
