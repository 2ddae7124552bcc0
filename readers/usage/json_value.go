package usage

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// valueKind is the kind of a JSON value.
type valueKind uint8

const (
	absent valueKind = iota
	jsonString
	jsonNumber
	jsonBool
	jsonNull
	jsonObject
	jsonArray
)

// value is a JSON value: the text of a string without quotes and escapes, or the literal of a scalar.
type value struct {
	kind valueKind
	text []byte
}

// scalar says whether the value has a text.
func (v value) scalar() bool {
	return v.kind == jsonString || v.kind == jsonNumber || v.kind == jsonBool
}

func (v value) nested() bool { return v.kind == jsonObject || v.kind == jsonArray }

// node is a place in a JSON object that somebody asks for.
type node struct {
	name     string
	slot     int // of its value; -1: nobody asks for the value itself
	collect  collecting
	children []*node
}

// collecting says which list the scalar members of an object go into.
type collecting uint8

const (
	nothing collecting = iota
	intoAttributes
	intoData
)

func (n *node) child(name string) *node {
	for _, c := range n.children {
		if c.name == name {
			return c
		}
	}
	c := &node{name: name, slot: -1}
	n.children = append(n.children, c)
	return c
}

func (n *node) find(name []byte) *node {
	if n == nil {
		return nil
	}
	for _, c := range n.children {
		if string(name) == c.name {
			return c
		}
	}
	return nil
}

// decoder reads one JSON object strictly and keeps the values that are asked for. What it keeps is valid until the next
// line.
type decoder struct {
	root   *node
	slots  []value
	attrs  []pair
	data   []pair
	nested []byte // the name of an attribute that is an object or an array

	line    []byte
	pos     int
	keys    [][]byte // of the objects around the current place
	scratch []byte   // for strings with escapes
	fault   string
}

// decode gives what is wrong with the line, or "".
func (d *decoder) decode(line []byte) string {
	clear(d.slots)
	d.attrs, d.data, d.nested, d.keys, d.scratch = d.attrs[:0], d.data[:0], nil, d.keys[:0], d.scratch[:0]
	d.line, d.pos, d.fault = line, 0, ""
	if !utf8.Valid(line) {
		return "is not UTF-8"
	}
	d.space()
	if d.peek() != '{' {
		return "is not a JSON object"
	}
	if !d.object(d.root, nothing, 1) {
		return d.fault
	}
	d.space()
	if d.pos != len(d.line) {
		return "has something behind the JSON object"
	}
	return ""
}

func (d *decoder) fail(fault string) bool {
	d.fault = fault
	return false
}

func (d *decoder) peek() byte {
	if d.pos < len(d.line) {
		return d.line[d.pos]
	}
	return 0
}

func (d *decoder) space() {
	for d.pos < len(d.line) {
		switch d.line[d.pos] {
		case ' ', '\t', '\r', '\n':
			d.pos++
		default:
			return
		}
	}
}

const faultSyntax = "is not valid JSON"

// object reads an object whose place is n, which is nil where nobody asks for anything in it.
func (d *decoder) object(n *node, list collecting, depth int) bool {
	if depth > maxNesting {
		return d.fail("nests JSON too deeply")
	}
	d.pos++ // {
	first := len(d.keys)
	d.space()
	if d.peek() == '}' {
		d.pos++
		return true
	}
	for {
		d.space()
		key, ok := d.text()
		if !ok || !d.fresh(key, first) {
			return false
		}
		d.space()
		if d.peek() != ':' {
			return d.fail(faultSyntax)
		}
		d.pos++
		d.space()
		child := n.find(key)
		v, ok := d.value(child, depth)
		if !ok {
			return false
		}
		d.keep(child, list, key, v)
		d.space()
		switch d.peek() {
		case ',':
			d.pos++
		case '}':
			d.pos++
			d.keys = d.keys[:first]
			return true
		default:
			return d.fail(faultSyntax)
		}
	}
}

// fresh notes a key of the object whose keys begin at first.
func (d *decoder) fresh(key []byte, first int) bool {
	for _, k := range d.keys[first:] {
		if len(k) == len(key) && bytes.Equal(k, key) {
			return d.fail("has the key " + quoted(key) + " twice")
		}
	}
	if len(d.keys)-first == maxMembers {
		return d.fail("has too many members in an object")
	}
	d.keys = append(d.keys, key)
	return true
}

func (d *decoder) keep(child *node, list collecting, key []byte, v value) {
	asked := child != nil && child.slot >= 0
	if asked {
		d.slots[child.slot] = v
	}
	switch {
	case list == intoAttributes && v.scalar():
		d.attrs = append(d.attrs, pair{key, v.text})
	case list == intoAttributes && v.nested():
		d.nested = key
	case list == intoData && v.scalar() && !asked:
		d.data = append(d.data, pair{key, v.text})
	}
}

func (d *decoder) value(n *node, depth int) (value, bool) {
	switch c := d.peek(); {
	case c == '"':
		text, ok := d.text()
		return value{jsonString, text}, ok
	case c == '{':
		list := nothing
		if n != nil {
			list = n.collect
		}
		return value{kind: jsonObject}, d.object(n, list, depth+1)
	case c == '[':
		return value{kind: jsonArray}, d.array(depth + 1)
	case c == 't':
		return d.literal("true", jsonBool)
	case c == 'f':
		return d.literal("false", jsonBool)
	case c == 'n':
		return d.literal("null", jsonNull)
	}
	text, ok := d.number()
	return value{jsonNumber, text}, ok
}

func (d *decoder) literal(text string, kind valueKind) (value, bool) {
	end := d.pos + len(text)
	if end > len(d.line) || string(d.line[d.pos:end]) != text {
		return value{}, d.fail(faultSyntax)
	}
	v := value{kind, d.line[d.pos:end]}
	d.pos = end
	return v, true
}

func (d *decoder) array(depth int) bool {
	if depth > maxNesting {
		return d.fail("nests JSON too deeply")
	}
	d.pos++ // [
	d.space()
	if d.peek() == ']' {
		d.pos++
		return true
	}
	for {
		d.space()
		if _, ok := d.value(nil, depth); !ok {
			return false
		}
		d.space()
		switch d.peek() {
		case ',':
			d.pos++
		case ']':
			d.pos++
			return true
		default:
			return d.fail(faultSyntax)
		}
	}
}

// number reads -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?
func (d *decoder) number() ([]byte, bool) {
	start := d.pos
	if d.peek() == '-' {
		d.pos++
	}
	if d.peek() == '0' {
		d.pos++
	} else if d.digits() == 0 {
		return nil, d.fail(faultSyntax)
	}
	if d.peek() == '.' {
		d.pos++
		if d.digits() == 0 {
			return nil, d.fail(faultSyntax)
		}
	}
	if c := d.peek(); c == 'e' || c == 'E' {
		d.pos++
		if c := d.peek(); c == '+' || c == '-' {
			d.pos++
		}
		if d.digits() == 0 {
			return nil, d.fail(faultSyntax)
		}
	}
	return d.line[start:d.pos], true
}

func (d *decoder) digits() int {
	start := d.pos
	for d.pos < len(d.line) && d.line[d.pos]-'0' <= 9 {
		d.pos++
	}
	return d.pos - start
}

// text reads a string. Without escapes, which is nearly always, it is a part of the line.
func (d *decoder) text() ([]byte, bool) {
	if d.peek() != '"' {
		return nil, d.fail(faultSyntax)
	}
	d.pos++
	rest := d.line[d.pos:]
	for i, c := range rest {
		if c == '"' {
			d.pos += i + 1
			return rest[:i:i], true
		}
		if c == '\\' {
			return d.escapedText(i)
		}
		if c < ' ' {
			return nil, d.fail("has a control character in a string")
		}
	}
	return nil, d.fail(faultSyntax)
}

// escapedText reads on in a string whose first escape is n bytes ahead.
func (d *decoder) escapedText(n int) ([]byte, bool) {
	start := len(d.scratch)
	d.scratch = append(d.scratch, d.line[d.pos:d.pos+n]...)
	d.pos += n
	for d.pos < len(d.line) {
		c := d.line[d.pos]
		d.pos++
		switch {
		case c == '"':
			return d.scratch[start:len(d.scratch):len(d.scratch)], true
		case c < ' ':
			return nil, d.fail("has a control character in a string")
		case c != '\\':
			d.scratch = append(d.scratch, c)
		case !d.escape():
			return nil, false
		}
	}
	return nil, d.fail(faultSyntax)
}

// escape reads what stands behind a backslash.
func (d *decoder) escape() bool {
	c := d.peek()
	d.pos++
	switch c {
	case '"', '\\', '/':
	case 'b':
		c = '\b'
	case 'f':
		c = '\f'
	case 'n':
		c = '\n'
	case 'r':
		c = '\r'
	case 't':
		c = '\t'
	case 'u':
		return d.escapedRune()
	default:
		return d.fail(faultSyntax)
	}
	d.scratch = append(d.scratch, c)
	return true
}

func (d *decoder) escapedRune() bool {
	r, ok := d.hex4()
	if ok && utf16.IsSurrogate(r) {
		if d.peek() != '\\' || d.pos+1 >= len(d.line) || d.line[d.pos+1] != 'u' {
			return d.fail("has half a surrogate pair in a string")
		}
		d.pos += 2
		var low rune
		low, ok = d.hex4()
		if r = utf16.DecodeRune(r, low); ok && r == utf8.RuneError {
			return d.fail("has half a surrogate pair in a string")
		}
	}
	switch {
	case !ok:
		return d.fail(faultSyntax)
	case r == 0:
		return d.fail("has a NUL in a string")
	}
	d.scratch = utf8.AppendRune(d.scratch, r)
	return true
}

func (d *decoder) hex4() (rune, bool) {
	if d.pos+4 > len(d.line) {
		return 0, false
	}
	var r rune
	for _, c := range d.line[d.pos : d.pos+4] {
		switch {
		case c-'0' <= 9:
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	d.pos += 4
	return r, true
}
