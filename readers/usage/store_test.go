package usage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"drawdown/readers/bucket"
	"drawdown/readers/bucket/buckettest"
)

// usageStore is a place for usage that a test can write to.
type usageStore struct {
	objects Objects
	write   func(key string, content []byte)
	remove  func(key string)
}

// stores are the places where usage may lie. What holds for one holds for the others.
func stores(t *testing.T) map[string]func(t *testing.T) *usageStore {
	return map[string]func(t *testing.T) *usageStore{
		"folder": func(t *testing.T) *usageStore {
			dir := t.TempDir()
			folder, err := OpenFolder(dir)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { folder.Close() })
			age := time.Unix(1790000000, 0)
			return &usageStore{
				objects: folder,
				write: func(key string, content []byte) {
					age = age.Add(time.Second)
					name := filepath.Join(dir, key)
					err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, content, 0o600), os.Chtimes(name, age, age))
					if err != nil {
						t.Fatal(err)
					}
				},
				remove: func(key string) {
					if err := os.Remove(filepath.Join(dir, key)); err != nil {
						t.Fatal(err)
					}
				},
			}
		},
		"bucket": func(t *testing.T) *usageStore { return bucketStore(t, buckettest.Start(t).Endpoint) },
	}
}

func bucketStore(t *testing.T, endpoint string) *usageStore {
	t.Helper()
	address, err := bucket.Parse(buckettest.URL(endpoint, "usage/2026"))
	if err != nil {
		t.Fatal(err)
	}
	settings := bucket.Settings{Memory: 2 << 20, TempDir: t.TempDir(), LongestWait: 10 * time.Millisecond}
	objects, err := OpenBucket(t.Context(), address, settings)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := objects.Close(); err != nil {
			t.Error(err)
		}
	})
	return &usageStore{
		objects: objects,
		write: func(key string, content []byte) {
			if err := objects.bucket.Replace(t.Context(), key, content); err != nil {
				t.Error(err)
			}
		},
		remove: func(key string) {
			if err := objects.bucket.Remove(t.Context(), key); err != nil {
				t.Error(err)
			}
		},
	}
}

func (s *usageStore) list(t *testing.T) []Object {
	t.Helper()
	objects, _, err := s.objects.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

func (s *usageStore) reader(t *testing.T) *Reader {
	t.Helper()
	r, err := NewReader(s.objects, testCatalog(t), Config{}, mustInstant(t, "2026-11-01T00:00:00Z"))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestStoresListAlike(t *testing.T) {
	for name, open := range stores(t) {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			for _, key := range []string{
				"a.csv", "a/b.csv", "a-b.csv", "a/b/c.ndjson.gz", "B.PARQUET", "ü x+y%.jsonl", "readme.txt", "a/notes.md", "x.parquet.gz",
				".hidden/a.csv", "_tmp/a.csv", "a/.b.csv", "a/_b.csv", "z.csv.zst",
			} {
				s.write(key, []byte(key))
			}
			objects, ignored, err := s.objects.List(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var keys []string
			for _, o := range objects {
				keys = append(keys, o.Key)
				if o.Size != int64(len(o.Key)) || o.Version == "" || strings.Contains(o.Version, " ") {
					t.Errorf("%+v", o)
				}
			}
			want := []string{"B.PARQUET", "a-b.csv", "a.csv", "a/b.csv", "a/b/c.ndjson.gz", "z.csv.zst", "ü x+y%.jsonl"}
			if d := cmp.Diff(want, keys); d != "" {
				t.Error(d)
			}
			if d := cmp.Diff([]string{"a/notes.md", "readme.txt", "x.parquet.gz"}, ignored); d != "" {
				t.Error(d)
			}
			s.write("a.csv", []byte("A.csv"))
			if again := s.list(t); again[2].Version == objects[2].Version || again[3] != objects[3] {
				t.Errorf("a changed object has the version %q, and had %q", again[2].Version, objects[2].Version)
			}
		})
	}
}

// TestStoresReadAlike: the same records, rows and hashes from both.
func TestStoresReadAlike(t *testing.T) {
	type found struct {
		Records []kept
		SHA256  [32]byte
		Read    int64
		Raw     map[int64][]byte
	}
	all := map[string]map[string]found{}
	for name, open := range stores(t) {
		s := open(t)
		for key, content := range usageFiles(t) {
			s.write(key, content)
		}
		objects, r := s.list(t), s.reader(t)
		s.objects.Expect(objects)
		all[name] = map[string]found{}
		for _, o := range objects {
			var m memory
			summary, err := r.Read(t.Context(), o, &m)
			if err != nil || len(m.rejected) > 0 {
				t.Fatalf("%s %s: %v %v", name, o.Key, err, m.rejected)
			}
			raw, err := r.Raw(t.Context(), o, []int64{3, 20_000})
			if err != nil {
				t.Fatalf("%s %s: %v", name, o.Key, err)
			}
			all[name][o.Key] = found{m.records, summary.SHA256, summary.Read, raw}
		}
	}
	if len(all["folder"]) != 5 {
		t.Fatalf("%d objects", len(all["folder"]))
	}
	if d := cmp.Diff(all["folder"], all["bucket"]); d != "" {
		t.Error(d[:min(len(d), 2000)])
	}
}

func TestStoresTellOfChangedAndVanishedObjects(t *testing.T) {
	for name, open := range stores(t) {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			r := s.reader(t)
			for key, content := range usageFiles(t) {
				s.write(key, content)
				o := s.list(t)[0]
				for what, read := range map[string]func() error{
					"read": func() error { _, err := r.Read(t.Context(), o, &count{}); return err },
					"raw":  func() error { _, err := r.Raw(t.Context(), o, []int64{1}); return err },
				} {
					if err := read(); err != nil {
						t.Errorf("%s: %v", key, err)
					}
					s.write(key, slices.Concat(content, []byte("\n")))
					wantObjectError(t, key+" "+what, read(), "changed while it was read", fmt.Sprintf("(%d bytes ", len(content)), fmt.Sprintf("then %d bytes ", len(content)+1))
					s.remove(key)
					wantObjectError(t, key+" "+what, read(), "has vanished")
					s.write(key, content)
					o = s.list(t)[0]
				}
				s.remove(key)
			}
		})
	}
}

func wantObjectError(t *testing.T, what string, err error, texts ...string) {
	t.Helper()
	var objectError *ObjectError
	if !errors.As(err, &objectError) {
		t.Errorf("%s: %v, want that it is the object's fault", what, err)
		return
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v, want %s", what, err, text)
		}
	}
}

// TestFaultyBucket: faults on the way either do not show, or nobody is told half an object.
func TestFaultyBucket(t *testing.T) {
	proxy := buckettest.NewProxy(t, buckettest.Start(t))
	s := bucketStore(t, proxy.Endpoint)
	files := usageFiles(t)
	want := map[string]Summary{}
	for key, content := range files {
		s.write(key, content)
	}
	r, objects := s.reader(t), s.list(t)
	for _, o := range objects {
		summary, err := r.Read(t.Context(), o, &count{})
		if err != nil {
			t.Fatal(err)
		}
		want[o.Key] = summary
	}
	gets := buckettest.On("GET", "/usage/2026/")
	for name, fault := range map[string]buckettest.Fault{
		"500": buckettest.Answer(500, "InternalError"), "slow down": buckettest.Answer(503, "SlowDown"), "reset": buckettest.Reset,
		"cut": buckettest.Cut(50_000), "cut at the end": buckettest.Cut(-1),
	} {
		for _, o := range objects {
			proxy.Fail(4, gets, fault)
			if summary, err := r.Read(t.Context(), o, &count{}); err != nil || summary != want[o.Key] {
				t.Errorf("%s, %s: %+v %v", name, o.Key, summary, err)
			}
			proxy.Heal()
		}
	}
	for _, o := range objects {
		proxy.Fail(1000, gets, buckettest.Cut(50_000))
		_, err := r.Read(t.Context(), o, &count{})
		var objectError *ObjectError
		if err == nil || errors.As(err, &objectError) || !strings.Contains(err.Error(), "no fault of the object") {
			t.Errorf("cut for ever, %s: %v", o.Key, err)
		}
		proxy.Heal()
		key, content := o.Key, files[o.Key]
		proxy.Fail(1, gets, buckettest.Cut(50_000))
		proxy.Fail(1, gets, buckettest.Before(func() { s.write(key, bytes.Repeat([]byte("x"), len(content))) }))
		_, err = r.Read(t.Context(), o, &count{})
		wantObjectError(t, key, err, "changed while it was read")
		proxy.Heal()
	}
}

func TestInterruptedReadFromBucket(t *testing.T) {
	proxy := buckettest.NewProxy(t, buckettest.Start(t))
	s := bucketStore(t, proxy.Endpoint)
	for key, content := range usageFiles(t) {
		s.write(key, content)
	}
	r, objects := s.reader(t), s.list(t)
	for _, o := range objects {
		ctx, cancel := context.WithCancel(t.Context())
		proxy.Fail(1, buckettest.On("GET", "/usage/2026/"), buckettest.Before(cancel))
		_, err := r.Read(ctx, o, &count{})
		var objectError *ObjectError
		if !errors.Is(err, context.Canceled) || errors.As(err, &objectError) {
			t.Errorf("%s: %v", o.Key, err)
		}
		proxy.Heal()
	}
}
