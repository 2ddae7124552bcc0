package bucket

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
	"io/fs"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// fetch gets the bytes of a piece into a buffer. Requests are repeated by the client; bytes that are cut off, or that are not
// those that the service vouches for, are asked for again here.
func (b *Bucket) fetch(p *piece, buffer []byte) ([]byte, error) {
	s := p.source
	if p.offset == 0 && !p.whole() {
		if err := b.findChecksum(s); err != nil {
			return nil, err
		}
	}
	var err error
	for attempt := range attempts {
		var data []byte
		data, err = b.get(s, p, buffer)
		var cut *cutError
		if err == nil || !errors.As(err, &cut) || s.ctx.Err() != nil {
			return data, err
		}
		if b.wait(s.ctx, attempt) != nil {
			break
		}
	}
	return nil, err
}

// cutError says that the bytes did not come as they should, though the service said that they would.
type cutError struct{ err error }

func (e *cutError) Error() string { return "its bytes did not come whole: " + e.err.Error() }
func (e *cutError) Unwrap() error { return e.err }

// get is one attempt.
func (b *Bucket) get(s *source, p *piece, buffer []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(s.ctx, requestPatience)
	defer cancel()
	in := &s3.GetObjectInput{Bucket: b.bucket(), Key: b.key(s.object.Key), IfMatch: aws.String(s.object.ETag)}
	if !p.whole() {
		in.Range = aws.String(fmt.Sprintf("bytes=%d-%d", p.offset, p.offset+p.size-1))
	}
	out, err := b.client.GetObject(ctx, in)
	if err != nil {
		return nil, b.changed(s, b.failure("read", s.object.Key, err))
	}
	defer out.Body.Close()
	if err := s.check(p, out); err != nil {
		return nil, b.changed(s, b.failure("read", s.object.Key, err))
	}
	data := buffer[:p.size]
	_, err = io.ReadFull(out.Body, data)
	if err == nil {
		var more [1]byte
		if _, err = io.ReadFull(out.Body, more[:]); err == nil {
			err = errors.New("there are more than it has")
		} else if err == io.EOF { // here the client compares the checksum that the service gave
			err = nil
		}
	}
	if err != nil {
		return nil, b.failure("read", s.object.Key, &cutError{err})
	}
	return data, nil
}

// check makes sure that an answer is about what was asked for: some services pass over If-Match and Range.
func (s *source) check(p *piece, out *s3.GetObjectOutput) error {
	if etag := quotedETag(out.ETag); etag != s.object.ETag {
		return fmt.Errorf("%w: it has the ETag %s", ErrChanged, etag)
	}
	if n := aws.ToInt64(out.ContentLength); n != p.size {
		return &cutError{fmt.Errorf("%d bytes of %d are announced", n, p.size)}
	}
	if want := fmt.Sprintf("bytes %d-%d/%d", p.offset, p.offset+p.size-1, s.object.Size); !p.whole() && aws.ToString(out.ContentRange) != want {
		return &cutError{fmt.Errorf("the service answers with %q and not with %q", aws.ToString(out.ContentRange), want)}
	}
	return nil
}

// ChangedError is an object that is not the listed one any more.
type ChangedError struct {
	Listed, Now Object
	err         error
}

func (e *ChangedError) Error() string { return e.err.Error() }
func (e *ChangedError) Unwrap() error { return e.err }

// changed says what the object has become.
func (b *Bucket) changed(s *source, err error) error {
	if !errors.Is(err, ErrChanged) && !errors.Is(err, ErrDenied) {
		return err
	}
	switch now, statErr := b.Stat(s.ctx, s.object.Key); {
	case errors.Is(statErr, fs.ErrNotExist) || statErr != nil && errors.Is(err, ErrChanged):
		return statErr
	case errors.Is(err, ErrDenied):
		return err
	default:
		return &ChangedError{Listed: s.object, Now: now, err: err}
	}
}

// checksum is what the service vouches for: that of the whole object, which it does not give with a range.
type checksum struct {
	name string
	hash hash.Hash
	want []byte
}

// findChecksum asks for the checksum of an object that comes in pieces.
func (b *Bucket) findChecksum(s *source) error {
	head, err := b.client.HeadObject(s.ctx, &s3.HeadObjectInput{
		Bucket: b.bucket(), Key: b.key(s.object.Key), IfMatch: aws.String(s.object.ETag), ChecksumMode: types.ChecksumModeEnabled,
	})
	if err != nil {
		return b.changed(s, b.failure("read", s.object.Key, err))
	}
	if head.ChecksumType == types.ChecksumTypeComposite {
		return nil // it is made of the parts' checksums, and where they end is not known
	}
	for _, c := range [...]struct {
		name string
		text *string
		hash func() hash.Hash
	}{
		{"CRC64NVME", head.ChecksumCRC64NVME, func() hash.Hash { return crc64.New(crc64.MakeTable(crc64NVME)) }},
		{"CRC32C", head.ChecksumCRC32C, func() hash.Hash { return crc32.New(crc32.MakeTable(crc32.Castagnoli)) }},
		{"CRC32", head.ChecksumCRC32, func() hash.Hash { return crc32.NewIEEE() }},
		{"SHA-256", head.ChecksumSHA256, sha256.New},
	} {
		text := aws.ToString(c.text)
		if want, err := base64.StdEncoding.DecodeString(text); text != "" && !strings.Contains(text, "-") && err == nil {
			s.sum = &checksum{c.name, c.hash(), want}
			return nil
		}
	}
	return nil
}

// crc64NVME is the polynomial of CRC-64/NVME, reversed as hash/crc64 wants it.
const crc64NVME = 0x9a6c9329ac4bc9b5

func (c *checksum) write(data []byte) {
	if c != nil {
		c.hash.Write(data)
	}
}

// verify compares what came with what the service vouches for.
func (c *checksum) verify() error {
	if c == nil {
		return nil
	}
	if got := c.hash.Sum(nil); string(got) != string(c.want) {
		return fmt.Errorf("its bytes have the %s %x, and the service says %x: they were damaged on the way or in the service", c.name, got, c.want)
	}
	return nil
}
