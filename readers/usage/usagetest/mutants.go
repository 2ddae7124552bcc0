package usagetest

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress"
)

// Mutants makes damaged Parquet files out of sound ones. The same number gives the same file.
type Mutants struct {
	sound [][]byte
}

type row struct {
	ID         string            `parquet:"id"`
	Account    string            `parquet:"account,dict"`
	Meter      string            `parquet:"meter,dict"`
	Quantity   int64             `parquet:"quantity"`
	Time       time.Time         `parquet:"time,timestamp(microsecond)"`
	Version    *int64            `parquet:"version,optional"`
	Attributes map[string]string `parquet:"attributes"`
}

type deltaRow struct {
	ID       string  `parquet:"id,delta"`
	Account  string  `parquet:"account,delta"`
	Meter    string  `parquet:"meter"`
	Quantity int64   `parquet:"quantity,delta"`
	Time     int64   `parquet:"time,timestamp(microsecond),delta"`
	Region   *string `parquet:"attributes.region,optional,dict"`
}

type decimalRow struct {
	ID       [16]byte `parquet:"id,uuid"`
	Account  string   `parquet:"account,dict"`
	Meter    string   `parquet:"meter,dict"`
	Quantity int32    `parquet:"quantity,decimal(2:9),dict"`
	Time     int64    `parquet:"time,timestamp(millisecond),dict"`
}

// NewMutants writes the sound files: of all codecs, both kinds of pages, and all encodings.
func NewMutants() *Mutants {
	m := &Mutants{}
	at := time.Date(2026, 10, 1, 8, 0, 0, 0, time.UTC)
	var rows []row
	var deltas []deltaRow
	var decimals []decimalRow
	for i := range 120 {
		id, when, seven, eu := fmt.Sprintf("mutant-%d", i*i), at.Add(time.Duration(i)*time.Minute), int64(7), "eu"
		r := row{ID: id, Account: "acme", Meter: "calls", Quantity: int64(i), Time: when}
		d := deltaRow{ID: id, Account: "acme", Meter: "calls", Quantity: int64(i), Time: when.UnixMicro()}
		if i%3 == 0 {
			r.Version, r.Attributes, d.Region = &seven, map[string]string{[]string{"region", id}[i%2]: "eu"}, &eu
		}
		rows, deltas = append(rows, r), append(deltas, d)
		decimals = append(decimals, decimalRow{[16]byte{byte(i)}, "acme", "gb", int32(i), when.UnixMilli()})
	}
	for _, codec := range []compress.Codec{
		&parquet.Uncompressed, &parquet.Uncompressed, &parquet.Snappy, &parquet.Gzip, &parquet.Zstd, &parquet.Brotli, &parquet.Lz4Raw,
	} {
		for version := 1; version <= 2; version++ {
			options := []parquet.WriterOption{parquet.Compression(codec), parquet.DataPageVersion(version), parquet.PageBufferSize(512)}
			m.sound = append(m.sound, write(rows, options...), write(deltas, options...), write(decimals, options...))
		}
	}
	return m
}

func write[T any](rows []T, options ...parquet.WriterOption) []byte {
	var b bytes.Buffer
	w := parquet.NewGenericWriter[T](&b, options...)
	for half := range 2 { // two row groups
		if _, err := w.Write(rows[half*len(rows)/2 : (half+1)*len(rows)/2]); err != nil {
			panic(err)
		}
		if err := w.Flush(); err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// Sound gives the files that nothing is wrong with.
func (m *Mutants) Sound() [][]byte { return m.sound }

// File gives a damaged file: bytes changed anywhere, or its metadata, or what a page holds.
func (m *Mutants) File(n int) []byte {
	random := rand.New(rand.NewPCG(uint64(n), 1))
	data := m.sound[random.IntN(len(m.sound))]
	if random.IntN(4) == 0 {
		return mutateBytes(random, bytes.Clone(data))
	}
	f, err := split(data)
	if err != nil {
		panic(err)
	}
	late := false // the sizes that the file claims are those of before
	for range 1 + random.IntN(3) {
		late = f.mutate(random) || late
	}
	if !late {
		return f.join()
	}
	return f.close(f.body())
}

// body writes the pages alone.
func (f *file) body() []byte {
	b := []byte("PAR1")
	for _, pages := range f.chunks {
		for k := range pages {
			b = append(pages[k].header.append(b), pages[k].body...)
		}
	}
	return b
}

func mutateBytes(random *rand.Rand, data []byte) []byte {
	for range 1 + random.IntN(3) {
		at := random.IntN(len(data))
		if random.IntN(2) == 0 { // the footer, and the first pages
			at = len(data) - 1 - random.IntN(min(800, len(data)))
		}
		data[at] = byte(random.Uint32())
	}
	switch random.IntN(12) {
	case 0:
		return data[:random.IntN(len(data))]
	case 1:
		return append(data, data[:random.IntN(len(data))]...)
	}
	return data
}

// mutate changes one thing, and tells whether sizes and offsets are to stay as they were.
func (f *file) mutate(random *rand.Rand) bool {
	chunk := f.chunks[random.IntN(len(f.chunks))]
	p := &chunk[random.IntN(len(chunk))]
	switch random.IntN(8) {
	case 0, 1:
		return mutateTree(random, &f.footer)
	case 2:
		mutateTree(random, &p.header)
	case 3:
		mutateTree(random, p.header.fields[len(p.header.fields)-1].pointer())
	case 4: // what a page says about its values
		for _, part := range []int16{pageV1, pageDict, pageV2} {
			if v := p.header.get(part); v != nil && len(v.fields) > 0 {
				v.fields[random.IntN(len(v.fields))].number = extreme(random)
			}
		}
	case 5:
		p.body = mutateBytes(random, append(bytes.Clone(p.body), 0))
		if random.IntN(2) == 0 {
			p.header.set(pageStored, int64(len(p.body)))
		}
	case 6: // a chunk that lies elsewhere, or on another
		metas := f.metas()
		from, to := metas[random.IntN(len(metas))], metas[random.IntN(len(metas))]
		f.join()
		for _, id := range []int16{metaOffset, metaDictionary, metaSize} {
			to.set(id, from.numberOf(id))
		}
		return true
	case 7:
		other := f.chunks[random.IntN(len(f.chunks))]
		*p = other[random.IntN(len(other))]
	}
	return false
}

func (f *field) pointer() *value { return &f.value }

// extreme gives numbers that something may go wrong with.
func extreme(random *rand.Rand) int64 {
	numbers := []int64{
		0, 1, -1, 2, 3, 7, 8, 127, 128, 255, 256, 1 << 15, 1 << 16, 1 << 20, 1<<24 - 1, 1 << 24, 1 << 26, 1<<26 + 1, math.MaxInt32, math.MinInt32,
		1 << 32, 1 << 40, 1 << 62, math.MaxInt64, math.MinInt64, int64(random.Uint64()), int64(random.IntN(1000)),
	}
	return numbers[random.IntN(len(numbers))]
}

// mutateTree changes a number, a text, or which parts there are.
func mutateTree(random *rand.Rand, root *value) bool {
	var all []*value
	root.each(func(v *value) { all = append(all, v) })
	v := all[random.IntN(len(all))]
	switch {
	case v.kind == 3 || v.kind == 4 || v.kind == kindInt || v.kind == kindLong:
		v.number = extreme(random)
		return true
	case v.kind == kindBinary && random.IntN(2) == 0:
		v.bytes = bytes.Repeat(append(v.bytes[:len(v.bytes):len(v.bytes)], 0xff), random.IntN(300))
	case len(v.items) > 0:
		at := random.IntN(len(v.items))
		switch random.IntN(3) {
		case 0:
			v.items = append(v.items[:at:at], v.items[at+1:]...)
		case 1:
			v.items = append(v.items[:len(v.items):len(v.items)], v.items[at])
		default:
			other := random.IntN(len(v.items))
			v.items[at], v.items[other] = v.items[other], v.items[at]
		}
	case len(v.fields) > 0:
		at := random.IntN(len(v.fields))
		switch random.IntN(3) {
		case 0:
			v.fields = append(v.fields[:at:at], v.fields[at+1:]...)
		case 1:
			v.fields[at].id = int16(random.IntN(16))
		default:
			v.fields[at].kind = byte(random.IntN(16))
		}
	}
	return false
}
