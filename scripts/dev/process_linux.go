package main

import "syscall"

// childAttributes has Linux kill the child when this process ends, however that
// ends.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
