package export

import (
	"bytes"
	"encoding/csv"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"drawdown/rating"
)

func everyKind() *Table {
	return &Table{"every", []Column{
		{Name: "text"},
		{Name: "maybe", Nullable: true},
		{Name: "decimal", Kind: Decimal},
		{Name: "instant", Kind: Instant},
		{Name: "integer", Kind: Integer},
		{Name: "boolean", Kind: Boolean},
	}}
}

func anyText(t *rapid.T, label string) string {
	return rapid.OneOf(
		rapid.SampledFrom([]string{"=1+1", "+49", "-5", "@cmd", "\tx", "\rx", "'=x", "''+", "'t Hooft", "a,b", "say \"hi\"", "two\nlines", "CR\r\nLF", " blank "}),
		rapid.StringN(0, 12, -1),
	).Draw(t, label)
}

// TestCSVRoundTrips: an RFC 4180 reader that takes away an apostrophe where the format says so gets back what was written.
func TestCSVRoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b bytes.Buffer
		w, err := newCSV(&b, everyKind())
		if err != nil {
			t.Fatal(err)
		}
		var want [][]string
		for range rapid.IntRange(1, 5).Draw(t, "rows") {
			maybe := Value{Null: true}
			if rapid.Bool().Draw(t, "known") {
				maybe = text(anyText(t, "maybe"))
			}
			row := []Value{
				text(anyText(t, "text")), maybe,
				decimal(rating.Amount{Hi: rapid.Int64Range(-1e9, 1e9).Draw(t, "high"), Lo: rapid.Uint64().Draw(t, "low")}),
				instant(rating.Instant(rapid.Int64Range(-1e15, 1e16).Draw(t, "instant"))),
				integer(rapid.Int64().Draw(t, "integer")), boolean(rapid.Bool().Draw(t, "boolean")),
			}
			want = append(want, []string{
				row[0].Text, row[1].Text, row[2].Decimal.String(), rating.Instant(row[3].Int).String(),
				strconv.FormatInt(row[4].Int, 10), strconv.FormatBool(row[5].Int == 1),
			})
			if err := w.write(row); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.end(); err != nil {
			t.Fatal(err)
		}
		got, err := readCSV(b.String())
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range got[1:] {
			for i := range row[:2] {
				if row[i] != "" && strings.ContainsAny(row[i][:1], "=+-@\t\r") {
					t.Fatalf("%q is a formula to a spreadsheet", row[i])
				}
				row[i] = Original(row[i])
			}
		}
		if d := cmp.Diff(want, got[1:]); d != "" {
			t.Fatal(d)
		}
	})
}

// readCSV reads RFC 4180 as it stands; encoding/csv makes LF of CRLF within quotes.
func readCSV(s string) ([][]string, error) {
	if !strings.Contains(s, "\r") || !strings.Contains(s, "\"") {
		return csv.NewReader(strings.NewReader(s)).ReadAll()
	}
	var rows [][]string
	row, cell, quoted := []string{}, "", false
	for i := 0; i < len(s); i++ {
		switch {
		case quoted && s[i] == '"' && i+1 < len(s) && s[i+1] == '"':
			cell += "\""
			i++
		case s[i] == '"':
			quoted = !quoted
		case !quoted && s[i] == ',':
			row, cell = append(row, cell), ""
		case !quoted && s[i] == '\r' && i+1 < len(s) && s[i+1] == '\n':
			rows, row, cell = append(rows, append(row, cell)), nil, ""
			i++
		default:
			cell += s[i : i+1]
		}
	}
	return rows, nil
}

func FuzzHarmless(f *testing.F) {
	for _, s := range []string{"", "=1", "'=1", "''-", "a", "'a", "\t"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		safe := Harmless(s)
		if safe != "" && strings.IndexByte("=+-@\t\r", safe[0]) >= 0 {
			t.Errorf("%q stays a formula: %q", s, safe)
		}
		if Original(safe) != s {
			t.Errorf("%q comes back as %q", s, Original(safe))
		}
	})
}

// TestNumbersThatASpreadsheetKeeps: a decimal is a number only where the float that holds it shows the same digits.
func TestNumbersThatASpreadsheetKeeps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := rating.AmountOf(rapid.Int64().Draw(t, "amount"))
		if !fitsNumber(a) {
			return
		}
		n, err := strconv.ParseFloat(a.String(), 64)
		if err != nil || strconv.FormatFloat(n, 'f', -1, 64) != a.String() {
			t.Fatalf("%s would be kept as %v", a, n)
		}
	})
	for a, fits := range map[rating.Amount]bool{
		rating.AmountOf(999999_999999999): true, rating.AmountOf(1000000_000000001): false, rating.AmountOf(math.MaxInt64): false, {}: true,
	} {
		if fitsNumber(a) != fits {
			t.Errorf("fitsNumber(%s) is %v", a, !fits)
		}
	}
}
