package main

import (
	"cmp"
	"slices"

	"drawdown/rating"
)

// remindCmd puts what is due by the calendar into the outbox, and lists the packages that are about to expire.
type remindCmd struct {
	DryRun bool `help:"List the packages that are about to expire, and write nothing."`
}

// Help is the command's own help.
func (remindCmd) Help() string {
	return `Expiry reminders and the life of packages (grace, retention, released) follow from the catalog and the calendar. A settlement finds them, too, but only when their period is over and settled; this puts those that are due by now into the outbox before, so that notify can send them. The settlement that finds them later adds nothing, and what a renewal or a revocation has made void is withdrawn. It takes no lease: run it as often as you like, also while a settlement runs.

Then it lists the packages that expire within the greatest of reminder_days from now, soonest first.

    drawdown remind && drawdown notify
    drawdown remind --dry-run                 list, and write nothing`
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

// remindJSON is what it did, for programs.
type remindJSON struct {
	Put       int64          `json:"put"`
	Withdrawn int64          `json:"withdrawn"`
	Due       map[string]int `json:"due"`
	Reminders []reminder     `json:"reminders"`
}

func (k *remindCmd) Run(a *app) error {
	c, err := a.config()
	if err != nil {
		return err
	}
	compiled, err := a.catalog(c)
	if err != nil {
		return err
	}
	out := remindJSON{Due: map[string]int{}, Reminders: append([]reminder{}, dueReminders(compiled, c.ReminderDays, rating.InstantOf(a.now))...)}
	if !k.DryRun {
		reminded, err := a.remind(c)
		if err != nil {
			return err
		}
		out.Put, out.Withdrawn, out.Due = reminded.Put, reminded.Withdrawn, reminded.Kinds
	}
	if a.flags.JSON {
		return printJSON(a.stdout, out)
	}
	a.printReminders(out.Reminders)
	if !k.DryRun {
		a.say("\n%s", wrapped(out.summary(), 0))
	}
	return nil
}

// summary says what came into the outbox, and what left it.
func (r *remindJSON) summary() string {
	text := "Nothing new is due."
	if r.Put > 0 {
		text = counted(r.Put, "notice was", "notices were") + " put into the outbox; `drawdown notify` sends what is due."
	}
	if r.Withdrawn > 0 {
		text += " " + counted(r.Withdrawn, "notice is", "notices are") + " withdrawn, which the catalog no longer gives."
	}
	return text
}

func (a *app) printReminders(due []reminder) {
	if len(due) == 0 {
		a.say("No package is about to expire.")
		return
	}
	t := table{columns: []column{{"package", ident}, {"account", ident}, {"expires", fixed}, {"whole days left", right}}}
	for _, r := range due {
		t.row(r.Package, r.Account, end(r.ends, r.owner.Zone), groupedInt(int64(r.Days)))
		if r.Email != "" {
			t.note(r.Email)
		}
	}
	t.print(a.stdout, a.ink)
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
