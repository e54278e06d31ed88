//go:build !linux

package supervise

import "syscall"

// EndWithParent does nothing: only Linux tells a process that its parent has exited.
func EndWithParent(syscall.Signal) {}

// childAttributes is empty: only Linux ends a process with its parent.
func childAttributes() *syscall.SysProcAttr { return nil }
