//go:build unix

package spatest_test

import "syscall"

// pause stops a process so that it takes requests and answers none, and has it go on.
func pause(pid int, stop bool) error {
	if stop {
		return syscall.Kill(pid, syscall.SIGSTOP)
	}
	return syscall.Kill(pid, syscall.SIGCONT)
}
