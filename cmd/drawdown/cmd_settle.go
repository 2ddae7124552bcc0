package main

import (
	"fmt"
	"strings"
	"time"

	"drawdown/jobs"
	"drawdown/rating"
)

// settleCmd settles every pending period (R5.2).
type settleCmd struct {
	Until  string `placeholder:"T" help:"Settle only periods that end by T: a date, or an instant."`
	DryRun bool   `help:"Show what would be settled, by the same code, and write nothing."`
}

// Help is the command's own help.
func (settleCmd) Help() string {
	return `A period is settled once it is over and settlement.delay has passed. The oldest goes first; each opens with what the one before left. A run commits at once or not at all, so it may be repeated after any failure. Nothing to do is success.

    drawdown settle                        all that is due
    drawdown settle --dry-run              what that would be
    drawdown settle --until 2026-10-03     the periods that end by then
    drawdown --json settle                 for programs

It ends with exit code 3 where rows went to quarantine, or came after their period was settled, so that somebody looks.`
}

func (s *settleCmd) Run(a *app) error {
	c, err := a.config()
	if err != nil {
		return err
	}
	until := rating.Never
	if s.Until != "" {
		if until, err = parseInstantFlag("--until", s.Until, c.Settlement.TimeZone.Location); err != nil {
			return err
		}
	}
	r, err := a.settle(c, until, s.DryRun)
	if err != nil {
		if r != nil && len(r.Periods) > 0 && !a.flags.JSON && !a.flags.Quiet { // these stand, whatever failed then
			a.printSettle(c, r)
		}
		if r != nil { // the next run would not say it again
			if waiting := waitingRows("settle", r); waiting != nil {
				fmt.Fprintln(a.stderr, "drawdown:", waiting)
			}
		}
		return err
	}
	more := a.morePending(c, r, until)
	if a.flags.JSON {
		err = printJSON(a.stdout, struct {
			reportJSON
			MorePending int      `json:"more_pending"`
			Late        int64    `json:"late"`
			LateObjects []string `json:"late_objects"`
		}{settleJSON(r), more, r.Late, append([]string{}, r.LateObjects...)})
	} else if !a.flags.Quiet {
		a.printSettle(c, r)
		if more > 0 {
			a.say("\n... and %s; settle settles %s too.", counted(int64(more), "more pending period follows", "more pending periods follow"),
				map[bool]string{true: "it", false: "them"}[more == 1])
		}
	}
	if err != nil {
		return err
	}
	return waitingRows("settle", r)
}

// morePending counts the periods that are pending behind those of a dry run, which covers no more than one commit does.
func (a *app) morePending(c *Config, r *jobs.Report, until rating.Instant) int {
	if !r.DryRun || len(r.Periods) == 0 {
		return 0
	}
	unit, location := rating.PeriodUnit(c.Settlement.Period), c.Settlement.TimeZone.Location
	due := rating.InstantOf(a.now) - rating.Instant(c.delay().Microseconds())
	more := 0
	p := rating.PeriodAt(unit, location, r.Periods[len(r.Periods)-1].Period.End)
	for ; p.End <= due && p.End <= until; more++ {
		p = rating.PeriodAt(unit, location, p.End)
	}
	return more
}

// parseInstantFlag reads a date, which is its first instant in the zone, or an instant.
func parseInstantFlag(flag, text string, location *time.Location) (rating.Instant, error) {
	at, _, err := parseMoment(text, location)
	if err != nil {
		return 0, &failure{
			op: "read " + flag, err: fmt.Errorf("%q is %w", text, err), code: exitUsage,
			hint: "write it as 2026-10-01, or as 2026-10-01T08:30:00Z",
		}
	}
	return at, nil
}

// waitingRows says that rows wait: in quarantine, or because their period had been settled before they came.
func waitingRows(op string, r *jobs.Report) error {
	var waits []string
	if rows := r.Rows.Quarantined; rows > 0 {
		waits = append(waits, counted(rows, "row waits", "rows wait")+" in quarantine; the quarantine table says why")
	}
	if r.Late > 0 {
		waits = append(waits, counted(r.Late, "row came", "rows came")+" after their period was settled, and wait for a backfill")
	}
	if n := len(r.Replaced); n > 0 {
		waits = append(waits, counted(int64(n), "object was", "objects were")+" settled with other content, and "+
			map[bool]string{true: "waits", false: "wait"}[n == 1]+" for a backfill ("+strings.Join(r.Replaced[:min(n, 5)], ", ")+")")
	}
	if len(waits) == 0 || r.DryRun {
		return nil
	}
	return &waiting{op, "done, but " + strings.Join(waits, "; and ")}
}

func (a *app) printSettle(c *Config, r *jobs.Report) {
	if r.Nothing != "" {
		a.say("%s", wrapped("Nothing to do: "+strings.TrimSuffix(r.Nothing, ".")+".", 0))
		return
	}
	if r.DryRun {
		a.say("%s", a.ink.bold("Dry run: nothing is written.")+"\n")
	}
	a.printPeriods(c, r)
	a.printNotices(r)
	a.printQuarantine(r)
	a.printTotals(r)
	a.printLate(c, r)
	for _, name := range r.Ignored {
		a.say("%s", wrapped(a.ink.yellow("Not read:")+" "+name+" (no file whose name ends in one of .ndjson .jsonl .csv .parquet, with .gz or .zst behind)", 2))
	}
	a.say("\n%s in %s: %s a second. %s read, %s skipped.", counted(r.Read, "record", "records"), elapsed(r.Elapsed),
		groupedInt(rate(r)), counted(int64(r.Objects), "object", "objects"), groupedInt(int64(r.Skipped)))
}

// printLate says what came after its period was settled.
func (a *app) printLate(c *Config, r *jobs.Report) {
	for i := range r.Periods {
		if l := r.Periods[i].Late; l != nil {
			a.say("\n%s", wrapped("Late usage of closed periods, in "+r.Periods[i].Name+": "+counted(l.Rows.Settled, "record", "records")+" settled"+lateParts(l)+
				" ("+strings.Join(l.Objects[:min(len(l.Objects), 5)], ", ")+").", 2))
		}
	}
	if r.Late > 0 {
		a.say("\n%s", wrapped(a.ink.yellow("Late:")+" "+counted(r.Late, "row is of a period that had been settled before it came", "rows are of periods that had been settled before they came")+
			" ("+strings.Join(r.LateObjects, ", ")+"). They are not settled; backfill will settle them.", 2))
	}
	if p := r.FirstOpen; p != nil {
		a.say("\n%s\n\n    drawdown backfill --from %s --to %s", wrapped("What is of closed periods is settled by the first open one:", 0),
			dayOrInstant(p.Start, c.Settlement.TimeZone.Location), dayOrInstant(p.End, c.Settlement.TimeZone.Location))
	}
}

// lateParts says what else became of late rows, and what they cost.
func lateParts(l *jobs.LateSettled) string {
	text := ""
	for _, part := range []struct {
		rows int64
		name string
	}{{l.Rows.Duplicate, "duplicate"}, {l.Rows.Superseded, "superseded"}, {l.Rows.Quarantined, "quarantined"}} {
		if part.rows > 0 {
			text += ", " + groupedInt(part.rows) + " " + part.name
		}
	}
	for _, c := range l.Amounts {
		text += ", " + c.Amount.String() + " " + c.Currency
	}
	return text
}

// printPeriods writes a line for each period, and then what became of the units.
func (a *app) printPeriods(c *Config, r *jobs.Report) {
	t := table{columns: []column{
		{"period", fixed}, {"records", right}, {"charges", decimal}, {"", fixed}, {"alerts", right}, {"quarantined", right},
	}}
	for i := range r.Periods {
		p := &r.Periods[i]
		cells := make([]string, len(t.columns))
		cells[0], cells[1], cells[4] = p.Name, groupedInt(p.Rows.Settled), groupedInt(int64(p.Notices[rating.NoticeUsageAlert.String()]))
		cells[5] = groupedInt(p.Rows.Quarantined)
		for k := range max(1, len(p.Charges)) {
			if k < len(p.Charges) {
				cells[2], cells[3] = money(p.Charges[k].Amount, c.Currency.Digits), p.Charges[k].Currency
			}
			t.row(cells...)
			cells = make([]string, len(t.columns))
		}
	}
	t.print(a.stdout, a.ink)
	if len(r.Periods) <= mostPeriodsByMeter {
		a.say("")
		a.printMeters(r)
	}
}

// mostPeriodsByMeter is up to how many periods are shown meter by meter; the control totals have the sums in any case.
const mostPeriodsByMeter = 7

// printMeters writes what became of the units of each meter in each period.
func (a *app) printMeters(r *jobs.Report) {
	t := table{columns: []column{
		{"period", fixed}, {"meter", ident}, {"deducted", decimal}, {"excess", decimal}, {"stopped", decimal}, {"unit", left},
	}}
	for i := range r.Periods {
		name := r.Periods[i].Name
		for _, m := range r.Periods[i].Meters {
			if m.Settled.Sign() == 0 {
				continue
			}
			t.row(name, m.Meter, amount(m.Deducted), amount(m.Excess), amount(m.Stopped), m.Unit)
			name = ""
		}
	}
	t.print(a.stdout, a.ink)
}

func (a *app) printNotices(r *jobs.Report) {
	kinds := map[string]int{}
	for i := range r.Periods {
		for kind, n := range r.Periods[i].Notices {
			kinds[kind] += n
		}
	}
	if len(kinds) == 0 {
		return
	}
	var parts []string
	for _, kind := range keysOf(kinds) {
		name := strings.ReplaceAll(kind, "_", " ")
		if countableNotices[kind] && kinds[kind] != 1 {
			name += "s"
		}
		parts = append(parts, groupedInt(int64(kinds[kind]))+" "+name)
	}
	a.say("\n%s", wrapped("Notices: "+strings.Join(parts, ", ")+".", 2))
}

// countableNotices are the kinds that have a plural.
var countableNotices = map[string]bool{"usage_alert": true, "expiry_reminder": true, "service_stop": true}

func (a *app) printQuarantine(r *jobs.Report) {
	reasons := map[string]int64{}
	probable := int64(0)
	for i := range r.Periods {
		probable += r.Periods[i].Probable
		for reason, n := range r.Periods[i].Quarantined {
			reasons[reason] += n
		}
	}
	var parts []string
	for _, reason := range keysOf(reasons) {
		parts = append(parts, groupedInt(reasons[reason])+" "+reason)
	}
	if len(parts) > 0 {
		a.say("\n%s", wrapped(a.ink.yellow("Quarantine:")+" "+strings.Join(parts, ", ")+".", 2))
	}
	if probable > 0 {
		a.say("\n%s", wrapped(a.ink.yellow("Probable duplicates:")+" "+groupedInt(probable)+
			" records agree with another one in account, meter, time and quantity, but not in id. They settled.", 2))
	}
}

// printTotals writes the control totals (R4.6), which balanced, or we would not be here. Outside are rows of other periods.
func (a *app) printTotals(r *jobs.Report) {
	a.say("\nControl totals, all balanced:")
	rows := table{columns: []column{
		{"rows", right},
		{"= settled", right},
		{"+ duplicate", right},
		{"+ superseded", right},
		{"+ quarantined", right},
		{"+ outside", right},
	}}
	rows.row(groupedInt(r.Rows.Read), groupedInt(r.Rows.Settled), groupedInt(r.Rows.Duplicate), groupedInt(r.Rows.Superseded),
		groupedInt(r.Rows.Quarantined), groupedInt(r.Rows.OutOfPeriod))
	rows.print(a.stdout, a.ink)
	units := table{columns: []column{
		{"units", ident}, {"settled", decimal}, {"= deducted", decimal}, {"+ excess", decimal}, {"+ stopped", decimal},
	}}
	for _, m := range metersOf(r) {
		units.row(m.Meter, amount(m.Settled), amount(m.Deducted), amount(m.Excess), amount(m.Stopped))
	}
	units.print(a.stdout, a.ink)
}

// metersOf adds up the periods by meter.
func metersOf(r *jobs.Report) []jobs.MeterReport {
	sums := map[string]jobs.MeterReport{}
	for i := range r.Periods {
		for _, m := range r.Periods[i].Meters {
			sum := sums[m.Meter]
			sum.Meter, sum.Unit = m.Meter, m.Unit
			sum.Settled, _ = sum.Settled.Add(m.Settled)
			sum.Deducted, _ = sum.Deducted.Add(m.Deducted)
			sum.Excess, _ = sum.Excess.Add(m.Excess)
			sum.Stopped, _ = sum.Stopped.Add(m.Stopped)
			sums[m.Meter] = sum
		}
	}
	var all []jobs.MeterReport
	for _, name := range keysOf(sums) {
		all = append(all, sums[name])
	}
	return all
}

func rate(r *jobs.Report) int64 {
	if r.Elapsed <= 0 {
		return 0
	}
	return int64(float64(r.Read) / r.Elapsed.Seconds())
}

// elapsed writes a length of time with three digits.
func elapsed(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(10 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}
