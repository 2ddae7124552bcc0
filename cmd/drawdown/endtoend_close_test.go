package main

import (
	"fmt"
	"math/big"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"drawdown/rating"
)

func (s *site) closeUntil(w *world, until rating.Instant) {
	s.t.Helper()
	if _, err := s.app(w.later()).closePeriods(s.config(), closePlan{until: until, reason: "booked"}); err != nil {
		s.t.Fatal(err)
	}
}

// filesBefore gives the hashes of all files and manifests of the periods that start before an instant, as they are current.
func (s *site) filesBefore(until rating.Instant) map[string]string {
	s.t.Helper()
	list := map[string]string{}
	for name, c := range s.publishedPeriods() {
		p := s.openPublished(name, c)
		if start, _ := rating.ParseInstant([]byte(p.manifest.Period.Start)); start >= until {
			continue
		}
		list[name] = c.Manifest + " " + c.SHA256.String()
		for _, f := range p.manifest.Files {
			data, err := p.output.ReadFile(p.dir + "/" + f.Name)
			if err != nil {
				s.t.Fatal(err)
			}
			list[name+" "+f.Name] = sum(data).String()
		}
	}
	return list
}

// unitsByRecord adds up what was settled of each record, whatever it was settled as.
func (s *site) unitsByRecord() map[string]string {
	s.t.Helper()
	sums := map[string]*big.Rat{}
	for _, l := range s.rows("lines") {
		key := l["account"] + " " + l["record_id"] + " " + l["meter"] + " " + l["event_time"]
		if sums[key] == nil {
			sums[key] = new(big.Rat)
		}
		sums[key].Add(sums[key], number(l["quantity"]))
	}
	texts := map[string]string{}
	for key, n := range sums {
		texts[key] = n.FloatString(9)
	}
	return texts
}

// putAside are the records in quarantine that would have settled in time.
func (s *site) putAside() map[string]int {
	s.t.Helper()
	ids := map[string]int{}
	for _, q := range s.rows("quarantine") {
		ids[q["record_id"]]++
	}
	return ids
}

// wantConserved: each unit that a site settles in time is settled by the other one as well, once, if some of it late, or the
// record stands in quarantine.
func wantConserved(t *testing.T, want, s *site) (late int) {
	t.Helper()
	settled, aside, asideInTime := s.unitsByRecord(), s.putAside(), want.putAside()
	for key, units := range want.unitsByRecord() {
		id := strings.Fields(key)[1]
		if settled[key] != units && aside[id] == asideInTime[id] {
			t.Errorf("%s: %s in time, %q with late lines, and no more of it in quarantine", key, units, settled[key])
		}
		delete(settled, key)
	}
	for key, units := range settled {
		if id := strings.Fields(key)[1]; asideInTime[id] == 0 && aside[id] == 0 {
			t.Errorf("%s: %s with late lines, and none in time", key, units)
		}
	}
	for _, l := range s.rows("lines") {
		if l["late"] == "true" {
			late++
		}
	}
	return late
}

// TestLateUsageOfClosedPeriods (R5.5): usage that comes when its period is closed is settled in the first open one, by settle
// or by a backfill of that. Nothing closed changes, nothing is lost, nothing is settled twice, and all of it is sound.
func TestLateUsageOfClosedPeriods(t *testing.T) {
	t.Parallel()
	for seed := range uint64(soakTimes(6)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			w := newWorld(700+seed, worldShape{records: 700, days: 5, homeless: seed%2 == 0})
			random := rand.New(rand.NewPCG(seed, 11))
			want, s := newSite(t, w), newSite(t, w)
			want.settle(w)
			var late []int
			for i := range w.objects {
				if i == int(seed)%len(w.objects) || random.IntN(3) == 0 {
					late = append(late, i)
					if err := os.Remove(s.path("usage/" + w.objects[i].name)); err != nil {
						t.Fatal(err)
					}
				}
			}
			day := func(n int) rating.Instant { return rating.InstantOf(w.start.AddDate(0, 0, n)) }
			settled := 2 + random.IntN(3)
			closed := settled - random.IntN(2)
			s.settleUntil(w.later(), day(settled))
			s.closeUntil(w, day(closed))
			booked := s.filesBefore(day(closed))
			for n, i := range late {
				s.write("usage/"+w.objects[i].name, w.objects[i].content(t))
				if n == 0 && settled > closed { // a run that cannot settle it takes notice of it, and it is not forgotten
					s.settleUntil(w.later(), day(settled+1))
				}
			}
			if settled > closed {
				s.backfilled(w, day(closed), day(closed+1), false)
			}
			dry, err := s.trySettle(w.later(), w.until(), true)
			if err != nil {
				t.Fatal(err)
			}
			real := s.settle(w)
			same(t, "rows of a dry run", dry.Rows, real.Rows)
			same(t, "late usage of a dry run", dry.Periods[0].Late, real.Periods[0].Late)
			if settled > closed {
				s.backfilled(w, day(closed), w.until(), false)
			}
			same(t, "closed periods", booked, s.filesBefore(day(closed)))
			if n := wantConserved(t, want, s); n == 0 {
				t.Error("no line is late")
			}
			checkBooks(t, s)
			wantSound(t, s.verify(w, true))
			if r := s.settle(w); r.Nothing == "" || r.Late != 0 {
				t.Errorf("once more: %+v", r)
			}
			if r, _ := s.backfilled(w, day(closed), day(closed+1), false); r.Nothing == "" || r.Late != 0 {
				t.Errorf("a backfill once more: %d periods, %d late", len(r.Periods), r.Late)
			}
			if _, _, err := s.app(w.later()).backfill(s.config(), backfillPlan{from: day(closed - 1), to: day(closed)}); err == nil ||
				!strings.Contains(err.Error(), "R5.5") {
				t.Errorf("a backfill of a closed period: %v", err)
			}
		})
	}
}
