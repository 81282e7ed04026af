package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"redoubt/internal/api/auth"
)

// Limits of the server.
const (
	headerTimeout = 10 * time.Second
	readTimeout   = 30 * time.Second
	writeTimeout  = 2 * time.Minute // a large report over a slow line
	idleTimeout   = 2 * time.Minute
	grace         = 10 * time.Second // what requests under way get when the server ends
	maxHeader     = 32 << 10
	maxBody       = 64 << 10
)

// Options are what the server is made from. All but Recoverer, Auth, TLS, Ready and Log are required.
type Options struct {
	Ledger    Ledger
	Starter   Starter
	Pages     Pages
	Metrics   http.Handler
	Ready     func(context.Context) error // nil: always ready
	Recoverer Recoverer                   // nil: its paths are not there
	Auth      *auth.Checker               // empty: this machine only
	TLS       *tls.Config                 // nil: not encrypted
	Log       *slog.Logger                // nil: none
}

// Server is the HTTP of serve.
type Server struct {
	Options
	handler  http.Handler
	patterns []string // of all routes
}

// New makes a server.
func New(o Options) (*Server, error) {
	if o.Ledger == nil || o.Starter == nil || o.Pages == nil || o.Metrics == nil {
		return nil, errors.New("make HTTP server: ledger, starter, pages and metrics are required")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{Options: o}
	s.handler = s.guarded(s.routes())
	return s, nil
}

// Handler answers all requests.
func (s *Server) Handler() http.Handler { return s.handler }

// Serve answers requests on l until ctx ends, then lets those under way
// finish for a while. It closes l. Without a token it refuses a listener that
// other machines can reach.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	if s.Auth.Empty() && !loopback(l.Addr()) {
		return errors.Join(fmt.Errorf("serve on %s: other machines can reach it: configure a token, or listen on 127.0.0.1", l.Addr()), l.Close())
	}
	srv := &http.Server{
		Handler: s.handler, ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeader, ErrorLog: slog.NewLogLogger(s.Log.Handler(), slog.LevelWarn),
	}
	if s.TLS != nil {
		l = tls.NewListener(l, s.TLS)
	}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(l) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	err := srv.Shutdown(last)
	if err != nil {
		err = errors.Join(fmt.Errorf("end HTTP server: %w", err), srv.Close())
	}
	if serr := <-ended; !errors.Is(serr, http.ErrServerClosed) {
		err = errors.Join(err, fmt.Errorf("serve on %s: %w", l.Addr(), serr))
	}
	return err
}

// loopback reports whether only this machine can reach an address.
func loopback(a net.Addr) bool {
	switch a := a.(type) {
	case *net.TCPAddr:
		return a.IP.IsLoopback()
	case *net.UnixAddr:
		return true
	}
	return false
}
