package main

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// initCmd writes a site to begin with.
type initCmd struct {
	Dir string `arg:"" name:"DIR" help:"An empty folder, or one that does not exist yet."`
}

//go:embed init
var initFiles embed.FS

// Help is the command's own help.
func (initCmd) Help() string {
	return `Writes drawdown.yaml, where every key is explained, catalog.yaml and two days of sample usage. They settle as they are; replace them by your own, file by file.

    drawdown init billing
    cd billing
    drawdown settle
    drawdown packages`
}

func (k *initCmd) Run(a *app) error {
	files, err := fs.Sub(initFiles, "init")
	if err != nil {
		return &failure{op: "init", err: err}
	}
	if err := emptyDir("init", k.Dir); err != nil {
		return err
	}
	// The sample is of the days before yesterday, so that it is due at any hour of today.
	today := a.now.UTC()
	replace := strings.NewReplacer(
		"DAY1", today.AddDate(0, 0, -3).Format("2006-01-02"), "DAY2", today.AddDate(0, 0, -2).Format("2006-01-02"),
		"EXPIRES", today.AddDate(0, 0, 5).Format("2006-01-02"), "NEXT_YEAR", today.AddDate(1, 0, 0).Format("2006-01-02"),
	)
	if err := copyFiles(files, k.Dir, replace); err != nil {
		return &failure{op: "init", err: err}
	}
	if a.flags.JSON {
		return printJSON(a.stdout, struct {
			Dir string `json:"dir"`
		}{k.Dir})
	}
	a.say("Wrote a site to begin with. Next:\n\n    cd %s\n    drawdown settle\n    drawdown packages\n", k.Dir)
	a.say("drawdown.yaml explains every key; catalog.yaml has the accounts, prices and packages.")
	return nil
}

// emptyDir makes a folder, and refuses one that holds something.
func emptyDir(op, dir string) error {
	entries, err := os.ReadDir(dir)
	if err == nil && len(entries) > 0 {
		return &failure{
			op: op, err: fmt.Errorf("%s is not empty", dir), code: exitUsage, hint: "name a folder that does not exist yet",
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return &failure{op: op, err: err, code: exitUsage}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return &failure{op: op, err: err}
	}
	return nil
}

// copyFiles writes a tree of files into a folder, some words replaced.
func copyFiles(from fs.FS, to string, replace *strings.Replacer) error {
	return fs.WalkDir(from, ".", func(name string, entry fs.DirEntry, err error) error {
		target := filepath.Join(to, filepath.FromSlash(name))
		switch {
		case err != nil:
			return err
		case entry.IsDir():
			return os.MkdirAll(target, 0o755)
		}
		data, err := fs.ReadFile(from, name)
		if err != nil {
			return err
		}
		return os.WriteFile(target, []byte(replace.Replace(string(data))), 0o644)
	})
}
