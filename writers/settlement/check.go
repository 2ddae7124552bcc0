package settlement

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path"
	"sync"
	"sync/atomic"

	"github.com/parquet-go/parquet-go"

	"drawdown/rating"
)

// Check reads all files of the revision back, and fails where one does not hold what was appended: other bytes, another
// number of rows, other numbers in any numeric column or in another order, sums by meter, kind and currency that differ
// from those made while appending, a line or balance that does not add up, payers out of order.
func (r *Revision) Check(ctx context.Context) error {
	if err := r.complete(); err != nil {
		return fmt.Errorf("check revision: %w", err)
	}
	faults := make([]error, len(r.written))
	var next atomic.Int64
	var workers sync.WaitGroup
	for range r.output.checksAtATime {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(r.written); i = int(next.Add(1)) - 1 {
				if err := r.checkFile(ctx, &r.written[i]); err != nil {
					faults[i] = fmt.Errorf("check %s: %w", path.Join(r.dir, r.written[i].Name), err)
				}
			}
		})
	}
	workers.Wait()
	if err := errors.Join(faults...); err != nil {
		return err
	}
	r.checked = true
	return nil
}

func (r *Revision) checkFile(ctx context.Context, w *written) (err error) {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if w.sound {
		return nil
	}
	file, err := r.output.storage.open(path.Join(r.dir, w.Name))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if w.taken {
		return r.checkTaken(ctx, w, file)
	}
	hash, buffer := sha256.New(), bufferFor(file)
	read := summed{to: hash}
	rows := io.ReaderAt(file)
	if int64(len(buffer)) == file.Size() { // it is read once
		var n int
		if n, err = io.ReadFull(file, buffer); err == io.EOF || err == io.ErrUnexpectedEOF {
			err = nil // what is missing is told below
		}
		_, _ = read.Write(buffer[:n])
		rows = bytes.NewReader(buffer)
	} else {
		_, err = io.CopyBuffer(&read, io.NewSectionReader(file, 0, file.Size()), buffer)
	}
	if err != nil {
		return err
	}
	if read.size != w.Size || read.crc != w.crc {
		return fmt.Errorf("it has %d bytes with CRC-32C %08x, but %d bytes with CRC-32C %08x were written", read.size, read.crc, w.Size, w.crc)
	}
	w.SHA256 = hash.Sum(nil)
	return r.checkRows(ctx, rows, w)
}

// bufferFor is a buffer to read a file with: most files are small, and there are many of them.
func bufferFor(file stored) []byte { return make([]byte, max(1, min(1<<18, file.Size()))) }

// numbering numbers meters and currencies by their names; -1: there is none of the name.
type numbering interface {
	meterNumber(id string) int
	currencyNumber(currency string) int
}

// recheck is what reading a file back adds up to.
type recheck struct {
	numbering
	digests []digest
	tally   *tally
	payer   []byte
	page    []readPage // by column
	last    int64      // row of the page, from 1
}

// readPage is a column's page: what it has of indexes, integers or decimals, without the nulls.
type readPage struct {
	defined    []byte // nil: every row has a value
	dictionary parquet.Dictionary
	indexes    []int32
	ints       []int64
	decimals   []byte
	bits       []byte
}

func (p *readPage) amount(i int) rating.Amount { return amountAt(p.decimals, i) }

func (r *Revision) checkRows(ctx context.Context, file io.ReaderAt, w *written) error {
	sums := newTally(r.names)
	c, err := readBack(ctx, file, &w.File, w.table, r.names, &sums)
	if err != nil {
		return err
	}
	return c.compare(w, r.names)
}

// readBack adds up a file, and checks its rows as far as they can be checked by themselves. It does not trust the library
// to keep its head: it panics on some files.
func readBack(ctx context.Context, file io.ReaderAt, w *File, t table, n numbering, sums *tally) (c *recheck, err error) {
	defer recoverTo(&err)
	f, err := parquet.OpenFile(file, w.Size, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true),
		parquet.ReadBufferSize(64<<10))
	if err != nil {
		return nil, err
	}
	if err := checkSchema(f, t); err != nil {
		return nil, err
	}
	if f.NumRows() != w.Rows {
		return nil, fmt.Errorf("it has %d rows, but %d were written", f.NumRows(), w.Rows)
	}
	specs := tables[t].specs
	c = &recheck{numbering: n, digests: make([]digest, len(specs)), tally: sums, page: make([]readPage, len(specs))}
	for _, group := range f.RowGroups() {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		if err := c.group(group, t); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *recheck) compare(w *written, n *names) error {
	for i, d := range c.digests {
		if d != w.digests[i] {
			return fmt.Errorf("column %s does not hold the numbers that were written", tables[w.table].specs[i].name)
		}
	}
	if w.tally == nil {
		return nil
	}
	switch w.table {
	case tableLines:
		if c.tally.differs(w.tally) {
			return errors.New("quantities by meter and kind, or amounts by currency, are not those that were written")
		}
	case tableCharges:
		for i, amount := range c.tally.charged {
			if amount != w.tally.charged[i] {
				return fmt.Errorf("charges in %s are not those that were written", n.currencies[i])
			}
			if amount != w.tally.amounts[i] {
				return fmt.Errorf("charges in %s are %s, but the lines are %s", n.currencies[i], amount, w.tally.amounts[i])
			}
		}
	}
	return nil
}

func (t *tally) differs(other *tally) bool {
	for i := range t.quantities {
		if t.quantities[i] != other.quantities[i] {
			return true
		}
	}
	for i := range t.amounts {
		if t.amounts[i] != other.amounts[i] || t.late[i] != other.late[i] {
			return true
		}
	}
	return false
}

func (t *tally) plus(other *tally) {
	for i := range t.quantities {
		for part := range t.quantities[i] {
			for k, units := range other.quantities[i][part] {
				t.quantities[i][part][k] = sum(t.quantities[i][part][k], units)
			}
		}
	}
	for i := range t.amounts {
		t.amounts[i], t.late[i] = sum(t.amounts[i], other.amounts[i]), sum(t.late[i], other.late[i])
	}
}

// group goes through the pages of a row group, of all columns that are checked at once: pages of one number hold the
// same rows.
func (c *recheck) group(group parquet.RowGroup, t table) (err error) {
	specs := tables[t].specs
	readers := make([]parquet.Pages, len(specs))
	defer func() {
		for _, r := range readers {
			if r != nil {
				err = errors.Join(err, r.Close())
			}
		}
	}()
	for i, chunk := range group.ColumnChunks() {
		s := &specs[i]
		if s.coding == steps || s.coding == strides || s.name == "payer" || s.name == "kind" || s.name == "meter" || s.name == "currency" ||
			t == tableLines && s.name == "late" {
			readers[i] = chunk.Pages()
		}
	}
	for left := group.NumRows(); left > 0; {
		rows := min(left, pageRows)
		c.last += rows
		var held [64]parquet.Page
		for i, r := range readers {
			if r == nil {
				continue
			}
			page, err := r.ReadPage()
			if err != nil {
				return fmt.Errorf("column %s: %w", specs[i].name, err)
			}
			held[i] = page
			if page.NumRows() != rows {
				return fmt.Errorf("column %s: a page has %d rows, not %d", specs[i].name, page.NumRows(), rows)
			}
			c.open(i, &specs[i], page)
		}
		if err := c.rows(t, int(rows)); err != nil {
			return fmt.Errorf("rows %d to %d: %w", c.last-rows+1, c.last, err)
		}
		for _, page := range held[:len(readers)] {
			if page != nil {
				parquet.Release(page)
			}
		}
		left -= rows
	}
	return nil
}

// open takes a page apart, and folds its numbers into the column's digest.
func (c *recheck) open(i int, s *spec, page parquet.Page) {
	p := readPage{defined: page.DefinitionLevels()}
	values := page.Data()
	d := c.digests[i]
	switch {
	case page.Dictionary() != nil:
		p.dictionary, p.indexes = page.Dictionary(), values.Int32()
	case s.coding == flags:
		p.bits = values.Boolean()
	case s.coding == steps:
		p.ints = values.Int64()
		for _, v := range p.ints {
			d = d.add(uint64(v))
		}
	case s.coding == strides:
		p.decimals, _ = values.FixedLenByteArray()
		for b := p.decimals; len(b) >= decimalSize; b = b[decimalSize:] {
			d = d.addAmount(binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:]))
		}
	}
	c.digests[i] = d
	c.page[i] = p
}

// rows checks what the rows of a page say together.
func (c *recheck) rows(t table, rows int) error {
	switch t {
	case tableLines:
		return errors.Join(c.payers(linePayer), c.lines(rows), c.deductions())
	case tableCharges:
		return errors.Join(c.payers(chargePayer), c.charges(rows))
	case tableBalances:
		return errors.Join(c.payers(balancePayer), c.balances(rows))
	case tableNotices:
		return c.payers(noticePayer)
	}
	return nil
}

// payers checks that payers ascend, over pages and row groups.
func (c *recheck) payers(column int) error {
	p := &c.page[column]
	last := int32(-1)
	for _, index := range p.indexes {
		if index == last {
			continue
		}
		payer := p.dictionary.Index(index).ByteArray()
		if bytes.Compare(payer, c.payer) < 0 {
			return fmt.Errorf("payer %q comes after %q", payer, c.payer)
		}
		c.payer, last = append(c.payer[:0], payer...), index
	}
	return nil
}

// numbered gives what the entries of a page's dictionary are numbered in the catalog, or -1.
func (p *readPage) numbered(number func(text string) int) []int {
	n := make([]int, p.dictionary.Len())
	for i := range n {
		n[i] = number(string(p.dictionary.Index(int32(i)).ByteArray()))
	}
	return n
}

func lineKindNumber(text string) int {
	for k := rating.Deduction; k <= rating.Stopped; k++ {
		if k.String() == text {
			return int(k)
		}
	}
	return -1
}

func (c *recheck) lines(rows int) error {
	kinds := c.page[lineKind].numbered(lineKindNumber)
	meters := c.page[lineMeter].numbered(c.meterNumber)
	currencies := c.page[lineCurrency].numbered(c.currencyNumber)
	late := c.page[lineLate].bits
	quantity, amount, defined := &c.page[lineQuantity], &c.page[lineAmount], c.page[lineConsumed].defined
	for i := range rows {
		kind, meter := kinds[c.page[lineKind].indexes[i]], meters[c.page[lineMeter].indexes[i]]
		currency := currencies[c.page[lineCurrency].indexes[i]]
		if kind < 0 || meter < 0 || currency < 0 {
			return errors.New("a line has a kind, meter or currency that does not exist")
		}
		isLate := late[i/8]>>(i%8)&1 == 1
		c.tally.quantities[meter].add(kind, isLate, quantity.amount(i))
		money := amount.amount(i)
		c.tally.amounts[currency] = sum(c.tally.amounts[currency], money)
		if isLate {
			c.tally.late[currency] = sum(c.tally.late[currency], money)
		}
		if (defined[i] == 1) != (kind == int(rating.Deduction)) || kind != int(rating.Excess) && money != (rating.Amount{}) {
			return fmt.Errorf("a line is a %s with amount %s", rating.LineKind(kind), money)
		}
	}
	return nil
}

// deductions checks what remains: before less consumed is after.
func (c *recheck) deductions() error {
	consumed, before, after := &c.page[lineConsumed], &c.page[lineRemainingBefore], &c.page[lineRemainingAfter]
	for i := range len(consumed.decimals) / decimalSize {
		if sum(after.amount(i), consumed.amount(i)) != before.amount(i) || after.amount(i).Sign() < 0 {
			return fmt.Errorf("a line takes %s of %s and leaves %s", consumed.amount(i), before.amount(i), after.amount(i))
		}
	}
	return nil
}

func (c *recheck) charges(rows int) error {
	meters := c.page[chargeMeter].numbered(c.meterNumber)
	currencies := c.page[chargeCurrency].numbered(c.currencyNumber)
	for i := range rows {
		meter, currency := meters[c.page[chargeMeter].indexes[i]], currencies[c.page[chargeCurrency].indexes[i]]
		if meter < 0 || currency < 0 {
			return errors.New("a charge has a meter or currency that does not exist")
		}
		c.tally.units[meter] = sum(c.tally.units[meter], c.page[chargeQuantity].amount(i))
		c.tally.charged[currency] = sum(c.tally.charged[currency], c.page[chargeAmount].amount(i))
	}
	return nil
}

// balances checks the equation of each row (section 7).
func (c *recheck) balances(rows int) error {
	for i := range rows {
		at := func(column int) rating.Amount { return c.page[column].amount(i) }
		gained := sum(sum(at(balanceOpening), at(balanceGranted)), at(balanceRolledOver))
		spent := sum(sum(at(balanceDeducted), at(balanceExpired)), sum(at(balanceRevoked), at(balanceClosing)))
		if gained != spent {
			return fmt.Errorf("a balance does not add up: opening %s + granted %s + rolled over %s - deducted %s - expired %s - revoked %s is not closing %s",
				at(balanceOpening), at(balanceGranted), at(balanceRolledOver), at(balanceDeducted), at(balanceExpired),
				at(balanceRevoked), at(balanceClosing))
		}
	}
	return nil
}

// recoverTo turns a panic of the Parquet library into an error.
func recoverTo(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("read Parquet: %v", r)
	}
}

// checkSchema refuses a file that has other columns than the table.
func checkSchema(f *parquet.File, t table) error {
	specs := tables[t].specs
	columns := f.Metadata().Schema
	if len(columns) != len(specs)+1 {
		return fmt.Errorf("it has %d columns, and table %s has %d", len(columns)-1, tables[t].name, len(specs))
	}
	for i := range specs {
		got, want := columns[i+1], specs[i].element()
		if got.Name != want.Name || got.Type != want.Type || got.RepetitionType != want.RepetitionType ||
			got.LogicalType.V.String() != want.LogicalType.V.String() {
			return fmt.Errorf("column %d is %s, a %s; table %s has %s, a %s, there",
				i+1, got.Name, &got.LogicalType.V, tables[t].name, want.Name, &want.LogicalType.V)
		}
	}
	return nil
}
