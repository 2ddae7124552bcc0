package catalog

import (
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"drawdown/rating"
)

var update = flag.Bool("update", false, "write what comes out into testdata/faults.txt")

var testConfig = rating.CompileConfig{Zone: time.UTC, LoadZone: time.LoadLocation, Currency: "USD"}

// TestCatalogueOfFaults provokes every fault that a catalog can have; testdata/faults.txt shows each file and what is
// said about it.
func TestCatalogueOfFaults(t *testing.T) {
	const golden = "testdata/faults.txt"
	data, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	base, err := os.ReadFile("testdata/base.yaml")
	if err != nil {
		t.Fatal(err)
	}
	head, cases, _ := strings.Cut(string(data), "\n--- ")
	written := head
	for c := range strings.SplitSeq(cases, "\n--- ") {
		name, rest, _ := strings.Cut(c, "\n")
		file, want, _ := strings.Cut(rest, "\n=>\n")
		fileName, _, _ := strings.Cut(name, ": ")
		s := newSource()
		s.add("base.yaml", base)
		s.add(fileName, []byte(unescape.Replace(file)+"\n"))
		_, err := s.Compile(testConfig)
		got := "none"
		if err != nil {
			got = err.Error()
		}
		_, got, _ = strings.Cut(got, "\n")
		written += "\n--- " + name + "\n" + file + "\n=>\n" + got + "\n"
		if diff := cmp.Diff(strings.TrimRight(want, "\n"), got); diff != "" && !*update {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if *update {
		if err := os.WriteFile(golden, []byte(written), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// In faults.txt bytes that an editor may not keep are written in words.
var unescape = strings.NewReplacer("<EMPTY>\n", "", "<EMPTY>", "", "<BOM>", "\ufeff", "<TAB>", "\t", "<BEL>", "\a")
