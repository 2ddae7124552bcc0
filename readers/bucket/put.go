package bucket

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

const (
	partsMost    = 10_000
	partsAtATime = 4
	writes       = 4 // of an object whose answers are unclear; each is repeated by the client as well
)

// Put makes a new object. It is an error that is fs.ErrExist if another one has its place; an equal one was made by an
// attempt whose answer was lost. The service is given the checksum, and refuses bytes that do not match it.
func (b *Bucket) Put(ctx context.Context, name string, content io.ReaderAt, size int64, sum [sha256.Size]byte) error {
	condition := aws.String("*")
	var err error
	for attempt := range writes {
		if size <= b.singlePut {
			err = b.putWhole(ctx, name, content, size, sum, condition, nil)
		} else {
			err = b.putParts(ctx, name, content, size, condition)
		}
		switch _, status := answer(err); {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return b.failure("write", name, err)
		case status == http.StatusNotImplemented:
			condition = nil // the service has no conditional writes, and says so; names are never used twice anyway
		case !unclear(status):
			return b.failure("write", name, err)
		}
		there, lookErr := b.holds(ctx, name, size, sum)
		switch {
		case there:
			return nil
		case lookErr != nil && !errors.Is(lookErr, fs.ErrNotExist):
			return errors.Join(b.failure("write", name, err), lookErr)
		}
		if b.wait(ctx, attempt) != nil {
			break
		}
	}
	return b.failure("write", name, err)
}

// Copy has the service make a new object of another one, whose content does not come here. That it has the checksum says the
// service, which computes it anew. Where it fails, there may be an object all the same, which Put finds.
func (b *Bucket) Copy(ctx context.Context, name, as string, sum [sha256.Size]byte) error {
	ctx, cancel := context.WithTimeout(ctx, requestPatience)
	defer cancel()
	source := strings.Split(aws.ToString(b.bucket())+"/"+aws.ToString(b.key(name)), "/")
	for i, segment := range source {
		source[i] = strings.ReplaceAll(url.PathEscape(segment), "+", "%2B") // which some take for a space
	}
	out, err := b.client.CopyObject(ctx, &s3.CopyObjectInput{
		Bucket: b.bucket(), Key: b.key(as), CopySource: aws.String(strings.Join(source, "/")), ChecksumAlgorithm: types.ChecksumAlgorithmSha256,
	})
	if err == nil && (out.CopyObjectResult == nil ||
		aws.ToString(out.CopyObjectResult.ChecksumSHA256) != base64.StdEncoding.EncodeToString(sum[:])) {
		err = errors.New("the service does not say that the copy has the checksum")
	}
	return b.failure("copy", name, err)
}

// unclear tells whether a write may have been carried out though its answer was an error, or may be when it is repeated.
func unclear(status int) bool {
	switch status {
	case 0, http.StatusPreconditionFailed, http.StatusConflict, http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusNotFound:
		return true
	}
	return status >= 500
}

// holds tells whether an object has some content; another content is an error.
func (b *Bucket) holds(ctx context.Context, name string, size int64, sum [sha256.Size]byte) (bool, error) {
	o, err := b.Stat(ctx, name)
	if err != nil {
		return false, err
	}
	different := b.failure("write", name, fmt.Errorf("another object has this name: %w; nothing is overwritten", fs.ErrExist))
	if o.Size != size {
		return false, different
	}
	content := b.Open(ctx, o)
	defer content.Close()
	h := sha256.New()
	if _, err := io.Copy(h, content); err != nil {
		return false, err
	}
	if [sha256.Size]byte(h.Sum(nil)) != sum {
		return false, different
	}
	return true, nil
}

// putWhole is one request. A condition is the ETag that is replaced, or that there must be none.
func (b *Bucket) putWhole(ctx context.Context, name string, content io.ReaderAt, size int64, sum [sha256.Size]byte, ifNone, ifMatch *string) error {
	ctx, cancel := context.WithTimeout(ctx, requestPatience)
	defer cancel()
	_, err := b.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: b.bucket(), Key: b.key(name), Body: io.NewSectionReader(content, 0, size), ContentLength: aws.Int64(size),
		ChecksumSHA256: aws.String(base64.StdEncoding.EncodeToString(sum[:])), IfNoneMatch: ifNone, IfMatch: ifMatch,
	})
	return err
}

// putParts makes an object in parts, several at a time. What fails is taken back.
func (b *Bucket) putParts(ctx context.Context, name string, content io.ReaderAt, size int64, ifNone *string) error {
	upload, err := b.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{
		Bucket: b.bucket(), Key: b.key(name), ChecksumAlgorithm: types.ChecksumAlgorithmSha256,
	})
	if err != nil {
		return err
	}
	parts, err := b.uploadParts(ctx, name, upload.UploadId, content, size)
	if err == nil {
		_, err = b.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
			Bucket: b.bucket(), Key: b.key(name), UploadId: upload.UploadId, IfNoneMatch: ifNone,
			MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
		})
	}
	if err != nil {
		// After a completion whose answer was lost there is nothing to take back; a lifecycle rule removes what stays.
		_, _ = b.client.AbortMultipartUpload(context.WithoutCancel(ctx), &s3.AbortMultipartUploadInput{
			Bucket: b.bucket(), Key: b.key(name), UploadId: upload.UploadId,
		}, func(o *s3.Options) { o.RetryMaxAttempts = 2 })
	}
	return err
}

func (b *Bucket) uploadParts(ctx context.Context, name string, upload *string, content io.ReaderAt, size int64) ([]types.CompletedPart, error) {
	each := max(b.partSize, (size+partsMost-1)/partsMost)
	parts := make([]types.CompletedPart, (size+each-1)/each)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var group sync.WaitGroup
	slots := make(chan struct{}, partsAtATime)
	for i := range parts {
		slots <- struct{}{}
		if ctx.Err() != nil {
			break
		}
		group.Go(func() {
			defer func() { <-slots }()
			from := int64(i) * each
			part, err := b.uploadPart(ctx, name, upload, int32(i+1), io.NewSectionReader(content, from, min(each, size-from)))
			if err != nil {
				cancel(err)
			}
			parts[i] = part
		})
	}
	group.Wait()
	return parts, context.Cause(ctx)
}

func (b *Bucket) uploadPart(ctx context.Context, name string, upload *string, number int32, content *io.SectionReader) (types.CompletedPart, error) {
	ctx, cancel := context.WithTimeout(ctx, requestPatience)
	defer cancel()
	out, err := b.client.UploadPart(ctx, &s3.UploadPartInput{
		Bucket: b.bucket(), Key: b.key(name), UploadId: upload, PartNumber: aws.Int32(number), Body: content,
		ContentLength: aws.Int64(content.Size()), ChecksumAlgorithm: types.ChecksumAlgorithmSha256,
	})
	if err != nil {
		return types.CompletedPart{}, err
	}
	return types.CompletedPart{ETag: out.ETag, ChecksumSHA256: out.ChecksumSHA256, PartNumber: aws.Int32(number)}, nil
}

// ReadFile reads a small object whole.
func (b *Bucket) ReadFile(ctx context.Context, name string) ([]byte, error) {
	for attempt := 0; ; attempt++ {
		content, _, err := b.readFile(ctx, name)
		if !errors.Is(err, ErrChanged) || attempt == attempts || b.wait(ctx, attempt) != nil {
			return content, err
		}
	}
}

func (b *Bucket) readFile(ctx context.Context, name string) ([]byte, Object, error) {
	o, err := b.Stat(ctx, name)
	if err != nil {
		return nil, o, err
	}
	content := b.Open(ctx, o)
	defer content.Close()
	data := make([]byte, o.Size)
	_, err = io.ReadFull(content, data)
	if err == io.EOF { // it is empty
		err = nil
	}
	return data, o, err
}

// Replace puts content into the place of what is there, at once or not at all. It fails where others do so all the time.
func (b *Bucket) Replace(ctx context.Context, name string, content []byte) error {
	sum := sha256.Sum256(content)
	conditional := true
	var last error
	for attempt := range attempts {
		there, o, err := b.readFile(ctx, name)
		var ifNone, ifMatch *string
		switch {
		case err == nil && bytes.Equal(there, content):
			return nil
		case err == nil && conditional:
			ifMatch = aws.String(o.ETag)
		case errors.Is(err, fs.ErrNotExist) && conditional:
			ifNone = aws.String("*")
		case err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrChanged):
			return err
		}
		if errors.Is(err, ErrChanged) {
			last = err
		} else if last = b.failure("write", name, b.putWhole(ctx, name, bytes.NewReader(content), int64(len(content)), sum, ifNone, ifMatch)); last != nil {
			_, status := answer(last)
			conditional = conditional && status != http.StatusNotImplemented
			if !unclear(status) && status != http.StatusNotImplemented || ctx.Err() != nil {
				return last
			}
		} else {
			continue // it is read back
		}
		if b.wait(ctx, attempt) != nil {
			break
		}
	}
	return errors.Join(last, b.failure("write", name, errors.New("something else is there each time that it is read back")))
}
