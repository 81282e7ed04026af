package storage

import (
	"fmt"
	"strings"
)

// maxKey is the longest key S3 takes, in bytes.
const maxKey = 1024

// ValidateKey accepts a relative path of plain segments: not empty, no NUL,
// no empty segment, no "." or "..", at most 1,024 bytes. An error wraps ErrKey.
func ValidateKey(key string) error {
	switch {
	case key == "":
		return fmt.Errorf("%w: it is empty", ErrKey)
	case len(key) > maxKey:
		return fmt.Errorf("%w: it is longer than %d bytes", ErrKey, maxKey)
	case strings.IndexByte(key, 0) >= 0:
		return fmt.Errorf("%w: it holds a NUL byte", ErrKey)
	}
	for seg := range strings.SplitSeq(key, "/") {
		switch seg {
		case "":
			return fmt.Errorf("%w: it has an empty segment", ErrKey)
		case ".", "..":
			return fmt.Errorf("%w: %q is not allowed in it", ErrKey, seg)
		}
	}
	return nil
}
