package usage

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"drawdown/readers/bucket"
)

// Bucket is a usage.url that is a prefix in a bucket. Its objects are read as they were when they were listed.
type Bucket struct {
	bucket *bucket.Bucket

	Progress func(listed int64) // of listing; nil: nobody asks
}

// OpenBucket opens a prefix of usage objects.
func OpenBucket(ctx context.Context, a bucket.Address, s bucket.Settings) (*Bucket, error) {
	opened, err := bucket.Open(ctx, a, s)
	if err != nil {
		return nil, err
	}
	return &Bucket{bucket: opened}, nil
}

// Close lets go of the bucket.
func (b *Bucket) Close() error { return b.bucket.Close() }

// List gives the usage objects below the prefix, by key, and the names that are no usage.
func (b *Bucket) List(ctx context.Context) (objects []Object, ignored []string, err error) {
	listed := int64(0)
	err = b.bucket.List(ctx, "", func(o bucket.Object) error {
		if listed++; b.Progress != nil {
			b.Progress(listed)
		}
		switch {
		case strings.HasSuffix(o.Key, "/") || hidden(o.Key): // what a console makes of a folder
		case formatOf(o.Key).kind == notUsage:
			ignored = append(ignored, o.Key)
		default:
			objects = append(objects, listedObject(o))
		}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("list usage: %w", err)
	}
	slices.SortFunc(objects, func(a, b Object) int { return strings.Compare(a.Key, b.Key) })
	slices.Sort(ignored)
	return objects, ignored, nil
}

// hidden tells whether a part of a key begins as that of files which nobody is to see.
func hidden(key string) bool {
	for part := range strings.SplitSeq(key, "/") {
		if part != "" && strings.ContainsRune("._", rune(part[0])) {
			return true
		}
	}
	return false
}

func listedObject(o bucket.Object) Object { return Object{Key: o.Key, Size: o.Size, Version: o.ETag} }

func bucketObject(o Object) bucket.Object {
	return bucket.Object{Key: o.Key, Size: o.Size, ETag: o.Version}
}

// Expect lets the objects come before they are opened.
func (b *Bucket) Expect(objects []Object) {
	expected := make([]bucket.Object, len(objects))
	for i := range objects {
		expected[i] = bucketObject(objects[i])
	}
	b.bucket.Expect(expected)
}

func (b *Bucket) open(ctx context.Context, o Object) (content, error) {
	return &remote{b.bucket.Open(ctx, bucketObject(o)), o}, nil
}

// remote is the content of an object in a bucket.
type remote struct {
	*bucket.Content
	object Object
}

// stat needs not ask: each request for bytes names the version, and fails once it is another one.
func (r *remote) stat() (Object, error) { return r.object, nil }
