package main

import (
	"fmt"

	"drawdown/jobs"
)

// backfillCmd settles settled periods again (R5.4).
type backfillCmd struct {
	From   string `required:"" placeholder:"D" help:"Periods that start at D or later: a date, or an instant."`
	To     string `required:"" placeholder:"D" help:"Periods that end by D: the day after the last one, as with verify."`
	Reason string `placeholder:"TEXT" help:"Why; runs shows it."`
	All    bool   `help:"Read and compute all of it, also what nothing has touched since it was settled."`
	DryRun bool   `help:"Show what would change, by the same code, and write nothing."`
}

// Help is the command's own help.
func (backfillCmd) Help() string {
	return `For usage that came after its period was settled, rows that were mended, prices that were corrected. Periods of the range are settled again from what the bucket and the catalog hold now. Each that comes to something else becomes a new revision; the old one stays to be compared with. Later settled periods follow as long as what they open with differs. All of it is committed at once.

    drawdown backfill --from 2026-10-03 --to 2026-10-06 --dry-run
    drawdown backfill --from 2026-10-03 --to 2026-10-06 --reason "late files"

It shows what changes in units and money, by account. A closed period is never rewritten.

Shards of payers that nothing has touched keep their files, and objects that were settled as they are, by their versions, are read for the other shards alone. With --all everything is read and computed.`
}

func (b *backfillCmd) Run(a *app) error {
	c, err := a.config()
	if err != nil {
		return err
	}
	plan := backfillPlan{reason: b.Reason, all: b.All, dryRun: b.DryRun}
	if plan.from, err = parseInstantFlag("--from", b.From, c.Settlement.TimeZone.Location); err != nil {
		return err
	}
	if plan.to, err = parseInstantFlag("--to", b.To, c.Settlement.TimeZone.Location); err != nil {
		return err
	}
	r, changes, err := a.backfill(c, plan)
	if err != nil {
		return err
	}
	if a.flags.JSON {
		err = printJSON(a.stdout, struct {
			reportJSON
			Unchanged   int            `json:"unchanged"`
			InPart      int            `json:"objects_in_part"`
			Late        int64          `json:"late"`
			LateObjects []string       `json:"late_objects"`
			Changes     []periodChange `json:"changes"`
		}{settleJSON(r), r.Unchanged, r.InPart, r.Late, append([]string{}, r.LateObjects...), append([]periodChange{}, changes...)})
	} else if !a.flags.Quiet {
		a.printBackfill(c, r, changes)
	}
	if err != nil {
		return err
	}
	return waitingRows("backfill", r)
}

func (a *app) printBackfill(c *Config, r *jobs.Report, changes []periodChange) {
	if r.Nothing == "" {
		if r.DryRun {
			a.say("%s", a.ink.bold("Dry run: nothing is written.")+"\n")
		}
		a.printPeriods(c, r)
		a.printChanges(c, changes)
		a.printQuarantine(r)
	} else {
		a.say("%s", wrapped("Nothing to do: "+r.Nothing+".", 0))
	}
	if r.Unchanged > 0 && r.Nothing == "" {
		a.say("\n%s", counted(int64(r.Unchanged), "period comes to what was settled, and stays.", "periods come to what was settled, and stay."))
	}
	a.printLate(c, r)
	records, objects := counted(r.Read, "record", "records"), counted(int64(r.Objects), "object", "objects")
	if r.InPart > 0 {
		a.say("\n%s", wrapped(fmt.Sprintf("%s accounted for in %s. %s read, %s of them only for the shards that something has touched; %s skipped.",
			records, elapsed(r.Elapsed), objects, groupedInt(int64(r.InPart)), groupedInt(int64(r.Skipped))), 0))
		return
	}
	a.say("\n%s", fmt.Sprintf("%s in %s: %s a second. %s read, %s skipped.", records, elapsed(r.Elapsed), groupedInt(rate(r)), objects,
		groupedInt(int64(r.Skipped))))
}
