package main

import (
	"fmt"
	"slices"
	"strings"

	"drawdown/rating"
	"drawdown/writers/settlement"
	"drawdown/writers/store"
)

func (p *published) start() rating.Instant {
	at, _ := rating.ParseInstant([]byte(p.manifest.Period.Start)) // the manifest was checked when it was read
	return at
}

func (p *published) period() rating.Period { return rating.Period{Start: p.start(), End: p.end()} }

// chosenPeriods are the settled periods of a range, which an export or a report is made of.
type chosenPeriods struct {
	app     *app
	op      string // export or report
	config  *Config
	output  *settlement.Output
	from    rating.Instant
	to      rating.Instant
	before  []*published // from the first settled period up to from, where the history counts
	periods []*published
	closed  map[string]bool // by name
	show    *progress
	rows    int64 // read so far
	total   int64 // that are to be read; 0: nobody knows
}

// counts says of which tables of periods all rows are going to be counted.
func (j *chosenPeriods) counts(periods []*published, shards map[int]bool, tables ...string) {
	for _, p := range periods {
		for _, f := range p.manifest.Files {
			if slices.Contains(tables, f.Table) && (shards == nil || shards[f.Shard]) {
				j.total += f.Rows
			}
		}
	}
}

// count shows how far one has come, and ends it where nobody wants it any more.
func (j *chosenPeriods) count(stage string) error {
	if j.rows++; j.rows%8192 != 0 {
		return nil
	}
	j.show.report(stage, j.rows, j.total)
	return j.app.ctx.Err()
}

// choose finds the periods of the range: their current revisions, or those that were asked for.
func (j *chosenPeriods) choose(revisions []string, history bool) error {
	c, unit := j.config, rating.PeriodUnit(j.config.Settlement.Period)
	location := c.Settlement.TimeZone.Location
	asked, err := parseRevisions(revisions)
	if err != nil {
		return err
	}
	j.closed = map[string]bool{}
	current, err := j.output.ReadCurrent()
	if err == nil && len(current) > 0 {
		err = j.states(current, asked)
	}
	if err != nil {
		return &failure{op: j.op, err: err}
	}
	if len(asked) > 0 {
		return &failure{op: j.op, err: fmt.Errorf("there is no revision %s", firstOf(asked)), code: exitUsage, hint: "`drawdown periods` lists the periods and their revisions"}
	}
	if rating.PeriodAt(unit, location, j.from).Start != j.from || rating.PeriodAt(unit, location, j.to).Start != j.to || j.from >= j.to || j.from < c.Start {
		return &failure{
			op: j.op, err: fmt.Errorf("from %s to %s are no whole periods since settlement.start", moment(j.from, location), moment(j.to, location)),
			code: exitUsage, hint: fmt.Sprintf("a period is %s, and the first one begins at %s; --to is where the last one ends", periodNoun(unit), moment(c.Start, location)),
		}
	}
	return j.openPeriods(current, unit, history)
}

func firstOf(revisions map[string]int) string {
	name := keysOf(revisions)[0]
	return fmt.Sprintf("%d of period %s", revisions[name], name)
}

func periodNoun(unit rating.PeriodUnit) string {
	return [...]string{rating.Hourly: "an hour", rating.Daily: "a day", rating.Monthly: "a month"}[unit]
}

// states notes which periods are closed, and puts revisions that were asked for in the place of the current ones.
func (j *chosenPeriods) states(current map[string]settlement.Current, asked map[string]int) error {
	return j.app.reading(j.config, func(st *store.Store) error {
		periods, err := st.Periods(j.app.ctx)
		if err != nil {
			return err
		}
		for i := range periods {
			p := &periods[i]
			j.closed[p.PeriodName] = p.State == store.PeriodClosed
			number, wanted := asked[p.PeriodName]
			if !wanted {
				continue
			}
			revisions, err := st.Revisions(j.app.ctx, p.PeriodStart)
			if err != nil {
				return err
			}
			for _, r := range revisions {
				if r.Revision == number {
					current[p.PeriodName] = settlement.Current{Revision: number, Manifest: r.ManifestKey, SHA256: settlement.Hash(r.ManifestSHA256[:])}
					delete(asked, p.PeriodName)
				}
			}
		}
		return nil
	})
}

// openPeriods opens the manifests from the first settled period up to the end. All that are not settled are named.
func (j *chosenPeriods) openPeriods(current map[string]settlement.Current, unit rating.PeriodUnit, history bool) error {
	location := j.config.Settlement.TimeZone.Location
	var missing []string
	for at := j.config.Start; at < j.to; {
		period := rating.PeriodAt(unit, location, at)
		name := period.Name(unit, location)
		at = period.End
		if period.Start < j.from && !history {
			continue
		}
		c, settled := current[name]
		if !settled {
			missing = append(missing, name)
			continue
		}
		p, err := openPublished(j.output, name, c)
		if err != nil {
			return &failure{op: j.op, err: err}
		}
		if period.Start < j.from {
			j.before = append(j.before, p)
		} else {
			j.periods = append(j.periods, p)
		}
	}
	if n := len(missing); n > 0 {
		list := strings.Join(missing[:min(n, 10)], ", ")
		if n > 10 {
			list += fmt.Sprintf(" and %d more up to %s", n-10, missing[n-1])
		}
		return &failure{
			op: j.op, err: fmt.Errorf("%s not settled: %s", counted(int64(n), "period is", "periods are"), list),
			hint: "`drawdown settle` settles what is due; `drawdown periods` says when; or take an earlier --to",
		}
	}
	return nil
}
