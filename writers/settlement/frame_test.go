package settlement

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"

	"drawdown/rating"
)

func plainDecimals(values []rating.Amount) []byte {
	var b []byte
	for _, v := range values {
		b = binary.BigEndian.AppendUint64(b, uint64(v.Hi))
		b = binary.BigEndian.AppendUint64(b, v.Lo)
	}
	return b
}

func TestFramesAreZstd(t *testing.T) {
	f := newFramer()
	decoder, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		head := make([]byte, rapid.SampledFrom([]int{0, 5, 2053}).Draw(t, "head"))
		n := rapid.SampledFrom([]int{0, 1, 2, 63, 64, 65, 1000, 8191, 8192, 8193, 16384, 16385}).Draw(t, "values")
		width := rapid.IntRange(0, 127).Draw(t, "width")
		negative := rapid.SampledFrom([]int{0, 0, 3, n + 1}).Draw(t, "negative")
		values := make([]rating.Amount, n)
		for i := range values {
			a := rating.Amount{Hi: int64(random.Uint64() >> 1), Lo: random.Uint64()}
			if width < 64 {
				a = rating.Amount{Lo: a.Lo & (1<<width - 1)}
			} else {
				a.Hi &= 1<<(width-64) - 1
			}
			if random.IntN(n) < negative {
				a, _ = rating.Amount{}.Sub(a)
			}
			values[i] = a
		}
		body := plainDecimals(values)
		want := append(bytes.Clone(head), body...)
		var tried [notWorthIt + 1]coded
		for i := range tried {
			tried[i] = coded(i)
		}
		for name, frame := range map[string][]byte{
			"strided":  f.strided(nil, head, values, &tried[untried]),
			"coded":    f.strided(nil, head, values, &tried[worthIt]),
			"plain":    f.strided(nil, head, values, &tried[notWorthIt]),
			"stored":   f.stored(nil, head, body),
			"literals": f.literals(nil, head, body),
			"searched": f.searched(nil, head, body),
		} {
			got, err := decoder.DecodeAll(frame, nil)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if !bytes.Equal(got, want) {
				t.Fatalf("%s: decoded other bytes", name)
			}
		}
	})
}

// Ids of hexadecimal digits, and such as are so but for one byte, come back as they were.
func TestHexFramesAreZstd(t *testing.T) {
	f := newFramer()
	decoder, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		ids := make([]byte, rapid.SampledFrom([]int{0, 1, 1023, 1024, 1025, 1026, 1027, 1030, 4096, 36 * 16384, blockMax, blockMax + 1}).Draw(t, "size"))
		alphabet := rapid.SampledFrom([]string{hexAlphabet, "0123456789", "e", "ef", "-"}).Draw(t, "alphabet")
		for i := range ids {
			ids[i] = alphabet[random.IntN(len(alphabet))]
		}
		foreign := rapid.SampledFrom([]string{"", "", "g", "A", "\x00", "\xff", ",", ":"}).Draw(t, "foreign")
		if foreign != "" && len(ids) > 0 {
			ids[random.IntN(len(ids))] = foreign[0]
		}
		head := make([]byte, rapid.SampledFrom([]int{0, 1, 1000}).Draw(t, "head"))
		frame := f.literals(nil, head, ids)
		got, err := decoder.DecodeAll(frame, nil)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, append(head, ids...)) {
			t.Fatal("decoded other bytes")
		}
		if foreign == "" && alphabet == hexAlphabet && len(ids) >= 4096 && len(frame) > len(ids)*54/100+len(head)+200 {
			t.Fatalf("%d bytes of hexadecimal digits take %d", len(ids), len(frame))
		}
	})
}

func BenchmarkHex(b *testing.B) {
	ids := make([]byte, blockMax)
	for i := range ids {
		ids[i] = hexAlphabet[1+rand.IntN(16)]
	}
	b.SetBytes(int64(len(ids)))
	var dst []byte
	for b.Loop() {
		dst, _ = appendHex(dst[:0], ids)
	}
}
