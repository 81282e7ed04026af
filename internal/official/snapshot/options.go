package snapshot

// Options shape how a snapshot is read. The zero value is fit for use.
type Options struct {
	// MaxExpansion is how many bytes an archive may expand to per byte read,
	// beyond its first GiB; more is taken for a decompression bomb. 0 means 1,000.
	MaxExpansion int64
	// MaxWindow is the largest window of a zstd archive in bytes: memory that
	// the archive asks for. 0 means 128 MiB, which is what `zstd -d` allows.
	MaxWindow uint64
	// Manifest, if set, is what files are checked against, whether or not there
	// is a backup_manifest. A snapshot that is not finished can be opened with it.
	Manifest []byte

	free int64 // what any archive may expand to; 0 means allowance
}

// allowance is what any archive may expand to: small ones may well be nearly all zeros.
const allowance = 1 << 30

func (o *Options) meter() *meter {
	m := &meter{limit: o.MaxExpansion, free: o.free}
	if m.limit <= 0 {
		m.limit = 1000
	}
	if m.free <= 0 {
		m.free = allowance
	}
	return m
}

func (o *Options) maxWindow() uint64 {
	if o.MaxWindow == 0 {
		return 128 << 20
	}
	return o.MaxWindow
}
