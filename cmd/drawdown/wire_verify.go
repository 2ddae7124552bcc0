package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"runtime"
	"strings"
	"sync"

	"drawdown/jobs"
	"drawdown/rating"
	"drawdown/writers/settlement"
	"drawdown/writers/store"
)

// verify plugs the readers of files and database into jobs.Verify.
func (a *app) verify(c *Config, chosen func(*jobs.BookedRevision) bool, deep bool) (found *jobs.Verification, err error) {
	st, err := store.Open(a.ctx, c.State, store.ReadOnly)
	if err != nil {
		return nil, &failure{op: "open state", err: err}
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	out, err := c.openOutput(a.ctx, a.memory(c))
	if err != nil {
		return nil, &failure{op: "open output", err: err}
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	progress := a.progress()
	defer progress.done()
	books := &register{store: st, chunks: map[store.Hash]bool{}}
	job := &jobs.Verify{
		Chosen: chosen, Workers: runtime.GOMAXPROCS(0), Register: books, Notices: books, States: books,
		Archive: &archive{out}, Progress: progress.report,
	}
	if deep {
		dir, err := os.MkdirTemp(c.TempDir, "drawdown-verify-*")
		if err != nil {
			return nil, &failure{op: "verify", err: err}
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		if job.Deep, err = a.resettle(c, st, out, dir); err != nil {
			return nil, err
		}
	}
	if found, err = job.Run(a.ctx); err != nil {
		return nil, &failure{op: "verify", err: err}
	}
	return found, nil
}

// resettle makes what settles periods again into a folder.
func (a *app) resettle(c *Config, st *store.Store, stands *settlement.Output, dir string) (*jobs.Resettle, error) {
	used, err := a.catalogIn(c, st, lookUp)
	if err != nil {
		return nil, err
	}
	return &jobs.Resettle{
		ConfigSHA256: c.hash(), Version: buildVersion().Version,
		Job: func(ctx context.Context, run int64, catalogSHA256 [32]byte) (*jobs.Settle, func() error, error) {
			if used.sha256 != catalogSHA256 {
				kept, err := a.keptCatalog(ctx, c, st, catalogSHA256)
				if err != nil && ctx.Err() == nil {
					err = fmt.Errorf("%w: %w", jobs.ErrNoCatalog, err)
				}
				if err != nil {
					return nil, nil, err
				}
				used = kept
			}
			then := *a
			r, err := st.RunOf(ctx, run)
			if err != nil {
				return nil, nil, err
			}
			if r != nil {
				then.now = nowOf(r).Time()
			}
			out, err := settlement.OpenOutput(dir)
			if err != nil {
				return nil, nil, err
			}
			job, closeJob, err := then.job(ctx, c, st, used, out)
			if err == nil {
				job.Ledger = &ledger{store: st, catalog: used, config: c, clock: a.clock}
			}
			return job, closeJob, err
		},
		Opening: func(ctx context.Context, catalog *rating.Catalog, sha256 [32]byte) ([]rating.PayerState, error) {
			return openState(ctx, st, catalog, sha256)
		},
		Compare: func(ctx context.Context, job *jobs.Settle, was, is string) ([]jobs.Differing, error) {
			return differing(ctx, stands, job.Output.(*output).Output, was, is)
		},
	}, nil
}

// openState decodes a closing state by its hash.
func openState(ctx context.Context, st *store.Store, catalog *rating.Catalog, sha256 [32]byte) ([]rating.PayerState, error) {
	blob, err := st.LoadState(ctx, sha256)
	if err != nil {
		return nil, err
	}
	return store.DecodeState(catalog, blob)
}

// summary is what a run says of itself besides its figures.
type summary struct {
	Now string `json:"now"` // what it took for now: rows of later times were quarantined as from the future
}

func summaryOf(now rating.Instant) string {
	text, err := json.Marshal(summary{now.String()})
	if err != nil {
		panic(err) // cannot be: it is a text
	}
	return string(text)
}

// nowOf gives what a run took for now.
func nowOf(r *store.Run) rating.Instant {
	var s summary
	if json.Unmarshal([]byte(r.Summary), &s) == nil {
		if now, err := rating.ParseInstant([]byte(s.Now)); err == nil {
			return now
		}
	}
	return r.StartedAt
}

func differing(ctx context.Context, stands, again *settlement.Output, was, is string) ([]jobs.Differing, error) {
	var sides [2]settlement.Side
	for i, key := range []string{was, is} {
		out := []*settlement.Output{stands, again}[i]
		m, _, err := out.ReadManifest(key)
		if err != nil {
			return nil, err
		}
		sides[i] = settlement.Side{Output: out, Dir: path.Dir(key), Manifest: m}
	}
	found, err := settlement.Differences(ctx, sides[0], sides[1])
	var list []jobs.Differing
	for _, d := range found {
		list = append(list, jobs.Differing(d))
	}
	return list, err
}

// register makes a store.Store what verify reads of the database.
type register struct {
	store  *store.Store
	chunks map[store.Hash]bool // of catalogs, that were checked
}

func (b *register) Revisions(ctx context.Context) ([]jobs.BookedRevision, error) {
	revisions, err := b.store.AllRevisions(ctx)
	if err != nil {
		return nil, err
	}
	runs := map[int64]*store.Run{}
	list := make([]jobs.BookedRevision, 0, len(revisions))
	for i := range revisions {
		r := &revisions[i]
		run, seen := runs[r.RunID]
		if !seen {
			if run, err = b.store.RunOf(ctx, r.RunID); err != nil {
				return nil, err
			}
			runs[r.RunID] = run
		}
		booked := jobs.BookedRevision{
			Period: rating.Period{Start: r.PeriodStart, End: r.PeriodEnd}, Name: r.PeriodName, Revision: r.Revision, Current: r.IsCurrent,
			Run: r.RunID, Token: r.Token, ManifestKey: r.ManifestKey, ManifestSHA256: r.ManifestSHA256, PreviousSHA256: r.PreviousManifestSHA256,
			Folder:       path.Dir(settlement.ManifestKey(r.PeriodName, r.Revision, r.Token)),
			ConfigSHA256: r.ConfigSHA256, CatalogSHA256: r.CatalogSHA256, OpeningSHA256: r.OpeningSHA256, ClosingSHA256: r.ClosingSHA256,
			Shards: r.Shards, Payers: r.Payers, Packages: r.Packages, NoticeCount: r.Notices,
		}
		if run != nil {
			booked.RunState, booked.RunToken, booked.RunVersion = run.State, run.Token, run.Version
		}
		booked.RowsFault = json.Unmarshal([]byte(r.Totals), &booked.Rows)
		list = append(list, booked)
	}
	return list, nil
}

func (b *register) Shards(ctx context.Context, r *jobs.BookedRevision) ([]jobs.BookedShard, error) {
	states, err := b.store.NamedStates(ctx, r.Period.Start, r.Revision)
	shards := make([]jobs.BookedShard, 0, len(states))
	for _, s := range states {
		shards = append(shards, jobs.BookedShard{Shard: s.Shard, SHA256: s.SHA256, Found: s.Found, Payers: s.Payers, Packages: s.Packages})
	}
	return shards, err
}

func (b *register) Open(ctx context.Context, sha256 [32]byte) (*jobs.OpenedState, error) {
	blob, err := b.store.LoadState(ctx, sha256)
	if err != nil {
		return nil, err
	}
	names, payers, err := store.OpenState(blob)
	if err != nil {
		return nil, err
	}
	state := &jobs.OpenedState{Payers: int64(len(payers)), Remaining: map[string]rating.Amount{}}
	for i := range payers {
		state.Packages += int64(len(payers[i].Packages))
		for n := range payers[i].Packages {
			p := &payers[i].Packages[n]
			state.Remaining[names.Packages[p.Package].ID] = rating.DecimalOf(p.Remaining, int(p.Scale))
		}
	}
	return state, nil
}

func (b *register) Catalog(ctx context.Context, sha256 [32]byte) error {
	if err := b.store.CheckCatalog(ctx, sha256, b.chunks); !errors.Is(err, store.ErrNotKept) {
		return err
	}
	return nil
}

func (b *register) CurrentCatalog(ctx context.Context) error { return b.store.VerifyCurrent(ctx) }

func (b *register) Stray(ctx context.Context) (int64, error) { return b.store.StrayNotices(ctx) }

func (b *register) Kept(ctx context.Context, period rating.Instant, visit func(*jobs.KeptNotice) error) error {
	return b.store.KeptNotices(ctx, period, func(n *store.KeptNotice) error {
		return visit(&jobs.KeptNotice{
			BookedNotice: jobs.BookedNotice{
				DedupKey: n.DedupKey, Kind: n.Kind, Account: n.Account, Package: n.Package, Meter: n.Meter, CycleStart: n.CycleStart,
				ThresholdType: n.ThresholdType, Threshold: n.Threshold, Remaining: n.Remaining, RecordID: n.RecordID, At: n.At,
			},
			Revision: n.Revision, Sent: n.Sent,
		})
	})
}

// archive makes a settlement.Output a jobs.Archive.
type archive struct{ *settlement.Output }

func (o *archive) Current(context.Context) (map[string]jobs.Current, error) {
	periods, err := o.ReadCurrent()
	current := make(map[string]jobs.Current, len(periods))
	for name, p := range periods {
		c := jobs.Current{Revision: p.Revision, ManifestKey: p.Manifest}
		copy(c.ManifestSHA256[:], p.SHA256)
		current[name] = c
	}
	return current, err
}

func (o *archive) Names(ctx context.Context, manifestKey string) (names []string, err error) {
	prefix := path.Dir(manifestKey) + "/"
	err = o.List(ctx, prefix, func(f settlement.Stored) error {
		names = append(names, strings.TrimPrefix(f.Name, prefix))
		return nil
	})
	return names, err
}

func (o *archive) Open(_ context.Context, manifestKey string) (jobs.ArchivedRevision, error) {
	m, sha, err := o.ReadManifest(manifestKey)
	if err != nil {
		return nil, err
	}
	r := &archivedRevision{output: o.Output, dir: path.Dir(manifestKey), stands: m, sums: settlement.NewSums()}
	return r, r.translate(sha)
}

// archivedRevision makes a settlement.Manifest with its files a jobs.ArchivedRevision.
type archivedRevision struct {
	output   *settlement.Output
	dir      string
	stands   *settlement.Manifest
	manifest jobs.ArchivedManifest

	mu   sync.Mutex
	sums *settlement.Sums
}

// translate says in a job's words what the manifest says.
func (r *archivedRevision) translate(sum [32]byte) error {
	m := r.stands
	start, err := rating.ParseInstant([]byte(m.Period.Start))
	if err != nil {
		return fmt.Errorf("its period starts at %q: %w", m.Period.Start, err)
	}
	end, err := rating.ParseInstant([]byte(m.Period.End))
	if err != nil {
		return fmt.Errorf("its period ends at %q: %w", m.Period.End, err)
	}
	r.manifest = jobs.ArchivedManifest{SHA256: sum, ConfigSHA256: hash32(m.ConfigSHA256), Manifest: jobs.Manifest{
		Period: rating.Period{Start: start, End: end}, Name: m.Period.Name, Revision: m.Revision,
		CatalogSHA256: hash32(m.CatalogSHA256), PreviousSHA256: hash32(m.PreviousManifestSHA256), Rows: jobs.RowCounts(m.Totals.Rows),
	}}
	for _, h := range m.OpeningSHA256 {
		r.manifest.OpeningSHA256 = append(r.manifest.OpeningSHA256, hash32(h))
	}
	for _, h := range m.ClosingSHA256 {
		r.manifest.ClosingSHA256 = append(r.manifest.ClosingSHA256, hash32(h))
	}
	for _, t := range m.Totals.Meters {
		r.manifest.Meters = append(r.manifest.Meters, jobs.MeterReport{
			Meter: t.Meter, Settled: rating.Amount(t.Settled), Deducted: rating.Amount(t.Deducted), Excess: rating.Amount(t.Excess),
			Stopped: rating.Amount(t.Stopped),
		})
	}
	for _, c := range m.Totals.Amounts {
		r.manifest.Amounts = append(r.manifest.Amounts, jobs.CurrencyAmount{Currency: c.Currency, Amount: rating.Amount(c.Amount)})
	}
	for i := range m.Inputs {
		in := &m.Inputs[i]
		known := jobs.Known{Object: jobs.Object{Key: in.Key, Size: in.Size}, SHA256: hash32(in.SHA256)}
		r.manifest.Inputs = append(r.manifest.Inputs, jobs.Input{Known: known, Rows: jobs.RowCounts(in.Rows), Probable: in.ProbableDuplicate})
	}
	r.manifest.Late = lateOf(m)
	for _, f := range m.Files {
		r.manifest.Files = append(r.manifest.Files, jobs.ArchivedFile{
			Name: f.Name, Table: f.Table, Shard: f.Shard, Rows: f.Rows, Size: f.Size, SHA256: hash32(f.SHA256),
		})
	}
	return nil
}

// lateOf says in a job's words what late usage a manifest is about.
func lateOf(m *settlement.Manifest) *jobs.LateSettled {
	if m.Late == nil {
		return nil
	}
	l := &jobs.LateSettled{Objects: m.Late.Objects}
	for _, b := range m.Late.Beside {
		l.Beside = append(l.Beside, jobs.Compared{Key: b.Key, SHA256: hash32(b.SHA256)})
	}
	return l
}

func hash32(h settlement.Hash) (sum [32]byte) {
	copy(sum[:], h)
	return sum
}

func (r *archivedRevision) Manifest() *jobs.ArchivedManifest { return &r.manifest }

func (r *archivedRevision) Verify(ctx context.Context, f *jobs.ArchivedFile) error {
	sums, err := r.output.Verify(ctx, r.dir, fileOf(f))
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sums.Add(sums)
	return nil
}

func (r *archivedRevision) Totals() []error { return r.stands.VerifyTotals(r.sums) }

func (r *archivedRevision) Balances(ctx context.Context, f *jobs.ArchivedFile, visit func(*jobs.BookedBalance) error) error {
	return r.output.VerifyBalances(ctx, path.Join(r.dir, f.Name), func(b *settlement.Balance) error {
		return visit(&jobs.BookedBalance{Package: b.Package, Opening: b.Opening, Closing: b.Closing})
	})
}

func (r *archivedRevision) Noticed(ctx context.Context, f *jobs.ArchivedFile, visit func(*jobs.BookedNotice) error) error {
	return r.output.VerifyNotices(ctx, path.Join(r.dir, f.Name), func(n *settlement.Notice) error {
		booked := bookedNotice(n)
		return visit(&booked)
	})
}

func bookedNotice(n *settlement.Notice) jobs.BookedNotice {
	return jobs.BookedNotice{
		DedupKey: n.DedupKey, Kind: n.Kind, Account: n.Account, Package: orZero(n.Package), Meter: orZero(n.Meter),
		CycleStart: orZero(n.CycleStart), ThresholdType: orZero(n.ThresholdType), Threshold: decimalText(n.Threshold),
		Remaining: decimalText(n.Remaining), RecordID: orZero(n.RecordID), At: n.At,
	}
}

// decimalText writes a decimal as the outbox has it; null is empty.
func decimalText(a *rating.Amount) string {
	if a == nil {
		return ""
	}
	return a.String()
}
