package rating

import (
	"fmt"
	"testing"
)

func TestIDsAreFoundAndOthersAreNot(t *testing.T) {
	for _, rows := range []int{0, 1, 7, 8, 1000, 100_000} {
		id := func(row int) string { return fmt.Sprintf("acct-%0*d", row%11, row) }
		x := newIDIndex(rows, id)
		for row := range rows {
			if found, ok := x.find([]byte(id(row))); !ok || int(found) != row {
				t.Fatalf("%d rows: %q is found as %d, %t", rows, id(row), found, ok)
			}
		}
		ids := [][]byte{[]byte("acct"), {}}
		for row := range rows {
			ids = append(ids, []byte(id(row)))
		}
		found := make([]int32, len(ids))
		x.findAll(found, func(i int) []byte { return ids[i] })
		for i, row := range found {
			if want := int32(i - 2); i < 2 && row != None || i >= 2 && row != want {
				t.Fatalf("%d rows: %q is found as %d among all", rows, ids[i], row)
			}
		}
		for _, other := range []string{"", "acct-", "acct", fmt.Sprintf("acct-%d", rows+1) + "x"} {
			if found, ok := x.find([]byte(other)); ok {
				t.Fatalf("%d rows: %q is found as %d", rows, other, found)
			}
		}
	}
}

func BenchmarkFindIDs(b *testing.B) {
	const rows = 100_000
	id := func(row int) string { return fmt.Sprintf("acct-%06d", row) }
	x := newIDIndex(rows, id)
	ids := make([][]byte, rows)
	for i := range ids {
		ids[i] = []byte(id(i * 7919 % rows))
	}
	found := make([]int32, rows)
	b.Run("one by one", func(b *testing.B) {
		for b.Loop() {
			for i := range ids {
				found[i], _ = x.find(ids[i])
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/rows, "ns/id")
	})
	b.Run("all", func(b *testing.B) {
		for b.Loop() {
			x.findAll(found, func(i int) []byte { return ids[i] })
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/rows, "ns/id")
	})
}
