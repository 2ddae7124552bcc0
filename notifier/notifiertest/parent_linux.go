package notifiertest

import "syscall"

// diesWithParent lets the kernel end a server whose tests were killed.
func diesWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
