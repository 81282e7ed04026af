package recovery

// OfOtherHistory is the content of a durable point's file that says another
// checkpoint than the WAL has.
func OfOtherHistory(b []byte) ([]byte, error) {
	p, err := decodePoint(b)
	if err != nil {
		return nil, err
	}
	p.CheckPoint.NextXID++
	return p.encode()
}
