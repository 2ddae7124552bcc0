package page

import (
	"embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"

	"drawdown/rating"
)

//go:embed *.tmpl
var templates embed.FS

// Mark stands near the beginning of every page of ours: what has it may be replaced by another one.
const Mark = `<meta name="generator" content="drawdown report">`

// Write writes the page.
func (o *Overview) Write(w io.Writer) error { return write(w, "overview", &o.Head, o) }

// Write writes the page.
func (a *Account) Write(w io.Writer) error { return write(w, "account", &a.Head, a) }

// PackageCount is how many packages there are, shown or not.
func (o *Overview) PackageCount() int64 { return int64(o.Packages) }

// PackageCount is how many packages there are, shown or not.
func (a *Account) PackageCount() int { return len(a.Packages) + a.MorePackages }

func write(w io.Writer, name string, h *Head, data any) error {
	v := &view{Head: h}
	t, err := template.New("page").Funcs(v.funcs()).ParseFS(templates, "*.tmpl")
	if err != nil {
		return err
	}
	return t.ExecuteTemplate(w, name, data)
}

// view makes texts and plots of a page's figures.
type view struct {
	*Head
	plots int
}

func (v *view) funcs() template.FuncMap {
	return template.FuncMap{
		"num":      func(n Number) string { return grouped(n.String()) },
		"count":    func(n int64) string { return grouped(fmt.Sprint(n)) },
		"money":    v.money,
		"change":   func(m Money) string { return signed(m.Amount, v.money(m)) },
		"signed":   func(n Number) string { return signed(n, grouped(n.String())) },
		"when":     v.when,
		"until":    v.until,
		"percent":  percent,
		"zero":     zero,
		"plural":   plural,
		"words":    func(s string) string { return strings.ReplaceAll(s, "_", " ") },
		"usage":    v.usage,
		"spending": v.spending,
		"bar":      v.bar,
		"burn":     v.burnDown,
		"forecast": v.forecastText,
		"cycle":    cycleText,
		"amounts":  v.amountsOf,
		"state":    v.stateOf,
		"busy":     busy,
		"telling":  telling,
		"first":    firstBackfills,
		"more":     moreBackfills,
		"open":     openPeriods,
		"per":      perText,
		"each":     func() string { return v.Per },
		"numbered": func(i int) int { return i + 1 },
		"of":       func(meters []Meter, currency string) []Meter { return inCurrency(meters, currency) },
		"in":       amountIn,
	}
}

// newPlot gives a plot with an id of its own.
func (v *view) newPlot(title string) plot {
	v.plots++
	return plot{ID: fmt.Sprintf("plot%d", v.plots), Title: title, Width: plotWidth, Height: plotHeight}
}

// usage draws a meter's days: deducted, excess and stopped on each other.
func (v *view) usage(m Meter, per string) *plot {
	p := v.newPlot(fmt.Sprintf("Usage of %s by %s, in %s", m.Meter, per, unitOr(m.Unit)))
	var list []column
	most := -1
	for i, d := range m.Days {
		if d.Day == LateDay {
			continue
		}
		if most < 0 || rating.Amount(d.Settled).Cmp(rating.Amount(m.Days[most].Settled)) > 0 {
			most = i
		}
		list = append(list, column{d.Day, []rating.Amount{rating.Amount(d.Deducted), rating.Amount(d.Excess), rating.Amount(d.Stopped)}, v.tip(&d)})
	}
	p.Desc = fmt.Sprintf("In all %s: %s deducted from packages, %s excess, %s stopped.", grouped(m.Settled.String()),
		grouped(m.Deducted.String()), grouped(m.Excess.String()), grouped(m.Stopped.String()))
	if most >= 0 {
		p.Desc += fmt.Sprintf(" The most was %s, at %s.", grouped(m.Days[most].Settled.String()), m.Days[most].Day)
	}
	p.columns(list, []string{"deducted", "excess", "stopped"})
	return &p
}

// LateDay stands in place of a day for usage that came late.
const LateDay = "late"

func (v *view) tip(d *Day) string {
	text := d.Day + ": " + grouped(d.Deducted.String()) + " deducted"
	if !zero(d.Excess) {
		text += ", " + grouped(d.Excess.String()) + " excess"
	}
	if !zero(d.Stopped) {
		text += ", " + grouped(d.Stopped.String()) + " stopped"
	}
	return text
}

// spending draws what is charged by day in one currency, over all meters.
func (v *view) spending(meters []Meter, currency, per string) *plot {
	p := v.newPlot(fmt.Sprintf("Charges by %s, in %s", per, currency))
	var list []column
	var all rating.Amount
	most := -1
	for _, m := range meters {
		for i, n := 0, 0; i < len(m.Days); i++ {
			if m.Days[i].Day == LateDay {
				continue
			}
			if n == len(list) {
				list = append(list, column{name: m.Days[i].Day, parts: make([]rating.Amount, 1)})
			}
			amount := rating.Amount(amountIn(m.Days[i].Charges, currency))
			list[n].parts[0], _ = list[n].parts[0].Add(amount)
			all, _ = all.Add(amount)
			n++
		}
	}
	for i := range list {
		list[i].tip = list[i].name + ": " + v.money(Money{currency, Number(list[i].parts[0])}) + " " + currency
		if most < 0 || list[i].parts[0].Cmp(list[most].parts[0]) > 0 {
			most = i
		}
	}
	p.Desc = fmt.Sprintf("In all %s %s.", v.money(Money{currency, Number(all)}), currency)
	if most >= 0 {
		p.Desc += fmt.Sprintf(" The most was %s, at %s.", v.money(Money{currency, Number(list[most].parts[0])}), list[most].name)
	}
	p.columns(list, []string{"money"})
	return &p
}

// bar draws how much of a package's quota is left.
func (v *view) bar(p Package) *plot {
	b := v.newPlot(fmt.Sprintf("%s of %s left", percent(p.Closing, p.Size), p.Package))
	b.Width, b.Height = 240, 14
	filled := scaled(rating.Amount(p.Closing), rating.Amount(p.Size), 238)
	b.Shapes = append(b.Shapes, shape{Class: "track", D: "M.5 .5h239v13h-239z"})
	if filled > 0 {
		b.Shapes = append(b.Shapes, shape{Class: "deducted", D: fmt.Sprintf("M1 1h%sv12h-%sz", px(max(filled, 10)), px(max(filled, 10)))})
	}
	return &b
}

// burnDown draws a package's burn-down; nil where nothing is known of it.
func (v *view) burnDown(p Package) *plot {
	if p.Burn == nil || len(p.Burn.Points) == 0 {
		return nil
	}
	d := p.Burn
	b := &burn{plot: v.newPlot(fmt.Sprintf("What was left of %s, in %s", p.Package, unitOr(p.Unit))), from: d.From, to: d.To}
	highest := rating.Amount(p.Size)
	for _, point := range d.Points {
		if rating.Amount(point.Left).Cmp(highest) > 0 {
			highest = rating.Amount(point.Left)
		}
	}
	b.top = roundTop(highest)
	b.grid(b.top)
	last := d.Points[len(d.Points)-1]
	b.Desc = fmt.Sprintf("From %s at %s to %s at %s.", grouped(d.Points[0].Left.String()), v.when(d.Points[0].At), grouped(last.Left.String()), v.when(last.At))
	b.steps(d.Points)
	if d.Begins != 0 && p.Ends > d.Begins && !zero(d.Granted) {
		b.pace(max(d.Begins, d.From), min(p.Ends, d.To), d.Begins, p.Ends, d.Granted)
	}
	if d.To > v.To {
		b.upright(v.To, "now", "settled")
	}
	if f := p.Forecast; f != nil && f.RunsOut != 0 {
		b.forecast(v.To, p.Closing, f)
		b.Desc += " " + v.forecastText(p)
	}
	if p.Ends != p.Expires {
		b.upright(p.Ends, "ends", "cycle ends")
	}
	b.upright(p.Expires, "ends", "expires")
	for i, e := range d.Events {
		b.mark(i+1, e.At, e.Left)
		b.Desc += fmt.Sprintf(" %d: %s, %s.", i+1, v.when(e.At), e.Text)
	}
	from, to := v.date(d.From), v.date(d.To-1)
	if d.To-d.From <= 2*86400e6 {
		from, to = v.when(d.From), v.when(d.To)
	}
	b.tick(marginLeft*10, from)
	b.tick((plotWidth-marginRight)*10, to)
	return &b.plot
}

// pace draws how the quota would go if it went evenly, from from to to of a cycle.
func (b *burn) pace(from, to, begins, ends At, granted Number) {
	left := func(at At) Number {
		share, _ := rating.Amount(granted).Share(rating.AmountOf(int64(ends-at)), rating.AmountOf(int64(ends-begins)))
		return Number(share)
	}
	if from < to {
		b.Shapes = append(b.Shapes, shape{Class: "pace", D: "M" + b.place(from, left(from)) + "L" + b.place(to, left(to))})
	}
}

// forecast draws where the use of the last days leads to, and how far to either side it may be.
func (b *burn) forecast(from At, left Number, f *Forecast) {
	latest := f.Latest
	if latest == 0 {
		latest = b.to
	}
	at := func(end At) string { // a point of the line down to end, cut at the plot's edge
		if end <= b.to {
			return b.place(end, Number{})
		}
		share, _ := rating.Amount(left).Share(rating.AmountOf(int64(end-b.to)), rating.AmountOf(int64(end-from)))
		return b.place(b.to, Number(share))
	}
	start := b.place(from, left)
	b.Shapes = append(b.Shapes,
		shape{Class: "doubt", D: "M" + start + "L" + at(f.Earliest) + "L" + at(latest) + "z"},
		shape{Class: "lead", D: "M" + start + "L" + at(f.RunsOut)})
}

// forecastText says in words when a package runs out.
func (v *view) forecastText(p Package) string {
	f := p.Forecast
	if f == nil {
		return ""
	}
	if f.RunsOut == 0 {
		return f.Note
	}
	mean := fmt.Sprintf("At %s %s a day, the mean of the last %d days", about(f.PerDay), unitOr(p.Unit), f.Days)
	end, what := p.Ends, "this cycle ends"
	if p.Ends == p.Expires {
		what = "it expires"
	}
	between := fmt.Sprintf("between %s and %s", v.date(f.Earliest), v.date(f.Latest))
	switch {
	case f.Latest == 0:
		between = fmt.Sprintf("not before %s, and perhaps never", v.date(f.Earliest))
	case v.date(f.Earliest) == v.date(f.Latest):
		between = "each day was like the others"
	}
	spread := fmt.Sprintf(" (%s; two standard deviations of how the days differ)", between)
	if v.date(f.Earliest) == v.date(f.Latest) && f.Latest != 0 {
		spread = " (" + between + ")"
	}
	if f.RunsOut >= end {
		text := fmt.Sprintf("%s, it lasts until %s, %s", mean, what, v.until(end))
		if f.Earliest < end {
			text += fmt.Sprintf(", though it may run out from %s on (two standard deviations of how the days differ)", v.date(f.Earliest))
		}
		return text + "."
	}
	return fmt.Sprintf("%s, it runs out on %s%s.", mean, v.date(f.RunsOut), spread)
}

// stateOf says how a package stands by the end of the page's range, in parts that are not broken.
func (v *view) stateOf(p Package) []string {
	if p.State == "future" {
		return []string{"begins " + v.when(p.Begins)}
	}
	parts := []string{p.State}
	if p.State == "revoked" {
		return parts // its end came before that of its term
	}
	if p.Cycle != "" && p.Ends < p.Expires && p.Ends > v.To {
		parts = append(parts, "granted anew "+v.when(p.Ends))
	}
	if p.Expires > v.To {
		return append(parts, "expires "+v.until(p.Expires))
	}
	return append(parts, "expired "+v.until(p.Expires))
}

func unitOr(unit string) string {
	if unit == "" {
		return "units"
	}
	return unit
}

func cycleText(p Package) string {
	if p.Cycle == "" {
		return unitOr(p.Unit)
	}
	return unitOr(p.Unit) + " a " + p.Cycle
}

func perText(per string) string {
	switch per {
	case "hour":
		return "Hour"
	case "month":
		return "Month"
	}
	return "Day"
}

// amountsOf gives what is charged, or nothing in the site's currency.
func (h *Head) amountsOf(list []Money) []Money {
	if len(list) == 0 {
		return []Money{{Currency: h.Currency}}
	}
	return list
}

func amountIn(list []Money, currency string) Number {
	for _, m := range list {
		if m.Currency == currency {
			return m.Amount
		}
	}
	return Number{}
}

// inCurrency gives the meters that have charges in a currency.
func inCurrency(meters []Meter, currency string) []Meter {
	var list []Meter
	for _, m := range meters {
		for _, c := range m.Charges {
			if c.Currency == currency {
				list = append(list, m)
			}
		}
	}
	return list
}

// busy gives the days on which something was.
func busy(days []Day) []Day {
	var list []Day
	for _, d := range days {
		if d.Settled != (Number{}) || len(d.Charges) > 0 {
			list = append(list, d)
		}
	}
	return list
}

// mostBackfills is how many of them a page has room for.
const mostBackfills = 60

// telling gives the backfills that changed something.
func telling(list []Backfill) []Backfill {
	return slices.DeleteFunc(slices.Clone(list), func(b Backfill) bool { return b.Accounts == 0 && b.Packages == 0 })
}

// firstBackfills gives as many as a page has room for.
func firstBackfills(list []Backfill) []Backfill { return list[:min(len(list), mostBackfills)] }

// moreBackfills is how many are left out.
func moreBackfills(list []Backfill) int { return max(0, len(list)-mostBackfills) }

// openPeriods are those that may still change, in words: the first few.
func openPeriods(list []Period) string {
	var names []string
	for _, p := range list {
		if p.State != "closed" {
			names = append(names, p.Name)
		}
	}
	if len(names) > 6 {
		return fmt.Sprintf("%s to %s (%d)", names[0], names[len(names)-1], len(names))
	}
	return strings.Join(names, ", ")
}
