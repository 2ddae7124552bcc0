package catalog

import (
	"errors"
	"os"
	"strings"
	"testing"
)

// checkFuzzed compiles whatever was read: nothing may panic, and every fault has its place and says something.
func checkFuzzed(t *testing.T, s *Source) {
	_, err := s.Compile(testConfig)
	if err == nil {
		return
	}
	var faults *Faults
	if !errors.As(err, &faults) || len(faults.List) == 0 {
		t.Fatalf("not faults: %v", err)
	}
	last := 0
	for _, l := range faults.List {
		if l.File == "" || l.Line < 1 || l.Rule == "" || l.Message == "" || l.Hint == "" {
			t.Errorf("incomplete: %+v", l)
		}
		if l.Line < last {
			t.Errorf("line %d stands after line %d", l.Line, last)
		}
		last = l.Line
	}
}

func FuzzYAML(f *testing.F) {
	f.Add([]byte(allYAML))
	f.Add([]byte("accounts:\n  - &a {id: y, <<: *a}\n"))
	f.Add([]byte("accounts:\n  - &a [*a]\n"))
	golden, err := os.ReadFile("testdata/faults.txt")
	if err != nil {
		f.Fatal(err)
	}
	for c := range strings.SplitSeq(string(golden), "\n--- case.yaml") {
		_, text, _ := strings.Cut(c, "\n")
		text, _, _ = strings.Cut(text, "\n=>")
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) { checkFuzzed(t, Parse("c.yaml", data)) })
}

func FuzzCSV(f *testing.F) {
	names := make([]string, 0, len(allCSV))
	for i, section := range sections {
		name := string(section.name())
		names = append(names, name+".csv")
		for file, text := range allCSV {
			if strings.HasPrefix(file, name) {
				f.Add(uint8(i), []byte(text))
			}
		}
	}
	f.Add(uint8(3), bulkCSV(2, "calls*2.5;sms"))
	f.Fuzz(func(t *testing.T, kind uint8, data []byte) {
		checkFuzzed(t, Parse(names[int(kind)%len(names)], data))
	})
}
