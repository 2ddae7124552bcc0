package main

import (
	"encoding/json"
	"errors"

	"drawdown/rating"
	"drawdown/writers/store"
)

// periodsCmd shows which periods are pending, settled or closed.
type periodsCmd struct {
	Last int `default:"20" placeholder:"N" help:"Show the newest N settled ones, and N pending ones (default: 20)."`
}

// Help is the command's own help.
func (periodsCmd) Help() string {
	return `A pending period is over, or will be, and not settled yet. "due" says from when on settle takes it. Of a closed one it says when it was closed, by whom, and why.

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
	Late     int64  `json:"late"`
	ClosedAt string `json:"closed_at"` // of a closed one, and by whom, why and by which run
	ClosedBy string `json:"closed_by"`
	Reason   string `json:"closed_reason"`
	Run      int64  `json:"closed_run"`

	due rating.Instant
}

func (k *periodsCmd) Run(a *app) error {
	c, err := a.config()
	if err != nil {
		return err
	}
	views, more, err := a.periodViews(c, max(1, k.Last))
	if err != nil {
		return err
	}
	if a.flags.JSON {
		return printJSON(a.stdout, struct {
			Periods []periodView `json:"periods"`
			More    int          `json:"more_pending"`
		}{append([]periodView{}, views...), more})
	}
	t := table{columns: []column{{"period", fixed}, {"state", fixed}, {"revision", right}, {"records", right}, {"due", fixed}, {"closed", fixed}, {"by", left}}}
	for _, v := range views {
		if v.State == "pending" {
			t.row(v.Period, a.ink.yellow(v.State), "", "", moment(v.due, c.Settlement.TimeZone.Location), "", "")
			continue
		}
		if v.State == store.PeriodClosed {
			t.row(v.Period, v.State, groupedInt(int64(v.Revision)), groupedInt(v.Records), "", v.due.Time().In(c.Settlement.TimeZone.Location).Format("2006-01-02 15:04"), v.ClosedBy)
			if v.Reason != "" {
				t.note(v.Reason)
			}
			continue
		}
		t.row(v.Period, a.ink.green(v.State), groupedInt(int64(v.Revision)), groupedInt(v.Records), "", "", "")
	}
	t.print(a.stdout, a.ink)
	if more > 0 {
		a.say("\n... and %s more pending up to now.", groupedInt(int64(more)))
	}
	if len(views) > 0 && views[len(views)-1].State == "pending" {
		a.say("\nDue on the clock of %s.", c.Settlement.TimeZone.String())
	}
	return nil
}

// periodViews gives the newest settled periods and the oldest pending ones, in their order, and how many more are pending
// up to the one that is running.
func (a *app) periodViews(c *Config, last int) ([]periodView, int, error) {
	var settled []store.Revision
	var closes map[rating.Instant]store.Run
	err := a.reading(c, func(st *store.Store) (err error) {
		if settled, err = st.Periods(a.ctx); err == nil {
			closes, err = st.Closes(a.ctx)
		}
		return err
	})
	if err != nil && !errors.Is(err, store.ErrEmpty) {
		return nil, 0, err
	}
	var views []periodView
	next := c.Start
	for i := range settled {
		r := &settled[i]
		var rows revisionTotals
		if err := json.Unmarshal([]byte(r.Totals), &rows); err != nil {
			return nil, 0, &failure{op: "read totals of period " + r.PeriodName, err: err}
		}
		next = r.PeriodEnd
		v := periodView{
			Period: r.PeriodName, Start: r.PeriodStart.String(), End: r.PeriodEnd.String(), State: r.State, Revision: r.Revision,
			Records: rows.Settled, Late: rows.Late,
		}
		if r.State == store.PeriodClosed {
			run := closes[r.ClosedAt]
			v.ClosedAt, v.ClosedBy, v.Reason, v.Run, v.due = r.ClosedAt.String(), run.Actor, run.Reason, run.ID, r.ClosedAt
		}
		views = append(views, v)
	}
	views = views[max(0, len(views)-last):]
	unit, location := rating.PeriodUnit(c.Settlement.Period), c.Settlement.TimeZone.Location
	pending := 0
	for now := rating.InstantOf(a.now); next <= now; pending++ {
		p := rating.PeriodAt(unit, location, next)
		next = p.End
		if pending >= last {
			continue
		}
		due := p.End + rating.Instant(c.delay().Microseconds())
		views = append(views, periodView{
			Period: p.Name(unit, location), Start: p.Start.String(), End: p.End.String(), State: "pending",
			Due: due.String(), due: due,
		})
	}
	return views, max(0, pending-last), nil
}
