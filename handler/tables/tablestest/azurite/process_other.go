//go:build !unix

package azurite

import "os/exec"

func setAttributes(*exec.Cmd) {}

func interrupt(*exec.Cmd) bool { return false }

func kill(cmd *exec.Cmd) { _ = cmd.Process.Kill() }
