package usage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime/debug"
	"slices"

	"drawdown/rating"
	"drawdown/readers/bucket"
)

// Reader reads usage objects. It is safe for concurrent use on different objects.
type Reader struct {
	open    func(context.Context, Object) (content, error)
	catalog *rating.Catalog
	plan    *plan
	now     rating.Instant
	sets    *setNumbers
}

// NewReader checks the configuration and makes a reader. now is what a record's time may not be much later than.
func NewReader(objects Objects, c *rating.Catalog, cfg Config, now rating.Instant) (*Reader, error) {
	plan, err := cfg.compile()
	if err != nil {
		return nil, err
	}
	return &Reader{open: objects.open, catalog: c, plan: plan, now: now, sets: newSetNumbers(c.Conditions())}, nil
}

// ObjectError says that an object cannot be read whole (R4.5).
type ObjectError struct {
	Key string
	Err error
}

func (e *ObjectError) Error() string { return fmt.Sprintf("usage object %s: %v", e.Key, e.Err) }

func (e *ObjectError) Unwrap() error { return e.Err }

// AttributeSets gives the sets seen so far by their numbers; number 0 is the empty one.
func (r *Reader) AttributeSets() []rating.AttributeSet { return r.sets.all() }

// Read reads an object into a sink. An error is the sink's, the context's, the machine's, or an [*ObjectError]: where the
// machine fails, nobody knows what the object says, and nothing may be settled as if it said nothing. After an error, what
// the sink took is not the whole object.
func (r *Reader) Read(ctx context.Context, o Object, sink Sink) (Summary, error) {
	return r.batches(ctx, o, nil, sink)
}

// Select reads what an object that was read before has of some accounts of the catalog. Its other rows are passed over, and
// the sink is told of no row that does not settle. Nor is the object hashed: it must be the version that was.
func (r *Reader) Select(ctx context.Context, o Object, accounts *rating.AccountSet, sink Sink) error {
	_, err := r.batches(ctx, o, accounts, sink)
	return err
}

func (r *Reader) batches(ctx context.Context, o Object, accounts *rating.AccountSet, sink Sink) (Summary, error) {
	guarded := &guardedSink{sink: sink}
	b := newBatcher(r, o, accounts, guarded)
	err := r.read(ctx, o, &guarded.busy, func(file content) error {
		var err error
		if b.summary.SHA256, err = r.decode(ctx, o, file, b); err != nil {
			return err
		}
		return b.flush()
	})
	switch {
	case guarded.err != nil:
		return Summary{}, guarded.err
	case err != nil:
		return Summary{}, err
	}
	return b.summary, nil
}

// guardedSink remembers the sink's own error, and that it is at work: neither an error nor a panic of it is the object's
// fault.
type guardedSink struct {
	sink Sink
	busy bool
	err  error
}

func (g *guardedSink) Records(b *rating.Records) error {
	return g.call(func() error { return g.sink.Records(b) })
}

func (g *guardedSink) Reject(b *rating.Rejected) error {
	return g.call(func() error { return g.sink.Reject(b) })
}

func (g *guardedSink) call(sink func() error) error {
	if g.err == nil {
		g.busy = true
		g.err = sink()
		g.busy = false
	}
	return g.err
}

// read opens an object, lets it be read, and makes sure that it did not change meanwhile. A panic of work while busy is
// none of a decoder.
func (r *Reader) read(ctx context.Context, o Object, busy *bool, work func(content) error) error {
	if o.Size > r.plan.maxObject {
		return &ObjectError{o.Key, fmt.Errorf("has %d bytes, more than usage.max_object_size, %d; split it or raise the limit", o.Size, r.plan.maxObject)}
	}
	file, err := r.open(ctx, o)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return vanished(o.Key, err)
	case err != nil:
		return machineError(err)
	}
	defer file.Close()
	if err := unchanged(file, o); err != nil {
		return err
	}
	watched := &watchedContent{content: file}
	err = contained(watched, busy, work)
	if watched.err != nil {
		err = watched.err
	}
	if ctxErr := ctx.Err(); ctxErr != nil && errors.Is(err, ctxErr) {
		return err
	}
	if watched.err != nil {
		return readError(o, err)
	}
	if err := unchanged(file, o); err != nil {
		return err // and that is why, if it could not be decoded
	}
	if err != nil {
		return &ObjectError{o.Key, err}
	}
	return nil
}

// readError sorts an error of reading: of a bucket it may be the object's.
func readError(o Object, err error) error {
	var other *bucket.ChangedError
	switch {
	case errors.As(err, &other):
		return changed(o, listedObject(other.Now))
	case errors.Is(err, fs.ErrNotExist):
		return vanished(o.Key, err)
	}
	return machineError(err)
}

// contained works on an object, and makes an error of a decoder's panic.
func contained(file content, busy *bool, work func(content) error) (err error) {
	defer func() {
		switch p := recover(); {
		case p == nil:
		case *busy:
			panic(p)
		default:
			err = fmt.Errorf("its decoder failed: %v; report this with the object\n%s", p, debug.Stack())
		}
	}()
	return work(file)
}

// rows takes the rows of an object, one after another.
type rows interface {
	add(*row) error
	// wants tells whether rows of an account are of any use; the others may be passed over.
	wants(account []byte) bool
	// whole tells whether all of the object is wanted, and so the hash of its stored bytes.
	whole() bool
}

func (r *Reader) decode(ctx context.Context, o Object, file content, to rows) (sum [32]byte, err error) {
	f := formatOf(o.Key)
	if f.kind == parquet {
		return r.decodeParquet(ctx, o, file, to)
	}
	s, err := newStream(ctx, file, o, f.compression, r.plan, to.whole())
	if err != nil {
		return sum, err
	}
	defer s.close()
	switch f.kind {
	case ndjson:
		err = newJSONReader(r.plan, o.Key).read(s, to)
	case csvText:
		err = newCSVReader(r.plan, o.Key).read(s, to)
	default:
		err = errors.New("is no usage object by its name")
	}
	if err != nil {
		return sum, err
	}
	return s.sum()
}

// Raw reads rows of an object again and gives their bytes, of each the first [rating.RawMax].
func (r *Reader) Raw(ctx context.Context, o Object, numbers []int64) (map[int64][]byte, error) {
	numbers = slices.Clone(numbers)
	slices.Sort(numbers)
	p := &picker{numbers: slices.Compact(numbers), found: make(map[int64][]byte, len(numbers))}
	if len(numbers) == 0 {
		return p.found, nil
	}
	err := r.read(ctx, o, new(bool), func(file content) error {
		_, err := r.decode(ctx, o, file, p)
		if errors.Is(err, errEnough) {
			return nil
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(p.numbers) > 0 {
		return nil, &ObjectError{o.Key, fmt.Errorf("has no row %d", p.numbers[0])}
	}
	return p.found, nil
}

var errEnough = errors.New("all rows found")

// picker keeps the raw bytes of some rows.
type picker struct {
	numbers []int64 // sorted, not yet found
	found   map[int64][]byte
}

func (p *picker) wants([]byte) bool { return true }

func (p *picker) whole() bool { return false }

func (p *picker) add(r *row) error {
	if r.number != p.numbers[0] {
		return nil
	}
	p.found[r.number] = append([]byte{}, r.raw[:min(len(r.raw), rating.RawMax)]...)
	if p.numbers = p.numbers[1:]; len(p.numbers) == 0 {
		return errEnough
	}
	return nil
}
