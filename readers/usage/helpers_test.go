package usage

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"

	"drawdown/rating"
)

// memory is a sink that keeps what it gets, in words.
type memory struct {
	records  []kept
	rejected []rating.Rejected
}

type kept struct {
	ID             string
	Account, Meter int32
	Quantity       int64
	Time           string
	Row, Version   int64
	Attrs          int32
	Content        uint64
	Spoilt         bool
}

func (m *memory) Records(b *rating.Records) error {
	for i := range b.Len() {
		k := kept{ID: string(b.ID(i)), Account: b.Account[i], Meter: b.Meter[i], Quantity: b.Quantity[i], Time: b.Time[i].String(), Row: b.Row[i]}
		if len(b.Version) > 0 {
			k.Version = b.Version[i]
		}
		if len(b.Attrs) > 0 {
			k.Attrs = b.Attrs[i]
		}
		if len(b.Content) > 0 {
			k.Content = b.Content[i]
		}
		if len(b.Spoilt) > 0 {
			k.Spoilt = b.Spoilt[i]
		}
		m.records = append(m.records, k)
	}
	return nil
}

func (m *memory) Reject(r *rating.Rejected) error {
	c := *r
	c.Raw = bytes.Clone(r.Raw)
	m.rejected = append(m.rejected, c)
	return nil
}

// count is a sink that forgets.
type count struct{ records, rejected int }

func (c *count) Records(b *rating.Records) error { c.records += b.Len(); return nil }
func (c *count) Reject(*rating.Rejected) error   { c.rejected++; return nil }

func mustInstant(t testing.TB, text string) rating.Instant {
	t.Helper()
	i, err := rating.ParseInstant([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// open writes a file into a folder of its own and makes a reader for it.
func open(t testing.TB, cfg Config, name string, data []byte) (*Reader, Object) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
		t.Fatal(err)
	}
	folder, err := OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { folder.Close() })
	objects, _, err := folder.List(context.Background())
	if err != nil || len(objects) != 1 {
		t.Fatal(objects, err)
	}
	r, err := NewReader(folder, testCatalog(t), cfg, mustInstant(t, "2026-11-01T00:00:00Z"))
	if err != nil {
		t.Fatal(err)
	}
	return r, objects[0]
}

func read(t testing.TB, cfg Config, name, data string) (*memory, Summary) {
	t.Helper()
	r, o := open(t, cfg, name, []byte(data))
	var m memory
	s, err := r.Read(context.Background(), o, &m)
	if err != nil {
		t.Fatal(err)
	}
	if s.Rejected != int64(len(m.rejected)) {
		t.Errorf("summary counts %d rejected, the sink got %d", s.Rejected, len(m.rejected))
	}
	wantSelected(t, r, o, &m)
	return &m, s
}

// wantSelected holds what is selected of an object against what all of it holds.
func wantSelected(t testing.TB, r *Reader, o Object, all *memory) {
	t.Helper()
	for chosen := range 1 << 3 {
		is := func(account int32) bool { return account < 3 && chosen>>account&1 > 0 }
		var got, want memory
		for _, k := range all.records {
			if is(k.Account) {
				want.records = append(want.records, k)
			}
		}
		if err := r.Select(t.Context(), o, r.catalog.SelectAccounts(is), &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(memory{})); diff != "" {
			t.Fatalf("selected of %s for accounts %03b:\n%s", o.Key, chosen, diff)
		}
	}
}

func gzipText(data []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write(data)
	w.Close()
	return b.Bytes()
}
