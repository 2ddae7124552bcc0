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
		for _, other := range []string{"", "acct-", "acct", fmt.Sprintf("acct-%d", rows+1) + "x"} {
			if found, ok := x.find([]byte(other)); ok {
				t.Fatalf("%d rows: %q is found as %d", rows, other, found)
			}
		}
	}
}
