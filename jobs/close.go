package jobs

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"

	"drawdown/rating"
)

// Close locks settled periods (R5.5): finance has booked them, and they are never rewritten. All fields must be set.
type Close struct {
	Unit   rating.PeriodUnit
	Rules  rating.Config
	Start  rating.Instant // settlement.start
	Until  rating.Instant // periods that end by then are closed
	DryRun bool

	History interface {
		Booked(ctx context.Context) ([]Booked, error)
	}
	Books  ClosedBooks
	State  State
	Ledger Ledger
}

// Closing is what a close did, or with a dry run would do.
type Closing struct {
	Run     int64
	DryRun  bool
	Nothing string // why there was nothing to close; empty where something was
	Periods []Booked
	// Waiting are objects with usage of these periods that came after they were settled: it is settled as late usage.
	Waiting []string
}

// Run closes all settled periods that end by Until. The first open one is the next; so nothing is closed behind one that is
// open.
func (c *Close) Run(ctx context.Context) (*Closing, error) {
	all, err := c.History.Booked(ctx)
	if err != nil {
		return nil, fmt.Errorf("load the settled periods: %w", err)
	}
	end := sort.Search(len(all), func(i int) bool { return all[i].Period.End > c.Until })
	next := rating.PeriodAt(c.Unit, c.Rules.Zone, c.Start)
	if len(all) > 0 {
		next = rating.PeriodAt(c.Unit, c.Rules.Zone, all[len(all)-1].Period.End)
	}
	if next.End <= c.Until {
		return nil, &PendingError{Name: next.Name(c.Unit, c.Rules.Zone), Until: c.Until}
	}
	first := slices.IndexFunc(all[:end], func(b Booked) bool { return !b.Closed })
	if first < 0 {
		return &Closing{DryRun: c.DryRun, Nothing: c.whyNothing(all[:end])}, nil
	}
	for i := first; i < len(all); i++ {
		if all[i].Closed {
			return nil, fmt.Errorf("R5.5: period %s is closed, though %s before it is not: the database was edited; `drawdown verify` says "+
				"what else is not as it was", all[i].Name, all[first].Name)
		}
	}
	closing := &Closing{DryRun: c.DryRun, Periods: all[first:end]}
	commit := &Commit{}
	for i := range closing.Periods {
		commit.Closes = append(commit.Closes, closing.Periods[i].Period.Start)
	}
	if commit.Objects, err = c.waiting(ctx, closing.Periods); err != nil {
		return nil, err
	}
	for i := range commit.Objects {
		closing.Waiting = append(closing.Waiting, commit.Objects[i].Key)
	}
	if c.DryRun {
		return closing, nil
	}
	if err := c.Ledger.Commit(ctx, commit); err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	return closing, nil
}

func (c *Close) whyNothing(settled []Booked) string {
	if len(settled) == 0 {
		return "no period ends by then"
	}
	return fmt.Sprintf("period %s, the last one that ends by then, is closed already", settled[len(settled)-1].Name)
}

// PendingError says that a period cannot be closed, since it is not settled.
type PendingError struct {
	Name  string
	Until rating.Instant
}

func (e *PendingError) Error() string {
	return fmt.Sprintf("R5.5: period %s ends by %v and is not settled, and only settled periods can be closed", e.Name, e.Until)
}

// waiting gives the objects that may have rows of periods which were settled without them. They are to be read again, so that the
// first open period takes notice of them.
func (c *Close) waiting(ctx context.Context, periods []Booked) (list []Known, err error) {
	known, err := c.State.Objects(ctx)
	if err != nil {
		return nil, fmt.Errorf("load remembered usage objects: %w", err)
	}
	missed := map[string]bool{}
	for i := range periods {
		m, err := c.Books.Manifest(ctx, &periods[i])
		if err != nil {
			return nil, fmt.Errorf("read the manifest of period %s: %w", periods[i].Name, err)
		}
		for key, k := range known {
			if k.Version == "" || k.First > k.Last || !k.mayHold(m.Period) {
				continue
			}
			n, found := slices.BinarySearchFunc(m.Inputs, key, func(in Input, key string) int { return strings.Compare(in.Key, key) })
			missed[key] = missed[key] || !found || m.Inputs[n].SHA256 != k.SHA256
		}
	}
	for key, is := range missed {
		if is {
			list = append(list, unsettled(known[key]))
		}
	}
	slices.SortFunc(list, func(a, b Known) int { return strings.Compare(a.Key, b.Key) })
	return list, nil
}
