package install

import (
	"slices"
	"strings"
	"testing"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"github.com/google/go-cmp/cmp"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	monitoringv1alpha1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// decoded maps the kinds that this API server does not serve to Go types, into which they are decoded strictly.
var decoded = map[string]func() any{
	"ServiceMonitor":     func() any { return &monitoringv1.ServiceMonitor{} },
	"PrometheusRule":     func() any { return &monitoringv1.PrometheusRule{} },
	"AlertmanagerConfig": func() any { return &monitoringv1alpha1.AlertmanagerConfig{} },
	"OCIRepository":      func() any { return &sourcev1.OCIRepository{} },
	"HelmRelease":        func() any { return &helmv2.HelmRelease{} },
	"Kustomization":      func() any { return &kustomizev1.Kustomization{} },
}

// accepted validates objects strictly: by a dry run of the API server, or by decoding.
func accepted(t *testing.T, objects []*unstructured.Unstructured) {
	t.Helper()
	for _, o := range objects {
		var err error
		if typed, ok := decoded[o.GetKind()]; ok {
			err = decodesInto(o, typed())
		} else {
			err = cluster.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(o.DeepCopy()),
				client.FieldOwner("test"), client.ForceOwnership, client.DryRunAll)
		}
		if err != nil {
			t.Errorf("%s: %v", key(o), err)
		}
	}
}

func decodesInto(o *unstructured.Unstructured, into any) error {
	text, err := yaml.Marshal(o.Object)
	if err != nil {
		return err
	}
	return yaml.UnmarshalStrict(text, into)
}

// installNamespace creates the operator's namespace as kustomize would.
func installNamespace(t *testing.T) {
	t.Helper()
	o := only(t, kustomizeObjects(t), "Namespace")
	err := cluster.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(o), client.FieldOwner("test"), client.ForceOwnership)
	if err != nil {
		t.Fatal("create the namespace:", err)
	}
}

func TestAPIServerAcceptsTheManifests(t *testing.T) {
	t.Parallel()
	installNamespace(t)
	accepted(t, kustomizeObjects(t, "network-policy", "prometheus"))
}

func TestWithNamespacesNoPermissionReachesBeyondThem(t *testing.T) {
	t.Parallel()
	reached := map[string]bool{}
	for _, o := range chartObjects(t, "watchNamespaces: [media, home]") {
		if o.GetKind() != "ClusterRole" && o.GetKind() != "Role" {
			continue
		}
		rules, _, _ := unstructured.NestedSlice(o.Object, "rules")
		for _, rule := range rules {
			resources, _, _ := unstructured.NestedStringSlice(rule.(map[string]any), "resources")
			if !slices.Contains(resources, "secrets") {
				continue
			}
			reached[o.GetNamespace()] = true
		}
	}
	if len(reached) != 2 || !reached["media"] || !reached["home"] {
		t.Errorf("Secrets can be read in %v", reached)
	}
}

// Two releases in one namespace that shared a Lease would serve only the namespaces of one of them.
func TestLeaseHasTheNameOfTheRelease(t *testing.T) {
	t.Parallel()
	for values, want := range map[string]string{
		"replicaCount: 2": "plexlink", "{replicaCount: 2, fullnameOverride: links}": "links",
	} {
		objects := chartObjects(t, values)
		text, err := yaml.Marshal(only(t, objects, "Deployment").Object)
		if err != nil {
			t.Fatal(err)
		}
		if arg := "--leader-election-id=" + want + "\n"; !strings.Contains(string(text), arg) {
			t.Errorf("%q: the manager has no argument %s", values, arg)
		}
		if arg := "- --leader-elect\n"; !strings.Contains(string(text), arg) {
			t.Errorf("%q: the manager has no argument %s", values, arg)
		}
		role := only(t, objects, "Role")
		rules, _, _ := unstructured.NestedSlice(role.Object, "rules")
		allowed := slices.ContainsFunc(rules, func(rule any) bool {
			verbs, _, _ := unstructured.NestedStringSlice(rule.(map[string]any), "verbs")
			names, _, _ := unstructured.NestedStringSlice(rule.(map[string]any), "resourceNames")
			return slices.Contains(verbs, "update") && slices.Equal(names, []string{want})
		})
		if !allowed {
			t.Errorf("%q: %s does not permit to update the Lease %s: %v", values, key(role), want, rules)
		}
	}
}

func TestManagerKnowsItsMemoryLimitAndItsAddresses(t *testing.T) {
	t.Parallel()
	for _, o := range []*unstructured.Unstructured{
		only(t, chartObjects(t, ""), "Deployment"), only(t, kustomizeObjects(t), "Deployment"),
	} {
		containers, _, _ := unstructured.NestedSlice(o.Object, "spec", "template", "spec", "containers")
		env, _, _ := unstructured.NestedSlice(containers[0].(map[string]any), "env")
		want := []any{
			map[string]any{"name": "GOMEMLIMIT", "valueFrom": map[string]any{"resourceFieldRef": map[string]any{"resource": "limits.memory"}}},
			map[string]any{"name": "POD_IPS", "valueFrom": map[string]any{"fieldRef": map[string]any{"fieldPath": "status.podIPs"}}},
		}
		if diff := cmp.Diff(want, env); diff != "" {
			t.Errorf("%s has another environment (-want +got):\n%s", key(o), diff)
		}
	}
}

func TestServiceDiscoveryTakesTwoPermissions(t *testing.T) {
	t.Parallel()
	permitted := func(values string) map[string]bool {
		resources := map[string]bool{}
		for _, o := range chartObjects(t, values) {
			if o.GetName() != "plexlink-manager-role" || o.GetKind() != "ClusterRole" {
				continue
			}
			rules, _, _ := unstructured.NestedSlice(o.Object, "rules")
			for _, rule := range rules {
				names, _, _ := unstructured.NestedStringSlice(rule.(map[string]any), "resources")
				for _, name := range names {
					resources[name] = true
				}
			}
		}
		return resources
	}
	with, without := permitted(""), permitted("serviceDiscovery: {enabled: false}")
	for _, name := range []string{"endpointslices", "services"} {
		if !with[name] || without[name] {
			t.Errorf("got a permission for %s %t with, %t without serviceDiscovery, want it with only", name, with[name], without[name])
		}
		delete(with, name)
	}
	if diff := cmp.Diff(with, without); diff != "" {
		t.Errorf("the other permissions differ (-with +without):\n%s", diff)
	}
}

func TestRolesForUsersGrantNoAccessToSecrets(t *testing.T) {
	t.Parallel()
	for _, o := range chartObjects(t, "") {
		aggregated := false
		for label := range o.GetLabels() {
			aggregated = aggregated || strings.HasPrefix(label, "rbac.authorization.k8s.io/aggregate-to-")
		}
		if text, _ := yaml.Marshal(o.Object["rules"]); aggregated && strings.Contains(string(text), "secrets") {
			t.Errorf("%s: %s", key(o), text)
		}
	}
}

// The namespace of config/default enforces Pod Security's profile restricted.
func TestPodsAreRestricted(t *testing.T) {
	t.Parallel()
	installNamespace(t)
	for _, o := range chartObjects(t, "replicaCount: 2") {
		if o.GetKind() != "Deployment" && o.GetKind() != "Job" {
			continue
		}
		spec, _, _ := unstructured.NestedMap(o.Object, "spec", "template", "spec")
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: "restricted-"}}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(spec, &pod.Spec); err != nil {
			t.Fatal(err)
		}
		if err := cluster.Create(t.Context(), pod, client.DryRunAll); err != nil {
			t.Errorf("%s: %v", key(o), err)
		}
		// Prove that the API server enforces the profile.
		pod.Spec.Containers[0].SecurityContext.Capabilities = nil
		if err := cluster.Create(t.Context(), pod, client.DryRunAll); err == nil || !strings.Contains(err.Error(), "PodSecurity") {
			t.Errorf("%s with all capabilities: %v", key(o), err)
		}
	}
}

func TestNotesDescribeWhatIsInstalled(t *testing.T) {
	t.Parallel()
	for values, want := range map[string]string{
		"":                         "serves all namespaces",
		"watchNamespaces: [media]": "kubectl get plexlink -n media kometa",
		"crds: {keep: false}":      "CAUTION",
	} {
		files, err := renderChart(t, values)
		if err != nil {
			t.Fatal(err)
		}
		if notes := files["plexlink/templates/NOTES.txt"]; !strings.Contains(notes, want) {
			t.Errorf("the notes do not say %q:\n%s", want, notes)
		}
	}
}
