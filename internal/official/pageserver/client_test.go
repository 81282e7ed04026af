package pageserver

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
	"go.uber.org/goleak"

	"redoubt/internal/official/pageserver/wire"
	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
)

// hostile is a server that greets as a pageserver does, and then does what a test says.
type hostile struct {
	ln net.Listener
	wg sync.WaitGroup
	do func(conn net.Conn, back *pgproto3.Backend, command string)
}

// serve starts one. When it is stopped no connection may be left that the client did not end.
func serve(t *testing.T, do func(net.Conn, *pgproto3.Backend, string)) Target {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &hostile{ln: ln, do: do}
	h.wg.Go(h.accept)
	t.Cleanup(func() {
		_ = ln.Close()
		h.wg.Wait() // each session ends when its client does: one that is left hangs the test
		err := goleak.Find()
		for until := time.Now().Add(20 * time.Second); err != nil && time.Now().Before(until); err = goleak.Find() {
			time.Sleep(100 * time.Millisecond) // a machine may be slow
		}
		if err != nil {
			t.Error(err)
		}
	})
	return Target{
		Shards: []string{ln.Addr().String()}, Tenant: strings.Repeat("a", 32), Timeline: strings.Repeat("b", 32),
		Options: Options{SSLMode: "disable", Timeout: time.Minute, Attempts: 2, Pause: time.Millisecond, PagesPerSecond: -1},
	}
}

func (h *hostile) accept() {
	for {
		c, err := h.ln.Accept()
		if err != nil {
			return
		}
		h.wg.Go(func() {
			defer func() { _ = c.Close() }()
			b := pgproto3.NewBackend(c, c)
			first, err := b.ReceiveStartupMessage()
			if _, ok := first.(*pgproto3.StartupMessage); err != nil || !ok {
				return // a request to cancel, which a server answers by closing
			}
			b.Send(&pgproto3.AuthenticationOk{})
			b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
			if b.Flush() != nil {
				return
			}
			msg, err := b.Receive()
			q, ok := msg.(*pgproto3.Query)
			if err != nil || !ok {
				return
			}
			h.do(c, b, q.String)
			for { // until the client ends it
				if _, err := b.Receive(); err != nil {
					return
				}
			}
		})
	}
}

// stream is a server's turn into the pagestream protocol.
func stream(b *pgproto3.Backend) {
	b.Send(&pgproto3.CopyBothResponse{})
	_ = b.Flush()
}

var block = pg.Block{RelFork: pg.RelFork{RelFileLocator: pg.RelFileLocator{Spc: 1663, DB: 5, Rel: 1259}}}

func readOne(ctx context.Context, c *Client) error {
	return c.Pages(ctx, 8, []pg.Block{block}, make([]byte, pg.BlockSize))
}

// TestHostile: a server that says nothing, too much or nonsense ends in an error of the right
// sort, costs little memory, and leaves neither goroutine nor connection.
func TestHostile(t *testing.T) {
	long := func(kind byte) []byte { return []byte{kind, 0x7F, 0xFF, 0xFF, 0xF0} } // 2 GiB are to come
	page := func(b *pgproto3.Backend, data []byte) {
		stream(b)
		_, _ = b.Receive()
		b.Send(&pgproto3.CopyData{Data: data})
		_ = b.Flush()
	}
	for _, c := range []struct {
		name   string
		do     func(net.Conn, *pgproto3.Backend, string)
		ask    func(context.Context, *Client) error
		reason Reason
	}{
		{"no stream", func(net.Conn, *pgproto3.Backend, string) {}, readOne, Unreachable},
		{"no answer", func(_ net.Conn, b *pgproto3.Backend, _ string) { stream(b) }, readOne, Unreachable},
		{"a length of two gigabytes", func(c net.Conn, b *pgproto3.Backend, _ string) { stream(b); _, _ = c.Write(long('d')) }, readOne, Protocol},
		{"a negative length", func(c net.Conn, b *pgproto3.Backend, _ string) {
			stream(b)
			_, _ = c.Write([]byte{'d', 0xFF, 0xFF, 0xFF, 0xFF})
		}, readOne, Protocol},
		{"garbage", func(_ net.Conn, b *pgproto3.Backend, _ string) { page(b, bytes.Repeat([]byte{0xEE}, 700_000)) }, readOne, Protocol},
		{"an empty answer", func(_ net.Conn, b *pgproto3.Backend, _ string) { page(b, nil) }, readOne, Protocol},
		{"notices without end", func(_ net.Conn, b *pgproto3.Backend, _ string) {
			stream(b)
			for err := error(nil); err == nil; err = b.Flush() {
				b.Send(&pgproto3.NoticeResponse{Message: strings.Repeat("x", 1000)})
			}
		}, readOne, Protocol},
		{"the connection ends", func(c net.Conn, b *pgproto3.Backend, _ string) { stream(b); _ = c.Close() }, readOne, Unreachable},
		{"an error", func(_ net.Conn, b *pgproto3.Backend, _ string) {
			b.Send(&pgproto3.ErrorResponse{Severity: "ERROR", Code: "XX000", Message: "Not found: Tenant x not found"})
			_ = b.Flush()
		}, readOne, NoTenant},
		{"a lease that is not answered", func(net.Conn, *pgproto3.Backend, string) {}, lease, Unreachable},
		{"a lease of rows without end", func(_ net.Conn, b *pgproto3.Backend, _ string) {
			b.Send(&pgproto3.RowDescription{Fields: []pgproto3.FieldDescription{{Name: []byte("x"), DataTypeOID: 25, DataTypeSize: -1, TypeModifier: -1}}})
			for err := error(nil); err == nil; err = b.Flush() {
				b.Send(&pgproto3.DataRow{Values: [][]byte{bytes.Repeat([]byte("9"), 100_000)}})
			}
		}, lease, Protocol},
		{"a lease of two gigabytes", func(c net.Conn, _ *pgproto3.Backend, _ string) { _, _ = c.Write(long('D')) }, lease, ""},
		{"a base backup that stops", func(_ net.Conn, b *pgproto3.Backend, _ string) { b.Send(&pgproto3.CopyOutResponse{}); _ = b.Flush() }, backup, Unreachable},
		{"a base backup of nonsense", func(_ net.Conn, b *pgproto3.Backend, _ string) {
			b.Send(&pgproto3.CopyOutResponse{})
			for err := error(nil); err == nil; err = b.Flush() {
				b.Send(&pgproto3.CopyData{Data: bytes.Repeat([]byte{7}, 10_000)})
			}
		}, backup, Protocol},
	} {
		t.Run(c.name, func(t *testing.T) {
			target := serve(t, c.do)
			if c.reason == Unreachable {
				target.Options.Timeout = 300 * time.Millisecond
			}
			client := New(target)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := c.ask(t.Context(), client)
			runtime.ReadMemStats(&after)
			var known *Error
			if !errors.As(err, &known) || c.reason != "" && known.Reason != c.reason {
				t.Errorf("%v, want the reason %q", err, c.reason)
			}
			if took := after.TotalAlloc - before.TotalAlloc; took > 64<<20 {
				t.Errorf("%d bytes were taken", took)
			}
			_ = client.Close() // it may be closed already
		})
	}
}

func lease(ctx context.Context, c *Client) error { _, err := c.Lease(ctx, 8); return err }

func backup(ctx context.Context, c *Client) error {
	return c.Files(ctx, 8, func(string, []byte) error { return nil })
}

// TestCancel ends questions in the middle: nothing is left of them.
func TestCancel(t *testing.T) {
	for name, ask := range map[string]func(context.Context, *Client) error{"pages": readOne, "lease": lease, "base backup": backup} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			target := serve(t, func(_ net.Conn, b *pgproto3.Backend, command string) {
				switch {
				case strings.HasPrefix(command, "pagestream"):
					stream(b)
					_, _ = b.Receive()
				case strings.HasPrefix(command, "basebackup"):
					b.Send(&pgproto3.CopyOutResponse{})
					_ = b.Flush()
				}
				cancel()
			})
			client := New(target)
			if err := ask(ctx, client); !errors.Is(err, context.Canceled) {
				t.Errorf("%v, want that it was cancelled", err)
			}
			_ = client.Close() // it may be closed already
		})
	}
}

// TestLeaseEnds: what renews a lease ends with its side.
func TestLeaseEnds(t *testing.T) {
	client := New(serve(t, func(_ net.Conn, b *pgproto3.Backend, _ string) {
		stream(b)
		msg, _ := b.Receive()
		if d, ok := msg.(*pgproto3.CopyData); ok {
			q, _ := wire.ParseRequest(d.Data)
			b.Send(&pgproto3.CopyData{Data: (&wire.Response{Request: q}).Append(nil)})
			_ = b.Flush()
		}
	}))
	s := At(client, 8, forAnHour{})
	if got, err := s.Sizes(t.Context(), []pg.RelFork{block.RelFork}); err != nil || len(got) != 0 {
		t.Errorf("%v, %v", got, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

type forAnHour struct{}

func (forAnHour) Lease(context.Context, pg.LSN) (time.Duration, error) { return time.Hour, nil }

// FuzzBackup reads tars as base backups: what is handed on is bounded, and whole says that pg_control was there.
func FuzzBackup(f *testing.F) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range []string{"pg_xact/0000", datadir.ControlPath} {
		if err := errors.Join(w.WriteHeader(&tar.Header{Name: name, Size: 20, Mode: 0o600}), second(w.Write(make([]byte, 20)))); err != nil {
			f.Fatal(err)
		}
	}
	_ = w.Close()
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		control, total := false, 0
		whole, _ := eachFile(bytes.NewReader(data), func(name string, content []byte) error {
			control = control || name == datadir.ControlPath
			total += len(content)
			return nil
		})
		if whole != control || total > len(data) {
			t.Errorf("whole %v, pg_control %v, %d bytes of %d", whole, control, total, len(data))
		}
	})
}

func second(_ int, err error) error { return err }

// FuzzLocation reads locations: what is read can be written and read again.
func FuzzLocation(f *testing.F) {
	f.Add("pageserver://a:1,b:2/" + strings.Repeat("a", 32) + "/" + strings.Repeat("0", 32) + "?stripe_size=8&depth=3&timeout=1s")
	f.Fuzz(func(t *testing.T, s string) {
		if strings.Contains(s, "token_file") {
			t.Skip() // it would read files
		}
		a, err := Parse(s)
		if err != nil {
			return
		}
		b, err := Parse(a.String())
		if err != nil || b.Tenant != a.Tenant || len(b.Shards) != len(a.Shards) || len(a.Shards) > maxShards {
			t.Errorf("%q is read as %+v, that as %+v: %v", s, a, b, err)
		}
	})
}
