package rating

import "time"

const (
	second = Instant(1e6)
	day    = 86400 * second
)

// wallClock is a local date and time in microseconds since 1970, as if it were UTC. Not every value exists in a zone, and
// some exist twice.
type wallClock int64

// zoneCache finds the offset of instants in one zone; it remembers the last stretch between two transitions.
type zoneCache struct {
	loc        *time.Location
	start, end Instant // of the stretch
	offset     Instant
}

func (z *zoneCache) offsetAt(t Instant) Instant {
	if t < z.start || t >= z.end {
		z.load(t)
	}
	return z.offset
}

func (z *zoneCache) load(t Instant) {
	local := t.Time().In(z.loc)
	_, seconds := local.Zone()
	start, end := local.ZoneBounds()
	z.start, z.end, z.offset = Beginning, Never, Instant(seconds)*second
	if !start.IsZero() {
		z.start = InstantOf(start)
	}
	if !end.IsZero() {
		z.end = InstantOf(end)
	}
}

func (z *zoneCache) wall(t Instant) wallClock { return wallClock(t + z.offsetAt(t)) }

// at finds the instant of a wall-clock time: of a time that comes twice the earlier, and a time that daylight saving
// skips moves by the length of the gap (R3.2).
func (z *zoneCache) at(w wallClock) Instant {
	before := z.offsetAt(Instant(w) - day)
	early := Instant(w) - before
	after := z.offsetAt(Instant(w) + day)
	late := Instant(w) - after
	if late < early && z.offsetAt(late) == after {
		return late
	}
	if z.offsetAt(early) == before {
		return early
	}
	if z.offsetAt(late) == after {
		return late
	}
	return early
}

// firstInstantOfDay gives the first instant whose local date is the given one or a later one: midnight, save where
// daylight saving skips it.
func (z *zoneCache) firstInstantOfDay(w wallClock) Instant {
	midnight := w - wallClock(mod(int64(w), int64(day)))
	t := z.at(midnight)
	if z.wall(t) > midnight {
		z.offsetAt(t) // midnight is skipped: the day begins where the clock jumps
		return z.start
	}
	return t
}

func mod(a, b int64) int64 {
	_, rest := floorDiv(a, b)
	return rest
}

// addDays moves an instant by whole days on the wall clock.
func (z *zoneCache) addDays(t Instant, days int) Instant {
	if days == 0 {
		return t
	}
	return z.at(z.wall(t) + wallClock(days)*wallClock(day))
}

// civil splits a wall-clock time into date and time of day.
func (w wallClock) civil() (year, month, dayOfMonth int, clock wallClock) {
	days, rest := floorDiv(int64(w), int64(day))
	y, m, d := time.Unix(days*86400, 0).UTC().Date()
	return y, int(m), d, wallClock(rest)
}

// addMonths moves a wall-clock time by whole months; a day past the month's end is clipped to its last day.
func (w wallClock) addMonths(n int) wallClock {
	year, month, dayOfMonth, clock := w.civil()
	years, month0 := floorDiv(int64(month-1+n), 12)
	year += int(years)
	month = int(month0) + 1
	dayOfMonth = min(dayOfMonth, daysIn(year, month))
	return wallClock(daysSince1970(year, month, dayOfMonth))*wallClock(day) + clock
}

func monthOf(w wallClock) Month {
	year, month, _, _ := w.civil()
	return Month(year*12 + month - 1)
}

// String writes YYYY-MM.
func (m Month) String() string {
	year, month := floorDiv(int64(m), 12)
	return time.Date(int(year), time.Month(month+1), 1, 0, 0, 0, 0, time.UTC).Format("2006-01")
}

// startOfMonth is the first instant of a month.
func (z *zoneCache) startOfMonth(m Month) Instant {
	year, month := floorDiv(int64(m), 12)
	return z.firstInstantOfDay(wallClock(daysSince1970(int(year), int(month)+1, 1)) * wallClock(day))
}
