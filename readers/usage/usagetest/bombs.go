package usagetest

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Bomb is a small usage object, and the reason that it, or each of its rows, is given.
type Bomb struct {
	Key    string
	Data   []byte
	Reason string
}

// Bombs makes small objects that would take all memory, or for ever, if what they claim were believed: forty of them.
func Bombs() []Bomb {
	return append(append(textBombs(), pageBombs()...), shapeBombs()...)
}

const header = "id,account,meter,quantity,time\n"

// textBombs are lines that are next to nothing when they are compressed.
func textBombs() []Bomb {
	line := `{"id":"a","account":"acme","meter":"calls","quantity":1,"time":"2026-10-01T00:00:00Z"}` + "\n"
	texts := []struct {
		name, start, repeated string
	}{
		{"zeros.ndjson", "", "\x00"},
		{"blank.ndjson", line, " \n"},
		{"empty.ndjson", "", "\n"},
		{"nested.ndjson", "", "["},
		{"braces.ndjson", `{"a":`, `{"a":`},
		{"malformed.ndjson", "", "x\n"},
		{"missing.ndjson", "", "{}\n"},
		{"quotes.csv", header, `""`},
		{"commas.csv", header, ","},
		{"lines.csv", header, "\"\n"},
		{"malformed.csv", header, "x\n"},
		{"header.csv", "", "id,"},
	}
	var bombs []Bomb
	for i, t := range texts {
		text := strings.Repeat(t.repeated, (80<<20)/len(t.repeated))
		if i%2 == 0 {
			bombs = append(bombs, Bomb{"bomb-" + t.name + ".gz", gzipOf(t.start, text), "bad_object"})
		} else {
			bombs = append(bombs, Bomb{"bomb-" + t.name + ".zst", zstdOf(t.start, text), "bad_object"})
		}
	}
	// Every member, and every frame, is a whole one.
	member, frame := gzipOf(strings.Repeat("\n", 64<<10)), windowFrame()
	return append(
		bombs, Bomb{"bomb-members.ndjson.gz", bytes.Repeat(member, 5000), "bad_object"},
		Bomb{"bomb-frames.ndjson.zst", bytes.Repeat(frame, 3000), "bad_object"},
	)
}

func gzipOf(texts ...string) []byte {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		panic(err)
	}
	for _, t := range texts {
		_, _ = w.Write([]byte(t))
	}
	_ = w.Close()
	return b.Bytes()
}

func zstdOf(texts ...string) []byte {
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b, zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		panic(err)
	}
	for _, t := range texts {
		_, _ = w.Write([]byte(t))
	}
	_ = w.Close()
	return b.Bytes()
}

// windowFrame is a frame of zstd that claims a window of 128 MiB, and is one block of 128 KiB times the same byte.
func windowFrame() []byte {
	frame := binary.LittleEndian.AppendUint32(nil, 0xfd2fb528)
	frame = append(frame, 0, 17<<3)         // no size, no checksum; a window of 2^(10+17) bytes
	head := uint32(1 | 1<<1 | (128<<10)<<3) // the last block, a run
	return append(frame, byte(head), byte(head>>8), byte(head>>16), '\n')
}

// pageBombs are pages of every codec: many that expand as far as they say, and one that expands further.
func pageBombs() []Bomb {
	var bombs []Bomb
	zeros := make([]byte, 48<<20)
	for _, codec := range []int64{1, 2, 4, 6, 7} {
		packed := pack(codec, zeros)
		honest := dataPage(1, 0, int64(len(zeros)), packed)
		honest.header.get(pageV1).set(1, 12<<20)
		var pages []page
		for range 20 {
			pages = append(pages, honest)
		}
		many := column{name: "id", physical: 6, codec: codec, values: 20 * 12 << 20, pages: pages}
		bombs = append(bombs, Bomb{"bomb-many-" + codecs()[codec] + ".parquet", withID(many, many.values), "bad_object"})
		lying := dataPage(100, 0, 400, packed)
		bombs = append(bombs, Bomb{"bomb-lying-" + codecs()[codec] + ".parquet", withID(column{name: "id", physical: 6, codec: codec, values: 100, pages: []page{lying}}, 100), "bad_object"})
	}
	return bombs
}

// withID makes a file of a column of ids, beside columns of which each row is sound and takes next to nothing.
func withID(id column, rows int64) []byte { return forge(rows, append(plainColumns(rows), id)...) }

// plainColumns are all columns but that of the ids: runs of the same value.
func plainColumns(rows int64) []column {
	same := func(name string, physical int64, entry []byte) column {
		c := column{name: name, physical: physical, values: rows, pages: []page{dictionaryPage(1, int64(len(entry)), entry)}}
		for left := rows; left > 0; left -= 1 << 20 {
			n := min(left, 1<<20)
			body := runOf(n, 0)
			c.pages = append(c.pages, dataPage(n, 8, int64(len(body)), body))
		}
		return c
	}
	return []column{
		same("account", 6, plainText([]byte("acme"))), same("meter", 6, plainText([]byte("calls"))),
		same("quantity", 2, binary.LittleEndian.AppendUint64(nil, 1)),
		same("time", 2, binary.LittleEndian.AppendUint64(nil, 1790812800_000000)),
	}
}

// shapeBombs are small files whose parts, each of them valid, come to a lot.
func shapeBombs() []Bomb {
	const many = 12 << 20
	long := bytes.Repeat([]byte("x"), 1<<20)
	bombs := map[string][]byte{
		"value":     withID(repeated("id", plainText(long), many), many),
		"runs":      withID(repeated("id", plainText([]byte("a")), 1<<30), 1<<30),
		"values":    withID(column{name: "id", physical: 6, values: 1 << 30, pages: []page{dataPage(1<<30, 0, 4, make([]byte, 4))}}, 1<<30),
		"lookups":   lookups(),
		"prefixes":  withID(prefixes(), 20_000*33),
		"columns":   attributeColumns(),
		"overlaps":  overlaps(),
		"names":     names(),
		"decimal":   decimals(),
		"chunks":    forgeGroups(1 << 20),
		"nulls":     nulls(many),
		"encrypted": append(append([]byte("PARE"), make([]byte, 100)...), "PARE"...),
	}
	bombs["pages"] = emptyPages()
	bombs["entries"] = entries()
	bombs["dictionaries"] = dictionaries()
	bombs["footer"] = binary.LittleEndian.AppendUint32(append([]byte("PAR1"), make([]byte, 100)...), 1<<32-1)
	bombs["footer"] = append(bombs["footer"], "PAR1"...)
	var objects []Bomb
	reasons := map[string]string{"decimal": "malformed", "lookups": "missing_field"} // of their rows, which are soon read
	for _, name := range slices.Sorted(maps.Keys(bombs)) {
		objects = append(objects, Bomb{"bomb-" + name + ".parquet", bombs[name], cmp.Or(reasons[name], "bad_object")})
	}
	return objects
}

// repeated is a column of a dictionary with one entry, that all rows point at.
func repeated(name string, entry []byte, rows int64) column {
	c := column{name: name, physical: 6, values: rows}
	if len(entry) > 1<<10 {
		c.codec = 6
	}
	c.pages = append(c.pages, dictionaryPage(1, int64(len(entry)), pack(c.codec, entry)))
	for left := rows; left > 0; left -= 4 << 20 {
		n := min(left, 4<<20)
		body := runOf(n, 0)
		c.pages = append(c.pages, dataPage(n, 8, int64(len(body)), pack(c.codec, body)))
	}
	return c
}

// lookups has a dictionary of ten million accounts, and a page a row.
func lookups() []byte {
	const entries, rows = 10 << 20, 20_000
	dictionary := make([]byte, 4*entries) // empty texts
	account := column{name: "account", physical: 6, codec: 6, values: rows}
	account.pages = append(account.pages, dictionaryPage(entries, int64(len(dictionary)), pack(6, dictionary)))
	body := runOf(1, 0)
	one := dataPage(1, 8, int64(len(body)), pack(6, body))
	for range rows {
		account.pages = append(account.pages, one)
	}
	columns := plainColumns(rows)
	columns[0] = account
	return forge(rows, append(columns, repeated("id", plainText([]byte("a")), rows))...)
}

// prefixes has pages of DELTA_BYTE_ARRAY whose values are all but the same long text.
func prefixes() column {
	const values, pages = 33, 20_000
	lengths := func(first, rest int64) []byte { // the first, and then all alike
		b := binary.AppendUvarint(binary.AppendUvarint(binary.AppendUvarint(nil, 128), 4), values)
		b = binary.AppendVarint(b, first)
		b = append(binary.AppendVarint(b, -(1<<20)), 21, 0, 0, 0)
		return append(b, deltasFrom(first, rest)...)
	}
	body := append(lengths(0, 1<<20), lengths(1<<20, 0)...)
	body = append(body, bytes.Repeat([]byte("x"), 1<<20)...)
	packed := pack(6, body)
	c := column{name: "id", physical: 6, codec: 6, values: values * pages}
	for range pages {
		c.pages = append(c.pages, dataPage(values, 7, int64(len(body)), packed))
	}
	return c
}

// deltasFrom packs 32 deltas of 21 bits: the first leads from one number to the other, all others stay there.
func deltasFrom(first, rest int64) []byte {
	packed := make([]byte, 32*21/8)
	for i := range 32 {
		delta := uint64(1 << 20)
		if i == 0 {
			delta = uint64(rest - first + 1<<20)
		}
		for bit := range 21 {
			if delta>>bit&1 == 1 {
				at := i*21 + bit
				packed[at/8] |= 1 << (at % 8)
			}
		}
	}
	return packed
}

// attributeColumns has as many attributes as a schema may have columns, each with a page that is large.
func attributeColumns() []byte {
	columns := append(plainColumns(100), repeated("id", plainText([]byte("a")), 100))
	for i := range 9000 {
		columns = append(columns, repeated(fmt.Sprintf("attributes.%s%d", strings.Repeat("n", 40), i), plainText([]byte("v")), 100))
	}
	return forge(100, columns...)
}

// overlaps has thousands of row groups that all lie on the same bytes: pages without a value.
func overlaps() []byte {
	id := column{name: "id", physical: 6, values: 1}
	for range 20_000 {
		id.pages = append(id.pages, dataPage(0, 0, 0, nil))
	}
	id.pages = append(id.pages, dataPage(1, 0, 5, plainText([]byte("a"))))
	f, err := split(withID(id, 1))
	if err != nil {
		panic(err)
	}
	f.join()
	groups := f.footer.get(fileGroups)
	for range 8000 {
		groups.items = append(groups.items, groups.items[0])
	}
	f.footer.set(fileRows, int64(len(groups.items)))
	return f.close(f.body())
}

// emptyPages has a column of which nothing but empty pages is there.
func emptyPages() []byte {
	id := column{name: "id", physical: 6, values: 1}
	for range 100_000 {
		id.pages = append(id.pages, dataPage(0, 0, 0, nil))
	}
	return withID(id, 1)
}

// dictionaries has a column with a new dictionary before each page.
func dictionaries() []byte {
	const entries, rows = 1 << 20, 5000
	dictionary := pack(6, make([]byte, 4*entries))
	account := column{name: "account", physical: 6, codec: 6, values: rows}
	body := runOf(1, 0)
	one := dataPage(1, 8, int64(len(body)), pack(6, body))
	for range rows {
		account.pages = append(account.pages, dictionaryPage(entries, 4*entries, dictionary), one)
	}
	columns := plainColumns(rows)
	columns[0] = account
	return forge(rows, append(columns, repeated("id", plainText([]byte("a")), rows))...)
}

// entries has a row with a map of millions of entries.
func entries() []byte {
	const n = 6 << 20
	columns := append(plainColumns(1), repeated("id", plainText([]byte("a")), 1))
	for _, name := range []string{"key", "value"} {
		c := repeated(name, plainText(bytes.Repeat([]byte(name), 100)), 0)
		c.values = n
		levels := func(runs ...uint64) []byte {
			var b []byte
			for i := 0; i < len(runs); i += 2 {
				b = append(binary.AppendUvarint(b, runs[i]<<1), byte(runs[i+1]))
			}
			return append(binary.LittleEndian.AppendUint32(nil, uint32(len(b))), b...)
		}
		body := append(levels(1, 0, n-1, 1), levels(n, 1)...)
		body = append(body, runOf(n, 0)...)
		c.pages = append(c.pages, dataPage(n, 8, int64(len(body)), pack(c.codec, body)))
		columns = append(columns, c)
	}
	f, err := split(forge(1, columns...))
	if err != nil {
		panic(err)
	}
	schema := f.footer.get(fileSchema)
	schema.items[0].set(5, int64(len(columns)-1))
	at := len(schema.items) - 2
	group := func(name string, repetition, children int64) value {
		return structure(field{3, integer(repetition)}, field{4, text(name)}, field{5, integer(children)})
	}
	schema.items = append(schema.items[:at:at], group("attributes", 0, 1), group("key_value", 2, 2), schema.items[at], schema.items[at+1])
	return f.join()
}

// names has columns with the same long name before their last letters.
func names() []byte {
	columns := append(plainColumns(1), repeated("id", plainText([]byte("a")), 1))
	name := "attributes." + strings.Repeat("n", 1<<10)
	for i := range 5000 {
		columns = append(columns, repeated(fmt.Sprint(name, i), plainText([]byte("v")), 1))
	}
	return forge(1, columns...)
}

// decimals has numbers of a million digits.
func decimals() []byte {
	const rows, length = 40, 1 << 20
	columns := append(plainColumns(rows), repeated("id", plainText([]byte("a")), rows))
	wide := bytes.Repeat([]byte{0x7f}, rows*length)
	columns[2] = column{
		name: "quantity", physical: 7, length: length, decimal: true, codec: 6, values: rows,
		pages: []page{dataPage(rows, 0, int64(len(wide)), pack(6, wide))},
	}
	return forge(rows, columns...)
}

// forgeGroups has a row group of very many columns, of which nothing is said.
func forgeGroups(n int) []byte {
	f, err := split(withID(repeated("id", plainText([]byte("a")), 1), 1))
	if err != nil {
		panic(err)
	}
	f.join()
	chunks := f.footer.get(fileGroups).items[0].get(groupChunks)
	chunks.items = append(chunks.items, make([]value, n)...)
	for i := range chunks.items {
		chunks.items[i].kind = kindStruct
	}
	return f.close(f.body())
}

// nulls has rows of which nothing is there.
func nulls(rows int64) []byte {
	var columns []column
	for _, name := range []string{"id", "account", "meter", "quantity", "time"} {
		c := column{name: name, physical: 6, optional: true, values: rows}
		for left := rows; left > 0; left -= 4 << 20 {
			n := min(left, 4<<20)
			levels := append(binary.AppendUvarint(nil, uint64(n)<<1), 0)
			body := append(binary.LittleEndian.AppendUint32(nil, uint32(len(levels))), levels...)
			c.pages = append(c.pages, dataPage(n, 0, int64(len(body)), body))
		}
		columns = append(columns, c)
	}
	return forge(rows, columns...)
}
