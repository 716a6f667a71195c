//go:build !unix

package functionstest

import (
	"os"
	"syscall"
)

// killHandler kills the handler alone: what it started keeps running.
func killHandler(p *os.Process) { _ = p.Kill() }

func handlerAttributes() *syscall.SysProcAttr { return nil }
