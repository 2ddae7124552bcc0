package rating

import (
	"iter"
	"maps"
	"strings"
)

// maxSuggestions bounds the search for ids that were meant: a file full of unknown ids is wrong as a whole.
const maxSuggestions = 100

// reference finds the row that a field names, or reports that there is none.
func (r row) reference(field, id string, kind Kind, byID map[string]int32) (int32, bool) {
	if id == "" {
		r.require(field, id)
		return None, false
	}
	if i, ok := byID[id]; ok {
		return i, true
	}
	hint := "add it to `" + string(kind) + "`, or name one that is there"
	if r.c.suggestions > 0 {
		r.c.suggestions--
		if near := nearest(id, maps.Keys(byID)); near != "" {
			hint = "did you mean \"" + near + "\"?"
		}
	}
	r.fault(field, "R2.8", hint, "there is no %s %q", rowNames[kind], id)
	return None, false
}

// nearest gives the name that text was most likely meant to be, or "": up to two letters may differ, one in short
// names; of several equally near ones the first by bytes.
func nearest(text string, names iter.Seq[string]) string {
	best, found := min(2, len(text)/2)+1, ""
	for name := range names {
		if d := editDistance(text, name, best); d < best || d == best && found != "" && name < found {
			best, found = d, name
		}
	}
	return found
}

// editDistance counts the letters to add, remove or replace; beyond limit it says limit+1. Case does not count.
func editDistance(a, b string, limit int) int {
	if len(a)-len(b) > limit || len(b)-len(a) > limit || len(b) > 64 {
		return limit + 1
	}
	a, b = strings.ToLower(a), strings.ToLower(b)
	var line [3*64 + 1]int
	if len(b) >= len(line) {
		return limit + 1
	}
	for j := range len(b) + 1 {
		line[j] = j
	}
	for i := range len(a) {
		diagonal, least := line[0], i+1
		line[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, line[j], line[j+1])
			}
			diagonal, line[j+1] = line[j+1], cost
			least = min(least, cost)
		}
		if least > limit {
			return limit + 1
		}
	}
	return line[len(b)]
}
