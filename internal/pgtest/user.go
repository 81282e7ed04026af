package pgtest

import (
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
)

// account is the user that servers run as.
type account struct {
	uid, gid uint32
	root     bool // we are root and have to become that user
}

// serverAccount picks the user: ourselves unless we are root, then postgres or
// another unprivileged user that has a passwd entry, which initdb wants.
var serverAccount = sync.OnceValues(func() (account, error) {
	if os.Geteuid() != 0 {
		return account{uid: uint32(os.Geteuid()), gid: uint32(os.Getegid())}, nil
	}
	for _, name := range []string{"postgres", "nobody", "daemon", "bin"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 == nil && err2 == nil && uid != 0 {
			return account{uid: uint32(uid), gid: uint32(gid), root: true}, nil
		}
	}
	return account{}, fmt.Errorf("find a user for PostgreSQL, which refuses to run as root: none of postgres, nobody, daemon, bin exists")
})

// attr makes a child run as the account, in a process group of its own, and
// end at once (SIGQUIT is PostgreSQL's immediate shutdown) when we die.
func (a account) attr() *syscall.SysProcAttr {
	s := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGQUIT}
	if a.root {
		s.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid}
	}
	return s
}

// own gives a directory tree to the account.
func (a account) own(dir string) error {
	if !a.root {
		return nil
	}
	return filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(p, int(a.uid), int(a.gid))
	})
}

// shortDir makes a private directory whose path is short enough for a unix
// socket (107 bytes) and whose parents every user may pass.
func (a account) shortDir() (string, error) {
	base := os.TempDir()
	if len(base) > 60 || !passable(base) {
		base = "/tmp"
	}
	dir, err := os.MkdirTemp(base, "rdpg")
	if err != nil {
		return "", err
	}
	return dir, a.own(dir)
}

// passable reports whether any user may traverse all parts of the path.
func passable(path string) bool {
	for p := path; ; p = filepath.Dir(p) {
		st, err := os.Stat(p)
		if err != nil || st.Mode().Perm()&0o001 == 0 {
			return false
		}
		if p == filepath.Dir(p) {
			return true
		}
	}
}
