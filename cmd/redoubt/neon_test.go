package main

import (
	"crypto/ed25519"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"redoubt/internal/finding"
	"redoubt/internal/neonapi/neonapitest"
	"redoubt/internal/official/pageserver/wire"
	"redoubt/internal/pageservertest"
	"redoubt/internal/pg"
	"redoubt/internal/pg/walfile"
	"redoubt/internal/pgtest"
	"redoubt/replay"
	"redoubt/scheduler"
)

const (
	neonTenant   = "de200bd42b49cc1814412c7e592dd6e9"
	neonTimeline = "11f2fc0be1d9a1a2f1e7d2a1b3c4d5e6"
	neonOther    = "22f2fc0be1d9a1a2f1e7d2a1b3c4d5e6"
	neonToken    = "eyJhbGciOiJFZERTQSJ9.secretsecret.secretsecret"
)

// neonSite is a bucket as of Neon's, with its servers and a configuration.
type neonSite struct {
	dir, wal, config string
	ps               *neonapitest.Server
	more             []*neonapitest.Server // other pageservers
	sk               [2]*neonapitest.Server
}

// newNeonSite lays segments out in the layout neon and lets servers say that
// their WAL begins at start, is in the bucket up to backup and committed up to commit.
func newNeonSite(t *testing.T, segments map[string][]byte, start, backup, commit string, segmentSize int) *neonSite {
	t.Helper()
	n := &neonSite{dir: t.TempDir()}
	n.wal = filepath.Join(n.dir, "safekeeper")
	must(t, os.MkdirAll(filepath.Join(n.dir, "pageserver"), 0o700))
	for name, data := range segments {
		lay(t, filepath.Join(n.wal, neonTenant, neonTimeline, name), data)
	}
	n.ps = neonapitest.Pageserver(t, 1)
	n.ps.Require(neonToken)
	n.ps.Set("/v1/tenant", []neonapitest.Object{neonapitest.Tenant(neonTenant, 1)})
	n.ps.Set("/v1/tenant/"+neonTenant+"/timeline_and_offloaded", neonapitest.Timelines([]neonapitest.Object{neonapitest.Timeline(neonTenant, neonTimeline, start, commit, nil)}, nil))
	more := neonapitest.Object{"pg_info": neonapitest.Object{"pg_version": 170005, "system_id": 1, "wal_seg_size": segmentSize}}
	for i := range n.sk {
		n.sk[i] = neonapitest.Safekeeper(t, i+1)
		n.sk[i].Require(neonToken)
		n.sk[i].Set("/v1/tenant/timeline", []neonapitest.Object{{"tenant_id": neonTenant, "timeline_id": neonTimeline}})
		n.sk[i].Set(n.path(neonTimeline), neonapitest.Stored(neonTenant, neonTimeline, start, backup, commit, more))
	}
	lay(t, filepath.Join(n.dir, "token"), []byte(neonToken+"\n"))
	n.configure(t, "")
	return n
}

// lay makes a file and the directories above it.
func lay(t *testing.T, path string, data []byte) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o700))
	put(t, path, data)
}

func (n *neonSite) path(timeline string) string {
	return "/v1/tenant/" + neonTenant + "/timeline/" + timeline
}

func (n *neonSite) configure(t *testing.T, more string) {
	t.Helper()
	pageservers := []string{strconv.Quote(n.ps.URL)}
	for _, ps := range n.more {
		pageservers = append(pageservers, strconv.Quote(ps.URL))
	}
	n.config = filepath.Join(n.dir, "redoubt.yaml")
	lay(t, n.config, fmt.Appendf(nil, `data_dir: ./data
reports: {dir: ./reports}
sources:
  - name: neon
    layout: neon
    wal: ./safekeeper
    backups: ./pageserver
    neon:
      pageservers: [%s]
      safekeepers: [%q, %q]
      pageserver_token: {file: token}
      safekeeper_token: {file: token}
      timeout: 20s
%s`, strings.Join(pageservers, ", "), n.sk[0].URL, n.sk[1].URL, more))
}

func (n *neonSite) scan(t *testing.T, code int, words ...string) finding.Scan {
	t.Helper()
	o := redoubt(t, "scan", "-c", n.config, "--deep", "--format", "json", "--progress", "never")
	o.want(t, code, words...)
	if strings.Contains(o.stdout+o.stderr, "secretsecret") {
		t.Error("the token is in what was said")
	}
	if !strings.HasPrefix(o.stdout, "{") {
		return finding.Scan{}
	}
	return parse[finding.Scan](t, o.stdout)
}

// stockSegments are segments of stock PostgreSQL, unpacked.
func stockSegments(t *testing.T) map[string][]byte {
	t.Helper()
	return segmentsIn(t, filepath.Join(pristine(t), "acme", "billing", "wal"))
}

func segmentsIn(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	d, err := zstd.NewReader(nil)
	must(t, err)
	defer d.Close()
	entries, err := os.ReadDir(dir)
	must(t, err)
	out := map[string][]byte{}
	for _, e := range entries {
		data := read(t, filepath.Join(dir, e.Name()))
		if strings.HasSuffix(e.Name(), ".zst") {
			data, err = d.DecodeAll(data, nil)
			must(t, err)
		}
		out[strings.TrimSuffix(e.Name(), ".zst")] = data
	}
	return out
}

// TestNeonScan: what should be there is what the safekeepers say, not what is there.
func TestNeonScan(t *testing.T) {
	t.Parallel()
	segments := stockSegments(t)
	names := slices.Sorted(func(yield func(string) bool) {
		for name := range segments {
			if len(name) == 24 && !yield(name) {
				return
			}
		}
	})
	lsn := func(name string, plus int) string { // of segments of 1 MiB
		var n int
		_, err := fmt.Sscanf(name[16:], "%X", &n)
		must(t, err)
		return fmt.Sprintf("0/%X", n<<20+plus)
	}
	first, last := names[0], names[len(names)-1]
	fresh := func(t *testing.T) *neonSite {
		kept := map[string][]byte{}
		for _, name := range names {
			kept[name] = segments[name]
		}
		return newNeonSite(t, kept, lsn(first, 40), lsn(last, 1<<20), lsn(last, 1<<20+8000), 1<<20)
	}
	timeline := func(n *neonSite, name string) string { return filepath.Join(n.wal, neonTenant, neonTimeline, name) }

	n := fresh(t)
	s := n.scan(t, exitClean)
	if tl := s.Timelines[0]; tl.Expected != int64(len(names)) || tl.Present != tl.Expected || len(tl.Servers) != 2 || tl.Servers[1].BackupLSN.String() != lsn(last, 1<<20) {
		t.Errorf("%+v", tl)
	}
	if len(n.sk[1].Requests()) == 0 || slices.Contains(n.sk[1].Requests(), "/v1/tenant") {
		t.Errorf("safekeeper 2 was asked for %q", n.sk[1].Requests())
	}

	// Segments gone: in the middle, the newest, all of them.
	must(t, os.Remove(timeline(n, names[3])))
	s = n.scan(t, exitFindings, names[3])
	if g := s.Timelines[0].Gaps; len(g) != 1 || !slices.Equal(g[0].Segments, []string{names[3]}) || g[0].Severity != finding.Critical {
		t.Errorf("gaps %+v", g)
	}
	must(t, os.Remove(timeline(n, last)))
	if g := n.scan(t, exitFindings, last).Timelines[0].Gaps; len(g) != 2 {
		t.Errorf("gaps %+v", g)
	}
	must(t, os.RemoveAll(filepath.Join(n.wal, neonTenant)))
	must(t, os.MkdirAll(n.wal, 0o700))
	s = n.scan(t, exitFindings, "is not in the bucket, where its WAL up to")
	if tl := s.Timelines[0]; tl.Expected != int64(len(names)) || tl.Present != 0 {
		t.Errorf("with nothing there: %+v", tl)
	}

	// A damaged segment.
	n = fresh(t)
	lay(t, timeline(n, names[5]), flipped(300000)(slices.Clone(segments[names[5]])))
	if d := n.scan(t, exitFindings).Timelines[0].Damaged; len(d) != 1 || d[0].Segment != names[5] {
		t.Errorf("damaged %+v", d)
	}

	// A safekeeper that does not answer, or nonsense, or one of no token.
	n = fresh(t)
	n.sk[1].Refuse(n.path(neonTimeline), http.StatusInternalServerError, "disk failure")
	n.scan(t, exitInconclusive, "it is not known which WAL should be there", "disk failure")
	n.sk[1].Set(n.path(neonTimeline), `{"backup_lsn":"0/0"}`)
	n.scan(t, exitInconclusive, "is not understood", "timeline_start_lsn")
	n.sk[0].Refuse(n.path(neonTimeline), http.StatusNotFound, "timeline not found")
	n.scan(t, exitInconclusive, "is not understood")
	n.sk[1].Refuse(n.path(neonTimeline), http.StatusNotFound, "timeline not found")
	n.scan(t, exitInconclusive, "no safekeeper has the timeline")

	// What only one of the two sides knows.
	n = fresh(t)
	lay(t, filepath.Join(n.wal, neonTenant, neonOther, first), segments[first])
	n.scan(t, exitInconclusive, "timeline "+neonTenant+"/"+neonOther+" is in the bucket and unknown to all")
	for _, sk := range n.sk {
		sk.Set("/v1/tenant/timeline", []neonapitest.Object{{"tenant_id": neonTenant, "timeline_id": neonTimeline}, {"tenant_id": neonTenant, "timeline_id": neonOther}})
		sk.Set(n.path(neonOther), neonapitest.Stored(neonTenant, neonOther, lsn(first, 40), lsn(first, 1<<20), lsn(last, 0), neonapitest.Object{
			"pg_info": neonapitest.Object{"pg_version": 170005, "system_id": 1, "wal_seg_size": 1 << 20}}))
	}
	n.scan(t, exitClean)
	must(t, os.RemoveAll(filepath.Join(n.wal, neonTenant, neonOther)))
	n.scan(t, exitFindings, neonOther+" is not in the bucket")

	// Tenants that are not wanted are passed over.
	n.configure(t, "      tenants: {exclude: [\"d*\"]}\n")
	n.scan(t, exitInconclusive, "there are no timelines")
	// A timeline of which nothing has to be there yet is clean.
	n = fresh(t)
	must(t, os.RemoveAll(filepath.Join(n.wal, neonTenant)))
	must(t, os.MkdirAll(n.wal, 0o700))
	for _, sk := range n.sk {
		sk.Set(n.path(neonTimeline), neonapitest.Stored(neonTenant, neonTimeline, "0/1000028", "0/1000028", "0/1000300", nil))
	}
	n.scan(t, exitClean)
}

// TestNeonCheck: whether the servers answer, and the token suffices.
func TestNeonCheck(t *testing.T) {
	t.Parallel()
	n := newNeonSite(t, stockSegments(t), "0/300028", "0/400000", "0/480000", 1<<20)
	o := redoubt(t, "check", "-c", n.config)
	o.want(t, exitInconclusive, "1 shards are attached, 1 of them of tenants that are wanted", "it has 1 timelines", "its WAL begins at 0/300028, is in the bucket up to 0/400000")
	n.sk[1].Require("another")
	n.ps.Refuse("/v1/tenant", http.StatusServiceUnavailable, "Tenant map is initializing")
	o = redoubt(t, "check", "-c", n.config)
	o.want(t, exitInconclusive, "Tenant map is initializing", "status 403", "a safekeeper one of scope safekeeperdata")
	must(t, os.Remove(filepath.Join(n.dir, "token")))
	o = redoubt(t, "check", "-c", n.config)
	o.want(t, exitInconclusive, "the token cannot be read")
	if strings.Contains(o.stdout+o.stderr, "secretsecret") {
		t.Error("the token is in what was said")
	}
}

// TestNeonRun: a job takes its timelines from the servers.
func TestNeonRun(t *testing.T) {
	t.Parallel()
	n := newNeonSite(t, stockSegments(t), "0/300028", "0/400000", "0/480000", 1<<20) // of which no segment is there
	o := redoubt(t, "run", "-c", n.config, "--format", "json", "--progress", "never")
	o.want(t, exitFindings, neonTimeline, "no snapshot: nothing to compare", `"backup_lsn": "0/400000"`)
	n.ps.Refuse("/v1/tenant", http.StatusInternalServerError, "no tenants today")
	o = redoubt(t, "run", "-c", n.config, "--format", "json", "--progress", "never")
	o.want(t, exitFindings, "no tenants today", neonTimeline)
}

// demoMore is what safekeepers say of the demo's WAL besides where it is.
var demoMore = neonapitest.Object{"pg_info": neonapitest.Object{"pg_version": 170005, "system_id": 1, "wal_seg_size": 1 << 20}}

// demoSite is a neonSite with the demo's WAL up to an LSN, whose servers want a
// token that is signed with key.
func demoSite(t *testing.T, key ed25519.PrivateKey, wal string, to pg.LSN) (n *neonSite, token string) {
	t.Helper()
	n = newNeonSite(t, nil, "0/E00028", "0/1400000", to.String(), 1<<20)
	for name, data := range segmentsIn(t, wal) {
		if name == "000000010000000000000014" { // of which a safekeeper had stored what was committed
			data = data[:uint64(to)%(1<<20)]
			name = walfile.NeonPartial{Segment: name, Term: 2, Flush: to, Commit: to, Safekeeper: 1}.String()
		}
		if name <= "000000010000000000000014"+"~" {
			lay(t, filepath.Join(n.wal, demoTenant, demoTimeline, name), data)
		}
	}
	for _, sk := range n.sk {
		sk.Set("/v1/tenant/timeline", []neonapitest.Object{{"tenant_id": demoTenant, "timeline_id": demoTimeline}})
		sk.Set("/v1/tenant/"+demoTenant+"/timeline/"+demoTimeline, neonapitest.Stored(demoTenant, demoTimeline, "0/E00028", "0/1400000", to.String(), demoMore))
	}
	token, err := pageservertest.Token(key, "pageserverapi", "")
	must(t, err)
	lay(t, filepath.Join(n.dir, "token"), []byte(token+"\n"))
	n.ps.Require(token)
	for _, sk := range n.sk {
		sk.Require(token)
	}
	return n, token
}

// TestNeonShards: the pages of a tenant of two shards, each at a pageserver of
// its own, in stripes of which the pageservers tell.
func TestNeonShards(t *testing.T) {
	pgtest.PutOff(t)
	t.Parallel()
	_, port, err := net.SplitHostPort(freePort(t))
	must(t, err)
	s, key, wal, from, to := servedDemo(t, wire.Layout{Shards: 2, Stripe: 8}, "127.0.0.2:"+port, "127.0.0.3:"+port) // addresses that nobody else uses
	n, token := demoSite(t, key, wal, to)
	first, second := neonapitest.At(t, 1, "127.0.0.2"), neonapitest.At(t, 2, "127.0.0.3")
	first.Require(token)
	second.Require(token)
	n.ps, n.more = first, []*neonapitest.Server{second}
	stripes := func(i, blocks int) {
		ps, shard := []*neonapitest.Server{first, second}[i], fmt.Sprintf("%s-%02x02", demoTenant, i)
		ps.Set("/v1/tenant", []neonapitest.Object{neonapitest.Tenant(shard, 1)})
		ps.Set("/v1/tenant/"+shard+"/timeline_and_offloaded", neonapitest.Timelines([]neonapitest.Object{neonapitest.Timeline(shard, demoTimeline, from.String(), to.String(), nil)}, nil))
		ps.Set("/v1/location_config/"+shard, neonapitest.Location(i, 2, blocks))
	}
	stripes(0, 8)
	stripes(1, 8)
	official := func(parameters string) {
		n.configure(t, fmt.Sprintf("    official: pageserver://:%s?sslmode=disable%s\njobs: {nightly: {span_wal_bytes: 4MiB, untouched: 0.1}}\n", port, parameters))
	}
	official("")
	run := func(code int, words ...string) finding.Run {
		t.Helper()
		o := redoubt(t, "run", "-c", n.config, "--format", "json", "--progress", "never")
		o.want(t, code, words...)
		return parse[finding.Run](t, o.stdout)
	}
	for _, v := range run(exitClean).Timelines[0].Spans {
		if v.Verdict != finding.Clean || v.Coverage.BlocksUntouchedCompared == 0 || len(s.PerShard()) != 2 {
			t.Errorf("%s: %s, %q, pages by shard %v", v.Span, v.Verdict, v.Reasons, s.PerShard())
		}
	}
	official("&stripe_size=16")
	run(exitInconclusive, "have 8 blocks: take the parameter out")
	official("")
	stripes(1, 16)
	run(exitInconclusive, "stripes of 8 and 16 blocks")
	second.Refuse("/v1/tenant", http.StatusInternalServerError, "out of order")
	run(exitInconclusive, "1 of its 2 shards are known")
}

// TestNeonPages: a job compares the pages that the pageservers have at the LSNs
// of the plan, by the tokens, ports and shards that the servers tell.
func TestNeonPages(t *testing.T) {
	pgtest.PutOff(t)
	t.Parallel()
	s, key, wal, from, to := servedDemo(t, wire.Layout{})
	n, token := demoSite(t, key, wal, to)
	n.ps.Set("/v1/tenant", []neonapitest.Object{neonapitest.Tenant(demoTenant, 1)})
	n.ps.Set("/v1/tenant/"+demoTenant+"/timeline_and_offloaded", neonapitest.Timelines([]neonapitest.Object{neonapitest.Timeline(demoTenant, demoTimeline, from.String(), to.String(), nil)}, nil))
	u, err := url.Parse(s.Location(demoTimeline))
	must(t, err)
	n.configure(t, fmt.Sprintf("    official: pageserver://:%s?sslmode=disable\njobs: {nightly: {span_wal_bytes: 4MiB, untouched: 0.1}}\n", u.Port()))

	o := redoubt(t, "plan", "-c", n.config, "--format", "json")
	plan := parse[finding.Plan](t, o.stdout)
	spans := plan.Timelines[0].Spans // up to the last record that is readable, in a segment of which a part is in the bucket
	if len(spans) != 2 || spans[0].Official != scheduler.At(pagesName, to) || spans[1].Base != scheduler.At(pagesName, from) {
		t.Fatalf("readable from %s to %s, planned %+v", from, to, spans)
	}
	n.configure(t, fmt.Sprintf("    official: pageserver://:%s?sslmodus=disable\njobs: {nightly: {span_wal_bytes: 4MiB}}\n", u.Port()))
	redoubt(t, "plan", "-c", n.config).want(t, exitInconclusive, "a pageserver's location has no parameter sslmodus")
	n.configure(t, fmt.Sprintf("    official: pageserver://:%s?sslmode=disable\njobs: {nightly: {span_wal_bytes: 4MiB, untouched: 0.1}}\n", u.Port()))
	timeline := demoTimeline
	run := func(code int, words ...string) finding.RunTimeline {
		t.Helper()
		o := redoubt(t, "run", "-c", n.config, "--format", "json", "--progress", "never")
		o.want(t, code, words...)
		if strings.Contains(o.stdout+o.stderr, token) {
			t.Error("the token is in what was said")
		}
		all := parse[finding.Run](t, o.stdout).Timelines
		return all[slices.IndexFunc(all, func(tl finding.RunTimeline) bool { return tl.Timeline == timeline })]
	}
	for _, v := range run(exitClean).Spans {
		if c := v.Coverage; v.Verdict != finding.Clean || c.BlocksCompared == 0 || c.BlocksUntouchedCompared == 0 || c.BlocksSkipped == 0 {
			t.Errorf("%s: %s, %q, %+v", v.Span, v.Verdict, v.Reasons, c)
		}
	}
	s.Plant(pageservertest.Plant{Page: func(at pg.LSN, b pg.Block, p []byte) {
		if at > from && b.DB == 5 && b.Rel >= 16384 && b.Fork == pg.MainFork && b.Number == 0 { // the first of what users have
			clear(p)
		}
	}})
	found := int64(0)
	for _, v := range run(exitFindings).Spans {
		found += v.DiscrepancyCounts.Critical
	}
	if found == 0 {
		t.Error("zeroed pages were not found")
	}
	s.Plant(pageservertest.Plant{})
	// A branch: the pages where it leaves its ancestor and before are the ancestor's.
	src := neonSourceOf(t, n.wal)
	at := demoFork(t, src, from, to)
	first := pg.SegmentOf(at, 1<<20)
	for name, data := range segmentsIn(t, wal) {
		if len(name) != 24 || name < pg.SegmentName(1, first, 1<<20) {
			continue
		}
		if name == pg.SegmentName(1, first, 1<<20) {
			clear(data[:uint64(at)%(1<<20)])
		}
		lay(t, filepath.Join(n.wal, demoTenant, demoBranch, name), data)
	}
	for _, sk := range n.sk {
		sk.Set("/v1/tenant/timeline", []neonapitest.Object{{"tenant_id": demoTenant, "timeline_id": demoTimeline}, {"tenant_id": demoTenant, "timeline_id": demoBranch}})
		sk.Set("/v1/tenant/"+demoTenant+"/timeline/"+demoBranch, neonapitest.Stored(demoTenant, demoBranch, at.String(), "0/1400000", to.String(), demoMore))
	}
	timeline = demoBranch
	readable := func(ancestorsFrom pg.LSN) {
		n.ps.Set("/v1/tenant/"+demoTenant+"/timeline_and_offloaded", neonapitest.Timelines([]neonapitest.Object{
			neonapitest.Timeline(demoTenant, demoTimeline, ancestorsFrom.String(), to.String(), nil),
			neonapitest.Timeline(demoTenant, demoBranch, from.String(), to.String(), neonapitest.Object{"ancestor_timeline_id": demoTimeline, "ancestor_lsn": at.String()}),
		}, nil))
	}
	readable(from)
	for _, v := range run(exitClean).Spans {
		if v.Verdict != finding.Clean || v.Coverage.BlocksCompared == 0 {
			t.Errorf("of the branch, %s: %s, %q", v.Span, v.Verdict, v.Reasons)
		}
	}
	readable(at + 8) // the ancestor's history is collected up to there
	run(exitInconclusive, "the history starts at "+(at+8).String())
	// What cannot be read makes a night inconclusive.
	n.ps.Set("/v1/tenant/"+demoTenant+"/timeline_and_offloaded", neonapitest.Timelines(nil, nil))
	run(exitInconclusive, "no pageserver that answered has it")
}

// neonSourceOf is the demo's WAL in a bucket of Neon's layout.
func neonSourceOf(t *testing.T, wal string) replay.WALSource {
	t.Helper()
	tl, store, err := openTimeline(t.Context(), wal, "neon", demoTenant+"/"+demoTimeline, "")
	must(t, err)
	t.Cleanup(func() { _ = store.Close() })
	src, err := tl.Source(t.Context(), 1)
	must(t, err)
	return src
}

// TestNeonReal reads real WAL of Neon's in the layout of its safekeepers.
func TestNeonReal(t *testing.T) {
	t.Parallel()
	data, segment := pgtest.NeonSegment(t)
	n := newNeonSite(t, map[string][]byte{pgtest.NeonSegmentName: segment}, "0/14AEC08", "0/2000000", "0/2000000", 16<<20)
	pages := filepath.Join(n.dir, "pageserver", "tenants", neonTenant, "timelines", neonTimeline)
	lay(t, filepath.Join(pages, "initdb.tar.zst"), read(t, filepath.Join(data, "initdb.tar.zst")))
	s := n.scan(t, exitClean)
	if tl := s.Timelines[0]; tl.Expected != 1 || tl.Present != 1 || tl.Dialect != "neon" || tl.From.String() != "0/14AEC08" {
		t.Errorf("%+v", tl)
	}
	redoubt(t, "waldump", n.wal, "--layout", "neon", "--stats").want(t, exitClean, "72925", "dialect neon: 72657 records")
	redoubt(t, "verify", "--wal", n.wal, "--neon-pages", filepath.Join(n.dir, "pageserver"), "--cluster", neonTenant+"/"+neonTimeline,
		"--base", filepath.Join(pages, "initdb.tar.zst"), "--official", filepath.Join(pages, "initdb.tar.zst"), "--progress", "never").want(t, exitClean)
	redoubt(t, "check", "-c", n.config).want(t, exitInconclusive, neonTimeline+"/initdb.tar.zst: nothing to compare it with")

	// Its beginning is gone, by the word of the safekeepers.
	for _, sk := range n.sk {
		sk.Set(n.path(neonTimeline), neonapitest.Stored(neonTenant, neonTimeline, "0/1400028", "0/2000000", "0/2000000", nil))
	}
	n.scan(t, exitFindings, "zeros up to 0/14AEC08, but its WAL begins at 0/1400028")
}
