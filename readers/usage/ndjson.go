package usage

import (
	"bytes"
	"errors"
	"io"
	"strings"
)

// The slots that a CloudEvents envelope is read from; those of the plan follow.
const (
	slotSpecVersion = iota
	slotSource
	slotID
	slotSubject
	slotType
	slotTime
	slotData // data.quantity
	firstPlanSlot
)

// jsonReader makes rows of NDJSON lines.
type jsonReader struct {
	key        string
	mapped     bool // attributes are mapped
	binding    binding
	decoder    decoder
	row        row
	account    *needle // how the member is spelt whose value is the account; nil: it is a constant
	envelope   *needle // how the member is spelt that makes a line an envelope of CloudEvents, whose account is the subject
	asSpelt    bool    // nothing is escaped in what is read, and there is no envelope
	attributes int     // the slot of the whole object
	text       []byte  // of an id that is put together
}

func newJSONReader(p *plan, key string) *jsonReader {
	root := &node{slot: -1}
	slots := firstPlanSlot
	slotOf := func(path string) int {
		n := root
		for part := range strings.SplitSeq(path, ".") {
			n = n.child(part)
		}
		if n.slot < 0 {
			n.slot = slots
			slots++
		}
		return n.slot
	}
	for i, path := range []string{"specversion", "source", "id", "subject", "type", "time", "data.quantity"} {
		slots = i
		slotOf(path)
	}
	slots = firstPlanSlot
	j := &jsonReader{key: key, mapped: p.mapsAttributes, envelope: newNeedle("specversion")}
	j.binding = p.bind(func(name, canonical string) int {
		if canonical == "account" {
			j.account = newNeedle(`"` + name[strings.LastIndexByte(name, '.')+1:] + `"`)
		}
		return slotOf(name)
	})
	if !p.mapsAttributes {
		j.attributes = slotOf("attributes")
		root.child("attributes").collect = intoAttributes
		root.child("data").collect = intoData
	}
	j.decoder = decoder{root: root, slots: make([]value, slots)}
	j.row.quantity = make([][]byte, len(j.binding.quantity))
	return j
}

func (j *jsonReader) read(s *stream, to rows) error {
	if j.account != nil && !to.whole() {
		s.filled = j.look
	}
	if err := s.skipMark(); err != nil {
		return err
	}
	for number := int64(1); ; number++ {
		line, cut, err := s.line()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if blank(line) || !cut && j.passes(line, to) {
			continue
		}
		j.row.reset(number)
		j.row.raw = line
		if cut {
			j.row.malformed = "line is longer than usage.max_line"
		} else {
			j.fill(line)
		}
		if err := to.add(&j.row); err != nil {
			return err
		}
	}
}

// look sees to what holds for all lines that are read at present, so that it need not be seen to for each of them.
func (j *jsonReader) look(text []byte) {
	j.account.tune(text)
	j.envelope.tune(text)
	j.asSpelt = j.isAsSpelt(text)
}

// isAsSpelt tells whether a member is spelt as it reads, and the account is what the plan says.
func (j *jsonReader) isAsSpelt(text []byte) bool {
	return bytes.IndexByte(text, '\\') < 0 && (j.binding.account.kind != byDefault || j.envelope.in(text) < 0)
}

// passes tells whether nobody wants a line, without decoding it: the member of the account stands there once, before a
// plain string, and nothing is escaped. Where that member lies elsewhere in the object, the line has no account at all.
func (j *jsonReader) passes(line []byte, to rows) bool {
	if j.account == nil || to.whole() || !j.asSpelt && !j.isAsSpelt(line) {
		return false
	}
	at := j.account.in(line)
	if at < 0 {
		return false
	}
	rest := line[at+len(j.account.text):]
	if j.account.in(rest) >= 0 {
		return false
	}
	for _, next := range []byte(`:"`) {
		rest = unspaced(rest)
		if len(rest) == 0 || rest[0] != next {
			return false
		}
		rest = rest[1:]
	}
	account, _, found := bytes.Cut(rest, []byte(`"`))
	return found && !to.wants(account)
}

func unspaced(text []byte) []byte {
	for len(text) > 0 && (text[0] == ' ' || text[0] == '\t') {
		text = text[1:]
	}
	return text
}

func blank(line []byte) bool {
	for _, c := range line {
		if c != ' ' && c != '\t' && c != '\r' {
			return false
		}
	}
	return true
}

// fill reads a line into the row. Of a line that is no valid JSON nothing is believed.
func (j *jsonReader) fill(line []byte) {
	r, d := &j.row, &j.decoder
	if fault := d.decode(line); fault != "" {
		r.malformed = "line " + fault
		return
	}
	spec := d.slots[slotSpecVersion]
	envelope := spec.kind == jsonString && string(spec.text) == "1.0"
	r.id = j.id(envelope)
	r.account = j.pick(j.binding.account, "account", envelope, slotSubject)
	r.meter = j.pick(j.binding.meter, "meter", envelope, slotType)
	r.time = j.pick(j.binding.time, "time", envelope, slotTime)
	r.version = j.pick(j.binding.version, "version", false, 0)
	for i, q := range j.binding.quantity {
		r.quantity[i] = j.pick(q, "quantity", envelope, slotData)
	}
	switch {
	case j.mapped:
		j.mappedAttributes()
	case envelope:
		r.attrs = append(r.attrs, d.data...)
	default:
		if v := d.slots[j.attributes]; v.kind != absent && v.kind != jsonNull && v.kind != jsonObject {
			r.malformed = "attributes is not an object"
		}
		r.attrs = append(r.attrs, d.attrs...)
		if d.nested != nil {
			r.malformed = "attribute " + quoted(d.nested) + " is not a string, number or boolean"
		}
	}
}

// pick gives the text of a field; of a CloudEvents envelope, that of another slot where nothing is mapped.
func (j *jsonReader) pick(s source, name string, envelope bool, slot int) []byte {
	switch s.kind {
	case byDefault:
		if !envelope {
			slot = s.slot
		}
	case fromColumn:
		slot = s.slot
	default:
		return s.text
	}
	v := j.decoder.slots[slot]
	switch v.kind {
	case jsonString, jsonNumber:
		return v.text
	case jsonBool, jsonObject, jsonArray:
		j.row.versionUnread = j.row.versionUnread || name == "version"
		if j.row.malformed == "" {
			j.row.malformed = name + " is neither a string nor a number"
		}
	}
	return nil
}

func (j *jsonReader) id(envelope bool) []byte {
	switch {
	case j.binding.id.kind == fromRow:
		j.text = appendRowID(j.text[:0], j.key, j.row.number)
		return j.text
	case j.binding.id.kind != byDefault || !envelope:
		return j.pick(j.binding.id, "id", false, 0)
	}
	origin := j.pick(j.binding.id, "source", true, slotSource)
	id := j.pick(j.binding.id, "id", true, slotID)
	if len(origin) == 0 || len(id) == 0 {
		return nil
	}
	j.text = append(append(append(j.text[:0], origin...), '/'), id...)
	return j.text
}

func (j *jsonReader) mappedAttributes() {
	for _, a := range j.binding.attributes {
		if a.kind == constant {
			j.row.attrs = append(j.row.attrs, pair{a.name, a.text})
			continue
		}
		v := j.decoder.slots[a.slot]
		switch {
		case v.scalar():
			j.row.attrs = append(j.row.attrs, pair{a.name, v.text})
		case v.nested():
			j.row.malformed = "attribute " + quoted(a.name) + " is not a string, number or boolean"
		}
	}
}
