package shuffle

import (
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"sync"
	"sync/atomic"

	"drawdown/rating"
)

// spillFile is the temp file of a shuffle. It is made when first needed, has no name any more where the system allows
// that, and is only ever appended to. What stands where is known to the blocks alone, which are kept in memory.
type spillFile struct {
	dir  string
	once sync.Once
	file *os.File
	name string // still to be removed
	err  error
	end  atomic.Int64
	crc  *crc32.Table
}

// block is a chunk in the temp file: records, extras and ids, one after another.
type block struct {
	offset  int64
	middle  rating.Instant // time of the record in the middle
	records int32
	extras  int32
	ids     int64
	crc     uint32
}

func (b *block) size() int {
	return int(b.records)*recordSize + int(b.extras)*extraSize + int(b.ids)
}

func (f *spillFile) open() {
	f.crc = crc32.MakeTable(crc32.Castagnoli)
	f.file, f.err = os.CreateTemp(f.dir, "drawdown-*.spill") // mode 0600
	if f.err == nil && os.Remove(f.file.Name()) != nil {
		f.name = f.file.Name()
	}
}

// write appends a chunk.
func (f *spillFile) write(c *chunk) (block, error) {
	f.once.Do(f.open)
	b := block{
		middle: c.middle(), records: int32(len(c.records)), extras: int32(len(c.extras)), ids: int64(len(c.ids)),
	}
	size := int64(b.size())
	b.offset = f.end.Add(size) - size
	at := b.offset
	err := f.err
	for _, part := range [...][]byte{asBytes(c.records), asBytes(c.extras), c.ids} {
		if err != nil || len(part) == 0 {
			continue
		}
		b.crc = crc32.Update(b.crc, f.crc, part)
		_, err = f.file.WriteAt(part, at)
		at += int64(len(part))
	}
	if err != nil {
		return b, fmt.Errorf("spill usage records to a temp file in %s: %w; free space there, name another folder in temp_dir, or allow more memory",
			f.folder(), err)
	}
	return b, nil
}

// read fills a chunk whose slices have the lengths that the block says.
func (f *spillFile) read(b *block, c *chunk) error {
	at, crc := b.offset, uint32(0)
	for _, part := range [...][]byte{asBytes(c.records), asBytes(c.extras), c.ids} {
		if len(part) == 0 {
			continue
		}
		if _, err := f.file.ReadAt(part, at); err != nil {
			return fmt.Errorf("read spilled usage records at %d of the temp file in %s: %w; run again", b.offset, f.folder(), err)
		}
		crc = crc32.Update(crc, f.crc, part)
		at += int64(len(part))
	}
	if crc != b.crc {
		return fmt.Errorf("spilled usage records at %d of the temp file in %s came back changed: %w; check the disk, and run again",
			b.offset, f.folder(), errChecksum)
	}
	return nil
}

var errChecksum = errors.New("CRC32C does not match")

func (f *spillFile) folder() string {
	if f.dir == "" {
		return os.TempDir()
	}
	return f.dir
}

// close removes the file.
func (f *spillFile) close() error {
	f.once.Do(func() {}) // never opened, never will be
	if f.file == nil {
		return nil
	}
	err := f.file.Close()
	if f.name != "" {
		err = errors.Join(err, os.Remove(f.name))
	}
	f.file = nil
	return err
}
