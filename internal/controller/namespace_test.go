package controller

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plexlink.dev/operator/internal/plex/plextest"
)

// startControllerManager runs the controllers that end namespaces, on the test's namespace as on all others.
func startControllerManager(t *testing.T) {
	t.Helper()
	binary, err := filepath.Abs("../../bin/k8s/kube-controller-manager")
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(t.TempDir(), "kube-controller-manager.log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "--kubeconfig", kubeconfigFile, "--controllers=namespace-controller",
		"--leader-elect=false", "--secure-port=0", "--concurrent-namespace-syncs=10", "--kube-api-qps=500", "--kube-api-burst=500")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = log.Close()
	})
}

func TestNamespaceWithFiftyLinksEndsThoughPlexIsDown(t *testing.T) {
	t.Parallel()
	startControllerManager(t)
	w := newWorld(t)
	w.startOperator()
	const links = 50
	for i := range links {
		w.create(fmt.Sprint("link-", i))
	}
	for i := range links {
		w.enterPIN(fmt.Sprint("link-", i))
	}
	for i := range links {
		w.settled(fmt.Sprint("link-", i))
	}
	w.sim.Fault(plextest.Fault{Endpoint: plextest.SignOut, Status: 503, Times: -1})
	start := time.Now()
	namespace := &corev1.Namespace{}
	if err := admin.Get(t.Context(), client.ObjectKey{Name: w.namespace}, namespace); err != nil {
		t.Fatal(err)
	}
	if err := admin.Delete(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	w.eventually("an attempt for every link", func() error {
		devices := map[string]bool{}
		for _, r := range w.sim.Requests() {
			if r.Endpoint == plextest.SignOut {
				devices[r.ClientIdentifier] = true
			}
		}
		if len(devices) < links {
			return fmt.Errorf("%d of %d", len(devices), links)
		}
		return nil
	})
	w.advance(5*time.Minute + time.Second)
	w.eventually("the end of the namespace", func() error {
		if err := admin.Get(t.Context(), client.ObjectKey{Name: w.namespace}, namespace); !apierrors.IsNotFound(err) {
			return fmt.Errorf("it is there: %+v (%v)", namespace.Status.Conditions, err)
		}
		return nil
	})
	t.Logf("the namespace ended after five minutes by the operator's clock and %s", time.Since(start).Round(time.Millisecond))
	if n := len(w.sim.PINs()); n != links {
		t.Errorf("%d PINs for %d links: some were minted in a namespace that was going", n, links)
	}
}
