package main

import (
	"drawdown/jobs"
)

// What --json writes is documented in docs/json.md: keys are added, never changed. Decimals are strings, instants are
// RFC 3339 in UTC, lengths of time are nanoseconds.

type reportJSON struct {
	Run              int64        `json:"run"`
	DryRun           bool         `json:"dry_run"`
	Nothing          string       `json:"nothing"`
	Records          int64        `json:"records"`
	RecordsPerSecond int64        `json:"records_per_second"`
	ElapsedNS        int64        `json:"elapsed_ns"`
	PeakRSSBytes     int64        `json:"peak_rss_bytes"`
	Objects          int          `json:"objects"`
	Skipped          int          `json:"objects_skipped"`
	Ignored          []string     `json:"ignored"`
	Rows             rowsJSON     `json:"rows"` // over all periods
	Stages           []stageJSON  `json:"stages"`
	Periods          []periodJSON `json:"periods"`
}

type stageJSON struct {
	Name   string `json:"name"`
	BusyNS int64  `json:"busy_ns"`
}

type periodJSON struct {
	Name        string           `json:"name"`
	Start       string           `json:"start"`
	End         string           `json:"end"`
	Revision    int              `json:"revision"`
	Manifest    string           `json:"manifest"`
	Rows        rowsJSON         `json:"rows"`
	Lines       int64            `json:"lines"`
	Meters      []meterJSON      `json:"meters"`
	Charges     []chargeJSON     `json:"charges"`
	Notices     map[string]int   `json:"notices"`
	Quarantined map[string]int64 `json:"quarantined"`
	Probable    int64            `json:"probable_duplicates"`
	Late        *lateJSON        `json:"late"`
}

// lateJSON is what a period settled of closed ones.
type lateJSON struct {
	Rows    rowsJSON     `json:"rows"`
	Meters  []meterJSON  `json:"meters"`
	Charges []chargeJSON `json:"charges"`
	Objects []string     `json:"objects"`
}

type rowsJSON struct {
	Read        int64 `json:"read"`
	Settled     int64 `json:"settled"`
	Duplicate   int64 `json:"duplicate"`
	Superseded  int64 `json:"superseded"`
	Quarantined int64 `json:"quarantined"`
	OutOfPeriod int64 `json:"out_of_period"`
}

type meterJSON struct {
	Meter    string `json:"meter"`
	Unit     string `json:"unit"`
	Settled  string `json:"settled"`
	Deducted string `json:"deducted"`
	Excess   string `json:"excess"`
	Stopped  string `json:"stopped"`
}

type chargeJSON struct {
	Currency string `json:"currency"`
	Amount   string `json:"amount"`
}

func settleJSON(r *jobs.Report) reportJSON {
	out := reportJSON{
		Run: r.Run, DryRun: r.DryRun, Nothing: r.Nothing, Records: r.Read, RecordsPerSecond: rate(r),
		ElapsedNS: r.Elapsed.Nanoseconds(), PeakRSSBytes: peakRSS(), Objects: r.Objects, Skipped: r.Skipped,
		Rows: rowsJSON(r.Rows), Ignored: append([]string{}, r.Ignored...), Stages: []stageJSON{}, Periods: []periodJSON{},
	}
	for _, s := range r.Stages {
		out.Stages = append(out.Stages, stageJSON{s.Name, s.Busy.Nanoseconds()})
	}
	for i := range r.Periods {
		out.Periods = append(out.Periods, periodToJSON(&r.Periods[i]))
	}
	return out
}

func periodToJSON(p *jobs.PeriodReport) periodJSON {
	out := periodJSON{
		Name: p.Name, Start: p.Period.Start.String(), End: p.Period.End.String(), Revision: p.Revision, Manifest: p.Manifest,
		Rows: rowsJSON(p.Rows), Lines: p.Lines, Probable: p.Probable,
		Notices: p.Notices, Quarantined: p.Quarantined,
	}
	if out.Notices == nil {
		out.Notices = map[string]int{}
	}
	if out.Quarantined == nil {
		out.Quarantined = map[string]int64{}
	}
	out.Meters, out.Charges = metersJSON(p.Meters), chargesJSON(p.Charges)
	if l := p.Late; l != nil {
		out.Late = &lateJSON{rowsJSON(l.Rows), metersJSON(l.Meters), chargesJSON(l.Amounts), l.Objects}
	}
	return out
}

func metersJSON(meters []jobs.MeterReport) []meterJSON {
	list := []meterJSON{}
	for _, m := range meters {
		list = append(list, meterJSON{m.Meter, m.Unit, m.Settled.String(), m.Deducted.String(), m.Excess.String(), m.Stopped.String()})
	}
	return list
}

func chargesJSON(amounts []jobs.CurrencyAmount) []chargeJSON {
	list := []chargeJSON{}
	for _, c := range amounts {
		list = append(list, chargeJSON{c.Currency, c.Amount.String()})
	}
	return list
}
