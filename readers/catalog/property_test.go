package catalog

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"drawdown/rating"
)

// One catalog written in YAML, in block or in flow style, and in CSV compiles to one and the same.
func TestNotationsAgree(t *testing.T) {
	sameCatalog := cmp.Options{
		cmp.Exporter(func(reflect.Type) bool { return true }),
		cmp.Comparer(func(a, b *time.Location) bool { return a == b || a != nil && b != nil && a.String() == b.String() }),
	}
	rapid.Check(t, func(t *rapid.T) {
		d := drawDraft(t)
		want, faults := rating.Compile(d, testConfig)
		if faults != nil {
			t.Fatalf("not valid: %+v", faults[0])
		}
		flow, block, cells := newSource(), newSource(), newSource()
		flow.add("c.yaml", []byte(yamlOf(d, false)))
		block.add("c.yaml", []byte(yamlOf(d, true)))
		csvOf(cells, d)
		for name, s := range map[string]*Source{"flow": flow, "block": block, "csv": cells} {
			got, err := s.Compile(testConfig)
			if err != nil {
				t.Fatalf("%s: %v\n%s", name, err, yamlOf(d, true))
			}
			if diff := cmp.Diff(want, got, sameCatalog); diff != "" {
				t.Fatalf("%s differs:\n%s", name, diff)
			}
		}
	})
}

func drawDraft(t *rapid.T) *rating.Draft {
	one := func(label string, values ...string) string { return rapid.SampledFrom(values).Draw(t, label) }
	d := &rating.Draft{}
	for i := range rapid.IntRange(1, 3).Draw(t, "meters") {
		d.Meters = append(d.Meters, rating.MeterDraft{ID: fmt.Sprintf("m %d", i), Scale: one("scale", "", "0", "3"), Unit: one("unit", "", "GB", `"`, "é, #:")})
	}
	for i := range rapid.IntRange(1, 4).Draw(t, "accounts") {
		a := rating.AccountDraft{ID: fmt.Sprintf("a%d", 9-i), Name: one("name", "", "null", "~", "yes", "0x10", "a\\b", "[x]", "- x", "x: y"), TimeZone: one("zone", "", "Asia/Kolkata")}
		if a.Payer = one("payer", "", "a9"); i == 0 {
			a.Payer, a.Balance = "", one("balance", "", "10", "-1e2", "12345678901234.5")
		}
		d.Accounts = append(d.Accounts, a)
	}
	for _, m := range d.Meters {
		p := rating.PriceDraft{ID: "price of " + m.ID, Meter: m.ID, Model: one("model", "flat", "graduated", "volume", "block"), To: one("to", "", "2027-01-01")}
		tiers := []rating.TierDraft{{UpTo: "10", Price: "0.5", Per: one("per", "", "1e6")}, {Price: "0"}}
		switch p.Model {
		case "flat":
			p.Price, p.Per = one("price", "0", "0.15", "1e-9"), one("per", "", "3")
		case "block":
			p.Price, p.Size, p.Counts = "2.50", "7", one("counts", "excess", "usage")
		default:
			p.Tiers, p.Counts = tiers, "excess"
		}
		d.Prices = append(d.Prices, p)
	}
	for i := range rapid.IntRange(0, 4).Draw(t, "packages") {
		drawPackage(t, d, i, one)
	}
	if a := d.Accounts[0]; a.Balance != "" {
		d.TopUps = []rating.TopUpDraft{{Account: a.ID, At: "2026-02-01", Amount: "5"}, {Account: a.ID, At: "2026-01-01T00:00:00+09:00", Amount: "7.25"}}
	}
	return d
}

func drawPackage(t *rapid.T, d *rating.Draft, i int, one func(string, ...string) string) {
	p := rating.PackageDraft{
		ID: fmt.Sprintf("p%d", 9-i), Account: rapid.SampledFrom(d.Accounts).Draw(t, "owner").ID, Kind: one("kind", "pay_per_use", "stop_before_excess"),
		Quota: one("quota", "0", "100", "1e3"), Effective: "2026-01-31", Expires: one("expires", "2026-12-31", "2027-01-31T12:00:00Z"), Scale: one("scale", "", "9"),
		Reset: one("reset", "", "none", "hour", "day", "month", "calendar_month"), Shared: one("shared", "", "true", "false"), Source: one("source", "", "free"),
	}
	for j := range rapid.IntRange(1, 3).Draw(t, "covers") {
		c := rating.CoverDraft{Meter: rapid.SampledFrom(d.Meters).Draw(t, "meter").ID, Rate: one("rate", "", "1", "20"), Hours: one("hours", "", "22:00-06:00", "00:00-24:00")}
		if p.Scale == "9" && j == 0 {
			c.Rate = "2.5"
		}
		if rapid.Bool().Draw(t, "where") {
			c.Where = []rating.ConditionDraft{{Attribute: "plan", Values: []string{one("value", "gold", "true", "a;b")}}, {Attribute: "region", Values: []string{"us", "eu"}}}
		}
		p.Covers = append(p.Covers, c)
	}
	d.Packages = append(d.Packages, p)
	if rapid.Bool().Draw(t, "changed") {
		d.Changes = append(d.Changes, rating.ChangeDraft{Package: p.ID, At: "2026-05-01", ResizedQuota: "50"},
			rating.ChangeDraft{Package: p.ID, At: "2026-06-01", RenewedExpires: "2027-12-31"}, rating.ChangeDraft{Package: p.ID, At: "2026-07-01", Extended: "2028-12-31"})
		if rapid.Bool().Draw(t, "revoked") {
			d.Changes = append(d.Changes, rating.ChangeDraft{Package: p.ID, At: "2026-08-01T00:00:00.000001Z", Revoked: "true"})
		}
	}
	if rapid.Bool().Draw(t, "rule") {
		d.Rules = append(d.Rules, rating.RuleDraft{ID: "r" + p.ID, Package: p.ID, Type: "absolute", Thresholds: []string{"5", "10.5"}, Channels: []string{"inbox"}})
	}
}

// fieldsOf gives the fields of a row that are set, with their values in YAML's flow style.
func fieldsOf(row any) (names, flow []string) {
	quote := func(v any) string {
		text, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		return string(text)
	}
	add := func(name, value string) { names, flow = append(names, name), append(flow, value) }
	inner := func(row any) string {
		n, f := fieldsOf(row)
		for i := range n {
			n[i] += ": " + f[i]
		}
		return "{" + strings.Join(n, ", ") + "}"
	}
	list := func(n int, at func(int) any) string {
		parts := make([]string, n)
		for i := range parts {
			parts[i] = inner(at(i))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	v := reflect.ValueOf(row)
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			continue
		}
		name := v.Type().Field(i).Name
		switch value := v.Field(i).Interface().(type) {
		case []rating.TierDraft:
			add("tiers", list(len(value), func(i int) any { return value[i] }))
		case []rating.CoverDraft:
			add("covers", list(len(value), func(i int) any { return value[i] }))
		case []rating.ConditionDraft:
			parts := make([]string, len(value))
			for i, c := range value {
				if parts[i] = c.Attribute + ": " + quote(c.Values); len(c.Values) == 1 {
					parts[i] = c.Attribute + ": " + quote(c.Values[0])
				}
			}
			add("where", "{"+strings.Join(parts, ", ")+"}")
		case string:
			switch name {
			case "RenewedExpires":
				add("renewed", "{expires: "+quote(value)+"}")
			case "Extended":
				add("extended", "{expires: "+quote(value)+"}")
			case "ResizedQuota":
				add("resized", "{quota: "+quote(value)+"}")
			default:
				add(snake(name), quote(value))
			}
		default:
			add(snake(name), quote(value))
		}
	}
	return names, flow
}

// snake writes RolloverMax as rollover_max, and ID as id.
func snake(name string) string {
	var b strings.Builder
	for i, r := range name {
		if i > 0 && r >= 'A' && r <= 'Z' && name != "ID" {
			b.WriteByte('_')
		}
		b.WriteRune(r)
	}
	return strings.ToLower(b.String())
}

func rowsOf(d *rating.Draft) map[rating.Kind][]any {
	rows := map[rating.Kind][]any{}
	for i, kind := range []rating.Kind{rating.KindAccount, rating.KindMeter, rating.KindPrice, rating.KindPackage, rating.KindChange, rating.KindRule, rating.KindTopUp} {
		list := reflect.ValueOf(d).Elem().Field(i)
		for j := range list.Len() {
			rows[kind] = append(rows[kind], list.Index(j).Interface())
		}
	}
	return rows
}

func yamlOf(d *rating.Draft, block bool) string {
	var b strings.Builder
	for kind, rows := range rowsOf(d) {
		b.WriteString(string(kind) + ":\n")
		for _, row := range rows {
			names, flow := fieldsOf(row)
			before, between, after := "  - {", ", ", "}\n"
			if block {
				before, between, after = "  - ", "\n    ", "\n"
			}
			for i := range names {
				names[i] += ": " + flow[i]
			}
			b.WriteString(before + strings.Join(names, between) + after)
		}
	}
	return b.String()
}

func csvOf(s *Source, d *rating.Draft) {
	for kind, rows := range rowsOf(d) {
		var header []string
		for _, section := range sections {
			if section.name() == kind {
				header = section.(interface{ names() []string }).names()
			}
		}
		var b bytes.Buffer
		w := csv.NewWriter(&b)
		w.Write(header)
		for _, row := range rows {
			names, flow := fieldsOf(row)
			cells := make([]string, len(header))
			for i, column := range header {
				for j, name := range names {
					if name == column {
						if cells[i] = flow[j]; flow[j][0] == '"' {
							if err := json.Unmarshal([]byte(flow[j]), &cells[i]); err != nil {
								panic(err)
							}
						}
					}
				}
			}
			w.Write(cells)
		}
		w.Flush()
		s.add(string(kind)+".csv", b.Bytes())
	}
}
