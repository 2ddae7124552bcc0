package bucket

import (
	"bytes"
	"crypto/sha256"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"go.uber.org/goleak"

	. "drawdown/readers/bucket/buckettest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// openTest opens a prefix of the bucket test with pieces of 256 KiB.
func openTest(t testing.TB, endpoint, prefix string) *Bucket {
	t.Helper()
	a, err := Parse(URL(endpoint, prefix))
	if err != nil {
		t.Fatal(err)
	}
	b, err := Open(t.Context(), a, Settings{Memory: 2 << 20, TempDir: t.TempDir(), LongestWait: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func put(t testing.TB, b *Bucket, name string, content []byte) Object {
	t.Helper()
	if err := b.Put(t.Context(), name, bytes.NewReader(content), int64(len(content)), sha256.Sum256(content)); err != nil {
		t.Fatal(err)
	}
	o, err := b.Stat(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// overwrite puts another content into an object's place, as a producer might.
func overwrite(t testing.TB, b *Bucket, name string, content []byte) {
	t.Helper()
	if _, err := b.client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: b.bucket(), Key: b.key(name), Body: bytes.NewReader(content)}); err != nil {
		t.Error(err)
	}
}

func someBytes(n int) []byte {
	content := make([]byte, n)
	source := rand.NewChaCha8([32]byte{byte(n)})
	_, _ = source.Read(content)
	return content
}

func readAll(t testing.TB, b *Bucket, o Object) ([]byte, error) {
	t.Helper()
	content := b.Open(t.Context(), o)
	defer content.Close()
	return io.ReadAll(content)
}

func list(t testing.TB, b *Bucket, below string) (names []string) {
	t.Helper()
	if err := b.List(t.Context(), below, func(o Object) error {
		names = append(names, o.Key)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return names
}

var testSizes = []int{0, 1, 100_000, 256 << 10, 256<<10 + 1, 3_000_000}

func TestPutListReadRemove(t *testing.T) {
	server := Start(t)
	b, outer := openTest(t, server.Endpoint, "a/b"), openTest(t, server.Endpoint, "")
	put(t, outer, "a/other", nil)
	put(t, outer, "a/bc", nil)
	var objects []Object
	for i, size := range testSizes {
		objects = append(objects, put(t, b, fmt.Sprintf("%02d/x y+ü%%.bin", i), someBytes(size)))
	}
	var listed []Object
	if err := b.List(t.Context(), "", func(o Object) error { listed = append(listed, o); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(listed) != len(objects) {
		t.Fatalf("listed %v", listed)
	}
	b.Expect(listed)
	for i, o := range listed {
		if o.Key != objects[i].Key || o.Size != int64(testSizes[i]) || o.ETag != objects[i].ETag || o.Modified.IsZero() {
			t.Errorf("listed %+v, looked up %+v", o, objects[i])
		}
		want := someBytes(testSizes[i])
		if got, err := readAll(t, b, o); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v", o.Key, len(got), err)
		}
		readHereAndThere(t, b, o, want)
	}
	if got := list(t, b, "03/"); len(got) != 1 {
		t.Errorf("below 03/: %v", got)
	}
	names := list(t, b, "")
	if err := b.Remove(t.Context(), append(names, "never there")...); err != nil {
		t.Fatal(err)
	}
	if got := list(t, outer, ""); !slices.Equal(got, []string{"a/bc", "a/other"}) {
		t.Errorf("left: %v", got)
	}
	if b.window != b.settings.Memory || len(b.opened)+len(b.ahead) != 0 {
		t.Errorf("the window is %d of %d, %d open, %d ahead", b.window, b.settings.Memory, len(b.opened), len(b.ahead))
	}
}

func readHereAndThere(t *testing.T, b *Bucket, o Object, want []byte) {
	t.Helper()
	content := b.Open(t.Context(), o)
	defer content.Close()
	got, err := io.ReadAll(io.NewSectionReader(content, 0, o.Size))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s at 0: %d bytes, %v", o.Key, len(got), err)
	}
	at := int64(len(want) / 3)
	got, err = io.ReadAll(io.NewSectionReader(content, at, o.Size))
	if err != nil || !bytes.Equal(got, want[at:]) {
		t.Errorf("%s at %d: %d bytes, %v", o.Key, at, len(got), err)
	}
	if files, err := os.ReadDir(b.settings.TempDir); err != nil || len(files) > 0 {
		t.Errorf("temporary files have names: %v %v", files, err)
	}
}

// TestManyReaders: what is fetched ahead never stops those who read, whatever they read, and stays within its bounds.
func TestManyReaders(t *testing.T) {
	b := openTest(t, Start(t).Endpoint, "many")
	var objects []Object
	for i := range 60 {
		objects = append(objects, put(t, b, fmt.Sprintf("%03d", i), someBytes(1+(i*i*i*7919)%1_500_000)))
	}
	for _, expected := range [][]Object{objects, nil, objects[30:]} {
		b.Expect(expected)
		var next sync.Mutex
		var group sync.WaitGroup
		queue := slices.Clone(objects)
		for worker := range 5 {
			group.Go(func() {
				for {
					next.Lock()
					if len(queue) == 0 {
						next.Unlock()
						return
					}
					o := queue[0]
					queue = queue[1:]
					next.Unlock()
					content := b.Open(t.Context(), o)
					if worker == 4 && o.Size%3 == 0 { // gives up early
						_, _ = content.Read(make([]byte, 1))
						content.Close()
						continue
					}
					got, err := io.ReadAll(content)
					content.Close()
					if err != nil || !bytes.Equal(got, someBytes(int(o.Size))) {
						t.Errorf("%s: %d bytes, %v", o.Key, len(got), err)
					}
					b.mu.Lock()
					if b.window < -5*2*b.pieceMax {
						t.Errorf("the window is %d", b.window)
					}
					b.mu.Unlock()
				}
			})
		}
		group.Wait()
	}
	b.Expect(nil)
}

// TestMoreReadersThanRequests: everybody gets on, one after another.
func TestMoreReadersThanRequests(t *testing.T) {
	proxy := NewProxy(t, Start(t))
	b := openTest(t, proxy.Endpoint, "more")
	want := someBytes(700_000)
	o := put(t, b, "object", want)
	release := make(chan struct{})
	proxy.Fail(1000, On("GET", "/more/object"), Before(func() { <-release }))
	var contents []*Content
	for range 3 * requestsAtATime {
		content := b.Open(t.Context(), o)
		defer content.Close()
		contents = append(contents, content)
	}
	b.mu.Lock()
	for i, s := range b.opened {
		if len(s.pieces) == 0 {
			t.Errorf("nothing is under way for reader %d", i)
		}
	}
	b.mu.Unlock()
	close(release)
	for at := 0; at < len(want); at += 140_000 {
		for i, content := range contents {
			part := make([]byte, 140_000)
			if _, err := io.ReadFull(content, part); err != nil || !bytes.Equal(part, want[at:at+140_000]) {
				t.Fatalf("reader %d at %d: %v", i, at, err)
			}
		}
	}
}

func TestFaultsOfReading(t *testing.T) {
	server := Start(t)
	proxy := NewProxy(t, server)
	b := openTest(t, proxy.Endpoint, "faults")
	small, large := someBytes(100_000), someBytes(900_000)
	objects := map[string]Object{"small": put(t, b, "small", small), "large": put(t, b, "large", large)}
	for name, fault := range map[string]Fault{
		"500": Answer(500, "InternalError"), "503": Answer(503, "SlowDown"), "reset": Reset, "reset after": ResetAfter,
		"cut at once": Cut(0), "cut": Cut(70_000), "cut at the end": Cut(-1),
	} {
		for key, o := range objects {
			proxy.Fail(5, On("GET", "/faults/"+key), fault)
			got, err := readAll(t, b, o)
			if want := map[string][]byte{"small": small, "large": large}[key]; err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s, %s: %d bytes, %v", name, key, len(got), err)
			}
			if left := proxy.Heal(); left > 0 {
				t.Errorf("%s, %s: %d faults did not come about", name, key, left)
			}
		}
	}
	flip := Edit(func(body []byte) { body[len(body)/2] ^= 1 })
	proxy.Fail(3, On("GET", "/faults/small"), flip)
	if got, err := readAll(t, b, objects["small"]); err != nil || !bytes.Equal(got, small) {
		t.Errorf("a flipped bit: %v", err)
	}
	proxy.Heal()
	proxy.Fail(1, On("GET", "/faults/large"), flip)
	if _, err := readAll(t, b, objects["large"]); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a flipped bit in a piece: %v", err)
	}
	proxy.Heal()
	for name, fault := range map[string]Fault{"500": Answer(500, "InternalError"), "cut": Cut(10)} {
		proxy.Fail(1000, On("GET", "/faults/"), fault)
		if got, err := readAll(t, b, objects["small"]); err == nil || len(got) > 0 || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s for ever: %d bytes, %v", name, len(got), err)
		}
		proxy.Heal()
	}
}

func TestChangedAndVanishedObjects(t *testing.T) {
	server := Start(t)
	proxy := NewProxy(t, server)
	b := openTest(t, proxy.Endpoint, "")
	for _, size := range []int{1000, 900_000} {
		name := fmt.Sprint(size)
		o := put(t, b, name, someBytes(size))
		proxy.Fail(1, On("GET", "/"+name), Cut(size/2))
		proxy.Fail(1, On("GET", "/"+name), Before(func() { overwrite(t, b, name, []byte("new")) }))
		_, err := readAll(t, b, o)
		var changed *ChangedError
		if !errors.As(err, &changed) || !errors.Is(err, ErrChanged) || changed.Now.Size != 3 || changed.Listed != o {
			t.Errorf("%d bytes, changed in the midst: %v", size, err)
		}
		proxy.Heal()
		if _, err := readAll(t, b, o); !errors.Is(err, ErrChanged) {
			t.Errorf("%d bytes, changed before: %v", size, err)
		}
		if err := b.Remove(t.Context(), name); err != nil {
			t.Error(err)
		}
		if _, err := readAll(t, b, o); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%d bytes, vanished: %v", size, err)
		}
	}
	// Where the right to list is bound to a prefix, the service says of what is not there that it is forbidden.
	gone, here := put(t, b, "forbidden", someBytes(10)), put(t, b, "forbidden-too", someBytes(10))
	if err := b.Remove(t.Context(), "forbidden"); err != nil {
		t.Error(err)
	}
	for _, method := range []string{"HEAD", "GET"} {
		proxy.Fail(1<<30, On(method, "/test/forbidden"), Answer(403, "AccessDenied"))
	}
	if _, err := readAll(t, b, gone); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("gone, and forbidden: %v", err)
	}
	if _, err := readAll(t, b, here); !errors.Is(err, ErrDenied) || !errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("forbidden: %v", err)
	}
	proxy.Heal()
	proxy.Fail(1, On("PUT", "/test/forbidden"), Answer(409, "ConditionalRequestConflict"))
	proxy.Fail(1, On("HEAD", "/test/forbidden"), Answer(403, "AccessDenied"))
	put(t, b, "forbidden", someBytes(11))
	if left := proxy.Heal(); left > 0 {
		t.Errorf("%d faults did not come about", left)
	}
	// A service that passes over If-Match does not deceive.
	o := put(t, b, "ignored", someBytes(1000))
	overwrite(t, b, "ignored", someBytes(1001)[:1000])
	o2, _ := b.Stat(t.Context(), "ignored")
	content := b.Open(t.Context(), o2)
	content.Close()
	s := &source{object: o}
	if err := s.check(&piece{source: s, size: o.Size}, &s3.GetObjectOutput{ETag: aws.String(o2.ETag), ContentLength: aws.Int64(1000)}); !errors.Is(err, ErrChanged) {
		t.Errorf("If-Match was passed over: %v", err)
	}
}

func TestFaultsOfListing(t *testing.T) {
	server := Start(t)
	proxy := NewProxy(t, server)
	b := openTest(t, proxy.Endpoint, "list")
	var want []string
	for i := range 2500 {
		name := fmt.Sprintf("%04d", i)
		want = append(want, name)
		server.Write(t, "list/"+name, nil)
	}
	collect := func() (names []string, err error) {
		err = b.List(t.Context(), "", func(o Object) error { names = append(names, o.Key); return nil })
		return names, err
	}
	for name, fault := range map[string]Fault{"500": Answer(500, "InternalError"), "503": Answer(503, "SlowDown"), "reset": ResetAfter, "cut": Cut(2000)} {
		proxy.Fail(3, On("GET", "list-type=2"), fault)
		if got, err := collect(); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %d names, %v", name, len(got), err)
		}
		proxy.Heal()
	}
	first := On("GET", "list-type=2")
	var page []byte
	proxy.Fail(1, first, func(w http.ResponseWriter, _ *http.Request, pass func() *http.Response) {
		page = copyBody(w, pass())
		_, _ = w.Write(page)
	})
	proxy.Fail(1, first, func(w http.ResponseWriter, _ *http.Request, _ func() *http.Response) { _, _ = w.Write(page) })
	if got, err := collect(); err == nil || !strings.Contains(err.Error(), "not in order") {
		t.Errorf("a page came twice: %d names, %v", len(got), err)
	}
	proxy.Heal()
	proxy.Fail(1, first, func(w http.ResponseWriter, _ *http.Request, pass func() *http.Response) {
		body, _ := io.ReadAll(pass().Body)
		_, rest, _ := strings.Cut(string(body), "<NextContinuationToken>")
		_, rest, _ = strings.Cut(rest, "</NextContinuationToken>")
		head, _, _ := strings.Cut(string(body), "<NextContinuationToken>")
		_, _ = io.WriteString(w, head+rest)
	})
	if got, err := collect(); err == nil || !strings.Contains(err.Error(), "not how to get on") {
		t.Errorf("a page without a way on: %d names, %v", len(got), err)
	}
}

func copyBody(w http.ResponseWriter, answer *http.Response) []byte {
	body, _ := io.ReadAll(answer.Body)
	for name, values := range answer.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.StatusCode)
	return body
}

func TestFaultsOfWriting(t *testing.T) {
	server := Start(t)
	proxy := NewProxy(t, server)
	b := openTest(t, proxy.Endpoint, "put")
	n := 0
	for name, fault := range map[string]Fault{
		"500": Answer(500, "InternalError"), "503": Answer(503, "SlowDown"), "reset": Reset, "409": Answer(409, "ConditionalRequestConflict"),
		"412, and it was not written": Answer(412, "PreconditionFailed"), "not implemented": Answer(501, "NotImplemented"),
		"500, but written": AnswerAfter(500, "InternalError"), "reset, but written": ResetAfter,
		"412, but written": AnswerAfter(412, "PreconditionFailed"), "409, but written": AnswerAfter(409, "ConditionalRequestConflict"),
	} {
		n++
		key := fmt.Sprint(n)
		proxy.Fail(2, On("PUT", "/put/"+key), fault)
		content := someBytes(10_000 + n)
		if o := put(t, b, key, content); o.Size != int64(len(content)) {
			t.Errorf("%s: %+v", name, o)
		}
		proxy.Heal()
		if got, err := b.ReadFile(t.Context(), key); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		for _, other := range [][]byte{someBytes(10), bytes.Repeat([]byte{1}, len(content))} {
			proxy.Fail(1, On("PUT", "/put/"+key), AnswerAfter(500, "InternalError"))
			err := b.Put(t.Context(), key, bytes.NewReader(other), int64(len(other)), sha256.Sum256(other))
			if !errors.Is(err, fs.ErrExist) {
				t.Errorf("%s: another content was written over it: %v", name, err)
			}
			proxy.Heal()
		}
		if got, err := b.ReadFile(t.Context(), key); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	proxy.Fail(1000, On("PUT", "/put/never"), Answer(500, "InternalError"))
	if err := b.Put(t.Context(), "never", bytes.NewReader(nil), 0, sha256.Sum256(nil)); err == nil {
		t.Error("written, though the service never did")
	}
	proxy.Heal()
	wrong := sha256.Sum256([]byte("else"))
	if err := b.Put(t.Context(), "wrong", strings.NewReader("content"), 7, wrong); err == nil {
		t.Error("the service took bytes that do not match their checksum")
	}
	if _, err := b.Stat(t.Context(), "wrong"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is there all the same: %v", err)
	}
}

func TestLargeObjectsAreWrittenInParts(t *testing.T) {
	server := Start(t)
	proxy := NewProxy(t, server)
	b := openTest(t, proxy.Endpoint, "large")
	b.singlePut, b.partSize = 12<<20, 5<<20
	content := someBytes(13_000_000)
	sum := sha256.Sum256(content)
	for name, faults := range map[string]func(){
		"none":               func() {},
		"a part fails":       func() { proxy.Fail(3, On("PUT", "partNumber=2"), Answer(500, "InternalError")) },
		"a part's answer":    func() { proxy.Fail(2, On("PUT", "partNumber=1"), ResetAfter) },
		"conflict":           func() { proxy.Fail(1, On("POST", "uploadId="), Answer(409, "ConditionalRequestConflict")) },
		"answer dropped":     func() { proxy.Fail(1, On("POST", "uploadId="), ResetAfter) },
		"error in 200":       func() { proxy.Fail(1, On("POST", "uploadId="), Answer(200, "InternalError")) },
		"error, but written": func() { proxy.Fail(1, On("POST", "uploadId="), AnswerAfter(500, "InternalError")) },
	} {
		key := strings.ReplaceAll(name, " ", "-")
		faults()
		if err := b.Put(t.Context(), key, bytes.NewReader(content), int64(len(content)), sum); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if left := proxy.Heal(); left > 0 {
			t.Errorf("%s: %d faults did not come about", name, left)
		}
		if there, err := b.holds(t.Context(), key, int64(len(content)), sum); err != nil || !there {
			t.Errorf("%s: %v %v", name, there, err)
		}
		if err := b.Put(t.Context(), key, bytes.NewReader(content[1:]), int64(len(content)-1), sum); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: another content was written over it: %v", name, err)
		}
		uploads, err := b.client.ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: b.bucket()})
		if err != nil || len(uploads.Uploads) > 0 {
			t.Errorf("%s: uploads are left: %v %v", name, uploads, err)
		}
		if err := b.Remove(t.Context(), key); err != nil {
			t.Error(err)
		}
	}
}

func TestReplace(t *testing.T) {
	server := Start(t)
	proxy := NewProxy(t, server)
	b := openTest(t, proxy.Endpoint, "")
	puts := On("PUT", "/current")
	for i, fault := range []Fault{
		nil, Answer(500, "InternalError"), AnswerAfter(500, "InternalError"), ResetAfter, Answer(412, "PreconditionFailed"),
		AnswerAfter(412, "PreconditionFailed"), Answer(409, "ConditionalRequestConflict"), Answer(501, "NotImplemented"),
	} {
		if fault != nil {
			proxy.Fail(1, puts, fault)
		}
		content := []byte(fmt.Sprint("content ", i))
		if err := b.Replace(t.Context(), "current", content); err != nil {
			t.Errorf("%d: %v", i, err)
		}
		if got, err := b.ReadFile(t.Context(), "current"); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%d: %q %v", i, got, err)
		}
		if left := proxy.Heal(); left > 0 {
			t.Errorf("%d: %d faults did not come about", i, left)
		}
	}
	before := len(proxy.Requests("PUT"))
	if err := b.Replace(t.Context(), "current", []byte("content 7")); err != nil || len(proxy.Requests("PUT")) != before {
		t.Errorf("it was written though it was there: %v", err)
	}
}

func TestOpenSaysWhatIsMissing(t *testing.T) {
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION"} {
		t.Setenv(name, "")
		os.Unsetenv(name)
	}
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_CONFIG_FILE", t.TempDir()+"/none")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", t.TempDir()+"/none")
	for text, want := range map[string]string{
		"s3://usage/x":                  "add ?region=REGION",
		"s3://usage/x?region=eu-west-1": "set AWS_ACCESS_KEY_ID",
	} {
		a, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Open(t.Context(), a, Settings{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	server := Start(t)
	for _, c := range []struct {
		url, key, secret string
		is               error
		want             string
	}{
		{"s3://nowhere/x?endpoint=" + server.Endpoint, AccessKey, Secret, nil, "make the bucket"},
		{URL(server.Endpoint, "x"), AccessKey, "wrong", nil, "credentials"},
		{URL(server.Endpoint, "x"), "nobody", Secret, nil, "credentials"},
		{"s3://test/x?endpoint=http://127.0.0.1:1", AccessKey, Secret, nil, "connection refused"},
	} {
		As(t, c.key, c.secret)
		a, err := Parse(c.url)
		if err != nil {
			t.Fatal(err)
		}
		b, err := Open(t.Context(), a, Settings{LongestWait: time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		err = b.List(t.Context(), "", func(Object) error { return nil })
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), c.secret) || !strings.Contains(err.Error(), "list s3://") {
			t.Errorf("%s as %s: %v", c.url, c.key, err)
		}
		b.Close()
	}
}

func TestParse(t *testing.T) {
	for text, want := range map[string]Address{
		"s3://usage":                                        {Bucket: "usage"},
		"s3://usage/":                                       {Bucket: "usage"},
		"s3://usage/a/b/?region=eu-central-1":               {Bucket: "usage", Prefix: "a/b/", Region: "eu-central-1"},
		"s3://usage/a%20b":                                  {Bucket: "usage", Prefix: "a b/"},
		"s3://usage/a?endpoint=minio:9000":                  {Bucket: "usage", Prefix: "a/", Endpoint: "https://minio:9000", PathStyle: true},
		"s3://u-1.x/a?endpoint=http://[::1]:9&region=r1":    {Bucket: "u-1.x", Prefix: "a/", Region: "r1", Endpoint: "http://[::1]:9", PathStyle: true},
		"s3://usage/a?path_style=false&endpoint=https://x/": {Bucket: "usage", Prefix: "a/", Endpoint: "https://x"},
		"s3://usage/a?path_style=true":                      {Bucket: "usage", Prefix: "a/", PathStyle: true},
	} {
		if got, err := Parse(text); err != nil || got != want {
			t.Errorf("%s: %+v %v, want %+v", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"s3://":                                   "no name of a bucket",
		"s3://UPPER/x":                            "no name of a bucket",
		"s3://a..b/x":                             "no name of a bucket",
		"s3://AKIA1:hush@usage/x":                 "credentials do not belong",
		"s3://usage/x?secret_key=hush":            `no parameter "secret_key"`,
		"s3://usage/x?region=hush/":               "no region",
		"s3://usage/x?region=a&region=b":          "twice",
		"s3://usage/x?endpoint=ftp://x":           "not only a scheme and a host",
		"s3://usage/x?endpoint=https://x/path":    "not only a scheme and a host",
		"s3://usage/x?endpoint=https://a:hush@x/": "has credentials",
		"s3://usage/x?path_style=yes":             "neither true nor false",
		"s3://usage/x?a=%zz":                      "cannot be read",
		"s3://usage/a//b":                         `a part ""`,
		"s3://usage/a/../b":                       `a part ".."`,
		"s3://usage/a%00b":                        "a part",
		"s3://usage/a#b":                          "write it as %23",
		"s3://usage/%zz":                          "no URL of a bucket",
	} {
		if a, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hush") && !strings.Contains(want, "region") {
			t.Errorf("%s: %+v %v, want %s", text, a, err, want)
		}
	}
	outer, _ := Parse("s3://bbb/a")
	for text, want := range map[string]bool{"s3://bbb/a/x": true, "s3://bbb/a": true, "s3://bbb/ab": false, "s3://ccc/a": false, "s3://bbb": false} {
		if inner, err := Parse(text); err != nil || inner.Within(outer) != want {
			t.Errorf("%s within: %v %v", text, !want, err)
		}
	}
}

// TestManyObjects: a listing of any length costs the memory of a page.
func TestManyObjects(t *testing.T) {
	server := Start(t)
	n := 100_500
	if testing.Short() {
		n = 5_000
	}
	for i := range n {
		server.Write(t, fmt.Sprintf("many/%03d/%03d-%d.ndjson", i/1000, i%1000, i), nil)
	}
	b := openTest(t, server.Endpoint, "many")
	listed := 0
	if err := b.List(t.Context(), "", func(o Object) error { listed++; return nil }); err != nil || listed != n {
		t.Fatalf("%d of %d listed: %v", listed, n, err)
	}
}

// TestTLS: a certificate that nobody vouches for is refused, and one of a private authority is taken where it is named.
func TestTLS(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>")
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	As(t, AccessKey, Secret)
	nothing := func(Object) error { return nil }
	if err := openTest(t, server.URL, "x").List(t.Context(), "", nothing); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("%v, want that the certificate is refused", err)
	}
	authority := filepath.Join(t.TempDir(), "authority.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(authority, block, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_CA_BUNDLE", authority)
	b := openTest(t, server.URL, "x")
	if err := b.List(t.Context(), "", nothing); err != nil {
		t.Error(err)
	}
}
