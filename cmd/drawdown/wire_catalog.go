package main

import (
	"errors"

	"drawdown/rating"
	"drawdown/readers/catalog"
	"drawdown/writers/store"
)

// catalogIn gives the catalog that settle uses, and its hash: the database's rows, with those of the configuration's files
// over them. Where it is asked to, it puts the files' rows into the database, once all of it is valid.
func (a *app) catalogIn(c *Config, st *store.Store, apply bool) (*rating.Catalog, [32]byte, error) {
	if c.Catalog == "" {
		draft, err := st.LoadDraft(a.ctx)
		if err != nil {
			return nil, [32]byte{}, &failure{op: "load catalog", err: err, code: codeOfCatalog(err)}
		}
		compiled, faults := rating.Compile(draft, c.compileConfig())
		return compiled, store.HashDraft(draft), catalogFault(catalog.Locate(draft, faults))
	}
	source, err := catalog.Read(c.Catalog)
	if err != nil {
		return nil, [32]byte{}, &failure{op: "read catalog", err: err, code: exitUsage}
	}
	compiled, plan, err := a.planCatalog(c, st, source)
	if err == nil && apply {
		err = st.ApplyCatalog(a.ctx, plan)
	}
	if err != nil {
		return nil, [32]byte{}, err
	}
	return compiled, store.HashDraft(plan.Merged), nil
}

// planCatalog finds out what applying files would change, and compiles what would be there then.
func (a *app) planCatalog(c *Config, st *store.Store, source *catalog.Source) (*rating.Catalog, *store.CatalogPlan, error) {
	plan, planErr := st.PlanCatalog(a.ctx, &source.Draft)
	merged := &source.Draft
	if planErr == nil {
		merged = plan.Merged
	}
	compiled, err := source.CompileMerged(merged, c.compileConfig()) // it says better what is wrong, and where
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
