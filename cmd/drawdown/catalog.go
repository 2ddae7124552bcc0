package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"drawdown/jobs/shuffle"
	"drawdown/rating"
	"drawdown/readers/catalog"
	"drawdown/writers/store"
)

// compileConfig is what compiling a catalog asks of the configuration.
func (c *Config) compileConfig() rating.CompileConfig {
	return rating.CompileConfig{Zone: c.Settlement.TimeZone.Location, LoadZone: loadZone, Currency: c.Currency.Code}
}

// checkedAs says by which program and configuration a catalog is found to be valid: another one may find faults in it.
func (c *Config) checkedAs() store.Hash {
	v := buildVersion()
	return sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q", v.Version, v.Revision, c.Settlement.TimeZone.String(), c.Currency.Code))
}

// catalogForm is how the catalog is kept.
func (c *Config) catalogForm() store.CatalogForm {
	return store.CatalogForm{Shards: c.Settlement.Shards, ShardOf: shuffle.ShardOf, Checked: c.checkedAs()}
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
		return nil, nil, &failure{op: "read catalog", err: err, code: exitUsage}
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

// catalog gives the catalog that settle would use now, and changes nothing.
func (a *app) catalog(c *Config) (compiled *rating.Catalog, err error) {
	err = a.reading(c, func(st *store.Store) error {
		used, err := a.catalogIn(c, st, lookUp)
		if err == nil {
			compiled = used.Catalog
		}
		return err
	})
	if errors.Is(err, store.ErrEmpty) && c.Catalog != "" {
		compiled, _, err = c.catalogFiles(c.Catalog)
	}
	return compiled, err
}

// reading opens the state for reading, for as long as something is done with it.
func (a *app) reading(c *Config, do func(*store.Store) error) error {
	st, err := store.Open(a.ctx, c.State, store.ReadOnly)
	if err != nil {
		return &failure{op: "open state", err: err}
	}
	return errors.Join(do(st), st.Close())
}
