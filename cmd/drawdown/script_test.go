package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(withServer{m}, map[string]func(){"drawdown": childMain})
}

// TestScripts drives the real program: testdata/scripts has a file for each thing that it does or refuses.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("..", "..", "testdata", "scripts"),
		RequireExplicitExec: true,
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "narrow": narrow, "misname": misname, "rename": rename, "parquet": writeParquet,
		},
	})
}

// exits runs a command that must end with an exit code: exits 2 drawdown settle.
func exits(ts *testscript.TestScript, negated bool, args []string) {
	if negated || len(args) < 2 {
		ts.Fatalf("write: exits CODE COMMAND ARGUMENT…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if code != want {
		ts.Fatalf("it ended with exit code %d, not %d", code, want)
	}
}

// narrow checks that what was printed last is at most 80 columns wide: narrow stdout.
func narrow(ts *testscript.TestScript, negated bool, args []string) {
	if negated || len(args) != 1 {
		ts.Fatalf("write: narrow stdout, or narrow FILE")
	}
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		if line = strings.TrimRight(line, "\n"); width(line) > tableWidth {
			ts.Fatalf("%d columns: %s", width(line), line)
		}
	}
}

// misname gives a file a name that is not UTF-8, which a script cannot hold.
func misname(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(os.Rename(ts.MkAbs(args[0]), misnamed(ts, args[0])))
}

// rename takes back what misname did.
func rename(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(os.Rename(misnamed(ts, args[0]), ts.MkAbs(args[0])))
}

func misnamed(ts *testscript.TestScript, name string) string {
	extension := filepath.Ext(name)
	return ts.MkAbs(strings.TrimSuffix(name, extension) + "\xff" + extension)
}

// writeParquet writes a Parquet file with one row of texts: parquet FILE COLUMN…, where a column may stand twice. The
// library makes no such file, so the second one has another name of the same length until it is written.
func writeParquet(ts *testscript.TestScript, negated bool, args []string) {
	if negated || len(args) < 2 {
		ts.Fatalf("write: parquet FILE COLUMN…")
	}
	group, names := parquet.Group{}, map[string]string{}
	for _, column := range args[1:] {
		name := column
		if _, twice := group[column]; twice {
			name = column[:len(column)-1] + "~"
			names[name] = column
		}
		group[name] = parquet.String()
	}
	row := parquet.Row{}
	for i := range group.Fields() {
		row = append(row, parquet.ByteArrayValue([]byte("1")).Level(0, 0, i))
	}
	var b bytes.Buffer
	w := parquet.NewWriter(&b, parquet.NewSchema("usage", group))
	_, err := w.WriteRows([]parquet.Row{row})
	ts.Check(errors.Join(err, w.Close()))
	content := b.Bytes()
	for name, column := range names {
		content = bytes.ReplaceAll(content, []byte(name), []byte(column))
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), content, 0o666))
}

// TestErrorsAreCatalogued: every script that provokes errors names them as docs/errors.md does, and each error of the
// catalogue is provoked by a script.
func TestErrorsAreCatalogued(t *testing.T) {
	catalogue, err := os.ReadFile(filepath.Join("..", "..", "docs", "errors.md"))
	if err != nil {
		t.Fatal(err)
	}
	provoked := map[string]bool{}
	scripts, err := filepath.Glob(filepath.Join("..", "..", "testdata", "scripts", "*.txtar"))
	if err != nil || len(scripts) == 0 {
		t.Fatal("there are no scripts: ", err)
	}
	for _, script := range scripts {
		data, err := os.ReadFile(script)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			if name, found := strings.CutPrefix(strings.TrimSpace(line), "# error: "); found {
				provoked[name] = true
			}
		}
	}
	listed := map[string]bool{}
	for line := range strings.Lines(string(catalogue)) {
		if name, found := strings.CutPrefix(strings.TrimSpace(line), "### "); found {
			listed[name] = true
			if !provoked[name] {
				t.Errorf("docs/errors.md has %q, and no script provokes it: write `# error: %s` above the lines that do", name, name)
			}
		}
	}
	for _, name := range keysOf(provoked) {
		if !listed[name] {
			t.Errorf("a script provokes %q: tell of it in docs/errors.md, as ### %s", name, name)
		}
	}
}
