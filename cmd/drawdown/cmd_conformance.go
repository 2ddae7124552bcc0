package main

// testCmd is filled in below.
type testCmd struct{}

func (testCmd) Run(*app) error { return &failure{op: "test", err: errNotWired} }
