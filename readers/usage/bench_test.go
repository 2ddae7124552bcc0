//go:build unix

package usage

import (
	"bytes"
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	parquetgo "github.com/parquet-go/parquet-go"
)

const benchRows = 200_000

func benchID(i int) string {
	return fmt.Sprintf("%08x-%04x-4%03x-8%03x-%012x", uint32(i*2654435761), i&0xffff, i&0xfff, i>>4&0xfff, uint64(i)*0x9e3779b97f4a7c15>>16)
}

func benchText(format string) []byte {
	accounts, meters := [...]string{"acme", "globex"}, [...]string{"calls", "gb", "tokens"}
	var b bytes.Buffer
	if format == "csv" {
		b.WriteString("id,account,meter,quantity,time\n")
	}
	start := time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)
	for i := range benchRows {
		at := start.Add(time.Duration(i) * 11 * time.Second).Format(time.RFC3339)
		pattern := `{"id":"%s","account":"%s","meter":"%s","quantity":"%d","time":"%s"}` + "\n"
		if format == "csv" {
			pattern = "%s,%s,%s,%d,%s\n"
		}
		fmt.Fprintf(&b, pattern, benchID(i), accounts[i*7%2], meters[i*5%3], i%900, at)
	}
	return b.Bytes()
}

func benchParquet(t testing.TB) []byte {
	type usageRow struct {
		ID       string    `parquet:"id"`
		Account  string    `parquet:"account,dict"`
		Meter    string    `parquet:"meter,dict"`
		Quantity int64     `parquet:"quantity,decimal(6:18)"`
		Time     time.Time `parquet:"time,timestamp(microsecond)"`
	}
	accounts, meters := [...]string{"acme", "globex"}, [...]string{"calls", "gb", "tokens"}
	rows := make([]usageRow, benchRows)
	start := time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)
	for i := range rows {
		rows[i] = usageRow{benchID(i), accounts[i*7%2], meters[i*5%3], int64(i%900) * 1e6, start.Add(time.Duration(i) * 11 * time.Second)}
	}
	return writeParquet(t, rows, parquetgo.Compression(&parquetgo.Zstd))
}

// cpuNanos is the processor time that the process has used. On a shared machine it says more than the clock.
func cpuNanos(b *testing.B) int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

func BenchmarkRead(b *testing.B) {
	for name, data := range map[string][]byte{
		"u.ndjson": benchText("ndjson"), "u.ndjson.gz": gzipText(benchText("ndjson")), "u.csv": benchText("csv"), "u.parquet": benchParquet(b),
	} {
		b.Run(name, func(b *testing.B) {
			r, o := open(b, Config{}, name, data)
			b.ReportAllocs()
			before := cpuNanos(b)
			for b.Loop() {
				var c count
				if _, err := r.Read(context.Background(), o, &c); err != nil || c.records != benchRows {
					b.Fatal(err, c)
				}
			}
			b.ReportMetric(float64(cpuNanos(b)-before)/float64(b.N*benchRows), "cpu-ns/record")
		})
	}
}

// BenchmarkSelect reads an object for an account that has no usage: what passing over a record costs.
func BenchmarkSelect(b *testing.B) {
	for name, data := range map[string][]byte{
		"u.ndjson": benchText("ndjson"), "u.ndjson.gz": gzipText(benchText("ndjson")), "u.csv": benchText("csv"), "u.parquet": benchParquet(b),
	} {
		b.Run(name, func(b *testing.B) {
			r, o := open(b, Config{}, name, data)
			idle := r.catalog.SelectAccounts(func(account int32) bool { return r.catalog.Accounts[account].ID == "customer-1" })
			before := cpuNanos(b)
			for b.Loop() {
				var c count
				if err := r.Select(context.Background(), o, idle, &c); err != nil || c.records != 0 {
					b.Fatal(err, c)
				}
			}
			b.ReportMetric(float64(cpuNanos(b)-before)/float64(b.N*benchRows), "cpu-ns/record")
		})
	}
}

// TestNoAllocationPerRecord: what is allocated does not grow with the records.
func TestNoAllocationPerRecord(t *testing.T) {
	for name, data := range map[string][]byte{"u.ndjson": benchText("ndjson"), "u.csv": benchText("csv"), "u.parquet": benchParquet(t)} {
		r, o := open(t, Config{}, name, data)
		allocs := testing.AllocsPerRun(1, func() {
			if _, err := r.Read(context.Background(), o, &count{}); err != nil {
				t.Error(err)
			}
		})
		if allocs > benchRows/100 {
			t.Errorf("%s: %.0f allocations for %d records", name, allocs, benchRows)
		}
	}
}
