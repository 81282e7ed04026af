package wal

import (
	"bytes"
	"encoding/binary"
	"testing"
)

func TestHidePath(t *testing.T) {
	rec := append(make([]byte, recordHeaderSize), "head/some/where\x00"...)
	binary.LittleEndian.PutUint32(rec[crcOffset:], recordCRC(rec))
	before := bytes.Clone(rec)
	const path = recordHeaderSize + len("head")
	for _, at := range []int{-1, 0, recordHeaderSize - 1, len(rec)} {
		if err := HidePath(rec, at); err == nil || !bytes.Equal(rec, before) {
			t.Errorf("a path at %d of %d: %v", at, len(rec), err)
		}
	}
	if err := HidePath(rec[:3], path); err == nil {
		t.Error("a record that is cut")
	}
	if err := HidePath(rec, path); err != nil {
		t.Fatal(err)
	}
	if rec[path] != 0 || binary.LittleEndian.Uint32(rec[crcOffset:]) != recordCRC(rec) || !bytes.Equal(rec[path+1:], before[path+1:]) || !bytes.Equal(rec[:crcOffset], before[:crcOffset]) {
		t.Errorf("%q", rec)
	}
	if rec[path+1] ^= 1; HidePath(rec, path) == nil {
		t.Error("its CRC does not fit, and nobody says so")
	}
}
