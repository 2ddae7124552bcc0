package shuffle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"

	"drawdown/rating"
)

// Config is what a shuffle has to know.
type Config struct {
	Catalog *rating.Catalog  // whose accounts say who pays; only ids, payers and the scales of meters are used
	Bounds  []rating.Instant // of the periods: n+1 of them, ascending; what lies outside is out_of_period

	Shards          int    // default 16; see ShardOf
	MemoryBytes     int64  // default 1 GiB
	TempDir         string // default: the system's
	ExpectedRecords int64  // an estimate; a wrong one costs time, nothing else
	Readers         int    // writers that are open at a time, at most; default Workers
	Workers         int    // cursors that are open at a time, at most; default 1
	MaxConflicts    int64  // rows in conflict after which a cursor gives up; 0: no limit
	Booked          int32  // number from which on objects are booked: see booked.go; 0: none is
}

// ErrTooManyConflicts is what a cursor gives up with (Config.MaxConflicts).
var ErrTooManyConflicts = errors.New("too many records in conflict")

const (
	minChunk  = 16
	goodChunk = 64 // fewer records make writing slow
	maxChunk  = 1024
)

// Shuffle holds the records of a run between reading and rating.
type Shuffle struct {
	ctx    context.Context // of the run that the shuffle is a part of
	cfg    Config
	hash   hasher
	file   *spillFile
	pieces []partition

	partOf   []uint16 // by account: the partition of its payer
	slotOf   []int32  // by account: the place of its payer in payers
	payers   []int32  // by shard, then by index
	firsts   []int32  // by partition: its first slot; one more at the end
	perShard int      // partitions of a shard
	scales   []uint8  // by meter

	chunkRecords int // a power of two
	chunkShift   int
	storeBytes   int64        // budget of all chunks
	cursorBytes  int64        // budget of a cursor
	empties      bool         // sealing spills all chunks, so that the cursors get their memory
	held         atomic.Int64 // bytes in chunks
	conflicts    atomic.Int64

	mu          sync.Mutex
	lanes       []*lane // all of them
	idle        []*lane
	sealed      bool
	open        int // cursors
	scratch     []*pile
	maxObject   int32
	outOfPeriod map[int32]int64
	results     []*result // by shard
}

// partition is the records of a range of payers.
type partition struct {
	mu     sync.Mutex
	pieces []piece
}

// piece is a chunk in memory or, where chunk is nil, in the temp file.
type piece struct {
	chunk *chunk
	block
}

// ShardOf is the shard of a payer: FNV-1a of its id with 64 bits, mixed once more, modulo the number of shards. It is
// part of the format of the outputs.
func ShardOf(payer string, shards int) int {
	h := uint64(14695981039346656037)
	for i := range len(payer) {
		h = (h ^ uint64(payer[i])) * 1099511628211
	}
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	h ^= h >> 33
	return int(h % uint64(shards))
}

// New makes an empty shuffle. When ctx ends, so do all calls, with its error.
func New(ctx context.Context, cfg Config) (*Shuffle, error) {
	cfg.Shards = cmp.Or(cfg.Shards, 16)
	cfg.MemoryBytes = cmp.Or(cfg.MemoryBytes, 1<<30)
	cfg.Workers = max(cfg.Workers, 1)
	cfg.Readers = max(cmp.Or(cfg.Readers, cfg.Workers), 1)
	if len(cfg.Bounds) < 2 {
		return nil, errors.New("shuffle: no period: two bounds are needed at least")
	}
	for i := range cfg.Bounds[1:] {
		if cfg.Bounds[i] >= cfg.Bounds[i+1] {
			return nil, fmt.Errorf("shuffle: the bound %s does not come before %s", cfg.Bounds[i], cfg.Bounds[i+1])
		}
	}
	if cfg.Shards < 1 || cfg.Shards > 1<<15 {
		return nil, fmt.Errorf("shuffle: %d shards: between 1 and %d are possible", cfg.Shards, 1<<15)
	}
	s := &Shuffle{
		ctx: ctx, cfg: cfg, hash: newHasher(), file: &spillFile{dir: cfg.TempDir},
		outOfPeriod: map[int32]int64{}, results: make([]*result, cfg.Shards),
	}
	for i := range cfg.Catalog.Meters {
		s.scales = append(s.scales, uint8(cfg.Catalog.Meters[i].Scale))
	}
	s.route(s.plan())
	return s, nil
}

// plan divides the memory, and gives the number of partitions that a shard should have.
func (s *Shuffle) plan() int {
	const (
		bytesPerRecord = 128 // in a cursor, with all that is needed to sort it
		skew           = 2   // between partitions
	)
	memory := s.cfg.MemoryBytes
	s.storeBytes = memory / 8 * 5
	s.cursorBytes = max(memory/4/int64(s.cfg.Workers), 1)
	open := memory / 8 / int64(s.cfg.Readers) / int64(recordSize) // records in the open chunks of a writer
	if s.empties = s.cfg.ExpectedRecords*int64(recordSize) > s.storeBytes; s.empties {
		s.cursorBytes = max(memory/8*5/int64(s.cfg.Workers), 1)
		open *= 2
	}

	wanted := s.cfg.ExpectedRecords * bytesPerRecord / s.cursorBytes * skew / int64(s.cfg.Shards)
	most := min(open/goodChunk, 1<<16) / int64(s.cfg.Shards)
	partitions := max(min(wanted+1, most), 1)

	chunk := min(max(open/(partitions*int64(s.cfg.Shards)), minChunk), maxChunk)
	s.chunkShift = bits.Len64(uint64(chunk)) - 1
	s.chunkRecords = 1 << s.chunkShift
	return int(partitions)
}

// route gives each payer its partition: ranges of equally many payers of a shard, in index order.
func (s *Shuffle) route(perShard int) {
	accounts := s.cfg.Catalog.Accounts
	byShard := make([][]int32, s.cfg.Shards)
	seen := make([]bool, len(accounts))
	for i := range accounts {
		seen[accounts[i].Payer] = true
	}
	for payer := range accounts {
		if seen[payer] {
			shard := ShardOf(accounts[payer].ID, s.cfg.Shards)
			byShard[shard] = append(byShard[shard], int32(payer))
		}
	}
	s.perShard = perShard
	s.pieces = make([]partition, perShard*s.cfg.Shards)
	s.partOf, s.slotOf = make([]uint16, len(accounts)), make([]int32, len(accounts))
	parts, slots := make([]uint16, len(accounts)), make([]int32, len(accounts)) // by payer
	for _, payers := range byShard {
		for i := range perShard {
			part := uint16(len(s.firsts))
			s.firsts = append(s.firsts, int32(len(s.payers)))
			for _, payer := range payers[i*len(payers)/perShard : (i+1)*len(payers)/perShard] {
				parts[payer], slots[payer] = part, int32(len(s.payers))
				s.payers = append(s.payers, payer)
			}
		}
	}
	s.firsts = append(s.firsts, int32(len(s.payers)))
	for i := range accounts {
		payer := accounts[i].Payer
		s.partOf[i], s.slotOf[i] = parts[payer], slots[payer]
	}
}

// periodOf gives the period of an instant within the bounds.
func (s *Shuffle) periodOf(t rating.Instant) int {
	i, found := slices.BinarySearch(s.cfg.Bounds, t)
	if found {
		return i
	}
	return i - 1
}

// Seal ends the writing.
func (s *Shuffle) Seal() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.idle) != len(s.lanes) {
		return fmt.Errorf("shuffle: sealed while %d writers are open", len(s.lanes)-len(s.idle))
	}
	for _, l := range s.lanes {
		for part, c := range l.open {
			if c != nil && len(c.records) > 0 {
				s.pieces[part].keep(c)
			}
		}
	}
	s.lanes, s.idle, s.sealed = nil, nil, true
	if s.empties {
		if err := s.empty(); err != nil {
			return err
		}
	}
	for i := range s.pieces { // in this order payers' segments are nearly sorted, also where objects overlap in time
		slices.SortFunc(s.pieces[i].pieces, func(a, b piece) int { return cmp.Compare(a.middle, b.middle) })
	}
	return s.ctx.Err()
}

// empty spills the chunks that are still in memory, partitions side by side.
func (s *Shuffle) empty() error {
	errs := make([]error, s.cfg.Workers)
	var next atomic.Int64
	var group sync.WaitGroup
	for worker := range errs {
		group.Go(func() {
			for errs[worker] == nil {
				i := int(next.Add(1)) - 1
				if i >= len(s.pieces) {
					return
				}
				errs[worker] = s.emptyPartition(&s.pieces[i])
			}
		})
	}
	group.Wait()
	s.held.Store(0)
	return errors.Join(errs...)
}

func (s *Shuffle) emptyPartition(p *partition) error {
	for n := range p.pieces {
		piece := &p.pieces[n]
		if piece.chunk == nil {
			continue
		}
		b, err := s.file.write(piece.chunk)
		if err != nil {
			return err
		}
		piece.block, piece.chunk = b, nil
	}
	return s.ctx.Err()
}

// Spilled is how many bytes were written to the temp file so far.
func (s *Shuffle) Spilled() int64 { return s.file.end.Load() }

// Close removes the temp file. No cursor may be open, and none can be opened any more; what the cursors found out is still
// there to be asked for, also meanwhile.
func (s *Shuffle) Close() error {
	s.mu.Lock()
	s.pieces, s.lanes, s.idle, s.scratch = nil, nil, nil, nil
	s.mu.Unlock()
	return s.file.close()
}

func (p *partition) keep(c *chunk) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pieces = append(p.pieces, piece{chunk: c, block: block{middle: c.middle(), records: int32(len(c.records))}})
}

func (p *partition) spilled(b block) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pieces = append(p.pieces, piece{block: b})
}
