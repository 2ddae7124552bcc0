package main

import (
	"cmp"
	"fmt"
	"slices"

	"drawdown/rating"
	"drawdown/writers/page"
	"drawdown/writers/settlement"
)

// lateKey is what late usage is added up by.
type lateKey struct{ account, meter, month, currency string }

// lineSums is what the lines of a range add up to.
type lineSums struct {
	meters  map[string]*meterSum
	late    map[lateKey]*unitSums
	charges moneys
	shared  map[[2]string]rating.Amount // of an account's page: by account and package, of packages of others
}

// addLine adds a line to the sums.
func (j *reportJob) addLine(s *lineSums, l *settlement.Line) {
	m := s.meters[l.Meter]
	if m == nil {
		m = &meterSum{days: make([]unitSums, len(j.days.starts))}
		s.meters[l.Meter] = m
	}
	m.lines++
	day := &m.late
	if !l.Late {
		day = &m.days[j.days.at(l.EventTime)]
	}
	j.addUnits(&m.unitSums, l)
	j.addUnits(day, l)
	if l.Kind == "excess" {
		j.addMoney(&s.charges, l.Currency, l.Amount)
	}
	if l.Late && j.only == nil {
		key := lateKey{l.Account, l.Meter, l.EventTime.Time().In(j.config.Settlement.TimeZone.Location).Format("2006-01"), l.Currency}
		late := s.late[key]
		if late == nil {
			late = &unitSums{}
			s.late[key] = late
		}
		j.addUnits(late, l)
	}
	if l.Package != nil && j.only != nil && j.found[*l.Package] == nil {
		sum := s.shared[[2]string{l.Account, *l.Package}]
		j.add(&sum, *l.Consumed)
		s.shared[[2]string{l.Account, *l.Package}] = sum
	}
}

func (j *reportJob) addUnits(u *unitSums, l *settlement.Line) {
	j.add(&u.settled, l.Quantity)
	switch l.Kind {
	case "deduction":
		j.add(&u.deducted, l.Quantity)
	case "excess":
		j.add(&u.excess, l.Quantity)
		j.addMoney(&u.charges, l.Currency, l.Amount)
	default:
		j.add(&u.stopped, l.Quantity)
	}
}

// lines adds up the lines of the periods, and follows the packages whose burn-down is shown.
func (j *reportJob) lines() (*lineSums, error) {
	s := &lineSums{meters: map[string]*meterSum{}, late: map[lateKey]*unitSums{}, charges: moneys{}, shared: map[[2]string]rating.Amount{}}
	for i, p := range j.periods {
		if err := j.burnBalances(p, i); err != nil {
			return nil, err
		}
		for _, file := range p.shardsOf("lines", j.shards) {
			for l, err := range settlement.ReadLines(file) {
				if err != nil {
					return nil, err
				}
				if err := j.count("lines of " + p.name); err != nil {
					return nil, err
				}
				if l.Package != nil {
					j.burnLine(&l)
				}
				if i >= j.first && j.tells(l.Payer, l.Account) {
					j.addLine(s, &l)
				}
			}
		}
		for _, b := range j.burns {
			b.endPeriod(&j.days)
		}
	}
	if j.fault != nil {
		return nil, fmt.Errorf("add up lines: %w", j.fault)
	}
	return s, nil
}

// shardsOf gives a table's files of some shards; of nil, of all.
func (p *published) shardsOf(table string, shards map[int]bool) []settlement.Source {
	var files []settlement.Source
	for _, f := range p.manifest.Files {
		if f.Table == table && (shards == nil || shards[f.Shard]) {
			files = append(files, p.file(f.Name))
		}
	}
	return files
}

// mostMeters is how many meters a page tells of by day.
const mostMeters = 12

// pageMeters gives the meters in the order of their ids, the busiest of them with their days.
func (j *reportJob) pageMeters(s *lineSums) (list []page.Meter, more int) {
	list = []page.Meter{}
	ids := keysOf(s.meters)
	busiest := slices.Clone(ids)
	slices.SortStableFunc(busiest, func(a, b string) int { return cmp.Compare(s.meters[b].lines, s.meters[a].lines) })
	busiest = busiest[:min(len(busiest), mostMeters)]
	for _, id := range ids {
		sum := s.meters[id]
		m := page.Meter{Meter: id, Unit: j.meterUnit(id), Units: sum.units(), Charges: sum.charges.list(), Days: []page.Day{}}
		if !slices.Contains(busiest, id) {
			list, more = append(list, m), more+1
			continue
		}
		for i := range sum.days {
			m.Days = append(m.Days, page.Day{Day: j.days.names[i], Units: sum.days[i].units(), Charges: sum.days[i].charges.list()})
		}
		if sum.late.settled.Sign() != 0 {
			m.Days = append(m.Days, page.Day{Day: page.LateDay, Units: sum.late.units(), Charges: sum.late.charges.list()})
		}
		list = append(list, m)
	}
	return list, more
}

func (j *reportJob) meterUnit(id string) string {
	if i, known := j.catalog.MeterIndex([]byte(id)); known {
		return j.catalog.Meters[i].Unit
	}
	return ""
}
