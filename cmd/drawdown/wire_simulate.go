package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"

	"drawdown/jobs"
	"drawdown/rating"
	"drawdown/readers/catalog"
	"drawdown/writers/settlement"
	"drawdown/writers/store"
)

// simulateJob is what a simulation works on. It writes nothing but temporary files.
type simulateJob struct {
	*app
	config  *Config
	store   *store.Store
	output  *settlement.Output
	dir     string // of jobs, which write nothing
	account string
	payer   string
	within  rating.Period
	offers  []catalog.Product
	dirs    map[string]string // of manifests, by period
	files   map[string][]jobs.ArchivedFile
	unkept  bool
}

// simulate settles an account's payer again, as it was and with offers.
func (a *app) simulate(c *Config, k *simulateCmd, within rating.Period, offers []catalog.Product) (s *simulated, err error) {
	st, err := store.Open(a.ctx, c.State, store.ReadOnly)
	if err != nil {
		return nil, &failure{op: "open state", err: err}
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	dir, err := os.MkdirTemp(c.TempDir, "drawdown-simulate-*")
	if err != nil {
		return nil, &failure{op: "simulate", err: err, hint: "name a folder that exists in temp_dir"}
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	out, err := c.openOutput(a.ctx, a.memory(c))
	if err != nil {
		return nil, &failure{op: "open output", err: err}
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	j := &simulateJob{
		app: a, config: c, store: st, output: out, dir: dir, account: k.Account, within: within, offers: offers,
		dirs: map[string]string{}, files: map[string][]jobs.ArchivedFile{},
	}
	return j.run()
}

func (j *simulateJob) run() (*simulated, error) {
	periods, configured, err := j.periods()
	if err != nil {
		return nil, err
	}
	progress := j.progress()
	defer progress.done()
	job := &jobs.Simulate{
		Periods: periods, World: j.world, BookedLines: j.lines,
		Opening: func(ctx context.Context, c *rating.Catalog, sha256 [32]byte) ([]rating.PayerState, error) {
			return openState(ctx, j.store, c, sha256)
		},
		Progress: func(done, total int64) { progress.report("simulate", done, total) },
	}
	for i := range j.offers {
		job.Offers = append(job.Offers, j.offers[i].Name)
	}
	if job.Payer, err = j.findPayer(periods[len(periods)-1].CatalogSHA256); err != nil {
		return nil, err
	}
	j.payer = job.Payer
	result, err := job.Run(j.ctx)
	if err != nil {
		var coded interface{ ExitCode() int }
		if !errors.As(err, &coded) {
			err = &failure{op: "simulate", err: err}
		}
		return nil, err
	}
	result.Control.Unkept, result.Control.Configured = j.unkept, configured
	return &simulated{Simulation: result, job: j, periods: periods}, nil
}

// periods finds the settled periods of the range, which must be whole. It also tells whether the configuration has changed.
func (j *simulateJob) periods() (periods []jobs.SimulatedPeriod, configured bool, err error) {
	all, err := j.store.Periods(j.ctx)
	if err != nil {
		return nil, false, &failure{op: "simulate", err: err}
	}
	if len(all) == 0 {
		return nil, false, &failure{op: "simulate", code: exitUsage, err: errors.New("no period is settled yet"), hint: "`drawdown settle` settles what is due"}
	}
	if j.within.Start == rating.Beginning {
		j.within.Start = all[0].PeriodStart
	}
	if j.within.End == rating.Never {
		j.within.End = all[len(all)-1].PeriodEnd
	}
	within := slices.DeleteFunc(slices.Clone(all), func(r store.Revision) bool {
		return r.PeriodStart < j.within.Start || r.PeriodEnd > j.within.End
	})
	if n := len(within); n == 0 || within[0].PeriodStart != j.within.Start || within[n-1].PeriodEnd != j.within.End {
		return nil, false, j.notSettled(all)
	}
	books := &archive{j.output}
	for i := range within {
		r := &within[i]
		opened, err := books.Open(j.ctx, r.ManifestKey)
		if err != nil {
			return nil, false, &failure{op: "simulate", err: fmt.Errorf("open the settlement of period %s: %w", r.PeriodName, err)}
		}
		m := opened.Manifest()
		if m.SHA256 != r.ManifestSHA256 {
			return nil, false, &failure{
				op: "simulate", err: fmt.Errorf("%s is not the manifest that was committed", j.output.File(r.ManifestKey)),
				hint: "`drawdown verify` says more",
			}
		}
		configured = configured || m.ConfigSHA256 != j.config.hash()
		j.dirs[m.Name], j.files[m.Name] = path.Dir(r.ManifestKey), m.Files
		periods = append(periods, jobs.SimulatedPeriod{Manifest: &m.Manifest, ConfigSHA256: m.ConfigSHA256})
	}
	return periods, configured, nil
}

// notSettled says which range there is instead.
func (j *simulateJob) notSettled(all []store.Revision) error {
	zone := j.config.Settlement.TimeZone.Location
	return &failure{
		op: "simulate", code: exitUsage,
		err: fmt.Errorf("from %s to %s are no whole settled periods", moment(j.within.Start, zone), moment(j.within.End, zone)),
		hint: fmt.Sprintf("settled is from %s to %s, in periods of %s; --to is where the last one ends",
			moment(all[0].PeriodStart, zone), moment(all[len(all)-1].PeriodEnd, zone), periodNoun(rating.PeriodUnit(j.config.Settlement.Period))),
	}
}

// draft gives a catalog's rows as a run used them. Of what an older drawdown settled none were kept: then it is today's.
func (j *simulateJob) draft(ctx context.Context, sha256 [32]byte) (*rating.Draft, error) {
	draft, err := j.store.KeptCatalog(ctx, sha256)
	if errors.Is(err, store.ErrNotKept) {
		j.unkept = true
		draft, err = j.store.LoadDraft(ctx)
	}
	if err != nil {
		return nil, &failure{op: "load catalog", err: err}
	}
	return draft, nil
}

// findPayer finds who pays for the account.
func (j *simulateJob) findPayer(sha256 [32]byte) (string, error) {
	draft, err := j.draft(j.ctx, sha256)
	if err != nil {
		return "", err
	}
	for i := range draft.Accounts {
		if a := &draft.Accounts[i]; a.ID == j.account {
			if a.Payer != "" {
				return a.Payer, nil
			}
			return a.ID, nil
		}
	}
	return "", &failure{op: "simulate", err: fmt.Errorf("there is no account %q", j.account), code: exitUsage, hint: "`drawdown catalog show` lists them"}
}

// world makes what periods are settled again with, that were settled with one catalog.
func (j *simulateJob) world(ctx context.Context, sha256 [32]byte) (*jobs.SimulatedWorld, error) {
	draft, err := j.draft(ctx, sha256)
	if err != nil {
		return nil, err
	}
	own := draft.OfPayer(j.payer)
	actual, faults := rating.Compile(own, j.config.compileConfig())
	if len(faults) > 0 {
		return nil, fmt.Errorf("the catalog that was kept (%x) is not valid with today's configuration: %w", sha256[:6], catalog.Locate(own, faults))
	}
	if _, known := actual.AccountIndex([]byte(j.account)); !known {
		return nil, &failure{
			op: "simulate", err: fmt.Errorf("account %q came into the catalog, or to its payer %q, within the range", j.account, j.payer),
			code: exitUsage, hint: "let --from be a period that was settled with it",
		}
	}
	w := &jobs.SimulatedWorld{Catalogs: []*rating.Catalog{actual}, Gone: []map[string]bool{nil}, Bundles: [][]rating.Purchase{nil}}
	all := *draft
	all.Packages = slices.Clip(draft.Packages)
	for i := range j.offers {
		if err := j.offer(w, &j.offers[i], own, &all, i); err != nil {
			return nil, err
		}
	}
	read, faults := rating.Compile(&all, j.config.compileConfig())
	if len(faults) > 0 {
		return nil, fmt.Errorf("the catalog that was kept (%x) is not valid with today's configuration: %w", sha256[:6], catalog.Locate(&all, faults))
	}
	scratch, err := settlement.OpenOutput(j.dir)
	if err != nil {
		return nil, err
	}
	w.Settle, w.Close, err = j.job(ctx, j.config, j.store, &usedCatalog{Catalog: read, sha256: sha256}, scratch)
	return w, err
}

// offer puts an offer in the place of what the account had. Its packages also stand in the catalog that usage is read with,
// under names of their own, so that the attributes are kept that they ask for.
func (j *simulateJob) offer(w *jobs.SimulatedWorld, p *catalog.Product, own, all *rating.Draft, number int) error {
	actual := w.Catalogs[0]
	first := p.Over(own, j.account, rating.Period{Start: j.within.Start, End: j.within.Start + 1}, actual)
	if p.Every == "" {
		first = p.Over(own, j.account, j.within, actual)
	}
	compiled, err := p.CompileMerged(first.Draft, j.config.compileConfig())
	if err != nil {
		return catalogFault(err)
	}
	if p.Packages {
		for _, row := range first.Draft.Packages[:len(p.Rows.Packages)] {
			row.ID = fmt.Sprintf("offer %d: %s", number, row.ID)
			all.Packages = append(all.Packages, row)
		}
	}
	offered := first
	if p.Every != "" {
		offered = p.Over(own, j.account, j.within, actual)
		if compiled, err = p.CompileMerged(offered.Draft, j.config.compileConfig()); err != nil {
			return catalogFault(err)
		}
	}
	offered.Keep(actual, compiled)
	owner, _ := actual.AccountIndex([]byte(j.account))
	w.Catalogs, w.Gone = append(w.Catalogs, compiled), append(w.Gone, offered.Gone)
	w.Bundles = append(w.Bundles, offered.Bundles(&p.Offer, actual.Accounts[owner].Currency))
	return nil
}

// lines visits the payer's lines of a period as they stand.
func (j *simulateJob) lines(ctx context.Context, period string, shard int, visit func(*jobs.PayerLine) error) error {
	for _, f := range j.files[period] {
		if f.Table != "lines" || f.Shard != shard {
			continue
		}
		for l, err := range settlement.ReadLines(j.output.File(path.Join(j.dirs[period], f.Name))) {
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				return err
			}
			if l.Payer != j.payer {
				continue
			}
			if err := visit(&jobs.PayerLine{Account: l.Account, RecordID: l.RecordID, Late: l.Late, BookedLine: bookedLine(&l)}); err != nil {
				return err
			}
		}
	}
	return nil
}
