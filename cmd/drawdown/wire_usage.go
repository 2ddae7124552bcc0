package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"drawdown/jobs"
	"drawdown/rating"
	"drawdown/readers/usage"
)

// bucket makes a usage folder a jobs.Bucket. An object's version is its time of change and how it is read: with another
// mapping its rows mean something else, so it is read anew.
type bucket struct {
	folder  *usage.Folder
	mapping string // a hash of usage.fields and usage.emit
}

func newBucket(folder *usage.Folder, c *Config) (bucket, error) {
	text, err := json.Marshal(c.Usage.Config)
	if err != nil {
		return bucket{}, fmt.Errorf("write usage.fields as JSON: %w", err)
	}
	sum := sha256.Sum256(text)
	return bucket{folder, hex.EncodeToString(sum[:8])}, nil
}

func (b bucket) List(ctx context.Context) ([]jobs.Object, []string, error) {
	listed, ignored, err := b.folder.List(ctx)
	objects := make([]jobs.Object, 0, len(listed))
	for _, o := range listed {
		objects = append(objects, jobs.Object{Key: o.Key, Size: o.Size, Version: fmt.Sprintf("%d %s", o.ModTime.UnixNano(), b.mapping)})
	}
	return objects, ignored, err
}

// objectReader makes a usage.Reader a jobs.Reader.
type objectReader struct{ reader *usage.Reader }

func (r objectReader) Read(ctx context.Context, o jobs.Object, sink jobs.Sink) (jobs.Summary, error) {
	object, err := listedObject(o)
	if err != nil {
		return jobs.Summary{}, err
	}
	summary, err := r.reader.Read(ctx, object, sink)
	return jobs.Summary{Read: summary.Read, First: summary.First, Last: summary.Last, SHA256: summary.SHA256}, objectError(err)
}

func (r objectReader) Raw(ctx context.Context, o jobs.Object, rows []int64) (map[int64][]byte, error) {
	object, err := listedObject(o)
	if err != nil {
		return nil, err
	}
	raw, err := r.reader.Raw(ctx, object, rows)
	return raw, objectError(err)
}

func (r objectReader) AttributeSets() []rating.AttributeSet { return r.reader.AttributeSets() }

func listedObject(o jobs.Object) (usage.Object, error) {
	changed, _, _ := strings.Cut(o.Version, " ")
	nanos, err := strconv.ParseInt(changed, 10, 64)
	if err != nil {
		return usage.Object{}, fmt.Errorf("version of usage object %s: %w", o.Key, err)
	}
	return usage.Object{Key: o.Key, Size: o.Size, ModTime: time.Unix(0, nanos)}, nil
}

// objectError lets jobs see that it is the object's fault.
func objectError(err error) error {
	var bad *usage.ObjectError
	if errors.As(err, &bad) {
		return &jobs.ObjectError{Key: bad.Key, Err: err}
	}
	return err
}
