package install

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// A manager with a Lease exits while the API server is down, and loses a token that it could not store yet.
func TestSingleManagerDoesNotDependOnALease(t *testing.T) {
	t.Parallel()
	for name, objects := range map[string][]*unstructured.Unstructured{
		"chart": chartObjects(t, ""), "kustomize": kustomizeObjects(t),
	} {
		manager := only(t, objects, "Deployment")
		replicas, _, _ := unstructured.NestedFieldNoCopy(manager.Object, "spec", "replicas")
		if fmt.Sprint(replicas) != "1" {
			t.Errorf("%s: got %v replicas, want 1", name, replicas)
		}
		containers, _, _ := unstructured.NestedSlice(manager.Object, "spec", "template", "spec", "containers")
		args, _, _ := unstructured.NestedStringSlice(containers[0].(map[string]any), "args")
		if len(args) == 0 || slices.ContainsFunc(args, func(arg string) bool { return strings.HasPrefix(arg, "--leader-elect") }) {
			t.Errorf("%s: got the arguments %q, want some, and no leader election", name, args)
		}
		for _, o := range objects {
			if rules, _, _ := unstructured.NestedSlice(o.Object, "rules"); slices.ContainsFunc(rules, isAboutLeases) {
				t.Errorf("%s: %s grants permissions for Leases, want none", name, key(o))
			}
		}
	}
	if role := only(t, chartObjects(t, "replicaCount: 2"), "Role"); role == nil {
		t.Error("two replicas have no Role")
	} else if rules, _, _ := unstructured.NestedSlice(role.Object, "rules"); !slices.ContainsFunc(rules, isAboutLeases) {
		t.Errorf("got the rules %v for two replicas, want permissions for Leases", rules)
	}
}

func isAboutLeases(rule any) bool {
	resources, _, _ := unstructured.NestedStringSlice(rule.(map[string]any), "resources")
	return slices.Contains(resources, "leases")
}

// A manager without leader election must not run beside those of the next release, whatever their number. A strategy that
// depends on the number would not work: server-side apply, which helm uses, cannot change RollingUpdate to Recreate.
func TestOldManagersEndBeforeNewOnesStart(t *testing.T) {
	t.Parallel()
	installNamespace(t)
	for _, values := range []string{"", "replicaCount: 2", "replicaCount: 1"} {
		manager := only(t, chartObjects(t, values), "Deployment")
		if strategy, _, _ := unstructured.NestedString(manager.Object, "spec", "strategy", "type"); strategy != "Recreate" {
			t.Errorf("%q: got the strategy %q, want Recreate", values, strategy)
		}
		manager.SetName("changing")
		err := cluster.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(manager), client.FieldOwner("helm"))
		if err != nil {
			t.Errorf("change to %q: %v", values, err)
		}
	}
}
