package pgtest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"redoubt/internal/pg"
)

// NearWrap stops a new cluster and starts it again a little before its
// transaction ids, multixacts and member offsets all come round: at these many
// before 2^32. It skips the proof where there is no pg_resetwal of the major.
//
// Ids that are more than 2^31 ahead of the oldest row count as past, so it goes
// there in steps, and freezes all rows at each.
func (c *Cluster) NearWrap(xids, multis, members uint32) {
	c.t.Helper()
	resetwal := Tool(c.t, c.Major, "pg_resetwal")
	for _, at := range []wrapCounters{
		{2_000_000_000, 2_000_000_000, 2_000_000_000}, {4_000_000_000, 4_000_000_000, 4_000_000_000}, {-xids, -multis, -members},
	} {
		c.Stop(Fast)
		c.check(c.setCounters(resetwal, at))
		c.Start()
		c.FreezeAll()
	}
}

// wrapCounters are the next transaction id, multixact and offset of members.
type wrapCounters struct{ xid, multi, member uint32 }

// setCounters changes pg_control and makes the SLRU segments that it names.
func (c *Cluster) setCounters(resetwal string, at wrapCounters) error {
	for _, page := range []pg.SLRUPage{
		{SLRU: pg.XactSLRU, Page: at.xid / xactsPerPage}, {SLRU: pg.MultiXactOffsetSLRU, Page: at.multi / multisPerPage},
		{SLRU: pg.MultiXactMemberSLRU, Page: at.member / membersPerPage},
	} {
		path := filepath.Join(c.Data, page.SLRU.String(), fmt.Sprintf("%04X", page.Page/pg.SLRUPagesPerSegment))
		if err := os.WriteFile(path, make([]byte, pg.SLRUPagesPerSegment*pg.BlockSize), 0o600); err != nil {
			return err
		}
		if err := c.acct.own(path); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), toolTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, resetwal, "-D", c.Data, "-x", fmt.Sprint(at.xid), "-m", fmt.Sprintf("%d,%d", at.multi, at.multi), "-O", fmt.Sprint(at.member))
	cmd.SysProcAttr, cmd.Dir, cmd.Env = c.acct.attr(), c.dir, []string{"LC_ALL=C"}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("run pg_resetwal: %w\n%s", err, out)
	}
	return nil
}

// What a page of each SLRU holds. Members come in groups of four: a word of
// flags and four ids (multixact.c).
const (
	xactsPerPage   = pg.BlockSize * 4
	multisPerPage  = pg.BlockSize / 4
	membersPerPage = pg.BlockSize / 20 * 4
)
