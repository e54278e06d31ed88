//go:build linux

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
)

// enclose runs this program again, as the first process of namespaces of its own, and cleans up after it. When that process
// exits, for whatever reason, the kernel kills all others in them and removes the mounts and the network.
func enclose(command []string) (err error) {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "plexlink-node-")
	if err != nil {
		return err
	}
	hierarchies, err := cgroupHierarchies()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, clearUp(dir, hierarchies)) }()
	for _, hierarchy := range hierarchies {
		if err := os.Mkdir(filepath.Join(hierarchy, cgroup(dir)), 0o755); err != nil {
			return fmt.Errorf("create a control group: %w", err)
		}
	}
	cmd := exec.Command(self, command...)
	cmd.Env = append(os.Environ(), inside+"="+dir)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("create namespaces: %w", err)
	}
	fmt.Printf("node: to enter it from elsewhere: nsenter --target %d --net --pid --mount\n", cmd.Process.Pid)
	go func() {
		for range signals {
			_ = cmd.Process.Signal(syscall.SIGTERM) // fails when it has exited
		}
	}()
	return cmd.Wait()
}

// cgroup returns the control group of the Pods, apart from those of any other kubelet on this machine.
func cgroup(dir string) string { return filepath.Base(dir) }

// cgroupHierarchies returns the folders where control groups are created: one in version 2, several in version 1.
func cgroupHierarchies() ([]string, error) {
	const root = "/sys/fs/cgroup"
	if _, err := os.Stat(filepath.Join(root, "cgroup.controllers")); err == nil {
		return []string{root}, nil
	}
	lists, err := filepath.Glob(filepath.Join(root, "*", "cgroup.procs"))
	if err != nil || len(lists) == 0 {
		return nil, fmt.Errorf("no control groups in %s", root)
	}
	var hierarchies []string
	for _, list := range lists {
		hierarchy, err := filepath.EvalSymlinks(filepath.Dir(list)) // cpu -> cpu,cpuacct
		if err != nil {
			return nil, err
		}
		if !slices.Contains(hierarchies, hierarchy) {
			hierarchies = append(hierarchies, hierarchy)
		}
	}
	return hierarchies, nil
}

// clearUp removes the folder and the control groups, the innermost first.
func clearUp(dir string, hierarchies []string) error {
	errs := []error{os.RemoveAll(dir)}
	for _, hierarchy := range hierarchies {
		var groups []string
		err := filepath.WalkDir(filepath.Join(hierarchy, cgroup(dir)), func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				groups = append(groups, path)
			}
			return err
		})
		errs = append(errs, err)
		for _, group := range slices.Backward(groups) {
			errs = append(errs, os.Remove(group))
		}
	}
	return errors.Join(errs...)
}
