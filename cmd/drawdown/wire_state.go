package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"drawdown/jobs"
	"drawdown/notifier"
	"drawdown/rating"
	"drawdown/writers/settlement"
	"drawdown/writers/store"
)

// state makes a store.Store a jobs.State.
type state struct {
	store  *store.Store
	shards int
	whole  func(ctx context.Context) (*rating.Catalog, error) // where a part of the catalog lacks something; nil: there are no parts
}

func (s *state) Last(ctx context.Context) (*jobs.Settled, error) {
	last, err := s.store.SettledBefore(ctx, rating.Never)
	if err != nil || last == nil {
		return nil, err
	}
	if last.Shards != int64(s.shards) {
		return nil, fmt.Errorf("period %s was settled with settlement.shards: %d, and the configuration says %d; put it back to %d",
			last.PeriodName, last.Shards, s.shards, last.Shards)
	}
	return settledOf(last), nil
}

func settledOf(r *store.Revision) *jobs.Settled {
	return &jobs.Settled{
		Period: rating.Period{Start: r.PeriodStart, End: r.PeriodEnd}, ManifestSHA256: r.ManifestSHA256,
	}
}

func (s *state) Objects(ctx context.Context) (map[string]jobs.Known, error) {
	objects, err := s.store.Objects(ctx)
	known := make(map[string]jobs.Known, len(objects))
	for key, o := range objects {
		known[key] = jobs.Known{
			Object: jobs.Object{Key: o.Key, Size: o.Size, Version: o.Version},
			SHA256: o.SHA256, Read: o.Records, First: o.FirstTime, Last: o.LastTime, Home: o.HomePeriodStart,
		}
	}
	return known, err
}

func (s *state) Opening(ctx context.Context, c *rating.Catalog, shard int) ([]rating.PayerState, [32]byte, error) {
	return s.opening(ctx, c, rating.Never, shard)
}

func (s *state) opening(ctx context.Context, c *rating.Catalog, at rating.Instant, shard int) ([]rating.PayerState, [32]byte, error) {
	blob, hash, err := s.store.OpeningState(ctx, at, shard)
	if err != nil {
		return nil, hash, err
	}
	states, err := store.DecodeState(c, blob)
	if err != nil && s.whole != nil {
		err = errors.Join(s.misplaced(ctx, blob, at), err)
	}
	return states, hash, err
}

// misplaced says what is wrong where a part of the catalog has not all that was left in its shard: mostly a package belongs
// to another payer now.
func (s *state) misplaced(ctx context.Context, blob []byte, at rating.Instant) error {
	last, err := s.store.SettledBefore(ctx, at)
	if err != nil || last == nil {
		return err
	}
	whole, err := s.whole(ctx)
	if err != nil {
		return err
	}
	states, err := store.DecodeState(whole, blob)
	if err != nil {
		return nil // which says the same as without it
	}
	for i := range states {
		if err := whole.Contradiction(&states[i], last.PeriodEnd); err != nil {
			return err
		}
	}
	return nil
}

// ledger makes a store.Store a jobs.Ledger.
type ledger struct {
	store   *store.Store
	catalog *usedCatalog
	held    *heldLease
	clock   func() time.Time
	now     rating.Instant // as the run takes it
	config  *Config
	hook    func(step string) error // of tests: ends a commit
	encoder store.StateEncoder
}

func (l *ledger) Seal(c *rating.Catalog, states []rating.PayerState) (jobs.SealedState, error) {
	sealed := jobs.SealedState{Payers: len(states)}
	for i := range states {
		sealed.Packages += len(states[i].Packages)
	}
	var err error
	if sealed.Blob, err = l.encoder.Encode(c, states); err != nil {
		return sealed, err
	}
	sealed.SHA256, err = store.StateHash(sealed.Blob)
	return sealed, err
}

func (l *ledger) Current(ctx context.Context) (map[string]jobs.Current, error) {
	periods, err := l.store.Periods(ctx)
	current := make(map[string]jobs.Current, len(periods))
	for i := range periods {
		p := &periods[i]
		current[p.PeriodName] = jobs.Current{Revision: p.Revision, ManifestKey: p.ManifestKey, ManifestSHA256: p.ManifestSHA256}
	}
	return current, err
}

func (l *ledger) Commit(ctx context.Context, c *jobs.Commit) error {
	if l.held.committed {
		if err := l.held.start(ctx, l.clock); err != nil {
			return err
		}
	}
	commit := &store.Commit{Lease: l.held.lease, RunID: l.held.run, Hook: l.hook, Catalog: l.catalog.copy}
	for i := range c.Periods {
		period, err := l.period(&c.Periods[i])
		if err != nil {
			return err
		}
		commit.Periods = append(commit.Periods, *period)
		commit.Outcome.Records += c.Periods[i].Report.Rows.Settled
	}
	for i := range c.Objects {
		o := &c.Objects[i]
		commit.Objects = append(commit.Objects, store.Object{
			Key: o.Key, Size: o.Size, Version: o.Version, SHA256: o.SHA256, Records: o.Read,
			FirstTime: o.First, LastTime: o.Last, HomePeriodStart: o.Home,
		})
	}
	commit.Closes = c.Closes
	commit.Outcome.Periods = int64(len(c.Periods) + len(c.Closes))
	commit.Outcome.Summary = summaryOf(l.now)
	commit.Outcome.FinishedAt = rating.InstantOf(l.clock())
	err := l.store.Commit(ctx, commit)
	if errors.Is(err, store.ErrFenced) {
		return errors.Join(jobs.ErrFenced, err)
	}
	l.held.committed = err == nil
	return err
}

// period says in the store's words what a job commits of a period.
func (l *ledger) period(p *jobs.PeriodCommit) (*store.PeriodCommit, error) {
	totals, err := json.Marshal(revisionTotalsOf(p.Report))
	if err != nil {
		return nil, err
	}
	m := p.Manifest
	out := &store.PeriodCommit{Revision: store.Revision{
		PeriodStart: m.Period.Start, PeriodEnd: m.Period.End, PeriodName: m.Name, Revision: m.Revision,
		ManifestKey: p.ManifestKey, ManifestSHA256: p.ManifestSHA256, PreviousManifestSHA256: m.PreviousSHA256,
		ConfigSHA256: l.config.hash(), CatalogSHA256: m.CatalogSHA256,
		OpeningSHA256: jobs.HashOfShards(m.OpeningSHA256), ClosingSHA256: jobs.HashOfShards(m.ClosingSHA256),
		Totals: string(totals),
	}}
	out.Revision.Shards, out.Revision.Notices = int64(len(p.Shards)), int64(len(p.Notices))
	if p.Taken != nil {
		for _, n := range p.Taken.Notices {
			out.Revision.Notices += int64(n)
		}
	}
	for n, s := range p.Shards {
		out.Revision.Payers += int64(s.Payers)
		out.Revision.Packages += int64(s.Packages)
		out.Shards = append(out.Shards, store.ShardState{
			Shard: n, SHA256: s.SHA256, Payers: int64(s.Payers), Packages: int64(s.Packages), Content: s.Blob,
		})
	}
	out.Notices = make([]store.Notice, 0, len(p.Notices))
	for i := range p.Notices {
		out.Notices = append(out.Notices, l.config.noticeRow(&p.Notices[i]))
	}
	if p.Taken != nil {
		out.Keeps = true
		out.Notices, out.Sought = changedNotices(p.Taken.Sought, out.Notices)
	}
	return out, nil
}

// changedNotices leaves out what stands in the files as it was found again: it stands in the outbox likewise. It gives the
// other notices, and the keys of the others that stand. What an account's inbox is to have is looked for there.
func changedNotices(stands []jobs.BookedNotice, found []store.Notice) (others []store.Notice, sought []string) {
	byKey := make(map[string]*jobs.BookedNotice, len(stands))
	for i := range stands {
		byKey[stands[i].DedupKey] = &stands[i]
	}
	for i := range found {
		n := &found[i]
		if was := byKey[n.DedupKey]; was == nil || n.Inbox || *was != (jobs.BookedNotice{
			DedupKey: n.DedupKey, Kind: n.Kind, Account: n.Account, Package: n.Package, Meter: n.Meter, CycleStart: n.CycleStart,
			ThresholdType: n.ThresholdType, Threshold: n.Threshold, Remaining: n.Remaining, RecordID: n.RecordID, At: n.At,
		}) {
			others = append(others, *n)
			continue
		}
		delete(byKey, n.DedupKey)
	}
	for i := range stands {
		if key := stands[i].DedupKey; byKey[key] != nil {
			sought = append(sought, key)
		}
	}
	return others, sought
}

// revisionTotals is what the state says of a revision's rows and money, so that both can be added up without its files.
type revisionTotals struct {
	jobs.RowCounts
	Charges map[string]settlement.Decimal // by currency
	Late    int64                         // rows of closed periods
}

func revisionTotalsOf(p *jobs.PeriodReport) revisionTotals {
	totals := revisionTotals{RowCounts: p.Rows, Charges: map[string]settlement.Decimal{}}
	if l := p.Late; l != nil {
		totals.Late = l.Rows.Settled + l.Rows.Duplicate + l.Rows.Superseded + l.Rows.Quarantined
	}
	for _, c := range p.Charges {
		totals.Charges[c.Currency] = settlement.Decimal(c.Amount)
	}
	return totals
}

// noticeRow writes a notice by names and decimals, and says whether the account's inbox tells it.
func (c *Config) noticeRow(o *jobs.Outgoing) store.Notice {
	n := store.Notice{
		DedupKey: o.DedupKey, Kind: o.Kind.String(), Account: o.AccountID, Package: o.PackageID, Meter: o.MeterID,
		RecordID: o.RecordID, At: o.At,
	}
	preference := c.Notify.Accounts[n.Account].Channels
	n.Inbox = slices.Contains(c.channelsOf(n.Kind, o.Channels), notifier.ChannelInbox) &&
		(preference == nil || slices.Contains(preference, notifier.ChannelInbox))
	switch o.Kind {
	case rating.NoticeServiceStop:
		n.CycleStart = o.CycleStart
	case rating.NoticeUsageAlert:
		n.CycleStart = o.CycleStart
		n.ThresholdType = o.Type.String()
		n.Threshold = rating.FormatQuantity(o.Threshold, 9)
		n.Remaining = rating.FormatQuantity(o.Remaining, o.PackageScale)
	case rating.NoticeExpiryReminder:
		n.Threshold = rating.FormatQuantity(o.Threshold, 9)
	}
	return n
}
