package storetest

import (
	"bytes"
	"fmt"
	"net"
	"sync"
	"testing"
)

// Proxy stands between a program and a server, and can break a connection at COMMIT.
type Proxy struct {
	listener net.Listener
	server   string
	all      sync.WaitGroup

	mu          sync.Mutex
	next        Cut
	cuts        int
	messages    int // that programs have sent, as they came
	nth         int
	nthCut      Cut
	onCut       func()
	refusing    bool
	connections map[net.Conn]bool
}

// Cut is what happens to the next COMMIT.
type Cut uint8

// The ways in which a COMMIT, or what is answered to it, can be lost.
const (
	Nothing      Cut = iota
	BeforeCommit     // the server never gets it, and sees the connection end
	AfterCommit      // the server gets it, and both connections end at once
	DropAnswer       // the server gets and answers it; the program sees the connection end instead
)

// Proxy starts a proxy before the server.
func (s *Server) Proxy(t testing.TB) *Proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{listener: listener, server: fmt.Sprintf("127.0.0.1:%d", s.Port), connections: map[net.Conn]bool{}}
	p.all.Go(p.accept)
	t.Cleanup(func() {
		listener.Close()
		p.Refuse()
		p.all.Wait()
	})
	return p
}

// Address is where the proxy listens.
func (p *Proxy) Address() string { return p.listener.Addr().String() }

// Next says what happens to the next COMMIT.
func (p *Proxy) Next(cut Cut) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next = cut
}

// Nth says what happens to the message that is the nth from now on, whatever it says, and counts them anew.
func (p *Proxy) Nth(n int, cut Cut) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.messages, p.nth, p.nthCut = 0, n, cut
}

// Messages is how many came since they were counted anew.
func (p *Proxy) Messages() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.messages
}

// takeNth gives what is to happen to a message.
func (p *Proxy) takeNth() Cut {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.messages++; p.messages != p.nth {
		return Nothing
	}
	p.cuts++
	return p.nthCut
}

// OnCut lets something be done when a connection was cut, before the program sees it.
func (p *Proxy) OnCut(do func()) { p.onCut = do }

// Cuts is how often something was cut.
func (p *Proxy) Cuts() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cuts
}

// Refuse ends all connections, and those to come.
func (p *Proxy) Refuse() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refusing = true
	for c := range p.connections {
		c.Close()
	}
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.server)
		if err != nil || !p.add(client, server) {
			client.Close()
			if server != nil {
				server.Close()
			}
			continue
		}
		l := &link{proxy: p, client: client, server: server, answered: make(chan struct{})}
		p.all.Go(l.forward)
		p.all.Go(l.backward)
	}
}

func (p *Proxy) add(connections ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refusing {
		return false
	}
	for _, c := range connections {
		p.connections[c] = true
	}
	return true
}

// take gives what is to happen to a COMMIT, once.
func (p *Proxy) take() Cut {
	p.mu.Lock()
	defer p.mu.Unlock()
	cut := p.next
	p.next = Nothing
	if cut != Nothing {
		p.cuts++
	}
	return cut
}

// link is one connection through the proxy.
type link struct {
	proxy          *Proxy
	client, server net.Conn
	mu             sync.Mutex
	dropping       bool
	answered       chan struct{} // closed when an answer was dropped, or the server is gone
	once           sync.Once
}

func (l *link) end() {
	l.client.Close()
	l.server.Close()
}

// commit is the message: its kind, its length, its text.
var commit = []byte("Q\x00\x00\x00\x0bCOMMIT\x00")

func (l *link) forward() {
	defer l.end()
	buffer := make([]byte, 1<<16)
	for {
		n, err := l.client.Read(buffer)
		cut := Nothing
		if bytes.Contains(buffer[:n], commit) {
			cut = l.proxy.take()
		}
		if n > 0 && cut == Nothing {
			cut = l.proxy.takeNth()
		}
		if cut != Nothing {
			l.mu.Lock()
			l.dropping = true
			l.mu.Unlock()
		}
		if cut == BeforeCommit {
			l.server.Close()
		} else if _, failed := l.server.Write(buffer[:n]); failed != nil {
			return
		}
		if cut == DropAnswer {
			<-l.answered
		}
		if cut != Nothing {
			l.server.Close()
			if l.proxy.onCut != nil {
				l.proxy.onCut()
			}
			return
		}
		if err != nil {
			return
		}
	}
}

func (l *link) backward() {
	defer l.once.Do(func() { close(l.answered) })
	buffer := make([]byte, 1<<16)
	for {
		n, err := l.server.Read(buffer)
		l.mu.Lock()
		dropping := l.dropping
		l.mu.Unlock()
		if dropping {
			return // the client is told by forward
		}
		if _, failed := l.client.Write(buffer[:n]); failed != nil || err != nil {
			l.end()
			return
		}
	}
}
