package catalog

import (
	"strconv"

	"gopkg.in/yaml.v3"

	"drawdown/rating"
)

const (
	maxExpanded = 1_000_000 // nodes that aliases may add to a file
	maxMerges   = 10        // merge keys in merged mappings
)

// parser reads one file into a source.
type parser struct {
	*Source
	name   string
	file   int32
	kind   rating.Kind // of the row in hand
	row    int         // -1: none
	start  int         // line of the row
	fixed  int         // the line to report where nodes have none of their own: in a CSV cell
	budget int         // nodes that may still be visited; without aliases a file has fewer than bytes
	merges int
	cells  map[string][]rating.CoverDraft // what CSV cells gave
}

func (p *parser) line(n *yaml.Node) int {
	if p.fixed > 0 {
		return p.fixed
	}
	return n.Line
}

// fault notes a fault of notation.
func (p *parser) fault(line int, field, hint, message string) {
	p.faults = append(p.faults, noted{
		Located: Located{File: p.name, Line: max(1, line), Field: field, Rule: "R2.8", Message: message, Hint: hint},
		kind:    p.kind, row: p.row,
	})
}

// begin starts a row of the draft.
func (p *parser) begin(kind rating.Kind, index, line int) {
	p.kind, p.row, p.start = kind, index, line
	p.places[kind] = append(p.places[kind], place{p.file, int32(line), int32(len(p.lines)), int32(len(p.lines))})
}

// end finishes the row.
func (p *parser) end() {
	list := p.places[p.kind]
	list[len(list)-1].to = int32(len(p.lines))
	p.row = -1
}

// note keeps the line of a field that is not on the row's first line.
func (p *parser) note(field string, line int) {
	if p.row >= 0 && line != p.start {
		p.lines = append(p.lines, fieldLine{field, int32(line)})
	}
}

// resolve follows aliases; nil when the file expands to too much.
func (p *parser) resolve(n *yaml.Node) *yaml.Node {
	for {
		if p.budget--; p.budget <= 0 {
			if p.budget == 0 {
				p.fault(p.line(n), "", "write the rows out", "aliases make the file too large")
				p.broken = true
			}
			return nil
		}
		if n.Kind != yaml.AliasNode {
			return n
		}
		n = n.Alias
	}
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

func nounOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	return "the text " + strconv.Quote(n.Value)
}

// text reads a scalar as it is written; null is the empty text.
func (p *parser) text(field string, n *yaml.Node) string {
	line := p.line(n)
	p.note(field, line)
	if n = p.resolve(n); n == nil || isNull(n) {
		return ""
	}
	if n.Kind != yaml.ScalarNode {
		p.fault(line, field, "write one value", field+" must be a text or number, not "+nounOf(n))
		return ""
	}
	return n.Value
}

// list visits the elements of a list.
func (p *parser) list(field string, n *yaml.Node, hint string, visit func(path string, n *yaml.Node)) {
	line := p.line(n)
	p.note(field, line)
	if n = p.resolve(n); n == nil || isNull(n) {
		return
	}
	if n.Kind != yaml.SequenceNode {
		p.fault(line, field, hint, field+" must be a list, not "+nounOf(n))
		return
	}
	for i, item := range n.Content {
		visit(field+"["+strconv.Itoa(i)+"]", item)
	}
}

// texts reads a list of texts.
func (p *parser) texts(field string, n *yaml.Node, hint string) []string {
	var texts []string
	p.list(field, n, hint, func(path string, n *yaml.Node) { texts = append(texts, p.text(path, n)) })
	return texts
}

// mapping visits the fields of a mapping, each once. names are the known fields, visited by their number; without names
// any will do. What a merge key brings in comes after, where it is not written out. false: it is no mapping.
func (p *parser) mapping(field string, n *yaml.Node, names []string, hint string, visit func(i int, name string, n *yaml.Node)) bool {
	line := p.line(n)
	if field != "" {
		p.note(field, line)
	}
	if n = p.resolve(n); n == nil {
		return false
	}
	if n.Kind != yaml.MappingNode {
		what := field
		if what == "" {
			what = "a row of `" + string(p.kind) + "`"
		}
		p.fault(line, field, hint, what+" must be a mapping, not "+nounOf(n))
		return false
	}
	p.fields(field, n, names, map[string]bool{}, visit)
	return true
}

func (p *parser) fields(field string, n *yaml.Node, names []string, seen map[string]bool, visit func(int, string, *yaml.Node)) {
	merging := p.merges > 0
	var merged []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := p.resolve(n.Content[i]), n.Content[i+1]
		if key == nil {
			return
		}
		line := p.line(n.Content[i])
		if key.Tag == "!!merge" {
			merged = append(merged, value)
			continue
		}
		path := key.Value
		if field != "" {
			path = field + "." + path
		}
		at := -1
		for j, name := range names {
			if name == key.Value {
				at = j
				break
			}
		}
		switch {
		case key.Kind != yaml.ScalarNode:
			p.fault(line, field, "write a name", "a field's name must be a text, not "+nounOf(key))
		case names != nil && at < 0:
			p.fault(line, path, misspelt(key.Value, names), "unknown field "+strconv.Quote(path)+" in `"+string(p.kind)+"`")
		case seen[key.Value] && merging: // what is written out, or merged before, counts
		case seen[key.Value]:
			p.fault(line, path, "remove one", "field "+strconv.Quote(path)+" is there twice")
		default:
			seen[key.Value] = true
			visit(at, key.Value, value)
		}
	}
	for _, value := range merged {
		p.merge(field, value, names, seen, visit)
	}
}

// merge visits what a merge key brings in: the fields of a mapping, or of several, the first first.
func (p *parser) merge(field string, value *yaml.Node, names []string, seen map[string]bool, visit func(int, string, *yaml.Node)) {
	line := p.line(value)
	value = p.resolve(value)
	if value == nil {
		return
	}
	p.merges++
	defer func() { p.merges-- }()
	switch {
	case p.merges > maxMerges:
		p.fault(line, field, "write the fields out", "merge keys go too deep")
	case value.Kind == yaml.MappingNode:
		p.fields(field, value, names, seen, visit)
	case value.Kind == yaml.SequenceNode:
		for _, item := range value.Content {
			p.merge(field, item, names, seen, visit)
		}
	default:
		p.fault(line, field, "write `<<: *anchor`", "a merge key must name a mapping, not "+nounOf(value))
	}
}
