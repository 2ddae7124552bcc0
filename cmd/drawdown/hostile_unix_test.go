//go:build unix

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"

	"drawdown/readers/usage/usagetest"
)

// What a run over all of TestHostileUsage's objects may take. It takes a tenth of the time on a quiet machine; the memory is
// what a process has held at most, with 256 MiB for what may spill.
const (
	hostileTime   = 5 * time.Minute // of processors
	hostileMemory = 768 << 20
)

const hostileCatalog = `accounts: [{id: acme}, {id: globex}]
meters: [{id: calls}, {id: gb, scale: 2, max: "1000"}]
prices:
  - {id: calls, meter: calls, currency: USD, model: flat, price: "0.01"}
  - {id: gb, meter: gb, currency: USD, model: flat, price: "0.01"}
`

// TestHostileUsage (R4.4, R4.5): 10,000 damaged Parquet files, 40 objects that expand without end, and 10,000 rows that are
// none, all in one run of the real process. It lives, each ends with its reason, and what is sound is settled.
func TestHostileUsage(t *testing.T) {
	s := emptySite(t)
	s.configure("memory: 256MiB\nusage: {on_bad_object: quarantine}\n", "start: 2026-10-01", "max_quarantine: 100%")
	s.write("catalog.yaml", []byte(hostileCatalog))
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
	s.write("usage/sound.csv", []byte("id,account,meter,quantity,time\nsound,acme,calls,7,2026-10-01T08:00:00Z\n"))

	var stderr bytes.Buffer
	cmd := exec.Command("drawdown", "--config", s.path("drawdown.yaml"), "--quiet", "settle", "--now", "2026-10-03T00:00:00Z", "--until", "2026-10-02T00:00:00Z")
	cmd.Stderr = &stderr
	started := time.Now()
	err := cmd.Run()
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	memory, cpu := int64(usage.Maxrss)<<10, cmd.ProcessState.SystemTime()+cmd.ProcessState.UserTime()
	if runtime.GOOS == "darwin" {
		memory >>= 10
	}
	t.Logf("%d files: %v, %v of processors, %d MiB", files, time.Since(started).Round(time.Millisecond), cpu, memory>>20)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Fatalf("%v\n%s", err, stderr.String())
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
