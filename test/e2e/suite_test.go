//go:build e2e

// Package e2e tests the chart and the operator on a real cluster, with kubelet, scheduler and controllers: the chart is
// installed, media apps wait and start, the operator is killed, upgraded and uninstalled. "make e2e" runs it.
package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	corev1 "k8s.io/api/core/v1"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/hack/onelayer"
)

const (
	root    = "../.."
	chart   = root + "/charts/plexlink"
	release = "plexlink"
	system  = "plexlink-system"
	// patience is long because the machine may be busy: most waits end after seconds.
	patience = 3 * time.Minute
)

// cluster is the cluster under test.
var cluster struct {
	client.Client
	config  *rest.Config
	plexURL string // of the simulated plex.tv, inside the cluster
	image   string // of the operator, as REPOSITORY:TAG
}

func TestMain(m *testing.M) {
	if err := setUp(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// setUp connects, loads the images and starts the simulator in the cluster.
func setUp() (err error) {
	cluster.image = os.Getenv("OPERATOR_IMAGE")
	if cluster.image == "" || os.Getenv("KUBECONFIG") == "" {
		return errors.New(`this needs a cluster, an image and more: run "make e2e"`)
	}
	if cluster.config, err = ctrl.GetConfig(); err != nil {
		return err
	}
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return err
	}
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return err
	}
	if cluster.Client, err = client.New(cluster.config, client.Options{Scheme: scheme}); err != nil {
		return err
	}
	if err := loadImages(); err != nil {
		return err
	}
	return startSimulator()
}

// loadImages puts the images where the kubelet finds them: through ctr into the node that hack/node booted, else into kind.
func loadImages() (err error) {
	archives := []string{os.Getenv("OPERATOR_ARCHIVE")}
	for _, program := range []string{"mediaapp", "plexsim"} {
		file := root + "/bin/e2e/" + program
		image := onelayer.Image{Name: "plexlink.dev/e2e/" + program + ":1", Program: file}
		if _, err := image.Write(file + ".tar"); err != nil {
			return err
		}
		archives = append(archives, file+".tar")
	}
	for _, archive := range archives {
		if os.Getenv("CONTAINERD_ADDRESS") != "" {
			_, err = run("", "ctr", "images", "import", "--local", archive)
		} else {
			_, err = run("", "kind", "load", "image-archive", archive)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// startSimulator starts plexsim behind a Service, whose address the media server advertises.
func startSimulator() error {
	if _, err := run("", "kubectl", "apply", "-f", "testdata/plexsim-service.yaml"); err != nil {
		return err
	}
	address, err := run("", "kubectl", "get", "service", "-n", "plex", "plexsim", "-o", "jsonpath={.spec.clusterIP}")
	if err != nil {
		return err
	}
	cluster.plexURL = "http://" + address + ":8080"
	manifest, err := os.ReadFile("testdata/plexsim.yaml")
	if err != nil {
		return err
	}
	if _, err := run(strings.ReplaceAll(string(manifest), "ADDRESS", address), "kubectl", "apply", "-f", "-"); err != nil {
		return err
	}
	_, err = run("", "kubectl", "wait", "-n", "plex", "pod/plexsim", "--for=condition=Ready", "--timeout=120s")
	return err
}

// run runs a program with an input and returns its output.
func run(input, program string, args ...string) (string, error) {
	cmd := exec.Command(program, args...)
	cmd.Stdin = strings.NewReader(input)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s%s", program, strings.Join(args, " "), err, stderr.String(), out.String())
	}
	return out.String(), nil
}

// do runs a program and shows its output.
func do(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := run("", program, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("$ %s %s\n%s", program, strings.Join(args, " "), out)
	return out
}

// eventually waits until check returns nil.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	began := time.Now()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			t.Logf("after %.1f s: %s", time.Since(began).Seconds(), what)
			return
		}
		if time.Since(began) > patience {
			t.Fatalf("not after %s: %s: %v", patience, what, err)
		}
		<-tick.C
	}
}

// enter enters the PIN at the link page as alice.
func enter(t *testing.T, pin string) {
	t.Helper()
	enterAs(t, "alice", pin)
}

// enterAs enters the PIN at the link page, through the API server's proxy.
func enterAs(t *testing.T, account, pin string) {
	t.Helper()
	clientset, err := rest.UnversionedRESTClientFor(raw(cluster.config))
	if err != nil {
		t.Fatal(err)
	}
	form := url.Values{"account": {account}, "pin": {pin}}
	err = clientset.Post().AbsPath("/api/v1/namespaces/plex/services/plexsim:plex-tv/proxy/link").
		SetHeader("Content-Type", "application/x-www-form-urlencoded").
		Body([]byte(form.Encode())).Do(context.Background()).Error()
	if err != nil {
		t.Fatalf("enter the PIN: %v", err)
	}
}

func raw(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	config.NegotiatedSerializer = clientgoscheme.Codecs.WithoutConversion()
	return config
}

// get reads an object, which must exist.
func get[T client.Object](t *testing.T, namespace, name string, object T) T {
	t.Helper()
	if err := cluster.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, object); err != nil {
		t.Fatal(err)
	}
	return object
}

func secretOf(t *testing.T, namespace, name string) *corev1.Secret {
	t.Helper()
	return get(t, namespace, name, &corev1.Secret{})
}
