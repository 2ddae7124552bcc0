package jobs

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"unsafe"

	"drawdown/rating"
)

// placed is a row as it is added to a quarantine.
type placed struct {
	object, period int32
	rejected       rating.Rejected
}

// emitted is what a reader with usage.emit rejects: several records of each row, and some of them alike.
func emitted() []placed {
	var rows []placed
	for i := range 600 {
		for k := range 1 + i%4 {
			for twin := range 1 + i%7/6 {
				rows = append(rows, placed{int32(i % 5), int32(i % 3), rating.Rejected{
					Row: int64(i/5 + 1), Reason: rating.Reason(i % 2 * k % 3), Detail: fmt.Sprint("why ", i%2*k, twin),
					RecordID: fmt.Sprintf("r%d#m%d", i/5, k&1), Account: "acme", Meter: fmt.Sprint("m", k&^1), Raw: []byte{byte(i), 0xff, byte(twin)},
					Time: rating.Instant(i), HasTime: i%9 > 0,
				}})
			}
		}
	}
	return rows
}

func addAll(t *testing.T, q *quarantine, rows []placed) {
	t.Helper()
	for i := range rows {
		if err := q.add(rows[i].object, rows[i].period, &rows[i].rejected); err != nil {
			t.Fatal(err)
		}
	}
}

// readBack gives the rows of the first periods.
func readBack(t *testing.T, q *quarantine, periods int32) []placed {
	t.Helper()
	var rows []placed
	for period := range periods {
		for r, err := range q.of(period) {
			if err != nil {
				t.Fatal(err)
			}
			rows = append(rows, placed{r.Object, period, *r.Rejected})
		}
	}
	return rows
}

func sealed(t *testing.T, rows []placed) *quarantine {
	t.Helper()
	q := newQuarantine(t.TempDir())
	t.Cleanup(func() { q.close() })
	addAll(t, q, rows)
	if err := q.seal(); err != nil {
		t.Fatal(err)
	}
	return q
}

// TestQuarantineOrder (R5.7): what comes out does not depend on which row went in first, also where several records of one
// row are rejected.
func TestQuarantineOrder(t *testing.T) {
	rows := emitted()
	want := slices.Clone(rows)
	slices.SortFunc(want, func(x, y placed) int {
		a, b := &x.rejected, &y.rejected
		return cmp.Or(cmp.Compare(x.period, y.period), cmp.Compare(x.object, y.object), cmp.Compare(a.Row, b.Row), cmp.Compare(a.RecordID, b.RecordID),
			cmp.Compare(a.Meter, b.Meter), cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Detail, b.Detail), slices.Compare(a.Raw, b.Raw))
	})
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		rng.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
		got := readBack(t, sealed(t, rows), 3)
		for i := range want {
			if len(got) != len(want) || !reflect.DeepEqual(got[i], want[i]) {
				t.Fatalf("row %d of %d: got %+v, want %+v of %d", i, len(got), got[i], want[i], len(want))
			}
		}
	}
}

// TestQuarantineKeepsBytes: what a producer sent is shown as it was sent.
func TestQuarantineKeepsBytes(t *testing.T) {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	long := strings.Repeat("\xff\x00long", 1<<18)
	rows := []placed{
		{0, 0, rating.Rejected{Reason: rating.BadObject, Detail: "the whole object"}},
		{0, 0, rating.Rejected{Row: 1, RecordID: string(every), Account: "\xff", Meter: "\x00", Detail: "é\xc3", Raw: every, Time: math.MinInt64}},
		{0, 0, rating.Rejected{Row: 2, RecordID: long, Raw: []byte(long[:rating.RawMax]), Time: math.MaxInt64, HasTime: true}},
		{0, 0, rating.Rejected{Row: math.MaxInt64, Reason: math.MaxUint8 >> 1, Time: -1, HasTime: true}},
		{math.MaxInt32, 0, rating.Rejected{Row: 1}},
	}
	if got := readBack(t, sealed(t, rows), 1); !reflect.DeepEqual(got, rows) {
		t.Errorf("came back as %.2000q", fmt.Sprintf("%+v", got))
	}
	if got := readBack(t, sealed(t, nil), 1); got != nil {
		t.Errorf("in an empty one are %v", got)
	}
}

func TestQuarantineDropsObjects(t *testing.T) {
	q := newQuarantine(t.TempDir())
	defer q.close()
	row := func(object int32, row int64) placed { return placed{object, 0, rating.Rejected{Row: row}} }
	addAll(t, q, []placed{row(1, 1), row(2, 1), row(1, 2)})
	q.drop(1)
	q.drop(3)
	addAll(t, q, []placed{row(1, 0), row(2, 2), row(3, 1)})
	for range 2 {
		if err := q.seal(); err != nil {
			t.Fatal(err)
		}
		if got, want := readBack(t, q, 1), []placed{row(1, 0), row(2, 1), row(2, 2), row(3, 1)}; !reflect.DeepEqual(got, want) {
			t.Errorf("%+v", got)
		}
	}
}

func TestQuarantineRehomesObjects(t *testing.T) {
	row := func(object, period int32, row int64, reason rating.Reason, hasTime bool) placed {
		return placed{object, period, rating.Rejected{Row: row, Reason: reason, HasTime: hasTime, Future: reason == rating.BadQuantity}}
	}
	rows := []placed{
		row(1, 0, 1, rating.BadTime, false), row(2, 0, 1, rating.BadTime, false), row(1, 0, 2, rating.Conflict, true), row(1, 0, 3, rating.BadQuantity, true),
		row(2, 0, 2, rating.BadTime, false),
	}
	for _, to := range []int32{1, -1} {
		q := newQuarantine(t.TempDir())
		defer q.close()
		addAll(t, q, rows)
		if moved := q.rehome(1, to); moved != 2 {
			t.Errorf("%d moved to %d", moved, to)
		}
		if moved := q.rehome(3, to); moved != 0 {
			t.Errorf("of no object, %d moved to %d", moved, to)
		}
		if err := q.seal(); err != nil {
			t.Fatal(err)
		}
		want := []placed{rows[2], rows[1], rows[4]}
		if to == 1 {
			want = append(want, row(1, 1, 1, rating.BadTime, false), row(1, 1, 3, rating.BadQuantity, true))
		}
		if got := readBack(t, q, 2); !reflect.DeepEqual(got, want) {
			t.Errorf("%+v", got)
		}
	}
}

// TestQuarantineLeavesNothing: the file has usage of customers in it, and a killed run cleans nothing up.
func TestQuarantineLeavesNothing(t *testing.T) {
	q := newQuarantine(t.TempDir())
	addAll(t, q, emitted())
	if info, err := q.file.Stat(); err != nil || info.Mode() != 0o600 && runtime.GOOS != "windows" {
		t.Error(info.Mode(), err)
	}
	if left, err := os.ReadDir(q.dir); err != nil || len(left) > 0 && runtime.GOOS != "windows" {
		t.Error("while it is in use there are", left, err)
	}
	if err := errors.Join(q.seal(), q.close()); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(q.dir); err != nil || len(left) > 0 {
		t.Error("afterwards there are", left, err)
	}
}

// TestQuarantineNoticesDamage: rows come back as they were, or not at all.
func TestQuarantineNoticesDamage(t *testing.T) {
	rows := []placed{{0, 0, rating.Rejected{Row: 1, RecordID: "a", Raw: []byte("raw")}}, {0, 0, rating.Rejected{Row: 2}}}
	q := sealed(t, rows)
	for at := range q.size {
		var was [1]byte
		if _, err := q.file.ReadAt(was[:], at); err != nil {
			t.Fatal(err)
		}
		if _, err := q.file.WriteAt([]byte{was[0] ^ 4}, at); err != nil {
			t.Fatal(err)
		}
		var found error
		for _, err := range q.of(0) {
			found = errors.Join(found, err)
		}
		if found == nil || !strings.Contains(found.Error(), "CRC32C") {
			t.Errorf("byte %d is another one: %v", at, found)
		}
		if _, err := q.file.WriteAt(was[:], at); err != nil {
			t.Fatal(err)
		}
	}
	if got := readBack(t, q, 1); !reflect.DeepEqual(got, rows) {
		t.Errorf("%+v", got)
	}
	if err := q.file.Truncate(q.size - 1); err != nil {
		t.Fatal(err)
	}
	var found error
	for _, err := range q.of(0) {
		found = errors.Join(found, err)
	}
	if found == nil {
		t.Error("a short file is no error")
	}
}

func TestQuarantineSaysWhereThereIsNoSpace(t *testing.T) {
	q := newQuarantine("no/such/folder")
	err := q.add(0, 0, &rating.Rejected{})
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "no/such/folder") || !strings.Contains(err.Error(), "temp_dir") {
		t.Error(err)
	}
	if err := q.close(); err != nil {
		t.Error(err)
	}
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		t.Skip("there is no full device here")
	}
	q = newQuarantine("")
	q.use(full)
	err = q.add(0, 0, &rating.Rejected{})
	if err == nil {
		err = q.seal()
	}
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "temp_dir") {
		t.Error(err)
	}
	q.close()
}

func TestQuarantineTakesRowsSideBySide(t *testing.T) {
	rows := emitted()
	want := readBack(t, sealed(t, rows), 3)
	q := newQuarantine(t.TempDir())
	defer q.close()
	var group sync.WaitGroup
	for object := range int32(5) {
		group.Go(func() {
			for i := range rows {
				if rows[i].object != object {
					continue
				}
				if err := q.add(object, rows[i].period, &rows[i].rejected); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if err := q.seal(); err != nil {
		t.Fatal(err)
	}
	if got := readBack(t, q, 3); !reflect.DeepEqual(got, want) {
		t.Error("another order")
	}
}

func BenchmarkQuarantine(b *testing.B) {
	row := func(i int) *rating.Rejected {
		return &rating.Rejected{
			Row: int64(i), Reason: rating.BadQuantity, Detail: `quantity "-1" is negative`, RecordID: fmt.Sprintf("%08x-0000-4000-8000-000000000000", i),
			Account: "acct-000123", Meter: "calls", Time: 1790812800_000000, HasTime: true,
			Raw: fmt.Appendf(nil, `{"id":"%08x-0000-4000-8000-000000000000","account":"acct-000123","meter":"calls","quantity":"-1","time":"2026-10-01T00:00:00Z"}`, i),
		}
	}
	rows := make([]*rating.Rejected, 1000)
	for i := range rows {
		rows[i] = row(i)
	}
	b.Run("add", func(b *testing.B) {
		q := newQuarantine(b.TempDir())
		defer q.close()
		for i := 0; b.Loop(); i++ {
			if err := q.add(int32(i>>10), int32(i&1), rows[i%1000]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("read", func(b *testing.B) {
		q := newQuarantine(b.TempDir())
		defer q.close()
		for i := range 100_000 {
			rows[i%1000].Row = int64(i)
			if err := q.add(int32(i%8), 0, rows[i%1000]); err != nil { // as eight goroutines do
				b.Fatal(err)
			}
		}
		if err := q.seal(); err != nil {
			b.Fatal(err)
		}
		b.ResetTimer()
		for n := 0; n < b.N; {
			for _, err := range q.of(0) {
				if err != nil {
					b.Fatal(err)
				}
				if n++; n >= b.N {
					break
				}
			}
		}
	})
}

// TestQuarantineHasAnEnd (R4.4): rows are on disk, but where each stands is in memory.
func TestQuarantineHasAnEnd(t *testing.T) {
	if size := int(unsafe.Sizeof(rejectedRow{})); size != rejectedRowBytes {
		t.Errorf("a row takes %d bytes of memory, not %d", size, rejectedRowBytes)
	}
	q := newQuarantine(t.TempDir())
	defer q.close()
	q.most = 2
	for range 2 {
		if err := q.add(0, 0, &rating.Rejected{Row: 1, Reason: rating.Malformed}); err != nil {
			t.Fatal(err)
		}
	}
	if err := q.add(0, 0, &rating.Rejected{Row: 2, Reason: rating.Malformed, Detail: "line is no JSON"}); err == nil || !strings.Contains(err.Error(), "(malformed) because line is no JSON") {
		t.Error(err)
	}
}
