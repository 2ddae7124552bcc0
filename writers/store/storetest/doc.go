// Package storetest starts a real PostgreSQL for tests: a server of its own for a test program, on a free port of the
// loopback address, in a temporary folder, with durability switched off. Only tests import it.
//
// The programs initdb and postgres must be on the PATH, or where Debian puts them (/usr/lib/postgresql/VERSION/bin), or
// in the folder that TEST_POSTGRES_BIN names. `make servers` installs them where it can.
package storetest
