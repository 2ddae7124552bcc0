package main

// initCmd is filled in below.
type initCmd struct{}

func (initCmd) Run(*app) error { return &failure{op: "init", err: errNotWired} }
