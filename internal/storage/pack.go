package storage

import (
	"crypto/sha256"
	"fmt"
	"io"

	"redoubt/internal/compress"
	"redoubt/internal/pg"
	"redoubt/internal/pg/walfile"
)

// packed is what is sent of a source. It counts its bytes.
type packed struct {
	io.Reader
	sent int64
	stop func() // ends what feeds it
}

func (p *packed) Read(b []byte) (int, error) {
	n, err := p.Reader.Read(b)
	p.sent += int64(n)
	return n, err
}

// compressed compresses r as it is read; stop must be called.
func compressed(r io.Reader, c walfile.Compression) *packed {
	if c == walfile.None {
		return &packed{Reader: r, stop: func() {}}
	}
	pr, pw := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = pw.CloseWithError(pack(pw, r, c)) // never fails
	}()
	return &packed{Reader: pr, stop: func() {
		_ = pr.Close() // lets the writer end
		<-done
	}}
}

func pack(w io.Writer, r io.Reader, c walfile.Compression) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("compress: panic: %v", p)
		}
	}()
	z, err := compress.NewWriter(w, c)
	if err != nil {
		return err
	}
	_, err = io.Copy(z, r)
	if cl := z.Close(); err == nil {
		err = cl
	}
	return err
}

// digestStored decompresses what is stored and digests it, up to the size of
// the largest segment. Content that can't be decompressed, or is longer, is
// damage; only a failure to read is an error.
func digestStored(rc io.Reader, c walfile.Compression) (d Digest, damage string, err error) {
	raw := &failing{r: rc}
	r, err := compress.NewReader(raw, c)
	if err == nil {
		defer func() { _ = r.Close() }() // its errors came with the reads
		h := sha256.New()
		d.Size, err = io.Copy(h, io.LimitReader(r, pg.MaxSegmentSize+1))
		d.SHA256 = [32]byte(h.Sum(nil))
	}
	switch {
	case raw.err != nil:
		return d, "", raw.err
	case err != nil:
		return d, "it can't be decompressed: " + err.Error(), nil
	case d.Size > pg.MaxSegmentSize:
		return d, "it is longer than any segment", nil
	}
	return d, "", nil
}

// failing remembers why a read failed, which a decompressor may hide.
type failing struct {
	r   io.Reader
	err error
}

func (f *failing) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && err != io.EOF {
		f.err = err
	}
	return n, err
}
