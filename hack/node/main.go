//go:build linux

// Command node boots a Kubernetes of one node from the programs in bin/k8s (hack/kubernetes/build.sh), runs a command on
// it, and stops it again. It needs Linux and root.
//
//	node COMMAND…     boot, run the command, stop; the exit code is the command's
//	node              boot, and run a shell
//
// The node runs in network, process and mount namespaces of its own: it reaches nothing but itself, and none of its
// processes outlives this program. It writes to one temporary folder only. The command finds it through KUBECONFIG,
// CONTAINERD_ADDRESS (for ctr) and PATH, and its address is 10.88.0.1.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// programs are what must be in bin/k8s.
var programs = []string{
	"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kubelet", "kube-proxy",
	"containerd", "containerd-shim-runc-v2", "ctr", "runc", "bridge", "host-local", "loopback", "coredns", "pause",
}

// inside is the variable that holds the folder of the node, for the second process, in the namespaces.
const inside = "PLEXLINK_NODE_FOLDER"

func main() {
	err := run(os.Args[1:])
	if failed, ok := errors.AsType[*exec.ExitError](err); ok && failed.Exited() {
		os.Exit(failed.ExitCode())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "node:", err)
		os.Exit(1)
	}
}

func run(command []string) error {
	if dir := os.Getenv(inside); dir != "" {
		os.Unsetenv(inside)
		return boot(dir, command)
	}
	if err := check(); err != nil {
		return err
	}
	return enclose(command)
}

// check reports what is missing before anything is started.
func check() error {
	if os.Geteuid() != 0 {
		return errors.New("a node needs root, to make namespaces and mounts: use sudo, or kind")
	}
	for _, program := range programs {
		if _, err := os.Stat(filepath.Join("bin/k8s", program)); err != nil {
			return fmt.Errorf(`bin/k8s/%s is missing: run "make node" in the root of the repository, which builds it`, program)
		}
	}
	for _, program := range []string{"nft", "ip"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%s is missing: install nftables and iproute2 (Debian: apt install nftables iproute2)", program)
		}
	}
	return nil
}
