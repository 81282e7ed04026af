package storage

// ValidName reports whether s can name a tenant, a timeline or a base backup
// below a location: 1 to 64 of A-Z a-z 0-9 . _ -, but not "." or "..".
func ValidName(s string) bool {
	if len(s) < 1 || len(s) > 64 || s == "." || s == ".." {
		return false
	}
	for _, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

// Names of the parts of a timeline in the redoubt layout (docs/layouts.md):
// <tenant>/<timeline>/wal/<file> and <tenant>/<timeline>/snapshots/<name>/….
const (
	WALDir       = "wal"
	SnapshotsDir = "snapshots"
)
