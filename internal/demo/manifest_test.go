package demo

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"testing"
)

func TestRefit(t *testing.T) {
	m := []byte("{ \"Files\": [\n" +
		`{ "Path": "base/5/1", "Size": 9, "Last-Modified": "x", "Checksum-Algorithm": "CRC32C", "Checksum": "00000000" },` + "\n" +
		`{ "Path": "base/5/2", "Size": 9, "Last-Modified": "x", "Checksum-Algorithm": "CRC32C", "Checksum": "11111111" }` + "\n],\n")
	body := len(m)
	m = append(m, `"Manifest-Checksum": "`+string(bytes.Repeat([]byte("0"), 64))+"\"}\n"...)
	got, err := refit(m, "base/5/1", []byte("123456789"))
	if err != nil {
		t.Fatal(err)
	}
	// 0xE3069283 is the check value of CRC-32C.
	if !bytes.Contains(got, []byte(`"Checksum": "839206e3"`)) || !bytes.Contains(got, []byte("11111111")) {
		t.Errorf("manifest: %s", got)
	}
	sum := sha256.Sum256(got[:body])
	if !bytes.Contains(got, []byte(hex.EncodeToString(sum[:]))) {
		t.Errorf("manifest's own checksum is wrong: %s", got)
	}
	if _, err := refit(m, "base/5/1", []byte("1")); err == nil {
		t.Error("a file of another size is accepted")
	}
}
