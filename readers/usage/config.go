package usage

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"drawdown/rating"
)

// Config is the part of `usage` in drawdown.yaml that says how to read a row (R4.2).
//
//	fields:
//	  id: row                                              # object key and row number
//	  account: {const: acme}                               # a constant
//	  meter: sku                                           # a column; in JSON a dotted path
//	  quantity: {column: used, decimals: half_up}          # or down; without it more decimals are quarantined
//	  time: {column: at, layout: "2006-01-02 15:04:05", zone: Europe/Berlin} # or unix, unix_ms, unix_us
//	  version: revision
//	  attributes: {region: aws_region}                     # name: column, or {const: …}
//	emit:                                                  # several records a row
//	  - {meter: prompt_tokens, quantity: ContextTokens}
type Config struct {
	Fields        map[string]any `koanf:"fields" yaml:"fields"`
	Emit          []Emit         `koanf:"emit" yaml:"emit"`
	MaxExpansion  int64          `koanf:"max_expansion" yaml:"max_expansion"`     // times the stored size, never less than 64 MiB; 0: 200
	MaxObjectSize int64          `koanf:"max_object_size" yaml:"max_object_size"` // bytes stored; 0: 16 GiB
	MaxLine       int64          `koanf:"max_line" yaml:"max_line"`               // bytes of one row of text; 0: 1 MiB
}

// Emit is one of the records that a row makes.
type Emit struct {
	Meter    string `koanf:"meter" yaml:"meter"`
	Quantity any    `koanf:"quantity" yaml:"quantity"` // as usage.fields.quantity
}

// Validate says everything that is wrong with the configuration.
func (c Config) Validate() error {
	_, err := c.compile()
	return err
}

type fieldKind uint8

const (
	byDefault fieldKind = iota // the canonical name, or what a CloudEvents envelope says
	fromColumn
	constant
	fromRow
)

// field says where a value comes from.
type field struct {
	kind fieldKind
	name string // of the column, or the constant
}

type timeLayout uint8

const (
	rfc3339 timeLayout = iota
	unixSeconds
	unixMillis
	unixMicros
	goLayout
)

type attributeField struct {
	name string
	field
}

type quantityField struct {
	field
	rounding rating.Rounding
}

type emission struct {
	meter string
	quantityField
}

// plan is a checked Config.
type plan struct {
	id, account, meter, version, time field
	quantity                          quantityField
	layout                            timeLayout
	layoutText                        string
	layoutOffset                      bool // the Go layout reads an offset
	zone                              *time.Location
	attributes                        []attributeField // sorted by name; nil: the default ones
	mapsAttributes                    bool
	emit                              []emission
	maxExpansion, maxObject, maxLine  int64
}

const (
	minExpansion = 64 << 20
	maxMembers   = 256 // of a JSON object, columns of a CSV header that are read
	maxNesting   = 32
)

var fieldNames = []string{"id", "account", "meter", "quantity", "time", "version", "attributes"}

type planner struct{ faults []error }

func (p *planner) fault(format string, args ...any) {
	p.faults = append(p.faults, fmt.Errorf(format, args...))
}

func (c Config) compile() (*plan, error) {
	p := &planner{}
	out := &plan{
		maxExpansion: orDefault(c.MaxExpansion, 200),
		maxObject:    orDefault(c.MaxObjectSize, 16<<30),
		maxLine:      orDefault(c.MaxLine, 1<<20),
	}
	if out.maxExpansion < 0 || out.maxObject < 0 || out.maxLine < 0 || out.maxLine > 1<<30 {
		p.fault("usage.max_expansion, max_object_size and max_line are positive numbers, and max_line is at most 1 GiB")
	}
	for _, name := range slices.Sorted(maps.Keys(c.Fields)) {
		key, value := "usage.fields."+name, c.Fields[name]
		switch name {
		case "id":
			out.id = p.field(key, value, true)
		case "account":
			out.account = p.field(key, value, false)
		case "meter":
			out.meter = p.field(key, value, false)
		case "version":
			out.version = p.field(key, value, false)
		case "quantity":
			out.quantity = p.quantity(key, value)
		case "time":
			p.time(key, value, out)
		case "attributes":
			out.mapsAttributes = true
			out.attributes = p.attributes(key, value)
		default:
			p.fault("%s: there is no such field; the fields are %s", key, strings.Join(fieldNames, ", "))
		}
	}
	p.emit(c, out)
	return out, errors.Join(p.faults...)
}

func orDefault(n, fallback int64) int64 {
	if n == 0 {
		return fallback
	}
	return n
}

func (p *planner) emit(c Config, out *plan) {
	seen := map[string]bool{}
	for i, e := range c.Emit {
		key := fmt.Sprintf("usage.emit[%d]", i)
		if e.Meter == "" {
			p.fault("%s.meter: write the meter's id", key)
		}
		if seen[e.Meter] {
			p.fault("%s.meter: %q stands there twice; a row makes one record a meter, or their ids collide", key, e.Meter)
		}
		seen[e.Meter] = true
		if e.Quantity == nil {
			p.fault("%s.quantity: write the column that holds it", key)
			continue
		}
		out.emit = append(out.emit, emission{e.Meter, p.quantity(key+".quantity", e.Quantity)})
	}
	if len(c.Emit) == 0 {
		return
	}
	for _, name := range []string{"meter", "quantity"} {
		if _, both := c.Fields[name]; both {
			p.fault("usage.fields.%s: leave it out, usage.emit says what the %s is", name, name)
		}
	}
}

// field reads a column name, {column: …}, {const: …}, or `row`.
func (p *planner) field(key string, value any, row bool) field {
	if text, ok := value.(string); ok && text == "row" && row {
		return field{kind: fromRow}
	}
	f, _ := p.spec(key, value)
	return f
}

// spec reads a field and the settings beside it, of which the names are given.
func (p *planner) spec(key string, value any, settings ...string) (field, map[string]string) {
	if text, ok := value.(string); ok && text != "" {
		return field{fromColumn, text}, nil
	}
	entries, ok := value.(map[string]any)
	if !ok {
		p.fault("%s: write a column's name, {column: name} or {const: value}", key)
		return field{}, nil
	}
	var f field
	found := map[string]string{}
	allowed := append([]string{"column", "const"}, settings...)
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		if !slices.Contains(allowed, name) {
			p.fault("%s.%s: there is no such setting; it knows %s", key, name, strings.Join(allowed, ", "))
			continue
		}
		text, fault := scalarText(entries[name])
		if fault != "" {
			p.fault("%s.%s: %s", key, name, fault)
			continue
		}
		switch name {
		case "column", "const":
			if f.kind != byDefault {
				p.fault("%s: column and const exclude each other", key)
			}
			f = field{fromColumn, text}
			if name == "const" {
				f.kind = constant
			}
		default:
			found[name] = text
		}
	}
	return f, found
}

// scalarText gives the text of what YAML read, or says why that is not what stands in the file.
func scalarText(value any) (text, fault string) {
	const write = "; write a text"
	switch v := value.(type) {
	case string:
		if v == "" {
			return "", "the text is empty" + write
		}
		return v, ""
	case int, int64, uint64, bool:
		return fmt.Sprint(v), ""
	case float64:
		return "", fmt.Sprintf("YAML reads %v as a float, which is not exact; write it in quotes, as %q", v, fmt.Sprint(v))
	case time.Time:
		return "", fmt.Sprintf("YAML reads %s as a date; write it in quotes", v.Format(time.DateOnly))
	case nil:
		return "", "the value is missing" + write
	case []any:
		return "", "a list is no constant" + write
	}
	return "", "a section is no constant" + write
}

func (p *planner) quantity(key string, value any) quantityField {
	f, settings := p.spec(key, value, "decimals")
	q := quantityField{field: f}
	switch settings["decimals"] {
	case "":
	case "half_up":
		q.rounding = rating.HalfUp
	case "down":
		q.rounding = rating.Down
	default:
		p.fault("%s.decimals: %q is neither half_up nor down", key, settings["decimals"])
	}
	return q
}

func (p *planner) time(key string, value any, out *plan) {
	f, settings := p.spec(key, value, "layout", "zone")
	out.time = f
	if name := settings["zone"]; name != "" {
		zone, err := time.LoadLocation(name)
		if err != nil || name == "Local" {
			p.fault("%s.zone: %q is no IANA time zone such as Europe/Berlin", key, name)
		}
		out.zone = zone
	}
	switch layout := settings["layout"]; layout {
	case "":
	case "unix":
		out.layout = unixSeconds
	case "unix_ms":
		out.layout = unixMillis
	case "unix_us":
		out.layout = unixMicros
	default:
		out.layout, out.layoutText = goLayout, layout
		out.layoutOffset = strings.Contains(layout, "Z07") || strings.Contains(layout, "-07")
		p.goLayout(key, layout, out)
	}
}

func (p *planner) goLayout(key, layout string, out *plan) {
	if strings.Contains(layout, "MST") {
		p.fault("%s.layout: %q reads a zone's abbreviation, which does not name one zone; use an offset (-07:00), or cut it off and name the zone", key, layout)
	}
	if !out.layoutOffset && out.zone == nil {
		p.fault("%s.layout: %q reads no offset; write the zone beside it, as zone: UTC", key, layout)
	}
	sample := time.Date(2033, 11, 22, 13, 14, 15, 0, time.UTC)
	back, err := time.Parse(layout, sample.Format(layout))
	if err == nil && back.Hour() == 1 {
		p.fault("%s.layout: %q reads 13 o'clock as 1; write 15 for hours up to 24, or PM behind 03", key, layout)
	}
	if err != nil || back.Year() != 2033 || back.Month() != 11 || back.Day() != 22 {
		p.fault("%s.layout: %q does not tell a date; write how 2006-01-02 15:04:05 looks, or unix, unix_ms, unix_us", key, layout)
	}
}

func (p *planner) attributes(key string, value any) []attributeField {
	entries, ok := value.(map[string]any)
	if !ok {
		p.fault("%s: write a map of attribute names to columns", key)
		return nil
	}
	var out []attributeField
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		f, _ := p.spec(key+"."+name, entries[name])
		out = append(out, attributeField{name, f})
	}
	return out
}
