package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"drawdown/rating"
	"drawdown/readers/catalog"
	"drawdown/writers/store"
)

// catalogUse is what a command wants the catalog for.
type catalogUse int

const (
	lookUp     catalogUse = iota // it looks at what was settled, whatever may have been edited since
	trySettle                    // it settles, and writes nothing
	settleWith                   // it settles, so that the files' rows go into the database
)

// usedCatalog is a catalog, as it is or was used.
type usedCatalog struct {
	*rating.Catalog
	sha256 [32]byte
	copy   *store.CatalogCopy // to be kept with what is settled; nil where nothing is
}

// catalogIn gives the catalog that settle uses: the database's rows, with those of the configuration's files over them.
func (a *app) catalogIn(c *Config, st *store.Store, use catalogUse) (*usedCatalog, error) {
	keepWithin(a.memory(c))
	if c.Catalog == "" {
		return a.catalogOf(c, st, use)
	}
	source, err := catalog.Read(c.Catalog)
	if err != nil {
		return nil, &failure{op: "read catalog", err: err, code: exitUsage}
	}
	compiled, plan, err := a.planCatalog(c, st, source)
	if err == nil && use != lookUp && !plan.Empty() {
		err = a.checkSettled(st, source, plan.Merged, compiled)
	}
	if err != nil {
		return nil, err
	}
	used := &usedCatalog{Catalog: compiled}
	if use == settleWith {
		if used.copy, err = st.ApplyCatalog(a.ctx, plan, c.checkedAs()); err != nil {
			return nil, err
		}
		used.sha256 = used.copy.SHA256
		return used, nil
	}
	return used, used.identify(a.ctx, st, &store.CatalogRows{Draft: plan.Merged}, c, use)
}

// catalogOf gives the catalog of the database's rows alone.
func (a *app) catalogOf(c *Config, st *store.Store, use catalogUse) (*usedCatalog, error) {
	checked := c.checkedAs()
	if use == lookUp {
		checked = store.Hash{}
	}
	rows, err := st.ReadCatalog(a.ctx, checked)
	var unreadable *store.UnreadableError
	if errors.As(err, &unreadable) {
		_, faults := rating.Compile(unreadable.Draft, c.compileConfig())
		return nil, catalogFault(catalog.Locate(unreadable.Draft, catalog.Besides(unreadable.Faults(unreadable.Draft, nil), faults)))
	}
	if err != nil {
		return nil, &failure{op: "load catalog", err: err}
	}
	used := &usedCatalog{}
	var copied error
	var copying sync.WaitGroup
	copying.Go(func() { copied = used.identify(a.ctx, st, rows, c, use) })
	compiled, faults := rating.Compile(rows.Draft, c.compileConfig())
	copying.Wait()
	used.Catalog = compiled
	return used, errors.Join(catalogFault(catalog.Locate(rows.Draft, faults)), copied)
}

// identify finds the catalog's hash, and for one that settles makes the copy that is kept.
func (u *usedCatalog) identify(ctx context.Context, st *store.Store, rows *store.CatalogRows, c *Config, use catalogUse) (err error) {
	switch {
	case rows.Copy != nil:
		u.copy = rows.Copy
	case use == lookUp:
		u.sha256 = store.HashDraft(rows.Draft)
		return nil
	default:
		if u.copy, err = st.CopyCatalog(ctx, rows.Draft, rows.Edits, c.checkedAs()); err != nil {
			return &failure{op: "keep catalog", err: err}
		}
	}
	u.sha256 = u.copy.SHA256
	return nil
}

// keptCatalog gives a catalog as runs used it, by its hash.
func (a *app) keptCatalog(ctx context.Context, c *Config, st *store.Store, sha256 [32]byte) (*usedCatalog, error) {
	draft, err := st.KeptCatalog(ctx, sha256)
	if err != nil {
		return nil, err
	}
	compiled, faults := rating.Compile(draft, c.compileConfig())
	if len(faults) > 0 {
		return nil, fmt.Errorf("the catalog that was kept (%x) is not valid with today's configuration: %w", sha256[:6], catalog.Locate(draft, faults))
	}
	return &usedCatalog{Catalog: compiled, sha256: sha256}, nil
}

// checkSettled refuses rows that contradict what is settled, so that they do not come into the database, where each settle
// would fail of them.
func (a *app) checkSettled(st *store.Store, source *catalog.Source, merged *rating.Draft, compiled *rating.Catalog) error {
	last, err := st.SettledBefore(a.ctx, rating.Never)
	if err != nil || last == nil {
		return err
	}
	faults := rating.CheckSettled(merged, compiled, last.PeriodEnd, func(yield func(*rating.PayerState) bool) {
		for shard := range int(last.Shards) {
			var blob []byte
			var states []rating.PayerState
			if blob, _, err = st.OpeningState(a.ctx, rating.Never, shard); err != nil {
				return
			}
			if states, err = store.DecodeState(compiled, blob); err != nil {
				return
			}
			for i := range states {
				if !yield(&states[i]) {
					return
				}
			}
		}
	})
	if err != nil {
		return &failure{op: "compare catalog with what is settled", err: err}
	}
	return catalogFault(source.Located(merged, faults))
}

// planCatalog finds out what applying files would change, and compiles what would be there then.
func (a *app) planCatalog(c *Config, st *store.Store, source *catalog.Source) (*rating.Catalog, *store.CatalogPlan, error) {
	plan, planErr := st.PlanCatalog(a.ctx, &source.Draft)
	merged := &source.Draft
	var known []rating.Fault
	var unreadable *store.UnreadableError
	switch {
	case planErr == nil:
		merged = plan.Merged
	case errors.As(planErr, &unreadable):
		merged = store.Merge(unreadable.Draft, &source.Draft)
		known = unreadable.Faults(merged, &source.Draft)
	}
	compiled, err := source.CompileMerged(merged, c.compileConfig(), known...) // it says better what is wrong, and where
	if err != nil {
		return nil, nil, catalogFault(err)
	}
	if planErr != nil {
		return nil, nil, &failure{op: "compare catalog", err: planErr, code: codeOfCatalog(planErr)}
	}
	return compiled, plan, nil
}

// codeOfCatalog tells rows that are wrong from a database that fails.
func codeOfCatalog(err error) int {
	var unreadable *store.UnreadableError
	if errors.As(err, &unreadable) {
		return exitUsage
	}
	return exitFailed
}

// catalogFault makes faults of a catalog an error with its exit code.
func catalogFault(err error) error {
	var faults *catalog.Faults
	if errors.As(err, &faults) {
		return &catalogError{faults}
	}
	return err
}
