//go:build unix && !linux

package azurite

import (
	"os/exec"
	"syscall"
)

func setAttributes(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
}
