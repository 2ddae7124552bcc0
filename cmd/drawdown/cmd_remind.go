package main

// remindCmd is filled in below.
type remindCmd struct{}

func (remindCmd) Run(*app) error { return &failure{op: "remind", err: errNotWired} }
