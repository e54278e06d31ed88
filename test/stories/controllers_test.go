package stories

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"plexlink.dev/operator/api/v1alpha1"
)

// startControllerManager runs one of Kubernetes' own controllers on all namespaces and returns a function to stop it.
func startControllerManager(controller string) (stop func(), err error) {
	cmd := exec.Command(filepath.Join(assets, "kube-controller-manager"), "--kubeconfig", kubeconfigFile,
		"--controllers="+controller, "--leader-elect=false", "--secure-port=0", "--concurrent-namespace-syncs=10",
		"--kube-api-qps=500", "--kube-api-burst=500")
	if os.Getenv("PLEXLINK_TEST_LOGS") != "" {
		cmd.Stderr = os.Stderr
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // It was killed, which is an error.
	}, nil
}

// stopGarbageCollector is called at the end of the suite; startGarbageCollector sets it.
var stopGarbageCollector = func() {}

var startGarbageCollector = sync.OnceValue(func() error {
	stop, err := startControllerManager("garbage-collector-controller")
	if err == nil {
		stopGarbageCollector = stop
	}
	return err
})

// withGarbageCollector starts the Kubernetes garbage collector, once for all stories, and waits until it collects
// a Secret whose PlexLink is gone.
func (w *world) withGarbageCollector() {
	w.Helper()
	if err := startGarbageCollector(); err != nil {
		w.Fatal(err)
	}
	orphan := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		Name: "orphan", Namespace: w.namespace,
		OwnerReferences: []metav1.OwnerReference{{
			APIVersion: v1alpha1.GroupVersion.String(), Kind: "PlexLink", Name: "gone", UID: "00000000-0000-0000-0000-000000000000",
		}},
	}}
	if err := admin.Create(w.Context(), orphan); err != nil {
		w.Fatal(err)
	}
	w.eventuallyWithin(time.Minute, "collection of a Secret whose PlexLink is gone", func() error {
		if w.secret(orphan.Name) != nil {
			return errors.New("it still exists")
		}
		return nil
	})
}
