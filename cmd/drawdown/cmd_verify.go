package main

import (
	"fmt"

	"drawdown/jobs"
	"drawdown/rating"
)

// verifyCmd checks what was settled.
type verifyCmd struct {
	From   string `placeholder:"D" help:"Only periods that start at D or later: a date, or an instant."`
	To     string `placeholder:"D" help:"Only periods that end by D: a date, or an instant."`
	Period string `placeholder:"P" help:"Only the period of this name, as periods shows it."`
	Deep   bool   `help:"Settle the periods again into a temporary folder, and compare byte by byte."`
}

// Help is the command's own help.
func (verifyCmd) Help() string {
	return `Reads everything that was settled, writes nothing, and lists all that is wrong: a file that is missing, changed, renamed or too many; a manifest that is not the one that was committed; a break in the chain from period to period; control totals that differ from the files; a balance that differs between database and file; a notice that is not in the outbox.

    drawdown verify
    drawdown verify --period 2026-10-01
    drawdown verify --from 2026-10-01 --to 2026-11-01 --deep

It ends with exit code 1 where something is wrong. --deep ends with 3 where a period cannot be settled again, because its usage, the catalog or the configuration has changed since; the rest of it was checked.`
}

func (k *verifyCmd) Run(a *app) error {
	c, err := a.config()
	if err != nil {
		return err
	}
	chosen, err := k.chosen(c)
	if err != nil {
		return err
	}
	found, err := a.verify(c, chosen, k.Deep)
	if err != nil {
		return err
	}
	if len(found.Revisions) == 0 && (k.From != "" || k.To != "" || k.Period != "") {
		return &failure{op: "verify", err: fmt.Errorf("no such period is settled"), code: exitUsage, hint: "`drawdown periods` lists them"}
	}
	if a.flags.JSON {
		err = printJSON(a.stdout, verificationJSON(found))
	} else if !a.flags.Quiet || len(found.Faults) > 0 {
		a.printVerification(found, k.Deep)
	}
	if err != nil {
		return err
	}
	return verdict(found)
}

// chosen says which revisions the flags mean.
func (k *verifyCmd) chosen(c *Config) (func(*jobs.BookedRevision) bool, error) {
	from, to := rating.Beginning, rating.Never
	var err error
	if k.From != "" {
		if from, err = parseInstantFlag("--from", k.From, c.Settlement.TimeZone.Location); err != nil {
			return nil, err
		}
	}
	if k.To != "" {
		if to, err = parseInstantFlag("--to", k.To, c.Settlement.TimeZone.Location); err != nil {
			return nil, err
		}
	}
	return func(r *jobs.BookedRevision) bool {
		return from <= r.Period.Start && r.Period.End <= to && (k.Period == "" || k.Period == r.Name)
	}, nil
}

// verdict is what verify ends with.
func verdict(found *jobs.Verification) error {
	if n := int64(len(found.Faults)); n > 0 {
		return &failure{
			op: "verify", err: fmt.Errorf("%s in what was settled", counted(n, "fault", "faults")),
			hint: "put back what is named from a copy; docs/operations.md says how to tell which side is wrong",
		}
	}
	unrepeated := int64(0)
	for i := range found.Revisions {
		if found.Revisions[i].Unrepeated != "" {
			unrepeated++
		}
	}
	if unrepeated > 0 {
		return &waiting{"verify", "nothing is wrong, but " + counted(unrepeated, "period cannot", "periods cannot") + " be settled again"}
	}
	return nil
}

func (a *app) printVerification(found *jobs.Verification, deep bool) {
	if len(found.Revisions) == 0 && len(found.Faults) == 0 {
		fmt.Fprintln(a.stdout, "Nothing to verify: no period is settled yet.")
		return
	}
	again := ""
	if deep {
		again = "settled again"
	}
	t := table{columns: []column{
		{"period", fixed}, {"revision", right}, {"files", right}, {"bytes", right}, {"faults", right}, {again, left},
	}}
	files, size := 0, int64(0)
	for i := range found.Revisions {
		r := &found.Revisions[i]
		repeated := ""
		switch {
		case r.Repeated:
			repeated = a.ink.green("yes")
		case deep:
			repeated = a.ink.yellow("no")
		}
		faults := groupedInt(int64(r.Faults))
		if r.Faults > 0 {
			faults = a.ink.red(faults)
		}
		t.row(r.Period, groupedInt(int64(r.Revision)), groupedInt(int64(r.Files)), groupedInt(r.Bytes), faults, repeated)
		if r.Unrepeated != "" {
			t.note("cannot be settled again: " + r.Unrepeated)
		}
		files, size = files+r.Files, size+r.Bytes
	}
	t.print(a.stdout, a.ink)
	place := ""
	for _, f := range found.Faults {
		if f.Place != place {
			fmt.Fprintf(a.stdout, "\n%s %s\n", a.ink.red(f.Kind), wrapped(f.Place, 2))
			place = f.Place
		}
		what := f.What
		if f.Period != "" {
			what = f.Period + ": " + what
		}
		fmt.Fprintln(a.stdout, "  "+wrapped(what, 2))
	}
	if len(found.Faults) == 0 {
		fmt.Fprintf(a.stdout, "\n%s\n", wrapped(fmt.Sprintf("%s, %s, %s: all hashes, totals, balances and notices agree.",
			counted(int64(len(found.Revisions)), "revision", "revisions"), counted(int64(files), "file", "files"), counted(size, "byte", "bytes")), 0))
	}
}

type verifiedJSON struct {
	Revisions []verifiedRevisionJSON `json:"revisions"`
	Faults    []faultJSON            `json:"faults"`
}

type verifiedRevisionJSON struct {
	Period     string `json:"period"`
	Revision   int    `json:"revision"`
	Files      int    `json:"files"`
	Bytes      int64  `json:"bytes"`
	Faults     int    `json:"faults"`
	Repeated   bool   `json:"settled_again"`
	Unrepeated string `json:"cannot_be_settled_again"`
}

type faultJSON struct {
	Period   string `json:"period"`
	Revision int    `json:"revision"`
	Kind     string `json:"kind"`
	Place    string `json:"place"`
	What     string `json:"what"`
}

func verificationJSON(found *jobs.Verification) verifiedJSON {
	out := verifiedJSON{Revisions: []verifiedRevisionJSON{}, Faults: []faultJSON{}}
	for _, r := range found.Revisions {
		out.Revisions = append(out.Revisions, verifiedRevisionJSON(r))
	}
	for _, f := range found.Faults {
		out.Faults = append(out.Faults, faultJSON(f))
	}
	return out
}
