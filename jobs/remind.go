package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"drawdown/rating"
)

// Remind puts notices into the outbox ahead of the settlement that will find them (R6.2, R6.3): reminders and the life of
// packages follow from the catalog and the calendar, so that nobody has to wait for the end of a period and its usage. They
// are found by the Settler itself, in the periods that are not settled yet and without a record, so that they are what the
// settlement finds, under the same keys. All fields must be set.
type Remind struct {
	Catalog *rating.Catalog
	Rules   rating.Config
	Unit    rating.PeriodUnit
	Start   rating.Instant // settlement.start
	Now     rating.Instant
	Shards  int
	Workers int
	State   State
	Board   NoticeBoard
}

// Ahead is what is due in the periods that are not settled yet.
type Ahead struct {
	Last    *Settled       // what it was found from: the newest settled period; nil: none was settled
	Until   rating.Instant // the end of the period that is now; 0: none has begun
	Notices []AheadNotice  // of all those periods by key, also what is due later in the last one
}

// AheadNotice is a notice, and where the settlement will find it.
type AheadNotice struct {
	Outgoing
	Period rating.Period
}

// NoticeBoard is the outbox, for what is found ahead.
type NoticeBoard interface {
	// Put adds what is due and new, and withdraws what was put ahead before and is not found any more. [ErrSettledMeanwhile]:
	// another period was settled since, and nothing was put.
	Put(ctx context.Context, a *Ahead) (put, withdrawn int64, err error)
}

// ErrSettledMeanwhile is what putting fails with that was found from a period that is not the newest settled one any more.
var ErrSettledMeanwhile = errors.New("another period was settled meanwhile")

// Reminded is what was put into the outbox.
type Reminded struct {
	Put, Withdrawn int64
	Kinds          map[string]int // of all that is due by now and not settled, by kind, whether it is new or not
}

// Run finds and puts. Where a settlement comes in between, it looks again.
func (r *Remind) Run(ctx context.Context) (*Reminded, error) {
	const attempts = 5
	for attempt := 1; ; attempt++ {
		ahead, err := r.find(ctx)
		if err != nil {
			return nil, err
		}
		reminded := &Reminded{Kinds: map[string]int{}}
		for i := range ahead.Notices {
			if n := &ahead.Notices[i]; n.At <= r.Now {
				reminded.Kinds[n.Kind.String()]++
			}
		}
		reminded.Put, reminded.Withdrawn, err = r.Board.Put(ctx, ahead)
		if !errors.Is(err, ErrSettledMeanwhile) || attempt == attempts {
			return reminded, err
		}
	}
}

// find settles all payers without any record, from the newest settled period up to now.
func (r *Remind) find(ctx context.Context) (*Ahead, error) {
	last, err := r.State.Last(ctx)
	if err != nil {
		return nil, fmt.Errorf("find the last settled period: %w", err)
	}
	ahead := &Ahead{Last: last}
	next := rating.PeriodAt(r.Unit, r.Catalog.Zone, r.Start)
	if last != nil {
		next = rating.PeriodAt(r.Unit, r.Catalog.Zone, last.Period.End)
	}
	var periods []rating.Period
	for ; next.Start <= r.Now; next = rating.PeriodAt(r.Unit, r.Catalog.Zone, next.End) {
		periods, ahead.Until = append(periods, next), next.End
	}
	if len(periods) == 0 {
		return ahead, nil
	}
	payers := (&Settle{Catalog: r.Catalog, Shards: r.Shards}).payersByShard()
	var mu sync.Mutex
	err = side(ctx, r.Workers, r.Shards, func(ctx context.Context, shard int) error {
		found, err := r.shard(ctx, shard, payers[shard], last, periods)
		if err != nil {
			return fmt.Errorf("look ahead in shard %d: %w", shard, err)
		}
		mu.Lock()
		defer mu.Unlock()
		ahead.Notices = append(ahead.Notices, found...)
		return nil
	})
	slices.SortFunc(ahead.Notices, func(a, b AheadNotice) int { return cmp.Compare(a.DedupKey, b.DedupKey) })
	return ahead, err
}

// shard looks ahead for the payers of a shard.
func (r *Remind) shard(ctx context.Context, shard int, payers []int32, last *Settled, periods []rating.Period) ([]AheadNotice, error) {
	opening := map[int32]*rating.PayerState{}
	if last != nil {
		states, _, err := r.State.Opening(ctx, r.Catalog, shard)
		if err != nil {
			return nil, fmt.Errorf("load the opening state: %w", err)
		}
		for i := range states {
			opening[states[i].Payer] = &states[i]
		}
	}
	var found []AheadNotice
	settler := rating.NewSettler(r.Catalog, r.Rules, nil)
	for _, payer := range payers {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		state := opening[payer]
		if state == nil && !r.Catalog.Lives(payer) {
			continue
		}
		if state == nil && last != nil {
			state = &rating.PayerState{}
		}
		for _, period := range periods {
			err := settler.Begin(payer, period, state)
			if err == nil {
				state, err = settler.End()
			}
			if err != nil {
				return nil, err
			}
			for _, n := range settler.Result.Notices {
				if followsTheCalendar(n.Kind) {
					found = append(found, AheadNotice{outgoing(r.Catalog, n), period})
				}
			}
			settler.Result.Reset()
		}
	}
	return found, nil
}

// followsTheCalendar tells a kind of notice that no usage brings about, or keeps away.
func followsTheCalendar(kind rating.NoticeKind) bool {
	switch kind {
	case rating.NoticeExpiryReminder, rating.NoticeGrace, rating.NoticeRetention, rating.NoticeReleased:
		return true
	}
	return false
}
