package main

import (
	"cmp"
	"slices"

	"drawdown/rating"
)

// remindCmd lists the packages that are about to expire.
type remindCmd struct{}

// Help is the command's own help.
func (remindCmd) Help() string {
	return `Lists the packages that expire within the greatest of reminder_days from now, soonest first. It sends nothing.

    drawdown remind`
}

// reminder is a package about to expire.
type reminder struct {
	Package string `json:"package"`
	Account string `json:"account"`
	Email   string `json:"email"`
	Expires string `json:"expires"`
	Days    int    `json:"whole_days_left"`

	ends  rating.Instant
	owner *rating.Account
}

func (remindCmd) Run(a *app) error {
	c, err := a.config()
	if err != nil {
		return err
	}
	compiled, err := a.catalog(c)
	if err != nil {
		return err
	}
	due := dueReminders(compiled, c.ReminderDays, rating.InstantOf(a.now))
	if a.flags.JSON {
		return printJSON(a.stdout, struct {
			Reminders []reminder `json:"reminders"`
		}{append([]reminder{}, due...)})
	}
	if len(due) == 0 {
		a.say("No package is about to expire.")
		return nil
	}
	t := table{columns: []column{{"package", ident}, {"account", ident}, {"expires", fixed}, {"whole days left", right}}}
	for _, r := range due {
		t.row(r.Package, r.Account, end(r.ends, r.owner.Zone), groupedInt(int64(r.Days)))
		if r.Email != "" {
			t.note(r.Email)
		}
	}
	t.print(a.stdout, a.ink)
	return nil
}

// dueReminders finds the packages in force that expire within the greatest number of days (R6.2), soonest first.
func dueReminders(c *rating.Catalog, days []int, now rating.Instant) []reminder {
	if len(days) == 0 {
		return nil
	}
	var due []reminder
	for i := range c.Packages {
		pkg := &c.Packages[i]
		ends, owner := expiryOf(pkg, now), &c.Accounts[pkg.Account]
		limit := rating.InstantOf(now.Time().In(owner.Zone).AddDate(0, 0, slices.Max(days)))
		if revokedBy(pkg, now) || pkg.Created > now || ends <= now || ends > limit {
			continue
		}
		due = append(due, reminder{
			pkg.ID, owner.ID, owner.Email, ends.String(), int((ends - now) / (24 * 3600e6)), ends, owner,
		})
	}
	slices.SortStableFunc(due, func(x, y reminder) int { return cmp.Compare(x.ends, y.ends) })
	return due
}

func revokedBy(pkg *rating.Package, at rating.Instant) bool {
	return slices.ContainsFunc(pkg.Changes, func(c rating.Change) bool { return c.Kind == rating.Revoked && c.At <= at })
}
