package jobs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"drawdown/rating"
)

// Simulate settles settled periods of one payer again by the same code, once as they were and once with each offer in the
// place of what an account had. It commits nothing. All fields must be set.
type Simulate struct {
	Payer   string
	Periods []SimulatedPeriod // they follow each other
	Offers  []string          // their names
	// World makes what periods are settled again with, that were settled with one catalog.
	World func(ctx context.Context, catalogSHA256 [32]byte) (*SimulatedWorld, error)
	// Opening decodes a state that a period opened with.
	Opening func(ctx context.Context, c *rating.Catalog, sha256 [32]byte) ([]rating.PayerState, error)
	// Booked visits the payer's lines of a period, as they stand in the settlement.
	BookedLines func(ctx context.Context, period string, shard int, visit func(*PayerLine) error) error
	Progress    func(done, total int64) // may be nil
}

// SimulatedPeriod is a settled period, by its manifest.
type SimulatedPeriod struct {
	*Manifest
	ConfigSHA256 [32]byte
}

// SimulatedWorld is what some periods are settled again with.
type SimulatedWorld struct {
	*Settle                      // it reads the usage, with a catalog that asks for all attributes that any of the others does
	Catalogs []*rating.Catalog   // of the payer alone: as it was, and with each offer
	Gone     []map[string]bool   // packages of which an offer carries nothing on
	Bundles  [][]rating.Purchase // what an offer as a whole is paid for
	Close    func() error
}

// PayerLine is a row of lines.
type PayerLine struct {
	Account, RecordID string
	Late              bool
	BookedLine
}

// Simulation is what came of it.
type Simulation struct {
	Cases   []SimulatedCase // as it was, settled again, and with each offer
	Booked  []PeriodCost    // the charges that stand in the settlement
	Control Control
}

// SimulatedCase is all periods settled again with one catalog.
type SimulatedCase struct {
	Name     string // empty: as it was
	Periods  []PeriodCost
	Bought   []rating.CountedPurchase
	Free     map[string]bool        // packages that count as free, though they are to be paid for: no price is known
	Meters   map[string]MeterReport // over all periods
	Unpriced int64                  // records that have excess and no price
}

// PeriodCost is what a period costs.
type PeriodCost struct {
	Charges  map[AccountCurrency]rating.Amount
	Packages map[string]rating.Amount // the part of their prices, by currency
}

// AccountCurrency is whom charges are of, and what they are in.
type AccountCurrency struct{ Account, Currency string }

// Control says how what was settled again as it was compares with what is booked.
type Control struct {
	Lines, Booked int64 // that were compared
	Differing     []DifferingPeriod
	Late          map[string]rating.Amount // of the booked ones, those of usage that came late, by currency
	LateLines     int64
	Objects       []string // usage objects that are gone, or others than they were
	Unkept        bool     // a catalog was not kept: today's takes its place
	Configured    bool     // the configuration has changed, in what decides about results
}

// DifferingPeriod is a period whose lines, settled again, are not those that are booked.
type DifferingPeriod struct {
	Period        string
	Lines, Booked int64
	Account, ID   string // of the first record that differs; empty: lines are missing at the end
}

// Differs tells whether anything is not as it was booked.
func (c *Control) Differs() bool { return len(c.Differing) > 0 }

// simulating is a simulation under way.
type simulating struct {
	*Simulate
	*Simulation
	world    *SimulatedWorld
	sha256   [32]byte
	listed   map[string]Object
	catalogs []*rating.Catalog // that states refers to
	states   []*rating.PayerState
	spending []*rating.Spending
	objects  map[string]bool // that are not what they were
	done     int64
}

// Run simulates.
func (s *Simulate) Run(ctx context.Context) (*Simulation, error) {
	within := rating.Period{Start: s.Periods[0].Period.Start, End: s.Periods[len(s.Periods)-1].Period.End}
	x := &simulating{Simulate: s, Simulation: &Simulation{Control: Control{Late: map[string]rating.Amount{}}}, objects: map[string]bool{}}
	for _, name := range append([]string{""}, s.Offers...) {
		x.Cases = append(x.Cases, SimulatedCase{Name: name, Meters: map[string]MeterReport{}, Free: map[string]bool{}})
		x.spending = append(x.spending, rating.NewSpending(within))
	}
	err := x.run(ctx)
	if x.world != nil {
		err = errors.Join(err, x.world.Close())
	}
	if err != nil {
		return nil, err
	}
	for n := range x.Cases {
		x.Cases[n].Bought = x.spending[n].List()
	}
	x.Control.Objects = slices.Sorted(maps.Keys(x.objects))
	return x.Simulation, nil
}

// run settles batches of periods that were settled with one catalog.
func (x *simulating) run(ctx context.Context) error {
	for from := 0; from < len(x.Periods); {
		to := from + 1
		for to < len(x.Periods) && to-from < maxPeriods && x.Periods[to].CatalogSHA256 == x.Periods[from].CatalogSHA256 &&
			x.Periods[to].Late == nil { // late usage is of the first period of a batch
			to++
		}
		if err := x.enter(ctx, x.Periods[from].CatalogSHA256); err != nil {
			return err
		}
		if err := x.batch(ctx, x.Periods[from:to]); err != nil {
			return err
		}
		from = to
	}
	return nil
}

// enter makes the world of a catalog, and hands what is left over to it.
func (x *simulating) enter(ctx context.Context, sha256 [32]byte) (err error) {
	if x.world != nil && x.sha256 == sha256 {
		return nil
	}
	if x.world != nil {
		err = x.world.Close()
		x.world = nil
	}
	if err != nil {
		return err
	}
	if x.world, err = x.World(ctx, sha256); err != nil {
		return err
	}
	x.sha256 = sha256
	objects, _, err := x.world.Bucket.List(ctx)
	if err != nil {
		return fmt.Errorf("list usage objects: %w", err)
	}
	x.listed = map[string]Object{}
	for _, o := range objects {
		x.listed[o.Key] = o
	}
	if x.catalogs == nil {
		return x.open(ctx)
	}
	for n, state := range x.states {
		x.states[n] = state.Carry(x.catalogs[n], x.world.Catalogs[n], nil)
	}
	x.catalogs = x.world.Catalogs
	return nil
}

// open gives each case what the first period opened with. An offer begins unused.
func (x *simulating) open(ctx context.Context) error {
	w, first := x.world, x.Periods[0].Manifest
	x.catalogs, x.states = w.Catalogs, make([]*rating.PayerState, len(w.Catalogs))
	if len(first.OpeningSHA256) == 0 {
		return nil
	}
	payer, _ := w.Catalog.AccountIndex([]byte(x.Payer))
	shard := w.shardOf(payer)
	if shard >= len(first.OpeningSHA256) {
		return fmt.Errorf("the manifest of period %s has %d opening states, and none of shard %d", first.Name, len(first.OpeningSHA256), shard)
	}
	states, err := x.Opening(ctx, w.Catalog, first.OpeningSHA256[shard])
	if err != nil {
		return fmt.Errorf("load what period %s opened with: %w", first.Name, err)
	}
	opened := &rating.PayerState{Payer: payer}
	for i := range states {
		if states[i].Payer == payer {
			opened = &states[i]
		}
	}
	for n := range x.states {
		x.states[n] = opened.Carry(w.Catalog, w.Catalogs[n], w.Gone[n])
	}
	return nil
}

// batch reads the usage of some periods once, and settles each case with it.
func (x *simulating) batch(ctx context.Context, periods []SimulatedPeriod) error {
	w := x.world
	again := *w.Settle
	payer, known := w.Catalog.AccountIndex([]byte(x.Payer))
	if !known {
		return fmt.Errorf("account %q was not in the catalog of period %s", x.Payer, periods[0].Name)
	}
	again.Bucket, again.State = x.inputs(periods), forgetful{w.State}
	run := &work{only: payer, stages: &stages{}, home: periods[len(periods)-1].Period.Start}
	for i := range periods {
		run.periods = append(run.periods, PeriodReport{Period: periods[i].Period, Name: periods[i].Name})
	}
	if first := periods[0]; first.Late != nil && x.besides(first.Late) {
		var err error
		if run.late, err = again.lateAgain(ctx, first.Period, first.Late, x.listed); err != nil {
			return err
		}
	}
	g, err := again.gather(ctx, run)
	if err != nil {
		return err
	}
	x.compareInputs(periods, g)
	cases := make([]*caseWork, len(w.Catalogs))
	for n, catalog := range w.Catalogs {
		cases[n] = &caseWork{simulating: x, number: n, catalog: catalog, periods: periods, gathered: g, lates: run.lates(), state: x.states[n]}
		cases[n].mapAccounts(w.Catalog)
	}
	shard := w.shardOf(payer)
	err = side(ctx, w.Workers, len(cases), func(ctx context.Context, n int) error {
		if err := cases[n].settle(ctx, shard); err != nil {
			return fmt.Errorf("settle again %s: %w", orActual(x.Cases[n].Name), err)
		}
		return nil
	})
	if err = errors.Join(err, g.close()); err != nil {
		return err
	}
	for n := range cases {
		x.states[n] = cases[n].state
	}
	if x.done += int64(len(periods)); x.Progress != nil {
		x.Progress(x.done, int64(len(x.Periods)))
	}
	return nil
}

func orActual(name string) string {
	if name == "" {
		return "as it was"
	}
	return "with " + name
}

// inputs gives the usage objects that the periods were settled from, as far as they are there.
func (x *simulating) inputs(periods []SimulatedPeriod) fixedBucket {
	keys := map[string]bool{}
	for i := range periods {
		for n := range periods[i].Inputs {
			keys[periods[i].Inputs[n].Key] = true
		}
	}
	bucket := fixedBucket{Bucket: x.world.Bucket}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if o, there := x.listed[key]; there {
			bucket.objects = append(bucket.objects, o)
		} else {
			x.objects[key] = true
		}
	}
	return bucket
}

// besides tells whether all is there that late usage was compared with, and notes what is not.
func (x *simulating) besides(late *LateSettled) bool {
	all := true
	for i := range late.Beside {
		if _, there := x.listed[late.Beside[i].Key]; !there {
			x.objects[late.Beside[i].Key] = true
			all = false
		}
	}
	return all
}

// compareInputs notes the objects that are others than they were.
func (x *simulating) compareInputs(periods []SimulatedPeriod, g *gathered) {
	now := map[string][32]byte{}
	for i := range g.objects {
		now[g.objects[i].Key] = g.objects[i].SHA256
	}
	for i := range periods {
		for n := range periods[i].Inputs {
			in := &periods[i].Inputs[n]
			if sum, read := now[in.Key]; read && sum != in.SHA256 {
				x.objects[in.Key] = true
			}
		}
	}
}
