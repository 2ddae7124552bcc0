package main

import (
	"errors"
	"os"

	"drawdown/jobs"
	"drawdown/rating"
	"drawdown/writers/store"
)

// explain finds what became of a record, with the catalog that its numbers refer to.
func (a *app) explain(c *Config, recordID string) (explanation *jobs.Explanation, compiled *rating.Catalog, err error) {
	st, err := store.Open(a.ctx, c.State, store.ReadOnly)
	if err != nil {
		return nil, nil, &failure{op: "open state", err: err}
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	compiled, sha256, err := a.catalogIn(c, st, false)
	if err != nil {
		return nil, nil, err
	}
	dir, err := os.MkdirTemp("", "drawdown-explain-*")
	if err != nil {
		return nil, nil, &failure{op: "explain", err: err}
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	job, closeJob, err := a.job(a.ctx, c, st, compiled, sha256, dir)
	if err != nil {
		return nil, nil, err
	}
	explanation, err = job.Explain(a.ctx, job.State.(*state), recordID)
	if err = errors.Join(err, closeJob()); err != nil {
		return nil, nil, &failure{op: "explain", err: err}
	}
	return explanation, compiled, nil
}
