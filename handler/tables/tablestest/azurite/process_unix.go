//go:build unix

package azurite

import (
	"os/exec"
	"syscall"
)

// interrupt asks the process to save and end, and reports whether it was asked. Azurite heeds SIGINT alone.
func interrupt(cmd *exec.Cmd) bool {
	return syscall.Kill(cmd.Process.Pid, syscall.SIGINT) == nil
}

func kill(cmd *exec.Cmd) {
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
}
