package wal

// Operations of resource manager XLOG (catalog/pg_control.h).
const (
	xlogSwitch              = 0x40
	xlogOverwriteContrecord = 0xD0
)
