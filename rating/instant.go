package rating

import (
	"errors"
	"math"
	"time"
)

// Instant is a point in time: UTC microseconds since 1970 (R1.6). Intervals are half-open, [start, end).
type Instant int64

const (
	Never     Instant = math.MaxInt64 // an open end
	Beginning Instant = math.MinInt64 // an open start
)

// The instants that can be told apart from nonsense: years 1 to 9999.
const (
	minInstant Instant = -62135596800_000000
	maxInstant Instant = 253402300799_999999
)

// InstantOf cuts t to microseconds.
func InstantOf(t time.Time) Instant {
	return Instant(t.Unix()*1e6 + int64(t.Nanosecond()/1000))
}

// Time gives the instant as a time in UTC.
func (i Instant) Time() time.Time {
	sec, micros := floorDiv(int64(i), 1e6)
	return time.Unix(sec, micros*1000).UTC()
}

// String writes RFC 3339 with as many decimals as needed: 2026-10-01T00:00:00Z.
func (i Instant) String() string {
	if i == Never {
		return "never"
	}
	return i.Time().Format("2006-01-02T15:04:05.999999Z07:00")
}

func floorDiv(a, b int64) (quotient, rest int64) {
	quotient, rest = a/b, a%b
	if rest < 0 {
		quotient, rest = quotient-1, rest+b
	}
	return quotient, rest
}

// ErrNotInstant reports a text that is no RFC 3339 date-time with an offset.
var ErrNotInstant = errors.New("not a date and time with an offset, such as 2026-10-01T08:30:00Z")

// ParseInstant reads an RFC 3339 date-time; digits finer than a microsecond are cut off (R1.6). A leap second (:60) is
// refused, and so is a time without an offset.
func ParseInstant(text []byte) (Instant, error) {
	local, rest, ok := parseLocal(text)
	if !ok {
		return 0, ErrNotInstant
	}
	offset, ok := parseOffset(rest)
	if !ok {
		return 0, ErrNotInstant
	}
	return checkedInstant(local - Instant(offset)*1e6)
}

func checkedInstant(i Instant) (Instant, error) {
	if i < minInstant || i > maxInstant {
		return 0, ErrNotInstant
	}
	return i, nil
}

// parseLocal reads YYYY-MM-DD(T| )hh:mm:ss[.f…] as if it were UTC, and gives what follows it.
func parseLocal(b []byte) (Instant, []byte, bool) {
	if len(b) < 19 || b[4] != '-' || b[7] != '-' || b[10] != 'T' && b[10] != 't' && b[10] != ' ' || b[13] != ':' || b[16] != ':' {
		return 0, nil, false
	}
	days, ok := parseDate(b[:10])
	hour, ok1 := twoDigits(b[11:])
	minute, ok2 := twoDigits(b[14:])
	second, ok3 := twoDigits(b[17:])
	if !ok || !ok1 || !ok2 || !ok3 || hour > 23 || minute > 59 || second > 59 {
		return 0, nil, false
	}
	micros := int64(hour*3600+minute*60+second) * 1e6
	b = b[19:]
	if len(b) > 0 && b[0] == '.' {
		i, unit := 1, int64(100000)
		for ; i < len(b) && b[i] >= '0' && b[i] <= '9'; i++ {
			micros += int64(b[i]-'0') * unit
			unit /= 10
		}
		if i == 1 {
			return 0, nil, false
		}
		b = b[i:]
	}
	return Instant(int64(days)*86400e6 + micros), b, true
}

// parseDate reads YYYY-MM-DD as days since 1970.
func parseDate(b []byte) (int, bool) {
	if len(b) != 10 || b[4] != '-' || b[7] != '-' {
		return 0, false
	}
	century, ok := twoDigits(b)
	rest, ok1 := twoDigits(b[2:])
	month, ok2 := twoDigits(b[5:])
	day, ok3 := twoDigits(b[8:])
	if !ok || !ok1 || !ok2 || !ok3 || month < 1 || month > 12 || day < 1 || day > daysIn(century*100+rest, month) {
		return 0, false
	}
	return daysSince1970(century*100+rest, month, day), true
}

func parseOffset(b []byte) (seconds int, ok bool) {
	if len(b) == 1 && (b[0] == 'Z' || b[0] == 'z') {
		return 0, true
	}
	if len(b) != 6 || b[0] != '+' && b[0] != '-' || b[3] != ':' {
		return 0, false
	}
	hour, ok1 := twoDigits(b[1:])
	minute, ok2 := twoDigits(b[4:])
	if !ok1 || !ok2 || hour > 23 || minute > 59 {
		return 0, false
	}
	seconds = hour*3600 + minute*60
	if b[0] == '-' {
		seconds = -seconds
	}
	return seconds, true
}

func twoDigits(b []byte) (int, bool) {
	tens, ones := b[0]-'0', b[1]-'0'
	return int(tens)*10 + int(ones), tens <= 9 && ones <= 9
}

func daysIn(year, month int) int {
	switch month {
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

// daysSince1970 counts days in the proleptic Gregorian calendar (Howard Hinnant, "chrono-compatible low-level date
// algorithms", days_from_civil).
func daysSince1970(year, month, day int) int {
	if month <= 2 {
		year--
	}
	era := year / 400
	if year < 0 {
		era = (year - 399) / 400
	}
	yearOfEra := year - era*400
	dayOfYear := (153*((month+9)%12)+2)/5 + day - 1
	return era*146097 + yearOfEra*365 + yearOfEra/4 - yearOfEra/100 + dayOfYear - 719468
}

// ParseInstantIn is [ParseInstant] for texts that may lack the offset: then they are wall-clock times of the zone. Of a
// time that comes twice it is the earlier, and a time that daylight saving skips moves by the length of the gap.
func ParseInstantIn(text []byte, zone *time.Location) (Instant, error) {
	local, rest, ok := parseLocal(text)
	if !ok || len(rest) != 0 {
		return ParseInstant(text)
	}
	return checkedInstant(InstantOfWall(local, zone))
}

// InstantOfWall gives the instant at which the clocks of the zone show what UTC clocks show at wall.
func InstantOfWall(wall Instant, zone *time.Location) Instant {
	z := zoneCache{loc: zone}
	return z.at(wallClock(wall))
}
