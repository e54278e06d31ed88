package main

import (
	"context"
	"errors"
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

// recordScene records recording.sh, which runs kubectl and the plugin as the administrator, in a terminal of fixed size.
func (d *demo) recordScene(ctx context.Context) error {
	file, err := filepath.Abs(d.record)
	if err != nil {
		return err
	}
	plugin, err := filepath.Abs(binaries)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "asciinema", "rec", "--quiet", "--overwrite", "--cols=88", "--rows=26",
		"--env=TERM", "--command=./recording.sh", file)
	cmd.Dir = "hack/demo"
	cmd.Env = append(os.Environ(), "TERM=xterm-256color", "KUBECONFIG="+d.path("kubeconfig"),
		"KUBECACHEDIR="+d.path("kubectl-cache"), "PLEX_URL="+d.plexURL, "ENDED="+d.path("scene-ended"),
		"PATH="+strings.Join([]string{plugin, d.assets, os.Getenv("PATH")}, string(os.PathListSeparator)))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("record the scene: %w\n%s", err, out)
	}
	// asciinema does not pass on how the scene ended.
	if _, err := os.Stat(d.path("scene-ended")); err != nil {
		return errors.New("the scene failed; its recording is in " + file)
	}
	return nil
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
