package catalog

import (
	"crypto/sha256"
	"fmt"
	"os"
	"slices"
	"strings"
	"unicode"

	"gopkg.in/yaml.v3"

	"drawdown/rating"
)

// Product is an entry of a price list: an offer, with the places of its rows.
type Product struct {
	rating.Offer
	*Source
	line int
}

const kindProduct rating.Kind = "products"

const productsHint = "write `products: [{name: small, packages: [{id: small, quota: 1000, …}]}]`"

var (
	productNames = []string{"name", "cost", "currency", "every", "packages", "prices"}
	productTerms = []string{"none", "hour", "day", "week", "month", "year", "calendar_month"}
)

// ReadProducts reads a price list: a YAML file with a list of products, each with a name and the packages and prices that it
// consists of, as rows of a catalog. The error has all that is wrong with its notation.
func ReadProducts(path string) ([]Product, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read price list: %w", err)
	}
	return parseProducts(path, data)
}

func parseProducts(name string, data []byte) ([]Product, error) {
	list := newSource()
	list.Files = []File{{Name: name, Size: int64(len(data)), SHA256: sha256.Sum256(data)}}
	p := newParser(list, name, len(data)+maxExpanded)
	p.kind = kindProduct
	var products []Product
	if root := p.document(data); root != nil {
		p.mapping("", root, []string{"products"}, productsHint, func(_ int, field string, n *yaml.Node) {
			p.list(field, n, productsHint, func(path string, n *yaml.Node) { products = append(products, p.product(path, n)) })
		})
		if len(products) == 0 && len(list.faults) == 0 {
			p.fault(root.Line, "", productsHint, "the list has no product")
		}
	}
	named := map[string]bool{}
	for i := range products {
		if product := &products[i]; named[product.Name] {
			list.faults = append(list.faults, noted{Located: Located{
				File: name, Line: product.line, Field: "name", Rule: "R2.8", Message: fmt.Sprintf("product %q: the name is taken", product.Name),
				Hint: "give each product its own name",
			}})
		}
		named[products[i].Name] = true
	}
	faults := &Faults{}
	for _, f := range list.faults {
		faults.List = append(faults.List, f.Located)
	}
	for i := range products {
		for _, f := range products[i].faults {
			faults.List = append(faults.List, f.Located)
		}
	}
	if len(faults.List) > 0 {
		faults.sort()
		return nil, faults
	}
	return products, nil
}

// product reads an entry; it has rows of its own, and shares the budget of the file.
func (p *parser) product(path string, n *yaml.Node) Product {
	product := Product{Source: newSource(), line: n.Line}
	product.Files = p.Files
	own := newParser(product.Source, p.name, p.budget)
	own.kind = kindProduct
	defer func() { p.budget = own.budget }()
	texts := [...]*string{&product.Name, &product.Cost, &product.Currency, &product.Every}
	lines := map[string]int{}
	own.mapping(path, n, productNames, productsHint, func(i int, field string, n *yaml.Node) {
		own.kind, own.row = kindProduct, -1
		lines[field] = own.line(n)
		if i < len(texts) {
			*texts[i] = own.text(field, n)
			return
		}
		at := slices.Index(sectionNames(), field)
		own.list(field, n, productsHint, func(_ string, n *yaml.Node) { sections[at].readNode(own, n) })
	})
	own.kind, own.row = kindProduct, -1
	product.Packages, product.Rows = true, product.Source.Draft
	own.checkProduct(&product, func(field string) int { return max(lines[field], n.Line) })
	return product
}

// checkProduct notes what an entry says of itself that cannot be.
func (p *parser) checkProduct(product *Product, line func(field string) int) {
	switch {
	case len(p.faults) > 0:
	case product.Name == "":
		p.fault(line(""), "name", "write `name: small`", "a product has no name")
	case strings.ContainsFunc(product.Name, func(r rune) bool { return unicode.IsControl(r) || r == unicode.ReplacementChar }):
		p.fault(line("name"), "name", "use visible characters, valid as UTF-8", fmt.Sprintf("product %q: its name has control characters or broken text", product.Name))
	}
	if _, err := rating.ParseCost(product.Cost); product.Cost != "" && err != nil {
		p.fault(line("cost"), "cost", "write digits with a point, such as 12.5", fmt.Sprintf("product %q: cost %q: %v", product.Name, product.Cost, err))
	}
	if product.Every != "" && !slices.Contains(productTerms, product.Every) {
		p.fault(line("every"), "every", "write one of "+strings.Join(productTerms, ", "), fmt.Sprintf("product %q: there is no term %q", product.Name, product.Every))
	}
	if product.Every == "none" {
		product.Every = ""
	}
	if c := product.Currency; c != "" && (len(c) != 3 || strings.ContainsFunc(c, func(r rune) bool { return r < 'A' || r > 'Z' })) {
		p.fault(line("currency"), "currency", "write an ISO 4217 code, such as USD", fmt.Sprintf("product %q: currency %q is not valid", product.Name, c))
	}
}
