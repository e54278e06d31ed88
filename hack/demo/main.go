// Command demo shows the whole flow on this machine: it starts etcd, kube-apiserver, plexsim and the manager, creates a
// PlexLink, waits until its PIN is entered, and calls the media server with exactly what is in the Secret.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"plexlink.dev/operator/hack/internal/supervise"
)

// demo is what the steps share.
type demo struct {
	auto    bool   // enter the PIN automatically, and exit when all is shown
	record  string // file for a recording of the scene in recording.sh; empty: none
	assets  string // folder of etcd, kube-apiserver and kubectl
	dir     string // temporary; all files written at run time are in it
	running supervise.Group

	plexURL   string // of the simulated plex.tv
	serverURL string // of the simulated media server
	linked    bool
}

func main() {
	if program := os.Getenv(standInFor(os.Args[0])); program != "" {
		become(program)
	}
	auto := flag.Bool("auto", false, "Enter the PIN automatically, and exit when all is shown.")
	record := flag.String("record", "", "Record recording.sh with asciinema into this file, and exit.")
	flag.Parse()
	supervise.EndWithParent(syscall.SIGTERM)
	ctx, restore := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, restore) // a second Ctrl-C does not wait
	if err := run(ctx, &demo{auto: *auto, record: *record}); err != nil {
		fmt.Fprintf(os.Stderr, "\ndemo: %v\n", err)
		os.Exit(1)
	}
}

// run shows everything until it is done or interrupted, and stops what it started before it returns.
func run(interrupted context.Context, d *demo) (err error) {
	if err := d.check(); err != nil {
		return err
	}
	if d.dir, err = os.MkdirTemp("", "plexlink-demo-"); err != nil {
		return err
	}
	ctx, fail := context.WithCancelCause(interrupted)
	d.running = supervise.Group{Dir: d.dir, Fail: fail}
	defer func() {
		if stopErr := errors.Join(d.running.Stop(), os.RemoveAll(d.dir)); stopErr != nil {
			err = errors.Join(err, stopErr)
			return
		}
		fmt.Println("\nStopped everything and removed temporary files.")
	}()
	steps := []func(context.Context) error{d.start, d.link, d.prove, d.stay}
	if d.record != "" {
		steps = []func(context.Context) error{d.start, d.recordScene}
	}
	for _, step := range steps {
		err := step(ctx)
		switch {
		case interrupted.Err() != nil && d.linked:
			return nil
		case interrupted.Err() != nil:
			return errors.New("interrupted before the PIN was entered")
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return fmt.Errorf("%w%s", err, d.running.LogEnd("manager"))
		}
	}
	return nil
}

// check reports what is missing before anything is started.
func (d *demo) check() error {
	if _, err := os.Stat("hack/demo/plexlink.yaml"); err != nil {
		return errors.New(`this is not the root of the repository: run "make demo" there`)
	}
	d.assets = os.Getenv("KUBEBUILDER_ASSETS")
	if d.assets == "" {
		d.assets = "bin/k8s"
	}
	var err error
	if d.assets, err = filepath.Abs(d.assets); err != nil {
		return err
	}
	for _, program := range []string{"etcd", "kube-apiserver", "kubectl"} {
		if _, err := os.Stat(filepath.Join(d.assets, program)); err != nil {
			return fmt.Errorf(`%s is missing in %s: run "make control-plane", or "make demo", which does that first`, program, d.assets)
		}
	}
	return nil
}

// stay keeps everything running until it is interrupted.
func (d *demo) stay(ctx context.Context) error {
	if d.auto {
		return nil
	}
	fmt.Printf(`
Everything keeps running until Ctrl-C. To play along, in another terminal:

%s
    kubectl plexlink doctor -n media kometa
    kubectl delete secret -n media kometa      # it comes back
    tail -f %s
`, d.exports(), d.path("manager.log"))
	<-ctx.Done()
	return nil
}

// exports are the commands that let another terminal use kubectl and the plugin.
func (d *demo) exports() string {
	return fmt.Sprintf("    export KUBECONFIG=%s\n    export PATH=$PWD/%s:%s:$PATH", d.path("kubeconfig"), binaries, d.assets)
}

// path returns the path of a file in the temporary folder.
func (d *demo) path(name string) string { return filepath.Join(d.dir, name) }
