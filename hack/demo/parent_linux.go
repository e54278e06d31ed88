package main

import "syscall"

// endWithParent has the kernel send this process a signal when its parent is gone.
func endWithParent(signal syscall.Signal) {
	// An error costs the precaution only.
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_PDEATHSIG, uintptr(signal), 0)
}

// childAttributes keep Ctrl-C from a process, which is stopped in its turn, and let it end with the demo.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
