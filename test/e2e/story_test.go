//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plexlink.dev/operator/api/v1alpha1"
)

// The subtests build upon each other, as in the life of a cluster.
func TestClusterWide(t *testing.T) {
	for _, chapter := range []struct {
		name string
		tell func(*testing.T)
	}{
		{"the operator runs as restricted", operatorRunsAsRestricted},
		{"media apps wait for the link and start by themselves", mediaAppsWait},
		{"an upgrade from the previous chart keeps links", upgradeKeepsLinks},
		{"the second replica takes over when the leader is killed", secondReplicaTakesOver},
		{"Secrets go with their PlexLink", secretsGoWithTheirPlexLink},
		{"uninstalling leaves nothing", uninstallingLeavesNothing},
	} {
		if !t.Run(chapter.name, chapter.tell) {
			t.FailNow()
		}
	}
}

func operatorRunsAsRestricted(t *testing.T) {
	newNamespace(t, system)
	install(t, previousChart(t))
	do(t, "kubectl", "get", "pods", "-n", system)
	if pods := managers(t); len(pods) != 1 {
		t.Errorf("%d operator Pods, not 1", len(pods))
	}
	// A single manager has no Lease, so that it survives an outage of the API server.
	err := cluster.Get(t.Context(), client.ObjectKey{Namespace: system, Name: release}, &coordinationv1.Lease{})
	if !apierrors.IsNotFound(err) {
		t.Errorf("the operator has a Lease: %v", err)
	}
}

func mediaAppsWait(t *testing.T) {
	newNamespace(t, "media")
	do(t, "kubectl", "apply", "-n", "media", "-f", "testdata/mediaapps.yaml")
	waits(t, "media", "app-env", "CreateContainerConfigError")
	waits(t, "media", "app-files", "ContainerCreating")

	newLink(t, "media", "kometa")
	pin := pinOf(t, "media", "kometa")
	if table := do(t, "kubectl", "get", "plexlink", "-n", "media"); !strings.Contains(table, pin) {
		t.Errorf("the table does not show the PIN %s", pin)
	}

	before := managers(t)[0].Name
	do(t, "kubectl", "delete", "pod", "-n", system, before, "--wait=false")
	eventually(t, "another operator Pod runs", func() error {
		if pods := managers(t); len(pods) != 1 || pods[0].Name == before {
			return fmt.Errorf("%d Pods besides %s", len(pods), before)
		}
		return nil
	})
	isReady(t, system, managers(t)[0].Name)
	if again := pinOf(t, "media", "kometa"); again != pin {
		t.Errorf("the PIN was %s and is %s after the operator was deleted", pin, again)
	}

	enter(t, pin)
	becomesLinked(t, "media", "kometa")
	isReady(t, "media", "app-env")
	isReady(t, "media", "app-files")
	do(t, "kubectl", "get", "plexlink,pods", "-n", "media", "-o", "wide")
	for _, pod := range []string{"app-env", "app-files"} {
		if log := do(t, "kubectl", "logs", "-n", "media", pod); !strings.Contains(log, "reached http://") {
			t.Errorf("%s has not reached its media server", pod)
		}
	}
}

func upgradeKeepsLinks(t *testing.T) {
	type state struct {
		Secret, Device map[string][]byte
		UID            types.UID
	}
	read := func() state {
		target := secretOf(t, "media", "kometa")
		return state{target.Data, secretOf(t, "media", "kometa"+v1alpha1.DeviceSecretSuffix).Data, target.UID}
	}
	before := read()
	install(t, chart, "replicaCount=2")
	becomesLinked(t, "media", "kometa")
	if !cmp.Equal(before, read()) { // a difference would show the token
		t.Error("the upgrade has changed a Secret")
	}
	if link := linkOf(t, "media", "kometa"); link.Status.PIN != nil {
		t.Error("the upgrade asks for another link")
	}
}

func secondReplicaTakesOver(t *testing.T) {
	eventually(t, "two operator Pods run and one leads", func() error {
		if pods := managers(t); len(pods) != 2 || leader(t) == "" {
			return fmt.Errorf("%d Pods, leader %q", len(pods), leader(t))
		}
		return nil
	})
	newLink(t, "media", "tautulli")
	pin := pinOf(t, "media", "tautulli")
	killed := leader(t)
	do(t, "kubectl", "delete", "pod", "-n", system, killed, "--grace-period=0", "--force")
	enter(t, pin) // while no Pod leads
	eventually(t, "the other Pod leads", func() error {
		if now := leader(t); now == "" || now == killed {
			return fmt.Errorf("the leader is %q", now)
		}
		return nil
	})
	becomesLinked(t, "media", "tautulli")
}

func secretsGoWithTheirPlexLink(t *testing.T) {
	names := []string{"tautulli", "tautulli" + v1alpha1.DeviceSecretSuffix}
	owner := linkOf(t, "media", "tautulli").UID
	if owners := secretOf(t, "media", names[0]).OwnerReferences; len(owners) != 1 || owners[0].UID != owner {
		t.Errorf("Secret %s has the owners %v, want the PlexLink", names[0], owners)
	}
	if owners := secretOf(t, "media", names[1]).OwnerReferences; len(owners) > 0 {
		t.Errorf("Secret %s has the owners %v, want none: the garbage collector would delete a restored copy", names[1], owners)
	}
	do(t, "kubectl", "delete", "plexlink", "-n", "media", "tautulli", "--timeout=60s")
	for _, name := range names {
		vanishes(t, &corev1.Secret{}, "media", name)
	}
}

func uninstallingLeavesNothing(t *testing.T) {
	do(t, "helm", "uninstall", release, "--namespace", system, "--wait", "--timeout", patience.String())
	if finalizers := linkOf(t, "media", "kometa").Finalizers; len(finalizers) > 0 {
		t.Errorf("the PlexLink has the finalizers %v", finalizers)
	}
	leftovers(t)
	do(t, "kubectl", "delete", "namespace", "media", "--timeout="+patience.String())
	do(t, "kubectl", "delete", "namespace", system, "--timeout="+patience.String())
	do(t, "kubectl", "delete", "crd", "plexlinks.plexlink.dev", "--timeout=60s")
}

// leftovers returns what the chart created outside of its namespace, without the CRD, which stays because of the links.
func leftovers(t *testing.T) {
	t.Helper()
	left := do(t, "kubectl", "get", "clusterroles,clusterrolebindings,roles,rolebindings,services,deployments,jobs,serviceaccounts",
		"--all-namespaces", "--selector=app.kubernetes.io/name=plexlink", "-o", "name")
	if left != "" {
		t.Errorf("left behind: %s", left)
	}
}

func TestWatchedNamespaces(t *testing.T) {
	newNamespace(t, system)
	newNamespace(t, "watched")
	newNamespace(t, "other")
	install(t, chart, "watchNamespaces={watched}")
	operator := "system:serviceaccount:" + system + ":plexlink-controller-manager"
	if _, err := run("", "kubectl", "auth", "can-i", "get", "secrets", "-n", "other", "--as", operator); err == nil {
		t.Error("the operator may read Secrets in a namespace that it does not watch")
	}
	// Plex runs in a namespace whose Services the operator may not list, so its Pod's address is used.
	do(t, "kubectl", "apply", "-n", "other", "-f", "testdata/plex-service.yaml")
	startPlex(t, "other", "home", "32401")
	newLink(t, "other", "kometa")
	newLink(t, "watched", "kometa")
	enterAs(t, "bob", pinOf(t, "watched", "kometa"))
	becomesLinked(t, "watched", "kometa")
	if got, want := urlOf(t, "watched"), "http://"+podIP(t, "other", "plex")+":32400"; got != want {
		t.Errorf("PLEX_URL is %s, want %s", got, want)
	}
	if status := linkOf(t, "other", "kometa").Status; len(status.Conditions) > 0 || status.PIN != nil {
		t.Errorf("a PlexLink in another namespace is served: %v", status.Conditions)
	}

	// The deletion of a namespace takes the operator's Role before the PlexLink.
	const signOut = "DELETE /users/signout  204"
	before := requests(t, signOut)
	do(t, "kubectl", "delete", "namespace", "watched", "--timeout="+patience.String())
	if after := requests(t, signOut); after != before+1 {
		t.Errorf("%d devices were signed out, not 1", after-before)
	}
	do(t, "helm", "uninstall", release, "--namespace", system, "--wait", "--timeout", patience.String())
	leftovers(t)
	do(t, "kubectl", "delete", "namespace", "other", system, "--timeout="+patience.String())
}

// requests counts the lines of the simulator's log that hold the text.
func requests(t *testing.T, text string) int {
	t.Helper()
	log, err := run("", "kubectl", "logs", "-n", "plex", "plexsim")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(log, text)
}
