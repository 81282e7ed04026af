package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// maxFile bounds the files that Load reads, in bytes.
const maxFile = 1 << 20

// Load reads, validates and resolves the file at path: paths relative to the
// file's directory become absolute and http.token_file is read.
func Load(path string) (*Config, error) {
	data, err := readSmall(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read configuration: %w: name it with --config, or begin with config.example.yaml", err)
	}
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("read configuration %s: %w", path, err)
	}
	cfg, doc, err := parse(path, data)
	if err != nil {
		return nil, err
	}
	cfg.resolve(dir)
	if err := cfg.readToken(); err != nil {
		doc.fail("http.token_file", "%v", err)
	}
	checkToken(cfg, doc)
	if err := join(doc.faults); err != nil {
		return nil, err
	}
	return cfg, nil
}

// Parse reads and validates data without touching the file system; name is
// what errors call it. Paths stay as written and http.token_file is not read.
func Parse(name string, data []byte) (*Config, error) {
	cfg, _, err := parse(name, data)
	return cfg, err
}

func parse(name string, data []byte) (*Config, *document, error) {
	doc := &document{file: name, at: map[string]place{}}
	root, err := syntaxTree(name, data)
	if err != nil {
		return nil, nil, err
	}
	cfg := Default()
	doc.decode(root, &cfg)
	if len(doc.faults) == 0 {
		validate(&cfg, doc)
	}
	if err := join(doc.faults); err != nil {
		return nil, nil, err
	}
	return &cfg, doc, nil
}

// syntaxTree parses YAML and returns the one document's root, nil when it is empty.
func syntaxTree(name string, data []byte) (root ast.Node, err error) {
	defer func() {
		// The parser is a third party's and has panicked on malformed input before.
		if p := recover(); p != nil {
			err = &Error{File: name, Msg: fmt.Sprintf("not readable as YAML: %v", p)}
		}
	}()
	if len(data) > maxFile {
		return nil, &Error{File: name, Msg: fmt.Sprintf("longer than %d bytes: that is no configuration", maxFile)}
	}
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		return nil, syntaxError(name, err)
	}
	for _, d := range file.Docs {
		if d.Body == nil {
			continue
		}
		if root != nil {
			p := placeOf(d.Body)
			return nil, &Error{File: name, Line: p.line, Col: p.col, Msg: "a second YAML document starts here: keep one"}
		}
		root = d.Body
	}
	return root, nil
}

func syntaxError(name string, err error) error {
	e := &Error{File: name, Msg: "not readable as YAML: " + firstLine(err.Error())}
	var pos interface {
		GetToken() *token.Token
		GetMessage() string
	}
	if errors.As(err, &pos) {
		e.Msg = "not readable as YAML: " + firstLine(pos.GetMessage())
		if t := pos.GetToken(); t != nil && t.Position != nil {
			e.Line, e.Col = t.Position.Line, t.Position.Column
		}
	}
	return e
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return data, nil
}

// resolve makes paths absolute, relative to dir.
func (c *Config) resolve(dir string) {
	for _, p := range []*string{&c.DataDir, &c.Scratch.Dir, &c.Recovery.Dir, &c.Reports.Dir, &c.HTTP.TokenFile, &c.HTTP.TokensFile, &c.HTTP.TLS.CertFile, &c.HTTP.TLS.KeyFile, &c.Metrics.Textfile, &c.WALBackup.Prefetch.Dir} {
		*p = under(dir, *p)
	}
	for major, p := range c.PgBin {
		c.PgBin[major] = under(dir, p)
	}
	for i := range c.HTTP.JWTKeys {
		c.HTTP.JWTKeys[i] = under(dir, c.HTTP.JWTKeys[i])
	}
	c.WALBackup.resolve(dir)
	for i := range c.Sources {
		s := &c.Sources[i]
		for _, p := range []*string{&s.Neon.PageserverToken.File, &s.Neon.SafekeeperToken.File} {
			*p = under(dir, *p)
		}
		for _, p := range []*string{&s.WAL, &s.Backups} {
			if !isURL(*p) {
				*p = under(dir, *p)
			}
		}
	}
}

func (w *WALBackup) resolve(dir string) {
	if !isURL(w.Bucket) {
		w.Bucket = under(dir, w.Bucket)
	}
	w.Agent.Etcd.resolve(dir)
	for i := range w.Sources {
		w.Sources[i].Path = under(dir, w.Sources[i].Path)
		w.Sources[i].ConfigFile = under(dir, w.Sources[i].ConfigFile)
	}
}

func (e *Etcd) resolve(dir string) {
	for _, p := range []*string{&e.PasswordFile, &e.CAFile, &e.CertFile, &e.KeyFile} {
		*p = under(dir, *p)
	}
}

func under(dir, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

func (c *Config) readToken() error {
	if c.HTTP.TokenFile == "" {
		return nil
	}
	data, err := readSmall(c.HTTP.TokenFile)
	if err != nil {
		return fmt.Errorf("read the token: %w", err)
	}
	c.HTTP.Token = Secret(strings.TrimSpace(string(data)))
	return nil
}
