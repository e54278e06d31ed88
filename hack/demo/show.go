package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"plexlink.dev/operator/hack/internal/supervise"
)

// kubectl runs kubectl as the administrator and returns what it prints.
func (d *demo) kubectl(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(d.assets, "kubectl"), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+d.path("kubeconfig"), "KUBECACHEDIR="+d.path("kubectl-cache"))
	return supervise.Output(cmd)
}

// show runs kubectl and shows the command and what it prints.
func (d *demo) show(ctx context.Context, args ...string) error {
	// A shell would interpret unquoted braces.
	fmt.Printf("\n$ kubectl %s\n", strings.NewReplacer("{", "'{", "}", "}'").Replace(strings.Join(args, " ")))
	out, err := d.kubectl(ctx, args...)
	fmt.Print(out)
	return err
}

// timed runs a step and prints how long it took, and every ten seconds that it is still running.
func timed(what string, step func() error) error {
	began := time.Now()
	fmt.Printf("%-56s", what+" …")
	done := make(chan error, 1)
	go func() { done <- step() }()
	life := time.NewTicker(10 * time.Second)
	defer life.Stop()
	for {
		select {
		case err := <-done:
			fmt.Printf("%5.1f s\n", time.Since(began).Seconds())
			return err
		case <-life.C:
			fmt.Printf("%5.0f s …\n%-56s", time.Since(began).Seconds(), "")
		}
	}
}
