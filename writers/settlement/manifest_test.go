package settlement

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"drawdown/rating"
)

func TestManifestIsCanonical(t *testing.T) {
	dir := t.TempDir()
	w := newWorld(1, 2, 0)
	r := w.create(t, dir)
	if err := r.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	m := w.manifest()
	m.Site, m.Period.TimeZone, m.ConfigSHA256 = "a<b", "Europe/Berlin", make(Hash, 32)
	key, sum, err := r.Finish(m)
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(dir, key))
	if err != nil {
		t.Fatal(err)
	}
	if sha256.Sum256(content) != sum {
		t.Error("the hash is not the file's")
	}
	const head = `{
  "format_version": 1,
  "program": "drawdown",
  "site": "a<b",
  "period": {
    "name": "2026-10",
    "start": "2026-10-01T00:00:00Z",
    "end": "2026-11-01T00:00:00Z",
    "time_zone": "Europe/Berlin"
  },
  "revision": 1,
  "inputs": [
`
	if !strings.HasPrefix(string(content), head) || !strings.HasSuffix(string(content), "\"previous_manifest_sha256\": \"\"\n}\n") {
		t.Errorf("not as it should be written:\n%s", content)
	}
	if strings.Contains(string(content), "null") || strings.Contains(string(content), "-17") {
		t.Errorf("it has a null or the token in it:\n%s", content)
	}
	for from, to := range map[string]string{
		`"revision": 1`: `"revision":  1`, "}\n": "}", `"site"`: `"sight"`, `"format_version": 1`: `"format_version": 2`,
		`"read": 0,`: `"read": 1,`,
	} {
		if _, err := parseManifest([]byte(strings.Replace(string(content), from, to, 1))); err == nil && from != "}\n" {
			t.Errorf("%q was read", to)
		}
	}
	if _, err := parseManifest(content[:len(content)-1]); err == nil {
		t.Error("read without its last line feed")
	}
}

func TestControlTotalsMustBalance(t *testing.T) {
	w := newWorld(2, 20, 300)
	for name, spoil := range map[string]func(m *Manifest){
		"rows of an object": func(m *Manifest) { m.Inputs[0].Rows.Duplicate++ },
		"rows overall":      func(m *Manifest) { m.Totals.Rows.Read++ },
		"negative rows":     func(m *Manifest) { m.Inputs[0].Rows.Duplicate--; m.Inputs[0].Rows.Settled++ },
		"a meter":           func(m *Manifest) { m.Totals.Meters[0].Settled.Lo++ },
		"a meter's lines":   func(m *Manifest) { m.Totals.Meters[0].Settled.Lo++; m.Totals.Meters[0].Excess.Lo++ },
		"an amount":         func(m *Manifest) { m.Totals.Amounts[0].Amount.Lo++ },
		"a missing amount":  func(m *Manifest) { m.Totals.Amounts = m.Totals.Amounts[1:] },
		"order of inputs":   func(m *Manifest) { m.Inputs = append(m.Inputs, Input{Key: "usage/a"}) },
		"an unknown meter":  func(m *Manifest) { m.Totals.Meters = append(m.Totals.Meters, MeterTotal{Meter: "zzz"}) },
	} {
		r := w.create(t, t.TempDir())
		w.write(t, r, 1, 1000)
		if err := r.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		m := w.manifest()
		spoil(&m)
		if _, _, err := r.Finish(m); err == nil {
			t.Errorf("%s: finished", name)
		}
	}
}

func TestCurrent(t *testing.T) {
	o, err := OpenOutput(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	want := map[string]Current{}
	for i := range 3 {
		if got, err := o.ReadCurrent(); err != nil || !cmp.Equal(got, want) {
			t.Fatal(got, err)
		}
		want[string(rune('c'-i))] = Current{i, "period=x/rev=1-2/manifest.json", make(Hash, 32)}
		for range 2 {
			if err := o.SetCurrent(want); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestDecimalsAreReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := rating.Amount{Hi: rapid.Int64Range(-1<<61, 1<<61).Draw(t, "hi"), Lo: rapid.Uint64().Draw(t, "lo")}
		if got, err := parseAmount(a.String()); err != nil || got != a {
			t.Fatalf("%s is read as %s: %v", a, got, err)
		}
	})
	for _, text := range []string{"", "-", ".5", "1.", "1.0000000001", "1e3", "+1", "--1", "1.-5"} {
		if _, err := parseAmount(text); err == nil {
			t.Errorf("%q was read", text)
		}
	}
}
