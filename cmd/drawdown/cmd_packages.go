package main

// packagesCmd is filled in below.
type packagesCmd struct{}

func (packagesCmd) Run(*app) error { return &failure{op: "packages", err: errNotWired} }
