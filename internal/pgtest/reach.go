package pgtest

import (
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
)

// reachable returns the installation, or a copy of it below the temporary
// directory where the server's user may not enter the original: a checkout
// below a private directory of root's. The copy stays for the next test.
func (a account) reachable(in Install) (Install, error) {
	if !a.root || passable(in.Bin) {
		return in, nil
	}
	h := fnv.New64a()
	st, err := os.Stat(filepath.Join(in.Bin, "postgres"))
	if err != nil {
		return in, err
	}
	_, _ = fmt.Fprint(h, in.Bin, st.ModTime().UnixNano(), st.Size())
	home := filepath.Join("/tmp", fmt.Sprintf("rdpg-server-%s-%x", in.Version, h.Sum64()))
	if _, err := os.Stat(home); err != nil {
		if err := copyInstall(filepath.Dir(in.Bin), home); err != nil {
			return in, fmt.Errorf("copy the server to where an unprivileged user can run it: %w", err)
		}
	}
	in.Bin = filepath.Join(home, "bin")
	return in, nil
}

// copyInstall copies a tree under a passing name and renames it, since tests
// of several packages may do so at once; the first one wins.
func copyInstall(from, to string) error {
	tmp, err := os.MkdirTemp(filepath.Dir(to), "rdpg-server-tmp")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	tree := filepath.Join(tmp, "pg")
	if err := copyTree(from, tree, nil); err != nil {
		return err
	}
	if err := os.Chmod(tree, 0o755); err != nil {
		return err
	}
	if err := os.Rename(tree, to); err != nil && !os.IsExist(err) {
		return err
	}
	return nil
}
