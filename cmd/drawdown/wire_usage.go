package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"drawdown/jobs"
	"drawdown/rating"
	"drawdown/readers/usage"
)

// bucket makes a usage folder a jobs.Bucket.
type bucket struct{ folder *usage.Folder }

func (b bucket) List(ctx context.Context) ([]jobs.Object, []string, error) {
	listed, ignored, err := b.folder.List(ctx)
	objects := make([]jobs.Object, 0, len(listed))
	for _, o := range listed {
		objects = append(objects, jobs.Object{Key: o.Key, Size: o.Size, Version: strconv.FormatInt(o.ModTime.UnixNano(), 10)})
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
	nanos, err := strconv.ParseInt(o.Version, 10, 64)
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
