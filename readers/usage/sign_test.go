package usage

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	parquetgo "github.com/parquet-go/parquet-go"

	"drawdown/rating"
)

type plainUsage[Q any] struct {
	ID       string `parquet:"id"`
	Account  string `parquet:"account"`
	Meter    string `parquet:"meter"`
	Quantity Q      `parquet:"quantity"`
	Time     string `parquet:"time"`
}

func plainParquet[Q any](t *testing.T, quantities ...Q) []byte {
	t.Helper()
	var rows []plainUsage[Q]
	for i, q := range quantities {
		rows = append(rows, plainUsage[Q]{fmt.Sprint(i), "acme", "gb", q, okTime})
	}
	var b bytes.Buffer
	if err := parquetgo.Write(&b, rows); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestNoQuantityWraps reads quantities at both ends of 64 bits for meters of every scale: none may come back as another one.
func TestNoQuantityWraps(t *testing.T) {
	for name, data := range map[string][]byte{
		"signed":   plainParquet[int64](t, math.MinInt64, math.MinInt64+1, math.MinInt64+1000, -1, -10),
		"unsigned": plainParquet[uint64](t, 1<<63, 1<<63+1, 1<<63+7, math.MaxUint64, math.MaxUint64-99),
		"int32":    plainParquet[int32](t, math.MinInt32, math.MinInt32+1, -2, -1, -10),
	} {
		for scale := range 10 {
			r, o := open(t, Config{}, "u.parquet", data)
			r.catalog.Meters[gb].Scale, r.catalog.Meters[gb].Max = scale, 0
			var m memory
			if _, err := r.Read(context.Background(), o, &m); err != nil {
				t.Fatal(err)
			}
			wantSelected(t, r, o, &m)
			for _, k := range m.records {
				if !k.Spoilt {
					t.Errorf("%s at scale %d: row %d is billed as %d", name, scale, k.Row, k.Quantity)
				}
			}
			for _, k := range m.rejected {
				if k.Reason != rating.BadQuantity {
					t.Errorf("%s at scale %d: row %d is %s: %s", name, scale, k.Row, k.Reason, k.Detail)
				}
			}
			if len(m.rejected) != 5 {
				t.Errorf("%s at scale %d: %d rows in quarantine, not 5", name, scale, len(m.rejected))
			}
		}
	}
}

// TestNegativeQuantityIsNotRoundedToNothing: as 0 it would be a void.
func TestNegativeQuantityIsNotRoundedToNothing(t *testing.T) {
	for _, decimals := range []string{"down", "half_up"} {
		cfg := Config{Fields: map[string]any{"quantity": map[string]any{"column": "quantity", "decimals": decimals}}}
		for quantity, reasons := range map[string]int{"-0.001": 1, "-1e-9": 1, "-0.0e5": 0, "-0": 0, "0.001": 0} {
			m, _ := read(t, cfg, "u.ndjson", `{"id":"a","account":"acme","meter":"gb","quantity":`+quantity+`,"time":"`+okTime+`"}`)
			if len(m.rejected) != reasons {
				t.Errorf("%s, decimals %s: %d rows in quarantine", quantity, decimals, len(m.rejected))
			}
		}
	}
}

// TestAttributesOfAnotherShape are not dropped: a package or a price may ask for them.
func TestAttributesOfAnotherShape(t *testing.T) {
	for attributes, reasons := range map[string]int{
		`"{\"region\":\"eu\"}"`: 1, `"region=eu"`: 1, `[{"region":"eu"}]`: 1, `7`: 1, `true`: 1, `null`: 0, `{}`: 0, `{"region":"eu"}`: 0,
	} {
		m, _ := read(t, Config{}, "u.ndjson", `{"id":"a","account":"acme","meter":"gb","quantity":1,"time":"`+okTime+`","attributes":`+attributes+`}`)
		if len(m.rejected) != reasons {
			t.Errorf("attributes %s: %d rows in quarantine", attributes, len(m.rejected))
		}
	}
	r, o := open(t, Config{}, "u.csv", []byte("id,account,meter,quantity,time,attributes\na,acme,gb,1,"+okTime+",region=eu\n"))
	if _, err := r.Read(context.Background(), o, &memory{}); err == nil || !strings.Contains(err.Error(), "usage.fields.attributes") {
		t.Errorf("CSV with a column attributes: %v", err)
	}
	var b bytes.Buffer
	if err := parquetgo.Write(&b, []struct {
		plainUsage[int64]
		Attributes string `parquet:"attributes"`
	}{{plainUsage[int64]{"a", "acme", "gb", 1, okTime}, "region=eu"}}); err != nil {
		t.Fatal(err)
	}
	r, o = open(t, Config{}, "u.parquet", b.Bytes())
	if _, err := r.Read(context.Background(), o, &memory{}); err == nil || !strings.Contains(err.Error(), "usage.fields.attributes") {
		t.Errorf("Parquet with a column attributes: %v", err)
	}
}

// TestRejectedTextsAreUTF8, as they become STRING columns, which other readers refuse otherwise.
func TestRejectedTextsAreUTF8(t *testing.T) {
	var b bytes.Buffer
	if err := parquetgo.Write(&b, []plainUsage[int64]{{"\xff", "acme", "gb", 1, okTime}, {"b", "a\xff", "gb", 1, okTime}, {"c", "acme", "\xffgb", 1, okTime}}); err != nil {
		t.Fatal(err)
	}
	m, _ := read(t, Config{}, "u.parquet", b.String())
	if len(m.rejected) != 3 {
		t.Errorf("%d rows in quarantine", len(m.rejected))
	}
	for _, r := range m.rejected {
		if text := r.RecordID + r.Account + r.Meter + r.Detail; !utf8.ValidString(text) {
			t.Errorf("row %d: %q is no UTF-8", r.Row, text)
		}
	}
}
