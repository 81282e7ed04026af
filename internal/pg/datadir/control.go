package datadir

import (
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"math/bits"

	"redoubt/internal/pg"
)

// castagnoli is the polynomial of all of PostgreSQL's CRCs (port/pg_crc32c.h).
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Values of pg_control_version (PG_CONTROL_VERSION, catalog/pg_control.h).
const (
	controlVersion14 = 1300 // 14, 15 and 16
	controlVersion17 = 1700
	controlVersion18 = 1800
)

// DBState is what pg_control says the cluster was doing (catalog/pg_control.h).
type DBState uint32

// The states.
const (
	Startup DBState = iota
	ShutDown
	ShutDownInRecovery
	ShuttingDown
	InCrashRecovery
	InArchiveRecovery
	InProduction
)

var stateNames = [...]string{
	"starting up", "shut down", "shut down in recovery", "shutting down",
	"in crash recovery", "in archive recovery", "in production",
}

// String is the state as pg_controldata prints it.
func (s DBState) String() string {
	if int64(s) < int64(len(stateNames)) {
		return stateNames[s]
	}
	return "unrecognized status code"
}

// CheckPoint is the body of a checkpoint record (CheckPoint, catalog/pg_control.h).
type CheckPoint struct {
	Redo              pg.LSN
	TLI               pg.TLI // ThisTimeLineID
	PrevTLI           pg.TLI
	FullPageWrites    bool
	WALLevel          int32  // 17 and later, else 0
	NextXID           uint64 // epoch and xid
	NextOID           pg.OID
	NextMulti         pg.MultiXactID
	NextMultiOffset   uint32
	OldestXID         pg.XID
	OldestXIDDB       pg.OID
	OldestMulti       pg.MultiXactID
	OldestMultiDB     pg.OID
	Time              int64 // seconds since 1970
	OldestCommitTsXID pg.XID
	NewestCommitTsXID pg.XID
	OldestActiveXID   pg.XID
}

// Control is the content of global/pg_control (ControlFileData,
// catalog/pg_control.h). Sizes are bytes unless named otherwise.
type Control struct {
	SystemIdentifier uint64
	Version          uint32 // pg_control_version
	CatalogVersion   uint32
	State            DBState
	Time             int64  // of the last update, seconds since 1970
	CheckPointLSN    pg.LSN // where the last checkpoint record starts
	CheckPoint       CheckPoint
	UnloggedLSN      pg.LSN

	MinRecoveryPoint    pg.LSN
	MinRecoveryPointTLI pg.TLI
	BackupStartPoint    pg.LSN
	BackupEndPoint      pg.LSN
	BackupEndRequired   bool

	WALLevel             int32
	WALLogHints          bool
	MaxConnections       int32
	MaxWorkerProcesses   int32
	MaxWALSenders        int32
	MaxPreparedXacts     int32
	MaxLocksPerXact      int32
	TrackCommitTimestamp bool

	MaxAlign          uint32
	FloatFormat       float64
	BlockSize         uint32
	BlocksPerFile     uint32 // relseg_size
	WALBlockSize      uint32
	SegmentSize       uint32 // of WAL
	NameDataLen       uint32
	IndexMaxKeys      uint32
	ToastMaxChunkSize uint32
	LargeObjectChunk  uint32
	Float8ByVal       bool

	DataChecksumVersion   uint32 // 0: data checksums are off
	DefaultCharSignedness bool   // 18 and later
}

// catalogVersions are the catalog versions of the releases (catalog/catversion.h);
// within a major version they never change once it is out.
var catalogVersions = map[uint32]int{
	202107181: 14, 202209061: 15, 202307071: 16, 202406281: 17, 202506291: 18,
}

// Major is the major version that the catalog version belongs to, 0 for one
// that is none of PostgreSQL's releases.
func (c *Control) Major() int { return catalogVersions[c.CatalogVersion] }

// Checksums reports whether data checksums are on.
func (c *Control) Checksums() bool { return c.DataChecksumVersion != 0 }

// ParseControl decodes pg_control of 14 to 18. The CRC is checked, and that
// the cluster was built with the sizes that Redoubt reads; an error says what
// does not fit. data may be longer than the struct: the file is 8 KiB.
func ParseControl(data []byte) (Control, error) {
	if len(data) < 16 {
		return Control{}, fmt.Errorf("read pg_control: it has %d bytes, which is too short; restore it from another backup", len(data))
	}
	c := cursor{data: data}
	ctl := Control{SystemIdentifier: c.u64(), Version: c.u32(), CatalogVersion: c.u32()}
	if err := checkControlVersion(ctl.Version); err != nil {
		return Control{}, err
	}
	ctl.decodeState(&c)
	ctl.decodeSettings(&c)
	ctl.decodeBuild(&c)
	end := c.pos
	sum := c.u32()
	if c.short {
		return Control{}, fmt.Errorf("read pg_control: it has %d bytes and is cut; restore it from another backup", len(data))
	}
	if got := crc32.Checksum(data[:end], castagnoli); got != sum {
		return Control{}, fmt.Errorf("read pg_control: its CRC is %08X and its content's is %08X: it is damaged; use another backup", sum, got)
	}
	return ctl, ctl.checkBuild()
}

func checkControlVersion(v uint32) error {
	switch v {
	case controlVersion14, controlVersion17, controlVersion18:
		return nil
	}
	if r := bits.ReverseBytes32(v); r > 0 && r < 65536 && v >= 65536 {
		return errors.New("read pg_control: it was written on a big-endian machine; only little-endian clusters can be read")
	}
	return fmt.Errorf("read pg_control: its format is %d; known are those of PostgreSQL %d to %d (%d, %d, %d): it is damaged, or of another version",
		v, pg.MinMajor, pg.MaxMajor, controlVersion14, controlVersion17, controlVersion18)
}

func (ctl *Control) decodeState(c *cursor) {
	ctl.State = DBState(c.u32())
	ctl.Time = int64(c.u64())
	ctl.CheckPointLSN = pg.LSN(c.u64())
	ctl.CheckPoint = decodeCheckPoint(c, ctl.Version)
	ctl.UnloggedLSN = pg.LSN(c.u64())
	ctl.MinRecoveryPoint = pg.LSN(c.u64())
	ctl.MinRecoveryPointTLI = pg.TLI(c.u32())
	ctl.BackupStartPoint = pg.LSN(c.u64())
	ctl.BackupEndPoint = pg.LSN(c.u64())
	ctl.BackupEndRequired = c.bool()
}

func decodeCheckPoint(c *cursor, version uint32) (p CheckPoint) {
	p.Redo = pg.LSN(c.u64())
	p.TLI = pg.TLI(c.u32())
	p.PrevTLI = pg.TLI(c.u32())
	p.FullPageWrites = c.bool()
	if version >= controlVersion17 {
		p.WALLevel = int32(c.u32())
	}
	p.NextXID = c.u64()
	p.NextOID = pg.OID(c.u32())
	p.NextMulti = pg.MultiXactID(c.u32())
	p.NextMultiOffset = c.u32()
	p.OldestXID = pg.XID(c.u32())
	p.OldestXIDDB = pg.OID(c.u32())
	p.OldestMulti = pg.MultiXactID(c.u32())
	p.OldestMultiDB = pg.OID(c.u32())
	p.Time = int64(c.u64())
	p.OldestCommitTsXID = pg.XID(c.u32())
	p.NewestCommitTsXID = pg.XID(c.u32())
	p.OldestActiveXID = pg.XID(c.u32())
	c.align(8)
	return p
}

func (ctl *Control) decodeSettings(c *cursor) {
	ctl.WALLevel = int32(c.u32())
	ctl.WALLogHints = c.bool()
	ctl.MaxConnections = int32(c.u32())
	ctl.MaxWorkerProcesses = int32(c.u32())
	ctl.MaxWALSenders = int32(c.u32())
	ctl.MaxPreparedXacts = int32(c.u32())
	ctl.MaxLocksPerXact = int32(c.u32())
	ctl.TrackCommitTimestamp = c.bool()
}

func (ctl *Control) decodeBuild(c *cursor) {
	ctl.MaxAlign = c.u32()
	ctl.FloatFormat = math.Float64frombits(c.u64())
	ctl.BlockSize = c.u32()
	ctl.BlocksPerFile = c.u32()
	ctl.WALBlockSize = c.u32()
	ctl.SegmentSize = c.u32()
	ctl.NameDataLen = c.u32()
	ctl.IndexMaxKeys = c.u32()
	ctl.ToastMaxChunkSize = c.u32()
	ctl.LargeObjectChunk = c.u32()
	ctl.Float8ByVal = c.bool()
	ctl.DataChecksumVersion = c.u32()
	if ctl.Version >= controlVersion18 {
		ctl.DefaultCharSignedness = c.bool()
	}
	var nonce [32]byte // mock_authentication_nonce
	c.bytes(nonce[:])
	c.align(4)
}

// floatFormat is FLOATFORMAT_VALUE: another value means another float format.
const floatFormat = 1234567.0

func (ctl *Control) checkBuild() error {
	const cure = "Redoubt reads clusters built with PostgreSQL's default sizes only"
	switch {
	case ctl.BlockSize != pg.BlockSize:
		return fmt.Errorf("read pg_control: the cluster has blocks of %d bytes, not %d (configure --with-blocksize); %s", ctl.BlockSize, pg.BlockSize, cure)
	case ctl.BlocksPerFile != pg.BlocksPerFile:
		return fmt.Errorf("read pg_control: the cluster's relation files hold %d blocks, not %d (configure --with-segsize); %s", ctl.BlocksPerFile, pg.BlocksPerFile, cure)
	case ctl.WALBlockSize != pg.BlockSize:
		return fmt.Errorf("read pg_control: the cluster has WAL blocks of %d bytes, not %d (configure --with-wal-blocksize); %s", ctl.WALBlockSize, pg.BlockSize, cure)
	case !pg.ValidSegmentSize(int64(ctl.SegmentSize)):
		return fmt.Errorf("read pg_control: WAL segments of %d bytes: not a power of two between 1 MiB and 1 GiB", ctl.SegmentSize)
	case ctl.MaxAlign != 8:
		return fmt.Errorf("read pg_control: the cluster aligns to %d bytes, not 8: it comes from a 32-bit machine; only 64-bit clusters can be read", ctl.MaxAlign)
	case ctl.FloatFormat != floatFormat:
		return errors.New("read pg_control: the cluster's float format is not IEEE 754; only such clusters can be read")
	}
	return nil
}
