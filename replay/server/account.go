package server

import (
	"errors"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// account is the user that servers run as.
type account struct {
	name     string
	uid, gid uint32
	become   bool // we are root and have to become that user
}

// findAccount picks the user: ourselves, unless we are root.
func findAccount(name string) (account, error) {
	if os.Geteuid() != 0 {
		if name != "" {
			if u, err := user.Lookup(name); err != nil || u.Uid != strconv.Itoa(os.Geteuid()) {
				return account{}, unavailable("run the server as user %s: only root can become another user; leave the user out", name)
			}
		}
		return account{name: "this user", uid: uint32(os.Geteuid()), gid: uint32(os.Getegid())}, nil
	}
	if name == "" {
		name = "postgres"
	}
	const cure = "make one (useradd --system postgres), name another unprivileged one (configuration key server.user), or do not run Redoubt as root"
	u, err := user.Lookup(name)
	if err != nil {
		return account{}, unavailable("PostgreSQL refuses to run as root, and there is no user %s: %s", name, cure)
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err1 != nil || err2 != nil || uid == 0 {
		return account{}, unavailable("PostgreSQL refuses to run as root, and user %s is root, too: %s", name, cure)
	}
	return account{name: name, uid: uint32(uid), gid: uint32(gid), become: true}, nil
}

// attr makes a child run as the account, in a process group of its own, and
// end when we die: SIGQUIT is PostgreSQL's immediate shutdown, upon which the
// postmaster ends its children.
func (a account) attr() *syscall.SysProcAttr {
	s := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGQUIT}
	if a.become {
		s.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid, Groups: []uint32{}}
	}
	return s
}

// mayEnter says whether the account gets to a directory, and the cure if not.
// It looks at permissions only where we are root and could not notice otherwise.
func (a account) mayEnter(dir string) error {
	if !a.become {
		return nil
	}
	for p := dir; ; p = filepath.Dir(p) {
		st, err := os.Stat(p)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // what is not there yet is made so that it can be entered
			return err
		}
		if err == nil && !a.passes(st) {
			return unavailable("user %s, who runs the server, may not enter %s: chmod o+x %s, or name another directory", a.name, p, p)
		}
		if p == filepath.Dir(p) {
			return nil
		}
	}
}

// passes says whether the account may search a directory.
func (a account) passes(st os.FileInfo) bool {
	mode := st.Mode().Perm()
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		switch {
		case sys.Uid == a.uid:
			return mode&0o100 != 0
		case sys.Gid == a.gid:
			return mode&0o010 != 0
		}
	}
	return mode&0o001 != 0
}
