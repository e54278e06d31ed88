package supervise

import "syscall"

// EndWithParent has the kernel send this process a signal when its parent exits. It belongs to the calling thread.
func EndWithParent(signal syscall.Signal) {
	// An error costs the precaution only.
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_PDEATHSIG, uintptr(signal), 0)
}

// childAttributes keep Ctrl-C from a program, which is stopped in its turn, and kill it when this process exits.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
