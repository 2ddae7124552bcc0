package usage

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// decoders unpack the pages of a file, one after another, with one decoder for all of its columns: each holds a window of
// several MiB.
type decoders struct {
	gzip   *gzip.Reader
	brotli *brotli.Reader
	zstd   *zstd.Decoder
}

func (d *decoders) close() {
	if d.zstd != nil {
		d.zstd.Close()
	}
}

// The compressions of Parquet.
const (
	codecNone   = 0
	codecSnappy = 1
	codecGzip   = 2
	codecBrotli = 4
	codecZstd   = 6
	codecLZ4    = 7
)

var errPageSize = errors.New("it is larger than it claims")

// decompress unpacks src into dst, which is as large as the page claims.
func (d *decoders) decompress(codec int64, dst, src []byte) ([]byte, error) {
	switch codec {
	case codecSnappy:
		n, err := snappy.DecodedLen(src)
		if err != nil || n != len(dst) {
			return nil, errPageSize
		}
		return snappy.Decode(dst, src)
	case codecGzip:
		if d.gzip == nil {
			d.gzip = new(gzip.Reader)
		}
		if err := d.gzip.Reset(bytes.NewReader(src)); err != nil {
			return nil, err
		}
		return readExactly(dst, d.gzip)
	case codecBrotli:
		if d.brotli == nil {
			d.brotli = new(brotli.Reader)
		}
		if err := d.brotli.Reset(bytes.NewReader(src)); err != nil {
			return nil, err
		}
		return readExactly(dst, d.brotli)
	case codecZstd:
		if d.zstd == nil {
			one, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxPageBytes), zstd.WithDecodeAllCapLimit(true))
			if err != nil {
				return nil, err
			}
			d.zstd = one
		}
		return d.zstd.DecodeAll(src, dst[:0])
	case codecLZ4:
		if len(dst) == 0 { // the library wants a place to write to
			dst = make([]byte, 1)
		}
		n, err := lz4.UncompressBlock(src, dst)
		return dst[:max(n, 0)], err
	}
	return nil, fmt.Errorf("compression %d is not supported; write the file with zstd, snappy or gzip", codec)
}

func readExactly(dst []byte, r io.Reader) ([]byte, error) {
	if _, err := io.ReadFull(r, dst); err != nil {
		return nil, err
	}
	var more [1]byte
	if n, err := r.Read(more[:]); n != 0 || err != nil && err != io.EOF {
		return nil, errPageSize
	}
	return dst, nil
}
