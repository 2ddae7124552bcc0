package rating_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"drawdown/rating"
)

// settledDraft is a catalog of which a day is settled before it is edited.
func settledDraft() *rating.Draft {
	covers := []rating.CoverDraft{{Meter: "calls"}}
	return &rating.Draft{
		Accounts: []rating.AccountDraft{{ID: "acme"}, {ID: "member", Payer: "acme"}, {ID: "other"}},
		Meters:   []rating.MeterDraft{{ID: "calls"}, {ID: "gb", Scale: "9"}},
		Prices:   []rating.PriceDraft{{ID: "list", Meter: "calls", Model: "flat", Price: "1"}},
		Packages: []rating.PackageDraft{
			{ID: "p", Account: "acme", Kind: "pay_per_use", Quota: "10", Effective: "2026-10-01", Expires: "2026-12-31", Covers: covers},
			{
				ID: "q", Account: "member", Kind: "pay_per_use", Quota: "1", Effective: "2026-09-01", Expires: "2026-12-31",
				Reset: "day", RolloverMax: "6000000000", Covers: covers,
			},
		},
		Changes: []rating.ChangeDraft{
			{Package: "p", At: "2026-10-01T12:00:00Z", ResizedQuota: "20"}, {Package: "q", At: "2026-09-02", ResizedQuota: "6000000000"},
		},
	}
}

func compiled(t *testing.T, d *rating.Draft) *rating.Catalog {
	t.Helper()
	c, faults := rating.Compile(d, rating.CompileConfig{Zone: time.UTC, Currency: "USD"})
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	return c
}

// TestSettledRowsMayNotBeEdited: who asks before an edit is told what [rating.Settler.Begin] would refuse after it, and nothing
// else.
func TestSettledRowsMayNotBeEdited(t *testing.T) {
	day := func(n int) rating.Instant { return rating.InstantOf(time.Date(2026, 10, n, 0, 0, 0, 0, time.UTC)) }
	order, _ := rating.ParseOrder(nil)
	config := rating.Config{Zone: time.UTC, Order: order}
	for _, test := range []struct {
		name string
		edit func(*rating.Draft)
		want []string // in the faults; none: the edit is free
	}{
		{"nothing", func(*rating.Draft) {}, nil},
		{"names", func(d *rating.Draft) { d.Accounts[0].Name, d.Packages[0].Name, d.Packages[0].Priority = "a", "b", "7" }, nil},
		{"spelling", func(d *rating.Draft) { d.Packages[0].Quota, d.Packages[0].Effective = "1e1", "2026-10-01T00:00:00Z" }, nil},
		{"change to come", func(d *rating.Draft) {
			d.Changes = append(d.Changes, rating.ChangeDraft{Package: "p", At: "2026-10-02", ResizedQuota: "5"})
		}, nil},
		{"finer package", func(d *rating.Draft) { d.Packages[0].Scale = "2" }, nil},
		{"late change", func(d *rating.Draft) {
			d.Changes = append(d.Changes, rating.ChangeDraft{Package: "q", At: "2026-10-01", Extended: "2027-12-31"})
		}, nil},
		{"quota", func(d *rating.Draft) { d.Packages[0].Quota = "11" }, []string{`R5.3: package "p"`, "up to 2026-10-02T00:00:00Z", "enter a package change"}},
		{"expires", func(d *rating.Draft) { d.Packages[0].Expires = "2027-12-31" }, []string{`R5.3: package "p"`}},
		{"effective", func(d *rating.Draft) { d.Packages[1].Effective = "2026-10-02" }, []string{`R5.3: package "q"`}},
		{"reset", func(d *rating.Draft) { d.Packages[1].Reset = "month" }, []string{`R5.3: package "q"`}},
		{"owner", func(d *rating.Draft) { d.Packages[0].Account = "other" }, []string{`R5.3: package "p": it belonged to another`}},
		{"payer of a member", func(d *rating.Draft) { d.Accounts[1].Payer = "other" }, []string{
			`R5.3: package "q": it belonged to another`, `R5.3: account "member": another account pays`,
		}},
		{"a payer's payer", func(d *rating.Draft) { d.Accounts[0].Payer, d.Accounts[1].Payer = "other", "other" }, []string{`R5.3: account "acme": it paid for itself`}},
		{"change taken back", func(d *rating.Draft) { d.Changes = d.Changes[1:] }, []string{`R2.5: package "p": a change before 2026-10-02T00:00:00Z`}},
		{"meter's scale", func(d *rating.Draft) { d.Meters[0].Scale = "1" }, []string{`R5.3: meter "calls": its scale was 0`}},
		{"more decimals than fit", func(d *rating.Draft) { d.Packages[1].Scale = "9" }, []string{`R1.5: package "q": what is left of it`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			draft := settledDraft()
			before := compiled(t, draft)
			settler := rating.NewSettler(before, config, nil)
			payer, _ := before.AccountIndex([]byte("acme"))
			member, _ := before.AccountIndex([]byte("member"))
			if err := settler.Begin(payer, rating.Period{Start: day(1), End: day(2)}, nil); err != nil {
				t.Fatal(err)
			}
			if err := settler.Add(&rating.Batch{
				Time: []rating.Instant{day(1)}, Account: []int32{member}, Meter: []int32{0}, Quantity: []int64{1},
				Object: []int32{0}, Row: []int64{1}, IDs: []byte("r"), IDStart: []uint32{0}, IDEnd: []uint32{1},
			}); err != nil {
				t.Fatal(err)
			}
			state, err := settler.End()
			if err != nil {
				t.Fatal(err)
			}
			test.edit(draft)
			slices.Reverse(draft.Packages) // a fault names the row of the draft, wherever it stands
			after := compiled(t, draft)
			faults := rating.CheckSettled(draft, after, day(2), slices.Values([]*rating.PayerState{state, state}))
			if len(faults) != len(test.want) && (len(test.want) == 0 || len(test.want) < len(faults)) {
				t.Fatalf("faults %v", faults)
			}
			var texts []string
			for i := range faults {
				texts = append(texts, faults[i].Error())
				if id := draft.Packages[min(faults[i].Index, 1)].ID; faults[i].Kind == rating.KindPackage && !strings.Contains(faults[i].Message, id) {
					t.Errorf("%v is placed at package %s", faults[i], id)
				}
			}
			for _, want := range test.want {
				if !strings.Contains(strings.Join(texts, "\n"), want) {
					t.Errorf("faults %q do not say %s", texts, want)
				}
			}
			err = rating.NewSettler(after, config, nil).Begin(payer, rating.Period{Start: day(2), End: day(3)}, state)
			if len(faults) == 0 && err != nil || len(faults) > 0 && (err == nil || err.Error() != texts[0]) {
				t.Errorf("Begin says %v, and the check %q", err, texts)
			}
		})
	}
}
