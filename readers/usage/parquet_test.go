package usage

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	parquetgo "github.com/parquet-go/parquet-go"
)

var update = flag.Bool("update", false, "write the expected texts anew")

const parquetTesting = "../../testdata/parquet-testing"

// dump reads a file generically: all flat columns as the raw JSON of its rows.
func dump(t testing.TB, data []byte) (string, error) {
	t.Helper()
	f, err := openParquet(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return "", err
	}
	p := newParquetReader(context.Background(), f, mustPlan(t, Config{}), "")
	defer p.allowed.decoders.close()
	p.binding.id, p.binding.version.slot, p.binding.time = source{kind: constant}, -1, source{kind: constant}
	p.binding.account, p.binding.meter = source{kind: constant}, source{kind: constant}
	for i := range f.leaves {
		if l := &f.leaves[i]; l.maxRep == 0 && l.physical != physicalBoolean {
			p.columns = append(p.columns, &column{pages: p.pagesOf(l)})
		}
	}
	if fault := p.defaultAttributes(); fault != "" {
		return "", errors.New(fault)
	}
	var out lines
	err = p.read(&out)
	return out.text.String(), err
}

type lines struct {
	text strings.Builder
	n    int
}

func (*lines) wants([]byte) bool { return true }

func (*lines) whole() bool { return true }

func (l *lines) add(r *row) error {
	if l.n++; l.n <= 3 || l.n == 100 {
		text := r.raw
		if len(text) > 300 {
			text = append(text[:300:300], "…"...)
		}
		fmt.Fprintf(&l.text, "  %d %s\n", r.number, text)
	}
	return nil
}

// TestGoodParquet shows what is read of the good files; run with -update to write it anew, and compare with another reader.
func TestGoodParquet(t *testing.T) {
	files, err := filepath.Glob(parquetTesting + "/good/*.parquet")
	if err != nil || len(files) < 20 {
		t.Fatal(files, err)
	}
	var got strings.Builder
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text, err := dump(t, data)
		fmt.Fprintf(&got, "%s\n%s", filepath.Base(file), text)
		if err != nil {
			fmt.Fprintf(&got, "  refused: %v\n", err)
		}
	}
	const golden = "testdata/parquet-good.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Error(diff)
	}
}

// TestBadParquet: a malformed file is refused with its name, without much time or memory.
func TestBadParquet(t *testing.T) {
	files, err := filepath.Glob(parquetTesting + "/bad/*.parquet")
	if err != nil || len(files) != 8 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			r, o := open(t, Config{}, filepath.Base(file), data)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			_, err = r.Read(context.Background(), o, &count{})
			_, dumpErr := dump(t, data)
			runtime.ReadMemStats(&after)
			t.Log(err, dumpErr)
			var objectError *ObjectError
			if !errors.As(err, &objectError) || !strings.Contains(err.Error(), filepath.Base(file)) {
				t.Errorf("got %v", err)
			}
			if time.Since(start) > mayTake || after.TotalAlloc-before.TotalAlloc > 256<<20 {
				t.Errorf("took %v and %d bytes", time.Since(start), after.TotalAlloc-before.TotalAlloc)
			}
		})
	}
}

type parquetUsage struct {
	ID         string            `parquet:"id"`
	Account    string            `parquet:"account,dict"`
	Meter      string            `parquet:"meter,dict"`
	Quantity   int64             `parquet:"quantity,decimal(3:18)"`
	Time       time.Time         `parquet:"time,timestamp(microsecond)"`
	Version    *int64            `parquet:"version,optional"`
	Attributes map[string]string `parquet:"attributes"`
}

func writeParquet[T any](t testing.TB, rows []T, options ...parquetgo.WriterOption) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := parquetgo.NewGenericWriter[T](&buf, options...)
	for len(rows) > 0 {
		n := min(len(rows), batchSize)
		if _, err := w.Write(rows[:n]); err != nil {
			t.Fatal(err)
		}
		rows = rows[n:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestParquetRows(t *testing.T) {
	at := time.Date(2026, 10, 1, 8, 30, 0, 123456000, time.UTC)
	seven := int64(7)
	row := func(id, account, meter string, quantity int64) parquetUsage {
		return parquetUsage{ID: id, Account: account, Meter: meter, Quantity: quantity, Time: at}
	}
	rows := []parquetUsage{
		row("1", "acme", "gb", 1500), row("2", "globex", "gb", 1505), row("3", "nobody", "gb", 1000),
		row("4", "acme", "none", 1000), row("", "acme", "gb", 1000), row("6", "acme", "calls", 2000), row("7", "acme", "gb", -10),
	}
	rows[5].Version = &seven
	rows[5].Attributes = map[string]string{"region": "eu", "x": "y"}
	data := writeParquet(t, rows)
	m, s := read(t, Config{}, "u.parquet", string(data))
	const when = "2026-10-01T08:30:00.123456Z"
	want := []kept{
		{ID: "1", Account: acme, Meter: gb, Quantity: 150, Time: when, Row: 1},
		{ID: "2", Account: globex, Meter: gb, Time: when, Row: 2, Spoilt: true},
		{ID: "4", Account: acme, Meter: -1, Time: when, Row: 4, Spoilt: true},
		{ID: "6", Account: acme, Meter: calls, Quantity: 2, Time: when, Row: 6, Version: 7, Attrs: 1},
		{ID: "7", Account: acme, Meter: gb, Time: when, Row: 7, Spoilt: true},
	}
	for i := range m.records {
		m.records[i].Content = 0
	}
	if diff := cmp.Diff(want, m.records); diff != "" {
		t.Error(diff)
	}
	var got strings.Builder
	for _, r := range m.rejected {
		fmt.Fprintf(&got, "%d %s: %s\n", r.Row, r.Reason, r.Detail)
	}
	wantRejected := `2 bad_quantity: quantity "1.505" has more than 2 decimals
3 unknown_account: account "nobody" is not in the catalog
4 unknown_meter: meter "none" is not in the catalog
5 missing_field: id is missing
7 bad_quantity: quantity "-0.010" is negative
`
	if got.String() != wantRejected || s.Read != 7 {
		t.Error(got.String())
	}
	wantRaw := `{"id":"2","account":"globex","meter":"gb","quantity":1.505,"time":"2026-10-01T08:30:00.123456Z","version":null,"attributes":{}}`
	if raw := string(m.rejected[0].Raw); raw != wantRaw {
		t.Error(raw)
	}
	r, o := open(t, Config{}, "u.parquet", data)
	raw, err := r.Raw(context.Background(), o, []int64{2, 6})
	if err != nil || string(raw[2]) != wantRaw || !strings.Contains(string(raw[6]), `"region":"eu"`) {
		t.Errorf("%v %v", raw, err)
	}
}
