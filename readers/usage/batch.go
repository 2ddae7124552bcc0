package usage

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"drawdown/rating"
)

// batchSize is how many records a batch has at most.
const batchSize = 4096

// batchIDBytes ends a batch early: what is beyond it is one id.
const batchIDBytes = 16 << 20

// futureMargin is how far a producer's clock may be ahead (R4.4).
const futureMargin = 10 * 60 * 1_000_000

// Sink takes what a reader makes. A batch is the sink's until the call returns.
type Sink interface {
	Records(*rating.Records) error
	Reject(*rating.Rejected) error
}

// Summary is what there was in an object.
type Summary struct {
	Read        int64 // records, rejected ones included; a spoilt record is a rejected one
	Rejected    int64
	First, Last rating.Instant // of all rows with a readable time; Never and Beginning where there is none
	SHA256      [32]byte       // of the stored bytes
	Size        int64
}

// row is a row on its way to become records. Texts are nil where the row has none.
type row struct {
	number                      int64
	malformed                   string // why
	versionUnread               bool   // there is a version, but it is none
	id, account, meter, version []byte
	time                        []byte
	instant                     rating.Instant // with timeKnown: the time, which then is no text
	timeKnown                   bool
	timeFault                   string   // of a time that is no text
	quantity                    [][]byte // one, or one for each emission
	attrs                       []pair
	raw                         []byte
}

func (r *row) reset(number int64) {
	for i := range r.quantity {
		r.quantity[i] = nil
	}
	*r = row{number: number, quantity: r.quantity, attrs: r.attrs[:0]}
}

// batcher makes batches of rows. One goroutine uses it, for one object.
type batcher struct {
	catalog  *rating.Catalog
	accounts accounts
	selects  bool // it was read before, and only records of these accounts are wanted
	plan     *plan
	limit    rating.Instant // later times are in the future
	sink     Sink
	key      string
	attrs    *attributeCoder

	out     rating.Records
	summary Summary
	idText  []byte

	emitMeters   []int32 // by emission
	lastAccount  []byte
	accountIndex int32
	lastMeter    []byte
	meterIndex   int32
}

// accounts are where the account of a row is looked up.
type accounts interface {
	AccountIndex(id []byte) (int32, bool)
	AccountIndexes(accounts []int32, id func(i int) []byte)
}

// newBatcher makes batches of an object's records; of those of some accounts, or where selected is nil, of all.
func newBatcher(r *Reader, o Object, selected *rating.AccountSet, sink Sink) *batcher {
	b := &batcher{
		catalog: r.catalog, accounts: r.catalog, plan: r.plan, limit: r.now + futureMargin, sink: sink, key: o.Key,
		attrs: newAttributeCoder(r.sets), accountIndex: rating.None, meterIndex: rating.None,
	}
	b.summary = Summary{First: rating.Never, Last: rating.Beginning, Size: o.Size}
	if selected != nil {
		b.accounts, b.selects = selected, true
	}
	for _, e := range r.plan.emit {
		meter, ok := r.catalog.MeterIndex([]byte(e.meter))
		if !ok {
			meter = rating.None
		}
		b.emitMeters = append(b.emitMeters, meter)
	}
	return b
}

// record is one record of a row, while its reason is sought.
type record struct {
	meterText      []byte
	quantityText   []byte
	rounding       rating.Rounding
	account, meter int32
	time           rating.Instant
	hasTime        bool
	quantity       int64
	version        int64
	set            int32
	content        uint64
}

// wants tells whether records of an account are asked for.
func (b *batcher) wants(account []byte) bool {
	return !b.selects || b.account(account) != rating.None
}

// whole tells whether all of the object is read.
func (b *batcher) whole() bool { return !b.selects }

// add makes the records of a row.
func (b *batcher) add(r *row) error {
	if !b.wants(r.account) {
		return nil
	}
	rec := record{account: rating.None, meter: rating.None}
	var timeFault string
	rec.time, rec.hasTime, timeFault = b.time(r)
	if rec.hasTime {
		b.summary.First, b.summary.Last = min(b.summary.First, rec.time), max(b.summary.Last, rec.time)
	}
	rec.account = b.account(r.account)
	if len(r.version) > 0 {
		version, err := rating.ParseDecimal(r.version, 0, rating.Exact)
		if err != nil || version < 0 {
			r.versionUnread = true
			if r.malformed == "" {
				r.malformed = fmt.Sprintf("version %s is no integer from 0 on", quoted(r.version))
			}
		}
		rec.version = version
	}
	if r.malformed != "" {
		return b.malformed(r, &rec)
	}
	rec.set, rec.content = b.attrs.code(r.attrs)
	if len(b.plan.emit) == 0 {
		rec.meterText, rec.quantityText, rec.rounding = r.meter, r.quantity[0], b.plan.quantity.rounding
		rec.meter = b.meter(r.meter)
		return b.settle(r, &rec, r.id, timeFault)
	}
	for i := range b.plan.emit {
		e := &b.plan.emit[i]
		each := rec
		each.meterText, each.quantityText, each.rounding = []byte(e.meter), r.quantity[i], e.rounding
		each.meter = b.emitMeters[i]
		id := r.id
		if len(id) > 0 {
			id = b.emittedID(id, e)
		}
		if err := b.settle(r, &each, id, timeFault); err != nil {
			return err
		}
	}
	return nil
}

// malformed puts a row into quarantine. Where it can be told which record it is of, it supersedes: a version that cannot be
// read is taken for the highest, since it may be the one that voids.
func (b *batcher) malformed(r *row, rec *record) error {
	b.summary.Read++
	rec.meterText = r.meter
	if r.versionUnread {
		rec.version = math.MaxInt64
	}
	if err := b.reject(r, rec, r.id, rating.Malformed, r.malformed); err != nil || len(r.id) == 0 || textFault(r.id) != "" {
		return err
	}
	if len(b.plan.emit) == 0 {
		return b.spoil(r, rec, r.id)
	}
	for i := range b.plan.emit {
		if err := b.spoil(r, rec, b.emittedID(r.id, &b.plan.emit[i])); err != nil {
			return err
		}
	}
	return nil
}

// emittedID is the id of one of a row's several records. It is valid until the next one is made.
func (b *batcher) emittedID(id []byte, e *emission) []byte {
	b.idText = append(append(append(b.idText[:0], id...), '#'), e.meter...)
	return b.idText
}

// settle puts a record into the batch, or into quarantine for the first reason of R4.4 that applies.
func (b *batcher) settle(r *row, rec *record, id []byte, timeFault string) error {
	b.summary.Read++
	if missing := missingField(r, rec, id); missing != "" {
		if err := b.spoil(r, rec, id); err != nil {
			return err
		}
		return b.reject(r, rec, id, rating.MissingField, missing+" is missing")
	}
	if !rec.hasTime {
		return b.reject(r, rec, id, rating.BadTime, timeFault)
	}
	if fault := b.quantity(rec); fault != "" {
		if err := b.spoil(r, rec, id); err != nil {
			return err
		}
		return b.reject(r, rec, id, rating.BadQuantity, fault)
	}
	switch {
	case rec.account == rating.None:
		return b.reject(r, rec, id, rating.UnknownAccount, fmt.Sprintf("account %s is not in the catalog", quoted(r.account)))
	case rec.meter == rating.None:
		if err := b.spoil(r, rec, id); err != nil {
			return err
		}
		return b.reject(r, rec, id, rating.UnknownMeter, fmt.Sprintf("meter %s is not in the catalog", quoted(rec.meterText)))
	case rec.time > b.limit:
		detail := fmt.Sprintf("time %s is more than 10 minutes after now, %s", rec.time, b.limit-futureMargin)
		return b.reject(r, rec, id, rating.Future, detail)
	}
	return b.append(r.number, rec, id, false)
}

func missingField(r *row, rec *record, id []byte) string {
	switch {
	case len(id) == 0:
		return "id"
	case len(r.account) == 0:
		return "account"
	case len(rec.meterText) == 0:
		return "meter"
	case len(rec.quantityText) == 0:
		return "quantity"
	case len(r.time) == 0 && !r.timeKnown && r.timeFault == "":
		return "time"
	}
	return ""
}

// time reads the row's time, or says what is wrong with it; an absent one has no fault.
func (b *batcher) time(r *row) (rating.Instant, bool, string) {
	if r.timeKnown || r.timeFault != "" || len(r.time) == 0 {
		return r.instant, r.timeKnown, r.timeFault
	}
	t, err := b.plan.parseTime(r.time)
	if err != nil {
		return 0, false, fmt.Sprintf("time %s is %v", quoted(r.time), err)
	}
	return t, true, ""
}

var (
	errLayout = errors.New("not of the layout that usage.fields.time states")
	errYears  = errors.New("outside of the years 1 to 9999")
)

const (
	firstInstant rating.Instant = -62135596800_000000
	lastInstant  rating.Instant = 253402300799_999999
)

func (p *plan) parseTime(text []byte) (rating.Instant, error) {
	switch p.layout {
	case rfc3339:
		if p.zone != nil {
			return rating.ParseInstantIn(text, p.zone)
		}
		return rating.ParseInstant(text)
	case goLayout:
		t, err := time.Parse(p.layoutText, string(text))
		if err != nil {
			return 0, errLayout
		}
		i := rating.InstantOf(t)
		if !p.layoutOffset {
			i = rating.InstantOfWall(i, p.zone)
		}
		return inYears(i)
	}
	n, err := rating.ParseDecimal(text, p.unixScale(), rating.Down)
	if err != nil {
		return 0, errLayout
	}
	return inYears(rating.Instant(n))
}

// unixScale is how many decimals of the layout's unit make a microsecond.
func (p *plan) unixScale() int {
	switch p.layout {
	case unixSeconds:
		return 6
	case unixMillis:
		return 3
	}
	return 0
}

func inYears(i rating.Instant) (rating.Instant, error) {
	if i < firstInstant || i > lastInstant {
		return 0, errYears
	}
	return i, nil
}

// quantity reads the record's quantity at its meter's scale, or says what is wrong with it. Of an unknown meter it must
// still be a quantity of some meter.
func (b *batcher) quantity(rec *record) string {
	scale, most := 9, int64(0)
	if rec.meter != rating.None {
		m := &b.catalog.Meters[rec.meter]
		scale, most = m.Scale, m.Max
	}
	n, err := rating.ParseDecimal(rec.quantityText, scale, rec.rounding)
	switch {
	case errors.Is(err, rating.ErrOverflow) && rec.meter == rating.None && !bytes.HasPrefix(rec.quantityText, []byte("-")):
		return b.largeQuantity(rec) // too large with nine decimals, but its meter may have fewer
	case errors.Is(err, rating.ErrTooManyDecimals):
		return fmt.Sprintf("quantity %s has more than %d decimals", quoted(rec.quantityText), scale)
	case errors.Is(err, rating.ErrOverflow):
		return fmt.Sprintf("quantity %s is too large for %d decimals in 64 bits", quoted(rec.quantityText), scale)
	case err != nil:
		return fmt.Sprintf("quantity %s is %v", quoted(rec.quantityText), err)
	case n < 0 || n == 0 && rec.rounding != rating.Exact && negative(rec.quantityText):
		return fmt.Sprintf("quantity %s is negative", quoted(rec.quantityText))
	case most > 0 && n > most:
		return fmt.Sprintf("quantity %s is above the meter's max, %s", quoted(rec.quantityText), rating.FormatQuantity(most, scale))
	}
	rec.quantity = n
	return ""
}

// negative says whether a decimal number is below 0, which its rounding may hide: a 0 would void.
func negative(decimal []byte) bool {
	coefficient, _, _ := bytes.Cut(bytes.ToLower(decimal), []byte("e"))
	return bytes.HasPrefix(coefficient, []byte("-")) && bytes.ContainsAny(coefficient, "123456789")
}

func (b *batcher) largeQuantity(rec *record) string {
	if _, err := rating.ParseDecimal(rec.quantityText, 0, rating.Down); err != nil {
		return fmt.Sprintf("quantity %s is too large for 64 bits", quoted(rec.quantityText))
	}
	return ""
}

func (b *batcher) account(id []byte) int32 {
	if len(id) > 0 && !bytes.Equal(id, b.lastAccount) {
		b.lastAccount = append(b.lastAccount[:0], id...)
		b.accountIndex = rating.None
		if i, ok := b.accounts.AccountIndex(id); ok {
			b.accountIndex = i
		}
	}
	if len(id) == 0 {
		return rating.None
	}
	return b.accountIndex
}

func (b *batcher) meter(id []byte) int32 {
	if len(id) > 0 && !bytes.Equal(id, b.lastMeter) {
		b.lastMeter = append(b.lastMeter[:0], id...)
		b.meterIndex = rating.None
		if i, ok := b.catalog.MeterIndex(id); ok {
			b.meterIndex = i
		}
	}
	if len(id) == 0 {
		return rating.None
	}
	return b.meterIndex
}

// spoil keeps the version of a quarantined record, because it supersedes all the same (R4.3), as far as the row says which
// record it is and in which period.
func (b *batcher) spoil(r *row, rec *record, id []byte) error {
	if rec.account == rating.None || len(id) == 0 || !rec.hasTime {
		return nil
	}
	spoilt := *rec
	spoilt.quantity = 0
	return b.append(r.number, &spoilt, id, true)
}

// append adds a record to the batch and hands a full batch over.
func (b *batcher) append(number int64, rec *record, id []byte, spoilt bool) error {
	o := &b.out
	n := len(o.Time)
	o.Time = append(o.Time, rec.time)
	o.Account = append(o.Account, rec.account)
	o.Meter = append(o.Meter, rec.meter)
	o.Quantity = append(o.Quantity, rec.quantity)
	o.Row = append(o.Row, number)
	o.IDs = append(o.IDs, id...)
	o.IDEnd = append(o.IDEnd, uint32(len(o.IDs)))
	o.Version = optional(o.Version, n, rec.version)
	o.Attrs = optional(o.Attrs, n, rec.set)
	o.Content = optional(o.Content, n, rec.content)
	o.Spoilt = optional(o.Spoilt, n, spoilt)
	if n+1 == batchSize || len(o.IDs) >= batchIDBytes {
		return b.flush()
	}
	return nil
}

// appendPlain is append for a record without version, attributes or fault.
func (b *batcher) appendPlain(number int64, t rating.Instant, account, meter int32, quantity int64, id []byte) error {
	o := &b.out
	if len(o.Version)+len(o.Attrs)+len(o.Content)+len(o.Spoilt) > 0 {
		rec := record{account: account, meter: meter, time: t, quantity: quantity}
		return b.append(number, &rec, id, false)
	}
	o.Time = append(o.Time, t)
	o.Account = append(o.Account, account)
	o.Meter = append(o.Meter, meter)
	o.Quantity = append(o.Quantity, quantity)
	o.Row = append(o.Row, number)
	o.IDs = append(o.IDs, id...)
	o.IDEnd = append(o.IDEnd, uint32(len(o.IDs)))
	if len(o.Time) == batchSize || len(o.IDs) >= batchIDBytes {
		return b.flush()
	}
	return nil
}

// optional appends to a column that stays empty as long as all its values are zero.
func optional[T comparable](column []T, n int, value T) []T {
	var zero T
	if len(column) == 0 {
		if value == zero {
			return column
		}
		for range n {
			column = append(column, zero)
		}
	}
	return append(column, value)
}

func (b *batcher) flush() error {
	if b.out.Len() == 0 {
		return nil
	}
	err := b.sink.Records(&b.out)
	b.out.Reset()
	return err
}

// maxRejected is how many rows of an object go into quarantine one by one, where they are most of it.
const maxRejected = 1 << 18

func (b *batcher) reject(r *row, rec *record, id []byte, reason rating.Reason, detail string) error {
	if b.selects {
		return nil // it has been told of
	}
	if b.summary.Rejected++; b.summary.Rejected > maxRejected && b.summary.Rejected > b.summary.Read/2 {
		return fmt.Errorf("has more than %d rows that cannot settle, row %d because %s; see to usage.fields, and to what its producer writes", maxRejected, r.number, detail)
	}
	return b.sink.Reject(&rating.Rejected{
		Row: r.number, Reason: reason, Detail: strings.ToValidUTF8(detail, "\uFFFD"),
		RecordID: shown(id), Account: shown(r.account), Meter: shown(rec.meterText),
		Raw:  bytes.Clone(r.raw[:min(len(r.raw), rating.RawMax)]),
		Time: rec.time, HasTime: rec.hasTime, Future: rec.hasTime && rec.time > b.limit,
	})
}

// shown is a text that may stand in a STRING column, whatever a row holds.
func shown(text []byte) string { return strings.ToValidUTF8(string(text), "\uFFFD") }

// quoted shows a text of a row, cut to a length that a person reads.
func quoted(text []byte) string {
	const most = 80
	if len(text) > most {
		return strconv.Quote(string(text[:most])) + "…"
	}
	return strconv.Quote(string(text))
}
