package main

// explainCmd is filled in below.
type explainCmd struct{}

func (explainCmd) Run(*app) error { return &failure{op: "explain", err: errNotWired} }
