//go:build !unix

package storetest

import "syscall"

func otherUser() *syscall.SysProcAttr { return nil }

func giveAway(string) error { return nil }
