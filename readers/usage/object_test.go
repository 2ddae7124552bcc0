package usage

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"drawdown/rating"
)

func TestListKnowsUsageByItsName(t *testing.T) {
	dir := t.TempDir()
	for _, key := range []string{"b.csv.gz", "a/x.jsonl.zst", "a.parquet", "z.NDJSON", "notes.txt", "c.parquet.gz", ".hidden.csv", "_tmp/y.csv", "a/_SUCCESS"} {
		path := filepath.Join(dir, key)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f, err := OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	objects, ignored, err := f.List(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, o := range objects {
		keys = append(keys, o.Key)
	}
	if diff := cmp.Diff([]string{"a.parquet", "a/x.jsonl.zst", "b.csv.gz", "z.NDJSON"}, keys); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"c.parquet.gz", "notes.txt"}, ignored); diff != "" {
		t.Error(diff)
	}
	// What would be usage but cannot be read as such is no reason to settle without it.
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "link.csv")); err != nil {
		t.Fatal(err)
	}
	if _, _, err = f.List(context.Background()); err == nil || !strings.Contains(err.Error(), `"link.csv" is a symbolic link`) {
		t.Errorf("a link: %v", err)
	}
	os.Remove(filepath.Join(dir, "link.csv"))
	if err := os.WriteFile(filepath.Join(dir, "gr\xf6sse.csv"), nil, 0o600); err != nil {
		t.Skip("this file system takes no such name:", err)
	}
	if _, _, err = f.List(context.Background()); err == nil || !strings.Contains(err.Error(), "not UTF-8") {
		t.Errorf("a name that is not UTF-8: %v", err)
	}
}

func TestCloudEvents(t *testing.T) {
	data, err := os.ReadFile("../../testdata/usage/cloudevents.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Fields: map[string]any{"quantity": "data.duration"}}
	m, _ := read(t, cfg, "events.ndjson", string(data))
	ids := ""
	for _, r := range m.records {
		ids += r.ID + " "
	}
	if ids != "service-0/00001 service-0/00001 service-0/00002 " || m.records[0].Content == 0 || m.records[0].Content != m.records[1].Content || m.records[0].Quantity != 12 || m.records[1].Quantity != 10 || m.records[0].Account != customer1 {
		t.Errorf("%+v", m.records)
	}
	if len(m.rejected) != 2 || m.rejected[0].Detail != "quantity is missing" || m.rejected[0].RecordID != "readme/readme-curl-1" {
		t.Errorf("%+v", m.rejected)
	}
}

func TestMappingAndEmit(t *testing.T) {
	cfg := Config{
		Fields: map[string]any{
			"id": "row", "account": map[string]any{"const": "acme"},
			"time":       map[string]any{"column": "TIMESTAMP", "layout": "2006-01-02 15:04:05", "zone": "Europe/Berlin"},
			"attributes": map[string]any{"region": map[string]any{"const": "eu"}, "kind": "K"},
		},
		Emit: []Emit{{"tokens", "ContextTokens"}, {"calls", map[string]any{"column": "GeneratedTokens", "decimals": "half_up"}}},
	}
	m, s := read(t, cfg, "llm.csv", "TIMESTAMP,ContextTokens,GeneratedTokens,K\n2026-10-01 02:00:00.9999999,4808,10.5,x\n2026-10-25 02:30:00,1.5,,\n")
	for i := range m.records {
		m.records[i].Content = 0
	}
	want := []kept{
		{ID: "llm.csv#1#tokens", Account: acme, Meter: 4, Quantity: 4808, Time: "2026-10-01T00:00:00.999999Z", Row: 1, Attrs: 1},
		{ID: "llm.csv#1#calls", Account: acme, Meter: calls, Quantity: 11, Time: "2026-10-01T00:00:00.999999Z", Row: 1, Attrs: 1},
		{ID: "llm.csv#2#tokens", Account: acme, Meter: 4, Time: "2026-10-25T00:30:00Z", Row: 2, Attrs: 1, Spoilt: true},
		{ID: "llm.csv#2#calls", Account: acme, Meter: calls, Time: "2026-10-25T00:30:00Z", Row: 2, Attrs: 1, Spoilt: true},
	}
	if diff := cmp.Diff(want, m.records); diff != "" {
		t.Error(diff)
	}
	if s.Read != 4 || s.Rejected != 2 || m.rejected[1].RecordID != "llm.csv#2#calls" || m.rejected[1].Detail != "quantity is missing" {
		t.Errorf("%+v %+v", s, m.rejected)
	}
}

func TestValidateSaysAllMistakes(t *testing.T) {
	cfg := Config{
		Fields: map[string]any{
			"idd": "x", "account": map[string]any{"column": "a", "const": "b"}, "quantity": map[string]any{"column": "q", "decimals": "up"},
			"time": map[string]any{"column": "t", "layout": "2006-01-02 15:04", "zon": "UTC"}, "attributes": "x",
		},
		Emit: []Emit{{"", "q"}, {"m", nil}},
	}
	halfDay := Config{Fields: map[string]any{"time": map[string]any{"column": "t", "layout": "2006-01-02 03:04:05Z07:00"}}}
	if err := halfDay.Validate(); err == nil || !strings.Contains(err.Error(), "reads 13 o'clock as 1") {
		t.Errorf("hours up to 12: %v", err)
	}
	err := cfg.Validate()
	for _, want := range []string{
		"usage.fields.idd: there is no such field", "column and const exclude", `"up" is neither half_up nor down`, "usage.fields.time.zon: there is no such setting",
		"reads no offset", "usage.fields.attributes: write a map", "usage.emit[0].meter", "usage.emit[1].quantity", "usage.fields.quantity: leave it out",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in\n%v", want, err)
		}
	}
}

func TestObjectsThatCannotBeReadWhole(t *testing.T) {
	text := []byte(strings.Repeat(`{"id":"a","account":"acme","meter":"calls","quantity":1,"time":"2026-10-01T00:00:00Z"}`+"\n", 1000))
	gz := gzipText(text)
	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	zst := encoder.EncodeAll(text, nil)
	badSum := bytes.Clone(gz)
	badSum[len(badSum)-8]++
	var bomb bytes.Buffer
	w, _ := gzip.NewWriterLevel(&bomb, gzip.BestSpeed)
	for range 80 {
		w.Write(make([]byte, 1<<20))
	}
	w.Close()
	floats := writeParquet(t, []struct {
		ID       string    `parquet:"id"`
		Account  string    `parquet:"account"`
		Meter    string    `parquet:"meter"`
		Quantity float64   `parquet:"quantity"`
		Time     time.Time `parquet:"time,timestamp(millisecond)"`
	}{{"1", "acme", "calls", 0.1, time.Unix(1790000000, 0)}})
	for name, c := range map[string]struct {
		key  string
		data []byte
		want string
	}{
		"truncated gzip":  {"a.ndjson.gz", gz[:len(gz)/2], "truncated"},
		"empty gzip":      {"a.ndjson.gz", nil, "truncated"},
		"bad checksum":    {"a.ndjson.gz", badSum, "checksum"},
		"truncated zstd":  {"a.ndjson.zst", zst[:len(zst)/2], "truncated"},
		"not zstd":        {"a.csv.zst", gz, "is no whole"},
		"a bomb":          {"a.ndjson.gz", bomb.Bytes(), "usage.max_expansion"},
		"no header":       {"a.csv", nil, "header line"},
		"lacks columns":   {"a.csv", []byte("id,account,meter\n"), `lacks the column "quantity", "time"; it has id, account, meter`},
		"no Parquet":      {"a.parquet", text, "PAR1"},
		"empty Parquet":   {"a.parquet", nil, "too short"},
		"float quantity":  {"a.parquet", floats, "binary floating point"},
		"cut off Parquet": {"a.parquet", floats[:len(floats)-1], "PAR1"},
	} {
		t.Run(name, func(t *testing.T) {
			r, o := open(t, Config{}, c.key, c.data)
			_, err := r.Read(context.Background(), o, &count{})
			var objectError *ObjectError
			if !errors.As(err, &objectError) || objectError.Key != c.key || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
	r, o := open(t, Config{Fields: map[string]any{"quantity": map[string]any{"column": "quantity", "decimals": "down"}}}, "f.parquet", floats)
	if s, err := r.Read(context.Background(), o, &count{}); err != nil || s.Read != 1 || s.Rejected != 0 {
		t.Error("floats that may be rounded", s, err)
	}
	for _, c := range []struct {
		key  string
		data []byte
	}{{"a.ndjson.gz", gz}, {"a.jsonl.zst", zst}, {"a.ndjson", text}} {
		r, o := open(t, Config{}, c.key, c.data)
		s, err := r.Read(context.Background(), o, &count{})
		if err != nil || s.Read != 1000 || s.SHA256 != sha256.Sum256(c.data) {
			t.Errorf("%s: %+v %v", c.key, s, err)
		}
		o.Version = "1"
		if _, err := r.Read(context.Background(), o, &count{}); err == nil || !strings.Contains(err.Error(), "changed while it was read") {
			t.Errorf("changed: %v", err)
		}
	}
}

func TestSinkErrorIsNoObjectError(t *testing.T) {
	r, o := open(t, Config{}, "u.csv", []byte("id,account,meter,quantity,time\nx\n"))
	_, err := r.Read(context.Background(), o, failing{})
	var objectError *ObjectError
	if !errors.Is(err, errFull) || errors.As(err, &objectError) {
		t.Error(err)
	}
}

var errFull = errors.New("disk full")

type failing struct{}

func TestLongLineIsMalformedAlone(t *testing.T) {
	line := `{"id":"a","account":"acme","meter":"calls","quantity":1,"time":"2026-10-01T00:00:00Z"}` + "\n"
	m, _ := read(t, Config{MaxLine: 5000}, "u.ndjson", line+`{"x":"`+strings.Repeat("y", 700_000)+"\"}\n"+line)
	if len(m.records) != 2 || m.records[1].Row != 3 || len(m.rejected) != 1 || m.rejected[0].Row != 2 || len(m.rejected[0].Raw) != 4096 {
		t.Errorf("%+v %d rejected", m.records, len(m.rejected))
	}
}

func (failing) Records(*rating.Records) error { return errFull }
func (failing) Reject(*rating.Rejected) error { return errFull }
