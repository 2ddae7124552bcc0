package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"gopkg.in/yaml.v3"

	"drawdown/jobs"
	"drawdown/rating"
)

// caseResult is how a conformance case went.
type caseResult struct {
	Name  string
	File  string
	Rules []string
	Diff  string // what was expected and what came; empty where the case passes
}

// runCases runs conformance cases through the same code as settle, each on a site of its own in a temporary folder.
func (a *app) runCases(files []string) ([]caseResult, error) {
	var all []caseResult
	for _, file := range files {
		c, err := readCase(file)
		if err != nil {
			return all, &failure{op: "read case", err: err, code: exitUsage}
		}
		r := caseResult{Name: c.Name, File: file, Rules: c.Rules}
		dir, err := os.MkdirTemp("", "drawdown-case-*")
		if err != nil {
			return all, &failure{op: "run case " + c.Name, err: err}
		}
		faults, err := a.runCase(c, dir)
		if err = errors.Join(err, os.RemoveAll(dir)); err != nil {
			return all, &failure{op: "run case " + c.Name, err: err}
		}
		r.Diff = strings.Join(faults, "\n")
		all = append(all, r)
	}
	return all, nil
}

// runCase runs the steps of a case and says how they differ from what it expects.
func (a *app) runCase(c *conformanceCase, dir string) ([]string, error) {
	if err := c.writeConfig(dir); err != nil {
		return nil, err
	}
	var faults []string
	for i, step := range c.Runs {
		if err := step.writeInputs(dir, i); err != nil {
			return nil, err
		}
		report, err := a.settleCase(dir, step)
		found, err := step.check(dir, report, err)
		if err != nil {
			return nil, err
		}
		for _, fault := range found {
			if len(c.Runs) > 1 {
				fault = fmt.Sprintf("runs[%d]: %s", i, fault)
			}
			faults = append(faults, fault)
		}
	}
	return faults, nil
}

// settleCase settles the case's site as `drawdown --now T settle` does, or as `backfill` does.
func (a *app) settleCase(dir string, step *conformanceStep) (*jobs.Report, error) {
	at, err := rating.ParseInstant([]byte(step.Now))
	if err != nil {
		return nil, fmt.Errorf("now: %q is %w", step.Now, err)
	}
	site := *a
	site.now, site.env, site.flags = at.Time(), nil, &cli{Quiet: true}
	site.stderrTerminal, site.scratch = false, true
	config, err := loadConfig(filepath.Join(dir, "drawdown.yaml"), nil)
	if err != nil {
		return nil, err
	}
	if step.CloseUntil != "" {
		if err := site.closeCase(config, step.CloseUntil); err != nil {
			return nil, err
		}
	}
	if step.Backfill == nil {
		return site.settle(config, rating.Never, false)
	}
	var plan backfillPlan
	for _, edge := range []struct {
		name, text string
		to         *rating.Instant
	}{{"from", step.Backfill.From, &plan.from}, {"to", step.Backfill.To, &plan.to}} {
		if *edge.to, _, err = parseMoment(edge.text, config.Settlement.TimeZone.Location); err != nil {
			return nil, fmt.Errorf("backfill: %s: %q is %w", edge.name, edge.text, err)
		}
	}
	report, _, err := site.backfill(config, plan)
	return report, err
}

// closeCase closes periods before the step's run, as `close --until D` does.
func (a *app) closeCase(c *Config, until string) error {
	at, _, err := parseMoment(until, c.Settlement.TimeZone.Location)
	if err != nil {
		return fmt.Errorf("close_until: %q is %w", until, err)
	}
	_, err = a.closePeriods(c, closePlan{until: at})
	return err
}

// check compares what a step gave with what it expects.
func (s *conformanceStep) check(dir string, report *jobs.Report, err error) ([]string, error) {
	if want := valueOf(&s.Expect, "error"); want != nil {
		return checkError(want, err), nil
	}
	if err != nil {
		return []string{"settling failed: " + err.Error()}, nil
	}
	found, err := readResults(filepath.Join(dir, "settlements"))
	if err != nil {
		return nil, err
	}
	found.totals = totalsOf(report)
	return found.compare(&s.Expect), nil
}

func checkError(want *yaml.Node, err error) []string {
	if err == nil {
		return []string{"settling succeeded, but was expected to fail"}
	}
	texts := want.Content
	if want.Kind == yaml.ScalarNode {
		texts = []*yaml.Node{want}
	}
	var faults []string
	for _, text := range texts {
		if !strings.Contains(err.Error(), text.Value) {
			faults = append(faults, fmt.Sprintf("expected the error to contain %q, got: %v", text.Value, err))
		}
	}
	return faults
}

// totalsOf gives the control totals of a run; quantities are summed over all meters.
func totalsOf(r *jobs.Report) resultRow {
	row := resultRow{
		"read": fmt.Sprint(r.Rows.Read), "settled": fmt.Sprint(r.Rows.Settled), "duplicate": fmt.Sprint(r.Rows.Duplicate),
		"superseded": fmt.Sprint(r.Rows.Superseded), "quarantined": fmt.Sprint(r.Rows.Quarantined),
		"out_of_period": fmt.Sprint(r.Rows.OutOfPeriod),
	}
	var deducted, excess, stopped rating.Amount
	for _, m := range metersOf(r) {
		deducted, _ = deducted.Add(m.Deducted)
		excess, _ = excess.Add(m.Excess)
		stopped, _ = stopped.Add(m.Stopped)
	}
	row["deducted"], row["excess"], row["stopped"] = deducted.String(), excess.String(), stopped.String()
	return row
}
