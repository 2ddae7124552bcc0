//go:build !linux

package notifiertest

import "syscall"

func diesWithParent() *syscall.SysProcAttr { return nil }
