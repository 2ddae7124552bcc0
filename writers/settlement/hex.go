package settlement

import (
	"encoding/binary"
	"sync"
)

// Most record ids are UUIDs, and half of all that a settlement writes are record ids. A code that is fixed for hexadecimal
// digits and hyphens saves counting them first, and takes two at a time, which a general Huffman coder does not.
const (
	hexAlphabet = "-0123456789abcdef" // ascending
	hexLong     = "ef"                // have five bits, the others four, which uses up all codes
	hexCodeBits = 5

	hexBits    = 16                 // where an entry of the table of pairs says how many bits its code has
	hexForeign = 1<<31 | 8<<hexBits // as long as some code, so that nothing runs over
)

// hexPairs gives, for two bytes as a little-endian number, the codes of both, the second one in the lower bits, and how
// many bits that are; hexForeign if one of them is not in the alphabet.
var hexPairs = sync.OnceValue(func() *[1 << 16]uint32 {
	pairs := new([1 << 16]uint32)
	for i := range pairs {
		pairs[i] = hexForeign
	}
	var codes, sizes [256]uint32
	long, short := uint32(0), uint32(len(hexLong)/2)
	for _, c := range []byte(hexAlphabet) { // RFC 8878, 4.2.1.3: long codes first, then by symbol
		if c == hexLong[0] || c == hexLong[1] {
			codes[c], sizes[c] = long, hexCodeBits
			long++
			continue
		}
		codes[c], sizes[c] = short, hexCodeBits-1
		short++
	}
	for _, a := range []byte(hexAlphabet) {
		for _, b := range []byte(hexAlphabet) {
			pairs[int(a)|int(b)<<8] = codes[b] | codes[a]<<sizes[b] | (sizes[a]+sizes[b])<<hexBits
		}
	}
	return pairs
})

// appendHexTable describes the code (RFC 8878, 4.2.1.1): a weight of four bits for each symbol but the last one, whose
// weight follows from the others.
func appendHexTable(dst []byte) []byte {
	last := hexAlphabet[len(hexAlphabet)-1]
	dst = append(dst, 127+last)
	start := len(dst)
	dst = append(dst, make([]byte, (int(last)+1)/2)...)
	for _, c := range []byte(hexAlphabet[:len(hexAlphabet)-1]) {
		weight := byte(2)
		if c == hexLong[0] || c == hexLong[1] {
			weight = 1
		}
		dst[start+int(c)/2] |= weight << (4 * (1 - c%2))
	}
	return dst
}

// appendHex appends what huff0.Compress4X would make of literals with that code: its table, and four streams. It gives up
// where a byte is none of the alphabet.
func appendHex(dst, literals []byte) ([]byte, bool) {
	dst = appendHexTable(dst)
	sizes := len(dst)
	dst = append(dst, 0, 0, 0, 0, 0, 0)
	quarter := (len(literals) + 3) / 4
	for i := range 4 {
		start, stream := len(dst), literals[min(i*quarter, len(literals)):min((i+1)*quarter, len(literals))]
		var ok bool
		if dst, ok = appendHexStream(dst, stream); !ok {
			return dst, false
		}
		if i < 3 {
			binary.LittleEndian.PutUint16(dst[sizes+2*i:], uint16(len(dst)-start))
		}
	}
	return dst, true
}

// appendHexStream appends the codes of a stream from its end to its beginning, as they are read the other way round.
func appendHexStream(dst, stream []byte) ([]byte, bool) {
	pairs := hexPairs()
	at := len(dst)
	dst = grow(dst, len(stream)*hexCodeBits/8+16)
	out := dst[:cap(dst)]
	var bits uint64
	var filled uint32
	var all uint32                        // of the entries, which tells whether one was foreign
	if odd := len(stream) % 2; odd == 1 { // a pair whose first byte is not written
		last := len(stream) - 1
		e := pairs[uint16('0')|uint16(stream[last])<<8]
		all, filled = e, e>>hexBits&31-(hexCodeBits-1)
		bits, stream = uint64(e)&(1<<filled-1), stream[:last]
	}
	for len(stream)%8 != 0 { // three pairs at most
		last := len(stream) - 2
		e := pairs[binary.LittleEndian.Uint16(stream[last:])]
		all |= e
		bits |= uint64(uint16(e)) << (filled & 63)
		filled += e >> hexBits & 31
		stream = stream[:last]
	}
	for n := len(stream) - 8; n >= 0; n -= 8 {
		eight := binary.LittleEndian.Uint64(stream[n:])
		e3, e2, e1, e0 := pairs[uint16(eight>>48)], pairs[uint16(eight>>32)], pairs[uint16(eight>>16)], pairs[uint16(eight)]
		all |= e3 | e2 | e1 | e0
		binary.LittleEndian.PutUint64(out[at:], bits)
		at += int(filled / 8)
		bits >>= filled & 56
		filled &= 7
		bits |= uint64(uint16(e3)) << filled
		filled += e3 >> hexBits & 31
		bits |= uint64(uint16(e2)) << (filled & 63)
		filled += e2 >> hexBits & 31
		bits |= uint64(uint16(e1)) << (filled & 63)
		filled += e1 >> hexBits & 31
		bits |= uint64(uint16(e0)) << (filled & 63)
		filled += e0 >> hexBits & 31
	}
	if all>>31 != 0 {
		return dst, false
	}
	bits |= 1 << (filled & 63) // where reading begins
	binary.LittleEndian.PutUint64(out[at:], bits)
	return out[:at+int(filled/8)+1], true
}
