package catalog

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// yaml reads a file that is one mapping of kinds.
func (p *parser) yaml(data []byte) {
	if root := p.document(data); root != nil {
		p.kinds(root)
	}
}

// document reads a file that is one mapping; nil where it is none.
func (p *parser) document(data []byte) *yaml.Node {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var document, second yaml.Node
	if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
		p.fault(1, "", p.atLeast(), "the file is empty")
		return nil
	} else if err != nil {
		p.notYAML(err)
		return nil
	}
	if err := decoder.Decode(&second); err == nil {
		p.fault(second.Line, "", "put each document into a file of its own", "the file holds more than one YAML document")
		p.broken = true
		return nil
	} else if !errors.Is(err, io.EOF) {
		p.notYAML(err)
		return nil
	}
	root := document.Content[0]
	if isNull(root) {
		p.fault(1, "", p.atLeast(), "the file is empty")
		return nil
	}
	if root.Kind != yaml.MappingNode {
		what, hint := "a catalog must be a mapping of kinds", "write `accounts: […]`, `meters: […]` and so on"
		if p.kind == kindProduct {
			what, hint = "a price list must be a mapping", productsHint
		}
		p.fault(root.Line, "", hint, what+", not "+nounOf(root))
		p.broken = true
		return nil
	}
	return root
}

// atLeast says what a file must have.
func (p *parser) atLeast() string {
	if p.kind == kindProduct {
		return productsHint
	}
	return "write at least `accounts: []`"
}

// kinds reads a mapping of kinds.
func (p *parser) kinds(root *yaml.Node) {
	names := sectionNames()
	seen := map[string]bool{}
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, rows := root.Content[i], p.resolve(root.Content[i+1])
		if rows == nil {
			return
		}
		at := -1
		for j, name := range names {
			if key.Kind == yaml.ScalarNode && key.Value == name {
				at = j
			}
		}
		switch {
		case at < 0:
			p.fault(key.Line, key.Value, misspelt(key.Value, names), "there are no rows of kind "+strconv.Quote(key.Value)+" in a catalog")
			p.broken = true
		case seen[key.Value]:
			p.fault(key.Line, key.Value, "write all rows into one list", "`"+key.Value+"` is there twice")
		case isNull(rows):
		case rows.Kind != yaml.SequenceNode:
			p.fault(rows.Line, key.Value, "write a list of rows", "`"+key.Value+"` must be a list, not "+nounOf(rows))
			p.broken = true
		default:
			for _, n := range rows.Content {
				sections[at].readNode(p, n)
			}
		}
		seen[key.Value] = true
		if at >= 0 {
			p.named[sections[at].name()] = true
		}
	}
}

var lineOfError = regexp.MustCompile(`line (\d+): ?`)

// notYAML notes a file that the YAML parser refuses.
func (p *parser) notYAML(err error) {
	text, line := strings.TrimPrefix(err.Error(), "yaml: "), 1
	if m := lineOfError.FindStringSubmatch(text); m != nil {
		line, _ = strconv.Atoi(m[1])
		text = strings.Replace(text, m[0], "", 1)
	}
	p.fault(line, "", "mend this line, or the one before: look at indents, colons and quotes", "the file is not valid YAML: "+text)
	p.broken = true
}

func (t *table[T]) readNode(p *parser, n *yaml.Node) {
	line := n.Line
	p.kind, p.row = t.kind, -1
	if target := p.resolve(n); target == nil || target.Kind != yaml.MappingNode {
		if target != nil {
			p.fault(line, "", "write `{id: …}`", "a row of `"+string(t.kind)+"` must be a mapping, not "+nounOf(target))
		}
		return
	}
	rows := t.rows(&p.Draft)
	*rows = append(*rows, *new(T))
	row := &(*rows)[len(*rows)-1]
	p.begin(t.kind, len(*rows)-1, line)
	p.mapping("", n, t.names(), "", func(i int, name string, n *yaml.Node) {
		if f := &t.fields[i]; f.text != nil {
			*f.text(row) = p.text(name, n)
		} else {
			f.node(p, name, row, n)
		}
	})
	p.end()
}
