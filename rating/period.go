package rating

import "time"

// PeriodUnit is settlement.period (R5.1).
type PeriodUnit uint8

const (
	Hourly PeriodUnit = iota
	Daily
	Monthly
)

// PeriodAt gives the period of the billing zone that holds t. Days and months begin at the first instant of their first
// day. Hours are those of the local clock; one that a clock change interrupts ends there.
func PeriodAt(unit PeriodUnit, zone *time.Location, t Instant) Period {
	z := zoneCache{loc: zone}
	w := z.wall(t)
	switch unit {
	case Monthly:
		m := monthOf(w)
		if start := z.startOfMonth(m); start > t { // the clock went back over the month's first instant
			m--
		} else if next := z.startOfMonth(m + 1); next <= t {
			m++
		}
		return Period{Start: z.startOfMonth(m), End: z.startOfMonth(m + 1)}
	case Daily:
		midnight := w - wallClock(mod(int64(w), int64(day)))
		start := z.firstInstantOfDay(midnight)
		end := z.firstInstantOfDay(midnight + wallClock(day))
		for end <= t { // the clock went back over midnight: the later day has begun already
			midnight += wallClock(day)
			start, end = end, z.firstInstantOfDay(midnight+wallClock(day))
		}
		return Period{Start: start, End: end}
	}
	const hour = 3600 * second
	z.offsetAt(t)
	start := max(t-Instant(mod(int64(w), int64(hour))), z.start)
	end := min(t-Instant(mod(int64(w), int64(hour)))+hour, z.end)
	return Period{Start: start, End: end}
}

// Name is how a period is written in paths and on the screen: 2026-10, 2026-10-01, or an hour by its instant.
func (p Period) Name(unit PeriodUnit, zone *time.Location) string {
	switch unit {
	case Monthly:
		return p.Start.Time().In(zone).Format("2006-01")
	case Daily:
		return p.Start.Time().In(zone).Format("2006-01-02")
	}
	return p.Start.Time().Format("2006-01-02T15-04Z")
}
