package main

import (
	"path/filepath"
	"testing"

	"drawdown/rating"
	"drawdown/readers/catalog"
)

func TestAWorldIsAValidCatalog(t *testing.T) {
	for _, o := range []options{
		{Records: 1_000, Accounts: 300, Format: "csv", Seed: 1, Notices: true},
		{Records: 1_000, Accounts: 300, Format: "csv", Seed: 1},
		{Records: 1_000, Accounts: 300, Format: "csv", Seed: 1, Days: 1, PackagesPerPair: 10},
		{Records: 1_000, Format: "csv", Seed: 1, OnePair: 100},
	} {
		dir, s := makeWorld(t, o)
		source, err := catalog.Read(filepath.Join(dir, "catalog"))
		if err != nil {
			t.Fatal(err)
		}
		c, err := source.Compile(rating.CompileConfig{Currency: "USD"})
		if err != nil {
			t.Fatalf("%+v: %v", o, err)
		}
		if len(c.Packages) != s.Packages || len(c.Accounts)*len(c.Meters) != s.Pairs {
			t.Errorf("%d packages, %d accounts, %d meters of %+v", len(c.Packages), len(c.Accounts), len(c.Meters), s)
		}
	}
}
