package export

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/xuri/excelize/v2"

	"drawdown/rating"
)

const (
	sheetRows   = 1 << 20 // of a sheet, its header included
	cellRunes   = 32767   // of a text
	exactDigits = 15      // of a number
	totalsSheet = "totals"
)

// workbook is a file of sheets. Rows of a sheet are spilled to a temporary file beyond 16 MiB.
type workbook struct {
	file    *excelize.File
	to      io.Writer
	header  int // styles
	number  int
	instant int
}

func newWorkbook(w io.Writer, tempDir string) (*workbook, error) {
	b := &workbook{file: excelize.NewFile(excelize.Options{TmpDir: tempDir}), to: w}
	err := b.file.SetSheetName("Sheet1", totalsSheet)
	for _, style := range []struct {
		id     *int
		format string
		bold   bool
	}{{&b.header, "", true}, {&b.number, "#,##0.#########", false}, {&b.instant, "yyyy-mm-dd hh:mm:ss", false}} {
		s := &excelize.Style{Font: &excelize.Font{Bold: style.bold}}
		if style.format != "" {
			s.CustomNumFmt = &style.format
		}
		if err == nil {
			*style.id, err = b.file.NewStyle(s)
		}
	}
	return b, err
}

// sheet writes a table into the workbook.
type sheet struct {
	book   *workbook
	table  *Table
	stream *excelize.StreamWriter
	part   int
	row    int // of the stream
	cells  []any
	asText int64 // decimals that a number does not hold
}

func (b *workbook) sheet(t *Table) (*sheet, error) {
	s := &sheet{book: b, table: t}
	return s, s.next()
}

// next begins another sheet of the table.
func (s *sheet) next() error {
	name := s.table.Name
	if s.part++; s.part > 1 {
		name = fmt.Sprintf("%s (%d)", s.table.Name, s.part)
	}
	if _, err := s.book.file.NewSheet(name); err != nil {
		return err
	}
	var err error
	if s.stream, err = s.book.file.NewStreamWriter(name); err != nil {
		return err
	}
	err = s.stream.SetPanes(&excelize.Panes{
		Freeze: true, YSplit: 1, TopLeftCell: "A2", ActivePane: "bottomLeft",
		Selection: []excelize.Selection{{SQRef: "A2", ActiveCell: "A2", Pane: "bottomLeft"}},
	})
	for i := range s.table.Columns {
		if err == nil {
			err = s.stream.SetColWidth(i+1, i+1, columnWidth(&s.table.Columns[i]))
		}
	}
	s.cells, s.row = s.cells[:0], 1
	for i := range s.table.Columns {
		s.cells = append(s.cells, excelize.Cell{StyleID: s.book.header, Value: s.table.Columns[i].Name})
	}
	if err == nil {
		err = s.stream.SetRow("A1", s.cells)
	}
	return err
}

func columnWidth(c *Column) float64 {
	least := 10.0
	if c.Kind == Instant {
		least = 19
	}
	return max(least, float64(len(c.Name))+2)
}

func (s *sheet) write(row []Value) error {
	if s.row == sheetRows {
		if err := s.stream.Flush(); err != nil {
			return err
		}
		if err := s.next(); err != nil {
			return err
		}
	}
	s.row++
	s.cells = s.cells[:0]
	for i := range row {
		cell, err := s.cell(s.table.Columns[i].Kind, &row[i])
		if err != nil {
			return fmt.Errorf("column %s: %w", s.table.Columns[i].Name, err)
		}
		s.cells = append(s.cells, cell)
	}
	return s.stream.SetRow("A"+strconv.Itoa(s.row), s.cells)
}

func (s *sheet) cell(kind Kind, v *Value) (any, error) {
	switch {
	case v.Null:
		return nil, nil
	case kind == Decimal:
		if !fitsNumber(v.Decimal) {
			s.asText++
			return v.Decimal.String(), nil
		}
		n, err := strconv.ParseFloat(v.Decimal.String(), 64)
		return excelize.Cell{StyleID: s.book.number, Value: n}, err
	case kind == Instant:
		return excelize.Cell{StyleID: s.book.instant, Value: rating.Instant(v.Int).Time()}, nil
	case kind == Integer:
		return v.Int, nil
	case kind == Boolean:
		return v.Int != 0, nil
	case len(v.Text) > cellRunes:
		return nil, fmt.Errorf("a text of %d bytes does not fit into a cell, which takes %d; --format csv takes any", len(v.Text), cellRunes)
	}
	return v.Text, nil
}

// fitsNumber tells whether a spreadsheet's number shows all digits of a decimal.
func fitsNumber(a rating.Amount) bool {
	digits := strings.TrimLeft(strings.ReplaceAll(strings.TrimPrefix(a.String(), "-"), ".", ""), "0")
	return len(digits) <= exactDigits
}

func (s *sheet) end() error { return s.stream.Flush() }

// finish writes the sheet of totals, and the file.
func (b *workbook) finish(m *Manifest, sheets []*sheet) error {
	stream, err := b.file.NewStreamWriter(totalsSheet)
	if err != nil {
		return err
	}
	err = stream.SetPanes(&excelize.Panes{Freeze: true, YSplit: 1, TopLeftCell: "A2", ActivePane: "bottomLeft"})
	if err == nil {
		err = stream.SetColWidth(1, 6, 22)
	}
	row := 0
	put := func(style int, cells ...any) {
		for i := range cells {
			cells[i] = excelize.Cell{StyleID: style, Value: cells[i]}
		}
		if row++; err == nil {
			err = stream.SetRow("A"+strconv.Itoa(row), cells)
		}
	}
	put(b.header, "table", "column", "by", "of", "sum", "sum, exactly")
	for i := range m.Tables {
		t := &m.Tables[i]
		put(0, t.Name, "rows", "", "", t.Rows, strconv.FormatInt(t.Rows, 10))
		for _, sum := range t.Sums {
			exact := sum.Sum.String()
			n, _ := strconv.ParseFloat(exact, 64)
			put(b.number, t.Name, sum.Column, sum.By, sum.Of, n, exact)
		}
		put(0, t.Name, "cells kept as text, since a number has 15 digits", "", "", sheets[i].asText)
	}
	row++
	put(b.header, "period", "revision", "state", "manifest")
	for _, p := range m.Periods {
		put(0, p.Name, p.Revision, p.State, p.ManifestSHA256)
	}
	if err != nil {
		return err
	}
	if err := stream.Flush(); err != nil {
		return err
	}
	return b.file.Write(b.to)
}

func (b *workbook) close() error { return b.file.Close() }
