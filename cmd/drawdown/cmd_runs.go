package main

import (
	"slices"
	"strings"
	"time"

	"drawdown/writers/store"
)

// runsCmd shows who ran what, when and for how long.
type runsCmd struct {
	Last int `default:"20" placeholder:"N" help:"Show the newest N (default: 20)."`
}

// Help is the command's own help.
func (runsCmd) Help() string {
	return `Runs that failed are in it, with the error; what they had done was not committed. So are those that a signal interrupted.

    drawdown runs
    drawdown --json runs --last 1`
}

func (k *runsCmd) Run(a *app) error {
	c, err := a.config()
	if err != nil {
		return err
	}
	views, err := a.runViews(c, max(1, k.Last))
	if err != nil {
		return err
	}
	if a.flags.JSON {
		return printJSON(a.stdout, struct {
			Runs []runView `json:"runs"`
		}{append([]runView{}, views...)})
	}
	if len(views) == 0 {
		a.say("Nothing was run yet.")
		return nil
	}
	t := table{columns: []column{
		{"run", right}, {"command", fixed}, {"started (UTC)", fixed}, {"took", right}, {"by", left}, {"periods", right}, {"records", right}, {"state", left},
	}}
	for i := range views {
		v := &views[i]
		t.row(groupedInt(v.Run), v.Command, strings.Replace(v.Started[:min(len(v.Started), len("2006-01-02T15:04"))], "T", " ", 1), v.took, v.Actor, groupedInt(v.Periods),
			groupedInt(v.Records), a.ink.runState(strings.ReplaceAll(v.State, "_", " ")))
		if v.Error != "" {
			t.note(v.Error)
		}
	}
	t.print(a.stdout, a.ink)
	return nil
}

// runViews gives the newest runs, the newest last.
func (a *app) runViews(c *Config, last int) ([]runView, error) {
	var runs []store.Run
	err := a.reading(c, func(st *store.Store) (err error) {
		runs, err = st.Runs(a.ctx, last)
		return err
	})
	views := make([]runView, 0, len(runs))
	for _, r := range slices.Backward(runs) {
		views = append(views, viewOfRun(&r))
	}
	return views, err
}

func viewOfRun(r *store.Run) runView {
	v := runView{
		Run: r.ID, Command: r.Command, Started: r.StartedAt.String(), Actor: r.Actor, Host: r.Host, Reason: r.Reason,
		State: r.State, Error: r.Error, Periods: r.Periods, Records: r.Records,
	}
	if r.State == store.RunFailed && strings.HasSuffix(r.Error, " signal received") { // as package signal says it
		v.State, v.Error = "interrupted", ""
	}
	if r.FinishedAt > 0 {
		took := time.Duration(r.FinishedAt-r.StartedAt) * time.Microsecond
		v.ElapsedNS, v.took = took.Nanoseconds(), elapsed(took)
	}
	return v
}

// runView is a run as it is shown.
type runView struct {
	Run       int64  `json:"run"`
	Command   string `json:"command"`
	Started   string `json:"started"`
	ElapsedNS int64  `json:"elapsed_ns"` // 0 while it is running
	Actor     string `json:"actor"`
	Host      string `json:"host"`
	Reason    string `json:"reason"`
	State     string `json:"state"`
	Error     string `json:"error"`
	Periods   int64  `json:"periods"`
	Records   int64  `json:"records"`

	took string
}

func (k ink) runState(state string) string {
	switch state {
	case "failed":
		return k.red(state)
	case "running", "interrupted":
		return k.yellow(state)
	}
	return state
}
