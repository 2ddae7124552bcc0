package usage

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"

	"drawdown/rating"
)

// parquetReader makes rows of a Parquet file, in steps that end where a page of some column ends.
type parquetReader struct {
	plan    *plan
	key     string
	file    *parquetFile
	binding binding
	columns []*column // by slot
	maps    *mapColumn
	row     row
	arena   []byte // texts of the row
	ctx     context.Context
	allowed *allowance
	named   map[string]int // how many columns have a name

	batch *batcher // nil: the rows are wanted one by one
	fast  fastStep
}

func (r *Reader) decodeParquet(ctx context.Context, o Object, file content, to rows) (sum [32]byte, err error) {
	if to.whole() {
		hash := sha256.New()
		if _, err := io.Copy(hash, io.NewSectionReader(file, 0, o.Size)); err != nil {
			return sum, err
		}
		hash.Sum(sum[:0])
	}
	f, err := openParquet(file, o.Size)
	if err != nil {
		return sum, err
	}
	p := newParquetReader(ctx, f, r.plan, o.Key)
	defer p.allowed.decoders.close()
	p.batch, _ = to.(*batcher)
	if err := p.bind(); err != nil {
		return sum, err
	}
	return sum, p.read(to)
}

func newParquetReader(ctx context.Context, f *parquetFile, of *plan, key string) *parquetReader {
	p := &parquetReader{plan: of, key: key, file: f, ctx: ctx, allowed: newAllowance(f.size, of), named: make(map[string]int, len(f.leaves))}
	for i := range f.leaves {
		p.named[f.leaves[i].name]++
	}
	return p
}

func (p *parquetReader) pagesOf(l *leaf) pages {
	return pages{ctx: p.ctx, leaf: l, allowed: p.allowed, maxLine: p.plan.maxLine}
}

// bind finds the columns that the plan asks for, and refuses those that cannot be what they should.
func (p *parquetReader) bind() error {
	slots := map[string]int{}
	var missing, faults []string
	p.binding = p.plan.bind(func(name, canonical string) int {
		l := p.find(name)
		if l == nil {
			if canonical != "version" || name != "version" {
				missing = append(missing, missingColumn(name, canonical))
			}
			return -1
		}
		if p.twice(name) {
			faults = append(faults, twiceFault(name))
		}
		if fault := p.unfit(l, canonical); fault != "" {
			faults = append(faults, fmt.Sprintf("column %s (%s) %s", l.name, physicalNames[l.physical], fault))
		}
		slot, ok := slots[name]
		if !ok {
			slot = len(p.columns)
			slots[name] = slot
			p.columns = append(p.columns, &column{pages: p.pagesOf(l)})
		}
		return slot
	})
	if len(missing) > 0 {
		names := make([]string, len(p.file.leaves))
		for i := range names {
			names[i] = p.file.leaves[i].name
		}
		return errMissingColumns(missing, names)
	}
	if !p.plan.mapsAttributes {
		if fault := p.defaultAttributes(); fault != "" {
			faults = append(faults, fault)
		}
	}
	if len(faults) > 0 {
		return errors.New(strings.Join(faults, "; "))
	}
	p.row.quantity = make([][]byte, len(p.binding.quantity))
	return nil
}

func (p *parquetReader) find(name string) *leaf {
	for i := range p.file.leaves {
		if l := &p.file.leaves[i]; l.name == name && l.maxRep == 0 {
			return l
		}
	}
	return nil
}

func (p *parquetReader) twice(name string) bool { return p.named[name] > 1 }

func twiceFault(name string) string {
	return "column " + name + " stands there twice; rename one of them, or leave it out"
}

// defaultAttributes binds the columns below `attributes`: of a map, or of a struct.
func (p *parquetReader) defaultAttributes() string {
	var key *leaf
	for i := range p.file.leaves {
		l := &p.file.leaves[i]
		name, below := strings.CutPrefix(l.name, "attributes.")
		switch {
		case l.name == "attributes":
			return errWholeAttributes.Error()
		case !below:
		case l.maxRep == 0 && p.twice(l.name):
			return twiceFault(l.name)
		case l.maxRep == 0:
			if fault := p.unfit(l, l.name); fault != "" {
				return fmt.Sprintf("column %s (%s) %s", l.name, physicalNames[l.physical], fault)
			}
			if len(p.binding.attributes) == maxMembers {
				return fmt.Sprintf("it has more than %d columns of attributes; map usage.fields.attributes", maxMembers)
			}
			p.binding.attributes = append(p.binding.attributes, boundAttribute{[]byte(name), source{fromColumn, len(p.columns), nil}})
			c := &column{pages: p.pagesOf(l)}
			c.pages.nameBytes = int64(len(name))
			p.columns = append(p.columns, c)
		case key == nil && l.inMap && l.maxRep == 1 && l.physical == physicalByteArray:
			key = l
		case key != nil && p.maps == nil && l.inMap && l.maxRep == 1 && l.physical == physicalByteArray && l.maxDef >= key.maxDef:
			p.maps = &mapColumn{key: p.pagesOf(key), value: p.pagesOf(l)}
		default:
			return "column " + l.name + " is no part of a map from strings to strings; map usage.fields.attributes"
		}
	}
	if key != nil && p.maps == nil {
		return "column " + key.name + " is a map without values; map usage.fields.attributes"
	}
	return ""
}

// unfit says why a column cannot be what it should, or "".
func (p *parquetReader) unfit(l *leaf, canonical string) string {
	integer := l.physical == physicalInt32 || l.physical == physicalInt64
	text := l.physical == physicalByteArray && (l.logical == logicalNone || l.logical == logicalText)
	number := integer && (l.logical == logicalNone || l.logical == logicalSigned || l.logical == logicalUnsigned)
	decimal := l.logical == logicalDecimal && (integer || l.physical == physicalByteArray || l.physical == physicalFixed)
	switch canonical {
	case "time":
		switch {
		case text, l.physical == physicalInt96, l.logical == logicalTimestamp && l.physical == physicalInt64 && l.unitsPerSecond > 0:
		case number && p.plan.layout != rfc3339 && p.plan.layout != goLayout:
		case number:
			return "is an integer; say in usage.fields.time.layout what it counts: unix, unix_ms or unix_us"
		default:
			return "is no TIMESTAMP, string or integer; write the file with one of these"
		}
		return ""
	case "quantity":
		switch {
		case text, number, decimal:
		case l.physical == physicalFloat || l.physical == physicalDouble:
			for _, q := range p.plan.quantities() {
				if q.rounding == rating.Exact && (q.name == l.name || q.kind == byDefault) {
					return "is binary floating point, which holds no exact quantity; write DECIMAL, or say decimals: half_up or down in the mapping of the quantity"
				}
			}
		default:
			return "is no integer, DECIMAL or string; write the file with one of these"
		}
		return ""
	}
	uuid := l.logical == logicalUUID && l.length == 16
	if !text && !number && !decimal && !uuid {
		return "is no string or integer; write the file with one of these, or map the field to another column"
	}
	return ""
}

func (p *plan) quantities() []quantityField {
	if len(p.emit) == 0 {
		return []quantityField{p.quantity}
	}
	out := make([]quantityField, len(p.emit))
	for i := range p.emit {
		out[i] = p.emit[i].quantityField
	}
	return out
}

func (p *parquetReader) read(to rows) error {
	number := int64(1)
	for g := range p.file.groups {
		group := &p.file.groups[g]
		if group.rows == 0 {
			continue
		}
		if err := p.openGroup(group); err != nil {
			return err
		}
		for left := group.rows; left > 0; {
			n, err := p.step(left)
			if err != nil {
				return err
			}
			if err := p.rows(number, n, to); err != nil {
				return err
			}
			number += int64(n)
			left -= int64(n)
		}
		if err := p.endGroup(); err != nil {
			return err
		}
	}
	return nil
}

func (p *parquetReader) openGroup(g *rowGroup) error {
	for _, c := range p.columns {
		chunk := &g.chunks[c.pages.leaf.index]
		if chunk.values != g.rows {
			return c.fail(fmt.Errorf("it has %d values for %d rows", chunk.values, g.rows))
		}
		c.at = 0
		if err := c.pages.open(p.file, chunk); err != nil {
			return c.fail(err)
		}
	}
	if err := p.allowed.spend(g.rows); err != nil { // they may be of constants alone
		return fmt.Errorf("is a damaged Parquet file: %w", err)
	}
	if p.maps == nil {
		return nil
	}
	return p.maps.open(p.file, g)
}

// step makes sure that all columns have rows, and says how many all of them have.
func (p *parquetReader) step(left int64) (int, error) {
	n := int(min(left, batchSize))
	for _, c := range p.columns {
		if c.at == c.pages.page.n {
			if err := c.pages.next(); err != nil {
				return 0, c.fail(err)
			}
			c.at = 0
		}
		n = min(n, c.pages.page.n-c.at)
	}
	return n, nil
}

func (p *parquetReader) endGroup() error {
	if p.maps != nil {
		return p.maps.end()
	}
	return nil
}

// rows hands n rows over and moves on.
func (p *parquetReader) rows(number int64, n int, to rows) error {
	var slow []bool
	if p.batch != nil && len(p.plan.emit) == 0 && p.maps == nil && len(p.binding.attributes) == 0 {
		slow = p.fast.prepare(p, n)
	}
	for i := range n {
		if slow != nil && p.batch.selects && p.fast.account[i] == rating.None {
			continue
		}
		if slow != nil && !slow[i] {
			done, err := p.fast.add(p, number+int64(i), i)
			if err != nil {
				return err
			}
			if done {
				continue
			}
		}
		if p.passes(i, to) {
			continue
		}
		if err := p.fill(number+int64(i), i); err != nil {
			return err
		}
		if err := to.add(&p.row); err != nil {
			return err
		}
	}
	for _, c := range p.columns {
		c.at += n
	}
	return nil
}

// passes tells whether nobody wants a row, i rows ahead. Of a map, rows are read one after another.
func (p *parquetReader) passes(i int, to rows) bool {
	p.arena = p.arena[:0]
	return p.maps == nil && !to.wants(p.text(p.binding.account, i))
}

// fill makes texts of a row, i rows ahead.
func (p *parquetReader) fill(number int64, i int) error {
	r, b := &p.row, &p.binding
	r.reset(number)
	p.arena = p.arena[:0]
	if b.id.kind == fromRow {
		r.id = p.keep(func(to []byte) []byte { return appendRowID(to, p.key, number) })
	} else {
		r.id = p.text(b.id, i)
	}
	r.account, r.meter, r.version = p.text(b.account, i), p.text(b.meter, i), p.text(b.version, i)
	for q := range b.quantity {
		r.quantity[q] = p.text(b.quantity[q], i)
	}
	p.time(i)
	for _, a := range b.attributes {
		if text := p.text(a.source, i); text != nil {
			r.attrs = append(r.attrs, pair{a.name, text})
		}
	}
	if p.maps != nil {
		var err error
		var fault string
		if r.attrs, fault, err = p.maps.row(r.attrs); err != nil {
			return err
		}
		r.malformed = cmp.Or(r.malformed, fault)
	}
	if p.raw(i); r.malformed != "" || p.tooLong() {
		*r = row{number: number, malformed: cmp.Or(r.malformed, errLongRow), quantity: r.quantity, attrs: r.attrs[:0], raw: r.raw}
		clear(r.quantity)
		return nil // nothing of it is believed, as of a line that was cut off
	}
	for _, text := range [...][]byte{r.id, r.account, r.meter} {
		if fault := textFault(text); fault != "" {
			r.malformed = "text " + quoted(text) + " " + fault
		}
	}
	sortPairs(r.attrs)
	for k, a := range r.attrs {
		if k > 0 && bytes.Equal(a.name, r.attrs[k-1].name) {
			r.malformed = "attribute " + quoted(a.name) + " stands there twice"
		}
		if textFault(a.name) != "" || textFault(a.value) != "" {
			r.malformed = "attribute " + quoted(a.name) + " is not UTF-8, or has a NUL"
		}
	}
	return nil
}

const errLongRow = "row is longer than usage.max_line"

// tooLong tells whether a row's texts are longer than a line of text may be.
func (p *parquetReader) tooLong() bool {
	r := &p.row
	length := len(r.id) + len(r.account) + len(r.meter) + len(r.version) + len(r.time)
	for _, q := range r.quantity {
		length += len(q)
	}
	for _, a := range r.attrs {
		length += len(a.name) + len(a.value)
	}
	return int64(length) > p.plan.maxLine
}

// keep appends a text to the arena of the row.
func (p *parquetReader) keep(f func([]byte) []byte) []byte {
	start := len(p.arena)
	p.arena = f(p.arena)
	return p.arena[start:len(p.arena):len(p.arena)]
}

func (p *parquetReader) text(s source, i int) []byte {
	switch {
	case s.kind == constant:
		return s.text
	case s.slot < 0:
		return nil
	}
	c := p.columns[s.slot]
	if c.pages.leaf.physical == physicalByteArray && c.pages.leaf.logical != logicalDecimal {
		return c.bytes(i)
	}
	if b := c.bytes(i); b != nil {
		if c.pages.leaf.tooWide(b) {
			p.row.malformed = "DECIMAL of column " + c.pages.leaf.name + " has more than 32 bytes"
			return nil
		}
		return p.keep(func(to []byte) []byte { return c.pages.leaf.appendText(to, b) })
	}
	return nil
}

// time reads the time of a row: of a TIMESTAMP it is known, of other columns it is a text.
func (p *parquetReader) time(i int) {
	r, s := &p.row, p.binding.time
	if s.kind != constant && s.slot >= 0 {
		l := p.columns[s.slot].pages.leaf
		if l.physical == physicalInt96 || l.logical == logicalTimestamp {
			if b := p.columns[s.slot].bytes(i); b != nil {
				r.instant, r.timeFault = p.plan.timestamp(l, b)
				r.timeKnown = r.timeFault == ""
			}
			return
		}
	}
	r.time = p.text(s, i)
}

// raw makes the row a JSON object of the columns that were read.
func (p *parquetReader) raw(i int) {
	r := &p.row
	r.raw = p.keep(func(to []byte) []byte {
		to = append(to, '{')
		for k, c := range p.columns {
			if k > 0 {
				to = append(to, ',')
			}
			to = appendJSONText(to, []byte(c.pages.leaf.name))
			to = append(to, ':')
			to = c.appendJSON(to, i)
			if len(to) > 2*rating.RawMax {
				break
			}
		}
		if p.maps != nil {
			to = append(to, `,"attributes":{`...)
			for k, a := range r.attrs {
				if k > 0 {
					to = append(to, ',')
				}
				to = append(appendJSONText(to, a.name), ':')
				to = appendJSONText(to, a.value[:min(len(a.value), 2*rating.RawMax)])
			}
			to = append(to, '}')
		}
		return append(to, '}')
	})
}
