package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"plexlink.dev/operator/hack/internal/supervise"
)

// envtest starts etcd and kube-apiserver by path and would leave them running if the demo were killed. So it gets links
// to the demo itself, which then becomes the program, and has the kernel kill it when its parent exits.

// standInFor returns the name of the environment variable that holds the program behind a link.
func standInFor(link string) string {
	return "PLEXLINK_DEMO_" + strings.ToUpper(strings.ReplaceAll(filepath.Base(link), "-", "_"))
}

// standIn creates the link for a program, and returns its path.
func (d *demo) standIn(name string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	link := d.path(name)
	os.Setenv(standInFor(link), filepath.Join(d.assets, name))
	return link, os.Symlink(self, link)
}

// become replaces this process with a program.
func become(program string) {
	runtime.LockOSThread() // the signal is requested by the thread that calls Exec
	supervise.EndWithParent(syscall.SIGKILL)
	err := syscall.Exec(program, append([]string{program}, os.Args[1:]...), os.Environ())
	fmt.Fprintf(os.Stderr, "start %s: %v\n", program, err)
	os.Exit(1)
}
