package usage

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/bits"
)

// values are the values of a page or a dictionary: of fixed width one after another, or with offsets.
type values struct {
	n       int
	data    []byte
	width   int      // of fixed width
	offsets []uint32 // n+1; value i is data[offsets[i]:offsets[i+1]-gap]
	gap     uint32   // of PLAIN, 4: the next value's length
}

func (v *values) at(i int) []byte {
	if v.width > 0 {
		return v.data[i*v.width : (i+1)*v.width]
	}
	return v.data[v.offsets[i] : v.offsets[i+1]-v.gap]
}

// page is a decoded data page. What it holds is valid until the next one is read.
type page struct {
	n      int     // values, nulls included; of a flat column, rows
	reps   []uint8 // of a repeated column
	defs   []uint8 // of a column that is not required
	index  []int32 // by row, of its value or -1; nil: there are no nulls
	values values
	codes  []uint32 // in the dictionary; then there are no values
}

// pages reads the pages of a column chunk.
type pages struct {
	ctx       context.Context
	leaf      *leaf
	codec     int64
	r         *bufio.Reader
	left      int64 // stored bytes
	values    int64 // claimed by the chunk and not yet read
	nameBytes int64 // that each value counts for beside its own: of an attribute
	maxLine   int64
	allowed   *allowance
	held      holding

	header     pageHeader
	stored     []byte
	expanded   []byte
	dictionary values
	dictBytes  []byte
	hasDict    bool
	dictNumber int // of the dictionary, from 1 on
	page       page
	decoded    []byte
	ints       []int64
	rowIndex   []int32
	codes      []uint32
}

type pageHeader struct {
	kind, expanded, stored int64
	crc                    uint32
	hasCRC                 bool
	values, encoding       int64
	nulls, rows            int64
	defBytes, repBytes     int64
	defEncoding            int64
	repEncoding            int64
	uncompressed           bool
}

const (
	pageData       = 0
	pageIndex      = 1
	pageDictionary = 2
	pageDataV2     = 3
)

// open points the reader at a column's part of a row group.
func (p *pages) open(f *parquetFile, c *chunk) error {
	start := c.offset
	if c.dictionary > 0 && c.dictionary < start {
		start = c.dictionary
	}
	switch {
	case c.external || c.unreadable:
		return errors.New("its data is encrypted or in another file")
	case c.physical != int64(p.leaf.physical):
		return errors.New("its type is not that of the schema")
	case start < 4 || c.size < 0 || c.size > f.size || start > f.size-8-c.size:
		return errors.New("its data lies outside of the file")
	}
	if p.allowed.stored -= c.size; p.allowed.stored < 0 {
		return errOverlaps
	}
	section := io.NewSectionReader(f.file, start, c.size)
	if p.r == nil {
		p.r = bufio.NewReaderSize(section, 64<<10)
	} else {
		p.r.Reset(section)
	}
	p.codec, p.left, p.values, p.hasDict = c.codec, c.size, c.values, false
	p.page.n = 0
	return nil
}

// next decodes the next data page into p.page. It gives io.EOF behind the last one.
func (p *pages) next() error {
	for {
		if p.values == 0 {
			return io.EOF
		}
		if err := p.ctx.Err(); err != nil {
			return err
		}
		if err := p.readPage(); err != nil {
			return err
		}
		var err error
		switch h := &p.header; h.kind {
		case pageDictionary:
			err = p.readDictionary()
		case pageIndex:
		case pageData, pageDataV2:
			p.values -= h.values
			if err = p.readData(); err == nil && p.page.n > 0 {
				return nil
			}
		default:
			err = fmt.Errorf("a page is of the unknown kind %d", h.kind)
		}
		if err != nil {
			return err
		}
	}
}

// readPage reads the next page's header and its stored bytes, and checks all sizes that it claims.
func (p *pages) readPage() error {
	if err := p.readHeader(); err != nil {
		return err
	}
	h := &p.header
	switch {
	case h.stored < 0 || h.stored > p.left:
		return errors.New("a page claims more bytes than the column has")
	case h.kind != pageIndex && h.stored > h.expanded+h.expanded/4+64<<10: // what does not compress grows, but not so much
		return errors.New("a page claims more bytes stored than expanded")
	case h.expanded < 0 || h.expanded > maxPageBytes:
		return fmt.Errorf("a page claims %d bytes, more than %d", h.expanded, maxPageBytes)
	case h.values < 0 || h.values > maxPageValues:
		return fmt.Errorf("a page claims %d values, more than %d", h.values, maxPageValues)
	case h.kind != pageDictionary && h.values > p.values:
		return errors.New("its pages claim more values than the column has")
	}
	if err := p.allowed.spend(h.expanded + h.values); err != nil {
		return err
	}
	if err := p.hold(); err != nil {
		return err
	}
	p.left -= h.stored
	p.stored = sized(p.stored, int(h.stored))
	if _, err := io.ReadFull(p.r, p.stored); err != nil {
		return err
	}
	if h.hasCRC && crc32.ChecksumIEEE(p.stored) != h.crc {
		return errors.New("a page has a bad checksum")
	}
	return nil
}

// sized gives a buffer of n bytes, b's memory if that is enough.
func sized[T any](b []T, n int) []T {
	if cap(b) < n {
		return make([]T, n, n+n/4)
	}
	return b[:n]
}

func (p *pages) readHeader() error {
	for size := 512; ; size *= 4 {
		size = min(size, p.r.Size())
		head, err := p.r.Peek(size)
		if len(head) == 0 {
			return errors.New("its pages end too early")
		}
		t := &thrift{b: head}
		p.header.read(t)
		if t.err == nil {
			_, err := p.r.Discard(t.pos)
			p.left -= int64(t.pos)
			return err
		}
		if err != nil || size == p.r.Size() {
			return errors.New("a page has a damaged header")
		}
	}
}

func (h *pageHeader) read(t *thrift) {
	*h = pageHeader{kind: -1}
	t.fields(func(id int16, kind byte) bool {
		switch {
		case kind == thriftStruct && (id == 5 || id == 7 || id == 8):
			t.fields(func(field int16, kind byte) bool { return h.detail(t, id, field, kind) })
		case kind != 5:
			return false
		case id == 1:
			h.kind = t.int()
		case id == 2:
			h.expanded = t.int()
		case id == 3:
			h.stored = t.int()
		case id == 4:
			h.crc, h.hasCRC = uint32(t.int()), true
		default:
			return false
		}
		return true
	})
}

// detail reads a field of a data page's (5, 8) or a dictionary page's (7) own header.
func (h *pageHeader) detail(t *thrift, part, id int16, kind byte) bool {
	if part == 8 && id == 7 {
		h.uncompressed = kind == thriftFalse
		return false
	}
	if kind != 5 {
		return false
	}
	n := t.int()
	switch {
	case id == 1:
		h.values = n
	case id == 2 && part != 8 || id == 4 && part == 8:
		h.encoding = n
	case part == 5 && id == 3:
		h.defEncoding = n
	case part == 5 && id == 4:
		h.repEncoding = n
	case part == 8 && id == 2:
		h.nulls = n
	case part == 8 && id == 3:
		h.rows = n
	case part == 8 && id == 5:
		h.defBytes = n
	case part == 8 && id == 6:
		h.repBytes = n
	}
	return true
}

// expand decompresses src, which must make exactly n bytes.
func (p *pages) expand(to *[]byte, src []byte, n int) ([]byte, error) {
	if p.codec == codecNone {
		if len(src) != n {
			return nil, errors.New("a page has not the size that it claims")
		}
		return src, nil
	}
	*to = sized(*to, n)
	out, err := p.allowed.decoders.decompress(p.codec, (*to)[:n:n], src)
	if err != nil {
		return nil, fmt.Errorf("a page cannot be decompressed: %w", err)
	}
	if len(out) != n {
		return nil, errors.New("a page has not the size that it claims")
	}
	return out, nil
}

func (p *pages) readDictionary() error {
	h := &p.header
	if p.hasDict {
		return errors.New("it has two dictionaries")
	}
	if h.encoding != encodingPlain && h.encoding != encodingOldCodes {
		return fmt.Errorf("its dictionary has the encoding %d, which Parquet does not allow", h.encoding)
	}
	data, err := p.expand(&p.dictBytes, p.stored, int(h.expanded))
	if err != nil {
		return err
	}
	if p.codec == codecNone { // the next page goes where this one lies
		p.dictBytes = append(p.dictBytes[:0], data...)
		data = p.dictBytes
	}
	p.hasDict = true
	p.dictNumber++
	return p.plainValues(&p.dictionary, data, int(h.values))
}

func (p *pages) readData() error {
	h, out := &p.header, &p.page
	n := int(h.values)
	var data, reps, defs []byte
	var err error
	if h.kind == pageDataV2 {
		data, reps, defs, err = p.splitV2()
	} else {
		data, err = p.expand(&p.expanded, p.stored, int(h.expanded))
		if err == nil && p.leaf.maxRep > 0 {
			reps, data, err = splitLevels(data, h.repEncoding)
		}
		if err == nil && p.leaf.maxDef > 0 {
			defs, data, err = splitLevels(data, h.defEncoding)
		}
	}
	if err != nil {
		return err
	}
	out.n, out.reps, out.defs, out.index, out.codes = n, out.reps[:0], out.defs[:0], nil, nil
	if p.leaf.maxRep > 0 {
		out.reps = sized(out.reps, n)
		if err := hybrid(out.reps, reps, bits.Len(uint(p.leaf.maxRep)), p.leaf.maxRep); err != nil {
			return err
		}
	}
	present := n
	if p.leaf.maxDef > 0 {
		out.defs = sized(out.defs, n)
		if err := hybrid(out.defs, defs, bits.Len(uint(p.leaf.maxDef)), p.leaf.maxDef); err != nil {
			return err
		}
		present = p.indexRows()
	}
	if err := p.decodeValues(data, present); err != nil {
		return err
	}
	return p.spendValues(present)
}

func (p *pages) splitV2() (data, reps, defs []byte, err error) {
	h := &p.header
	levels := h.repBytes + h.defBytes
	if h.repBytes < 0 || h.defBytes < 0 || levels > h.stored || levels > h.expanded {
		return nil, nil, nil, errors.New("a page has damaged levels")
	}
	reps, defs, data = p.stored[:h.repBytes], p.stored[h.repBytes:levels], p.stored[levels:]
	switch {
	case !h.uncompressed && h.expanded > levels:
		data, err = p.expand(&p.expanded, data, int(h.expanded-levels))
	case h.uncompressed && h.stored != h.expanded:
		err = errors.New("a page has not the size that it claims")
	}
	return data, reps, defs, err
}

func splitLevels(data []byte, encoding int64) (levels, rest []byte, err error) {
	if encoding != encodingLevels {
		return nil, nil, fmt.Errorf("its levels have the encoding %d, which is not supported; write the file anew", encoding)
	}
	if len(data) < 4 || uint64(binary.LittleEndian.Uint32(data)) > uint64(len(data)-4) {
		return nil, nil, errors.New("a page has damaged levels")
	}
	n := 4 + int(binary.LittleEndian.Uint32(data))
	return data[4:n], data[n:], nil
}

// indexRows makes the index of a page with nulls, and counts the values that are none.
func (p *pages) indexRows() int {
	out, most := &p.page, uint8(p.leaf.maxDef)
	present := 0
	for _, d := range out.defs {
		if d == most {
			present++
		}
	}
	if present == len(out.defs) {
		return present
	}
	p.rowIndex = sized(p.rowIndex, len(out.defs))
	next := int32(0)
	for i, d := range out.defs {
		p.rowIndex[i] = -1
		if d == most {
			p.rowIndex[i] = next
			next++
		}
	}
	out.index = p.rowIndex
	return present
}
