package main

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// decoder fills a struct from YAML and then from the environment. It takes down every fault instead of ending at the
// first: a key that the struct does not have, a key that stands twice, a value that does not fit.
//
// The struct says what there is: a field's `yaml` tag is its key, a nested struct without a decoding of its own is a
// section, and the name in the environment is DRAWDOWN_ and the keys of the path in capitals, joined by "_".
type decoder struct {
	faults []configFault
	where  map[string]string // of each key that was set: "line 7", or the variable's name
}

// configFault is one thing wrong with the configuration.
type configFault struct {
	Where   string `json:"where"`   // "line 7", or the name of a variable
	Key     string `json:"key"`     // settlement.period
	Message string `json:"message"` // what is wrong, with the value
	Hint    string `json:"hint"`    // what to write instead
}

// line is the number of its line; faults without one come last.
func (f *configFault) line() int {
	number, found := strings.CutPrefix(f.Where, "line ")
	n, err := strconv.Atoi(number)
	if !found || err != nil {
		return math.MaxInt
	}
	return n
}

func (d *decoder) fault(where, key, hint, format string, args ...any) {
	d.faults = append(d.faults, configFault{where, key, fmt.Sprintf(format, args...), hint})
}

// faultAt reports a value that fits its field but not the others.
func (d *decoder) faultAt(key, hint, format string, args ...any) {
	d.fault(d.where[key], key, hint, format, args...)
}

// fill reads a mapping into a struct; path is the mapping's own key.
func (d *decoder) fill(into reflect.Value, node *yaml.Node, path string) {
	node = resolved(node)
	if node.Kind != yaml.MappingNode {
		d.fault(lineOf(node), path, "indent its keys below it, as `key: value`", "%s is no section", nodeText(node))
		return
	}
	fields := fieldsOf(into)
	seen := map[string]bool{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		name, value := node.Content[i].Value, node.Content[i+1]
		where := lineOf(node.Content[i])
		key := join(path, name)
		field, known := fields[name]
		switch {
		case !known:
			d.fault(where, key, unknownHint(name, path, fields), "there is no such key")
		case seen[name]:
			d.fault(where, key, "keep one of the two", "the key stands here a second time")
		case isSection(field):
			d.fill(field, value, key)
		default:
			d.set(field, value, key, where)
		}
		seen[name] = true
	}
}

// set reads one value.
func (d *decoder) set(field reflect.Value, node *yaml.Node, key, where string) {
	node = resolved(node)
	d.where[key] = where
	if file, secret := secretKeys[key]; secret && strings.HasPrefix(where, "line ") { // also where a variable stands for it
		d.fault(where, key, "set DRAWDOWN_"+strings.ToUpper(strings.ReplaceAll(key, ".", "_"))+" in the environment, or name a file in "+file,
			"secrets do not stand in this file")
		return
	}
	if node.Tag == "!!null" {
		d.fault(where, key, "write a value, or leave the key out", "the value is missing")
		return
	}
	err := node.Decode(field.Addr().Interface())
	if err == nil {
		return
	}
	if _, ours := field.Addr().Interface().(yaml.Unmarshaler); ours {
		message, hint, _ := strings.Cut(err.Error(), "; ")
		d.fault(where, key, hint, "%s", message)
		return
	}
	text := nodeText(node)
	if _, secret := secretKeys[key]; secret {
		text = "the value"
	}
	d.fault(where, key, hintForKind(field.Type()), "%s does not fit here", text)
}

func hintForKind(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Int, reflect.Int64:
		return "write a whole number"
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Int {
			return "write whole numbers, as [7, 1]"
		}
		return "write a list of sections, each as `- key: value`"
	case reflect.Map:
		return "indent its keys below it, as `key: value`"
	}
	return "write a text"
}

// overlay reads the environment: variables that begin with DRAWDOWN_, save those that stand for flags.
func (d *decoder) overlay(into reflect.Value, env []string) {
	leaves := map[string]leaf{}
	collect(into, "", leaves)
	for _, entry := range slices.Sorted(slices.Values(env)) {
		name, text, _ := strings.Cut(entry, "=")
		rest, ours := strings.CutPrefix(name, "DRAWDOWN_")
		if !ours || slices.Contains(flagVariables, name) {
			continue
		}
		l, known := leaves[rest]
		if !known {
			hint := "remove the variable"
			if near := nearest(rest, keysOf(leaves)); near != "" {
				hint = "did you mean DRAWDOWN_" + near + "?"
			}
			d.fault(name, name, hint, "no key has this variable")
			continue
		}
		node := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text}
		if l.field.Kind() != reflect.String { // a list, a number: written as in the file
			var document yaml.Node
			if err := yaml.Unmarshal([]byte(text), &document); err != nil || len(document.Content) == 0 {
				d.fault(name, l.key, "write the value as it would stand in the file", "%q cannot be read", text)
				continue
			}
			node = document.Content[0]
		}
		d.set(l.field, node, l.key, name)
	}
}

// flagVariables are the variables that stand for flags and not for keys.
var flagVariables = []string{"DRAWDOWN_CONFIG", "DRAWDOWN_METRICS_FILE", "DRAWDOWN_METRICS_PUSH"}

// leaf is a key that has a value of its own.
type leaf struct {
	key   string
	field reflect.Value
}

// collect finds all leaves, by the name of their variable without DRAWDOWN_.
func collect(section reflect.Value, path string, leaves map[string]leaf) {
	for name, field := range fieldsOf(section) {
		key := join(path, name)
		if isSection(field) {
			collect(field, key, leaves)
			continue
		}
		leaves[strings.ToUpper(strings.ReplaceAll(key, ".", "_"))] = leaf{key, field}
	}
}

// fieldsOf gives the fields of a struct by key; those of an embedded struct count as its own.
func fieldsOf(section reflect.Value) map[string]reflect.Value {
	fields := map[string]reflect.Value{}
	for i := range section.NumField() {
		tag, _, _ := strings.Cut(section.Type().Field(i).Tag.Get("yaml"), ",")
		switch {
		case section.Type().Field(i).Anonymous:
			for name, field := range fieldsOf(section.Field(i)) {
				fields[name] = field
			}
		case tag != "" && tag != "-":
			fields[tag] = section.Field(i)
		}
	}
	return fields
}

func isSection(field reflect.Value) bool {
	_, decodes := field.Addr().Interface().(yaml.Unmarshaler)
	return field.Kind() == reflect.Struct && !decodes
}

func resolved(node *yaml.Node) *yaml.Node {
	for node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	return node
}

func lineOf(node *yaml.Node) string {
	if node.Line == 0 {
		return ""
	}
	return fmt.Sprintf("line %d", node.Line)
}

func nodeText(node *yaml.Node) string {
	switch node.Kind {
	case yaml.MappingNode:
		return "a section"
	case yaml.SequenceNode:
		return "a list"
	}
	return fmt.Sprintf("%q", node.Value)
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// unknownHint names the nearest known key, or all of them.
func unknownHint(name, path string, fields map[string]reflect.Value) string {
	known := keysOf(fields)
	if near := nearest(name, known); near != "" {
		return "did you mean " + join(path, near) + "?"
	}
	return "the keys here are " + strings.Join(known, ", ")
}

func keysOf[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// nearest finds the known name that is spelt most like the given one; "" when none is close.
func nearest(name string, known []string) string {
	best, fewest := "", 2+len(name)/4
	for _, candidate := range known {
		edits := editDistance(name, candidate)
		if edits < fewest || edits == fewest && sharedEnds(name, candidate) > sharedEnds(name, best) {
			best, fewest = candidate, edits
		}
	}
	return best
}

// sharedEnds counts the letters that two names begin or end with alike.
func sharedEnds(a, b string) int {
	n := min(len(a), len(b))
	head, tail := 0, 0
	for head < n && a[head] == b[head] {
		head++
	}
	for tail < n-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	return head + tail
}

// editDistance counts the letters to insert, remove or replace (Levenshtein).
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			above := row[j+1]
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(above+1, row[j]+1, diagonal+cost)
			diagonal = above
		}
	}
	return row[len(b)]
}
