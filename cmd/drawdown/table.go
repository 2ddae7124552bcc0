package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/rivo/uniseg"

	"drawdown/rating"
)

// tableWidth is how wide anything that we print may be, in columns.
const tableWidth = 80

// ink colours text for a terminal, and leaves it alone elsewhere.
type ink struct{ on bool }

func (k ink) paint(code, s string) string {
	if !k.on || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (k ink) bold(s string) string   { return k.paint("1", s) }
func (k ink) faint(s string) string  { return k.paint("2", s) }
func (k ink) red(s string) string    { return k.paint("31", s) }
func (k ink) green(s string) string  { return k.paint("32", s) }
func (k ink) yellow(s string) string { return k.paint("33", s) }

// alignment is how the cells of a column stand below each other.
type alignment uint8

const (
	left    alignment = iota // a text: may be cut to make the table fit
	ident                    // an id: is cut only where that does not suffice
	fixed                    // a text that is never cut
	right                    // a whole number
	decimal                  // a number: the points stand below each other
)

// column is a column of a table.
type column struct {
	title string
	align alignment
}

// table is rows for a person: no lines, a header, two spaces between columns, 80 columns at most.
type table struct {
	columns []column
	rows    [][]string
	notes   map[int]string // below the row of that number, faint
}

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

// note puts a line below the last row.
func (t *table) note(text string) {
	if t.notes == nil {
		t.notes = map[int]string{}
	}
	t.notes[len(t.rows)-1] = text
}

// print writes the table, indented by two spaces. A column in which no row has anything is left out. Where it is too wide
// although texts and ids are cut, the points need no longer stand below each other; then each cell gets a line of its own.
func (t *table) print(w io.Writer, k ink) {
	for i, c := range t.columns {
		if c.align == decimal {
			t.alignPoints(i)
		}
	}
	widths, fits := t.fit()
	if !fits {
		for _, row := range t.rows {
			for i := range row {
				row[i] = strings.TrimRight(row[i], " ")
			}
		}
		widths, fits = t.fit()
	}
	if !fits {
		t.printStacked(w, k)
		return
	}
	titles := make([]string, len(t.columns))
	for i, c := range t.columns {
		titles[i] = c.title
	}
	printLine(w, t.columns, titles, widths, k.faint)
	for i, row := range t.rows {
		printLine(w, t.columns, row, widths, func(s string) string { return s })
		t.printNote(w, k, i)
	}
}

func (t *table) printNote(w io.Writer, k ink, row int) {
	if note, found := t.notes[row]; found {
		for _, line := range strings.Split(wrapped(note, len("    ")), "\n") {
			fmt.Fprintln(w, "    "+k.faint(strings.TrimSpace(line)))
		}
	}
}

// printStacked writes each row as a list of its cells; one without a title stands behind the one before.
func (t *table) printStacked(w io.Writer, k ink) {
	titles := 0
	for _, c := range t.columns[1:] {
		titles = max(titles, width(c.title))
	}
	indent := len("    ") + titles + 2
	for n, row := range t.rows {
		fmt.Fprint(w, "  "+wrapped(row[0], len("  ")))
		for i, cell := range row[1:] {
			title := t.columns[i+1].title
			switch {
			case cell == "":
			case title == "":
				fmt.Fprint(w, "  "+cell)
			default:
				fmt.Fprint(w, "\n    "+k.faint(title)+strings.Repeat(" ", titles-width(title)+2)+wrapped(cell, indent))
			}
		}
		fmt.Fprintln(w)
		t.printNote(w, k, n)
	}
}

// alignPoints pads the cells of a column behind, so that aligned to the right their points stand below each other.
func (t *table) alignPoints(i int) {
	decimals := 0
	for _, row := range t.rows {
		decimals = max(decimals, behindPoint(row[i]))
	}
	for _, row := range t.rows {
		if row[i] != "" {
			row[i] += strings.Repeat(" ", decimals-behindPoint(row[i]))
		}
	}
}

// behindPoint counts the columns of the point and what follows it.
func behindPoint(cell string) int {
	if point := strings.IndexByte(cell, '.'); point >= 0 {
		return width(cell[point:])
	}
	return 0
}

// fit gives the widths of the columns, narrowing the widest one of text until the table fits; ids come last. False where
// that does not suffice.
func (t *table) fit() (widths []int, fits bool) {
	widths = make([]int, len(t.columns))
	for i, c := range t.columns {
		for _, row := range t.rows {
			widths[i] = max(widths[i], width(row[i]))
		}
		if widths[i] > 0 {
			widths[i] = max(widths[i], width(c.title))
		}
	}
	for _, narrowed := range []alignment{left, ident} {
		for {
			total, widest := 0, -1
			for i, n := range widths {
				if n > 0 {
					total += n + 2
				}
				if t.columns[i].align == narrowed && n > leastWidth && (widest < 0 || n > widths[widest]) {
					widest = i
				}
			}
			if total <= tableWidth {
				return widths, true
			}
			if widest < 0 {
				break
			}
			widths[widest]--
		}
	}
	return nil, false
}

// leastWidth is how narrow a text may become.
const leastWidth = 8

func printLine(w io.Writer, columns []column, cells []string, widths []int, paint func(string) string) {
	var b strings.Builder
	for i, cell := range cells {
		if widths[i] == 0 {
			continue
		}
		if columns[i].align == ident {
			cell = cutMiddle(cell, widths[i])
		}
		cell = cut(cell, widths[i])
		gap := strings.Repeat(" ", max(0, widths[i]-width(cell)))
		b.WriteString("  ")
		if columns[i].align == right || columns[i].align == decimal {
			b.WriteString(gap + paint(cell))
			continue
		}
		b.WriteString(paint(cell) + gap)
	}
	fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
}

// width is how many columns a text takes on a terminal; our own colours take none.
func width(s string) int {
	n := 0
	for {
		before, after, found := strings.Cut(s, "\x1b[")
		n += uniseg.StringWidth(before)
		if !found {
			return n
		}
		_, s, _ = strings.Cut(after, "m")
	}
}

// cut shortens a text without colours to a width.
func cut(s string, columns int) string {
	if width(s) <= columns {
		return s
	}
	short, rest, state := "", s, -1
	for rest != "" {
		var cluster string
		var w int
		cluster, rest, w, state = uniseg.FirstGraphemeClusterInString(rest, state)
		if width(short)+w > columns-1 {
			break
		}
		short += cluster
	}
	return short + "…"
}

// cutMiddle shortens an id to a width; ids that differ often do so at their ends.
func cutMiddle(s string, columns int) string {
	if width(s) <= columns {
		return s
	}
	var clusters []string
	for state, rest := -1, s; rest != ""; {
		var cluster string
		cluster, rest, _, state = uniseg.FirstGraphemeClusterInString(rest, state)
		clusters = append(clusters, cluster)
	}
	tail := ""
	for i := len(clusters) - 1; i >= 0 && width(tail)+width(clusters[i]) <= (columns-1)/2; i-- {
		tail = clusters[i] + tail
	}
	return cut(s, columns-width(tail)) + tail
}

// wrapped breaks a text into lines that fit, all but the first indented; what has no blanks is broken anywhere.
func wrapped(text string, indent int) string {
	var b strings.Builder
	room := tableWidth - indent
	used := 0
	for _, word := range strings.Fields(text) {
		if used > 0 && used+1+width(word) > room {
			b.WriteString("\n" + strings.Repeat(" ", indent))
			used = 0
		}
		if used > 0 {
			b.WriteByte(' ')
			used++
		}
		for width(word) > room-used {
			head := strings.TrimSuffix(cut(word, room-used+1), "…")
			if head == "" || head == word {
				break
			}
			b.WriteString(head + "\n" + strings.Repeat(" ", indent))
			word, used = word[len(head):], 0
		}
		b.WriteString(word)
		used += width(word)
	}
	return b.String()
}

// grouped writes a number's whole part in groups of three: 1,234,567.5.
func grouped(number string) string {
	sign := ""
	if strings.HasPrefix(number, "-") {
		sign, number = "-", number[1:]
	}
	whole, rest := number, ""
	if point := strings.IndexByte(number, '.'); point >= 0 {
		whole, rest = number[:point], number[point:]
	}
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	return sign + whole + rest
}

func groupedInt(n int64) string { return grouped(fmt.Sprint(n)) }

// counted writes a number with its noun.
func counted(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return groupedInt(n) + " " + many
}

// amount writes a quantity or money exactly, for a person.
func amount(a rating.Amount) string { return grouped(a.String()) }

// money writes an amount with at least the currency's digits.
func money(a rating.Amount, digits int) string {
	number := a.String()
	have := len(number) - strings.IndexByte(number+".", '.') - 1
	if have < 0 {
		number, have = number+".", 0
	}
	if have < digits {
		number += strings.Repeat("0", digits-have)
	}
	return grouped(strings.TrimSuffix(number, "."))
}

// moment writes an instant on the clock of a zone: the date alone where it is the day's first instant.
func moment(i rating.Instant, location *time.Location) string {
	t := i.Time().In(location)
	switch {
	case t.Hour() == 0 && t.Minute() == 0 && t.Second() == 0 && t.Nanosecond() == 0:
		return t.Format("2006-01-02")
	case t.Second() == 0 && t.Nanosecond() == 0:
		return t.Format("2006-01-02 15:04")
	}
	return t.Format("2006-01-02 15:04:05.999999")
}

// end writes the instant at which something ends as the catalog has it: a date is the last day, to its end.
func end(i rating.Instant, location *time.Location) string {
	if text := moment(i, location); len(text) > len("2006-01-02") {
		return text
	}
	return i.Time().In(location).AddDate(0, 0, -1).Format("2006-01-02")
}

// bar draws how much of a whole is left.
func (k ink) bar(part, whole rating.Amount) string {
	const cells = 10
	filled := 0
	for filled < cells && times(part, 2*cells).Cmp(times(whole, 2*filled+1)) >= 0 { // to the nearest cell
		filled++
	}
	if part.Sign() > 0 {
		filled = max(filled, 1)
	}
	paint := k.green
	if filled <= cells/5 {
		paint = k.yellow
	}
	return paint(strings.Repeat("█", filled)) + k.faint(strings.Repeat("░", cells-filled))
}

// times multiplies by a small number; what does not fit stays as it is, since it is only drawn.
func times(a rating.Amount, n int) rating.Amount {
	product := rating.Amount{}
	for range n {
		product, _ = product.Add(a)
	}
	return product
}

// printJSON writes a value for programs.
func printJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}
