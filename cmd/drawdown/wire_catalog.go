package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"drawdown/jobs"
	"drawdown/rating"
	"drawdown/readers/catalog"
	"drawdown/writers/store"
)

// catalogUse is what a command wants the catalog for.
type catalogUse int

const (
	lookUp     catalogUse = iota // it looks at what was settled, whatever may have been edited since
	lookAhead                    // it settles some part of all, and books nothing
	trySettle                    // it settles, and writes nothing
	settleWith                   // it settles, so that the files' rows go into the database
)

// usedCatalog is a catalog, as it is or was used.
type usedCatalog struct {
	*rating.Catalog
	sha256 [32]byte
	copy   *store.CatalogCopy // of what settles; nil where nothing does

	// Where the packages are not in Catalog: how to get them, by shard, or all of them.
	parts jobs.Parts
	whole func(ctx context.Context) (*rating.Catalog, error)
}

// catalogIn gives the catalog that settle uses: the database's rows, with those of the configuration's files over them. What
// settles gets it in parts, where the kept copy stands for the database's rows.
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
		if used.copy, err = st.ApplyCatalog(a.ctx, plan, c.catalogForm()); err != nil {
			return nil, err
		}
		used.sha256 = used.copy.SHA256
		return a.orInParts(c, st, used)
	}
	return used, used.identify(a.ctx, st, &store.CatalogRows{Draft: plan.Merged}, c, use)
}

// catalogOf gives the catalog of the database's rows alone.
func (a *app) catalogOf(c *Config, st *store.Store, use catalogUse) (*usedCatalog, error) {
	form := c.catalogForm()
	switch use {
	case lookUp, lookAhead:
		form = store.CatalogForm{}
	default:
		if used, err := a.inParts(c, st); used != nil || err != nil {
			return used, err
		}
	}
	rows, err := st.ReadCatalog(a.ctx, form)
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
	if err := errors.Join(catalogFault(catalog.Locate(rows.Draft, faults)), copied); err != nil || use != settleWith {
		return used, err
	}
	if err := st.KeepCatalog(a.ctx, used.copy); err != nil {
		return nil, &failure{op: "keep catalog", err: err}
	}
	return a.orInParts(c, st, used)
}

// orInParts gives the same catalog in parts, unless somebody has edited it meanwhile.
func (a *app) orInParts(c *Config, st *store.Store, used *usedCatalog) (*usedCatalog, error) {
	parts, err := a.inParts(c, st)
	if err != nil || parts == nil || parts.sha256 != used.sha256 {
		return used, err
	}
	return parts, nil
}

// inParts gives the catalog in parts; nil: no kept copy stands for the database's rows that this program, with this
// configuration, has found to be valid.
func (a *app) inParts(c *Config, st *store.Store) (*usedCatalog, error) {
	head, err := st.ReadHead(a.ctx, c.catalogForm())
	if err != nil {
		return nil, &failure{op: "load catalog", err: err}
	}
	if head == nil {
		return nil, nil
	}
	compiled, faults := rating.Compile(head.Draft, c.compileConfig())
	if len(faults) > 0 {
		return nil, nil // the whole catalog says it better
	}
	used := &usedCatalog{Catalog: compiled.Head(head.Packages, head.Conditions), sha256: head.Copy.SHA256, copy: head.Copy}
	used.parts = func(ctx context.Context, shard int) (*rating.Catalog, error) {
		draft, err := st.ReadShard(ctx, used.copy, shard)
		if err != nil {
			return nil, err
		}
		part, faults := used.Part(draft, c.compileConfig())
		return part, catalogFault(catalog.Locate(draft, faults))
	}
	used.whole = func(ctx context.Context) (*rating.Catalog, error) {
		kept, err := a.keptCatalog(ctx, c, st, used.sha256)
		if err != nil {
			return nil, err
		}
		return kept.Catalog, nil
	}
	return used, nil
}

// identify finds the catalog's hash, and for one that settles makes the copy that is kept.
func (u *usedCatalog) identify(ctx context.Context, st *store.Store, rows *store.CatalogRows, c *Config, use catalogUse) (err error) {
	switch {
	case rows.Copy != nil:
		u.copy = rows.Copy
	case use == lookUp || use == lookAhead:
		u.sha256 = c.catalogForm().Hash(rows.Draft)
		return nil
	default:
		if u.copy, err = st.CopyCatalog(ctx, rows.Draft, rows.Edits, c.catalogForm()); err != nil {
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
