package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"drawdown/jobs"
	"drawdown/rating"
	"drawdown/readers/bucket"
	"drawdown/readers/usage"
)

// openUsage opens usage.url.
func (a *app) openUsage(ctx context.Context, c *Config, memory byteSize, progress *progress) (usage.Objects, error) {
	if !isRemote(c.Usage.URL) {
		return usage.OpenFolder(c.Usage.URL)
	}
	address, err := bucket.Parse(c.Usage.URL)
	if err != nil {
		return nil, err
	}
	opened, err := usage.OpenBucket(ctx, address, bucket.Settings{Memory: int64(memory) / 16, TempDir: c.TempDir})
	if err != nil {
		return nil, err
	}
	opened.Progress = func(listed int64) { progress.report("list", listed, 0) }
	return opened, nil
}

// usageBucket makes usage.Objects a jobs.Bucket. An object's version is that of its content and how it is read: with another
// mapping its rows mean something else, so it is read anew.
type usageBucket struct {
	objects usage.Objects
	mapping string // a hash of usage.fields and usage.emit
}

func newBucket(objects usage.Objects, c *Config) (usageBucket, error) {
	text, err := json.Marshal(c.Usage.Config)
	if err != nil {
		return usageBucket{}, fmt.Errorf("write usage.fields as JSON: %w", err)
	}
	sum := sha256.Sum256(text)
	return usageBucket{objects, hex.EncodeToString(sum[:8])}, nil
}

func (b usageBucket) List(ctx context.Context) ([]jobs.Object, []string, error) {
	listed, ignored, err := b.objects.List(ctx)
	objects := make([]jobs.Object, 0, len(listed))
	for _, o := range listed {
		objects = append(objects, jobs.Object{Key: o.Key, Size: o.Size, Version: o.Version + " " + b.mapping})
	}
	return objects, ignored, err
}

func (b usageBucket) Expect(objects []jobs.Object) {
	expected := make([]usage.Object, len(objects))
	for i := range objects {
		expected[i] = listedObject(objects[i])
	}
	b.objects.Expect(expected)
}

// objectReader makes a usage.Reader a jobs.Reader.
type objectReader struct{ reader *usage.Reader }

func (r objectReader) Read(ctx context.Context, o jobs.Object, sink jobs.Sink) (jobs.Summary, error) {
	summary, err := r.reader.Read(ctx, listedObject(o), sink)
	return jobs.Summary{Read: summary.Read, First: summary.First, Last: summary.Last, SHA256: summary.SHA256}, objectError(err)
}

func (r objectReader) Select(ctx context.Context, o jobs.Object, accounts *rating.AccountSet, sink jobs.Sink) error {
	return objectError(r.reader.Select(ctx, listedObject(o), accounts, sink))
}

func (r objectReader) Raw(ctx context.Context, o jobs.Object, rows []int64) (map[int64][]byte, error) {
	raw, err := r.reader.Raw(ctx, listedObject(o), rows)
	return raw, objectError(err)
}

func (r objectReader) AttributeSets() []rating.AttributeSet { return r.reader.AttributeSets() }

// listedObject leaves the hash of the mapping out of the version.
func listedObject(o jobs.Object) usage.Object {
	version := o.Version
	if end := strings.LastIndexByte(version, ' '); end >= 0 {
		version = version[:end]
	}
	return usage.Object{Key: o.Key, Size: o.Size, Version: version}
}

// objectError lets jobs see that it is the object's fault.
func objectError(err error) error {
	var bad *usage.ObjectError
	if errors.As(err, &bad) {
		return &jobs.ObjectError{Key: bad.Key, Err: err}
	}
	return err
}
