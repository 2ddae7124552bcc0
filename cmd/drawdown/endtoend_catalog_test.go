package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	"weak"

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

// TestDamagedShardIsMended: where the copy of a shard is damaged a settle says what to do, and that mends it.
func TestDamagedShardIsMended(t *testing.T) {
	t.Parallel()
	w := newWorld(79, smallWorld)
	s := newSite(t, w)
	s.withoutFiles(t, w)
	s.exec(`UPDATE catalog_chunk SET content = '' WHERE sha256 = (SELECT LOWER(HEX(SUBSTR(chunks, -32))) FROM catalog)`)
	if code, out := s.run(t, w.later(), "settle"); code != exitFailed || !strings.Contains(out, "drawdown catalog apply") {
		t.Errorf("it ended with %d: %s", code, out)
	}
	if code, out := s.run(t, w.later(), "catalog", "apply", s.path("catalog.yaml")); code != exitDone {
		t.Fatal(out)
	}
	s.settle(w)
	wantSound(t, s.verify(w, false))
}

// TestVerifyFindsUncountedEdits: the tables of the catalog are edited, and nothing has counted that; the fault says what to
// do, and that mends it.
func TestVerifyFindsUncountedEdits(t *testing.T) { onAllStores(t, findUncounted) }

func findUncounted(t *testing.T, s *tampered) {
	s.exec(`UPDATE accounts SET name = 'forged' WHERE id = (SELECT MIN(id) FROM accounts)`)
	s.exec(`UPDATE catalog_current SET edits = (SELECT SUM(edits) FROM catalog_edit)`)
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

// TestPartsOfTheCatalogGo: a settle has the packages of some shards at a time, never of all, and those of a shard go when it
// is done; a backfill reads those of the shards alone that it computes.
func TestPartsOfTheCatalogGo(t *testing.T) {
	t.Parallel()
	w := newWorld(77, smallWorld)
	s := newSite(t, w, "shards: 24")
	s.withoutFiles(t, w)
	var mu sync.Mutex
	var made []weak.Pointer[rating.Catalog]
	most, read := 0, map[int]bool{}
	s.tamper = func(job *jobs.Settle) {
		if job.Parts == nil || len(job.Catalog.Packages) > 0 || job.Catalog.PackageCount() != len(w.catalog["packages"]) {
			t.Errorf("it settles with all %d packages, and counts %d", len(job.Catalog.Packages), job.Catalog.PackageCount())
			return
		}
		parts := job.Parts
		job.Parts = func(ctx context.Context, shard int) (*rating.Catalog, error) {
			part, err := parts(ctx, shard)
			mu.Lock()
			defer mu.Unlock()
			runtime.GC()
			alive := 1
			for _, other := range made {
				if other.Value() != nil {
					alive++
				}
			}
			most, made, read[shard] = max(most, alive), append(made, weak.Make(part)), true
			return part, err
		}
	}
	s.settle(w)
	if len(made) != 24 || most > runtime.GOMAXPROCS(0)+1 {
		t.Errorf("%d parts, of which %d were there at once", len(made), most)
	}
	computed := func() map[int]bool {
		t.Helper()
		clear(read)
		s.backfilled(w, rating.InstantOf(w.start), w.until(), false)
		return maps.Clone(read)
	}
	anyhow := computed() // what is in quarantine for want of a price is always looked at again
	s.exec(`UPDATE packages SET price_paid = '77' WHERE id = (SELECT MIN(id) FROM packages)`)
	edited := computed()
	if len(edited) == 0 || len(edited) > len(anyhow)+1 || len(edited) > 12 {
		t.Errorf("a backfill has read the shards %v of the catalog, and for one package %v", anyhow, edited)
	}
}

// TestPackageMovesToAnotherShard: where a package that is settled belongs to another account in the database, it is said
// what is wrong, though the shard that has what is left of it has it no longer.
func TestPackageMovesToAnotherShard(t *testing.T) {
	t.Parallel()
	w := newWorld(78, smallWorld)
	s := newSite(t, w, "shards: 7")
	s.withoutFiles(t, w)
	s.settleUntil(w.later(), rating.InstantOf(w.start.AddDate(0, 0, 3)))
	owner := strings.TrimPrefix(s.query(`SELECT account FROM packages WHERE id = (SELECT MIN(id) FROM packages)`)[0], "account=")
	told := 0
	for _, row := range s.query(`SELECT id FROM accounts ORDER BY id`) {
		account := strings.TrimPrefix(row, "id=")
		s.exec(`UPDATE packages SET account = ? WHERE id = (SELECT MIN(id) FROM packages)`, account)
		cmd := s.command(w, "settle", "--dry-run")
		switch code := exitCode(t, cmd.Run()); {
		case code == exitDone || code == exitWaiting: // the same payer's
		case !strings.Contains(cmd.Stderr.(*strings.Builder).String(), "belonged to another account or payer when it was settled"):
			t.Errorf("%s: %d: %s", account, code, cmd.Stderr)
		default:
			told++
		}
		if code := exitCode(t, s.command(w, "settle", "--until", spell(w.start.AddDate(0, 0, 3))).Run()); code != exitDone && code != exitWaiting {
			t.Errorf("%s: settle, with nothing to do, ended with %d", account, code) // and has made the copy
		}
		cmd = s.command(w, "settle", "--dry-run")
		if code := exitCode(t, cmd.Run()); code != exitDone && code != exitWaiting &&
			!strings.Contains(cmd.Stderr.(*strings.Builder).String(), "belonged to another account or payer when it was settled") {
			t.Errorf("%s, from the copy: %d: %s", account, code, cmd.Stderr)
		}
	}
	s.exec(`UPDATE packages SET account = ? WHERE id = (SELECT MIN(id) FROM packages)`, owner)
	if told == 0 {
		t.Error("no move was refused")
	}
	s.settle(w)
}

// TestShardsAreAdvised: who has many accounts is told of the number of shards while he can still choose it.
func TestShardsAreAdvised(t *testing.T) {
	t.Parallel()
	s, w := emptySite(t, "shards: 16"), newWorld(75, smallWorld)
	advises := func(accounts int) bool {
		var catalog bytes.Buffer
		catalog.WriteString("id\n")
		for n := range accounts {
			fmt.Fprintf(&catalog, "a%06d\n", n)
		}
		s.write("accounts.csv", catalog.Bytes())
		code, out := s.run(t, w.later(), "catalog", "apply", "--dry-run", s.path("accounts.csv"))
		if code != exitDone {
			t.Fatal(out)
		}
		return strings.Contains(out, "settlement.shards is ")
	}
	if !advises(manyAccounts) || advises(manyAccounts-1) {
		t.Error("want advice from 100,000 accounts on")
	}
	s.configure("", "shards: 17")
	if advises(manyAccounts) {
		t.Error("want no advice where there are more shards")
	}
	s.configure("", "shards: 16")
	s.write("catalog.yaml", []byte("meters: [{id: calls}]\nprices: [{id: list, meter: calls, model: flat, price: 2}]\naccounts: [{id: a}]\n"))
	s.write("usage/u.ndjson", fmt.Appendf(nil, `{"id":"1","account":"a","meter":"calls","quantity":1,"time":%q}`+"\n", spell(w.start)))
	s.settle(w)
	if advises(manyAccounts) {
		t.Error("want no advice that cannot be followed")
	}
}
