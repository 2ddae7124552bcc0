package settlement

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"

	"drawdown/rating"
	"drawdown/readers/bucket"
)

// Output is the place where settlements go.
type Output struct {
	storage       storage
	checksAtATime int
	name          string
	manifests     manifests

	mu      sync.Mutex
	spare   [tableCount][]*tableFile
	buffers [][]byte
	waiting []*waitingRows
	shards  []*shardMemory
	latest  *names
}

// OpenOutput opens a local folder, and makes it where it does not exist.
func OpenOutput(dir string) (*Output, error) {
	f, err := openFolder(dir)
	if err != nil {
		return nil, fmt.Errorf("open output %s: %w", dir, err)
	}
	return &Output{storage: f, checksAtATime: runtime.GOMAXPROCS(0), name: dir}, nil
}

// OpenBucket opens a prefix of a bucket. The context is that of all that is done there.
func OpenBucket(ctx context.Context, a bucket.Address, s bucket.Settings) (*Output, error) {
	b, err := bucket.Open(ctx, a, s)
	if err != nil {
		return nil, err
	}
	// Many files are small, and each is waited for.
	return &Output{storage: newBucketStorage(ctx, b), checksAtATime: 8, name: strings.TrimSuffix(a.String(), "/")}, nil
}

// Close gives up the folder or bucket.
func (o *Output) Close() error { return o.storage.Close() }

// Sync makes all files that were written so far last on the disk. Until then a commit may not refer to them.
func (o *Output) Sync(ctx context.Context) error {
	if err := o.storage.sync(ctx); err != nil {
		return fmt.Errorf("make the settlement's files last: %w", err)
	}
	return nil
}

// Revision is one settlement of one period in the making. Nothing refers to it before it is committed.
type Revision struct {
	output   *Output
	dir      string
	name     string
	period   rating.Period
	revision int
	names    *names

	mu      sync.Mutex
	written []written
	taken   *Sums // of lines in files that were taken over; nil: none were
	checked bool
}

// written is what is known of a file while it was written; Check adds its SHA-256.
type written struct {
	File
	crc     uint32
	table   table
	digests []digest
	tally   *tally // of lines and charges
	taken   bool   // over, from another revision
	sound   bool   // and is known to be what it was
}

// Create starts a revision in a folder of its own. Its token is new to each run, so two runs never share the folder.
func (o *Output) Create(p rating.Period, name string, revision int, token int64, n Names) (*Revision, error) {
	r := &Revision{output: o, name: name, period: p, revision: revision, dir: revisionDir(name, revision, token)}
	if name == "" || strings.ContainsAny(name, "/\\\x00") || strings.HasPrefix(name, ".") {
		return nil, fmt.Errorf("create revision: %q is no name for a period's folder", name)
	}
	err := o.storage.makeDir(r.dir)
	if errors.Is(err, fs.ErrExist) {
		err = fmt.Errorf("the settlements belong to another database, or this one is older than they are: %w; "+
			"put the database back that they belong to, or name another folder in output.url", err)
	}
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", r.dir, err)
	}
	r.names = o.namesOf(p, n)
	return r, nil
}

func revisionDir(period string, revision int, token int64) string {
	return fmt.Sprintf("period=%s/rev=%d-%d", period, revision, token)
}

// namesOf spares going through the catalog again for each period.
func (o *Output) namesOf(p rating.Period, n Names) *names {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.latest == nil || o.latest.Catalog != n.Catalog {
		o.latest = newNames(n)
	}
	own := *o.latest
	own.Names, own.period = n, p
	return &own
}

// Discard removes a revision that was not committed, as far as that is possible.
func (o *Output) Discard(name string, revision int, token int64) error {
	return o.discard(revisionDir(name, revision, token))
}

func (o *Output) discard(dir string) error {
	if err := o.storage.removeAll(dir); err != nil {
		return fmt.Errorf("discard revision: %w", err)
	}
	return nil
}

// Discard removes the revision, as far as that is possible.
func (r *Revision) Discard() error { return r.output.discard(r.dir) }

// Shard is one part of a revision, for one goroutine; many shards may be written at once.
type Shard struct {
	revision *Revision
	names    *names
	number   int
	payer    int32
	order    lineOrder
	closed   bool // the payer's charges, balances or notices have come
	failed   error
	open     [tableCount]*openTable
	tally    *tally // which is kept longer than the shard
	repeats  *repeats
	waiting  *waitingRows
}

type openTable struct {
	*tableFile
	file io.WriteCloser
	name string
}

// Shard starts a part of the revision, of results in the numbers of a catalog, or of a part of it, that has the packages.
func (r *Revision) Shard(i int, c *rating.Catalog) *Shard {
	sums, of := newTally(r.names), r.output.shardOf(r.names.Catalog, i)
	return &Shard{
		revision: r, names: r.names.of(c, &of.numbers), number: i, payer: rating.None, tally: &sums,
		repeats: &of.repeats, waiting: r.output.waitingRows(),
	}
}

// Append adds what settling gave for a payer: its next lines, and with the last of them its charges, balances and
// notices. Payers come in ascending order. The result may be reset afterwards.
func (s *Shard) Append(payer int32, res *rating.Result) error {
	if err := s.append(payer, res); err != nil && s.failed == nil {
		s.failed = fmt.Errorf("write settlement of payer %q: %w", s.names.Catalog.Accounts[payer].ID, err)
	}
	return s.failed
}

func (s *Shard) append(payer int32, res *rating.Result) error {
	if s.failed != nil {
		return s.failed
	}
	if payer < s.payer || payer == s.payer && s.closed {
		return fmt.Errorf("it comes after payer %q", s.names.Catalog.Accounts[s.payer].ID)
	}
	if payer != s.payer {
		s.payer, s.closed, s.order.any = payer, false, false
	}
	if err := s.order.checkLines(res); err != nil {
		return err
	}
	s.closed = len(res.Charges)+len(res.Balances)+len(res.Notices) > 0
	for _, part := range [...]struct {
		table table
		rows  int
		add   func() error
	}{
		{tableLines, len(res.Lines), func() error { return s.addLines(payer, res) }},
		{tableCharges, len(res.Charges), func() error { return s.addCharges(payer, res.Charges) }},
		{tableBalances, len(res.Balances), func() error { return s.addBalances(payer, res.Balances) }},
		{tableNotices, len(res.Notices), func() error { return s.addNotices(payer, res.Notices) }},
	} {
		if part.rows == 0 {
			continue
		}
		if err := s.start(part.table); err != nil {
			return err
		}
		if err := part.add(); err != nil {
			return err
		}
	}
	return nil
}

func (s *Shard) table(t table) *tableFile { return s.open[t].tableFile }

// start makes the file of a table, unless there is one.
func (s *Shard) start(t table) error {
	if s.open[t] != nil {
		return nil
	}
	var err error
	s.open[t], err = s.revision.create(t, fmt.Sprintf("%s-%03d.parquet", tables[t].name, s.number), s.names, s.repeats[t])
	return err
}

func (r *Revision) create(t table, name string, names *names, repeated []repeated) (*openTable, error) {
	file, err := r.output.storage.create(path.Join(r.dir, name))
	if err != nil {
		return nil, err
	}
	table := r.output.take(t)
	if err := table.begin(file, names, repeated); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &openTable{table, file, name}, nil
}

// finish completes a file.
func (r *Revision) finish(t table, shard int, o *openTable, sums *tally) error {
	o.gathered = append(r.output.buffer(), o.gathered...)
	err := o.end()
	if err != nil {
		err = errors.Join(err, o.file.Close())
	} else {
		err = r.output.storage.close(path.Join(r.dir, o.name), o.file, o.out.size)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", o.name, err)
	}
	w := written{table: t, tally: sums, crc: o.out.crc, File: File{
		Name: o.name, Table: tables[t].name, Shard: shard, Rows: o.total, Size: o.out.size,
	}}
	for i := range o.columns {
		w.digests = append(w.digests, o.columns[i].digest)
	}
	r.output.giveBack(t, o.tableFile)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.written, r.checked = append(r.written, w), false
	return nil
}

// take and giveBack keep the memory of tables from file to file.
func (o *Output) take(t table) *tableFile {
	o.mu.Lock()
	defer o.mu.Unlock()
	if n := len(o.spare[t]); n > 0 {
		last := o.spare[t][n-1]
		o.spare[t] = o.spare[t][:n-1]
		return last
	}
	return newTableFile(tables[t].specs, tables[t].sort)
}

// buffer gives memory to gather a file in.
func (o *Output) buffer() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := len(o.buffers)
	if n == 0 {
		return nil
	}
	last := o.buffers[n-1]
	o.buffers = o.buffers[:n-1]
	return last
}

func (o *Output) waitingRows() *waitingRows {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := len(o.waiting)
	if n == 0 {
		return &waitingRows{}
	}
	last := o.waiting[n-1]
	o.waiting = o.waiting[:n-1]
	return last
}

func (o *Output) giveBackRows(w *waitingRows) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.waiting = append(o.waiting, w)
	w.forgetLines()
	w.balances = w.balances[:0]
}

func (o *Output) giveBack(t table, file *tableFile) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.buffers, file.gathered = append(o.buffers, file.gathered[:0]), nil
	file.out, file.names = nil, nil
	for i := range file.columns {
		file.columns[i].repeated = nil
	}
	o.spare[t] = append(o.spare[t], file)
}

// Close completes the shard's files; after an error it only lets go of them, and gives the error again.
func (s *Shard) Close() error {
	if s.waiting == nil {
		return s.failed // it is closed
	}
	if s.failed == nil {
		s.failed = errors.Join(s.flushLines(), s.flushBalances())
	}
	s.revision.output.giveBackRows(s.waiting)
	s.waiting = nil
	for t, open := range s.open {
		if open == nil {
			continue
		}
		s.open[t] = nil
		if s.failed != nil {
			_ = open.file.Close()
			continue
		}
		if err := s.revision.finish(table(t), s.number, open, s.tally); err != nil {
			s.failed = err
		}
	}
	return s.failed
}

// Rejection is a row of the quarantine table.
type Rejection struct {
	Object int32
	*rating.Rejected
}

// Quarantine writes the rows that do not settle, in the order of objects and rows.
func (r *Revision) Quarantine(rows iter.Seq2[Rejection, error]) error {
	open, err := r.create(tableQuarantine, "quarantine.parquet", r.names, nil)
	if err != nil {
		return fmt.Errorf("write quarantine: %w", err)
	}
	last := Rejection{Object: -1, Rejected: &rating.Rejected{}}
	for row, err := range rows {
		if err == nil && cmp.Or(cmp.Compare(last.Object, row.Object), cmp.Compare(last.Row, row.Row)) > 0 {
			err = fmt.Errorf("row %d of %s comes after its place", row.Row, r.names.Objects[row.Object])
		}
		if err == nil {
			err = addRejected(open.tableFile, r.names, row.Object, row.Rejected)
		}
		if err != nil {
			return errors.Join(fmt.Errorf("write quarantine: %w", err), open.file.Close())
		}
		last.Object, last.Rejected = row.Object, &rating.Rejected{Row: row.Row}
	}
	return r.finish(tableQuarantine, 0, open, nil)
}

// complete gives every table at least one file, so that its schema can be found, and sorts the files.
func (r *Revision) complete() error {
	for t := range tableCount {
		if slices.ContainsFunc(r.written, func(w written) bool { return w.table == t }) {
			continue
		}
		name := tables[t].name + "-000.parquet"
		if t == tableQuarantine {
			name = "quarantine.parquet"
		}
		open, err := r.create(t, name, r.names, nil)
		if err != nil {
			return err
		}
		if err := r.finish(t, 0, open, nil); err != nil {
			return err
		}
	}
	slices.SortFunc(r.written, func(a, b written) int {
		return cmp.Or(cmp.Compare(a.table, b.table), cmp.Compare(a.File.Shard, b.File.Shard))
	})
	return nil
}

// lineUnits are units of a meter by kind of line: all of them, and then the part that came late.
type lineUnits [2][rating.Stopped + 1]rating.Amount

func (u *lineUnits) add(kind int, late bool, units rating.Amount) {
	u[0][kind] = sum(u[0][kind], units)
	if late {
		u[1][kind] = sum(u[1][kind], units)
	}
}

// tally is what a shard's rows add up to.
type tally struct {
	quantities []lineUnits     // of lines, by meter
	late       []rating.Amount // the part of amounts that came late
	amounts    []rating.Amount // of lines, by currency
	charged    []rating.Amount // of charges, by currency
	units      []rating.Amount // of charges that are read back, by meter
}

func newTally(n *names) tally {
	return tally{
		quantities: make([]lineUnits, len(n.meterScale)),
		late:       make([]rating.Amount, len(n.currencies)),
		amounts:    make([]rating.Amount, len(n.currencies)),
		charged:    make([]rating.Amount, len(n.currencies)),
		units:      make([]rating.Amount, len(n.meterScale)),
	}
}

// sums gives a tally of lines by names.
func (t *tally) sums(n *names) *Sums {
	s := NewSums()
	for i := range t.quantities {
		s.setMeter(n.Catalog.Meters[i].ID, &t.quantities[i], rating.Amount{})
	}
	for i, amount := range t.amounts {
		s.Amounts[n.currencies[i]], s.LateAmounts[n.currencies[i]] = amount, t.late[i]
	}
	return s
}

// sum adds up modulo 2^128: sums that are compared for equality may wrap.
func sum(a, b rating.Amount) rating.Amount {
	s, _ := a.Add(b)
	return s
}
