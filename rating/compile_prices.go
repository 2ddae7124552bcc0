package rating

import (
	"cmp"
	"math"
	"slices"
	"strconv"
)

// meterPrices are the general prices of a meter, by the start of their intervals, which do not overlap.
type meterPrices []int32

// ownKey finds the prices that an account has for itself.
type ownKey struct{ account, meter int32 }

// generalPrices gives the prices of a meter for everybody, by start.
func (c *Catalog) generalPrices(meter int32) []int32 { return c.prices[meter] }

// ownPrices gives the prices of a meter that an account has for itself, by start; most accounts have none.
func (c *Catalog) ownPrices(account, meter int32) []int32 {
	if len(c.pricesOfOwn) == 0 {
		return nil
	}
	return c.pricesOfOwn[ownKey{account, meter}]
}

func (c *compiler) prices() {
	rows := make([]keyed, len(c.draft.Prices))
	for i := range rows {
		rows[i] = keyed{id: c.draft.Prices[i].ID, row: int32(i)}
	}
	c.index(KindPrice, rows)
	cat := c.catalog
	cat.prices = make([]meterPrices, len(cat.Meters))
	cat.pricesOfOwn = map[ownKey][]int32{}
	cat.Prices = make([]Price, len(rows))
	for i, k := range rows {
		r := row{c, KindPrice, int(k.row), k.id}
		p, ok := c.price(r, &c.draft.Prices[k.row])
		cat.Prices[i] = p
		switch {
		case !ok:
		case p.Account == None:
			cat.prices[p.Meter] = append(cat.prices[p.Meter], int32(i))
		default:
			key := ownKey{p.Account, p.Meter}
			cat.pricesOfOwn[key] = append(cat.pricesOfOwn[key], int32(i))
		}
	}
	for _, list := range cat.prices {
		c.sortIntervals(list, rows)
	}
	for _, list := range cat.pricesOfOwn {
		c.sortIntervals(list, rows)
	}
}

// sortIntervals sorts prices by start, and reports those that are in force at the same time.
func (c *compiler) sortIntervals(list []int32, rows []keyed) {
	prices := c.catalog.Prices
	slices.SortFunc(list, func(a, b int32) int {
		return cmp.Or(cmp.Compare(prices[a].From, prices[b].From), cmp.Compare(a, b))
	})
	for i := 1; i < len(list); i++ {
		last, next := &prices[list[i-1]], &prices[list[i]]
		if last.To <= next.From {
			continue
		}
		hint := "end " + strconv.Quote(last.ID) + " where this one starts: set its `to`"
		if next.From != Beginning {
			hint += " to " + next.From.String()
		} else {
			hint = "give one of them a `to` and the other the same instant as `from`"
		}
		k := rows[list[i]]
		row{c, KindPrice, int(k.row), k.id}.fault("from", "R2.8", hint,
			"it is in force at the same time as price %q of the same meter: %s overlaps %s", last.ID, span(next), span(last))
		if last.To > next.To { // the longer one may overlap more
			list[i-1], list[i] = list[i], list[i-1]
		}
	}
}

func span(p *Price) string {
	from, to := "the beginning", "open end"
	if p.From != Beginning {
		from = p.From.String()
	}
	if p.To != Never {
		to = p.To.String()
	}
	return "[" + from + ", " + to + ")"
}

var modelNames = []string{"flat", "graduated", "volume", "block"}

// price reads a price; false when its meter or account is unknown.
func (c *compiler) price(r row, d *PriceDraft) (Price, bool) {
	cat := c.catalog
	p := Price{ID: d.ID, Account: None, From: Beginning, To: Never}
	meter, ok := r.reference("meter", d.Meter, KindMeter, cat.meterByID)
	p.Meter = meter
	scale := maxScale
	if ok {
		scale = cat.Meters[meter].Scale
	}
	zone, currency := c.config.Zone, c.config.Currency
	if d.Account != "" {
		account, found := r.reference("account", d.Account, KindAccount, cat.accountByID)
		if ok = ok && found; found {
			p.Account = account
			zone, currency = cat.Accounts[account].Zone, cat.Accounts[account].Currency
		}
	}
	p.Currency = r.currency(d.Currency, "R2.3", currency)
	if d.From != "" {
		if at, valid := r.moment("from", d.From, zone); valid {
			p.From = at
		}
	}
	if d.To != "" {
		// A date here is the day's first instant: "to" reads as until, and the next price's "from" is the same date.
		if at, valid := r.moment("to", d.To, zone); valid {
			p.To = at
		}
	}
	if p.To <= p.From {
		r.fault("to", "R2.8", "let it end after it starts", "to %q is not after from %q", d.To, d.From)
	}
	before := len(c.faults)
	if r.require("model", d.Model) {
		p.Model = Model(r.choice("model", d.Model, "R2.3", modelNames, 0))
		if len(c.faults) == before {
			c.model(r, d, &p, scale)
		}
	}
	if ok && len(c.faults) == before {
		total, err := newTotalFunction(&p, scale)
		if err != nil {
			r.fault("", "R1.5", "write prices and per with fewer digits", "it cannot be computed exactly: %s", err)
		}
		p.total = total
	}
	return p, ok
}

// model reads the numbers of a price, and reports those that its model has no use for.
func (c *compiler) model(r row, d *PriceDraft, p *Price, scale int) {
	tiered := p.Model == Graduated || p.Model == Volume
	r.strangers(d, p.Model, tiered)
	p.CountsUsage = d.Counts == "usage"
	switch {
	case p.Model == Flat:
	case d.Counts == "":
		r.fault("counts", "R2.8", countsHint(p.Model), "a price of model %s must say what it counts", d.Model)
	case d.Counts != "excess" && d.Counts != "usage":
		r.fault("counts", "R2.3", countsHint(p.Model), "counts %q is unknown", d.Counts)
	case p.Model == Volume && p.CountsUsage:
		r.fault("counts", "R2.3", countsHint(p.Model), "a price of model volume cannot count usage")
	}
	switch {
	case tiered && len(d.Tiers) == 0:
		r.fault("tiers", "R2.8", "write `tiers: [{up_to: 100, price: 2}, {price: 1}]`", "tiers are missing")
	case tiered:
		p.Tiers = r.tiers(d.Tiers, scale)
	default:
		p.Tiers = []Tier{r.tier("", TierDraft{Price: d.Price, Per: d.Per}, scale, true)}
	}
	if p.Model == Block && r.require("size", d.Size) {
		if p.Size, _ = r.decimal("size", d.Size, "R2.3", scale); p.Size == 0 {
			r.fault("size", "R2.3", "write how many units a block has", "size %q is no size of a block", d.Size)
		}
	}
}

func countsHint(m Model) string {
	if m == Volume {
		return "write `counts: excess`"
	}
	return "write `counts: excess` (what packages did not cover) or `counts: usage` (all of the month's usage)"
}

// strangers reports fields that belong to another model.
func (r row) strangers(d *PriceDraft, m Model, tiered bool) {
	for _, f := range []struct {
		name   string
		given  bool
		belong bool
	}{
		{"price", d.Price != "", !tiered},
		{"per", d.Per != "", m == Flat},
		{"size", d.Size != "", m == Block},
		{"tiers", len(d.Tiers) > 0, tiered},
		{"counts", d.Counts != "", m != Flat},
	} {
		if f.given && !f.belong {
			hint := "remove it, or choose another model"
			if f.name == "counts" {
				hint = "remove it: a flat price costs the same whatever counts"
			}
			r.fault(f.name, "R2.3", hint, "a price of model %s has no %s", d.Model, f.name)
		}
	}
}

// tiers reads tiers with ascending ends; the last has none.
func (r row) tiers(drafts []TierDraft, scale int) []Tier {
	tiers := make([]Tier, len(drafts))
	var below int64
	for i, d := range drafts {
		last := i == len(drafts)-1
		path := "tiers[" + strconv.Itoa(i) + "]."
		tiers[i] = r.tier(path, d, scale, last)
		switch field := path + "up_to"; {
		case last && d.UpTo != "":
			r.fault(field, "R2.3", "remove it, or add a last tier for all above", "the last tier ends at %q, so what is above has no price", d.UpTo)
		case !last && d.UpTo == "":
			r.fault(field, "R2.3", "write its last unit as `up_to`", "tier %d has no up_to, but is not the last", i+1)
		case !last && tiers[i].UpTo <= below:
			r.fault(field, "R2.3", "write ends that grow from tier to tier, from above 0 on", "tier %d ends at %q, not above the end of the tier before", i+1, d.UpTo)
		}
		below = tiers[i].UpTo
	}
	return tiers
}

func (r row) tier(path string, d TierDraft, scale int, last bool) Tier {
	t := Tier{UpTo: math.MaxInt64, Per: pow10[maxScale]}
	if !last && d.UpTo != "" {
		if end, ok := r.decimal(path+"up_to", d.UpTo, "R2.3", scale); ok {
			t.UpTo = end
		}
	}
	if r.require(path+"price", d.Price) {
		t.Price, _ = r.decimal(path+"price", d.Price, "R1.2", maxScale)
	}
	per := r.optionalDecimal(path+"per", d.Per, "R1.2", maxScale, t.Per)
	if per == 0 {
		r.fault(path+"per", "R1.2", "write how many units the price buys", "per %q is not above 0", d.Per)
		per = t.Per
	}
	t.Per = per
	return t
}
