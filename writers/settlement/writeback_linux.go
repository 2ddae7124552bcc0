package settlement

import (
	"os"
	"syscall"
)

// startWriteback has the kernel begin to write a finished file to the disk, without waiting for it, so that little is left
// to wait for when all files are synced. It is a hint: where it fails, the sync does all of the work.
func startWriteback(file *os.File) {
	const write = 2 // SYNC_FILE_RANGE_WRITE
	if raw, err := file.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = syscall.SyncFileRange(int(fd), 0, 0, write) })
	}
}
