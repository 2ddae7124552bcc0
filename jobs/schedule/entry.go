package schedule

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	"drawdown/rating"
)

// Entry says at which instants something is due.
//
// The fields are robfig/cron's, but not its search for the next instant: that one passes over a time that daylight saving
// skips, comes twice to one that the clock shows twice, and misses whole days where midnight is skipped.
type Entry struct {
	zone *time.Location

	every                                time.Duration // @every; 0: the fields below
	minute, hour, dayOfMonth, month, day uint64        // a bit for each value
	anyDay                               bool          // of month or week is *: both must match; else one of them
	everyHour                            bool
}

// The bounds of @every: nothing needs less, and what waits for longer is a mistake.
const (
	leastEvery = time.Second
	mostEvery  = 366 * 24 * time.Hour
)

// star is the bit with which robfig/cron marks a field that is *.
const star = 1 << 63

// hint is what to write.
const hint = `write minute, hour, day of month, month and day of week (0 is Sunday), such as "15 * * * *", or @hourly, @daily, @every 15m`

// Parse reads five fields, or a descriptor such as @hourly or @every 15m. In front of them, CRON_TZ=Europe/Berlin (or TZ=)
// names another zone than the given one. An entry that would never be due is refused. Its errors are "what is wrong; what to
// write instead".
func Parse(text string, zone *time.Location) (Entry, error) {
	e := Entry{zone: zone}
	fields := strings.Fields(text)
	if len(fields) > 0 && strings.Contains(fields[0], "=") { // the parser panics where nothing follows it
		var err error
		if e.zone, err = parseZone(fields[0]); err != nil {
			return Entry{}, err
		}
		if fields = fields[1:]; len(fields) == 0 {
			return Entry{}, fmt.Errorf("%q names a zone, and no time; %s", text, hint)
		}
	}
	if len(fields) == 0 {
		return Entry{}, errors.New("the entry is empty; " + hint + ", or leave the key out")
	}
	if fields[0] == "@every" {
		return e.parseEvery(text, fields[1:])
	}
	parsed, err := cron.ParseStandard(strings.Join(fields, " "))
	spec, isSpec := parsed.(*cron.SpecSchedule)
	if err != nil || !isSpec {
		return Entry{}, fmt.Errorf("%q is no cron entry: %w; %s", text, errors.Join(err), hint)
	}
	const everyHour = 1<<24 - 1
	e.minute, e.hour, e.dayOfMonth, e.month, e.day = spec.Minute, spec.Hour, spec.Dom, spec.Month, spec.Dow
	e.anyDay, e.everyHour = (spec.Dom|spec.Dow)&star != 0, spec.Hour&everyHour == everyHour
	if !e.everDue() {
		return Entry{}, fmt.Errorf("%q is never due: no day has that date, or a field is empty; %s", text, hint)
	}
	return e, nil
}

func parseZone(text string) (*time.Location, error) {
	key, name, _ := strings.Cut(text, "=")
	if key != "CRON_TZ" && key != "TZ" {
		return nil, fmt.Errorf("%q is no field of a cron entry; %s", text, hint)
	}
	zone, err := time.LoadLocation(name)
	if err != nil || name == "" || name == "Local" {
		return nil, fmt.Errorf("%q is no IANA time zone; write a name such as UTC, Europe/Berlin or Asia/Shanghai", name)
	}
	return zone, nil
}

func (e Entry) parseEvery(text string, rest []string) (Entry, error) {
	d, err := time.ParseDuration(strings.Join(rest, " "))
	if err != nil || d < leastEvery || d > mostEvery || d%time.Second != 0 {
		return Entry{}, fmt.Errorf("%q is no length of time from 1s to 8784h; write it as @every 15m", text)
	}
	e.every = d
	return e, nil
}

// everDue looks at eight years from a leap year on, after which the calendar begins again for all that a field can say.
func (e *Entry) everDue() bool {
	for day := daysOf(2000, time.January, 1); day < daysOf(2008, time.January, 1); day++ {
		if _, found := e.minuteOfDay(0); found && e.dayMatches(day) {
			return true
		}
	}
	return false
}

// Zone is where the entry's fields are read.
func (e Entry) Zone() *time.Location { return e.zone }

// wall is a reading of a zone's clocks, in seconds since 1970 as if it were UTC.
type wall int64

const (
	secondsPerMinute = 60
	secondsPerDay    = 86400
	micros           = 1e6
)

// Next gives the first instant after another one at which the entry is due. A time of day that the clock skips is due when it
// goes on, at the first instant after the gap, and all that are skipped together are due once. A time that the clock shows
// twice is due the first time; but where every hour is meant, in both hours.
func (e Entry) Next(after rating.Instant) rating.Instant {
	if e.every > 0 {
		step := rating.Instant(e.every.Microseconds())
		return floor(after, step)*step + step
	}
	limit := after.Time().AddDate(12, 0, 0) // 29 February may be eight years away
	for from := after + 1; from.Time().Before(limit); {
		at, end := e.nextInStretch(from)
		if at != rating.Never || end == rating.Never {
			return at
		}
		from = end
	}
	return rating.Never // cannot be: everDue has found an instant
}

// nextInStretch looks from an instant on, up to where the clock is set next, and gives that too.
func (e *Entry) nextInStretch(from rating.Instant) (at, end rating.Instant) {
	start, end, offset := stretch(e.zone, from)
	first := wall(-floor(-from, micros)) + offset // in whole seconds, rounded up
	if start != rating.Beginning {
		_, _, before := stretch(e.zone, start-1)
		begins := wall(start/micros) + offset
		switch {
		case offset < before && !e.everyHour: // up to there the clock shows what it has shown before
			first = max(first, begins+before-offset)
		case offset > before && from == start && e.within(begins-(offset-before), begins): // skipped
			return start, end
		}
	}
	last := wall(1<<62) + offset
	if end != rating.Never {
		last = wall(end/micros) + offset
	}
	// Within a stretch readings follow each other without a break; a year at a time is enough, as the caller goes on.
	const year = 370 * secondsPerDay
	if last-first > 9*year {
		last = first + 9*year
	}
	if found := e.nextReading(first, last); found < last {
		return rating.Instant(found-offset) * micros, end
	}
	return rating.Never, end
}

// within tells whether a reading of [from, to) matches.
func (e *Entry) within(from, to wall) bool { return e.nextReading(from, to) < to }

// nextReading gives the first reading from one on that matches; to, where none before it does.
func (e *Entry) nextReading(from, to wall) wall {
	minutes := -floor(-from, secondsPerMinute) // a reading is due at its full minute
	from = minutes * secondsPerMinute
	for from < to {
		day := floor(from, secondsPerDay)
		if e.dayMatches(int64(day)) {
			if minute, found := e.minuteOfDay(int(from-day*secondsPerDay) / secondsPerMinute); found {
				return min(day*secondsPerDay+wall(minute*secondsPerMinute), to)
			}
		}
		from = (day + 1) * secondsPerDay
	}
	return to
}

// minuteOfDay gives the first minute of a day, from one on, that matches.
func (e *Entry) minuteOfDay(from int) (int, bool) {
	for minute := from; minute < 24*60; minute++ {
		if e.hour>>(minute/60)&1 == 0 {
			minute += 59 - minute%60
			continue
		}
		if e.minute>>(minute%60)&1 == 1 {
			return minute, true
		}
	}
	return 0, false
}

// dayMatches judges a day, counted from 1970.
func (e *Entry) dayMatches(days int64) bool {
	date := time.Unix(days*secondsPerDay, 0).UTC()
	if e.month>>date.Month()&1 == 0 {
		return false
	}
	ofMonth, ofWeek := e.dayOfMonth>>date.Day()&1 == 1, e.day>>date.Weekday()&1 == 1
	if e.anyDay {
		return ofMonth && ofWeek
	}
	return ofMonth || ofWeek
}

// stretch gives the time around an instant within which the clock of a zone is not set, and what it is ahead of UTC then.
func stretch(zone *time.Location, at rating.Instant) (start, end rating.Instant, ahead wall) {
	local := at.Time().In(zone)
	_, seconds := local.Zone()
	start, end = rating.Beginning, rating.Never
	first, last := local.ZoneBounds()
	if !first.IsZero() {
		start = rating.InstantOf(first)
	}
	if !last.IsZero() {
		end = rating.InstantOf(last)
	}
	return start, end, wall(seconds)
}

func daysOf(year int, month time.Month, day int) int64 {
	return time.Date(year, month, day, 0, 0, 0, 0, time.UTC).Unix() / secondsPerDay
}

// floor divides and rounds down.
func floor[N ~int64](a, b N) N {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
