package shuffle

import (
	"math"

	"drawdown/rating"
)

// Late records (R5.5) are compared with what is booked of their periods, which stays as it is. What is booked comes into
// the shuffle as objects of its own, from Config.Booked on: the first of them has a row for each record that has lines, and
// says when, on which meter and how much; the others are rows of the objects that the periods were settled from, which know
// versions, and voids, too. None of these rows settles, and none is counted.

// Book marks the records of a batch as booked. Those that could not be read have no meter, and agree with nothing.
func Book(r *rating.Records) {
	for i := range r.Time {
		if len(r.Spoilt) > 0 && r.Spoilt[i] {
			r.Meter[i] = rating.None
		}
	}
	r.Spoilt = resize(r.Spoilt, len(r.Time))
	for i := range r.Spoilt {
		r.Spoilt[i] = true
	}
}

func (s *Shuffle) isBooked(r *record) bool { return r.object() >= s.cfg.Booked }

// resolveBooked decides about a group of which some rows are booked; false: none is.
func (p *pile) resolveBooked(keys []key, period int32, res *result) bool {
	var late, booked []int32
	for _, i := range p.group {
		if r, _ := p.at(keys[i]); p.s.isBooked(r) {
			booked = append(booked, i)
		} else {
			late = append(late, i)
		}
	}
	if len(booked) == 0 {
		return false
	}
	if len(late) > 0 {
		p.group = append(p.group[:0], late...)
		p.resolve(keys, period, res)
	}
	for _, i := range late {
		if keys[i].at == gone {
			continue
		}
		r, c := p.at(keys[i])
		if r.isSpoilt() {
			continue
		}
		t := res.tally(period, r.object(), r.meter)
		switch p.judge(keys, i, booked) {
		case settles:
			continue
		case duplicate:
			t.Duplicate++
		case superseded:
			t.Superseded++
		case conflict:
			t.Conflict++
			res.conflicts = append(res.conflicts, p.conflictOf(period, r, c, false))
		case tooLate:
			t.TooLate++
			res.conflicts = append(res.conflicts, p.conflictOf(period, r, c, true))
		}
		keys[i].at = gone
	}
	for _, i := range booked {
		keys[i].at = gone
	}
	return true
}

func (p *pile) conflictOf(period int32, r *record, c *chunk, late bool) Conflict {
	var text [uuidLen]byte
	return Conflict{
		Period: period, Object: r.object(), Account: r.account, Meter: r.meter, Row: r.row(), Time: r.time,
		ID: string(c.id(r, &text)), TooLate: late,
	}
}

// verdict is what becomes of a late record beside what is booked.
type verdict int

const (
	settles    verdict = iota
	duplicate          // it says what is booked
	superseded         // a higher version is booked
	conflict           // it says something else under the version that is booked
	tooLate            // it would change what is booked
)

// judge holds a late record against the booked rows of its account, id and period.
func (p *pile) judge(keys []key, late int32, booked []int32) verdict {
	r, c := p.at(keys[late])
	version := c.extra(r).version
	line := int32(-1)
	highest := int64(math.MinInt64) // of all that was read of it
	for _, i := range booked {
		if b, cb := p.at(keys[i]); b.object() == p.s.cfg.Booked {
			line = i
		} else {
			highest = max(highest, cb.extra(b).version)
		}
	}
	if line >= 0 {
		l, _ := p.at(keys[line])
		if sameUnits(r, l) {
			return duplicate
		}
		known := int64(math.MinInt64) // version of what has lines
		for _, i := range booked {
			if b, cb := p.at(keys[i]); i != line && sameUnits(b, l) {
				known = max(known, cb.extra(b).version)
			}
		}
		switch {
		case version < known:
			return superseded
		case version == known:
			return conflict
		}
		return tooLate
	}
	switch {
	case version < highest:
		return superseded
	case version > highest:
		return settles
	}
	found := settles // what was put aside and now comes again, or what could not be read and is mended
	for _, i := range booked {
		b, cb := p.at(keys[i])
		switch {
		case cb.extra(b).version < highest || b.meter == rating.None:
		case !sameContent(r, c, b, cb):
			return conflict
		case r.quantity == 0: // a void
			found = duplicate
		}
	}
	return found
}

// sameUnits tells whether two records say that as much was used of the same meter at the same time.
func sameUnits(a, b *record) bool {
	return a.time == b.time && a.meter == b.meter && a.quantity == b.quantity
}
