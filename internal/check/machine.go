package check

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/dustin/go-humanize"
	"golang.org/x/sys/unix"

	"redoubt/internal/config"
)

// Memory compares `memory` with what this process may have.
func Memory(c *config.Config) Item {
	const area, key = "memory", "memory"
	limit, of, err := memoryLimit()
	if err != nil {
		return warning(area, key, fmt.Sprintf("how much memory there is could not be found out: %v", err), "compare it with `memory` yourself")
	}
	detail := fmt.Sprintf("%v for pages, of %s that %s has", c.Memory, humanize.IBytes(limit), of)
	// Hashes of untouched blocks, read-ahead and Go's own heap come on top.
	if uint64(c.Memory) > limit/4*3 {
		return warning(area, key, detail, "set memory to three quarters of it at most: read-ahead and 8 bytes per block of the base come on top")
	}
	return ok(area, key, "%s", detail)
}

// memoryLimit is the machine's memory, or its control group's if that is less.
func memoryLimit() (bytes uint64, of string, err error) {
	var si unix.Sysinfo_t
	if err := unix.Sysinfo(&si); err != nil {
		return 0, "", err
	}
	bytes, of = si.Totalram*uint64(si.Unit), "the machine"
	if group, found := cgroupLimit("/proc/self/cgroup", "/sys/fs/cgroup"); found && group < bytes {
		return group, "the control group", nil
	}
	return bytes, of, nil
}

// cgroupLimit is the least memory.max from the process's control group (v2)
// up to the root.
func cgroupLimit(own, root string) (least uint64, found bool) {
	b, err := os.ReadFile(own)
	if err != nil {
		return 0, false
	}
	line, _, _ := strings.Cut(string(b), "\n")
	group, unified := strings.CutPrefix(line, "0::")
	if !unified {
		return 0, false
	}
	for at := path.Join("/", group); ; at = path.Dir(at) {
		text, err := os.ReadFile(path.Join(root, at, "memory.max"))
		if n, perr := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64); err == nil && perr == nil && (!found || n < least) {
			least, found = n, true
		}
		if at == "/" {
			return least, found
		}
	}
}

// Listen tries the address of `redoubt serve`.
func Listen(ctx context.Context, address string) Item {
	const area, key = "address", "http.listen"
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return warning(area, key, address+" is in use", "nothing, if `redoubt serve` runs there already; otherwise set http.listen to a free address")
	case errors.Is(err, syscall.EACCES):
		return failed(area, key, err, "set http.listen to a port of 1024 or above, or allow the user to bind this one")
	case err != nil:
		return failed(area, key, err, "set http.listen to an address that this machine has, such as 127.0.0.1:8480")
	}
	if err := l.Close(); err != nil {
		return failed(area, key, err, "try again")
	}
	return ok(area, key, "%s is free", address)
}

// Pushgateway tries to reach the one that `redoubt run` sends its metrics to.
func Pushgateway(ctx context.Context, address string) Item {
	const area, key = "metrics", "metrics.pushgateway"
	u, err := url.Parse(address)
	if err != nil {
		return failed(area, key, errors.New("it is no URL"), "write http://host:9091")
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	d := net.Dialer{Timeout: 10 * time.Second}
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return failed(area, key, fmt.Errorf("it does not answer: %w", err), "start it, or mend metrics.pushgateway: an address such as http://host:9091")
	}
	_ = conn.Close() // nothing was sent
	return ok(area, key, "%s answers", net.JoinHostPort(u.Hostname(), port))
}
