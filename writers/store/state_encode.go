package store

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"

	"drawdown/rating"

	"github.com/klauspost/compress/zstd"
)

const (
	stateMagic   = "DRAWST\x02"
	stateVersion = 2 // its last byte; version 1 has neither leftovers nor raises
	stateHeader  = len(stateMagic) + 32 + 8
	maxStateSize = 1 << 30 // bytes of content, so that a damaged length cannot take all memory
)

// EncodeState writes the states of payers in the form of the package comment. It fails where their parts are not in
// ascending order, which is a fault of who made them.
func EncodeState(catalog *rating.Catalog, payers []rating.PayerState) ([]byte, error) {
	if !slices.IsSortedFunc(payers, comparePayers) {
		payers = slices.Clone(payers)
		slices.SortFunc(payers, comparePayers)
	}
	e := stateEncoder{
		accounts: make([]int32, len(catalog.Accounts)),
		meters:   make([]int32, len(catalog.Meters)),
		packages: make([]int32, len(catalog.Packages)),
	}
	e.mark(payers)
	e.table(e.accounts, func(i int) string { return catalog.Accounts[i].ID })
	e.table(e.meters, func(i int) string { return catalog.Meters[i].ID })
	e.table(e.packages, func(i int) string { return catalog.Packages[i].ID })
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
	return seal(e.b)
}

// seal compresses and names a content. One goroutine and one level: the same bytes each time.
func seal(content []byte) ([]byte, error) {
	w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderCRC(false),
		zstd.WithWindowSize(1<<20)) // the default one costs 8 MiB for each shard
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(content)
	blob := make([]byte, 0, stateHeader+len(content)/2)
	blob = append(append(blob, stateMagic...), sum[:]...)
	blob = binary.LittleEndian.AppendUint64(blob, uint64(len(content)))
	blob = w.EncodeAll(content, blob)
	return blob, w.Close()
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

// stateEncoder writes content. Accounts, meters and packages are marked first, and then say the position in the table of
// ids by the index in the catalog.
type stateEncoder struct {
	b                                     []byte
	accounts, meters, packages            []int32
	packageCount, counterCount, stopCount int
	leftoverCount                         int
}

func (e *stateEncoder) mark(payers []rating.PayerState) {
	for i := range payers {
		p := &payers[i]
		e.accounts[p.Payer] = 1
		for n := range p.Packages {
			e.packages[p.Packages[n].Package] = 1
		}
		for n := range p.Leftovers {
			e.packages[p.Leftovers[n].Package] = 1
		}
		for n := range p.Counters {
			e.accounts[p.Counters[n].Account] = 1
			e.meters[p.Counters[n].Meter] = 1
		}
		for n := range p.Stops {
			s := &p.Stops[n]
			e.accounts[s.Account], e.meters[s.Meter], e.packages[s.Package] = 1, 1, 1
		}
		e.packageCount += len(p.Packages)
		e.leftoverCount += len(p.Leftovers)
		e.counterCount += len(p.Counters)
		e.stopCount += len(p.Stops)
	}
	e.b = make([]byte, 0, 1024+len(payers)*16+e.packageCount*74+e.leftoverCount*32+e.counterCount*12+e.stopCount*12)
}

// table writes the ids of what is marked, and numbers them.
func (e *stateEncoder) table(marks []int32, id func(int) string) {
	n := 0
	for _, mark := range marks {
		n += int(mark)
	}
	e.u(uint64(n))
	n = 0
	before := ""
	for i, mark := range marks {
		if mark == 0 {
			continue
		}
		marks[i] = int32(n)
		n++
		text := id(i)
		shared := 0
		for shared < min(len(before), len(text)) && before[shared] == text[shared] {
			shared++
		}
		e.u(uint64(shared), uint64(len(text)-shared))
		e.b = append(e.b, text[shared:]...)
		before = text
	}
}

func (e *stateEncoder) u(values ...uint64) {
	for _, v := range values {
		e.b = binary.AppendUvarint(e.b, v)
	}
}

func (e *stateEncoder) s(values ...int64) {
	for _, v := range values {
		e.b = binary.AppendVarint(e.b, v)
	}
}

const (
	flagTracked = 1 << iota
	flagArrears
	flagsEnd
)

func (e *stateEncoder) payer(p *rating.PayerState) {
	var flags uint64
	if p.Tracked {
		flags |= flagTracked
	}
	if p.Arrears {
		flags |= flagArrears
	}
	e.u(uint64(e.accounts[p.Payer]), flags)
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
		e.u(uint64(e.accounts[c.Account]), uint64(e.meters[c.Meter]), uint64(c.Scale))
		e.s(int64(c.Month), c.Usage, c.Excess)
	}
	e.u(uint64(len(p.Stops)))
	for i := range p.Stops {
		s := &p.Stops[i]
		e.u(uint64(e.accounts[s.Account]), uint64(e.meters[s.Meter]), uint64(e.packages[s.Package]))
		e.s(int64(s.CycleStart))
	}
}

func (e *stateEncoder) pack(p *rating.PackageState) {
	e.u(uint64(e.packages[p.Package]), uint64(p.Stage), uint64(p.Scale))
	e.s(int64(p.Arms), int64(p.Cycle), int64(p.TermStart), int64(p.TermEnd-p.TermStart), int64(p.CycleStart-p.TermStart),
		int64(p.CycleEnd-p.CycleStart), int64(p.ServesFrom-p.TermStart))
	e.u(uint64(len(p.NextEnds)))
	for _, end := range p.NextEnds {
		e.s(int64(end - p.TermStart))
	}
	e.s(p.Quota, p.Grant-p.Quota, p.Grant-p.Remaining, p.Rolled, p.Lapsed)
	e.b = binary.LittleEndian.AppendUint64(e.b, p.Terms)
	e.u(uint64(len(p.Applied)))
	for _, applied := range p.Applied {
		e.b = binary.LittleEndian.AppendUint64(e.b, applied)
	}
	e.s(int64(p.LapsedAt))
	e.raises(p.Raises, p.CycleStart)
}

func (e *stateEncoder) raises(raises []rating.Raise, cycleStart rating.Instant) {
	e.u(uint64(len(raises)))
	for _, raise := range raises {
		e.s(int64(raise.At-cycleStart), raise.Quantity)
	}
}

func (e *stateEncoder) leftover(f *rating.Leftover) {
	e.u(uint64(e.packages[f.Package]), uint64(f.Scale))
	e.s(int64(f.CycleStart), int64(f.CycleEnd-f.CycleStart), int64(f.ServesFrom), int64(f.LapsedAt), f.Quota, f.Quota-f.Left, f.Rolled)
	e.raises(f.Raises, f.CycleStart)
}
