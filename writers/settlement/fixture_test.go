package settlement

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"drawdown/rating"
)

// world is a catalog and results for its payers, made from a seed.
type world struct {
	names   Names
	period  rating.Period
	payers  []int32
	results []*rating.Result // by payer
	lines   int
}

const hour = rating.Instant(3600_000000)

// newWorld makes results of about n lines; most accounts use little and a few use much.
func newWorld(seed uint64, accounts, n int) *world {
	random := rand.New(rand.NewPCG(seed, 1))
	c := &rating.Catalog{Currency: "USD"}
	start := rating.Instant(1790812800_000000) // 2026-10-01
	w := &world{names: Names{Catalog: c}, period: rating.Period{Start: start, End: start + 31*24*hour}}
	for i := range accounts {
		a := rating.Account{ID: fmt.Sprintf("acct-%06d", i), Payer: int32(i)}
		if i%7 == 3 {
			a.Currency = "EUR"
		}
		c.Accounts = append(c.Accounts, a)
		for k := range 2 {
			c.Packages = append(c.Packages, rating.Package{
				ID: fmt.Sprintf("pkg-%06d-%d", i, k), Account: int32(i), Scale: 6 - 6*k, Quota: 1000_000000,
			})
		}
	}
	for i := range 5 {
		c.Meters = append(c.Meters, rating.Meter{ID: fmt.Sprintf("meter.%d", i), Scale: 6})
	}
	for m := range c.Meters {
		c.Prices = append(c.Prices,
			rating.Price{ID: fmt.Sprintf("price-%d", 2*m), Currency: "USD", Meter: int32(m), Tiers: []rating.Tier{{Price: 150_000000, Per: 1e15}}},
			rating.Price{
				ID: fmt.Sprintf("price-%d", 2*m+1), Currency: "EUR", Meter: int32(m), Model: rating.Model(1 + m%3),
				Tiers: []rating.Tier{{Price: 15_000000, Per: 1e9}, {Price: 10_000000, Per: 1e9}},
			})
	}
	for i := range 31 {
		w.names.Objects = append(w.names.Objects, fmt.Sprintf("usage/2026/10/%02d.parquet", i+1))
	}
	zipf := rand.NewZipf(random, 1.1, 10, uint64(accounts-1))
	counts := make([]int, accounts)
	for range n {
		counts[zipf.Uint64()]++
	}
	random.Shuffle(accounts, func(i, j int) { counts[i], counts[j] = counts[j], counts[i] })
	for payer, count := range counts {
		if count > 0 {
			w.payers = append(w.payers, int32(payer))
			w.results = append(w.results, w.settle(random, int32(payer), count))
			w.lines += count
		}
	}
	return w
}

func (w *world) settle(random *rand.Rand, payer int32, count int) *rating.Result {
	r := &rating.Result{}
	times := make([]rating.Instant, count)
	for i := range times {
		times[i] = w.period.Start + rating.Instant(random.Int64N(int64(31*24*hour)))
	}
	slices.Sort(times)
	for i := range times {
		l := rating.Line{
			EventTime: times[i], Account: payer, Meter: int32(random.IntN(5)), Package: rating.None, Price: rating.None,
			Quantity: random.Int64N(500_000000), LineNo: 1, SourceRow: random.Int64N(400_000),
			SourceObject: int32((times[i] - w.period.Start) / (24 * hour)), Late: random.IntN(1000) == 0,
		}
		l.IDStart = uint32(len(r.IDs))
		r.IDs = fmt.Appendf(r.IDs, "%08x-%04x-4%03x-a%03x-%012x", random.Uint32(), random.Uint32()&0xffff,
			random.Uint32()&0xfff, random.Uint32()&0xfff, random.Uint64()&0xffff_ffff_ffff)
		l.IDEnd = uint32(len(r.IDs))
		switch random.IntN(20) {
		case 0:
			l.Kind = rating.Stopped
		case 1, 2, 3, 4, 5:
			l.Kind = rating.Excess
			l.Price = 2*l.Meter + int32(random.IntN(2))
			switch w.names.Catalog.Prices[l.Price].Model {
			case rating.Graduated, rating.Volume:
				l.Tier = int32(1 + random.IntN(2))
			}
			l.Amount = rating.AmountOf(random.Int64N(1e12))
			if random.IntN(5000) == 0 {
				l.Amount = rating.AmountOf(-random.Int64N(1e12))
			}
		default:
			l.Kind = rating.Deduction
			l.Package = 2*payer + int32(random.IntN(2))
			l.CycleStart = w.period.Start
			l.Consumed = l.Quantity
			l.RemainingAfter = random.Int64N(1e12)
			l.RemainingBefore = l.RemainingAfter + l.Consumed
		}
		r.Lines = append(r.Lines, l)
	}
	w.finish(random, payer, r)
	return r
}

func (w *world) finish(random *rand.Rand, payer int32, r *rating.Result) {
	charges := map[rating.Charge]*rating.Charge{}
	for _, l := range r.Lines {
		if l.Kind != rating.Excess {
			continue
		}
		key := rating.Charge{Account: l.Account, Meter: l.Meter, Price: l.Price, Tier: l.Tier, Month: 2026*12 + 9, Late: l.Late}
		if charges[key] == nil {
			c := key
			charges[key] = &c
		}
		c := charges[key]
		c.Quantity, c.LineCount, c.Amount = c.Quantity+l.Quantity, c.LineCount+1, sum(c.Amount, l.Amount)
	}
	for _, c := range charges {
		r.Charges = append(r.Charges, *c)
	}
	slices.SortFunc(r.Charges, func(a, b rating.Charge) int { return compareCharges(&a, &b) })
	for k := range int32(2) {
		b := rating.Balance{
			Package: 2*payer + k, CycleStart: w.period.Start, CycleEnd: w.period.End, Quota: 1000_000000,
			Opening: random.Int64N(1e9), Granted: random.Int64N(1e9), RolledOver: -random.Int64N(1000),
			State: rating.BalanceState(random.IntN(8)),
		}
		b.Deducted = random.Int64N(b.Opening + 1)
		b.Closing = b.Opening + b.Granted + b.RolledOver - b.Deducted
		r.Balances = append(r.Balances, b)
	}
	for kind := range rating.NoticeUsageAlert + 1 {
		n := rating.Notice{
			At: w.period.Start + rating.Instant(kind), Kind: kind, Account: payer, Package: 2 * payer, Meter: rating.None,
			DedupKey: fmt.Sprintf("%s/%d", kind, payer),
		}
		switch kind {
		case rating.NoticeArrears:
			n.Package, n.Meter, n.RecordID = rating.None, 1, "r"
		case rating.NoticeServiceStop:
			n.Meter, n.RecordID, n.CycleStart = 2, "r", w.period.Start
		case rating.NoticeUsageAlert:
			n.RecordID, n.CycleStart, n.Threshold, n.Remaining = "r", w.period.Start, 20e9, 1234567
		case rating.NoticeExpiryReminder:
			n.Threshold = 7e9
		}
		r.Notices = append(r.Notices, n)
	}
}

func (w *world) create(t testing.TB, dir string) *Revision {
	t.Helper()
	o, err := OpenOutput(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.Close() })
	r, err := o.Create(w.period, "2026-10", 1, 17, w.names)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// write appends all results, each in pieces of so many lines at most, to shards in turn.
func (w *world) write(t require, r *Revision, shards, piece int) {
	t.Helper()
	for i := range shards {
		s := r.Shard(i, r.names.Catalog)
		for k, payer := range w.payers {
			if int(payer)%shards == i {
				w.append(t, s, payer, w.results[k], piece)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func (w *world) append(t require, s *Shard, payer int32, res *rating.Result, piece int) {
	t.Helper()
	lines := res.Lines
	for len(lines) > piece {
		if err := s.Append(payer, &rating.Result{Lines: lines[:piece], IDs: res.IDs}); err != nil {
			t.Fatal(err)
		}
		lines = lines[piece:]
	}
	last := *res
	last.Lines = lines
	if err := s.Append(payer, &last); err != nil {
		t.Fatal(err)
	}
}

// manifest gives a manifest that agrees with the results.
func (w *world) manifest() Manifest {
	n := newNames(w.names)
	all := newTally(n)
	records := int64(0)
	for _, r := range w.results {
		for _, l := range r.Lines {
			records++
			all.quantities[l.Meter].add(int(l.Kind), l.Late, rating.DecimalOf(l.Quantity, 6))
			if l.Kind == rating.Excess {
				at := n.priceCurrency[l.Price]
				all.amounts[at] = sum(all.amounts[at], l.Amount)
				if l.Late {
					all.late[at] = sum(all.late[at], l.Amount)
				}
			}
		}
	}
	rows := Rows{Read: records, Settled: records}
	m := Manifest{Site: "demo", Inputs: []Input{{Key: "usage/a", Rows: rows}}, Totals: Totals{Rows: rows}, Late: &Late{}}
	for i := range all.quantities {
		for part, meters := range []*[]MeterTotal{&m.Totals.Meters, &m.Late.Meters} {
			q := all.quantities[i][part]
			*meters = append(*meters, MeterTotal{
				Meter: w.names.Catalog.Meters[i].ID, Settled: Decimal(sum(sum(q[0], q[1]), q[2])),
				Deducted: Decimal(q[0]), Excess: Decimal(q[1]), Stopped: Decimal(q[2]),
			})
		}
	}
	for i, a := range all.amounts {
		m.Totals.Amounts = append(m.Totals.Amounts, CurrencyTotal{n.currencies[i], Decimal(a)})
		m.Late.Amounts = append(m.Late.Amounts, CurrencyTotal{n.currencies[i], Decimal(all.late[i])})
	}
	return m
}
