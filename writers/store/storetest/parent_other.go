//go:build unix && !linux

package storetest

import "syscall"

func diesWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }
