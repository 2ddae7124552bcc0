package usage

import "errors"

// allowance is what a file may still take. What it claims is compared with that before anything is allocated or repeated
// for it: a page of a hundred bytes may stand for millions of values, and a row for millions of entries.
type allowance struct {
	text     int64 // bytes that its values may come to, written out one by one
	open     int64 // bytes that the pages of all its columns may take at once
	stored   int64 // bytes that its column chunks may have: each byte of the file is of one chunk
	decoders decoders
}

// maxOpenBytes is what the pages of a file may take at once: six columns with pages as large as they may be.
const maxOpenBytes = 384 << 20

func newAllowance(size int64, p *plan) *allowance {
	return &allowance{text: max(minExpansion, saturatingProduct(size, p.maxExpansion)), open: maxOpenBytes, stored: size}
}

var (
	errExpands  = errors.New("it expands past usage.max_expansion; raise that if the object is what it should be")
	errOpen     = errors.New("its pages take more than 384 MiB at once; write the file with smaller pages")
	errOverlaps = errors.New("its columns have more bytes than the file")
)

// spend takes text off what is left.
func (a *allowance) spend(bytes int64) error {
	if a.text -= bytes; bytes < 0 || a.text < 0 {
		return errExpands
	}
	return nil
}

// holding is what the buffers of a column have room for.
type holding struct{ stored, expanded, dictionary, values, strings int64 }

func (h *holding) sum() int64 { return h.stored + h.expanded + h.dictionary + h.values + h.strings }

// hold makes sure that there is room for the page whose header was read.
func (p *pages) hold() error {
	h, held := &p.header, &p.held
	before := held.sum()
	held.stored = max(held.stored, h.stored)
	if h.kind == pageDictionary {
		held.dictionary = max(held.dictionary, h.expanded+8*h.values) // an offset, and what the catalog has for it
	} else {
		held.expanded = max(held.expanded, h.expanded)
		held.values = max(held.values, h.values*p.bytesPerValue())
	}
	return p.allowed.take(held.sum() - before)
}

// holdStrings makes sure that there is room for texts of which a page holds the differences alone.
func (p *pages) holdStrings(bytes int64) error {
	more := max(0, bytes-p.held.strings)
	p.held.strings += more
	return p.allowed.take(more)
}

func (a *allowance) take(bytes int64) error {
	if a.open -= bytes + bytes/4; a.open < 0 { // as sized allocates
		return errOpen
	}
	return nil
}

// bytesPerValue is what a value of the page takes beside the page itself.
func (p *pages) bytesPerValue() int64 {
	bytes := int64(0)
	if p.leaf.maxRep > 0 {
		bytes++
	}
	if p.leaf.maxDef > 0 {
		bytes += 1 + 4 // its level, and where it stands
	}
	width := int64(p.width())
	switch p.header.encoding {
	case encodingPlain, encodingCodes, encodingOldCodes:
		bytes += 4
	case encodingDeltas, encodingDeltaLengths:
		bytes += 8 + 8
	case encodingDeltaStrings:
		bytes += 8 + 8 + 4 + 4
	case encodingSplit:
		bytes += width
	}
	return bytes
}

// spendValues takes off what the values of a page come to beyond what the page itself does: a dictionary's entries count
// as often as they stand there, and an attribute's name with each of its values.
func (p *pages) spendValues(present int) error {
	plain := int64(present) * int64(p.width())
	if p.width() == 0 {
		plain = p.textBytes()
	}
	plain += int64(p.page.n) * p.nameBytes
	return p.allowed.spend(max(0, plain-p.header.expanded))
}

// textBytes is how long the texts of a page are.
func (p *pages) textBytes() int64 {
	if p.page.codes == nil {
		return int64(len(p.page.values.data))
	}
	sum := int64(0)
	offsets, gap := p.dictionary.offsets, int64(p.dictionary.gap)
	for _, code := range p.page.codes {
		sum += int64(offsets[code+1]) - int64(offsets[code]) - gap
	}
	return sum
}
