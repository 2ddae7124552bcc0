package storetest

import "syscall"

// diesWithParent lets the kernel end a server whose tests were killed. It is a shutdown without grace.
func diesWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT} }
