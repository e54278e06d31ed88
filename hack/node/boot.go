//go:build linux

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"plexlink.dev/operator/hack/internal/supervise"
)

const (
	name      = "plexlink-node"
	address   = "10.88.0.1"
	network   = "10.88.0.0/24" // of the node and of its Pods
	services  = "10.96.0.0/16"
	apiServer = "https://" + address + ":6443"
	// bootTimeout is generous: on two busy cores the node is ready within a minute.
	bootTimeout = 5 * time.Minute
)

// boot starts the node, runs the command and stops the node. It runs in the namespaces, as their first process.
func boot(dir string, command []string) error {
	interrupted, restore := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer restore()
	programs, err := filepath.Abs("bin/k8s")
	if err != nil {
		return err
	}
	ctx, fail := context.WithCancelCause(interrupted)
	defer fail(nil)
	n := &node{dir: dir, programs: programs, running: &supervise.Group{Dir: dir, Fail: fail}}
	// What does not stop in time is killed; the kernel ends the containers when this process exits.
	defer func() { _ = n.running.Stop() }()
	for variable, value := range map[string]string{
		"PATH":                 programs + ":" + filepath.Dir(programs) + ":" + os.Getenv("PATH"),
		"KUBECONFIG":           n.path("admin.kubeconfig"),
		"KUBECACHEDIR":         n.path("kubectl-cache"),
		"CONTAINERD_ADDRESS":   "/run/containerd/containerd.sock",
		"CONTAINERD_NAMESPACE": "k8s.io",
	} {
		if err := os.Setenv(variable, value); err != nil {
			return err
		}
	}
	began := time.Now()
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"creating its network, " + network, n.network},
		{"starting etcd and kube-apiserver", n.controlPlane},
		{"starting the controllers and the scheduler", n.controllers},
		{"starting containerd", n.runtime},
		{"starting kubelet and kube-proxy", n.kubelet},
		{"starting CoreDNS", n.dns},
		{"waiting until the node is ready", n.ready},
	} {
		fmt.Printf("node: %5.1f s  %s …\n", time.Since(began).Seconds(), step.what)
		timed, cancel := context.WithTimeout(ctx, bootTimeout)
		err := step.do(timed)
		cancel()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			// %v, because the exit code of this program is that of the command, not that of a step.
			return fmt.Errorf("%s: %v", step.what, err)
		}
	}
	fmt.Printf("node: %5.1f s  ready. KUBECONFIG=%s, inside the node's network.\n",
		time.Since(began).Seconds(), n.path("admin.kubeconfig"))
	err = n.run(ctx, command)
	fmt.Println("node: stopping")
	return err
}

// run runs the command, or a shell, until it ends or the node fails.
func (n *node) run(ctx context.Context, command []string) error {
	shell := len(command) == 0
	if shell {
		command = []string{cmp.Or(os.Getenv("SHELL"), "/bin/sh")}
	}
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = time.Minute
	err := cmd.Run()
	if ctx.Err() != nil {
		return errors.Join(context.Cause(ctx), err)
	}
	if shell {
		return nil // its exit code is that of the last command typed
	}
	return err
}

// ready waits for the node and its DNS, and for what the controllers give a namespace before Pods can be made in it.
func (n *node) ready(ctx context.Context) error {
	return errors.Join(
		n.until(ctx, "kubectl", "wait", "--for=condition=Ready", "--timeout=60s", "node/"+name),
		n.until(ctx, "kubectl", "get", "--server=http://127.0.0.1:8181", "--raw=/ready"),
		n.until(ctx, "kubectl", "get", "serviceaccount", "--namespace=default", "default"),
	)
}
