package main

// demoCmd is filled in below.
type demoCmd struct{}

func (demoCmd) Run(*app) error { return &failure{op: "demo", err: errNotWired} }
