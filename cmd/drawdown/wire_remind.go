package main

import (
	"context"
	"errors"
	"runtime"

	"drawdown/jobs"
	"drawdown/rating"
	"drawdown/writers/store"
)

// remind plugs the catalog and the state into jobs.Remind.
func (a *app) remind(c *Config) (reminded *jobs.Reminded, err error) {
	st, err := store.Open(a.ctx, c.State, a.writeMode())
	if err != nil {
		return nil, &failure{op: "open state", err: err}
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	used, err := a.catalogIn(c, st, lookAhead)
	if err != nil {
		return nil, err
	}
	compiled := used.Catalog
	board := &noticeBoard{store: st, config: c, now: rating.InstantOf(a.now), run: store.Run{
		Site: c.Site, Command: "remind", Process: a.self(), StartedAt: rating.InstantOf(a.clock()),
	}}
	board.finished = func() rating.Instant { return rating.InstantOf(a.clock()) }
	job := &jobs.Remind{
		Catalog: compiled, Rules: c.rating(), Unit: rating.PeriodUnit(c.Settlement.Period), Start: c.Start, Now: board.now,
		Shards: c.Settlement.Shards, Workers: runtime.GOMAXPROCS(0),
		State: &state{store: st, shards: c.Settlement.Shards}, Board: board,
	}
	if reminded, err = job.Run(a.ctx); err != nil {
		return nil, &failure{op: "remind", err: err}
	}
	return reminded, nil
}

// noticeBoard makes a store.Store a jobs.NoticeBoard.
type noticeBoard struct {
	store    *store.Store
	config   *Config
	now      rating.Instant
	run      store.Run
	finished func() rating.Instant
}

func (b *noticeBoard) Put(ctx context.Context, a *jobs.Ahead) (put, withdrawn int64, err error) {
	b.run.FinishedAt, b.run.Summary = b.finished(), summaryOf(b.now)
	ahead := &store.Ahead{Run: b.run, Until: a.Until, Notices: make([]store.AheadNotice, len(a.Notices))}
	if a.Last != nil {
		ahead.Last = a.Last.ManifestSHA256
	}
	for i := range a.Notices {
		n := &a.Notices[i]
		ahead.Notices[i] = store.AheadNotice{Notice: b.config.noticeRow(&n.Outgoing), PeriodStart: n.Period.Start}
	}
	put, withdrawn, err = b.store.PutAhead(ctx, ahead, b.now)
	if errors.Is(err, store.ErrSettledMeanwhile) {
		err = errors.Join(jobs.ErrSettledMeanwhile, err)
	}
	return put, withdrawn, err
}
