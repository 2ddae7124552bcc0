package rating

import (
	"errors"
	"math"
	"math/bits"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// checkID reports an id that is missing or that nobody could tell from another one by eye.
func (r row) checkID(field, id string) bool {
	switch {
	case id == "":
		r.fault(field, "R2.8", "write a text that no other row has", "%s is missing", field)
	case !plain(id):
		r.fault(field, "R2.8", "use visible characters, valid as UTF-8", "%s %q has control characters or broken text", field, id)
	case strings.TrimSpace(id) != id:
		r.fault(field, "R2.8", "remove the spaces", "%s %q begins or ends with white space", field, id)
	default:
		return true
	}
	return false
}

// plain says whether a text is valid UTF-8 without control characters.
func plain(text string) bool {
	for i := 0; i < len(text); i++ {
		switch b := text[i]; {
		case b < 0x20 || b == 0x7f:
			return false
		case b >= utf8.RuneSelf:
			return utf8.ValidString(text) && !strings.ContainsFunc(text, unicode.IsControl)
		}
	}
	return true
}

// labels reports texts for showing that hold control characters: they end up in messages to people.
func (r row) labels(rule string, nameAndText ...string) {
	for i := 0; i+1 < len(nameAndText); i += 2 {
		if text := nameAndText[i+1]; !plain(text) {
			r.fault(nameAndText[i], rule, "write it on one line, as UTF-8", "%s %q has control characters or broken text", nameAndText[i], text)
		}
	}
}

// require reports a required field that was left out.
func (r row) require(field, text string) bool {
	if text == "" {
		name := field[strings.LastIndexByte(field, '.')+1:]
		r.fault(field, "R2.8", "write `"+name+": …`", "%s is missing", field)
	}
	return text != ""
}

// decimal reads a required quantity or price of at least 0 as units of 10^-scale.
func (r row) decimal(field, text, rule string, scale int) (int64, bool) {
	n, err := ParseDecimal([]byte(text), scale, Exact)
	switch {
	case errors.Is(err, ErrTooManyDecimals):
		r.fault(field, "R2.8", decimalsHint(scale), "%s %s", field, describeDecimal(text, scale, err))
	case errors.Is(err, ErrOverflow):
		r.fault(field, "R1.5", "write a smaller number, or count in larger units", "%s %s", field, describeDecimal(text, scale, err))
	case err != nil:
		r.fault(field, rule, "write digits with a point, such as 12.5", "%s %s", field, describeDecimal(text, scale, err))
	case n < 0:
		r.fault(field, rule, "write 0 or more", "%s %q is negative", field, text)
	default:
		return n, true
	}
	return 0, false
}

func decimalsHint(scale int) string {
	if scale == maxScale {
		return "write at most 9 decimals"
	}
	return "write fewer decimals, or raise the scale"
}

// optionalDecimal reads a decimal as [row.decimal] does; a missing one is fallback.
func (r row) optionalDecimal(field, text, rule string, scale int, fallback int64) int64 {
	if text == "" {
		return fallback
	}
	n, ok := r.decimal(field, text, rule, scale)
	if !ok {
		return fallback
	}
	return n
}

// integer reads a whole number within low..high; a missing one is fallback.
func (r row) integer(field, text, rule string, low, high, fallback int64) int64 {
	if text == "" {
		return fallback
	}
	n, err := ParseDecimal([]byte(text), 0, Exact)
	if err != nil || n < low || n > high {
		wanted := "a whole number"
		if high < math.MaxInt64 {
			wanted += " from " + FormatQuantity(low, 0) + " to " + FormatQuantity(high, 0)
		}
		r.fault(field, rule, "write "+wanted, "%s %q is not valid", field, text)
		return fallback
	}
	return n
}

// choice reads one of several names, as its position; a missing one is fallback.
func (r row) choice(field, text, rule string, names []string, fallback int) int {
	if text == "" {
		return fallback
	}
	if i := slices.Index(names, text); i >= 0 {
		return i
	}
	hint := "write one of " + strings.Join(names, ", ")
	if near := nearest(text, slices.Values(names)); near != "" {
		hint = "did you mean " + near + "? It is one of " + strings.Join(names, ", ")
	}
	r.fault(field, rule, hint, "%s %q is unknown", field, text)
	return fallback
}

func (r row) truth(field, text, rule string) bool {
	switch {
	case strings.EqualFold(text, "true"):
		return true
	case text != "" && !strings.EqualFold(text, "false"):
		r.fault(field, rule, "write true or false", "%s %q is neither true nor false", field, text)
	}
	return false
}

// currency reads a currency code; a missing one is fallback.
func (r row) currency(text, rule, fallback string) string {
	if text == "" {
		return fallback
	}
	if len(text) != 3 || strings.Trim(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
		r.fault("currency", rule, "write three capital letters, such as USD", "currency %q is not a currency code", text)
		return fallback
	}
	return text
}

// amount reads money with at most 9 decimals; a missing one is 0.
func (r row) amount(field, text, rule string) (Amount, bool) {
	a, err := parseAmount(text)
	switch {
	case errors.Is(err, ErrTooManyDecimals):
		r.fault(field, "R2.8", "write at most 9 decimals", "%s %s", field, describeDecimal(text, amountScale, err))
	case errors.Is(err, ErrOverflow):
		r.fault(field, "R1.5", "write a smaller number", "%s %q is too large for an amount", field, text)
	case err != nil:
		r.fault(field, rule, "write digits with a point, such as 12.5", "%s %s", field, describeDecimal(text, amountScale, err))
	default:
		return a, true
	}
	return Amount{}, false
}

// maxAmountHi and maxAmountLo are 10^38: DECIMAL(38,9) ends before it.
const maxAmountHi, maxAmountLo = 0x4b3b4ca85a86c47a, 0x098a224000000000

func parseAmount(text string) (Amount, error) {
	d, err := scanDecimal([]byte(text))
	if err != nil {
		return Amount{}, err
	}
	if d.hi == 0 && d.lo == 0 {
		return Amount{}, nil
	}
	if d.decimals > amountScale {
		return Amount{}, ErrTooManyDecimals
	}
	for n := d.decimals; n < amountScale; n++ {
		over, hi := bits.Mul64(d.hi, 10)
		carry, lo := bits.Mul64(d.lo, 10)
		hi, c := bits.Add64(hi, carry, 0)
		if over != 0 || c != 0 {
			return Amount{}, ErrOverflow
		}
		d.hi, d.lo = hi, lo
	}
	if d.hi > maxAmountHi || d.hi == maxAmountHi && d.lo >= maxAmountLo {
		return Amount{}, ErrOverflow
	}
	return Amount{Hi: int64(d.hi), Lo: d.lo}.negateIf(d.negative), nil
}

// moment reads a date-time with an offset, or a date: the first instant of that day in zone (R1.7).
func (r row) moment(field, text string, zone *time.Location) (Instant, bool) {
	return r.instant(field, text, zone, 0)
}

// end reads a date-time with an offset, or a date: the end of that day in zone (R1.7).
func (r row) end(field, text string, zone *time.Location) (Instant, bool) {
	return r.instant(field, text, zone, 1)
}

func (r row) instant(field, text string, zone *time.Location, dayOffset int) (Instant, bool) {
	var (
		at  Instant
		err error
	)
	if days, isDate := parseDate([]byte(text)); isDate {
		at = r.c.firstInstant(zone, days+dayOffset)
		if at < minInstant {
			err = ErrNotInstant
		}
	} else {
		at, err = ParseInstant([]byte(text))
	}
	if err == nil {
		return at, true
	}
	rule, hint := "R1.6", "write a date such as 2026-10-01, or a date and time with an offset such as 2026-10-01T08:30:00Z"
	if _, rest, isLocal := parseLocal([]byte(text)); isLocal && len(rest) == 0 {
		rule, hint = "R1.7", "add an offset: "+text+"Z, or "+text+"+08:00"
	}
	r.fault(field, rule, hint, "%s %q is %s", field, text, err)
	return 0, false
}

// dayKey is a local day: its zone, and its number since 1970.
type dayKey struct {
	zone *time.Location
	days int
}

// firstInstant gives the first instant of a local day; the end of the last day that can be written is clipped to the
// last instant that can be.
func (c *compiler) firstInstant(zone *time.Location, days int) Instant {
	at, ok := c.days[dayKey{zone, days}]
	if !ok {
		z := zoneCache{loc: zone}
		at = min(z.firstInstantOfDay(wallClock(days)*wallClock(day)), maxInstant)
		c.days[dayKey{zone, days}] = at
	}
	return at
}

const dayMicros = int64(day)

// hours reads a window of local time: HH:MM-HH:MM.
func (r row) hours(field, text string) Hours {
	const hint = "write it as 22:00-06:00; the end may be 24:00"
	if text == "" {
		return Hours{}
	}
	if len(text) != 11 || text[5] != '-' {
		r.fault(field, "R2.4", hint, "hours %q is not a window of the day", text)
		return Hours{}
	}
	from, ok := clock(text[:5])
	to, ok1 := clock(text[6:])
	switch {
	case !ok || !ok1 || from == dayMicros:
		r.fault(field, "R2.4", hint, "hours %q is not a window of the day", text)
	case from == to:
		r.fault(field, "R2.4", "leave hours out for the whole day", "hours %q is empty", text)
	case from == 0 && to == dayMicros: // the whole day, as if left out
	default:
		return Hours{From: from, To: to}
	}
	return Hours{}
}

func clock(text string) (int64, bool) {
	hour, ok := twoDigits([]byte(text))
	minute, ok1 := twoDigits([]byte(text[3:]))
	if !ok || !ok1 || text[2] != ':' || minute > 59 || hour > 24 || hour == 24 && minute > 0 {
		return 0, false
	}
	return int64(hour*60+minute) * 60e6, true
}
