package rating_test

// The model is trusted because it settles the conformance cases as they expect: every one of them that needs no reader
// is run here, by the model alone.

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"drawdown/rating"
)

// Cases of which the model knows nothing: it starts where records are parsed, resolved and without duplicates.
var modelNotItsBusiness = map[string]string{
	"object-":                     "reads objects",
	"error-":                      "checks a catalog",
	"quarantine-bad-quantity":     "reads quantities",
	"quarantine-future":           "looks at the clock",
	"quarantine-limit":            "counts quarantined rows",
	"quarantine-missing-field":    "reads fields",
	"quarantine-unknown":          "resolves references",
	"record-conflict":             "compares versions",
	"record-duplicates":           "removes duplicates",
	"record-highest-version-wins": "compares versions",
	"control-totals-of-a-mixed":   "removes duplicates",
}

type caseFile struct {
	Name   string
	Now    string
	Config struct {
		Settlement struct {
			Period   string
			TimeZone string `yaml:"time_zone"`
			Start    string
		}
		DeductionOrder yaml.Node `yaml:"deduction_order"`
		ReminderDays   []int     `yaml:"reminder_days"`
	}
	Catalog struct {
		Accounts, Meters, Prices, Packages []map[string]yaml.Node
		Changes                            []map[string]yaml.Node `yaml:"package_changes"`
		Rules                              []map[string]yaml.Node `yaml:"alert_rules"`
		TopUps                             []map[string]yaml.Node `yaml:"topups"`
	}
	Usage  []map[string]yaml.Node
	Expect map[string][]map[string]any
	Runs   []yaml.Node
}

var modelPresets = map[string][]string{
	"default":       {"priority", "scope", "cycle_end", "source", "effective", "created"},
	"source_first":  {"source", "created", "effective", "cycle_end"},
	"credit_grants": {"priority", "cycle_end", "source", "effective", "created"},
	"oldest_first":  {"effective", "cycle_end"},
}

func (c *caseFile) world() *modelWorld {
	w := &modelWorld{Zone: "UTC", Order: modelPresets["default"], ReminderDays: []int{7}}
	if c.Config.Settlement.TimeZone != "" {
		w.Zone = c.Config.Settlement.TimeZone
	}
	if c.Config.ReminderDays != nil {
		w.ReminderDays = c.Config.ReminderDays
	}
	switch order := c.Config.DeductionOrder; order.Kind {
	case yaml.ScalarNode:
		w.Order = modelPresets[order.Value]
	case yaml.SequenceNode:
		w.Order = texts(order)
	}
	w.Draft = c.draft()
	for _, u := range c.Usage {
		r := modelRecord{
			ID: u["id"].Value, Account: u["account"].Value, Meter: u["meter"].Value, Quantity: u["quantity"].Value,
			Time: modelInstant(u["time"].Value, time.UTC, false), Attributes: map[string]string{},
		}
		attributes := u["attributes"]
		for i := 0; i+1 < len(attributes.Content); i += 2 {
			r.Attributes[attributes.Content[i].Value] = attributes.Content[i+1].Value
		}
		w.Records = append(w.Records, r)
	}
	w.Bounds = c.bounds(w)
	return w
}

// bounds are the periods that have ended by now.
func (c *caseFile) bounds(w *modelWorld) []int64 {
	zone := modelZone(w.Zone)
	start := int64(modelNever)
	if c.Config.Settlement.Start != "" {
		start = modelInstant(c.Config.Settlement.Start, zone, false)
	} else {
		for _, r := range w.Records {
			start = min(start, r.Time)
		}
		for _, p := range newModelSettler(w).packages {
			start = min(start, p.effective)
		}
	}
	now := modelInstant(c.Now, zone, false)
	period := c.Config.Settlement.Period
	bounds := []int64{modelPeriodStart(period, start, zone)}
	for {
		next := modelPeriodEnd(period, bounds[len(bounds)-1], zone)
		if next > now {
			return bounds
		}
		bounds = append(bounds, next)
	}
}

// modelPeriodStart is the start of the period that holds t; a period is a day where nothing else is said.
func modelPeriodStart(period string, t int64, zone *time.Location) int64 {
	now := clockAt(t, zone)
	switch period {
	case "hour":
		return t - now.micros%modelHour
	case "month":
		now.day = 1
	}
	now.micros = 0
	return instantOf(now, zone)
}

func modelPeriodEnd(period string, start int64, zone *time.Location) int64 {
	now := clockAt(start, zone)
	switch period {
	case "hour":
		return start + modelHour
	case "month":
		now.month, now.day = now.month+1, 1
	default:
		now.day++
	}
	now.micros = 0
	return instantOf(now, zone)
}

func texts(n yaml.Node) []string {
	if n.Kind == yaml.ScalarNode {
		return []string{n.Value}
	}
	var list []string
	for _, item := range n.Content {
		list = append(list, item.Value)
	}
	return list
}

func (c *caseFile) draft() rating.Draft {
	var d rating.Draft
	for _, a := range c.Catalog.Accounts {
		d.Accounts = append(d.Accounts, rating.AccountDraft{
			ID: a["id"].Value, Payer: a["payer"].Value, TimeZone: a["time_zone"].Value, Balance: a["balance"].Value,
		})
	}
	for _, m := range c.Catalog.Meters {
		d.Meters = append(d.Meters, rating.MeterDraft{ID: m["id"].Value, Unit: m["unit"].Value, Scale: m["scale"].Value})
	}
	for _, p := range c.Catalog.Prices {
		price := rating.PriceDraft{
			ID: p["id"].Value, Meter: p["meter"].Value, Account: p["account"].Value, From: p["from"].Value, To: p["to"].Value,
			Model: p["model"].Value, Counts: p["counts"].Value, Price: p["price"].Value, Per: p["per"].Value, Size: p["size"].Value,
		}
		var tiers []map[string]yaml.Node
		node := p["tiers"]
		if err := node.Decode(&tiers); err != nil && node.Kind != 0 {
			panic(err)
		}
		for _, t := range tiers {
			price.Tiers = append(price.Tiers, rating.TierDraft{UpTo: t["up_to"].Value, Price: t["price"].Value, Per: t["per"].Value})
		}
		d.Prices = append(d.Prices, price)
	}
	for _, p := range c.Catalog.Packages {
		d.Packages = append(d.Packages, packageOfCase(p))
	}
	for _, n := range c.Catalog.Changes {
		d.Changes = append(d.Changes, rating.ChangeDraft{
			Package: n["package"].Value, At: n["at"].Value, RenewedExpires: inside(n["renewed"], "expires"),
			Extended: inside(n["extended"], "expires"), ResizedQuota: inside(n["resized"], "quota"), Revoked: n["revoked"].Value,
		})
	}
	for _, r := range c.Catalog.Rules {
		d.Rules = append(d.Rules, rating.RuleDraft{
			ID: r["id"].Value, Account: r["account"].Value, Package: r["package"].Value, Type: r["type"].Value,
			Thresholds: texts(r["thresholds"]),
		})
	}
	for _, t := range c.Catalog.TopUps {
		d.TopUps = append(d.TopUps, rating.TopUpDraft{Account: t["account"].Value, At: t["at"].Value, Amount: t["amount"].Value})
	}
	return d
}

func inside(n yaml.Node, key string) string {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1].Value
		}
	}
	return ""
}

func packageOfCase(p map[string]yaml.Node) rating.PackageDraft {
	d := rating.PackageDraft{
		ID: p["id"].Value, Account: p["account"].Value, Kind: p["kind"].Value, Quota: p["quota"].Value, Unit: p["unit"].Value,
		Scale: p["scale"].Value, Effective: p["effective"].Value, Expires: p["expires"].Value, Created: p["created"].Value,
		Priority: p["priority"].Value, Source: p["source"].Value, Shared: p["shared"].Value, Reset: p["reset"].Value,
		RolloverMax: p["rollover_max"].Value, GraceDays: p["grace_days"].Value, RetentionDays: p["retention_days"].Value,
		PricePaid: p["price_paid"].Value,
	}
	covers := p["covers"]
	for _, n := range covers.Content {
		cover := rating.CoverDraft{Meter: inside(*n, "meter"), Rate: inside(*n, "rate"), Hours: inside(*n, "hours")}
		for i := 0; i+1 < len(n.Content); i += 2 {
			if where := n.Content[i+1]; n.Content[i].Value == "where" {
				for j := 0; j+1 < len(where.Content); j += 2 {
					values := texts(*where.Content[j+1])
					slices.Sort(values)
					cover.Where = append(cover.Where, rating.ConditionDraft{Attribute: where.Content[j].Value, Values: values})
				}
			}
		}
		slices.SortFunc(cover.Where, func(a, b rating.ConditionDraft) int { return strings.Compare(a.Attribute, b.Attribute) })
		d.Covers = append(d.Covers, cover)
	}
	return d
}

// conformanceCases finds the cases: beside the project, or where TEST_CONFORMANCE says.
func conformanceCases(t *testing.T) map[string]*caseFile {
	folder := os.Getenv("TEST_CONFORMANCE")
	if folder == "" {
		folder = filepath.Join("..", "testdata", "conformance")
	}
	files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Skip("no conformance cases in", folder)
	}
	cases := map[string]*caseFile{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		c := &caseFile{}
		if err := yaml.Unmarshal(text, c); err != nil {
			continue // a case about a broken catalog
		}
		left := false
		for prefix := range modelNotItsBusiness {
			left = left || strings.HasPrefix(c.Name, prefix)
		}
		if !left && len(c.Runs) == 0 {
			cases[c.Name] = c
		}
	}
	return cases
}

func TestModelSettlesTheConformanceCases(t *testing.T) {
	t.Parallel()
	cases := conformanceCases(t)
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		t.Run(name, func(t *testing.T) {
			w := cases[name].world()
			checkExpectations(t, cases[name].Expect, w, modelSettle(w))
		})
	}
	t.Log(len(cases), "cases")
}

// checkExpectations compares the fields that a case names, row by row.
func checkExpectations(t *testing.T, expect map[string][]map[string]any, w *modelWorld, periods []modelPeriod) {
	t.Helper()
	got := rowsOfCase(w, periods)
	for table, want := range expect {
		if table == "quarantine" {
			slices.SortStableFunc(got[table], func(a, b map[string]string) int { return strings.Compare(a["record_id"], b["record_id"]) })
		}
		if len(got[table]) != len(want) {
			t.Errorf("%s: %d rows, want %d\n%v", table, len(got[table]), len(want), got[table])
			continue
		}
		for i := range want {
			for field, value := range want[i] {
				has, known := got[table][i][field]
				if !known {
					t.Fatalf("%s: the model has no column %s", table, field)
				}
				if !sameValue(has, fmt.Sprint(value), value) {
					t.Errorf("%s %d: %s is %s, want %v\n%v", table, i, field, has, value, got[table][i])
				}
			}
		}
	}
}

func sameValue(has, text string, value any) bool {
	if at, ok := value.(time.Time); ok {
		return has == instantText(at.UnixMicro())
	}
	if at, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return has == instantText(at.UnixMicro())
	}
	return has == text || numeric(has) && numeric(text) && modelNumber(has).Cmp(modelNumber(text)) == 0
}

func numeric(text string) bool {
	_, err := strconv.ParseFloat(text, 64)
	return err == nil
}

func instantText(t int64) string { return goTime(t).Format("2006-01-02T15:04:05.999999Z07:00") }

// rowsOfCase are the tables as a case sees them.
func rowsOfCase(w *modelWorld, periods []modelPeriod) map[string][]map[string]string {
	rows := map[string][]map[string]string{}
	add := func(table string, pairs ...string) {
		row := map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			row[pairs[i]] = pairs[i+1]
		}
		rows[table] = append(rows[table], row)
	}
	var all modelPeriod
	for i, p := range periods {
		for _, l := range p.Lines {
			add("lines", "period_start", instantText(w.Bounds[i]), "payer", l.Payer, "account", l.Account, "meter", l.Meter,
				"event_time", instantText(l.Time), "record_id", l.RecordID, "line_no", strconv.Itoa(l.LineNo), "kind", l.Kind,
				"package", l.Package, "cycle_start", instantText(l.CycleStart), "quantity", l.Quantity, "consumed", l.Consumed,
				"remaining_before", l.Before, "remaining_after", l.After, "price_id", l.Price, "tier", strconv.Itoa(l.Tier),
				"unit_price", l.UnitPrice, "per", l.Per, "amount", l.Amount, "currency", "USD")
			if l.Kind == "excess" {
				all.charge(&l, goTime(l.Time).In(modelZone(w.Zone)).Format("2006-01"))
			}
		}
		all.Notices = append(all.Notices, p.Notices...)
		for _, u := range p.Unpriced {
			add("quarantine", "record_id", u.ID, "reason", "no_price", "account", u.Account, "meter", u.Meter)
		}
	}
	all.sort()
	for _, c := range all.Charges {
		add("charges", "account", c.Account, "meter", c.Meter, "month", c.Month, "price_id", c.Price, "tier", strconv.Itoa(c.Tier),
			"quantity", c.Quantity, "amount", c.Amount, "line_count", strconv.Itoa(c.LineCount))
	}
	for _, n := range all.Notices {
		add("notices", "kind", n.Kind, "account", n.Account, "package", n.Package, "meter", n.Meter, "at", instantText(n.At),
			"cycle_start", instantText(n.CycleStart), "threshold_type", n.Type, "threshold", n.Threshold,
			"remaining", n.Remaining, "record_id", n.RecordID)
	}
	if len(periods) > 0 {
		for _, b := range periods[len(periods)-1].Balances {
			add("balances", "package", b.Package, "cycle_start", instantText(b.CycleStart), "cycle_end", instantText(b.CycleEnd),
				"quota", b.Quota, "opening", b.Opening, "granted", b.Granted, "rolled_over", b.RolledOver, "deducted", b.Deducted,
				"expired", b.Expired, "revoked", b.Revoked, "closing", b.Closing, "state", b.State)
		}
	}
	return rows
}
