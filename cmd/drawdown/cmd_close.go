package main

import (
	"fmt"
	"strings"

	"drawdown/jobs"
)

// closeCmd locks settled periods (R5.5).
type closeCmd struct {
	Until  string `required:"" placeholder:"D" help:"Periods that end by D: the day after the last one, as with verify."`
	Reason string `placeholder:"TEXT" help:"Why; runs and periods show it."`
	DryRun bool   `help:"Show what would be closed, and write nothing."`
}

// Help is the command's own help.
func (closeCmd) Help() string {
	return `When finance has booked them. A closed period is never rewritten: backfill refuses it, and there is no way back. Usage that arrives for it later is settled in the first open period, as late lines: at the prices of its time, from what the packages of that time had left then. Usage that is older than settlement.late_horizon is quarantined as too_late.

    drawdown close --until 2026-11-01 --dry-run
    drawdown close --until 2026-11-01 --reason "October is booked"

All periods that end by D must be settled.`
}

func (k *closeCmd) Run(a *app) error {
	c, err := a.config()
	if err != nil {
		return err
	}
	plan := closePlan{reason: k.Reason, dryRun: k.DryRun}
	if plan.until, err = parseInstantFlag("--until", k.Until, c.Settlement.TimeZone.Location); err != nil {
		return err
	}
	closing, err := a.closePeriods(c, plan)
	if err != nil {
		return err
	}
	if a.flags.JSON {
		return printJSON(a.stdout, closingJSON(closing))
	}
	a.printClosing(closing)
	return nil
}

func (a *app) printClosing(r *jobs.Closing) {
	if r.Nothing != "" {
		a.say("%s", wrapped("Nothing to do: "+r.Nothing+".", 0))
		return
	}
	if r.DryRun {
		a.say("%s", a.ink.bold("Dry run: nothing is written.")+"\n")
	}
	n, first, last := len(r.Periods), r.Periods[0].Name, r.Periods[len(r.Periods)-1].Name
	what := fmt.Sprintf("%s, %s to %s: closed.", counted(int64(n), "period", "periods"), first, last)
	if n == 1 {
		what = first + ": closed."
	}
	a.say("%s", wrapped(what+" Usage that still comes for that time is settled in the first open period.", 0))
	if len(r.Waiting) > 0 {
		a.say("\n%s", wrapped(a.ink.yellow("Late:")+" "+counted(int64(len(r.Waiting)), "object has", "objects have")+
			" usage of that time that came after it was settled ("+strings.Join(r.Waiting[:min(len(r.Waiting), 5)], ", ")+
			"). The first open period settles it.", 2))
	}
}

type closedJSON struct {
	Run     int64    `json:"run"`
	DryRun  bool     `json:"dry_run"`
	Nothing string   `json:"nothing"`
	Periods []string `json:"periods"`
	Waiting []string `json:"waiting_objects"`
}

func closingJSON(r *jobs.Closing) closedJSON {
	out := closedJSON{Run: r.Run, DryRun: r.DryRun, Nothing: r.Nothing, Periods: []string{}, Waiting: append([]string{}, r.Waiting...)}
	for i := range r.Periods {
		out.Periods = append(out.Periods, r.Periods[i].Name)
	}
	return out
}
