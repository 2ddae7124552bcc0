package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"drawdown/rating"
)

// conformanceCase is a whole world and what settling it must give; testdata/conformance/README.md describes the format.
type conformanceCase struct {
	Name   string             `yaml:"name"`
	Rules  []string           `yaml:"rules"`
	Source string             `yaml:"source"`
	Config yaml.Node          `yaml:"config"`
	Step   conformanceStep    `yaml:",inline"`
	Runs   []*conformanceStep `yaml:"runs"`
}

// caseRange is the range of a backfill.
type caseRange struct {
	From string `yaml:"from"`
	To   string `yaml:"to"`
}

// conformanceStep is one run on the case's site: what is added before it, and what it must give.
type conformanceStep struct {
	Now        string              `yaml:"now"`
	Catalog    yaml.Node           `yaml:"catalog"`
	Usage      []yaml.Node         `yaml:"usage"`
	Objects    []conformanceObject `yaml:"objects"`
	AddUsage   []yaml.Node         `yaml:"add_usage"`
	AddObjects []conformanceObject `yaml:"add_objects"`
	CloseUntil string              `yaml:"close_until"`
	Backfill   *caseRange          `yaml:"backfill"`
	Expect     yaml.Node           `yaml:"expect"`
}

// conformanceObject is a raw file in the usage folder.
type conformanceObject struct {
	Name   string `yaml:"name"`
	Text   string `yaml:"text"`
	Base64 string `yaml:"base64"`
}

func readCase(file string) (*conformanceCase, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	c := &conformanceCase{}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	if err := decoder.Decode(c); err != nil {
		return nil, caseFault(file, err)
	}
	if name := strings.TrimSuffix(filepath.Base(file), ".yaml"); c.Name != name {
		return nil, fmt.Errorf("%s: name is %q; write %q, as the file is named", file, c.Name, name)
	}
	if len(c.Runs) == 0 {
		c.Runs = []*conformanceStep{&c.Step}
	} else {
		first := c.Runs[0] // the world of the case is there before the first step
		first.Usage, first.Objects = c.Step.Usage, c.Step.Objects
		if first.Catalog.IsZero() {
			first.Catalog = c.Step.Catalog
		}
	}
	return c, nil
}

// caseFault says in the words of the format why a file is no case.
func caseFault(file string, err error) error {
	var faults *yaml.TypeError
	switch {
	case errors.Is(err, io.EOF):
		return fmt.Errorf("%s: there is no case in it; write name, now, catalog, usage and expect, as testdata/conformance/README.md says", file)
	case !errors.As(err, &faults):
		return fmt.Errorf("%s: %w", file, err)
	}
	known := slices.Concat(keysOf(fieldsOf(reflect.ValueOf(conformanceCase{}))), keysOf(fieldsOf(reflect.ValueOf(conformanceStep{}))),
		keysOf(fieldsOf(reflect.ValueOf(conformanceObject{}))))
	var all []error
	for _, text := range faults.Errors {
		where, what, _ := strings.Cut(text, ": ")
		if key, found := strings.CutPrefix(what, "field "); found {
			key, _, _ = strings.Cut(key, " not found in ")
			what = "there is no key " + key
			if near := nearest(key, known); near != "" {
				what += "; did you mean " + near + "?"
			}
		} else if value, found := strings.CutPrefix(what, "cannot unmarshal "); found {
			value, _, _ = strings.Cut(value, " into ")
			_, value, _ = strings.Cut(value, " ") // its tag
			what = value + " does not fit here"
		}
		all = append(all, fmt.Errorf("%s: %s: %s", file, where, what))
	}
	return errors.Join(all...)
}

// writeConfig writes the case's drawdown.yaml into a folder, with the defaults of a case where it leaves something out.
func (c *conformanceCase) writeConfig(dir string) error {
	config := map[string]any{}
	if !c.Config.IsZero() {
		if err := c.Config.Decode(&config); err != nil {
			return fmt.Errorf("config: %w", err)
		}
	}
	settlement, _ := config["settlement"].(map[string]any)
	if settlement == nil {
		settlement = map[string]any{}
	}
	if _, ok := settlement["delay"]; !ok {
		settlement["delay"] = "0s"
	}
	if _, ok := settlement["start"]; !ok {
		settlement["start"] = c.start(settlement).String()
	} else if t, ok := settlement["start"].(time.Time); ok { // YAML reads a date as a time
		settlement["start"] = t.Format(time.DateOnly)
	}
	config["settlement"] = settlement
	config["site"], config["catalog"] = "case", "./catalog.yaml"
	data, err := yaml.Marshal(config)
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "usage"), 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "drawdown.yaml"), data, 0o644)
}

// start is the start of the period that holds the earliest of all usage times and effective times.
func (c *conformanceCase) start(settlement map[string]any) rating.Instant {
	start := rating.Never
	earliest := func(text string) {
		if len(text) == len("2006-01-02") {
			text += "T00:00:00+14:00" // no zone begins a day earlier
		}
		if t, err := rating.ParseInstant([]byte(text)); err == nil {
			start = min(start, t)
		}
	}
	for _, step := range c.Runs {
		for _, row := range append(step.Usage, step.AddUsage...) {
			earliest(textOf(&row, "time"))
		}
		for _, row := range rowsOf(&step.Catalog, "packages") {
			earliest(textOf(row, "effective"))
		}
		for _, object := range append(step.Objects, step.AddObjects...) {
			for line := range strings.Lines(object.Text) {
				var row struct{ Time string }
				if json.Unmarshal([]byte(line), &row) == nil {
					earliest(row.Time)
				}
			}
		}
	}
	if start == rating.Never {
		start, _ = rating.ParseInstant([]byte(c.Runs[0].Now))
		start -= 86400_000000
	}
	location, unit := time.UTC, rating.Daily
	if name, ok := settlement["time_zone"].(string); ok {
		if zone, err := loadZone(name); err == nil {
			location = zone
		}
	}
	if name, ok := settlement["period"].(string); ok {
		unit = rating.PeriodUnit(max(0, slices.Index(periodNames[:], name)))
	}
	return rating.PeriodAt(unit, location, start).Start
}

// writeInputs puts a step's catalog and usage into the folder.
func (s *conformanceStep) writeInputs(dir string, number int) error {
	if !s.Catalog.IsZero() {
		catalog, err := yaml.Marshal(&s.Catalog)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, "catalog.yaml"), catalog, 0o644); err != nil {
			return err
		}
	}
	var lines bytes.Buffer
	for _, row := range append(s.Usage, s.AddUsage...) {
		if err := writeJSON(&lines, &row); err != nil {
			return err
		}
		lines.WriteByte('\n')
	}
	if lines.Len() > 0 {
		name := filepath.Join(dir, "usage", fmt.Sprintf("usage-%d.ndjson", number))
		if err := os.WriteFile(name, lines.Bytes(), 0o644); err != nil {
			return err
		}
	}
	for _, object := range append(s.Objects, s.AddObjects...) {
		if err := object.write(filepath.Join(dir, "usage")); err != nil {
			return fmt.Errorf("object %s: %w", object.Name, err)
		}
	}
	return nil
}

func (o *conformanceObject) write(dir string) error {
	if !filepath.IsLocal(o.Name) {
		return errors.New("its name leaves the usage folder")
	}
	data := []byte(o.Text)
	if o.Base64 != "" {
		var err error
		if data, err = base64.StdEncoding.DecodeString(o.Base64); err != nil {
			return err
		}
	}
	name := filepath.Join(dir, filepath.FromSlash(o.Name))
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, data, 0o644)
}

// writeJSON writes a YAML value as JSON; scalars keep their spelling, so that 0.10 stays 0.10.
func writeJSON(out *bytes.Buffer, n *yaml.Node) error {
	switch n.Kind {
	case yaml.MappingNode:
		out.WriteByte('{')
		for i := 0; i < len(n.Content); i += 2 {
			if i > 0 {
				out.WriteByte(',')
			}
			fmt.Fprintf(out, "%s:", quoteJSON(n.Content[i].Value))
			if err := writeJSON(out, n.Content[i+1]); err != nil {
				return err
			}
		}
		out.WriteByte('}')
		return nil
	case yaml.ScalarNode:
		if n.Tag == "!!int" || n.Tag == "!!float" && json.Valid([]byte(n.Value)) || n.Tag == "!!bool" || n.Tag == "!!null" {
			out.WriteString(n.Value)
		} else {
			out.WriteString(quoteJSON(n.Value))
		}
		return nil
	}
	return fmt.Errorf("line %d: a usage row has plain values and attributes only", n.Line)
}

func quoteJSON(text string) string {
	data, _ := json.Marshal(text) // of a string, which cannot fail
	return string(data)
}

// valueOf gives the value of a key in a YAML mapping, or nil.
func valueOf(n *yaml.Node, key string) *yaml.Node {
	for i := 0; n != nil && n.Kind == yaml.MappingNode && i < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

func textOf(n *yaml.Node, key string) string {
	if value := valueOf(n, key); value != nil {
		return value.Value
	}
	return ""
}

func rowsOf(n *yaml.Node, key string) []*yaml.Node {
	if value := valueOf(n, key); value != nil {
		return value.Content
	}
	return nil
}
