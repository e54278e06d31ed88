package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
)

const (
	binaries = "bin/demo"
	// The ServiceAccount of kustomization.yaml.
	namespace      = "plexlink-system"
	serviceAccount = "plexlink-controller-manager"
)

// start builds and starts everything the demo needs.
func (d *demo) start(ctx context.Context) error {
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"Building the programs into " + binaries, d.build},
		{"Starting etcd and kube-apiserver", d.startControlPlane},
		{"Installing the CRD, the ServiceAccount and its role", d.install},
		{"Starting plexsim, the simulated plex.tv", d.startPlexsim},
		{"Starting the manager", d.startManager},
	} {
		if err := timed(step.what, func() error { return step.do(ctx) }); err != nil || ctx.Err() != nil {
			return err
		}
	}
	return nil
}

func (d *demo) build(ctx context.Context) error {
	args := []string{"build", "-buildvcs=false", "-o", binaries + "/", "./cmd/manager", "./hack/plexsim"}
	if !d.auto {
		args = append(args, "./cmd/kubectl-plexlink")
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

// startControlPlane starts etcd and kube-apiserver on free ports, and writes the administrator's kubeconfig.
func (d *demo) startControlPlane(context.Context) error {
	log, err := d.running.CreateLog("control-plane")
	if err != nil {
		return err
	}
	ctrl.SetLogger(zap.New(zap.WriteTo(log)))
	env := &envtest.Environment{ControlPlaneStartTimeout: time.Minute, ControlPlaneStopTimeout: time.Minute}
	apiServer, etcd := env.ControlPlane.GetAPIServer(), &envtest.Etcd{}
	env.ControlPlane.Etcd = etcd
	apiServer.Out, apiServer.Err, etcd.Out, etcd.Err = log, log, log, log
	apiServer.CertDir, etcd.DataDir = d.path("apiserver"), d.path("etcd-data")
	if err := errors.Join(os.Mkdir(apiServer.CertDir, 0o700), os.Mkdir(etcd.DataDir, 0o700)); err != nil {
		return err
	}
	if apiServer.Path, err = d.standIn("kube-apiserver"); err != nil {
		return err
	}
	if etcd.Path, err = d.standIn("etcd"); err != nil {
		return err
	}
	d.running.OnStop(log.Close)
	d.running.OnStop(env.Stop)
	if _, err := env.Start(); err != nil {
		return fmt.Errorf("start etcd and kube-apiserver: %w%s", err, d.running.LogEnd("control-plane"))
	}
	return os.WriteFile(d.path("kubeconfig"), env.KubeConfig, 0o600)
}

// install applies what the manager needs: the CRD, and the ServiceAccount with the permissions it has in any cluster.
func (d *demo) install(ctx context.Context) error {
	for _, args := range [][]string{
		{"create", "namespace", namespace},
		{"create", "namespace", "media"},
		{"apply", "-k", "hack/demo"},
		{"wait", "--for=condition=Established", "--timeout=30s", "crd/plexlinks.plexlink.dev"},
	} {
		if _, err := d.kubectl(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

// startPlexsim starts the simulator and reads its addresses from its output.
func (d *demo) startPlexsim(context.Context) error {
	out, in, err := os.Pipe()
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command(filepath.Join(binaries, "plexsim"), "--config=hack/demo/plexsim.yaml")
	cmd.Stdout = in
	err = d.running.Start(cmd)
	in.Close()
	if err != nil {
		return err
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		kind, rest, _ := strings.Cut(lines.Text(), " ")
		value, name, _ := strings.Cut(strings.TrimSpace(rest), " ")
		switch {
		case kind == "plex.tv":
			d.plexURL = value
		case kind == "server" && strings.TrimSpace(name) == "My Plex Server":
			d.serverURL = value
		case kind == "ready":
			return nil
		}
	}
	return errors.New("plexsim did not start" + d.running.LogEnd("plexsim"))
}

// startManager starts the manager under its ServiceAccount.
func (d *demo) startManager(ctx context.Context) error {
	token, err := d.kubectl(ctx, "create", "token", "-n", namespace, serviceAccount, "--duration=720h")
	if err != nil {
		return err
	}
	config, err := clientcmd.LoadFromFile(d.path("kubeconfig"))
	if err != nil {
		return err
	}
	for user := range config.AuthInfos {
		config.AuthInfos[user] = &api.AuthInfo{Token: strings.TrimSpace(token)}
	}
	if err := clientcmd.WriteToFile(*config, d.path("manager.kubeconfig")); err != nil {
		return err
	}
	cmd := exec.Command(filepath.Join(binaries, "manager"),
		"--plex-url="+d.plexURL,
		"--deny-server-cidrs=169.254.0.0/16", // without loopback, where the simulated servers are
		"--leader-elect=false", "--metrics-bind-address=0", "--health-probe-bind-address=127.0.0.1:0")
	cmd.Env = append(os.Environ(), "KUBECONFIG="+d.path("manager.kubeconfig"))
	return d.running.Start(cmd)
}
