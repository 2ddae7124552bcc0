package rating_test

// Random small worlds, each from a seed of its own: the same number always makes the same world. Times crowd where it
// hurts: at the ends of months, where clocks change, where cycles turn, and a microsecond before and after all of these.

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"drawdown/rating"
)

var worldPlaces = []struct{ zone, at string }{
	{"UTC", "2026-02-28T23:30:00Z"},
	{"UTC", "2024-02-29T12:00:00Z"},
	{"UTC", "2025-12-31T23:59:59Z"},
	{"Europe/Berlin", "2026-03-29T01:00:00Z"},
	{"Europe/Berlin", "2026-10-25T01:00:00Z"},
	{"Europe/Berlin", "2024-01-30T23:00:00Z"},
	{"America/New_York", "2026-03-08T07:00:00Z"},
	{"America/New_York", "2026-11-01T06:00:00Z"},
	{"Asia/Kolkata", "2024-02-29T18:30:00Z"},
	{"Pacific/Auckland", "2026-04-04T14:00:00Z"},
	{"Pacific/Auckland", "2026-09-26T14:00:00Z"},
	{"Australia/Lord_Howe", "2026-04-04T15:00:00Z"},
	{"Australia/Lord_Howe", "2026-10-03T15:30:00Z"},
	{"America/Sao_Paulo", "2018-11-04T03:00:00Z"},
	{"America/Sao_Paulo", "2018-02-18T02:00:00Z"},
	{"Africa/Cairo", "2024-04-25T22:00:00Z"},
	{"Africa/Cairo", "2024-10-31T21:00:00Z"},
	{"Asia/Kathmandu", "2026-05-31T18:15:00Z"},
	{"Pacific/Apia", "2011-12-30T10:00:00Z"}, // a day that never was
	{"America/Havana", "2026-03-08T05:00:00Z"},
	{"America/Havana", "2026-11-01T05:00:00Z"},
}

type worldMaker struct {
	*rand.Rand
	w        *modelWorld
	base     int64
	instants []int64 // where things happen
	zones    map[string]*time.Location
}

func chooseFrom[T any](g *worldMaker, list ...T) T { return list[g.IntN(len(list))] }

func (g *worldMaker) percent(p int) bool { return g.IntN(100) < p }

// makeWorld makes the world of a seed.
func makeWorld(seed, number uint64) *modelWorld {
	g := &worldMaker{Rand: rand.New(rand.NewPCG(seed, number)), w: &modelWorld{}, zones: map[string]*time.Location{}}
	place := chooseFrom(g, worldPlaces...)
	g.w.Zone = place.zone
	if g.percent(20) {
		g.w.Zone = "UTC"
	}
	g.base = modelInstant(place.at, time.UTC, false)
	g.makeBounds()
	g.makeAccounts(place.zone)
	g.makeMeters()
	for i := range g.IntN(6) {
		g.makePackage("p" + strconv.Itoa(i))
	}
	g.makePrices()
	g.makeRules()
	g.makeTopUps()
	g.makeRecords()
	g.w.ReminderDays = chooseFrom(g, []int{7}, []int{7, 1}, []int{1}, []int{30, 7, 3}, []int(nil))
	g.makeOrder()
	g.makeLate()
	return g.w
}

// makeLate lets some records of half of the worlds come when their periods are closed.
func (g *worldMaker) makeLate() {
	g.w.LateHorizon = chooseFrom(g, 35*modelDay, 35*modelDay, modelDay, 3*modelHour, 0)
	if g.percent(50) {
		return
	}
	share := chooseFrom(g, 20, 60, 100)
	for i := range g.w.Records {
		r := &g.w.Records[i]
		var later []int64
		for _, start := range g.w.Bounds[:len(g.w.Bounds)-1] {
			if start > r.Time {
				later = append(later, start)
			}
		}
		if len(later) > 0 && g.percent(share) {
			r.Delivered = chooseFrom(g, later...)
		}
	}
}

func (g *worldMaker) makeOrder() {
	if g.percent(50) {
		g.w.Order = modelPresets[chooseFrom(g, "default", "default", "source_first", "credit_grants", "oldest_first")]
		return
	}
	keys := []string{"priority", "scope", "source", "cycle_end", "effective", "expires", "created", "size"}
	g.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	g.w.Order = keys[:g.IntN(len(keys)+1)]
}

func (g *worldMaker) makeBounds() {
	zone := modelZone(g.w.Zone)
	unit := chooseFrom(g, "hour", "day", "day", "month")
	back := map[string]int64{"hour": modelHour, "day": modelDay, "month": 20 * modelDay}[unit]
	bounds := []int64{modelPeriodStart(unit, g.base-g.Int64N(2*back+1), zone)}
	for range 1 + g.IntN(4) {
		bounds = append(bounds, modelPeriodEnd(unit, bounds[len(bounds)-1], zone))
	}
	g.instants = append(g.instants, bounds...)
	g.instants = append(g.instants, g.base, g.base)
	for range 3 {
		day := clockAt(g.base, zone)
		day.day += g.IntN(5) - 2
		day.micros = chooseFrom(g, 0, 0, 90*60*modelSecond, 2*modelHour, 150*60*modelSecond, 3*modelHour)
		g.instants = append(g.instants, instantOf(day, zone))
	}
	g.w.Bounds = bounds
}

// instant picks a time within the window or near it; at places of interest more often than not.
func (g *worldMaker) instant() int64 {
	if g.percent(60) {
		t := chooseFrom(g, g.instants...)
		switch g.IntN(8) {
		case 0:
			return t - 1
		case 1:
			return t + 1
		case 2:
			return t + chooseFrom(g, int64(-1), 1)*chooseFrom(g, 30*60*modelSecond, modelHour, modelDay)
		}
		return t
	}
	start, end := g.w.Bounds[0], g.w.Bounds[len(g.w.Bounds)-1]
	margin := (end - start) / 8
	t := start - margin + g.Int64N(end-start+2*margin)
	return t - t%chooseFrom(g, int64(1), modelSecond, 60*modelSecond, modelHour)
}

// text writes an instant in its zone; as a date, where it is one.
func (g *worldMaker) text(t int64, zone *time.Location, end bool) string {
	c := clockAt(t, zone)
	if c.micros == 0 && g.percent(30) {
		if end {
			c.day--
		}
		day := time.Date(c.year, time.Month(c.month), c.day, 12, 0, 0, 0, time.UTC)
		if text := day.Format(time.DateOnly); modelInstant(text, zone, end) == t {
			return text
		}
	}
	return goTime(t).In(chooseFrom(g, zone, time.UTC)).Format("2006-01-02T15:04:05.999999Z07:00")
}

func (g *worldMaker) makeAccounts(zone string) {
	for i, payer := range []string{"", "a", "", "c"}[:1+g.IntN(4)] {
		a := rating.AccountDraft{ID: string(rune('a' + i)), Payer: payer}
		switch g.IntN(3) {
		case 0:
			a.TimeZone = zone
		case 1:
			a.TimeZone = chooseFrom(g, worldPlaces...).zone
		}
		if payer == "" && g.percent(50) {
			a.Balance = strconv.Itoa(g.IntN(30))
		}
		g.w.Draft.Accounts = append(g.w.Draft.Accounts, a)
		g.zones[a.ID] = modelZone(cmp.Or(a.TimeZone, g.w.Zone))
	}
	accounts := g.w.Draft.Accounts
	if len(accounts) == 2 && g.percent(30) { // the payer may stand after those it pays for
		accounts[0].Payer, accounts[1].Payer = "b", ""
		accounts[0].Balance, accounts[1].Balance = "", accounts[0].Balance
	}
}

func (g *worldMaker) makeMeters() {
	for i := range 1 + g.IntN(3) {
		g.w.Draft.Meters = append(g.w.Draft.Meters, rating.MeterDraft{
			ID: "m" + strconv.Itoa(i), Scale: chooseFrom(g, "", "", "1", "2", "3"),
		})
	}
}

// number writes a number from 0 up to most with some of its decimals.
func (g *worldMaker) number(most, scale int) string {
	text := strconv.Itoa(g.IntN(most + 1))
	if scale > 0 && g.percent(50) {
		digits := make([]byte, 1+g.IntN(scale))
		for i := range digits {
			digits[i] = byte('0' + g.IntN(10))
		}
		text += "." + string(digits)
	}
	return text
}

func (g *worldMaker) meterScale(id string) int {
	for _, m := range g.w.Draft.Meters {
		if m.ID == id {
			return modelInt(m.Scale, 0)
		}
	}
	panic(id)
}

var worldResets = []string{"", "none", "none", "none", "none", "hour", "day", "day", "day", "day", "day", "week", "week", "month", "month", "month", "year", "calendar_month"}

// cycleMost is how long a cycle is at most.
var cycleMost = map[string]int64{
	"hour": modelHour, "day": 25 * modelHour, "week": 8 * modelDay, "month": 32 * modelDay, "year": 367 * modelDay,
}

func (g *worldMaker) makePackage(id string) {
	owner := chooseFrom(g, g.w.Draft.Accounts...).ID
	zone := g.zones[owner]
	p := rating.PackageDraft{
		ID: id, Account: owner, Kind: chooseFrom(g, "pay_per_use", "pay_per_use", "stop_before_excess"),
		Source: chooseFrom(g, "", "free", "promotion", "subscription"), Shared: chooseFrom(g, "", "true", "false"),
		Priority: chooseFrom(g, "", "", "0", "1", "-1"), Reset: chooseFrom(g, worldResets...),
		GraceDays: chooseFrom(g, "", "0", "1", "2", "10"), RetentionDays: chooseFrom(g, "", "0", "1", "3"),
	}
	scale := g.makeCovers(&p)
	p.Quota = g.number(chooseFrom(g, 3, 20, 60, 200), scale)
	if g.percent(50) {
		p.RolloverMax = g.number(20, scale)
	}
	effective := g.effective(p.Reset, zone)
	expires := g.end(p.Reset, effective, zone)
	p.Effective, p.Expires = g.text(effective, zone, false), g.text(expires, zone, true)
	switch g.IntN(4) {
	case 0:
		p.Created = g.text(effective-g.Int64N(10*modelDay), zone, false)
	case 1:
		p.Created = g.text(g.instant(), zone, false)
	}
	g.w.Draft.Packages = append(g.w.Draft.Packages, p)
	g.instants = append(g.instants, effective, expires)
	g.addTurns(p.Reset, effective, expires, zone)
	if g.percent(60) {
		g.makeChanges(&p, effective, expires, zone, scale)
	}
}

// makeCovers gives the package's scale.
func (g *worldMaker) makeCovers(p *rating.PackageDraft) int {
	needed, largest := 0, 0
	for range chooseFrom(g, 1, 1, 1, 2, 3) {
		c := rating.CoverDraft{
			Meter: chooseFrom(g, g.w.Draft.Meters...).ID,
			Rate:  chooseFrom(g, "", "", "", "1", "2", "3", "0.5", "0.25", "0.3", "1.5", "0.007"),
			Hours: chooseFrom(g, "", "", "", "", "", "", "", "", "00:00-08:00", "22:00-06:00", "02:00-03:00", "09:30-24:00", "23:00-01:30"),
		}
		for _, attribute := range []string{"plan", "region"} {
			if g.percent(15) {
				values := [][]string{{"x"}, {"y"}, {"x", "y"}}
				c.Where = append(c.Where, rating.ConditionDraft{Attribute: attribute, Values: chooseFrom(g, values...)})
			}
		}
		_, decimals, _ := strings.Cut(c.Rate, ".")
		needed = max(needed, g.meterScale(c.Meter)+len(decimals))
		largest = max(largest, g.meterScale(c.Meter))
		p.Covers = append(p.Covers, c)
	}
	scale := needed + g.IntN(2)
	if scale > largest || g.percent(20) {
		p.Scale = strconv.Itoa(scale)
		return scale
	}
	return largest
}

func (g *worldMaker) effective(reset string, zone *time.Location) int64 {
	switch g.IntN(8) {
	case 0, 1:
		return g.instant()
	case 2: // a day that not every month has, at a time that not every day has
		c := clockAt(g.w.Bounds[0], zone)
		c.month -= g.IntN(4)
		c.day = 28 + g.IntN(4)
		c.micros = chooseFrom(g, 0, 90*60*modelSecond, 150*60*modelSecond, 23*modelHour+30*60*modelSecond, modelDay-1)
		return instantOf(c, zone)
	case 3: // the same time of day as something
		t := g.instant()
		return daysLater(t, -g.IntN(40), zone)
	}
	most := 60 * modelDay
	if reset == "hour" {
		most = 4 * modelDay
	}
	t := g.w.Bounds[0] - g.Int64N(most)
	return t - t%chooseFrom(g, 1, modelSecond, modelHour)
}

// end is an end of a term that is long enough for a cycle.
func (g *worldMaker) end(reset string, start int64, zone *time.Location) int64 {
	least := cycleMost[reset]
	if least == 0 {
		least = 1
	}
	if g.percent(30) {
		if t := g.instant(); t >= start+least {
			return t
		}
	}
	if cycleMost[reset] == 0 {
		return start + 1 + g.Int64N(chooseFrom(g, modelHour, modelDay, 40*modelDay, 100*modelDay))
	}
	cycles := 1 + g.IntN(chooseFrom(g, 2, 5, 20))
	if reset == "year" {
		cycles = 1 + g.IntN(2)
	}
	if last := g.w.Bounds[len(g.w.Bounds)-1]; last > start && g.percent(60) { // far enough to be of use
		cycles = min(100, 1+int((last-start)/least))
	}
	end := cycleStart(reset, start, cycles, zone)
	if g.percent(50) {
		end += chooseFrom(g, 0, 1, modelHour, g.Int64N(least))
	}
	return end
}

// addTurns makes the turns of cycles within the window known as places of interest.
func (g *worldMaker) addTurns(reset string, start, end int64, zone *time.Location) {
	if reset == "" || reset == "none" {
		return
	}
	found := 0
	for n := 1; found < 3; n++ {
		turn := cycleStart(reset, start, n, zone)
		if turn >= end || turn > g.w.Bounds[len(g.w.Bounds)-1] {
			return
		}
		if turn >= g.w.Bounds[0] && g.percent(40) {
			g.instants = append(g.instants, turn)
			found++
		}
	}
}

func (g *worldMaker) makeChanges(p *rating.PackageDraft, effective, end int64, zone *time.Location, scale int) {
	at := min(effective, g.w.Bounds[0]) - g.Int64N(5*modelDay)
	last := ""
	for range 1 + g.IntN(4) {
		released := daysLater(end, modelInt(p.GraceDays, 15)+modelInt(p.RetentionDays, 15), zone)
		at = g.after(at, end, released)
		kind := chooseFrom(g, "renewed", "renewed", "extended", "resized", "resized", "revoked")
		key := strconv.FormatInt(at, 10) + " " + strconv.Itoa(slices.Index(modelChangeKinds, kind))
		if last >= key && strings.HasPrefix(last, strconv.FormatInt(at, 10)+" ") {
			continue // at one instant each kind once, in the order in which they apply
		}
		last = key
		c := rating.ChangeDraft{Package: p.ID, At: g.text(at, zone, false)}
		switch kind {
		case "renewed":
			next := g.end(p.Reset, end, zone)
			if at >= released || next <= at {
				continue
			}
			end = next
			g.addTurns(p.Reset, at, end, zone)
			c.RenewedExpires = g.text(end, zone, true)
		case "extended":
			if at > end {
				continue
			}
			end += 1 + g.Int64N(chooseFrom(g, modelHour, modelDay, 20*modelDay))
			c.Extended = g.text(end, zone, true)
		case "resized":
			c.ResizedQuota = g.number(chooseFrom(g, 3, 20, 60, 200), scale)
		case "revoked":
			c.Revoked = "true"
		}
		g.w.Draft.Changes = append(g.w.Draft.Changes, c)
		g.instants = append(g.instants, at)
		if kind == "revoked" {
			return
		}
	}
}

// after picks the time of a change that follows another one.
func (g *worldMaker) after(at, end, released int64) int64 {
	switch g.IntN(5) {
	case 0:
		return max(at, end)
	case 1:
		if end < released {
			return max(at, end+g.Int64N(released-end))
		}
	case 2:
		return max(at, end-1-g.Int64N(modelDay))
	}
	return max(at, g.instant())
}

func (g *worldMaker) makePrices() {
	n := 0
	add := func(meter, account string, from, to int64) {
		n++
		p := g.price(meter)
		p.ID, p.Account = "price"+strconv.Itoa(n), account
		zone := modelZone(g.w.Zone)
		if account != "" {
			zone = g.zones[account]
		}
		if from != 0 {
			p.From = g.text(from, zone, false)
		}
		if to != 0 {
			p.To = g.text(to, zone, false)
		}
		g.w.Draft.Prices = append(g.w.Draft.Prices, p)
	}
	for _, m := range g.w.Draft.Meters {
		change := g.instant()
		switch g.IntN(10) {
		case 0:
		case 1:
			add(m.ID, "", 0, change)
		case 2, 3, 4:
			add(m.ID, "", 0, change)
			add(m.ID, "", change, 0)
		default:
			add(m.ID, "", 0, 0)
		}
		if account := chooseFrom(g, g.w.Draft.Accounts...).ID; g.percent(25) {
			if g.percent(50) {
				add(m.ID, account, 0, 0)
			} else {
				add(m.ID, account, change, change+1+g.Int64N(modelDay))
			}
		}
	}
}

func (g *worldMaker) price(meter string) rating.PriceDraft {
	scale := g.meterScale(meter)
	price := func() string { return chooseFrom(g, "0", "1", "2.5", "0.1", "0.000000007", "100", "0.333333333") }
	per := func() string { return chooseFrom(g, "", "", "3", "7", "1000", "0.5", "1000000") }
	p := rating.PriceDraft{Meter: meter, Model: chooseFrom(g, "flat", "graduated", "graduated", "volume", "block")}
	switch p.Model {
	case "flat":
		p.Price, p.Per = price(), per()
		return p
	case "block":
		p.Price, p.Size = price(), chooseFrom(g, "1", "3", "10")
		if scale > 0 && g.percent(40) {
			p.Size = "0.7"
		}
	default:
		upTo := 0
		for range g.IntN(4) {
			upTo += 1 + g.IntN(12)
			end := strconv.Itoa(upTo)
			if scale > 0 && g.percent(30) {
				end += ".5"
			}
			p.Tiers = append(p.Tiers, rating.TierDraft{UpTo: end, Price: price(), Per: per()})
		}
		p.Tiers = append(p.Tiers, rating.TierDraft{Price: price(), Per: per()})
	}
	p.Counts = chooseFrom(g, "excess", "usage")
	if p.Model == "volume" {
		p.Counts = "excess"
	}
	return p
}

func (g *worldMaker) makeRules() {
	add := func(account, pack string) {
		r := rating.RuleDraft{ID: "rule" + strconv.Itoa(len(g.w.Draft.Rules)), Account: account, Package: pack}
		r.Type = chooseFrom(g, "percentage", "absolute")
		for range 1 + g.IntN(4) {
			t := chooseFrom(g, "0", "1", "5", "10", "20", "33.3", "50", "100", "0.5")
			if !slices.Contains(r.Thresholds, t) {
				r.Thresholds = append(r.Thresholds, t)
			}
		}
		g.w.Draft.Rules = append(g.w.Draft.Rules, r)
	}
	if g.percent(15) {
		add("", "")
	}
	for _, a := range g.w.Draft.Accounts {
		if g.percent(15) {
			add(a.ID, "")
		}
	}
	for _, p := range g.w.Draft.Packages {
		if g.percent(30) {
			add("", p.ID)
		}
	}
}

func (g *worldMaker) makeTopUps() {
	for _, a := range g.w.Draft.Accounts {
		if a.Balance == "" {
			continue
		}
		taken := map[int64]bool{}
		for range g.IntN(4) {
			if at := g.instant(); !taken[at] {
				taken[at] = true
				g.instants = append(g.instants, at)
				g.w.Draft.TopUps = append(g.w.Draft.TopUps, rating.TopUpDraft{
					Account: a.ID, At: g.text(at, g.zones[a.ID], false), Amount: chooseFrom(g, "0.1", "1", "5", "20"),
				})
			}
		}
	}
}

func (g *worldMaker) makeRecords() {
	ids := g.Perm(16)
	start, end := g.w.Bounds[0], g.w.Bounds[len(g.w.Bounds)-1]
	for i := range g.IntN(16) {
		account, meter := chooseFrom(g, g.w.Draft.Accounts...).ID, chooseFrom(g, g.w.Draft.Meters...).ID
		if len(g.w.Draft.Packages) > 0 && g.percent(60) { // something that a package may be for
			p := chooseFrom(g, g.w.Draft.Packages...)
			meter = chooseFrom(g, p.Covers...).Meter
			if p.Shared != "true" || g.percent(50) {
				account = p.Account
			}
		}
		r := modelRecord{
			ID: "r" + strconv.Itoa(ids[i]), Account: account, Meter: meter,
			Quantity: g.number(chooseFrom(g, 2, 10, 40), g.meterScale(meter)), Time: g.instant(), Attributes: map[string]string{},
		}
		for tries := 0; (r.Time < start || r.Time >= end) && tries < 5; tries++ {
			r.Time = g.instant()
		}
		for _, attribute := range []string{"plan", "region"} {
			if value := chooseFrom(g, "", "x", "y", "z"); value != "" {
				r.Attributes[attribute] = value
			}
		}
		if r.Time >= start && r.Time < end {
			g.w.Records = append(g.w.Records, r)
		}
	}
}
