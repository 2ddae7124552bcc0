package usage

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// stream gives the lines of a text object, which may be compressed, and hashes its stored bytes in passing where that is asked.
type stream struct {
	ctx      context.Context
	stored   *hashingReader
	text     io.Reader
	closer   func()
	expanded int64
	limit    int64 // of expanded

	buf        []byte
	start, end int // of what is read and not yet handed out
	eof        bool
	maxLine    int
	filled     func(text []byte) // is told all text that is not handed out yet, when there are more whole lines; nil: nobody asks
}

// hashingReader hashes what is read through it.
type hashingReader struct {
	file io.Reader
	hash hash.Hash // nil: it does not
	size int64
}

func (h *hashingReader) Read(p []byte) (int, error) {
	n, err := h.file.Read(p)
	if h.hash != nil {
		h.hash.Write(p[:n])
	}
	h.size += int64(n)
	return n, err
}

func newStream(ctx context.Context, file io.Reader, o Object, c compression, p *plan, hashes bool) (*stream, error) {
	s := &stream{
		ctx:     ctx,
		stored:  &hashingReader{file: io.LimitReader(file, o.Size)},
		closer:  func() {},
		limit:   max(minExpansion, saturatingProduct(o.Size, p.maxExpansion)),
		buf:     make([]byte, 256<<10),
		maxLine: int(p.maxLine),
	}
	if hashes {
		s.stored.hash = sha256.New()
	}
	switch c {
	case plain:
		s.text = s.stored
		s.limit = max(s.limit, o.Size)
	case gzipped:
		text, err := gzip.NewReader(s.stored)
		if err != nil {
			return nil, damaged("gzip", err)
		}
		s.text = text
	case zstandard:
		text, err := zstd.NewReader(s.stored, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, damaged("zstd", err)
		}
		s.text, s.closer = text, text.Close
	}
	return s, nil
}

func saturatingProduct(a, b int64) int64 {
	if a > 0 && b > (1<<63-1)/a {
		return 1<<63 - 1
	}
	return a * b
}

func damaged(format string, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("ends in the middle of its %s data: it is truncated; upload it again", format)
	}
	return fmt.Errorf("is no whole %s file (%w); upload it again", format, err)
}

func (s *stream) close() { s.closer() }

// fill reads more text behind what there is. It gives false at the end.
func (s *stream) fill() (bool, error) {
	if s.eof {
		return false, nil
	}
	if err := s.ctx.Err(); err != nil {
		return false, err
	}
	if s.start > 0 {
		copy(s.buf, s.buf[s.start:s.end])
		s.end -= s.start
		s.start = 0
	}
	if s.end == len(s.buf) {
		s.buf = append(s.buf, make([]byte, len(s.buf))...)
	}
	for {
		n, err := s.text.Read(s.buf[s.end:])
		s.end += n
		s.expanded += int64(n)
		if s.filled != nil && (err == io.EOF || bytes.IndexByte(s.buf[s.end-n:s.end], '\n') >= 0) {
			s.filled(s.buf[s.start:s.end])
		}
		switch {
		case s.expanded > s.limit:
			return false, fmt.Errorf("expands to more than %d bytes, the limit of usage.max_expansion; raise it if the object is what it should be", s.limit)
		case err == io.EOF:
			s.eof = true
			return n > 0, nil
		case err != nil:
			if _, compressed := s.text.(*hashingReader); compressed {
				return false, err
			}
			return false, damaged("compressed", err)
		case n > 0:
			return true, nil
		}
	}
}

// line gives the next line without its end; cut says that it was longer than a line may be, and is just its start.
// The line is valid until the next call.
func (s *stream) line() (line []byte, cut bool, err error) {
	scanned := 0
	for {
		if i := bytes.IndexByte(s.buf[s.start+scanned:s.end], '\n'); i >= 0 {
			line = s.buf[s.start : s.start+scanned+i]
			s.start += scanned + i + 1
			if len(line) > s.maxLine {
				return line[:s.maxLine], true, nil
			}
			return line, false, nil
		}
		scanned = s.end - s.start
		if scanned > s.maxLine {
			return s.longLine()
		}
		more, err := s.fill()
		if err != nil {
			return nil, false, err
		}
		if !more {
			if s.start == s.end {
				return nil, false, io.EOF
			}
			line = s.buf[s.start:s.end]
			s.start = s.end
			return line, false, nil
		}
	}
}

// longLine passes over a line that is longer than maxLine and keeps its start.
func (s *stream) longLine() ([]byte, bool, error) {
	head := bytes.Clone(s.buf[s.start : s.start+min(s.maxLine, 64<<10)])
	for {
		if i := bytes.IndexByte(s.buf[s.start:s.end], '\n'); i >= 0 {
			s.start += i + 1
			return head, true, nil
		}
		s.start = s.end
		more, err := s.fill()
		if err != nil {
			return nil, false, err
		}
		if !more {
			return head, true, nil
		}
	}
}

// skipMark passes over a byte order mark.
func (s *stream) skipMark() error {
	for s.end-s.start < 3 {
		if more, err := s.fill(); err != nil || !more {
			return err
		}
	}
	if bytes.HasPrefix(s.buf[s.start:s.end], []byte("\xef\xbb\xbf")) {
		s.start += 3
	}
	return nil
}

// sum gives the hash of the stored bytes, if they are hashed. The decoder may have left some unread.
func (s *stream) sum() (sum [32]byte, err error) {
	if _, err := io.Copy(io.Discard, s.stored); err != nil {
		return sum, err
	}
	if s.stored.hash != nil {
		s.stored.hash.Sum(sum[:0])
	}
	return sum, nil
}
