package main

import (
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"drawdown/jobs"
	"drawdown/rating"
)

// withoutFiles makes a site whose catalog stands in the database alone, where it was applied.
func (s *site) withoutFiles(t *testing.T, w *world) {
	t.Helper()
	config, err := os.ReadFile(s.path("drawdown.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	s.write("drawdown.yaml", []byte(strings.Replace(string(config), "catalog: ./catalog.yaml\n", "", 1)))
	if code, out := s.run(t, w.later(), "catalog", "apply", s.path("catalog.yaml")); code != exitDone {
		t.Fatal(out)
	}
}

// TestSettledFromTheCopy: what is settled with the kept copy of the catalog is what is settled with its files, to the byte;
// also where somebody edits the database by hand in between, and where the copy is taken away.
func TestSettledFromTheCopy(t *testing.T) {
	t.Parallel()
	w := newWorld(75, smallWorld)
	half := rating.InstantOf(w.start.AddDate(0, 0, 3))
	for name, interfere := range map[string]string{
		"nobody":            ``,
		"an edit":           `UPDATE accounts SET locale = locale`,
		"no copy":           `DELETE FROM catalog_current`,
		"a damaged copy":    `UPDATE catalog_chunk SET content = (SELECT MIN(content) FROM catalog_chunk)`,
		"another's program": `UPDATE catalog_current SET checked = '` + strings.Repeat("0", 64) + `'`,
	} {
		t.Run(name, func(t *testing.T) {
			want, s := newSite(t, w), newSite(t, w)
			s.withoutFiles(t, w)
			for _, site := range []*site{want, s} {
				site.settleUntil(w.later(), half)
				if site == s && interfere != "" {
					s.exec(interfere)
				}
				site.settle(w)
			}
			sameSite(t, "in the end", want, s)
			used := s.query(`SELECT COUNT(*) AS n FROM catalog_current JOIN revision ON revision.catalog_sha256 = catalog_current.sha256
				WHERE catalog_current.edits = (SELECT SUM(edits) FROM catalog_edit)`)
			if name != "no copy" && used[0] == "n=0" {
				t.Error("no copy stands for the tables in the end")
			}
			if name != "a damaged copy" {
				wantSound(t, s.verify(w, true))
			}
		})
	}
}

// TestVerifyFindsUncountedEdits: the tables of the catalog are edited, and nothing has counted that; the fault says what to
// do, and that mends it.
func TestVerifyFindsUncountedEdits(t *testing.T) { onAllStores(t, findUncounted) }

func findUncounted(t *testing.T, s *tampered) {
	s.exec(`UPDATE catalog_current SET edits = edits + 1`)
	s.exec(`UPDATE accounts SET name = 'forged' WHERE id = (SELECT MIN(id) FROM accounts)`)
	s.wantFault("an edit that was not counted", jobs.FaultCatalog, "accounts ", "drawdown catalog apply")
	if code, out := s.run(t, s.w.later(), "catalog", "apply", s.path("catalog.yaml")); code != exitDone {
		t.Fatal(out)
	}
	wantSound(t, s.verify(s.w, false))
}

// TestKilledApply: a program that is killed while it applies a catalog has applied all of it or nothing, and the copy that
// stands for the tables holds just what they do.
func TestKilledApply(t *testing.T) {
	t.Parallel()
	w := newWorld(76, smallWorld)
	s := newSite(t, w)
	s.withoutFiles(t, w)
	random := rand.New(rand.NewPCG(3, 3))
	length, killed, applied := time.Duration(0), 0, 0
	for n := 0; n < 400 && (killed < 12 || applied < 4); n++ {
		var rows strings.Builder
		rows.WriteString("accounts:\n")
		for range 300 {
			rows.WriteString("  - {id: more-" + string(rune('a'+random.IntN(26))) + string(rune('a'+random.IntN(26))) + string(rune('a'+random.IntN(26))) +
				", name: \"" + spell(w.start.AddDate(0, 0, n)) + "\"}\n")
		}
		s.write("more.yaml", []byte(unique(rows.String())))
		cmd := s.command(w, "catalog", "apply", s.path("more.yaml"))
		started := time.Now()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if length > 0 {
			time.AfterFunc(time.Duration(random.Int64N(int64(length)))*5/4, func() { cmd.Process.Kill() })
		}
		switch code := exitCode(t, cmd.Wait()); code {
		case -1:
			killed++
		case exitDone:
			applied++
			length = max(length, time.Since(started))
		default:
			t.Fatalf("it ended with %d: %s", code, cmd.Stderr)
		}
		wantSound(t, s.verify(w, false))
		if names := s.query(`SELECT DISTINCT name FROM accounts WHERE id IN (SELECT MAX(id) FROM accounts WHERE id LIKE 'more-%')`); len(names) > 1 {
			t.Errorf("applied in part: %v", names)
		}
	}
	if killed < 12 {
		t.Errorf("it was killed only %d times, and applied %d times", killed, applied)
	}
}

// unique leaves out lines that begin as one before does.
func unique(rows string) string {
	seen := map[string]bool{}
	var kept []string
	for line := range strings.Lines(rows) {
		id, _, _ := strings.Cut(line, ",")
		if !seen[id] {
			seen[id] = true
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}
