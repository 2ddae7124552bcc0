package export

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/xuri/excelize/v2"

	"drawdown/rating"
)

func totalled() *Table {
	return &Table{"sales", []Column{
		{Name: "at", Kind: Instant},
		{Name: "amount", Kind: Decimal, By: "currency"},
		{Name: "currency"},
		{Name: "note", Nullable: true},
	}}
}

func saleRow(units int64, currency, note string) []Value {
	return []Value{instant(rating.Instant(1790812800_000000)), decimal(rating.AmountOf(units)), text(currency), textOrNull(note)}
}

// TestManifestTellsOfTheFile: size, hash, rows, and sums of one currency each.
func TestManifestTellsOfTheFile(t *testing.T) {
	for _, extension := range []string{".csv", ".xlsx", ".parquet"} {
		w := &Writer{Dir: filepath.Join(t.TempDir(), "out"), Head: Manifest{Site: "test"}}
		out, err := w.Create("sales"+extension, totalled())
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range [][]Value{saleRow(1, "USD", "=1"), saleRow(2_000000000, "EUR", ""), saleRow(123456789_123456789, "USD", "x")} {
			if err := out.Row(0, row); err != nil {
				t.Fatal(err)
			}
		}
		m, err := out.Finish()
		if err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(filepath.Join(w.Dir, "sales"+extension))
		if err != nil {
			t.Fatal(err)
		}
		hash := sha256.Sum256(content)
		sums := m.Tables[0].Sums
		if m.SHA256 != hex.EncodeToString(hash[:]) || m.Size != int64(len(content)) || m.Tables[0].Rows != 3 || len(sums) != 2 ||
			sums[0].Of != "EUR" || sums[0].Sum.String() != "2" || sums[1].Sum.String() != "123456789.12345679" {
			t.Errorf("%s: the manifest says %+v", extension, m)
		}
		if _, err := w.Create("sales"+extension, totalled()); !errors.Is(err, ErrExists) {
			t.Errorf("%s: it is overwritten: %v", extension, err)
		}
		if err := w.Discard(); err != nil {
			t.Error(err)
		}
		if left, _ := os.ReadDir(w.Dir); len(left) != 0 {
			t.Errorf("%s: %d files are left", extension, len(left))
		}
	}
}

// TestWorkbookIsTyped: instants, numbers, and decimals that a number does not hold as text; totals as numbers and exactly.
func TestWorkbookIsTyped(t *testing.T) {
	w := &Writer{Dir: t.TempDir()}
	out, err := w.Create("book.xlsx", totalled())
	if err != nil {
		t.Fatal(err)
	}
	for _, units := range []int64{1_500000000, 123456789_123456789} {
		if err := out.Row(0, saleRow(units, "USD", "=1+1")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := out.Finish(); err != nil {
		t.Fatal(err)
	}
	book, err := excelize.OpenFile(filepath.Join(w.Dir, "book.xlsx"))
	if err != nil {
		t.Fatal(err)
	}
	defer book.Close()
	cell := func(sheet, at string) (excelize.CellType, string) {
		kind, err := book.GetCellType(sheet, at)
		value, err2 := book.GetCellValue(sheet, at, excelize.Options{RawCellValue: true})
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		return kind, value
	}
	if formula, _ := book.GetCellFormula("sales", "D2"); formula != "" {
		t.Errorf("a text became the formula %s", formula)
	}
	if kind, value := cell("sales", "B2"); kind != excelize.CellTypeUnset && kind != excelize.CellTypeNumber || value != "1.5" {
		t.Errorf("1.5 is %s, a %v", value, kind)
	}
	if kind, value := cell("sales", "B3"); kind != excelize.CellTypeInlineString || value != "123456789.123456789" {
		t.Errorf("a decimal of 18 digits is %s, a %v", value, kind)
	}
	_, serial := cell("sales", "A2")
	days, _ := strconv.ParseFloat(serial, 64)
	if at, err := excelize.ExcelDateToTime(days, false); err != nil || !at.Equal(time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("the instant is %s: %v", serial, at)
	}
	if _, exact := cell("totals", "F3"); exact != "123456790.623456789" {
		t.Errorf("the total is %s", exact)
	}
	panes, err := book.GetPanes("sales")
	if err != nil || !panes.Freeze || panes.YSplit != 1 {
		t.Errorf("the header is not frozen: %+v, %v", panes, err)
	}
}

// TestParquetKeepsDecimals: columns in their order, exact decimals, nulls.
func TestParquetKeepsDecimals(t *testing.T) {
	w := &Writer{Dir: t.TempDir()}
	out, err := w.Create("sales.parquet", totalled())
	if err != nil {
		t.Fatal(err)
	}
	const rows = 10000
	for i := range int64(rows) {
		if err := out.Row(0, saleRow(-i, "USD", map[bool]string{true: "note"}[i%2 == 0])); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := out.Finish(); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(filepath.Join(w.Dir, "sales.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	info, _ := file.Stat()
	f, err := parquet.OpenFile(file, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range totalled().Columns {
		if got := f.Schema().Fields()[i].Name(); got != c.Name {
			t.Errorf("column %d is %s, not %s", i, got, c.Name)
		}
	}
	reader := parquet.NewReader(f)
	defer reader.Close()
	read := make([]parquet.Row, rows)
	if n, err := reader.ReadRows(read); n != rows || err != nil && err != io.EOF {
		t.Fatal(n, err)
	}
	for i, r := range read {
		want, b := rating.AmountOf(-int64(i)), r[1].ByteArray()
		if binary.BigEndian.Uint64(b) != uint64(want.Hi) || binary.BigEndian.Uint64(b[8:]) != want.Lo || r[3].IsNull() != (i%2 == 1) || string(r[2].ByteArray()) != "USD" {
			t.Fatalf("row %d is %v", i, r)
		}
	}
}
