package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"drawdown/rating"
	"drawdown/readers/bucket"
	. "drawdown/readers/bucket/buckettest"
)

// bucketSite is the demo with its usage and its settlements in a bucket.
func bucketSite(t *testing.T, endpoint, usagePrefix, outputPrefix string) *site {
	t.Helper()
	s := demoSite(t)
	config, err := os.ReadFile(s.path("drawdown.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer("./usage ", `"`+URL(endpoint, usagePrefix)+`" `, "./settlements}", `"`+URL(endpoint, outputPrefix)+`"}`).Replace(string(config))
	s.write("drawdown.yaml", []byte(text))
	return s
}

// demoSite is the demo in a folder.
func demoSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, dir: fastDir(t), memory: 64 << 20}
	if err := writeDemo(s.dir); err != nil {
		t.Fatal(err)
	}
	return s
}

func demoTime(t *testing.T) time.Time {
	now, err := time.Parse(time.RFC3339, demoNow)
	if err != nil {
		t.Fatal(err)
	}
	return now
}

func openTestBucket(t *testing.T, endpoint, prefix string) *bucket.Bucket {
	t.Helper()
	address, err := bucket.Parse(URL(endpoint, prefix))
	if err != nil {
		t.Fatal(err)
	}
	b, err := bucket.Open(t.Context(), address, bucket.Settings{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// upload copies a folder into a bucket.
func upload(t *testing.T, b *bucket.Bucket, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		content, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err == nil {
			err = b.Put(t.Context(), entry.Name(), bytes.NewReader(content), int64(len(content)), sha256.Sum256(content))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// bucketTree is what tree is for a folder.
func bucketTree(t *testing.T, b *bucket.Bucket) map[string]string {
	t.Helper()
	var names []string
	if err := b.List(t.Context(), "", func(o bucket.Object) error { names = append(names, o.Key); return nil }); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range names {
		content, err := b.ReadFile(t.Context(), name)
		if err == nil {
			err = os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), content, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return tree(t, dir)
}

// documentedPolicies are those of docs/operations.md, for the bucket test.
func documentedPolicies(t *testing.T) []map[string]any {
	t.Helper()
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	var all []map[string]any
	for _, block := range strings.Split(string(text), "```json\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		block = strings.NewReplacer("USAGE-BUCKET", "test", "OUTPUT-BUCKET", "test", "USAGE-PREFIX", "usage", "OUTPUT-PREFIX", "settlements").Replace(block)
		var policy struct{ Statement []map[string]any }
		if err := json.Unmarshal([]byte(block), &policy); err != nil {
			t.Fatalf("%v: %s", err, block)
		}
		all = append(all, policy.Statement...)
	}
	if len(all) != 4 {
		t.Fatalf("docs/operations.md has %d statements", len(all))
	}
	return all
}

// TestBucketGivesTheSameBytes settles the demo in a folder, and in a bucket with no more rights than the documented ones.
func TestBucketGivesTheSameBytes(t *testing.T) {
	server := Start(t)
	root := openTestBucket(t, server.Endpoint, "")
	local, remote := demoSite(t), bucketSite(t, server.Endpoint, "usage", "settlements")
	upload(t, openTestBucket(t, server.Endpoint, "usage"), remote.path("usage"))
	if err := os.RemoveAll(remote.path("usage")); err != nil {
		t.Fatal(err)
	}
	server.AddUser(t, "settler", "settler-secret")
	server.SetPolicy(t, "settler", documentedPolicies(t))
	As(t, "settler", "settler-secret")
	mayNot(t, server)
	now := demoTime(t)
	want := local.settleUntil(now, rating.Never)
	got := remote.settleUntil(now, rating.Never)
	same(t, "records", want.Rows, got.Rows)
	if again := remote.settleUntil(now, rating.Never); len(again.Periods) != 0 {
		t.Errorf("settled again: %+v", again.Periods)
	}
	same(t, "files", local.output(), bucketTree(t, openTestBucket(t, server.Endpoint, "settlements")))
	same(t, "state", local.visible(), remote.visible())
	for _, id := range []string{demoRecord, "code.csv#1#prompt_tokens"} {
		want, err := local.app(now).explain(local.config(), id, 0)
		if err != nil {
			t.Fatal(err)
		}
		got, err := remote.app(now).explain(remote.config(), id, 0)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "explanation of "+id, explanationJSON(want), explanationJSON(got))
	}
	same(t, "balances", texts(local.rows("balances")), texts(remote.rows("balances")))
	same(t, "exports", local.exports(now), remote.exports(now))
	if _, err := os.Stat(remote.path("settlements")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is a folder beside the bucket: %v", err)
	}
	if err := root.List(t.Context(), "", func(o bucket.Object) error {
		if !strings.HasPrefix(o.Key, "usage/") && !strings.HasPrefix(o.Key, "settlements/") {
			t.Errorf("%s was written", o.Key)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// exports writes every format of all that is settled, and gives the files.
func (s *site) exports(now time.Time) map[string]string {
	s.t.Helper()
	out := filepath.Join(fastDir(s.t), "out")
	a := s.app(now)
	a.flags.Config = s.path("drawdown.yaml")
	from := s.config().Start.String()
	for _, format := range []string{"csv", "parquet", "statement", "revenue", "focus"} {
		k := exportCmd{From: from, To: now.Add(-time.Hour).Truncate(time.Hour).UTC().Format(time.RFC3339), Format: format, Out: out, As: "csv"}
		if err := k.Run(a); err != nil {
			s.t.Fatal(format, ": ", err)
		}
	}
	return tree(s.t, out)
}

// mayNot makes sure that the policy is in force: what it does not allow is forbidden.
func mayNot(t *testing.T, server *Server) {
	t.Helper()
	usage, output, root := openTestBucket(t, server.Endpoint, "usage"), openTestBucket(t, server.Endpoint, "settlements"), openTestBucket(t, server.Endpoint, "")
	content := []byte("x")
	sum := sha256.Sum256(content)
	for what, err := range map[string]error{
		"write usage":    usage.Put(t.Context(), "new.csv", bytes.NewReader(content), 1, sum),
		"remove usage":   usage.Remove(t.Context(), "code.csv"),
		"write beside":   root.Put(t.Context(), "beside", bytes.NewReader(content), 1, sum),
		"list beside":    root.List(t.Context(), "", func(bucket.Object) error { return nil }),
		"remove outputs": output.Remove(t.Context(), "current.json"),
	} {
		if !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s: %v, want that it is forbidden", what, err)
		}
	}
}

// TestBucketWithFaults: whatever fails on the way, the result is the same.
func TestBucketWithFaults(t *testing.T) {
	server := Start(t)
	proxy := NewProxy(t, server)
	local := demoSite(t)
	now := demoTime(t)
	local.settleUntil(now, rating.Never)
	upload(t, openTestBucket(t, server.Endpoint, "usage"), local.path("usage"))
	for name, fault := range map[string]Fault{
		"500": Answer(500, "InternalError"), "reset-after": ResetAfter, "cut": Cut(100), "500-after": AnswerAfter(500, "InternalError"),
	} {
		n := 0
		proxy.Fail(1<<30, func(r *http.Request) bool {
			n++
			return n%4 == 0 && (name != "cut" || r.Method == http.MethodGet)
		}, fault)
		remote := bucketSite(t, proxy.Endpoint, "usage", "out-"+name)
		if _, err := remote.trySettle(now, rating.Never, false); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		proxy.Heal()
		same(t, name+": files", local.output(), bucketTree(t, openTestBucket(t, server.Endpoint, "out-"+name)))
		same(t, name+": state", local.visible(), remote.visible())
	}
}

// TestBucketThatFails: a clear error, nothing committed, and the next run settles as if nothing had been.
func TestBucketThatFails(t *testing.T) {
	server := Start(t)
	proxy := NewProxy(t, server)
	local := demoSite(t)
	now := demoTime(t)
	local.settleUntil(now, rating.Never)
	usage := openTestBucket(t, server.Endpoint, "usage")
	upload(t, usage, local.path("usage"))
	remote := bucketSite(t, proxy.Endpoint, "usage", "out")
	content, err := usage.ReadFile(t.Context(), "code.csv")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what  string
		match func(*http.Request) bool
		fault Fault
		want  string
	}{
		{"an object changes", On("GET", "/usage/code.csv"), Before(func() {
			if err := usage.Replace(context.Background(), "code.csv", content[1:]); err != nil {
				t.Error(err)
			}
		}), "R4.5: usage object code.csv: changed while it was read (373040 bytes"},
		{"an object vanishes", On("GET", "/usage/conv.csv"), Answer(404, "NoSuchKey"), "R4.5: usage object conv.csv: has vanished"},
		{"an object is forbidden", On("GET", "/usage/conv.csv"), Answer(403, "AccessDenied"), "no fault of the object"},
		{"no list", On("GET", "list-type=2"), Answer(403, "AccessDenied"), "list usage objects: list usage: list s3://test/usage: the credentials do not allow it"},
		{"no write", On("PUT", "quarantine.parquet"), Answer(403, "AccessDenied"), "the credentials do not allow it"},
		{"no manifest", On("PUT", "manifest.json"), Answer(403, "AccessDenied"), "the credentials do not allow it"},
	} {
		proxy.Fail(1<<30, c.match, c.fault)
		_, err := remote.trySettle(now, rating.Never, false)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), Secret) {
			t.Errorf("%s: %v, want %s", c.what, err, c.want)
		}
		proxy.Heal()
		if err := usage.Replace(t.Context(), "code.csv", content); err != nil {
			t.Error(err)
		}
		if periods := remote.query(`SELECT * FROM revision`); len(periods) > 0 {
			t.Fatalf("%s: %v is committed", c.what, periods)
		}
	}
	// current.json follows from the database, so a run that could not write it has settled all the same.
	proxy.Fail(1<<30, On("PUT", "current.json"), Answer(403, "AccessDenied"))
	if _, err := remote.trySettle(now, rating.Never, false); err == nil || !strings.Contains(err.Error(), "what is settled is committed") {
		t.Errorf("no current.json: %v", err)
	}
	proxy.Heal()
	remote.settleUntil(now, rating.Never)
	wanted, found := local.output(), bucketTree(t, openTestBucket(t, server.Endpoint, "out"))
	same(t, "files", wanted, found)
	same(t, "state", local.visible(), remote.visible())
}

// TestLargeParquetInABucket: a Parquet object above 64 MB is fetched in ranges, each byte once, in the memory of a few of them,
// also where one is cut off; what comes of it is what comes of the same file in a folder.
func TestLargeParquetInABucket(t *testing.T) {
	server := Start(t)
	proxy := NewProxy(t, server)
	content := largeParquet(t)
	local, remote := emptySite(t, "start: 2026-10-01"), emptySite(t, "start: 2026-10-01")
	remote.remote = proxy.Endpoint
	remote.configure("", "start: 2026-10-01")
	for _, s := range []*site{local, remote} {
		s.write("catalog.yaml", []byte(plainCatalog))
	}
	local.write("usage/large.parquet", content)
	server.Write(t, "usage/large.parquet", content)
	ranges := map[string]int{}
	proxy.Fail(1<<30, func(r *http.Request) bool {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "large.parquet") {
			ranges[r.Header.Get("Range")]++
		}
		return false
	}, nil)
	proxy.Fail(1, func(r *http.Request) bool { return strings.HasPrefix(r.Header.Get("Range"), "bytes=33554432-") }, Cut(1000))
	for _, s := range []*site{local, remote} {
		code, peak, _ := measured(t, "--config", s.path("drawdown.yaml"), "--memory", "64MiB", "--now", "2026-10-03T00:00:00Z", "settle", "--until", "2026-10-02T00:00:00Z")
		t.Logf("%d MiB at most", peak>>20)
		if code != exitDone || peak > 200<<20 {
			t.Errorf("it ended with %d, and took %d MiB", code, peak>>20)
		}
	}
	proxy.Heal()
	same(t, "files", local.output(), remote.output())
	bytes := 0
	for text, times := range ranges {
		var from, to int
		if _, err := fmt.Sscanf(text, "bytes=%d-%d", &from, &to); err != nil || to-from >= 8<<20 {
			t.Errorf("it asked for %q", text)
		}
		if from == 32<<20 {
			times-- // again, where it was cut off
		}
		if bytes += to - from + 1; times > 1 {
			t.Errorf("it asked for %s %d times", text, times)
		}
	}
	t.Logf("%d MiB in %d ranges", len(content)>>20, len(ranges))
	if len(content) < 64<<20 || bytes != len(content) {
		t.Errorf("%d bytes of %d in %d ranges", bytes, len(content), len(ranges))
	}
}

// largeParquet is a file of 20,000 records, each with a text that does not compress and that nobody reads.
func largeParquet(t *testing.T) []byte {
	t.Helper()
	type row struct {
		ID       string    `parquet:"id"`
		Account  string    `parquet:"account,dict"`
		Meter    string    `parquet:"meter,dict"`
		Quantity int64     `parquet:"quantity"`
		Time     time.Time `parquet:"time,timestamp(microsecond)"`
		Payload  []byte    `parquet:"payload"`
	}
	var b bytes.Buffer
	w := parquet.NewGenericWriter[row](&b)
	random := rand.NewChaCha8([32]byte{1})
	for i := range 20_000 {
		payload := make([]byte, 3500)
		_, _ = random.Read(payload)
		r := row{fmt.Sprint("large-", i), "acme", "calls", int64(i), time.Date(2026, 10, 1, 8, 0, i/60, 0, time.UTC), payload}
		if _, err := w.Write([]row{r}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestStaleLists: a service whose lists are those of before, of usage or of the output, makes a run see late usage or say that
// something is amiss. Nothing is settled twice or wrongly, and once lists are right again all is as it would have been.
func TestStaleLists(t *testing.T) {
	w := newWorld(15, smallWorld)
	local := newSite(t, w)
	local.settle(w)
	for _, prefix := range []string{"usage", "settlements"} {
		t.Run(prefix, func(t *testing.T) {
			remote := newRealSite(t, w)
			proxy := NewProxy(t, remote.s3)
			remote.remote = proxy.Endpoint
			remote.configure("")
			lists := func(r *http.Request) bool {
				return r.Method == http.MethodGet && r.URL.Query().Get("list-type") == "2" && strings.HasPrefix(r.URL.Query().Get("prefix"), prefix)
			}
			empty := func(w http.ResponseWriter, r *http.Request, _ func() *http.Response) {
				fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>test</Name>`+
					`<Prefix>%s</Prefix><KeyCount>0</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated></ListBucketResult>`, r.URL.Query().Get("prefix"))
			}
			proxy.Fail(1<<30, lists, empty)
			for range 2 {
				_, err := remote.trySettle(w.later(), w.until(), false)
				if prefix == "usage" && err != nil || prefix != "usage" && (err == nil || !strings.Contains(err.Error(), "what is settled is committed")) {
					t.Errorf("with lists of before: %v", err)
				}
			}
			proxy.Heal()
			if prefix == "usage" { // empty periods were settled, and the usage is late
				remote.backfilled(w, rating.InstantOf(w.start), w.until(), false)
			}
			remote.settle(w)
			wantSound(t, remote.verify(w, true))
			for _, table := range []string{"lines", "charges", "balances"} {
				same(t, table, texts(local.rows(table)), texts(remote.rows(table)))
			}
		})
	}
}
