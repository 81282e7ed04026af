package pageserver

import (
	"fmt"
	"math"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"redoubt/internal/official/pageserver/wire"
)

// Scheme is that of locations of pageservers.
const Scheme = "pageserver"

// TokenVariable is the environment variable that may hold the token.
const TokenVariable = "REDOUBT_PAGESERVER_TOKEN"

// maxShards is the most that a shard's number, one byte, can count.
const maxShards = math.MaxUint8

// Target is a timeline and the pageservers that have its shards.
type Target struct {
	Shards           []string // host:port of each, by shard number; one: not sharded
	Tenant, Timeline string   // 32 hexadecimal digits each
	Layout           wire.Layout
	Options          Options
}

// Options say how a pageserver is read. The zero value of a field means its default.
type Options struct {
	Token          string // JWT, sent as the password; empty where the pageserver asks for none
	SSLMode        string // as libpq's sslmode; default prefer
	RootCert       string // file of the certificates that SSLMode verifies against
	Depth          int    // requests under way on a connection; default 32
	PagesPerSecond int    // of all connections, other requests included; default 10,000, negative for no limit
	Timeout        time.Duration
	Attempts       int           // connections tried in a row before giving up; default 6
	Pause          time.Duration // before the second attempt, doubled each time; default 200 ms
}

func (o Options) withDefaults() Options {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&o.Depth, 32)
	def(&o.PagesPerSecond, 10_000)
	def(&o.Attempts, 6)
	if o.SSLMode == "" {
		o.SSLMode = "prefer"
	}
	if o.Timeout <= 0 {
		o.Timeout = time.Minute // as long as a pageserver itself waits for WAL
	}
	if o.Pause <= 0 {
		o.Pause = 200 * time.Millisecond
	}
	return o
}

// Parse reads a location:
//
//	pageserver://HOST:PORT[,HOST:PORT…]/TENANT/TIMELINE[?stripe_size=…&token_file=…&sslmode=…&sslrootcert=…&depth=…&pages_per_second=…&timeout=…]
//
// Hosts are those of the tenant's shards, in the order of their numbers.
func Parse(location string) (Target, error) {
	rest, ok := strings.CutPrefix(location, Scheme+"://")
	if !ok {
		return Target{}, fmt.Errorf("a location of pages that begins with %s:// is wanted", Scheme)
	}
	rest, query, _ := strings.Cut(rest, "?")
	parts := strings.Split(strings.TrimSuffix(rest, "/"), "/")
	if len(parts) != 3 {
		return Target{}, fmt.Errorf("a pageserver's location is %s://HOST:PORT/TENANT/TIMELINE", Scheme)
	}
	t := Target{Shards: strings.Split(parts[0], ","), Tenant: strings.ToLower(parts[1]), Timeline: strings.ToLower(parts[2])}
	if err := t.check(); err != nil {
		return t, err
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return t, fmt.Errorf("read the parameters of the pageserver's location: %w", err)
	}
	for name, all := range values {
		if err := t.set(name, all[len(all)-1]); err != nil {
			return t, err
		}
	}
	if t.Options.Token == "" {
		t.Options.Token = os.Getenv(TokenVariable)
	}
	return t, nil
}

func (t *Target) check() error {
	if len(t.Shards) > maxShards {
		return fmt.Errorf("%d shards: a tenant has at most %d", len(t.Shards), maxShards)
	}
	for _, s := range t.Shards {
		if host, port, err := net.SplitHostPort(s); err != nil || host == "" || port == "" {
			return fmt.Errorf("pageserver %q: want HOST:PORT, its libpq port (6400, or 64000)", s)
		}
	}
	for _, id := range [][2]string{{"tenant", t.Tenant}, {"timeline", t.Timeline}} {
		if len(id[1]) != 32 || strings.Trim(id[1], "0123456789abcdef") != "" {
			return fmt.Errorf("%s %q: want 32 hexadecimal digits", id[0], id[1])
		}
	}
	if len(t.Shards) > 1 {
		t.Layout.Shards = uint8(len(t.Shards))
	}
	return nil
}

// set takes one parameter of a location.
func (t *Target) set(name, value string) (err error) {
	number := func(limit uint64) (n uint64) {
		if n, err = strconv.ParseUint(value, 10, 32); err == nil && (n == 0 || n > limit) {
			err = fmt.Errorf("want 1 to %d", limit)
		}
		return n
	}
	o := &t.Options
	switch name {
	case "stripe_size":
		t.Layout.Stripe = uint32(number(math.MaxUint32))
	case "depth":
		o.Depth = int(number(1024))
	case "pages_per_second":
		o.PagesPerSecond = int(number(math.MaxInt32))
	case "timeout":
		if o.Timeout, err = time.ParseDuration(value); err == nil && o.Timeout <= 0 {
			err = fmt.Errorf("want more than 0s")
		}
	case "sslmode":
		o.SSLMode = value
	case "sslrootcert":
		o.RootCert = value
	case "token_file":
		var b []byte
		if b, err = os.ReadFile(value); err == nil {
			o.Token = strings.TrimSpace(string(b))
		}
	default:
		return fmt.Errorf("a pageserver's location has no parameter %s", name)
	}
	if err != nil {
		return fmt.Errorf("%s=%s of the pageserver's location: %w", name, value, err)
	}
	return nil
}

// String names the timeline in messages; no secret is in it.
func (t *Target) String() string {
	return Scheme + "://" + strings.Join(t.Shards, ",") + "/" + t.Tenant + "/" + t.Timeline
}

// shardID is the tenant's name on shard n, as leases are asked for
// (TenantShardId): with number and count where there are several.
func (t *Target) shardID(n int) string {
	if len(t.Shards) < 2 {
		return t.Tenant
	}
	return fmt.Sprintf("%s-%02x%02x", t.Tenant, n, len(t.Shards))
}
