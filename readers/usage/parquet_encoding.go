package usage

import (
	"encoding/binary"
	"errors"
	"fmt"
)

var errEncoding = errors.New("a page has damaged values")

// The encodings of Parquet.
const (
	encodingPlain        = 0
	encodingOldCodes     = 2 // in a dictionary
	encodingLevels       = 3
	encodingDeltas       = 5
	encodingDeltaLengths = 6
	encodingDeltaStrings = 7
	encodingCodes        = 8
	encodingSplit        = 9
)

// decodeValues decodes the n values of a data page.
func (p *pages) decodeValues(data []byte, n int) error {
	v, physical := &p.page.values, p.leaf.physical
	v.n = n
	switch e := p.header.encoding; {
	case e == encodingPlain:
		return p.plainValues(v, data, n)
	case e == encodingOldCodes || e == encodingCodes:
		return p.dictionaryCodes(data, n)
	case e == encodingDeltas && (physical == physicalInt32 || physical == physicalInt64):
		ints, _, err := p.deltas(data, n)
		if err != nil {
			return err
		}
		p.fixedInts(v, ints, 4<<(physical-physicalInt32))
		return nil
	case e == encodingDeltaLengths && physical == physicalByteArray:
		return p.deltaLengths(v, data, n)
	case e == encodingDeltaStrings && (physical == physicalByteArray || physical == physicalFixed):
		return p.deltaStrings(v, data, n)
	case e == encodingSplit && physical != physicalByteArray && p.width() > 0:
		return p.splitStreams(v, data, n)
	}
	return fmt.Errorf("the encoding %d of a page is not supported for %s", p.header.encoding, physicalNames[physical])
}

// width of a fixed-width type; 0: the values have lengths of their own.
func (p *pages) width() int {
	switch p.leaf.physical {
	case physicalInt32, physicalFloat:
		return 4
	case physicalInt64, physicalDouble:
		return 8
	case physicalInt96:
		return 12
	case physicalFixed:
		return p.leaf.length
	}
	return 0
}

func (p *pages) plainValues(v *values, data []byte, n int) error {
	v.n, v.data, v.width, v.gap = n, data, p.width(), 4
	if p.leaf.physical == physicalBoolean {
		return errors.New("BOOLEAN columns are not supported")
	}
	if v.width > 0 {
		if n > len(data)/v.width {
			return errEncoding
		}
		return nil
	}
	if n > len(data)/4 {
		return errEncoding
	}
	v.offsets = sized(v.offsets, n+1)
	at := 0
	for i := range n {
		if len(data)-at < 4 {
			return errEncoding
		}
		length := binary.LittleEndian.Uint32(data[at:])
		at += 4
		v.offsets[i] = uint32(at)
		if uint64(length) > uint64(len(data)-at) {
			return errEncoding
		}
		at += int(length)
	}
	v.offsets[n] = uint32(at) + 4
	return nil
}

func (p *pages) dictionaryCodes(data []byte, n int) error {
	if !p.hasDict {
		return errors.New("a page uses a dictionary that the column lacks")
	}
	p.codes = sized(p.codes, n)
	p.page.codes = p.codes
	if n == 0 {
		return nil
	}
	if len(data) == 0 || data[0] > 32 {
		return errEncoding
	}
	return hybrid(p.codes, data[1:], int(data[0]), p.dictionary.n-1)
}

// hybrid decodes runs of equal and of bit-packed numbers, none of which may be larger than most.
func hybrid[T uint8 | uint32](dst []T, src []byte, width, most int) error {
	if most < 0 {
		return errEncoding
	}
	var padded [40]byte
	for len(dst) > 0 {
		head, used := binary.Uvarint(src)
		if used <= 0 {
			return errEncoding
		}
		src = src[used:]
		if head&1 == 0 {
			size := (width + 7) / 8
			if len(src) < size {
				return errEncoding
			}
			var word [4]byte
			copy(word[:], src[:size])
			src = src[size:]
			n := binary.LittleEndian.Uint32(word[:])
			if uint64(n) > uint64(most) {
				return errEncoding
			}
			run := min(head>>1, uint64(len(dst)))
			if run == 0 {
				return errEncoding
			}
			for i := range dst[:run] {
				dst[i] = T(n)
			}
			dst = dst[run:]
			continue
		}
		groups := head >> 1
		if groups == 0 {
			return errEncoding
		}
		for width == 0 && len(dst) > 0 && groups > 0 {
			clear(dst[:min(8, len(dst))])
			dst = dst[min(8, len(dst)):]
			groups--
		}
		for ; groups > 0 && len(dst) > 0; groups-- {
			group := src
			if len(src) < width+8 {
				if len(src)*8 < width*min(8, len(dst)) {
					return errEncoding
				}
				clear(padded[:])
				copy(padded[:], src)
				group = padded[:]
			}
			if !unpack8(dst[:min(8, len(dst))], group, width, most) {
				return errEncoding
			}
			src = src[min(width, len(src)):]
			dst = dst[min(8, len(dst)):]
		}
	}
	return nil
}

// unpack8 takes up to eight numbers out of src, which has eight bytes to spare.
func unpack8[T uint8 | uint32](dst []T, src []byte, width, most int) bool {
	mask := uint64(1)<<width - 1
	largest := uint64(0)
	for i, bit := 0, 0; i < len(dst); i, bit = i+1, bit+width {
		n := binary.LittleEndian.Uint64(src[bit>>3:]) >> (bit & 7) & mask
		largest = max(largest, n)
		dst[i] = T(n)
	}
	return largest <= uint64(most)
}

// deltas decodes DELTA_BINARY_PACKED: n numbers exactly, and what follows them.
func (p *pages) deltas(src []byte, n int) ([]int64, []byte, error) {
	t := &thrift{b: src} // its integers are the same
	block, minis, total, value := t.uvarint(), t.uvarint(), t.uvarint(), t.int()
	if t.err != nil || block == 0 || block%128 != 0 || block > 1<<20 || minis == 0 || block%minis != 0 || block/minis%32 != 0 || total != uint64(n) {
		return nil, nil, errEncoding
	}
	out := sized(p.ints, n)
	p.ints = out
	if n > 0 {
		out[0] = value
	}
	perMini := int(block / minis)
	for at := 1; at < n; {
		least := t.int()
		if uint64(len(src)-t.pos) < minis || t.err != nil {
			return nil, nil, errEncoding
		}
		widths := src[t.pos : t.pos+int(minis)]
		t.pos += int(minis)
		for _, width := range widths {
			if at >= n {
				break
			}
			size := perMini * int(width) / 8
			if width > 64 || len(src)-t.pos < size {
				return nil, nil, errEncoding
			}
			packed := src[t.pos : t.pos+size]
			t.pos += size
			for i := 0; i < perMini && at < n; i, at = i+1, at+1 {
				value += least + int64(bitsAt(packed, i*int(width), int(width)))
				out[at] = value
			}
		}
	}
	return out, src[t.pos:], nil
}

func bitsAt(b []byte, bit, width int) uint64 {
	if width == 0 {
		return 0
	}
	var word [16]byte
	copy(word[:], b[bit>>3:min(len(b), bit>>3+16)])
	lo, hi := binary.LittleEndian.Uint64(word[:]), binary.LittleEndian.Uint64(word[8:])
	shift := bit & 7
	n := lo>>shift | hi<<(63-shift)<<1
	return n & (1<<(width-1)<<1 - 1)
}

// fixedInts lays numbers out as PLAIN does.
func (p *pages) fixedInts(v *values, ints []int64, width int) {
	p.decoded = sized(p.decoded, len(ints)*width)
	for i, n := range ints {
		if width == 4 {
			binary.LittleEndian.PutUint32(p.decoded[i*4:], uint32(n))
		} else {
			binary.LittleEndian.PutUint64(p.decoded[i*8:], uint64(n))
		}
	}
	v.data, v.width = p.decoded, width
}

// lengths reads n lengths of DELTA_BINARY_PACKED into the offsets of v.
func (p *pages) lengths(v *values, data []byte, n, limit int) ([]byte, error) {
	ints, rest, err := p.deltas(data, n)
	if err != nil {
		return nil, err
	}
	v.offsets = sized(v.offsets, n+1)
	v.offsets[0] = 0
	at := int64(0)
	for i, length := range ints {
		if length < 0 || length > int64(limit)-at {
			return nil, errEncoding
		}
		at += length
		v.offsets[i+1] = uint32(at)
	}
	return rest, nil
}

func (p *pages) deltaLengths(v *values, data []byte, n int) error {
	rest, err := p.lengths(v, data, n, len(data))
	if err != nil {
		return err
	}
	v.data, v.width, v.gap = rest, 0, 0
	if int(v.offsets[n]) > len(rest) {
		return errEncoding
	}
	return nil
}

// deltaStrings decodes DELTA_BYTE_ARRAY: every value begins with a part of the one before.
func (p *pages) deltaStrings(v *values, data []byte, n int) error {
	ints, rest, err := p.deltas(data, n)
	if err != nil {
		return err
	}
	prefixes := append([]int64(nil), ints...)
	var suffixes values
	if err := p.deltaLengths(&suffixes, rest, n); err != nil {
		return err
	}
	length := int64(suffixes.offsets[n])
	for _, prefix := range prefixes {
		if prefix < 0 || prefix > maxPageBytes || length+prefix > maxPageBytes {
			return errEncoding
		}
		length += prefix
	}
	if err := p.holdStrings(length); err != nil {
		return err
	}
	v.offsets = sized(v.offsets, n+1)
	v.offsets[0] = 0
	out, last := sized(p.decoded, int(length))[:0], 0
	for i := range n {
		suffix := suffixes.at(i)
		start := len(out)
		if prefixes[i] > int64(start-last) {
			return errEncoding
		}
		out = append(append(out, out[last:last+int(prefixes[i])]...), suffix...)
		last = start
		v.offsets[i+1] = uint32(len(out))
	}
	p.decoded = out
	v.data, v.gap, v.width = out, 0, 0
	if width := p.width(); width > 0 {
		if len(out) != n*width {
			return errEncoding
		}
		v.width = width
	}
	return nil
}

// splitStreams decodes BYTE_STREAM_SPLIT: first bytes first.
func (p *pages) splitStreams(v *values, data []byte, n int) error {
	width := p.width()
	if len(data) != n*width {
		return errEncoding
	}
	p.decoded = sized(p.decoded, len(data))
	for i := range n {
		for k := range width {
			p.decoded[i*width+k] = data[k*n+i]
		}
	}
	v.data, v.width = p.decoded, width
	return nil
}
