package buckettest

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// Proxy stands before a server and makes faults.
type Proxy struct {
	Endpoint string

	mu       sync.Mutex
	faults   []*fault
	requests []string
	underWay sync.WaitGroup // faults that are being made
}

type fault struct {
	match func(*http.Request) bool
	left  int
	make  Fault
}

// Fault answers a request in its own way. pass hands it to the server, and gives the answer.
type Fault func(w http.ResponseWriter, r *http.Request, pass func() *http.Response)

// NewProxy starts a proxy that ends with the test.
func NewProxy(t testing.TB, s *Server) *Proxy {
	t.Helper()
	target, err := url.Parse(s.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{}
	transport := &http.Transport{DisableCompression: true}
	reverse := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host // it is signed
		},
		Transport: transport, ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		make := p.faultFor(r)
		if make == nil {
			reverse.ServeHTTP(w, r)
			return
		}
		defer p.underWay.Done()
		make(w, r, func() *http.Response {
			recorder := httptest.NewRecorder()
			reverse.ServeHTTP(recorder, r)
			return recorder.Result()
		})
	}))
	server.Config.ErrorLog = nil
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
		transport.CloseIdleConnections()
	})
	p.Endpoint = server.URL
	return p
}

// faultFor finds the fault of a request, which is under way from then on.
func (p *Proxy) faultFor(r *http.Request) Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests = append(p.requests, r.Method+" "+r.URL.RequestURI())
	for _, f := range p.faults {
		if f.left > 0 && f.match(r) {
			f.left--
			p.underWay.Add(1)
			return f.make
		}
	}
	return nil
}

// Fail makes a fault of the next requests that match.
func (p *Proxy) Fail(times int, match func(*http.Request) bool, make Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = append(p.faults, &fault{match, times, make})
}

// Heal ends all faults, waits for those that are being made, and tells how many have not come about. A client may have its
// error before a fault is done: one that writes an object reads it back, and must not do so when the test is over.
func (p *Proxy) Heal() (left int) {
	defer p.underWay.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.faults {
		left += f.left
	}
	p.faults = nil
	return left
}

// Requests gives the requests so far that begin with some text, as "GET /test/usage".
func (p *Proxy) Requests(prefix string) (list []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.requests {
		if strings.HasPrefix(r, prefix) {
			list = append(list, r)
		}
	}
	return list
}

// On matches requests by method and a part of their URI.
func On(method, part string) func(*http.Request) bool {
	return func(r *http.Request) bool { return r.Method == method && strings.Contains(r.URL.RequestURI(), part) }
}

// Answer gives an error in the server's place.
func Answer(status int, code string) Fault {
	return func(w http.ResponseWriter, r *http.Request, _ func() *http.Response) {
		_, _ = io.Copy(io.Discard, r.Body)
		writeError(w, r, status, code)
	}
}

// AnswerAfter gives an error though the server has done what was asked for.
func AnswerAfter(status int, code string) Fault {
	return func(w http.ResponseWriter, r *http.Request, pass func() *http.Response) {
		pass().Body.Close()
		writeError(w, r, status, code)
	}
}

func writeError(w http.ResponseWriter, r *http.Request, status int, code string) {
	text := fmt.Sprintf(`<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>injected</Message><RequestId>1</RequestId></Error>`, code)
	w.Header().Set("Content-Type", "application/xml")
	w.Header().Set("Content-Length", fmt.Sprint(len(text)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = io.WriteString(w, text)
	}
}

// Reset drops the connection before the server has heard of the request.
func Reset(w http.ResponseWriter, _ *http.Request, _ func() *http.Response) { reset(w) }

// ResetAfter drops the connection when the server has done what was asked for.
func ResetAfter(w http.ResponseWriter, _ *http.Request, pass func() *http.Response) {
	pass().Body.Close()
	reset(w)
}

func reset(w http.ResponseWriter) {
	connection, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := connection.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	connection.Close()
}

// Cut drops the connection after some bytes of the body; negative: so many before its end.
func Cut(after int) Fault {
	return func(w http.ResponseWriter, _ *http.Request, pass func() *http.Response) {
		body := copyAnswer(w, pass())
		n := after
		if n < 0 {
			n += len(body)
		}
		_, _ = w.Write(body[:max(0, min(n, len(body)))])
		if flusher, ok := w.(http.Flusher); ok {
			flusher.Flush()
		}
		panic(http.ErrAbortHandler)
	}
}

// Edit changes the body, and not its length.
func Edit(edit func(body []byte)) Fault {
	return func(w http.ResponseWriter, _ *http.Request, pass func() *http.Response) {
		body := copyAnswer(w, pass())
		edit(body)
		_, _ = w.Write(body)
	}
}

// Before does something before the server is asked.
func Before(do func()) Fault {
	return func(w http.ResponseWriter, _ *http.Request, pass func() *http.Response) {
		do()
		_, _ = w.Write(copyAnswer(w, pass()))
	}
}

func copyAnswer(w http.ResponseWriter, answer *http.Response) []byte {
	body, _ := io.ReadAll(answer.Body)
	for name, values := range answer.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.StatusCode)
	return body
}
