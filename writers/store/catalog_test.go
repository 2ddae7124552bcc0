package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"drawdown/rating"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// drafts makes catalogs whose references hold, and whose other fields are any text.
func drafts(t *rapid.T) *rating.Draft {
	text := rapid.StringOfN(rapid.Rune().Filter(func(r rune) bool { return r != 0 && r != 0x1f }), 0, 8, -1)
	if rapid.Bool().Draw(t, "plain") {
		text = rapid.SampledFrom([]string{"", "", "a", "1.5", "2026-10-01", `"`, `\`, "\n", "é", "😀", "','", "\x01"})
	}
	words := func(n int) []string {
		return rapid.SliceOfN(text, 0, n).Draw(t, "texts")
	}
	ids := func(name string, low int) []string {
		return rapid.SliceOfNDistinct(text.Filter(func(s string) bool { return s != "" }), low, 6, rapid.ID[string]).Draw(t, name)
	}
	fill := func(fields ...*string) {
		for _, field := range fields {
			*field = text.Draw(t, "field")
		}
	}
	d := &rating.Draft{}
	accounts, meters := ids("accounts", 1), ids("meters", 1)
	for _, id := range accounts {
		a := rating.AccountDraft{ID: id}
		fill(&a.Name, &a.Payer, &a.TimeZone, &a.Currency, &a.Email, &a.Phone, &a.Locale, &a.Balance)
		d.Accounts = append(d.Accounts, a)
		if rapid.Bool().Draw(t, "top-up") {
			d.TopUps = append(d.TopUps, rating.TopUpDraft{Account: id, At: "2026-10-01", Amount: text.Draw(t, "amount")})
		}
	}
	for _, id := range meters {
		m := rating.MeterDraft{ID: id}
		fill(&m.Unit, &m.Scale, &m.Max, &m.Description)
		d.Meters = append(d.Meters, m)
	}
	for _, id := range ids("prices", 0) {
		p := rating.PriceDraft{ID: id, Meter: rapid.SampledFrom(meters).Draw(t, "meter")}
		fill(&p.Account, &p.From, &p.To, &p.Currency, &p.Model, &p.Counts, &p.Price, &p.Per, &p.Size)
		for range rapid.IntRange(0, 2).Draw(t, "tiers") {
			tier := rating.TierDraft{}
			fill(&tier.UpTo, &tier.Price, &tier.Per)
			p.Tiers = append(p.Tiers, tier)
		}
		d.Prices = append(d.Prices, p)
	}
	for _, id := range ids("packages", 0) {
		p := rating.PackageDraft{ID: id, Account: rapid.SampledFrom(accounts).Draw(t, "account")}
		fill(&p.Product, &p.Name, &p.Kind, &p.Quota, &p.Unit, &p.Scale, &p.Effective, &p.Expires, &p.Created, &p.Priority, &p.Source,
			&p.Shared, &p.Reset, &p.RolloverMax, &p.GraceDays, &p.RetentionDays, &p.PricePaid, &p.Currency)
		for range rapid.IntRange(0, 2).Draw(t, "covers") {
			c := rating.CoverDraft{}
			fill(&c.Meter, &c.Rate, &c.Hours)
			for _, attribute := range ids("attributes", 1)[1:] {
				c.Where = append(c.Where, rating.ConditionDraft{Attribute: attribute, Values: append([]string{"v"}, words(2)...)})
			}
			slices.SortFunc(c.Where, func(a, b rating.ConditionDraft) int {
				return slices.Compare([]string{a.Attribute}, []string{b.Attribute})
			})
			p.Covers = append(p.Covers, c)
		}
		d.Packages = append(d.Packages, p)
		for _, change := range []rating.ChangeDraft{{RenewedExpires: "x"}, {Extended: "y"}, {ResizedQuota: "1"}, {Revoked: "true"}} {
			if rapid.Bool().Draw(t, "change") {
				change.Package, change.At = id, rapid.SampledFrom([]string{"2026-10-01", "2026-10-02"}).Draw(t, "at")
				d.Changes = append(d.Changes, change)
			}
		}
	}
	for _, id := range ids("rules", 0) {
		r := rating.RuleDraft{ID: id, Thresholds: words(3), Channels: words(2)}
		fill(&r.Account, &r.Package, &r.Type)
		d.Rules = append(d.Rules, r)
	}
	return d
}

// ignoreEmpty takes no list and an empty list as the same.
var ignoreEmpty = cmp.FilterValues(func(a, b []string) bool { return len(a)+len(b) == 0 }, cmp.Comparer(func(a, b []string) bool { return true }))

func sorted(d *rating.Draft) *rating.Draft {
	s := Merge(&rating.Draft{}, d)
	for _, table := range catalogTables() {
		table.sort(s)
	}
	return s
}

func shuffled(d *rating.Draft, seed uint64) *rating.Draft {
	s, random := Merge(&rating.Draft{}, d), rand.New(rand.NewPCG(seed, 1))
	shuffle := func(n int, swap func(i, j int)) { random.Shuffle(n, swap) }
	shuffle(len(s.Accounts), func(i, j int) { s.Accounts[i], s.Accounts[j] = s.Accounts[j], s.Accounts[i] })
	shuffle(len(s.Packages), func(i, j int) { s.Packages[i], s.Packages[j] = s.Packages[j], s.Packages[i] })
	shuffle(len(s.Changes), func(i, j int) { s.Changes[i], s.Changes[j] = s.Changes[j], s.Changes[i] })
	return s
}

func apply(t rapid.TB, s *Store, d *rating.Draft) *CatalogPlan {
	t.Helper()
	plan, err := s.PlanCatalog(context.Background(), d)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.ApplyCatalog(context.Background(), plan); err != nil {
		t.Fatal(err)
	}
	return plan
}

func load(t rapid.TB, s *Store) *rating.Draft {
	t.Helper()
	d, err := s.LoadDraft(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestCatalogRoundTrip(t *testing.T) {
	s := fresh(t)
	rapid.Check(t, func(r *rapid.T) {
		for _, table := range slices.Backward(catalogTables()) {
			if _, err := s.write.Exec("DELETE FROM " + string(table.kind)); err != nil {
				r.Fatal(err)
			}
		}
		first, second := drafts(r), drafts(r)
		plan := apply(r, s, first)
		if rows := len(plan.Added); rows == 0 || len(plan.Changed)+len(plan.Kept)+plan.Unchanged != 0 {
			r.Fatalf("first plan: %+v", plan)
		}
		if diff := cmp.Diff(sorted(first), load(r, s), ignoreEmpty); diff != "" {
			r.Fatal(diff)
		}
		if HashDraft(first) != HashDraft(load(r, s)) || HashDraft(first) != HashDraft(shuffled(first, 1)) {
			r.Fatal("the hash depends on more than the rows")
		}
		if again := apply(r, s, shuffled(first, 2)); !again.Empty() || again.Unchanged != len(plan.Added) {
			r.Fatalf("the same again: %+v", again)
		}
		plan = apply(r, s, second)
		if diff := cmp.Diff(sorted(plan.Merged), load(r, s), ignoreEmpty); diff != "" {
			r.Fatal(diff)
		}
	})
}

func TestPlanNamesWhatChanges(t *testing.T) {
	s := fresh(t)
	apply(t, s, &rating.Draft{
		Accounts: []rating.AccountDraft{{ID: "a"}, {ID: "b", Name: "Bee"}},
		Meters:   []rating.MeterDraft{{ID: "m"}},
		Packages: []rating.PackageDraft{{ID: "p", Account: "a", Quota: "10", Covers: []rating.CoverDraft{{Meter: "m"}}}},
	})
	file := &rating.Draft{
		Accounts: []rating.AccountDraft{{ID: "a"}, {ID: "c"}},
		Packages: []rating.PackageDraft{{ID: "p", Account: "a", Quota: "20", Covers: []rating.CoverDraft{{Meter: "m", Rate: "2"}}}},
		Changes:  []rating.ChangeDraft{{Package: "p", At: "2026-10-05", ResizedQuota: "30"}},
	}
	plan, err := s.PlanCatalog(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	type shown struct {
		Added, Kept []CatalogRow
		Changed     []CatalogChange
		Unchanged   int
	}
	want := shown{
		Added: []CatalogRow{{rating.KindAccount, "c"}, {rating.KindChange, "p 2026-10-05 resized"}},
		Changed: []CatalogChange{{CatalogRow{rating.KindPackage, "p"}, []FieldChange{
			{"quota", "10", "20"}, {"covers", `[{"meter":"m"}]`, `[{"meter":"m","rate":"2"}]`},
		}}},
		Kept: []CatalogRow{{rating.KindAccount, "b"}, {rating.KindMeter, "m"}}, Unchanged: 1,
	}
	if diff := cmp.Diff(want, shown{plan.Added, plan.Kept, plan.Changed, plan.Unchanged}); diff != "" {
		t.Error(diff)
	}
	if merged := plan.Merged.Accounts; merged[0].ID != "a" || merged[1].ID != "c" || merged[2].ID != "b" {
		t.Errorf("the file's rows do not come first: %v", merged)
	}
	// Somebody else is quicker.
	apply(t, s, &rating.Draft{Accounts: []rating.AccountDraft{{ID: "z"}}})
	if err := s.ApplyCatalog(t.Context(), plan); !errors.Is(err, ErrCatalogMoved) {
		t.Errorf("error %v", err)
	}
	if n := count(t, s, "accounts WHERE id = 'c'"); n != 0 {
		t.Error("something was applied")
	}
}

func TestPlanRefuses(t *testing.T) {
	s := fresh(t)
	for _, c := range []struct {
		file  rating.Draft
		parts []string
	}{
		{rating.Draft{Accounts: []rating.AccountDraft{{ID: "a"}, {ID: "a"}}}, []string{"R2.8", "accounts: a", "twice"}},
		{rating.Draft{Accounts: []rating.AccountDraft{{ID: "a", Name: "x\x1fy"}}}, []string{"accounts: a: name", "U+001F"}},
		{rating.Draft{Changes: []rating.ChangeDraft{{Package: "p", At: "x"}}}, []string{"p at x", "just one"}},
		{rating.Draft{Changes: []rating.ChangeDraft{{Package: "p", At: "x", Revoked: "true", Extended: "y"}}}, []string{"just one"}},
	} {
		_, err := s.PlanCatalog(t.Context(), &c.file)
		wantError(t, err, c.parts...)
	}
	// All or nothing: the account is fine, the package's is unknown.
	plan, err := s.PlanCatalog(t.Context(), &rating.Draft{
		Accounts: []rating.AccountDraft{{ID: "a"}}, Packages: []rating.PackageDraft{{ID: "p", Account: "b"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, s.ApplyCatalog(t.Context(), plan), "table packages", "FOREIGN KEY")
	if n := count(t, s, "accounts"); n != 0 {
		t.Error("half of it was applied")
	}
}

// Another system's rows: written by hand, with SQL.
func TestLoadReadsForeignJSON(t *testing.T) {
	s := fresh(t)
	exec := func(query string, args ...any) {
		t.Helper()
		if _, err := s.write.Exec(query, args...); err != nil {
			t.Fatal(err)
		}
	}
	exec(`INSERT INTO accounts (id) VALUES ('a')`)
	exec(`INSERT INTO packages (id, account, covers) VALUES ('p', 'a', ?)`,
		` [ { "rate" : 1.50 , "meter":"m\u00e9\ud83d\ude00\n", "where": {"z": "one", "b": ["x", 2, true]}, "hours": null } ] `)
	want := []rating.CoverDraft{{Meter: "mé😀\n", Rate: "1.50", Where: []rating.ConditionDraft{
		{Attribute: "b", Values: []string{"x", "2", "true"}}, {Attribute: "z", Values: []string{"one"}},
	}}}
	if diff := cmp.Diff(want, load(t, s).Packages[0].Covers); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{
		`[`, `[{"metre": "m"}]`, `[{"meter": m}]`, `{}`, `[{"meter": "m"}] x`, `[{"meter": "\ud800"}]`, `[{"meter": "\x"}]`, `[{"meter": "m`,
		`[{"meter": "m",}]`, `[{"where": {"a": {}}}]`, `["m"]`, `[{"meter": "\u12`, `[{"meter": "a\`,
	} {
		exec(`UPDATE packages SET covers = ?`, bad)
		_, err := s.LoadDraft(t.Context())
		wantError(t, err, "table packages", "row p", "JSON")
	}
	exec(`UPDATE packages SET covers = '', name = ?`, "a\x1fb")
	_, err := s.LoadDraft(t.Context())
	wantError(t, err, "table packages", "U+001F")
}

func FuzzNested(f *testing.F) {
	f.Add(`[{"meter":"m","rate":"1","where":{"a":["x"]}}]`)
	f.Add(`[{"up_to":"1","price":2}]`)
	f.Add(`["\ud83d\ude00","a"]`)
	f.Fuzz(func(t *testing.T, text string) {
		memo := newMemo()
		if v, err := recall(memo.covers, text, readCovers); err == nil {
			again, err := recall(memo.covers, writeCovers(v), readCovers)
			if diff := cmp.Diff(v, again, ignoreEmpty); err != nil || diff != "" && len(v)+len(again) > 0 {
				t.Error(diff, err)
			}
		}
		if v, err := recall(memo.texts, text, readTexts); err == nil {
			if again, err := recall(memo.texts, writeTexts(v), readTexts); err != nil || !slices.Equal(v, again) {
				t.Error(again, err)
			}
		}
		_, _ = recall(memo.tiers, text, readTiers)
	})
}

// bigDraft is a catalog of 100,000 accounts and 200,000 packages of some products.
func bigDraft(accounts, packages int) *rating.Draft {
	d := &rating.Draft{Meters: []rating.MeterDraft{{ID: "tokens", Unit: "token"}}}
	for i := range accounts {
		id := fmt.Sprintf("account-%06d", i)
		d.Accounts = append(d.Accounts, rating.AccountDraft{ID: id, Name: "Customer " + id, TimeZone: "Europe/Berlin", Email: id + "@example.com"})
	}
	for i := range packages {
		d.Packages = append(d.Packages, rating.PackageDraft{
			ID: fmt.Sprintf("package-%07d", i), Account: fmt.Sprintf("account-%06d", i%accounts), Product: fmt.Sprintf("llm-%d", i%10),
			Name: "A million tokens", Kind: "pay_per_use", Quota: "1000000", Effective: "2026-10-01", Expires: "2027-10-01",
			Source: "subscription", Reset: "month", PricePaid: "9.99", Currency: "USD",
			Covers: []rating.CoverDraft{{Meter: "tokens", Rate: "1", Where: []rating.ConditionDraft{
				{Attribute: "model", Values: []string{fmt.Sprintf("m%d", i%10)}},
			}}},
		})
	}
	return d
}

func BenchmarkCatalog(b *testing.B) {
	d := bigDraft(100_000, 200_000)
	s := fresh(b)
	b.Run("apply", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			for _, table := range slices.Backward(catalogTables()) {
				if _, err := s.write.Exec("DELETE FROM " + string(table.kind)); err != nil {
					b.Fatal(err)
				}
			}
			b.StartTimer()
			plan, err := s.PlanCatalog(b.Context(), d)
			if err == nil {
				err = s.ApplyCatalog(b.Context(), plan)
			}
			if err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/300_000, "ns/row")
	})
	for name, do := range map[string]func() error{
		"load": func() error { _, err := s.LoadDraft(b.Context()); return err },
		"hash": func() error { HashDraft(d); return nil },
		"plan": func() error { _, err := s.PlanCatalog(b.Context(), d); return err },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := do(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/300_000, "ns/row")
		})
	}
}
