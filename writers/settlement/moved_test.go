package settlement

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestMovedIsWhatBalancesSay reads balances of several pages both ways.
func TestMovedIsWhatBalancesSay(t *testing.T) {
	dir := t.TempDir()
	w := newWorld(9, 2*pageRows, 2*pageRows)
	r := w.create(t, dir)
	w.write(t, r, 1, 1<<30)
	file := Path(filepath.Join(dir, r.dir, "balances-000.parquet"))
	type moved struct{ Account, Package, Deducted, Closing string }
	var want, got []moved
	for _, b := range collect(t, ReadBalances(file)) {
		want = append(want, moved{b.Account, b.Package, b.Deducted.String(), b.Closing.String()})
	}
	err := ReadMoved(file, func(m *Moved) error {
		got = append(got, moved{string(m.Account), string(m.Package), m.Deducted.String(), m.Closing.String()})
		return nil
	})
	if diff := cmp.Diff(want, got); diff != "" || err != nil || len(got) <= pageRows {
		t.Error(len(got), err, diff)
	}
}
