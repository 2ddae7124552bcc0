package bucket

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// List visits the objects whose names begin with below, page by page, in the order of their keys.
func (b *Bucket) List(ctx context.Context, below string, visit func(Object) error) error {
	in := &s3.ListObjectsV2Input{Bucket: b.bucket(), Prefix: b.key(below), EncodingType: types.EncodingTypeUrl}
	last := ""
	for {
		page, err := b.client.ListObjectsV2(ctx, in)
		if err != nil {
			return b.failure("list", below, err)
		}
		for i := range page.Contents {
			o, err := b.listed(&page.Contents[i], page.EncodingType)
			switch {
			case err != nil:
				return b.failure("list", below, err)
			case last != "" && o.Key <= last:
				return b.failure("list", below, fmt.Errorf("the service gave %q after %q: its pages are not in order, and some object may be missing; run again", o.Key, last))
			}
			last = o.Key
			if err := visit(o); err != nil {
				return err
			}
		}
		if !aws.ToBool(page.IsTruncated) {
			return nil
		}
		token := aws.ToString(page.NextContinuationToken)
		if token == "" || token == aws.ToString(in.ContinuationToken) {
			return b.failure("list", below, errors.New("the service says that there is more, and not how to get on; run again"))
		}
		in.ContinuationToken = aws.String(token)
	}
}

// listed makes an Object of an entry. Keys come encoded, since XML cannot hold each of them.
func (b *Bucket) listed(entry *types.Object, encoding types.EncodingType) (Object, error) {
	key := aws.ToString(entry.Key)
	if encoding == types.EncodingTypeUrl {
		decoded, err := url.QueryUnescape(key)
		if err != nil {
			return Object{}, fmt.Errorf("the service gave the key %q, which is not encoded as it should be", key)
		}
		key = decoded
	}
	name, found := strings.CutPrefix(key, b.address.Prefix)
	if !found {
		return Object{}, fmt.Errorf("the service gave the key %q, which was not asked for", key)
	}
	o := Object{Key: name, Size: aws.ToInt64(entry.Size), ETag: quotedETag(entry.ETag), Modified: aws.ToTime(entry.LastModified)}
	if o.ETag == "" {
		return o, fmt.Errorf("the service gives no ETag of %q, so that a change of it could not be seen", key)
	}
	return o, nil
}

// quotedETag is an ETag as it stands in headers; some services leave the quotes out in lists.
func quotedETag(etag *string) string {
	bare := strings.Trim(aws.ToString(etag), `"`)
	if bare == "" {
		return ""
	}
	return `"` + bare + `"`
}

// Stat looks an object up. Where the right to list is bound to a prefix, the service forbids what is not there.
func (b *Bucket) Stat(ctx context.Context, name string) (Object, error) {
	head, err := b.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: b.bucket(), Key: b.key(name)})
	if err != nil {
		err = b.failure("look up", name, err)
		if errors.Is(err, ErrDenied) && !b.lists(ctx, name) {
			err = b.failure("look up", name, fs.ErrNotExist)
		}
		return Object{}, err
	}
	o := Object{Key: name, Size: aws.ToInt64(head.ContentLength), ETag: quotedETag(head.ETag), Modified: aws.ToTime(head.LastModified)}
	if o.ETag == "" {
		return o, b.failure("look up", name, errors.New("the service gives no ETag of it, so that a change of it could not be seen"))
	}
	return o, nil
}

// lists tells whether an object is there, or may be.
func (b *Bucket) lists(ctx context.Context, name string) bool {
	found := errors.New("found")
	return b.List(ctx, name, func(o Object) error {
		if o.Key == name {
			return found
		}
		return nil
	}) != nil
}

// removedAtATime is how many keys one request may name.
const removedAtATime = 1000

// Remove removes objects; that one is gone already is no error.
func (b *Bucket) Remove(ctx context.Context, names ...string) error {
	for len(names) > 0 {
		n := min(len(names), removedAtATime)
		in := &types.Delete{Quiet: aws.Bool(true)}
		for _, name := range names[:n] {
			in.Objects = append(in.Objects, types.ObjectIdentifier{Key: b.key(name)})
		}
		out, err := b.client.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: b.bucket(), Delete: in})
		if err != nil {
			return b.failure("remove", names[0], err)
		}
		for _, refused := range out.Errors {
			if aws.ToString(refused.Code) == "NoSuchKey" {
				continue
			}
			err := fmt.Errorf("%s: %s", aws.ToString(refused.Code), aws.ToString(refused.Message))
			if aws.ToString(refused.Code) == "AccessDenied" {
				err = fmt.Errorf("%w (%w)", ErrDenied, err)
			}
			return b.failure("remove", strings.TrimPrefix(aws.ToString(refused.Key), b.address.Prefix), err)
		}
		names = names[n:]
	}
	return nil
}
