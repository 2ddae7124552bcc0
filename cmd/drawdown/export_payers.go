package main

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"slices"

	"drawdown/rating"
	"drawdown/writers/export"
	"drawdown/writers/settlement"
)

// shardFiles gives a table's files by shard.
func shardFiles[F any](p *published, table string, files []F) map[int]F {
	shards := map[int]F{}
	for i := range p.manifest.Files {
		if p.manifest.Files[i].Table == table {
			shards[p.manifest.Files[i].Shard], files = files[0], files[1:]
		}
	}
	return shards
}

// eachPayer gives what a period has of each payer, one after the other: a payer stands in one shard, whose files are sorted
// by payer. Lines are read only where it is asked what they draw, and are added up as they come.
func (j *exportJob) eachPayer(p *published, withDraws bool, visit func(*export.Payer) error) error {
	lines, charges, balances := shardFiles(p, "lines", p.files("lines")), shardFiles(p, "charges", p.files("charges")), shardFiles(p, "balances", p.files("balances"))
	shards := map[int]bool{}
	for _, f := range p.manifest.Files {
		shards[f.Shard] = true
	}
	for _, shard := range slices.Sorted(maps.Keys(shards)) {
		s := shardReader{
			charges:  openStream(charges, shard, settlement.ReadCharges, func(c *settlement.Charge) string { return c.Payer }),
			balances: openStream(balances, shard, settlement.ReadBalances, func(b *settlement.Balance) string { return b.Payer }),
		}
		if withDraws {
			s.lines = openStream(lines, shard, settlement.ReadLines, func(l *settlement.Line) string { return l.Payer })
		}
		err := j.shardPayers(p, &s, visit)
		s.close()
		if err != nil {
			return fmt.Errorf("period %s: %w", p.name, err)
		}
	}
	return nil
}

// stream is a sorted file, read row by row; nil where there is none.
type stream[T any] struct {
	next  func() (T, error, bool)
	stop  func()
	payer func(*T) string
	row   T
	err   error
	more  bool
}

func openStream[F, T any](files map[int]F, shard int, read func(F) iter.Seq2[T, error], payer func(*T) string) *stream[T] {
	file, found := files[shard]
	if !found {
		return nil
	}
	s := &stream[T]{payer: payer}
	s.next, s.stop = iter.Pull2(read(file))
	s.advance()
	return s
}

func (s *stream[T]) advance() {
	s.row, s.err, s.more = s.next()
	s.more = s.more && s.err == nil
}

// first is the payer of the next row; false where there is none.
func (s *stream[T]) first() (string, bool) {
	if s == nil || !s.more {
		return "", false
	}
	return s.payer(&s.row), true
}

// take gives the rows of a payer.
func (s *stream[T]) take(payer string, visit func(*T) error) error {
	for {
		id, more := s.first()
		if !more || id != payer {
			break
		}
		if err := visit(&s.row); err != nil {
			return err
		}
		s.advance()
	}
	return s.failed()
}

func (s *stream[T]) failed() error {
	if s == nil {
		return nil
	}
	return s.err
}

func (s *stream[T]) close() {
	if s != nil {
		s.stop()
	}
}

// shardReader reads the files of a shard side by side.
type shardReader struct {
	lines    *stream[settlement.Line]
	charges  *stream[settlement.Charge]
	balances *stream[settlement.Balance]
}

func (s *shardReader) close() {
	s.lines.close()
	s.charges.close()
	s.balances.close()
}

// payer is the first one that any of the files has next.
func (s *shardReader) payer() (payer string, more bool) {
	for _, first := range []func() (string, bool){s.lines.first, s.charges.first, s.balances.first} {
		if id, found := first(); found && (!more || id < payer) {
			payer, more = id, true
		}
	}
	return payer, more
}

// drawKey is what lines are added up by.
type drawKey struct {
	pkg, account, meter, month string
	late                       bool
}

func (j *exportJob) shardPayers(p *published, s *shardReader, visit func(*export.Payer) error) error {
	location := j.config.Settlement.TimeZone.Location
	for {
		id, more := s.payer()
		if !more {
			return cmp.Or(s.lines.failed(), s.charges.failed(), s.balances.failed())
		}
		payer := &export.Payer{ID: id, Period: p.period(), Month: p.start().Time().In(location).Format("2006-01")}
		draws := map[drawKey]*export.Draw{}
		err1 := s.lines.take(id, func(l *settlement.Line) error { return cmp.Or(j.addDraw(draws, l), j.count("lines of "+p.name)) })
		err2 := s.charges.take(id, func(c *settlement.Charge) error {
			payer.Charges = append(payer.Charges, export.Charge(*c))
			return j.count("charges of " + p.name)
		})
		err3 := s.balances.take(id, func(b *settlement.Balance) error {
			payer.Balances = append(payer.Balances, export.Balance(*b))
			return j.count("balances of " + p.name)
		})
		if err := cmp.Or(err1, err2, err3); err != nil {
			return err
		}
		for _, d := range draws {
			payer.Draws = append(payer.Draws, *d)
		}
		if err := visit(payer); err != nil {
			return fmt.Errorf("payer %q: %w", id, err)
		}
	}
}

// addDraw adds up what lines take from packages.
func (j *exportJob) addDraw(draws map[drawKey]*export.Draw, l *settlement.Line) error {
	if l.Package == nil {
		return nil
	}
	key := drawKey{*l.Package, l.Account, l.Meter, "", l.Late}
	if l.Late {
		key.month = l.EventTime.Time().In(j.config.Settlement.TimeZone.Location).Format("2006-01")
	}
	d := draws[key]
	if d == nil {
		d = &export.Draw{Package: key.pkg, Account: key.account, Meter: key.meter, Month: key.month, Late: key.late}
		draws[key] = d
	}
	var ok1, ok2 bool
	d.Quantity, ok1 = d.Quantity.Add(l.Quantity)
	d.Consumed, ok2 = d.Consumed.Add(*l.Consumed)
	if !ok1 || !ok2 {
		return fmt.Errorf("record %q: %w", l.RecordID, rating.ErrOverflow)
	}
	return nil
}
