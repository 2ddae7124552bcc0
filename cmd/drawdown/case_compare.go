package main

import (
	"cmp"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"drawdown/rating"
)

// resultRow is a row of a result table: column name to text. A null column is left out.
type resultRow map[string]string

// results is what a site's settlements say, in the order in which a case expects it.
type results struct {
	tables map[string][]resultRow
	totals resultRow
}

// sortKeys orders the tables that a case expects in another order than the files have.
var sortKeys = map[string][]string{
	"charges":    {"account", "meter", "month", "price_id", "tier"},
	"notices":    {"at", "kind", "package", "-threshold"},
	"quarantine": {"record_id", "reason"},
}

// compare says in lines how the results differ from what a case expects; empty: they do not.
func (r *results) compare(expect *yaml.Node) []string {
	var faults []string
	for i := 0; i+1 < len(expect.Content); i += 2 {
		key, want := expect.Content[i].Value, expect.Content[i+1]
		switch {
		case key == "totals":
			faults = append(faults, compareRow("totals", r.totals, want)...)
		case r.tables[key] != nil || slices.Contains(caseTables, key):
			faults = append(faults, compareTable(key, r.tables[key], want)...)
		default:
			faults = append(faults, fmt.Sprintf("expect.%s: there is no such table", key))
		}
	}
	return faults
}

var caseTables = []string{"lines", "charges", "balances", "notices", "quarantine"}

func compareTable(name string, got []resultRow, want *yaml.Node) []string {
	if keys := sortKeys[name]; keys != nil {
		slices.SortStableFunc(got, func(a, b resultRow) int { return compareBy(keys, a, b) })
	}
	var faults []string
	for i := range max(len(got), len(want.Content)) {
		place := fmt.Sprintf("%s[%d]", name, i)
		switch {
		case i >= len(got):
			faults = append(faults, fmt.Sprintf("%s: expected %s, but there is no such row", place, flow(want.Content[i])))
		case i >= len(want.Content):
			faults = append(faults, fmt.Sprintf("%s: not expected: %s", place, got[i]))
		default:
			faults = append(faults, compareRow(place, got[i], want.Content[i])...)
		}
	}
	return faults
}

func compareBy(keys []string, a, b resultRow) int {
	for _, key := range keys {
		name, down := strings.CutPrefix(key, "-")
		order := cmp.Compare(a[name], b[name])
		x, okX := new(big.Rat).SetString(a[name])
		y, okY := new(big.Rat).SetString(b[name])
		if okX && okY {
			order = x.Cmp(y)
		}
		if down {
			order = -order
		}
		if order != 0 {
			return order
		}
	}
	return 0
}

func compareRow(place string, got resultRow, want *yaml.Node) []string {
	var faults []string
	for i := 0; i+1 < len(want.Content); i += 2 {
		key, value := want.Content[i].Value, want.Content[i+1]
		text, ok := got[key]
		switch {
		case value.Tag == "!!null" && !ok:
		case !ok:
			faults = append(faults, fmt.Sprintf("%s.%s: expected %s, but it is null in %s", place, key, value.Value, got))
		case !sameValue(text, value.Value):
			faults = append(faults, fmt.Sprintf("%s.%s: expected %s, got %s in %s", place, key, value.Value, text, got))
		}
	}
	return faults
}

// sameValue compares decimals as numbers, instants as instants, and anything else as text.
func sameValue(got, want string) bool {
	if got == want {
		return true
	}
	a, errA := rating.ParseInstant([]byte(got))
	b, errB := rating.ParseInstant([]byte(want))
	if errA == nil && errB == nil {
		return a == b
	}
	x, okX := new(big.Rat).SetString(got)
	y, okY := new(big.Rat).SetString(want)
	return okX && okY && x.Cmp(y) == 0
}

// String writes the row in the order of its columns' names.
func (r resultRow) String() string {
	var fields []string
	for _, key := range keysOf(r) {
		fields = append(fields, key+": "+r[key])
	}
	return "{" + strings.Join(fields, ", ") + "}"
}

func flow(n *yaml.Node) string {
	text, err := yaml.Marshal(n)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(text))
}
