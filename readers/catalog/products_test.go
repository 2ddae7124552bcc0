package catalog

import (
	"errors"
	"strings"
	"testing"

	"drawdown/rating"
)

const productList = `
products:
  - name: small
    cost: "9.99"
    currency: EUR
    every: month
    packages: [{id: s, kind: pay_per_use, quota: 10, covers: [{meter: calls, where: {region: eu}}]}]
    prices:
      - {id: p, meter: calls, model: flat, price: 1}
  - &named {name: none}
`

func TestProducts(t *testing.T) {
	products, err := parseProducts("list.yaml", []byte(productList))
	if err != nil || len(products) != 2 {
		t.Fatal(products, err)
	}
	p := &products[0]
	if p.Name != "small" || p.Cost != "9.99" || p.Currency != "EUR" || p.Every != "month" || len(p.Rows.Packages) != 1 || len(p.Rows.Prices) != 1 ||
		p.Rows.Packages[0].Covers[0].Where[0].Attribute != "region" || !p.Packages || !products[1].Packages {
		t.Errorf("%+v", p.Offer)
	}
	if file, line := p.position(rating.KindPrice, 0, "price"); file != "list.yaml" || line != 9 {
		t.Errorf("the price is at %s:%d", file, line)
	}
}

// TestProductsThatAreWrong: each with its line.
func TestProductsThatAreWrong(t *testing.T) {
	for text, want := range map[string]string{
		"":                                     "list.yaml:1: R2.8: the file is empty; write `products:",
		"[]":                                   "list.yaml:1: R2.8: a price list must be a mapping",
		"products: 1":                          "products must be a list",
		"products: []":                         "the list has no product",
		"packages: []":                         `unknown field "packages"`,
		"products: [1]":                        "products[0] must be a mapping",
		"products:\n - {name: a, packages: 3}": "list.yaml:2: R2.8: packages must be a list",
		"products:\n - {name: a, packages: [{idd: 3}]}":         `list.yaml:2: R2.8: unknown field "idd"`,
		"products:\n - name: a\n   cost: 1e99":                  `list.yaml:3: R2.8: product "a": cost "1e99"`,
		"products:\n - name: a\n   cost: 0.0000000001":          `list.yaml:3: R2.8: product "a": cost "0.0000000001"`,
		"products:\n - name: a\n   currency: eur":               `list.yaml:3: R2.8: product "a": currency "eur"`,
		"products:\n - name: \"a\\e[31m\"":                      `its name has control characters`,
		"products:\n - name: a\n - name: a":                     `list.yaml:3: R2.8: product "a": the name is taken`,
		"products:\n - {name: a, accounts: []}":                 `unknown field "products[0].accounts"`,
		"products: [{name: a}]\n---\nproducts: []":              "more than one YAML document",
		"products: &p [*p]":                                     "list.yaml:1",
		"products: [{name: a, packages: &p [*p, *p, *p]}]":      "list.yaml:1",
		"products: [{name: a}, {name: b, name: c}]":             `field "products[1].name" is there twice`,
		"products: [{name: {a: b}}]":                            "name must be a text or number",
		"products: [{name: a, every: 1}]":                       `there is no term "1"`,
		"products:\n - {name: a}\n - {name: b, packages: [{id}": "not valid YAML",
	} {
		_, err := parseProducts("list.yaml", []byte(text))
		var faults *Faults
		if !errors.As(err, &faults) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, not %s", text, err, want)
		}
	}
}

// FuzzProducts: nothing may panic or take for ever, and every fault has its place and says something.
func FuzzProducts(f *testing.F) {
	f.Add([]byte(productList))
	f.Add([]byte("products:\n - &a {name: y, <<: *a}\n"))
	f.Add([]byte("products: [{packages: [{covers: [{where: {a: [b]}}]}]}]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		products, err := parseProducts("list.yaml", data)
		if err == nil {
			for i := range products {
				checkFuzzed(t, products[i].Source)
			}
			return
		}
		var faults *Faults
		if !errors.As(err, &faults) || len(faults.List) == 0 {
			t.Fatalf("not faults: %v", err)
		}
		for _, l := range faults.List {
			if l.File == "" || l.Line < 1 || l.Rule == "" || l.Message == "" || l.Hint == "" {
				t.Errorf("incomplete: %+v", l)
			}
		}
	})
}
