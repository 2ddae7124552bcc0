package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestReadmeShowsWhatIsPrinted runs the commands of README.md, and looks for what they print in it. Only how long it took
// differs each time.
func TestReadmeShowsWhatIsPrinted(t *testing.T) {
	if testing.Short() {
		t.Skip("settles the demo")
	}
	text, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	took := regexp.MustCompile(` in [0-9.]+[µm]?s: [0-9,]+ a second`)
	readme := took.ReplaceAllString(string(text), " in TIME")
	t.Chdir(t.TempDir())
	now := time.Date(2026, 10, 4, 9, 0, 0, 0, time.UTC)
	shown := func(args ...string) string {
		t.Helper()
		var out, errs bytes.Buffer
		code := run(context.Background(), process{args: args, clock: func() time.Time { return now }, stdout: &out, stderr: &errs})
		if code != exitDone {
			t.Fatalf("%v: exit code %d, %s", args, code, errs.String())
		}
		return took.ReplaceAllString(out.String(), " in TIME")
	}
	check := func(printed string) {
		t.Helper()
		if !strings.Contains(readme, "```\n"+strings.Trim(printed, "\n")+"\n```") {
			t.Errorf("README.md does not show:\n%s", printed)
		}
	}
	_, left, _ := strings.Cut(shown("demo"), "What is left of the packages")
	left, _, _ = strings.Cut(left, "\n\nTry next")
	check("What is left of the packages" + left)
	shown("init", "billing")
	t.Chdir("billing")
	check(shown("settle"))
	check(shown("packages"))
	first, _, _ := strings.Cut(shown("explain", "r08"), "\n\nRecord")
	check(first)
}
