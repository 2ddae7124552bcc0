package catalog

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"drawdown/rating"
)

// Located is a fault with its place: a file and a line, or a row of a table.
type Located struct {
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	Row     string `json:"row,omitempty"` // without a file: such as `packages "p1"`
	Field   string `json:"field,omitempty"`
	Rule    string `json:"rule"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// String writes the fault on one line, as compilers do.
func (l Located) String() string {
	text := l.Row
	if l.File != "" {
		text = fmt.Sprintf("%s:%d", l.File, l.Line)
	}
	text += ": " + l.Rule + ": " + l.Message
	if l.Hint != "" {
		text += "; " + l.Hint
	}
	return text
}

// Faults is everything that is wrong with a catalog, by file and line.
type Faults struct {
	List []Located `json:"faults"`
}

func (f *Faults) Error() string {
	var b strings.Builder
	b.WriteString("catalog: 1 fault")
	if len(f.List) != 1 {
		b.Reset()
		fmt.Fprintf(&b, "catalog: %d faults", len(f.List))
	}
	for _, l := range f.List {
		b.WriteString("\n" + l.String())
	}
	return b.String()
}

func (f *Faults) sort() {
	slices.SortStableFunc(f.List, func(a, b Located) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
}

// Locate makes one error of the faults of a draft that came from tables: each is placed by kind and id. Without a fault
// there is no error.
func Locate(d *rating.Draft, faults []rating.Fault) error {
	if len(faults) == 0 {
		return nil
	}
	list := make([]Located, len(faults))
	for i, f := range faults {
		list[i] = located(f)
		list[i].Row = fmt.Sprintf("%s %q", f.Kind, rowID(d, f.Kind, f.Index))
	}
	return &Faults{List: list}
}

// Besides adds faults to those of rows that are known to be at fault, of which what follows from that is left out.
func Besides(known, faults []rating.Fault) []rating.Fault {
	spoilt := map[rowOf]bool{}
	for _, f := range known {
		spoilt[rowOf{f.Kind, f.Index}] = true
	}
	all := slices.Clone(known)
	for _, f := range faults {
		if !spoilt[rowOf{f.Kind, f.Index}] {
			all = append(all, f)
		}
	}
	return all
}

func located(f rating.Fault) Located {
	return Located{Field: f.Field, Rule: f.Rule, Message: f.Message, Hint: f.Hint}
}

func rowID(d *rating.Draft, kind rating.Kind, i int) string {
	switch kind {
	case rating.KindAccount:
		return d.Accounts[i].ID
	case rating.KindMeter:
		return d.Meters[i].ID
	case rating.KindPrice:
		return d.Prices[i].ID
	case rating.KindPackage:
		return d.Packages[i].ID
	case rating.KindChange:
		return d.Changes[i].Package + " at " + d.Changes[i].At
	case rating.KindRule:
		return d.Rules[i].ID
	}
	return d.TopUps[i].Account + " at " + d.TopUps[i].At
}

// misspelt gives a hint for a name that is not known: the nearest one, or all of them.
func misspelt(name string, known []string) string {
	best, found := min(2, len(name)/2)+1, ""
	for _, k := range known {
		if d := distance(name, k); d < best {
			best, found = d, k
		}
	}
	if found != "" {
		return "did you mean " + found + "?"
	}
	return "write one of " + strings.Join(known, ", ")
}

// distance counts the letters to add, remove or replace.
func distance(a, b string) int {
	if len(a) > len(b)+2 || len(b) > len(a)+2 {
		return len(a) + len(b)
	}
	line := make([]int, len(b)+1)
	for j := range line {
		line[j] = j
	}
	for i := range len(a) {
		diagonal := line[0]
		line[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, line[j], line[j+1])
			}
			diagonal, line[j+1] = line[j+1], cost
		}
	}
	return line[len(b)]
}
