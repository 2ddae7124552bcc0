package store

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"weak"

	"drawdown/rating"

	"github.com/klauspost/compress/zstd"
)

const (
	stateMagic   = "DRAWST\x02"
	stateVersion = 2 // its last byte; version 1 has neither leftovers nor raises
	stateHeader  = len(stateMagic) + 32 + 8
	maxStateSize = 1 << 30 // bytes of content, so that a damaged length cannot take all memory
)

// StateEncoder encodes states of payers. Any number of goroutines may use one: each works with memory of its own, which is
// kept for the next state, since a run encodes one for each period and shard.
type StateEncoder struct {
	spare sync.Pool // of *stateEncoding
}

// Encode writes the states of payers in the form of the package comment. It fails where their parts are not in ascending
// order, which is a fault of who made them.
func (s *StateEncoder) Encode(catalog *rating.Catalog, payers []rating.PayerState) ([]byte, error) {
	if !slices.IsSortedFunc(payers, comparePayers) {
		payers = slices.Clone(payers)
		slices.SortFunc(payers, comparePayers)
	}
	e, _ := s.spare.Get().(*stateEncoding)
	if e == nil {
		var err error
		if e, err = newStateEncoding(); err != nil {
			return nil, err
		}
	}
	defer s.spare.Put(e)
	e.begin(catalog)
	e.mark(payers)
	e.table(&e.accounts, func(i int32) string { return catalog.Accounts[i].ID })
	e.table(&e.meters, func(i int32) string { return catalog.Meters[i].ID })
	e.table(&e.packages, func(i int32) string { return catalog.Packages[i].ID })
	e.u(uint64(len(payers)), uint64(e.packageCount), uint64(e.counterCount), uint64(e.stopCount), uint64(e.leftoverCount))
	for i := range payers {
		p := &payers[i]
		if i > 0 && payers[i-1].Payer == p.Payer {
			return nil, fmt.Errorf("encode state: payer %s is there twice", catalog.Accounts[p.Payer].ID)
		}
		if err := checkAscending(p); err != nil {
			return nil, fmt.Errorf("encode state: payer %s: %w", catalog.Accounts[p.Payer].ID, err)
		}
		e.payer(p)
	}
	if len(e.b) > maxStateSize {
		return nil, fmt.Errorf("encode state: %d bytes are more than the limit of %d; raise settlement.shards", len(e.b), maxStateSize)
	}
	return e.seal(), nil
}

// seal compresses and names the content. One goroutine and one level: the same bytes each time.
func (e *stateEncoding) seal() []byte {
	sum := sha256.Sum256(e.b)
	e.sealed = append(append(e.sealed[:0], stateMagic...), sum[:]...)
	e.sealed = binary.LittleEndian.AppendUint64(e.sealed, uint64(len(e.b)))
	e.sealed = e.zstd.EncodeAll(e.b, e.sealed)
	return bytes.Clone(e.sealed)
}

func comparePayers(a, b rating.PayerState) int { return cmp.Compare(a.Payer, b.Payer) }

// checkAscending makes sure that there is one way only to write a state.
func checkAscending(p *rating.PayerState) error {
	for i := 1; i < len(p.Packages); i++ {
		if p.Packages[i-1].Package >= p.Packages[i].Package {
			return fmt.Errorf("packages are not in ascending order at %d", i)
		}
	}
	for i := 1; i < len(p.Leftovers); i++ {
		a, b := &p.Leftovers[i-1], &p.Leftovers[i]
		if cmp.Or(cmp.Compare(a.Package, b.Package), cmp.Compare(a.CycleStart, b.CycleStart)) >= 0 {
			return fmt.Errorf("what cycles left is not in ascending order at %d", i)
		}
	}
	for i := 1; i < len(p.Counters); i++ {
		a, b := &p.Counters[i-1], &p.Counters[i]
		if cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Meter, b.Meter), cmp.Compare(a.Month, b.Month)) >= 0 {
			return fmt.Errorf("counters are not in ascending order at %d", i)
		}
	}
	for i := 1; i < len(p.Stops); i++ {
		a, b := &p.Stops[i-1], &p.Stops[i]
		if cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Meter, b.Meter), cmp.Compare(a.Package, b.Package),
			cmp.Compare(a.CycleStart, b.CycleStart)) >= 0 {
			return fmt.Errorf("stops are not in ascending order at %d", i)
		}
	}
	return nil
}

// stateEncoding is the memory in which a state is encoded. Accounts, meters and packages are marked first, and then say the
// position in the table of ids by the index in the catalog.
type stateEncoding struct {
	catalog                               weak.Pointer[rating.Catalog] // of the state before; a part of one is not kept for it
	zstd                                  *zstd.Encoder
	b, sealed                             []byte
	accounts, meters, packages            positions
	packageCount, counterCount, stopCount int
	leftoverCount                         int
}

func newStateEncoding() (*stateEncoding, error) {
	w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderCRC(false),
		zstd.WithWindowSize(1<<20)) // the default one costs 8 MiB for each worker
	return &stateEncoding{zstd: w}, err
}

// begin forgets the state before.
func (e *stateEncoding) begin(catalog *rating.Catalog) {
	e.b, e.packageCount, e.counterCount, e.stopCount, e.leftoverCount = e.b[:0], 0, 0, 0, 0
	same := e.catalog.Value() == catalog
	e.accounts.begin(len(catalog.Accounts), same)
	e.meters.begin(len(catalog.Meters), same)
	e.packages.begin(len(catalog.Packages), same)
	e.catalog = weak.Make(catalog)
}

// positions are those of ids in a table, by the index in the catalog. A state is of a small part of the catalog, so what
// it marks is listed.
type positions struct {
	of     []int32
	marked []int32 // in the order of the catalog
	mixed  bool    // not yet

	before []int32 // what the state before had marked: a shard's next period mostly has the same ids
	table  []byte  // that it made of them
}

func (p *positions) begin(n int, sameCatalog bool) {
	if !sameCatalog {
		p.table = nil
	}
	for _, i := range p.marked {
		p.of[i] = 0
	}
	p.marked, p.mixed = p.marked[:0], false
	if len(p.of) < n {
		p.of = make([]int32, n)
	}
}

func (p *positions) mark(i int32) {
	if p.of[i] == 0 {
		p.of[i] = 1
		p.mixed = p.mixed || len(p.marked) > 0 && p.marked[len(p.marked)-1] > i
		p.marked = append(p.marked, i)
	}
}

func (e *stateEncoding) mark(payers []rating.PayerState) {
	for i := range payers {
		p := &payers[i]
		e.accounts.mark(p.Payer)
		for n := range p.Packages {
			e.packages.mark(p.Packages[n].Package)
		}
		for n := range p.Leftovers {
			e.packages.mark(p.Leftovers[n].Package)
		}
		for n := range p.Counters {
			e.accounts.mark(p.Counters[n].Account)
			e.meters.mark(p.Counters[n].Meter)
		}
		for n := range p.Stops {
			s := &p.Stops[n]
			e.accounts.mark(s.Account)
			e.meters.mark(s.Meter)
			e.packages.mark(s.Package)
		}
		e.packageCount += len(p.Packages)
		e.leftoverCount += len(p.Leftovers)
		e.counterCount += len(p.Counters)
		e.stopCount += len(p.Stops)
	}
	e.b = slices.Grow(e.b[:0], 1024+len(payers)*16+e.packageCount*74+e.leftoverCount*32+e.counterCount*12+e.stopCount*12)
}

// table writes the ids of what is marked, and numbers them.
func (e *stateEncoding) table(marks *positions, id func(int32) string) {
	if marks.mixed {
		slices.Sort(marks.marked)
	}
	for n, i := range marks.marked {
		marks.of[i] = int32(n)
	}
	if len(marks.table) > 0 && slices.Equal(marks.marked, marks.before) {
		e.b = append(e.b, marks.table...)
		return
	}
	from := len(e.b)
	e.u(uint64(len(marks.marked)))
	before := ""
	for _, i := range marks.marked {
		text := id(i)
		shared := 0
		for shared < min(len(before), len(text)) && before[shared] == text[shared] {
			shared++
		}
		e.u(uint64(shared), uint64(len(text)-shared))
		e.b = append(e.b, text[shared:]...)
		before = text
	}
	marks.before, marks.table = append(marks.before[:0], marks.marked...), append(marks.table[:0], e.b[from:]...)
}

func (e *stateEncoding) u(values ...uint64) {
	for _, v := range values {
		e.b = appendU(e.b, v)
	}
}

func (e *stateEncoding) s(values ...int64) {
	for _, v := range values {
		e.b = appendS(e.b, v)
	}
}

// appendU and appendS append a varint; most of a state's numbers take one byte.
func appendU(b []byte, v uint64) []byte {
	if v < 0x80 {
		return append(b, byte(v))
	}
	return binary.AppendUvarint(b, v)
}

func appendS(b []byte, v int64) []byte { return appendU(b, uint64(v)<<1^uint64(v>>63)) }

const (
	flagTracked = 1 << iota
	flagArrears
	flagsEnd
)

func (e *stateEncoding) payer(p *rating.PayerState) {
	var flags uint64
	if p.Tracked {
		flags |= flagTracked
	}
	if p.Arrears {
		flags |= flagArrears
	}
	e.u(uint64(e.accounts.of[p.Payer]), flags)
	if p.Tracked {
		e.s(p.Cash.Hi, p.TopUps.Hi)
		e.u(p.Cash.Lo, p.TopUps.Lo)
	}
	e.u(uint64(len(p.Packages)))
	for i := range p.Packages {
		e.pack(&p.Packages[i])
	}
	e.u(uint64(len(p.Leftovers)))
	for i := range p.Leftovers {
		e.leftover(&p.Leftovers[i])
	}
	e.u(uint64(len(p.Counters)))
	for i := range p.Counters {
		c := &p.Counters[i]
		e.u(uint64(e.accounts.of[c.Account]), uint64(e.meters.of[c.Meter]), uint64(c.Scale))
		e.s(int64(c.Month), c.Usage, c.Excess)
	}
	e.u(uint64(len(p.Stops)))
	for i := range p.Stops {
		s := &p.Stops[i]
		e.u(uint64(e.accounts.of[s.Account]), uint64(e.meters.of[s.Meter]), uint64(e.packages.of[s.Package]))
		e.s(int64(s.CycleStart))
	}
}

func (e *stateEncoding) pack(p *rating.PackageState) {
	b := appendU(appendU(appendU(e.b, uint64(e.packages.of[p.Package])), uint64(p.Stage)), uint64(p.Scale))
	for _, v := range [...]int64{
		int64(p.Arms), int64(p.Cycle), int64(p.TermStart), int64(p.TermEnd - p.TermStart), int64(p.CycleStart - p.TermStart),
		int64(p.CycleEnd - p.CycleStart), int64(p.ServesFrom - p.TermStart),
	} {
		b = appendS(b, v)
	}
	b = appendU(b, uint64(len(p.NextEnds)))
	for _, end := range p.NextEnds {
		b = appendS(b, int64(end-p.TermStart))
	}
	for _, v := range [...]int64{p.Quota, p.Grant - p.Quota, p.Grant - p.Remaining, p.Rolled, p.Lapsed} {
		b = appendS(b, v)
	}
	b = binary.LittleEndian.AppendUint64(b, p.Terms)
	b = appendU(b, uint64(len(p.Applied)))
	for _, applied := range p.Applied {
		b = binary.LittleEndian.AppendUint64(b, applied)
	}
	e.b = appendS(b, int64(p.LapsedAt))
	e.raises(p.Raises, p.CycleStart)
}

func (e *stateEncoding) raises(raises []rating.Raise, cycleStart rating.Instant) {
	e.u(uint64(len(raises)))
	for _, raise := range raises {
		e.s(int64(raise.At-cycleStart), raise.Quantity)
	}
}

func (e *stateEncoding) leftover(f *rating.Leftover) {
	e.u(uint64(e.packages.of[f.Package]), uint64(f.Scale))
	e.s(int64(f.CycleStart), int64(f.CycleEnd-f.CycleStart), int64(f.ServesFrom), int64(f.LapsedAt), f.Quota, f.Quota-f.Left, f.Rolled)
	e.raises(f.Raises, f.CycleStart)
}
