package main

import (
	"bytes"
	"encoding/csv"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
)

func makeWorld(t *testing.T, o options) (string, *summary) {
	t.Helper()
	if o.Out == "" {
		o.Out = filepath.Join(t.TempDir(), "world")
	}
	if o.Days == 0 {
		o.Days = 31
	}
	if o.PackagedPercent == 0 {
		o.PackagedPercent = 58
	}
	if o.PackagesPerPair == 0 {
		o.PackagesPerPair = 2
	}
	if err := o.check(nil); err != nil {
		t.Fatal(err)
	}
	s, err := generate(&o)
	if err != nil {
		t.Fatal(err)
	}
	return o.Out, s
}

func contents(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		files[path], err = os.ReadFile(filepath.Join(dir, path))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestTheSameSeedGivesTheSameBytesOnAnyNumberOfCores(t *testing.T) {
	for _, format := range []string{"parquet", "ndjson.gz", "csv.zst"} {
		o := options{Records: 20_000, Accounts: 500, Format: format, Seed: 7, Objects: 3}
		first, _ := makeWorld(t, o)
		cores := runtime.GOMAXPROCS(1)
		second, _ := makeWorld(t, o)
		runtime.GOMAXPROCS(cores)
		o.Seed = 8
		other, _ := makeWorld(t, o)
		a, b, c := contents(t, first), contents(t, second), contents(t, other)
		if len(a) != 10 {
			t.Errorf("%s: %d files, want 10", format, len(a))
		}
		for name := range a {
			if !bytes.Equal(a[name], b[name]) {
				t.Errorf("%s: %s differs between two runs of one seed", format, name)
			}
		}
		for name := range a {
			if strings.HasPrefix(name, "usage/") && bytes.Equal(a[name], c[name]) {
				t.Errorf("%s: %s is the same for two seeds", format, name)
			}
		}
	}
}

func TestAllFormatsHoldTheSameRecords(t *testing.T) {
	o := options{Records: 5_000, Accounts: 100, Format: "csv", Seed: 3, Objects: 2}
	text, _ := makeWorld(t, o)
	o.Format = "parquet"
	columns, _ := makeWorld(t, o)
	for _, part := range []string{"part-00000", "part-00001"} {
		rows, err := parquet.ReadFile[usageRow](filepath.Join(columns, "usage", part+".parquet"))
		if err != nil {
			t.Fatal(err)
		}
		lines := readCSV(t, filepath.Join(text, "usage", part+".csv"))
		if len(lines) != len(rows)+1 {
			t.Fatalf("%s: %d lines, %d rows", part, len(lines), len(rows))
		}
		for i, r := range rows {
			want := []string{r.ID, r.Account, r.Meter, string(appendMicros(nil, r.Quantity)), string(appendInstant(nil, r.Time))}
			if got := lines[i+1]; strings.Join(got, ",") != strings.Join(want, ",") {
				t.Fatalf("%s row %d: %v in CSV, %v in Parquet", part, i, got, want)
			}
		}
	}
}

func readCSV(t *testing.T, name string) [][]string {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func TestWhatAWorldIsMadeOf(t *testing.T) {
	const records, accounts = 200_000, 2_000
	o := options{Records: records, Accounts: accounts, Format: "csv", Seed: 1, Objects: 31, Days: 31, PackagesPerPair: 2, PackagedPercent: 58}
	w := newWorld(&o)
	times := map[string]int64{} // by id
	byAccount := map[int]int{}
	var sum, late, twice int64
	batch := make([]record, batchRows)
	for object := range o.Objects {
		st := w.newStream(object)
		last := int64(0)
		for n := st.fill(batch); n > 0; n = st.fill(batch) {
			for i := range batch[:n] {
				r := &batch[i]
				if at, seen := times[string(r.id[:])]; seen {
					twice++
					if at != r.time {
						t.Fatalf("%s was sent again with another time", r.id)
					}
					continue
				}
				times[string(r.id[:])] = r.time
				if r.time < last {
					late++
				}
				last = max(last, r.time)
				if r.time < monthStart.UnixMicro() || r.time >= monthEnd.UnixMicro() {
					t.Fatalf("%s is out of the month: %d", r.id, r.time)
				}
				if r.quantity <= 0 || r.quantity%quantum != 0 {
					t.Fatalf("%s has quantity %d", r.id, r.quantity)
				}
				sum += r.quantity
				byAccount[r.account]++
			}
		}
	}
	within := func(what string, got, low, high float64) {
		t.Helper()
		if got < low || got > high {
			t.Errorf("%s is %.4f, want %.4f to %.4f", what, got, low, high)
		}
	}
	within("share of duplicates", float64(twice)/records, 0.004, 0.006)
	within("share of late records", float64(late)/records, 0.018, 0.022)
	within("mean quantity over the expected one", float64(sum)/float64(records-twice)/meanQuantity, 0.98, 1.02)
	within("share of the first account", float64(byAccount[0])/records, 0.115, 0.130) // 1 / H(2000) = 0.122
	within("the first account over the tenth", float64(byAccount[0])/float64(byAccount[9]), 9, 11)
}

func TestPackagesOverlapAndCoverMostPairs(t *testing.T) {
	dir, s := makeWorld(t, options{Records: 1_000, Accounts: 2_000, Format: "csv", Seed: 1, Objects: 1, Notices: true})
	share := float64(s.PackagedPairs) / float64(s.Pairs)
	mean := float64(s.Packages) / float64(s.PackagedPairs)
	if share < 0.58 || share > 0.62 || mean < 1.95 || mean > 2.05 {
		t.Errorf("%.3f of the pairs have packages, %.3f on average", share, mean)
	}
	rows, err := parquet.ReadFile[pack](filepath.Join(dir, "packages.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	lines := readCSV(t, filepath.Join(dir, "catalog", "packages.csv"))
	if len(rows) != s.Packages || len(lines) != s.Packages+1 {
		t.Fatalf("%d packages, %d rows, %d lines", s.Packages, len(rows), len(lines)-1)
	}
	inside := 0
	for i, p := range rows {
		if p.Effective >= p.Expires || p.Quota <= 0 || p.Quota%quantum != 0 {
			t.Fatalf("package %+v", p)
		}
		if p.Effective > monthStart.UnixMicro() || p.Expires < monthEnd.UnixMicro() {
			inside++
		}
		if line := lines[i+1]; line[0] != p.ID || line[3] != string(appendMicros(nil, p.Quota)) || line[8] != p.Meter {
			t.Fatalf("package %+v is %v in CSV", p, line)
		}
	}
	if part := float64(inside) / float64(len(rows)); part < 0.55 || part > 0.65 {
		t.Errorf("%.3f of the packages start or end inside the month", part)
	}
}

func TestOnePair(t *testing.T) {
	_, s := makeWorld(t, options{Records: 1_000, Format: "ndjson", Seed: 1, OnePair: 1_000})
	if s.Accounts != 1 || s.Pairs != 1 || s.Packages != 1_000 {
		t.Errorf("%+v", s)
	}
}

func TestFlagsThatMakeNoWorld(t *testing.T) {
	for _, c := range [][2]string{
		{"", "--out is missing"},
		{"--out x --format xml", "--format xml is not known"},
		{"--out x --format parquet.gz", "--format parquet.gz is not known"},
		{"--out x --days 32", "--days must be"},
		{"--out x --records 0", "--records must be"},
		{"--out x more", `what is "more"?`},
		{"--out .", "holds a world already"},
	} {
		if c[0] == "--out ." {
			t.Chdir(t.TempDir())
			if err := os.Mkdir("usage", 0o777); err != nil {
				t.Fatal(err)
			}
		}
		err := run(strings.Fields(c[0]), io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), c[1]) {
			t.Errorf("usagegen %s: %v, want %q", c[0], err, c[1])
		}
	}
}
