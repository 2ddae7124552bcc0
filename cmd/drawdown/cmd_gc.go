package main

import (
	"errors"
	"fmt"
	"time"

	"drawdown/jobs"
)

// gcCmd removes what nothing refers to.
type gcCmd struct {
	Apply bool   `help:"Remove it. Without this, gc says what it would remove, and removes nothing."`
	Grace string `default:"72h" placeholder:"TIME" help:"Leave what was written within this time (default: 72h)."`
}

// Help is the command's own help.
func (gcCmd) Help() string {
	return `A run that was killed, or failed, leaves files behind that nothing refers to. They are in nobody's way, but take room. gc lists them, and with --apply removes them: folders of revisions that never committed, closing states that were stored ahead, temporary files.

    drawdown gc
    drawdown gc --apply
    drawdown gc --apply --grace 168h

It removes nothing that the database or current.json names, nothing that a run may still be writing, and nothing at all where the output is newer than the database, as after a backup was put back. It ends with exit code 3 where a whole settlement is there that the database does not know of, so that somebody decides.`
}

func (k *gcCmd) Run(a *app) error {
	c, err := a.config()
	if err != nil {
		return err
	}
	grace, err := time.ParseDuration(k.Grace)
	if err == nil && grace < 0 {
		err = errors.New("it is negative")
	}
	if err != nil {
		return &failure{op: "read --grace", err: fmt.Errorf("%q is no length of time: %w", k.Grace, err), code: exitUsage, hint: "write it as 72h"}
	}
	found, err := a.gc(c, grace, k.Apply)
	if err != nil {
		return err
	}
	if a.flags.JSON {
		err = printJSON(a.stdout, sweepingsJSON(found, k.Apply))
	} else if !a.flags.Quiet {
		a.printSweepings(found, k.Apply)
	}
	if err != nil {
		return err
	}
	kept := int64(0)
	for i := range found.Folders {
		if found.Folders[i].Fate == jobs.FateKept {
			kept++
		}
	}
	if kept > 0 {
		return &waiting{"gc", counted(kept, "whole settlement is", "whole settlements are") + " there that the database does not know: " +
			"settle its period, or put back the database that knows it, or remove the folder by hand"}
	}
	return nil
}

func (a *app) printSweepings(found *jobs.Sweepings, apply bool) {
	t := table{columns: []column{{"what", ident}, {"files", right}, {"bytes", right}, {"", fixed}}}
	folders, bytes := int64(0), found.StateBytes
	list := append(append([]jobs.Leftover{}, found.Folders...), found.Temporary...)
	for i := range list {
		l := &list[i]
		fate := l.Fate
		switch l.Fate {
		case jobs.FateGoes:
			folders, bytes = folders+1, bytes+l.Bytes
			fate = map[bool]string{true: "removed", false: "would go"}[apply]
		case jobs.FateKept:
			fate = a.ink.yellow("kept")
		case jobs.FateLive:
			fate = "a run's"
		}
		t.row(l.Name, groupedInt(int64(l.Files)), groupedInt(l.Bytes), fate)
		if l.Why != "" {
			t.note(l.Why)
		}
	}
	if len(list) > 0 {
		t.print(a.stdout, a.ink)
		a.say("")
	}
	if found.Foreign > 0 {
		a.say("%s", wrapped(counted(int64(found.Foreign), "other file is", "other files are")+" in the output that no settlement wrote; left alone.", 0))
	}
	if folders == 0 && found.States == 0 {
		a.say("Nothing to remove.")
		return
	}
	what := counted(folders, "leftover", "leftovers")
	if found.States > 0 {
		what += " and " + counted(found.States, "closing state", "closing states")
	}
	text := "Would remove " + what + ", " + counted(bytes, "byte", "bytes") + "; --apply removes them."
	if apply {
		text = "Removed " + what + ", " + counted(bytes, "byte", "bytes") + "."
	}
	a.say("%s", wrapped(text, 0))
}

type sweptJSON struct {
	Applied    bool           `json:"applied"`
	Leftovers  []leftoverJSON `json:"leftovers"`
	States     int64          `json:"states"`
	StateBytes int64          `json:"state_bytes"`
	Foreign    int            `json:"other_files"`
}

type leftoverJSON struct {
	Name     string `json:"name"`
	Files    int    `json:"files"`
	Bytes    int64  `json:"bytes"`
	Modified string `json:"modified"`
	Fate     string `json:"fate"`
}

func sweepingsJSON(found *jobs.Sweepings, apply bool) sweptJSON {
	out := sweptJSON{Applied: apply, Leftovers: []leftoverJSON{}, States: found.States, StateBytes: found.StateBytes, Foreign: found.Foreign}
	for _, list := range [][]jobs.Leftover{found.Folders, found.Temporary} {
		for i := range list {
			l := &list[i]
			out.Leftovers = append(out.Leftovers, leftoverJSON{l.Name, l.Files, l.Bytes, l.Modified.String(), l.Fate})
		}
	}
	return out
}
