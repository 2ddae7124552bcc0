package catalog_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"drawdown/rating"
	"drawdown/readers/catalog"
)

var config = rating.CompileConfig{Zone: time.UTC, LoadZone: time.LoadLocation, Currency: "USD"}

const cases = "../../testdata/conformance"

// Every case with a catalog compiles, and every error-* case says what it must.
func TestConformanceCatalogs(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(cases, "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases in %s: %v", cases, err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var c struct {
			Name    string
			Catalog yaml.Node
			Expect  struct{ Error yaml.Node }
		}
		if err := yaml.Unmarshal(data, &c); err != nil {
			t.Fatal(file, err)
		}
		text, err := yaml.Marshal(&c.Catalog)
		if err != nil {
			t.Fatal(file, err)
		}
		_, err = catalog.Parse("catalog.yaml", text).Compile(config)
		if !strings.HasPrefix(filepath.Base(file), "error-") {
			if err != nil {
				t.Errorf("%s: %v", file, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.Expect.Error.Value) {
			t.Errorf("%s: want %q, got %v", file, c.Expect.Error.Value, err)
		}
	}
}
