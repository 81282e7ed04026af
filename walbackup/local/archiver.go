package local

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// CheckArchiver refuses a data directory whose own archiver is at work, for
// both would mark files as done, and one whose archiving is off, for nothing
// would ever become ready. The settings are read where PostgreSQL does:
// the configuration file (in the data directory, or as postmaster.opts or the
// source says) with what it includes, then postgresql.auto.conf, then the
// command line of postmaster.opts; the last one counts.
//
// Source: PostgreSQL's utils/misc/guc-file.l, ParseConfigFp, ProcessConfigFile;
// postmaster/postmaster.c, CreateOptsFile.
func (d *Dir) CheckArchiver() error {
	if !d.Owned() {
		return nil
	}
	settings, err := d.settings()
	if err != nil {
		return fmt.Errorf("look whether PostgreSQL in %s archives by itself: %w", d.DataDir, err)
	}
	for _, name := range []string{"archive_command", "archive_library"} {
		if v := settings[name]; v != "" {
			return fmt.Errorf("PostgreSQL in %s archives by itself: %s is %q; two archivers in one directory lose segments: set it to '' and reload, or take the directory out of wal_backup", d.DataDir, name, v)
		}
	}
	if mode := strings.ToLower(settings["archive_mode"]); mode != "always" && !isTrue(mode) {
		return fmt.Errorf("PostgreSQL in %s does not mark segments for archiving: set archive_mode = on (archive_command and archive_library empty) and restart it", d.DataDir)
	}
	return nil
}

// isTrue follows parse_bool (utils/adt/bool.c), which takes unique prefixes.
func isTrue(v string) bool {
	for _, t := range []string{"true", "yes"} {
		if v != "" && strings.HasPrefix(t, v) {
			return true
		}
	}
	return v == "on" || v == "1"
}

// settings are those of the server, by name in lower case.
func (d *Dir) settings() (map[string]string, error) {
	opts, err := readOpts(filepath.Join(d.DataDir, "postmaster.opts"))
	if err != nil {
		return nil, err
	}
	conf := d.configFile
	if v, ok := opts["config_file"]; ok && conf == "" {
		conf = v
	}
	if conf == "" {
		conf = filepath.Join(d.DataDir, "postgresql.conf")
	}
	c := confReader{out: make(map[string]string)}
	if err := c.file(conf, 0); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w; name PostgreSQL's configuration file in config_file", err)
		}
		return nil, err
	}
	err = c.file(filepath.Join(d.DataDir, "postgresql.auto.conf"), 0)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for name, v := range opts {
		c.out[name] = v
	}
	return c.out, nil
}

// readOpts reads the settings of the command line that PostgreSQL was last
// started with: the program, then arguments in double quotes.
func readOpts(path string) (map[string]string, error) {
	b, err := readSmall(path)
	if errors.Is(err, fs.ErrNotExist) {
		return map[string]string{}, nil // it never ran
	}
	if err != nil {
		return nil, err
	}
	out := make(map[string]string)
	var args []string
	for i, part := range strings.Split(strings.TrimRight(string(b), "\n"), `"`) {
		if i%2 == 1 {
			args = append(args, part)
		}
	}
	for i := 0; i < len(args); i++ {
		var set string
		switch a := args[i]; {
		case a == "-c" && i+1 < len(args):
			i++
			set = args[i]
		case strings.HasPrefix(a, "-c"):
			set = a[2:]
		case strings.HasPrefix(a, "--"):
			set = a[2:]
		default:
			continue
		}
		if name, v, ok := strings.Cut(set, "="); ok {
			out[strings.ToLower(strings.ReplaceAll(strings.TrimSpace(name), "-", "_"))] = v
		}
	}
	return out, nil
}

// maxConf bounds what is read of one configuration file, in bytes.
const maxConf = 4 << 20

func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	b, err := io.ReadAll(io.LimitReader(f, maxConf+1))
	if err == nil && len(b) > maxConf {
		err = fmt.Errorf("%s is longer than %d bytes: that is no configuration", path, maxConf)
	}
	return b, err
}

// maxDepth is how deep PostgreSQL lets files include others (CONF_FILE_MAX_DEPTH).
const maxDepth = 10

type confReader struct {
	out map[string]string
}

func (c *confReader) file(path string, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("%s is included more than %d deep", path, maxDepth)
	}
	b, err := readSmall(path)
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(strings.NewReader(string(b)))
	lines.Buffer(nil, maxConf+1)
	for lines.Scan() {
		name, v := parseLine(lines.Text())
		rel := v
		if !filepath.IsAbs(rel) {
			rel = filepath.Join(filepath.Dir(path), rel)
		}
		switch name {
		case "":
		case "include":
			err = c.file(rel, depth+1)
		case "include_if_exists":
			if err = c.file(rel, depth+1); errors.Is(err, fs.ErrNotExist) {
				err = nil
			}
		case "include_dir":
			err = c.dir(rel, depth+1)
		default:
			c.out[name] = v
		}
		if err != nil {
			return err
		}
	}
	return lines.Err()
}

// dir reads the files of a directory that end with .conf and do not begin
// with a dot, in order of their names.
func (c *confReader) dir(path string, depth int) error {
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	var files []string
	for _, e := range entries {
		if n := e.Name(); strings.HasSuffix(n, ".conf") && !strings.HasPrefix(n, ".") && !e.IsDir() {
			files = append(files, n)
		}
	}
	slices.Sort(files)
	for _, n := range files {
		if err := c.file(filepath.Join(path, n), depth); err != nil {
			return err
		}
	}
	return nil
}

// parseLine reads "name = value", "name value", quoted or not, with comments.
func parseLine(line string) (name, value string) {
	line = strings.TrimSpace(line)
	end := strings.IndexFunc(line, func(r rune) bool {
		return r != '_' && r != '.' && r != '$' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	})
	if end <= 0 {
		return "", ""
	}
	name, rest := strings.ToLower(line[:end]), strings.TrimSpace(line[end:])
	rest = strings.TrimSpace(strings.TrimPrefix(rest, "="))
	if !strings.HasPrefix(rest, "'") {
		value, _, _ = strings.Cut(rest, "#")
		return name, strings.TrimSpace(value)
	}
	var b strings.Builder
	for i := 1; i < len(rest); i++ {
		switch {
		case rest[i] == '\'' && i+1 < len(rest) && rest[i+1] == '\'', rest[i] == '\\' && i+1 < len(rest):
			i++
			b.WriteByte(rest[i])
		case rest[i] == '\'':
			return name, b.String()
		default:
			b.WriteByte(rest[i])
		}
	}
	return name, b.String()
}
