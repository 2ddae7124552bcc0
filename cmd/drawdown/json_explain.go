package main

import (
	"drawdown/jobs"
	"drawdown/rating"
)

type explainJSON struct {
	RecordID string           `json:"record_id"`
	Rows     []explainRowJSON `json:"rows"`
}

type explainRowJSON struct {
	Object      string            `json:"source_object"`
	Row         int64             `json:"source_row"`
	Account     string            `json:"account"`
	Meter       string            `json:"meter"`
	Period      string            `json:"period"`
	Revision    int               `json:"revision"` // of the period
	Fate        string            `json:"fate"`
	Reason      string            `json:"reason"`
	Note        string            `json:"note"`
	Differs     bool              `json:"differs"` // settled once more today, its lines would be others
	Raw         string            `json:"raw"`
	EventTime   string            `json:"event_time,omitempty"`
	Quantity    string            `json:"quantity,omitempty"`
	Eligible    []candidateJSON   `json:"eligible,omitempty"`
	NotEligible []rejectionJSON   `json:"not_eligible,omitempty"`
	Lines       []explainLineJSON `json:"lines,omitempty"`
}

type candidateJSON struct {
	Package    string `json:"package"`
	Remaining  string `json:"remaining_before"`
	CycleStart string `json:"cycle_start"`
	CycleEnd   string `json:"cycle_end"`
	DecidedBy  string `json:"decided_by"` // the key that puts it behind the one before it
}

type rejectionJSON struct {
	Package string `json:"package"`
	Why     string `json:"why"`
}

type explainLineJSON struct {
	LineNo          int32  `json:"line_no"`
	Kind            string `json:"kind"`
	Package         string `json:"package,omitempty"`
	Quantity        string `json:"quantity"`
	Consumed        string `json:"consumed,omitempty"`
	RemainingBefore string `json:"remaining_before,omitempty"`
	RemainingAfter  string `json:"remaining_after,omitempty"`
	Price           string `json:"price_id,omitempty"`
	Tier            int32  `json:"tier,omitempty"`
	CountBefore     string `json:"count_before,omitempty"` // Q of the month, as the price counts
	CountAfter      string `json:"count_after,omitempty"`
	UnitPrice       string `json:"unit_price,omitempty"`
	Per             string `json:"per,omitempty"`
	Amount          string `json:"amount"`
	Currency        string `json:"currency,omitempty"`
}

func explanationJSON(found *jobs.Explanation) explainJSON {
	out := explainJSON{RecordID: found.RecordID, Rows: []explainRowJSON{}}
	for i := range found.Rows {
		r := &found.Rows[i]
		row := explainRowJSON{
			Object: r.Object, Row: r.Row, Account: r.Account, Meter: r.Meter, Period: r.Period, Revision: r.Revision, Fate: r.Fate, Reason: r.Reason,
			Note: r.Note, Raw: string(r.Raw),
		}
		if r.Readable {
			row.EventTime, row.Quantity = r.Time.String(), r.Quantity.String()
		}
		if r.Settled != nil {
			row.settled(r.Settled, r.Catalog)
		}
		out.Rows = append(out.Rows, row)
	}
	return out
}

func (row *explainRowJSON) settled(s *jobs.SettledRecord, c *rating.Catalog) {
	q := monthCount{known: s.Met != nil && !s.Differs}
	row.Differs = s.Differs
	if x := s.Met; x != nil {
		scale := c.Meters[x.Meter].Scale
		q.usage, q.excess = rating.DecimalOf(x.Usage, scale), rating.DecimalOf(x.Excess, scale)
		for _, k := range x.Eligible {
			pkg := &c.Packages[k.Package]
			row.Eligible = append(row.Eligible, candidateJSON{
				pkg.ID, rating.FormatQuantity(k.Remaining, pkg.Scale), k.CycleStart.String(), k.CycleEnd.String(), k.DecidedBy,
			})
		}
		for _, r := range x.NotEligible {
			row.NotEligible = append(row.NotEligible, rejectionJSON{c.Packages[r.Package].ID, r.Why})
		}
	}
	for i := range s.Lines {
		l := &s.Lines[i]
		line := explainLineJSON{LineNo: l.LineNo, Kind: l.Kind, Quantity: l.Quantity.String(), Amount: l.Amount.String()}
		switch l.Kind {
		case rating.Deduction.String():
			line.Package, line.Consumed = l.Package, l.Consumed.String()
			line.RemainingBefore, line.RemainingAfter = l.RemainingBefore.String(), l.RemainingAfter.String()
		case rating.Excess.String():
			line.Price, line.Tier, line.Currency = l.PriceID, l.Tier, l.Currency
			if l.Per.Sign() > 0 {
				line.UnitPrice, line.Per = l.UnitPrice.String(), l.Per.String()
			}
			if before, after, _, ok := q.around(c, l); ok {
				line.CountBefore, line.CountAfter = before.String(), after.String()
			}
		}
		q.count(l)
		row.Lines = append(row.Lines, line)
	}
}
