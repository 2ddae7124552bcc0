//go:build unix

package storetest

import (
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// unprivileged gives the ids of a user that PostgreSQL can run as, where these tests run as root.
func unprivileged() (uid, gid int, needed bool) {
	if os.Geteuid() != 0 {
		return 0, 0, false
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.Atoi(u.Uid)
		if err != nil {
			continue
		}
		if gid, err = strconv.Atoi(u.Gid); err == nil {
			return uid, gid, true
		}
	}
	return 65534, 65534, true
}

// otherUser lets a program run as that user. It ends when these tests end, however they do.
func otherUser() *syscall.SysProcAttr {
	attributes := diesWithParent()
	if uid, gid, needed := unprivileged(); needed {
		attributes.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	return attributes
}

// giveAway makes that user the owner of a folder.
func giveAway(dir string) error {
	if uid, gid, needed := unprivileged(); needed {
		return os.Chown(dir, uid, gid)
	}
	return nil
}
