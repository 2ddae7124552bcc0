package usage

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// csvReader makes rows of CSV records.
type csvReader struct {
	plan     *plan
	key      string
	binding  binding
	columns  int
	unquoted bool // there is no quote in what is read
	fields   [][]byte
	scratch  []byte // for quoted fields with quotes in them
	row      row
	text     []byte // of an id that is made of the row's number
}

func newCSVReader(p *plan, key string) *csvReader { return &csvReader{plan: p, key: key} }

func (c *csvReader) read(s *stream, to rows) error {
	if !to.whole() {
		s.filled = func(text []byte) { c.unquoted = bytes.IndexByte(text, '"') < 0 }
	}
	if err := s.skipMark(); err != nil {
		return err
	}
	_, fault, err := c.record(s)
	switch {
	case errors.Is(err, io.EOF):
		return errors.New("has no header line; a CSV object begins with the names of its columns")
	case err != nil:
		return err
	case fault != "":
		return fmt.Errorf("has a header line that %s; a CSV object begins with the names of its columns", fault)
	}
	if err := c.header(); err != nil {
		return err
	}
	for number := int64(1); ; number++ {
		if c.passes(s, to) {
			continue
		}
		raw, fault, err := c.record(s)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		c.row.reset(number)
		c.row.raw = raw
		switch {
		case fault != "":
			c.row.malformed = "line " + fault
		case len(c.fields) != c.columns:
			c.row.malformed = fmt.Sprintf("line has %d fields, its header %d", len(c.fields), c.columns)
		default:
			c.fill()
		}
		if err := to.add(&c.row); err != nil {
			return err
		}
	}
}

// passes goes on to the next line if nobody wants this one, without cutting it into fields.
func (c *csvReader) passes(s *stream, to rows) bool {
	if !c.unquoted || c.binding.account.kind == constant {
		return false
	}
	text := s.buf[s.start:s.end]
	lineEnd := bytes.IndexByte(text, '\n')
	if lineEnd < 0 || lineEnd > s.maxLine {
		return false
	}
	account, rest := trimReturn(text[:lineEnd]), []byte(nil)
	for column := c.binding.account.slot; ; column-- {
		found := false
		if account, rest, found = bytes.Cut(account, comma); column == 0 {
			break
		}
		if account = rest; !found {
			return false
		}
	}
	if to.wants(account) || len(account)+len(rest) == 0 {
		return false
	}
	s.start += lineEnd + 1
	return true
}

var comma = []byte(",")

// header binds the plan to the columns whose names were just read.
func (c *csvReader) header() error {
	names := make([]string, len(c.fields))
	slot := make(map[string]int, len(names))
	for i, f := range c.fields {
		names[i] = string(f)
		if _, twice := slot[names[i]]; twice && names[i] != "" {
			return fmt.Errorf("has the column %q twice; rename one of them, or leave it out", names[i])
		}
		slot[names[i]] = i
	}
	c.columns = len(names)
	if c.columns > maxMembers {
		return fmt.Errorf("has %d columns, more than %d", c.columns, maxMembers)
	}
	var missing []string
	c.binding = c.plan.bind(func(name, canonical string) int {
		i, ok := slot[name]
		if !ok {
			i = -1
			if canonical != "version" || name != "version" {
				missing = append(missing, missingColumn(name, canonical))
			}
		}
		return i
	})
	if len(missing) > 0 {
		return errMissingColumns(missing, names)
	}
	if !c.plan.mapsAttributes {
		for i, name := range names {
			if name == "attributes" {
				return errWholeAttributes
			}
			if attribute, ok := strings.CutPrefix(name, "attributes."); ok {
				c.binding.attributes = append(c.binding.attributes, boundAttribute{[]byte(attribute), source{fromColumn, i, nil}})
			}
		}
	}
	c.row.quantity = make([][]byte, len(c.binding.quantity))
	return nil
}

var errWholeAttributes = errors.New("has attributes in one column, attributes, which is read as none; map usage.fields.attributes, or write columns attributes.NAME")

func missingColumn(name, canonical string) string {
	if name == canonical {
		return fmt.Sprintf("%q", name)
	}
	return fmt.Sprintf("%q (for %s)", name, canonical)
}

func errMissingColumns(missing, columns []string) error {
	columns = slices.Clone(columns[:min(len(columns), maxMembers)])
	for i, c := range columns {
		columns[i] = c[:min(len(c), 80)]
	}
	return fmt.Errorf("lacks the column %s; it has %s; map the columns in usage.fields",
		strings.Join(missing, ", "), strings.Join(columns, ", "))
}

func (c *csvReader) fill() {
	r, b := &c.row, &c.binding
	if b.id.kind == fromRow {
		c.text = appendRowID(c.text[:0], c.key, r.number)
		r.id = c.text
	} else {
		r.id = c.pick(b.id)
	}
	r.account, r.meter, r.version, r.time = c.pick(b.account), c.pick(b.meter), c.pick(b.version), c.pick(b.time)
	for i, q := range b.quantity {
		r.quantity[i] = c.pick(q)
	}
	for _, a := range b.attributes {
		if text := c.pick(a.source); len(text) > 0 {
			r.attrs = append(r.attrs, pair{a.name, text})
		}
	}
}

func (c *csvReader) pick(s source) []byte {
	if s.kind == constant {
		return s.text
	}
	if s.slot < 0 {
		return nil
	}
	return c.fields[s.slot]
}

// record reads the next record into fields, and gives its bytes and what is wrong with it. A record with a fault ends
// where its first line ends.
func (c *csvReader) record(s *stream) (raw []byte, fault string, err error) {
	for {
		text := s.buf[s.start:s.end]
		lineEnd := bytes.IndexByte(text, '\n')
		if lineEnd < 0 && !s.eof && len(text) <= s.maxLine {
			if _, err := s.fill(); err != nil {
				return nil, "", err
			}
			continue
		}
		if lineEnd < 0 && len(text) == 0 {
			return nil, "", io.EOF
		}
		if lineEnd < 0 {
			lineEnd = len(text)
		}
		if lineEnd > s.maxLine {
			raw, _, err = s.line()
			return raw, "is longer than usage.max_line", err
		}
		line := trimReturn(text[:lineEnd])
		if len(line) == 0 {
			s.start += min(lineEnd+1, len(text))
			continue
		}
		if bytes.IndexByte(line, '"') < 0 {
			c.split(line)
			s.start += min(lineEnd+1, len(text))
			return line, textFault(line), nil
		}
		// What lies beyond max_line must not matter, however much of it has been read already.
		within := text[:min(len(text), s.maxLine+1)]
		used, fault := c.quotedRecord(within, s.eof && len(within) == len(text))
		if fault == unclosed && !s.eof && len(text) <= s.maxLine {
			if _, err := s.fill(); err != nil {
				return nil, "", err
			}
			continue
		}
		if fault != "" || used > s.maxLine {
			s.start += min(lineEnd+1, len(text))
			if fault == "" {
				fault = unclosed
			}
			return line, fault, nil
		}
		s.start += used
		raw = trimReturn(bytes.TrimSuffix(text[:used], []byte("\n")))
		return raw, textFault(raw), nil
	}
}

func trimReturn(line []byte) []byte { return bytes.TrimSuffix(line, []byte("\r")) }

func textFault(text []byte) string {
	switch {
	case !utf8.Valid(text):
		return "is not UTF-8"
	case bytes.IndexByte(text, 0) >= 0:
		return "has a NUL"
	}
	return ""
}

// split cuts a line without quotes.
func (c *csvReader) split(line []byte) {
	c.fields = c.fields[:0]
	start := 0
	for i, b := range line {
		if b == ',' {
			c.fields = append(c.fields, line[start:i:i])
			start = i + 1
		}
	}
	c.fields = append(c.fields, line[start:])
}

const unclosed = "has a quoted field that does not end"

// quotedRecord cuts the record at the start of text, and says how many bytes it takes with its line end. Without a line
// end it is whole only where the object ends.
func (c *csvReader) quotedRecord(text []byte, eof bool) (used int, fault string) {
	c.fields, c.scratch = c.fields[:0], c.scratch[:0]
	for i := 0; ; {
		var content []byte
		var fault string
		if i < len(text) && text[i] == '"' {
			content, i, fault = c.quotedField(text, i+1)
		} else {
			start := i
			for i < len(text) && text[i] != ',' && text[i] != '\n' && text[i] != '"' {
				i++
			}
			content = text[start:i]
			if i == len(text) || text[i] == '\n' {
				content = trimReturn(content)
			} else if text[i] == '"' {
				fault = "has a quote inside of a field without quotes"
			}
		}
		if fault != "" {
			return 0, fault
		}
		c.fields = append(c.fields, content)
		switch {
		case i == len(text) && eof:
			return i, ""
		case i == len(text):
			return 0, unclosed
		case text[i] == '\n':
			return i + 1, ""
		}
		i++ // the comma
	}
}

// quotedField reads on behind the opening quote, to the comma or line end behind the closing one.
func (c *csvReader) quotedField(text []byte, i int) (content []byte, end int, fault string) {
	start, from := i, len(c.scratch)
	for {
		n := bytes.IndexByte(text[i:], '"')
		if n < 0 {
			return nil, 0, unclosed
		}
		i += n + 1
		if i < len(text) && text[i] == '"' {
			c.scratch = append(c.scratch, text[start:i]...)
			i++
			start = i
			continue
		}
		content = text[start : i-1]
		if len(c.scratch) > from {
			c.scratch = append(c.scratch, content...)
			content = c.scratch[from:len(c.scratch):len(c.scratch)]
		}
		if i < len(text) && text[i] == '\r' && (i+1 == len(text) || text[i+1] == '\n') {
			i++
		}
		if i < len(text) && text[i] != ',' && text[i] != '\n' {
			return nil, 0, "has something behind a closing quote"
		}
		return content, i, ""
	}
}
