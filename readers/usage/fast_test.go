package usage

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	parquetgo "github.com/parquet-go/parquet-go"
)

type timedUsage[Q any] struct {
	ID       string    `parquet:"id"`
	Account  string    `parquet:"account,dict"`
	Meter    string    `parquet:"meter,dict"`
	Quantity Q         `parquet:"quantity"`
	Time     time.Time `parquet:"time,timestamp(microsecond)"`
}

// TestFastAndSlowParquetAgree: columns that are read without making texts of their rows must give just what the rows give. A
// mapped attribute, which no condition asks for, makes all rows slow.
func TestFastAndSlowParquetAgree(t *testing.T) {
	t.Run("int64", func(t *testing.T) { fastAndSlow(t, func(n uint64) int64 { return int64(n) }) })
	t.Run("uint64", func(t *testing.T) { fastAndSlow(t, func(n uint64) uint64 { return n }) })
	t.Run("int32", func(t *testing.T) { fastAndSlow(t, func(n uint64) int32 { return int32(n) }) })
	t.Run("uint32", func(t *testing.T) { fastAndSlow(t, func(n uint64) uint32 { return uint32(n) }) })
}

func fastAndSlow[Q any](t *testing.T, quantity func(uint64) Q) {
	random := rand.New(rand.NewPCG(1, 2))
	edges := []uint64{0, 1, 10, 99, 100, 1000, 1 << 31, 1<<31 - 1, math.MaxUint32, 1 << 63, 1<<63 - 1, 1<<63 + 1, math.MaxUint64, math.MaxInt64 / 100, math.MaxInt64/1000 + 1}
	of := func(texts ...string) string { return texts[random.IntN(len(texts))] }
	settled := 0
	for round := range 60 {
		var rows []timedUsage[Q]
		for i := range 1 + random.IntN(200) {
			n := random.Uint64() >> random.IntN(64)
			if random.IntN(2) == 0 {
				n = edges[random.IntN(len(edges))] + uint64(random.IntN(5)) - 2
			}
			at := time.Date(2026, 10, 1+random.IntN(40), random.IntN(24), 0, 0, random.IntN(1e6)*1000, time.UTC)
			if random.IntN(20) == 0 {
				at = time.UnixMicro(random.Int64() >> random.IntN(40))
			}
			id := fmt.Sprint(i)
			if random.IntN(20) == 0 {
				id = of("", "\xff", "\x00", "ä", `"`)
			}
			rows = append(rows, timedUsage[Q]{id, of("acme", "acme", "globex", "nobody", ""), of("gb", "gb", "calls", "none", ""), quantity(n), at})
		}
		var b bytes.Buffer
		if err := parquetgo.Write(&b, rows); err != nil {
			t.Fatal(err)
		}
		slow := Config{Fields: map[string]any{"attributes": map[string]any{"x": map[string]any{"const": "y"}}}}
		scale := random.IntN(10)
		var all [2]memory
		for i, cfg := range []Config{{}, slow} {
			r, o := open(t, cfg, "u.parquet", b.Bytes())
			r.catalog.Meters[gb].Scale, r.catalog.Meters[gb].Max = scale, 0
			if _, err := r.Read(context.Background(), o, &all[i]); err != nil {
				t.Fatal(err)
			}
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
		settled += len(all[0].records)
	}
	if settled < 1000 {
		t.Errorf("only %d records were settled or spoilt", settled)
	}
}
