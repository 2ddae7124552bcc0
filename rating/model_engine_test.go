package rating_test

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"drawdown/rating"
)

// engineRun settles a world by the engine, and says it in the model's words.
type engineRun struct {
	world   *modelWorld
	catalog *rating.Catalog
	settler *rating.Settler
	sets    []rating.AttributeSet
	setOf   []int32 // of each record
	periods []modelPeriod
	keys    map[string]bool // dedup keys of notices
	closing map[int32][]*rating.PayerState
	faults  []rating.Fault
}

var engineKeys = map[string]rating.Key{
	"priority": rating.ByPriority, "scope": rating.ByScope, "source": rating.BySource, "cycle_end": rating.ByCycleEnd,
	"effective": rating.ByEffective, "expires": rating.ByExpires, "created": rating.ByCreated, "size": rating.BySize,
}

// engineSettle settles all periods of a world. It gives an error where the engine gives one, or breaks.
func engineSettle(w *modelWorld) (run *engineRun, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	run = &engineRun{world: w, keys: map[string]bool{}, closing: map[int32][]*rating.PayerState{}}
	load := func(name string) (*time.Location, error) { return modelZone(name), nil }
	run.catalog, run.faults = rating.Compile(&w.Draft, rating.CompileConfig{Zone: modelZone(w.Zone), LoadZone: load, Currency: "USD"})
	if len(run.faults) > 0 {
		return run, nil
	}
	config := rating.Config{Zone: modelZone(w.Zone), Currency: "USD", ReminderDays: w.ReminderDays, LateHorizon: time.Duration(w.LateHorizon) * time.Microsecond}
	for _, key := range w.Order {
		config.Order = append(config.Order, engineKeys[key])
	}
	run.numberSets()
	run.settler = rating.NewSettler(run.catalog, config, run.sets)
	if len(w.Records)%2 == 1 { // half of the worlds take the way of large groups
		run.settler.IndexFrom(0)
	}
	run.periods = make([]modelPeriod, len(w.Bounds)-1)
	for payer := range run.catalog.Accounts {
		if run.catalog.Accounts[payer].Payer != int32(payer) {
			continue
		}
		if err := run.settlePayer(int32(payer)); err != nil {
			return run, err
		}
	}
	for i := range run.periods {
		run.periods[i].sort()
	}
	return run, nil
}

// numberSets gives each record the number of its attribute set, as a reader does.
func (run *engineRun) numberSets() {
	run.sets = []rating.AttributeSet{{}}
	conditions := run.catalog.Conditions()
	numbers := map[string]int32{"": 0}
	for _, r := range run.world.Records {
		var set rating.AttributeSet
		key := ""
		for _, name := range []string{"plan", "region"} {
			if value, ok := r.Attributes[name]; ok && slices.Contains(conditions[name], value) {
				set = append(set, rating.Attribute{Name: name, Value: value})
				key += name + "=" + value + ";"
			}
		}
		number, known := numbers[key]
		if !known {
			number = int32(len(run.sets))
			numbers[key] = number
			run.sets = append(run.sets, set)
		}
		run.setOf = append(run.setOf, number)
	}
}

func (run *engineRun) settlePayer(payer int32) error {
	var opening *rating.PayerState
	for i := range run.periods {
		period := rating.Period{Start: rating.Instant(run.world.Bounds[i]), End: rating.Instant(run.world.Bounds[i+1])}
		if err := run.settler.Begin(payer, period, opening); err != nil {
			return err
		}
		for _, batch := range run.batches(payer, period, true) {
			if err := run.settler.AddLate(batch); err != nil {
				return err
			}
		}
		for _, batch := range run.batches(payer, period, false) {
			if err := run.settler.Add(batch); err != nil {
				return err
			}
		}
		closing, err := run.settler.End()
		if err != nil {
			return err
		}
		run.take(&run.periods[i], payer, closing)
		run.settler.Result.Reset()
		run.closing[payer] = append(run.closing[payer], closing)
		opening = closing
	}
	return nil
}

// batches are the payer's records of a period in canonical order, in more than one batch where there are many.
func (run *engineRun) batches(payer int32, period rating.Period, late bool) []*rating.Batch {
	type row struct {
		modelRecord
		account, meter, set int32
		number              int
	}
	var rows []row
	for i, r := range run.world.Records {
		at := rating.Instant(r.Time)
		account, _ := run.catalog.AccountIndex([]byte(r.Account))
		meter, _ := run.catalog.MeterIndex([]byte(r.Meter))
		now := r.Delivered == 0 && at >= period.Start && at < period.End
		if late {
			now = r.settledLate(run.world, int64(period.Start))
		}
		if now && run.catalog.Accounts[account].Payer == payer {
			rows = append(rows, row{r, account, meter, run.setOf[i], i})
		}
	}
	slices.SortFunc(rows, func(a, b row) int {
		return cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(a.account, b.account), cmp.Compare(a.meter, b.meter), cmp.Compare(a.ID, b.ID))
	})
	var batches []*rating.Batch
	for i, r := range rows {
		if i%4 == 0 {
			batches = append(batches, &rating.Batch{})
		}
		b := batches[len(batches)-1]
		b.Time, b.Account, b.Meter = append(b.Time, rating.Instant(r.Time)), append(b.Account, r.account), append(b.Meter, r.meter)
		scaled := times(modelNumber(r.Quantity), modelNumber("1e"+strconv.Itoa(run.catalog.Meters[r.meter].Scale)))
		b.Quantity = append(b.Quantity, scaled.Num().Int64())
		b.Attrs, b.Object, b.Row = append(b.Attrs, r.set), append(b.Object, 0), append(b.Row, int64(r.number))
		b.IDStart = append(b.IDStart, uint32(len(b.IDs)))
		b.IDs = append(b.IDs, r.ID...)
		b.IDEnd = append(b.IDEnd, uint32(len(b.IDs)))
	}
	return batches
}

// unitsText writes a number of units of 10^-scale as a decimal.
func unitsText(n int64, scale int) string {
	digits := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, digits = "-", digits[1:]
	}
	if missing := scale + 1 - len(digits); missing > 0 {
		digits = strings.Repeat("0", missing) + digits
	}
	point := len(digits) - scale
	text := sign + digits[:point]
	if fraction := strings.TrimRight(digits[point:], "0"); fraction != "" {
		text += "." + fraction
	}
	return text
}

func amountText(a rating.Amount) string {
	n, ok := a.Int64()
	if !ok {
		return a.String()
	}
	return unitsText(n, 9)
}

func (run *engineRun) packageID(index int32) string {
	if index == rating.None {
		return ""
	}
	return run.catalog.Packages[index].ID
}

func (run *engineRun) meterID(index int32) string {
	if index == rating.None {
		return ""
	}
	return run.catalog.Meters[index].ID
}

func (run *engineRun) take(p *modelPeriod, payer int32, closing *rating.PayerState) {
	c, result := run.catalog, &run.settler.Result
	payerID := c.Accounts[payer].ID
	for i := range result.Lines {
		p.Lines = append(p.Lines, run.line(payerID, &result.Lines[i], result.RecordID(&result.Lines[i])))
	}
	for _, g := range result.Charges {
		unitPrice, per := run.unitPrice(g.Price, g.Tier)
		p.Charges = append(p.Charges, modelCharge{
			payerID, c.Accounts[g.Account].ID, c.Meters[g.Meter].ID, monthText(g.Month), c.Prices[g.Price].ID, int(g.Tier),
			unitsText(g.Quantity, c.Meters[g.Meter].Scale), unitPrice, per, amountText(g.Amount), int(g.LineCount), g.Late,
		})
	}
	for _, b := range result.Balances {
		pkg := &c.Packages[b.Package]
		text := func(n int64) string { return unitsText(n, pkg.Scale) }
		p.Balances = append(p.Balances, modelBalance{
			Package: pkg.ID, Account: c.Accounts[pkg.Account].ID, CycleStart: int64(b.CycleStart), CycleEnd: int64(b.CycleEnd),
			Quota: text(b.Quota), Opening: text(b.Opening), Granted: text(b.Granted), RolledOver: text(b.RolledOver),
			Deducted: text(b.Deducted), Expired: text(b.Expired), Revoked: text(b.Revoked), Closing: text(b.Closing),
			State: b.State.String(),
		})
	}
	for i := range result.Notices {
		n := &result.Notices[i]
		if run.keys[n.DedupKey] || n.DedupKey == "" {
			panic("dedup key twice or empty: " + n.DedupKey)
		}
		run.keys[n.DedupKey] = true
		p.Notices = append(p.Notices, run.notice(payerID, n))
	}
	for _, u := range result.Unpriced {
		p.Unpriced = append(p.Unpriced, modelUnpriced{c.Accounts[u.Account].ID, c.Meters[u.Meter].ID, int64(u.Time), u.ID})
	}
	if c.Accounts[payer].Tracked {
		p.Cash = append(p.Cash, modelCash{payerID, amountText(closing.Cash), closing.Arrears})
	}
}

func monthText(m rating.Month) string { return fmt.Sprintf("%04d-%02d", m/12, m%12+1) }

// unitPrice gives the price columns: volume and block lines have none.
func (run *engineRun) unitPrice(price, tier int32) (unitPrice, per string) {
	p := &run.catalog.Prices[price]
	if p.Model == rating.Volume || p.Model == rating.Block {
		return "", ""
	}
	t := p.Tiers[max(tier-1, 0)]
	return unitsText(t.Price, 9), unitsText(t.Per, 9)
}

var engineLineKinds = map[rating.LineKind]string{rating.Deduction: "deduction", rating.Excess: "excess", rating.Stopped: "stopped"}

func (run *engineRun) line(payer string, l *rating.Line, id []byte) modelLine {
	c := run.catalog
	out := modelLine{
		Payer: payer, Account: c.Accounts[l.Account].ID, Meter: c.Meters[l.Meter].ID, Time: int64(l.EventTime), RecordID: string(id),
		LineNo: int(l.LineNo), Kind: engineLineKinds[l.Kind], Package: run.packageID(l.Package), Tier: int(l.Tier),
		Quantity: unitsText(l.Quantity, c.Meters[l.Meter].Scale), Amount: amountText(l.Amount), Late: l.Late,
	}
	if l.Kind == rating.Deduction {
		scale := c.Packages[l.Package].Scale
		out.CycleStart, out.Consumed = int64(l.CycleStart), unitsText(l.Consumed, scale)
		out.Before, out.After = unitsText(l.RemainingBefore, scale), unitsText(l.RemainingAfter, scale)
	}
	if l.Kind == rating.Excess {
		out.Price = c.Prices[l.Price].ID
		out.UnitPrice, out.Per = run.unitPrice(l.Price, l.Tier)
	}
	if source := run.world.Records[l.SourceRow]; source.ID != out.RecordID || source.Account != out.Account || l.Late != (source.Delivered != 0) {
		panic("the line's source is another record: " + string(id))
	}
	return out
}

func (run *engineRun) notice(payer string, n *rating.Notice) modelNotice {
	out := modelNotice{
		At: int64(n.At), Kind: n.Kind.String(), Payer: payer, Account: run.catalog.Accounts[n.Account].ID, Package: run.packageID(n.Package),
		Meter: run.meterID(n.Meter), RecordID: n.RecordID,
	}
	switch n.Kind {
	case rating.NoticeUsageAlert:
		out.Type = map[rating.ThresholdType]string{rating.Percentage: "percentage", rating.Absolute: "absolute"}[n.Type]
		out.Threshold, out.Remaining = unitsText(n.Threshold, 9), unitsText(n.Remaining, run.catalog.Packages[n.Package].Scale)
		out.CycleStart = int64(n.CycleStart)
	case rating.NoticeServiceStop:
		out.CycleStart = int64(n.CycleStart)
	case rating.NoticeExpiryReminder:
		out.Threshold = unitsText(n.Threshold, 9)
	}
	return out
}
