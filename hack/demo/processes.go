package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// stopTimeout is how long a process may take to stop before it is killed.
const stopTimeout = 10 * time.Second

// startProcess starts a program with its log in NAME.log. If it ends before it is stopped, the demo fails.
func (d *demo) startProcess(program string, stdout *os.File, env []string, args ...string) error {
	name := filepath.Base(program)
	log, err := d.createLog(name)
	if err != nil {
		return err
	}
	defer log.Close() // the process has its own
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = stdout, log
	cmd.SysProcAttr = childAttributes()
	if err := cmd.Start(); err != nil {
		return err
	}
	stopping, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // cmd.ProcessState says it
		select {
		case <-stopping:
		default:
			d.fail(fmt.Errorf("%s ended by itself: %s%s", name, cmd.ProcessState, d.logEnd(name)))
		}
	}()
	d.stops = append(d.stops, func() error {
		close(stopping)
		_ = cmd.Process.Signal(syscall.SIGTERM) // fails when it has ended
		select {
		case <-ended:
			return nil
		case <-time.After(stopTimeout):
			_ = cmd.Process.Kill()
			<-ended
			return fmt.Errorf("%s did not stop within %s and was killed", name, stopTimeout)
		}
	})
	return nil
}

func (d *demo) createLog(name string) (*os.File, error) { return os.Create(d.path(name + ".log")) }

// logEnd is the end of a log, to be put behind an error.
func (d *demo) logEnd(name string) string {
	raw, err := os.ReadFile(d.path(name + ".log"))
	if err != nil || len(raw) == 0 {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	return fmt.Sprintf("\n\nThe log of %s ends:\n    %s", name, strings.Join(lines[max(0, len(lines)-15):], "\n    "))
}

// kubectl runs kubectl as the administrator and returns what it prints.
func (d *demo) kubectl(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(d.assets, "kubectl"), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+d.path("kubeconfig"), "KUBECACHEDIR="+d.path("kubectl-cache"))
	cmd.SysProcAttr = childAttributes()
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}

// show runs kubectl and shows the command and what it prints.
func (d *demo) show(ctx context.Context, args ...string) error {
	// A shell would take braces for its own.
	fmt.Printf("\n$ kubectl %s\n", strings.NewReplacer("{", "'{", "}", "}'").Replace(strings.Join(args, " ")))
	out, err := d.kubectl(ctx, args...)
	fmt.Print(out)
	return err
}

// timed runs a step, with a sign of life every ten seconds, and says how long it took.
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
