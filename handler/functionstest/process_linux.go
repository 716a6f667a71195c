package functionstest

import "syscall"

// handlerAttributes makes the handler end with this process, even if this one is
// killed.
func handlerAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
