package neonapi

import (
	"encoding/json"
	"reflect"
	"strings"
)

// complete checks that a struct's pointers were all in the answer, but for
// those whose tag has the option omitempty.
func complete(of string, v any) error {
	var missing []string
	val := reflect.ValueOf(v)
	for i := range val.NumField() {
		name, rest, _ := strings.Cut(val.Type().Field(i).Tag.Get("json"), ",")
		if f := val.Field(i); f.Kind() == reflect.Pointer && f.IsNil() && rest == "" {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return badAnswer("%s has no %s", of, strings.Join(missing, ", "))
	}
	return nil
}

// each decodes a list, one element after the other.
func each[T any](dec *json.Decoder, most int, fn func(T) error) error {
	if t, err := dec.Token(); err != nil {
		return err
	} else if t != json.Delim('[') {
		return badAnswer("it is no list")
	}
	for n := 0; dec.More(); n++ {
		if n == most {
			return badAnswer("a list has more than %d elements", most)
		}
		var v T
		if err := dec.Decode(&v); err != nil {
			return err
		}
		if err := fn(v); err != nil {
			return err
		}
	}
	_, err := dec.Token()
	return err
}

// object decodes an object key by key; fn reads the value of each.
func object(dec *json.Decoder, fn func(key string) error) error {
	if t, err := dec.Token(); err != nil {
		return err
	} else if t != json.Delim('{') {
		return badAnswer("it is no object")
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return err
		}
		name, _ := key.(string)
		if err := fn(name); err != nil {
			return err
		}
	}
	_, err := dec.Token()
	return err
}

// isID reports whether s can be the id of a tenant or timeline: 32 hexadecimal
// digits, lower case.
func isID(s string) bool {
	return len(s) == 32 && strings.Trim(s, "0123456789abcdef") == ""
}

// Most that a list may have: tenants and timelines of one server.
const maxListed = 5_000_000

// state reads an enum of Rust's: a word, or an object whose only key is the word,
// or {"slug": word}.
func stateOf(raw json.RawMessage) string {
	var word string
	if json.Unmarshal(raw, &word) == nil {
		return word
	}
	var tagged map[string]json.RawMessage
	if json.Unmarshal(raw, &tagged) != nil {
		return ""
	}
	if slug, ok := tagged["slug"]; ok && json.Unmarshal(slug, &word) == nil {
		return word
	}
	for key := range tagged {
		if len(tagged) == 1 {
			return key
		}
	}
	return ""
}
