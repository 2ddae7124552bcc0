package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// testCmd runs conformance cases.
type testCmd struct {
	Files []string `arg:"" name:"FILE" help:"Cases, or folders of cases."`
}

// Help is the command's own help.
func (testCmd) Help() string {
	return `A case is a file with a whole world (configuration, catalog, usage) and what settling it must give: try out a package before it is sold. testdata/conformance has the format and more than a hundred examples.

    drawdown test new-package.yaml
    drawdown test ./cases`
}

func (k *testCmd) Run(a *app) error {
	files, err := caseFiles(k.Files)
	if err != nil {
		return &failure{op: "test", err: err, code: exitUsage}
	}
	results, err := a.runCases(files)
	if err != nil {
		return err
	}
	failed := 0
	for _, r := range results {
		if r.Diff != "" {
			failed++
		}
	}
	if a.flags.JSON {
		err = printJSON(a.stdout, casesJSON(results, failed))
	} else {
		a.printCases(results, failed)
	}
	if err == nil && failed > 0 {
		err = &failure{op: "test", err: fmt.Errorf("%d of %s failed", failed, counted(int64(len(results)), "case", "cases"))}
	}
	return err
}

// caseFiles gives the files named, and those of the folders named.
func caseFiles(names []string) ([]string, error) {
	var files []string
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			files = append(files, name)
			continue
		}
		found, err := filepath.Glob(filepath.Join(name, "*.yaml")) // sorted
		if err != nil || len(found) == 0 {
			return nil, errors.Join(err, fmt.Errorf("%s has no .yaml file", name))
		}
		files = append(files, found...)
	}
	return files, nil
}

func (a *app) printCases(results []caseResult, failed int) {
	for _, r := range results {
		if r.Diff == "" {
			continue
		}
		fmt.Fprintf(a.stdout, "%s %s (%s)\n%s\n", a.ink.red("FAIL"), r.Name, strings.Join(r.Rules, ", "), indented(r.Diff))
	}
	if failed == 0 {
		a.say("%s %s.", a.ink.green("ok"), counted(int64(len(results)), "case", "cases"))
	}
}

func indented(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n  ")
}

type caseJSON struct {
	Name  string   `json:"name"`
	File  string   `json:"file"`
	Rules []string `json:"rules"`
	Pass  bool     `json:"pass"`
	Diff  string   `json:"diff"`
}

func casesJSON(results []caseResult, failed int) any {
	out := struct {
		Cases  []caseJSON `json:"cases"`
		Failed int        `json:"failed"`
	}{[]caseJSON{}, failed}
	for _, r := range results {
		out.Cases = append(out.Cases, caseJSON{r.Name, r.File, append([]string{}, r.Rules...), r.Diff == "", r.Diff})
	}
	return out
}
