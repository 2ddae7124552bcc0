package settlement

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math"
	"math/bits"
	"slices"
	"sync"

	"github.com/parquet-go/parquet-go/encoding/delta"
	"github.com/parquet-go/parquet-go/encoding/rle"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"

	"drawdown/rating"
)

// logicalType is what a column holds, in the words of the format.
type logicalType uint8

const (
	textType logicalType = iota
	bytesType
	instantType
	decimalType
	int32Type
	int64Type
	boolType
)

// coding is how a column stores its values.
type coding uint8

const (
	keyed   coding = iota // a dictionary of what numbered keys stand for, and an index per value
	steps                 // 64-bit integers as differences
	strides               // decimals as they are
	ids                   // strings of random characters
	strs                  // strings that repeat themselves
	flags                 // booleans
)

// pageRows and groupRows cut every column of every table, so that bytes depend on the rows alone and not on the calls
// that brought them. A row group is what a writer holds in memory, compressed.
const (
	pageRows   = 16 << 10
	groupRows  = 16 * pageRows
	groupBytes = 64 << 20 // ends a row group early, where texts are long
)

// spec describes a column for good.
type spec struct {
	name    string
	logical logicalType
	coding  coding
	null    int // which of the table's null patterns it has; 0: it has a value in every row
	// entry appends what a key stands for in plain encoding; for keyed columns.
	entry func(n *names, dst []byte, key int64) []byte
}

// column is a column chunk in the making.
type column struct {
	spec
	dictionary
	nulls *nullPattern // nil: it has a value in every row

	// The values of the page in the making: those of one coding, without nulls.
	later    []int64 // keys that get their indexes when the page is closed
	indexes  []int32
	ints     []int64
	decimals []rating.Amount
	text     []byte
	lengths  []int32
	flags    []bool

	// The pages of the chunk.
	pages        []byte
	dictPages    int32
	plainPages   int32
	uncompressed int64
	nullCount    int64
	min, max     int64 // of ints
	coded        coded // decimals
	digest       digest
	repeated     *repeated // nil: its pages are not remembered
	small        smallPage // of its last dictionary that was small, where nothing is repeated
	low, high    []byte    // bounds of the dictionary's entries
}

// digest folds the numbers of a column, in their order, into one.
type digest uint64

func (d digest) add(n uint64) digest { return (d ^ digest(n)) * 0x9E3779B97F4A7C15 }

func (d digest) addAmount(hi, lo uint64) digest { return d.add(lo ^ bits.RotateLeft64(hi, 29)) }

// nullPattern says which rows of a page have a value. Several columns share one.
type nullPattern struct {
	defined []uint8
	nulls   int64
	encoded []byte // of the page, as the format wants it
}

func (p *nullPattern) add(defined bool) {
	if defined {
		p.defined = append(p.defined, 1)
		return
	}
	p.defined = append(p.defined, 0)
	p.nulls++
}

func (p *nullPattern) encode() {
	p.encoded = append(p.encoded[:0], 0, 0, 0, 0)
	levels, err := (&rle.Encoding{BitWidth: 1}).EncodeLevels(p.encoded[4:], p.defined)
	if err != nil {
		panic(err) // the width is right
	}
	p.encoded = append(p.encoded[:4], levels...)
	binary.LittleEndian.PutUint32(p.encoded, uint32(len(levels)))
}

func (p *nullPattern) reset() { p.defined, p.nulls = p.defined[:0], 0 }

// put appends the value that a key stands for.
func (c *column) put(n *names, key int64) {
	if uint64(key) < uint64(len(c.direct)) && c.direct[key] != 0 {
		c.indexes = append(c.indexes, c.direct[key]-1)
		return
	}
	c.indexes = append(c.indexes, c.lookup(c.entry, n, key))
}

// repeat appends the value that a key stands for, count times.
func (c *column) repeat(n *names, key int64, count int) {
	index := c.lookup(c.entry, n, key)
	c.indexes = slices.Grow(c.indexes, count)
	for range count {
		c.indexes = append(c.indexes, index)
	}
}

func (c *column) putText(text string) {
	c.text = append(c.text, text...)
	c.lengths = append(c.lengths, int32(len(text)))
}

func (c *column) putBytes(text []byte) {
	c.text = append(c.text, text...)
	c.lengths = append(c.lengths, int32(len(text)))
}

// dictionary numbers the keys of a column chunk in the order in which they come.
type dictionary struct {
	keys    []int64
	entries []byte
	direct  []int32         // by key: its number + 1; for the small keys, which numbers of the catalog are
	others  map[int64]int32 // the numbers of other keys
	recent  [256]struct {   // the other keys that were asked for last: a payer's lines name the same few cycles
		key    int64
		number int32 // + 1
	}
}

const directMax = 1 << 21

func (d *dictionary) lookup(entry func(*names, []byte, int64) []byte, n *names, key int64) int32 {
	if key >= 0 && key < directMax {
		if key >= int64(len(d.direct)) {
			d.direct = append(d.direct, make([]int32, max(key+1, 2*int64(len(d.direct)))-int64(len(d.direct)))...)
		}
		if d.direct[key] == 0 {
			d.direct[key] = d.add(entry, n, key) + 1
		}
		return d.direct[key] - 1
	}
	recent := &d.recent[uint64(key)*0x9E3779B97F4A7C15>>56]
	if recent.key == key && recent.number != 0 {
		return recent.number - 1
	}
	number, ok := d.others[key]
	if !ok {
		number = d.add(entry, n, key)
		if d.others == nil {
			d.others = map[int64]int32{}
		}
		d.others[key] = number
	}
	recent.key, recent.number = key, number+1
	return number
}

func (d *dictionary) add(entry func(*names, []byte, int64) []byte, n *names, key int64) int32 {
	d.keys = append(d.keys, key)
	d.entries = entry(n, d.entries, key)
	return int32(len(d.keys) - 1)
}

func (d *dictionary) reset() {
	for _, key := range d.keys {
		if key >= 0 && key < directMax {
			d.direct[key] = 0
		}
	}
	clear(d.others)
	clear(d.recent[:])
	d.keys, d.entries = d.keys[:0], d.entries[:0]
}

// encoder is the memory that columns need while they encode. It is lent: a shard has a file open for each period and table,
// and the compressor alone takes some hundred kilobytes, which would be cold each time.
type encoder struct {
	*framer
	head  []byte
	body  []byte
	block []byte
	delta delta.BinaryPackedEncoding
	index rle.DictionaryEncoding

	thrift    compact // a header or footer
	encodings []format.Encoding
	stats     []format.PageEncodingStats

	entries, searchedEntries []byte // of the dictionary that was written last, and what they were compressed to
}

var encoders = sync.Pool{New: func() any { return &encoder{framer: newFramer()} }}

// header gives a page's header. It is valid until the next call.
func (e *encoder) header(h *format.PageHeader) []byte {
	e.thrift.bytes = e.thrift.bytes[:0]
	e.thrift.pageHeader(h)
	return e.thrift.bytes
}

// closePage turns the values at hand into a page of the chunk.
func (c *column) closePage(e *encoder, n *names, rows int) error {
	if c.takeRepeated() {
		return nil
	}
	c.resolve(n)
	var head []byte
	if c.nulls != nil {
		head = c.nulls.encoded
		c.nullCount += c.nulls.nulls
	}
	header := format.PageHeader{Type: format.DataPage}
	data := format.DataPageHeader{
		NumValues: int32(rows), DefinitionLevelEncoding: format.RLE, RepetitionLevelEncoding: format.RLE,
	}
	frame, size, err := c.encode(e, head, &data)
	if err != nil {
		return err
	}
	header.UncompressedPageSize = int32(size)
	header.CompressedPageSize = int32(len(frame))
	header.CRC = int32(crc32.ChecksumIEEE(frame))
	header.DataPageHeader = thrift.New(data)
	e.block = frame
	encoded := e.header(&header)
	c.uncompressed += int64(len(encoded) + size)
	c.pages = append(append(c.pages, encoded...), frame...)
	if data.Encoding == format.RLEDictionary {
		c.dictPages++
	} else {
		c.plainPages++
	}
	c.rememberPage()
	return nil
}

// encode gives the frame of the values at hand, and its size uncompressed, and forgets them.
func (c *column) encode(e *encoder, head []byte, header *format.DataPageHeader) (frame []byte, size int, err error) {
	dst := e.block[:0]
	switch c.coding {
	case keyed:
		header.Encoding = format.RLEDictionary
		if len(c.keys) == 0 { // nothing but nulls so far, and so no dictionary
			header.Encoding = format.Plain
			return e.stored(dst, head, nil), len(head), nil
		}
		e.body, err = e.index.EncodeInt32(e.body[:0], c.indexes)
		c.indexes = c.indexes[:0]
		frame = e.stored(dst, head, e.body)
	case steps:
		header.Encoding = format.DeltaBinaryPacked
		c.measure()
		e.body, err = e.delta.EncodeInt64(e.body[:0], c.ints)
		c.ints = c.ints[:0]
		frame = e.stored(dst, head, e.body)
	case strides:
		header.Encoding = format.Plain
		for _, v := range c.decimals {
			c.digest = c.digest.addAmount(uint64(v.Hi), v.Lo)
		}
		frame = e.strided(dst, head, c.decimals, &c.coded)
		size = len(head) + decimalSize*len(c.decimals)
		c.decimals = c.decimals[:0]
		return frame, size, nil
	case ids, strs:
		header.Encoding = format.DeltaLengthByteArray
		e.body, err = e.delta.EncodeInt32(e.body[:0], c.lengths)
		size = len(head) + len(e.body) + len(c.text)
		if c.coding == ids { // their lengths are few bytes, or random ones
			e.head = append(append(e.head[:0], head...), e.body...)
			frame = e.literals(dst, e.head, c.text)
		} else {
			e.body = append(e.body, c.text...)
			frame = e.searched(dst, head, e.body)
		}
		c.text, c.lengths = c.text[:0], c.lengths[:0]
		return frame, size, err
	case flags:
		header.Encoding = format.Plain
		e.body = packFlags(e.body[:0], c.flags)
		c.flags = c.flags[:0]
		frame = e.stored(dst, head, e.body)
	}
	return frame, len(head) + len(e.body), err
}

func (c *column) measure() {
	for _, v := range c.ints {
		c.digest = c.digest.add(uint64(v))
		c.min, c.max = min(c.min, v), max(c.max, v)
	}
}

func packFlags(dst []byte, flags []bool) []byte {
	for len(flags) > 0 {
		var b byte
		for i, f := range flags[:min(8, len(flags))] {
			if f {
				b |= 1 << i
			}
		}
		dst = append(dst, b)
		flags = flags[min(8, len(flags)):]
	}
	return dst
}

// dictionaryPage gives the page that comes before the others, or nothing, and finds the bounds of its entries.
func (c *column) dictionaryPage(e *encoder) ([]byte, error) {
	c.low, c.high = nil, nil
	if len(c.keys) == 0 {
		return nil, nil
	}
	small := &c.small
	if c.repeated != nil {
		small = &c.repeated.small
	}
	if len(small.page) > 0 && bytes.Equal(c.entries, small.entries) {
		c.uncompressed += small.uncompressed
		c.low, c.high = small.low, small.high
		return small.page, nil
	}
	if !bytes.Equal(e.entries, c.entries) { // a payer's account is often the payer
		e.entries = append(e.entries[:0], c.entries...)
		e.searchedEntries = e.searched(e.searchedEntries[:0], nil, c.entries)
	}
	e.block = append(e.block[:0], e.searchedEntries...)
	header := e.header(&format.PageHeader{
		Type:                 format.DictionaryPage,
		UncompressedPageSize: int32(len(c.entries)),
		CompressedPageSize:   int32(len(e.block)),
		CRC:                  int32(crc32.ChecksumIEEE(e.block)),
		DictionaryPageHeader: thrift.New(format.DictionaryPageHeader{NumValues: int32(len(c.keys)), Encoding: format.Plain}),
	})
	size := int64(len(header) + len(c.entries))
	c.uncompressed += size
	if c.logical != decimalType {
		c.low, c.high = c.bounds()
	}
	e.body = append(append(e.body[:0], header...), e.block...)
	if len(c.entries) <= smallDictionary {
		*small = smallPage{append(small.entries[:0], c.entries...), append(small.page[:0], e.body...), size, c.low, c.high}
	}
	return e.body, nil
}

// smallDictionary is how large a dictionary may be that is kept for the next file: those of meters, kinds and currencies are
// mostly the same, and those of a shard's payers and packages often.
const smallDictionary = 16 << 10

// smallPage is the page of such a dictionary.
type smallPage struct {
	entries, page []byte
	uncompressed  int64
	low, high     []byte
}

// reset forgets the chunk, but not the digest, which is the file's.
func (c *column) reset() {
	c.dictionary.reset()
	c.pages, c.uncompressed, c.nullCount = c.pages[:0], 0, 0
	c.dictPages, c.plainPages, c.coded = 0, 0, untried
	c.min, c.max = math.MaxInt64, math.MinInt64
}

// grow makes room for n more elements, at least doubling what there is.
func grow(b []byte, n int) []byte {
	if cap(b)-len(b) >= n {
		return b
	}
	return slices.Grow(b, max(n, cap(b)))
}
