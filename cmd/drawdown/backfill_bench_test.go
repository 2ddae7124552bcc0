package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime/pprof"
	"strconv"
	"testing"
	"time"

	"drawdown/jobs"
	"drawdown/rating"
)

// BenchmarkBackfill settles days again after late usage of one payer: all of it, and with what nothing has touched left out. The
// target is that the latter costs a twentieth of the former, with 100,000 payers (TEST_RECORDS=10000000; TEST_FORMAT=ndjson.gz).
func BenchmarkBackfill(b *testing.B) {
	records := benchRecords(b)
	for _, shards := range []int{16, 64} {
		s := generatedSite(b, records, shards)
		now, start, until := time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC), rating.InstantOf(time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)), rating.InstantOf(time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC))
		s.settleUntil(now, until)
		s.rewriteConfig("catalog: ./catalog\n", "") // from now on it is that of the database
		late := 0
		for _, whole := range []bool{true, false} {
			name := map[bool]string{true: "all is computed", false: "the untouched is left out"}[whole]
			b.Run(fmt.Sprintf("records=%d/shards=%d/%s", records, shards, name), func(b *testing.B) {
				s.watch = func(back *jobs.Backfill) {
					if whole {
						back.Standing = nil
					}
				}
				var cost time.Duration
				for b.Loop() {
					b.StopTimer()
					late++
					s.write(fmt.Sprintf("usage/late-%d.ndjson", late), fmt.Appendf(nil,
						`{"id":"late-%[1]d","record_id":"late-%[1]d","account":"acct-0000123","meter":"tokens","quantity":1,`+
							`"time":"2026-10-01T05:00:00Z","event_time":"2026-10-01T05:00:00Z"}`+"\n", late)) // as text and Parquet are mapped
					b.StartTimer()
					before := processorTime()
					pprof.Do(b.Context(), pprof.Labels("part", name), func(context.Context) {
						report, _, err := s.app(now).backfill(s.config(), backfillPlan{from: start, to: until})
						if err != nil || len(report.Periods) != 31 {
							b.Fatal(len(report.Periods), err)
						}
					})
					cost += processorTime() - before
				}
				b.ReportMetric(cost.Seconds()/float64(b.N), "cpu-s/op")
			})
		}
	}
}

// benchRecords is how many records a benchmark has, as TEST_RECORDS says.
func benchRecords(b *testing.B) int {
	text := cmp.Or(os.Getenv("TEST_RECORDS"), "1000000")
	records, err := strconv.Atoi(text)
	if err != nil {
		b.Fatal(err)
	}
	return records
}

// generatedSite has a month of usage, Parquet unless TEST_FORMAT says otherwise, of 100,000 accounts, with 198,416 packages, to settle by days.
func generatedSite(b *testing.B, records, shards int) *site {
	s := &site{t: b, dir: b.TempDir(), memory: 512 << 20}
	generate := exec.Command("go", "run", "../usagegen", "-records", strconv.Itoa(records), "-out", s.path("world"), "-notices=false",
		"-format", cmp.Or(os.Getenv("TEST_FORMAT"), "parquet"))
	if out, err := generate.CombinedOutput(); err != nil {
		b.Fatal(err, string(out))
	}
	for _, name := range []string{"usage", "catalog", "drawdown.yaml"} {
		if err := os.Rename(s.path("world/"+name), s.path(name)); err != nil {
			b.Fatal(err)
		}
	}
	s.rewriteConfig("period: month, shards: 64", fmt.Sprintf("period: day, shards: %d", shards))
	s.rewriteConfig("site:", "catalog: ./catalog\nsite:")
	return s
}

// BenchmarkBackfillOfPeriods compares by processor time: usage settled as one period of a month, settled by days, and these days
// settled again by one backfill that computes all of them. The target is that the last costs 1.3 times the first.
func BenchmarkBackfillOfPeriods(b *testing.B) {
	for _, shape := range []struct{ records, accounts, packages, days int }{
		{benchRecords(b), 2_000, 1, 5}, {benchRecords(b), 2_000, 1, 30}, {benchRecords(b), 20_000, 2, 5}, {benchRecords(b), 20_000, 2, 30},
	} {
		b.Run(fmt.Sprintf("records=%d/packages=%d/days=%d", shape.records, shape.accounts*shape.packages, shape.days), func(b *testing.B) {
			start := time.Date(2026, 9, 30, 22, 0, 0, 0, time.UTC) // midnight of the world's zone
			now := start.AddDate(0, 3, 0)
			days := rating.InstantOf(start.AddDate(0, 0, shape.days))
			site := func(period string) *site {
				s := emptySite(b)
				s.configure("reminder_days: []\n", "shards: 16", "start: 2026-10-01", "period: "+period)
				s.writeBench(shape.records, shape.accounts, shape.packages, shape.days, start)
				return s
			}
			var cost [3]time.Duration
			// A profile tells the parts apart: go tool pprof -tagfocus part=backfill
			measure := func(n int, do func()) {
				before := processorTime()
				pprof.Do(b.Context(), pprof.Labels("part", [...]string{"month", "days", "backfill"}[n]), func(context.Context) { do() })
				cost[n] += processorTime() - before
			}
			for b.Loop() {
				b.StopTimer()
				month, daily := site("month"), site("day")
				measure(0, func() { month.settleUntil(now, rating.InstantOf(start.AddDate(0, 1, 2))) })
				measure(1, func() { daily.settleUntil(now, days) })
				daily.write("usage/late.ndjson", fmt.Appendf(nil, `{"id":"late","account":"a00007","meter":"calls","quantity":1,"time":%q}`+"\n", spell(start)))
				daily.watch = func(back *jobs.Backfill) { back.Standing = nil }
				b.StartTimer()
				measure(2, func() {
					if _, _, err := daily.app(now).backfill(daily.config(), backfillPlan{from: rating.InstantOf(start), to: days}); err != nil {
						b.Fatal(err)
					}
				})
			}
			b.ReportMetric(cost[0].Seconds()/float64(b.N), "cpu-s/month")
			b.ReportMetric(cost[1].Seconds()/float64(b.N), "cpu-s/days")
			b.ReportMetric(cost[2].Seconds()/float64(b.N), "cpu-s/backfill")
			b.ReportMetric(cost[2].Seconds()/cost[0].Seconds(), "x-of-month")
		})
	}
}

// writeBench writes a catalog of accounts with packages, and usage, an object a day.
func (s *site) writeBench(records, accounts, packages, days int, start time.Time) {
	var catalog bytes.Buffer
	fmt.Fprintf(&catalog, "meters: [{id: calls}]\nprices: [{id: list, meter: calls, model: flat, price: 2}]\naccounts:\n")
	for i := range accounts {
		fmt.Fprintf(&catalog, "  - {id: a%05d}\n", i)
	}
	fmt.Fprintf(&catalog, "packages:\n")
	for i := range packages * accounts {
		fmt.Fprintf(&catalog, "  - {id: p%05d, account: a%05d, kind: pay_per_use, quota: 500, effective: 2026-09-01, expires: 2027-01-01, covers: [{meter: calls}]}\n", i, i/packages)
	}
	s.write("catalog.yaml", catalog.Bytes())
	random := rand.New(rand.NewPCG(1, 1))
	for day := range days {
		var usage bytes.Buffer
		for n := range records / days {
			fmt.Fprintf(&usage, `{"id":"r%d-%d","account":"a%05d","meter":"calls","quantity":%d,"time":%q}`+"\n", day, n, random.IntN(accounts), 1+random.IntN(20),
				spell(start.AddDate(0, 0, day).Add(time.Duration(random.Int64N(86400))*time.Second)))
		}
		s.write(fmt.Sprintf("usage/%02d.ndjson", day), usage.Bytes())
	}
}
