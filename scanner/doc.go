// Package scanner says what an archive should hold of a timeline's WAL and
// what it does hold: gaps, damaged segments, and objects that are no part of
// it.
//
// A scan lists everything once, in bounded memory: present segments are kept
// as ranges. A deep scan also reads every segment, many at once: it
// decompresses, checks each page's header, TLI and address, each record's
// CRC-32C and the chain of xl_prev, also from segment to segment and across
// switches of TLI, and that nothing but zeros follows an XLOG_SWITCH. Bytes
// that nothing protects (padding between records and in page headers) are the
// only ones that can change unseen.
//
// What was read and found valid can be remembered (Memory), so that it is not
// read again while its size, ETag and modification time stay. The state of the
// chain at a segment's end is remembered with it, so that the seam between a
// remembered segment and one that is new is checked like any other.
//
// Missing and damaged segments are findings. What could not be listed or read
// is neither: it makes a scan inconclusive, and the reason says what it was.
package scanner
