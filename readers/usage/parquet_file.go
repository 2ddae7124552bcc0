package usage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// A Parquet file, as far as usage needs it: the footer's schema and column chunks, and their pages. It is decoded here
// and not by a library, because libraries panic on damaged files and allocate what such files claim to need. Here a
// claim is compared with the size of the object, or with the sum of what was claimed before, and then believed.

// The physical types of Parquet.
const (
	physicalBoolean = iota
	physicalInt32
	physicalInt64
	physicalInt96
	physicalFloat
	physicalDouble
	physicalByteArray
	physicalFixed
)

var physicalNames = [...]string{"BOOLEAN", "INT32", "INT64", "INT96", "FLOAT", "DOUBLE", "BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY"}

// logical is what the bits of a column mean, as far as usage needs it.
type logical uint8

const (
	logicalNone logical = iota
	logicalText
	logicalDecimal
	logicalTimestamp
	logicalSigned
	logicalUnsigned
	logicalUUID
	logicalOther // a date, a time, an interval …: nothing that usage reads
)

// leaf is a column of a Parquet file.
type leaf struct {
	name           string // its path, with dots
	physical       int
	length         int // of FIXED_LEN_BYTE_ARRAY
	logical        logical
	scale          int
	unitsPerSecond int64
	adjusted       bool // to UTC
	maxDef, maxRep int
	inMap          bool
	index          int // among the chunks of a row group
}

// chunk is a column's part of a row group.
type chunk struct {
	codec, physical      int64
	values               int64
	offset, dictionary   int64
	size                 int64 // stored
	external, unreadable bool
}

type rowGroup struct {
	rows   int64
	chunks []chunk
}

type parquetFile struct {
	file   io.ReaderAt
	size   int64
	leaves []leaf
	groups []rowGroup
}

const (
	maxFooter     = 64 << 20
	maxSchema     = 10_000   // elements
	maxChunks     = 1 << 18  // in all row groups
	maxPageBytes  = 64 << 20 // expanded
	maxPageValues = 16 << 20
	maxScale      = 76      // of a DECIMAL in 32 bytes
	maxName       = 1 << 10 // of a column, with those that it lies in
	parquetMagic  = "PAR1"
)

func openParquet(file io.ReaderAt, size int64) (*parquetFile, error) {
	if size < 12 {
		return nil, errors.New("is too short for a Parquet file; upload it again")
	}
	var head [4]byte
	var tail [8]byte
	if _, err := file.ReadAt(head[:], 0); err != nil {
		return nil, err
	}
	if _, err := file.ReadAt(tail[:], size-8); err != nil {
		return nil, err
	}
	footer := int64(binary.LittleEndian.Uint32(tail[:]))
	switch {
	case string(tail[4:]) == "PARE" || string(head[:]) == "PARE":
		return nil, errors.New("is an encrypted Parquet file, which is not supported; store it decrypted")
	case string(head[:]) != parquetMagic || string(tail[4:]) != parquetMagic:
		return nil, errors.New("is no whole Parquet file: it does not begin and end with PAR1; upload it again")
	case footer > size-12 || footer > maxFooter:
		return nil, fmt.Errorf("is a damaged Parquet file: its footer claims %d bytes of %d; upload it again", footer, size)
	}
	b := make([]byte, footer)
	if _, err := file.ReadAt(b, size-8-footer); err != nil {
		return nil, err
	}
	p := &parquetFile{file: file, size: size}
	if err := p.footer(b); err != nil {
		return nil, fmt.Errorf("is a damaged Parquet file: %w; upload it again", err)
	}
	return p, nil
}

// schemaElement is a node of the schema as it is stored: a list in depth-first order.
type schemaElement struct {
	name                 string
	physical, repetition int64
	children             int64
	converted            int64 // -1: none
	leaf                 leaf
}

func (p *parquetFile) footer(b []byte) error {
	t := &thrift{b: b}
	var schema []schemaElement
	rows, chunks := int64(-1), 0
	t.fields(func(id int16, kind byte) bool {
		switch {
		case id == 2 && kind == thriftList:
			t.list(func(byte) {
				if schema = append(schema, readSchemaElement(t)); len(schema) > maxSchema {
					t.fail()
				}
			})
		case id == 3 && kind == thriftI64:
			rows = t.int()
		case id == 4 && kind == thriftList:
			t.list(func(byte) {
				g := readRowGroup(t)
				if chunks += len(g.chunks) + 1; chunks > maxChunks {
					t.fail()
				}
				p.groups = append(p.groups, g)
			})
		default:
			return false
		}
		return true
	})
	if t.err != nil {
		return t.err
	}
	if err := p.schema(schema); err != nil {
		return err
	}
	return p.checkGroups(rows)
}

func (p *parquetFile) checkGroups(rows int64) error {
	for i := range p.groups {
		g := &p.groups[i]
		if g.rows < 0 || len(g.chunks) != len(p.leaves) {
			return fmt.Errorf("row group %d has %d rows and %d columns of %d", i, g.rows, len(g.chunks), len(p.leaves))
		}
		if rows -= g.rows; rows < 0 {
			break
		}
	}
	if rows != 0 {
		return errors.New("its row groups do not have the rows that it claims")
	}
	return nil
}

func readSchemaElement(t *thrift) schemaElement {
	e := schemaElement{physical: -1, converted: -1}
	t.fields(func(id int16, kind byte) bool {
		switch {
		case id == 1 && kind == 5:
			e.physical = t.int()
		case id == 2 && kind == 5:
			e.leaf.length = int(t.int32())
		case id == 3 && kind == 5:
			e.repetition = t.int()
		case id == 4 && kind == thriftBinary:
			e.name = strings.ToValidUTF8(string(t.binary()), "\uFFFD") // names stand in messages, and these in STRING columns
		case id == 5 && kind == 5:
			e.children = t.int()
		case id == 6 && kind == 5:
			e.converted = t.int()
		case id == 7 && kind == 5:
			e.leaf.scale = int(t.int32())
		case id == 10 && kind == thriftStruct:
			readLogicalType(t, &e.leaf)
		default:
			return false
		}
		return true
	})
	if e.leaf.logical == logicalNone {
		convertedType(&e)
	}
	return e
}

// convertedType reads what older writers say in place of the logical type.
func convertedType(e *schemaElement) {
	l := &e.leaf
	switch c := e.converted; {
	case c == -1 || c == 1 || c == 2 || c == 3: // a map or a list is seen by its shape
	case c == 0 || c == 4 || c == 19:
		l.logical = logicalText
	case c == 5:
		l.logical = logicalDecimal
	case c == 9:
		l.logical, l.unitsPerSecond, l.adjusted = logicalTimestamp, 1e3, true
	case c == 10:
		l.logical, l.unitsPerSecond, l.adjusted = logicalTimestamp, 1e6, true
	case c >= 11 && c <= 14:
		l.logical = logicalUnsigned
	case c >= 15 && c <= 18:
		l.logical = logicalSigned
	default:
		l.logical = logicalOther
	}
}

func readLogicalType(t *thrift, l *leaf) {
	t.fields(func(id int16, kind byte) bool {
		if kind != thriftStruct {
			return false
		}
		switch id {
		case 1, 4, 12:
			l.logical = logicalText
		case 2, 3:
		case 5:
			l.logical = logicalDecimal
			t.fields(func(id int16, kind byte) bool {
				if id != 1 || kind != 5 {
					return false
				}
				l.scale = int(t.int32())
				return true
			})
			return true
		case 8:
			l.logical = logicalTimestamp
			readTimestampType(t, l)
			return true
		case 10:
			l.logical = logicalUnsigned
			t.fields(func(id int16, kind byte) bool {
				if id == 2 && kind == thriftTrue {
					l.logical = logicalSigned
				}
				return false
			})
			return true
		case 14:
			l.logical = logicalUUID
		default:
			l.logical = logicalOther
		}
		return false
	})
}

func readTimestampType(t *thrift, l *leaf) {
	t.fields(func(id int16, kind byte) bool {
		if id == 1 {
			l.adjusted = kind == thriftTrue
			return false
		}
		if id != 2 || kind != thriftStruct {
			return false
		}
		t.fields(func(id int16, _ byte) bool {
			switch id {
			case 1:
				l.unitsPerSecond = 1e3
			case 2:
				l.unitsPerSecond = 1e6
			case 3:
				l.unitsPerSecond = 1e9
			}
			return false
		})
		return true
	})
}

func readRowGroup(t *thrift) rowGroup {
	var g rowGroup
	t.fields(func(id int16, kind byte) bool {
		switch {
		case id == 1 && kind == thriftList:
			t.list(func(byte) {
				if g.chunks = append(g.chunks, readChunk(t)); len(g.chunks) > maxSchema {
					t.fail()
				}
			})
		case id == 3 && kind == thriftI64:
			g.rows = t.int()
		default:
			return false
		}
		return true
	})
	return g
}

func readChunk(t *thrift) chunk {
	c := chunk{unreadable: true}
	t.fields(func(id int16, kind byte) bool {
		switch {
		case id == 1:
			c.external = true
		case id == 8:
			c.unreadable = true
		case id == 3 && kind == thriftStruct:
			c.unreadable = false
			t.fields(func(id int16, kind byte) bool {
				if kind != 5 && kind != thriftI64 {
					return false
				}
				switch id {
				case 1:
					c.physical = t.int()
				case 4:
					c.codec = t.int()
				case 5:
					c.values = t.int()
				case 7:
					c.size = t.int()
				case 9:
					c.offset = t.int()
				case 11:
					c.dictionary = t.int()
				default:
					return false
				}
				return true
			})
			return true
		}
		return false
	})
	return c
}

// schema finds the leaves of the schema.
func (p *parquetFile) schema(elements []schemaElement) error {
	if len(elements) == 0 || elements[0].children <= 0 {
		return errors.New("it has no schema")
	}
	rest := elements[1:]
	var walk func(parent leaf, children int64, depth int) error
	walk = func(parent leaf, children int64, depth int) error {
		for ; children > 0; children-- {
			if len(rest) == 0 || depth > maxNesting {
				return errors.New("its schema is no tree")
			}
			e := rest[0]
			rest = rest[1:]
			l := e.leaf
			l.maxDef, l.maxRep, l.inMap = parent.maxDef, parent.maxRep, parent.inMap
			switch e.repetition {
			case 1:
				l.maxDef++
			case 2:
				l.maxDef++
				l.maxRep++
			}
			if len(parent.name)+len(e.name) > maxName {
				return fmt.Errorf("a column has a name of more than %d bytes", maxName)
			}
			l.name = e.name
			if depth > 0 {
				l.name = parent.name + "." + e.name
			}
			if e.children > 0 {
				l.inMap = l.inMap || e.repetition == 2 && e.children == 2
				if err := walk(l, e.children, depth+1); err != nil {
					return err
				}
				continue
			}
			if e.physical < 0 || e.physical > physicalFixed || e.physical == physicalFixed && (l.length <= 0 || l.length > 1<<20) || l.scale < 0 || l.scale > maxScale {
				return fmt.Errorf("its column %s has no valid type", l.name)
			}
			l.physical, l.index = int(e.physical), len(p.leaves)
			p.leaves = append(p.leaves, l)
		}
		return nil
	}
	if err := walk(leaf{}, elements[0].children, 0); err != nil {
		return err
	}
	if len(rest) > 0 {
		return errors.New("its schema is no tree")
	}
	return nil
}
