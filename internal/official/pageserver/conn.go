package pageserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"redoubt/internal/official/pageserver/wire"
)

// maxMessage bounds what a server may send in one message: an SLRU segment is
// 256 KiB, parts of a base backup are smaller.
const maxMessage = 1 << 20

// dial opens a connection to a pageserver; the token is the password.
func (c *Client) dial(ctx context.Context, server string) (*pgconn.PgConn, error) {
	u := url.URL{Scheme: "postgres", Host: server, Path: "/postgres", User: url.User("redoubt")}
	if c.opt.Token != "" {
		u.User = url.UserPassword("redoubt", c.opt.Token)
	}
	q := url.Values{"sslmode": {c.opt.SSLMode}, "application_name": {"redoubt"}}
	if c.opt.RootCert != "" {
		q.Set("sslrootcert", c.opt.RootCert)
	}
	u.RawQuery = q.Encode()
	cfg, err := pgconn.ParseConfig(u.String())
	if err != nil {
		return nil, fmt.Errorf("read sslmode, sslrootcert or the address: %w", withoutURL(err))
	}
	build := cfg.BuildFrontend
	cfg.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		f := build(r, w)
		f.SetMaxBodyLen(maxMessage)
		return f
	}
	ctx, cancel := context.WithTimeout(ctx, c.opt.Timeout)
	defer cancel()
	return pgconn.ConnectConfig(ctx, cfg)
}

// hangUp ends a connection. One that broke or was cancelled pgconn would keep for
// 15 seconds, until the server ends what it was told to cancel.
func hangUp(ctx context.Context, c *pgconn.PgConn) {
	if c.IsClosed() {
		_ = c.Conn().Close()
		return
	}
	_ = c.Close(ctx) // it was only read
}

// dialAgain is dial with more attempts.
func (c *Client) dialAgain(ctx context.Context, server string) (conn *pgconn.PgConn, err error) {
	err = c.retry(ctx, func() (bool, error) {
		conn, err = c.dial(ctx, server)
		return false, err
	})
	return conn, err
}

// withoutURL drops the text around an error's cause, which repeats the URL.
func withoutURL(err error) error {
	if cause := errors.Unwrap(err); cause != nil {
		return cause
	}
	return errors.New("it cannot be read")
}

// pagestream is a connection in the pagestream protocol. It is for one goroutine.
type pagestream struct {
	conn    net.Conn
	front   *pgproto3.Frontend
	timeout time.Duration
	buf     []byte
}

// openStream turns a connection into a pagestream.
func (c *Client) openStream(ctx context.Context, server string) (_ *pagestream, err error) {
	pg, err := c.dial(ctx, server)
	if err != nil {
		return nil, err
	}
	h, err := pg.Hijack()
	if err != nil {
		return nil, errors.Join(err, pg.Close(ctx))
	}
	s := &pagestream{conn: h.Conn, front: h.Frontend, timeout: c.opt.Timeout}
	stop := s.watch(ctx)
	defer stop()
	defer func() {
		if err != nil {
			_ = s.close()
		}
	}()
	s.front.Send(&pgproto3.Query{String: "pagestream_v3 " + c.target.Tenant + " " + c.target.Timeline})
	if err := s.flush(); err != nil {
		return nil, err
	}
	for range maxAsides {
		msg, err := s.receive(ctx)
		if err != nil {
			return nil, err
		}
		if _, ok := msg.(*pgproto3.CopyBothResponse); ok {
			return s, nil
		}
	}
	return nil, errAsides
}

// maxAsides is how many messages a server may send that are no answer, such as
// notices, before the one that is waited for.
const maxAsides = 1000

var errAsides = fmt.Errorf("%w: it sends %d messages and no answer", wire.ErrFormat, maxAsides)

// watch lets the end of a context end what the connection waits for.
func (s *pagestream) watch(ctx context.Context) (stop func()) {
	off := context.AfterFunc(ctx, func() { _ = s.conn.SetDeadline(time.Unix(1, 0)) })
	return func() { off() }
}

func (s *pagestream) flush() error {
	if err := s.conn.SetWriteDeadline(time.Now().Add(s.timeout)); err != nil {
		return err
	}
	return s.front.Flush()
}

// receive reads a message; an error that the server sends is an error.
func (s *pagestream) receive(ctx context.Context) (pgproto3.BackendMessage, error) {
	if err := s.conn.SetReadDeadline(time.Now().Add(s.timeout)); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil { // the deadline may have hidden that of watch
		return nil, err
	}
	msg, err := s.front.Receive()
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		var tooLong *pgproto3.ExceededMaxBodyLenErr
		var passes net.Error
		switch {
		case errors.As(err, &tooLong):
			return nil, fmt.Errorf("%w: %w", wire.ErrFormat, err)
		case err == io.EOF, errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &passes):
			return nil, fmt.Errorf("%w: %w", errBroken, err)
		}
		return nil, fmt.Errorf("%w: %w", wire.ErrFormat, err)
	}
	switch m := msg.(type) {
	case *pgproto3.ErrorResponse:
		return nil, pgconn.ErrorResponseToPgError(m)
	case *pgproto3.CopyDone, *pgproto3.ReadyForQuery:
		return nil, errBroken // the server left the protocol
	}
	return msg, nil
}

// send puts a request into the buffer; flush sends it.
func (s *pagestream) send(q *wire.Request) {
	s.buf = q.Append(s.buf[:0])
	s.front.Send(&pgproto3.CopyData{Data: s.buf}) // encodes at once
}

// answer reads the response to a request. Its pages are valid until the next.
func (s *pagestream) answer(ctx context.Context, q *wire.Request) (*wire.Response, error) {
	for range maxAsides {
		msg, err := s.receive(ctx)
		if err != nil {
			return nil, err
		}
		data, ok := msg.(*pgproto3.CopyData)
		if !ok {
			continue // a notice, a parameter's value
		}
		p, err := wire.ParseResponse(data.Data)
		switch {
		case err != nil:
			return nil, err
		case !p.Answers(q):
			return nil, errOtherAnswer
		}
		return &p, nil
	}
	return nil, errAsides
}

func (s *pagestream) close() error { return s.conn.Close() }
