package usage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"strconv"
	"strings"

	"drawdown/rating"
)

// column is a flat column, with a page of it.
type column struct {
	pages   pages
	at      int // row of the page
	lookups [2]lookup
}

// lookup is what the catalog has for the entries of a dictionary. A column may say both what the account is and the meter.
type lookup struct {
	indexes    []int32
	dictNumber int
}

const (
	ofAccounts = iota
	ofMeters
)

func (c *column) fail(err error) error { return c.pages.fail(err) }

func (p *pages) fail(err error) error {
	switch {
	case p.ctx.Err() != nil:
		return err
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		err = errors.New("its pages end too early")
	}
	return fmt.Errorf("is a damaged or unsupported Parquet file: column %s: %w; upload it again", p.leaf.name, err)
}

// bytes gives the value i rows ahead, and nil for null.
func (c *column) bytes(i int) []byte {
	pg := &c.pages.page
	i += c.at
	if pg.index != nil {
		if i = int(pg.index[i]); i < 0 {
			return nil
		}
	}
	return c.pages.valueAt(i)
}

func (p *pages) valueAt(i int) []byte {
	var b []byte
	if p.page.codes != nil {
		b = p.dictionary.at(int(p.page.codes[i]))
	} else {
		b = p.page.values.at(i)
	}
	if b == nil {
		b = []byte{}
	}
	return b
}

// appendText writes a value as text.
func (l *leaf) appendText(to, b []byte) []byte {
	switch {
	case l.logical == logicalUUID:
		return appendUUID(to, b)
	case l.physical == physicalFloat:
		return strconv.AppendFloat(to, float64(math.Float32frombits(binary.LittleEndian.Uint32(b))), 'g', -1, 32)
	case l.physical == physicalDouble:
		return strconv.AppendFloat(to, math.Float64frombits(binary.LittleEndian.Uint64(b)), 'g', -1, 64)
	case l.physical == physicalInt32 || l.physical == physicalInt64:
		n := l.int(b)
		switch {
		case l.logical == logicalDecimal:
			return appendDecimal(to, big.NewInt(n), l.scale)
		case l.logical == logicalUnsigned:
			return strconv.AppendUint(to, uint64(n), 10)
		}
		return strconv.AppendInt(to, n, 10)
	case l.logical == logicalDecimal:
		return appendDecimal(to, bigEndian(b), l.scale)
	}
	return append(to, b...)
}

// int reads INT32 or INT64; an unsigned INT64 above the signed ones comes out negative.
func (l *leaf) int(b []byte) int64 {
	if l.physical == physicalInt64 {
		return int64(binary.LittleEndian.Uint64(b))
	}
	n := binary.LittleEndian.Uint32(b)
	if l.logical == logicalUnsigned {
		return int64(n)
	}
	return int64(int32(n))
}

// tooWide tells decimals that are longer than any that is written as such: their digits would take for ever to find.
func (l *leaf) tooWide(b []byte) bool { return l.logical == logicalDecimal && len(b) > 32 }

func bigEndian(b []byte) *big.Int {
	n := new(big.Int).SetBytes(b)
	if len(b) > 0 && b[0] >= 0x80 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(len(b)*8)))
	}
	return n
}

func appendDecimal(to []byte, n *big.Int, scale int) []byte {
	if n.Sign() < 0 {
		to = append(to, '-')
	}
	digits := new(big.Int).Abs(n).String()
	if missing := scale + 1 - len(digits); missing > 0 {
		digits = strings.Repeat("0", missing) + digits
	}
	point := len(digits) - scale
	to = append(to, digits[:point]...)
	if scale > 0 {
		to = append(append(to, '.'), digits[point:]...)
	}
	return to
}

func appendUUID(to, b []byte) []byte {
	const hex = "0123456789abcdef"
	for i, c := range b {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			to = append(to, '-')
		}
		to = append(to, hex[c>>4], hex[c&15])
	}
	return to
}

// timestamp reads a TIMESTAMP or INT96, or says what is wrong with it.
func (p *plan) timestamp(l *leaf, b []byte) (rating.Instant, string) {
	var i rating.Instant
	ok := true
	if l.physical == physicalInt96 {
		nanos, day := int64(binary.LittleEndian.Uint64(b)), int64(binary.LittleEndian.Uint32(b[8:]))
		ok = nanos >= 0 && nanos < 86400e9 && day < 1<<23
		i = rating.Instant((day-2440588)*86400e6 + nanos/1000)
		l = &leaf{adjusted: true}
	} else {
		i, ok = micros(int64(binary.LittleEndian.Uint64(b)), l.unitsPerSecond)
	}
	if ok && !l.adjusted {
		if p.zone == nil {
			return 0, "time has no offset: its column is a TIMESTAMP of local time; name the zone in usage.fields.time.zone"
		}
		i = rating.InstantOfWall(i, p.zone)
	}
	if _, err := inYears(i); err != nil || !ok {
		return 0, "time is outside of the years 1 to 9999"
	}
	return i, ""
}

func micros(n, unitsPerSecond int64) (rating.Instant, bool) {
	switch unitsPerSecond {
	case 1:
		return rating.Instant(n * 1e6), n > -1e12 && n < 1e12
	case 1e3:
		return rating.Instant(n * 1e3), n > -1e15 && n < 1e15
	case 1e9:
		return rating.Instant(floorThousand(n)), true
	}
	return rating.Instant(n), n > -1e18 && n < 1e18
}

func floorThousand(n int64) int64 {
	q := n / 1000
	if n%1000 < 0 {
		q--
	}
	return q
}

// appendJSON writes the value i rows ahead as it stands in the row's JSON.
func (c *column) appendJSON(to []byte, i int) []byte {
	l, b := c.pages.leaf, c.bytes(i)
	if b == nil {
		return append(to, "null"...)
	}
	if l.logical == logicalTimestamp || l.physical == physicalInt96 {
		utc := *l
		utc.adjusted = true
		if t, fault := (&plan{}).timestamp(&utc, b); fault == "" {
			text := t.String()
			if !l.adjusted && l.physical != physicalInt96 {
				text = text[:len(text)-1]
			}
			return appendJSONText(to, []byte(text))
		}
		if l.physical == physicalInt96 {
			return append(to, `"out of range"`...)
		}
		return strconv.AppendInt(to, int64(binary.LittleEndian.Uint64(b)), 10)
	}
	if l.tooWide(b) {
		return append(to, `"out of range"`...)
	}
	if l.physical == physicalByteArray && len(b) > 2*rating.RawMax {
		b = b[:2*rating.RawMax] // what is shown of a row ends before
	}
	number := l.logical == logicalDecimal || l.logical == logicalNone && l.physical != physicalByteArray && l.physical != physicalFixed ||
		l.logical == logicalSigned || l.logical == logicalUnsigned
	if !number {
		return appendJSONText(to, l.appendText(nil, b))
	}
	text := l.appendText(nil, b)
	if text[len(text)-1] > '9' { // NaN, Inf
		return appendJSONText(to, text)
	}
	return append(to, text...)
}

// appendJSONText writes a string as JSON; bytes that are no UTF-8 show as U+FFFD.
func appendJSONText(to, text []byte) []byte {
	const hex = "0123456789abcdef"
	to = append(to, '"')
	for _, r := range string(text) {
		switch {
		case r == '"' || r == '\\':
			to = append(to, '\\', byte(r))
		case r < ' ':
			to = append(to, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
		default:
			to = append(to, string(r)...)
		}
	}
	return append(to, '"')
}

// mapColumn is a MAP of strings: two repeated columns side by side.
type mapColumn struct {
	key, value     pages
	keyAt, valueAt int // level in the page
	keyNo, valueNo int // value in the page
	arena          []byte
	ends           []int
}

func (m *mapColumn) open(f *parquetFile, g *rowGroup) error {
	m.keyAt, m.valueAt, m.keyNo, m.valueNo = 0, 0, 0, 0
	for _, p := range []*pages{&m.key, &m.value} {
		if err := p.open(f, &g.chunks[p.leaf.index]); err != nil {
			return p.fail(err)
		}
	}
	return nil
}

func (m *mapColumn) end() error {
	for _, p := range []*pages{&m.key, &m.value} {
		at := m.keyAt
		if p == &m.value {
			at = m.valueAt
		}
		if p.values != 0 || at != p.page.n {
			return p.fail(errors.New("it has more rows than the file"))
		}
	}
	return nil
}

// row appends the entries of the next row, or says why it has too many. Their texts are valid until the next row.
func (m *mapColumn) row(attrs []pair) (all []pair, fault string, err error) {
	m.arena, m.ends = m.arena[:0], m.ends[:0]
	for first := true; ; first = false {
		key, null, more, err := m.key.level(&m.keyAt, &m.keyNo, first)
		if err != nil {
			return nil, "", m.key.fail(err)
		}
		if !more {
			break
		}
		value, valueNull, more, err := m.value.level(&m.valueAt, &m.valueNo, first)
		if err != nil {
			return nil, "", m.value.fail(err)
		}
		switch {
		case !more:
			return nil, "", m.value.fail(errors.New("it has fewer entries than its keys"))
		case null || valueNull: // an empty map, or an attribute without a value: none
		case len(m.ends) == 2*maxMembers:
			fault = fmt.Sprintf("row has more than %d attributes", maxMembers)
		case int64(len(m.arena)+len(key)+len(value)) > m.key.maxLine:
			fault = errLongRow
		default:
			m.arena = append(m.arena, key...)
			m.ends = append(m.ends, len(m.arena))
			m.arena = append(m.arena, value...)
			m.ends = append(m.ends, len(m.arena))
		}
	}
	if _, _, more, err := m.value.level(&m.valueAt, &m.valueNo, false); err != nil || more {
		return nil, "", m.value.fail(errors.New("it has more entries than its keys"))
	}
	start := 0
	for i := 0; i < len(m.ends); i += 2 {
		attrs = append(attrs, pair{m.arena[start:m.ends[i]:m.ends[i]], m.arena[m.ends[i]:m.ends[i+1]:m.ends[i+1]]})
		start = m.ends[i+1]
	}
	return attrs, fault, nil
}

// level gives the next entry of the row: the first one, or one more.
func (p *pages) level(at, no *int, first bool) (text []byte, null, more bool, err error) {
	if *at == p.page.n {
		err := p.next()
		if err == io.EOF && !first {
			return nil, false, false, nil
		}
		if err != nil {
			return nil, false, false, err
		}
		*at, *no = 0, 0
	}
	if starts := p.page.reps[*at] == 0; starts != first {
		if first {
			return nil, false, false, errors.New("its rows begin in the middle")
		}
		return nil, false, false, nil
	}
	null = p.leaf.maxDef > 0 && int(p.page.defs[*at]) < p.leaf.maxDef
	*at++
	if null {
		return nil, true, true, nil
	}
	*no++
	return p.valueAt(*no - 1), false, true, nil
}
