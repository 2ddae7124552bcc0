package main

// periodsCmd is filled in below.
type periodsCmd struct{}

func (periodsCmd) Run(*app) error { return &failure{op: "periods", err: errNotWired} }
