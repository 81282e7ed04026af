package pg

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// BlockSize is the size of a page in bytes (BLCKSZ). Clusters built with
// another size are refused where pg_control is read.
const BlockSize = 8192

// BlocksPerFile is the number of blocks in one file of a relation fork
// (RELSEG_SIZE: 1 GiB files).
const BlocksPerFile = 131072

// InvalidBlock is InvalidBlockNumber; the last legal block is one less.
const InvalidBlock BlockNumber = 0xFFFFFFFF

// Oldest and newest major versions that the decoders know.
const (
	MinMajor = 14
	MaxMajor = 18
)

// Well-known OIDs (catalog/pg_tablespace.dat).
const (
	DefaultTablespaceOID OID = 1663 // pg_default: base/
	GlobalTablespaceOID  OID = 1664 // pg_global: global/
)

type (
	// OID is PostgreSQL's object identifier.
	OID uint32
	// XID is a 32-bit transaction identifier (TransactionId).
	XID uint32
	// MultiXactID names a set of row lockers (MultiXactId).
	MultiXactID uint32
	// TLI is PostgreSQL's own timeline number (TimeLineID).
	TLI uint32
	// BlockNumber counts pages within a relation fork (storage/block.h).
	BlockNumber uint32
)

// ForkNumber is one of the forks of a relation (common/relpath.h).
type ForkNumber uint8

// The forks.
const (
	MainFork ForkNumber = 0
	FSMFork  ForkNumber = 1
	VMFork   ForkNumber = 2
	InitFork ForkNumber = 3
)

var forkNames = [...]string{"main", "fsm", "vm", "init"}

// MaxFork is the highest legal fork number.
const MaxFork = InitFork

// String is the fork's name in file names and pg_relation_size: main, fsm, vm, init.
func (f ForkNumber) String() string {
	if int(f) < len(forkNames) {
		return forkNames[f]
	}
	return "fork" + strconv.Itoa(int(f))
}

// ParseFork is the inverse of String for the four legal forks.
func ParseFork(s string) (ForkNumber, error) {
	for i, n := range forkNames {
		if n == s {
			return ForkNumber(i), nil
		}
	}
	return 0, fmt.Errorf("parse fork %q: want one of main, fsm, vm, init", s)
}

// MarshalText makes forks strings in JSON.
func (f ForkNumber) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText is ParseFork.
func (f *ForkNumber) UnmarshalText(b []byte) error {
	v, err := ParseFork(string(b))
	if err != nil {
		return err
	}
	*f = v
	return nil
}

// RelFileLocator names a relation's storage: tablespace, database and
// relfilenode (RelFileNode before 16, storage/relfilelocator.h).
type RelFileLocator struct {
	Spc OID // tablespace
	DB  OID // database, 0 for shared relations
	Rel OID // relfilenode
}

// String is the form of pg_waldump: 1663/5/16384.
func (r RelFileLocator) String() string { return fmt.Sprintf("%d/%d/%d", r.Spc, r.DB, r.Rel) }

// ParseRelFileLocator reads "1663/5/16384".
func ParseRelFileLocator(s string) (RelFileLocator, error) {
	parts := strings.Split(s, "/")
	var v [3]OID
	if len(parts) == 3 {
		for i, p := range parts {
			n, err := strconv.ParseUint(p, 10, 32)
			if err != nil {
				return RelFileLocator{}, fmt.Errorf("parse relation %q: want TABLESPACE/DATABASE/RELFILENODE as numbers, such as 1663/5/16384", s)
			}
			v[i] = OID(n)
		}
		return RelFileLocator{v[0], v[1], v[2]}, nil
	}
	return RelFileLocator{}, fmt.Errorf("parse relation %q: want TABLESPACE/DATABASE/RELFILENODE as numbers, such as 1663/5/16384", s)
}

// Compare orders locators by tablespace, database, relfilenode.
func (r RelFileLocator) Compare(o RelFileLocator) int {
	return cmp.Or(cmp.Compare(r.Spc, o.Spc), cmp.Compare(r.DB, o.DB), cmp.Compare(r.Rel, o.Rel))
}

// RelFork is one fork of a relation.
type RelFork struct {
	RelFileLocator
	Fork ForkNumber
}

// String is the locator, with the fork's name behind it unless it is main.
func (r RelFork) String() string {
	if r.Fork == MainFork {
		return r.RelFileLocator.String()
	}
	return r.RelFileLocator.String() + "_" + r.Fork.String()
}

// Compare orders by locator, then fork.
func (r RelFork) Compare(o RelFork) int {
	return cmp.Or(r.RelFileLocator.Compare(o.RelFileLocator), cmp.Compare(r.Fork, o.Fork))
}

// Block is one page of a cluster.
type Block struct {
	RelFork
	Number BlockNumber
}

// String is "1663/5/16384_vm block 7".
func (b Block) String() string { return fmt.Sprintf("%s block %d", b.RelFork, b.Number) }

// Compare orders by relation, fork and block number.
func (b Block) Compare(o Block) int {
	return cmp.Or(b.RelFork.Compare(o.RelFork), cmp.Compare(b.Number, o.Number))
}

// SLRU is one of the paged logs below the data directory (access/slru.c).
type SLRU uint8

// The SLRUs whose contents are durable and compared.
const (
	XactSLRU            SLRU = iota // pg_xact
	MultiXactOffsetSLRU             // pg_multixact/offsets
	MultiXactMemberSLRU             // pg_multixact/members
	CommitTsSLRU                    // pg_commit_ts
)

// NumSLRUs is the number of SLRUs above.
const NumSLRUs = 4

// SLRUPagesPerSegment is the number of pages in one SLRU file.
const SLRUPagesPerSegment = 32

var slruDirs = [NumSLRUs]string{"pg_xact", "pg_multixact/offsets", "pg_multixact/members", "pg_commit_ts"}

// String is the SLRU's directory relative to the data directory.
func (s SLRU) String() string {
	if int(s) < len(slruDirs) {
		return slruDirs[s]
	}
	return "slru" + strconv.Itoa(int(s))
}

// SLRUPage is one page of an SLRU.
type SLRUPage struct {
	SLRU SLRU
	Page uint32
}

func (p SLRUPage) String() string { return fmt.Sprintf("%s page %d", p.SLRU, p.Page) }
