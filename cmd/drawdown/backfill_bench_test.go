package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"runtime/pprof"
	"testing"
	"time"

	"drawdown/jobs"
	"drawdown/rating"
)

// BenchmarkBackfill settles ten days of 20,000 accounts again after late usage of one account: all of it, and with what
// nothing has touched taken over.
func BenchmarkBackfill(b *testing.B) {
	const accounts, days = 20_000, 10
	for _, shards := range []int{16, 64} {
		s := emptySite(b)
		s.configure("reminder_days: []\n", fmt.Sprintf("shards: %d", shards), "start: 2026-10-01")
		var catalog, usage bytes.Buffer
		fmt.Fprintf(&catalog, "meters: [{id: calls}]\nprices: [{id: list, meter: calls, model: flat, price: 2}]\naccounts:\n")
		random := rand.New(rand.NewPCG(1, 1))
		start := time.Date(2026, 9, 30, 22, 0, 0, 0, time.UTC) // midnight of the world's zone
		for i := range accounts {
			fmt.Fprintf(&catalog, "  - {id: a%05d}\n", i)
			for n := range 10 {
				fmt.Fprintf(&usage, `{"id":"r%d-%d","account":"a%05d","meter":"calls","quantity":%d,"time":%q}`+"\n", i, n, i, 1+random.IntN(20),
					spell(start.Add(time.Duration(random.Int64N(days*86400))*time.Second)))
			}
		}
		fmt.Fprintf(&catalog, "packages:\n")
		for i := range 2 * accounts {
			fmt.Fprintf(&catalog, "  - {id: p%05d, account: a%05d, kind: pay_per_use, quota: 50, effective: 2026-09-01, expires: 2027-01-01, covers: [{meter: calls}]}\n", i, i/2)
		}
		s.write("catalog.yaml", catalog.Bytes())
		s.write("usage/a.ndjson", usage.Bytes())
		now, until := start.AddDate(0, 1, 0), rating.InstantOf(start.AddDate(0, 0, days))
		s.settleUntil(now, until)
		s.rewriteConfig("catalog: ./catalog.yaml\n", "") // from now on it is that of the database
		late := 0
		for _, whole := range []bool{true, false} {
			name := map[bool]string{true: "all is computed", false: "the untouched is taken over"}[whole]
			b.Run(fmt.Sprintf("shards=%d/one account is late/%s", shards, name), func(b *testing.B) {
				s.watch = func(back *jobs.Backfill) {
					if whole {
						back.Standing = nil
					}
				}
				var cost time.Duration
				for b.Loop() {
					b.StopTimer()
					late++
					s.write(fmt.Sprintf("usage/late-%d.ndjson", late), fmt.Appendf(nil, `{"id":"late-%d","account":"a00007","meter":"calls","quantity":1,"time":%q}`+"\n", late, spell(start)))
					b.StartTimer()
					before := processorTime()
					pprof.Do(b.Context(), pprof.Labels("part", name), func(context.Context) {
						report, _, err := s.app(now).backfill(s.config(), backfillPlan{from: rating.InstantOf(start), to: until})
						if err != nil || len(report.Periods) != days {
							b.Fatal(report, err)
						}
					})
					cost += processorTime() - before
				}
				b.ReportMetric(cost.Seconds()/float64(b.N), "cpu-s/op")
			})
		}
	}
}

// BenchmarkBackfillOfPeriods compares by processor time: usage settled as one period of a month, settled by days, and these days
// settled again by one backfill that computes all of them. The target is that the last costs 1.3 times the first.
func BenchmarkBackfillOfPeriods(b *testing.B) {
	for _, shape := range []struct{ records, accounts, packages, days int }{
		{1_000_000, 2_000, 1, 5}, {1_000_000, 2_000, 1, 30}, {1_000_000, 20_000, 2, 5}, {1_000_000, 20_000, 2, 30},
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
