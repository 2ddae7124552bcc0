package main

type catalogCmd struct{}

func (catalogCmd) Run(*app) error { return &failure{op: "catalog", err: errNotWired} }
