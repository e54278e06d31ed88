//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"plexlink.dev/operator/api/v1alpha1"
)

// Two checks in a row and the search that follows: docs/servers.md promises both limits.
const (
	toldOff  = 150 * time.Second
	toldBack = 90 * time.Second
)

// Plex runs as a Pod, in namespace media behind a Service, in namespace bare without one.
func TestPlexInTheCluster(t *testing.T) {
	newNamespace(t, system)
	install(t, chart)
	if !t.Run("apps get the name of the Service by default", serviceIsTheDefault) ||
		!t.Run("apps survive another Plex Pod behind the Service", podBehindServiceIsReplaced) {
		t.FailNow()
	}
	t.Run("in the next minutes", func(t *testing.T) {
		t.Run("without a Service the Secret follows the Pod", podWithoutServiceIsReplaced)
		t.Run("an address that is blocked for the operator keeps the Secret", blockedAddressKeepsTheSecret)
	})
	for _, namespace := range []string{"media", "bare"} {
		do(t, "kubectl", "delete", "plexlink", "-n", namespace, "--all", "--timeout=60s")
	}
	do(t, "helm", "uninstall", release, "--namespace", system, "--wait", "--timeout", patience.String())
	do(t, "kubectl", "delete", "namespace", "media", "bare", system, "--timeout="+patience.String())
}

func serviceIsTheDefault(t *testing.T) {
	newNamespace(t, "media")
	do(t, "kubectl", "apply", "-n", "media", "-f", "testdata/plex-service.yaml")
	startPlex(t, "media", "home", "32401")
	newLink(t, "media", "kometa")
	enterAs(t, "bob", pinOf(t, "media", "kometa"))
	becomesLinked(t, "media", "kometa")
	if got, want := urlOf(t, "media"), "http://plex.media.svc.cluster.local:32400"; got != want {
		t.Errorf("PLEX_URL is %s, want %s", got, want)
	}
	do(t, "kubectl", "apply", "-n", "media", "-f", "testdata/mediaapps.yaml")
	isReady(t, "media", "app-env")
	isReady(t, "media", "app-files")
}

func podBehindServiceIsReplaced(t *testing.T) {
	before := secretOf(t, "media", "kometa")
	old := replacePlex(t, "media", "home", "32401")
	for _, app := range []string{"app-env", "app-files"} {
		eventually(t, app+" reaches the new Pod", func() error {
			_, err := run("", "kubectl", "exec", "-n", "media", app, "--", "/mediaapp", "call")
			return err
		})
	}
	if now := secretOf(t, "media", "kometa"); now.ResourceVersion != before.ResourceVersion {
		t.Error("the Secret has changed, want it as it was")
	}
	if now := podIP(t, "media", "plex"); now == old {
		t.Errorf("the new Pod has the address of the old one, %s", now)
	}
}

func podWithoutServiceIsReplaced(t *testing.T) {
	t.Parallel()
	newNamespace(t, "bare")
	startPlex(t, "bare", "bare", "32402")
	newLink(t, "bare", "kometa")
	enterAs(t, "carol", pinOf(t, "bare", "kometa"))
	becomesLinked(t, "bare", "kometa")
	if got, want := urlOf(t, "bare"), "http://"+podIP(t, "bare", "plex")+":32400"; got != want {
		t.Errorf("PLEX_URL is %s, want %s", got, want)
	}
	if message := serverResolved(t, "bare").Message; !strings.Contains(message, "create a Service") {
		t.Errorf("ServerResolved says %q, want it to tell what to do about the Pod's address", message)
	}
	events := do(t, "kubectl", "events", "-n", "bare", "--for", "plexlink/kometa")
	if n := strings.Count(events, "PodAddress"); n != 1 {
		t.Errorf("%d events PodAddress, want 1", n)
	}

	asked := requests(t, "GET /resources  200  account=\"carol\"")
	began := time.Now()
	replacePlex(t, "bare", "bare", "32402")
	want := "http://" + podIP(t, "bare", "plex") + ":32400"
	eventually(t, "the Secret has the new Pod's address", func() error {
		if got := urlOf(t, "bare"); got != want {
			return fmt.Errorf("PLEX_URL is %s, want %s", got, want)
		}
		return nil
	})
	if took := time.Since(began); took > toldOff {
		t.Errorf("took %s, want at most %s", took, toldOff)
	}
	if n := requests(t, "GET /resources  200  account=\"carol\"") - asked; n != 1 {
		t.Errorf("plex.tv was asked %d times for the server, want once", n)
	}
}

// blockedAddressKeepsTheSecret drops the operator's packets to the server, as a NetworkPolicy on its Pod does.
func blockedAddressKeepsTheSecret(t *testing.T) {
	t.Parallel()
	if os.Getenv("CONTAINERD_ADDRESS") == "" {
		t.Skip("needs the network namespaces of the node that hack/node boots")
	}
	before := secretOf(t, "media", "kometa")
	network := networkOf(t, managers(t)[0].Status.PodIP)
	service := get(t, "media", "plex", &corev1.Service{}).Spec.ClusterIP
	began := time.Now()
	do(t, "nsenter", "--net="+network, "nft", fmt.Sprintf("add table ip blocked; "+
		"add chain ip blocked out { type filter hook output priority 0; }; add rule ip blocked out ip daddr { %s, %s } drop", service, podIP(t, "media", "plex")))
	for _, step := range []struct {
		want   metav1.ConditionStatus
		within time.Duration
	}{{metav1.ConditionFalse, toldOff}, {metav1.ConditionTrue, toldBack}} {
		eventually(t, "ServerResolved is "+string(step.want), func() error {
			if c := serverResolved(t, "media"); c.Status != step.want {
				return fmt.Errorf("it is %s: %s", c.Status, c.Message)
			}
			return nil
		})
		if took := time.Since(began); took > step.within {
			t.Errorf("ServerResolved was %s after %s, want within %s", step.want, took, step.within)
		}
		becomesLinked(t, "media", "kometa")
		if now := secretOf(t, "media", "kometa"); now.ResourceVersion != before.ResourceVersion {
			t.Error("the Secret has changed, want it as it was")
		}
		if step.want == metav1.ConditionFalse {
			do(t, "kubectl", "describe", "plexlink", "-n", "media", "kometa")
			began = time.Now()
			do(t, "nsenter", "--net="+network, "nft", "delete table ip blocked")
		}
	}
}

// networkOf returns the file of the network namespace that has the address.
func networkOf(t *testing.T, address string) string {
	t.Helper()
	files, err := filepath.Glob("/run/netns/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		addresses, err := run("", "nsenter", "--net="+file, "ip", "-oneline", "-4", "address")
		if err == nil && strings.Contains(addresses, " "+address+"/") {
			return file
		}
	}
	t.Fatalf("none of %d network namespaces has the address %s", len(files), address)
	return ""
}

// startPlex starts a Plex server as a Pod and waits until plex.tv lists its address.
func startPlex(t *testing.T, namespace, machineIdentifier, port string) {
	t.Helper()
	manifest, err := os.ReadFile("testdata/plex.yaml")
	if err != nil {
		t.Fatal(err)
	}
	manifest = bytes.ReplaceAll(manifest, []byte("MACHINE"), []byte(machineIdentifier))
	manifest = bytes.ReplaceAll(manifest, []byte("PORT"), []byte(port))
	if _, err := run(string(manifest), "kubectl", "apply", "-n", namespace, "-f", "-"); err != nil {
		t.Fatal(err)
	}
	isReady(t, namespace, "plex")
	eventually(t, "the server has reported its address", func() error {
		log, err := run("", "kubectl", "logs", "-n", namespace, "plex")
		if err == nil && !strings.Contains(log, "\nready\n") {
			err = fmt.Errorf("it says %q", log)
		}
		return err
	})
}

// replacePlex deletes the Plex Pod, starts another one, and returns the address of the old one.
func replacePlex(t *testing.T, namespace, machineIdentifier, port string) (old string) {
	t.Helper()
	old = podIP(t, namespace, "plex")
	do(t, "kubectl", "delete", "pod", "-n", namespace, "plex", "--timeout=60s")
	startPlex(t, namespace, machineIdentifier, port)
	return old
}

func podIP(t *testing.T, namespace, name string) string {
	t.Helper()
	return get(t, namespace, name, &corev1.Pod{}).Status.PodIP
}

func urlOf(t *testing.T, namespace string) string {
	t.Helper()
	return string(secretOf(t, namespace, "kometa").Data["PLEX_URL"])
}

func serverResolved(t *testing.T, namespace string) metav1.Condition {
	t.Helper()
	c := meta.FindStatusCondition(linkOf(t, namespace, "kometa").Status.Conditions, v1alpha1.ConditionServerResolved)
	if c == nil {
		return metav1.Condition{}
	}
	return *c
}
