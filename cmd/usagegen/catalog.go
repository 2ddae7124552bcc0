package main

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// pack is a package, in the two forms in which it is written.
type pack struct {
	ID        string `parquet:"package_id"`
	Account   string `parquet:"account,dict"`
	Meter     string `parquet:"meter,dict"`
	Quota     int64  `parquet:"quota,decimal(6:18)"`
	Effective int64  `parquet:"effective_time,timestamp(microsecond)"`
	Expires   int64  `parquet:"expiry_time,timestamp(microsecond)"`
}

func (w *world) writeCatalog(s *summary) error {
	for name, text := range map[string]string{
		"drawdown.yaml":        w.configText(),
		"catalog/catalog.yaml": w.catalogText(),
		"catalog/accounts.csv": w.accountsText(),
		"prices.csv":           w.pricesText(),
	} {
		if err := os.WriteFile(filepath.Join(w.Out, name), []byte(text), 0o666); err != nil {
			return err
		}
	}
	return w.writePackages(s)
}

func (w *world) configText() string {
	var b strings.Builder
	b.WriteString("site: usagegen\nstate: drawdown.db\n")
	if w.Format == "parquet" {
		b.WriteString("usage: {url: ./usage, fields: {id: record_id, time: event_time}}\n")
	} else {
		b.WriteString("usage: {url: ./usage}\n")
	}
	b.WriteString("output: {url: ./settlements}\n")
	shards := 16
	if w.Accounts >= 100_000 {
		shards = 64
	}
	fmt.Fprintf(&b, "settlement: {period: month, shards: %d, time_zone: UTC, start: 2026-10-01, delay: 0s, max_quarantine: 0%%}\n", shards)
	b.WriteString("deduction_order: [cycle_end, effective]\ncurrency: {code: USD, digits: 2}\n")
	if !w.Notices {
		b.WriteString("reminder_days: []\n")
	}
	return b.String()
}

func (w *world) catalogText() string {
	var b strings.Builder
	b.WriteString("meters:\n")
	for _, m := range w.meters {
		fmt.Fprintf(&b, "  - {id: %s, unit: %s, scale: 6}\n", m.id, m.unit)
	}
	b.WriteString("prices:\n")
	for _, m := range w.meters {
		fmt.Fprintf(&b, "  - {id: %s-list, meter: %s, model: flat, price: \"%s\"}\n", m.id, m.id, m.price())
	}
	if !w.Notices {
		b.WriteString("alert_rules: # no quota is as large, so that nothing ever falls through the threshold\n")
		b.WriteString("  - {id: quiet, type: absolute, thresholds: [1000000000]}\n")
	}
	return b.String()
}

func (m meter) price() string {
	return fmt.Sprintf("%d.%02d", m.quarters/4, m.quarters%4*25)
}

func (w *world) pricesText() string {
	var b strings.Builder
	b.WriteString("meter,price\n")
	for _, m := range w.meters {
		fmt.Fprintf(&b, "%s,%s\n", m.id, m.price())
	}
	return b.String()
}

func (w *world) accountsText() string {
	var b strings.Builder
	b.WriteString("id\n")
	for _, rank := range w.byName() {
		b.WriteString(w.accounts[rank])
		b.WriteByte('\n')
	}
	return b.String()
}

// byName gives the ranks in the order of the accounts' names.
func (w *world) byName() []int {
	ranks := make([]int, len(w.accounts))
	for i := range ranks {
		ranks[i] = i
	}
	slices.SortFunc(ranks, func(a, b int) int { return strings.Compare(w.accounts[a], w.accounts[b]) })
	return ranks
}

func (w *world) writePackages(s *summary) (err error) {
	text, err := os.Create(filepath.Join(w.Out, "catalog", "packages.csv"))
	if err != nil {
		return err
	}
	defer text.Close()
	file, err := os.Create(filepath.Join(w.Out, "packages.parquet"))
	if err != nil {
		return err
	}
	defer file.Close()
	csv := bufio.NewWriterSize(text, 1<<16)
	rows := newParquetWriter[pack](file)
	csv.WriteString("id,account,kind,quota,effective,expires,grace_days,retention_days,covers\n")
	batch := make([]pack, 0, batchRows)
	flush := func() error {
		for i := range batch {
			w.writePackageLine(csv, &batch[i])
		}
		_, err := rows.Write(batch)
		batch = batch[:0]
		return err
	}
	rng := rand.New(w.source("packages", 0))
	for _, rank := range w.byName() {
		for _, m := range w.meters {
			packs := w.packagesOf(rng, rank, m, s.Packages)
			if len(packs) > 0 {
				s.PackagedPairs++
			}
			s.Packages += len(packs)
			for _, p := range packs {
				if batch = append(batch, p); len(batch) == batchRows {
					if err := flush(); err != nil {
						return err
					}
				}
			}
		}
	}
	if err := flush(); err != nil {
		return err
	}
	if err := rows.Close(); err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	if err := csv.Flush(); err != nil {
		return err
	}
	return text.Close()
}

func (w *world) writePackageLine(csv *bufio.Writer, p *pack) {
	var line [256]byte
	b := append(line[:0], p.ID...)
	b = append(b, ',')
	b = append(b, p.Account...)
	b = append(b, ",pay_per_use,"...)
	b = appendMicros(b, p.Quota)
	b = append(b, ',')
	b = time.UnixMicro(p.Effective).UTC().AppendFormat(b, time.RFC3339)
	b = append(b, ',')
	b = time.UnixMicro(p.Expires).UTC().AppendFormat(b, time.RFC3339)
	if w.Notices {
		b = append(b, ",15,15,"...)
	} else {
		b = append(b, ",0,0,"...)
	}
	b = append(b, p.Meter...)
	csv.Write(append(b, '\n'))
}

// Who uses much has packages for almost everything; --packaged-percent is the share of the other pairs.
const (
	heavyPart     = 20 // one account of so many is a heavy user
	heavyPackaged = 95
)

// packagesOf makes the packages of an account and a meter; before is how many there are already.
func (w *world) packagesOf(rng *rand.Rand, rank int, m meter, before int) []pack {
	n := w.OnePair
	if n == 0 {
		packaged := w.PackagedPercent
		if rank < (w.Accounts+heavyPart-1)/heavyPart {
			packaged = heavyPackaged
		}
		if rng.IntN(100) >= packaged {
			return nil
		}
		n = 1 + rng.IntN(2*w.PackagesPerPair-1)
	}
	total := w.quotaOf(rng, rank, m)
	packs := make([]pack, n)
	for i := range packs {
		effective, expires := w.validity(rng, i)
		quota := (total/uint64(n)/quantum + 1) * quantum
		packs[i] = pack{
			ID: fmt.Sprintf("pkg-%08d", before+i), Account: w.accounts[rank], Meter: m.id,
			Quota: int64(quota), Effective: effective.UnixMicro(), Expires: expires.UnixMicro(),
		}
	}
	return packs
}

// quotaOf is the quota of all packages of an account and a meter together: what is expected to be used, give or take.
// It makes about 28 % of all usage excess.
func (w *world) quotaOf(rng *rand.Rand, rank int, m meter) uint64 {
	expected := w.expected(rank, m)
	if w.OnePair > 0 {
		return mulDiv(expected, 72, 100)
	}
	return mulDiv(max(expected, 2*meanQuantity), uint64(60+rng.IntN(140)), 100)
}

// validity draws a package's time: over the whole month, from or until some time in it, or some days of it.
func (w *world) validity(rng *rand.Rand, number int) (effective, expires time.Time) {
	kind := rng.IntN(100)
	if w.OnePair > 0 { // half of them over the whole month, so that 1 and 10,000 packages cover alike
		kind = number % 2 * 99
	}
	before := monthStart.Add(-time.Duration(1+rng.IntN(60*24)) * time.Hour)
	after := monthEnd.Add(time.Duration(1+rng.IntN(60*24)) * time.Hour)
	seconds := w.Days * 24 * 3600
	from := monthStart.Add(time.Duration(1+rng.IntN(seconds/2)) * time.Second)
	until := monthStart.Add(time.Duration(seconds/2+1+rng.IntN(seconds/2)) * time.Second)
	switch {
	case kind < 40:
		return before, after
	case kind < 65:
		return from, after
	case kind < 90:
		return before, until
	}
	return from, until
}
