package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// mutant is the program without one of its guards: text of a file is replaced.
type mutant struct {
	name, file string
	change     [][2]string
	tests      string // that must fail, by -run
	room       string
}

// mutants are the guards of a commit, each taken away.
var mutants = []mutant{
	{
		"the token is not looked at", "writers/store/lease.go",
		[][2]string{{"	if is.Token != l.Token || is.Owner == \"\" {", "	if false {"}},
		"LostLease", "./cmd/drawdown",
	},
	{
		"a revision may be there twice", "writers/store/migrations/00001_tables.sql",
		[][2]string{
			{"	is_current               INTEGER NOT NULL CHECK (is_current IN (0, 1)),\n	PRIMARY KEY (period_start, revision)\n", "	is_current               INTEGER NOT NULL CHECK (is_current IN (0, 1))\n"},
			{"	FOREIGN KEY (period_start, revision) REFERENCES revision (period_start, revision)\n", "	CHECK (shard >= 0)\n"},
			{"CREATE UNIQUE INDEX revision_current", "CREATE INDEX revision_current"},
		},
		"CommitRefuses", "./writers/store",
	},
	{
		"the commit is two transactions", "writers/store/commit.go",
		[][2]string{
			{"		{StepOutbox, w.outbox},\n", "		{\"split\", func(ctx context.Context) error { _, err := w.tx.ExecContext(ctx, `COMMIT; BEGIN`); return err }},\n		{StepOutbox, w.outbox},\n"},
		},
		"FailureAnywhere", "./cmd/drawdown",
	},
	{
		"the sums are not compared", "writers/store/commit.go",
		[][2]string{{"		if is.Shards != r.Shards ||", "		if false && is.Shards != r.Shards ||"}, {"is.Payers != r.Payers || is.Packages != r.Packages || is.Notices != r.Notices {", "false {"}},
		"CommitRefuses", "./writers/store",
	},
	{
		"files are not read back", "writers/settlement/check.go",
		[][2]string{{"	if read.size != w.Size || read.crc != w.crc {", "	if false {"}},
		"CheckFindsEveryFlip", "./writers/settlement",
	},
	{
		"the control totals need not balance", "jobs/finish.go",
		[][2]string{{"placed[n] != o.Read {", "false {"}},
		"EveryRowIsAccountedFor", "./cmd/drawdown",
	},
	{
		"a closed period may be rewritten", "writers/store/commit.go",
		[][2]string{{"	case period.State == PeriodClosed:", "	case false:"}},
		"CommitRefuses", "./writers/store",
	},
	{
		"a period is closed behind an open one", "writers/store/commit.go",
		[][2]string{{"earlier.state = ? AND earlier.period_start < ?)`", "earlier.state = ? AND earlier.period_start < 0 * ?)`"}},
		"ClosesInOrder", "./writers/store",
	},
	{
		"late usage is not compared with what is booked", "jobs/late.go",
		[][2]string{{"	if run.late == nil || len(g.lateIDs) == 0 {", "	if true {"}},
		"LateUsageOfClosedPeriods", "./cmd/drawdown",
	},
	{
		"what waits for another run is forgotten", "jobs/settle.go",
		[][2]string{{"		case o.waits:", "		case false:"}},
		"LateUsageOfClosedPeriods", "./cmd/drawdown",
	},
}

// TestMutantsAreCaught proves each guard of a commit: without it, a test fails.
func TestMutantsAreCaught(t *testing.T) {
	if testing.Short() {
		t.Skip("it compiles the program once for each guard")
	}
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			overlay := filepath.Join(t.TempDir(), "overlay.json")
			file := filepath.Join(root, filepath.FromSlash(m.file))
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			changed := string(source)
			for _, c := range m.change {
				if strings.Count(changed, c[0]) != 1 {
					t.Fatalf("%s does not hold once what is to be changed: %q", m.file, c[0])
				}
				changed = strings.Replace(changed, c[0], c[1], 1)
			}
			mutated := filepath.Join(t.TempDir(), filepath.Base(file))
			text, err := json.Marshal(map[string]any{"Replace": map[string]string{file: mutated}})
			if err == nil {
				err = os.WriteFile(mutated, []byte(changed), 0o600)
			}
			if err == nil {
				err = os.WriteFile(overlay, text, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("go", "test", "-overlay", overlay, "-vet=off", "-timeout", "2m", "-run", m.tests, m.room)
			cmd.Dir = root
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Errorf("no test has noticed:\n%s", out)
			} else if !strings.Contains(string(out), "--- FAIL") {
				t.Errorf("it was not a test that failed:\n%s", out)
			}
		})
	}
}
