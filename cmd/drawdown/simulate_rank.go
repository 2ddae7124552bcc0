package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"drawdown/rating"
)

// ranked is a case in its place.
type ranked struct {
	number int // of the case
	rank   int // 0: it has none, since it comes to several currencies
	sums   map[string]costSum
	short  []string // what it does not serve, in words
}

// ranking puts the cases in order: those that serve what was served first, then the cheapest first. Currencies are never
// added up or compared: a case has a place among those of its one currency, and one of several has none.
func (s *simulated) ranking() map[string][]ranked {
	groups := map[string][]ranked{}
	for n := range s.Cases {
		r := ranked{number: n, sums: sumCosts(s.costs(n)), short: s.unserved(n)}
		currency := ""
		switch currencies := keysOf(r.sums); len(currencies) {
		case 0:
			currency = s.job.config.Currency.Code
			r.sums[currency] = costSum{}
		case 1:
			currency = currencies[0]
		}
		groups[currency] = append(groups[currency], r)
	}
	for currency, group := range groups {
		if currency == "" {
			continue
		}
		slices.SortStableFunc(group, func(a, b ranked) int {
			return cmp.Or(cmp.Compare(s.fallsShort(a.number), s.fallsShort(b.number)),
				a.sums[currency].total.Cmp(b.sums[currency].total), cmp.Compare(a.number, b.number))
		})
		for i := range group {
			group[i].rank = i + 1
		}
	}
	return groups
}

// fallsShort is 1 for a case that leaves usage unserved which was served.
func (s *simulated) fallsShort(n int) int {
	if s.Cases[n].Unpriced > s.Cases[0].Unpriced {
		return 1
	}
	for meter, m := range s.Cases[n].Meters {
		if m.Stopped.Cmp(s.Cases[0].Meters[meter].Stopped) > 0 {
			return 1
		}
	}
	return 0
}

// unserved says in words what a case does not serve.
func (s *simulated) unserved(n int) []string {
	var list []string
	for _, meter := range keysOf(s.Cases[n].Meters) {
		if m := s.Cases[n].Meters[meter]; m.Stopped.Sign() > 0 {
			list = append(list, fmt.Sprintf("%s of %s stopped", amount(m.Stopped)+orUnit(m.Unit), meter))
		}
	}
	if u := s.Cases[n].Unpriced; u > 0 {
		list = append(list, counted(u, "record has", "records have")+" excess and no price, and nothing of it counts")
	}
	return list
}

func orUnit(unit string) string {
	if unit == "" {
		return ""
	}
	return " " + unit
}

// partly says of which packages only a part of the price counts.
func (s *simulated) partly(n int) string {
	var list []string
	for _, p := range s.Cases[n].Bought {
		if p.Counted != p.Price {
			list = append(list, fmt.Sprintf("%s of the %s %s that %s costs", s.money(p.Counted, p.Currency), s.money(p.Price, p.Currency), p.Currency, p.ID))
		}
	}
	if more := len(list) - 3; more > 0 {
		list = append(list[:3], fmt.Sprintf("%d more like these", more))
	}
	if len(list) == 0 {
		return ""
	}
	return "counted are " + strings.Join(list, ", ")
}

func (s *simulated) money(a rating.Amount, currency string) string {
	digits := rating.CurrencyDigits(currency)
	if currency == s.job.config.Currency.Code {
		digits = s.job.config.Currency.Digits
	}
	return money(a, digits)
}

// best is the offer whose days are shown: the best of all that are ranked; of none, the first.
func (s *simulated) best() int {
	best := ranked{}
	for _, currency := range keysOf(s.ranking()) {
		for _, r := range s.ranking()[currency] {
			if r.number > 0 && r.rank > 0 && (best.rank == 0 || r.rank < best.rank) {
				best = r
			}
		}
	}
	return max(1, best.number)
}
