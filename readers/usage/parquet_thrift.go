package usage

import (
	"errors"
	"math"
)

// thrift reads Thrift's compact protocol out of bytes that may be damaged. It allocates nothing; what a length claims is
// compared with what is there.
type thrift struct {
	b     []byte
	pos   int
	depth int
	err   error
}

var errThrift = errors.New("has damaged metadata")

// The types of the compact protocol.
const (
	thriftTrue   = 1
	thriftFalse  = 2
	thriftByte   = 3
	thriftI64    = 6
	thriftDouble = 7
	thriftBinary = 8
	thriftList   = 9
	thriftSet    = 10
	thriftMap    = 11
	thriftStruct = 12
)

func (t *thrift) fail() {
	if t.err == nil {
		t.err = errThrift
	}
	t.pos = len(t.b)
}

func (t *thrift) next() byte {
	if t.pos >= len(t.b) {
		t.fail()
		return 0
	}
	c := t.b[t.pos]
	t.pos++
	return c
}

func (t *thrift) uvarint() uint64 {
	var n uint64
	for shift := 0; shift < 64; shift += 7 {
		c := t.next()
		n |= uint64(c&0x7f) << shift
		if c < 0x80 {
			return n
		}
	}
	t.fail()
	return 0
}

// int reads an integer of any width.
func (t *thrift) int() int64 {
	n := t.uvarint()
	return int64(n>>1) ^ -int64(n&1)
}

func (t *thrift) int32() int32 {
	n := t.int()
	if n < math.MinInt32 || n > math.MaxInt32 {
		t.fail()
		return 0
	}
	return int32(n)
}

func (t *thrift) binary() []byte {
	n := t.uvarint()
	if n > uint64(len(t.b)-t.pos) {
		t.fail()
		return nil
	}
	b := t.b[t.pos : t.pos+int(n)]
	t.pos += int(n)
	return b
}

// fields reads a struct: f is called with every field, reads it and says true, or says false to have it passed over.
func (t *thrift) fields(f func(id int16, kind byte) bool) {
	if t.depth++; t.depth > 64 {
		t.fail()
	}
	id := int16(0)
	for t.err == nil {
		head := t.next()
		if head == 0 {
			break
		}
		if head>>4 == 0 {
			id = int16(t.int())
		} else {
			id += int16(head >> 4)
		}
		if kind := head & 15; !f(id, kind) {
			t.skip(kind)
		}
	}
	t.depth--
}

// list reads the head of a list and calls f for each of its elements. Each takes a byte at least.
func (t *thrift) list(f func(kind byte)) {
	head := t.next()
	n := uint64(head >> 4)
	if n == 15 {
		n = t.uvarint()
	}
	if n > uint64(len(t.b)-t.pos) {
		t.fail()
	}
	for ; n > 0 && t.err == nil; n-- {
		f(head & 15)
	}
}

func (t *thrift) skip(kind byte) {
	switch kind {
	case thriftTrue, thriftFalse: // of a field: its value is its type
	case thriftByte:
		t.next()
	case 4, 5, thriftI64:
		t.uvarint()
	case thriftDouble:
		for range 8 {
			t.next()
		}
	case thriftBinary:
		t.binary()
	case thriftList, thriftSet:
		t.list(t.skipElement)
	case thriftMap:
		n := t.uvarint()
		if n == 0 {
			return
		}
		kinds := t.next()
		for ; n > 0 && t.err == nil; n-- {
			t.skipElement(kinds >> 4)
			t.skipElement(kinds & 15)
		}
	case thriftStruct:
		t.fields(func(int16, byte) bool { return false })
	default:
		t.fail()
	}
}

// skipElement passes over a list's element, of which a boolean takes a byte.
func (t *thrift) skipElement(kind byte) {
	if kind == thriftTrue || kind == thriftFalse {
		kind = thriftByte
	}
	t.skip(kind)
}
