package snapshot

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
)

// gather collects what says how to read a snapshot, as its members come by.
type gather struct {
	control  *datadir.Control
	raw      []byte // content of pg_control
	label    *datadir.BackupLabel
	major    int                // of PG_VERSION, 0 when not seen
	wanted   map[string]string  // tablespaces by name, and what names them
	versions map[string]*tspace // directories of clusters within tablespaces, by their name
	manifest *datadir.Manifest
}

// tspace is what was seen of one version directory's name.
type tspace struct {
	in    map[string]bool // tablespaces that have it
	first string          // a path below it
}

func newGather() *gather {
	return &gather{wanted: map[string]string{}, versions: map[string]*tspace{}}
}

// path notes what a member's mere presence says.
func (g *gather) path(m *member) {
	if c := datadir.Classify(m.path); c.Class == datadir.TablespaceFolder && m.kind != file {
		g.want(c.Spc, "pg_tblspc")
	}
	space, version, ok := versionDirOf(m.path)
	if !ok {
		return
	}
	v := g.versions[version]
	if v == nil {
		v = &tspace{map[string]bool{}, m.path}
		g.versions[version] = v
	}
	v.in[space] = true
}

func (g *gather) want(oid pg.OID, why string) {
	name := strconv.FormatUint(uint64(oid), 10)
	if g.wanted[name] == "" {
		g.wanted[name] = why
	}
}

// content decodes a small file.
func (g *gather) content(path string, content []byte) error {
	var err error
	switch path {
	case datadir.ControlPath:
		var c datadir.Control
		if c, err = datadir.ParseControl(content); err == nil {
			g.control, g.raw = &c, content
		}
	case datadir.LabelPath:
		var l datadir.BackupLabel
		if l, err = datadir.ParseBackupLabel(content); err == nil {
			g.label = &l
		}
	case datadir.VersionPath:
		g.major, err = datadir.ParseVersion(content)
	case datadir.TablespaceMapPath:
		var list []datadir.Tablespace
		list, err = datadir.ParseTablespaceMap(content)
		for _, t := range list {
			g.want(t.OID, "tablespace_map")
		}
	}
	return err
}

// info settles what is known so far.
func (g *gather) info(form Form) (Info, error) {
	i := Info{Form: form}
	if g.control != nil {
		major, err := g.checkMajor()
		if err != nil {
			return i, err
		}
		i.setControl(*g.control, major)
	}
	i.Tablespaces = g.tablespaces()
	if err := i.settleStart(g.label); err != nil {
		return i, err
	}
	i.setManifest(g.manifest)
	return i, i.checkLabel()
}

// tablespaces are those that are named or seen.
func (g *gather) tablespaces() (list []pg.OID) {
	names := maps.Clone(g.wanted)
	for _, v := range g.versions {
		for name := range v.in {
			names[name] = ""
		}
	}
	for name := range names {
		if oid, ok := parseOID(name); ok {
			list = append(list, pg.OID(oid))
		}
	}
	slices.Sort(list)
	return list
}

// checkMajor holds PG_VERSION against pg_control.
func (g *gather) checkMajor() (int, error) {
	known := g.control.Major()
	switch {
	case known == 0 && g.major == 0:
		return 0, fmt.Errorf("read pg_control: catalog version %d is of no release of PostgreSQL %d to %d", g.control.CatalogVersion, pg.MinMajor, pg.MaxMajor)
	case known != 0 && g.major != 0 && known != g.major:
		return 0, fmt.Errorf("PG_VERSION says PostgreSQL %d, pg_control says %d: they are not of one cluster", g.major, known)
	case g.major != 0:
		return g.major, nil
	}
	return known, nil
}

// complete checks, after the last member, that nothing the snapshot needs is missing.
func (g *gather) complete(i *Info) error {
	if g.control == nil {
		return errors.New("it has no global/pg_control: it is not a data directory, or not a whole one; a tar must hold the directory's contents (tar -C DATADIR .)")
	}
	if g.major == 0 {
		return errors.New("it has no PG_VERSION: it is not a whole data directory")
	}
	want := datadir.VersionDir(i.Major, i.CatalogVersion)
	for name, v := range g.versions {
		if name != want {
			return fmt.Errorf("%s belongs to another cluster, this one's directory within tablespaces is %s: leave it out of the backup", v.first, want)
		}
	}
	if v := g.versions[want]; v != nil && i.Form == TarDirectory {
		for name := range v.in {
			if g.wanted[name] == "" {
				return fmt.Errorf("%s.tar is there, but base.tar names no such tablespace: it is of another backup; remove it", name)
			}
		}
	}
	for name, why := range g.wanted {
		if v := g.versions[want]; v == nil || !v.in[name] {
			return fmt.Errorf("tablespace %s, which %s names, is not in the backup: there is no pg_tblspc/%s/%s; %s", name, why, name, want, tablespaceCure(i.Form, name))
		}
	}
	return nil
}

func tablespaceCure(f Form, name string) string {
	switch f {
	case Directory:
		return "turn the link pg_tblspc/" + name + " to the tablespace's copy"
	case TarDirectory:
		return "put " + name + ".tar beside base.tar"
	}
	return "give the directory that holds base.tar and " + name + ".tar, or put the tablespace's files into the tar (tar --dereference)"
}
