package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"drawdown/rating"
)

// Explanation is all that is known of one record id.
type Explanation struct {
	RecordID string
	Rows     []ExplainedRow
}

// ExplainedRow is one row of the usage that bears the id, and what became of it.
type ExplainedRow struct {
	Object   string
	Row      int64
	Account  string
	Meter    string
	Readable bool // then there are:
	Time     rating.Instant
	Quantity rating.Amount // DECIMAL(38,9)
	Period   string        // name; empty where the row belongs to no settled period
	Revision int           // of the period, that is spoken of
	Fate     string        // settled, duplicate, superseded, quarantined, out_of_period, not settled
	Reason   string        // of quarantine, or in words
	Note     string        // what else there is to say; may be empty
	Raw      []byte        // of a row that cannot be read
	Settled  *SettledRecord
	Catalog  *rating.Catalog // that the numbers refer to: the one that the period was settled with, where it was kept
}

// SettledRecord is a record as it was settled.
type SettledRecord struct {
	Lines   []BookedLine        // as they stand in the settlement
	Met     *rating.Explanation // what it met, found by settling it once more; nil where that fails
	Differs bool                // settled once more, its lines would be others
}

// BookedLine is a row of the table lines, as far as it is about what became of a record. What may be null is zero.
type BookedLine struct {
	LineNo                                              int32
	Kind, Package                                       string
	CycleStart                                          rating.Instant
	Quantity, Consumed, RemainingBefore, RemainingAfter rating.Amount
	PriceID                                             string
	Tier                                                int32
	UnitPrice, Per                                      rating.Amount
	Amount                                              rating.Amount
	Currency                                            string

	Source BookedSource
}

// BookedSource is the row that a line came from, and what it said.
type BookedSource struct {
	Object string
	Row    int64
	Meter  string
	Time   rating.Instant
}

// Past is what explaining needs of what was settled.
type Past interface {
	// BooksAt gives what a revision of the settled period says that holds t, the current one, or the one that was asked
	// for; nil: that time is not settled.
	BooksAt(ctx context.Context, t rating.Instant) (*Books, error)
	// Opening decodes a state that a period opened with.
	Opening(ctx context.Context, c *rating.Catalog, sha256 [32]byte) ([]rating.PayerState, error)
	// As makes a job that reads usage with a catalog as it was used; nil where that was not kept.
	As(ctx context.Context, catalogSHA256 [32]byte) (*Settle, error)
}

// Books is what a revision of a settled period says.
type Books struct {
	Period        rating.Period
	Revision      int
	Inputs        map[string]BookedInput // by key
	CatalogSHA256 [32]byte
	OpeningSHA256 [][32]byte // by shard; empty in the first period
	Tables        BookedTables
	Late          *LateSettled     // usage of closed periods that it has settled; nil: none
	LateIn        []rating.Instant // starts of later periods that have settled some
}

// BookedInput is an object that a settlement was made of; one that could not be read whole has no hash.
type BookedInput struct {
	Size   int64
	SHA256 [32]byte
}

// BookedTables are the tables of a settled period.
type BookedTables interface {
	// Lines gives the lines of a record, which are looked for in a shard's file first.
	Lines(ctx context.Context, shard int, account, id string) ([]BookedLine, error)
	// Quarantined gives why a row was put aside, alone or with its whole object; false where it was not.
	Quarantined(ctx context.Context, object string, row int64, id string) (why BookedReason, found bool, err error)
}

// BookedReason is why a row stands in quarantine.
type BookedReason struct{ Reason, Detail string }

func (r BookedReason) String() string { return r.Reason + ": " + r.Detail }

// Explain finds every row of the usage that bears an id, and says what became of it, as the settlement has it. Why it came
// to that is found by settling the payer's period once more, by the same code, from the same opening state and the same
// objects, while watching the record; where that gives something else today, it says so.
func (s *Settle) Explain(ctx context.Context, past Past, id string) (*Explanation, error) {
	x := &explaining{
		Settle: s, past: past, id: id, found: map[string]foundObject{},
		others: map[[32]byte]*explaining{},
	}
	var err error
	if x.known, err = s.State.Objects(ctx); err != nil {
		return nil, fmt.Errorf("load remembered usage objects: %w", err)
	}
	if err := x.search(ctx, nil); err != nil {
		return nil, err
	}
	e := &Explanation{RecordID: id}
	for i := range x.rows {
		then, at, err := x.then(ctx, &x.rows[i])
		if err != nil {
			return nil, err
		}
		row, err := then.explain(ctx, at)
		if err != nil {
			return nil, err
		}
		e.Rows = append(e.Rows, *row)
	}
	return e, nil
}

// explaining is the work on one id.
type explaining struct {
	*Settle
	past   Past
	id     string
	known  map[string]Known
	found  map[string]foundObject // what the bucket holds now, by key
	rows   []foundRow
	opened []*openBooks
	others map[[32]byte]*explaining // the same work with other catalogs, by their hashes; nil for those not kept
}

// then gives the same work with the catalog that a row's period was settled with, and the row as it was read with that.
func (x *explaining) then(ctx context.Context, row *foundRow) (*explaining, *foundRow, error) {
	b, _, err := x.booksOf(ctx, row)
	if err != nil || b == nil || b.CatalogSHA256 == x.CatalogSHA256 {
		return x, row, err
	}
	then, seen := x.others[b.CatalogSHA256]
	if !seen {
		if then, err = x.with(ctx, b.CatalogSHA256); err != nil {
			return nil, nil, fmt.Errorf("explain with the catalog of period %s: %w", b.name, err)
		}
		x.others[b.CatalogSHA256] = then
	}
	if then != nil {
		for i := range then.rows {
			if at := &then.rows[i]; at.object == row.object && at.row == row.row {
				return then, at, nil
			}
		}
	}
	return x, row, nil
}

// with looks at the rows that were found with another catalog.
func (x *explaining) with(ctx context.Context, catalogSHA256 [32]byte) (*explaining, error) {
	job, err := x.past.As(ctx, catalogSHA256)
	if job == nil || err != nil {
		return nil, err
	}
	then := *x
	then.Settle, then.rows, then.found, then.opened = job, nil, map[string]foundObject{}, nil
	if err := then.search(ctx, x.rows); err != nil {
		return nil, err
	}
	then.found = x.found
	return &then, nil
}

// foundObject is an object as it is now; one that cannot be read whole has no hash.
type foundObject struct {
	Object
	sha256 [32]byte
}

// openBooks is a settled period in which rows are looked up.
type openBooks struct {
	*Books
	name    string
	gone    []string          // inputs that have changed since, or are there no more
	replays map[int32]*replay // by account
}

// booksAt opens the settled period that holds t; nil where there is none.
func (x *explaining) booksAt(ctx context.Context, t rating.Instant) (*openBooks, error) {
	for _, b := range x.opened {
		if b.Period.Start <= t && t < b.Period.End {
			return b, nil
		}
	}
	books, err := x.past.BooksAt(ctx, t)
	if err != nil {
		return nil, fmt.Errorf("open the settlement of %v: %w", t, err)
	}
	if books == nil {
		return nil, nil
	}
	b := &openBooks{Books: books, name: books.Period.Name(x.Unit, x.Catalog.Zone), replays: map[int32]*replay{}}
	for key := range b.Inputs {
		if x.standing(b, key) != same {
			b.gone = append(b.gone, key)
		}
	}
	x.opened = append(x.opened, b)
	return b, nil
}

// standing is how an object relates to what a settlement was made of.
type standing int

const (
	absent  standing = iota // it is not among the settlement's objects
	changed                 // it is, with another content
	same
)

func (x *explaining) standing(b *openBooks, key string) standing {
	input, ok := b.Inputs[key]
	now, there := x.found[key]
	switch {
	case !ok:
		return absent
	case !there || now.sha256 != input.SHA256 || now.Size != input.Size:
		return changed
	}
	return same
}

// explain says what became of one row.
func (x *explaining) explain(ctx context.Context, row *foundRow) (*ExplainedRow, error) {
	e := &ExplainedRow{Object: row.object, Row: row.row, Catalog: x.Catalog}
	if r := row.rejected; r != nil {
		e.Account, e.Meter, e.Raw = r.Account, r.Meter, r.Raw
	} else {
		meter := &x.Catalog.Meters[row.meter]
		e.Account, e.Meter = x.Catalog.Accounts[row.account].ID, meter.ID
		e.Readable, e.Time, e.Quantity = true, row.time, rating.DecimalOf(row.quantity, meter.Scale)
	}
	b, home, err := x.booksOf(ctx, row)
	if err != nil {
		return nil, err
	}
	if b == nil {
		return e, x.explainPending(ctx, e, row, home)
	}
	e.Period, e.Revision = b.name, b.Revision
	if late, err := x.lateBooks(ctx, row, b); err != nil || late != nil {
		if err == nil {
			err = x.explainLate(ctx, e, row, b, late)
		}
		return e, err
	}
	switch x.standing(b, row.object) {
	case absent:
		err = x.explainAbsent(ctx, e, row, b, home)
	case changed:
		err = x.explainChanged(ctx, e, row, b)
	case same:
		err = x.explainSame(ctx, e, row, b)
	}
	if err != nil {
		return nil, fmt.Errorf("explain %s, row %d, in period %s: %w", row.object, row.row, b.name, err)
	}
	return e, nil
}

// booksOf gives the settled period that a row belongs to, and the one in which those rows of its object stand that belong
// to none; nil where they are not settled.
func (x *explaining) booksOf(ctx context.Context, row *foundRow) (own, home *openBooks, err error) {
	if k, ok := x.known[row.object]; ok {
		if home, err = x.booksAt(ctx, k.Home); err != nil {
			return nil, nil, err
		}
	}
	if r := row.rejected; r != nil && isHomeless(r) {
		return home, home, nil
	}
	own, err = x.booksAt(ctx, row.time)
	return own, home, err
}

// explainPending says what there is to say of a row whose period is not settled.
func (x *explaining) explainPending(ctx context.Context, e *ExplainedRow, row *foundRow, home *openBooks) error {
	switch {
	case row.rejected != nil:
		e.Fate, e.Reason = "quarantined", row.why()
		e.Note = "it stands in no settled period yet"
		return nil
	case row.time < x.Start:
		e.Fate, e.Reason = "out_of_period", "it is from before settlement.start"
		return nil
	}
	e.Fate, e.Reason = "not settled", "its period is not settled yet"
	why, found, err := x.asideAt(ctx, row, home)
	if found {
		e.Note = fmt.Sprintf("it stands in the quarantine of period %s: %v", home.name, why)
	}
	return err
}

// asideAt looks a row up in the quarantine of the period in which rows stand that belong to none.
func (x *explaining) asideAt(ctx context.Context, row *foundRow, home *openBooks) (why BookedReason, found bool, err error) {
	if home == nil || x.standing(home, row.object) != same {
		return why, false, nil
	}
	return home.Tables.Quarantined(ctx, row.object, row.row, x.id)
}

// explainAbsent is about a row in an object that the settlement of the row's period was not made of.
func (x *explaining) explainAbsent(ctx context.Context, e *ExplainedRow, row *foundRow, b, home *openBooks) error {
	why, found, err := x.asideAt(ctx, row, home)
	if err != nil {
		return err
	}
	if found {
		e.Period, e.Revision, e.Fate, e.Reason = home.name, home.Revision, "quarantined", why.String()
		e.Note = fmt.Sprintf("it can be read now, as of period %s; backfill will settle it", b.name)
		return nil
	}
	e.Fate, e.Reason = "not settled", "it arrived after the period was settled; backfill will settle it"
	if k, ok := x.known[row.object]; ok && k.SHA256 == x.found[row.object].sha256 && (row.time < k.First || row.time > k.Last) {
		e.Reason = "usage was mapped otherwise when its object was read, as one without rows of that time; backfill will settle it"
	}
	if row.rejected != nil {
		e.Reason, e.Note = "it arrived after the period was settled", "it would be quarantined: "+row.why()
	}
	return nil
}

// explainChanged is about a row in an object that is another one now. What was settled of it may still be the same.
func (x *explaining) explainChanged(ctx context.Context, e *ExplainedRow, row *foundRow, b *openBooks) error {
	lines, err := x.lines(ctx, e, b)
	if err != nil {
		return err
	}
	e.Fate, e.Reason = "not settled", "the object changed since; backfill will settle it"
	switch {
	case !row.isSourceOf(lines):
		if row.rejected != nil {
			e.Reason, e.Note = "the object changed since", "it would be quarantined: "+row.why()
		}
	case !e.Readable || !e.saysAsBooked(lines):
		e.Reason = "the object changed since: this row was settled as something else; backfill will settle it as it is now"
	default:
		e.Fate, e.Reason = "settled", ""
		return x.explainSettled(ctx, e, row, b, lines)
	}
	return nil
}

// saysAsBooked tells whether a row that can be read still says what was settled of it.
func (e *ExplainedRow) saysAsBooked(lines []BookedLine) bool {
	var sum rating.Amount
	for i := range lines {
		sum, _ = sum.Add(lines[i].Quantity)
	}
	return sum == e.Quantity && lines[0].Source.Time == e.Time && lines[0].Source.Meter == e.Meter
}

// explainSame is about a row that the settlement has read as it is now.
func (x *explaining) explainSame(ctx context.Context, e *ExplainedRow, row *foundRow, b *openBooks) error {
	why, found, err := b.Tables.Quarantined(ctx, row.object, row.row, x.id)
	if err != nil {
		return err
	}
	if found {
		e.Fate, e.Reason = "quarantined", why.String()
		if row.rejected == nil && why.Reason != rating.Conflict.String() && why.Reason != rating.NoPrice.String() {
			e.Note = "it can be read now; backfill will settle it"
		}
		return nil
	}
	lines, err := x.lines(ctx, e, b)
	if err != nil {
		return err
	}
	switch {
	case row.isSourceOf(lines):
		e.Fate = "settled"
		if row.rejected != nil {
			e.Note = "it can no longer be read (" + row.why() + "); the lines are the booked ones"
		}
		return x.explainSettled(ctx, e, row, b, lines)
	case row.rejected != nil:
		e.Fate = "not settled"
		e.Reason = "it is read otherwise now (" + row.why() + "); the settlement has neither lines of it nor a row in quarantine"
		return nil
	}
	return x.explainSibling(ctx, e, row, b, lines)
}

// explainSibling is about a row that has no lines of its own and is not in quarantine.
func (x *explaining) explainSibling(ctx context.Context, e *ExplainedRow, row *foundRow, b *openBooks, lines []BookedLine) error {
	if newer := x.newer(row, b); newer != nil {
		e.Fate, e.Reason = "superseded", fmt.Sprintf("version %d of it is in %s, row %d", newer.version, newer.object, newer.row)
		return nil
	}
	if len(lines) > 0 {
		e.Fate, e.Reason = "duplicate", fmt.Sprintf("the same as row %d of %s, which settled", lines[0].Source.Row, lines[0].Source.Object)
		return nil
	}
	r, err := x.replay(ctx, b, row.account)
	if err != nil {
		return err
	}
	nothing := r.err == nil && r.met != nil && r.met.Quantity == 0
	switch {
	case r.unpriced:
		_, found, err := b.Tables.Quarantined(ctx, r.object, r.row, x.id)
		if err != nil {
			return err
		}
		if found {
			e.Fate, e.Reason = "duplicate", fmt.Sprintf("the same as row %d of %s, which is in quarantine", r.row, r.object)
			return nil
		}
	case nothing && r.object == row.object && r.row == row.row:
		e.Fate, e.Settled = "settled", &SettledRecord{Met: r.met}
		return nil
	case nothing:
		e.Fate, e.Reason = "duplicate", fmt.Sprintf("the same as row %d of %s, which settled", r.row, r.object)
		return nil
	}
	e.Fate = "not settled"
	e.Reason = "the settlement has neither lines of it nor a row in quarantine; " + x.cause(b)
	return nil
}

// newer finds the highest version above a row's among those that the settlement read.
func (x *explaining) newer(row *foundRow, b *openBooks) (newest *foundRow) {
	for i := range x.rows {
		r := &x.rows[i]
		if r.account == row.account && r.version > row.version && r.time >= b.Period.Start && r.time < b.Period.End &&
			x.standing(b, r.object) == same && (newest == nil || r.version > newest.version) {
			newest = r
		}
	}
	return newest
}

// lines gives the record's lines in the settlement.
func (x *explaining) lines(ctx context.Context, e *ExplainedRow, b *openBooks) ([]BookedLine, error) {
	shard := -1
	if account, known := x.Catalog.AccountIndex([]byte(e.Account)); known {
		shard = x.shardOf(x.Catalog.Accounts[account].Payer)
	}
	return b.Tables.Lines(ctx, shard, e.Account, x.id)
}

// explainSettled adds why a row was settled as it is booked.
func (x *explaining) explainSettled(ctx context.Context, e *ExplainedRow, row *foundRow, b *openBooks, lines []BookedLine) error {
	e.Settled = &SettledRecord{Lines: lines}
	if row.rejected != nil {
		return nil
	}
	if x.standing(b, row.object) != same {
		e.Note = "the object changed since, though not this row; the lines are the booked ones"
		return nil
	}
	r, err := x.replay(ctx, b, row.account)
	switch {
	case err != nil:
		return err
	case r.err != nil:
		e.Note = "the lines are the booked ones; the period cannot be settled once more: " + r.err.Error()
		return nil
	}
	e.Settled.Met, e.Settled.Differs = r.met, r.differs(row, lines)
	if e.Settled.Differs {
		e.Note = "settled once more today, its lines would be others: " + x.cause(b) + "; the lines are the booked ones"
	}
	return nil
}

// cause says what has changed since a period was settled.
func (x *explaining) cause(b *openBooks) string {
	switch {
	case b.CatalogSHA256 != x.CatalogSHA256:
		return "the catalog changed since, and the one of then was not kept"
	case len(b.gone) > 0:
		return fmt.Sprintf("of its %d objects %d changed since, or are gone", len(b.Inputs), len(b.gone))
	}
	return "the configuration changed since"
}

// foundRow is a row with the id that was asked for; rejected is set where the reader rejects it.
type foundRow struct {
	object                 string
	row, version, quantity int64
	account, meter         int32
	time                   rating.Instant
	rejected               *rating.Rejected
}

// why says why a row is rejected.
func (f *foundRow) why() string { return f.rejected.Reason.String() + ": " + f.rejected.Detail }

// isSourceOf tells whether lines came from a row.
func (f *foundRow) isSourceOf(lines []BookedLine) bool {
	return len(lines) > 0 && lines[0].Source.Object == f.object && lines[0].Source.Row == f.row
}

// search reads all objects for rows with the id, or those in which some were found before.
func (x *explaining) search(ctx context.Context, before []foundRow) error {
	objects, _, err := x.Bucket.List(ctx)
	if err != nil {
		return fmt.Errorf("list usage objects: %w", err)
	}
	if before != nil {
		objects = slices.DeleteFunc(slices.Clone(objects), func(o Object) bool {
			return !slices.ContainsFunc(before, func(row foundRow) bool { return row.object == o.Key })
		})
	}
	x.Bucket.Expect(objects)
	for _, o := range objects {
		sink := &idSearch{id: x.id, object: o.Key}
		summary, err := x.Reader.Read(ctx, o, sink)
		var bad *ObjectError
		switch {
		case errors.As(err, &bad) && x.QuarantineBadObjects && ctx.Err() == nil:
			summary, sink.rows = Summary{}, nil // no row of it settles
		case err != nil:
			return fmt.Errorf("look for record %q: %w", x.id, err)
		}
		x.found[o.Key] = foundObject{o, summary.SHA256}
		x.rows = append(x.rows, sink.merged()...)
	}
	return nil
}

// idSearch is a sink that keeps the rows of an object with one id.
type idSearch struct {
	id, object string
	rows       []foundRow
	spoilt     map[int64]foundRow // by row: rejected, but of a known account and version
}

func (f *idSearch) Records(r *rating.Records) error {
	for i := range r.Time {
		if string(r.ID(i)) != f.id {
			continue
		}
		row := foundRow{
			object: f.object, row: r.Row[i], account: r.Account[i], meter: r.Meter[i], time: r.Time[i], quantity: r.Quantity[i],
		}
		if len(r.Version) > 0 {
			row.version = r.Version[i]
		}
		if len(r.Spoilt) > 0 && r.Spoilt[i] {
			if f.spoilt == nil {
				f.spoilt = map[int64]foundRow{}
			}
			f.spoilt[row.row] = row
			continue
		}
		f.rows = append(f.rows, row)
	}
	return nil
}

func (f *idSearch) Reject(r *rating.Rejected) error {
	if r.RecordID == f.id {
		rejected := *r
		rejected.Raw = append([]byte{}, r.Raw...)
		f.rows = append(f.rows, foundRow{object: f.object, row: r.Row, rejected: &rejected, account: rating.None, time: r.Time})
	}
	return nil
}

// merged gives the rows, the rejected ones with what is known of them.
func (f *idSearch) merged() []foundRow {
	for i := range f.rows {
		r := &f.rows[i]
		if spoilt, ok := f.spoilt[r.row]; ok && r.rejected != nil {
			r.account, r.version = spoilt.account, cmp.Or(spoilt.version, r.version)
		}
	}
	return f.rows
}
