package config

import (
	"encoding"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// document decodes a syntax tree into structs by their yaml tags, remembers
// where each key's value stands and gathers the faults.
type document struct {
	file   string
	at     map[string]place
	faults []*Error
}

type place struct{ line, col int }

// defaulter fills a new element of a list or map before its keys are read.
type defaulter interface{ setDefaults() }

func placeOf(n ast.Node) place {
	// The token of a mapping is its first colon; people look for the first key.
	if m, ok := n.(*ast.MappingNode); ok && len(m.Values) > 0 {
		n = m.Values[0]
	}
	if m, ok := n.(*ast.MappingValueNode); ok {
		n = m.Key
	}
	t := n.GetToken()
	if t == nil || t.Position == nil {
		return place{1, 1}
	}
	return place{t.Position.Line, t.Position.Column}
}

// fail records a fault of the key at path, at its value or, when the file
// does not have it, at the nearest parent that is there.
func (d *document) fail(path, format string, args ...any) {
	p := place{1, 1}
	for at := path; at != ""; at = parent(at) {
		if found, ok := d.at[at]; ok {
			p = found
			break
		}
	}
	d.failAt(p, path, format, args...)
}

func (d *document) failAt(p place, path, format string, args ...any) {
	d.faults = append(d.faults, &Error{File: d.file, Line: p.line, Col: p.col, Key: path, Msg: fmt.Sprintf(format, args...)})
}

func parent(path string) string {
	return path[:max(strings.LastIndexAny(path, ".["), 0)]
}

// decode reads root into cfg; a nil root is an empty file.
func (d *document) decode(root ast.Node, cfg *Config) {
	if root == nil {
		return
	}
	d.value(root, "", reflect.ValueOf(cfg).Elem())
}

func (d *document) value(n ast.Node, path string, v reflect.Value) {
	p := placeOf(n)
	if path != "" {
		d.at[path] = p
	}
	switch n.(type) {
	case *ast.AnchorNode, *ast.AliasNode, *ast.MergeKeyNode, *ast.TagNode:
		d.failAt(p, path, "anchors, aliases, merge keys and tags are not understood here: write the value out")
		return
	}
	if _, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		d.scalar(n, path, v)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.structure(n, path, v)
	case reflect.Map:
		d.mapping(n, path, v)
	case reflect.Slice:
		d.list(n, path, v)
	default:
		d.scalar(n, path, v)
	}
}

// entries are the keys of a mapping; ok is false when n is none. An empty
// value counts as an empty mapping: all its keys keep their defaults.
func (d *document) entries(n ast.Node, path string) (entries []*ast.MappingValueNode, ok bool) {
	switch m := n.(type) {
	case *ast.NullNode:
		return nil, true
	case *ast.MappingNode:
		return m.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{m}, true
	}
	d.failAt(placeOf(n), path, "want keys with values here, not %s", describe(n))
	return nil, false
}

// key is an entry's name, the path of its value and its place; ok is false when it is no plain name or seen before.
func (d *document) key(e *ast.MappingValueNode, path string, seen map[string]bool) (name, full string, ok bool) {
	p := placeOf(e.Key)
	switch k := e.Key.(type) {
	case *ast.StringNode:
		name = k.Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		name = k.GetToken().Value
	default:
		d.failAt(p, path, "want a plain name as key, not %s", describe(e.Key))
		return "", "", false
	}
	full = name
	if path != "" {
		full = path + "." + name
	}
	if seen[name] {
		d.failAt(p, full, "stands here twice: keep one")
		return "", "", false
	}
	seen[name] = true
	return name, full, true
}

func (d *document) structure(n ast.Node, path string, v reflect.Value) {
	entries, ok := d.entries(n, path)
	if !ok {
		return
	}
	fields, names := fieldsOf(v.Type())
	seen := map[string]bool{}
	for _, e := range entries {
		name, full, ok := d.key(e, path, seen)
		if !ok {
			continue
		}
		i, known := fields[name]
		if !known {
			d.failAt(placeOf(e.Key), full, "unknown key: %s", suggest(name, names))
			continue
		}
		d.value(e.Value, full, v.Field(i))
	}
}

func fieldsOf(t reflect.Type) (index map[string]int, names []string) {
	index = map[string]int{}
	for i := range t.NumField() {
		name := t.Field(i).Tag.Get("yaml")
		index[name] = i
		names = append(names, name)
	}
	return index, names
}

func (d *document) mapping(n ast.Node, path string, v reflect.Value) {
	entries, ok := d.entries(n, path)
	if !ok || len(entries) == 0 {
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	seen := map[string]bool{}
	for _, e := range entries {
		name, full, ok := d.key(e, path, seen)
		if !ok {
			continue
		}
		elem := newElement(v.Type().Elem())
		d.value(e.Value, full, elem)
		v.SetMapIndex(reflect.ValueOf(name), elem)
	}
}

func (d *document) list(n ast.Node, path string, v reflect.Value) {
	seq, ok := n.(*ast.SequenceNode)
	if _, empty := n.(*ast.NullNode); empty {
		return
	}
	if !ok {
		d.failAt(placeOf(n), path, "want a list here, not %s", describe(n))
		return
	}
	v.SetZero()
	for i, item := range seq.Values {
		elem := newElement(v.Type().Elem())
		d.value(item, fmt.Sprintf("%s[%d]", path, i), elem)
		v.Set(reflect.Append(v, elem))
	}
}

func newElement(t reflect.Type) reflect.Value {
	elem := reflect.New(t)
	if x, ok := elem.Interface().(defaulter); ok {
		x.setDefaults()
	}
	return elem.Elem()
}

func (d *document) scalar(n ast.Node, path string, v reflect.Value) {
	text, ok := scalarText(n)
	if !ok {
		d.failAt(placeOf(n), path, "want %s here, not %s", wanted(v), describe(n))
		return
	}
	if err := setScalar(n, text, v); err != nil {
		d.failAt(placeOf(n), path, "%v", err)
	}
}

func setScalar(n ast.Node, text string, v reflect.Value) error {
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return u.UnmarshalText([]byte(text))
	}
	wrong := fmt.Errorf("%q is not %s", text, wanted(v))
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		b, ok := n.(*ast.BoolNode)
		if !ok {
			return wrong
		}
		v.SetBool(b.Value)
	case reflect.Int:
		i, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			return wrong
		}
		v.SetInt(i)
	case reflect.Float64:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return wrong
		}
		v.SetFloat(f)
	default:
		return fmt.Errorf("no rule for values of type %s", v.Type())
	}
	return nil
}

func scalarText(n ast.Node) (string, bool) {
	switch s := n.(type) {
	case *ast.StringNode:
		return s.Value, true
	case *ast.LiteralNode:
		if s.Value == nil {
			return "", true
		}
		return s.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return s.GetToken().Value, true
	}
	return "", false
}

func wanted(v reflect.Value) string {
	switch v.Addr().Interface().(type) {
	case *Size:
		return "a size such as 200GiB"
	case *Duration:
		return "a duration such as 4h"
	}
	switch v.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "a whole number"
	case reflect.Float64:
		return "a number"
	}
	return "a text"
}

func describe(n ast.Node) string {
	switch n.(type) {
	case *ast.NullNode:
		return "nothing: give a value or remove the key"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "keys with values"
	case *ast.SequenceNode:
		return "a list"
	}
	return "a single value"
}
