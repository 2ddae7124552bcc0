// Package pagetest shows tests what a browser makes of a page.
package pagetest

import (
	"context"
	"encoding/json"
	"html"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// Chromium finds the browser, or skips the test; the last lines of `make test` say so then.
func Chromium(t testing.TB) string {
	t.Helper()
	for _, name := range []string{os.Getenv("TEST_CHROMIUM"), "chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skip("there is no Chromium here: what a browser makes of HTML is NOT tested")
	return ""
}

// Browse runs a browser without a screen, and gives what it writes.
func Browse(t testing.TB, browser string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	run := exec.CommandContext(ctx, browser, append([]string{
		"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--user-data-dir=" + t.TempDir(),
	}, args...)...)
	var stderr strings.Builder
	run.Stderr = &stderr
	answer, err := run.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", browser, err, stderr.String())
	}
	return string(answer)
}

// Measured opens a page whose script measures it, in light (1) or dark (0) colours, and gives the JSON that it left in the
// element "found".
func Measured[T any](t testing.TB, browser, page, scheme string) (list []T) {
	t.Helper()
	dom := Browse(t, browser, "--blink-settings=preferredColorScheme="+scheme, "--virtual-time-budget=60000", "--dump-dom", "file://"+page)
	_, rest, found := strings.Cut(dom, `<pre id="found">`)
	text, _, _ := strings.Cut(rest, "</pre>")
	if err := json.Unmarshal([]byte(html.UnescapeString(text)), &list); !found || err != nil || len(list) == 0 {
		t.Fatalf("the browser has measured nothing: %v", err)
	}
	return list
}
