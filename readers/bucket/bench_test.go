package bucket

import (
	"io"
	"testing"

	. "drawdown/readers/bucket/buckettest"
)

// BenchmarkRead reads 64 MiB from a server on this machine.
func BenchmarkRead(b *testing.B) {
	bucket := openTest(b, Start(b).Endpoint, "bench")
	bucket.settings.Memory, bucket.window, bucket.pieceMax = 64<<20, 64<<20, 8<<20
	o := put(b, bucket, "object", someBytes(64<<20))
	b.SetBytes(o.Size)
	for b.Loop() {
		content := bucket.Open(b.Context(), o)
		if n, err := io.Copy(io.Discard, content); err != nil || n != o.Size {
			b.Fatal(n, err)
		}
		content.Close()
	}
}
