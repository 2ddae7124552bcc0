package settlement

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"

	"github.com/parquet-go/parquet-go"

	"drawdown/rating"
)

// Source is a file of a settlement to read rows from.
type Source struct {
	name string
	open func() (stored, error)
}

func (s Source) String() string { return s.name }

// Path is a file by its path.
func Path(name string) Source {
	return Source{name, func() (stored, error) {
		file, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		info, err := file.Stat()
		if err != nil {
			return nil, errors.Join(err, file.Close())
		}
		return &storedFile{file, info.Size()}, nil
	}}
}

// File is a file of the output.
func (o *Output) File(name string) Source {
	return Source{o.name + "/" + name, func() (stored, error) { return o.storage.open(name) }}
}

// Line is a row of lines; what may be null is a pointer.
type Line struct {
	PeriodStart                     rating.Instant
	Payer, Account, Meter           string
	EventTime                       rating.Instant
	RecordID                        string
	LineNo                          int32
	Kind                            string
	Late                            bool
	Package                         *string
	CycleStart                      *rating.Instant
	Quantity                        rating.Amount
	Consumed                        *rating.Amount
	RemainingBefore, RemainingAfter *rating.Amount
	PriceID                         *string
	Tier                            *int32
	UnitPrice, Per                  *rating.Amount
	Amount                          rating.Amount
	Currency, SourceObject          string
	SourceRow                       int64
}

// Charge is a row of charges.
type Charge struct {
	PeriodStart, PeriodEnd rating.Instant
	Payer, Account, Meter  string
	Month, PriceID         string
	Tier                   *int32
	Late                   bool
	Quantity               rating.Amount
	UnitPrice, Per         *rating.Amount
	Amount                 rating.Amount
	Currency               string
	LineCount              int64
}

// Balance is a row of balances.
type Balance struct {
	PeriodStart, PeriodEnd    rating.Instant
	Payer, Account, Package   string
	CycleStart, CycleEnd      rating.Instant
	Quota, Opening, Granted   rating.Amount
	RolledOver, Deducted      rating.Amount
	Expired, Revoked, Closing rating.Amount
	State                     string
}

// Notice is a row of notices.
type Notice struct {
	PeriodStart          rating.Instant
	Kind, Payer, Account string
	Package, Meter       *string
	CycleStart           *rating.Instant
	ThresholdType        *string
	Threshold, Remaining *rating.Amount
	At                   rating.Instant
	RecordID             *string
	DedupKey             string
}

// Quarantined is a row of quarantine.
type Quarantined struct {
	SourceObject             string
	SourceRow                *int64
	Reason, Detail           string
	RecordID, Account, Meter *string
	Raw                      []byte
}

// ReadLines gives the rows of a lines file.
func ReadLines(file Source) iter.Seq2[Line, error] {
	return readRows(context.Background(), file, tableLines, func(r row) Line {
		return Line{
			r.instant(linePeriodStart), r.text(linePayer), r.text(lineAccount), r.text(lineMeter), r.instant(lineEventTime),
			r.text(lineRecordID), r[lineLineNo].Int32(), r.text(lineKind), r[lineLate].Boolean(),
			optional(r, linePackage, row.text), optional(r, lineCycleStart, row.instant), r.amount(lineQuantity),
			optional(r, lineConsumed, row.amount), optional(r, lineRemainingBefore, row.amount),
			optional(r, lineRemainingAfter, row.amount), optional(r, linePriceID, row.text),
			optional(r, lineTier, row.int32), optional(r, lineUnitPrice, row.amount), optional(r, linePer, row.amount),
			r.amount(lineAmount), r.text(lineCurrency), r.text(lineSourceObject), r[lineSourceRow].Int64(),
		}
	})
}

// ReadCharges gives the rows of a charges file.
func ReadCharges(file Source) iter.Seq2[Charge, error] {
	return readRows(context.Background(), file, tableCharges, func(r row) Charge {
		return Charge{
			r.instant(chargePeriodStart), r.instant(chargePeriodEnd), r.text(chargePayer), r.text(chargeAccount),
			r.text(chargeMeter), r.text(chargeMonth), r.text(chargePriceID), optional(r, chargeTier, row.int32),
			r[chargeLate].Boolean(), r.amount(chargeQuantity), optional(r, chargeUnitPrice, row.amount),
			optional(r, chargePer, row.amount), r.amount(chargeAmount), r.text(chargeCurrency), r[chargeLineCount].Int64(),
		}
	})
}

// ReadBalances gives the rows of a balances file.
func ReadBalances(file Source) iter.Seq2[Balance, error] {
	return readRows(context.Background(), file, tableBalances, func(r row) Balance {
		return Balance{
			r.instant(balancePeriodStart), r.instant(balancePeriodEnd), r.text(balancePayer), r.text(balanceAccount),
			r.text(balancePackage), r.instant(balanceCycleStart), r.instant(balanceCycleEnd), r.amount(balanceQuota),
			r.amount(balanceOpening), r.amount(balanceGranted), r.amount(balanceRolledOver), r.amount(balanceDeducted),
			r.amount(balanceExpired), r.amount(balanceRevoked), r.amount(balanceClosing), r.text(balanceState),
		}
	})
}

// ReadNotices gives the rows of a notices file.
func ReadNotices(file Source) iter.Seq2[Notice, error] {
	return readRows(context.Background(), file, tableNotices, noticeOf)
}

func noticeOf(r row) Notice {
	return Notice{
		r.instant(noticePeriodStart), r.text(noticeKind), r.text(noticePayer), r.text(noticeAccount),
		optional(r, noticePackage, row.text), optional(r, noticeMeter, row.text),
		optional(r, noticeCycleStart, row.instant), optional(r, noticeThresholdType, row.text),
		optional(r, noticeThreshold, row.amount), optional(r, noticeRemaining, row.amount), r.instant(noticeAt),
		optional(r, noticeRecordID, row.text), r.text(noticeDedupKey),
	}
}

// ReadQuarantine gives the rows of a quarantine file.
func ReadQuarantine(file Source) iter.Seq2[Quarantined, error] {
	return readRows(context.Background(), file, tableQuarantine, func(r row) Quarantined {
		return Quarantined{
			r.text(quarantineSourceObject), optional(r, quarantineSourceRow, row.int64), r.text(quarantineReason),
			r.text(quarantineDetail), optional(r, quarantineRecordID, row.text), optional(r, quarantineAccount, row.text),
			optional(r, quarantineMeter, row.text), []byte(r.text(quarantineRaw)),
		}
	})
}

// row is a row as the Parquet library gives it, a value per column.
type row parquet.Row

func (r row) text(i int) string { return string(r[i].ByteArray()) }

func (r row) instant(i int) rating.Instant { return rating.Instant(r[i].Int64()) }

func (r row) int32(i int) int32 { return r[i].Int32() }

func (r row) int64(i int) int64 { return r[i].Int64() }

func (r row) amount(i int) rating.Amount {
	b := r[i].ByteArray()
	return rating.Amount{Hi: int64(binary.BigEndian.Uint64(b)), Lo: binary.BigEndian.Uint64(b[8:])}
}

func optional[T any](r row, i int, value func(row, int) T) *T {
	if r[i].IsNull() {
		return nil
	}
	v := value(r, i)
	return &v
}

// errEnough ends the reading of rows that nobody asks for any more.
var errEnough = errors.New("no more rows are wanted")

// readRows gives the rows of a file, and ends with the first error.
func readRows[T any](ctx context.Context, file Source, t table, convert func(row) T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		err := eachRow(ctx, file, t, func(r row) error {
			if !yield(convert(r), nil) {
				return errEnough
			}
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			var none T
			yield(none, fmt.Errorf("read %s: %w", file, err))
		}
	}
}

// eachRow visits the rows of a file, up to the first error.
func eachRow(ctx context.Context, file Source, t table, visit func(row) error) (err error) {
	f, err := file.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	rows, closeRows, err := openRows(f, t)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeRows()) }()
	buffer := make([]parquet.Row, 256)
	for {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		n, readErr := readSome(rows, buffer)
		for _, r := range buffer[:n] {
			if err := visit(row(r)); err != nil {
				return err
			}
		}
		if readErr == io.EOF {
			return nil
		}
		if readErr != nil {
			return readErr
		}
	}
}

// openRows and readSome do not trust the library to keep its head: it panics on some files.
func openRows(file stored, t table) (rows parquet.RowReader, closeRows func() error, err error) {
	defer recoverTo(&err)
	f, err := parquet.OpenFile(file, file.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return nil, nil, err
	}
	if err := checkSchema(f, t); err != nil {
		return nil, nil, err
	}
	reader := parquet.NewReader(f)
	return reader, reader.Close, nil
}

func readSome(rows parquet.RowReader, buffer []parquet.Row) (n int, err error) {
	defer recoverTo(&err)
	return rows.ReadRows(buffer)
}
