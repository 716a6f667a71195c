//go:build unix && !linux

package functionstest

import "syscall"

// handlerAttributes cannot make the handler end with this process where the system
// has no such thing: as with the real host, it outlives one that is killed.
func handlerAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
