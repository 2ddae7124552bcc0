package store

import (
	"errors"
	"syscall"
)

// limitUnanswered ends a connection on which what was sent is not acknowledged for a while (TCP_USER_TIMEOUT).
func limitUnanswered(c syscall.RawConn) error {
	const tcpUserTimeout = 18
	var failed error
	err := c.Control(func(fd uintptr) {
		failed = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(unanswered.Milliseconds()))
	})
	return errors.Join(err, failed)
}
