package shuffle

import "encoding/binary"

const (
	uuidLen = 36
	ones    = 0x0101010101010101
)

// packUUID gives the 16 bytes of a UUID in canonical lowercase text as two numbers, which order as the texts do; false
// for any other text.
func packUUID(text []byte) (hi, lo uint64, ok bool) {
	if len(text) != uuidLen {
		return 0, 0, false
	}
	t := (*[uuidLen]byte)(text)
	if t[8] != '-' || t[13] != '-' || t[18] != '-' || t[23] != '-' {
		return 0, 0, false
	}
	a := binary.BigEndian.Uint64(t[0:8])
	b := uint64(binary.BigEndian.Uint32(t[9:13]))<<32 | uint64(binary.BigEndian.Uint32(t[14:18]))
	c := uint64(binary.BigEndian.Uint32(t[19:23]))<<32 | uint64(binary.BigEndian.Uint32(t[24:28]))
	d := binary.BigEndian.Uint64(t[28:36])
	na, nb, nc, nd := nibbles(a), nibbles(b), nibbles(c), nibbles(d)
	// A digit above 15, or one that would be written otherwise, is no lowercase hex digit.
	wrong := (na|nb|nc|nd)&(0xf0*ones) | (digits(na) ^ a) | (digits(nb) ^ b) | (digits(nc) ^ c) | (digits(nd) ^ d)
	return squeeze(na)<<32 | squeeze(nb), squeeze(nc)<<32 | squeeze(nd), wrong == 0
}

// putUUID writes the text of a packed UUID.
func putUUID(t *[uuidLen]byte, hi, lo uint64) {
	b, c := digits(spread(hi&0xffffffff)), digits(spread(lo>>32))
	binary.BigEndian.PutUint64(t[0:8], digits(spread(hi>>32)))
	t[8] = '-'
	binary.BigEndian.PutUint32(t[9:13], uint32(b>>32))
	t[13] = '-'
	binary.BigEndian.PutUint32(t[14:18], uint32(b))
	t[18] = '-'
	binary.BigEndian.PutUint32(t[19:23], uint32(c>>32))
	t[23] = '-'
	binary.BigEndian.PutUint32(t[24:28], uint32(c))
	binary.BigEndian.PutUint64(t[28:36], digits(spread(lo&0xffffffff)))
}

// nibbles gives the values of eight hex digits, a byte each; nonsense for other characters.
func nibbles(text uint64) uint64 {
	return text&(0x0f*ones) + (text>>6&ones)*9
}

// digits writes eight values below 16 as lowercase hex digits.
func digits(values uint64) uint64 {
	letters := (values + 6*ones) >> 4 & ones
	return values + '0'*ones + letters*('a'-'0'-10)
}

// squeeze makes a number of eight hex digits, and spread takes it apart again.
func squeeze(v uint64) uint64 {
	v = (v | v>>4) & 0x00ff00ff00ff00ff
	v = (v | v>>8) & 0x0000ffff0000ffff
	return (v | v>>16) & 0xffffffff
}

func spread(v uint64) uint64 {
	v = (v | v<<16) & 0x0000ffff0000ffff
	v = (v | v<<8) & 0x00ff00ff00ff00ff
	return (v | v<<4) & 0x0f0f0f0f0f0f0f0f
}
