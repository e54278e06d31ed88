//go:build !linux

package main

import "syscall"

// endWithParent does nothing where the kernel cannot tell.
func endWithParent(syscall.Signal) {}

// childAttributes has none where the kernel cannot end a process with its parent.
func childAttributes() *syscall.SysProcAttr { return nil }
