package rating

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

var (
	packageKindNames = []string{"pay_per_use", "stop_before_excess"}
	sourceNames      = []string{"free", "promotion", "subscription"}
	resetNames       = []string{"none", "hour", "day", "week", "month", "year", "calendar_month"}
)

const maxStageDays = 3650

func (c *compiler) packages() {
	rows := make([]keyed, len(c.draft.Packages))
	for i := range rows {
		rows[i] = keyed{id: c.draft.Packages[i].ID, row: int32(i)}
	}
	c.catalog.packageByID = c.index(KindPackage, rows)
	c.catalog.Packages = make([]Package, len(rows))
	c.packageRows = make([]int32, len(rows))
	for i, k := range rows {
		c.packageRows[i] = k.row
		c.pack(row{c, KindPackage, int(k.row), k.id}, &c.draft.Packages[k.row], &c.catalog.Packages[i])
	}
}

// pack reads a package.
func (c *compiler) pack(r row, d *PackageDraft, p *Package) {
	r.labels("R2.4", "product", d.Product, "name", d.Name, "unit", d.Unit)
	p.ID, p.Product, p.Name, p.Unit = d.ID, d.Product, d.Name, d.Unit
	zone, currency := c.config.Zone, c.config.Currency
	p.Account = None
	if owner, ok := r.reference("account", d.Account, KindAccount, c.catalog.accountByID); ok {
		p.Account = owner
		zone, currency = c.catalog.Accounts[owner].Zone, c.catalog.Accounts[owner].Currency
	}
	if r.require("kind", d.Kind) {
		p.Kind = PackageKind(r.choice("kind", d.Kind, "R2.4", packageKindNames, 0))
	}
	p.Source = Source(r.choice("source", d.Source, "R2.4", sourceNames, int(Subscription)))
	p.Reset = Reset(r.choice("reset", d.Reset, "R2.4", resetNames, int(NoReset)))
	p.Shared = r.truth("shared", d.Shared, "R2.4")
	p.Priority = r.integer("priority", d.Priority, "R2.4", math.MinInt64, math.MaxInt64, 0)
	p.GraceDays = int(r.integer("grace_days", d.GraceDays, "R2.4", 0, maxStageDays, 15))
	p.RetentionDays = int(r.integer("retention_days", d.RetentionDays, "R2.4", 0, maxStageDays, 15))
	p.Currency = r.currency(d.Currency, "R2.4", currency)
	if d.PricePaid != "" {
		paid, ok := r.amount("price_paid", d.PricePaid, "R2.4")
		if ok && paid.Sign() < 0 {
			r.fault("price_paid", "R2.4", "write 0 or more", "price_paid %q is negative", d.PricePaid)
		}
		p.PricePaid = paid
	}
	c.packageScale(r, d, p)
	c.packageTimes(r, d, p, zone)
}

// packageScale reads the scale and what is counted in it: quota, rollover and covers.
func (c *compiler) packageScale(r row, d *PackageDraft, p *Package) {
	for i := range d.Covers {
		if meter, ok := c.catalog.meterByID[d.Covers[i].Meter]; ok {
			p.Scale = max(p.Scale, c.catalog.Meters[meter].Scale)
		}
	}
	p.Scale = int(r.integer("scale", d.Scale, "R2.4", 0, maxScale, int64(p.Scale)))
	if r.require("quota", d.Quota) {
		p.Quota, _ = r.decimal("quota", d.Quota, "R2.4", p.Scale)
	}
	p.RolloverMax = r.optionalDecimal("rollover_max", d.RolloverMax, "R2.4", p.Scale, 0)
	if p.Quota > math.MaxInt64-p.RolloverMax {
		r.fault("rollover_max", "R1.5", "write a smaller number, or a smaller scale", "quota %s and rollover_max %s together do not fit 64 bits", d.Quota, d.RolloverMax)
	}
	if len(d.Covers) == 0 {
		r.fault("covers", "R2.8", "write `covers: [{meter: …}]`", "covers are missing, so it would pay for nothing")
		return
	}
	p.Covers = c.packageCovers(r, d.Covers, p.Scale)
}

func (c *compiler) packageTimes(r row, d *PackageDraft, p *Package, zone *time.Location) {
	effective, ok := r.requiredMoment("effective", d.Effective, zone)
	p.Effective, p.Created = effective, effective
	if d.Created != "" {
		if created, valid := r.moment("created", d.Created, zone); valid {
			p.Created = created
		}
	}
	if !r.require("expires", d.Expires) {
		return
	}
	expires, valid := r.end("expires", d.Expires, zone)
	p.Expires = expires
	if !ok || !valid {
		return
	}
	if expires <= effective {
		r.fault("expires", "R2.8", "let it expire after it takes effect", "expires %q is not after effective %q", d.Expires, d.Effective)
		return
	}
	r.cycleFits("reset", p, effective, expires, zone)
}

// longest gives a length that no cycle exceeds.
func longest(reset Reset) Instant {
	switch reset {
	case EveryHour:
		return 3600 * second
	case EveryDay:
		return 3 * day
	case EveryWeek:
		return 9 * day
	case EveryMonth:
		return 33 * day
	case EveryYear:
		return 368 * day
	}
	return 0
}

// cycleFits reports a term that is shorter than a cycle.
func (r row) cycleFits(field string, p *Package, start, end Instant, zone *time.Location) {
	if end-start >= longest(p.Reset) {
		return
	}
	z := zoneCache{loc: zone}
	if first := z.cycleStart(p.Reset, start, 1); first > end {
		r.fault(field, "R2.8", "choose a shorter reset, `reset: none` or `reset: calendar_month`, or a later end",
			"its cycle of one %s ends at %s, after its term's end at %s", resetNames[p.Reset], first, end)
	}
}

// plainCover is a cover of a meter without conditions; most packages have just one, so packages share them.
type plainCover struct {
	meter  int32
	factor int64
}

func (c *compiler) packageCovers(r row, drafts []CoverDraft, scale int) []Cover {
	if len(drafts) == 1 && drafts[0].Hours == "" && len(drafts[0].Where) == 0 {
		cover := c.cover(r, "covers[0]", &drafts[0], scale)
		key := plainCover{cover.Meter, cover.Factor}
		shared, ok := c.plainCovers[key]
		if !ok {
			shared = []Cover{cover}
			c.plainCovers[key] = shared
		}
		return shared
	}
	covers := make([]Cover, len(drafts))
	for i := range drafts {
		covers[i] = c.cover(r, "covers["+strconv.Itoa(i)+"]", &drafts[i], scale)
	}
	return covers
}

func (c *compiler) cover(r row, path string, d *CoverDraft, scale int) Cover {
	var cover Cover
	if d.Hours != "" {
		cover.Hours = r.hours(path+".hours", d.Hours)
	}
	if len(d.Where) > 0 {
		cover.Where = r.where(path+".where", d.Where)
	}
	meter, ok := c.catalog.meterByID[d.Meter]
	if !ok {
		r.reference(path+".meter", d.Meter, KindMeter, c.catalog.meterByID)
		return cover
	}
	cover.Meter = meter
	cover.Factor = r.factor(path, d.Rate, scale, &c.catalog.Meters[meter])
	return cover
}

// factor gives the rate in the smallest units of package and meter.
func (r row) factor(path, rate string, scale int, meter *Meter) int64 {
	if rate == "" {
		rate = "1"
	}
	d, err := scanDecimal([]byte(rate))
	if err != nil || d.decimals > maxScale {
		// The same text is read again, for its fault.
		r.decimal(path+".rate", rate, "R2.4", maxScale)
		return 0
	}
	if d.hi == 0 && d.lo == 0 || d.negative {
		r.fault(path+".rate", "R2.4", "write how many units of the quota one unit of the meter takes", "rate %q is not above 0", rate)
		return 0
	}
	if needed := meter.Scale + max(0, d.decimals); needed > scale {
		field, hint, together := path+".rate", "write `scale: "+strconv.Itoa(needed)+"`, or a rate of fewer decimals", ""
		if needed > maxScale {
			hint = "write a rate of at most " + strconv.Itoa(maxScale-meter.Scale) + " decimals: a scale is 9 at most"
		}
		if d.decimals > 0 {
			together = " and the rate " + rate + " makes it " + strconv.Itoa(needed)
		} else {
			field, hint = path+".meter", "write `scale: "+strconv.Itoa(needed)+"`"
		}
		r.fault(field, "R2.8", hint, "meter %q has scale %d%s, more than the package's scale %d", meter.ID, meter.Scale, together, scale)
		return 0
	}
	factor, err := d.units(scale-meter.Scale, Exact)
	if err != nil {
		r.fault(path+".rate", "R1.5", "write a smaller rate, or a smaller scale", "rate %s", describeDecimal(rate, scale-meter.Scale, err))
	}
	return factor
}

// where reads conditions; the catalog has them sorted, and each value once.
func (r row) where(path string, drafts []ConditionDraft) []Condition {
	where := make([]Condition, len(drafts))
	for i, d := range drafts {
		field := path + "." + d.Attribute
		switch {
		case d.Attribute == "":
			r.fault(path, "R2.4", "write `where: {attribute: value}`", "a condition has no attribute")
		case len(d.Values) == 0 || slices.Contains(d.Values, ""):
			r.fault(field, "R2.4", "write the values that it may have", "the condition on %q has an empty value", d.Attribute)
		}
		values := slices.Sorted(slices.Values(d.Values))
		where[i] = Condition{Attribute: d.Attribute, Values: slices.Compact(values)}
	}
	slices.SortFunc(where, func(a, b Condition) int { return strings.Compare(a.Attribute, b.Attribute) })
	for i := 1; i < len(where); i++ {
		if where[i].Attribute == where[i-1].Attribute {
			r.fault(path+"."+where[i].Attribute, "R2.4", "write one list of values", "there are two conditions on %q", where[i].Attribute)
		}
	}
	return where
}
