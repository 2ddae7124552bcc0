package catalog

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// csv reads a file whose name says which kind its rows are.
func (p *parser) csv(data []byte) {
	names := sectionNames()
	base := filepath.Base(p.name)
	base = base[:len(base)-len(filepath.Ext(base))]
	kind, _, _ := strings.Cut(base, "-")
	kind, _, _ = strings.Cut(kind, ".")
	at := slices.Index(names, kind)
	if at < 0 {
		p.fault(1, "", misspelt(kind, names)+": packages.csv, packages-2026.csv", "the file's name does not say which kind its rows are")
		p.broken = true
		return
	}
	p.kind = sections[at].name()
	p.named[p.kind] = true
	sections[at].readCSV(p, bytes.TrimPrefix(data, []byte("\ufeff")))
}

func (t *table[T]) readCSV(p *parser, data []byte) {
	reader := csv.NewReader(bytes.NewReader(data))
	reader.ReuseRecord, reader.FieldsPerRecord = true, -1
	header, err := reader.Read()
	if errors.Is(err, io.EOF) {
		p.fault(1, "", "write a header such as `"+strings.Join(t.names()[:2], ",")+"`", "the file is empty")
		return
	}
	if err != nil {
		p.notCSV(err)
		return
	}
	columns, ok := t.columns(p, reader, header)
	if !ok {
		p.broken = true
		return
	}
	rows := t.rows(&p.Draft)
	*rows = slices.Grow(*rows, bytes.Count(data, []byte("\n")))
	for {
		cells, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			p.notCSV(err)
			return
		}
		line, _ := reader.FieldPos(0)
		*rows = append(*rows, *new(T))
		p.begin(t.kind, len(*rows)-1, line)
		p.fixed = line
		if len(cells) != len(columns) {
			p.fault(line, "", "write as many cells as the header has; quote a cell that holds a comma",
				fmt.Sprintf("the row has %d cells, but the header %d", len(cells), len(columns)))
		}
		n := min(len(cells), len(columns))
		t.cells(p, &(*rows)[len(*rows)-1], columns[:n], cells[:n])
		p.end()
	}
}

// columns finds the field of each column.
func (t *table[T]) columns(p *parser, reader *csv.Reader, header []string) ([]int, bool) {
	names := t.names()
	columns := make([]int, len(header))
	ok := true
	for i, name := range header {
		line, _ := reader.FieldPos(i)
		name = strings.TrimSpace(name)
		columns[i] = slices.Index(names, name)
		switch {
		case len(header) == 1 && strings.ContainsAny(name, ";\t"):
			p.fault(line, "", "separate the cells by commas", "the header is one cell")
			return nil, false
		case columns[i] < 0:
			p.fault(line, name, misspelt(name, names), fmt.Sprintf("unknown field %q in `%s`; the first line must name the fields", name, t.kind))
		case slices.Contains(columns[:i], columns[i]):
			p.fault(line, name, "remove one", fmt.Sprintf("field %q is there twice", name))
		default:
			continue
		}
		ok = false
	}
	return columns, ok
}

func (t *table[T]) cells(p *parser, row *T, columns []int, cells []string) {
	for i, cell := range cells {
		if cell == "" {
			continue
		}
		if f := &t.fields[columns[i]]; f.text != nil {
			*f.text(row) = cell
		} else if f.share == nil {
			f.cell(p, row, cell)
		} else if known, ok := p.cells[cell]; ok {
			*f.share(row) = known
		} else {
			before := len(p.faults)
			f.cell(p, row, cell)
			if len(p.faults) == before {
				p.cells[cell] = *f.share(row)
			}
		}
	}
}

// cell reads a cell of a field that has parts.
func (f *field[T]) cell(p *parser, row *T, cell string) {
	if cell[0] != '[' && cell[0] != '{' {
		f.plain(p, row, cell)
		return
	}
	p.flow(f.name, cell, func(n *yaml.Node) { f.node(p, f.name, row, n) })
}

// flow reads a cell in YAML's flow style, as JSON is.
func (p *parser) flow(name, cell string, read func(*yaml.Node)) {
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(cell), &document); err != nil || len(document.Content) == 0 {
		p.fault(p.fixed, name, "write it as in YAML, on one line: [{meter: calls}]", fmt.Sprintf("%s %q is not valid YAML", name, cell))
		return
	}
	read(document.Content[0])
}

// notCSV notes a file that cannot be read to its end.
func (p *parser) notCSV(err error) {
	line, text := 1, err.Error()
	var parse *csv.ParseError
	if errors.As(err, &parse) {
		line, text = parse.Line, parse.Err.Error()
	}
	p.fault(line, "", `write a quote inside a cell twice: "a ""b"" c"`, "the file is not valid CSV: "+text)
	p.broken = true
}
