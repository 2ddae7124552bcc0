package store

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"drawdown/rating"

	"github.com/jmoiron/sqlx"
)

// CatalogForm is how a catalog is kept: in shards of payers, of which a settle reads one at a time, and by whom it was found
// to be valid. Without shards its rows lie by table and key.
type CatalogForm struct {
	Shards  int
	ShardOf func(payer string, shards int) int
	Checked Hash
	Anew    bool // a copy that is there already is looked at, and mended where it is damaged
}

// Hash gives the hash under which a draft would be kept, whatever the order of its rows.
func (f CatalogForm) Hash(d *rating.Draft) Hash { return chunksOf(d, f).hash() }

// catalogLayout says which chunks are what: first those of rows that concern everybody, then those of each shard. It is a
// part of the catalog's hash.
type catalogLayout struct {
	Ends     []int               `json:"ends"` // of the first part, and of each shard, in chunks
	Packages int                 `json:"packages"`
	Where    map[string][]string `json:"where,omitempty"` // as rating.Catalog.Conditions
}

func (l *catalogLayout) text() string {
	if l == nil {
		return ""
	}
	text, err := json.Marshal(l)
	if err != nil {
		panic(err) // cannot be: these are numbers and texts
	}
	return string(text)
}

func readLayout(text string, chunks int) (*catalogLayout, error) {
	if text == "" {
		return nil, nil
	}
	l := &catalogLayout{}
	if err := json.Unmarshal([]byte(text), l); err != nil {
		return nil, fmt.Errorf("%w: its layout: %w", errDamagedCatalog, err)
	}
	if len(l.Ends) < 2 || !slices.IsSorted(l.Ends) || l.Ends[0] < 0 || l.Ends[len(l.Ends)-1] != chunks {
		return nil, fmt.Errorf("%w: its layout is not that of its %d chunks", errDamagedCatalog, chunks)
	}
	return l, nil
}

func (l *catalogLayout) shards() int {
	if l == nil {
		return 0
	}
	return len(l.Ends) - 1
}

// shard gives the numbers of a shard's chunks.
func (l *catalogLayout) shard(n int) (from, to int) { return l.Ends[n], l.Ends[n+1] }

// parts tells for each row of a table to which part it belongs: 0 is everybody's, n+1 that of shard n.
type parts struct {
	form    CatalogForm
	account map[string]int32
	pack    map[string]int32
}

func partsOf(d *rating.Draft, form CatalogForm) *parts {
	p := &parts{form, make(map[string]int32, len(d.Accounts)), nil}
	for i := range d.Accounts {
		a := &d.Accounts[i]
		payer := a.Payer
		if payer == "" {
			payer = a.ID
		}
		p.account[a.ID] = int32(1 + form.ShardOf(payer, form.Shards))
	}
	named := len(d.Changes)
	for i := range d.Rules {
		if d.Rules[i].Package != "" {
			named++
		}
	}
	if named > 0 {
		p.pack = make(map[string]int32, len(d.Packages))
		for i := range d.Packages {
			p.pack[d.Packages[i].ID] = p.account[d.Packages[i].Account]
		}
	}
	return p
}

// of gives the part of a row. What names nobody that is known is in everybody's: no catalog compiles with it.
func (p *parts) of(kind rating.Kind, d *rating.Draft, i int) int32 {
	switch kind {
	case rating.KindPackage:
		return p.account[d.Packages[i].Account]
	case rating.KindChange:
		return p.pack[d.Changes[i].Package]
	case rating.KindTopUp:
		return p.account[d.TopUps[i].Account]
	case rating.KindRule:
		if r := &d.Rules[i]; r.Package != "" {
			return p.pack[r.Package]
		} else if r.Account != "" {
			return p.account[r.Account]
		}
	}
	return 0
}

// split takes rows in their order apart into parts.
func (p *parts) split(t *table, d *rating.Draft, order []int32) [][]int32 {
	lists := make([][]int32, p.form.Shards+1)
	part := make([]int32, len(order))
	sizes := make([]int, len(lists))
	for n, row := range order {
		part[n] = p.of(t.kind, d, int(row))
		sizes[part[n]]++
	}
	for n := range lists {
		lists[n] = make([]int32, 0, sizes[n])
	}
	for n, row := range order {
		lists[part[n]] = append(lists[part[n]], row)
	}
	return lists
}

// CatalogHead is what of the kept catalog that stands for the tables concerns everybody.
type CatalogHead struct {
	*rating.Draft
	Copy       *CatalogCopy
	Packages   int // in all shards
	Conditions map[string][]string
}

// ReadHead reads what of the kept catalog concerns everybody, where it stands for the tables and has the form that is asked
// for; nil: it does not.
func (s *Store) ReadHead(ctx context.Context, form CatalogForm) (head *CatalogHead, err error) {
	err = s.snapshot(ctx, func(tx *sqlx.Tx) error {
		head = nil
		was, err := currentCatalog(ctx, tx)
		if err != nil || !was.stands() || was.Checked != form.Checked {
			return err
		}
		kept, err := keptList(ctx, tx, was.SHA256)
		if isDamaged(err) || err == nil && kept.layout.shards() != form.Shards {
			return nil
		}
		if err != nil {
			return err
		}
		d, err := readChunks(ctx, tx, kept.chunks[:kept.layout.Ends[0]])
		if isDamaged(err) {
			return nil
		}
		if err == nil {
			head = &CatalogHead{Draft: d, Copy: was.copied(kept), Packages: kept.layout.Packages, Conditions: kept.layout.Where}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("load the catalog from %s: %w", s.name, err)
	}
	return head, nil
}

// ReadShard reads what of a kept catalog concerns the payers of a shard.
func (s *Store) ReadShard(ctx context.Context, c *CatalogCopy, shard int) (d *rating.Draft, err error) {
	from, to := c.layout.shard(shard)
	err = s.snapshot(ctx, func(tx *sqlx.Tx) (err error) {
		d, err = readChunks(ctx, tx, c.chunks[from:to])
		return err
	})
	if isDamaged(err) {
		err = fmt.Errorf("%w, or run `drawdown catalog apply` with any file of the catalog: it makes this one anew from the tables", err)
	}
	if err != nil {
		return nil, fmt.Errorf("load shard %d of the catalog %s from %s: %w", shard, c.SHA256, s.name, err)
	}
	return d, nil
}

// changedShards gives the shards in which two catalogs differ, where both are kept in the same ones.
func (c *CatalogCopy) changedShards(was *keptCatalog) (shards []int) {
	for n := range c.layout.shards() {
		from, to := c.layout.shard(n)
		wasFrom, wasTo := was.layout.shard(n)
		if !slices.Equal(c.chunks[from:to], was.chunks[wasFrom:wasTo]) {
			shards = append(shards, n)
		}
	}
	return shards
}
