//go:build e2e

package e2e

import (
	"strings"
	"testing"
)

func TestPodsResolveServiceNames(t *testing.T) {
	newNamespace(t, "home")
	defer do(t, "kubectl", "delete", "namespace", "home", "--wait=false")
	do(t, "kubectl", "apply", "-n", "home", "-f", "testdata/plex-service.yaml", "-f", "testdata/lookup.yaml")
	isReady(t, "home", "lookup")
	address := do(t, "kubectl", "get", "service", "-n", "home", "plex", "-o", "jsonpath={.spec.clusterIP}")
	lookup := func(name string) (string, error) {
		return run("", "kubectl", "exec", "-n", "home", "lookup", "--", "/mediaapp", "lookup", name)
	}
	// The first answer may have to wait for kube-proxy and CoreDNS to learn of the Service.
	eventually(t, "plex resolves", func() error {
		_, err := lookup("plex")
		return err
	})
	for _, name := range []string{"plex", "plex.home", "plex.home.svc", "plex.home.svc.cluster.local", "plex.home.svc.cluster.local."} {
		if got, err := lookup(name); err != nil || strings.TrimSpace(got) != address {
			t.Errorf("%s resolves to %q, %v, want %s", name, got, err, address)
		}
	}
	for _, name := range []string{"plex.media.svc.cluster.local", "plex.invalid"} {
		if got, err := lookup(name); err == nil || !strings.Contains(err.Error(), "no such host") {
			t.Errorf("%s resolves to %q, %v, want no such host", name, got, err)
		}
	}
}
