package settlement

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"drawdown/readers/bucket"
)

// bucketStorage is a prefix of a bucket. A file is written to a temporary file first, and uploaded in the background when it
// is complete: a run holds hundreds of files open, and parts of all of them would not fit into its memory.
type bucketStorage struct {
	bucket *bucket.Bucket
	ctx    context.Context // of the run: files are made in many places, and all of them end with it
	slots  chan struct{}

	mu      sync.Mutex
	uploads map[string]*upload // that are not known to be there
	group   sync.WaitGroup

	copiesNot atomic.Bool // the service, as it seems
}

type upload struct {
	cancel context.CancelFunc
	done   chan struct{}
	err    error
}

const (
	uploadsAtATime = 8
	discardTime    = 30 * time.Second
)

func newBucketStorage(ctx context.Context, b *bucket.Bucket) *bucketStorage {
	return &bucketStorage{bucket: b, ctx: ctx, slots: make(chan struct{}, uploadsAtATime), uploads: map[string]*upload{}}
}

// makeDir makes nothing, since there are no folders, but finds out whether there is anything.
func (s *bucketStorage) makeDir(name string) error {
	return s.bucket.List(s.ctx, name+"/", func(bucket.Object) error { return fs.ErrExist })
}

// link has the service copy, many files at a time. One that cannot do so, or does not say what it has copied, is not asked again.
func (s *bucketStorage) link(dir, as string, files []File) (map[string]bool, error) {
	linked, mu := make(map[string]bool, len(files)), sync.Mutex{}
	var group errgroup.Group
	group.SetLimit(uploadsAtATime)
	for i := range files {
		f := &files[i]
		group.Go(func() error {
			if s.copiesNot.Load() || s.ctx.Err() != nil {
				return context.Cause(s.ctx)
			}
			if len(f.SHA256) != sha256.Size || s.bucket.Copy(s.ctx, path.Join(dir, f.Name), path.Join(as, f.Name), [sha256.Size]byte(f.SHA256)) != nil {
				s.copiesNot.Store(true)
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			linked[f.Name] = true
			return nil
		})
	}
	return linked, group.Wait()
}

func (s *bucketStorage) create(string) (io.WriteCloser, error) { return s.bucket.TempFile() }

func (s *bucketStorage) close(name string, file io.WriteCloser, size int64) error {
	select {
	case s.slots <- struct{}{}:
	case <-s.ctx.Done():
		return errors.Join(context.Cause(s.ctx), file.Close())
	}
	ctx, cancel := context.WithCancel(s.ctx)
	u := &upload{cancel: cancel, done: make(chan struct{})}
	s.mu.Lock()
	s.uploads[name] = u
	s.mu.Unlock()
	s.group.Go(func() {
		temporary := file.(*bucket.Temporary) // that create gave
		hash := sha256.New()
		_, u.err = io.Copy(hash, io.NewSectionReader(temporary, 0, size))
		if u.err == nil {
			u.err = s.bucket.Put(ctx, name, temporary, size, [sha256.Size]byte(hash.Sum(nil)))
		}
		u.err = errors.Join(u.err, temporary.Close())
		cancel()
		<-s.slots
		close(u.done)
	})
	return nil
}

// wait waits for a file's upload.
func (s *bucketStorage) wait(name string) error {
	s.mu.Lock()
	u := s.uploads[name]
	s.mu.Unlock()
	if u == nil {
		return nil
	}
	<-u.done
	if u.err == nil {
		s.mu.Lock()
		delete(s.uploads, name)
		s.mu.Unlock()
	}
	return u.err
}

// sync waits for all uploads; what a bucket has acknowledged lasts.
func (s *bucketStorage) sync(context.Context) error {
	s.mu.Lock()
	names := make([]string, 0, len(s.uploads))
	for name := range s.uploads {
		names = append(names, name)
	}
	s.mu.Unlock()
	var errs []error
	for _, name := range names {
		errs = append(errs, s.wait(name))
	}
	return errors.Join(errs...)
}

func (s *bucketStorage) replace(name string, content []byte) error {
	return s.bucket.Replace(s.ctx, name, content)
}

func (s *bucketStorage) open(name string) (stored, error) {
	if err := s.wait(name); err != nil {
		return nil, err
	}
	o, err := s.bucket.Stat(s.ctx, name)
	if err != nil {
		return nil, err
	}
	return s.bucket.Open(s.ctx, o), nil
}

func (s *bucketStorage) stat(name string) (fileInfo, error) {
	o, err := s.bucket.Stat(s.ctx, name)
	return fileInfo{name, o.Size, o.Modified}, err
}

func (s *bucketStorage) list(ctx context.Context, prefix string, visit func(fileInfo) error) error {
	return s.bucket.List(ctx, prefix, func(o bucket.Object) error {
		if strings.HasSuffix(o.Key, "/") { // what a console makes of a folder
			return nil
		}
		return visit(fileInfo{o.Key, o.Size, o.Modified})
	})
}

func (s *bucketStorage) remove(ctx context.Context, names ...string) error {
	return s.bucket.Remove(ctx, names...)
}

// removeAll works after an interrupt, too, for a while. Who may not remove leaves it to gc: nothing refers to the files.
func (s *bucketStorage) removeAll(dir string) error {
	s.abandon(dir + "/")
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), discardTime)
	defer cancel()
	var names []string
	err := s.bucket.List(ctx, dir+"/", func(o bucket.Object) error {
		names = append(names, o.Key)
		return nil
	})
	if err == nil {
		err = s.bucket.Remove(ctx, names...)
	}
	if errors.Is(err, bucket.ErrDenied) {
		return nil
	}
	return err
}

// abandon ends uploads, which could otherwise come after their removal.
func (s *bucketStorage) abandon(prefix string) {
	s.mu.Lock()
	var ended []*upload
	for name, u := range s.uploads {
		if strings.HasPrefix(name, prefix) {
			u.cancel()
			ended = append(ended, u)
			delete(s.uploads, name)
		}
	}
	s.mu.Unlock()
	for _, u := range ended {
		<-u.done
	}
}

// Close waits for what is under way, and gives the bucket up.
func (s *bucketStorage) Close() error {
	s.group.Wait()
	return s.bucket.Close()
}
