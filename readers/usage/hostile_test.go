package usage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"drawdown/readers/usage/usagetest"
)

// mayTake is what a hostile object may cost: time, and bytes that are allocated for it. Both leave room for a machine that
// is busy; what they are there for are minutes and gigabytes.
const (
	mayTake     = 20 * time.Second
	mayAllocate = 1 << 30
)

// readHostile reads an object, which must not cost much, and end well or as a bad object.
func readHostile(t testing.TB, r *Reader, o Object, data []byte) (*count, error) {
	t.Helper()
	r.open = func(context.Context, Object) (content, error) { return &stillFile{bytes.NewReader(data), o}, nil }
	var sink count
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	started := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	_, err := r.Read(ctx, o, &sink)
	took := time.Since(started)
	runtime.ReadMemStats(&after)
	allocated := after.TotalAlloc - before.TotalAlloc
	if took > mayTake || allocated > mayAllocate {
		t.Errorf("%s, %d bytes: took %v and allocated %d MiB: %v", o.Key, len(data), took, allocated>>20, err)
	}
	var bad *ObjectError
	if err != nil && !errors.As(err, &bad) || err != nil && strings.Contains(err.Error(), "decoder failed") {
		t.Errorf("%s: %v", o.Key, err)
	}
	if took > 300*time.Millisecond || allocated > 200<<20 {
		t.Logf("%s, %d bytes: %v, %d MiB allocated, %v", o.Key, len(data), took, allocated>>20, err)
	}
	return &sink, err
}

// stillFile is an object in memory.
type stillFile struct {
	*bytes.Reader
	object Object
}

func (f *stillFile) Close() error          { return nil }
func (f *stillFile) stat() (Object, error) { return f.object, nil }

func hostileReader(t testing.TB) *Reader {
	t.Helper()
	r, _ := open(t, Config{}, "none.ndjson", nil)
	return r
}

// TestMutatedParquet: what is done to a file by chance, or to its metadata, ends in an error or in rows, soon and in little
// memory.
func TestMutatedParquet(t *testing.T) {
	mutants, r := usagetest.NewMutants(), hostileReader(t)
	for i, data := range mutants.Sound() {
		o := Object{Key: fmt.Sprintf("sound-%d.parquet", i), Size: int64(len(data))}
		if sink, err := readHostile(t, r, o, data); err != nil || sink.records != 120 {
			t.Errorf("%s: %+v %v", o.Key, sink, err)
		}
	}
	bad := 0
	const files = 2000
	for n := range files {
		data := mutants.File(n)
		if _, err := readHostile(t, r, Object{Key: fmt.Sprintf("%d.parquet", n), Size: int64(len(data))}, data); err != nil {
			bad++
		}
	}
	t.Logf("%d of %d are bad objects", bad, files)
	if bad < files/3 || bad > files*19/20 {
		t.Errorf("%d of %d are bad objects: the mutants do too little harm, or too much", bad, files)
	}
}

// TestBombs: an object that expands without end is a bad one.
func TestBombs(t *testing.T) {
	bombs := usagetest.Bombs()
	if len(bombs) != 40 {
		t.Errorf("%d bombs", len(bombs))
	}
	r := hostileReader(t)
	for _, b := range bombs {
		t.Run(b.Key, func(t *testing.T) {
			sink, err := readHostile(t, r, Object{Key: b.Key, Size: int64(len(b.Data))}, b.Data)
			if bad := err != nil; bad != (b.Reason == "bad_object") || !bad && (sink.records > 0 || sink.rejected == 0) {
				t.Errorf("%s, %d bytes: %+v, %v", b.Key, len(b.Data), sink, err)
			}
		})
	}
}

// TestBrokenRows: each is given the reason that is its own.
func TestBrokenRows(t *testing.T) {
	for _, format := range []string{"ndjson", "csv"} {
		rows := usagetest.Rows(format, 1, 1000)
		m, s := read(t, Config{}, "u."+format, string(usagetest.Table(format, rows)))
		if s.Read != int64(len(rows)) {
			t.Errorf("%s: %d rows of %d", format, s.Read, len(rows))
		}
		reasons := map[int64]string{}
		for _, r := range m.rejected {
			reasons[r.Row] = r.Reason.String()
		}
		for i, row := range rows {
			if got := reasons[int64(i+1)]; got != row.Reason {
				t.Errorf("%s row %d is %q, not %s: %.200q", format, i+1, got, row.Reason, row.Text)
			}
		}
	}
}

// TestOneColumnForTwoFields: what the catalog has for a dictionary's entries is another thing for accounts than for meters.
func TestOneColumnForTwoFields(t *testing.T) {
	data := writeParquet(t, []parquetUsage{{ID: "1", Account: "acme", Meter: "calls", Quantity: 1000, Time: time.Unix(1790812800, 0)}})
	r, o := open(t, Config{Fields: map[string]any{"meter": "account", "attributes": map[string]any{}}}, "u.parquet", data)
	var m memory
	if _, err := r.Read(t.Context(), o, &m); err != nil || len(m.rejected) != 1 || m.rejected[0].Detail != `meter "acme" is not in the catalog` {
		t.Errorf("%v %+v %+v", err, m.rejected, m.records)
	}
}

// TestRowsOfConstants: rows that have no column to count them are bounded all the same.
func TestRowsOfConstants(t *testing.T) {
	cfg := Config{Fields: map[string]any{
		"id": "row", "account": map[string]any{"const": "acme"}, "meter": map[string]any{"const": "calls"},
		"quantity": map[string]any{"const": "1"}, "time": map[string]any{"const": "2026-10-01T00:00:00Z"}, "attributes": map[string]any{},
	}}
	for _, b := range usagetest.Bombs() {
		if b.Key != "bomb-runs.parquet" { // of 2^30 rows
			continue
		}
		r, o := open(t, cfg, b.Key, b.Data)
		if _, err := r.Read(t.Context(), o, &count{}); err == nil || !strings.Contains(err.Error(), "usage.max_expansion") {
			t.Error(err)
		}
	}
}
