package settlement

import (
	"encoding/binary"
	"math/bits"

	"github.com/klauspost/compress/huff0"
	"github.com/klauspost/compress/zstd"

	"drawdown/rating"
)

// A frame is what one Parquet page is compressed to: a zstd frame (RFC 8878), readable by every zstd. Which of its means a
// page uses depends on what is in it, because looking for repeated strings, the dear part of compressing, finds nothing
// in record ids and finds only the obvious in decimals:
//
//   - stored: blocks as they are, for bits that are packed already;
//   - literals: entropy coding (Huffman) without a search for matches, for record ids; with a fixed code for UUIDs;
//   - strided: fixed-width decimals, whose leading bytes are all the same, as a match with the value before. All matches
//     of a page have the same shape, so they cost nothing, neither space (their codes are stated once) nor a search. The
//     other bytes are entropy-coded if that was worth it in the first page of the column chunk: most quantities are
//     digits of chance, of which it saves a tenth for a tenth of all the time that a settlement takes;
//   - searched: what a general compressor does at its fastest.
type framer struct {
	huffman  huff0.Scratch
	searcher *zstd.Encoder
	scratch  []byte

	scratchHex []byte
}

func newFramer() *framer {
	searcher, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(false), zstd.WithWindowSize(1<<20), zstd.WithZeroFrames(true))
	if err != nil {
		panic(err) // the options are constants
	}
	f := &framer{searcher: searcher}
	f.huffman.Reuse = huff0.ReusePolicyNone // each block stands for itself
	return f
}

const (
	blockMax = 128 << 10 // of a zstd block, uncompressed

	blockRaw        = 0
	blockRepeat     = 1
	blockCompressed = 2

	rawLiterals      = 0
	repeatedLiterals = 1
	codedLiterals    = 2
)

// appendFrameHeader starts a frame of one segment with its content size in four bytes, and no checksum.
func appendFrameHeader(dst []byte, size int) []byte {
	dst = append(dst, 0x28, 0xB5, 0x2F, 0xFD, 0xA0)
	return binary.LittleEndian.AppendUint32(dst, uint32(size))
}

func appendBlockHeader(dst []byte, kind, size int, last bool) []byte {
	header := size<<3 | kind<<1
	if last {
		header |= 1
	}
	return append(dst, byte(header), byte(header>>8), byte(header>>16))
}

func appendRawBlocks(dst, content []byte, last bool) []byte {
	for len(content) > blockMax {
		dst = append(appendBlockHeader(dst, blockRaw, blockMax, false), content[:blockMax]...)
		content = content[blockMax:]
	}
	return append(appendBlockHeader(dst, blockRaw, len(content), last), content...)
}

// stored appends a frame of head and body without compressing them, save that a body of one repeated byte is one.
func (f *framer) stored(dst, head, body []byte) []byte {
	dst = appendFrameHeader(dst, len(head)+len(body))
	if len(head) > 0 {
		dst = appendRawBlocks(dst, head, len(body) == 0)
		if len(body) == 0 {
			return dst
		}
	}
	if len(body) > 1 && len(body) <= blockMax && isRepeated(body) {
		return append(appendBlockHeader(dst, blockRepeat, len(body), true), body[0])
	}
	return appendRawBlocks(dst, body, true)
}

func isRepeated(b []byte) bool { return string(b[1:]) == string(b[:len(b)-1]) }

// searched appends a frame of head and body.
func (f *framer) searched(dst, head, body []byte) []byte {
	if len(head) > 0 {
		f.scratch = append(append(f.scratch[:0], head...), body...)
		body = f.scratch
	}
	return f.searcher.EncodeAll(body, dst)
}

// literals appends a frame of head, which is stored, and body.
func (f *framer) literals(dst, head, body []byte) []byte {
	dst = appendFrameHeader(dst, len(head)+len(body))
	if len(head) > 0 {
		dst = appendRawBlocks(dst, head, len(body) == 0)
	}
	for len(body) > blockMax {
		dst = f.literalBlock(dst, body[:blockMax], false)
		body = body[blockMax:]
	}
	if len(body) == 0 {
		if len(head) == 0 {
			dst = appendRawBlocks(dst, nil, true)
		}
		return dst
	}
	return f.literalBlock(dst, body, true)
}

func (f *framer) literalBlock(dst, content []byte, last bool) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, 0)
	if hex, ok := f.hex(content); ok {
		dst = append(appendCodedLiteralsHeader(dst, len(content), len(hex)), hex...)
	} else {
		dst = f.appendLiterals(dst, content)
	}
	dst = append(dst, 0) // no sequences
	size := len(dst) - start - 3
	if size >= len(content) {
		return appendRawBlocks(dst[:start], content, last)
	}
	appendBlockHeader(dst[:start], blockCompressed, size, last)
	return dst
}

// hex gives what is hexadecimal as appendHex does; its end tells at once what is not.
func (f *framer) hex(content []byte) (coded []byte, ok bool) {
	if len(content) < 1024 {
		return nil, false
	}
	if _, ok = appendHexStream(f.scratchHex[:0], content[len(content)-64:]); ok {
		f.scratchHex, ok = appendHex(f.scratchHex[:0], content)
	}
	return f.scratchHex, ok
}

// appendLiterals appends a literals section (RFC 8878, 3.1.1.3.1), compressed where that helps.
func (f *framer) appendLiterals(dst, literals []byte) []byte {
	n := len(literals)
	if n >= 1024 {
		out, _, err := huff0.Compress4X(literals, &f.huffman)
		switch {
		case err == huff0.ErrUseRLE:
			dst = appendPlainLiteralsHeader(dst, repeatedLiterals, n)
			return append(dst, literals[0])
		case err == nil && len(out)+5 < n:
			return append(appendCodedLiteralsHeader(dst, n, len(out)), out...)
		}
	}
	return append(appendPlainLiteralsHeader(dst, rawLiterals, n), literals...)
}

// appendCodedLiteralsHeader says of how many bytes n are made.
func appendCodedLiteralsHeader(dst []byte, n, size int) []byte {
	var header [8]byte
	if bits.Len(uint(n)) <= 14 {
		binary.LittleEndian.PutUint64(header[:], codedLiterals|2<<2|uint64(n)<<4|uint64(size)<<18)
		return append(dst, header[:4]...)
	}
	binary.LittleEndian.PutUint64(header[:], codedLiterals|3<<2|uint64(n)<<4|uint64(size)<<22)
	return append(dst, header[:5]...)
}

func appendPlainLiteralsHeader(dst []byte, kind, n int) []byte {
	switch {
	case n < 1<<5:
		return append(dst, byte(kind|n<<3))
	case n < 1<<12:
		return append(dst, byte(kind|1<<2|n<<4), byte(n>>4))
	}
	return append(dst, byte(kind|3<<2|n<<4), byte(n>>4), byte(n>>12))
}

const decimalSize = 16

// strided appends a frame of head and the values as 16 bytes each, big-endian. A column chunk's first page sets coded,
// which says of the others whether entropy coding is worth it.
func (f *framer) strided(dst, head []byte, values []rating.Amount, coded *coded) []byte {
	shared := sharedPrefix(values)
	if shared < 3 || len(values) < 64 {
		f.scratch = appendSuffixes(f.scratch[:0], values, 0)
		return f.literals(dst, head, f.scratch)
	}
	dst = appendFrameHeader(dst, len(head)+len(values)*decimalSize)
	if len(head) > 0 {
		dst = appendRawBlocks(dst, head, false)
	}
	// The first block has one value and the prefix of the next: it says once how far back a match lies, and all later
	// ones repeat that. Sequences are RFC 8878, 3.1.1.3.2: a count, three codes stated once, the extra bits.
	dst = appendBlockHeader(dst, blockCompressed, 1+decimalSize+6, false)
	dst = append(dst, decimalSize<<3)
	dst = binary.BigEndian.AppendUint64(dst, uint64(values[0].Hi))
	dst = binary.BigEndian.AppendUint64(dst, values[0].Lo)
	const literals16, distance16, extraBits = 16, 4, 0b1_0011_0
	dst = append(dst, 1, allRepeated, literals16, distance16, byte(shared-3), extraBits)
	values = values[1:]
	start, plain := len(dst), len(values)*(decimalSize-shared)
	const blockValues = blockMax/decimalSize - 1
	for len(values) > blockValues {
		dst = f.stridedBlock(dst, values[:blockValues], shared, *coded, false)
		values = values[blockValues:]
	}
	dst = f.stridedBlock(dst, values, shared, *coded, true)
	if *coded == untried {
		*coded = worthIt
		if len(dst)-start > plain/5*4 {
			*coded = notWorthIt
		}
	}
	return dst
}

// coded is whether the decimals of a column chunk are entropy-coded.
type coded uint8

const (
	untried coded = iota
	worthIt
	notWorthIt
)

const allRepeated = 0b01_01_01_00 // the codes of literal lengths, distances and match lengths are one each

// stridedBlock appends the suffixes of values, each but the last one of all followed by the prefix of the next.
func (f *framer) stridedBlock(dst []byte, values []rating.Amount, shared int, coded coded, last bool) []byte {
	f.scratch = appendSuffixes(f.scratch[:0], values, shared)
	matches := len(values)
	if last {
		matches--
	}
	if matches == 0 {
		return appendRawBlocks(dst, f.scratch, last)
	}
	start := len(dst)
	dst = append(dst, 0, 0, 0)
	if coded == notWorthIt {
		dst = append(appendPlainLiteralsHeader(dst, rawLiterals, len(f.scratch)), f.scratch...)
	} else {
		dst = f.appendLiterals(dst, f.scratch)
	}
	if matches < 128 {
		dst = append(dst, byte(matches))
	} else {
		dst = append(dst, byte(matches>>8+128), byte(matches))
	}
	const sameDistance, noBits = 0, 1
	dst = append(dst, allRepeated, byte(decimalSize-shared), sameDistance, byte(shared-3), noBits)
	appendBlockHeader(dst[:start], blockCompressed, len(dst)-start-3, last)
	return dst
}

// sharedPrefix counts the leading bytes that all values have in common, 15 at most.
func sharedPrefix(values []rating.Amount) int {
	if len(values) == 0 {
		return 0
	}
	var hi, lo uint64
	first := values[0]
	for _, v := range values {
		hi |= uint64(v.Hi ^ first.Hi)
		lo |= v.Lo ^ first.Lo
	}
	if hi != 0 {
		return bits.LeadingZeros64(hi) / 8
	}
	return min(8+bits.LeadingZeros64(lo)/8, decimalSize-1)
}

// appendSuffixes appends the big-endian bytes of the values without their first skip ones.
func appendSuffixes(dst []byte, values []rating.Amount, skip int) []byte {
	size := decimalSize - skip
	n := len(values) * size
	dst = grow(dst, n+decimalSize)
	at := len(dst)
	buf := dst[:at+n+decimalSize]
	if skip >= 8 {
		for _, v := range values {
			binary.BigEndian.PutUint64(buf[at:], v.Lo<<(8*(skip-8)))
			at += size
		}
		return buf[:at]
	}
	for _, v := range values {
		hi := uint64(v.Hi)<<(8*skip) | v.Lo>>(64-8*skip)
		binary.BigEndian.PutUint64(buf[at:], hi)
		binary.BigEndian.PutUint64(buf[at+8:], v.Lo<<(8*skip))
		at += size
	}
	return buf[:at]
}
