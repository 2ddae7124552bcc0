package settlement

import (
	"bytes"
	"cmp"
	"fmt"

	"drawdown/rating"
)

// The columns of lines, in their order.
const (
	linePeriodStart = iota
	linePayer
	lineAccount
	lineMeter
	lineEventTime
	lineRecordID
	lineLineNo
	lineKind
	lineLate
	linePackage
	lineCycleStart
	lineQuantity
	lineConsumed
	lineRemainingBefore
	lineRemainingAfter
	linePriceID
	lineTier
	lineUnitPrice
	linePer
	lineAmount
	lineCurrency
	lineSourceObject
	lineSourceRow
)

// The null patterns of lines.
const (
	_ = iota
	ofDeduction
	ofExcess
	ofTier
	ofUnitPrice
)

var lineSpecs = []spec{
	linePeriodStart:     {"period_start", instantType, keyed, 0, int64Entry},
	linePayer:           {"payer", textType, keyed, 0, accountEntry},
	lineAccount:         {"account", textType, keyed, 0, accountEntry},
	lineMeter:           {"meter", textType, keyed, 0, meterEntry},
	lineEventTime:       {"event_time", instantType, steps, 0, nil},
	lineRecordID:        {"record_id", textType, ids, 0, nil},
	lineLineNo:          {"line_no", int32Type, keyed, 0, int32Entry},
	lineKind:            {"kind", textType, keyed, 0, lineKindEntry},
	lineLate:            {"late", boolType, flags, 0, nil},
	linePackage:         {"package", textType, keyed, ofDeduction, packageEntry},
	lineCycleStart:      {"cycle_start", instantType, keyed, ofDeduction, int64Entry},
	lineQuantity:        {"quantity", decimalType, strides, 0, nil},
	lineConsumed:        {"consumed", decimalType, strides, ofDeduction, nil},
	lineRemainingBefore: {"remaining_before", decimalType, strides, ofDeduction, nil},
	lineRemainingAfter:  {"remaining_after", decimalType, strides, ofDeduction, nil},
	linePriceID:         {"price_id", textType, keyed, ofExcess, priceEntry},
	lineTier:            {"tier", int32Type, keyed, ofTier, int32Entry},
	lineUnitPrice:       {"unit_price", decimalType, keyed, ofUnitPrice, decimalEntry},
	linePer:             {"per", decimalType, keyed, ofUnitPrice, decimalEntry},
	lineAmount:          {"amount", decimalType, strides, 0, nil},
	lineCurrency:        {"currency", textType, keyed, 0, currencyEntry},
	lineSourceObject:    {"source_object", textType, keyed, 0, objectEntry},
	lineSourceRow:       {"source_row", int64Type, steps, 0, nil},
}

var lineSort = []string{"payer", "event_time", "account", "meter", "record_id", "line_no"}

// lineOrder is the last line of a payer and its record id, for comparing.
type lineOrder struct {
	line rating.Line
	id   []byte
	any  bool
}

// checkLines refuses lines that are out of canonical order, line after line within a record, or whose parts contradict
// each other.
func (o *lineOrder) checkLines(res *rating.Result) error {
	last, lastID := &o.line, o.id
	if !o.any {
		last = &rating.Line{EventTime: rating.Beginning}
	}
	for i := range res.Lines {
		l := &res.Lines[i]
		id := res.RecordID(l)
		if l.EventTime <= last.EventTime && compareLines(last, l, lastID, id) >= 0 {
			return fmt.Errorf("line %d of record %q comes after its place in the order of lines", l.LineNo, id)
		}
		if (l.Package != rating.None) != (l.Kind == rating.Deduction) || (l.Price != rating.None) != (l.Kind == rating.Excess) ||
			l.Kind != rating.Excess && l.Amount != (rating.Amount{}) || l.LineNo < 1 {
			return fmt.Errorf("line %d of record %q is a %s with package %d, price %d and amount %s",
				l.LineNo, id, l.Kind, l.Package, l.Price, l.Amount)
		}
		last, lastID = l, id
	}
	if len(res.Lines) > 0 {
		o.line, o.any = *last, true
		o.id = append(o.id[:0], lastID...)
	}
	return nil
}

func compareLines(a, b *rating.Line, aID, bID []byte) int {
	return cmp.Or(cmp.Compare(a.EventTime, b.EventTime), cmp.Compare(a.Account, b.Account),
		cmp.Compare(a.Meter, b.Meter), bytes.Compare(aID, bID), cmp.Compare(a.LineNo, b.LineNo))
}

// rowsAtOnce is how many lines or balances are filled into columns at once. A run of many periods writes many files side by
// side, and most payers have a few rows for each: a column each time they are touched would be a cache miss for each of them.
const rowsAtOnce = 256

// waitingRows have not been filled into columns.
type waitingRows struct {
	lines    []rating.Line
	ids      []byte // of lines
	payers   []payerLines
	balances []payerBalance
}

func (w *waitingRows) forgetLines() { w.lines, w.ids, w.payers = w.lines[:0], w.ids[:0], w.payers[:0] }

type payerLines struct {
	payer int32
	n     int
}

func (s *Shard) addLines(payer int32, res *rating.Result) error {
	w := s.waiting
	if len(res.Lines) >= rowsAtOnce {
		if err := s.flushLines(); err != nil {
			return err
		}
		return s.fillLines([]payerLines{{payer, len(res.Lines)}}, res.Lines, res.IDs)
	}
	base, from := uint32(len(w.ids)), len(w.lines)
	w.lines, w.ids = append(w.lines, res.Lines...), append(w.ids, res.IDs...)
	for i := range w.lines[from:] {
		l := &w.lines[from+i]
		l.IDStart, l.IDEnd = l.IDStart+base, l.IDEnd+base
	}
	w.payers = append(w.payers, payerLines{payer, len(res.Lines)})
	if len(w.lines) < rowsAtOnce {
		return nil
	}
	return s.flushLines()
}

func (s *Shard) flushLines() error {
	w := s.waiting
	err := s.fillLines(w.payers, w.lines, w.ids)
	w.forgetLines()
	return err
}

func (s *Shard) fillLines(payers []payerLines, lines []rating.Line, ids []byte) error {
	for len(lines) > 0 {
		t := s.table(tableLines)
		n := min(len(lines), t.room())
		payers = s.fillPayers(&t.columns[linePayer], payers, n)
		s.fillKeys(t.columns, lines[:n])
		s.fillDeductions(t, lines[:n])
		s.fillExcess(t, lines[:n])
		s.fillNumbers(t.columns, lines[:n], ids)
		if err := t.endRows(n); err != nil {
			return err
		}
		lines = lines[n:]
	}
	return nil
}

// fillPayers names the payers of so many lines, and gives those of the lines behind.
func (s *Shard) fillPayers(column *column, payers []payerLines, lines int) []payerLines {
	for lines > 0 {
		n := min(lines, payers[0].n)
		column.repeat(s.names, s.names.accountKey(payers[0].payer), n)
		lines -= n
		if payers[0].n -= n; payers[0].n == 0 {
			payers = payers[1:]
		}
	}
	return payers
}

func (s *Shard) fillKeys(columns []column, lines []rating.Line) {
	n := s.names
	columns[linePeriodStart].repeat(n, int64(n.period.Start), len(lines))
	account, meter, kind := &columns[lineAccount], &columns[lineMeter], &columns[lineKind]
	for i := range lines {
		account.put(n, n.accountKey(lines[i].Account))
	}
	for i := range lines {
		meter.put(n, int64(lines[i].Meter))
	}
	for i := range lines {
		kind.put(n, int64(lines[i].Kind))
	}
	lineNo, object := &columns[lineLineNo], &columns[lineSourceObject]
	for i := range lines {
		lineNo.put(n, int64(lines[i].LineNo))
	}
	for i := range lines {
		object.put(n, int64(lines[i].SourceObject))
	}
	late := columns[lineLate].flags
	for i := range lines {
		late = append(late, lines[i].Late)
	}
	columns[lineLate].flags = late
}

func (s *Shard) fillDeductions(t *tableFile, lines []rating.Line) {
	n := s.names
	pattern := &t.patterns[ofDeduction]
	pkg, cycle := &t.columns[linePackage], &t.columns[lineCycleStart]
	consumed, before := t.columns[lineConsumed].decimals, t.columns[lineRemainingBefore].decimals
	after := t.columns[lineRemainingAfter].decimals
	for i := range lines {
		l := &lines[i]
		pattern.add(l.Kind == rating.Deduction)
		if l.Kind != rating.Deduction {
			continue
		}
		scale := int(n.packageScale[l.Package])
		pkg.put(n, n.packageKey(l.Package))
		cycle.put(n, int64(l.CycleStart))
		consumed = append(consumed, rating.DecimalOf(l.Consumed, scale))
		before = append(before, rating.DecimalOf(l.RemainingBefore, scale))
		after = append(after, rating.DecimalOf(l.RemainingAfter, scale))
	}
	t.columns[lineConsumed].decimals, t.columns[lineRemainingBefore].decimals = consumed, before
	t.columns[lineRemainingAfter].decimals = after
}

func (s *Shard) fillExcess(t *tableFile, lines []rating.Line) {
	n := s.names
	price, currency := &t.columns[linePriceID], &t.columns[lineCurrency]
	amounts := t.columns[lineAmount].decimals
	for i := range lines {
		l := &lines[i]
		amounts = append(amounts, l.Amount)
		t.patterns[ofExcess].add(l.Kind == rating.Excess)
		if l.Kind != rating.Excess {
			currency.put(n, int64(n.accountCurrency[l.Account]))
			t.patterns[ofTier].add(false)
			t.patterns[ofUnitPrice].add(false)
			continue
		}
		price.put(n, int64(l.Price))
		money := n.priceCurrency[l.Price]
		currency.put(n, int64(money))
		s.tally.amounts[money] = sum(s.tally.amounts[money], l.Amount)
		if l.Late {
			s.tally.late[money] = sum(s.tally.late[money], l.Amount)
		}
		s.putPrice(t, lineTier, lineUnitPrice, linePer, l.Price, l.Tier)
	}
	t.columns[lineAmount].decimals = amounts
}

// putPrice fills the columns that say what a price is at a tier.
func (s *Shard) putPrice(t *tableFile, tierColumn, unitPrice, per int, price, tier int32) {
	t.patterns[ofTier].add(tier > 0)
	if tier > 0 {
		t.columns[tierColumn].put(s.names, int64(tier))
	}
	step, ok := s.names.step(price, tier)
	t.patterns[ofUnitPrice].add(ok)
	if ok {
		t.columns[unitPrice].put(s.names, step.Price)
		t.columns[per].put(s.names, step.Per)
	}
}

func (s *Shard) fillNumbers(columns []column, lines []rating.Line, arena []byte) {
	n := s.names
	times, rows := columns[lineEventTime].ints, columns[lineSourceRow].ints
	for i := range lines {
		times = append(times, int64(lines[i].EventTime))
		rows = append(rows, lines[i].SourceRow)
	}
	columns[lineEventTime].ints, columns[lineSourceRow].ints = times, rows
	quantities := columns[lineQuantity].decimals
	for i := range lines {
		l := &lines[i]
		q := rating.DecimalOf(l.Quantity, int(n.meterScale[l.Meter]))
		quantities = append(quantities, q)
		s.tally.quantities[l.Meter].add(int(l.Kind), l.Late, q)
	}
	columns[lineQuantity].decimals = quantities
	text, lengths := columns[lineRecordID].text, columns[lineRecordID].lengths
	for i := range lines {
		id := arena[lines[i].IDStart:lines[i].IDEnd]
		text = append(text, id...)
		lengths = append(lengths, int32(len(id)))
	}
	columns[lineRecordID].text, columns[lineRecordID].lengths = text, lengths
}
