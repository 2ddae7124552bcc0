package usage

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"drawdown/rating"
)

const okTime = `2026-10-01T08:30:00Z`

// TestReasons has a row for every reason of R4.4 that a row shows by itself, as NDJSON.
func TestReasons(t *testing.T) {
	ok := `{"id":"a","account":"acme","meter":"gb","quantity":1.50,"time":"` + okTime + `"}`
	with := func(old, new string) string { return strings.Replace(ok, old, new, 1) }
	for name, c := range map[string]struct{ line, want, spoilt string }{
		"fine":                       {ok, "", ""},
		"not JSON":                   {`{"id":`, "malformed: line is not valid JSON", ""},
		"an array":                   {`[1]`, "malformed: line is not a JSON object", ""},
		"two objects":                {ok + ok, "malformed: line has something behind the JSON object", ""},
		"a key twice":                {with(`"id":"a"`, `"id":"a","id":"b"`), `malformed: line has the key "id" twice`, ""},
		"an escaped key twice":       {with(`"id":"a"`, `"id":"a","\u0069d":"b"`), `malformed: line has the key "id" twice`, ""},
		"NUL":                        {with(`"a"`, `"a\u0000"`), "malformed: line has a NUL in a string", ""},
		"raw NUL":                    {with(`"a"`, "\"a\x00\""), "malformed: line has a control character in a string", ""},
		"not UTF-8":                  {with(`"a"`, "\"\xff\""), "malformed: line is not UTF-8", ""},
		"half a surrogate pair":      {with(`"a"`, `"\ud800"`), "malformed: line has half a surrogate pair in a string", ""},
		"nested too deeply":          {with(`"a"`, `"a","x":`+strings.Repeat("[", 40)+strings.Repeat("]", 40)), "malformed: line nests JSON too deeply", ""},
		"account is a list":          {with(`"acme"`, `["acme"]`), "malformed: account is neither a string nor a number", ""},
		"nested attribute":           {with(`"id"`, `"attributes":{"a":{}},"id"`), `malformed: attribute "a" is not a string, number or boolean`, "a"},
		"version":                    {with(`"id"`, `"version":-1,"id"`), `malformed: version "-1" is no integer from 0 on`, "a"},
		"version beyond int64":       {with(`"id"`, `"version":9223372036854775808,"id"`), `malformed: version "9223372036854775808" is no integer from 0 on`, "a"},
		"no id":                      {with(`"id":"a",`, ``), "missing_field: id is missing", ""},
		"empty id":                   {with(`"a"`, `""`), "missing_field: id is missing", ""},
		"null account":               {with(`"acme"`, `null`), "missing_field: account is missing", ""},
		"no quantity":                {with(`,"quantity":1.50`, ``), "missing_field: quantity is missing", "a"},
		"no meter":                   {with(`"meter":"gb",`, ``), "missing_field: meter is missing", "a"},
		"no quantity, no account":    {strings.Replace(with(`,"quantity":1.50`, ``), `"account":"acme",`, ``, 1), "missing_field: account is missing", ""},
		"no quantity, unknown":       {strings.Replace(with(`,"quantity":1.50`, ``), `acme`, `no`, 1), "missing_field: quantity is missing", ""},
		"no quantity, bad time":      {strings.Replace(with(`,"quantity":1.50`, ``), `10-01`, `02-30`, 1), "missing_field: quantity is missing", ""},
		"no time":                    {with(okTime, ``), "missing_field: time is missing", ""},
		"no offset":                  {with(`00Z`, `00`), `bad_time: time "2026-10-01T08:30:00" is not a date and time with an offset, such as 2026-10-01T08:30:00Z`, ""},
		"no such day":                {with(`10-01`, `02-30`), `bad_time: time "2026-02-30T08:30:00Z" is not a date and time with an offset, such as 2026-10-01T08:30:00Z`, ""},
		"negative":                   {with(`1.50`, `-1`), `bad_quantity: quantity "-1" is negative`, "a"},
		"minus nothing":              {with(`1.50`, `-0.0`), "", ""},
		"not a number":               {with(`1.50`, `"NaN"`), `bad_quantity: quantity "NaN" is not a decimal number`, "a"},
		"too many decimals":          {with(`1.50`, `1.505`), `bad_quantity: quantity "1.505" has more than 2 decimals`, "a"},
		"too large":                  {with(`1.50`, `1e30`), `bad_quantity: quantity "1e30" is too large for 2 decimals in 64 bits`, "a"},
		"above max":                  {with(`1.50`, `"1000.01"`), `bad_quantity: quantity "1000.01" is above the meter's max, 1000`, "a"},
		"unknown account":            {with(`acme`, `nobody`), `unknown_account: account "nobody" is not in the catalog`, ""},
		"unknown meter":              {with(`"gb"`, `"none"`), `unknown_meter: meter "none" is not in the catalog`, "a"},
		"unknown meter, bad number":  {strings.Replace(with(`"gb"`, `"none"`), "1.50", "x", 1), `malformed: line is not valid JSON`, ""},
		"unknown meter, negative":    {strings.Replace(with(`"gb"`, `"none"`), "1.50", "-1", 1), `bad_quantity: quantity "-1" is negative`, "a"},
		"unknown meter, large":       {strings.Replace(with(`"gb"`, `"none"`), "1.50", "9e18", 1), `unknown_meter: meter "none" is not in the catalog`, "a"},
		"future":                     {with(`2026-10-01T08`, `2026-11-02T08`), "future: time 2026-11-02T08:30:00Z is more than 10 minutes after now, 2026-11-01T00:00:00Z", ""},
		"nearly future":              {with(`2026-10-01T08:30:00Z`, `2026-11-01T00:10:00Z`), "", ""},
		"unknown account beats time": {strings.Replace(with(`2026-10-01T08`, `2026-11-02T08`), `acme`, `no`, 1), `unknown_account: account "no" is not in the catalog`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			m, s := read(t, Config{}, "u.ndjson", "\n"+c.line+"\r\n")
			got, spoilt := "", ""
			for _, r := range m.rejected {
				got += r.Reason.String() + ": " + r.Detail
				if r.Row != 2 || strings.TrimSpace(string(r.Raw)) != c.line {
					t.Errorf("row %d, raw %q", r.Row, r.Raw)
				}
			}
			for _, r := range m.records {
				if r.Spoilt {
					spoilt += r.ID
				}
			}
			if got != c.want || spoilt != c.spoilt || s.Read != 1 {
				t.Errorf("got %q, spoilt %q of %d; want %q, %q", got, spoilt, s.Read, c.want, c.spoilt)
			}
			if got == "" && len(m.records) != 1 {
				t.Errorf("%d records", len(m.records))
			}
		})
	}
}

func TestCSV(t *testing.T) {
	text := "\xef\xbb\xbfid,account,meter,quantity,time,version,attributes.region\r\n" +
		"1,acme,gb,1.5,2026-10-01T00:00:00Z,,eu\r\n" +
		"\"2,\"\"x\"\"\ny\",acme,gb,2,2026-10-01T00:00:00+02:00,7,\r\n" +
		"\n" +
		"3,acme\n" +
		"4,ac\"me,gb,1,2026-10-01T00:00:00Z,,\n" +
		"\"5,acme,gb,1,2026-10-01T00:00:00Z,,\n" +
		"6,acme,gb,1,2026-10-01T00:00:00Z,,"
	m, _ := read(t, Config{}, "u.csv", text)
	want := []kept{
		{ID: "1", Account: acme, Meter: gb, Quantity: 150, Time: "2026-10-01T00:00:00Z", Row: 1, Attrs: 1, Content: m.records[0].Content},
		{ID: "2,\"x\"\ny", Account: acme, Meter: gb, Quantity: 200, Time: "2026-09-30T22:00:00Z", Row: 2, Version: 7},
		{ID: "6", Account: acme, Meter: gb, Quantity: 100, Time: "2026-10-01T00:00:00Z", Row: 6},
	}
	if diff := cmp.Diff(want, m.records); diff != "" {
		t.Error(diff)
	}
	details := ""
	for _, r := range m.rejected {
		details += r.Detail + "\n"
	}
	wantDetails := "line has 2 fields, its header 7\nline has a quote inside of a field without quotes\nline has a quoted field that does not end\n"
	if details != wantDetails {
		t.Error(details)
	}
}

// TestBatchesOfHugeIDs: a batch of 4,096 ids of half a megabyte would be two gigabytes.
func TestBatchesOfHugeIDs(t *testing.T) {
	var text strings.Builder
	text.WriteString("id,account,meter,quantity,time\n")
	for range 40 {
		text.WriteString(strings.Repeat("x", 1<<19) + ",acme,calls,1," + okTime + "\n")
	}
	r, o := open(t, Config{}, "u.csv", []byte(text.String()))
	var sizes batchSizes
	if _, err := r.Read(context.Background(), o, &sizes); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(batchSizes{32, 8}, sizes); diff != "" {
		t.Error(diff)
	}
}

// batchSizes is a sink that counts the records of each batch.
type batchSizes []int

func (s *batchSizes) Records(b *rating.Records) error { *s = append(*s, b.Len()); return nil }
func (s *batchSizes) Reject(*rating.Rejected) error   { return nil }

// TestFilledIsToldOfWholeLines: a long line is looked through once, however small the pieces are that it comes in.
func TestFilledIsToldOfWholeLines(t *testing.T) {
	text := strings.Repeat("a", 3_000_000) + "\nb\n" + strings.Repeat("c", 150_000)
	for _, piece := range []int{1000, 100_000, len(text)} {
		s := &stream{
			ctx: t.Context(), text: &pieces{strings.NewReader(text), piece}, limit: int64(len(text)), buf: make([]byte, 256<<10), maxLine: len(text),
		}
		told, last := 0, ""
		s.filled = func(text []byte) { told, last = told+len(text), string(text) }
		for _, want := range strings.Split(text, "\n") {
			line, _, err := s.line()
			if err != nil || string(line) != want || !strings.Contains(last, want) {
				t.Fatalf("in pieces of %d: a line of %d bytes and %v, after %d bytes were told", piece, len(line), err, len(last))
			}
		}
		if told > len(text)+4*piece {
			t.Errorf("in pieces of %d, %d bytes were told of %d", piece, told, len(text))
		}
	}
}

// pieces reads no more than so many bytes at once.
type pieces struct {
	io.Reader
	most int
}

func (p *pieces) Read(to []byte) (int, error) { return p.Reader.Read(to[:min(len(to), p.most)]) }
