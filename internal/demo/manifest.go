package demo

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
)

// refitManifest gives a backup_manifest the checksum of a file's new content:
// the CRC-32C of the file's line, its bytes in memory order, and the SHA-256
// over all lines but the last (backup/backup_manifest.c).
func refitManifest(name, path string, content []byte) error {
	m, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if m, err = refit(m, path, content); err != nil {
		return fmt.Errorf("change %s: %w", name, err)
	}
	return writeFile(name, func(w io.Writer) error {
		_, err := w.Write(m)
		return err
	})
}

func refit(m []byte, path string, content []byte) ([]byte, error) {
	at := bytes.Index(m, fmt.Appendf(nil, `"Path": "%s", "Size": %d,`, path, len(content)))
	if at < 0 {
		return nil, fmt.Errorf("no file %s of %d bytes", path, len(content))
	}
	line := m[at:]
	if end := bytes.IndexByte(line, '\n'); end >= 0 {
		line = line[:end]
	}
	const key = `"Checksum-Algorithm": "CRC32C", "Checksum": "`
	sum := bytes.Index(line, []byte(key))
	if sum < 0 || len(line) < sum+len(key)+8 {
		return nil, fmt.Errorf("no CRC-32C for %s", path)
	}
	crc := binary.LittleEndian.AppendUint32(nil, crc32.Checksum(content, crc32.MakeTable(crc32.Castagnoli)))
	hex.Encode(line[sum+len(key):], crc)

	const last = `"Manifest-Checksum": "`
	at = bytes.LastIndex(m, []byte(last))
	if at < 0 || len(m) < at+len(last)+2*sha256.Size {
		return nil, errors.New("no checksum at its end")
	}
	all := sha256.Sum256(m[:at])
	hex.Encode(m[at+len(last):], all[:])
	return m, nil
}
