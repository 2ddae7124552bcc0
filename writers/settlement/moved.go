package settlement

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go"

	"drawdown/rating"
)

// Moved is what a row of balances says of how much was deducted and is left. The texts are valid until the next row.
type Moved struct {
	Account, Package  []byte
	Deducted, Closing rating.Amount
}

// ReadMoved visits the rows of a balances file, and reads no more of it than four columns: a backfill compares the balances
// of all that it has settled again.
func ReadMoved(file Source, visit func(*Moved) error) error {
	if err := eachMoved(file, visit); err != nil {
		return fmt.Errorf("read %s: %w", file, err)
	}
	return nil
}

var movedColumns = [...]int{balanceAccount, balancePackage, balanceDeducted, balanceClosing}

func eachMoved(file Source, visit func(*Moved) error) (err error) {
	defer recoverTo(&err)
	there, err := file.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, there.Close()) }()
	f, err := parquet.OpenFile(there, there.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true), parquet.ReadBufferSize(64<<10))
	if err != nil {
		return err
	}
	if err := checkSchema(f, tableBalances); err != nil {
		return err
	}
	for _, group := range f.RowGroups() {
		if err := movedOf(group, visit); err != nil {
			return err
		}
	}
	return nil
}

func movedOf(group parquet.RowGroup, visit func(*Moved) error) (err error) {
	var readers [len(movedColumns)]parquet.Pages
	defer func() {
		for _, r := range readers {
			if r != nil {
				err = errors.Join(err, r.Close())
			}
		}
	}()
	chunks := group.ColumnChunks()
	for i, column := range movedColumns {
		readers[i] = chunks[column].Pages()
	}
	for left := group.NumRows(); left > 0; {
		var pages [len(movedColumns)]parquet.Page
		for i, r := range readers {
			if pages[i], err = r.ReadPage(); err != nil {
				if err == io.EOF {
					err = io.ErrUnexpectedEOF
				}
				return fmt.Errorf("column %s: %w", balanceSpecs[movedColumns[i]].name, err)
			}
		}
		err = movedOfPages(pages, visit)
		left -= pages[0].NumRows()
		for _, page := range pages {
			parquet.Release(page)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// movedOfPages visits the rows of pages that hold the same rows.
func movedOfPages(pages [len(movedColumns)]parquet.Page, visit func(*Moved) error) error {
	for i, page := range pages {
		if page.NumRows() != pages[0].NumRows() || (i < 2) != (page.Dictionary() != nil) {
			return fmt.Errorf("column %s is not cut and encoded as this program does", balanceSpecs[movedColumns[i]].name)
		}
	}
	accounts, packages := pages[0].Data(), pages[1].Data()
	deducted, closing := pages[2].Data(), pages[3].Data()
	account, pkg := accounts.Int32(), packages.Int32()
	deductions, _ := deducted.FixedLenByteArray()
	closings, _ := closing.FixedLenByteArray()
	var m Moved
	for i := range account {
		m = Moved{
			pages[0].Dictionary().Index(account[i]).ByteArray(), pages[1].Dictionary().Index(pkg[i]).ByteArray(),
			amountAt(deductions, i), amountAt(closings, i),
		}
		if err := visit(&m); err != nil {
			return err
		}
	}
	return nil
}

// amountAt gives a decimal of a column.
func amountAt(decimals []byte, i int) rating.Amount {
	b := decimals[i*decimalSize:][:decimalSize]
	return rating.Amount{Hi: int64(binary.BigEndian.Uint64(b)), Lo: binary.BigEndian.Uint64(b[8:])}
}
