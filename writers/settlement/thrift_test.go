package settlement

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// TestThriftIsWhatTheLibraryWrites takes headers and footers apart by the library, and has them written by it again.
func TestThriftIsWhatTheLibraryWrites(t *testing.T) {
	for _, rows := range []int{0, 1, 700, groupRows + pageRows} {
		dir := t.TempDir()
		w := newWorld(uint64(rows), 1+rows/100, rows)
		r := w.create(t, dir)
		w.write(t, r, 2, 1000)
		if err := r.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		pages, groups := 0, 0
		for _, f := range r.written {
			content, err := os.ReadFile(filepath.Join(dir, r.dir, f.Name))
			if err != nil {
				t.Fatal(err)
			}
			end := len(content) - 8
			footer := content[end-int(binary.LittleEndian.Uint32(content[end:])) : end]
			var meta format.FileMetaData
			if n := writtenAgain(t, f.Name, footer, &meta); n != len(footer) {
				t.Errorf("%s: the library writes %d bytes of footer, and we %d", f.Name, n, len(footer))
			}
			groups += len(meta.RowGroups)
			for _, group := range meta.RowGroups {
				for _, chunk := range group.Columns {
					from := chunk.FileOffset
					for rest := content[from : from+chunk.MetaData.TotalCompressedSize]; len(rest) > 0; pages++ {
						var header format.PageHeader
						n := writtenAgain(t, f.Name, rest, &header)
						rest = rest[n+int(header.CompressedPageSize):]
						if nulls := header.DataPageHeader.V.Statistics.NullCount; nulls != 0 {
							t.Errorf("%s: a page states %d nulls", f.Name, nulls)
						}
					}
				}
			}
		}
		if rows > groupRows && (groups < 6 || pages < 500) {
			t.Errorf("%d row groups and %d pages of %d rows", groups, pages, rows)
		}
	}
}

// writtenAgain compares what the library writes with what it has read, and gives how long that is.
func writtenAgain(t *testing.T, file string, from []byte, as any) int {
	t.Helper()
	if err := thrift.NewDecoder((&thrift.CompactProtocol{}).NewReader(bytes.NewReader(from))).Decode(as); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	again, err := thrift.Marshal(&thrift.CompactProtocol{}, as)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(from, again) {
		t.Fatalf("%s: %T\n%x\nby the library\n%x", file, as, from[:min(len(from), len(again))], again)
	}
	return len(again)
}
