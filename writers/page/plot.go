package page

import (
	"fmt"
	"strings"

	"drawdown/rating"
)

// The size of a plot in the units of its viewBox: about as many pixels on a phone, so that its letters can be read there.
const (
	plotWidth, plotHeight              = 360, 190
	marginLeft, marginRight, marginTop = 44, 10, 16
	marginBottom                       = 24
	areaWidth                          = plotWidth - marginLeft - marginRight
	areaHeight                         = plotHeight - marginTop - marginBottom
)

// plot is an SVG: what it says in words, and what is drawn, back to front.
type plot struct {
	ID            string
	Title, Desc   string
	Width, Height int
	Shapes        []shape
	Labels        []label
}

// shape is a path, drawn as its class says.
type shape struct {
	Class, D string
	Tip      string // shown when one points at it
}

// label is a text in the plot.
type label struct {
	X, Y, Text string
	Anchor     string // start, middle or end
	Class      string
}

// px writes tenths of a pixel.
func px(tenths int64) string {
	if tenths%10 == 0 {
		return fmt.Sprint(tenths / 10)
	}
	sign := ""
	if tenths < 0 {
		sign, tenths = "-", -tenths
	}
	return fmt.Sprintf("%s%d.%d", sign, tenths/10, tenths%10)
}

// scaled gives part of whole in tenths of pixels, none beyond either end.
func scaled(part, whole rating.Amount, pixels int64) int64 {
	share, ok := rating.AmountOf(pixels*10).Share(part, whole)
	n, fits := share.Int64()
	if !ok || !fits {
		return 0
	}
	return max(0, min(n, pixels*10))
}

// roundTop is the least round number that is not below n: the top of an axis.
func roundTop(n rating.Amount) rating.Amount {
	unit := rating.AmountOf(1)
	for {
		for _, m := range []int{1, 2, 3, 4, 5, 6, 8} {
			if top, ok := unit.Times(m); !ok || top.Cmp(n) >= 0 {
				return top
			}
		}
		next, ok := unit.Times(10)
		if !ok {
			return n
		}
		unit = next
	}
}

// grid draws the lines of an axis from 0 to its top.
func (p *plot) grid(top rating.Amount) {
	half, _ := top.Share(rating.AmountOf(1), rating.AmountOf(2))
	for _, line := range []struct {
		value rating.Amount
		y     int64
	}{{rating.Amount{}, areaHeight * 10}, {half, areaHeight * 5}, {top, 0}} {
		y := marginTop*10 + line.y
		class := "grid"
		if line.value.Sign() == 0 {
			class = "axis"
		}
		p.Shapes = append(p.Shapes, shape{Class: class, D: fmt.Sprintf("M%d %sH%d", marginLeft, px(y), plotWidth-marginRight)})
		p.Labels = append(p.Labels, label{fmt.Sprint(marginLeft - 5), px(y + 35), short(line.value), "end", ""})
	}
}

// letterWidth is about how wide a letter of a label is, in tenths of pixels.
const letterWidth = 80

// tick names a place below the axis, as near to it as the plot's edges allow.
func (p *plot) tick(tenths int64, name string) {
	half := int64(len(name) * letterWidth / 2)
	x := max(half, min(tenths, plotWidth*10-half))
	p.Labels = append(p.Labels, label{px(x), fmt.Sprint(plotHeight - 7), name, "middle", ""})
}

// column is a bar of several parts that stand on each other.
type column struct {
	name  string
	parts []rating.Amount
	tip   string
}

// columns draws a bar for each column, its parts in the classes' looks.
func (p *plot) columns(list []column, classes []string) {
	var top rating.Amount
	for _, c := range list {
		var all rating.Amount
		for _, part := range c.parts {
			all, _ = all.Add(part)
		}
		if all.Cmp(top) > 0 {
			top = all
		}
	}
	top = roundTop(top)
	p.grid(top)
	step := int64(areaWidth * 10 / max(1, len(list)))
	wide := min(max(step*4/5, 10), 400)
	for i, c := range list {
		x := int64(marginLeft*10) + int64(areaWidth*10*i/len(list)) + (step-wide)/2
		var below rating.Amount
		for k, part := range c.parts {
			if part.Sign() <= 0 {
				continue
			}
			sum, _ := below.Add(part)
			y0, y1 := scaled(below, top, areaHeight), max(scaled(sum, top, areaHeight), scaled(below, top, areaHeight)+5)
			base := int64((marginTop + areaHeight) * 10)
			p.Shapes = append(p.Shapes, shape{Class: classes[k], D: fmt.Sprintf("M%s %sh%sv%sh-%sz", px(x), px(base-y0), px(wide), px(y0-y1), px(wide)), Tip: c.tip})
			below = sum
		}
	}
	for i := range list {
		if n := len(list) - 1; i == 0 || i == n || n > 2 && 2*i == n {
			p.tick(int64(marginLeft*10)+int64(areaWidth*10*i/len(list))+step/2, list[i].name)
		}
	}
}

// burn draws what is left over time, the alerts, and where it leads to.
type burn struct {
	plot
	from, to At
	top      rating.Amount
	marks    []place // of numbers beside events
}

// place is where something was drawn, in tenths of pixels.
type place struct {
	x, y  int64
	label int
}

func (b *burn) x(at At) int64 {
	at = max(b.from, min(at, b.to))
	return marginLeft*10 + scaled(rating.AmountOf(int64(at-b.from)), rating.AmountOf(int64(max(1, b.to-b.from))), areaWidth)
}

func (b *burn) y(left Number) int64 {
	return (marginTop+areaHeight)*10 - scaled(rating.Amount(left), b.top, areaHeight)
}

func (b *burn) place(at At, left Number) string { return px(b.x(at)) + " " + px(b.y(left)) }

// steps draws a line that stays until the next point.
func (b *burn) steps(points []Point) {
	if len(points) == 0 {
		return
	}
	var d strings.Builder
	fmt.Fprintf(&d, "M%s", b.place(points[0].At, points[0].Left))
	x, y := b.x(points[0].At), b.y(points[0].Left)
	for _, p := range points[1:] {
		if next := b.x(p.At); next != x {
			x = next
			d.WriteString("H" + px(x))
		}
		if next := b.y(p.Left); next != y {
			y = next
			d.WriteString("V" + px(y))
		}
	}
	base := px((marginTop + areaHeight) * 10)
	b.Shapes = append(
		b.Shapes, shape{Class: "under", D: d.String() + "V" + base + "H" + px(b.x(points[0].At)) + "z"}, shape{Class: "left", D: d.String()},
	)
}

// upright draws a dashed line through an instant, with its name at the top.
func (b *burn) upright(at At, class, name string) {
	if at <= b.from || at > b.to {
		return
	}
	x := b.x(at)
	b.Shapes = append(b.Shapes, shape{Class: class, D: fmt.Sprintf("M%s %dV%d", px(x), marginTop, marginTop+areaHeight)})
	anchor := "middle"
	switch {
	case x > (plotWidth-marginRight-40)*10:
		anchor, x = "end", min(x+40, (plotWidth-2)*10)
	case x < (marginLeft+40)*10:
		anchor = "start"
	}
	b.Labels = append(b.Labels, label{px(x), "11", name, anchor, ""})
}

// mark draws a numbered event.
func (b *burn) mark(number int, at At, left Number) {
	x, y := b.x(at), b.y(left)
	b.Shapes = append(b.Shapes, shape{Class: "mark", D: fmt.Sprintf("M%s %sl4.5 -4.5l-4.5 -4.5l-4.5 4.5z", px(x), px(y+45))})
	for _, m := range b.marks { // too near to another one: they share a place
		if x-m.x < 120 && m.x-x < 120 && y-m.y < 120 && m.y-y < 120 {
			b.Labels[m.label].Text += fmt.Sprintf(",%d", number)
			return
		}
	}
	b.marks = append(b.marks, place{x, y, len(b.Labels)})
	b.Labels = append(b.Labels, label{px(min(x+60, (plotWidth-12)*10)), px(max(y-50, (marginTop+8)*10)), fmt.Sprint(number), "start", "number"})
}
