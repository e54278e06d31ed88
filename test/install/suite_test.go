// Package install tests what a cluster owner installs and writes: the chart, the kustomize manifests, the samples, and
// the docs with their health checks, on a real API server.
package install

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// cluster is the API server of all tests. It refuses unknown and doubled fields.
var cluster client.Client

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	environment := &envtest.Environment{
		BinaryAssetsDirectory: root("bin", "k8s"),
		CRDDirectoryPaths:     []string{root("config", "crd", "bases")},
		ErrorIfCRDPathMissing: true,
	}
	code, err := runIn(environment, m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if err := environment.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stop the API server:", err)
	}
	os.Exit(code)
}

func runIn(environment *envtest.Environment, m *testing.M) (int, error) {
	config, err := environment.Start()
	if err != nil {
		return 1, fmt.Errorf("start the API server (make control-plane builds it): %w", err)
	}
	config.QPS = -1
	plain, err := client.New(config, client.Options{Scheme: scheme.Scheme})
	if err != nil {
		return 1, err
	}
	cluster = client.WithFieldValidation(plain, metav1.FieldValidationStrict)
	for _, name := range []string{"media", "home"} {
		if err := cluster.Create(context.Background(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
			return 1, fmt.Errorf("create a namespace: %w", err)
		}
	}
	return m.Run(), nil
}
