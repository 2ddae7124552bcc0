package store

import (
	"errors"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// IsFull tells whether an error came of the disk on which the state has no more room.
func IsFull(err error) bool {
	var full *sqlite.Error
	return errors.As(err, &full) && (full.Code()&0xff == sqlite3.SQLITE_FULL || full.Code() == sqlite3.SQLITE_IOERR_SHMSIZE)
}
