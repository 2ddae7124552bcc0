package rating_test

// A second, slow, obvious settler, written from the rules alone (docs/rules.md): rationals, lists and linear scans. It
// shares no code with the rating package; all it takes from there is the draft as a carrier of rows of text. Whatever it
// says, the engine must say too; where they differ, one of them has not read the rules well.

import (
	"cmp"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"drawdown/rating"
)

// modelWorld is everything that a settlement depends on.
type modelWorld struct {
	Draft        rating.Draft
	Zone         string // billing time zone
	Order        []string
	ReminderDays []int
	Records      []modelRecord
	LateHorizon  int64
	Bounds       []int64 // of consecutive periods: one more than there are periods
}

type modelRecord struct {
	ID, Account, Meter, Quantity string
	Time                         int64
	Delivered                    int64 // the start of the period that settles it late; 0: it is in time
	Attributes                   map[string]string
}

// modelPeriod is what settling one period gives. Decimals are text without trailing zeros, instants are microseconds.
type modelPeriod struct {
	Lines    []modelLine
	Charges  []modelCharge
	Balances []modelBalance
	Notices  []modelNotice
	Unpriced []modelUnpriced
	Cash     []modelCash
}

type modelLine struct {
	Payer, Account, Meter  string
	Time                   int64
	RecordID               string
	LineNo                 int
	Kind, Package          string
	CycleStart             int64
	Quantity, Consumed     string
	Before, After          string
	Price                  string
	Tier                   int
	UnitPrice, Per, Amount string
	Late                   bool
	quantity, amount       *big.Rat // for adding up
}

type modelCharge struct {
	Payer, Account, Meter, Month, Price string
	Tier                                int
	Quantity, UnitPrice, Per, Amount    string
	LineCount                           int
	Late                                bool
}

type modelBalance struct {
	Package, Account                                                                string
	CycleStart, CycleEnd                                                            int64
	Quota, Opening, Granted, RolledOver, Deducted, Expired, Revoked, Closing, State string
}

type modelNotice struct {
	At                                   int64
	Kind, Payer, Account, Package, Meter string
	CycleStart                           int64
	Type, Threshold, Remaining, RecordID string
}

type modelUnpriced struct {
	Account, Meter string
	Time           int64
	ID             string
}

type modelCash struct {
	Payer, Balance string
	Arrears        bool
}

const modelNever = math.MaxInt64

// --- numbers

func modelNumber(text string) *big.Rat {
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		panic("not a number: " + text)
	}
	return r
}

func modelNumberOr(text, otherwise string) *big.Rat {
	return modelNumber(cmp.Or(text, otherwise))
}

func modelInt(text string, otherwise int) int {
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		panic(err)
	}
	return n
}

func plus(a, b *big.Rat) *big.Rat  { return new(big.Rat).Add(a, b) }
func minus(a, b *big.Rat) *big.Rat { return new(big.Rat).Sub(a, b) }
func times(a, b *big.Rat) *big.Rat { return new(big.Rat).Mul(a, b) }
func over(a, b *big.Rat) *big.Rat  { return new(big.Rat).Quo(a, b) }
func nought() *big.Rat             { return new(big.Rat) }

func smaller(a, b *big.Rat) *big.Rat {
	if a.Cmp(b) < 0 {
		return a
	}
	return b
}

func larger(a, b *big.Rat) *big.Rat {
	if a.Cmp(b) > 0 {
		return a
	}
	return b
}

// floored cuts to a number of decimals; r is not negative.
func floored(r *big.Rat, decimals int) *big.Rat {
	unit := modelNumber("1e" + strconv.Itoa(decimals))
	scaled := times(r, unit)
	whole := new(big.Int).Quo(scaled.Num(), scaled.Denom())
	return over(new(big.Rat).SetInt(whole), unit)
}

// rounded rounds half away from zero to nine decimals.
func rounded(r *big.Rat) *big.Rat {
	return modelNumber(r.FloatString(9)) // which documents exactly that
}

func decimalText(r *big.Rat) string {
	if r.IsInt() {
		return r.Num().String()
	}
	text := strings.TrimRight(r.FloatString(9), "0")
	if modelNumber(text).Cmp(r) != 0 {
		panic("no decimal: " + r.String())
	}
	return text
}

// --- time

var modelZones sync.Map

func modelZone(name string) *time.Location {
	if z, ok := modelZones.Load(name); ok {
		return z.(*time.Location)
	}
	z, err := time.LoadLocation(name)
	if err != nil {
		panic(err)
	}
	modelZones.Store(name, z)
	return z
}

const (
	modelSecond = int64(1e6)
	modelHour   = 3600 * modelSecond
	modelDay    = 24 * modelHour
)

// clock is what a calendar and a clock on the wall show; day may be out of range and is taken on as time.Date does.
type clock struct {
	year, month, day int
	micros           int64 // since 00:00 on the dial
}

func goTime(t int64) time.Time { return time.UnixMicro(t).UTC() }

func utcOffset(t int64, zone *time.Location) int64 {
	_, seconds := goTime(t).In(zone).Zone()
	return int64(seconds) * modelSecond
}

func clockAt(t int64, zone *time.Location) clock {
	shown := goTime(t + utcOffset(t, zone)) // the dial, read as if it were UTC
	year, month, day := shown.Date()
	midnight := time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
	return clock{year, int(month), day, shown.UnixMicro() - midnight.UnixMicro()}
}

// instantOf finds the instant at which the clock shows c: the earlier of two, and where the clock skips it, later by the
// length of the gap, which is where the offset from before the gap leads.
func instantOf(c clock, zone *time.Location) int64 {
	dial := time.Date(c.year, time.Month(c.month), c.day, 0, 0, 0, 0, time.UTC).UnixMicro() + c.micros
	before, after := utcOffset(dial-26*modelHour, zone), utcOffset(dial+26*modelHour, zone)
	found := int64(modelNever)
	for _, offset := range []int64{before, after} {
		if candidate := dial - offset; utcOffset(candidate, zone) == offset {
			found = min(found, candidate)
		}
	}
	if found == modelNever {
		return dial - before
	}
	return found
}

func daysLater(t int64, days int, zone *time.Location) int64 {
	if days == 0 {
		return t
	}
	c := clockAt(t, zone)
	c.day += days
	return instantOf(c, zone)
}

func monthsLater(t int64, months int, zone *time.Location) int64 {
	c := clockAt(t, zone)
	first := time.Date(c.year, time.Month(c.month+months), 1, 0, 0, 0, 0, time.UTC)
	c.year, c.month = first.Year(), int(first.Month())
	c.day = min(c.day, first.AddDate(0, 1, -1).Day())
	return instantOf(c, zone)
}

// cycleStart is R3.2: the start of cycle n of a term.
func cycleStart(reset string, term int64, n int, zone *time.Location) int64 {
	if n == 0 {
		return term
	}
	switch reset {
	case "hour":
		return term + int64(n)*modelHour
	case "day":
		return daysLater(term, n, zone)
	case "week":
		return daysLater(term, 7*n, zone)
	case "month":
		return monthsLater(term, n, zone)
	case "year":
		return monthsLater(term, 12*n, zone)
	case "calendar_month":
		c := clockAt(term, zone)
		return instantOf(clock{c.year, c.month + n, 1, 0}, zone)
	}
	return modelNever
}

// modelInstant reads an instant, or a date as the first instant of that day, or of the day after.
func modelInstant(text string, zone *time.Location, endOfDay bool) int64 {
	if len(text) == len("2006-01-02") {
		day, err := time.Parse(time.DateOnly, text)
		if err != nil {
			panic(err)
		}
		c := clock{day.Year(), int(day.Month()), day.Day(), 0}
		if endOfDay {
			c.day++
		}
		return instantOf(c, zone)
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		panic(err)
	}
	return t.Truncate(time.Microsecond).UnixMicro()
}

// --- packages

type modelCover struct {
	meter    string
	rate     *big.Rat
	where    []rating.ConditionDraft
	hours    bool
	from, to int64
}

func (c *modelCover) matches(r *modelRecord, ownersClock clock) bool {
	if c.meter != r.Meter {
		return false
	}
	for _, condition := range c.where {
		value, ok := r.Attributes[condition.Attribute]
		if !ok || !slices.Contains(condition.Values, value) {
			return false
		}
	}
	if !c.hours {
		return true
	}
	now := ownersClock.micros
	if c.from <= c.to {
		return c.from <= now && now < c.to
	}
	return now >= c.from || now < c.to
}

type modelChange struct {
	at      int64
	kind    string
	expires int64
	quota   *big.Rat
	row     int
}

// modelCycle is a row of balances in the making: the columns hold what happened since the period began.
type modelCycle struct {
	start, end                                                        int64
	quota, opening, granted, rolled, deducted, expired, revoked, left *big.Rat
}

type modelPackage struct {
	id, account, payer       string
	zone                     *time.Location
	kind, source, reset      string
	shared                   bool
	priority                 int
	rolloverMax              *big.Rat
	effective, created       int64
	firstEnd                 int64
	graceDays, retentionDays int
	covers                   []modelCover
	changes                  []modelChange
	thresholdType            string
	thresholds               []*big.Rat

	stage              string // future live grace retention released revoked
	endedAt            int64
	termStart, termEnd int64
	ahead              []int64 // ends of the terms renewed ahead
	cycle              int
	quota              *big.Rat
	grant              *big.Rat // of the cycle: the base of percentages
	remaining, rolled  *big.Rat
	cycles             []*modelCycle // the last one is the current, or the last there was
	applied            int
	raises             []modelRaise // of the current cycle
	past               []*modelPast
	notice             func(modelNotice)
}

func (p *modelPackage) currentCycle() *modelCycle { return p.cycles[len(p.cycles)-1] }

func (p *modelPackage) cycleEnd() int64 {
	return min(p.termEnd, cycleStart(p.reset, p.termStart, p.cycle+1, p.zone))
}

// due is the next instant at which something happens to the package of itself.
func (p *modelPackage) due() int64 {
	switch p.stage {
	case "future":
		return p.effective
	case "live":
		return p.cycleEnd()
	case "grace":
		return daysLater(p.termEnd, p.graceDays, p.zone)
	case "retention":
		return daysLater(p.termEnd, p.graceDays+p.retentionDays, p.zone)
	}
	return modelNever
}

// advance lets everything happen that happens before the limit, or at it.
func (p *modelPackage) advance(limit int64, inclusive bool) {
	for {
		next := p.due()
		if p.applied < len(p.changes) {
			next = min(next, p.changes[p.applied].at)
		}
		if next > limit || next == limit && !inclusive {
			return
		}
		p.applyChanges(next, "renewed")
		p.applyChanges(next, "extended")
		for p.due() == next {
			p.step(next)
		}
		p.applyChanges(next, "resized")
		p.applyChanges(next, "revoked")
	}
}

func (p *modelPackage) applyChanges(at int64, kind string) {
	for p.applied < len(p.changes) && p.changes[p.applied].at == at && p.changes[p.applied].kind == kind {
		p.apply(&p.changes[p.applied])
		p.applied++
	}
}

func (p *modelPackage) apply(c *modelChange) {
	if p.stage == "released" || p.stage == "revoked" {
		return
	}
	switch c.kind {
	case "renewed":
		if p.stage == "future" || p.stage == "live" {
			p.ahead = append(p.ahead, c.expires)
			return
		}
		start := p.termEnd
		cycle := 0
		for cycleStart(p.reset, start, cycle+1, p.zone) <= c.at {
			cycle++
		}
		p.stage = "live"
		p.beginCycle(start, c.expires, cycle, nought())
	case "extended":
		if len(p.ahead) > 0 {
			p.ahead[len(p.ahead)-1] = c.expires
			return
		}
		p.termEnd = c.expires
		if p.stage == "live" {
			p.currentCycle().end = p.cycleEnd()
		}
	case "resized":
		delta := minus(c.quota, p.quota)
		p.quota = c.quota
		if p.stage == "live" {
			p.resize(delta)
			if delta.Sign() > 0 {
				p.raises = append(p.raises, modelRaise{c.at, delta})
			} else {
				p.raises = cutModel(p.raises, minus(nought(), delta))
			}
		} else if len(p.cycles) > 0 {
			p.currentCycle().quota = p.quota // nothing else of a cycle that is over changes
		}
	case "revoked":
		if p.stage == "live" {
			row := p.currentCycle()
			row.revoked = plus(row.revoked, p.remaining)
			p.remaining, row.left = nought(), nought()
		}
		p.stage, p.endedAt = "revoked", c.at
	}
}

func (p *modelPackage) resize(delta *big.Rat) {
	row := p.currentCycle()
	row.quota = p.quota
	after := larger(nought(), plus(p.remaining, delta))
	if change := minus(after, p.remaining); change.Sign() >= 0 {
		row.granted = plus(row.granted, change)
	} else {
		row.revoked = minus(row.revoked, change)
	}
	p.remaining, row.left = after, after
	p.rolled = smaller(p.rolled, p.remaining)
	p.grant = larger(nought(), plus(p.grant, delta))
}

func (p *modelPackage) beginCycle(termStart, termEnd int64, cycle int, rolled *big.Rat) {
	p.termStart, p.termEnd, p.cycle = termStart, termEnd, cycle
	p.grant = plus(p.quota, rolled)
	p.remaining, p.rolled, p.raises = p.grant, rolled, nil
	p.cycles = append(p.cycles, &modelCycle{
		start: cycleStart(p.reset, termStart, cycle, p.zone), end: p.cycleEnd(), quota: p.quota, opening: nought(),
		granted: p.quota, rolled: rolled, deducted: nought(), expired: nought(), revoked: nought(), left: p.remaining,
	})
}

// endCycle says what becomes of the remainder, and gives what rolls over.
func (p *modelPackage) endCycle(rollover bool) *big.Rat {
	row, rolls := p.currentCycle(), nought()
	if rollover {
		rolls = smaller(minus(p.remaining, p.rolled), p.rolloverMax)
	}
	p.past = append(p.past, &modelPast{row.start, row.end, row.quota, minus(p.remaining, rolls), p.rolled, p.raises})
	row.rolled = minus(row.rolled, rolls)
	row.expired = plus(row.expired, minus(p.remaining, rolls))
	p.remaining, p.rolled, row.left = nought(), nought(), nought()
	return rolls
}

func (p *modelPackage) step(at int64) {
	switch p.stage {
	case "future":
		p.stage = "live"
		p.beginCycle(p.effective, p.termEnd, 0, nought())
	case "live":
		if at < p.termEnd {
			rolls := p.endCycle(true)
			next := p.cycle + 1
			for cycleStart(p.reset, p.termStart, next+1, p.zone) == at {
				next++ // where the calendar skips a day, a cycle of no length is none
			}
			p.beginCycle(p.termStart, p.termEnd, next, rolls)
			return
		}
		p.endCycle(false)
		if len(p.ahead) > 0 {
			end := p.ahead[0]
			p.ahead = p.ahead[1:]
			p.beginCycle(at, end, 0, nought())
			return
		}
		p.stage = "grace"
		if p.graceDays > 0 {
			p.notice(modelNotice{At: at, Kind: "grace", Account: p.account, Package: p.id})
		}
	case "grace":
		p.stage = "retention"
		if p.retentionDays > 0 {
			p.notice(modelNotice{At: at, Kind: "retention", Account: p.account, Package: p.id})
		}
	case "retention":
		p.stage, p.endedAt = "released", at
		p.notice(modelNotice{At: at, Kind: "released", Account: p.account, Package: p.id})
	}
}

func (p *modelPackage) held() bool {
	return p.stage == "live" || p.stage == "grace" || p.stage == "retention"
}

func (p *modelPackage) draw(r *modelRecord, consumed *big.Rat) {
	before := p.remaining
	p.remaining = minus(p.remaining, consumed)
	p.rolled = larger(nought(), minus(p.rolled, consumed))
	row := p.currentCycle()
	row.deducted, row.left = plus(row.deducted, consumed), p.remaining
	for _, threshold := range p.thresholds {
		border := threshold
		if p.thresholdType == "percentage" {
			border = over(times(threshold, p.grant), big.NewRat(100, 1))
		}
		if before.Cmp(border) > 0 && p.remaining.Cmp(border) <= 0 {
			p.notice(modelNotice{
				At: r.Time, Kind: "usage_alert", Account: p.account, Package: p.id, CycleStart: row.start,
				Type: p.thresholdType, Threshold: decimalText(threshold), Remaining: decimalText(p.remaining), RecordID: r.ID,
			})
		}
	}
}

// balances gives the rows of the period that ends, and makes its closing the opening of the next.
func (p *modelPackage) balances(start, end int64) []modelBalance {
	var rows []modelBalance
	add := func(c *modelCycle, state string) {
		rows = append(rows, modelBalance{
			Package: p.id, Account: p.account, CycleStart: c.start, CycleEnd: c.end, Quota: decimalText(c.quota),
			Opening: decimalText(c.opening), Granted: decimalText(c.granted), RolledOver: decimalText(c.rolled),
			Deducted: decimalText(c.deducted), Expired: decimalText(c.expired), Revoked: decimalText(c.revoked),
			Closing: decimalText(c.left), State: state,
		})
	}
	for i, c := range p.cycles {
		last := i == len(p.cycles)-1
		overlaps := c.start < end && c.end > start || c.end == start && c.opening.Sign() > 0 || c.deducted.Sign() > 0 // late
		switch {
		case !last && overlaps:
			add(c, "expired")
		case last && p.stage == "live" && c.left.Sign() > 0:
			add(c, "active")
		case last && p.stage == "live":
			add(c, "exhausted")
		case last && (p.stage == "grace" || p.stage == "retention" || p.endedAt >= start):
			add(c, p.stage)
		}
	}
	if len(p.cycles) == 0 && (p.stage == "future" || p.endedAt >= start) {
		none := nought()
		add(&modelCycle{
			start: p.effective, end: min(p.termEnd, cycleStart(p.reset, p.effective, 1, p.zone)), quota: p.quota, opening: none,
			granted: none, rolled: none, deducted: none, expired: none, revoked: none, left: none,
		}, p.stage)
	}
	p.open()
	return rows
}

func (p *modelPackage) open() {
	if len(p.cycles) > 0 {
		p.cycles = p.cycles[len(p.cycles)-1:]
		c := p.cycles[0]
		c.opening, c.granted, c.rolled, c.deducted, c.expired, c.revoked = c.left, nought(), nought(), nought(), nought(), nought()
	}
}

// reminders are R6.2, seen from the end: every end that the package ever had, from when it was known to when another
// end took its place. What was due before the first period (start) is due then.
func (p *modelPackage) reminders(days []int, start int64) []modelNotice {
	type known struct{ end, from, until int64 }
	ends := []known{{p.firstEnd, p.created, modelNever}}
	for _, c := range p.changes {
		if c.kind == "resized" {
			continue
		}
		ends[len(ends)-1].until = min(ends[len(ends)-1].until, c.at)
		if c.kind != "revoked" {
			ends = append(ends, known{c.expires, c.at, modelNever})
		}
	}
	var notices []modelNotice
	for _, e := range ends {
		for _, d := range days {
			if due := max(daysLater(e.end, -d, p.zone), e.from, start); due < e.until && due < e.end {
				notices = append(notices, modelNotice{
					At: due, Kind: "expiry_reminder", Account: p.account, Package: p.id, Threshold: strconv.Itoa(d),
				})
			}
		}
	}
	return notices
}

// --- prices

type modelTier struct{ upTo, price, per *big.Rat } // upTo nil: no end

type modelPrice struct {
	id, meter, account, model string
	from, to                  int64
	usage                     bool
	size                      *big.Rat
	tiers                     []modelTier
}

// total is R1.3: what a quantity of a month costs, rounded once.
func (p *modelPrice) total(quantity *big.Rat) *big.Rat {
	sum := nought()
	switch p.model {
	case "flat":
		sum = over(times(quantity, p.tiers[0].price), p.tiers[0].per)
	case "block":
		blocks := over(quantity, p.size)
		whole := floored(blocks, 0)
		if whole.Cmp(blocks) < 0 {
			whole = plus(whole, big.NewRat(1, 1))
		}
		sum = times(whole, p.tiers[0].price)
	case "volume":
		t := p.tiers[p.tierOf(quantity)-1]
		sum = over(times(quantity, t.price), t.per)
	case "graduated":
		from := nought()
		for _, t := range p.tiers {
			to := quantity
			if t.upTo != nil {
				to = smaller(to, t.upTo)
			}
			if to.Cmp(from) > 0 {
				sum = plus(sum, over(times(minus(to, from), t.price), t.per))
				from = to
			}
		}
	}
	return rounded(sum)
}

// tierOf is the number of the tier in which a quantity's last unit lies.
func (p *modelPrice) tierOf(quantity *big.Rat) int {
	for i, t := range p.tiers {
		if t.upTo == nil || quantity.Cmp(t.upTo) <= 0 {
			return i + 1
		}
	}
	panic("the last tier ends")
}

// --- settling

type modelSettler struct {
	world    *modelWorld
	zone     *time.Location
	payer    map[string]string
	scale    map[string]int // of a meter
	prices   []modelPrice
	packages []*modelPackage
	topUps   []modelTopUp
	usage    map[string]*big.Rat // Q of all served usage, by account, meter and month
	excess   map[string]*big.Rat // Q of the excess alone
	stops    map[string]bool
	cash     map[string]*big.Rat
	arrears  map[string]bool
	out      *modelPeriod
}

type modelTopUp struct {
	payer  string
	at     int64
	amount *big.Rat
}

// modelSettle settles all periods of a world.
func modelSettle(w *modelWorld) []modelPeriod {
	m := newModelSettler(w)
	records := slices.Clone(w.Records)
	slices.SortFunc(records, func(a, b modelRecord) int {
		return cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(a.Account, b.Account), cmp.Compare(a.Meter, b.Meter), cmp.Compare(a.ID, b.ID))
	})
	m.out = &modelPeriod{} // what came before the first period is not told
	m.advance(w.Bounds[0], false)
	for _, p := range m.packages {
		p.open()
	}
	var reminders []modelNotice
	for _, p := range m.packages {
		reminders = append(reminders, p.reminders(w.ReminderDays, w.Bounds[0])...)
	}
	var periods []modelPeriod
	for i := range len(w.Bounds) - 1 {
		start, end := w.Bounds[i], w.Bounds[i+1]
		m.out = &modelPeriod{}
		for r := range records {
			if records[r].settledLate(w, start) {
				m.settleLate(&records[r], start)
			}
		}
		for r := range records {
			if records[r].Delivered == 0 && start <= records[r].Time && records[r].Time < end {
				m.advance(records[r].Time, true)
				m.settle(&records[r])
			}
		}
		m.advance(end, false)
		for _, n := range reminders {
			if start <= n.At && n.At < end {
				m.notice(n)
			}
		}
		m.close(start, end)
		periods = append(periods, *m.out)
	}
	return periods
}

func (m *modelSettler) notice(n modelNotice) {
	n.Payer = m.payer[n.Account]
	m.out.Notices = append(m.out.Notices, n)
}

func (m *modelSettler) advance(to int64, inclusive bool) {
	for _, p := range m.packages {
		p.advance(to, inclusive)
	}
	for len(m.topUps) > 0 && (m.topUps[0].at < to || m.topUps[0].at == to && inclusive) {
		if t := m.topUps[0]; m.cash[t.payer] != nil {
			m.cash[t.payer] = plus(m.cash[t.payer], t.amount)
			if m.cash[t.payer].Sign() >= 0 {
				m.arrears[t.payer] = false
			}
		}
		m.topUps = m.topUps[1:]
	}
}

func (m *modelSettler) close(start, end int64) {
	for _, p := range m.packages {
		m.out.Balances = append(m.out.Balances, p.balances(start, end)...)
	}
	for payer, cash := range m.cash {
		m.out.Cash = append(m.out.Cash, modelCash{payer, decimalText(cash), m.arrears[payer]})
	}
	slices.SortStableFunc(m.out.Lines, func(a, b modelLine) int { return cmp.Compare(a.Payer, b.Payer) })
	for _, l := range m.out.Lines {
		if l.Kind == "excess" {
			m.out.charge(&l, goTime(l.Time).In(m.zone).Format("2006-01"))
		}
	}
	for i := range m.out.Lines {
		m.out.Lines[i].quantity, m.out.Lines[i].amount = nil, nil // only the texts are compared
	}
	m.out.sort()
}

func (o *modelPeriod) charge(l *modelLine, month string) {
	for i := range o.Charges {
		c := &o.Charges[i]
		if c.Account == l.Account && c.Meter == l.Meter && c.Month == month && c.Price == l.Price && c.Tier == l.Tier && c.Late == l.Late {
			c.Quantity = decimalText(plus(modelNumber(c.Quantity), modelNumber(l.Quantity)))
			c.Amount = decimalText(plus(modelNumber(c.Amount), modelNumber(l.Amount)))
			c.LineCount++
			return
		}
	}
	o.Charges = append(o.Charges, modelCharge{
		l.Payer, l.Account, l.Meter, month, l.Price, l.Tier, l.Quantity, l.UnitPrice, l.Per, l.Amount, 1, l.Late,
	})
}

// sort puts everything but the lines, whose order is part of the result, into an order that both sides can be put into.
func (o *modelPeriod) sort() {
	slices.SortFunc(o.Charges, func(a, b modelCharge) int {
		return cmp.Or(cmp.Compare(a.Payer, b.Payer), cmp.Compare(a.Account, b.Account), cmp.Compare(a.Meter, b.Meter),
			cmp.Compare(a.Month, b.Month), cmp.Compare(a.Price, b.Price), cmp.Compare(a.Tier, b.Tier), truthFirst(b.Late, a.Late))
	})
	slices.SortFunc(o.Balances, func(a, b modelBalance) int {
		return cmp.Or(cmp.Compare(a.Package, b.Package), cmp.Compare(a.CycleStart, b.CycleStart))
	})
	slices.SortFunc(o.Notices, func(a, b modelNotice) int {
		return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Account, b.Account),
			cmp.Compare(a.Package, b.Package), cmp.Compare(a.Meter, b.Meter), cmp.Compare(a.RecordID, b.RecordID),
			compareThresholds(b.Threshold, a.Threshold))
	})
	slices.SortFunc(o.Unpriced, func(a, b modelUnpriced) int {
		return cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(a.Account, b.Account), cmp.Compare(a.Meter, b.Meter), cmp.Compare(a.ID, b.ID))
	})
	slices.SortFunc(o.Cash, func(a, b modelCash) int { return cmp.Compare(a.Payer, b.Payer) })
}

func compareThresholds(a, b string) int {
	if a == "" || b == "" {
		return cmp.Compare(a, b)
	}
	return modelNumber(a).Cmp(modelNumber(b))
}

// candidate is a package that a record may draw on, or that may stop it, by one of its entries.
type candidate struct {
	p     *modelPackage
	entry *modelCover
	own   bool
}

// candidates are the packages that the record's account holds, in deduction order.
func (m *modelSettler) candidates(r *modelRecord) []candidate {
	var found []candidate
	for _, p := range m.packages {
		own := p.account == r.Account
		if !p.held() || !own && !(p.shared && p.payer == m.payer[r.Account]) {
			continue
		}
		var best *modelCover
		now := clockAt(r.Time, p.zone)
		for i := range p.covers {
			if c := &p.covers[i]; c.matches(r, now) && (best == nil || narrower(c, best) < 0) {
				best = c
			}
		}
		if best != nil {
			found = append(found, candidate{p, best, own})
		}
	}
	slices.SortFunc(found, m.compare)
	return found
}

func truthFirst(a, b bool) int {
	switch {
	case a && !b:
		return -1
	case b && !a:
		return 1
	}
	return 0
}

func narrower(a, b *modelCover) int {
	return cmp.Or(truthFirst(a.hours, b.hours), cmp.Compare(len(b.where), len(a.where)))
}

func (m *modelSettler) compare(a, b candidate) int {
	for _, key := range m.world.Order {
		c := 0
		switch key {
		case "priority":
			c = cmp.Compare(a.p.priority, b.p.priority)
		case "scope":
			c = cmp.Or(truthFirst(a.own, b.own), narrower(a.entry, b.entry))
		case "source":
			sources := []string{"free", "promotion", "subscription"}
			c = cmp.Compare(slices.Index(sources, a.p.source), slices.Index(sources, b.p.source))
		case "cycle_end":
			c = cmp.Compare(a.p.cycleEnd(), b.p.cycleEnd())
		case "effective":
			c = cmp.Compare(a.p.termStart, b.p.termStart)
		case "expires":
			c = cmp.Compare(a.p.termEnd, b.p.termEnd)
		case "created":
			c = cmp.Compare(a.p.created, b.p.created)
		case "size":
			c = b.p.remaining.Cmp(a.p.remaining)
		default:
			panic(key)
		}
		if c != 0 {
			return c
		}
	}
	return cmp.Compare(a.p.id, b.p.id)
}

func (m *modelSettler) priceFor(r *modelRecord) *modelPrice {
	for _, account := range []string{r.Account, ""} {
		for i := range m.prices {
			p := &m.prices[i]
			if p.meter == r.Meter && p.account == account && p.from <= r.Time && r.Time < p.to {
				return p
			}
		}
	}
	return nil
}

func (m *modelSettler) settle(r *modelRecord) {
	held := m.candidates(r)
	type drawing struct {
		from           candidate
		taken, consume *big.Rat
	}
	var drawings []drawing
	rest, covered := modelNumber(r.Quantity), nought()
	for _, c := range held {
		if c.p.stage != "live" {
			continue
		}
		taken := smaller(rest, floored(over(c.p.remaining, c.entry.rate), m.scale[r.Meter]))
		if taken.Sign() > 0 {
			drawings = append(drawings, drawing{c, taken, times(taken, c.entry.rate)})
			rest, covered = minus(rest, taken), plus(covered, taken)
		}
	}
	stopper := stoppingPackage(held)
	price := m.priceFor(r)
	if rest.Sign() > 0 && stopper == nil && price == nil {
		m.out.Unpriced = append(m.out.Unpriced, modelUnpriced{r.Account, r.Meter, r.Time, r.ID})
		return
	}
	add := m.adder(r, false)
	for _, d := range drawings {
		before := d.from.p.remaining
		d.from.p.draw(r, d.consume)
		add(modelLine{
			Kind: "deduction", Package: d.from.p.id, CycleStart: d.from.p.currentCycle().start, quantity: d.taken,
			Consumed: decimalText(d.consume), Before: decimalText(before), After: decimalText(d.from.p.remaining),
		})
	}
	m.finish(r, r, rest, covered, stopper, price, add, func() {
		// The order is that of the moment at which nothing more was to be had, so that the next record, which finds the
		// same, names the same package: by size, drawing may have changed the order.
		slices.SortFunc(held, m.compare)
		m.stop(r, stoppingPackage(held))
	})
}

// adder numbers the lines of a record.
func (m *modelSettler) adder(r *modelRecord, late bool) func(modelLine) {
	lines := 0
	return func(l modelLine) {
		lines++
		l.Payer, l.Account, l.Meter, l.Time, l.RecordID, l.LineNo = m.payer[r.Account], r.Account, r.Meter, r.Time, r.ID, lines
		l.Quantity, l.Late = decimalText(l.quantity), late
		if l.amount == nil {
			l.amount = nought()
		}
		l.Amount = decimalText(l.amount)
		m.out.Lines = append(m.out.Lines, l)
	}
}

// finish counts a record, and stops or charges what is not covered; told is the record with the time at which it is told.
func (m *modelSettler) finish(r, told *modelRecord, rest, covered *big.Rat, stopper *modelPackage, price *modelPrice, add func(modelLine), stop func()) {
	key := r.Account + "/" + r.Meter + "/" + goTime(r.Time).In(m.zone).Format("2006-01")
	usage, excess := m.counter(m.usage, key), m.counter(m.excess, key)
	m.usage[key] = plus(usage, covered)
	if rest.Sign() == 0 {
		return
	}
	if stopper != nil {
		add(modelLine{Kind: "stopped", quantity: rest})
		stop()
		return
	}
	m.usage[key], m.excess[key] = plus(m.usage[key], rest), plus(excess, rest)
	from := excess
	if price.usage {
		from = plus(usage, covered)
	}
	m.chargeExcess(told, price, from, plus(from, rest), add)
}

func (m *modelSettler) counter(of map[string]*big.Rat, key string) *big.Rat {
	if q := of[key]; q != nil {
		return q
	}
	return nought()
}

// stoppingPackage is R3.6: the first one of those that stop, unless a pay-per-use package is held too.
func stoppingPackage(held []candidate) *modelPackage {
	var first *modelPackage
	for _, c := range held {
		if c.p.kind == "pay_per_use" {
			return nil
		}
		if first == nil {
			first = c.p
		}
	}
	return first
}

func (m *modelSettler) stop(r *modelRecord, p *modelPackage) {
	start := p.currentCycle().start
	key := fmt.Sprint(r.Account, "/", r.Meter, "/", p.id, "/", start)
	if m.stops[key] {
		return
	}
	m.stops[key] = true
	m.notice(modelNotice{
		At: r.Time, Kind: "service_stop", Account: r.Account, Package: p.id, Meter: r.Meter, CycleStart: start, RecordID: r.ID,
	})
}

func (m *modelSettler) chargeExcess(r *modelRecord, p *modelPrice, from, to *big.Rat, add func(modelLine)) {
	for from.Cmp(to) < 0 {
		end := to
		line := modelLine{Kind: "excess", Price: p.id}
		switch p.model {
		case "flat":
			line.UnitPrice, line.Per = decimalText(p.tiers[0].price), decimalText(p.tiers[0].per)
		case "volume":
			line.Tier = p.tierOf(to)
		case "graduated":
			for i, t := range p.tiers {
				if t.upTo == nil || from.Cmp(t.upTo) < 0 { // the next unit lies in this tier
					line.Tier, line.UnitPrice, line.Per = i+1, decimalText(t.price), decimalText(t.per)
					if t.upTo != nil {
						end = smaller(to, t.upTo)
					}
					break
				}
			}
		}
		line.quantity = minus(end, from)
		line.amount = minus(p.total(end), p.total(from))
		add(line)
		m.pay(r, line.amount)
		from = end
	}
}

func (m *modelSettler) pay(r *modelRecord, amount *big.Rat) {
	payer := m.payer[r.Account]
	if m.cash[payer] == nil {
		return
	}
	m.cash[payer] = minus(m.cash[payer], amount)
	if m.cash[payer].Sign() < 0 && !m.arrears[payer] {
		m.arrears[payer] = true
		m.notice(modelNotice{At: r.Time, Kind: "arrears", Account: payer, Meter: r.Meter, RecordID: r.ID})
	}
}

// --- reading the draft

func newModelSettler(w *modelWorld) *modelSettler {
	m := &modelSettler{
		world: w, zone: modelZone(w.Zone), payer: map[string]string{}, scale: map[string]int{}, usage: map[string]*big.Rat{},
		excess: map[string]*big.Rat{}, stops: map[string]bool{}, cash: map[string]*big.Rat{}, arrears: map[string]bool{},
	}
	zones := map[string]*time.Location{}
	for _, a := range w.Draft.Accounts {
		m.payer[a.ID] = cmp.Or(a.Payer, a.ID)
		zones[a.ID] = modelZone(cmp.Or(a.TimeZone, w.Zone))
		if a.Balance != "" && m.payer[a.ID] == a.ID {
			m.cash[a.ID] = modelNumber(a.Balance)
		}
	}
	for _, meter := range w.Draft.Meters {
		m.scale[meter.ID] = modelInt(meter.Scale, 0)
	}
	for i := range w.Draft.Prices {
		m.prices = append(m.prices, readModelPrice(&w.Draft.Prices[i], m.zone, zones))
	}
	for i := range w.Draft.Packages {
		m.packages = append(m.packages, m.readPackage(&w.Draft.Packages[i], zones))
	}
	for _, t := range w.Draft.TopUps {
		m.topUps = append(m.topUps, modelTopUp{m.payer[t.Account], modelInstant(t.At, zones[t.Account], false), modelNumber(t.Amount)})
	}
	slices.SortStableFunc(m.topUps, func(a, b modelTopUp) int { return cmp.Compare(a.at, b.at) })
	return m
}

func readModelPrice(d *rating.PriceDraft, billing *time.Location, zones map[string]*time.Location) modelPrice {
	zone := billing
	if d.Account != "" {
		zone = zones[d.Account]
	}
	p := modelPrice{
		id: d.ID, meter: d.Meter, account: d.Account, model: d.Model, from: math.MinInt64, to: modelNever, usage: d.Counts == "usage",
	}
	if d.From != "" {
		p.from = modelInstant(d.From, zone, false)
	}
	if d.To != "" {
		p.to = modelInstant(d.To, zone, false)
	}
	if d.Size != "" {
		p.size = modelNumber(d.Size)
	}
	if d.Price != "" {
		p.tiers = []modelTier{{nil, modelNumber(d.Price), modelNumberOr(d.Per, "1")}}
	}
	for _, t := range d.Tiers {
		tier := modelTier{nil, modelNumber(t.Price), modelNumberOr(t.Per, "1")}
		if t.UpTo != "" {
			tier.upTo = modelNumber(t.UpTo)
		}
		p.tiers = append(p.tiers, tier)
	}
	return p
}

func (m *modelSettler) readPackage(d *rating.PackageDraft, zones map[string]*time.Location) *modelPackage {
	zone := zones[d.Account]
	p := &modelPackage{
		id: d.ID, account: d.Account, payer: m.payer[d.Account], zone: zone, kind: d.Kind,
		source: cmp.Or(d.Source, "subscription"), reset: cmp.Or(d.Reset, "none"), shared: d.Shared == "true",
		priority: modelInt(d.Priority, 0), rolloverMax: modelNumberOr(d.RolloverMax, "0"),
		effective: modelInstant(d.Effective, zone, false), firstEnd: modelInstant(d.Expires, zone, true),
		graceDays: modelInt(d.GraceDays, 15), retentionDays: modelInt(d.RetentionDays, 15),
		quota: modelNumber(d.Quota), grant: nought(), remaining: nought(), rolled: nought(), stage: "future", notice: m.notice,
		endedAt: math.MinInt64,
	}
	p.termStart, p.termEnd = p.effective, p.firstEnd
	p.created = p.effective
	if d.Created != "" {
		p.created = modelInstant(d.Created, zone, false)
	}
	for _, c := range d.Covers {
		p.covers = append(p.covers, readModelCover(&c))
	}
	p.readChanges(m.world.Draft.Changes)
	p.readRule(m.world.Draft.Rules)
	return p
}

func readModelCover(d *rating.CoverDraft) modelCover {
	c := modelCover{meter: d.Meter, rate: modelNumberOr(d.Rate, "1"), where: d.Where, hours: d.Hours != ""}
	if c.hours {
		timeOfDay := func(text string) int64 {
			hour, minute, _ := strings.Cut(text, ":")
			return int64(modelInt(hour, 0)*60+modelInt(minute, 0)) * 60 * modelSecond
		}
		from, to, _ := strings.Cut(d.Hours, "-")
		c.from, c.to = timeOfDay(from), timeOfDay(to)
	}
	return c
}

// modelChangeKinds are in the order in which they apply at one instant.
var modelChangeKinds = []string{"renewed", "extended", "resized", "revoked"}

func (p *modelPackage) readChanges(drafts []rating.ChangeDraft) {
	for i, d := range drafts {
		if d.Package != p.id {
			continue
		}
		c := modelChange{at: modelInstant(d.At, p.zone, false), row: i}
		switch {
		case d.RenewedExpires != "":
			c.kind, c.expires = "renewed", modelInstant(d.RenewedExpires, p.zone, true)
		case d.Extended != "":
			c.kind, c.expires = "extended", modelInstant(d.Extended, p.zone, true)
		case d.ResizedQuota != "":
			c.kind, c.quota = "resized", modelNumber(d.ResizedQuota)
		default:
			c.kind = "revoked"
		}
		p.changes = append(p.changes, c)
	}
	kinds := modelChangeKinds
	slices.SortFunc(p.changes, func(a, b modelChange) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(slices.Index(kinds, a.kind), slices.Index(kinds, b.kind)), cmp.Compare(a.row, b.row))
	})
}

func (p *modelPackage) readRule(rules []rating.RuleDraft) {
	p.thresholdType, p.thresholds = "percentage", []*big.Rat{big.NewRat(20, 1), nought()}
	closest := 0
	for _, r := range rules {
		how := 1
		switch {
		case r.Package == p.id:
			how = 3
		case r.Package != "":
			continue
		case r.Account == p.account:
			how = 2
		case r.Account != "":
			continue
		}
		if how > closest {
			closest = how
			p.thresholdType, p.thresholds = r.Type, nil
			for _, t := range r.Thresholds {
				p.thresholds = append(p.thresholds, modelNumber(t))
			}
		}
	}
}
