package usagetest

import (
	"encoding/binary"
	"errors"
)

// The types of Thrift's compact protocol.
const (
	kindTrue   = 1
	kindFalse  = 2
	kindInt    = 5 // 32 bits; 4 and 6 have 16 and 64
	kindLong   = 6
	kindBinary = 8
	kindList   = 9
	kindStruct = 12
)

// value is a value of Thrift's compact protocol, as Parquet's metadata is written in.
type value struct {
	kind   byte
	number int64   // of an integer
	bytes  []byte  // of a binary, or a double
	fields []field // of a struct
	items  []value // of a list or set
	item   byte    // the kind of its items
}

type field struct {
	id int16
	value
}

func number(n int64) value           { return value{kind: kindLong, number: n} }
func integer(n int64) value          { return value{kind: kindInt, number: n} }
func text(s string) value            { return value{kind: kindBinary, bytes: []byte(s)} }
func structure(f ...field) value     { return value{kind: kindStruct, fields: f} }
func list(of byte, v ...value) value { return value{kind: kindList, item: of, items: v} }

// get gives a field of a struct, or nil.
func (v *value) get(id int16) *value {
	for i := range v.fields {
		if v.fields[i].id == id {
			return &v.fields[i].value
		}
	}
	return nil
}

// number of a field, or 0.
func (v *value) numberOf(id int16) int64 {
	if f := v.get(id); f != nil {
		return f.number
	}
	return 0
}

func (v *value) set(id int16, n int64) {
	if f := v.get(id); f != nil {
		f.number = n
	}
}

// append writes the value.
func (v *value) append(b []byte) []byte {
	switch v.kind {
	case 3:
		return append(b, byte(v.number))
	case 4, kindInt, kindLong:
		return binary.AppendVarint(b, v.number)
	case 7:
		return append(b, v.bytes...)
	case kindBinary:
		return append(binary.AppendUvarint(b, uint64(len(v.bytes))), v.bytes...)
	case kindList, 10:
		if len(v.items) < 15 {
			b = append(b, byte(len(v.items))<<4|v.item)
		} else {
			b = binary.AppendUvarint(append(b, 0xf0|v.item), uint64(len(v.items)))
		}
		for i := range v.items {
			b = v.items[i].append(b)
		}
		return b
	case kindStruct:
		last := int16(0)
		for i := range v.fields {
			f := &v.fields[i]
			if step := f.id - last; step > 0 && step < 16 {
				b = append(b, byte(step)<<4|f.kind)
			} else {
				b = binary.AppendVarint(append(b, f.kind), int64(f.id))
			}
			last = f.id
			b = f.append(b)
		}
		return append(b, 0)
	}
	return b
}

var errThrift = errors.New("no Thrift")

// parse reads a value of a kind, and gives what follows it.
func parse(kind byte, b []byte) (v value, rest []byte, err error) {
	v.kind = kind
	take := func(n uint64) []byte {
		if n > uint64(len(b)) {
			err, n = errThrift, 0
		}
		taken := b[:n]
		b = b[n:]
		return taken
	}
	uvarint := func() uint64 {
		n, used := binary.Uvarint(b)
		take(uint64(max(used, 1)))
		return n
	}
	signed := func() int64 { n := uvarint(); return int64(n>>1) ^ -int64(n&1) }
	nested := func(kind byte) (n value) {
		if err == nil {
			n, b, err = parse(kind, b)
		}
		return n
	}
	switch kind {
	case kindTrue, kindFalse:
	case 3:
		if one := take(1); err == nil {
			v.number = int64(one[0])
		}
	case 4, kindInt, kindLong:
		v.number = signed()
	case 7:
		v.bytes = take(8)
	case kindBinary:
		v.bytes = take(uvarint())
	case kindList, 10:
		head := take(1)
		if err != nil {
			break
		}
		v.item = head[0] & 15
		n := uint64(head[0] >> 4)
		if n == 15 {
			n = uvarint()
		}
		for ; n > 0 && err == nil; n-- {
			v.items = append(v.items, nested(v.item))
		}
	case kindStruct:
		for id := int16(0); err == nil; {
			head := take(1)
			if err != nil || head[0] == 0 {
				break
			}
			if head[0]>>4 == 0 {
				id = int16(signed())
			} else {
				id += int16(head[0] >> 4)
			}
			v.fields = append(v.fields, field{id, nested(head[0] & 15)})
		}
	default:
		err = errThrift
	}
	return v, b, err
}

// each calls f for a value and all that is in it.
func (v *value) each(f func(*value)) {
	f(v)
	for i := range v.fields {
		v.fields[i].each(f)
	}
	for i := range v.items {
		v.items[i].each(f)
	}
}
