package verify

import (
	"cmp"
	"slices"

	"redoubt/internal/pg"
	"redoubt/replay/native"
	"redoubt/replay/server"
)

// The replayed side as the comparison sees it: the native engine's, or with
// engine server the server's pages and sizes beside the native engine's books.

// replayedFork describes one fork of the replayed side.
func (r *run) replayedFork(f pg.RelFork) (native.Fork, bool) {
	fork, ok := r.ra.Fork(f)
	if !r.byServer() {
		return fork, ok
	}
	size, there := r.witness.inv.Forks[f]
	if !there {
		return native.Fork{}, false
	}
	if !ok {
		fork = native.Fork{RelFork: f, Created: true}
	}
	fork.Size = size
	return fork, true
}

// replayedForks lists the forks of the replayed side, sorted.
func (r *run) replayedForks() []native.Fork {
	if !r.byServer() {
		return r.ra.Forks()
	}
	out := make([]native.Fork, 0, len(r.witness.inv.Forks))
	for f := range r.witness.inv.Forks {
		if fork, ok := r.replayedFork(f); ok {
			out = append(out, fork)
		}
	}
	slices.SortFunc(out, func(a, b native.Fork) int { return a.Compare(b.RelFork) })
	return out
}

// replayedPage is a block of the replayed side. The server has all of them,
// and knows every record; what is wrong with the base's page stays wrong.
func (r *run) replayedPage(f pg.RelFork, n pg.BlockNumber, buf []byte) (native.Page, error) {
	p, err := r.ra.Page(f, n, buf)
	if err != nil || !r.byServer() {
		return p, err
	}
	return fromServer(p, r.witness.base, pg.Block{RelFork: f, Number: n}, buf)
}

// officialPage is a block of the official side after its own WAL.
func (r *run) officialPage(f pg.RelFork, n pg.BlockNumber, buf []byte) (native.Page, error) {
	p, err := r.rb.Page(f, n, buf)
	if err != nil || !r.byServer() || r.witness.official == nil || p.Bytes == nil {
		return p, err
	}
	return fromServer(p, r.witness.official, pg.Block{RelFork: f, Number: n}, buf)
}

// fromServer puts the server's page in the place of the native engine's.
func fromServer(p native.Page, res *server.Result, b pg.Block, buf []byte) (native.Page, error) {
	ok, err := res.Page(b, buf)
	if err != nil {
		return p, err
	}
	p.Bytes, p.Tainted, p.Failed = nil, false, nil
	if ok {
		p.Bytes = buf[:pg.BlockSize]
	}
	return p, nil
}

// replayedSLRU is an SLRU page of the replayed side; ok is false where it is
// the base's, or there is none.
func (r *run) replayedSLRU(p pg.SLRUPage, buf []byte) (content []byte, ok bool, err error) {
	if !r.byServer() {
		content, _, ok, err = r.ra.SLRUPage(p, buf)
		return content, ok, err
	}
	ok, err = r.witness.base.SLRUPage(p, buf)
	return buf[:pg.BlockSize], ok, err
}

// replayedSLRUs lists the pages of an SLRU for which replayedSLRU is ok.
func (r *run) replayedSLRUs(s pg.SLRU) []uint32 {
	if !r.byServer() {
		return r.ra.SLRUPages(s)
	}
	var out []uint32
	for p := range r.witness.inv.SLRUs {
		if p.SLRU == s {
			out = append(out, p.Page)
		}
	}
	return out
}

// replayedMap is a relation map of the replayed side, nil if there is none.
func (r *run) replayedMap(spc, db pg.OID) []byte {
	if !r.byServer() {
		return r.ra.RelMap(spc, db)
	}
	return r.witness.inv.Maps[server.MapKey{Spc: spc, DB: db}]
}

// replayedMaps lists the relation maps of the replayed side, sorted.
func (r *run) replayedMaps() []native.RelMapKey {
	if !r.byServer() {
		return r.ra.RelMaps()
	}
	var out []native.RelMapKey
	for k := range r.witness.inv.Maps {
		out = append(out, native.RelMapKey(k))
	}
	slices.SortFunc(out, func(a, b native.RelMapKey) int { return cmp.Or(cmp.Compare(a.Spc, b.Spc), cmp.Compare(a.DB, b.DB)) })
	return out
}
