package settlement

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path"
	"slices"
	"strings"

	"github.com/parquet-go/parquet-go"
)

// Difference is where a settlement that was made again is not the one that stands.
type Difference struct {
	Name     string // of the file, in the revision's folder
	What     string
	SameRows bool // only the bytes differ, not what they say
}

// Side is one of two settlements to compare.
type Side struct {
	Output   *Output
	Dir      string // of the revision
	Manifest *Manifest
}

// Differences compares two revisions byte by byte, and names the first row of each file that differs. Without any, all
// bytes are the same, those of the manifests too.
func Differences(ctx context.Context, stands, again Side) ([]Difference, error) {
	var list []Difference
	files := slices.Concat(stands.Manifest.Files, again.Manifest.Files)
	slices.SortStableFunc(files, func(a, b File) int {
		return cmp.Or(cmp.Compare(tableNamed(a.Table), tableNamed(b.Table)), cmp.Compare(a.Name, b.Name))
	})
	files = slices.CompactFunc(files, func(a, b File) bool { return a.Name == b.Name })
	for _, f := range files {
		d, err := differenceIn(ctx, stands, again, f)
		if err != nil {
			return nil, fmt.Errorf("compare %s: %w", f.Name, err)
		}
		if d != nil {
			list = append(list, *d)
		}
	}
	if len(list) > 0 {
		return list, nil // the manifests differ in what they say of these
	}
	what, err := lineThatDiffers(stands, again)
	if what != "" {
		list = append(list, Difference{Name: manifestName, What: what})
	}
	return list, err
}

func (s Side) open(name string) (stored, error) { return s.Output.storage.open(path.Join(s.Dir, name)) }

func differenceIn(ctx context.Context, stands, again Side, f File) (*Difference, error) {
	a, err := stands.open(f.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return &Difference{Name: f.Name, What: "settled again, there is such a file"}, nil
	}
	if err != nil {
		return nil, err
	}
	defer a.Close()
	b, err := again.open(f.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return &Difference{Name: f.Name, What: "settled again, there is no such file"}, nil
	}
	if err != nil {
		return nil, err
	}
	defer b.Close()
	same, err := sameBytes(ctx, a, b)
	if same || err != nil {
		return nil, err
	}
	what, err := rowThatDiffers(ctx, stands, again, f)
	if err != nil { // it cannot be decoded
		return &Difference{Name: f.Name, What: "its bytes are others than those settled again, and it cannot be read: " + err.Error()}, ctx.Err()
	}
	if what == "" {
		return &Difference{Name: f.Name, What: "its bytes are others than those settled again, but its rows are the same", SameRows: true}, nil
	}
	return &Difference{Name: f.Name, What: what}, nil
}

func sameBytes(ctx context.Context, a, b stored) (bool, error) {
	if a.Size() != b.Size() {
		return false, nil
	}
	x := bufio.NewReaderSize(contextReader{ctx, io.NewSectionReader(a, 0, a.Size())}, 1<<17)
	y := bufio.NewReaderSize(contextReader{ctx, io.NewSectionReader(b, 0, b.Size())}, 1<<17)
	for {
		p, err := x.Peek(1 << 16)
		q, other := y.Peek(1 << 16)
		if !bytes.Equal(p, q) {
			return false, nil
		}
		if len(p) == 0 {
			return true, ignoreEnd(errors.Join(ignoreEnd(err), ignoreEnd(other)))
		}
		_, _ = x.Discard(len(p))
		_, _ = y.Discard(len(q))
	}
}

func ignoreEnd(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

// rowThatDiffers names the first row that is another one; empty where there is none.
func rowThatDiffers(ctx context.Context, stands, again Side, f File) (string, error) {
	t := tableNamed(f.Table)
	if t < 0 {
		return "", fmt.Errorf("there is no table %q", f.Table)
	}
	next, stop := iter.Pull2(stands.rows(ctx, f.Name, t))
	defer stop()
	row := int64(0)
	for b, err := range again.rows(ctx, f.Name, t) {
		if err != nil {
			return "", err
		}
		row++
		a, err, more := next()
		switch {
		case err != nil:
			return "", err
		case !more:
			return fmt.Sprintf("it ends before row %d; settled again, there are more", row), nil
		}
		for i := range b {
			if x, y := shown(t, i, a), shown(t, i, b); x != y {
				return fmt.Sprintf("row %d: %s is %s; settled again it is %s", row, tables[t].specs[i].name, x, y), nil
			}
		}
	}
	if _, err, more := next(); more {
		return fmt.Sprintf("row %d: settled again, there is no such row", row+1), err
	}
	return "", nil
}

func (s Side) rows(ctx context.Context, name string, t table) iter.Seq2[row, error] {
	return readRows(ctx, s.Output.File(path.Join(s.Dir, name)), t, func(r row) row { return r })
}

// shown writes a value for a person.
func shown(t table, i int, r row) string {
	v := parquet.Value(r[i])
	if v.IsNull() {
		return "null"
	}
	switch tables[t].specs[i].logical {
	case decimalType:
		return r.amount(i).String()
	case instantType:
		return r.instant(i).String()
	case bytesType:
		return hex.EncodeToString(v.ByteArray())
	case textType:
		return fmt.Sprintf("%q", v.ByteArray())
	}
	return fmt.Sprint(v)
}

// lineThatDiffers names the first line of the manifest that is another one; empty where there is none.
func lineThatDiffers(stands, again Side) (string, error) {
	a, err := stands.Output.ReadFile(path.Join(stands.Dir, manifestName))
	if err != nil {
		return "", err
	}
	b, err := again.Output.ReadFile(path.Join(again.Dir, manifestName))
	if err != nil || bytes.Equal(a, b) {
		return "", err
	}
	x, y := strings.Split(string(a), "\n"), strings.Split(string(b), "\n")
	for n := range min(len(x), len(y)) {
		if x[n] != y[n] {
			return fmt.Sprintf("line %d is %s; settled again it is %s", n+1, strings.TrimSpace(x[n]), strings.TrimSpace(y[n])), nil
		}
	}
	return fmt.Sprintf("it has %d lines; settled again it has %d", len(x), len(y)), nil
}
