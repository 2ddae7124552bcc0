package usage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"drawdown/rating"
)

// failingContent is an open object that cannot be read, or looked at, any more from some time on.
type failingContent struct {
	content
	after    int64 // bytes, counted from the start of the object
	at       int64
	err      error
	statErrs []error // of one stat after another
}

func (f *failingContent) Read(p []byte) (int, error) {
	if f.at >= f.after {
		return 0, f.err
	}
	n, err := f.content.Read(p[:min(int64(len(p)), f.after-f.at)])
	f.at += int64(n)
	return n, err
}

func (f *failingContent) ReadAt(p []byte, at int64) (int, error) {
	if at+int64(len(p)) > f.after {
		return 0, f.err
	}
	return f.content.ReadAt(p, at)
}

func (f *failingContent) stat() (Object, error) {
	if len(f.statErrs) > 0 {
		err := f.statErrs[0]
		f.statErrs = f.statErrs[1:]
		if err != nil {
			return Object{}, err
		}
	}
	return f.content.stat()
}

// usageFiles is the same usage in every format.
func usageFiles(t *testing.T) map[string][]byte {
	type row struct {
		ID       string    `parquet:"id"`
		Account  string    `parquet:"account"`
		Meter    string    `parquet:"meter"`
		Quantity int64     `parquet:"quantity"`
		Time     time.Time `parquet:"time,timestamp(millisecond)"`
	}
	var lines, table strings.Builder
	var rows []row
	table.WriteString("id,account,meter,quantity,time\n")
	for i := range 20_000 {
		id := fmt.Sprintf("%x", uint64(i)*0x9e3779b97f4a7c15)
		fmt.Fprintf(&lines, `{"id":%q,"account":"acme","meter":"calls","quantity":%d,"time":"2026-10-01T00:00:00Z"}`+"\n", id, i)
		fmt.Fprintf(&table, "%s,acme,calls,%d,2026-10-01T00:00:00Z\n", id, i)
		rows = append(rows, row{id, "acme", "calls", int64(i), time.Unix(1790812800, 0)})
	}
	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{
		"u.ndjson": []byte(lines.String()), "u.csv": []byte(table.String()), "u.parquet": writeParquet(t, rows),
		"u.ndjson.gz": gzipText([]byte(lines.String())), "u.csv.zst": encoder.EncodeAll([]byte(table.String()), nil),
	}
}

// fileName is where an object lies.
func fileName(t *testing.T, r *Reader, o Object) string {
	t.Helper()
	opened, err := r.open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	return opened.(*file).Name()
}

// wantMachineError: the machine failed, and that is not the object's fault (R4.5).
func wantMachineError(t *testing.T, what string, got, want error) {
	t.Helper()
	var objectError *ObjectError
	if !errors.Is(got, want) || errors.As(got, &objectError) {
		t.Errorf("%s: got %v, want %v, and that it is not the object's fault", what, got, want)
	}
}

func TestFailingMachineIsNoObjectError(t *testing.T) {
	ctx := context.Background()
	for name, data := range usageFiles(t) {
		r, o := open(t, Config{}, name, data)
		folder := r.open
		for _, errno := range []error{syscall.EIO, syscall.ESTALE, syscall.ENOMEM} {
			for _, after := range []int64{0, 2, o.Size / 2, o.Size - 9, o.Size - 1} {
				r.open = func(ctx context.Context, o Object) (content, error) {
					file, err := folder(ctx, o)
					return &failingContent{content: file, after: after, err: &fs.PathError{Op: "read", Path: o.Key, Err: errno}}, err
				}
				what := fmt.Sprintf("%s, %v after %d of %d bytes", name, errno, after, o.Size)
				_, err := r.Read(ctx, o, &count{})
				wantMachineError(t, what, err, errno)
				_, err = r.Raw(ctx, o, []int64{20_000})
				wantMachineError(t, what+", read again", err, errno)
			}
		}
		for _, errno := range []error{syscall.EACCES, syscall.EPERM, syscall.EMFILE, syscall.ENFILE, syscall.EIO} {
			r.open = func(_ context.Context, o Object) (content, error) {
				return nil, &fs.PathError{Op: "openat", Path: o.Key, Err: errno}
			}
			_, err := r.Read(ctx, o, &count{})
			wantMachineError(t, name+", opened", err, errno)
		}
		for _, errs := range [][]error{{syscall.EIO}, {nil, syscall.ESTALE}} {
			r.open = func(ctx context.Context, o Object) (content, error) {
				file, err := folder(ctx, o)
				return &failingContent{content: file, after: 1 << 40, statErrs: errs}, err
			}
			_, err := r.Read(ctx, o, &count{})
			wantMachineError(t, name+", looked at", err, errs[len(errs)-1])
		}
		r.open = folder
		if s, err := r.Read(ctx, o, &count{}); err != nil || s.Read != 20_000 {
			t.Errorf("%s, read again: %+v %v", name, s, err)
		}
	}
}

// TestDamageIsNoExcuseForTheMachine: where both the object and the machine are at fault, nobody knows what the object says.
func TestDamageIsNoExcuseForTheMachine(t *testing.T) {
	r, o := open(t, Config{}, "u.ndjson.gz", []byte("no gzip at all"))
	folder := r.open
	r.open = func(ctx context.Context, o Object) (content, error) {
		file, err := folder(ctx, o)
		return &failingContent{content: file, after: 1 << 40, statErrs: []error{nil, syscall.EIO}}, err
	}
	_, err := r.Read(context.Background(), o, &count{})
	wantMachineError(t, "damaged", err, syscall.EIO)
}

func TestForbiddenObjectIsNoObjectError(t *testing.T) {
	r, o := open(t, Config{}, "u.ndjson", []byte("{}\n"))
	name := fileName(t, r, o)
	if err := os.Chmod(name, 0); err != nil {
		t.Fatal(err)
	}
	if file, err := os.Open(name); err == nil {
		file.Close()
		t.Skip("this user may read everything; TestFailingMachineIsNoObjectError injects the error")
	}
	_, err := r.Read(context.Background(), o, &count{})
	wantMachineError(t, "forbidden", err, fs.ErrPermission)
}

func TestVanishedObject(t *testing.T) {
	r, o := open(t, Config{}, "u.ndjson", []byte("{}\n"))
	if err := os.Remove(fileName(t, r, o)); err != nil {
		t.Fatal(err)
	}
	_, err := r.Read(context.Background(), o, &count{})
	var objectError *ObjectError
	if !errors.As(err, &objectError) || objectError.Key != o.Key || !strings.Contains(err.Error(), "has vanished") {
		t.Error(err)
	}
}

// TestShrunkObject: what a decoder makes of a file that was cut under its hands is not what happened.
func TestShrunkObject(t *testing.T) {
	for name, data := range usageFiles(t) {
		r, o := open(t, Config{}, name, data)
		folder, path := r.open, fileName(t, r, o)
		r.open = func(ctx context.Context, o Object) (content, error) {
			file, err := folder(ctx, o)
			return &shrinking{content: file, name: path}, err
		}
		_, err := r.Read(context.Background(), o, &count{})
		var objectError *ObjectError
		if !errors.As(err, &objectError) || !strings.Contains(err.Error(), "changed while it was read") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// shrinking is a file that is cut in two when it is first read.
type shrinking struct {
	content
	name string
}

func (s *shrinking) Read(p []byte) (int, error)             { return s.cut().Read(p) }
func (s *shrinking) ReadAt(p []byte, at int64) (int, error) { return s.cut().ReadAt(p, at) }

func (s *shrinking) cut() content {
	if info, err := os.Stat(s.name); s.name != "" && err == nil {
		if err := os.Truncate(s.name, info.Size()/2); err != nil {
			panic(err)
		}
		s.name = ""
	}
	return s.content
}

// TestSinkMayPanic: a fault of ours is not the object's either.
func TestSinkMayPanic(t *testing.T) {
	for _, text := range []string{"x\n", "a,acme,calls,1,2026-10-01T00:00:00Z\n"} {
		r, o := open(t, Config{}, "u.csv", []byte("id,account,meter,quantity,time\n"+text))
		func() {
			defer func() {
				if p := recover(); p != "the sink's own" {
					t.Errorf("the panic came out as %v", p)
				}
			}()
			s, err := r.Read(context.Background(), o, panicking{})
			t.Errorf("%+v %v", s, err)
		}()
	}
}

type panicking struct{}

func (panicking) Records(*rating.Records) error { panic("the sink's own") }
func (panicking) Reject(*rating.Rejected) error { panic("the sink's own") }
