package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"
	parquetzstd "github.com/parquet-go/parquet-go/compress/zstd"
)

// batchRows is how many records go through at once. A Parquet file's bytes depend on it.
const batchRows = 4096

// rowGroupRows bounds the memory of a Parquet writer.
const rowGroupRows = 1 << 17

// usageRow is a record in Parquet, under the names that the SQL reads.
type usageRow struct {
	ID       string `parquet:"record_id"`
	Time     int64  `parquet:"event_time,timestamp(microsecond)"`
	Account  string `parquet:"account,dict"`
	Meter    string `parquet:"meter,dict"`
	Quantity int64  `parquet:"quantity,decimal(6:18)"`
}

func newParquetWriter[T any](w io.Writer) *parquet.GenericWriter[T] {
	return parquet.NewGenericWriter[T](w, parquet.MaxRowsPerRowGroup(rowGroupRows),
		parquet.Compression(&parquetzstd.Codec{Level: parquetzstd.SpeedFastest}))
}

// writeObject writes all records of a stream to its usage object.
func (w *world) writeObject(st *stream) error {
	f, err := parseFormat(w.Format)
	if err != nil {
		return err
	}
	name := filepath.Join(w.Out, "usage", fmt.Sprintf("part-%05d.%s", st.object, w.Format))
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	defer file.Close()
	if f.base == "parquet" {
		err = w.writeParquet(file, st)
	} else {
		err = w.writeText(file, st, f)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return file.Close()
}

func (w *world) writeParquet(file io.Writer, st *stream) error {
	rows := newParquetWriter[usageRow](file)
	batch := make([]record, batchRows)
	out := make([]usageRow, batchRows)
	arena := make([]byte, 0, batchRows*len(batch[0].id))
	for {
		n := st.fill(batch)
		if n == 0 {
			return rows.Close()
		}
		arena = arena[:0]
		for i := range batch[:n] {
			arena = append(arena, batch[i].id[:]...)
		}
		ids := string(arena)
		for i := range batch[:n] {
			r := &batch[i]
			size := len(r.id)
			out[i] = usageRow{ids[i*size : (i+1)*size], r.time, w.accounts[r.account], w.meters[r.meter].id, r.quantity}
		}
		if _, err := rows.Write(out[:n]); err != nil {
			return err
		}
	}
}

func (w *world) writeText(file io.Writer, st *stream, f format) error {
	buffered := bufio.NewWriterSize(file, 1<<18)
	compressor, err := newCompressor(buffered, f.compression)
	if err != nil {
		return err
	}
	var text []byte
	line := w.appendNDJSON
	if f.base == "csv" {
		text = append(text, "id,account,meter,quantity,time\n"...)
		line = w.appendCSV
	}
	batch := make([]record, batchRows)
	for {
		n := st.fill(batch)
		for i := range batch[:n] {
			text = line(text, &batch[i])
		}
		if _, err := compressor.Write(text); err != nil {
			return err
		}
		text = text[:0]
		if n == 0 {
			break
		}
	}
	if err := compressor.Close(); err != nil {
		return err
	}
	return buffered.Flush()
}

func newCompressor(w io.Writer, compression string) (io.WriteCloser, error) {
	switch compression {
	case "gz":
		return gzip.NewWriterLevel(w, gzip.BestSpeed)
	case "zst":
		return zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	}
	return plain{w}, nil
}

type plain struct{ io.Writer }

func (plain) Close() error { return nil }

func (w *world) appendNDJSON(b []byte, r *record) []byte {
	b = append(b, `{"id":"`...)
	b = append(b, r.id[:]...)
	b = append(b, `","account":"`...)
	b = append(b, w.accounts[r.account]...)
	b = append(b, `","meter":"`...)
	b = append(b, w.meters[r.meter].id...)
	b = append(b, `","quantity":`...)
	b = appendMicros(b, r.quantity)
	b = append(b, `,"time":"`...)
	b = appendInstant(b, r.time)
	return append(b, "\"}\n"...)
}

func (w *world) appendCSV(b []byte, r *record) []byte {
	b = append(b, r.id[:]...)
	b = append(b, ',')
	b = append(b, w.accounts[r.account]...)
	b = append(b, ',')
	b = append(b, w.meters[r.meter].id...)
	b = append(b, ',')
	b = appendMicros(b, r.quantity)
	b = append(b, ',')
	b = appendInstant(b, r.time)
	return append(b, '\n')
}

// appendMicros writes n units of 10^-6, with all six decimals.
func appendMicros(b []byte, n int64) []byte {
	b = strconv.AppendInt(b, n/1_000_000, 10)
	b = append(b, '.')
	return appendDigits(b, n%1_000_000, 6)
}

// appendInstant writes a time of the world's month as RFC 3339 with microseconds.
func appendInstant(b []byte, micros int64) []byte {
	b = append(b, "2026-10-"...)
	since := micros - monthStart.UnixMicro()
	const second = int64(time.Second / time.Microsecond)
	b = appendDigits(b, 1+since/(24*3600*second), 2)
	b = append(b, 'T')
	b = appendDigits(b, since/(3600*second)%24, 2)
	b = append(b, ':')
	b = appendDigits(b, since/(60*second)%60, 2)
	b = append(b, ':')
	b = appendDigits(b, since/second%60, 2)
	b = append(b, '.')
	b = appendDigits(b, since%second, 6)
	return append(b, 'Z')
}

// appendDigits writes n with exactly so many digits.
func appendDigits(b []byte, n int64, digits int) []byte {
	b = append(b, "000000000"[:digits]...)
	for i := len(b) - 1; n > 0; i-- {
		b[i] = byte('0' + n%10)
		n /= 10
	}
	return b
}
