package settlement

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

const createdBy = "drawdown"

// tableFile is one Parquet file in the making. Rows go into the columns, and endRows says that they did.
type tableFile struct {
	columns  []column
	patterns []nullPattern // by number; the first is not used
	sorted   []int         // columns
	schema   []byte        // as the footer has it
	names    *names
	out      *summed
	gathered []byte // of a row group that is small: one write instead of two a column
	rows     int    // in the page
	group    int    // in the row group
	total    int64
	groups   compact // the row groups, as the footer has them
	ended    int     // of these
}

// summed counts and sums up what passes. The SHA-256 that the manifest states is of what is read back; that this is what
// was written is shown by a CRC-32C, which costs next to nothing, and by the digests of the columns.
type summed struct {
	to   io.Writer
	crc  uint32
	size int64
}

func (s *summed) Write(p []byte) (int, error) {
	n, err := s.to.Write(p)
	s.crc = crc32.Update(s.crc, crc32.MakeTable(crc32.Castagnoli), p[:n])
	s.size += int64(n)
	return n, err
}

func newTableFile(specs []spec, sortedBy []string) *tableFile {
	t := &tableFile{columns: make([]column, len(specs))}
	patterns := 0
	for _, s := range specs {
		patterns = max(patterns, s.null)
	}
	t.patterns = make([]nullPattern, patterns+1)
	for i := range specs {
		c := &t.columns[i]
		c.spec = specs[i]
		if c.null > 0 {
			c.nulls = &t.patterns[c.null]
		}
		c.reset()
	}
	t.schema = schemaOf(specs)
	for _, name := range sortedBy {
		i := slices.IndexFunc(specs, func(s spec) bool { return s.name == name })
		t.sorted = append(t.sorted, i)
	}
	return t
}

// room is how many rows may be added before the next endRows.
func (t *tableFile) room() int { return pageRows - t.rows }

// endRows says that n rows have been added to every column.
func (t *tableFile) endRows(n int) error {
	t.rows += n
	if t.rows < pageRows {
		return nil
	}
	if err := t.endPage(); err != nil {
		return err
	}
	if t.group < groupRows && t.held() < groupBytes {
		return nil
	}
	return t.endGroup()
}

// held is how many bytes wait for the end of the row group.
func (t *tableFile) held() (size int) {
	for i := range t.columns {
		size += len(t.columns[i].pages) + len(t.columns[i].entries)
	}
	return size
}

func (t *tableFile) endPage() error {
	if t.rows == 0 {
		return nil
	}
	e := encoders.Get().(*encoder)
	defer encoders.Put(e)
	for i := range t.patterns[1:] {
		t.patterns[i+1].encode()
	}
	for i := range t.columns {
		if err := t.columns[i].closePage(e, t.names, t.rows); err != nil {
			return fmt.Errorf("encode column %s: %w", t.columns[i].name, err)
		}
	}
	for i := range t.patterns {
		t.patterns[i].reset()
	}
	t.group += t.rows
	t.rows = 0
	return nil
}

func (t *tableFile) endGroup() error {
	if t.group == 0 {
		return nil
	}
	e := encoders.Get().(*encoder)
	defer encoders.Put(e)
	start, size := t.at(), int64(0)
	t.groups.begin(0)
	t.groups.list(1, thriftStruct, len(t.columns))
	for i := range t.columns {
		uncompressed, err := t.writeChunk(&t.columns[i], e)
		if err != nil {
			return err
		}
		size += uncompressed
	}
	t.groups.int(2, thriftInt64, size)
	t.groups.int(3, thriftInt64, int64(t.group))
	if len(t.sorted) > 0 {
		t.groups.list(4, thriftStruct, len(t.sorted))
	}
	for _, column := range t.sorted {
		t.groups.begin(0)
		t.groups.int(1, thriftInt32, int64(column))
		t.groups.field(2, thriftFalse) // it ascends
		t.groups.field(3, thriftTrue)  // with the nulls first
		t.groups.end(4)
	}
	t.groups.int(5, thriftInt64, start)
	t.groups.int(6, thriftInt64, t.at()-start)
	t.groups.int(7, thriftInt16, int64(t.ended))
	t.groups.end(0)
	t.ended++
	t.total += int64(t.group)
	t.group = 0
	return nil
}

// writeChunk writes a column's chunk, and gives its size before it was compressed.
func (t *tableFile) writeChunk(c *column, e *encoder) (uncompressed int64, err error) {
	dictionary, low, high, err := c.endDictionary(e)
	if err != nil {
		return 0, err
	}
	start := t.at()
	if err := errors.Join(t.write(dictionary), t.write(c.pages)); err != nil {
		return 0, err
	}
	meta := format.ColumnMetaData{
		Type:                  c.physical(),
		Codec:                 format.Zstd,
		NumValues:             int64(t.group),
		TotalUncompressedSize: c.uncompressed,
		TotalCompressedSize:   t.at() - start,
		DataPageOffset:        start + int64(len(dictionary)),
		Statistics:            c.statistics(low, high),
	}
	meta.Encoding, meta.EncodingStats = c.encodings(e)
	if len(dictionary) > 0 {
		meta.DictionaryPageOffset = start
	}
	t.groups.columnChunk(c.name, &meta, start)
	c.reset()
	return meta.TotalUncompressedSize, nil
}

// gatherMost is how much of a file is gathered for one write. Most files of many periods are smaller.
const gatherMost = 64 << 10

// write gathers what is small, and writes the rest.
func (t *tableFile) write(b []byte) error {
	if len(t.gathered)+len(b) <= gatherMost {
		t.gathered = append(t.gathered, b...)
		return nil
	}
	if err := t.flush(); err != nil {
		return err
	}
	_, err := t.out.Write(b)
	return err
}

func (t *tableFile) flush() error {
	if len(t.gathered) == 0 {
		return nil
	}
	_, err := t.out.Write(t.gathered)
	t.gathered = t.gathered[:0]
	return err
}

// at is how much of the file has been written or gathered.
func (t *tableFile) at() int64 { return t.out.size + int64(len(t.gathered)) }

// encodings gives what a chunk is written in. It is valid until the next call.
func (c *column) encodings(e *encoder) ([]format.Encoding, []format.PageEncodingStats) {
	e.encodings, e.stats = append(e.encodings[:0], format.RLE), e.stats[:0]
	plain := format.Plain
	switch c.coding {
	case steps:
		plain = format.DeltaBinaryPacked
	case ids, strs:
		plain = format.DeltaLengthByteArray
	}
	if c.dictPages > 0 {
		e.encodings = append(e.encodings, format.RLEDictionary, format.Plain)
		e.stats = append(e.stats,
			format.PageEncodingStats{PageType: format.DictionaryPage, Encoding: format.Plain, Count: 1},
			format.PageEncodingStats{PageType: format.DataPage, Encoding: format.RLEDictionary, Count: c.dictPages})
	}
	if c.plainPages > 0 {
		if !slices.Contains(e.encodings, plain) {
			e.encodings = append(e.encodings, plain)
		}
		e.stats = append(e.stats, format.PageEncodingStats{PageType: format.DataPage, Encoding: plain, Count: c.plainPages})
	}
	return e.encodings, e.stats
}

// boundMax is the longest text that is stated as a bound.
const boundMax = 64

// statistics gives the bounds of instants, integers and dictionary texts, whose order readers agree on. Decimals have
// none: some readers compare them as unsigned bytes, and would leave out negative amounts.
func (c *column) statistics(low, high []byte) format.Statistics {
	s := format.Statistics{NullCount: c.nullCount}
	switch {
	case c.coding == steps && c.min <= c.max:
		s.MinValue = binary.LittleEndian.AppendUint64(nil, uint64(c.min))
		s.MaxValue = binary.LittleEndian.AppendUint64(nil, uint64(c.max))
	case c.coding == keyed:
		s.MinValue, s.MaxValue = low, high
	}
	return s
}

func (c *column) bounds() (low, high []byte) {
	if c.logical != textType {
		width := 8
		if c.logical == int32Type {
			width = 4
		}
		low = binary.LittleEndian.AppendUint64(nil, uint64(slices.Min(c.keys)))[:width]
		high = binary.LittleEndian.AppendUint64(nil, uint64(slices.Max(c.keys)))[:width]
		return low, high
	}
	for rest := c.entries; len(rest) > 0; {
		n := binary.LittleEndian.Uint32(rest)
		text := rest[4 : 4+n]
		rest = rest[4+n:]
		if low == nil || bytes.Compare(text, low) < 0 {
			low = text
		}
		if high == nil || bytes.Compare(text, high) > 0 {
			high = text
		}
	}
	if len(low) == 0 || len(low) > boundMax || len(high) > boundMax {
		return nil, nil
	}
	return bytes.Clone(low), bytes.Clone(high)
}

// begin starts a file; what a file before it left is forgotten. Repeated are the pages that its columns are likely to repeat,
// or nil.
func (t *tableFile) begin(out io.Writer, n *names, repeated []repeated) error {
	t.names = n
	for i := range repeated {
		t.columns[i].repeated = &repeated[i]
	}
	t.out = &summed{to: out}
	t.total, t.ended, t.groups.bytes = 0, 0, t.groups.bytes[:0]
	t.rows, t.group = 0, 0
	for i := range t.columns {
		t.columns[i].digest = 0
	}
	t.gathered = append(t.gathered[:0], "PAR1"...)
	return nil
}

// end writes what is left and the footer.
func (t *tableFile) end() error {
	if err := t.endPage(); err != nil {
		return err
	}
	if err := t.endGroup(); err != nil {
		return err
	}
	e := encoders.Get().(*encoder)
	defer encoders.Put(e)
	footer := &e.thrift
	footer.bytes = footer.bytes[:0]
	footer.begin(0)
	footer.int(1, thriftInt32, 2) // the version of the format
	footer.list(2, thriftStruct, 1+len(t.columns))
	footer.bytes = append(footer.bytes, t.schema...)
	footer.int(3, thriftInt64, t.total)
	footer.list(4, thriftStruct, t.ended)
	footer.bytes = append(footer.bytes, t.groups.bytes...)
	footer.text(6, createdBy)
	footer.list(7, thriftStruct, len(t.columns))
	for range t.columns { // each in the order of its type
		footer.begin(0)
		footer.begin(1)
		footer.end(1)
		footer.end(7)
	}
	footer.end(0)
	footer.bytes = binary.LittleEndian.AppendUint32(footer.bytes, uint32(len(footer.bytes)))
	if err := t.write(append(footer.bytes, "PAR1"...)); err != nil {
		return err
	}
	return t.flush()
}

func (s *spec) physical() format.Type {
	switch s.logical {
	case instantType, int64Type:
		return format.Int64
	case decimalType:
		return format.FixedLenByteArray
	case int32Type:
		return format.Int32
	case boolType:
		return format.Boolean
	}
	return format.ByteArray
}

// schemaOf gives the elements of a schema as a footer has them.
func schemaOf(specs []spec) (schema []byte) {
	elements := []format.SchemaElement{{Name: "schema", NumChildren: thrift.New(int32(len(specs)))}}
	for i := range specs {
		elements = append(elements, specs[i].element())
	}
	for i := range elements {
		element, err := thrift.Marshal(&thrift.CompactProtocol{}, &elements[i])
		if err != nil {
			panic(err) // cannot be: it is written to memory
		}
		schema = append(schema, element...)
	}
	return schema
}

func (s *spec) element() format.SchemaElement {
	e := format.SchemaElement{Name: s.name, Type: thrift.New(s.physical()), RepetitionType: thrift.New(format.Required)}
	if s.null > 0 {
		e.RepetitionType = thrift.New(format.Optional)
	}
	switch s.logical {
	case textType:
		e.ConvertedType = thrift.New(deprecated.UTF8)
		e.LogicalType = thrift.New(format.LogicalType{UTF8: new(format.StringType)})
	case instantType:
		e.ConvertedType = thrift.New(deprecated.TimestampMicros)
		e.LogicalType = thrift.New(format.LogicalType{Timestamp: &format.TimestampType{
			IsAdjustedToUTC: true, Unit: format.TimeUnit{Micros: new(format.MicroSeconds)},
		}})
	case decimalType:
		e.TypeLength = thrift.New(int32(decimalSize))
		e.ConvertedType = thrift.New(deprecated.Decimal)
		e.Scale, e.Precision = thrift.New(int32(9)), thrift.New(int32(38))
		e.LogicalType = thrift.New(format.LogicalType{Decimal: &format.DecimalType{Scale: 9, Precision: 38}})
	}
	return e
}
