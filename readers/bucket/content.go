package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
)

// Content is the bytes of an object, as it was listed: read from its start to its end, or, once ReadAt was called, here and
// there. For the latter an object of more than one piece is kept in a temporary file.
type Content struct {
	bucket *Bucket
	ctx    context.Context

	mu     sync.Mutex
	source *source
	piece  *piece // that is being read
	at     int64  // what Read reads next
	kept   *Temporary
	err    error
}

// Open opens an object. Its bytes begin to come, and every request for them says which version is meant.
func (b *Bucket) Open(ctx context.Context, o Object) *Content {
	return &Content{bucket: b, ctx: ctx, source: b.open(o)}
}

// Size is the object's.
func (c *Content) Size() int64 { return c.source.object.Size }

func (c *Content) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kept != nil {
		n, err := c.readKept(p, c.at)
		c.at += int64(n)
		return n, err
	}
	if len(p) == 0 {
		return 0, nil
	}
	for c.err == nil && (c.piece == nil || c.at == c.piece.offset+c.piece.size) {
		c.err = c.nextPiece()
	}
	if c.err != nil {
		return 0, c.err
	}
	n := copy(p, c.piece.data[c.at-c.piece.offset:])
	c.at += int64(n)
	return n, nil
}

// nextPiece gets the next piece; io.EOF: there is none. The last one is handed out if all is what the service vouches for.
func (c *Content) nextPiece() error {
	next, err := c.bucket.take(c.ctx, c.source)
	if err != nil {
		return err
	}
	if next == nil {
		return io.EOF
	}
	c.letGo()
	c.piece = next
	if next.whole() {
		return nil // the client has compared it
	}
	c.source.sum.write(next.data)
	if next.offset+next.size < c.source.object.Size {
		return nil
	}
	return c.bucket.failure("read", c.source.object.Key, c.source.sum.verify())
}

func (c *Content) letGo() {
	if c.piece != nil {
		c.bucket.giveBack(c.piece)
		c.piece = nil
	}
}

// ReadAt reads somewhere. The whole object comes first.
func (c *Content) ReadAt(p []byte, at int64) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kept == nil && c.err == nil && c.piece == nil {
		c.err = c.nextPiece()
	}
	if c.err != nil {
		return 0, c.err
	}
	if c.kept == nil && c.piece.whole() {
		if at >= c.piece.size {
			return 0, io.EOF
		}
		n := copy(p, c.piece.data[at:])
		if n < len(p) {
			return n, io.EOF
		}
		return n, nil
	}
	if c.kept == nil {
		if c.err = c.keep(); c.err != nil {
			return 0, c.err
		}
	}
	return c.readKept(p, at)
}

func (c *Content) readKept(p []byte, at int64) (int, error) {
	n, err := c.kept.ReadAt(p, at)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("read the copy of %s in the temporary folder: %w", c.source.object.Key, err)
	}
	return n, err
}

// keep puts the object into a temporary file.
func (c *Content) keep() error {
	if c.piece.offset > 0 {
		return errors.New("read of an object here and there, after it was read from its start")
	}
	file, err := c.bucket.TempFile()
	for err == nil {
		if _, err = file.Write(c.piece.data); err == nil {
			err = c.nextPiece()
		}
	}
	c.letGo()
	if err != io.EOF {
		if file != nil {
			err = errors.Join(err, file.Close())
		}
		return fmt.Errorf("keep %s in the temporary folder: %w", c.source.object.Key, err)
	}
	c.kept = file
	return nil
}

// Close lets go of the object, and ends what is still on its way.
func (c *Content) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.letGo()
	c.bucket.close(c.source)
	if c.err == nil || c.err == io.EOF {
		c.err = errors.New("read of a closed object")
	}
	if c.kept == nil {
		return nil
	}
	return c.kept.Close()
}
