package datadir

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// EncodeControl writes a cluster's state and settings into its pg_control:
// everything that ParseControl reads from the state to track_commit_timestamp,
// and the CRC. How the cluster was built, its identity and what Redoubt knows
// nothing of stay as they are in data, which is the content of the file before.
//
// Source: struct ControlFileData, catalog/pg_control.h; the CRC is made by
// update_controlfile, common/controldata_utils.c.
func EncodeControl(data []byte, ctl Control) ([]byte, error) {
	old, err := ParseControl(data)
	switch {
	case err != nil:
		return nil, err
	case old.Version != ctl.Version || old.CatalogVersion != ctl.CatalogVersion || old.SystemIdentifier != ctl.SystemIdentifier:
		return nil, fmt.Errorf("write pg_control: it is of cluster %d (catalog version %d), its new content of %d (%d)",
			old.SystemIdentifier, old.CatalogVersion, ctl.SystemIdentifier, ctl.CatalogVersion)
	}
	out := append([]byte(nil), data...)
	w := put{data: out}
	w.skip(16) // identity and versions
	w.state(&ctl)
	w.settings(&ctl)
	end := cursor{data: out, pos: w.pos}
	old.decodeBuild(&end)
	binary.LittleEndian.PutUint32(out[end.pos:], crc32.Checksum(out[:end.pos], castagnoli))
	return out, nil
}

// put writes the fields of a C struct as cursor reads them. That they fit,
// ParseControl has seen.
type put struct {
	data []byte
	pos  int
}

func (p *put) skip(n int)  { p.pos += n }
func (p *put) align(n int) { p.pos = (p.pos + n - 1) / n * n }

func (p *put) bool(v bool) {
	p.data[p.pos] = 0
	if v {
		p.data[p.pos] = 1
	}
	p.pos++
}

func (p *put) u32(v uint32) {
	p.align(4)
	binary.LittleEndian.PutUint32(p.data[p.pos:], v)
	p.pos += 4
}

func (p *put) u64(v uint64) {
	p.align(8)
	binary.LittleEndian.PutUint64(p.data[p.pos:], v)
	p.pos += 8
}

func (p *put) state(c *Control) {
	p.u32(uint32(c.State))
	p.u64(uint64(c.Time))
	p.u64(uint64(c.CheckPointLSN))
	p.checkPoint(&c.CheckPoint, c.Version)
	p.u64(uint64(c.UnloggedLSN))
	p.u64(uint64(c.MinRecoveryPoint))
	p.u32(uint32(c.MinRecoveryPointTLI))
	p.u64(uint64(c.BackupStartPoint))
	p.u64(uint64(c.BackupEndPoint))
	p.bool(c.BackupEndRequired)
}

func (p *put) checkPoint(c *CheckPoint, version uint32) {
	p.u64(uint64(c.Redo))
	p.u32(uint32(c.TLI))
	p.u32(uint32(c.PrevTLI))
	p.bool(c.FullPageWrites)
	if version >= controlVersion17 {
		p.u32(uint32(c.WALLevel))
	}
	p.u64(c.NextXID)
	p.u32(uint32(c.NextOID))
	p.u32(uint32(c.NextMulti))
	p.u32(c.NextMultiOffset)
	p.u32(uint32(c.OldestXID))
	p.u32(uint32(c.OldestXIDDB))
	p.u32(uint32(c.OldestMulti))
	p.u32(uint32(c.OldestMultiDB))
	p.u64(uint64(c.Time))
	p.u32(uint32(c.OldestCommitTsXID))
	p.u32(uint32(c.NewestCommitTsXID))
	p.u32(uint32(c.OldestActiveXID))
	p.align(8)
}

func (p *put) settings(c *Control) {
	p.u32(uint32(c.WALLevel))
	p.bool(c.WALLogHints)
	p.u32(uint32(c.MaxConnections))
	p.u32(uint32(c.MaxWorkerProcesses))
	p.u32(uint32(c.MaxWALSenders))
	p.u32(uint32(c.MaxPreparedXacts))
	p.u32(uint32(c.MaxLocksPerXact))
	p.bool(c.TrackCommitTimestamp)
}
