package main

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.etcd.io/etcd/server/v3/embed"
)

// etcdMember is a member of an etcd cluster as a process: its arguments are
// name, directory, URL for clients, URL for members, and the cluster.
func etcdMember() {
	cfg := embed.NewConfig()
	cfg.Name, cfg.Dir = os.Args[1], os.Args[2]
	at := func(s string) []url.URL {
		u, err := url.Parse(s)
		if err != nil {
			panic(err)
		}
		return []url.URL{*u}
	}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = at(os.Args[3]), at(os.Args[3])
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = at(os.Args[4]), at(os.Args[4])
	cfg.InitialCluster, cfg.InitialClusterToken = os.Args[5], "soak"
	cfg.LogLevel = "error"
	cfg.UnsafeNoFsync = true // only processes are killed here
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Fprintln(os.Stderr, <-e.Err())
	os.Exit(1)
}

// soakEtcd is a cluster of three.
type soakEtcd struct {
	t       *testing.T
	args    [][]string
	members []*exec.Cmd
	clients []string
}

func newSoakEtcd(t *testing.T) *soakEtcd {
	t.Helper()
	e := &soakEtcd{t: t, members: make([]*exec.Cmd, 3)}
	dir := t.TempDir()
	var cluster []string
	for i := range 3 {
		name := fmt.Sprint("m", i)
		client, peer := "http://"+freePort(t), "http://"+freePort(t)
		e.clients = append(e.clients, client)
		cluster = append(cluster, name+"="+peer)
		e.args = append(e.args, []string{name, filepath.Join(dir, name), client, peer})
	}
	for i := range 3 {
		e.args[i] = append(e.args[i], strings.Join(cluster, ","))
		e.start(i)
	}
	t.Cleanup(func() {
		for i := range 3 {
			e.kill(i)
		}
	})
	return e
}

func (e *soakEtcd) start(i int) {
	c := command(e.t, e.args[i]...)
	c.Args[0] = "etcd-member"
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	must(e.t, c.Start())
	e.members[i] = c
}

func (e *soakEtcd) kill(i int) {
	if c := e.members[i]; c != nil {
		_ = c.Process.Kill()
		_ = c.Wait() // it was killed
		e.members[i] = nil
	}
}

func freePort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}
