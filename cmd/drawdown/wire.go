package main

import (
	"errors"

	"drawdown/jobs"
	"drawdown/rating"
)

// errNotWired stands where a job is still to be plugged in.
var errNotWired = errors.New("this is not built yet")

// settle plugs the readers and writers into jobs.Settle. An until of Never settles all that is due.
func (a *app) settle(c *Config, until rating.Instant, dryRun bool) (*jobs.Report, error) {
	_, _, _ = c, until, dryRun
	return nil, &failure{op: "settle", err: errNotWired}
}

// explain finds what became of a record, with the catalog that its numbers refer to.
func (a *app) explain(c *Config, recordID string) (*jobs.Explanation, *rating.Catalog, error) {
	_, _ = c, recordID
	return nil, nil, &failure{op: "explain", err: errNotWired}
}

// caseResult is how a conformance case went.
type caseResult struct {
	Name  string
	File  string
	Rules []string
	Diff  string // what was expected and what came; empty where the case passes
}

// runCases runs conformance cases through the same code as settle.
func (a *app) runCases(files []string) ([]caseResult, error) {
	_ = files
	return nil, &failure{op: "test", err: errNotWired}
}
