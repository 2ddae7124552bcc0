package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode"

	"drawdown/rating"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// drafts makes catalogs whose references hold and whose fields PostgreSQL takes one by one, but which are not valid as a
// whole. What is free text is any text.
func drafts(t *rapid.T) *rating.Draft {
	text := rapid.StringOfN(rapid.Rune().Filter(func(r rune) bool { return !unicode.IsControl(r) }), 0, 8, -1)
	if rapid.Bool().Draw(t, "plain") {
		text = rapid.SampledFrom([]string{"", "", "a", "1.5", "2026-10-01", `"`, `\`, "é", "😀", "','"})
	}
	words := func(low, high int) []string {
		return rapid.SliceOfN(text, low, high).Draw(t, "texts")
	}
	one := func(field *string, of ...string) { *field = rapid.SampledFrom(of).Draw(t, "field") }
	decimals := []string{"0", "1.5", "+007", ".5", "5.", "1e3", "9223372036854775807", "-0.0", "2.5E-1"}
	optional := append([]string{""}, decimals...)
	moments := []string{"2026-10-01", "2024-02-29", "2026-10-01T08:30:00Z", "2026-10-01 08:30:00.123456789+08:00", "2026-12-31t23:59:59z"}
	ids := func(name string, low int) []string {
		return rapid.SliceOfNDistinct(text.Filter(func(s string) bool { return s != "" && strings.TrimSpace(s) == s }), low, 6, rapid.ID[string]).Draw(t, name)
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
		fill(&a.Name, &a.TimeZone, &a.Locale)
		one(&a.Payer, append([]string{""}, accounts...)...)
		one(&a.Currency, "", "USD")
		one(&a.Email, "", "a@b", "ü.x+y@example.com")
		one(&a.Phone, "", "+4915112345678", "110")
		one(&a.Balance, append(optional, "-12.5")...)
		d.Accounts = append(d.Accounts, a)
		if rapid.Bool().Draw(t, "top-up") {
			d.TopUps = append(d.TopUps, rating.TopUpDraft{Account: id, At: "2026-10-01", Amount: "1e-3"})
		}
	}
	for _, id := range meters {
		m := rating.MeterDraft{ID: id}
		fill(&m.Unit, &m.Description)
		one(&m.Scale, "", "0", "9", "2.0", "+3")
		one(&m.Max, optional...)
		d.Meters = append(d.Meters, m)
	}
	for _, id := range ids("prices", 0) {
		p := rating.PriceDraft{ID: id, Meter: rapid.SampledFrom(meters).Draw(t, "meter")}
		one(&p.Account, append([]string{""}, accounts...)...)
		one(&p.From, append(moments, "")...)
		one(&p.To, append(moments, "")...)
		one(&p.Model, "flat", "graduated", "volume", "block")
		one(&p.Counts, "", "excess", "usage")
		for _, field := range []*string{&p.Price, &p.Per, &p.Size} {
			one(field, optional...)
		}
		for range rapid.IntRange(0, 2).Draw(t, "tiers") {
			tier := rating.TierDraft{}
			fill(&tier.UpTo, &tier.Price, &tier.Per)
			p.Tiers = append(p.Tiers, tier)
		}
		d.Prices = append(d.Prices, p)
	}
	for _, id := range ids("packages", 0) {
		p := rating.PackageDraft{ID: id, Account: rapid.SampledFrom(accounts).Draw(t, "account")}
		fill(&p.Product, &p.Name, &p.Unit)
		one(&p.Kind, "pay_per_use", "stop_before_excess")
		one(&p.Quota, decimals...)
		one(&p.Scale, "", "9")
		one(&p.Effective, moments...)
		p.Expires = "2027-01-01"
		one(&p.Created, append(moments, "")...)
		one(&p.Priority, "", "-9223372036854775808", "7")
		one(&p.Source, "", "free", "promotion", "subscription")
		one(&p.Shared, "", "true", "False")
		one(&p.Reset, "", "none", "hour", "day", "week", "month", "year", "calendar_month")
		one(&p.RolloverMax, optional...)
		one(&p.GraceDays, "", "0", "3650")
		one(&p.RetentionDays, "", "15")
		one(&p.PricePaid, optional...)
		one(&p.Currency, "", "EUR")
		for range rapid.IntRange(1, 2).Draw(t, "covers") {
			c := rating.CoverDraft{}
			fill(&c.Meter, &c.Rate, &c.Hours)
			for _, attribute := range ids("attributes", 1)[1:] {
				c.Where = append(c.Where, rating.ConditionDraft{Attribute: attribute, Values: append([]string{"v"}, words(0, 2)...)})
			}
			slices.SortFunc(c.Where, func(a, b rating.ConditionDraft) int {
				return slices.Compare([]string{a.Attribute}, []string{b.Attribute})
			})
			p.Covers = append(p.Covers, c)
		}
		d.Packages = append(d.Packages, p)
		for _, change := range []rating.ChangeDraft{{RenewedExpires: "2027-02-01"}, {Extended: "2027-03-01T00:00:00Z"}, {ResizedQuota: "1"}, {Revoked: "true"}} {
			if rapid.Bool().Draw(t, "change") {
				change.Package, change.At = id, rapid.SampledFrom([]string{"2026-10-01", "2026-10-02"}).Draw(t, "at")
				d.Changes = append(d.Changes, change)
			}
		}
	}
	for _, id := range ids("rules", 0) {
		r := rating.RuleDraft{ID: id, Thresholds: words(1, 3), Channels: words(0, 2)}
		one(&r.Account, append([]string{""}, accounts...)...)
		one(&r.Type, "percentage", "absolute")
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
	if _, err := s.ApplyCatalog(context.Background(), plan, inShards()); err != nil {
		t.Fatal(err)
	}
	return plan
}

func applied(s *Store, p *CatalogPlan) error {
	_, err := s.ApplyCatalog(context.Background(), p, CatalogForm{Checked: Hash{1}})
	return err
}

func load(t rapid.TB, s *Store) *rating.Draft {
	t.Helper()
	d, err := s.LoadDraft(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestCatalogRoundTrip(t *testing.T) { onEach(t, testCatalogRoundTrip) }

func testCatalogRoundTrip(t *testing.T, db database) {
	s := db.fresh(t)
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

// bought is a package with what a table asks for.
func bought(id, account, quota string, covers ...rating.CoverDraft) rating.PackageDraft {
	return rating.PackageDraft{
		ID: id, Account: account, Quota: quota, Kind: "pay_per_use", Effective: "2026-10-01", Expires: "2026-10-31", Covers: covers,
	}
}

func TestPlanNamesWhatChanges(t *testing.T) { onEach(t, testPlanNamesWhatChanges) }

func testPlanNamesWhatChanges(t *testing.T, db database) {
	s := db.fresh(t)
	apply(t, s, &rating.Draft{
		Accounts: []rating.AccountDraft{{ID: "a"}, {ID: "b", Name: "Bee"}},
		Meters:   []rating.MeterDraft{{ID: "m"}},
		Packages: []rating.PackageDraft{bought("p", "a", "10", rating.CoverDraft{Meter: "m"})},
	})
	file := &rating.Draft{
		Accounts: []rating.AccountDraft{{ID: "a"}, {ID: "c"}},
		Packages: []rating.PackageDraft{bought("p", "a", "20", rating.CoverDraft{Meter: "m", Rate: "2"})},
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
	if _, err := s.ApplyCatalog(t.Context(), plan, CatalogForm{Checked: Hash{1}}); !errors.Is(err, ErrCatalogMoved) {
		t.Errorf("error %v", err)
	}
	if n := count(t, s, "accounts WHERE id = 'c'"); n != 0 {
		t.Error("something was applied")
	}
}

func TestPlanRefuses(t *testing.T) { onEach(t, testPlanRefuses) }

func testPlanRefuses(t *testing.T, db database) {
	s := db.fresh(t)
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
		Accounts: []rating.AccountDraft{{ID: "a"}}, Packages: []rating.PackageDraft{bought("p", "b", "10", rating.CoverDraft{Meter: "m"})},
	})
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, applied(s, plan), "table packages", db.says("FOREIGN KEY", "packages_account_fkey"))
	if n := count(t, s, "accounts"); n != 0 {
		t.Error("half of it was applied")
	}
}

// Another system's rows: written by hand, with SQL.
func TestLoadReadsForeignJSON(t *testing.T) { onEach(t, testLoadReadsForeignJSON) }

func testLoadReadsForeignJSON(t *testing.T, db database) {
	s := db.fresh(t)
	exec := func(query string, args ...any) {
		t.Helper()
		if _, err := s.write.Exec(s.write.Rebind(query), args...); err != nil {
			t.Fatal(err)
		}
	}
	if db.isPostgres() { // which would refuse some of the rest itself
		exec(`ALTER TABLE packages DROP CONSTRAINT packages_covers_nothing, DROP CONSTRAINT packages_name_has_control_characters`)
	}
	exec(`INSERT INTO accounts (id) VALUES ('a')`)
	exec(`INSERT INTO packages (id, account, kind, quota, effective, expires, covers)
		VALUES ('p', 'a', 'pay_per_use', '1', '2026-10-01', '2026-10-31', ?)`,
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
	// All of them are named at once.
	exec(`INSERT INTO packages (id, account, kind, quota, effective, expires, covers)
		VALUES ('q', 'a', 'pay_per_use', '1', '2026-10-01', '2026-10-31', '[')`)
	_, err = s.LoadDraft(t.Context())
	wantError(t, err, "2 rows of the database", "U+001F", "row q")
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
	for _, db := range databases() {
		b.Run(db.name, func(b *testing.B) { benchmarkCatalog(b, db.fresh(b), d) })
	}
}

func benchmarkCatalog(b *testing.B, s *Store, d *rating.Draft) {
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
				_, err = s.ApplyCatalog(b.Context(), plan, CatalogForm{Checked: Hash{1}})
			}
			if err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/300_000, "ns/row")
	})
	apply(b, s, d)
	for name, do := range map[string]func() error{
		"load":          func() error { _, err := s.LoadDraft(b.Context()); return err },
		"hash":          func() error { HashDraft(d); return nil },
		"read the copy": func() error { _, err := s.ReadCatalog(b.Context(), CatalogForm{}); return err },
		"read its head, and a shard": func() error {
			head, err := s.ReadHead(b.Context(), inShards())
			if err == nil {
				_, err = s.ReadShard(b.Context(), head.Copy, 0)
			}
			return err
		},
		"copy": func() error { _, err := s.CopyCatalog(b.Context(), d, 0, CatalogForm{Checked: Hash{1}}); return err },
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
