package usagetest

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// The field ids of Parquet's metadata that are spoken of here.
const (
	fileSchema, fileRows, fileGroups                            = 2, 3, 4
	groupChunks, groupRows                                      = 1, 3
	chunkMeta                                                   = 3
	metaCodec, metaValues, metaSize, metaOffset, metaDictionary = 4, 5, 7, 9, 11
	pageKind, pageExpanded, pageStored                          = 1, 2, 3
	pageV1, pageDict, pageV2                                    = 5, 7, 8
)

// file is a Parquet file taken to pieces, to be put together again with some of them changed.
type file struct {
	footer value
	chunks [][]page // as the footer names them
}

type page struct {
	header value
	body   []byte
}

// split takes a sound file to pieces.
func split(data []byte) (*file, error) {
	size := len(data)
	length := int(binary.LittleEndian.Uint32(data[size-8:]))
	footer, _, err := parse(kindStruct, data[size-8-length:size-8])
	if err != nil {
		return nil, err
	}
	f := &file{footer: footer}
	for _, meta := range f.metas() {
		start := meta.numberOf(metaOffset)
		if d := meta.numberOf(metaDictionary); d > 0 && d < start {
			start = d
		}
		var pages []page
		for rest := data[start : start+meta.numberOf(metaSize)]; len(rest) > 0; {
			header, body, err := parse(kindStruct, rest)
			if err != nil {
				return nil, err
			}
			stored := header.numberOf(pageStored)
			pages = append(pages, page{header, body[:stored:stored]})
			rest = body[stored:]
		}
		f.chunks = append(f.chunks, pages)
	}
	return f, nil
}

// metas gives the metadata of all column chunks.
func (f *file) metas() []*value {
	var metas []*value
	groups := f.footer.get(fileGroups)
	if groups == nil {
		return nil
	}
	for i := range groups.items {
		chunks := groups.items[i].get(groupChunks)
		for k := 0; chunks != nil && k < len(chunks.items); k++ {
			if meta := chunks.items[k].get(chunkMeta); meta != nil {
				metas = append(metas, meta)
			}
		}
	}
	return metas
}

// join puts the pieces together, with the offsets and sizes that they have now.
func (f *file) join() []byte {
	b := []byte("PAR1")
	metas := f.metas()
	for i, pages := range f.chunks {
		start := len(b)
		data := start
		for k := range pages {
			if k == 1 && pages[0].header.numberOf(pageKind) == 2 {
				data = len(b)
			}
			b = append(pages[k].header.append(b), pages[k].body...)
		}
		if i < len(metas) {
			metas[i].set(metaDictionary, int64(start))
			metas[i].set(metaOffset, int64(data))
			metas[i].set(metaSize, int64(len(b)-start))
		}
	}
	return f.close(b)
}

// close writes the footer behind the pages.
func (f *file) close(b []byte) []byte {
	start := len(b)
	b = f.footer.append(b)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(b)-start))
	return append(b, "PAR1"...)
}

// column is a column of a file that is written by hand.
type column struct {
	name     string
	physical int64
	length   int64 // of FIXED_LEN_BYTE_ARRAY
	decimal  bool
	optional bool
	codec    int64
	values   int64
	pages    []page
}

// forge writes a file of one row group.
func forge(rows int64, columns ...column) []byte {
	f := &file{}
	schema := []value{structure(field{4, text("schema")}, field{5, integer(int64(len(columns)))})}
	var chunks []value
	for _, c := range columns {
		repetition := int64(0)
		if c.optional {
			repetition = 1
		}
		element := []field{{1, integer(c.physical)}}
		if c.length > 0 {
			element = append(element, field{2, integer(c.length)})
		}
		element = append(element, field{3, integer(repetition)}, field{4, text(c.name)})
		switch {
		case c.decimal:
			element = append(element, field{6, integer(5)}, field{7, integer(0)}, field{8, integer(9)})
		case c.physical == 6:
			element = append(element, field{6, integer(0)})
		case c.name == "time":
			element = append(element, field{6, integer(10)})
		}
		schema = append(schema, structure(element...))
		chunks = append(chunks, chunk(c))
		f.chunks = append(f.chunks, c.pages)
	}
	group := structure(field{groupChunks, list(kindStruct, chunks...)}, field{2, number(0)}, field{groupRows, number(rows)})
	f.footer = structure(field{1, integer(1)}, field{fileSchema, list(kindStruct, schema...)}, field{fileRows, number(rows)},
		field{fileGroups, list(kindStruct, group)})
	return f.join()
}

func chunk(c column) value {
	return structure(field{2, number(0)}, field{chunkMeta, structure(
		field{1, integer(c.physical)}, field{2, list(kindInt, integer(0))}, field{3, list(kindBinary, text(c.name))},
		field{metaCodec, integer(c.codec)}, field{metaValues, number(c.values)}, field{6, number(0)}, field{metaSize, number(0)},
		field{metaOffset, number(0)}, field{metaDictionary, number(0)},
	)})
}

// dataPage makes a data page of the first version: n values, of an encoding, of which the file says that they expand to a size.
func dataPage(n, encoding, expanded int64, body []byte) page {
	return page{structure(field{pageKind, integer(0)}, field{pageExpanded, integer(expanded)}, field{pageStored, integer(int64(len(body)))},
		field{pageV1, structure(field{1, integer(n)}, field{2, integer(encoding)}, field{3, integer(3)}, field{4, integer(3)})}), body}
}

func dictionaryPage(n, expanded int64, body []byte) page {
	return page{structure(field{pageKind, integer(2)}, field{pageExpanded, integer(expanded)}, field{pageStored, integer(int64(len(body)))},
		field{pageDict, structure(field{1, integer(n)}, field{2, integer(0)})}), body}
}

// codecs by Parquet's numbers.
func codecs() map[int64]string {
	return map[int64]string{0: "plain", 1: "snappy", 2: "gzip", 4: "brotli", 6: "zstd", 7: "lz4"}
}

// pack compresses a page.
func pack(codec int64, body []byte) []byte {
	var b bytes.Buffer
	switch codec {
	case 1:
		return snappy.Encode(nil, body)
	case 2:
		w := gzip.NewWriter(&b)
		_, _ = w.Write(body)
		_ = w.Close()
	case 4:
		w := brotli.NewWriterLevel(&b, 2)
		_, _ = w.Write(body)
		_ = w.Close()
	case 6:
		return zstdText(body)
	case 7:
		packed := make([]byte, lz4.CompressBlockBound(len(body)))
		n, err := lz4.CompressBlock(body, packed, nil)
		if err != nil || n == 0 {
			panic(fmt.Sprint("lz4: ", n, err))
		}
		return packed[:n]
	default:
		return body
	}
	return b.Bytes()
}

func zstdText(body []byte) []byte {
	w, err := zstd.NewWriter(nil)
	if err != nil {
		panic(err)
	}
	defer w.Close()
	return w.EncodeAll(body, nil)
}

// runOf encodes n times the same number, of a width of 8 bits, as dictionary codes.
func runOf(n int64, code byte) []byte {
	return append(binary.AppendUvarint([]byte{8}, uint64(n)<<1), code)
}

// plainText encodes a text as PLAIN does.
func plainText(text []byte) []byte {
	return append(binary.LittleEndian.AppendUint32(nil, uint32(len(text))), text...)
}
