package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"drawdown/rating"
)

// simulated runs the command with --json.
func (s *site) simulated(t *testing.T, w *world, account string, from, to time.Time, args ...string) *simulationJSON {
	t.Helper()
	command := append([]string{"simulate", "--json", "--account", account, "--from", spell(from), "--to", spell(to)}, args...)
	code, out := s.run(t, w.later(), command...)
	if code != exitDone {
		t.Fatalf("%v ended with %d: %s", command, code, out)
	}
	var found simulationJSON
	if err := json.Unmarshal([]byte(out), &found); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return &found
}

// own gives an account's packages and their changes, as a file for --with.
func (w *world) own(t *testing.T, account string) []byte {
	t.Helper()
	mine, ids := map[string][]any{"packages": {}}, map[any]bool{}
	for _, row := range w.catalog["packages"] {
		if p := row.(fields); p["account"] == account {
			mine["packages"], ids[p["id"]] = append(mine["packages"], p), true
		}
	}
	for _, row := range w.catalog["package_changes"] {
		if c := row.(fields); ids[c["package"]] {
			mine["package_changes"] = append(mine["package_changes"], c)
		}
	}
	text, err := yaml.Marshal(mine)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func (f *simulationJSON) named(t *testing.T, name string) *simulatedCaseJSON {
	t.Helper()
	for i := range f.Cases {
		if f.Cases[i].Name == name {
			return &f.Cases[i]
		}
	}
	t.Fatalf("there is no case %q", name)
	return nil
}

// TestSimulatedAsItWas: over random worlds, whole or cut into commits, settled again as it was comes to the booked lines, and
// so does an offer of just what the account had. Nothing is written.
func TestSimulatedAsItWas(t *testing.T) {
	eachWorld(t, worldShape{records: 300, days: 4, homeless: true}, func(t *testing.T, w *world) {
		s := newSite(t, w, "shards: 3")
		s.settleUntil(w.later(), rating.InstantOf(w.start.AddDate(0, 0, 2)))
		w.add("prices", fields{"id": "later", "meter": "calls", "account": "zeta", "model": "flat", "price": "9", "from": spell(w.start.AddDate(0, 0, 3))})
		s.write("catalog.yaml", w.catalogYAML(t)) // the rest is settled with another catalog
		s.settle(w)
		output, state := s.output(), s.visible()
		lines := 0
		for n, account := range worldAccounts {
			random := rand.New(rand.NewPCG(uint64(n), 3))
			from := w.start.AddDate(0, 0, random.IntN(4))
			to := from.AddDate(0, 0, 1+random.IntN(3))
			s.write("own.yaml", w.own(t, account))
			found := s.simulated(t, w, account, from, to, "--with", s.path("own.yaml"))
			was, is := found.named(t, "as it was"), found.named(t, "own.yaml")
			lines += int(found.Control.Lines)
			if !found.Control.Agrees || found.Control.Lines != found.Control.Booked {
				t.Errorf("%s: control %+v", account, found.Control)
			}
			same(t, account+": periods", was.Periods, is.Periods)
			same(t, account+": totals", was.Totals, is.Totals)
			same(t, account+": meters", was.Meters, is.Meters)
			same(t, account+": bought", was.Bought, is.Bought)
			s.checkSimulatedCharges(t, w, found, was)
		}
		if lines == 0 {
			t.Error("nobody has a line")
		}
		same(t, "output", output, s.output())
		same(t, "state", state, s.visible())
	})
}

// checkSimulatedCharges: as it was, the charges are those of the table.
func (s *site) checkSimulatedCharges(t *testing.T, w *world, found *simulationJSON, was *simulatedCaseJSON) {
	t.Helper()
	booked, said := books{}, books{}
	for _, c := range s.rows("charges") {
		if c["payer"] == found.Payer && c["period_start"] >= found.From && c["period_start"] < found.To && number(c["amount"]).Sign() != 0 {
			booked.add(c["account"]+" "+c["currency"], c["amount"])
		}
	}
	for _, c := range was.Accounts {
		said.add(c.Account+" "+c.Currency, c.Charges)
	}
	same(t, found.Account+": charges", booked.texts(), said.texts())
}

// TestSimulatedOfferFromTheStart: an offer from settlement.start on comes to what it would have come to, had it been so: the
// same usage, settled by another site whose catalog has it.
func TestSimulatedOfferFromTheStart(t *testing.T) {
	eachWorld(t, worldShape{records: 300, days: 3}, func(t *testing.T, w *world) {
		s := newSite(t, w, "shards: 3")
		s.settle(w)
		account := w.pick(worldAccounts...)
		offer := map[string][]any{"packages": {}}
		for i := range 1 + w.random.IntN(3) {
			row := fields{
				"id": fmt.Sprintf("offer%d", i), "kind": "pay_per_use", "quota": 1 + w.random.IntN(900), "scale": 6, "shared": w.often(50),
				"reset": w.pick("none", "calendar_month", "hour"), "price_paid": "7", "effective": spell(w.start), "expires": spell(w.end()),
				"covers": []fields{{"meter": w.pick(worldMeters...), "where": fields{"region": w.pick("us", "eu", "mars")}}, {"meter": "gb"}},
			}
			offer["packages"] = append(offer["packages"], row)
		}
		offer["prices"] = []any{fields{"id": "offered", "meter": "calls", "model": "flat", "price": "0.7"}}
		text, err := yaml.Marshal(offer)
		if err != nil {
			t.Fatal(err)
		}
		s.write("offer.yaml", text)
		found := s.simulated(t, w, account, w.start, w.end(), "--with", s.path("offer.yaml"))

		other := *w
		other.catalog = map[string][]any{}
		for kind, rows := range w.catalog {
			for _, row := range rows {
				r := row.(fields)
				gone := kind == "packages" && r["account"] == account || kind == "prices" && r["account"] == account && r["meter"] == "calls"
				if kind == "package_changes" {
					for _, p := range w.catalog["packages"] {
						gone = gone || p.(fields)["id"] == r["package"] && p.(fields)["account"] == account
					}
				}
				if !gone {
					other.add(kind, r)
				}
			}
		}
		for kind, rows := range offer {
			for _, row := range rows {
				r := fields{"account": account}
				for name, value := range row.(fields) {
					r[name] = value
				}
				other.add(kind, r)
			}
		}
		there := newSite(t, &other, "shards: 3")
		there.settleUntil(other.later(), rating.InstantOf(w.end()))
		there.checkSimulatedCharges(t, w, found, found.named(t, "offer.yaml"))
	})
}

// TestSimulatedWithLateUsage: usage of closed periods is settled again where it was booked, and the lines are those that are
// booked, in ranges that begin before, with and behind it.
func TestSimulatedWithLateUsage(t *testing.T) {
	t.Parallel()
	for seed := range uint64(soakTimes(4)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			w := newWorld(800+seed, worldShape{records: 500, days: 5})
			s := newSite(t, w, "shards: 2")
			late := w.objects[int(seed)%len(w.objects)]
			if err := os.Remove(s.path("usage/" + late.name)); err != nil {
				t.Fatal(err)
			}
			closed := rating.InstantOf(w.start.AddDate(0, 0, 2))
			s.settleUntil(w.later(), closed)
			s.closeUntil(w, closed)
			s.put(&late)
			s.settle(w)
			lines := int64(0)
			for n, account := range worldAccounts {
				s.write("own.yaml", w.own(t, account))
				from := w.start.AddDate(0, 0, n%4)
				found := s.simulated(t, w, account, from, w.end(), "--with", s.path("own.yaml"))
				was, is := found.named(t, "as it was"), found.named(t, "own.yaml")
				lines += found.Control.LateLines
				if !found.Control.Agrees {
					t.Errorf("%s from %v: %+v", account, from, found.Control)
				}
				same(t, account+": periods", was.Periods, is.Periods)
				s.checkSimulatedCharges(t, w, found, was)
			}
			if lines == 0 {
				t.Error("no line is late")
			}
		})
	}
}
