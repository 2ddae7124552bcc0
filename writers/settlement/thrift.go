package settlement

import (
	"encoding/binary"

	"github.com/parquet-go/parquet-go/format"
)

// compact writes Thrift's compact protocol, as far as the headers and footers of our files need it. The library writes it by
// reflection, which was a tenth of what the files of thirty days cost more than those of a month.
type compact struct {
	bytes []byte
	last  int // the number of the field before, in its struct
}

// How fields are written.
const (
	thriftTrue   = 1
	thriftFalse  = 2
	thriftInt16  = 4
	thriftInt32  = 5
	thriftInt64  = 6
	thriftBinary = 8
	thriftList   = 9
	thriftStruct = 12
)

func (c *compact) field(number int, kind byte) {
	c.bytes = append(c.bytes, byte(number-c.last)<<4|kind)
	c.last = number
}

func (c *compact) int(number int, kind byte, v int64) {
	c.field(number, kind)
	c.bytes = binary.AppendVarint(c.bytes, v)
}

func (c *compact) text(number int, text string) {
	c.field(number, thriftBinary)
	c.item(text)
}

func (c *compact) blob(number int, b []byte) {
	c.field(number, thriftBinary)
	c.bytes = append(binary.AppendUvarint(c.bytes, uint64(len(b))), b...)
}

// list begins a list of n items, which come next.
func (c *compact) list(number int, kind byte, n int) {
	c.field(number, thriftList)
	if n < 15 {
		c.bytes = append(c.bytes, byte(n)<<4|kind)
	} else {
		c.bytes = binary.AppendUvarint(append(c.bytes, 15<<4|kind), uint64(n))
	}
}

func (c *compact) item(text string) {
	c.bytes = append(binary.AppendUvarint(c.bytes, uint64(len(text))), text...)
}

// begin begins a struct, as a field, or as an item where the number is 0; end ends it.
func (c *compact) begin(number int) {
	if number > 0 {
		c.field(number, thriftStruct)
	}
	c.last = 0
}

func (c *compact) end(number int) {
	c.bytes = append(c.bytes, 0)
	c.last = number
}

// pageHeader writes a [format.PageHeader] of a data page or a dictionary.
func (c *compact) pageHeader(h *format.PageHeader) {
	c.begin(0)
	c.int(1, thriftInt32, int64(h.Type))
	c.int(2, thriftInt32, int64(h.UncompressedPageSize))
	c.int(3, thriftInt32, int64(h.CompressedPageSize))
	c.int(4, thriftInt32, int64(h.CRC))
	if h.Type == format.DictionaryPage {
		c.begin(7)
		c.int(1, thriftInt32, int64(h.DictionaryPageHeader.V.NumValues))
		c.int(2, thriftInt32, int64(h.DictionaryPageHeader.V.Encoding))
		c.end(7)
	} else {
		c.begin(5)
		c.int(1, thriftInt32, int64(h.DataPageHeader.V.NumValues))
		c.int(2, thriftInt32, int64(h.DataPageHeader.V.Encoding))
		c.int(3, thriftInt32, int64(h.DataPageHeader.V.DefinitionLevelEncoding))
		c.int(4, thriftInt32, int64(h.DataPageHeader.V.RepetitionLevelEncoding))
		c.begin(5) // statistics, which say nothing: those of the chunk count
		c.int(3, thriftInt64, 0)
		c.end(5)
		c.end(5)
	}
	c.end(0)
}

// columnChunk writes a column's chunk of a row group, as a [format.ColumnChunk] that starts somewhere in the file.
func (c *compact) columnChunk(column string, m *format.ColumnMetaData, start int64) {
	c.begin(0)
	c.int(2, thriftInt64, start)
	c.begin(3)
	c.int(1, thriftInt32, int64(m.Type))
	c.list(2, thriftInt32, len(m.Encoding))
	for _, e := range m.Encoding {
		c.bytes = binary.AppendVarint(c.bytes, int64(e))
	}
	c.list(3, thriftBinary, 1)
	c.item(column)
	c.int(4, thriftInt32, int64(m.Codec))
	c.int(5, thriftInt64, m.NumValues)
	c.int(6, thriftInt64, m.TotalUncompressedSize)
	c.int(7, thriftInt64, m.TotalCompressedSize)
	c.int(9, thriftInt64, m.DataPageOffset)
	if m.DictionaryPageOffset > 0 {
		c.int(11, thriftInt64, m.DictionaryPageOffset)
	}
	c.begin(12)
	c.int(3, thriftInt64, m.Statistics.NullCount)
	if len(m.Statistics.MaxValue) > 0 {
		c.blob(5, m.Statistics.MaxValue)
	}
	if len(m.Statistics.MinValue) > 0 {
		c.blob(6, m.Statistics.MinValue)
	}
	c.end(12)
	if len(m.EncodingStats) > 0 {
		c.list(13, thriftStruct, len(m.EncodingStats))
	}
	for _, s := range m.EncodingStats {
		c.begin(0)
		c.int(1, thriftInt32, int64(s.PageType))
		c.int(2, thriftInt32, int64(s.Encoding))
		c.int(3, thriftInt32, int64(s.Count))
		c.end(13)
	}
	c.end(3)
	c.end(1)
}
