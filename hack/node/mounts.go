//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// kernelSettings are the settings the kubelet requires. It would change them for the whole machine.
var kernelSettings = map[string]string{
	"vm/overcommit_memory":      "1",
	"vm/panic_on_oom":           "0",
	"kernel/panic":              "10",
	"kernel/panic_on_oops":      "1",
	"kernel/keys/root_maxkeys":  "1000000",
	"kernel/keys/root_maxbytes": "25000000",
}

// mountFolders gives the node its own /run, /var/lib and /var/log, in dir, so that programs keep their usual paths, and
// files in place of kernel settings, which only look as the kubelet requires.
func mountFolders(dir string) error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts private: %w", err)
	}
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	for _, folder := range []string{"/run", "/var/lib", "/var/log"} {
		own := filepath.Join(dir, filepath.Base(folder))
		if err := os.Mkdir(own, 0o755); err != nil {
			return err
		}
		if err := bind(own, folder); err != nil {
			return err
		}
	}
	for setting, value := range kernelSettings {
		own := filepath.Join(dir, filepath.Base(setting))
		if err := os.WriteFile(own, []byte(value), 0o644); err != nil {
			return err
		}
		if err := bind(own, filepath.Join("/proc/sys", setting)); err != nil {
			return err
		}
	}
	return nil
}

func bind(from, to string) error {
	if err := syscall.Mount(from, to, "", syscall.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %s: %w", to, err)
	}
	return nil
}
