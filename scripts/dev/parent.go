package main

import (
	"os"
	"time"
)

// watchParent calls gone when this process's parent has ended: for go run, which
// passes no signal on, that is how it is stopped. On Windows a parent's end does
// not show, and it never returns.
func watchParent(gone func()) {
	parent := os.Getppid()
	for range time.Tick(200 * time.Millisecond) {
		if os.Getppid() != parent {
			gone()
			return
		}
	}
}
