package usage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"drawdown/rating"
)

// slowObject reads a JSON object with encoding/json: the second opinion on what a line says.
func slowObject(line []byte) (map[string]any, error) {
	if !utf8.Valid(line) {
		return nil, errors.New("not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	v, err := slowValue(d, 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("something behind")
	}
	object, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("not an object")
	}
	return object, nil
}

func slowValue(d *json.Decoder, depth int) (any, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	delim, ok := token.(json.Delim)
	if text, isText := token.(string); isText && strings.ContainsRune(text, 0) {
		return nil, errors.New("NUL")
	}
	if !ok {
		return token, nil
	}
	if depth++; depth > maxNesting {
		return nil, errors.New("too deep")
	}
	object, list := map[string]any{}, []any{}
	for d.More() {
		var key string
		if delim == '{' {
			token, err := d.Token()
			if err != nil {
				return nil, err
			}
			key = token.(string)
			if _, twice := object[key]; twice || strings.ContainsRune(key, 0) || len(object) == maxMembers {
				return nil, errors.New("key " + key)
			}
		}
		v, err := slowValue(d, depth)
		if err != nil {
			return nil, err
		}
		if delim == '{' {
			object[key] = v
		} else {
			list = append(list, v)
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	if delim == '{' {
		return object, nil
	}
	return list, nil
}

func FuzzNDJSON(f *testing.F) {
	for _, seed := range []string{
		`{"id":"a","account":"acme","meter":"gb","quantity":1.50,"time":"2026-10-01T08:30:00Z","attributes":{"a":"b","c":1}}`,
		`{"specversion":"1.0","id":"1","source":"s","subject":"acme","type":"gb","time":"2026-10-01T08:30:00Z","data":{"quantity":"2","x":true}}`,
		`{"id":"\ud83d\ude00\n","x":[1,{"y":null}],"quantity":-0e1}`, `{"a":1,"a":2}`, `{"id":"\ud800"}`, "{\"\\u0069d\":7}", `{"quantity":01}`, `{} {}`, "\xff",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		j := newJSONReader(mustPlan(t, Config{}), "k")
		j.row.reset(1)
		j.fill(line)
		want, err := slowObject(line)
		fault := strings.HasPrefix(j.row.malformed, "line ")
		if err != nil {
			if !fault {
				t.Fatalf("taken, although %v", err)
			}
			return
		}
		if fault {
			if !strings.Contains(j.row.malformed, "half a surrogate") { // of which encoding/json makes U+FFFD
				t.Fatalf("refused: %s", j.row.malformed)
			}
			return
		}
		for name, got := range map[string][]byte{"account": j.decoder.slots[j.binding.account.slot].text, "quantity": j.decoder.slots[j.binding.quantity[0].slot].text} {
			text := ""
			switch v := want[name].(type) {
			case string:
				text = v
			case json.Number:
				text = v.String()
			case bool:
				text = fmt.Sprint(v)
			case nil:
				if _, present := want[name]; present {
					text = "null"
				}
			}
			if text != string(got) {
				t.Fatalf("%s: %q, want %q", name, got, text)
			}
		}
		attributes, _ := want["attributes"].(map[string]any)
		for _, a := range j.decoder.attrs {
			if fmt.Sprint(attributes[string(a.name)]) != string(a.value) {
				t.Fatalf("attribute %q: %q, want %v", a.name, a.value, attributes[string(a.name)])
			}
		}
	})
}

func mustPlan(t testing.TB, c Config) *plan {
	t.Helper()
	p, err := c.compile()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// rowTexts keeps the rows in words.
type rowTexts struct{ rows []string }

func (r *rowTexts) add(row *row) error {
	r.rows = append(r.rows, fmt.Sprintf("%d %q %q %q %q %q %q %q", row.number, row.malformed, row.id, row.account, row.meter, row.quantity, row.time, row.raw))
	return nil
}

func (r *rowTexts) wants([]byte) bool { return true }

func (r *rowTexts) whole() bool { return true }

// dribble gives a byte at a time.
type dribble struct{ r io.Reader }

func (d dribble) Read(p []byte) (int, error) { return d.r.Read(p[:min(len(p), 1)]) }

// FuzzCSV: how the bytes arrive does not matter, and nothing is lost: the raw rows stand in the text in order.
func FuzzCSV(f *testing.F) {
	f.Add([]byte("1,acme,gb,1,2026-10-01T00:00:00Z\n\"2,\"\"\n\",acme\r\n\"3\n4,a\"b,,,"))
	f.Add([]byte("\"a\"\r\n\"b\"\"c\",\"d\r\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		text := append([]byte("id,account,meter,quantity,time\n"), body...)
		p := mustPlan(t, Config{MaxLine: 64})
		run := func(r io.Reader, size int) []string {
			s, err := newStream(context.Background(), r, Object{Size: int64(len(text))}, plain, p, true)
			if err != nil {
				t.Fatal(err)
			}
			s.buf = make([]byte, size)
			var out rowTexts
			if err := newCSVReader(p, "k").read(s, &out); err != nil {
				t.Fatal(err)
			}
			return out.rows
		}
		whole := run(bytes.NewReader(text), 256<<10)
		small := run(dribble{bytes.NewReader(text)}, 16)
		if !slices.Equal(whole, small) {
			t.Fatalf("%q\n%q", whole, small)
		}
	})
}

func FuzzParquet(f *testing.F) {
	files, _ := filepath.Glob(parquetTesting + "/*/*.parquet")
	for _, file := range files {
		if data, err := os.ReadFile(file); err == nil && len(data) < 4000 {
			f.Add(data)
		}
	}
	seven := int64(7)
	f.Add(writeParquet(f, []parquetUsage{{ID: "1", Account: "acme", Meter: "gb", Quantity: 1500, Time: time.Unix(1790000000, 0), Version: &seven, Attributes: map[string]string{"a": "b"}}, {ID: "2"}}))
	dir := f.TempDir()
	folder, err := OpenFolder(dir)
	if err != nil {
		f.Fatal(err)
	}
	r, err := NewReader(folder, testCatalog(f), Config{}, mustInstant(f, "2026-11-01T00:00:00Z"))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		dump(t, data) // nothing recovers a panic here
		m := &memoryFile{Reader: bytes.NewReader(data)}
		o := Object{Key: "u.parquet", Size: int64(len(data))}
		fuzzSelected(t, r, o, m)
	})
}

// FuzzSelect: of whatever object, what is selected is what all of it holds of the accounts.
func FuzzSelect(f *testing.F) {
	for _, line := range []string{
		`{"id":"a","account":"acme","meter":"gb","quantity":1.50,"time":"2026-10-01T08:30:00Z","attributes":{"account":"globex","c":1}}`,
		`{"specversion":"1.0","id":"1","source":"s","subject":"acme","type":"gb","time":"2026-10-01T08:30:00Z","data":{"quantity":"2","account":"x"}}`,
		`{"id":"a","attributes":{"account":"globex"},"account" : "acme","meter":"gb","quantity":1,"time":"2026-10-01T08:30:00Z"}`,
		`{"id":"a","x":{"account":"acme"},"meter":"gb","quantity":1,"time":"2026-10-01T08:30:00Z"}`,
		`{"id":"a" , "account" : "globex" , "version": "x", "meter":"gb","quantity":-1,"time":"2026-10-01T08:30:00Z"}`,
		`{"id":"a","acc\u006funt":"acme","meter":"calls","quantity":1,"time":"2026-10-01T08:30:00Z"}`,
	} {
		f.Add([]byte(line+"\n"+line), false)
	}
	f.Add([]byte("id,account,meter,quantity,time,version\n1,acme,gb,1,2026-10-01T00:00:00Z,x\n\"2\",\"acme\",gb,-1,2026-10-01T00:00:00Z,2\n"), true)
	r, err := NewReader(&Folder{}, testCatalog(f), Config{}, mustInstant(f, "2026-11-01T00:00:00Z"))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte, csv bool) {
		o := Object{Key: "u.ndjson", Size: int64(len(data))}
		if csv {
			o.Key = "u.csv"
		}
		fuzzSelected(t, r, o, &memoryFile{Reader: bytes.NewReader(data)})
	})
}

// TestSelectAcrossBuffers: what holds for one buffer of text must not be believed of the next one.
func TestSelectAcrossBuffers(t *testing.T) {
	r, err := NewReader(&Folder{}, testCatalog(t), Config{}, mustInstant(t, "2026-11-01T00:00:00Z"))
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 1))
	lines := map[string][]string{
		"u.ndjson": {
			`{"id":"%d","account":"acme","meter":"gb","quantity":1,"time":"2026-10-01T08:30:00Z","attributes":{"account":"globex"}}`,
			`{"id":"%d","attributes":{"account":"globex"},"account" : "acme","meter":"gb","quantity":1,"time":"2026-10-01T08:30:00Z"}`,
			`{"specversion":"1.0","id":"%d","source":"s","subject":"globex","type":"gb","time":"2026-10-01T08:30:00Z","data":{"quantity":2},"account":"x"}`,
			`{"id":"%d","acc\u006funt":"acme","x":{"account":"globex"},"meter":"gb","quantity":1,"time":"2026-10-01T08:30:00Z"}`,
			"",
		},
		"u.csv": {"\"%d\",\"acme\",gb,1,2026-10-01T00:00:00Z,x", "%d,\"glo\nbex\",gb,1,2026-10-01T00:00:00Z,\"globex,acme\"", "%d,acme", ""},
	}
	plain := map[string]string{
		"u.ndjson": `{"id":"%d","account":"%s","meter":"calls","quantity":1,"time":"2026-10-01T08:30:00Z"}`,
		"u.csv":    "%d,%s,gb,1,2026-10-01T00:00:00Z,",
	}
	for key, odd := range lines {
		for _, every := range []int{2, 300, 2000, 9000} {
			var text bytes.Buffer
			if key == "u.csv" {
				text.WriteString("id,account,meter,quantity,time,attributes.c\n")
			}
			for n := range 20_000 {
				if line := odd[random.IntN(len(odd))]; random.IntN(1+every) == 0 {
					text.WriteString(strings.ReplaceAll(line, "%d", strconv.Itoa(n)) + "\n")
				} else {
					fmt.Fprintf(&text, plain[key]+"\n", n, []string{"acme", "globex", "customer-1", "nobody"}[random.IntN(4)])
				}
			}
			for key, data := range map[string][]byte{key: text.Bytes(), key + ".gz": gzipText(text.Bytes())} {
				fuzzSelected(t, r, Object{Key: key, Size: int64(len(data))}, &memoryFile{Reader: bytes.NewReader(data)})
			}
		}
	}
}

// fuzzSelected reads all of an object, and then what it has of each account.
func fuzzSelected(t *testing.T, r *Reader, o Object, m *memoryFile) {
	decode := func(accounts *rating.AccountSet) (*memory, error) {
		m.Seek(0, io.SeekStart)
		var found memory
		b := newBatcher(r, o, accounts, &found)
		_, err := r.decode(t.Context(), o, m, b)
		if err != nil {
			return nil, err
		}
		return &found, b.flush()
	}
	all, err := decode(nil)
	if err != nil {
		if strings.Contains(err.Error(), "decoder failed") {
			t.Fatal(err)
		}
		return
	}
	for i := range r.catalog.Accounts {
		only := func(account int32) bool { return account == int32(i) }
		got, err := decode(r.catalog.SelectAccounts(only))
		if err != nil {
			t.Fatal(err)
		}
		of := slices.DeleteFunc(slices.Clone(all.records), func(k kept) bool { return !only(k.Account) })
		if !slices.Equal(of, got.records) || len(got.rejected) > 0 {
			t.Fatalf("of account %d:\n%v\nwant\n%v", i, got.records, of)
		}
	}
}

type memoryFile struct{ *bytes.Reader }

func (memoryFile) Close() error          { return nil }
func (memoryFile) stat() (Object, error) { return Object{}, errors.New("none") }
