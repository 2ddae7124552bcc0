package store

import (
	"errors"
	"path/filepath"
	"testing"

	"drawdown/rating"
)

// TestFullDiskIsTold: what SQLite says where it has no more room is known for what it is, and nothing of it is stored.
func TestFullDiskIsTold(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "drawdown.db"), ReadWrite)
	s.write.MustExecContext(t.Context(), "PRAGMA max_page_count = 1") // no less than there are
	before := snapshot(t, s)
	d := &rating.Draft{}
	for range 5000 {
		d.Accounts = append(d.Accounts, rating.AccountDraft{ID: rating.Instant(len(d.Accounts)).String(), Name: "some account"})
	}
	plan, err := s.PlanCatalog(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.ApplyCatalog(t.Context(), plan, CatalogForm{Checked: Hash{1}}); !IsFull(err) {
		t.Errorf("error %v", err)
	}
	if after := snapshot(t, s); len(after["accounts"]) != len(before["accounts"]) {
		t.Errorf("%d accounts", len(after["accounts"]))
	}
	if IsFull(nil) || IsFull(errors.New("full")) {
		t.Error("anything is a full disk")
	}
}
