package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sort"

	"drawdown/rating"

	"github.com/klauspost/compress/zstd"
)

var errDamaged = errors.New("the stored state is damaged")

// StateHash gives the name of an encoded state: the hash of what it says. Only [DecodeState] checks it.
func StateHash(blob []byte) (Hash, error) {
	if len(blob) < stateHeader || !bytes.HasPrefix(blob, []byte(stateMagic[:len(stateMagic)-1])) {
		return Hash{}, fmt.Errorf("%w: it does not begin as a state does", errDamaged)
	}
	if version := blob[len(stateMagic)-1]; version < 1 || version > stateVersion {
		return Hash{}, fmt.Errorf("the stored state is of version %d, and this program knows versions up to %d: a newer drawdown has "+
			"written it; install that version", version, stateVersion)
	}
	return Hash(blob[len(stateMagic):]), nil
}

// DecodeState reads what [StateEncoder] wrote, and checks its hash. What the state is about must be in the catalog.
func DecodeState(catalog *rating.Catalog, blob []byte) ([]rating.PayerState, error) {
	content, err := unseal(blob)
	if err != nil {
		return nil, fmt.Errorf("decode state: %w", err)
	}
	payers, err := decodeContent(catalog, content, versionOf(blob))
	if err != nil {
		return nil, fmt.Errorf("decode state: %w", err)
	}
	return payers, nil
}

// versionOf gives the version of a state that was unsealed.
func versionOf(blob []byte) byte { return blob[len(stateMagic)-1] }

func unseal(blob []byte) ([]byte, error) {
	hash, err := StateHash(blob)
	if err != nil {
		return nil, err
	}
	size := binary.LittleEndian.Uint64(blob[stateHeader-8:])
	var frame zstd.Header
	if err := frame.Decode(blob[stateHeader:]); err != nil || size > maxStateSize || frame.HasFCS && frame.FrameContentSize != size {
		return nil, fmt.Errorf("%w: its length is not what it says", errDamaged)
	}
	r, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(max(size, 8<<20)))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	content, err := r.DecodeAll(blob[stateHeader:], nil)
	if err != nil || uint64(len(content)) != size || Hash(sha256.Sum256(content)) != hash {
		return nil, fmt.Errorf("%w: its content does not have the hash %s", errDamaged, hash)
	}
	return content, nil
}

// stateDecoder reads content. A fault is kept, and what is read after it is nothing.
type stateDecoder struct {
	b                          []byte
	version                    byte
	err                        error
	accounts, meters, packages []int32 // catalog's indexes by position in the table of ids
}

func decodeContent(catalog *rating.Catalog, content []byte, version byte) ([]rating.PayerState, error) {
	d := &stateDecoder{b: content, version: version}
	d.accounts = d.table("account", len(catalog.Accounts), func(i int) string { return catalog.Accounts[i].ID })
	d.meters = d.table("meter", len(catalog.Meters), func(i int) string { return catalog.Meters[i].ID })
	d.packages = d.table("package", len(catalog.Packages), func(i int) string { return catalog.Packages[i].ID })
	// The least bytes that each takes bound how many there can be.
	payers := make([]rating.PayerState, d.count(5))
	packages := make([]rating.PackageState, d.count(25))
	counters := make([]rating.Counter, d.count(6))
	stops := make([]rating.Stop, d.count(4))
	var leftovers []rating.Leftover
	if version > 1 {
		leftovers = make([]rating.Leftover, d.count(10))
	}
	for i := range payers {
		p := &payers[i]
		d.payer(p)
		p.Packages, packages = take(d, packages)
		for n := range p.Packages {
			d.pack(&p.Packages[n])
		}
		if version > 1 {
			p.Leftovers, leftovers = take(d, leftovers)
		}
		for n := range p.Leftovers {
			d.leftover(&p.Leftovers[n])
		}
		p.Counters, counters = take(d, counters)
		for n := range p.Counters {
			c := &p.Counters[n]
			c.Account, c.Meter = d.one(d.accounts), d.one(d.meters)
			c.Scale, c.Month = d.scale(), rating.Month(d.s32())
			c.Usage, c.Excess = d.s(), d.s()
		}
		p.Stops, stops = take(d, stops)
		for n := range p.Stops {
			s := &p.Stops[n]
			s.Account, s.Meter, s.Package, s.CycleStart = d.one(d.accounts), d.one(d.meters), d.one(d.packages), rating.Instant(d.s())
		}
		if d.err == nil && i > 0 && payers[i-1].Payer >= p.Payer {
			d.fail("payers are not in ascending order")
		}
		if d.err == nil {
			if err := checkAscending(p); err != nil {
				d.fail(err.Error())
			}
		}
		if d.err != nil {
			return nil, d.err
		}
	}
	if len(d.b)+len(packages)+len(leftovers)+len(counters)+len(stops) > 0 {
		d.fail("there is more than it says")
	}
	if d.err != nil {
		return nil, d.err
	}
	return payers, nil
}

// take cuts the next part off what was allocated for all payers.
func take[T any](d *stateDecoder, all []T) (part, rest []T) {
	n := d.u()
	if n > uint64(len(all)) {
		d.fail("there is more than it says")
		return nil, all
	}
	if n == 0 {
		return nil, all
	}
	return all[:n:n], all[n:]
}

func (d *stateDecoder) fail(reason string) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", errDamaged, reason)
		d.b = nil
	}
}

func (d *stateDecoder) u() uint64 {
	if len(d.b) > 0 && d.b[0] < 0x80 {
		v := d.b[0]
		d.b = d.b[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(d.b)
	if n <= 0 || d.b[n-1] == 0 {
		d.fail("a number is cut off, too large, or longer than need be")
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *stateDecoder) scale() int32 {
	scale := d.u()
	if scale > 9 {
		d.fail("a scale is unknown")
		return 0
	}
	return int32(scale)
}

func (d *stateDecoder) u64() uint64 {
	b := d.bytes(8)
	if b == nil {
		return 0
	}
	return binary.LittleEndian.Uint64(b)
}

func (d *stateDecoder) s() int64 {
	u := d.u()
	return int64(u>>1) ^ -int64(u&1)
}

func (d *stateDecoder) s32() int32 {
	v := d.s()
	if v < math.MinInt32 || v > math.MaxInt32 {
		d.fail("a number is too large")
	}
	return int32(v)
}

// count reads how many things follow that take so many bytes at least.
func (d *stateDecoder) count(bytes int) int {
	n := d.u()
	if n > uint64(len(d.b)/bytes) {
		d.fail("it is shorter than it says")
		return 0
	}
	return int(n)
}

func (d *stateDecoder) bytes(n uint64) []byte {
	if n > uint64(len(d.b)) {
		d.fail("it is shorter than it says")
		return nil
	}
	b := d.b[:n]
	d.b = d.b[n:]
	return b
}

// table reads a table of ids, and finds each in the catalog, whose ids ascend as well.
func (d *stateDecoder) table(kind string, n int, id func(int) string) []int32 {
	found := make([]int32, d.count(2))
	var text []byte
	at := 0
	for i := range found {
		shared := d.u()
		if shared > uint64(len(text)) {
			d.fail("an id shares more than there is")
		}
		rest := d.bytes(d.u())
		if d.err != nil {
			return nil
		}
		text = append(text[:shared], rest...)
		at = seek(at, n, func(i int) bool { return id(i) >= string(text) })
		if at == n || id(at) != string(text) {
			d.err = fmt.Errorf("%s %q is not in the catalog, but earlier settlements left something of it: put it back; "+
				"packages are ended by a change (revoked), not by removing them", kind, text)
			d.b = nil
			return nil
		}
		found[i] = int32(at)
		at++
	}
	return found
}

// seek finds the first index from start on for which reached holds. It looks near the start first.
func seek(start, end int, reached func(int) bool) int {
	step := 1
	for start+step < end && !reached(start+step) {
		start += step
		step *= 2
	}
	return start + sort.Search(min(step, end-start), func(i int) bool { return reached(start + i) })
}

func (d *stateDecoder) one(indexes []int32) int32 {
	i := d.u()
	if i >= uint64(len(indexes)) {
		d.fail("a reference goes beyond its table")
		return 0
	}
	return indexes[i]
}

func (d *stateDecoder) payer(p *rating.PayerState) {
	p.Payer = d.one(d.accounts)
	flags := d.u()
	if flags >= flagsEnd {
		d.fail("a flag is unknown")
	}
	p.Tracked, p.Arrears = flags&flagTracked != 0, flags&flagArrears != 0
	if p.Tracked {
		p.Cash.Hi, p.TopUps.Hi = d.s(), d.s()
		p.Cash.Lo, p.TopUps.Lo = d.u(), d.u()
	}
}

func (d *stateDecoder) pack(p *rating.PackageState) {
	p.Package = d.one(d.packages)
	stage := d.u()
	if stage > uint64(rating.StageEnded) {
		d.fail("a package's stage is unknown")
	}
	p.Stage, p.Scale, p.Arms, p.Cycle = rating.Stage(stage), d.scale(), d.s32(), d.s32()
	p.TermStart = rating.Instant(d.s())
	p.TermEnd = p.TermStart + rating.Instant(d.s())
	p.CycleStart = p.TermStart + rating.Instant(d.s())
	p.CycleEnd = p.CycleStart + rating.Instant(d.s())
	p.ServesFrom = p.TermStart + rating.Instant(d.s())
	if n := d.count(1); n > 0 {
		p.NextEnds = make([]rating.Instant, n)
		for i := range p.NextEnds {
			p.NextEnds[i] = p.TermStart + rating.Instant(d.s())
		}
	}
	p.Quota = d.s()
	p.Grant = p.Quota + d.s()
	p.Remaining = p.Grant - d.s()
	p.Rolled, p.Lapsed = d.s(), d.s()
	p.Terms = d.u64()
	if n := d.count(8); n > 0 {
		p.Applied = make([]uint64, n)
		for i := range p.Applied {
			p.Applied[i] = d.u64()
		}
	}
	if d.version > 1 {
		p.LapsedAt = rating.Instant(d.s())
		p.Raises = d.raises(p.CycleStart)
	}
}

func (d *stateDecoder) raises(cycleStart rating.Instant) (raises []rating.Raise) {
	for range d.count(2) {
		raises = append(raises, rating.Raise{At: cycleStart + rating.Instant(d.s()), Quantity: d.s()})
	}
	return raises
}

func (d *stateDecoder) leftover(f *rating.Leftover) {
	f.Package, f.Scale = d.one(d.packages), d.scale()
	f.CycleStart = rating.Instant(d.s())
	f.CycleEnd = f.CycleStart + rating.Instant(d.s())
	f.ServesFrom, f.LapsedAt = rating.Instant(d.s()), rating.Instant(d.s())
	f.Quota = d.s()
	f.Left = f.Quota - d.s()
	f.Rolled = d.s()
	f.Raises = d.raises(f.CycleStart)
}
