package settlement

import (
	"runtime"
	"slices"

	"drawdown/rating"
)

// Balances of a shard are in one period mostly what they are in the next: the same packages of the same accounts, in the
// same cycles, and of most of them nothing is granted, expires or is revoked. So the page of a column is remembered, and
// taken as it is where the next file of the shard has the same values: what depends on the values alone need not be made of
// them again.

// repeated is what a column of the file that was written last may have in common with the next one: its dictionary, and in
// balances the page, where the file is small.
type repeated struct {
	small smallPage
	pages bool // what follows counts

	keys         []int64         // of the rows, where the column is keyed
	decimals     []rating.Amount // else
	page         []byte          // with its header; empty: nothing is remembered
	uncompressed int64
	digest       digest
	coded        coded
	dictionary   []byte // its page, and the bounds of its entries
	entriesSize  int64
	low, high    []byte

	remembers, repeats bool // the chunk at hand is the one that is remembered; or repeats it
}

// repeatedRows is how many rows a file may have whose pages are remembered: less than a page, so that it has one in each column,
// and little enough for the memory of a shard on each core.
const repeatedRows = 4 << 10

// repeats are the repeated pages of one shard's files.
type repeats [tableCount][]repeated

// shardMemory is what is kept of a shard from period to period, in numbers of a catalog: with another one they stand for
// something else. A shard is written by one goroutine.
type shardMemory struct {
	catalog *rating.Catalog
	shard   int
	repeats repeats
	numbers numbers
}

// shardOf gives what is kept of a shard. It is of those that were written last only, as many as are likely to be written side by
// side.
func (o *Output) shardOf(c *rating.Catalog, shard int) *shardMemory {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, of := range o.shards {
		if of.shard == shard && of.catalog == c {
			return of
		}
	}
	of := &shardMemory{catalog: c, shard: shard}
	of.numbers.accounts.own = make([]int32, len(c.Accounts))
	for t := range tables {
		of.repeats[t] = make([]repeated, len(tables[t].specs))
		for i := range of.repeats[t] {
			of.repeats[t][i].pages = table(t) == tableBalances
		}
	}
	if len(o.shards) >= 2*runtime.GOMAXPROCS(0) {
		o.shards = slices.Delete(o.shards, 0, 1)
	}
	o.shards = append(o.shards, of)
	return of
}

// takeRepeated adds the remembered page to the chunk, if it has the values at hand and no page came before it.
func (c *column) takeRepeated() bool {
	r := c.repeated
	if r == nil || !r.pages || c.dictPages+c.plainPages > 0 || c.digest != 0 {
		return false
	}
	if r.remembers {
		r.page = r.page[:0] // the file before could not be written, and the dictionary is another one's
	}
	r.remembers, r.repeats = false, false
	if len(r.page) == 0 || !slices.Equal(r.keys, c.later) || !slices.Equal(r.decimals, c.decimals) {
		r.remembers = len(c.later)+len(c.decimals) <= repeatedRows
		return false
	}
	c.pages, c.uncompressed = append(c.pages, r.page...), c.uncompressed+r.uncompressed
	if c.coding == keyed {
		c.dictPages++
	} else {
		c.plainPages++
	}
	c.digest, c.coded = r.digest, r.coded
	c.later, c.decimals = c.later[:0], c.decimals[:0]
	r.repeats = true
	return true
}

// resolve gives keys their indexes, and remembers the values of a page that is the only one of its chunk.
func (c *column) resolve(n *names) {
	if r := c.repeated; r != nil && r.remembers {
		r.keys, r.decimals, r.page = append(r.keys[:0], c.later...), append(r.decimals[:0], c.decimals...), r.page[:0]
	}
	for _, key := range c.later {
		c.put(n, key)
	}
	c.later = c.later[:0]
}

// rememberPage keeps what the remembered values have become.
func (c *column) rememberPage() {
	if r := c.repeated; r != nil && r.remembers {
		r.page, r.uncompressed, r.digest, r.coded = append(r.page[:0], c.pages...), c.uncompressed, c.digest, c.coded
	}
}

// endDictionary gives the dictionary's page and the bounds of its entries.
func (c *column) endDictionary(e *encoder) (page, low, high []byte, err error) {
	r := c.repeated
	if r != nil && r.repeats {
		r.repeats = false
		c.uncompressed += r.entriesSize
		return r.dictionary, r.low, r.high, nil
	}
	before := c.uncompressed
	if page, err = c.dictionaryPage(e); err != nil {
		return nil, nil, nil, err
	}
	if r != nil && r.remembers {
		r.remembers = false
		r.dictionary, r.entriesSize, r.low, r.high = append(r.dictionary[:0], page...), c.uncompressed-before, c.low, c.high
	}
	return page, c.low, c.high, nil
}
