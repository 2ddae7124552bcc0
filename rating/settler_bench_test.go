package rating_test

import (
	"fmt"
	"testing"
	"time"

	"drawdown/rating"
)

// benchWorld is an account with a meter and many packages that overlap, and records over a month.
func benchWorld(packages, records int) (*rating.Catalog, *rating.Batch) {
	d := &rating.Draft{
		Accounts: []rating.AccountDraft{{ID: "acme"}},
		Meters:   []rating.MeterDraft{{ID: "calls", Scale: "6"}},
		Prices:   []rating.PriceDraft{{ID: "list", Meter: "calls", Model: "flat", Price: "0.25"}},
	}
	start := time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)
	for i := range packages {
		effective := start.Add(time.Duration(i) * (20 * 24 * time.Hour / time.Duration(packages)))
		d.Packages = append(d.Packages, rating.PackageDraft{
			ID: fmt.Sprintf("p%05d", i), Account: "acme", Kind: "pay_per_use", Quota: fmt.Sprint(1 + 8*records/packages/10),
			Effective: effective.Format(time.RFC3339), Expires: effective.Add(10 * 24 * time.Hour).Format(time.RFC3339),
			Covers: []rating.CoverDraft{{Meter: "calls"}},
		})
	}
	c, faults := rating.Compile(d, rating.CompileConfig{Zone: time.UTC, Currency: "USD"})
	if len(faults) > 0 {
		panic(fmt.Sprint(faults))
	}
	b := &rating.Batch{}
	for i := range records {
		at := start.Add(time.Duration(i) * (30 * 24 * time.Hour / time.Duration(records)))
		b.Time = append(b.Time, rating.InstantOf(at))
		b.Account, b.Meter = append(b.Account, 0), append(b.Meter, 0)
		b.Quantity = append(b.Quantity, 1_000000)
		b.Object, b.Row = append(b.Object, 0), append(b.Row, int64(i+1))
		b.IDStart = append(b.IDStart, uint32(len(b.IDs)))
		b.IDs = fmt.Appendf(b.IDs, "0f8fad5b-d9cb-469f-a165-%012d", i)
		b.IDEnd = append(b.IDEnd, uint32(len(b.IDs)))
	}
	return c, b
}

// BenchmarkSettle measures a record's cost by the number of packages on its account and meter: it must stay flat.
func BenchmarkSettle(b *testing.B) {
	for _, packages := range []int{1, 10, 100, 1000, 10000} {
		b.Run(fmt.Sprintf("packages=%d", packages), func(b *testing.B) {
			const records = 200_000
			c, batch := benchWorld(packages, records)
			order, _ := rating.ParseOrder([]string{"cycle_end", "effective"})
			s := rating.NewSettler(c, rating.Config{Zone: time.UTC, Order: order, ReminderDays: []int{7}}, nil)
			period := rating.Period{Start: batch.Time[0], End: batch.Time[0] + 31*86400_000000}
			b.ReportAllocs()
			for b.Loop() {
				settleOnce(b, s, period, batch)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/records, "ns/record")
		})
	}
}

func settleOnce(tb testing.TB, s *rating.Settler, period rating.Period, batch *rating.Batch) {
	s.Result.Reset()
	if err := s.Begin(0, period, nil); err != nil {
		tb.Fatal(err)
	}
	if err := s.Add(batch); err != nil {
		tb.Fatal(err)
	}
	if _, err := s.End(); err != nil {
		tb.Fatal(err)
	}
}

// TestSettleDoesNotAllocatePerRecord: in the steady state memory is re-used.
func TestSettleDoesNotAllocatePerRecord(t *testing.T) {
	c, batch := benchWorld(10, 10_000)
	order, _ := rating.ParseOrder(nil)
	s := rating.NewSettler(c, rating.Config{Zone: time.UTC, Order: order}, nil)
	period := rating.Period{Start: batch.Time[0], End: batch.Time[0] + 31*86400_000000}
	allocations := testing.AllocsPerRun(5, func() { settleOnce(t, s, period, batch) })
	if allocations > 1000 { // some thirty for each notice and package; none for a record
		t.Errorf("%v allocations for 10,000 records", allocations)
	}
}
