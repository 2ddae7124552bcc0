package jobs

import (
	"context"
	"fmt"
	"slices"

	"drawdown/rating"
)

// lateBooks gives the settled period that has settled a row late, whose own period was closed when it came; nil: none has.
func (x *explaining) lateBooks(ctx context.Context, row *foundRow, b *openBooks) (*openBooks, error) {
	if x.standing(b, row.object) == same || row.rejected != nil && isHomeless(row.rejected) {
		return nil, nil
	}
	for _, start := range b.LateIn {
		late, err := x.booksAt(ctx, start)
		if err != nil {
			return nil, err
		}
		if late != nil && late.Late != nil && slices.Contains(late.Late.Objects, row.object) && x.standing(late, row.object) == same {
			return late, nil
		}
	}
	return nil, nil
}

// explainLate is about a row of a closed period that a later one has settled.
func (x *explaining) explainLate(ctx context.Context, e *ExplainedRow, row *foundRow, b, late *openBooks) error {
	e.Period, e.Revision = late.name, late.Revision
	why, found, err := late.Tables.Quarantined(ctx, row.object, row.row, x.id)
	if err != nil {
		return err
	}
	if found {
		e.Fate, e.Reason, e.Note = "quarantined", why.String(), fmt.Sprintf("it came when period %s was closed", b.name)
		return nil
	}
	lines, err := x.lines(ctx, e, late)
	if err != nil {
		return err
	}
	if row.isSourceOf(lines) {
		e.Fate = "settled"
		err := x.explainSettled(ctx, e, row, late, lines)
		note := fmt.Sprintf("it came when period %s was closed, and is settled late", b.name)
		if e.Note != "" {
			note += "; " + e.Note
		}
		e.Note = note
		return err
	}
	booked, err := x.lines(ctx, e, b)
	if err != nil {
		return err
	}
	e.Note = fmt.Sprintf("it came when period %s was closed", b.name)
	switch newer := x.newerLate(row, late); {
	case newer != nil:
		e.Fate, e.Reason = "superseded", fmt.Sprintf("version %d of it is in %s, row %d", newer.version, newer.object, newer.row)
	case len(booked) > 0 && e.Readable && e.saysAsBooked(booked):
		e.Fate, e.Reason = "duplicate", fmt.Sprintf("the same as row %d of %s, which is booked in period %s", booked[0].Source.Row, booked[0].Source.Object, b.name)
	case len(booked) > 0:
		e.Fate, e.Reason = "superseded", "a higher version is booked in period "+b.name
	case len(lines) > 0 && lines[0].Source.Time == e.Time:
		e.Fate, e.Reason = "duplicate", fmt.Sprintf("the same as row %d of %s, which settled", lines[0].Source.Row, lines[0].Source.Object)
	case e.Readable && e.Quantity == (rating.Amount{}):
		e.Fate, e.Reason = "settled", "it is of no quantity, and has no line"
	default:
		e.Fate, e.Reason = "superseded", "a higher version of it was read with what is booked"
	}
	return nil
}

// newerLate finds the highest version above a row's among those that were settled late with it.
func (x *explaining) newerLate(row *foundRow, late *openBooks) (newest *foundRow) {
	for i := range x.rows {
		r := &x.rows[i]
		if r.account == row.account && r.version > row.version && x.periodAt(r.time) == x.periodAt(row.time) &&
			slices.Contains(late.Late.Objects, r.object) && (newest == nil || r.version > newest.version) {
			newest = r
		}
	}
	return newest
}

// periodAt gives the period that holds an instant.
func (s *Settle) periodAt(t rating.Instant) rating.Period {
	return rating.PeriodAt(s.Unit, s.Catalog.Zone, t)
}
