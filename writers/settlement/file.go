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
	sorted   []format.SortingColumn
	schema   []format.SchemaElement
	orders   []format.ColumnOrder
	names    *names
	out      *summed
	gathered []byte // of a row group that is small: one write instead of two a column
	rows     int    // in the page
	group    int    // in the row group
	total    int64
	groups   []format.RowGroup
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
	t.schema = append(t.schema, format.SchemaElement{Name: "schema", NumChildren: thrift.New(int32(len(specs)))})
	for i := range specs {
		c := &t.columns[i]
		c.spec = specs[i]
		t.schema = append(t.schema, c.element())
		t.orders = append(t.orders, format.ColumnOrder{TypeOrder: new(format.TypeDefinedOrder)})
		if c.null > 0 {
			c.nulls = &t.patterns[c.null]
		}
		c.reset()
	}
	for _, name := range sortedBy {
		i := slices.IndexFunc(specs, func(s spec) bool { return s.name == name })
		t.sorted = append(t.sorted, format.SortingColumn{ColumnIdx: int32(i), NullsFirst: true})
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
	group := format.RowGroup{NumRows: int64(t.group), SortingColumns: t.sorted, Ordinal: int16(len(t.groups))}
	group.FileOffset = t.at()
	group.Columns = make([]format.ColumnChunk, 0, len(t.columns))
	for i := range t.columns {
		chunk, err := t.writeChunk(&t.columns[i], e)
		if err != nil {
			return err
		}
		group.Columns = append(group.Columns, chunk)
		group.TotalByteSize += chunk.MetaData.TotalUncompressedSize
		group.TotalCompressedSize += chunk.MetaData.TotalCompressedSize
	}
	t.groups = append(t.groups, group)
	t.total += int64(t.group)
	t.group = 0
	return nil
}

func (t *tableFile) writeChunk(c *column, e *encoder) (format.ColumnChunk, error) {
	dictionary, low, high, err := c.endDictionary(e)
	if err != nil {
		return format.ColumnChunk{}, err
	}
	start := t.at()
	if err := errors.Join(t.write(dictionary), t.write(c.pages)); err != nil {
		return format.ColumnChunk{}, err
	}
	meta := format.ColumnMetaData{
		Type:                  c.physical(),
		PathInSchema:          []string{c.name},
		Codec:                 format.Zstd,
		NumValues:             int64(t.group),
		TotalUncompressedSize: c.uncompressed,
		TotalCompressedSize:   t.at() - start,
		DataPageOffset:        start + int64(len(dictionary)),
		Statistics:            c.statistics(low, high),
	}
	meta.Encoding, meta.EncodingStats = c.encodings()
	if len(dictionary) > 0 {
		meta.DictionaryPageOffset = start
	}
	c.reset()
	return format.ColumnChunk{FileOffset: start, MetaData: meta}, nil
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

func (c *column) encodings() ([]format.Encoding, []format.PageEncodingStats) {
	encodings := []format.Encoding{format.RLE}
	var stats []format.PageEncodingStats
	plain := format.Plain
	switch c.coding {
	case steps:
		plain = format.DeltaBinaryPacked
	case ids, strs:
		plain = format.DeltaLengthByteArray
	}
	if c.dictPages > 0 {
		encodings = append(encodings, format.RLEDictionary, format.Plain)
		stats = append(stats,
			format.PageEncodingStats{PageType: format.DictionaryPage, Encoding: format.Plain, Count: 1},
			format.PageEncodingStats{PageType: format.DataPage, Encoding: format.RLEDictionary, Count: c.dictPages})
	}
	if c.plainPages > 0 {
		if !slices.Contains(encodings, plain) {
			encodings = append(encodings, plain)
		}
		stats = append(stats, format.PageEncodingStats{PageType: format.DataPage, Encoding: plain, Count: c.plainPages})
	}
	return encodings, stats
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
	t.total, t.groups = 0, nil
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
	meta := format.FileMetaData{
		Version: 2, Schema: t.schema, NumRows: t.total, RowGroups: t.groups, CreatedBy: createdBy, ColumnOrders: t.orders,
	}
	footer, err := thrift.Marshal(&thrift.CompactProtocol{}, &meta)
	if err != nil {
		return err
	}
	footer = binary.LittleEndian.AppendUint32(footer, uint32(len(footer)))
	if err := t.write(append(footer, "PAR1"...)); err != nil {
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
