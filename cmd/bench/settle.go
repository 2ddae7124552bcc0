package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// settle settles a world from nothing. Loading the catalog into the state is not part of what is measured: an operator
// does that when the catalog changes, not once a month.
func (b *bench) settle(w *world, cores int64) (measure, error) {
	if err := b.startAfresh(w); err != nil {
		return measure{}, err
	}
	args := append([]string{"--config", w.config(), "--now", w.Now, "--json", "settle"}, b.settleArgs...)
	return child(cores, b.drawdown, args...)
}

func (w *world) config() string { return filepath.Join(w.dir, "drawdown.yaml") }

func (b *bench) startAfresh(w *world) error {
	if err := os.RemoveAll(filepath.Join(w.dir, "settlements")); err != nil {
		return err
	}
	if w.fresh != "" {
		if err := removeState(w.dir); err != nil {
			return err
		}
		return copyState(w.fresh, w.dir)
	}
	if err := removeState(w.dir); err != nil {
		return err
	}
	progress("applying the catalog of %s", filepath.Base(w.dir))
	if _, err := child(0, b.drawdown, "--config", w.config(), "--now", w.Now, "--quiet", "catalog", "apply", filepath.Join(w.dir, "catalog")); err != nil {
		return err
	}
	fresh, err := os.MkdirTemp(b.scratch, "state-")
	if err != nil {
		return err
	}
	w.fresh = fresh
	return copyState(w.dir, fresh)
}

// stateFiles are the database and what may stand beside it.
func stateFiles(dir string) ([]string, error) {
	return filepath.Glob(filepath.Join(dir, "drawdown.db*"))
}

func removeState(dir string) error {
	files, err := stateFiles(dir)
	for _, name := range files {
		if err := os.RemoveAll(name); err != nil {
			return err
		}
	}
	return err
}

func copyState(from, to string) error {
	files, err := stateFiles(from)
	if err != nil {
		return err
	}
	for _, name := range files {
		if err := copyFile(name, filepath.Join(to, filepath.Base(name))); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer out.Close()
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return out.Close()
}

// settleSummary is what of `settle --json` is reported; all of it may be missing.
type settleSummary struct {
	Records int64   `json:"records"`
	PeakRSS int64   `json:"peak_rss_bytes"`
	Stages  []stage `json:"stages"`
}

// stage is a part of the work. Busy is what all workers together spent in it.
type stage struct {
	Name   string `json:"name"`
	WallNS int64  `json:"wall_ns"`
	CPUNS  int64  `json:"cpu_ns"`
	BusyNS int64  `json:"busy_ns"`
}

// spent is the best that is known of the work in the stage.
func (s stage) spent() int64 { return cmp.Or(s.CPUNS, s.BusyNS, s.WallNS) }

// parseSummary reads the last JSON object that has stages, else the last one at all.
func parseSummary(stdout []byte) settleSummary {
	var best settleSummary
	decoder := json.NewDecoder(bytes.NewReader(stdout))
	for {
		var s settleSummary
		if err := decoder.Decode(&s); err != nil {
			if strings.Contains(err.Error(), "cannot unmarshal") {
				continue // some other shape
			}
			return best
		}
		if len(s.Stages) > 0 || len(best.Stages) == 0 {
			best = s
		}
	}
}
