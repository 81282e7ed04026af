package coord

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"redoubt/walbackup/names"
)

// Config says how etcd is reached.
type Config struct {
	Endpoints []string
	Prefix    string // of all keys; no slash at its end
	User      string // empty: no authentication
	Password  string
	TLS       *tls.Config // nil: none
	Log       *slog.Logger
}

// Client speaks to etcd. Its methods may be called concurrently.
type Client struct {
	etcd   *clientv3.Client
	prefix string
	log    *slog.Logger
}

// callTimeout bounds one request: a member that does not answer is an error
// that is tried again, not a wait without end.
const callTimeout = 10 * time.Second

// Dial makes a client. It returns before a connection stands, except where it
// has to log in.
func Dial(ctx context.Context, cfg Config) (*Client, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	c, err := clientv3.New(clientv3.Config{
		Endpoints: cfg.Endpoints, Username: cfg.User, Password: cfg.Password, TLS: cfg.TLS,
		DialTimeout: callTimeout, DialKeepAliveTime: 5 * time.Second, DialKeepAliveTimeout: 5 * time.Second,
		DialOptions: []grpc.DialOption{grpc.WithDisableServiceConfig()},
		Logger:      zapTo(cfg.Log), Context: ctx,
	})
	if err != nil {
		return nil, fmt.Errorf("connect to etcd at %s: %w", strings.Join(cfg.Endpoints, ", "), err)
	}
	return &Client{etcd: c, prefix: cfg.Prefix, log: cfg.Log}, nil
}

// Etcd is the connection itself, for package requests.
func (c *Client) Etcd() *clientv3.Client { return c.etcd }

// Key is a key of ours.
func (c *Client) Key(parts ...string) string {
	return c.prefix + "/" + strings.Join(parts, "/")
}

// Under is the prefix of the keys below one.
func (c *Client) Under(parts ...string) string { return c.Key(parts...) + "/" }

// Close ends the connection.
func (c *Client) Close() error {
	if err := c.etcd.Close(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("close connection to etcd: %w", err)
	}
	return nil
}

// Identity is the random name of this etcd, made by whoever asks first. A
// bucket is marked with it, so that agents of two etcds don't share one.
func (c *Client) Identity(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	key := c.Key("identity")
	resp, err := c.etcd.Txn(ctx).
		If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).
		Then(clientv3.OpPut(key, rand.Text()), clientv3.OpGet(key)).
		Else(clientv3.OpGet(key)).Commit()
	if err != nil {
		return "", fmt.Errorf("read the identity of etcd: %w", err)
	}
	kvs := resp.Responses[len(resp.Responses)-1].GetResponseRange().Kvs
	if len(kvs) == 0 {
		return "", errors.New("read the identity of etcd: it was deleted just now")
	}
	return string(kvs[0].Value), nil
}

// idOf finds tenant and timeline in the part of a key behind its prefix, and
// what follows them.
func idOf(rest string) (id names.ID, tail string, ok bool) {
	p := strings.SplitN(rest, "/", 3)
	if len(p) != 3 {
		return names.ID{}, "", false
	}
	id = names.ID{Tenant: p[0], Timeline: p[1]}
	return id, p[2], id.Valid() == nil
}
