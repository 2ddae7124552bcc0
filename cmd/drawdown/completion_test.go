package main

import (
	"bytes"
	"context"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
)

// printedBy gives what a command prints.
func printedBy(t *testing.T, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	if code := run(context.Background(), process{args: args, clock: time.Now, stdout: &out, stderr: &errs}); code != exitDone {
		t.Fatalf("%v: exit code %d, %s", args, code, errs.String())
	}
	return out.String()
}

// TestShellsComplete asks the shells themselves what they would offer.
func TestShellsComplete(t *testing.T) {
	t.Parallel()
	bash := `source "$1"; COMP_WORDS=($2); [ "${2% }" != "$2" ] && COMP_WORDS+=(""); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _drawdown; echo "${COMPREPLY[@]}"`
	shells := map[string][]string{
		"bash": {"--norc", "-c", bash, "-"},
		"zsh":  {"-f", "-c", "autoload -Uz compinit; compinit -D -u; source \"$1\"; emulate sh; setopt kshglob noshglob braceexpand; " + bash, "-"},
		"fish": {"--no-config", "-c", `source $argv[1]; complete -C $argv[2] | string replace -r '\t.*' ''; true`},
	}
	for shell, args := range shells {
		t.Run(shell, func(t *testing.T) {
			t.Parallel()
			if _, err := exec.LookPath(shell); err != nil {
				t.Skipf("there is no %s here: completion in it is NOT tested", shell)
			}
			dir := t.TempDir()
			script := filepath.Join(dir, "completion")
			(&site{t: t, dir: dir}).write("completion", []byte(printedBy(t, "completion", shell)))
			for typed, want := range map[string][]string{
				"drawdown set":                    {"settle"},
				"drawdown --json set":             {"settle"},
				"drawdown catalog ":               {"apply", "check", "show"},
				"drawdown export --format st":     {"statement"},
				"drawdown export --form":          {"--format"},
				"drawdown settle --dry":           {"--dry-run"},
				"drawdown completion f":           {"fish"},
				"drawdown catalog apply --dry":    {"--dry-run"},
				"drawdown report --account acme ": nil,
			} {
				command := exec.CommandContext(t.Context(), shell, append(slices.Clone(args), script, typed)...)
				command.Dir = dir
				out, err := command.CombinedOutput()
				if err != nil {
					t.Fatalf("%s: %v\n%s", typed, err, out)
				}
				got := strings.Fields(string(out))
				got = slices.DeleteFunc(got, func(s string) bool { return s == "completion" && want == nil }) // the file there is
				if shell == "zsh" {                                                                           // which leaves out itself what does not begin as typed
					begun := typed[strings.LastIndexByte(typed, ' ')+1:]
					got = slices.DeleteFunc(got, func(s string) bool { return !strings.HasPrefix(s, begun) })
				}
				slices.Sort(got)
				if !slices.Equal(got, want) {
					t.Errorf("%q offers %q, not %q", typed, got, want)
				}
			}
		})
	}
}

// TestManualIsWhole: the page tells of every command and flag, and groff has nothing to say against it.
func TestManualIsWhole(t *testing.T) {
	t.Parallel()
	text := printedBy(t, "man")
	plain := strings.NewReplacer(`\-`, "-", `\e`, `\`).Replace(text)
	for _, want := range []string{".SH NAME", "drawdown catalog apply", "drawdown report", "--package=P", "NO_COLOR", "drawdown settle --dry-run"} {
		if !strings.Contains(plain, want) {
			t.Errorf("the manual does not tell of %s", want)
		}
	}
	if _, err := exec.LookPath("groff"); err != nil {
		t.Skip("there is no groff here: whether it reads the manual is NOT tested")
	}
	command := exec.CommandContext(t.Context(), "groff", "-man", "-Tutf8", "-ww", "-z")
	command.Stdin = strings.NewReader(text)
	if out, err := command.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v: %s", err, out)
	}
}

// TestHelpFitsATerminal: no line of any command's help is wider than 80 columns.
func TestHelpFitsATerminal(t *testing.T) {
	t.Parallel()
	var flags cli
	parser, err := kong.New(&flags, kong.Name("drawdown"))
	if err != nil {
		t.Fatal(err)
	}
	eachCommand(parser.Model.Node, func(node *kong.Node) {
		for line := range strings.Lines(printedBy(t, append(strings.Fields(node.Path()), "--help")...)) {
			if line = strings.TrimRight(line, "\n"); width(line) > tableWidth {
				t.Errorf("%s --help: %d columns: %s", node.Path(), width(line), line)
			}
		}
	})
}
