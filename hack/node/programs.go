//go:build linux

package main

import (
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"time"

	"plexlink.dev/operator/hack/internal/supervise"
)

// node is what the steps share.
type node struct {
	dir      string // all files written at run time are in it
	programs string // folder of the programs
	running  *supervise.Group
}

// start starts a program of the node. The node fails when it exits before the node is stopped.
func (n *node) start(program string, args ...string) error {
	return n.running.Start(exec.Command(filepath.Join(n.programs, program), args...))
}

// command runs a program to its end.
func (n *node) command(ctx context.Context, program string, args ...string) error {
	_, err := supervise.Output(exec.CommandContext(ctx, program, args...))
	return err
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
