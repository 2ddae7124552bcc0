package main

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"drawdown/rating"
)

// focusRules are the requirements of FOCUS 1.2 as the official validator has them (testdata/focus): all static ones that
// MUST hold, whatever a provider is said to support.
type focusRules struct {
	rules   map[string]*focusRule
	parents map[string][]string // the rules that a rule is a part of: their conditions hold for it too
}

// misstated are rules of the model that do not say what their own sentences say, and why.
func misstated() map[string]string {
	return map[string]string{
		"InvoiceId-C-005-C":                  "it demands an InvoiceId of every row, and InvoiceId-C-004-C demands none; both are about invoices that exist",
		"CommitmentDiscountStatus-C-003-C":   "the sentence says MUST be null, the check says it must not",
		"CommitmentDiscountStatus-C-004-C":   "the sentence is about rows with a commitment, the check about rows without, and is checked below as it is meant",
		"CommitmentDiscountStatus-C-005-M":   "it allows no null, which CommitmentDiscountStatus-C-003-C demands",
		"CommitmentDiscountCategory-C-005-M": "it allows no null, which CommitmentDiscountCategory-C-003-C demands",
		"CapacityReservationStatus-C-003-C":  "its condition has a form of its own; there are no capacity reservations here",
		"CapacityReservationStatus-C-004-C":  "its condition has a form of its own; there are no capacity reservations here",
	}
}

type focusRule struct {
	EntityType         string
	Reference          string
	Type               string
	ValidationCriteria struct {
		MustSatisfy, Keyword   string
		Requirement, Condition focusCheck
	}
}

type focusCheck struct {
	CheckFunction, ColumnName, ColumnAName, ColumnBName, ResultColumnName, ModelRuleID string
	Value                                                                              any
	Items                                                                              []focusCheck
}

func loadFocusRules(t *testing.T) *focusRules {
	t.Helper()
	file, err := os.Open(filepath.Join("..", "..", "testdata", "focus", "model-1.2.json.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	var model struct{ ModelRules map[string]*focusRule }
	if err := json.NewDecoder(unzipped).Decode(&model); err != nil {
		t.Fatal(err)
	}
	if len(model.ModelRules) < 600 {
		t.Fatalf("the model has %d rules", len(model.ModelRules))
	}
	f := &focusRules{model.ModelRules, map[string][]string{}}
	for _, id := range keysOf(f.rules) {
		for _, item := range f.rules[id].ValidationCriteria.Requirement.Items {
			if item.CheckFunction == "CheckModelRule" {
				f.parents[item.ModelRuleID] = append(f.parents[item.ModelRuleID], id)
			}
		}
	}
	return f
}

// concerns tells whether a rule is about a row: its condition holds, and so do those of a rule that it is a part of.
func (f *focusRules) concerns(t *testing.T, id string, row map[string]string) bool {
	condition := &f.rules[id].ValidationCriteria.Condition
	if condition.CheckFunction != "" && !f.holds(t, condition, row) {
		return false
	}
	parents := f.parents[id]
	return len(parents) == 0 || slices.ContainsFunc(parents, func(p string) bool { return f.concerns(t, p, row) })
}

// check holds every row against every rule.
func (f *focusRules) check(t *testing.T, rows []map[string]string) {
	t.Helper()
	checked := 0
	for _, id := range keysOf(f.rules) {
		r := f.rules[id]
		if !r.binds() || misstated()[id] != "" || r.composed() {
			continue // what it is composed of is checked, under its condition
		}
		checked++
		for i, row := range rows {
			if f.concerns(t, id, row) && !f.keeps(t, r, row) {
				t.Errorf("row %d breaks %s: %s\n%s", i, id, r.ValidationCriteria.MustSatisfy, writtenOut(row))
				break
			}
		}
		if column := r.ValidationCriteria.Requirement; column.CheckFunction == "CheckDistinctCount" {
			checkOneParent(t, id, rows, column.ColumnAName, column.ColumnBName)
		}
	}
	for _, row := range rows {
		used := row["CommitmentDiscountStatus"] == "Used" || row["CommitmentDiscountStatus"] == "Unused"
		if used != (row["CommitmentDiscountId"] != "" && row["ChargeCategory"] == "Usage") {
			t.Errorf("CommitmentDiscountStatus is %q in %s", row["CommitmentDiscountStatus"], writtenOut(row))
		}
	}
	if checked < 180 {
		t.Errorf("%d rules were checked", checked)
	}
}

// binds tells whether a rule can be checked on rows, and must hold.
func (r *focusRule) binds() bool {
	return r.Type == "Static" && strings.HasPrefix(r.ValidationCriteria.Keyword, "MUST") && r.EntityType != "Attribute"
}

// composed tells whether a rule is nothing but other rules.
func (r *focusRule) composed() bool {
	c := &r.ValidationCriteria.Requirement
	return c.CheckFunction == "AND" && !slices.ContainsFunc(c.Items, func(i focusCheck) bool { return i.CheckFunction != "CheckModelRule" })
}

// writtenOut is a row without what is null.
func writtenOut(row map[string]string) string {
	var b strings.Builder
	for _, name := range keysOf(row) {
		if row[name] != "" {
			fmt.Fprintf(&b, "%s=%s ", name, row[name])
		}
	}
	return b.String()
}

func checkOneParent(t *testing.T, id string, rows []map[string]string, child, parent string) {
	t.Helper()
	parents := map[string]string{}
	for _, row := range rows {
		if row[child] == "" {
			continue
		}
		if p, known := parents[row[child]]; known && p != row[parent] {
			t.Errorf("%s: %s %s has the parents %s and %s", id, child, row[child], p, row[parent])
		}
		parents[row[child]] = row[parent]
	}
}

// keeps tells whether a row does what a rule requires.
func (f *focusRules) keeps(t *testing.T, r *focusRule, row map[string]string) bool {
	return r.ValidationCriteria.Requirement.CheckFunction == "" || f.holds(t, &r.ValidationCriteria.Requirement, row)
}

func (f *focusRules) holds(t *testing.T, c *focusCheck, row map[string]string) bool {
	value, present := row[c.ColumnName]
	switch c.CheckFunction {
	case "AND":
		return !slices.ContainsFunc(c.Items, func(i focusCheck) bool { return !f.holds(t, &i, row) })
	case "OR":
		return slices.ContainsFunc(c.Items, func(i focusCheck) bool { return f.holds(t, &i, row) })
	case "CheckModelRule":
		r := f.rules[c.ModelRuleID]
		return r == nil || !r.binds() || misstated()[c.ModelRuleID] != "" || !f.concerns(t, c.ModelRuleID, row) || f.keeps(t, r, row)
	case "ColumnPresent":
		return present
	case "CheckValue":
		return hasValue(value, c.Value)
	case "CheckNotValue":
		return !hasValue(value, c.Value)
	case "TypeString", "FormatString", "FormatUnit":
		return present
	case "CheckDistinctCount":
		return true // of many rows: checkOneParent
	case "TypeDecimal", "FormatNumeric", "CheckDecimalValue":
		_, err := rating.ParseDecimal([]byte(value), 9, rating.Exact)
		return value == "" || err == nil
	case "CheckGreaterOrEqualThanValue":
		return value == "" || exactly(t, value).Sign() >= 0
	case "TypeDateTime", "FormatDateTime":
		_, err := time.Parse("2006-01-02T15:04:05Z", value)
		return err == nil
	case "ColumnByColumnEqualsColumnValue":
		if row[c.ColumnAName] == "" || row[c.ColumnBName] == "" {
			return true
		}
		product, exact := exactly(t, row[c.ColumnAName]).Product(exactly(t, row[c.ColumnBName]))
		return exact && product == exactly(t, row[c.ResultColumnName])
	case "FormatKeyValue":
		return value == "" || json.Valid([]byte(value)) && value[0] == '{'
	case "FormatCurrency", "CheckNationalCurrency":
		return len(value) == 3 && strings.ToUpper(value) == value
	case "CheckSameValue":
		return row[c.ColumnAName] == row[c.ColumnBName]
	case "CheckNotSameValue":
		return row[c.ColumnAName] != row[c.ColumnBName]
	}
	t.Fatalf("the model has a check %q that this test does not know", c.CheckFunction)
	return false
}

func hasValue(cell string, value any) bool {
	if value == nil {
		return cell == ""
	}
	if n, ok := value.(float64); ok {
		return cell == fmt.Sprint(n)
	}
	return cell == fmt.Sprint(value)
}
