package settlement

import (
	"bytes"
	"errors"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"drawdown/rating"
)

func collect[T any](t require, rows iter.Seq2[T, error]) []T {
	t.Helper()
	var all []T
	for row, err := range rows {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, row)
	}
	return all
}

// require is what testing.T and rapid.T have in common.
type require interface {
	Helper()
	Fatal(args ...any)
}

func ptr[T any](v T) *T { return &v }

// wantLine says what a line looks like as a row.
func (w *world) wantLine(payer int32, r *rating.Result, l *rating.Line) Line {
	c := w.names.Catalog
	row := Line{
		PeriodStart: w.period.Start, Payer: c.Accounts[payer].ID, Account: c.Accounts[l.Account].ID,
		Meter: c.Meters[l.Meter].ID, EventTime: l.EventTime, RecordID: string(r.RecordID(l)), LineNo: l.LineNo,
		Kind: l.Kind.String(), Late: l.Late, Quantity: rating.DecimalOf(l.Quantity, c.Meters[l.Meter].Scale), Amount: l.Amount,
		Currency: c.Accounts[l.Account].Currency, SourceObject: w.names.Objects[l.SourceObject], SourceRow: l.SourceRow,
	}
	if row.Currency == "" {
		row.Currency = c.Currency
	}
	if l.Kind == rating.Deduction {
		p := &c.Packages[l.Package]
		row.Package, row.CycleStart = &p.ID, &l.CycleStart
		row.Consumed = ptr(rating.DecimalOf(l.Consumed, p.Scale))
		row.RemainingBefore = ptr(rating.DecimalOf(l.RemainingBefore, p.Scale))
		row.RemainingAfter = ptr(rating.DecimalOf(l.RemainingAfter, p.Scale))
	}
	if l.Kind == rating.Excess {
		p := &c.Prices[l.Price]
		row.PriceID, row.Currency = &p.ID, p.Currency
		if l.Tier > 0 {
			row.Tier = &l.Tier
		}
		if p.Model == rating.Flat || p.Model == rating.Graduated {
			tier := p.Tiers[max(l.Tier, 1)-1]
			row.UnitPrice, row.Per = ptr(rating.AmountOf(tier.Price)), ptr(rating.AmountOf(tier.Per))
		}
	}
	return row
}

func TestLinesComeBackAsTheyWere(t *testing.T) {
	dir := t.TempDir()
	o, err := OpenOutput(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	token := int64(0)
	rapid.Check(t, func(t *rapid.T) {
		lines := rapid.SampledFrom([]int{1, 2, 7, 8, 9, 63, 64, 65, 66, 100, 500, 1000, 1025, 2000, 3000, pageRows, pageRows + 1}).Draw(t, "lines")
		w := newWorld(rapid.Uint64().Draw(t, "seed"), rapid.IntRange(1, 300).Draw(t, "accounts"), lines)
		token++
		r, err := o.Create(w.period, "p", 1, token, w.names)
		if err != nil {
			t.Fatal(err)
		}
		w.write(t, r, 1, rapid.IntRange(1, 50).Draw(t, "piece"))
		if err := r.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		var want []Line
		for k, payer := range w.payers {
			for i := range w.results[k].Lines {
				want = append(want, w.wantLine(payer, w.results[k], &w.results[k].Lines[i]))
			}
		}
		got := collect(t, ReadLines(Path(filepath.Join(dir, r.dir, "lines-000.parquet"))))
		if d := cmp.Diff(want, got); d != "" {
			t.Fatal(d)
		}
	})
}

func TestOtherTablesComeBackAsTheyWere(t *testing.T) {
	dir := t.TempDir()
	w := newWorld(4, 3, 20)
	r := w.create(t, dir)
	w.write(t, r, 1, 1000)
	res, c := w.results[0], w.names.Catalog
	charge := &res.Charges[0]
	got := collect(t, ReadCharges(Path(filepath.Join(dir, r.dir, "charges-000.parquet"))))[0]
	if got.Month != "2026-10" || got.PeriodEnd != w.period.End || got.PriceID != c.Prices[charge.Price].ID ||
		got.Amount != charge.Amount || got.LineCount != charge.LineCount || got.Quantity != rating.DecimalOf(charge.Quantity, 6) {
		t.Errorf("charge %+v came back as %+v", charge, got)
	}
	b := &res.Balances[0]
	want := Balance{
		w.period.Start, w.period.End, c.Accounts[w.payers[0]].ID, c.Accounts[w.payers[0]].ID, c.Packages[b.Package].ID,
		b.CycleStart, b.CycleEnd, rating.DecimalOf(b.Quota, 6), rating.DecimalOf(b.Opening, 6), rating.DecimalOf(b.Granted, 6),
		rating.DecimalOf(b.RolledOver, 6), rating.DecimalOf(b.Deducted, 6), rating.DecimalOf(b.Expired, 6),
		rating.DecimalOf(b.Revoked, 6), rating.DecimalOf(b.Closing, 6), b.State.String(),
	}
	if d := cmp.Diff(want, collect(t, ReadBalances(Path(filepath.Join(dir, r.dir, "balances-000.parquet"))))[0]); d != "" {
		t.Error(d)
	}
	notices := collect(t, ReadNotices(Path(filepath.Join(dir, r.dir, "notices-000.parquet"))))[:7]
	id, pkg := c.Accounts[w.payers[0]].ID, c.Packages[2*w.payers[0]].ID
	start := w.period.Start
	for i, want := range []Notice{
		{PeriodStart: start, Kind: "arrears", Payer: id, Account: id, Meter: ptr("meter.1"), At: start, RecordID: ptr("r")},
		{PeriodStart: start, Kind: "expiry_reminder", Payer: id, Account: id, Package: &pkg, Threshold: ptr(rating.AmountOf(7e9)), At: start + 1},
		{PeriodStart: start, Kind: "grace", Payer: id, Account: id, Package: &pkg, At: start + 2},
		{PeriodStart: start, Kind: "released", Payer: id, Account: id, Package: &pkg, At: start + 3},
		{PeriodStart: start, Kind: "retention", Payer: id, Account: id, Package: &pkg, At: start + 4},
		{PeriodStart: start, Kind: "service_stop", Payer: id, Account: id, Package: &pkg, Meter: ptr("meter.2"), CycleStart: &start, At: start + 5, RecordID: ptr("r")},
		{
			PeriodStart: start, Kind: "usage_alert", Payer: id, Account: id, Package: &pkg, CycleStart: &start, ThresholdType: ptr("percentage"),
			Threshold: ptr(rating.AmountOf(20e9)), Remaining: ptr(rating.DecimalOf(1234567, 6)), At: start + 6, RecordID: ptr("r"),
		},
	} {
		want.DedupKey = notices[i].DedupKey
		if d := cmp.Diff(want, notices[i]); d != "" {
			t.Error(d)
		}
	}
}

func rejections(rows ...Rejection) iter.Seq2[Rejection, error] {
	return func(yield func(Rejection, error) bool) {
		for _, r := range rows {
			if !yield(r, nil) {
				return
			}
		}
	}
}

func TestQuarantine(t *testing.T) {
	dir := t.TempDir()
	w := newWorld(4, 3, 20)
	r := w.create(t, dir)
	err := r.Quarantine(rejections(
		Rejection{0, &rating.Rejected{Reason: rating.BadObject, Detail: "cut short"}},
		Rejection{0, &rating.Rejected{Row: 7, Reason: rating.Malformed, Raw: []byte{0xff, 0}}},
		Rejection{1, &rating.Rejected{Row: 3, Reason: rating.UnknownMeter, RecordID: "r", Account: "a", Meter: "m", Raw: []byte("{}")}},
	))
	if err != nil {
		t.Fatal(err)
	}
	want := []Quarantined{
		{SourceObject: w.names.Objects[0], Reason: "bad_object", Detail: "cut short", Raw: []byte{}},
		{SourceObject: w.names.Objects[0], SourceRow: ptr(int64(7)), Reason: "malformed", Raw: []byte{0xff, 0}},
		{
			SourceObject: w.names.Objects[1], SourceRow: ptr(int64(3)), Reason: "unknown_meter", RecordID: ptr("r"),
			Account: ptr("a"), Meter: ptr("m"), Raw: []byte("{}"),
		},
	}
	if d := cmp.Diff(want, collect(t, ReadQuarantine(Path(filepath.Join(dir, r.dir, "quarantine.parquet"))))); d != "" {
		t.Error(d)
	}
	second := w.create(t, t.TempDir())
	if err := second.Quarantine(rejections(Rejection{1, &rating.Rejected{Row: 1}}, Rejection{0, &rating.Rejected{Row: 2}})); err == nil {
		t.Error("rows out of order were taken")
	}
}

func TestBytesDependOnRowsAlone(t *testing.T) {
	w := newWorld(5, 2000, groupRows+pageRows) // two row groups
	var first map[string][]byte
	for _, piece := range []int{999, 1 << 30} {
		dir := t.TempDir()
		r := w.create(t, dir)
		if piece == 999 { // with the memory of other files
			w.write(t, r, 1, 100)
			if err := r.Discard(); err != nil {
				t.Fatal(err)
			}
			r, _ = r.output.Create(w.period, "2026-10", 1, 17, w.names)
		}
		w.write(t, r, 1, piece)
		if err := r.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, _, err := r.Finish(w.manifest()); err != nil {
			t.Fatal(err)
		}
		files := map[string][]byte{}
		for _, f := range r.written {
			files[f.Name], _ = os.ReadFile(filepath.Join(dir, r.dir, f.Name))
		}
		files[manifestName], _ = os.ReadFile(filepath.Join(dir, r.dir, manifestName))
		if first == nil {
			first = files
		}
		for name, content := range first {
			if len(content) == 0 || !bytes.Equal(content, files[name]) {
				t.Errorf("pieces of %d: %s differs", piece, name)
			}
		}
	}
}

func TestRowsOutOfOrderAreRefused(t *testing.T) {
	w := newWorld(6, 2, 50)
	for name, spoil := range map[string]func(s *Shard, r *rating.Result) error{
		"payers": func(s *Shard, r *rating.Result) error {
			return errors.Join(s.Append(1, &rating.Result{}), s.Append(0, &rating.Result{}))
		},
		"payer after its end": func(s *Shard, r *rating.Result) error {
			return errors.Join(s.Append(0, r), s.Append(0, &rating.Result{}))
		},
		"lines": func(s *Shard, r *rating.Result) error {
			r.Lines[0], r.Lines[1] = r.Lines[1], r.Lines[0]
			return s.Append(0, r)
		},
		"lines twice": func(s *Shard, r *rating.Result) error { r.Lines[1] = r.Lines[0]; return s.Append(0, r) },
		"lines of two calls": func(s *Shard, r *rating.Result) error {
			r.Charges, r.Balances, r.Notices = nil, nil, nil
			return errors.Join(s.Append(0, r), s.Append(0, r))
		},
		"charges":  func(s *Shard, r *rating.Result) error { slices.Reverse(r.Charges); return s.Append(0, r) },
		"balances": func(s *Shard, r *rating.Result) error { slices.Reverse(r.Balances); return s.Append(0, r) },
		"notices":  func(s *Shard, r *rating.Result) error { slices.Reverse(r.Notices); return s.Append(0, r) },
		"amount of nothing": func(s *Shard, r *rating.Result) error {
			r.Lines[0].Kind = rating.Stopped
			r.Lines[0].Package = rating.None
			r.Lines[0].Price = rating.None
			r.Lines[0].Amount = rating.AmountOf(1)
			return s.Append(0, r)
		},
		"deduction of nothing": func(s *Shard, r *rating.Result) error {
			r.Lines[0].Kind = rating.Deduction
			r.Lines[0].Package = rating.None
			return s.Append(0, r)
		},
	} {
		res := *w.results[0]
		res.Lines, res.Charges = slices.Clone(res.Lines), slices.Clone(res.Charges)
		res.Balances, res.Notices = slices.Clone(res.Balances), slices.Clone(res.Notices)
		s := w.create(t, t.TempDir()).Shard(0, w.names.Catalog)
		if err := spoil(s, &res); err == nil {
			t.Errorf("%s: taken", name)
		}
		if err := s.Close(); err == nil {
			t.Errorf("%s: Close forgot the error", name)
		}
	}
}

func TestCheckFindsEveryFlip(t *testing.T) {
	dir := t.TempDir()
	w := newWorld(8, 20, 300)
	r := w.create(t, dir)
	w.write(t, r, 1, 1000)
	if err := r.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, f := range r.written {
		name := filepath.Join(dir, r.dir, f.Name)
		whole, _ := os.ReadFile(name)
		for at := 0; at < len(whole); at += 97 {
			damaged := bytes.Clone(whole)
			damaged[at] ^= 1 << (at % 8)
			if err := os.WriteFile(name, damaged, 0o666); err != nil {
				t.Fatal(err)
			}
			if err := r.Check(t.Context()); err == nil {
				t.Errorf("%s: nobody noticed byte %d", f.Name, at)
			}
		}
		if err := os.WriteFile(name, whole[:len(whole)-1], 0o666); err != nil {
			t.Fatal(err)
		}
		if err := r.Check(t.Context()); err == nil {
			t.Errorf("%s: nobody noticed the missing byte", f.Name)
		}
		_ = os.WriteFile(name, whole, 0o666)
	}
}

// A file that is whole may still say something else than was appended, if the encoder is wrong.
func TestCheckComparesNumbers(t *testing.T) {
	w := newWorld(8, 20, 300)
	for name, spoil := range map[string]func(r *Revision){
		"quantity":   func(r *Revision) { r.written[0].tally.quantities[1][0][2].Lo++ },
		"late":       func(r *Revision) { r.written[0].tally.quantities[1][1][0].Lo++ },
		"amount":     func(r *Revision) { r.written[0].tally.amounts[1].Lo++ },
		"charge":     func(r *Revision) { r.written[1].tally.charged[0].Lo++ },
		"event time": func(r *Revision) { r.written[0].digests[lineEventTime]++ },
		"closing":    func(r *Revision) { r.written[2].digests[balanceClosing]++ },
		"rows":       func(r *Revision) { r.written[3].Rows++ },
	} {
		r := w.create(t, t.TempDir())
		w.write(t, r, 1, 1000)
		spoil(r)
		if err := r.Check(t.Context()); err == nil {
			t.Errorf("%s: not noticed", name)
		}
	}
	for name, spoil := range map[string]func(r *rating.Result){
		"balance":            func(r *rating.Result) { r.Balances[0].Closing++ },
		"remaining":          func(r *rating.Result) { i := slices.IndexFunc(r.Lines, isDeduction); r.Lines[i].RemainingAfter++ },
		"charge unlike line": func(r *rating.Result) { r.Charges[0].Amount.Lo++ },
	} {
		w := newWorld(8, 1, 50)
		spoil(w.results[0])
		r := w.create(t, t.TempDir())
		w.write(t, r, 1, 1000)
		if err := r.Check(t.Context()); err == nil {
			t.Errorf("%s: not noticed", name)
		}
	}
}

func isDeduction(l rating.Line) bool { return l.Kind == rating.Deduction }

func TestNothingIsOverwritten(t *testing.T) {
	dir := t.TempDir()
	w := newWorld(1, 2, 10)
	r := w.create(t, dir)
	if _, err := r.output.Create(w.period, "2026-10", 1, 17, w.names); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a revision was made twice: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, r.dir, "lines-000.parquet"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := r.Shard(0, r.names.Catalog).Append(w.payers[0], w.results[0]); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a file was overwritten: %v", err)
	}
	for _, name := range []string{"", "../x", "a/b", ".", ".."} {
		if _, err := r.output.Create(w.period, name, 1, 1, w.names); err == nil {
			t.Errorf("a period named %q was taken", name)
		}
	}
	if err := r.output.Discard("2026-10", 1, 17); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, r.dir)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder is still there: %v", err)
	}
}

func TestAnEmptyPeriodHasAllTables(t *testing.T) {
	dir := t.TempDir()
	w := newWorld(1, 2, 0)
	r := w.create(t, dir)
	w.write(t, r, 4, 10)
	if _, _, err := r.Finish(w.manifest()); err == nil {
		t.Error("finished without a check")
	}
	if err := r.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	key, _, err := r.Finish(w.manifest())
	if err != nil {
		t.Fatal(err)
	}
	m, err := OpenManifest(filepath.Join(dir, key))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range m.Files {
		names = append(names, f.Name)
	}
	want := []string{"lines-000.parquet", "charges-000.parquet", "balances-000.parquet", "notices-000.parquet", "quarantine.parquet"}
	if d := cmp.Diff(want, names); d != "" {
		t.Error(d)
	}
	if rows := collect(t, ReadLines(Path(filepath.Join(dir, r.dir, "lines-000.parquet")))); len(rows) != 0 {
		t.Errorf("%d lines", len(rows))
	}
	if err := func() error {
		for _, err := range ReadCharges(Path(filepath.Join(dir, r.dir, "lines-000.parquet"))) {
			return err
		}
		return nil
	}(); err == nil || !strings.Contains(err.Error(), "columns") {
		t.Errorf("lines were read as charges: %v", err)
	}
}

func TestAppendAllocatesNothingPerRow(t *testing.T) {
	w := newWorld(9, 10, 20_000)
	r := w.create(t, t.TempDir())
	w.write(t, r, 1, 1<<30) // warms the memory up
	_ = r.Discard()
	r, err := r.output.Create(w.period, "2026-10", 1, 18, w.names)
	if err != nil {
		t.Fatal(err)
	}
	if allocations := testing.AllocsPerRun(1, func() {
		s := r.Shard(len(r.written), r.names.Catalog)
		for k, payer := range w.payers {
			if err := s.Append(payer, &rating.Result{Lines: w.results[k].Lines, IDs: w.results[k].IDs}); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}); allocations > float64(w.lines)/20 {
		t.Errorf("%.0f allocations for %d lines", allocations, w.lines)
	}
}
