package export

import (
	"bufio"
	"io"
	"strconv"
	"strings"

	"drawdown/rating"
)

// rowWriter writes the rows of a table. A row may be used again once it is written.
type rowWriter interface {
	write(row []Value) error
	end() error
}

type csvWriter struct {
	to    *bufio.Writer
	table *Table
	line  []byte
}

func newCSV(w io.Writer, t *Table) (*csvWriter, error) {
	c := &csvWriter{to: bufio.NewWriterSize(w, 1<<16), table: t}
	for i := range t.Columns {
		if i > 0 {
			c.line = append(c.line, ',')
		}
		c.line = appendText(c.line, t.Columns[i].Name)
	}
	_, err := c.to.Write(append(c.line, '\r', '\n'))
	return c, err
}

func (c *csvWriter) write(row []Value) error {
	b := c.line[:0]
	for i := range row {
		if i > 0 {
			b = append(b, ',')
		}
		if row[i].Null {
			continue
		}
		b = appendCell(b, c.table.Columns[i].Kind, &row[i])
	}
	c.line = append(b, '\r', '\n')
	_, err := c.to.Write(c.line)
	return err
}

func (c *csvWriter) end() error { return c.to.Flush() }

func appendCell(b []byte, kind Kind, v *Value) []byte {
	switch kind {
	case Decimal:
		return append(b, v.Decimal.String()...)
	case Instant:
		return append(b, rating.Instant(v.Int).String()...)
	case Integer:
		return strconv.AppendInt(b, v.Int, 10)
	case Boolean:
		return strconv.AppendBool(b, v.Int != 0)
	}
	return appendText(b, v.Text)
}

// appendText writes a text as a cell: harmless, and in quotes where it needs them.
func appendText(b []byte, s string) []byte {
	s = Harmless(s)
	if !strings.ContainsAny(s, ",\"\r\n") && strings.TrimSpace(s) == s {
		return append(b, s...)
	}
	b = append(b, '"')
	for i := range len(s) {
		if s[i] == '"' {
			b = append(b, '"')
		}
		b = append(b, s[i])
	}
	return append(b, '"')
}

// Harmless puts an apostrophe before a text that a spreadsheet would take for a formula, and before one that would read
// like that afterwards, so that [Original] finds its way back.
func Harmless(s string) string {
	if isFormula(s) {
		return "'" + s
	}
	return s
}

// Original is the text that Harmless was given.
func Original(s string) string {
	if strings.HasPrefix(s, "'") && isFormula(s) {
		return s[1:]
	}
	return s
}

func isFormula(s string) bool {
	s = strings.TrimLeft(s, "'")
	return s != "" && strings.IndexByte("=+-@\t\r", s[0]) >= 0
}
