package settlement

import (
	"bytes"
	"errors"
	"maps"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "drawdown/readers/bucket/buckettest"
)

// takeOverTest settles a world, and makes another revision of the very files; between does something meanwhile.
func takeOverTest(t *testing.T, o *Output, between func(dir string, files []File)) (*Revision, error) {
	t.Helper()
	w := newWorld(25, 20, 500)
	if err := settleTest(t, w, o); err != nil {
		t.Fatal(err)
	}
	dir := revisionDir("2026-10", 1, 17)
	m, _, err := o.ReadManifest(path.Join(dir, manifestName))
	if err != nil {
		t.Fatal(err)
	}
	between(dir, m.Files)
	r, err := o.Create(w.period, "2026-10", 2, 18, w.names)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.TakeOver(t.Context(), o, dir, m.Files, NewSums()); err != nil {
		return r, err
	}
	return r, errors.Join(r.Check(t.Context()), o.Sync(t.Context()))
}

func wantTaken(t *testing.T, o *Output, r *Revision) {
	t.Helper()
	there := contents(t, o)
	taken := 0
	for name, content := range there {
		if dir, base := path.Split(name); dir == r.dir+"/" {
			if taken++; !bytes.Equal(content, there[path.Join(revisionDir("2026-10", 1, 17), base)]) {
				t.Errorf("%s is another file than the one it was taken from", name)
			}
		}
	}
	if taken < 5 || taken != len(r.written) {
		t.Errorf("%d files were taken over, of %d", taken, len(r.written))
	}
}

func TestFilesAreLinked(t *testing.T) {
	for what, touch := range map[string]func(string) error{
		"as they are": func(string) error { return nil },
		"though they are younger than the manifest": func(file string) error {
			later := time.Now().Add(time.Hour)
			return os.Chtimes(file, later, later)
		},
	} {
		dir := t.TempDir()
		o, err := OpenOutput(dir)
		if err != nil {
			t.Fatal(err)
		}
		r, err := takeOverTest(t, o, func(from string, files []File) {
			for _, f := range files {
				if err := touch(filepath.Join(dir, from, f.Name)); err != nil {
					t.Fatal(err)
				}
			}
		})
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		wantTaken(t, o, r)
		for _, w := range r.written {
			a, errA := os.Stat(filepath.Join(dir, revisionDir("2026-10", 1, 17), w.Name))
			b, errB := os.Stat(filepath.Join(dir, r.dir, w.Name))
			if errors.Join(errA, errB) != nil || !os.SameFile(a, b) || w.sound != (what == "as they are") {
				t.Errorf("%s: %s is no link, or its hash was compared: %v, %v", what, w.Name, w.sound, errors.Join(errA, errB))
			}
		}
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestLinks: whatever an operator made of a file, it is linked, also where that is not done for all at once; only what is there
// already, or is gone, is an error.
func TestLinks(t *testing.T) {
	f := outputs()["folder"](t).storage.(folder)
	for _, dir := range []string{"p/r=1", "p/r=1/deep", "p/r=2", "p/r=2/deep"} {
		if err := f.makeDir(dir); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"a", "b", "deep/x", manifestName} {
		if err := writeTest(t, f, "p/r=1/"+name, []byte("content")); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.root.Symlink("b", "p/r=1/c"); err != nil {
		t.Skip(err)
	}
	linked, err := f.link("p/r=1", "p/r=2", []File{{Name: "a", Size: 7}, {Name: "b", Size: 8}, {Name: "c", Size: 7}, {Name: "deep/x", Size: 7}})
	if want := map[string]bool{"a": true, "b": false, "c": true, "deep/x": true}; err != nil || !maps.Equal(linked, want) {
		t.Errorf("%v, %v, not %v", linked, err, want)
	}
	checkStored(t, f, "p/r=2/c", []byte("content"))
	if _, err := f.link("p/r=1", "p/r=2", []File{{Name: "a"}}); !errors.Is(err, os.ErrExist) {
		t.Errorf("a name that is taken: %v", err)
	}
	if _, err := f.link("p/r=1", "p/r=2", []File{{Name: "d"}}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is gone: %v", err)
	}
}

func TestChangedFilesAreNotTakenOver(t *testing.T) {
	change := func(content []byte) []byte { content[len(content)/2] ^= 1; return content }
	dir := t.TempDir()
	folder, err := OpenOutput(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	server := Start(t)
	for name, try := range map[string]func() error{
		"folder": func() error {
			_, err := takeOverTest(t, folder, func(from string, files []File) {
				file := filepath.Join(dir, from, files[0].Name)
				content, err := os.ReadFile(file)
				if err == nil {
					err = os.WriteFile(file, change(content), 0o666)
				}
				later := time.Now().Add(time.Second) // than the manifest, also where a clock ticks slowly
				if err = errors.Join(err, os.Chtimes(file, later, later)); err != nil {
					t.Fatal(err)
				}
			})
			return err
		},
		"bucket": func() error {
			o := openTestBucket(t, t.Context(), server.Endpoint, "out")
			_, err := takeOverTest(t, o, func(from string, files []File) {
				content, err := o.ReadFile(path.Join(from, files[0].Name))
				if err != nil {
					t.Fatal(err)
				}
				server.Write(t, path.Join("out", from, files[0].Name), change(content))
			})
			return err
		},
	} {
		err := try()
		if err == nil || !strings.Contains(err.Error(), "something has changed it since") && !strings.Contains(err.Error(), "checksum did not match") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestBucketCopies: the service copies, and where it cannot, or nobody knows whether it has, the content is read and written.
func TestBucketCopies(t *testing.T) {
	copies := func(r *http.Request) bool {
		return r.Method == http.MethodPut && r.Header.Get("X-Amz-Copy-Source") != ""
	}
	for what, fault := range map[string]Fault{
		"": nil, "not implemented": Answer(http.StatusNotImplemented, "NotImplemented"), "denied": Answer(http.StatusForbidden, "AccessDenied"),
		"done, but the answer is an error": AnswerAfter(http.StatusInternalServerError, "InternalError"), "done, but the answer is lost": ResetAfter,
		"without a checksum": Edit(func(body []byte) { copy(body[bytes.Index(body, []byte("<ChecksumSHA256>")):], "<ChecksumSHA2X5>") }),
	} {
		server := Start(t)
		proxy := NewProxy(t, server)
		o := openTestBucket(t, t.Context(), proxy.Endpoint, "out put+x/é")
		before := 0
		r, err := takeOverTest(t, o, func(string, []File) {
			if fault != nil {
				proxy.Fail(1000, copies, fault)
			}
			before = len(proxy.Requests(""))
		})
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		requests := len(proxy.Requests("")) - before
		if fault == nil && requests > len(r.written)+2 { // and one that looks whether the folder is new
			t.Errorf("%d files were copied with %d requests", len(r.written), requests)
		}
		proxy.Heal()
		wantTaken(t, o, r)
	}
}
