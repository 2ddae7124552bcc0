package catalog

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"drawdown/rating"
)

const (
	allYAML = `
accounts: [{id: 1, name: 2, payer: 3, time_zone: 4, currency: 5, email: 6, phone: 7, locale: 8, balance: 9}]
meters: [{id: 1, unit: 2, scale: 3, max: 4, description: 5}]
prices:
  - {id: 1, meter: 2, account: 3, from: 2026-10-01, to: 2026-01-01T00:00:00Z, currency: 6, model: 7, counts: 8, price: "1.50", per: 1e3, size: 0x10,
     tiers: [{up_to: 1, price: 2, per: 3}]}
packages:
  - {id: 1, account: 2, product: 3, name: 4, kind: 5, quota: 6, unit: 7, scale: 8, effective: 9, expires: 10, created: 11, priority: 12, source: 13,
     shared: true, reset: 15, rollover_max: 16, grace_days: 17, retention_days: 18, price_paid: 19, currency: 20,
     covers: [{meter: 1, rate: 2, hours: "3", where: {plan: gold, region: [eu, us]}}]}
package_changes: [{package: 1, at: 2, renewed: {expires: 3}, extended: {expires: 4}, resized: {quota: 5}, revoked: true}]
alert_rules: [{id: 1, account: 2, package: 3, type: 4, thresholds: [5, 6], channels: [7]}]
topups: [{account: 1, at: 2, amount: 3}]
`
	accountsCSV = "id,name,payer,time_zone,currency,email,phone,locale,balance\n1,2,3,4,5,6,7,8,9\n"
	metersCSV   = "description,id,unit,scale,max\n5,1,2,3,4\n"
	pricesCSV   = "id,meter,account,from,to,currency,model,counts,price,per,size,tiers\n" +
		"1,2,3,2026-10-01,2026-01-01T00:00:00Z,6,7,8,1.50,1e3,0x10,\"[{up_to: 1, price: 2, per: 3}]\"\n"
	packagesCSV = "id,account,product,name,kind,quota,unit,scale,effective,expires,created,priority,source,shared,reset,rollover_max,grace_days,retention_days,price_paid,currency,covers\n" +
		`1,2,3,4,5,6,7,8,9,10,11,12,13,true,15,16,17,18,19,20,"[{""meter"": 1, ""rate"": 2, ""hours"": ""3"", ""where"": {""region"": [""eu"", ""us""], ""plan"": ""gold""}}]"` + "\n"
	changesCSV = "package,at,renewed,extended,resized,revoked\n1,2,3,{expires: 4},5,true\n"
	rulesCSV   = "id,account,package,type,thresholds,channels\n1,2,3,4,5; 6,[7]\n"
	topUpsCSV  = "account,at,amount\r\n1,2,3\r\n"
)

var allCSV = map[string]string{
	"accounts.csv": accountsCSV, "meters.csv": metersCSV, "prices.csv": pricesCSV, "packages-2026.csv": packagesCSV,
	"package_changes.csv": changesCSV, "alert_rules.csv": rulesCSV, "topups.csv": topUpsCSV,
}

// Every field of a draft can be written in YAML and in CSV, and is taken as it is written.
func TestEveryFieldIsReachable(t *testing.T) {
	fromYAML := Parse("all.yaml", []byte(allYAML))
	if fromYAML.faults != nil {
		t.Fatal(fromYAML.faults)
	}
	everyTextIsSet(t, "Draft", reflect.ValueOf(fromYAML.Draft))
	folder := t.TempDir()
	for name, text := range allCSV {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fromCSV, err := Read(folder)
	if err != nil {
		t.Fatal(err)
	}
	if fromCSV.faults != nil {
		t.Fatal(fromCSV.faults)
	}
	if diff := cmp.Diff(fromYAML.Draft, fromCSV.Draft); diff != "" {
		t.Errorf("YAML and CSV differ:\n%s", diff)
	}
	if p := fromYAML.Draft.Prices[0]; p.Price != "1.50" || p.Per != "1e3" || p.Size != "0x10" || p.From != "2026-10-01" || p.To != "2026-01-01T00:00:00Z" {
		t.Errorf("not as written: %+v", p)
	}
}

func everyTextIsSet(t *testing.T, path string, v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			everyTextIsSet(t, path+"."+v.Type().Field(i).Name, v.Field(i))
		}
	case reflect.Slice:
		if v.Len() == 0 {
			t.Errorf("%s is empty", path)
		}
		for i := range v.Len() {
			everyTextIsSet(t, path, v.Index(i))
		}
	default:
		if v.IsZero() {
			t.Errorf("%s is empty", path)
		}
	}
}

func TestReadFoldersAndFiles(t *testing.T) {
	folder := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("b.yml", "meters: [{id: calls}]")
	write("more/accounts.csv", "id\nacme\n")
	write(".git/x.yaml", "}")
	write("README.md", "}")
	a := write("a.YAML", "accounts: [{id: bolt}]")
	s, err := Read(folder)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Compile(testConfig); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range s.Files {
		name, _ := filepath.Rel(folder, f.Name)
		names = append(names, filepath.ToSlash(name))
	}
	if diff := cmp.Diff([]string{"a.YAML", "b.yml", "more/accounts.csv"}, names); diff != "" {
		t.Error(diff)
	}
	if text := []byte("accounts: [{id: bolt}]"); s.Files[0].Name != a || s.Files[0].Size != int64(len(text)) || s.Files[0].SHA256 != sha256.Sum256(text) {
		t.Errorf("file: %+v", s.Files[0])
	}
	if _, err := Read(filepath.Join(folder, "none.yaml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	if _, err := Read(t.TempDir()); err == nil {
		t.Error("a folder without a catalog gave no error")
	}
}

func TestAnchorsAndMergeKeys(t *testing.T) {
	s := Parse("c.yaml", []byte(`
accounts: [{id: acme}]
meters: [{id: calls}]
packages:
  - &one {id: p1, account: acme, kind: pay_per_use, quota: 10, effective: 2026-01-01, expires: 2026-12-31, covers: &covers [{meter: calls}]}
  - {id: p2, <<: *one, quota: 20}
  - {id: p3, account: acme, kind: pay_per_use, quota: 30, effective: 2026-01-01, expires: 2026-12-31, covers: *covers}
`))
	c, err := s.Compile(testConfig)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []int64{10, 20, 30} {
		if p := c.Packages[i]; p.Quota != want || len(p.Covers) != 1 {
			t.Errorf("%s: %+v", p.ID, p)
		}
	}
}

// A small file cannot make a large catalog by naming an anchor again and again.
func TestAliasesAreBounded(t *testing.T) {
	var b bytes.Buffer
	b.WriteString("packages:\n  - &p {id: x, covers: [" + strings.Repeat("{meter: m},", 2000) + "]}\n")
	b.WriteString(strings.Repeat("  - *p\n", 2000))
	s := Parse("laughs.yaml", b.Bytes())
	_, err := s.Compile(testConfig)
	if err == nil || !strings.Contains(err.Error(), "aliases make the file too large") || len(s.Draft.Packages) > 1000 {
		t.Errorf("%d packages, %v", len(s.Draft.Packages), err)
	}
}

func TestLinesOfNestedFields(t *testing.T) {
	_, err := Parse("c.yaml", []byte(`accounts: [{id: acme}]
meters:
  - id: calls
packages:
  - id: p
    account: acme
    kind: pay_per_use
    quota: 1
    effective: 2026-01-01
    expires: 2026-12-31
    covers:
      - meter: calls
        where:
          region:
            - ""
      - meter: calls
        hours: "25:00-26:00"
      - rate: 2
`)).Compile(testConfig)
	var faults *Faults
	if !errors.As(err, &faults) {
		t.Fatal(err)
	}
	var lines []int
	for _, l := range faults.List {
		lines = append(lines, l.Line)
	}
	if diff := cmp.Diff([]int{15, 17, 18}, lines); diff != "" {
		t.Errorf("%s\n%v", diff, err)
	}
}

func TestLocateRowsOfTables(t *testing.T) {
	d := &rating.Draft{
		Accounts: []rating.AccountDraft{{ID: "acme", Payer: "bolt"}}, Meters: []rating.MeterDraft{{ID: "m", Scale: "x"}},
		Prices: []rating.PriceDraft{{ID: "list"}}, Packages: []rating.PackageDraft{{ID: "p1"}},
		Changes: []rating.ChangeDraft{{Package: "p2", At: "2026-01-01"}}, Rules: []rating.RuleDraft{{ID: "r"}},
		TopUps: []rating.TopUpDraft{{Account: "acme", At: "2026-01-01", Amount: "x"}},
	}
	_, faults := rating.Compile(d, testConfig)
	err := Locate(d, faults)
	for _, want := range []string{
		`accounts "acme": R2.8: account "acme": there is no account "bolt"`, `meters "m": R2.2: `, `prices "list": R2.8: `, `packages "p1": R2.8: `,
		`package_changes "p2 at 2026-01-01": R2.8: `, `alert_rules "r": R2.8: `, `topups "acme at 2026-01-01": R2.7: `,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
	if err := Locate(d, nil); err != nil {
		t.Error(err)
	}
}

// bulkCSV is a packages.csv with the given text in the column covers.
func bulkCSV(packages int, covers string) []byte {
	var b bytes.Buffer
	b.WriteString("id,account,product,kind,quota,effective,expires,reset,covers\n")
	for i := range packages {
		fmt.Fprintf(&b, "package-%07d,account-%06d,bundle,pay_per_use,1000.5,2026-01-%02d,2026-12-31,month,%s\n", i, i/2, 1+i%28, covers)
	}
	return b.Bytes()
}

func BenchmarkCSV(b *testing.B) {
	for name, covers := range map[string]string{"plain": "gb", "flow": `"[{meter: gb, hours: ""22:00-06:00""}]"`} {
		data := bulkCSV(200_000, covers)
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if s := Parse("packages.csv", data); len(s.faults) > 0 || len(s.Draft.Packages) != 200_000 {
					b.Fatal(s.faults)
				}
			}
		})
	}
}
