package storagetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// Fault is what a Proxy does to what goes through it; the zero value: nothing.
type Fault struct {
	Latency time.Duration // before each piece is passed on, either way
	// Cut resets a connection after so many bytes of answers on it; 0: not.
	Cut int64
	// Hole takes connections and whatever is sent, passes nothing on, and
	// closes nothing: the other end is gone, and nobody said so.
	Hole bool
	Slow int // bytes of an answer per second; 0: no limit
	// Status answers requests of HTTP/1.1 itself, as S3 does with an error.
	Status int
}

// Proxy stands between clients and a server, and does to the network between
// them what a test says. It works on TCP, for any protocol.
type Proxy struct {
	Addr string

	server string
	ctx    context.Context
	stop   context.CancelFunc
	work   sync.WaitGroup

	mu      sync.Mutex
	fault   Fault
	changed chan struct{}
	used    int // pieces that the fault was done to
}

// NewProxy starts a proxy before the server at an address, until the test ends.
func NewProxy(t testing.TB, server string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{Addr: l.Addr().String(), server: server, changed: make(chan struct{})}
	p.ctx, p.stop = context.WithCancel(context.Background())
	p.work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // the test ended
			}
			p.work.Go(func() { p.serve(c) })
		}
	})
	t.Cleanup(func() {
		p.stop()
		_ = l.Close() // its connections end with the context
		p.work.Wait()
	})
	return p
}

// Set has the proxy do a fault from now on, to connections that stand, too.
func (p *Proxy) Set(f Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault, p.used = f, 0
	close(p.changed)
	p.changed = make(chan struct{})
}

// Used is how often something met the fault that is set.
func (p *Proxy) Used() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.used
}

func (p *Proxy) now() (Fault, chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fault, p.changed
}

func (p *Proxy) hit() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.used++
}

// serve passes one connection on until an end closes it, a fault cuts it, or
// the test ends.
func (p *Proxy) serve(client net.Conn) {
	server, err := net.Dial("tcp", p.server)
	if err != nil {
		server = nil // the server is down; a fault may still answer
	}
	c := &connection{p: p, client: client, server: server}
	defer context.AfterFunc(p.ctx, c.close)()
	defer c.close()
	if server == nil {
		c.pass(client, nil, false)
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() { defer c.close(); c.pass(client, server, false) })
	wg.Go(func() { defer c.close(); c.pass(server, client, true) })
	wg.Wait()
}

type connection struct {
	p              *Proxy
	client, server net.Conn // server nil: it could not be reached
	answered       int64    // bytes
}

func (c *connection) close() {
	_ = c.client.Close() // whoever came first closed it
	if c.server != nil {
		_ = c.server.Close()
	}
}

// cut closes the client's end so that it sees a reset.
func (c *connection) cut() {
	if t, ok := c.client.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	c.close()
}

// pass copies one way, piece by piece, under the faults of the moment.
func (c *connection) pass(from, to net.Conn, answers bool) {
	piece := make([]byte, 16<<10)
	for {
		n, err := from.Read(piece)
		if n > 0 && !c.piece(piece[:n], to, answers) {
			return
		}
		if err != nil {
			return
		}
	}
}

// piece passes on some bytes; false ends the connection.
func (c *connection) piece(b []byte, to net.Conn, answers bool) bool {
	f, changed := c.p.now()
	if f != (Fault{}) {
		c.p.hit()
	}
	for f.Hole { // what came into it is lost, and with it the connection's sense
		select {
		case <-c.p.ctx.Done():
			return false
		case <-changed:
		}
		if f, changed = c.p.now(); !f.Hole {
			return false
		}
	}
	switch {
	case f.Status != 0 && !answers && isRequest(b):
		c.answer(f.Status, bytes.HasPrefix(b, []byte("HEAD ")))
		return false
	case to == nil:
		return false
	case !c.pause(f.Latency):
		return false
	case !answers:
		_, err := to.Write(b)
		return err == nil
	case f.Cut > 0 && c.answered+int64(len(b)) >= f.Cut:
		_, _ = to.Write(b[:max(0, f.Cut-c.answered)]) // it is cut anyway
		c.cut()
		return false
	case f.Slow > 0:
		return c.slowly(b, to)
	}
	c.answered += int64(len(b))
	_, err := to.Write(b)
	return err == nil
}

// slowly passes on an answer ten times a second, until the fault is over.
func (c *connection) slowly(b []byte, to net.Conn) bool {
	for len(b) > 0 {
		f, _ := c.p.now()
		n := len(b)
		if f.Slow > 0 {
			n = min(n, max(1, f.Slow/10))
			if !c.pause(100 * time.Millisecond) {
				return false
			}
		}
		if _, err := to.Write(b[:n]); err != nil {
			return false
		}
		c.answered += int64(n)
		b = b[n:]
	}
	return true
}

func (c *connection) pause(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	select {
	case <-c.p.ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

func isRequest(b []byte) bool {
	for _, m := range []string{"GET ", "HEAD ", "PUT ", "POST ", "DELETE "} {
		if bytes.HasPrefix(b, []byte(m)) {
			return true
		}
	}
	return false
}

// answer gives the client an S3 service's error, and takes what it still sends.
func (c *connection) answer(status int, head bool) {
	code, text := "InternalError", "Internal Server Error"
	if status == 503 {
		code, text = "SlowDown", "Slow Down"
	}
	body := fmt.Sprintf("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>%s</Code><Message>%s</Message></Error>", code, text)
	if head {
		body = ""
	}
	_, err := fmt.Fprintf(c.client, "HTTP/1.1 %d %s\r\nContent-Type: application/xml\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", status, text, len(body), body)
	if t, ok := c.client.(*net.TCPConn); ok && err == nil {
		_ = t.CloseWrite()
		_ = t.SetReadDeadline(time.Now().Add(time.Second))
		_, _ = io.Copy(io.Discard, t) // so that it reads the answer rather than a reset
	}
}
