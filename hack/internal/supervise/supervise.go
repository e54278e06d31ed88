// Package supervise runs the programs of a test cluster: each has its own log, an early exit is reported, and no program
// outlives this process (on Linux).
package supervise

import (
	"bytes"
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

// stopTimeout is how long a program may take to stop before it is killed.
const stopTimeout = 10 * time.Second

// Group holds running programs, and stops them in reverse order.
type Group struct {
	// Dir is the folder of the logs.
	Dir string
	// Fail is called when a program exits before Stop.
	Fail  context.CancelCauseFunc
	stops []func() error
}

// Start starts cmd. Its stderr goes to NAME.log in Dir, and so does its stdout, unless cmd sends it elsewhere.
func (g *Group) Start(cmd *exec.Cmd) error {
	name := filepath.Base(cmd.Path)
	log, err := g.CreateLog(name)
	if err != nil {
		return err
	}
	defer log.Close() // the program has its own descriptor
	if cmd.Stdout == nil {
		cmd.Stdout = log
	}
	cmd.Stderr = log
	cmd.SysProcAttr = childAttributes()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	stopping, exited := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(exited)
		_ = cmd.Wait() // cmd.ProcessState has the result
		select {
		case <-stopping:
		default:
			g.Fail(fmt.Errorf("%s exited unexpectedly: %s%s", name, cmd.ProcessState, g.LogEnd(name)))
		}
	}()
	g.OnStop(func() error {
		close(stopping)
		_ = cmd.Process.Signal(syscall.SIGTERM) // fails when it has exited
		select {
		case <-exited:
			return nil
		case <-time.After(stopTimeout):
			_ = cmd.Process.Kill()
			<-exited
			return fmt.Errorf("%s did not stop within %s and was killed", name, stopTimeout)
		}
	})
	return nil
}

// OnStop adds a function that Stop calls before it stops the programs that are running now.
func (g *Group) OnStop(stop func() error) { g.stops = append(g.stops, stop) }

// Stop stops all programs, the last one first.
func (g *Group) Stop() error {
	var errs []error
	for _, stop := range slices.Backward(g.stops) {
		errs = append(errs, stop())
	}
	return errors.Join(errs...)
}

// CreateLog creates NAME.log in Dir.
func (g *Group) CreateLog(name string) (*os.File, error) { return os.Create(g.log(name)) }

// LogEnd returns the last lines of NAME.log, to be appended to an error; it is empty when the log is.
func (g *Group) LogEnd(name string) string {
	raw, err := os.ReadFile(g.log(name))
	if err != nil || len(raw) == 0 {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	return fmt.Sprintf("\n\nThe log of %s ends:\n    %s", name, strings.Join(lines[max(0, len(lines)-15):], "\n    "))
}

func (g *Group) log(name string) string { return filepath.Join(g.Dir, name+".log") }

// Output runs cmd and returns its stdout. The error holds the arguments and the stderr.
func Output(cmd *exec.Cmd) (string, error) {
	cmd.SysProcAttr = childAttributes()
	out, err := cmd.Output()
	if failed, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(failed.Stderr))
	}
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", filepath.Base(cmd.Path), strings.Join(cmd.Args[1:], " "), err)
	}
	return string(out), nil
}
