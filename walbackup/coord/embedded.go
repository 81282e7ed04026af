package coord

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
)

// Embedded is an etcd of one member within this process. It listens on a Unix
// socket in its own directory only, which nobody else may enter.
type Embedded struct{ server *embed.Etcd }

// maxSocket is the longest path of a Unix socket (sun_path, with its NUL).
const maxSocket = 107

// EmbeddedEndpoint is where clients on this machine find the etcd that Embed
// started in dir, as long as it runs.
func EmbeddedEndpoint(dir string) string { return "unix://" + clientSocket(dir) }

func clientSocket(dir string) string { return filepath.Join(dir, "client.sock") }

// Embed starts etcd in dir, which is made. The caller holds a lock on dir.
func Embed(ctx context.Context, dir string, log *slog.Logger) (*Embedded, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("start etcd: %w", err)
	}
	client, peer := clientSocket(dir), filepath.Join(dir, "peer.sock")
	if len(client) > maxSocket {
		return nil, fmt.Errorf("start etcd in %s: the path is too long for a socket in it: choose a data_dir of at most %d bytes", dir, maxSocket-len("/etcd/client.sock"))
	}
	for _, s := range []string{client, peer} { // left by a kill
		if err := os.Remove(s); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("start etcd: %w", err)
		}
	}
	if err := room(dir); err != nil {
		return nil, fmt.Errorf("start etcd in %s: %w", dir, err)
	}
	cfg := embed.NewConfig()
	cfg.Name = "redoubt"
	cfg.Dir = filepath.Join(dir, "member")
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = unix(client), unix(client)
	// etcd listens for other members, of which there are none, at the host part
	// of the URL; without one, at an abstract socket that anybody may connect to.
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{{Scheme: "unix", Host: peer}}, unix(peer)
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.InitialClusterToken = rand.Text() // counts at the first start only
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zapTo(log))
	cfg.AutoCompactionMode, cfg.AutoCompactionRetention = "periodic", "1h"
	e, err := startEtcd(cfg)
	if err != nil {
		return nil, fmt.Errorf("start etcd in %s: %w", dir, err)
	}
	select {
	case <-e.Server.ReadyNotify():
		return &Embedded{e}, nil
	case err = <-e.Err():
	case <-ctx.Done():
		err = ctx.Err()
	case <-time.After(time.Minute):
		err = errors.New("it is not ready after a minute")
	}
	e.Close()
	return nil, fmt.Errorf("start etcd in %s: %w", dir, err)
}

// startEtcd starts etcd, which panics over files that it can't make or read.
func startEtcd(cfg *embed.Config) (e *embed.Etcd, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("it gave up: %v", r)
		}
	}()
	return embed.StartEtcd(cfg)
}

// leastRoom is what etcd needs to begin: it allocates 64 MB for its log at
// once and 64 MB for the log's next file right after, and ends where its data
// and snapshots find no room beside them.
const leastRoom = 160 << 20

// room makes sure that etcd's first start finds enough of it.
func room(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, "member")); err == nil {
		return nil
	}
	var disk syscall.Statfs_t
	if err := syscall.Statfs(dir, &disk); err != nil {
		return err
	}
	if free := disk.Bavail * uint64(disk.Bsize); free < leastRoom {
		return fmt.Errorf("its disk has %d MiB free, it needs %d", free>>20, leastRoom>>20)
	}
	return nil
}

func unix(path string) []url.URL { return []url.URL{{Scheme: "unix", Path: path}} }

// Err tells when etcd ended by itself.
func (e *Embedded) Err() <-chan error { return e.server.Err() }

// Close ends etcd.
func (e *Embedded) Close() { e.server.Close() }
