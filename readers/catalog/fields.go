package catalog

import (
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"drawdown/rating"
)

// field is a field of rows of type T: a text, or something that has parts.
type field[T any] struct {
	name  string
	text  func(*T) *string                                   // where the field is a text
	node  func(p *parser, name string, row *T, n *yaml.Node) // else: reads YAML
	plain func(p *parser, row *T, cell string)               // and a CSV cell that is not in flow style
	share func(*T) *[]rating.CoverDraft                      // where rows with the same CSV cell share what it says
}

// table is a kind of row: its fields, and where its rows go.
type table[T any] struct {
	kind   rating.Kind
	rows   func(*rating.Draft) *[]T
	fields []field[T]
}

// section is a table of whatever type.
type section interface {
	name() rating.Kind
	readNode(p *parser, n *yaml.Node)
	readCSV(p *parser, data []byte)
}

func (t *table[T]) name() rating.Kind { return t.kind }

func (t *table[T]) names() []string {
	names := make([]string, len(t.fields))
	for i, f := range t.fields {
		names[i] = f.name
	}
	return names
}

var sections = []section{&accounts, &meters, &prices, &packages, &changes, &rules, &topUps}

func sectionNames() []string {
	names := make([]string, len(sections))
	for i, s := range sections {
		names[i] = string(s.name())
	}
	return names
}

var accounts = table[rating.AccountDraft]{
	kind: rating.KindAccount,
	rows: func(d *rating.Draft) *[]rating.AccountDraft { return &d.Accounts },
	fields: []field[rating.AccountDraft]{
		{name: "id", text: func(r *rating.AccountDraft) *string { return &r.ID }},
		{name: "name", text: func(r *rating.AccountDraft) *string { return &r.Name }},
		{name: "payer", text: func(r *rating.AccountDraft) *string { return &r.Payer }},
		{name: "time_zone", text: func(r *rating.AccountDraft) *string { return &r.TimeZone }},
		{name: "currency", text: func(r *rating.AccountDraft) *string { return &r.Currency }},
		{name: "email", text: func(r *rating.AccountDraft) *string { return &r.Email }},
		{name: "phone", text: func(r *rating.AccountDraft) *string { return &r.Phone }},
		{name: "locale", text: func(r *rating.AccountDraft) *string { return &r.Locale }},
		{name: "balance", text: func(r *rating.AccountDraft) *string { return &r.Balance }},
	},
}

var meters = table[rating.MeterDraft]{
	kind: rating.KindMeter,
	rows: func(d *rating.Draft) *[]rating.MeterDraft { return &d.Meters },
	fields: []field[rating.MeterDraft]{
		{name: "id", text: func(r *rating.MeterDraft) *string { return &r.ID }},
		{name: "unit", text: func(r *rating.MeterDraft) *string { return &r.Unit }},
		{name: "scale", text: func(r *rating.MeterDraft) *string { return &r.Scale }},
		{name: "max", text: func(r *rating.MeterDraft) *string { return &r.Max }},
		{name: "description", text: func(r *rating.MeterDraft) *string { return &r.Description }},
	},
}

var prices = table[rating.PriceDraft]{
	kind: rating.KindPrice,
	rows: func(d *rating.Draft) *[]rating.PriceDraft { return &d.Prices },
	fields: []field[rating.PriceDraft]{
		{name: "id", text: func(r *rating.PriceDraft) *string { return &r.ID }},
		{name: "meter", text: func(r *rating.PriceDraft) *string { return &r.Meter }},
		{name: "account", text: func(r *rating.PriceDraft) *string { return &r.Account }},
		{name: "from", text: func(r *rating.PriceDraft) *string { return &r.From }},
		{name: "to", text: func(r *rating.PriceDraft) *string { return &r.To }},
		{name: "currency", text: func(r *rating.PriceDraft) *string { return &r.Currency }},
		{name: "model", text: func(r *rating.PriceDraft) *string { return &r.Model }},
		{name: "counts", text: func(r *rating.PriceDraft) *string { return &r.Counts }},
		{name: "price", text: func(r *rating.PriceDraft) *string { return &r.Price }},
		{name: "per", text: func(r *rating.PriceDraft) *string { return &r.Per }},
		{name: "size", text: func(r *rating.PriceDraft) *string { return &r.Size }},
		{name: "tiers", node: readTiers, plain: func(p *parser, _ *rating.PriceDraft, _ string) {
			p.fault(p.fixed, "tiers", tiersHint, "tiers must be a list")
		}},
	},
}

var packages = table[rating.PackageDraft]{
	kind: rating.KindPackage,
	rows: func(d *rating.Draft) *[]rating.PackageDraft { return &d.Packages },
	fields: []field[rating.PackageDraft]{
		{name: "id", text: func(r *rating.PackageDraft) *string { return &r.ID }},
		{name: "account", text: func(r *rating.PackageDraft) *string { return &r.Account }},
		{name: "product", text: func(r *rating.PackageDraft) *string { return &r.Product }},
		{name: "name", text: func(r *rating.PackageDraft) *string { return &r.Name }},
		{name: "kind", text: func(r *rating.PackageDraft) *string { return &r.Kind }},
		{name: "quota", text: func(r *rating.PackageDraft) *string { return &r.Quota }},
		{name: "unit", text: func(r *rating.PackageDraft) *string { return &r.Unit }},
		{name: "scale", text: func(r *rating.PackageDraft) *string { return &r.Scale }},
		{name: "effective", text: func(r *rating.PackageDraft) *string { return &r.Effective }},
		{name: "expires", text: func(r *rating.PackageDraft) *string { return &r.Expires }},
		{name: "created", text: func(r *rating.PackageDraft) *string { return &r.Created }},
		{name: "priority", text: func(r *rating.PackageDraft) *string { return &r.Priority }},
		{name: "source", text: func(r *rating.PackageDraft) *string { return &r.Source }},
		{name: "shared", text: func(r *rating.PackageDraft) *string { return &r.Shared }},
		{name: "reset", text: func(r *rating.PackageDraft) *string { return &r.Reset }},
		{name: "rollover_max", text: func(r *rating.PackageDraft) *string { return &r.RolloverMax }},
		{name: "grace_days", text: func(r *rating.PackageDraft) *string { return &r.GraceDays }},
		{name: "retention_days", text: func(r *rating.PackageDraft) *string { return &r.RetentionDays }},
		{name: "price_paid", text: func(r *rating.PackageDraft) *string { return &r.PricePaid }},
		{name: "currency", text: func(r *rating.PackageDraft) *string { return &r.Currency }},
		{
			name: "covers", node: readCovers,
			plain: func(_ *parser, r *rating.PackageDraft, cell string) { r.Covers = plainCovers(cell) },
			share: func(r *rating.PackageDraft) *[]rating.CoverDraft { return &r.Covers },
		},
	},
}

var changes = table[rating.ChangeDraft]{
	kind: rating.KindChange,
	rows: func(d *rating.Draft) *[]rating.ChangeDraft { return &d.Changes },
	fields: []field[rating.ChangeDraft]{
		{name: "package", text: func(r *rating.ChangeDraft) *string { return &r.Package }},
		{name: "at", text: func(r *rating.ChangeDraft) *string { return &r.At }},
		single("renewed", "expires", func(r *rating.ChangeDraft) *string { return &r.RenewedExpires }),
		single("extended", "expires", func(r *rating.ChangeDraft) *string { return &r.Extended }),
		single("resized", "quota", func(r *rating.ChangeDraft) *string { return &r.ResizedQuota }),
		{name: "revoked", text: func(r *rating.ChangeDraft) *string { return &r.Revoked }},
	},
}

var rules = table[rating.RuleDraft]{
	kind: rating.KindRule,
	rows: func(d *rating.Draft) *[]rating.RuleDraft { return &d.Rules },
	fields: []field[rating.RuleDraft]{
		{name: "id", text: func(r *rating.RuleDraft) *string { return &r.ID }},
		{name: "account", text: func(r *rating.RuleDraft) *string { return &r.Account }},
		{name: "package", text: func(r *rating.RuleDraft) *string { return &r.Package }},
		{name: "type", text: func(r *rating.RuleDraft) *string { return &r.Type }},
		several("thresholds", "write `thresholds: [20, 0]`", func(r *rating.RuleDraft) *[]string { return &r.Thresholds }),
		several("channels", "write `channels: [email, sms]`", func(r *rating.RuleDraft) *[]string { return &r.Channels }),
	},
}

var topUps = table[rating.TopUpDraft]{
	kind: rating.KindTopUp,
	rows: func(d *rating.Draft) *[]rating.TopUpDraft { return &d.TopUps },
	fields: []field[rating.TopUpDraft]{
		{name: "account", text: func(r *rating.TopUpDraft) *string { return &r.Account }},
		{name: "at", text: func(r *rating.TopUpDraft) *string { return &r.At }},
		{name: "amount", text: func(r *rating.TopUpDraft) *string { return &r.Amount }},
	},
}

// several is a field that is a list of texts; in a CSV cell they are separated by semicolons.
func several[T any](name, hint string, list func(*T) *[]string) field[T] {
	return field[T]{
		name:  name,
		node:  func(p *parser, path string, row *T, n *yaml.Node) { *list(row) = p.texts(path, n, hint) },
		plain: func(_ *parser, row *T, cell string) { *list(row) = split(cell) },
	}
}

// single is a field that is a mapping with one field; in a CSV cell its value may stand alone.
func single[T any](name, inner string, text func(*T) *string) field[T] {
	names, hint := []string{inner}, "write `"+name+": {"+inner+": …}`"
	return field[T]{
		name: name,
		node: func(p *parser, path string, row *T, n *yaml.Node) {
			if isNull(n) {
				return
			}
			if p.mapping(path, n, names, hint, func(_ int, key string, n *yaml.Node) { *text(row) = p.text(path+"."+key, n) }) && *text(row) == "" {
				p.fault(p.line(n), path, hint, path+" has no "+inner)
			}
		},
		plain: func(_ *parser, row *T, cell string) { *text(row) = cell },
	}
}

func split(cell string) []string {
	parts := strings.Split(cell, ";")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts
}

const (
	tiersHint  = "write `tiers: [{up_to: 100, price: 2}, {price: 1}]`"
	coversHint = "write `covers: [{meter: …}]`"
	whereHint  = "write `where: {attribute: [value, other]}`"
)

var (
	tierNames  = []string{"up_to", "price", "per"}
	coverNames = []string{"meter", "rate", "hours", "where"}
)

func readTiers(p *parser, name string, row *rating.PriceDraft, n *yaml.Node) {
	p.list(name, n, tiersHint, func(path string, n *yaml.Node) {
		var tier rating.TierDraft
		texts := [...]*string{&tier.UpTo, &tier.Price, &tier.Per}
		p.mapping(path, n, tierNames, tiersHint, func(i int, key string, n *yaml.Node) {
			*texts[i] = p.text(path+"."+key, n)
		})
		row.Tiers = append(row.Tiers, tier)
	})
}

func readCovers(p *parser, name string, row *rating.PackageDraft, n *yaml.Node) {
	p.list(name, n, coversHint, func(path string, n *yaml.Node) {
		var cover rating.CoverDraft
		texts := [...]*string{&cover.Meter, &cover.Rate, &cover.Hours}
		p.mapping(path, n, coverNames, coversHint, func(i int, key string, n *yaml.Node) {
			if key == "where" {
				cover.Where = readWhere(p, path+".where", n)
			} else {
				*texts[i] = p.text(path+"."+key, n)
			}
		})
		row.Covers = append(row.Covers, cover)
	})
}

// readWhere reads attributes with a value or a list of values.
func readWhere(p *parser, path string, n *yaml.Node) []rating.ConditionDraft {
	if isNull(n) {
		return nil
	}
	var where []rating.ConditionDraft
	p.mapping(path, n, nil, whereHint, func(_ int, attribute string, n *yaml.Node) {
		condition := rating.ConditionDraft{Attribute: attribute}
		field := path + "." + attribute
		if target := p.resolve(n); target != nil && target.Kind == yaml.SequenceNode {
			condition.Values = p.texts(field, n, whereHint)
		} else {
			condition.Values = []string{p.text(field, n)}
		}
		where = append(where, condition)
	})
	slices.SortFunc(where, func(a, b rating.ConditionDraft) int { return strings.Compare(a.Attribute, b.Attribute) })
	return where
}

// plainCovers reads meter*rate;meter.
func plainCovers(cell string) []rating.CoverDraft {
	parts := split(cell)
	covers := make([]rating.CoverDraft, len(parts))
	for i, part := range parts {
		meter, rate, _ := strings.Cut(part, "*")
		covers[i] = rating.CoverDraft{Meter: strings.TrimSpace(meter), Rate: strings.TrimSpace(rate)}
	}
	return covers
}
