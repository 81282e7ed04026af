// Package local is the WAL on this machine's disk: directories that
// pg_receivewal, a safekeeper or PostgreSQL itself fills. It notices complete
// files, new timelines and vanished ones, and tells whoever subscribes.
//
// A file is complete when it stands under its final name, without .partial;
// beside PostgreSQL itself, when archive_status/NAME.ready is there. A segment
// must besides be of a segment's size and begin with the header of its own
// place and cluster. inotify wakes the reading of a directory; every directory
// is also read from time to time, for notifications get lost.
package local
