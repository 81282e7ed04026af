package pageservertest

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"redoubt/internal/official/pageserver/wire"
	"redoubt/internal/pg"
)

// Config is what a server serves.
type Config struct {
	Tenant    string              // 32 hexadecimal digits
	Timelines map[string]*History // by id, 32 hexadecimal digits
	Layout    wire.Layout         // Shards 0 or 1: one
	Key       ed25519.PublicKey   // of tokens; nil: none is asked for
	Listen    []string            // addresses, one a shard; default: ports of 127.0.0.1 that are free
}

// Server is a running stand-in.
type Server struct {
	cfg       Config
	listeners []net.Listener
	cancel    context.CancelFunc
	ctx       context.Context
	wg        sync.WaitGroup

	mu      sync.Mutex
	conns   map[net.Conn]bool
	plant   Plant
	leases  map[pg.LSN]time.Time
	sent    int // answers of the pagestream protocol
	leased  int // leases granted
	perConn map[int]int
}

// Start listens and serves until Close.
func Start(cfg Config) (*Server, error) {
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{
		cfg: cfg, ctx: ctx, cancel: cancel,
		conns: make(map[net.Conn]bool), leases: make(map[pg.LSN]time.Time), perConn: make(map[int]int),
	}
	for n := range max(int(cfg.Layout.Shards), 1) {
		addr := "127.0.0.1:0"
		if n < len(cfg.Listen) {
			addr = cfg.Listen[n]
		}
		ln, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		s.listeners = append(s.listeners, ln)
		s.wg.Go(func() { s.accept(ln, n) })
	}
	return s, nil
}

// Location is where a timeline is, as the command line wants it.
func (s *Server) Location(timeline string) string {
	var hosts []string
	for _, ln := range s.listeners {
		hosts = append(hosts, ln.Addr().String())
	}
	loc := "pageserver://" + strings.Join(hosts, ",") + "/" + s.cfg.Tenant + "/" + timeline
	if s.cfg.Layout.Stripe != 0 {
		loc += fmt.Sprintf("?stripe_size=%d", s.cfg.Layout.Stripe)
	}
	return loc
}

// Plant sets what goes wrong from now on.
func (s *Server) Plant(p Plant) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.plant, s.sent = p, 0
	if p.NoLease {
		clear(s.leases)
	}
}

// Sent is how many answers went out in the pagestream protocol since the last Plant.
func (s *Server) Sent() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent
}

// Leased is how many leases were granted, renewals included.
func (s *Server) Leased() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.leased
}

// Leases are the LSNs that were ever leased.
func (s *Server) Leases() (out []pg.LSN) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for l := range s.leases {
		out = append(out, l)
	}
	return out
}

// PerShard is how many pages each shard has served.
func (s *Server) PerShard() map[int]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[int]int)
	for n, pages := range s.perConn {
		out[n] = pages
	}
	return out
}

func (s *Server) planted() Plant {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.plant
}

// Close ends all connections and waits for them.
func (s *Server) Close() error {
	s.cancel()
	var errs []error
	for _, ln := range s.listeners {
		errs = append(errs, ln.Close())
	}
	s.mu.Lock()
	for c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
	return errors.Join(errs...)
}

func (s *Server) accept(ln net.Listener, shard int) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		if s.ctx.Err() != nil {
			s.mu.Unlock()
			_ = c.Close()
			return
		}
		s.conns[c] = true
		s.mu.Unlock()
		s.wg.Go(func() {
			defer func() {
				_ = c.Close()
				s.mu.Lock()
				delete(s.conns, c)
				s.mu.Unlock()
			}()
			newSession(s, c, shard).run()
		})
	}
}

// errUnauthorized is what a pageserver says of a token that it does not take.
var errUnauthorized = errors.New("JWT authentication error")

// claims are those of Neon's tokens (utils::auth::Claims).
type claims struct {
	Scope    string `json:"scope"`
	TenantID string `json:"tenant_id,omitempty"`
	jwt.RegisteredClaims
}

// Token makes a token of a scope ("tenant" or "pageserverapi") for a tenant.
func Token(key ed25519.PrivateKey, scope, tenant string) (string, error) {
	return jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims{Scope: scope, TenantID: tenant}).SignedString(key)
}

// allow checks a token: one of the tenant's, or one for all.
func (s *Server) allow(token string) error {
	if s.cfg.Key == nil {
		return nil
	}
	var c claims
	_, err := jwt.ParseWithClaims(token, &c, func(*jwt.Token) (any, error) { return s.cfg.Key, nil }, jwt.WithValidMethods([]string{"EdDSA"}))
	if err != nil || c.Scope != "pageserverapi" && (c.Scope != "tenant" || c.TenantID != s.cfg.Tenant) {
		return errUnauthorized
	}
	return nil
}

// lease grants a lease as a pageserver does: not of what is collected already,
// unless it is leased.
func (s *Server) lease(lsn pg.LSN) (until time.Time, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, held := s.leases[lsn]; s.plant.NoLease || !held && lsn < s.plant.Collected {
		return until, false
	}
	length := s.plant.LeaseLength
	if length == 0 {
		length = 10 * time.Minute
	}
	until = time.Now().Add(length)
	s.leases[lsn] = until
	s.leased++
	return until, true
}

// readable says why an LSN may not be read.
func (s *Server) readable(lsn pg.LSN) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if until, held := s.leases[lsn]; lsn < s.plant.Collected && !(held && time.Now().Before(until)) {
		return fmt.Errorf("Bad request: tried to request a page version that was garbage collected. requested at %s gc cutoff %s", lsn, s.plant.Collected) //nolint:staticcheck // a pageserver's words
	}
	return nil
}
