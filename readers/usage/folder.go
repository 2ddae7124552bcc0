package usage

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Object is a usage object as its listing shows it.
type Object struct {
	Key     string
	Size    int64
	Version string // of a file, when it was changed, in nanoseconds; of an object in a bucket, its ETag
}

// Objects is where usage lies: a [Folder] or a [Bucket].
type Objects interface {
	// List gives the usage objects by key, and the names that are no usage.
	List(ctx context.Context) (objects []Object, ignored []string, err error)
	// Expect says which objects will be read, in their order.
	Expect([]Object)
	open(context.Context, Object) (content, error)
	io.Closer
}

// Folder is a usage.url that is a local folder.
type Folder struct {
	root *os.Root
	path string
}

// OpenFolder opens a folder of usage objects. Nothing outside of it can be reached through it.
func OpenFolder(path string) (*Folder, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("open usage folder: %w; usage.url names a folder that exists", err)
	}
	return &Folder{root: root, path: path}, nil
}

// Close lets go of the folder.
func (f *Folder) Close() error { return f.root.Close() }

// List gives the usage objects of the folder and of those below it, by key, and the names that are no usage.
func (f *Folder) List(ctx context.Context) (objects []Object, ignored []string, err error) {
	err = fs.WalkDir(f.root.FS(), ".", func(key string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		hidden := key != "." && strings.ContainsRune("._", rune(entry.Name()[0]))
		switch {
		case hidden && entry.IsDir():
			return fs.SkipDir
		case hidden || entry.IsDir():
			return nil
		case entry.Type()&fs.ModeSymlink != 0:
			return fmt.Errorf("%q is a symbolic link; links are not followed, so put the objects themselves there, or name their folder in usage.url", key)
		case !utf8.ValidString(key):
			return fmt.Errorf("the name %q is not UTF-8, and could not stand in a settlement; rename it", key)
		case !entry.Type().IsRegular() || formatOf(key).kind == notUsage:
			ignored = append(ignored, key)
			return nil
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		objects = append(objects, objectOf(key, info))
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("list usage folder %s: %w", f.path, err)
	}
	slices.SortFunc(objects, func(a, b Object) int { return strings.Compare(a.Key, b.Key) })
	slices.Sort(ignored)
	return objects, ignored, nil
}

// objectOf makes an object of a file.
func objectOf(key string, info fs.FileInfo) Object {
	return Object{Key: key, Size: info.Size(), Version: strconv.FormatInt(info.ModTime().UnixNano(), 10)}
}

// Expect does nothing: files are at hand.
func (f *Folder) Expect([]Object) {}

// content is an open object.
type content interface {
	io.Reader
	io.ReaderAt
	io.Closer
	// stat gives the object as it is now.
	stat() (Object, error)
}

// file is the content of an object in a folder.
type file struct {
	*os.File
	key string
}

func (f *Folder) open(_ context.Context, o Object) (content, error) {
	opened, err := f.root.Open(o.Key)
	if err != nil {
		return nil, err
	}
	return &file{opened, o.Key}, nil
}

func (f *file) stat() (Object, error) {
	info, err := f.Stat()
	if err != nil {
		return Object{}, err
	}
	return objectOf(f.key, info), nil
}

// unchanged makes sure that an open object still is the listed one.
func unchanged(file content, o Object) error {
	now, err := file.stat()
	if err != nil {
		return machineError(err)
	}
	if now != o {
		return changed(o, now)
	}
	return nil
}

// changed is the error of an object that is not the listed one any more.
func changed(listed, now Object) error {
	return &ObjectError{listed.Key, fmt.Errorf("changed while it was read (%s, then %s); have its producer write it elsewhere and rename it, or under a new name, then run again",
		listed.describe(), now.describe())}
}

// vanished is the error of an object that is not there any more.
func vanished(key string, err error) error {
	return &ObjectError{key, fmt.Errorf("has vanished since it was listed (%w); run again when the object stands still", err)}
}

func (o *Object) describe() string {
	if nanos, err := strconv.ParseInt(o.Version, 10, 64); err == nil {
		return fmt.Sprintf("%d bytes at %s", o.Size, time.Unix(0, nanos).UTC().Format(time.RFC3339Nano))
	}
	return fmt.Sprintf("%d bytes with the ETag %s", o.Size, o.Version)
}

// watchedContent remembers the first error of reading an object, which a decoder may wrap, replace or swallow.
type watchedContent struct {
	content
	err error
}

func (w *watchedContent) Read(p []byte) (int, error) {
	n, err := w.content.Read(p)
	w.note(err)
	return n, err
}

func (w *watchedContent) ReadAt(p []byte, at int64) (int, error) {
	n, err := w.content.ReadAt(p, at)
	w.note(err)
	return n, err
}

func (w *watchedContent) note(err error) {
	if err != nil && err != io.EOF && w.err == nil {
		w.err = err
	}
}

// machineError is what keeps an object from being read without being its fault: a right or a file handle that is missing, a
// disk that fails.
func machineError(err error) error {
	return fmt.Errorf("%w; this is no fault of the object, and nothing is settled without it: see to it, and run again", err)
}

type formatKind uint8

const (
	notUsage formatKind = iota
	ndjson
	csvText
	parquet
)

type compression uint8

const (
	plain compression = iota
	gzipped
	zstandard
)

type objectFormat struct {
	kind        formatKind
	compression compression
}

func formatOf(key string) objectFormat {
	var f objectFormat
	name := strings.ToLower(key)
	switch path.Ext(name) {
	case ".gz":
		f.compression, name = gzipped, strings.TrimSuffix(name, ".gz")
	case ".zst":
		f.compression, name = zstandard, strings.TrimSuffix(name, ".zst")
	}
	switch path.Ext(name) {
	case ".ndjson", ".jsonl":
		f.kind = ndjson
	case ".csv":
		f.kind = csvText
	case ".parquet":
		if f.compression == plain {
			f.kind = parquet
		}
	}
	return f
}
