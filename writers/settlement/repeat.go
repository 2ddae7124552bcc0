package settlement

import (
	"bytes"
	"runtime"
	"slices"

	"drawdown/rating"
)

// Balances of a shard are in one period mostly what they are in the next: the same packages of the same accounts, in the
// same cycles, and of most of them nothing is granted, expires or is revoked. So the first page of a column is remembered,
// and taken as it is where the next file of the shard begins with the same values: what depends on the values alone need
// not be made of them again.

// repeated is what a column of the file that was written last may have in common with the next one: its dictionary, and in
// balances the first page.
type repeated struct {
	small smallPage
	pages bool // what follows counts

	keys     []int64         // of the rows, where the column is keyed
	decimals []rating.Amount // else

	page         []byte // with its header; empty: nothing is remembered
	uncompressed int64
	digest       digest
	coded        coded

	dictionary  *dictionaryPage // of a chunk that has no other page; nil: not known
	whole       bool            // the chunk at hand began with this page, which was not a repeated one
	repeatsPage bool            // the chunk at hand began with this page, which was a repeated one
}

// dictionaryPage is what a chunk's dictionary is written as.
type dictionaryPage struct {
	page         []byte
	uncompressed int64
	low, high    []byte
}

// repeats are the repeated pages of one shard's files. A shard is written by one goroutine.
type repeats [tableCount][]repeated

// repeatsOf gives what is remembered of a shard; of the shards that were written last only, as many as are likely to be
// written side by side.
func (o *Output) repeatsOf(shard int) *repeats {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range o.repeats {
		if o.repeats[i].shard == shard {
			return o.repeats[i].repeats
		}
	}
	of := &repeats{}
	for t := range tables {
		of[t] = make([]repeated, len(tables[t].specs))
		for i := range of[t] {
			of[t][i].pages = table(t) == tableBalances
		}
	}
	if len(o.repeats) >= 2*runtime.GOMAXPROCS(0) {
		o.repeats = slices.Delete(o.repeats, 0, 1)
	}
	o.repeats = append(o.repeats, shardRepeats{shard, of})
	return of
}

type shardRepeats struct {
	shard   int
	repeats *repeats
}

// takeRepeated adds the remembered page to the chunk, if it has the values at hand and no page came before it.
func (c *column) takeRepeated() bool {
	r := c.repeated
	if r == nil || !r.pages || c.dictPages+c.plainPages > 0 || c.digest != 0 {
		return false
	}
	r.whole, r.repeatsPage = false, false
	if len(r.page) == 0 || !slices.Equal(r.keys, c.later) || !slices.Equal(r.decimals, c.decimals) {
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
	r.repeatsPage = c.coding == keyed
	return true
}

// rememberValues keeps the values of a first page before they are encoded, and gives keys their indexes. A page that comes
// behind a repeated one needs the dictionary of that.
func (c *column) rememberValues(n *names) {
	if r := c.repeated; r != nil && r.pages {
		if r.repeatsPage {
			c.restoreDictionary(n)
		}
		if r.whole = c.dictPages+c.plainPages == 0 && c.digest == 0; r.whole {
			r.keys, r.decimals = append(r.keys[:0], c.later...), append(r.decimals[:0], c.decimals...)
			r.page, r.dictionary = r.page[:0], nil
		}
	}
	for _, key := range c.later {
		c.put(n, key)
	}
	c.later = c.later[:0]
}

// restoreDictionary makes the dictionary that a repeated page refers to.
func (c *column) restoreDictionary(n *names) {
	c.repeated.repeatsPage = false
	for _, key := range c.repeated.keys {
		c.lookup(c.entry, n, key)
	}
}

// rememberPage keeps the page that the remembered values have become, which is the only one of the chunk so far.
func (c *column) rememberPage() {
	if r := c.repeated; r != nil && r.pages && r.whole && c.dictPages+c.plainPages == 1 {
		r.page, r.uncompressed, r.digest, r.coded = append(r.page[:0], c.pages...), c.uncompressed, c.digest, c.coded
	}
}

// endDictionary gives the dictionary's page and the bounds of its entries.
func (c *column) endDictionary(e *encoder, n *names) (page []byte, low, high []byte, err error) {
	r := c.repeated
	if r == nil || !r.pages {
		page, err = c.dictionaryPage(e)
		return page, c.low, c.high, err
	}
	if r.repeatsPage {
		if d := r.dictionary; d != nil {
			c.uncompressed += d.uncompressed
			return d.page, d.low, d.high, nil
		}
		c.restoreDictionary(n)
		r.whole = true // it is the only page
	}
	before := c.uncompressed
	if page, err = c.dictionaryPage(e); err != nil {
		return nil, nil, nil, err
	}
	if r.whole && c.dictPages == 1 && len(r.page) > 0 {
		r.dictionary = &dictionaryPage{bytes.Clone(page), c.uncompressed - before, c.low, c.high}
	}
	return page, c.low, c.high, nil
}
