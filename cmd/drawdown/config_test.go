package main

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestTempDir: without temp_dir it is the system's folder; where it is changes no result.
func TestTempDir(t *testing.T) {
	t.Parallel()
	const start = "settlement: {start: 2026-10-01}\n"
	site, absolute := filepath.Join("some", "site"), filepath.Join(t.TempDir(), "scratch")
	parse := func(text string, env ...string) (*Config, error) {
		return parseConfig([]byte(start+text), filepath.Join(site, "drawdown.yaml"), env)
	}
	plain, err := parse("")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		text, want string
		env        []string
	}{
		{"", "", nil}, // which os.MkdirTemp and all others take for the system's
		{"temp_dir: ./scratch\n", filepath.Join(site, "scratch"), nil},
		{"temp_dir: '" + absolute + "'\n", absolute, nil},
		{"temp_dir: ./scratch\n", filepath.Join(site, "other"), []string{"DRAWDOWN_TEMP_DIR=other"}},
	} {
		got, err := parse(c.text, c.env...)
		if err != nil || got.TempDir != c.want || got.hash() != plain.hash() {
			t.Errorf("%q %q: %+v %v", c.text, c.env, got, err)
		}
	}
	if _, err := parse("temp_dir: s3://bucket\n"); err == nil || !strings.Contains(err.Error(), "line 2: temp_dir: s3:// is not supported") {
		t.Error(err)
	}
}

// TestOutputIsNotUsage: the settlement would be read as usage by the next run.
func TestOutputIsNotUsage(t *testing.T) {
	t.Parallel()
	for text, refused := range map[string]bool{
		"usage: {url: ./usage}\noutput: {url: ./usage}\n":             true,
		"usage: {url: ./usage}\noutput: {url: usage/../usage/out/}\n": true,
		"usage: {url: .}\noutput: {url: ./out}\n":                     true,
		"usage: {url: /a/usage}\noutput: {url: /a/usage/out}\n":       true,
		"usage: {url: ./usage}\noutput: {url: ./usages}\n":            false,
		"usage: {url: ./usage/in}\noutput: {url: ./usage/out}\n":      false,
	} {
		_, err := parseConfig([]byte("settlement: {start: 2026-10-01}\n"+text), "drawdown.yaml", nil)
		if got := err != nil && strings.Contains(err.Error(), "in the usage folder"); got != refused || (err != nil) != refused {
			t.Errorf("%s%v", text, err)
		}
	}
}

// TestEveryKeyIsWrittenDown: init writes all keys, at least as a comment, and docs/operations.md has all variables.
func TestEveryKeyIsWrittenDown(t *testing.T) {
	t.Parallel()
	operations, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("init/drawdown.yaml")
	if err != nil {
		t.Fatal(err)
	}
	leaves := map[string]leaf{}
	collect(reflect.ValueOf(defaultConfig()).Elem(), "", leaves)
	for _, name := range keysOf(leaves) {
		if variable := "DRAWDOWN_" + name; !slices.Contains(strings.Fields(string(operations)), variable) {
			t.Errorf("docs/operations.md does not list %s", variable)
		}
		key := leaves[name].key[strings.LastIndex(leaves[name].key, ".")+1:]
		if found, err := regexp.Match(`(?m)(^[ #]*|[{ ])`+key+`:`, example); err != nil || !found {
			t.Errorf("init/drawdown.yaml does not say %s %v", leaves[name].key, err)
		}
	}
}
