package main

// runsCmd is filled in below.
type runsCmd struct{}

func (runsCmd) Run(*app) error { return &failure{op: "runs", err: errNotWired} }
