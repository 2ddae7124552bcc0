package usage

import "strconv"

// source is a field of the plan, bound to the slots that a format has for values.
type source struct {
	kind fieldKind
	slot int // of a column
	text []byte
}

// binding is a plan bound to slots.
type binding struct {
	id, account, meter, version, time source
	quantity                          []source
	attributes                        []boundAttribute
}

type boundAttribute struct {
	name []byte
	source
}

// bind gives every column its slot: slotOf is asked with the name of the column, and with the canonical name where the
// plan says nothing.
func (p *plan) bind(slotOf func(name, canonical string) int) binding {
	bound := func(f field, canonical string) source {
		switch f.kind {
		case byDefault:
			return source{byDefault, slotOf(canonical, canonical), nil}
		case fromColumn:
			return source{fromColumn, slotOf(f.name, canonical), nil}
		}
		return source{kind: f.kind, text: []byte(f.name)}
	}
	var b binding
	b.id, b.account = bound(p.id, "id"), bound(p.account, "account")
	b.meter = source{kind: constant}
	if len(p.emit) == 0 {
		b.meter = bound(p.meter, "meter")
		b.quantity = []source{bound(p.quantity.field, "quantity")}
	}
	for _, e := range p.emit {
		b.quantity = append(b.quantity, bound(e.field, "quantity"))
	}
	b.time, b.version = bound(p.time, "time"), bound(p.version, "version")
	for _, a := range p.attributes {
		b.attributes = append(b.attributes, boundAttribute{[]byte(a.name), bound(a.field, "attributes."+a.name)})
	}
	return b
}

// appendRowID makes the id of a row that has none of its own (R4.2).
func appendRowID(to []byte, key string, number int64) []byte {
	to = append(append(to, key...), '#')
	return strconv.AppendInt(to, number, 10)
}
