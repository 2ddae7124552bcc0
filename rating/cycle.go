package rating

// cycleStart gives the start of cycle n of a term, counted from the term's start on the wall clock of the zone (R3.2);
// cycle 0 starts with the term. Hours are elapsed hours; calendar months turn on each 1st at the day's first instant.
func (z *zoneCache) cycleStart(reset Reset, anchor Instant, n int) Instant {
	if n == 0 {
		return anchor
	}
	switch reset {
	case NoReset:
		return Never
	case EveryHour:
		return anchor + Instant(n)*3600*second
	case EveryDay:
		return z.at(z.wall(anchor) + wallClock(n)*wallClock(day))
	case EveryWeek:
		return z.at(z.wall(anchor) + wallClock(n)*7*wallClock(day))
	case EveryMonth:
		return z.at(z.wall(anchor).addMonths(n))
	case EveryYear:
		return z.at(z.wall(anchor).addMonths(12 * n))
	}
	return z.startOfMonth(monthOf(z.wall(anchor)) + Month(n))
}

// cycleAt gives the number of the cycle that holds t, which is not before the anchor.
func (z *zoneCache) cycleAt(reset Reset, anchor, t Instant) int {
	n := 0
	switch elapsed := t - anchor; reset {
	case NoReset:
		return 0
	case EveryHour:
		return int(elapsed / (3600 * second))
	case EveryDay:
		n = int(elapsed / day)
	case EveryWeek:
		n = int(elapsed / (7 * day))
	case EveryMonth, CalendarMonth:
		n = int(monthOf(z.wall(t)) - monthOf(z.wall(anchor)))
	case EveryYear:
		n = int(monthOf(z.wall(t))-monthOf(z.wall(anchor))) / 12
	}
	for n > 0 && z.cycleStart(reset, anchor, n) > t { // the estimate is off by one or two around clock changes
		n--
	}
	for z.cycleStart(reset, anchor, n+1) <= t {
		n++
	}
	return n
}

// cycleBounds gives the start of cycle n and of the next one that begins later: where a zone skips a whole day, the cycle
// that would have begun in it is empty and is not counted.
func (z *zoneCache) cycleBounds(reset Reset, anchor Instant, n int) (start, end Instant, next int) {
	start = z.cycleStart(reset, anchor, n)
	for next = n + 1; ; next++ {
		if end = z.cycleStart(reset, anchor, next); end > start {
			return start, end, next
		}
	}
}
