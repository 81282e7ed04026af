package snapshot

import (
	"archive/tar"
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"redoubt/internal/pg/datadir"
)

// handmade writes a tar of given headers; Reg entries get Size zero bytes unless Linkname holds their content.
func handmade(t testing.TB, to string, headers ...tar.Header) {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		content := make([]byte, h.Size)
		if h.Typeflag == tar.TypeReg && h.Linkname != "" {
			content, h.Linkname = []byte(h.Linkname), ""
			h.Size = int64(len(content))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := w.Write(content); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	write(t, to, compress(t, b.Bytes(), to))
}

func regular(name string, size int64) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeReg, Size: size, Mode: 0o600}
}

// whole are the entries that every backup of these tests needs.
func whole(t testing.TB) []tar.Header {
	control := string(control17(t, datadir.ShutDown))
	return []tar.Header{
		{Name: "PG_VERSION", Typeflag: tar.TypeReg, Linkname: "17\n", Mode: 0o600},
		{Name: "global/pg_control", Typeflag: tar.TypeReg, Linkname: control, Mode: 0o600},
	}
}

func TestHostileEntries(t *testing.T) {
	for name, c := range map[string]struct {
		add  []tar.Header
		want string // "" means accepted
	}{
		"nothing more":     {nil, ""},
		"dot names":        {[]tar.Header{regular("./base/5/16384", 8192)}, ""},
		"directories":      {[]tar.Header{{Name: "./", Typeflag: tar.TypeDir}, {Name: "base/", Typeflag: tar.TypeDir}}, ""},
		"absolute":         {[]tar.Header{regular("/base/5/1", 8192)}, "not a relative path"},
		"dot dot":          {[]tar.Header{regular("base/../../etc/passwd", 8192)}, "leads out"},
		"dot dot inside":   {[]tar.Header{regular("base/5/../5/1", 8192)}, "leads out"},
		"no name":          {[]tar.Header{regular(".", 0)}, "itself"},
		"twice":            {[]tar.Header{regular("base/5/1", 8192), regular("base/5/1", 8192)}, "twice"},
		"twice spelled":    {[]tar.Header{regular("base/5/1", 8192), regular(".//base/5//1", 8192)}, "twice"},
		"hard link":        {[]tar.Header{{Name: "base/5/1", Typeflag: tar.TypeLink, Linkname: "/etc/passwd"}}, "is no file"},
		"character device": {[]tar.Header{{Name: "base/5/1", Typeflag: tar.TypeChar}}, "is no file"},
		"block device":     {[]tar.Header{{Name: "x", Typeflag: tar.TypeBlock}}, "is no file"},
		"pipe":             {[]tar.Header{{Name: "x", Typeflag: tar.TypeFifo}}, "is no file"},
		"contiguous":       {[]tar.Header{{Name: "base/5/1", Typeflag: tar.TypeCont}}, "is no file"},
		"global header":    {[]tar.Header{{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"path": "x"}}}, "is no file"},
		"link in base":     {[]tar.Header{{Name: "base/5", Typeflag: tar.TypeSymlink, Linkname: "/etc"}}, "symbolic link"},
		"link to control":  {[]tar.Header{{Name: "backup_label", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}}, "symbolic link"},
		"link that is not": {[]tar.Header{{Name: "pg_wal", Typeflag: tar.TypeSymlink, Linkname: "/wal"}}, ""},
		"tablespace gone":  {[]tar.Header{{Name: "pg_tblspc/16385", Typeflag: tar.TypeSymlink, Linkname: "/srv"}}, "tablespace 16385"},
		"tablespace there": {[]tar.Header{{Name: "pg_tblspc/16385", Typeflag: tar.TypeDir}, regular("pg_tblspc/16385/PG_17_202406281/5/9", 8192)}, ""},
		"other version":    {[]tar.Header{regular("pg_tblspc/16385/PG_16_202307071/5/9", 8192)}, "another cluster"},
		"map without":      {[]tar.Header{{Name: "tablespace_map", Typeflag: tar.TypeReg, Linkname: "16385 /srv\n"}}, "tablespace_map names"},
		"broken map":       {[]tar.Header{{Name: "tablespace_map", Typeflag: tar.TypeReg, Linkname: "16385 /srv"}}, "it is cut"},
		"large SLRU":       {[]tar.Header{regular("pg_xact/0000", 262145)}, "larger than"},
		"large small file": {[]tar.Header{regular("base/5/PG_VERSION", 1<<20+1)}, "larger than"},
		"incremental":      {[]tar.Header{regular("base/5/INCREMENTAL.16384", 100)}, "pg_combinebackup"},
		"wrong version":    {[]tar.Header{}, ""},
	} {
		for _, suffix := range []string{".tar", ".tar.zst"} {
			to := filepath.Join(t.TempDir(), "b"+suffix)
			handmade(t, to, append(whole(t), c.add...)...)
			_, _, err := read(t, to)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%s%s: %v, want %q", name, suffix, err, c.want)
			}
		}
	}
}

func TestCleanPath(t *testing.T) {
	for name, want := range map[string]string{"a/b": "a/b", "./a//b/": "a/b", "./": "", ".": "", "a/./b": "a/b", "..a/b..": "..a/b.."} {
		if got, err := cleanPath(name); err != nil || got != want {
			t.Errorf("%q: %q, %v", name, got, err)
		}
	}
	for _, name := range []string{"", "/", "/a", "..", "../a", "a/..", "a/../b", "a\x00b"} {
		if got, err := cleanPath(name); err == nil {
			t.Errorf("%q: accepted as %q", name, got)
		}
	}
}

// TestTooLargeRelation: a relation file over 1 GiB is refused by its header already.
func TestTooLargeRelation(t *testing.T) {
	to := filepath.Join(t.TempDir(), "b.tar")
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	h := regular("base/5/16384", 1<<30+8192)
	if err := w.WriteHeader(&h); err != nil {
		t.Fatal(err)
	}
	write(t, to, b.Bytes())
	if _, _, err := read(t, to); err == nil || !strings.Contains(err.Error(), "no relation file has more") {
		t.Error(err)
	}
}

// TestCutArchives cuts archives everywhere: never a shorter walk that looks whole.
func TestCutArchives(t *testing.T) {
	to := filepath.Join(t.TempDir(), "b.tar")
	handmade(t, to, append(whole(t), regular("base/5/16384", 16384), regular("base/5/16390", 0), regular("pg_xact/0000", 8192))...)
	plain, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	for _, suffix := range compressions {
		t.Run(suffix, func(t *testing.T) {
			b := compress(t, plain, suffix)
			if _, _, err := readMem(t, &memTree{files: map[string][]byte{"b" + suffix: b}}, "b"+suffix); err != nil {
				t.Fatal(err)
			}
			at := map[int]bool{}
			for n := range 40 {
				at[n], at[max(len(b)-1-n, 0)] = true, true
			}
			step := max(len(b)/40, 1)
			if suffix == ".tar" {
				step = tarBlock // all headers are among them
			}
			for n := 0; n < len(b); n += step {
				at[n], at[max(n-1, 0)], at[min(n+1, len(b)-1)] = true, true, true
			}
			for n := range at {
				_, _, err := readMem(t, &memTree{files: map[string][]byte{"cut" + suffix: b[:n]}}, "cut"+suffix)
				if err == nil {
					t.Fatalf("cut to %d of %d bytes and read as whole", n, len(b))
				}
				if !strings.Contains(err.Error(), "cut"+suffix) {
					t.Fatalf("cut to %d bytes: the error does not name the archive: %v", n, err)
				}
			}
		})
	}
}

// readOnce is read that closes at once.
func readOnce(t testing.TB, loc string) (*Snapshot, *collector, error) {
	s, err := Open(t.Context(), loc, Options{})
	if err != nil {
		return nil, nil, err
	}
	c := newCollector()
	err = s.Walk(t.Context(), c)
	return s, c, asOne(err, s.Close())
}

func asOne(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// TestCutBehindExtendedHeader: archive/tar says io.EOF there, as at the end of an archive.
func TestCutBehindExtendedHeader(t *testing.T) {
	for _, format := range []tar.Format{tar.FormatPAX, tar.FormatGNU} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, h := range whole(t) {
			h.Size = int64(len(h.Linkname))
			content := h.Linkname
			h.Linkname = ""
			if err := w.WriteHeader(&h); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write([]byte(content)); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		before := b.Len()
		h := regular("base/5/"+strings.Repeat("1", 200), 0)
		h.Format = format
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		for n := before; n < b.Len(); n += 512 {
			to := filepath.Join(t.TempDir(), "b.tar")
			write(t, to, b.Bytes()[:n])
			if _, _, err := readOnce(t, to); err == nil || !strings.Contains(err.Error(), "cut") {
				t.Errorf("%v, %d bytes behind the last entry: %v", format, n-before, err)
			}
			zeros := append(bytes.Clone(b.Bytes()[:n]), make([]byte, 512)...) // one block of the marker only
			write(t, to, zeros)
			if _, _, err := readOnce(t, to); err == nil {
				t.Errorf("%v: half a marker is accepted %d bytes behind the last entry", format, n-before)
			}
		}
	}
}

func TestSomethingBehindTheEnd(t *testing.T) {
	dir := smallDir(t, datadir.ShutDown, "")
	for _, suffix := range compressions {
		to := filepath.Join(t.TempDir(), "b"+suffix)
		packTar(t, dir, to)
		b, err := os.ReadFile(to)
		if err != nil {
			t.Fatal(err)
		}
		plain := filepath.Join(t.TempDir(), "p.tar")
		packTar(t, dir, plain)
		p, err := os.ReadFile(plain)
		if err != nil {
			t.Fatal(err)
		}
		for name, c := range map[string]struct {
			content []byte
			ok      bool
		}{
			"a second archive":         {append(bytes.Clone(b), b...), false},
			"a second archive, inside": {compress(t, append(bytes.Clone(p), p...), to), false},
			"a byte":                   {append(bytes.Clone(b), 'x'), false},
			"a byte, inside":           {compress(t, append(bytes.Clone(p), 'x'), to), false},
			"padding, inside":          {compress(t, append(bytes.Clone(p), make([]byte, 9000)...), to), true},
		} {
			write(t, to, c.content)
			_, _, err := readOnce(t, to)
			if c.ok != (err == nil) {
				t.Errorf("%s%s: %v", name, suffix, err)
			}
		}
	}
}

// TestFlippedBytes: a changed byte is an error, a problem with the manifest,
// or it is where it changes nothing that is delivered.
func TestFlippedBytes(t *testing.T) {
	dir := smallDir(t, datadir.InProduction, testLabel)
	writeManifest(t, dir, filepath.Join(dir, "backup_manifest"), datadir.ChecksumCRC32C)
	want := expected(t, dir)
	r := rand.New(rand.NewPCG(3, 4))
	for _, suffix := range compressions {
		t.Run(suffix, func(t *testing.T) {
			to := filepath.Join(t.TempDir(), "b"+suffix)
			packTar(t, dir, to)
			if _, c := mustRead(t, to); len(c.files) != len(want) {
				t.Fatal("the undamaged archive is not read")
			}
			b, err := os.ReadFile(to)
			if err != nil {
				t.Fatal(err)
			}
			noticed, flips := 0, 50
			if suffix == ".tar.bz2" {
				flips = 16 // slow to read
			}
			for range flips {
				i := r.IntN(len(b))
				d := bytes.Clone(b)
				d[i] ^= 1 << r.IntN(8)
				s, c, err := readMem(t, &memTree{files: map[string][]byte{"b" + suffix: d}}, "b"+suffix)
				if err != nil || len(s.Problems()) > 0 {
					noticed++
					continue
				}
				sameFiles(t, c.files, want)
				if t.Failed() {
					t.Fatalf("byte %d of %d changed, and nothing was noticed", i, len(b))
				}
			}
			if noticed < flips/2 {
				t.Errorf("only %d of %d noticed", noticed, flips)
			}
		})
	}
}

// TestBombs: small archives that expand beyond the limit are refused by name.
func TestBombs(t *testing.T) {
	dir := smallDir(t, datadir.ShutDown, "")
	write(t, filepath.Join(dir, "base/5/20000"), make([]byte, 12<<20))
	for _, suffix := range []string{".tar.gz", ".tar.zst", ".tar.lz4"} {
		to := filepath.Join(t.TempDir(), "bomb"+suffix)
		packTar(t, dir, to)
		s, err := Open(t.Context(), to, Options{MaxExpansion: 10, free: 4 << 20})
		if err != nil {
			t.Fatal(err)
		}
		err = s.Walk(t.Context(), newCollector())
		if err == nil || !strings.Contains(err.Error(), "bomb"+suffix) || !strings.Contains(err.Error(), "decompression bomb") {
			t.Errorf("%s: %v", suffix, err)
		}
		_ = s.Close()
		if _, _, err := readOnce(t, to); err != nil {
			t.Errorf("%s with the default limit: %v", suffix, err)
		}
	}
}

func TestZstdWindow(t *testing.T) {
	dir := smallDir(t, datadir.ShutDown, "")
	to := filepath.Join(t.TempDir(), "b.tar.zst")
	packTar(t, dir, to)
	s, err := Open(t.Context(), to, Options{MaxWindow: 1024})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if err := s.Walk(t.Context(), newCollector()); err == nil {
		t.Error("a window beyond the limit is accepted")
	}
}

// TestRealTarFormats reads what GNU tar writes, sparse files included.
func TestRealTarFormats(t *testing.T) {
	if _, err := exec.LookPath("tar"); err != nil {
		t.Skip("no tar")
	}
	dir := smallDir(t, datadir.ShutDown, "")
	holes := filepath.Join(dir, "base/5/20000")
	f, err := os.Create(holes)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("page"), 5<<20); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(10 << 20); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	want := expected(t, dir)
	for _, args := range []string{"--format=gnu", "--format=posix", "--format=ustar", "--sparse --format=gnu", "--sparse --format=posix --sparse-version=1.0", "--sparse --format=posix --sparse-version=0.1"} {
		to := filepath.Join(t.TempDir(), "b.tar")
		cmd := exec.Command("tar", append(strings.Fields(args), "-cf", to, "-C", dir, ".")...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("tar %s: %v %s", args, err, out)
		}
		_, c := mustRead(t, to)
		sameFiles(t, c.files, want)
	}
}

// TestSparseBomb: many sparse entries of nearly nothing count as what they expand to.
func TestSparseBomb(t *testing.T) {
	if _, err := exec.LookPath("tar"); err != nil {
		t.Skip("no tar")
	}
	dir := smallDir(t, datadir.ShutDown, "")
	for i := range 8 {
		p := filepath.Join(dir, fmt.Sprintf("base/5/%d", 20000+i))
		write(t, p, nil)
		if err := os.Truncate(p, 4<<20); err != nil {
			t.Fatal(err)
		}
	}
	to := filepath.Join(t.TempDir(), "b.tar")
	if out, err := exec.Command("tar", "--sparse", "-cf", to, "-C", dir, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	s, err := Open(t.Context(), to, Options{MaxExpansion: 2, free: 16 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if err := s.Walk(t.Context(), newCollector()); err == nil || !strings.Contains(err.Error(), "bomb") {
		t.Error(err)
	}
}

func TestHostileDirectories(t *testing.T) {
	for name, c := range map[string]struct {
		change func(dir string) error
		want   string
	}{
		"link in base":        {func(d string) error { return os.Symlink("/etc", filepath.Join(d, "base", "6")) }, "symbolic link"},
		"relation as link":    {func(d string) error { return os.Symlink("/etc/passwd", filepath.Join(d, "base", "5", "77")) }, "symbolic link"},
		"link that is not":    {func(d string) error { return os.Symlink("/var/log", filepath.Join(d, "log")) }, ""},
		"label as link":       {func(d string) error { return os.Symlink("/etc/passwd", filepath.Join(d, "backup_label")) }, "no regular file"},
		"tablespace nowhere":  {func(d string) error { return linkSpace(d, filepath.Join(d, "nowhere")) }, "follow the link"},
		"tablespace empty":    {func(d string) error { return linkSpace(d, t.TempDir()) }, "tablespace 16385"},
		"link in tablespace":  {func(d string) error { return hostileSpace(d, t.TempDir()) }, "symbolic link"},
		"links instead dirs":  {func(d string) error { return replaceByLink(d, "pg_xact") }, "symbolic link"},
		"incremental":         {func(d string) error { return os.WriteFile(filepath.Join(d, "base", "5", "INCREMENTAL.5"), nil, 0o600) }, "pg_combinebackup"},
		"socket-like in base": {func(d string) error { return exec.Command("mkfifo", filepath.Join(d, "base", "5", "78")).Run() }, "neither a file"},
		"no version":          {func(d string) error { return os.Remove(filepath.Join(d, "PG_VERSION")) }, "PG_VERSION"},
		"large control":       {func(d string) error { return os.Truncate(filepath.Join(d, "global", "pg_control"), 2<<20) }, "larger than"},
	} {
		dir := smallDir(t, datadir.ShutDown, "")
		if err := c.change(dir); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_, _, err := readOnce(t, dir)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func linkSpace(dir, to string) error {
	if err := os.MkdirAll(filepath.Join(dir, "pg_tblspc"), 0o700); err != nil {
		return err
	}
	return os.Symlink(to, filepath.Join(dir, "pg_tblspc", "16385"))
}

func hostileSpace(dir, to string) error {
	if err := os.MkdirAll(filepath.Join(to, "PG_17_202406281", "5"), 0o700); err != nil {
		return err
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(to, "PG_17_202406281", "5", "9")); err != nil {
		return err
	}
	return linkSpace(dir, to)
}

func replaceByLink(dir, name string) error {
	if err := os.Rename(filepath.Join(dir, name), filepath.Join(dir, "moved")); err != nil {
		return err
	}
	return os.Symlink("moved", filepath.Join(dir, name))
}

// TestTablespaceLinks: relative and absolute links are followed, and only this cluster's directory in them is read.
func TestTablespaceLinks(t *testing.T) {
	for _, relative := range []bool{false, true} {
		dir := smallDir(t, datadir.ShutDown, "")
		space := filepath.Join(filepath.Dir(dir), "space")
		write(t, filepath.Join(space, "PG_17_202406281", "5", "30000"), make([]byte, 8192))
		write(t, filepath.Join(space, "PG_16_202307071", "5", "30000"), make([]byte, 8192))
		to := space
		if relative {
			to = "../../space"
		}
		if err := linkSpace(dir, to); err != nil {
			t.Fatal(err)
		}
		s, c := mustRead(t, dir)
		want := expected(t, dir)
		delete(want, "pg_tblspc/16385/PG_16_202307071/5/30000")
		sameFiles(t, c.files, want)
		if i := s.Info(); len(i.Tablespaces) != 1 || i.Tablespaces[0] != 16385 || c.files["pg_tblspc/16385/PG_17_202406281/5/30000"] == nil {
			t.Errorf("tablespaces: %v", i.Tablespaces)
		}
	}
}
