package usage

import (
	"encoding/binary"
	"math"

	"drawdown/rating"
)

// fastStep reads the columns of a step one after another, for rows that have nothing special about them. The others are
// slow: they become texts and take the way of all formats, so that a reason is decided in one place.
type fastStep struct {
	slow     [batchSize]bool
	account  [batchSize]int32
	meter    [batchSize]int32
	time     [batchSize]rating.Instant
	quantity [batchSize]int64
	scale    int
}

// prepare reads n rows. It gives nil where all of them are slow.
func (f *fastStep) prepare(p *parquetReader, n int) []bool {
	b := &p.binding
	slow := f.slow[:n]
	clear(slow)
	catalog := p.batch.catalog
	ok := f.index(p, b.account, f.account[:n], ofAccounts, p.batch.accounts.AccountIndexes) &&
		f.index(p, b.meter, f.meter[:n], ofMeters, catalog.MeterIndexes) &&
		f.times(p, n) && f.quantities(p, n)
	if !ok || b.version.slot >= 0 && b.version.kind != constant {
		return nil
	}
	return slow
}

// index resolves an id column against the catalog: its dictionary once, or value by value.
func (f *fastStep) index(p *parquetReader, s source, out []int32, of int, find func([]int32, func(int) []byte)) bool {
	if s.kind == constant {
		find(out[:1], func(int) []byte { return s.text })
		for k := range out {
			out[k] = out[0]
		}
		return out[0] != rating.None
	}
	c := p.columns[s.slot]
	l, pg := c.pages.leaf, &c.pages.page
	if l.physical != physicalByteArray || l.logical == logicalDecimal {
		return false
	}
	if pg.codes == nil {
		find(out, c.bytes)
	} else if known := &c.lookups[of]; known.dictNumber != c.pages.dictNumber {
		known.indexes = sized(known.indexes, c.pages.dictionary.n)
		find(known.indexes, c.pages.dictionary.at)
		known.dictNumber = c.pages.dictNumber
	}
	lookup := c.lookups[of].indexes
	switch {
	case pg.codes == nil:
	case pg.index == nil:
		for k, code := range pg.codes[c.at : c.at+len(out)] {
			out[k] = lookup[code]
		}
	default:
		for k := range out {
			out[k] = rating.None
			if v := pg.index[c.at+k]; v >= 0 {
				out[k] = lookup[pg.codes[v]]
			}
		}
	}
	for k, i := range out {
		if i == rating.None {
			f.slow[k] = true
		}
	}
	return true
}

func (f *fastStep) times(p *parquetReader, n int) bool {
	s := p.binding.time
	if s.kind == constant {
		return false
	}
	c := p.columns[s.slot]
	l := c.pages.leaf
	out := f.time[:n]
	switch {
	case l.physical == physicalByteArray:
		for k := range out {
			t, err := p.plan.parseTime(c.bytes(k))
			out[k] = t
			f.slow[k] = f.slow[k] || err != nil
		}
		return true
	case l.logical == logicalTimestamp && !l.adjusted, l.physical == physicalInt96:
		for k := range out {
			if b := c.bytes(k); b == nil {
				f.slow[k] = true
			} else {
				t, fault := p.plan.timestamp(l, b)
				out[k] = t
				f.slow[k] = f.slow[k] || fault != ""
			}
		}
		return true
	}
	units := l.unitsPerSecond
	if l.logical != logicalTimestamp {
		units = [...]int64{unixSeconds: 1, unixMillis: 1e3, unixMicros: 1e6}[p.plan.layout]
	}
	ints := f.quantity[:n] // free until the quantities are read
	f.ints(c, ints)
	for k, i := range ints {
		t, ok := micros(i, units)
		out[k] = t
		if !ok || t < firstInstant || t > lastInstant || t > p.batch.limit {
			f.slow[k] = true
		}
	}
	return true
}

// ints reads INT32 or INT64 values; a null makes its row slow.
func (f *fastStep) ints(c *column, out []int64) {
	l, pg := c.pages.leaf, &c.pages.page
	if l.physical == physicalInt64 && pg.index == nil && pg.codes == nil {
		data := pg.values.data[c.at*8:]
		for k := range out {
			out[k] = int64(binary.LittleEndian.Uint64(data[k*8:]))
		}
		return
	}
	for k := range out {
		if b := c.bytes(k); b != nil {
			out[k] = l.int(b)
		} else {
			f.slow[k] = true
		}
	}
}

func (f *fastStep) quantities(p *parquetReader, n int) bool {
	s := p.binding.quantity[0]
	if s.kind == constant {
		return false
	}
	c := p.columns[s.slot]
	l := c.pages.leaf
	out := f.quantity[:n]
	f.scale = 0
	if l.logical == logicalDecimal {
		if f.scale = l.scale; f.scale > 9 {
			return false
		}
	}
	switch {
	case l.physical == physicalInt32 || l.physical == physicalInt64:
		f.ints(c, out)
	case l.physical == physicalFixed && l.length <= 16:
		for k := range out {
			i, ok := fixedInt(c.bytes(k))
			out[k] = i
			f.slow[k] = f.slow[k] || !ok
		}
	default:
		return false
	}
	return true
}

// fixedInt reads a big-endian number that fits 64 bits.
func fixedInt(b []byte) (int64, bool) {
	if len(b) == 0 {
		return 0, false
	}
	n := int64(int8(b[0])) >> 7
	for len(b) > 8 {
		if b[0] != byte(n) {
			return 0, false
		}
		b = b[1:]
	}
	sign := n
	for _, c := range b {
		n = n<<8 | int64(c)
	}
	return n, n>>63 == sign
}

var scales = [...]int64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9}

// add makes the record of a row that is not slow, or says that it is slow after all.
func (f *fastStep) add(p *parquetReader, number int64, i int) (bool, error) {
	b := p.batch
	meter := &b.catalog.Meters[f.meter[i]]
	q, t := f.quantity[i], f.time[i]
	if q < 0 { // or unsigned and beyond 63 bits: either would wrap when it is brought to the meter's scale
		return false, nil
	}
	if shift := meter.Scale - f.scale; shift > 0 {
		if q > math.MaxInt64/scales[shift] {
			return false, nil
		}
		q *= scales[shift]
	} else if shift < 0 {
		if q%scales[-shift] != 0 {
			return false, nil
		}
		q /= scales[-shift]
	}
	var id []byte
	switch s := p.binding.id; {
	case s.kind == fromRow:
		p.arena = appendRowID(p.arena[:0], p.key, number)
		id = p.arena
	case s.kind == constant:
		id = s.text
	default:
		c := p.columns[s.slot]
		if l := c.pages.leaf; l.physical != physicalByteArray || l.logical == logicalDecimal {
			return false, nil
		}
		id = c.bytes(i)
	}
	if meter.Max > 0 && q > meter.Max || t > b.limit || len(id) == 0 || int64(len(id)) > p.plan.maxLine || !plainText(id) {
		return false, nil
	}
	b.summary.Read++
	b.summary.First, b.summary.Last = min(b.summary.First, t), max(b.summary.Last, t)
	return true, b.appendPlain(number, t, f.account[i], f.meter[i], q, id)
}

// plainText says that a text is UTF-8 without NUL.
func plainText(b []byte) bool {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	rest := b
	for ; len(rest) >= 8; rest = rest[8:] {
		w := binary.LittleEndian.Uint64(rest)
		if (w|(w-ones))&tops != 0 { // a byte beyond ASCII, or 0
			return textFault(b) == ""
		}
	}
	for _, c := range rest {
		if c-1 >= 0x7f {
			return textFault(b) == ""
		}
	}
	return true
}
