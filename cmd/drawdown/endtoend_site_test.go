package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"drawdown/jobs"
	"drawdown/rating"
	"drawdown/readers/bucket/buckettest"
	"drawdown/writers/settlement"
	"drawdown/writers/store"
	"drawdown/writers/store/storetest"
)

// plainCatalog knows two accounts and two meters.
const plainCatalog = `accounts: [{id: acme}, {id: globex}]
meters: [{id: calls}, {id: gb, scale: 2, max: "1000"}]
prices:
  - {id: calls, meter: calls, currency: USD, model: flat, price: "0.01"}
  - {id: gb, meter: gb, currency: USD, model: flat, price: "0.01"}
`

// site is a folder with a configuration, a catalog and usage.
type site struct {
	t      testing.TB
	dir    string
	tamper func(*jobs.Settle)
	watch  func(*jobs.Backfill)
	memory byteSize
	state  string // a database of PostgreSQL; "": an SQLite file
	remote string // where the bucket is that holds usage and settlements; "": they are in folders
	s3     *buckettest.Server
}

// server is the PostgreSQL of these tests.
var server storetest.Shared

// withServer stops the server when all tests have run.
type withServer struct{ *testing.M }

func (m withServer) Run() int {
	code := m.M.Run()
	if err := server.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	return code
}

// fastDir is a new folder, in memory where the machine has that: many small files are what these tests write.
func fastDir(t testing.TB) string {
	t.Helper()
	parent := ""
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		parent = "/dev/shm"
	}
	dir, err := os.MkdirTemp(parent, "drawdown-test-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// newSite puts a world into a folder of its own. Settings are lines of drawdown.yaml's section settlement.
func newSite(t testing.TB, w *world, settings ...string) *site {
	t.Helper()
	return newSiteIn(t, "", w, settings...)
}

// newSiteIn is newSite with a state of PostgreSQL; of "", one of SQLite.
func newSiteIn(t testing.TB, state string, w *world, settings ...string) *site {
	t.Helper()
	s := emptySite(t, settings...)
	if state != "" {
		s.state = state
		s.configure("", settings...)
	}
	s.write("catalog.yaml", w.catalogYAML(t))
	for i := range w.objects {
		s.write("usage/"+w.objects[i].name, w.objects[i].content(t))
	}
	return s
}

// newRealSite is newSite on the stores that drawdown is meant for: the state in PostgreSQL, the rest in a bucket of its own.
func newRealSite(t *testing.T, w *world, settings ...string) *site {
	t.Helper()
	remote := buckettest.Start(t)
	s := &site{t: t, dir: fastDir(t), state: server.Get(t).Fresh(t), remote: remote.Endpoint, s3: remote}
	s.configure("", settings...)
	s.write("catalog.yaml", w.catalogYAML(t))
	usage := openTestBucket(t, remote.Endpoint, "usage")
	for i := range w.objects {
		content := w.objects[i].content(t)
		if err := usage.Put(t.Context(), w.objects[i].name, bytes.NewReader(content), int64(len(content)), sha256.Sum256(content)); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func emptySite(t testing.TB, settings ...string) *site {
	t.Helper()
	s := &site{t: t, dir: fastDir(t)}
	if os.Getenv("TEST_STATE") == "postgres" { // all of these tests over PostgreSQL
		s.state = server.Get(t).Fresh(t)
	}
	s.configure("", settings...)
	return s
}

// configure writes drawdown.yaml; more goes to its top level.
func (s *site) configure(more string, settings ...string) {
	s.t.Helper()
	config := "site: test\ncatalog: ./catalog.yaml\n"
	if s.state != "" {
		config += "state: " + s.state + "\n"
	}
	if s.remote != "" {
		config += fmt.Sprintf("usage: {url: %q}\noutput: {url: %q}\n", buckettest.URL(s.remote, "usage"), buckettest.URL(s.remote, "settlements"))
	}
	config += more + "settlement:\n  time_zone: " + worldZone + "\n"
	for _, key := range []string{"period: day", "shards: 3", "delay: 0s", "start: " + worldFrom, "max_quarantine: 50%"} {
		name, _, _ := strings.Cut(key, ":")
		if !slices.ContainsFunc(settings, func(setting string) bool { return strings.HasPrefix(setting, name+":") }) {
			config += "  " + key + "\n"
		}
	}
	for _, setting := range settings {
		config += "  " + setting + "\n"
	}
	s.write("drawdown.yaml", []byte(config))
}

func (s *site) path(name string) string { return filepath.Join(s.dir, filepath.FromSlash(name)) }

func (s *site) write(name string, content []byte) {
	s.t.Helper()
	err := os.MkdirAll(filepath.Dir(s.path(name)), 0o777)
	if err == nil {
		err = os.WriteFile(s.path(name), content, 0o666)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) app(now time.Time) *app {
	a := newApp(now)
	a.tamper, a.watch, a.flags.Memory = s.tamper, s.watch, memorySize(s.memory)
	return a
}

func (s *site) config() *Config {
	s.t.Helper()
	config, err := loadConfig(s.path("drawdown.yaml"), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return config
}

func (s *site) trySettle(now time.Time, until rating.Instant, dryRun bool) (*jobs.Report, error) {
	s.t.Helper()
	return s.app(now).settle(s.config(), until, dryRun)
}

// settle settles the whole world.
func (s *site) settle(w *world) *jobs.Report {
	s.t.Helper()
	return s.settleUntil(w.later(), w.until())
}

func (s *site) settleUntil(now time.Time, until rating.Instant) *jobs.Report {
	s.t.Helper()
	report, err := s.trySettle(now, until, false)
	if err != nil {
		s.t.Fatal(err)
	}
	return report
}

// openOutput opens the output until the test ends.
func (s *site) openOutput() *settlement.Output {
	s.t.Helper()
	out, err := s.config().openOutput(context.Background(), 64<<20)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { out.Close() })
	return out
}

func (s *site) publishedPeriods() map[string]settlement.Current {
	s.t.Helper()
	current, err := s.openOutput().ReadCurrent()
	if err != nil {
		s.t.Fatal(err)
	}
	return current
}

func (s *site) openPublished(name string, current settlement.Current) *published {
	s.t.Helper()
	p, err := openPublished(s.openOutput(), name, current)
	if err != nil {
		s.t.Fatal(err)
	}
	return p
}

// published is what the site says is current, period by period.
func (s *site) published() map[string]*settlement.Manifest {
	s.t.Helper()
	current := s.publishedPeriods()
	manifests := map[string]*settlement.Manifest{}
	for name, c := range current {
		manifests[name] = s.openPublished(name, c).manifest
	}
	return manifests
}

// rows reads a table of all periods, in their order.
func (s *site) rows(table string) []resultRow {
	s.t.Helper()
	current := s.publishedPeriods()
	all := &results{tables: map[string][]resultRow{}}
	for _, name := range keysOf(current) {
		for _, file := range s.openPublished(name, current[name]).files(table) {
			if err := all.read(table, file); err != nil {
				s.t.Fatal(err)
			}
		}
	}
	return all.tables[table]
}

// texts writes rows as texts without some columns, sorted.
func texts(rows []resultRow, without ...string) []string {
	list := make([]string, len(rows))
	for i, row := range rows {
		row = maps.Clone(row)
		for _, column := range without {
			delete(row, column)
		}
		list[i] = row.String()
	}
	slices.Sort(list)
	return list
}

var tokenPattern = regexp.MustCompile(`rev=(\d+)-\d+`)

// tree is the content of a folder: the hash of each file, by its name. Tokens of runs are left out.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		relative = tokenPattern.ReplaceAllString(filepath.ToSlash(relative), "rev=$1")
		if entry.IsDir() {
			files[relative+"/"] = ""
			return nil
		}
		data, err := os.ReadFile(name)
		if entry.Name() == "current.json" {
			data = tokenPattern.ReplaceAll(data, []byte("rev=$1"))
		}
		sum := sha256.Sum256(data)
		files[relative] = hex.EncodeToString(sum[:])
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return files
}

func (s *site) output() map[string]string {
	if s.remote != "" {
		return bucketTree(s.t.(*testing.T), openTestBucket(s.t.(*testing.T), s.remote, "settlements"))
	}
	return tree(s.t, s.path("settlements"))
}

// database opens the state as somebody beside drawdown does; options are SQLite's.
func (s *site) database(options string) *sql.DB {
	s.t.Helper()
	driver, source := "sqlite", "file:"+s.path("drawdown.db")+"?_pragma=busy_timeout(10000)&"+options
	if s.state != "" {
		driver, source = "postgres", s.state
	}
	db, err := sql.Open(driver, source)
	if err != nil {
		s.t.Fatal(err)
	}
	return db
}

// query reads rows of the state, as texts.
func (s *site) query(statement string) []string {
	s.t.Helper()
	db := s.database("mode=ro")
	defer db.Close()
	rows, err := db.Query(statement)
	if err != nil {
		s.t.Fatal(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		s.t.Fatal(err)
	}
	list := []string{}
	for rows.Next() {
		values := make([]any, len(columns))
		for i := range values {
			values[i] = new(any)
		}
		if err := rows.Scan(values...); err != nil {
			s.t.Fatal(err)
		}
		var row []string
		for i, column := range columns {
			row = append(row, fmt.Sprintf("%s=%v", column, *values[i].(*any)))
		}
		list = append(list, strings.Join(row, " "))
	}
	if err := rows.Err(); err != nil {
		s.t.Fatal(err)
	}
	return list
}

// visible is all that the state says was settled. Numbers of runs and tokens, which differ after a failure, are left out,
// and when an object was written.
func (s *site) visible() map[string][]string {
	s.t.Helper()
	return map[string][]string{
		"period": s.query(`SELECT period_start, period_end, period_name, state FROM period ORDER BY 1`),
		"revision": s.query(`SELECT period_start, revision, manifest_sha256, previous_manifest_sha256, config_sha256, catalog_sha256,
			opening_sha256, closing_sha256, shards, payers, packages, notices, totals, is_current FROM revision ORDER BY 1, 2`),
		"shard_state": s.query(`SELECT * FROM shard_state ORDER BY period_start, revision, shard`),
		"object":      s.query(`SELECT key, size, sha256, records, first_time, last_time, home_period_start FROM object ORDER BY key`),
		"outbox": s.query(`SELECT dedup_key, kind, account, package, meter, cycle_start, threshold, remaining, record_id, at,
			period_start, revision, state FROM outbox ORDER BY dedup_key`),
	}
}

// same fails the test where two things differ.
func same(t testing.TB, what string, want, got any) {
	t.Helper()
	if reflect.DeepEqual(want, got) {
		return
	}
	diff := cmp.Diff(want, got)
	if len(diff) > 4000 {
		diff = diff[:4000] + "…"
	}
	t.Errorf("%s:\n%s", what, diff)
}

// sameSite compares all that two sites have settled, byte by byte.
func sameSite(t testing.TB, what string, want, got *site) {
	t.Helper()
	same(t, what+": files", want.output(), got.output())
	same(t, what+": state", want.visible(), got.visible())
}

// sameRows compares what two sites have settled, whatever the files are like. Some columns may be left out.
func sameRows(t testing.TB, what string, want, got *site, tables []string, without ...string) {
	t.Helper()
	for _, table := range tables {
		same(t, what+": "+table, texts(want.rows(table), without...), texts(got.rows(table), without...))
	}
}

func openStore(t testing.TB, s *site) *store.Store {
	t.Helper()
	st, err := store.Open(context.Background(), s.config().State, store.Scratch)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}
