package store

import (
	"errors"

	"github.com/lib/pq"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// IsFull tells whether an error came of the disk on which the state has no more room.
func IsFull(err error) bool {
	if server := (*pq.Error)(nil); errors.As(err, &server) {
		return server.Code == "53100" // disk_full
	}
	var full *sqlite.Error
	return errors.As(err, &full) && (full.Code()&0xff == sqlite3.SQLITE_FULL || full.Code() == sqlite3.SQLITE_IOERR_SHMSIZE)
}
