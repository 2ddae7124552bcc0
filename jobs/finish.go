package jobs

import (
	"cmp"
	"context"
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"drawdown/rating"
)

// balance puts the rows into quarantine that were found out after reading, and checks the control totals (R4.6).
func (s *Settle) balance(ctx context.Context, run *work, g *gathered, all *rated) error {
	inputs := s.inputs(run, g)
	conflicts := g.shuffle.Conflicts()
	late := make([]lateRejection, 0, len(conflicts))
	for _, c := range conflicts {
		reason, detail := rating.Conflict, "another row with this id, account and version has other content, and neither is guessed to be right"
		if c.TooLate {
			reason = rating.TooLate
			detail = "its period is closed, and what is booked there under this id is something else, which cannot be changed any more; " +
				"give credit, or charge, by hand"
		}
		object, _ := g.own(c.Object)
		late = append(late, lateRejection{object, run.ownPeriod(c.Period), rating.Rejected{
			Row: c.Row, Reason: reason, RecordID: c.ID, Account: s.Catalog.Accounts[c.Account].ID,
			Meter: s.meterID(c.Meter), Time: c.Time, HasTime: true, Detail: detail,
		}})
	}
	for n := range g.objects {
		for _, r := range g.objects[n].tooOld {
			late = append(late, lateRejection{int32(n), 0, r})
		}
	}
	unpriced := make([][]rating.Amount, len(run.periods))
	for i := range all.periods {
		unpriced[i] = make([]rating.Amount, len(s.Catalog.Meters))
		for _, u := range all.periods[i].unpriced {
			quantity := rating.DecimalOf(u.Quantity, s.Catalog.Meters[u.Meter].Scale)
			unpriced[i][u.Meter], _ = unpriced[i][u.Meter].Add(quantity)
			f := inputs[i].of(u.Object)
			if f.Settled--; u.Time < run.periods[i].Period.Start {
				f.Late.Settled--
			}
			late = append(late, lateRejection{u.Object, int32(i), rating.Rejected{
				Row: u.Row, Reason: rating.NoPrice, RecordID: u.ID, Account: s.Catalog.Accounts[u.Account].ID,
				Meter: s.meterID(u.Meter), Time: u.Time, HasTime: true,
				Detail: fmt.Sprintf("no price of meter %s is in force for the account at %v", s.meterID(u.Meter), u.Time),
			}})
		}
	}
	for i := range late {
		f := inputs[late[i].period].of(late[i].object)
		if f.Quarantined++; late[i].rejected.Time < run.periods[late[i].period].Period.Start {
			f.Late.Quarantined++
		}
	}
	if err := s.checkRows(run, g, inputs); err != nil {
		return err
	}
	if err := s.limitQuarantine(run, g, late); err != nil {
		return err
	}
	if err := s.checkQuantities(run, g, all, unpriced); err != nil {
		return err
	}
	return s.rejectLate(ctx, g, late)
}

func (s *Settle) meterID(meter int32) string {
	if meter == rating.None {
		return ""
	}
	return s.Catalog.Meters[meter].ID
}

// objectRows counts the rows of those objects that have any in a period. Read and OutOfPeriod follow from the others.
type objectRows map[int32]*fate

// fate is what became of an object's rows in a period.
type fate struct {
	Settled, Duplicate, Superseded, Quarantined, Probable int64
	Late                                                  RowCounts // the part of it that is of closed periods
}

func (o objectRows) of(object int32) *fate {
	f := o[object]
	if f == nil {
		f = &fate{}
		o[object] = f
	}
	return f
}

func (f *fate) sum() int64 { return f.Settled + f.Duplicate + f.Superseded + f.Quarantined }

// inputs counts each object's rows in each period: what the shuffle and the readers found.
func (s *Settle) inputs(run *work, g *gathered) []objectRows {
	inputs := make([]objectRows, len(run.periods))
	for i := range inputs {
		inputs[i] = objectRows{}
	}
	for n := range g.objects {
		for period, rows := range g.objects[n].rejected {
			inputs[period].of(int32(n)).Quarantined = rows
		}
		if rows := g.objects[n].lateRejected; rows > 0 {
			inputs[0].of(int32(n)).Late.Quarantined = rows
		}
	}
	for _, t := range g.shuffle.Tallies() {
		object, late := g.own(t.Object)
		f := inputs[run.ownPeriod(t.Period)].of(object)
		if late {
			f.Late.add(&RowCounts{Settled: t.Settled, Duplicate: t.Duplicate, Superseded: t.Superseded})
		}
		f.Settled += t.Settled
		f.Duplicate += t.Duplicate
		f.Superseded += t.Superseded
		f.Probable += t.ProbableDuplicate
	}
	if g.selected != nil {
		g.selected.addRows(g, inputs)
	}
	run.inputs = inputs
	return inputs
}

// lateRejection is a row whose fault showed only beside others, or when it was rated.
type lateRejection struct {
	object, period int32
	rejected       rating.Rejected
}

const (
	maxLateRejections = 1 << 20 // rows that are found out after reading; they stand in memory
	rawAtATime        = 1 << 14 // rows whose bytes are fetched in one go
)

// rejectLate fetches the bytes of rows once more, and puts them into the quarantine.
func (s *Settle) rejectLate(ctx context.Context, g *gathered, late []lateRejection) error {
	slices.SortFunc(late, func(a, b lateRejection) int {
		return cmp.Or(cmp.Compare(a.object, b.object), cmp.Compare(a.rejected.Row, b.rejected.Row),
			cmp.Compare(a.rejected.RecordID, b.rejected.RecordID), cmp.Compare(a.rejected.Meter, b.rejected.Meter))
	})
	for len(late) > 0 {
		object, n := late[0].object, 0
		var rows []int64
		for n < len(late) && late[n].object == object && len(rows) < rawAtATime {
			if len(rows) == 0 || rows[len(rows)-1] != late[n].rejected.Row {
				rows = append(rows, late[n].rejected.Row)
			}
			n++
		}
		raw, err := s.Reader.Raw(ctx, g.objects[object].Object, rows)
		if err != nil {
			return fmt.Errorf("read rows of %s again for the quarantine: %w", g.keys[object], err)
		}
		for i := range late[:n] {
			r := &late[i]
			r.rejected.Raw = raw[r.rejected.Row]
			if err := g.quarantine.add(object, r.period, &r.rejected); err != nil {
				return err
			}
		}
		late = late[n:]
	}
	return g.quarantine.seal()
}

// checkRows balances the rows of every object over all periods of the run: each row that was read stands in one place.
func (s *Settle) checkRows(run *work, g *gathered, inputs []objectRows) error {
	placed := make([]int64, len(g.objects))
	for _, o := range g.shuffle.OutOfPeriod() {
		if object, _ := g.own(o.Object); o.Object < g.bookedNumber() && !g.objects[object].bad && !g.keeps(object) {
			placed[object] += o.Rows
		}
	}
	for n := range g.objects {
		placed[n] += g.objects[n].outOfPeriod
		run.rows.OutOfPeriod += placed[n]
	}
	for i := range inputs {
		for object, f := range inputs[i] {
			placed[object] += f.sum()
			run.rows.add(&RowCounts{Settled: f.Settled, Duplicate: f.Duplicate, Superseded: f.Superseded, Quarantined: f.Quarantined})
		}
	}
	for n := range g.objects {
		if o := &g.objects[n]; placed[n] != o.Read {
			return fmt.Errorf("R4.6: object %s: %d rows were read, but %d are accounted for; this is a fault of the program, "+
				"and nothing of these periods was committed", o.Key, o.Read, placed[n])
		}
		run.rows.Read += g.objects[n].Read
	}
	return nil
}

func (c *RowCounts) add(other *RowCounts) {
	c.Read += other.Read
	c.Settled += other.Settled
	c.Duplicate += other.Duplicate
	c.Superseded += other.Superseded
	c.Quarantined += other.Quarantined
	c.OutOfPeriod += other.OutOfPeriod
}

// checkQuantities balances quantities by meter: what the shuffle handed on is what was settled, and every unit of it was
// deducted, charged or stopped.
func (s *Settle) checkQuantities(run *work, g *gathered, all *rated, unpriced [][]rating.Amount) error {
	handed := make([][]rating.Amount, len(run.periods))
	for i := range handed {
		handed[i] = make([]rating.Amount, len(s.Catalog.Meters))
	}
	for _, t := range g.shuffle.Tallies() {
		if t.Meter != rating.None {
			of := handed[run.ownPeriod(t.Period)]
			of[t.Meter], _ = of[t.Meter].Add(t.Quantity)
		}
	}
	if g.selected != nil {
		g.selected.addQuantities(s.Catalog, g, handed)
	}
	for i := range run.periods {
		p := &run.periods[i]
		for m := range s.Catalog.Meters {
			report, err := s.meterReport(int32(m), &all.periods[i].meters[m])
			if err != nil {
				return err
			}
			if taken := run.taken(i); taken != nil {
				taken.plus(&report)
			}
			expected, _ := handed[i][m].Sub(unpriced[i][m])
			if !all.periods[i].meters[m].Balanced() || report.Settled != expected {
				return fmt.Errorf("R4.6: period %s, meter %s: %v were to be settled, %v are, of which deducted %v, excess %v, stopped %v; "+
					"this is a fault of the program, and nothing of these periods was committed",
					p.Name, report.Meter, expected, report.Settled, report.Deducted, report.Excess, report.Stopped)
			}
			p.Meters = append(p.Meters, report)
		}
	}
	return nil
}

func (s *Settle) meterReport(m int32, t *rating.Totals) (MeterReport, error) {
	meter := &s.Catalog.Meters[m]
	report := MeterReport{Meter: meter.ID, Unit: meter.Unit}
	for _, sum := range []struct {
		to   *rating.Amount
		from rating.Amount
	}{{&report.Settled, t.Settled}, {&report.Deducted, t.Deducted}, {&report.Excess, t.Excess}, {&report.Stopped, t.Stopped}} {
		var ok bool
		if *sum.to, ok = sum.from.Decimal(meter.Scale); !ok {
			return report, fmt.Errorf("R1.5: sum over meter %q: %w", meter.ID, rating.ErrOverflow)
		}
	}
	return report, nil
}

// limitQuarantine fails the run when too much of it is in quarantine: a wrong mapping must not settle an empty month.
func (s *Settle) limitQuarantine(run *work, g *gathered, late []lateRejection) error {
	reasons := map[string]int64{}
	tooLate := int64(0) // no mapping is wrong on their account
	count := func(period int32, reason rating.Reason) {
		run.periods[period].Quarantined[reason.String()]++
		if reason == rating.TooLate {
			tooLate++
			return
		}
		reasons[reason.String()]++
	}
	for _, r := range g.quarantine.rows {
		count(r.period, r.reason)
	}
	for i := range late {
		count(late[i].period, late[i].rejected.Reason)
	}
	quarantined := run.earlier.Quarantined + run.rows.Quarantined - tooLate
	read := run.earlier.inPeriod() + run.rows.inPeriod() - tooLate
	if exceeds(quarantined, read, s.MaxQuarantinePercent) {
		return fmt.Errorf("R4.4: %d of %d rows (%s) are in quarantine (%s), more than settlement.max_quarantine allows; "+
			"nothing of these periods was committed: mend the mapping, the catalog or the rows, or raise settlement.max_quarantine",
			quarantined, read, percent(quarantined, read), mostFrequent(reasons))
	}
	return nil
}

// exceeds tells whether part is more than so many 10^-9 percent of whole.
func exceeds(part, whole, limit int64) bool {
	hi, lo := bits.Mul64(uint64(part), 100*1e9)
	allowedHi, allowedLo := bits.Mul64(uint64(whole), uint64(limit))
	return hi > allowedHi || hi == allowedHi && lo > allowedLo
}

func mostFrequent(reasons map[string]int64) string {
	names := make([]string, 0, len(reasons))
	for name := range reasons {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(reasons[b], reasons[a]), cmp.Compare(a, b)) })
	text := ""
	for i, name := range names[:min(3, len(names))] {
		if i > 0 {
			text += ", "
		}
		text += fmt.Sprintf("%s %d", name, reasons[name])
	}
	return text
}

// finish writes what is left of each period's files, reads them back, and prepares the commit. Each manifest names the
// hash of the one before.
func (s *Settle) finish(ctx context.Context, run *work, g *gathered, all *rated, revisions []Revision, commit *Commit) error {
	started := s.Clock()
	defer func() { run.stages.add(stageCheck, s.Clock().Sub(started)) }()
	var previous [32]byte
	opening := all.opening
	if run.opening != nil {
		previous = run.opening.ManifestSHA256
	}
	for i := range run.periods {
		p := &run.periods[i]
		c := PeriodCommit{Report: p, Shards: all.periods[i].closing, Notices: s.notices(&all.periods[i], p, run.taken(i)), Taken: run.taken(i)}
		p.Lines = all.periods[i].lines
		p.Charges = amounts(all.periods[i].amounts)
		c.Manifest = &Manifest{
			Period: p.Period, Name: p.Name, Revision: p.Revision, CatalogSHA256: s.CatalogSHA256, OpeningSHA256: opening,
			Meters: p.Meters, Amounts: p.Charges, PreviousSHA256: previous,
		}
		opening = nil
		for _, state := range c.Shards {
			opening = append(opening, state.SHA256)
		}
		c.Manifest.ClosingSHA256 = opening
		if i == 0 {
			late, err := s.lateSettled(run, g, all)
			if err != nil {
				return err
			}
			c.Manifest.Late, p.Late = late, late
		}
		if run.rewriting != nil {
			c.Manifest.Standing = run.rewriting.standing(i).ManifestKey
		}
		c.Manifest.Inputs = run.inputsOf(i, g)
		for n := range c.Manifest.Inputs {
			p.Rows.add(&c.Manifest.Inputs[n].Rows)
			p.Probable += c.Manifest.Inputs[n].Probable
		}
		c.Manifest.Rows = p.Rows
		var err error
		c.ManifestKey, c.ManifestSHA256, err = revisions[i].Finish(ctx, c.Manifest, g.quarantine.of(int32(i)))
		if err != nil {
			return fmt.Errorf("finish period %s: %w", p.Name, err)
		}
		s.progress("check", int64(i+1), int64(len(run.periods)))
		p.Manifest = c.ManifestKey
		if run.rewriting == nil {
			previous = c.ManifestSHA256
			commit.Periods = append(commit.Periods, c)
			continue
		}
		if previous, err = run.rewriting.take(i, c, revisions, commit); err != nil {
			return err
		}
		if run.rewriting.settled(i, opening) {
			run.periods = run.periods[:i+1]
			return nil
		}
	}
	return nil
}

// inputsOf gives the objects that can hold rows of a period, and what became of their rows there. Only such objects stand
// in its manifest, so that it does not depend on what else was settled in the same run.
func (w *work) inputsOf(period int, g *gathered) []Input {
	p := w.periods[period].Period
	inputs := []Input{}
	for n := range g.objects {
		o := &g.objects[n]
		f := w.inputs[period][int32(n)]
		if f == nil && !o.mayHold(p) {
			continue
		}
		input := Input{Known: o.Known, Rows: RowCounts{Read: o.Read, OutOfPeriod: o.Read}}
		if f != nil {
			input.Rows = RowCounts{o.Read, f.Settled, f.Duplicate, f.Superseded, f.Quarantined, o.Read - f.sum()}
			input.Probable = f.Probable
		}
		inputs = append(inputs, input)
	}
	return inputs
}

// mayHold tells whether an object may have rows of a period by their times; one without any stands in its home period.
func (k *Known) mayHold(p rating.Period) bool {
	if k.First > k.Last {
		return k.Home >= p.Start && k.Home < p.End
	}
	return k.First < p.End && k.Last >= p.Start
}

func amounts(byCurrency map[string]rating.Amount) []CurrencyAmount {
	list := []CurrencyAmount{}
	for currency, amount := range byCurrency {
		list = append(list, CurrencyAmount{currency, amount})
	}
	slices.SortFunc(list, func(a, b CurrencyAmount) int { return cmp.Compare(a.Currency, b.Currency) })
	return list
}

// notices names what the notices of a period are about, for the outbox.
func (s *Settle) notices(p *ratedPeriod, report *PeriodReport, taken *TakenOver) []Outgoing {
	found := 0
	for _, notices := range p.notices {
		found += len(notices)
	}
	list := make([]Outgoing, 0, found)
	if taken != nil {
		for kind, n := range taken.Notices {
			report.Notices[kind] += n
		}
	}
	for _, notices := range p.notices {
		for _, n := range notices {
			report.Notices[n.Kind.String()]++
			list = append(list, n)
		}
	}
	slices.SortFunc(list, func(a, b Outgoing) int { return cmp.Compare(a.DedupKey, b.DedupKey) }) // as the outbox keeps them
	return list
}

// outgoing names what a notice is about.
func outgoing(c *rating.Catalog, n rating.Notice) Outgoing {
	o := Outgoing{Notice: n, AccountID: c.Accounts[n.Account].ID}
	if n.Meter != rating.None {
		o.MeterID = c.Meters[n.Meter].ID
	}
	if n.Package != rating.None {
		p := &c.Packages[n.Package]
		o.PackageID, o.PackageScale = strings.Clone(p.ID), p.Scale // the shard's part of the catalog goes
		if rule := p.Rule(); rule != nil {
			o.Channels = rule.Channels
		}
	}
	return o
}
