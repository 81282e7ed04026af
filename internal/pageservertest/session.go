package pageservertest

import (
	"archive/tar"
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"redoubt/internal/official/pageserver/wire"
	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
)

// session is one connection.
type session struct {
	s     *Server
	conn  net.Conn
	back  *pgproto3.Backend
	shard int
	sent  int // answers of the pagestream protocol
}

func newSession(s *Server, c net.Conn, shard int) *session {
	b := pgproto3.NewBackend(c, c)
	b.SetMaxBodyLen(64 << 10)
	return &session{s: s, conn: c, back: b, shard: shard}
}

func (c *session) run() {
	if err := c.startup(); err != nil {
		return
	}
	for {
		msg, err := c.back.Receive()
		if err != nil {
			return
		}
		switch m := msg.(type) {
		case *pgproto3.Query:
			if err := c.query(m.String); err != nil {
				return
			}
		case *pgproto3.Terminate:
			return
		}
	}
}

// startup greets a client and asks for its token.
func (c *session) startup() error {
	for {
		msg, err := c.back.ReceiveStartupMessage()
		if err != nil {
			return err
		}
		if _, ok := msg.(*pgproto3.StartupMessage); ok {
			break
		}
		if _, err := c.conn.Write([]byte("N")); err != nil { // neither TLS nor GSS
			return err
		}
	}
	if c.s.cfg.Key != nil {
		c.back.Send(&pgproto3.AuthenticationCleartextPassword{})
		if err := errors.Join(c.back.Flush(), c.back.SetAuthType(pgproto3.AuthTypeCleartextPassword)); err != nil {
			return err
		}
		msg, err := c.back.Receive()
		if err != nil {
			return err
		}
		p, ok := msg.(*pgproto3.PasswordMessage)
		if !ok {
			return errors.New("no password came")
		}
		if err := c.s.allow(p.Password); err != nil {
			_ = c.refuse("XX000", err)
			return err
		}
	}
	c.back.Send(&pgproto3.AuthenticationOk{})
	c.back.Send(&pgproto3.ParameterStatus{Name: "client_encoding", Value: "UTF8"})
	c.back.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	return c.back.Flush()
}

func (c *session) refuse(code string, err error) error {
	c.back.Send(&pgproto3.ErrorResponse{Severity: "ERROR", Code: code, Message: err.Error()})
	return c.back.Flush()
}

// query runs one command. An error ends the connection.
func (c *session) query(q string) error {
	err := c.command(strings.Fields(q))
	var said *said
	if errors.As(err, &said) {
		if err := c.refuse("XX000", said); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	c.back.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	return c.back.Flush()
}

// said is an error that is said to the client.
type said struct{ error }

func sayf(format string, args ...any) error { return &said{fmt.Errorf(format, args...)} }

func (c *session) command(words []string) error {
	lease := len(words) == 5 && words[0] == "lease" && words[1] == "lsn"
	if lease {
		words = append([]string{"lease"}, words[2:]...)
	}
	if len(words) < 3 {
		return sayf("unsupported command in %q", strings.Join(words, " "))
	}
	h, err := c.history(words[0], words[1], words[2])
	if err != nil {
		return err
	}
	switch {
	case words[0] == "pagestream_v3" && len(words) == 3:
		return c.pagestream(h)
	case words[0] == "basebackup" && len(words) == 4:
		lsn, err := pg.ParseLSN(words[3])
		if err != nil {
			return &said{err}
		}
		return c.basebackup(h, lsn)
	case lease:
		lsn, err := pg.ParseLSN(words[3])
		if err != nil {
			return &said{err}
		}
		return c.lease(lsn)
	}
	return sayf("unsupported command %s", words[0])
}

// history is the timeline that a command names.
func (c *session) history(command, tenant, timeline string) (*History, error) {
	p := c.s.planted()
	want := c.s.cfg.Tenant
	if n := len(c.s.listeners); command == "lease" && n > 1 {
		want += fmt.Sprintf("-%02x%02x", c.shard, n)
	}
	if tenant != want || p.NoTenant {
		return nil, sayf("not found: Tenant %s not found", tenant)
	}
	h := c.s.cfg.Timelines[timeline]
	if h == nil || p.NoTimeline {
		return nil, sayf("not found: Timeline %s/%s was not found", tenant, timeline)
	}
	return h, nil
}

func (c *session) lease(lsn pg.LSN) error {
	until, ok := c.s.lease(lsn)
	var value []byte
	if ok {
		value = strconv.AppendInt(nil, until.UnixMilli(), 10)
	}
	c.back.Send(&pgproto3.RowDescription{Fields: []pgproto3.FieldDescription{{Name: []byte("valid_until"), DataTypeOID: 25, DataTypeSize: -1, TypeModifier: -1}}})
	c.back.Send(&pgproto3.DataRow{Values: [][]byte{value}})
	c.back.Send(&pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")})
	return nil
}

// basebackup sends what is no relation, as a tar.
func (c *session) basebackup(h *History, lsn pg.LSN) error {
	if c.shard != 0 {
		return sayf("not found: base backups are on shard 0")
	}
	state, err := c.at(h, lsn)
	if err != nil {
		return &said{err}
	}
	defer state.release()
	p := c.s.planted()
	names, files, err := state.files(!p.LazySLRUs)
	if err != nil {
		return &said{err}
	}
	c.back.Send(&pgproto3.CopyOutResponse{})
	out := bufio.NewWriterSize(copyOut{c.back}, 64<<10)
	t := tar.NewWriter(out)
	for _, name := range names {
		b := files[name]
		if p.Segment != nil && datadir.Classify(name).Class == datadir.SLRUSegment {
			p.Segment(lsn, name, b)
		}
		if p.File != nil {
			if b = p.File(lsn, name, b); b == nil {
				continue
			}
		}
		if err := t.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(b)), Typeflag: tar.TypeReg}); err != nil {
			return err
		}
		if _, err := t.Write(b); err != nil {
			return err
		}
	}
	if err := errors.Join(t.Close(), out.Flush()); err != nil {
		return err
	}
	c.back.Send(&pgproto3.CopyDone{})
	c.back.Send(&pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")})
	return nil
}

// copyOut sends what is written as CopyData.
type copyOut struct{ back *pgproto3.Backend }

func (w copyOut) Write(b []byte) (int, error) {
	w.back.Send(&pgproto3.CopyData{Data: b})
	return len(b), w.back.Flush()
}

// at is the timeline at an LSN that may be read.
func (c *session) at(h *History, lsn pg.LSN) (*State, error) {
	if err := c.s.readable(lsn); err != nil {
		return nil, err
	}
	if h.Last != 0 && lsn > h.Last {
		return nil, fmt.Errorf("LSN timeout: %s has not arrived, the last is %s", lsn, h.Last)
	}
	return h.At(c.s.ctx, lsn)
}

// pagestream answers requests until the client ends.
func (c *session) pagestream(h *History) error {
	c.back.Send(&pgproto3.CopyBothResponse{})
	if err := c.back.Flush(); err != nil {
		return err
	}
	for {
		msg, err := c.back.Receive()
		if err != nil {
			return err
		}
		switch m := msg.(type) {
		case *pgproto3.CopyData:
			if err := c.request(h, m.Data); err != nil {
				return err
			}
		case *pgproto3.Terminate, *pgproto3.CopyDone:
			return io.EOF
		}
	}
}

var errCut = errors.New("cut by plan")

func (c *session) request(h *History, b []byte) error {
	q, err := wire.ParseRequest(b)
	if err != nil {
		return err
	}
	p := c.s.planted()
	if p.Delay > 0 {
		select {
		case <-time.After(p.Delay):
		case <-c.s.ctx.Done():
			return errCut
		}
	}
	if p.ConnectionsEnd > 0 && c.sent >= p.ConnectionsEnd {
		return errCut
	}
	r, err := c.answer(h, &q, &p)
	if err != nil {
		r = &wire.Response{Request: wire.Request{Header: q.Header}, Failed: true, Error: err.Error()}
	}
	out := r.Append(nil)
	c.s.mu.Lock()
	i := c.s.sent
	c.s.sent++
	if q.Op == wire.GetPage {
		c.s.perConn[c.shard]++
	}
	c.s.mu.Unlock()
	c.sent++
	if p.Message != nil {
		if out = p.Message(i, out); out == nil {
			return errCut
		}
	}
	c.back.Send(&pgproto3.CopyData{Data: out})
	return c.back.Flush()
}

func (c *session) answer(h *History, q *wire.Request, p *Plant) (*wire.Response, error) {
	r := &wire.Response{Request: *q}
	switch {
	case q.NotModifiedSince > q.LSN || q.LSN == 0:
		return nil, fmt.Errorf("Bad request: invalid request with request LSN %s and not_modified_since %s", q.LSN, q.NotModifiedSince) //nolint:staticcheck // a pageserver's words
	case p.NoTenant:
		return nil, fmt.Errorf("Not found: Tenant %s not found", c.s.cfg.Tenant) //nolint:staticcheck // a pageserver's words
	case q.Op == wire.GetPage && c.s.cfg.Layout.Shard(q.Rel, q.Block) != c.shard, q.Op != wire.GetPage && c.shard != 0:
		return nil, fmt.Errorf("key is not on shard %d", c.shard)
	}
	lsn := q.LSN
	if err := c.s.readable(lsn); err != nil {
		return nil, err
	}
	if p.Version != nil && q.Op == wire.GetPage {
		if other := p.Version(lsn, pg.Block{RelFork: q.Rel, Number: q.Block}); other != 0 {
			lsn = other
		}
	}
	state, err := c.at(h, lsn)
	if err != nil {
		return nil, err
	}
	defer state.release()
	return r, c.fill(r, state, p)
}

// fill answers a request out of a state.
func (c *session) fill(r *wire.Response, state *State, p *Plant) (err error) {
	missing := func() bool { return p.Missing != nil && p.Missing(r.LSN, r.Rel) }
	switch r.Op {
	case wire.Exists:
		_, there := state.size(r.Rel)
		r.Exists = there && !missing()
	case wire.Blocks:
		n, there := state.size(r.Rel)
		if !there || missing() {
			return fmt.Errorf("could not find data for key: size of %s", r.Rel)
		}
		if p.Size != nil {
			n = p.Size(r.LSN, r.Rel, n)
		}
		r.Blocks = uint32(n)
	case wire.GetPage:
		if r.Pages, err = state.page(r.Rel, r.Block); err == nil && p.Page != nil {
			p.Page(r.LSN, pg.Block{RelFork: r.Rel, Number: r.Block}, r.Pages)
		}
	case wire.DBSize:
		r.Bytes = state.databaseBytes(r.Database)
	case wire.GetSLRUSegment:
		slru, _ := r.SLRU.SLRU()
		path := datadir.SLRUPath(pg.SLRUPage{SLRU: slru, Page: r.Segment * pg.SLRUPagesPerSegment})
		all, err := state.segments()
		if err != nil {
			return err
		}
		if all[path] == nil {
			return fmt.Errorf("could not find data for key of %s", path)
		}
		if r.Pages = all[path]; p.Segment != nil {
			p.Segment(r.LSN, path, r.Pages)
		}
	}
	return err
}
