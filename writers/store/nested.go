package store

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"drawdown/rating"
)

// Composed fields stand in one column, as JSON with the keys of the catalog files; '' is none. Drawdown writes one form
// of it, and reads any: an ordering system may write numbers where there are numbers, and a single value for a list.

// memo keeps what composed fields meant: packages of one product have the same covers, and then share them.
type memo struct {
	covers map[string][]rating.CoverDraft
	tiers  map[string][]rating.TierDraft
	texts  map[string][]string
}

func newMemo() *memo {
	return &memo{map[string][]rating.CoverDraft{}, map[string][]rating.TierDraft{}, map[string][]string{}}
}

func recall[T any](known map[string][]T, text string, read func(*reader) ([]T, error)) ([]T, error) {
	if text == "" {
		return nil, nil
	}
	if value, ok := known[text]; ok {
		return value, nil
	}
	r := &reader{text: text}
	value, err := read(r)
	if err == nil && r.peek() != 0 {
		err = errors.New("something follows the end")
	}
	if err != nil {
		return nil, fmt.Errorf("%w, at byte %d of the JSON %s", err, r.at, text)
	}
	known[text] = value
	return value, nil
}

func writeTiers(tiers []rating.TierDraft) string {
	return writeObjects(tiers, func(b []byte, t *rating.TierDraft) []byte {
		b = appendMember(b, "up_to", t.UpTo)
		b = appendMember(b, "price", t.Price)
		return appendMember(b, "per", t.Per)
	})
}

func writeCovers(covers []rating.CoverDraft) string {
	return writeObjects(covers, func(b []byte, c *rating.CoverDraft) []byte {
		b = appendMember(b, "meter", c.Meter)
		b = appendMember(b, "rate", c.Rate)
		b = appendMember(b, "hours", c.Hours)
		if len(c.Where) == 0 {
			return b
		}
		b = append(appendKey(b, "where"), '{')
		for _, condition := range c.Where {
			b = appendTexts(appendKey(b, condition.Attribute), condition.Values)
		}
		return append(b, '}')
	})
}

func writeTexts(texts []string) string {
	if len(texts) == 0 {
		return ""
	}
	return string(appendTexts(nil, texts))
}

func writeObjects[T any](list []T, members func([]byte, *T) []byte) string {
	if len(list) == 0 {
		return ""
	}
	b := make([]byte, 0, 128)
	for i := range list {
		b = append(b, "[,"[min(i, 1)], '{')
		b = append(members(b, &list[i]), '}')
	}
	return string(append(b, ']'))
}

func appendMember(b []byte, key, value string) []byte {
	if value == "" {
		return b
	}
	return appendText(appendKey(b, key), value)
}

func appendKey(b []byte, key string) []byte {
	if b[len(b)-1] != '{' {
		b = append(b, ',')
	}
	return append(appendText(b, key), ':')
}

func appendTexts(b []byte, texts []string) []byte {
	b = append(b, '[')
	for i, text := range texts {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendText(b, text)
	}
	return append(b, ']')
}

func appendText(b []byte, text string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for i := range len(text) {
		switch c := text[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ':
			b = append(b, `\u00`...)
			b = append(b, hex[c>>4], hex[c&15])
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}

func readTiers(r *reader) ([]rating.TierDraft, error) {
	return readObjects(r, func(r *reader, t *rating.TierDraft, key string) (err error) {
		switch key {
		case "up_to":
			t.UpTo, err = r.scalar()
		case "price":
			t.Price, err = r.scalar()
		case "per":
			t.Per, err = r.scalar()
		default:
			err = fmt.Errorf("unknown key %q; a tier has up_to, price and per", key)
		}
		return err
	})
}

func readCovers(r *reader) ([]rating.CoverDraft, error) {
	return readObjects(r, func(r *reader, c *rating.CoverDraft, key string) (err error) {
		switch key {
		case "meter":
			c.Meter, err = r.scalar()
		case "rate":
			c.Rate, err = r.scalar()
		case "hours":
			c.Hours, err = r.scalar()
		case "where":
			c.Where, err = readWhere(r)
		default:
			err = fmt.Errorf("unknown key %q; an entry of covers has meter, rate, hours and where", key)
		}
		return err
	})
}

func readWhere(r *reader) ([]rating.ConditionDraft, error) {
	var where []rating.ConditionDraft
	err := r.object(func(attribute string) error {
		values, err := readTexts(r)
		where = append(where, rating.ConditionDraft{Attribute: attribute, Values: values})
		return err
	})
	slices.SortStableFunc(where, func(a, b rating.ConditionDraft) int { return strings.Compare(a.Attribute, b.Attribute) })
	return where, err
}

// readTexts reads a list of values, or one value alone.
func readTexts(r *reader) ([]string, error) {
	var texts []string
	one := func() error {
		text, err := r.scalar()
		texts = append(texts, text)
		return err
	}
	if r.peek() != '[' {
		return texts, one()
	}
	err := r.list(one)
	return texts, err
}

func readObjects[T any](r *reader, member func(*reader, *T, string) error) ([]T, error) {
	var list []T
	err := r.list(func() error {
		var zero T
		list = append(list, zero)
		return r.object(func(key string) error { return member(r, &list[len(list)-1], key) })
	})
	return list, err
}

// reader reads JSON of a form that is known.
type reader struct {
	text string
	at   int
}

// peek gives the next byte that is no white space; 0 at the end.
func (r *reader) peek() byte {
	for ; r.at < len(r.text); r.at++ {
		switch c := r.text[r.at]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

func (r *reader) take(c byte) error {
	if r.peek() != c {
		return fmt.Errorf("expected %q", c)
	}
	r.at++
	return nil
}

func (r *reader) sequence(open, end byte, each func() error) error {
	if err := r.take(open); err != nil {
		return err
	}
	if r.peek() == end {
		return r.take(end)
	}
	for {
		if err := each(); err != nil {
			return err
		}
		if r.peek() != ',' {
			return r.take(end)
		}
		r.at++
	}
}

func (r *reader) list(element func() error) error { return r.sequence('[', ']', element) }

func (r *reader) object(member func(key string) error) error {
	return r.sequence('{', '}', func() error {
		key, err := r.quoted()
		if err == nil {
			err = r.take(':')
		}
		if err != nil {
			return err
		}
		return member(key)
	})
}

// scalar reads a text, or a number, truth value or null as it is spelled; null is nothing.
func (r *reader) scalar() (string, error) {
	if r.peek() == '"' {
		return r.quoted()
	}
	start := r.at
	for r.at < len(r.text) && strings.IndexByte(" \t\r\n,]}[{:\"", r.text[r.at]) < 0 {
		r.at++
	}
	switch word := r.text[start:r.at]; {
	case word == "null":
		return "", nil
	case word == "true" || word == "false" || word != "" && strings.Trim(word, "+-.0123456789eE") == "":
		return word, nil
	}
	return "", errors.New("expected a text or a number")
}

func (r *reader) quoted() (string, error) {
	if err := r.take('"'); err != nil {
		return "", err
	}
	rest := r.text[r.at:]
	end := strings.IndexAny(rest, `"\`)
	if end >= 0 && rest[end] == '"' {
		r.at += end + 1
		return rest[:end], nil
	}
	var b []byte
	for {
		end := strings.IndexAny(r.text[r.at:], `"\`)
		if end < 0 {
			return "", errors.New("a text does not end")
		}
		b = append(b, r.text[r.at:r.at+end]...)
		r.at += end + 1
		if r.text[r.at-1] == '"' {
			return string(b), nil
		}
		var err error
		if b, err = r.escaped(b); err != nil {
			return "", err
		}
	}
}

// escaped reads what follows a backslash.
func (r *reader) escaped(b []byte) ([]byte, error) {
	if r.at >= len(r.text) {
		return nil, errors.New("a text does not end")
	}
	c := r.text[r.at]
	r.at++
	if c == 'u' {
		high, err := r.unit()
		if err != nil || !utf16.IsSurrogate(high) {
			return utf8.AppendRune(b, high), err
		}
		if !strings.HasPrefix(r.text[r.at:], `\u`) {
			return nil, errors.New("half of a surrogate pair")
		}
		r.at += 2
		low, err := r.unit()
		if pair := utf16.DecodeRune(high, low); err == nil && pair != utf8.RuneError {
			return utf8.AppendRune(b, pair), nil
		}
		return nil, errors.New("half of a surrogate pair")
	}
	from, to := `"\/bfnrt`, "\"\\/\b\f\n\r\t"
	i := strings.IndexByte(from, c)
	if i < 0 {
		return nil, fmt.Errorf("unknown escape \\%c", c)
	}
	return append(b, to[i]), nil
}

func (r *reader) unit() (rune, error) {
	if len(r.text)-r.at < 4 {
		return 0, errors.New("a text does not end")
	}
	n, err := strconv.ParseUint(r.text[r.at:r.at+4], 16, 16)
	r.at += 4
	return rune(n), err
}
