package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"drawdown/rating"
	"drawdown/readers/catalog"
)

// compileConfig is what compiling a catalog asks of the configuration.
func (c *Config) compileConfig() rating.CompileConfig {
	return rating.CompileConfig{Zone: c.Settlement.TimeZone.Location, LoadZone: loadZone, Currency: c.Currency.Code}
}

// loadZone finds an IANA zone; the zone of this machine is none, since results may not depend on where they are made.
func loadZone(name string) (*time.Location, error) {
	if name == "Local" || name == "" {
		return nil, errors.New("it is no IANA time zone")
	}
	return time.LoadLocation(name)
}

// catalogFiles reads and compiles catalog files, and gives the hash of what they say.
func (c *Config) catalogFiles(paths ...string) (*rating.Catalog, *catalog.Source, error) {
	source, err := catalog.Read(paths...)
	if err != nil {
		return nil, nil, &failure{op: "read catalog", err: errors.Unwrap(err), code: exitUsage}
	}
	compiled, err := source.Compile(c.compileConfig())
	var faults *catalog.Faults
	if errors.As(err, &faults) {
		return nil, nil, &catalogError{faults}
	}
	return compiled, source, err
}

// catalogError is everything wrong with a catalog.
type catalogError struct{ *catalog.Faults }

func (e *catalogError) Error() string { return "check " + e.Faults.Error() }

func (e *catalogError) ExitCode() int { return exitUsage }

// sourceHash is the hash of catalog files: their contents in order of their names.
func sourceHash(source *catalog.Source) [sha256.Size]byte {
	h := sha256.New()
	for _, f := range source.Files {
		fmt.Fprintf(h, "%x\n", f.SHA256)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// catalog gives the catalog that settle uses: the configuration's files, or the database's rows.
func (a *app) catalog(c *Config) (*rating.Catalog, error) {
	if c.Catalog == "" {
		return nil, &failure{op: "read catalog", err: errNotWired}
	}
	compiled, _, err := c.catalogFiles(c.Catalog)
	return compiled, err
}

// applyCatalog puts catalog files into the database.
func (a *app) applyCatalog(c *Config, source *catalog.Source, dryRun bool) error {
	_, _, _ = c, source, dryRun
	return &failure{op: "catalog apply", err: errNotWired}
}

// runViews gives the newest runs, the newest last.
func (a *app) runViews(c *Config, last int) ([]runView, error) {
	_, _ = c, last
	return nil, errNotWired
}
