package settlement

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"drawdown/readers/bucket"
	. "drawdown/readers/bucket/buckettest"
)

// outputs are the places where settlements may go. What holds for one holds for the others.
func outputs() map[string]func(t *testing.T) *Output {
	return map[string]func(t *testing.T) *Output{
		"folder": func(t *testing.T) *Output {
			o, err := OpenOutput(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { o.Close() })
			return o
		},
		"bucket": func(t *testing.T) *Output {
			return openTestBucket(t, t.Context(), Start(t).Endpoint, "settlements/here")
		},
	}
}

func openTestBucket(t *testing.T, ctx context.Context, endpoint, prefix string) *Output {
	t.Helper()
	a, err := bucket.Parse(URL(endpoint, prefix))
	if err != nil {
		t.Fatal(err)
	}
	o, err := OpenBucket(ctx, a, bucket.Settings{Memory: 2 << 20, TempDir: t.TempDir(), LongestWait: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	})
	return o
}

func writeTest(t *testing.T, s storage, name string, content []byte) error {
	t.Helper()
	file, err := s.create(name)
	if err != nil {
		return err
	}
	if _, err := file.Write(content); err != nil {
		t.Fatal(err)
	}
	return errors.Join(s.close(name, file, int64(len(content))), s.sync(t.Context()))
}

func listTest(t *testing.T, s storage, prefix string) map[string]int64 {
	t.Helper()
	files := map[string]int64{}
	if err := s.list(t.Context(), prefix, func(f fileInfo) error {
		if f.modified.Before(time.Now().Add(-time.Hour)) || f.modified.After(time.Now().Add(time.Hour)) {
			t.Errorf("%s was modified at %v", f.name, f.modified)
		}
		files[f.name] = f.size
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return files
}

func TestStorages(t *testing.T) {
	for name, open := range outputs() {
		t.Run(name, func(t *testing.T) {
			s := open(t).storage
			if err := s.makeDir("p/r=1"); err != nil {
				t.Fatal(err)
			}
			contents := map[string][]byte{"p/r=1/a": []byte("content"), "p/r=1/empty": {}, "p/r=1/large": bytes.Repeat([]byte("0123456789"), 100_000)}
			for name, content := range contents {
				if err := writeTest(t, s, name, content); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
			if err := s.makeDir("p/r=1"); !errors.Is(err, fs.ErrExist) {
				t.Errorf("a folder was made twice: %v", err)
			}
			given, err := s.create("p/r=1/given-up")
			if err != nil {
				t.Fatal(err)
			}
			if err := given.Close(); err != nil {
				t.Error(err)
			}
			_ = s.remove(t.Context(), "p/r=1/given-up")
			for name, content := range contents {
				checkStored(t, s, name, content)
			}
			if _, err := s.open("p/r=1/b"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("open: %v", err)
			}
			if _, err := s.stat("p/r=1/b"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("stat: %v", err)
			}
			want := map[string]int64{"p/r=1/a": 7, "p/r=1/empty": 0, "p/r=1/large": 1_000_000}
			for _, prefix := range []string{"", "p/", "p/r=1/", "p/r="} {
				if got := listTest(t, s, prefix); !maps.Equal(got, want) {
					t.Errorf("list %q: %v", prefix, got)
				}
			}
			if got := listTest(t, s, "p/r=1/e"); len(got) != 1 {
				t.Errorf("list: %v", got)
			}
			for _, content := range []string{"one", "two", "two", ""} {
				if err := s.replace("current", []byte(content)); err != nil {
					t.Error(err)
				}
				checkStored(t, s, "current", []byte(content))
			}
			if err := s.remove(t.Context(), "p/r=1/a", "p/r=1/never-there"); err != nil {
				t.Error(err)
			}
			if err := s.makeDir("p/r=10"); err != nil {
				t.Error(err)
			}
			if err := writeTest(t, s, "p/r=10/a", nil); err != nil {
				t.Error(err)
			}
			if err := writeTest(t, s, "p/r=10/a", []byte("overwritten")); !errors.Is(err, fs.ErrExist) {
				t.Errorf("a file was overwritten: %v", err)
			}
			if err := s.removeAll("p/r=1"); err != nil {
				t.Error(err)
			}
			if got := listTest(t, s, ""); !maps.Equal(got, map[string]int64{"current": 0, "p/r=10/a": 0}) {
				t.Errorf("left: %v", got)
			}
		})
	}
}

func checkStored(t *testing.T, s storage, name string, content []byte) {
	t.Helper()
	if info, err := s.stat(name); err != nil || info.size != int64(len(content)) {
		t.Errorf("stat %s: %+v %v", name, info, err)
	}
	file, err := s.open(name)
	if err != nil {
		t.Error(err)
		return
	}
	defer file.Close()
	got, err := io.ReadAll(io.NewSectionReader(file, 0, file.Size()+1))
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("%s: %d bytes, %v", name, len(got), err)
	}
}

// recorder keeps the first error, and lets a test go on.
type recorder struct{ err error }

func (r *recorder) Helper() {}

func (r *recorder) Fatal(args ...any) {
	if r.err == nil {
		r.err = args[0].(error)
	}
}

// settleTest writes, checks and finishes a revision.
func settleTest(t *testing.T, w *world, o *Output) error {
	t.Helper()
	r, err := o.Create(w.period, "2026-10", 1, 17, w.names)
	if err != nil {
		return err
	}
	var problem recorder
	w.write(&problem, r, 3, 1000)
	if err := errors.Join(problem.err, r.Check(t.Context())); err != nil {
		return err
	}
	key, sum, err := r.Finish(w.manifest())
	if err != nil {
		return err
	}
	return errors.Join(o.Sync(t.Context()), o.SetCurrent(map[string]Current{"2026-10": {1, key, sum[:]}}))
}

// contents gives all files of an output.
func contents(t *testing.T, o *Output) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for name := range listTest(t, o.storage, "") {
		content, err := o.ReadFile(name)
		if err != nil {
			t.Error(err)
		}
		files[name] = content
	}
	return files
}

func sameContents(t *testing.T, what string, want, got map[string][]byte) {
	t.Helper()
	if !maps.EqualFunc(want, got, bytes.Equal) {
		t.Errorf("%s: files %v and %v, or their contents, differ", what, slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got)))
	}
}

func TestSettlementsAreTheSameEverywhere(t *testing.T) {
	w := newWorld(21, 40, 3000)
	all := map[string]map[string][]byte{}
	for name, open := range outputs() {
		o := open(t)
		if err := settleTest(t, w, o); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all[name] = contents(t, o)
		current, err := o.ReadCurrent()
		if err != nil || len(current) != 1 || o.CheckCurrent(t.Context(), current) != nil {
			t.Errorf("%s: %v %v %v", name, current, err, o.CheckCurrent(t.Context(), current))
		}
		lines := 0
		for _, err := range ReadLines(o.File(revisionDir("2026-10", 1, 17) + "/lines-001.parquet")) {
			if lines++; err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if lines == 0 {
			t.Errorf("%s: no lines", name)
		}
		if _, err := o.Create(w.period, "2026-10", 1, 17, w.names); !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), "another database") {
			t.Errorf("%s: a revision was made twice: %v", name, err)
		}
		current["2026-11"] = Current{1, "period=2026-11/rev=1-18/manifest.json", nil}
		if err := o.CheckCurrent(t.Context(), current); err == nil || !strings.Contains(err.Error(), "has lost 1 of 2 manifests") {
			t.Errorf("%s: a lost manifest: %v", name, err)
		}
		if err := o.Discard("2026-10", 1, 17); err != nil {
			t.Error(err)
		}
		left := listTest(t, o.storage, "")
		delete(left, "period=2026-10/") // an empty folder, which a bucket does not have
		if len(left) != 1 {
			t.Errorf("%s: left %v", name, left)
		}
	}
	if len(all["folder"]) < 14 {
		t.Errorf("%d files", len(all["folder"]))
	}
	sameContents(t, "bucket", all["folder"], all["bucket"])
}

func TestFaultsOfABucketChangeNothing(t *testing.T) {
	w := newWorld(22, 20, 500)
	folder, err := OpenOutput(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	if err := settleTest(t, w, folder); err != nil {
		t.Fatal(err)
	}
	want := contents(t, folder)
	proxy := NewProxy(t, Start(t))
	n := 0
	faults := map[string]Fault{
		"500": Answer(500, "InternalError"), "slow down": Answer(503, "SlowDown"), "reset": Reset, "reset after": ResetAfter,
		"500 after": AnswerAfter(500, "InternalError"), "412": Answer(412, "PreconditionFailed"),
		"412 after": AnswerAfter(412, "PreconditionFailed"), "409": Answer(409, "ConditionalRequestConflict"), "cut": Cut(50),
	}
	for _, method := range []string{"PUT", "GET", "HEAD"} {
		for name, fault := range faults {
			if method != "PUT" && strings.Contains(name, "4") || method == "HEAD" && name == "cut" {
				continue // these are answers to writes; a HEAD has no body
			}
			n++
			prefix := fmt.Sprintf("run-%d", n)
			o := openTestBucket(t, t.Context(), proxy.Endpoint, prefix)
			proxy.Fail(8, On(method, prefix), fault)
			err := settleTest(t, w, o)
			if left := proxy.Heal(); err != nil || left == 8 {
				t.Errorf("%s %s: %v, %d of 8 faults did not come about", method, name, err, left)
				continue
			}
			sameContents(t, method+" "+name, want, contents(t, o))
		}
	}
}

// TestBucketThatStaysBroken: a clear error, and no manifest, so that nothing can be committed.
func TestBucketThatStaysBroken(t *testing.T) {
	w := newWorld(23, 10, 100)
	proxy := NewProxy(t, Start(t))
	for name, c := range map[string]struct {
		method, part string
		fault        Fault
		want         string
	}{
		"no writes":     {"PUT", "lines-001", Answer(500, "InternalError"), "write s3://test/no-writes/period=2026-10/rev=1-17/lines-001.parquet"},
		"no right":      {"PUT", "lines-001", Answer(403, "AccessDenied"), "do not allow it"},
		"no reads":      {"GET", "lines-001", Cut(10), "did not come whole"},
		"vanished":      {"HEAD", "lines-001", Answer(404, "NotFound"), "does not exist"},
		"flipped":       {"GET", "lines-001", Edit(func(body []byte) { body[len(body)/2] ^= 1 }), "did not come whole"},
		"no manifest":   {"PUT", "manifest.json", Answer(500, "InternalError"), "write period=2026-10/rev=1-17/manifest.json"},
		"lost manifest": {"GET", "manifest.json", Answer(404, "NoSuchKey"), "write period=2026-10/rev=1-17/manifest.json"},
	} {
		prefix := strings.ReplaceAll(name, " ", "-")
		o := openTestBucket(t, t.Context(), proxy.Endpoint, prefix)
		proxy.Fail(1<<30, On(c.method, c.part), c.fault)
		err := settleTest(t, w, o)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
		proxy.Heal()
		if err := o.Discard("2026-10", 1, 17); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if left := listTest(t, o.storage, ""); len(left) > 0 {
			t.Errorf("%s: left %v", name, left)
		}
	}
}

// TestCheckReadsWhatTheServerHas, and not what was sent.
func TestCheckReadsWhatTheServerHas(t *testing.T) {
	server := Start(t)
	w := newWorld(24, 20, 500)
	o := openTestBucket(t, t.Context(), server.Endpoint, "out")
	r, err := o.Create(w.period, "2026-10", 1, 17, w.names)
	if err != nil {
		t.Fatal(err)
	}
	w.write(t, r, 1, 1000)
	if err := r.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, f := range r.written {
		name := "out/" + r.dir + "/" + f.Name
		whole, err := o.ReadFile(r.dir + "/" + f.Name)
		if err != nil {
			t.Fatal(err)
		}
		for at := 0; at < len(whole); at += 1 + len(whole)/3 {
			damaged := bytes.Clone(whole)
			damaged[at] ^= 1
			server.Write(t, name, damaged)
			if err := r.Check(t.Context()); err == nil {
				t.Errorf("%s: nobody noticed byte %d", f.Name, at)
			}
		}
		server.Write(t, name, whole)
	}
	if err := r.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestInterruptedUploads: a run that is interrupted ends soon, takes back what it wrote, and leaves no temporary file.
func TestInterruptedUploads(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir()) // so that what others left there is not taken for ours
	proxy := NewProxy(t, Start(t))
	w := newWorld(25, 20, 500)
	ctx, cancel := context.WithCancel(t.Context())
	o := openTestBucket(t, ctx, proxy.Endpoint, "out")
	proxy.Fail(1, On("PUT", "charges-002"), Before(cancel))
	if err := settleTest(t, w, o); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want that it was interrupted", err)
	}
	if err := o.Discard("2026-10", 1, 17); err != nil {
		t.Error(err)
	}
	// What the service was still working on when it was told may come afterwards: that is gc's. Nothing refers to it.
	after := openTestBucket(t, t.Context(), proxy.Endpoint, "out")
	for name := range listTest(t, after.storage, "") {
		if strings.HasSuffix(name, ".json") {
			t.Errorf("left %s", name)
		}
	}
	if files, err := os.ReadDir(os.TempDir()); err == nil {
		for _, file := range files {
			if strings.HasPrefix(file.Name(), "drawdown-object-") {
				t.Errorf("a temporary file has the name %s", file.Name())
			}
		}
	}
}

// TestSettlerNeedsNoRightToDelete: what it cannot take back is left to gc.
func TestSettlerNeedsNoRightToDelete(t *testing.T) {
	proxy := NewProxy(t, Start(t))
	o := openTestBucket(t, t.Context(), proxy.Endpoint, "out")
	if err := settleTest(t, newWorld(26, 2, 10), o); err != nil {
		t.Fatal(err)
	}
	proxy.Fail(1<<30, On("POST", "delete"), Answer(403, "AccessDenied"))
	if err := o.Discard("2026-10", 1, 17); err != nil {
		t.Error(err)
	}
	if err := o.storage.remove(t.Context(), currentName); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("%v, want that it is forbidden", err)
	}
}

// TestDiscardDoesNotWaitForUploads that will not come to an end.
func TestDiscardDoesNotWaitForUploads(t *testing.T) {
	proxy := NewProxy(t, Start(t))
	o := openTestBucket(t, t.Context(), proxy.Endpoint, "out")
	stuck := make(chan struct{})
	proxy.Fail(1, On("PUT", "/p/r1/a"), func(_ http.ResponseWriter, r *http.Request, _ func() *http.Response) {
		close(stuck)
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	})
	file, err := o.storage.create("p/r1/a")
	if err != nil {
		t.Fatal(err)
	}
	if err := o.storage.close("p/r1/a", file, 0); err != nil {
		t.Fatal(err)
	}
	<-stuck
	if err := o.storage.removeAll("p/r1"); err != nil {
		t.Error(err)
	}
	if err := o.Sync(t.Context()); err != nil {
		t.Errorf("the abandoned upload is still waited for: %v", err)
	}
}

// TestListGoesIntoNoLink: neither into one within a folder, nor into one on the way to what is asked for.
func TestListGoesIntoNoLink(t *testing.T) {
	f := outputs()["folder"](t).storage.(folder)
	if err := errors.Join(f.makeDir("p/r=1"), writeTest(t, f, "p/r=1/a", nil)); err != nil {
		t.Fatal(err)
	}
	if err := f.root.Symlink("p", "q"); err != nil {
		t.Skip(err)
	}
	for prefix, want := range map[string]int{"p/r=1/": 1, "": 2, "q": 1, "q/": 0, "q/r=1/": 0, "q/r=1": 0, "p/r=1/b": 0, "r/s/": 0, "../": 0, "/": 0} {
		if got := listTest(t, f, prefix); len(got) != want {
			t.Errorf("list %q: %v", prefix, got)
		}
	}
}

// TestFoldersAreOpenForAWhile: folders that were made stay open until they are synced, but not without bounds, since each holds
// a descriptor.
func TestFoldersAreOpenForAWhile(t *testing.T) {
	f, err := openFolder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dir := func(n int) string { return revisionDir("2026-10", 1, int64(n)) }
	for n := range 3 * openDirs {
		if err := f.makeDir(dir(n)); err != nil {
			t.Fatal(err)
		}
		for k, of := range []int{n, max(0, n-1), 0} {
			if err := writeFile(f, fmt.Sprintf("%s/file-%d-%d", dir(of), n, k), []byte("content")); err != nil {
				t.Fatal(err)
			}
		}
		if open := len(f.unsynced.open); open > openDirs || open < min(n, openDirs) {
			t.Fatalf("%d folders are open of %d", open, n)
		}
	}
	if err := f.removeAll(dir(3*openDirs - 1)); err != nil || len(f.unsynced.open) != openDirs-1 {
		t.Error(err, len(f.unsynced.open))
	}
	if err := f.sync(t.Context()); err != nil || len(f.unsynced.open) > 0 {
		t.Error(err, len(f.unsynced.open))
	}
}

// TestSyncFindsWhatIsGone: what a commit is going to refer to must be there when it is synced, however often that is tried.
func TestSyncFindsWhatIsGone(t *testing.T) {
	for name, c := range map[string]struct {
		happens func(t *testing.T, dir string, r *Revision) error
		want    string
	}{
		"nothing":         {func(_ *testing.T, _ string, _ *Revision) error { return nil }, ""},
		"it is discarded": {func(_ *testing.T, _ string, r *Revision) error { return r.Discard() }, ""},
		"the folder is new": {func(t *testing.T, dir string, r *Revision) error {
			return errors.Join(os.Rename(filepath.Join(dir, r.dir), filepath.Join(dir, "old")), os.CopyFS(filepath.Join(dir, r.dir), os.DirFS(filepath.Join(dir, "old"))))
		}, "another folder"},
		"the folder is gone": {func(_ *testing.T, dir string, r *Revision) error {
			return os.Rename(filepath.Join(dir, r.dir), filepath.Join(dir, "elsewhere"))
		}, "no such file"},
		"the folder is a link": {func(_ *testing.T, dir string, r *Revision) error {
			return errors.Join(os.Rename(filepath.Join(dir, r.dir), filepath.Join(dir, "old")), os.Symlink(filepath.Join("..", "old"), filepath.Join(dir, r.dir)))
		}, "another folder"},
		"a file is gone": {func(_ *testing.T, dir string, r *Revision) error {
			return os.Remove(filepath.Join(dir, r.dir, r.written[0].Name))
		}, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			w := newWorld(5, 10, 100)
			r := w.create(t, dir)
			w.write(t, r, 2, 1000)
			if err := r.Check(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := c.happens(t, dir, r); err != nil {
				t.Fatal(err)
			}
			cancelled, cancel := context.WithCancel(t.Context())
			cancel()
			if err := r.output.Sync(cancelled); name != "it is discarded" && !errors.Is(err, context.Canceled) {
				t.Errorf("cancelled: %v", err)
			}
			for range 2 {
				err := r.output.Sync(t.Context())
				if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
					t.Errorf("got %v, want %q", err, c.want)
				}
			}
		})
	}
}
