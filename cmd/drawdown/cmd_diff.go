package main

import (
	"errors"
	"fmt"

	"drawdown/rating"
	"drawdown/writers/settlement"
	"drawdown/writers/store"
)

// diffCmd compares two revisions of a period.
type diffCmd struct {
	Period string `arg:"" placeholder:"PERIOD" help:"The period, by the name that periods shows."`
	From   int    `placeholder:"N" help:"The revision to compare with (default: the one before)."`
	To     int    `placeholder:"N" help:"The revision that is compared (default: the current one)."`
}

// Help is the command's own help.
func (diffCmd) Help() string {
	return `Shows what a backfill changed: by account what is charged otherwise, in units and money, and by package what is deducted otherwise. The sums of the changes are the change of the totals.

    drawdown diff 2026-10-03
    drawdown diff 2026-10-03 --from 1 --to 3`
}

func (k *diffCmd) Run(a *app) (err error) {
	c, err := a.config()
	if err != nil {
		return err
	}
	var before, after *store.Revision
	err = a.reading(c, func(st *store.Store) error {
		before, after, err = k.revisions(a, st)
		return err
	})
	if err != nil {
		return err
	}
	out, err := c.openOutput(a.ctx, a.memory(c))
	if err != nil {
		return &failure{op: "open output", err: err}
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	var sides [2]*published
	for i, r := range []*store.Revision{before, after} {
		sides[i], err = openPublished(out, r.PeriodName, settlement.Current{Revision: r.Revision, Manifest: r.ManifestKey})
		if err != nil {
			return &failure{op: "diff", err: err}
		}
	}
	change, err := compareRevisions(sides[0], sides[1])
	if err != nil {
		return &failure{op: "diff", err: err}
	}
	if a.flags.JSON {
		return printJSON(a.stdout, change)
	}
	if len(change.Charges) == 0 && len(change.Packages) == 0 {
		a.say("%s", wrapped(fmt.Sprintf("Revisions %d and %d of %s charge and deduct the same.", change.Was, change.Is, change.Period), 0))
		return nil
	}
	a.say("%s", wrapped(fmt.Sprintf("Revision %d of %s, against revision %d.", change.Is, change.Period, change.Was), 0))
	a.printChanges(c, []periodChange{change})
	a.printChangeSums(c, &change)
	return nil
}

// revisions finds the two that are compared.
func (k *diffCmd) revisions(a *app, st *store.Store) (before, after *store.Revision, err error) {
	periods, err := st.Periods(a.ctx)
	if err != nil {
		return nil, nil, &failure{op: "diff", err: err}
	}
	var all []store.Revision
	for i := range periods {
		if periods[i].PeriodName == k.Period {
			if all, err = st.Revisions(a.ctx, periods[i].PeriodStart); err != nil {
				return nil, nil, &failure{op: "diff", err: err}
			}
		}
	}
	if len(all) == 0 {
		return nil, nil, &failure{
			op: "diff", err: fmt.Errorf("no settled period has the name %q", k.Period), code: exitUsage, hint: "`drawdown periods` lists them",
		}
	}
	for i := range all {
		r := &all[i]
		if r.Revision == k.To || k.To == 0 && r.IsCurrent {
			after = r
		}
	}
	for i := range all {
		r := &all[i]
		if after != nil && (r.Revision == k.From || k.From == 0 && r.Revision == after.Revision-1) {
			before = r
		}
	}
	if before == nil || after == nil {
		return nil, nil, &failure{
			op: "diff", err: fmt.Errorf("period %s has %s, and there is nothing to compare", k.Period, counted(int64(len(all)), "revision", "revisions")),
			code: exitUsage, hint: "revisions are numbered from 1; only a backfill makes another one",
		}
	}
	return before, after, nil
}

// printChangeSums adds the changes up, by currency.
func (a *app) printChangeSums(c *Config, change *periodChange) {
	sums := map[string]rating.Amount{}
	for i := range change.Charges {
		charge := &change.Charges[i]
		sums[charge.Currency], _ = sums[charge.Currency].Add(charge.amount)
	}
	for _, currency := range keysOf(sums) {
		a.say("\nCharges change by %s %s in all.", signed(money(sums[currency], c.Currency.Digits), sums[currency]), currency)
	}
}
