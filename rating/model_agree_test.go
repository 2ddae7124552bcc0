package rating_test

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"

	"drawdown/rating"
)

// worldsEnv reads a number from the environment.
func worldsEnv(name string, otherwise uint64) uint64 {
	if n, err := strconv.ParseUint(os.Getenv(name), 10, 64); err == nil {
		return n
	}
	return otherwise
}

// TestEngineAgreesWithModel settles random worlds by the engine and by the model. TEST_WORLDS says how many,
// TEST_SOAK for how long instead (a duration), TEST_SEED which ones, TEST_WORLD the one to look at.
func TestEngineAgreesWithModel(t *testing.T) {
	seed := worldsEnv("TEST_SEED", 1)
	if one, err := strconv.ParseUint(os.Getenv("TEST_WORLD"), 10, 64); err == nil {
		reportWorld(t, seed, one)
		return
	}
	worlds := worldsEnv("TEST_WORLDS", 100_000)
	if testing.Short() {
		worlds = min(worlds, 3_000)
	}
	began := time.Now()
	soak, _ := time.ParseDuration(os.Getenv("TEST_SOAK"))
	var next, refused atomic.Uint64
	var wrong atomic.Uint64
	wrong.Store(1<<64 - 1)
	var crowd sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		crowd.Go(func() {
			for wrong.Load() == 1<<64-1 {
				number := next.Add(1) - 1
				if soak == 0 && number >= worlds || soak > 0 && time.Since(began) > soak {
					return
				}
				problem, valid := disagreement(makeWorld(seed, number))
				if !valid {
					refused.Add(1)
				}
				for known := wrong.Load(); problem != "" && number < known; known = wrong.Load() {
					wrong.CompareAndSwap(known, number)
				}
			}
		})
	}
	crowd.Wait()
	if number := wrong.Load(); number != 1<<64-1 {
		reportWorld(t, seed, number)
		return
	}
	settled := next.Load()
	if soak == 0 {
		settled = min(settled, worlds)
	}
	t.Logf("%d worlds, %d of them refused by Compile, %.0f a second", settled, refused.Load(), float64(settled)/time.Since(began).Seconds())
	if refused.Load() > settled/10 {
		t.Error("too many worlds are refused: the generator makes invalid catalogs")
	}
}

// disagreement tells in what the engine differs from the model, and whether the world is valid at all.
func disagreement(w *modelWorld) (problem string, valid bool) {
	run, err := engineSettle(w)
	if err != nil {
		return err.Error(), true
	}
	if len(run.faults) > 0 {
		return "", false
	}
	want := modelSettle(w)
	for i := range want {
		if !samePeriod(&run.periods[i], &want[i]) {
			return fmt.Sprintf("period %d from %s: - model, + engine\n%s", i, instantText(w.Bounds[i]),
				cmp.Diff(readable(&want[i]), readable(&run.periods[i]))), true
		}
	}
	return "", true
}

func samePeriod(a, b *modelPeriod) bool {
	return slices.Equal(a.Lines, b.Lines) && slices.Equal(a.Charges, b.Charges) && slices.Equal(a.Balances, b.Balances) &&
		slices.Equal(a.Notices, b.Notices) && slices.Equal(a.Unpriced, b.Unpriced) && slices.Equal(a.Cash, b.Cash)
}

// readable writes the rows of a period as text, so that a difference can be read.
func readable(p *modelPeriod) []string {
	var rows []string
	at := func(t int64) string {
		if t == 0 {
			return "-"
		}
		return instantText(t)
	}
	for _, l := range p.Lines {
		rows = append(rows, fmt.Sprint("line ", at(l.Time), " ", l.Payer, "/", l.Account, " ", l.Meter, " ", l.RecordID, "#", l.LineNo, " ", l.Kind, " ", l.Quantity,
			" package ", l.Package, " cycle ", at(l.CycleStart), " takes ", l.Consumed, ": ", l.Before, " -> ", l.After,
			" price ", l.Price, " tier ", l.Tier, " ", l.UnitPrice, " per ", l.Per, " amount ", l.Amount, map[bool]string{true: " late"}[l.Late]))
	}
	for _, c := range p.Charges {
		rows = append(rows, fmt.Sprintf("charge %+v", c))
	}
	for _, b := range p.Balances {
		rows = append(rows, fmt.Sprint("balance ", b.Package, " ", at(b.CycleStart), " .. ", at(b.CycleEnd), " quota ", b.Quota, ": ", b.Opening, " + ", b.Granted, " + ", b.RolledOver,
			" - ", b.Deducted, " - ", b.Expired, " - ", b.Revoked, " = ", b.Closing, " ", b.State))
	}
	for _, n := range p.Notices {
		rows = append(rows, fmt.Sprint("notice ", at(n.At), " ", n.Kind, " ", n.Payer, "/", n.Account, " package ", n.Package, " meter ", n.Meter,
			" cycle ", at(n.CycleStart), " ", n.Type, " ", n.Threshold, " remaining ", n.Remaining, " record ", n.RecordID))
	}
	for _, u := range p.Unpriced {
		rows = append(rows, fmt.Sprintf("unpriced %+v", u))
	}
	for _, c := range p.Cash {
		rows = append(rows, fmt.Sprintf("cash %+v", c))
	}
	return rows
}

// reportWorld says how a world goes wrong, in as small a form as can be found, as a conformance case.
func reportWorld(t *testing.T, seed, number uint64) {
	t.Helper()
	small := makeWorld(seed, number)
	if problem, _ := disagreement(small); problem == "" {
		t.Logf("world %d of seed %d: engine and model agree\n%s", number, seed, worldText(small))
		return
	}
	small = shrink(small, func(w *modelWorld) bool { problem, _ := disagreement(w); return problem != "" })
	problem, _ := disagreement(small)
	t.Errorf("world %d of seed %d (TEST_SEED=%d TEST_WORLD=%d)\n%s\n%s", number, seed, seed, number, worldText(small), problem)
}

// shrink removes whatever the trouble does not need.
func shrink(w *modelWorld, bad func(*modelWorld) bool) *modelWorld {
	for again := true; again; {
		again = false
		for _, smaller := range smallerWorlds(w) {
			if bad(smaller) {
				w, again = smaller, true
				break
			}
		}
	}
	return w
}

// smallerWorlds are all worlds with one thing less.
func smallerWorlds(w *modelWorld) []*modelWorld {
	var all []*modelWorld
	change := func(edit func(*modelWorld)) {
		c := *w
		edit(&c)
		all = append(all, &c)
	}
	for i := range w.Draft.Packages {
		change(func(c *modelWorld) {
			id := c.Draft.Packages[i].ID
			c.Draft.Packages = without(c.Draft.Packages, i)
			c.Draft.Changes = slices.DeleteFunc(slices.Clone(c.Draft.Changes), func(d rating.ChangeDraft) bool { return d.Package == id })
			c.Draft.Rules = slices.DeleteFunc(slices.Clone(c.Draft.Rules), func(d rating.RuleDraft) bool { return d.Package == id })
		})
	}
	for i := range w.Draft.Accounts {
		change(func(c *modelWorld) { c.Draft.Accounts = without(c.Draft.Accounts, i) })
	}
	for i := range w.Records {
		change(func(c *modelWorld) { c.Records = without(c.Records, i) })
		if w.Records[i].Quantity != "1" {
			change(func(c *modelWorld) { c.Records = slices.Clone(c.Records); c.Records[i].Quantity = "1" })
		}
		if len(w.Records[i].Attributes) > 0 {
			change(func(c *modelWorld) { c.Records = slices.Clone(c.Records); c.Records[i].Attributes = nil })
		}
	}
	for i := range w.Draft.Changes {
		change(func(c *modelWorld) { c.Draft.Changes = without(c.Draft.Changes, i) })
	}
	for i := range w.Draft.Rules {
		change(func(c *modelWorld) { c.Draft.Rules = without(c.Draft.Rules, i) })
	}
	for i := range w.Draft.TopUps {
		change(func(c *modelWorld) { c.Draft.TopUps = without(c.Draft.TopUps, i) })
	}
	for i := range w.Draft.Prices {
		change(func(c *modelWorld) { c.Draft.Prices = without(c.Draft.Prices, i) })
	}
	for i := range w.Order {
		change(func(c *modelWorld) { c.Order = without(c.Order, i) })
	}
	if len(w.ReminderDays) > 0 {
		change(func(c *modelWorld) { c.ReminderDays = nil })
	}
	if n := len(w.Bounds); n > 2 {
		change(func(c *modelWorld) { c.Bounds = c.Bounds[:n-1]; c.dropRecords() })
		change(func(c *modelWorld) { c.Bounds = c.Bounds[1:]; c.dropRecords() })
	}
	for i := range w.Draft.Packages {
		edit := func(f func(*rating.PackageDraft)) {
			p := w.Draft.Packages[i]
			f(&p)
			if !cmp.Equal(p, w.Draft.Packages[i]) {
				change(func(c *modelWorld) { c.Draft.Packages = slices.Clone(c.Draft.Packages); c.Draft.Packages[i] = p })
			}
		}
		edit(func(p *rating.PackageDraft) { p.RolloverMax = "" })
		edit(func(p *rating.PackageDraft) { p.Created = "" })
		edit(func(p *rating.PackageDraft) { p.Priority = "" })
		edit(func(p *rating.PackageDraft) { p.Source = "" })
		edit(func(p *rating.PackageDraft) { p.Shared = "" })
		edit(func(p *rating.PackageDraft) { p.GraceDays = "" })
		edit(func(p *rating.PackageDraft) { p.RetentionDays = "" })
		edit(func(p *rating.PackageDraft) { p.Quota = "10" })
		edit(func(p *rating.PackageDraft) { p.Covers = p.Covers[:1] })
		for _, plain := range []func(*rating.CoverDraft){
			func(c *rating.CoverDraft) { c.Hours = "" }, func(c *rating.CoverDraft) { c.Where = nil }, func(c *rating.CoverDraft) { c.Rate = "" },
		} {
			edit(func(p *rating.PackageDraft) { p.Covers = slices.Clone(p.Covers); plain(&p.Covers[0]) })
		}
	}
	for i, a := range w.Draft.Accounts {
		if a.TimeZone != "" {
			change(func(c *modelWorld) {
				c.Draft.Accounts = slices.Clone(c.Draft.Accounts)
				c.Draft.Accounts[i].TimeZone = ""
			})
		}
		if a.Balance != "" {
			change(func(c *modelWorld) {
				c.Draft.Accounts = slices.Clone(c.Draft.Accounts)
				c.Draft.Accounts[i].Balance = ""
			})
		}
	}
	return slices.DeleteFunc(all, func(w *modelWorld) bool { return !w.sound() })
}

func without[T any](list []T, i int) []T { return slices.Delete(slices.Clone(list), i, i+1) }

func (w *modelWorld) dropRecords() {
	w.Records = slices.DeleteFunc(slices.Clone(w.Records), func(r modelRecord) bool {
		return r.Time < w.Bounds[0] || r.Time >= w.Bounds[len(w.Bounds)-1]
	})
}

// sound says whether the records name accounts and meters that are there; the rest is for Compile to say.
func (w *modelWorld) sound() bool {
	for _, r := range w.Records {
		if !slices.ContainsFunc(w.Draft.Accounts, func(a rating.AccountDraft) bool { return a.ID == r.Account }) {
			return false
		}
	}
	return true
}

// worldText writes a world as a conformance case, with what the model expects. The bounds stand in a comment where no
// period of the configuration makes them.
func worldText(w *modelWorld) string {
	var b strings.Builder
	bounds := make([]string, len(w.Bounds))
	for i, t := range w.Bounds {
		bounds[i] = instantText(t)
	}
	fmt.Fprintf(&b, "# periods: %s\nname: found\nsource: a random world\nnow: %s\n", strings.Join(bounds, " "), bounds[len(bounds)-1])
	order := fmt.Sprintf("[%s]", strings.Join(w.Order, ", "))
	days := strings.Join(strings.Fields(fmt.Sprint(w.ReminderDays)), ", ")
	fmt.Fprintf(&b, "config: {settlement: {time_zone: %s, start: %s}, deduction_order: %s, reminder_days: %s}\ncatalog:\n", w.Zone, bounds[0], order, days)
	for _, kind := range []struct {
		name string
		rows []map[string]any
	}{
		{"accounts", rowsOf(w.Draft.Accounts)},
		{"meters", rowsOf(w.Draft.Meters)},
		{"prices", rowsOf(w.Draft.Prices)},
		{"packages", rowsOf(w.Draft.Packages)},
		{"package_changes", rowsOf(w.Draft.Changes)},
		{"alert_rules", rowsOf(w.Draft.Rules)},
		{"topups", rowsOf(w.Draft.TopUps)},
	} {
		if len(kind.rows) > 0 {
			fmt.Fprintf(&b, "  %s:\n", kind.name)
			for _, row := range kind.rows {
				fmt.Fprintf(&b, "    - %s\n", flow(row))
			}
		}
	}
	b.WriteString("usage:\n")
	for _, r := range w.Records {
		row := map[string]any{"id": r.ID, "account": r.Account, "meter": r.Meter, "quantity": r.Quantity, "time": instantText(r.Time)}
		if len(r.Attributes) > 0 {
			row["attributes"] = r.Attributes
		}
		fmt.Fprintf(&b, "  - %s\n", flow(row))
	}
	b.WriteString("expect:\n")
	for table, rows := range rowsOfCase(w, modelSettle(w)) {
		fmt.Fprintf(&b, "  %s:\n", table)
		for _, row := range rows {
			for field, value := range row {
				if value == "" || strings.HasPrefix(value, "1970-01-01T00:00:00Z") {
					delete(row, field)
				}
			}
			fmt.Fprintf(&b, "    - %s\n", flow(row))
		}
	}
	return b.String()
}

func flow(row any) string {
	var n yaml.Node
	if err := n.Encode(row); err != nil {
		panic(err)
	}
	setFlow(&n)
	text, err := yaml.Marshal(&n)
	if err != nil {
		panic(err)
	}
	return strings.Join(strings.Fields(string(text)), " ")
}

func setFlow(n *yaml.Node) {
	n.Style |= yaml.FlowStyle
	for _, c := range n.Content {
		setFlow(c)
	}
}

// rowsOf writes draft rows with the names that they have in YAML.
func rowsOf(rows any) []map[string]any {
	var list []map[string]any
	add := func(pairs ...any) {
		row := map[string]any{}
		for i := 0; i < len(pairs); i += 2 {
			if text, isText := pairs[i+1].(string); !isText || text != "" {
				row[pairs[i].(string)] = pairs[i+1]
			}
		}
		list = append(list, row)
	}
	switch rows := rows.(type) {
	case []rating.AccountDraft:
		for _, a := range rows {
			add("id", a.ID, "payer", a.Payer, "time_zone", a.TimeZone, "balance", a.Balance)
		}
	case []rating.MeterDraft:
		for _, m := range rows {
			add("id", m.ID, "scale", m.Scale)
		}
	case []rating.PriceDraft:
		for _, p := range rows {
			add("id", p.ID, "meter", p.Meter, "account", p.Account, "from", p.From, "to", p.To, "model", p.Model, "counts", p.Counts,
				"price", p.Price, "per", p.Per, "size", p.Size)
			for _, t := range p.Tiers {
				tier := map[string]string{"price": t.Price}
				if t.UpTo != "" {
					tier["up_to"] = t.UpTo
				}
				if t.Per != "" {
					tier["per"] = t.Per
				}
				last := list[len(list)-1]
				tiers, _ := last["tiers"].([]map[string]string)
				last["tiers"] = append(tiers, tier)
			}
		}
	case []rating.PackageDraft:
		for _, p := range rows {
			add("id", p.ID, "account", p.Account, "kind", p.Kind, "quota", p.Quota, "scale", p.Scale, "effective", p.Effective,
				"expires", p.Expires, "created", p.Created, "priority", p.Priority, "source", p.Source, "shared", p.Shared,
				"reset", p.Reset, "rollover_max", p.RolloverMax, "grace_days", p.GraceDays, "retention_days", p.RetentionDays,
				"covers", coverRows(p.Covers))
		}
	case []rating.ChangeDraft:
		for _, c := range rows {
			add("package", c.Package, "at", c.At, "revoked", c.Revoked)
			last := list[len(list)-1]
			for kind, inner := range map[string][2]string{
				"renewed": {"expires", c.RenewedExpires}, "extended": {"expires", c.Extended}, "resized": {"quota", c.ResizedQuota},
			} {
				if inner[1] != "" {
					last[kind] = map[string]string{inner[0]: inner[1]}
				}
			}
		}
	case []rating.RuleDraft:
		for _, r := range rows {
			add("id", r.ID, "account", r.Account, "package", r.Package, "type", r.Type, "thresholds", r.Thresholds)
		}
	case []rating.TopUpDraft:
		for _, u := range rows {
			add("account", u.Account, "at", u.At, "amount", u.Amount)
		}
	}
	return list
}

func coverRows(covers []rating.CoverDraft) []map[string]any {
	var rows []map[string]any
	for _, c := range covers {
		row := map[string]any{"meter": c.Meter}
		if c.Rate != "" {
			row["rate"] = c.Rate
		}
		if c.Hours != "" {
			row["hours"] = c.Hours
		}
		if len(c.Where) > 0 {
			where := map[string][]string{}
			for _, condition := range c.Where {
				where[condition.Attribute] = condition.Values
			}
			row["where"] = where
		}
		rows = append(rows, row)
	}
	return rows
}
