package rating

import (
	"slices"
	"strconv"
	"strings"
)

var (
	ruleTypeNames  = []string{"percentage", "absolute"}
	channelNames   = []string{"email", "sms", "inbox", "webhook"}
	defaultChannel = channelNames[:2]
)

const wholePercent = 100_000000000

// rules reads alert_rules, and gives every package the most specific one.
func (c *compiler) rules() {
	rows := make([]keyed, len(c.draft.Rules))
	for i := range rows {
		rows[i] = keyed{id: c.draft.Rules[i].ID, row: int32(i)}
	}
	c.index(KindRule, rows)
	general := c.catalog.general // of the head, where this is a part
	if general == nil {
		general = &AlertRule{Type: Percentage, Thresholds: []int64{20_000000000, 0}, Channels: slices.Clone(defaultChannel)}
	}
	var everybody *AlertRule
	ofAccount, ofPackage := map[int32]*AlertRule{}, map[int32]*AlertRule{}
	for _, k := range rows {
		d := &c.draft.Rules[k.row]
		r := row{c, KindRule, int(k.row), d.ID}
		rule := r.rule(d)
		switch {
		case d.Account != "" && d.Package != "":
			r.fault("account", "R2.6", "keep one of them, or write two rules", "it is for an account and for a package")
		case d.Package != "":
			if pack, ok := r.reference("package", d.Package, KindPackage, c.catalog.packageByID); ok {
				r.sole("package", ofPackage[pack])
				ofPackage[pack] = rule
			}
		case d.Account != "":
			if account, ok := r.reference("account", d.Account, KindAccount, c.catalog.accountByID); ok {
				r.sole("account", ofAccount[account])
				ofAccount[account] = rule
			}
		default:
			r.sole("", everybody)
			everybody = rule
		}
	}
	if everybody != nil {
		general = everybody
	}
	c.catalog.general = general
	for i := range c.catalog.Packages {
		p := &c.catalog.Packages[i]
		p.rule = general
		if rule := ofAccount[p.Account]; rule != nil {
			p.rule = rule
		}
		if rule := ofPackage[int32(i)]; rule != nil {
			p.rule = rule
		}
	}
}

// sole reports a second rule of one scope.
func (r row) sole(field string, other *AlertRule) {
	if other != nil {
		r.fault(field, "R2.6", "write all thresholds into one rule", "rule %q is for the same packages", other.ID)
	}
}

func (r row) rule(d *RuleDraft) *AlertRule {
	rule := &AlertRule{ID: d.ID, Channels: slices.Clone(defaultChannel)}
	if r.require("type", d.Type) {
		rule.Type = ThresholdType(r.choice("type", d.Type, "R2.6", ruleTypeNames, 0))
	}
	if len(d.Thresholds) == 0 {
		r.fault("thresholds", "R2.8", "write `thresholds: [20, 0]`", "thresholds are missing")
	}
	for i, text := range d.Thresholds {
		field := "thresholds[" + strconv.Itoa(i) + "]"
		n, ok := r.decimal(field, text, "R2.6", maxScale)
		switch {
		case !ok:
			continue
		case rule.Type == Percentage && n > wholePercent:
			r.fault(field, "R2.6", "write a number from 0 to 100, or `type: absolute`", "threshold %s is more than 100 percent", text)
		case slices.Contains(rule.Thresholds, n):
			r.fault(field, "R2.6", "remove one", "threshold %s is there twice", text)
		}
		rule.Thresholds = append(rule.Thresholds, n)
	}
	slices.SortFunc(rule.Thresholds, func(a, b int64) int {
		if a > b {
			return -1
		}
		return 1
	})
	if len(d.Channels) > 0 {
		rule.Channels = r.channels(d.Channels)
	}
	return rule
}

// channels reads where to tell an owner; "e-mail" is email.
func (r row) channels(texts []string) []string {
	var channels []string
	for i, text := range texts {
		field := "channels[" + strconv.Itoa(i) + "]"
		name := strings.ToLower(text)
		if name == "e-mail" {
			name = "email"
		}
		before := len(r.c.faults)
		if r.choice(field, name, "R2.6", channelNames, -1); name == "" {
			r.fault(field, "R2.6", "remove it", "a channel is empty")
		}
		if slices.Contains(channels, name) {
			r.fault(field, "R2.6", "remove one", "channel %s is there twice", text)
		}
		if len(r.c.faults) == before {
			channels = append(channels, name)
		}
	}
	return channels
}
