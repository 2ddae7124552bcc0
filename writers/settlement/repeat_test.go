package settlement

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"drawdown/rating"
)

// TestBytesDoNotDependOnFilesBefore writes balances and lines period by period to one output, where pages and dictionaries
// repeat those of the period before, and each to an output of its own: they must be the same bytes, and hold what was written.
func TestBytesDoNotDependOnFilesBefore(t *testing.T) {
	const page = pageRows / 2 // payers, of two packages each
	w := newWorld(7, 2*page+10, 1)
	type period struct {
		payers int
		drawn  int32 // the payer that has drawn something, or -1
		turned int32 // the payer whose cycles turned
	}
	periods := []period{
		{5, -1, -1},
		{5, -1, -1},
		{5, 2, -1},
		{5, 2, 3},
		{6, 2, 3},
		{0, -1, -1},
		{6, 2, 3},
		{page, 2, 3},
		{page + 1, 2, 3},
		{page + 1, 2, 3},
		{page, 2, 3},
		{2*page + 3, page + 1, 3},
		{page, 2, 4},
		{page + 1, 2, 5},
		{page, 2, 5},
		{page, 2, 5},
		{page, -1, 5},
		{page, 2, page + 3},
		{7, 2, 3},
	}
	write := func(o *Output, i int) []byte {
		p := rating.Period{Start: w.period.Start + rating.Instant(i)*24*hour, End: w.period.Start + rating.Instant(i+1)*24*hour}
		r, err := o.Create(p, fmt.Sprintf("2026-10-%02d", i+1), 1, 17, w.names)
		if err != nil {
			t.Fatal(err)
		}
		s := r.Shard(0, r.names.Catalog)
		for payer := range int32(periods[i].payers) {
			res := rating.Result{}
			for k := range int32(2) {
				b := rating.Balance{
					Package: 2*payer + k, CycleStart: w.period.Start, CycleEnd: w.period.End, Quota: 100, Opening: int64(100 + payer),
					Closing: int64(100 + payer), State: rating.StateActive,
				}
				if payer == periods[i].drawn {
					b.Deducted, b.Closing = 7, b.Opening-7
				}
				if payer == periods[i].turned {
					b.CycleStart += rating.Instant(payer) * hour
				}
				res.Balances = append(res.Balances, b)
			}
			if payer%3 == 0 && payer < 60 {
				meter := payer / 3 * int32(i/3) % 5
				res.IDs = fmt.Appendf(nil, "record-%d", payer)
				res.Lines = append(res.Lines, rating.Line{
					EventTime: p.Start + rating.Instant(i), Account: payer, Meter: meter, Package: 2 * payer, Price: rating.None, Quantity: 3, Consumed: 3,
					RemainingBefore: 10, RemainingAfter: 7, LineNo: 1, IDEnd: uint32(len(res.IDs)),
				})
			}
			if err := s.Append(payer, &res); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := r.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		var content []byte
		for _, name := range []string{"balances-000.parquet", "lines-000.parquet"} {
			file, err := os.ReadFile(filepath.Join(o.name, r.dir, name))
			if err != nil {
				t.Fatal(err)
			}
			content = append(content, file...)
		}
		return content
	}
	open := func() *Output { return outputs()["folder"](t) }
	one := open()
	for i := range periods {
		if got, want := write(one, i), write(open(), i); !bytes.Equal(got, want) {
			t.Errorf("period %d (%+v): the bytes depend on the periods before", i, periods[i])
		}
	}
}

// TestPagesAreOfOneCatalog writes the same numbers with one catalog and then with another one to one output: what they stand
// for is what the other one says.
func TestPagesAreOfOneCatalog(t *testing.T) {
	one, fresh := t.TempDir(), t.TempDir()
	was, is := newWorld(7, 20, 50), newWorld(7, 20, 50)
	for i := range is.names.Catalog.Packages {
		is.names.Catalog.Packages[i].ID += "-of-another"
	}
	o, err := OpenOutput(one)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.Close() })
	for number, w := range []*world{was, is} {
		r, err := o.Create(w.period, "2026-10", number+1, 17, w.names)
		if err != nil {
			t.Fatal(err)
		}
		w.write(t, r, 1, 100)
	}
	is.write(t, is.create(t, fresh), 1, 100)
	got, err := os.ReadFile(filepath.Join(one, "period=2026-10/rev=2-17/balances-000.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(filepath.Join(fresh, "period=2026-10/rev=1-17/balances-000.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("balances name the packages of the catalog before")
	}
}

// TestFileThatFailedIsForgotten: what a file that could not be written has made is not taken for the next one.
func TestFileThatFailedIsForgotten(t *testing.T) {
	w := newWorld(7, repeatedRows/2, 1)
	random := rand.New(rand.NewPCG(7, 7))
	var results [2][]rating.Result // by period and payer
	for i := range results {
		for payer := range int32(repeatedRows / 2) {
			var result rating.Result
			for k := range int32(2) {
				result.Balances = append(result.Balances, rating.Balance{
					Package: 2*payer + k, CycleStart: w.period.Start, CycleEnd: w.period.End, State: rating.BalanceState(i),
					Opening: random.Int64(), Granted: random.Int64(), Deducted: random.Int64(), Closing: random.Int64(),
				})
			}
			results[i] = append(results[i], result)
		}
	}
	write := func(o *Output, i, revision int, fails bool) []byte {
		r, err := o.Create(w.period, "2026-10", revision, 17, w.names)
		if err != nil {
			t.Fatal(err)
		}
		s := r.Shard(0, w.names.Catalog)
		for payer := range results[i] {
			if err := s.Append(int32(payer), &results[i][payer]); err != nil {
				t.Fatal(err)
			}
		}
		if fails {
			s.open[tableBalances].out.to = full{}
		}
		if err := s.Close(); (err != nil) != fails {
			t.Fatal(err)
		}
		content, err := os.ReadFile(filepath.Join(o.name, r.dir, "balances-000.parquet"))
		if err != nil && !fails {
			t.Fatal(err)
		}
		return content
	}
	open := func() *Output { return outputs()["folder"](t) }
	one := open()
	write(one, 0, 1, false)
	write(one, 1, 2, true)
	if !bytes.Equal(write(one, 1, 3, false), write(open(), 1, 1, false)) {
		t.Error("the bytes are of the file that failed")
	}
}

// TestDictionariesHaveRoomForTheShardAlone: each period and table has one for each column, so that room for a whole catalog adds up.
func TestDictionariesHaveRoomForTheShardAlone(t *testing.T) {
	const accounts, payers = 50_000, 20
	w := newWorld(3, accounts, 20_000)
	w.payers, w.results = w.payers[len(w.payers)-payers:], w.results[len(w.results)-payers:]
	r := w.create(t, t.TempDir())
	w.write(t, r, 1, 100)
	for table := range tables {
		for _, file := range r.output.spare[table] {
			for i := range file.columns {
				if c := &file.columns[i]; len(c.direct) > accounts/10 {
					t.Errorf("column %s of %s has room for %d", c.name, tables[table].name, len(c.direct))
				}
			}
		}
	}
	if len(r.output.spare[tableLines]) == 0 || w.payers[0] < accounts/2 {
		t.Error("no lines of accounts with large numbers were written")
	}
}

// full is a disk that is full.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left") }
