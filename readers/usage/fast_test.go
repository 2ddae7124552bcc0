package usage

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	parquetgo "github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/deprecated"
)

// columnKind is a way to keep a column: what it is, and a value of it from random bits.
type columnKind struct {
	name  string
	node  parquetgo.Node
	value func(*rand.Rand) parquetgo.Value
	time  map[string]any // how usage.fields.time reads it
}

// TestFastAndSlowParquetAgree: columns that are read without making texts of their rows must give just what the rows give,
// whatever the columns' types, with nulls and without. A mapped attribute, which no condition asks for, makes all rows slow.
func TestFastAndSlowParquetAgree(t *testing.T) {
	times := timeKinds()
	for _, quantity := range quantityKinds() {
		t.Run("quantity "+quantity.name, func(t *testing.T) { fastAndSlow(t, []columnKind{quantity}, times[:1]) })
	}
	quantities := quantityKinds()[:1]
	for _, at := range times {
		t.Run("time "+at.name, func(t *testing.T) { fastAndSlow(t, quantities, []columnKind{at}) })
	}
}

// quantityKinds are all physical types that may hold a quantity as an integer or a DECIMAL.
func quantityKinds() []columnKind {
	kinds := []columnKind{
		{name: "int64", node: parquetgo.Int(64), value: func(r *rand.Rand) parquetgo.Value { return parquetgo.Int64Value(int64(someBits(r))) }},
		{name: "uint64", node: parquetgo.Uint(64), value: func(r *rand.Rand) parquetgo.Value { return parquetgo.Int64Value(int64(someBits(r))) }},
		{name: "int32", node: parquetgo.Int(32), value: func(r *rand.Rand) parquetgo.Value { return parquetgo.Int32Value(int32(someBits(r))) }},
		{name: "uint32", node: parquetgo.Uint(32), value: func(r *rand.Rand) parquetgo.Value { return parquetgo.Int32Value(int32(someBits(r))) }},
	}
	decimal := func(name string, scale, precision int, of parquetgo.Type, value func(*rand.Rand) parquetgo.Value) {
		kinds = append(kinds, columnKind{name: fmt.Sprintf("decimal(%d) in %s", scale, name), node: parquetgo.Decimal(scale, precision, of), value: value})
	}
	for _, scale := range []int{0, 2, 9} {
		decimal("int32", scale, 9, parquetgo.Int32Type, func(r *rand.Rand) parquetgo.Value { return parquetgo.Int32Value(int32(someBits(r))) })
	}
	for _, scale := range []int{0, 6, 9, 12} {
		decimal("int64", scale, 18, parquetgo.Int64Type, func(r *rand.Rand) parquetgo.Value { return parquetgo.Int64Value(int64(someBits(r))) })
	}
	for _, length := range []int{1, 5, 8, 9, 16, 17} {
		for _, scale := range []int{0, 9, 12} {
			decimal(fmt.Sprint("fixed ", length), scale, max(scale, 1), parquetgo.FixedLenByteArrayType(length), func(r *rand.Rand) parquetgo.Value {
				return parquetgo.FixedLenByteArrayValue(wide(r, length))
			})
		}
	}
	decimal("bytes", 4, 30, parquetgo.ByteArrayType, func(r *rand.Rand) parquetgo.Value {
		return parquetgo.ByteArrayValue(wide(r, r.IntN(18)))
	})
	return kinds
}

// timeKinds are all ways to keep a time.
func timeKinds() []columnKind {
	var kinds []columnKind
	for i, unit := range []parquetgo.TimeUnit{parquetgo.Microsecond, parquetgo.Millisecond, parquetgo.Nanosecond} {
		name := []string{"µs", "ms", "ns"}[i]
		of := func(r *rand.Rand) parquetgo.Value {
			if r.IntN(20) == 0 {
				return parquetgo.Int64Value(int64(r.Uint64()) >> r.IntN(64))
			}
			return parquetgo.Int64Value(moment(r).UnixNano() / int64(unit.Duration()))
		}
		kinds = append(
			kinds, columnKind{"timestamp in " + name, parquetgo.Timestamp(unit), of, nil},
			columnKind{"local timestamp in " + name, parquetgo.TimestampAdjusted(unit, false), of, map[string]any{"column": "time", "zone": "Europe/Berlin"}},
			columnKind{"local timestamp of no zone in " + name, parquetgo.TimestampAdjusted(unit, false), of, nil},
		)
	}
	for i, unit := range []time.Duration{time.Second, time.Millisecond, time.Microsecond} {
		layout := []string{"unix", "unix_ms", "unix_us"}[i]
		kinds = append(kinds, columnKind{layout, parquetgo.Int(64), func(r *rand.Rand) parquetgo.Value {
			if r.IntN(20) == 0 {
				return parquetgo.Int64Value(int64(r.Uint64()) >> r.IntN(64))
			}
			return parquetgo.Int64Value(moment(r).UnixNano() / int64(unit))
		}, map[string]any{"column": "time", "layout": layout}})
	}
	return append(
		kinds, columnKind{"int32", parquetgo.Int(32), func(r *rand.Rand) parquetgo.Value {
			return parquetgo.Int32Value(int32(moment(r).Unix()) >> (r.IntN(2) * r.IntN(32)))
		}, map[string]any{"column": "time", "layout": "unix"}},
		columnKind{"int96", parquetgo.Leaf(parquetgo.Int96Type), func(r *rand.Rand) parquetgo.Value {
			at := moment(r)
			nanos, days := at.UnixNano()%86400e9, at.Unix()/86400+2440588
			if r.IntN(20) == 0 {
				nanos, days = int64(r.Uint64())>>r.IntN(64), int64(r.Uint32()>>r.IntN(32))
			}
			return parquetgo.Int96Value(deprecated.Int96{uint32(nanos), uint32(nanos >> 32), uint32(days)})
		}, nil},
		columnKind{"text", parquetgo.String(), func(r *rand.Rand) parquetgo.Value {
			texts := []string{moment(r).Format(time.RFC3339Nano), moment(r).Format(time.RFC3339), "soon", "", "2026-10-02T10:00:00"}
			return parquetgo.ByteArrayValue([]byte(texts[min(r.IntN(12), r.IntN(len(texts)))]))
		}, nil},
	)
}

// someBits gives numbers of all lengths, and many near an edge.
func someBits(r *rand.Rand) uint64 {
	edges := []uint64{
		0, 1, 10, 99, 100, 1000, 1 << 31, 1<<31 - 1, math.MaxUint32, 1 << 63, 1<<63 - 1, 1<<63 + 1, math.MaxUint64, math.MaxInt64 / 100,
		math.MaxInt64/1000 + 1,
	}
	if r.IntN(2) == 0 {
		return edges[r.IntN(len(edges))] + uint64(r.IntN(5)) - 2
	}
	return r.Uint64() >> r.IntN(64)
}

// wide gives big-endian numbers of a length: mostly such as fit 64 bits, and of either sign.
func wide(r *rand.Rand, length int) []byte {
	b := make([]byte, max(length, 8))
	binary.BigEndian.PutUint64(b[len(b)-8:], someBits(r))
	if fill := byte(r.IntN(4)); fill != 0 && length > 8 {
		for i := range b[:len(b)-8] {
			b[i] = []byte{0, 0xff, byte(r.Uint32())}[fill-1]
		}
	}
	return b[len(b)-length:]
}

// moment gives times about the month that is settled, some of them in the future.
func moment(r *rand.Rand) time.Time {
	return time.Date(2026, 10, 1+r.IntN(40), r.IntN(24), r.IntN(60), 0, r.IntN(1e9), time.UTC)
}

func fastAndSlow(t *testing.T, quantities, times []columnKind) {
	random := rand.New(rand.NewPCG(1, 2))
	settled := 0
	for round := range 15 {
		quantity, at := quantities[random.IntN(len(quantities))], times[random.IntN(len(times))]
		data := randomParquet(t, random, quantity, at)
		fields := map[string]any{}
		if at.time != nil {
			fields["time"] = at.time
		}
		slow := map[string]any{"attributes": map[string]any{"x": map[string]any{"const": "y"}}}
		for key, value := range fields {
			slow[key] = value
		}
		scale, limit := random.IntN(10), int64(random.IntN(2))*random.Int64()>>random.IntN(63)
		var all [2]memory
		var summaries [2]Summary
		for i, cfg := range []Config{{Fields: fields}, {Fields: slow}} {
			r, o := open(t, cfg, "u.parquet", data)
			r.catalog.Meters[gb].Scale, r.catalog.Meters[gb].Max = scale, limit
			var err error
			if summaries[i], err = r.Read(context.Background(), o, &all[i]); err != nil {
				t.Fatal(err)
			}
			wantSelected(t, r, o, &all[i])
			for k := range all[i].records {
				all[i].records[k].Attrs, all[i].records[k].Content = 0, 0
			}
			for k := range all[i].rejected {
				all[i].rejected[k].Raw = nil // has the attribute in it
			}
		}
		if diff := cmp.Diff(all[0], all[1], cmp.AllowUnexported(memory{})); diff != "" {
			t.Fatalf("round %d, scale %d, fast and slow:\n%s", round, scale, diff)
		}
		if diff := cmp.Diff(summaries[0], summaries[1]); diff != "" {
			t.Fatalf("round %d, scale %d, fast and slow:\n%s", round, scale, diff)
		}
		settled += len(all[0].records)
	}
	if settled < 100 && !strings.HasPrefix(times[0].name, "local timestamp of no zone") {
		t.Errorf("only %d records were settled or spoilt", settled)
	}
}

// randomParquet writes a file of random rows, whose columns may be nullable, in a dictionary, and of many pages.
func randomParquet(t *testing.T, random *rand.Rand, quantity, at columnKind) []byte {
	t.Helper()
	of := func(texts ...string) parquetgo.Value {
		return parquetgo.ByteArrayValue([]byte(texts[random.IntN(len(texts))]))
	}
	number := 0
	columns := []columnKind{ // in the order of their names, as the library has them
		{"account", parquetgo.String(), func(*rand.Rand) parquetgo.Value { return of("acme", "acme", "acme", "globex", "nobody", "") }, nil},
		{"id", parquetgo.String(), func(r *rand.Rand) parquetgo.Value {
			if number++; r.IntN(20) == 0 {
				return of("", "\xff", "\x00", "ä", `"`)
			}
			return of(fmt.Sprint(number))
		}, nil},
		{"meter", parquetgo.String(), func(*rand.Rand) parquetgo.Value { return of("gb", "gb", "calls", "none", "") }, nil},
		{"quantity", quantity.node, quantity.value, nil},
		{"time", at.node, at.value, nil},
	}
	nullable := make([]bool, len(columns))
	group := parquetgo.Group{}
	for i, c := range columns {
		node := c.node
		if random.IntN(2) == 0 {
			node = parquetgo.Encoded(node, &parquetgo.RLEDictionary)
		}
		if nullable[i] = random.IntN(3) == 0; nullable[i] {
			node = parquetgo.Optional(node)
		}
		group[c.name] = node
	}
	var b bytes.Buffer
	w := parquetgo.NewWriter(&b, parquetgo.NewSchema("usage", group), parquetgo.PageBufferSize(512))
	for range 1 + random.IntN(200) {
		row := make(parquetgo.Row, len(columns))
		for i, c := range columns {
			switch value := c.value(random); {
			case !nullable[i]:
				row[i] = value.Level(0, 0, i)
			case random.IntN(8) == 0:
				row[i] = parquetgo.NullValue().Level(0, 0, i)
			default:
				row[i] = value.Level(0, 1, i)
			}
		}
		if _, err := w.WriteRows([]parquetgo.Row{row}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
