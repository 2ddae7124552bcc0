package main

import (
	"errors"
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

// catalogIn gives the catalog that settle uses, and its hash: the database's rows, with those of the configuration's files
// over them.
func (a *app) catalogIn(c *Config, st *store.Store, use catalogUse) (*rating.Catalog, [32]byte, error) {
	if c.Catalog == "" {
		draft, err := st.LoadDraft(a.ctx)
		if err != nil {
			return nil, [32]byte{}, &failure{op: "load catalog", err: err, code: codeOfCatalog(err)}
		}
		var hash [32]byte
		var hashing sync.WaitGroup
		hashing.Go(func() { hash = store.HashDraft(draft) })
		compiled, faults := rating.Compile(draft, c.compileConfig())
		hashing.Wait()
		return compiled, hash, catalogFault(catalog.Locate(draft, faults))
	}
	source, err := catalog.Read(c.Catalog)
	if err != nil {
		return nil, [32]byte{}, &failure{op: "read catalog", err: err, code: exitUsage}
	}
	compiled, plan, err := a.planCatalog(c, st, source)
	if err == nil && use != lookUp && !plan.Empty() {
		err = a.checkSettled(st, source, plan.Merged, compiled)
		if err == nil && use == settleWith {
			err = st.ApplyCatalog(a.ctx, plan)
		}
	}
	if err != nil {
		return nil, [32]byte{}, err
	}
	return compiled, store.HashDraft(plan.Merged), nil
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
