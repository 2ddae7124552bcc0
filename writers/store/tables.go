package store

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"drawdown/rating"
)

// table is one kind of catalog row, as columns of text. All that is done with rows is done by means of it, so that a field
// is named in one place.
type table struct {
	kind    rating.Kind
	columns []string // the primary key first
	keys    int      // columns of the primary key
	count   func(d *rating.Draft) int
	// values fills in the columns of row i; key the first ones only.
	values func(d *rating.Draft, i int, v []string) error
	key    func(d *rating.Draft, i int, v []string)
	add    func(d *rating.Draft, v []string, memo *memo) error
	share  func(to, from *rating.Draft, i int) // appends row i
	sort   func(d *rating.Draft)
	grow   func(d *rating.Draft, n int)
	make   func(d *rating.Draft, n int)             // makes n empty rows
	window func(part, d *rating.Draft, from, n int) // gives part room for n rows, which are those of d from there on
}

// fields says how the rows of a table are laid out: plain text, then columns that hold something composed.
type fields[R any] struct {
	kind   rating.Kind
	plain  []string
	packed []string
	keys   []string
	rows   func(*rating.Draft) *[]R
	text   func(*R, []*string) // fills in where the plain columns stand
	pack   func(*R, []string) error
	unpack func(*R, []string, *memo) error
	key    func(*R, []string)
}

func describe[R any](f fields[R]) table {
	scratch := make([]*string, len(f.plain)) // a table serves one goroutine
	pointers := func(r *R) []*string {
		f.text(r, scratch)
		return scratch
	}
	t := table{kind: f.kind, columns: slices.Concat(f.plain, f.packed), keys: len(f.keys)}
	if !slices.Equal(t.columns[:t.keys], f.keys) {
		panic("store: the key columns of " + string(f.kind) + " do not come first")
	}
	t.count = func(d *rating.Draft) int { return len(*f.rows(d)) }
	t.values = func(d *rating.Draft, i int, v []string) error {
		r := &(*f.rows(d))[i]
		for n, field := range pointers(r) {
			v[n] = *field
		}
		if f.pack == nil {
			return nil
		}
		return f.pack(r, v[len(f.plain):])
	}
	t.key = func(d *rating.Draft, i int, v []string) { f.key(&(*f.rows(d))[i], v) }
	t.add = func(d *rating.Draft, v []string, memo *memo) error {
		rows := f.rows(d)
		var zero R
		if n := len(*rows); n == cap(*rows) {
			*rows = slices.Grow(*rows, max(n, 64)) // append would copy a long table many times
		}
		*rows = append(*rows, zero)
		r := &(*rows)[len(*rows)-1]
		for n, field := range pointers(r) {
			*field = v[n]
		}
		if f.unpack == nil {
			return nil
		}
		return f.unpack(r, v[len(f.plain):], memo)
	}
	t.share = func(to, from *rating.Draft, i int) { *f.rows(to) = append(*f.rows(to), (*f.rows(from))[i]) }
	t.grow = func(d *rating.Draft, n int) { *f.rows(d) = slices.Grow(*f.rows(d), n) }
	t.make = func(d *rating.Draft, n int) { *f.rows(d) = slices.Grow([]R(nil), n)[:n] }
	t.window = func(part, d *rating.Draft, from, n int) { *f.rows(part) = (*f.rows(d))[from : from : from+n] }
	t.sort = func(d *rating.Draft) {
		rows, order := f.rows(d), t.order(d)
		if slices.IsSorted(order) {
			return
		}
		sorted := make([]R, len(order))
		for to, from := range order {
			sorted[to] = (*rows)[from]
		}
		*rows = sorted
	}
	return t
}

// catalogTables gives the tables in an order in which references point backwards.
func catalogTables() []table {
	return []table{accountsTable(), metersTable(), pricesTable(), packagesTable(), changesTable(), rulesTable(), topUpsTable()}
}

func accountsTable() table {
	return describe(fields[rating.AccountDraft]{
		kind:  rating.KindAccount,
		plain: []string{"id", "name", "payer", "time_zone", "currency", "email", "phone", "locale", "balance"},
		keys:  []string{"id"},
		rows:  func(d *rating.Draft) *[]rating.AccountDraft { return &d.Accounts },
		key:   func(a *rating.AccountDraft, v []string) { v[0] = a.ID },
		text: func(a *rating.AccountDraft, p []*string) {
			copy(p, []*string{&a.ID, &a.Name, &a.Payer, &a.TimeZone, &a.Currency, &a.Email, &a.Phone, &a.Locale, &a.Balance})
		},
	})
}

func metersTable() table {
	return describe(fields[rating.MeterDraft]{
		kind:  rating.KindMeter,
		plain: []string{"id", "unit", "scale", "max", "description"},
		keys:  []string{"id"},
		rows:  func(d *rating.Draft) *[]rating.MeterDraft { return &d.Meters },
		key:   func(m *rating.MeterDraft, v []string) { v[0] = m.ID },
		text: func(m *rating.MeterDraft, p []*string) {
			copy(p, []*string{&m.ID, &m.Unit, &m.Scale, &m.Max, &m.Description})
		},
	})
}

func pricesTable() table {
	return describe(fields[rating.PriceDraft]{
		kind: rating.KindPrice,
		plain: []string{
			"id", "meter", "account", "from", "to", "currency", "model", "counts", "price", "per", "size",
		},
		packed: []string{"tiers"},
		keys:   []string{"id"},
		rows:   func(d *rating.Draft) *[]rating.PriceDraft { return &d.Prices },
		key:    func(r *rating.PriceDraft, v []string) { v[0] = r.ID },
		text: func(r *rating.PriceDraft, p []*string) {
			copy(p, []*string{
				&r.ID, &r.Meter, &r.Account, &r.From, &r.To, &r.Currency, &r.Model, &r.Counts, &r.Price, &r.Per, &r.Size,
			})
		},
		pack: func(r *rating.PriceDraft, v []string) error { v[0] = writeTiers(r.Tiers); return nil },
		unpack: func(r *rating.PriceDraft, v []string, m *memo) (err error) {
			r.Tiers, err = recall(m.tiers, v[0], readTiers)
			return err
		},
	})
}

func packagesTable() table {
	return describe(fields[rating.PackageDraft]{
		kind: rating.KindPackage,
		plain: []string{
			"id", "account", "product", "name", "kind", "quota", "unit", "scale", "effective", "expires", "created", "priority",
			"source", "shared", "reset", "rollover_max", "grace_days", "retention_days", "price_paid", "currency",
		},
		packed: []string{"covers"},
		keys:   []string{"id"},
		rows:   func(d *rating.Draft) *[]rating.PackageDraft { return &d.Packages },
		key:    func(r *rating.PackageDraft, v []string) { v[0] = r.ID },
		text: func(r *rating.PackageDraft, p []*string) {
			copy(p, []*string{
				&r.ID, &r.Account, &r.Product, &r.Name, &r.Kind, &r.Quota, &r.Unit, &r.Scale, &r.Effective, &r.Expires,
				&r.Created, &r.Priority, &r.Source, &r.Shared, &r.Reset, &r.RolloverMax, &r.GraceDays, &r.RetentionDays,
				&r.PricePaid, &r.Currency,
			})
		},
		pack: func(r *rating.PackageDraft, v []string) error { v[0] = writeCovers(r.Covers); return nil },
		unpack: func(r *rating.PackageDraft, v []string, m *memo) (err error) {
			r.Covers, err = recall(m.covers, v[0], readCovers)
			return err
		},
	})
}

// changeColumns gives the fields of a change, of which just one is set, by the names that column `change` has for them.
func changeColumns(c *rating.ChangeDraft) [4]struct {
	name  string
	value *string
} {
	return [4]struct {
		name  string
		value *string
	}{{"renewed", &c.RenewedExpires}, {"extended", &c.Extended}, {"resized", &c.ResizedQuota}, {"revoked", &c.Revoked}}
}

func changesTable() table {
	errNotOne := errors.New("just one of renewed, extended, resized and revoked must be set")
	pack := func(c *rating.ChangeDraft, v []string) error {
		v[0], v[1] = "", ""
		set := 0
		for _, column := range changeColumns(c) {
			if *column.value != "" {
				v[0], v[1] = column.name, *column.value
				set++
			}
		}
		if set != 1 {
			return fmt.Errorf("package_changes: %s at %s: %w", c.Package, c.At, errNotOne)
		}
		return nil
	}
	return describe(fields[rating.ChangeDraft]{
		kind:   rating.KindChange,
		plain:  []string{"package", "at"},
		packed: []string{"change", "value"},
		keys:   []string{"package", "at", "change"},
		rows:   func(d *rating.Draft) *[]rating.ChangeDraft { return &d.Changes },
		key: func(c *rating.ChangeDraft, v []string) {
			v[0], v[1], v[2] = c.Package, c.At, ""
			for _, column := range changeColumns(c) {
				if *column.value != "" {
					v[2] = column.name
				}
			}
		},
		text: func(c *rating.ChangeDraft, p []*string) { copy(p, []*string{&c.Package, &c.At}) },
		pack: pack,
		unpack: func(c *rating.ChangeDraft, v []string, _ *memo) error {
			for _, column := range changeColumns(c) {
				if column.name == v[0] && v[1] != "" {
					*column.value = v[1]
					return nil
				}
			}
			return fmt.Errorf("package_changes: %s at %s: change %q: %w", c.Package, c.At, v[0], errNotOne)
		},
	})
}

func rulesTable() table {
	return describe(fields[rating.RuleDraft]{
		kind:   rating.KindRule,
		plain:  []string{"id", "account", "package", "type"},
		packed: []string{"thresholds", "channels"},
		keys:   []string{"id"},
		rows:   func(d *rating.Draft) *[]rating.RuleDraft { return &d.Rules },
		key:    func(r *rating.RuleDraft, v []string) { v[0] = r.ID },
		text:   func(r *rating.RuleDraft, p []*string) { copy(p, []*string{&r.ID, &r.Account, &r.Package, &r.Type}) },
		pack: func(r *rating.RuleDraft, v []string) error {
			v[0], v[1] = writeTexts(r.Thresholds), writeTexts(r.Channels)
			return nil
		},
		unpack: func(r *rating.RuleDraft, v []string, m *memo) (err error) {
			if r.Thresholds, err = recall(m.texts, v[0], readTexts); err == nil {
				r.Channels, err = recall(m.texts, v[1], readTexts)
			}
			return err
		},
	})
}

func topUpsTable() table {
	return describe(fields[rating.TopUpDraft]{
		kind:  rating.KindTopUp,
		plain: []string{"account", "at", "amount"},
		keys:  []string{"account", "at"},
		rows:  func(d *rating.Draft) *[]rating.TopUpDraft { return &d.TopUps },
		key:   func(t *rating.TopUpDraft, v []string) { v[0], v[1] = t.Account, t.At },
		text:  func(t *rating.TopUpDraft, p []*string) { copy(p, []*string{&t.Account, &t.At, &t.Amount}) },
	})
}

// row reads all columns of row i into v.
func (t *table) row(d *rating.Draft, i int, v []string) error {
	if err := t.values(d, i, v); err != nil {
		return err
	}
	for n, value := range v {
		if strings.Contains(value, separator) {
			return fmt.Errorf("%s: %s: %s holds the control character U+001F, which no field may hold; remove it",
				t.kind, t.keyText(v), t.columns[n])
		}
	}
	return nil
}

// keyText names a row to a person: "p1", or "p1 2026-10-01 resized".
func (t *table) keyText(v []string) string { return strings.Join(v[:t.keys], " ") }

// order gives the rows by key. Rows of one key, which [rating.Compile] refuses, follow their order by value.
func (t *table) order(d *rating.Draft) []int32 {
	var a, b [3]string
	byKey := func(i, j int32) int {
		t.key(d, int(i), a[:])
		t.key(d, int(j), b[:])
		return slices.Compare(a[:t.keys], b[:t.keys])
	}
	order := make([]int32, t.count(d))
	for i := range order {
		order[i] = int32(i)
	}
	strict := true
	for i := 1; i < len(order) && strict; i++ {
		strict = byKey(order[i-1], order[i]) < 0
	}
	if !strict {
		x, y := make([]string, len(t.columns)), make([]string, len(t.columns))
		slices.SortFunc(order, func(i, j int32) int {
			if c := byKey(i, j); c != 0 {
				return c
			}
			return cmp.Or(cmp.Compare(fmt.Sprint(t.values(d, int(i), x)), fmt.Sprint(t.values(d, int(j), y))), slices.Compare(x, y))
		})
	}
	return order
}
