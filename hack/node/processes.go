//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// stopTimeout is how long a process may take to stop before it is killed.
const stopTimeout = 10 * time.Second

// node is what the steps share.
type node struct {
	dir      string // all that is written at run time is in it
	programs string // folder of the programs
	// fail ends the node from outside its steps.
	fail  context.CancelCauseFunc
	stops []func()
}

// start starts a program with its log in NAME.log. If it ends before it is stopped, the node fails.
func (n *node) start(program string, args ...string) error {
	log, err := os.Create(n.path(program + ".log"))
	if err != nil {
		return err
	}
	defer log.Close() // the process has its own
	cmd := exec.Command(filepath.Join(n.programs, program), args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the command
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
			n.fail(fmt.Errorf("%s ended by itself: %s\n%s", program, cmd.ProcessState, n.logEnd(program)))
		}
	}()
	n.stops = append(n.stops, func() {
		close(stopping)
		_ = cmd.Process.Signal(syscall.SIGTERM) // fails when it has ended
		select {
		case <-ended:
		case <-time.After(stopTimeout):
			_ = cmd.Process.Kill()
			<-ended
		}
	})
	return nil
}

// stop stops what runs, the youngest first. The kernel ends the containers, when this process ends.
func (n *node) stop() {
	for _, stop := range slices.Backward(n.stops) {
		stop()
	}
}

// logEnd is the end of a program's log.
func (n *node) logEnd(program string) string {
	raw, _ := os.ReadFile(n.path(program + ".log"))
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	return "    " + strings.Join(lines[max(0, len(lines)-15):], "\n    ")
}

// command runs a program; its error has what the program printed about it.
func (n *node) command(ctx context.Context, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	_, err := cmd.Output()
	if failed, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(failed.Stderr)))
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", filepath.Base(program), strings.Join(args, " "), err)
	}
	return nil
}

// until runs a program until it succeeds.
func (n *node) until(ctx context.Context, program string, args ...string) error {
	for {
		err := n.command(ctx, program, args...)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (n *node) path(name string) string { return filepath.Join(n.dir, name) }
