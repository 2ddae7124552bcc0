package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"drawdown/readers/usage/usagetest"
)

// What a run over all of TestHostileUsage's objects may take. It takes a tenth of the time on a quiet machine; the memory is
// what a process has held at most, with 256 MiB for what may spill.
const (
	hostileTime   = 5 * time.Minute // of processors
	hostileMemory = 512 << 20
)

// TestHostileUsage (R4.4, R4.5): 10,000 damaged Parquet files, 40 objects that expand without end, and 10,000 rows that are
// none, all in one run of the real process. It lives, each ends with its reason, and what is sound is settled.
func TestHostileUsage(t *testing.T) {
	s := emptySite(t)
	s.configure("memory: 256MiB\nusage: {on_bad_object: quarantine}\n", "start: 2026-10-01", "max_quarantine: 100%")
	s.write("catalog.yaml", []byte(strings.Replace(plainCatalog, "{id: calls}", "{id: calls}, {id: free}", 1)))
	reasons := map[place]string{} // row 0 is the whole object
	files := 10_000
	if testing.Short() {
		files = 1000
	}
	mutants := usagetest.NewMutants()
	for n := range files {
		s.write(fmt.Sprintf("usage/mutants/%05d.parquet", n), mutants.File(n))
	}
	for _, b := range usagetest.Bombs() {
		s.write("usage/"+b.Key, b.Data)
		if b.Reason == "bad_object" {
			reasons[place{b.Key, 0}] = b.Reason
		} else {
			reasons[place{b.Key, 1}] = b.Reason
		}
	}
	for _, format := range []string{"ndjson", "csv"} {
		for part := range 5 {
			key, rows := fmt.Sprintf("rows-%d.%s", part, format), usagetest.Rows(format, uint64(part), files/10)
			s.write("usage/"+key, usagetest.Table(format, rows))
			for i, r := range rows {
				reasons[place{key, int64(i + 1)}] = r.Reason
			}
		}
	}
	var late strings.Builder // rows that look well, until they are compared or rated
	for i := range files / 10 {
		id, meter, reason := fmt.Sprint("twice-", i/3), "calls", "conflict"
		if i%3 == 0 {
			id, meter, reason = fmt.Sprint("free-", i), "free", "no_price"
		}
		fmt.Fprintf(&late, "{\"id\":%q,\"account\":\"acme\",\"meter\":%q,\"quantity\":%d,\"time\":\"2026-10-01T09:00:00Z\"}\n", id, meter, i+1)
		reasons[place{"late.ndjson", int64(i + 1)}] = reason
	}
	s.write("usage/late.ndjson", []byte(late.String()))
	s.write("usage/sound.csv", []byte("id,account,meter,quantity,time\nsound,acme,calls,7,2026-10-01T08:00:00Z\n"))

	started := time.Now()
	code, memory, process := measured(t, "--config", s.path("drawdown.yaml"), "settle", "--now", "2026-10-03T00:00:00Z", "--until", "2026-10-02T00:00:00Z")
	cpu := process.SystemTime() + process.UserTime()
	t.Logf("%d files: %v, %v of processors, %d MiB", files, time.Since(started).Round(time.Millisecond), cpu, memory>>20)
	if code != exitWaiting {
		t.Fatalf("it ended with %d", code)
	}
	if memory > hostileMemory || cpu > hostileTime {
		t.Errorf("it took %v of processors and %d MiB", cpu, memory>>20)
	}
	s.wantReasons(t, reasons)
}

// wantReasons looks for objects and rows in quarantine.
func (s *site) wantReasons(t *testing.T, reasons map[place]string) {
	t.Helper()
	objects := 0
	for _, q := range s.rows("quarantine") {
		at := place{q["source_object"], int64(number(q["source_row"]).Num().Int64())}
		if q["reason"] == "bad_object" {
			objects++
		}
		if want, ok := reasons[at]; ok && q["reason"] != want {
			t.Errorf("%v is %s, not %s: %s", at, q["reason"], want, q["detail"])
		}
		delete(reasons, at)
	}
	for at, want := range reasons {
		t.Errorf("%v is not in quarantine as %s", at, want)
	}
	t.Logf("%d bad objects", objects)
	for _, l := range s.rows("lines") {
		if l["record_id"] == "sound" {
			return
		}
	}
	t.Error("the sound record is not settled")
}

// measured runs a command with --json, and gives its exit code and the most memory that it has held at a time. A shell starts
// it, because a process counts what the one that it was made of held.
func measured(t *testing.T, args ...string) (code int, peak int64, p *os.ProcessState) {
	t.Helper()
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip(err)
	}
	cmd := exec.Command("sh", append([]string{"-c", `"$@"; exit $?`, "sh", "drawdown", "--json"}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var said struct {
		Peak int64 `json:"peak_rss_bytes"`
	}
	if parsed := json.Unmarshal(stdout.Bytes(), &said); parsed != nil || said.Peak == 0 {
		t.Fatalf("%v, %v: %s", err, parsed, stderr.String())
	}
	return cmd.ProcessState.ExitCode(), said.Peak, cmd.ProcessState
}
