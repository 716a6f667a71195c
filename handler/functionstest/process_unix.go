//go:build unix

package functionstest

import (
	"os"
	"syscall"
)

// killHandler kills the handler and all that it started: handlerAttributes puts
// them in a process group of their own.
func killHandler(p *os.Process) { _ = syscall.Kill(-p.Pid, syscall.SIGKILL) }
