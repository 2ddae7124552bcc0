package main

import (
	"drawdown/rating"
)

// periodsCmd shows which periods are pending, settled or closed.
type periodsCmd struct {
	Last int `default:"20" placeholder:"N" help:"Show the newest N (default: 20)."`
}

// Help is the command's own help.
func (periodsCmd) Help() string {
	return `A pending period is over, or will be, and not settled yet. "due" says from when on settle takes it.

    drawdown periods
    drawdown periods --last 100`
}

// periodView is a period and how far it has come.
type periodView struct {
	Period   string `json:"period"`
	Start    string `json:"start"`
	End      string `json:"end"`
	State    string `json:"state"`
	Revision int    `json:"revision"` // 0: pending
	Records  int64  `json:"records"`
	Due      string `json:"due"` // of a pending one

	due rating.Instant
}

func (k *periodsCmd) Run(a *app) error {
	c, err := a.config()
	if err != nil {
		return err
	}
	views, err := a.periodViews(c, max(1, k.Last))
	if err != nil {
		return &failure{op: "periods", err: err}
	}
	if a.flags.JSON {
		return printJSON(a.stdout, struct {
			Periods []periodView `json:"periods"`
		}{append([]periodView{}, views...)})
	}
	t := table{columns: []column{{"period", fixed}, {"state", fixed}, {"revision", right}, {"records", right}, {"due", fixed}}}
	for _, v := range views {
		if v.State == "pending" {
			t.row(v.Period, a.ink.yellow(v.State), "", "", moment(v.due, c.Settlement.TimeZone.Location))
			continue
		}
		t.row(v.Period, a.ink.green(v.State), groupedInt(int64(v.Revision)), groupedInt(v.Records), "")
	}
	t.print(a.stdout, a.ink)
	return nil
}

// periodViews gives the newest settled periods and the pending ones up to now, in their order; the period that is running
// comes last.
func (a *app) periodViews(c *Config, last int) ([]periodView, error) {
	settled, err := c.publishedPeriods()
	if err != nil {
		return nil, err
	}
	var views []periodView
	names := keysOf(settled)
	next := c.Start
	for i, name := range names {
		if i < len(names)-last {
			continue
		}
		p, err := c.openPublished(name, settled[name])
		if err != nil {
			return nil, err
		}
		next = p.end()
		views = append(views, periodView{
			Period: name, Start: p.start().String(), End: p.end().String(), State: "settled", Revision: p.current.Revision,
			Records: p.manifest.Totals.Rows.Settled,
		})
	}
	unit, location := rating.PeriodUnit(c.Settlement.Period), c.Settlement.TimeZone.Location
	for now := rating.InstantOf(a.now); next <= now; {
		p := rating.PeriodAt(unit, location, next)
		due := p.End + rating.Instant(c.delay().Microseconds())
		views = append(views, periodView{
			Period: p.Name(unit, location), Start: p.Start.String(), End: p.End.String(), State: "pending",
			Due: due.String(), due: due,
		})
		if len(views) > 2*last {
			views = views[len(views)-last:]
		}
		next = p.End
	}
	return views[max(0, len(views)-last):], nil
}
