package install

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// accepted sends objects to the API server, which checks them strictly and keeps none. Those of the Prometheus operator
// are decoded strictly into its types instead.
func accepted(t *testing.T, objects []*unstructured.Unstructured) {
	t.Helper()
	for _, o := range objects {
		var err error
		switch o.GetKind() {
		case "ServiceMonitor":
			err = decodesInto(o, &monitoringv1.ServiceMonitor{})
		case "PrometheusRule":
			err = decodesInto(o, &monitoringv1.PrometheusRule{})
		default:
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

// installNamespace makes the operator's namespace as kustomize would.
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

// options has values for every option of the chart, with texts that must then be in the manifests.
var options = []struct {
	values string
	want   []string
}{
	{values: ""},
	{"replicaCount: 2", []string{"kind: PodDisruptionBudget", "topologyKey: kubernetes.io/hostname"}},
	{"{replicaCount: 2, podDisruptionBudget: {enabled: false}}", []string{"replicas: 2"}},
	{
		"{image: {repository: 'registry.example.com:5000/plexlink', tag: v1, pullPolicy: Never}, imagePullSecrets: [{name: mine}]}",
		[]string{"image: registry.example.com:5000/plexlink:v1", "imagePullPolicy: Never", "- name: mine"},
	},
	{
		"image: {digest: 'sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef'}",
		[]string{"image: ghcr.io/plexlink/operator@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"},
	},
	{"fullnameOverride: links", []string{"name: links-controller-manager"}},
	{
		"{replicaCount: 2, leaderElection: {leaseDuration: 1m, renewDeadline: 40s, retryPeriod: 1.5s}}",
		[]string{"--leader-election-lease-duration=1m", "--leader-election-renew-deadline=40s", "--leader-election-retry-period=1.5s"},
	},
	{"watchNamespaces: [media, home]", []string{"--watch-namespaces=media,home"}},
	{"crds: {enabled: false}", nil},
	{"crds: {keep: false}", []string{"kind: CustomResourceDefinition"}},
	{
		"plex: {url: 'http://plex.test:8080', qps: 0.5, burst: 3}",
		[]string{"--plex-url=http://plex.test:8080", "--plex-qps=0.5", "--plex-burst=3"},
	},
	{"denyServerCIDRs: [10.0.0.0/24, 'fe80::/10']", []string{"--deny-server-cidrs=10.0.0.0/24,fe80::/10"}},
	{"serviceDiscovery: {enabled: false}", nil},
	{"clusterDomain: home.example.com", []string{"--cluster-domain=home.example.com"}},
	{"serverCheckInterval: 5m", []string{"--server-check-interval=5m"}},
	{"logLevel: debug", []string{"--zap-log-level=debug"}},
	{"logLevel: 5", []string{"--zap-log-level=5"}},
	{"resources: {requests: {cpu: 1}, limits: {cpu: '2', memory: 1Gi}}", []string{"memory: 1Gi"}},
	{"{priorityClassName: system-cluster-critical, nodeSelector: {disk: ssd}}", []string{"priorityClassName: system-cluster-critical", "disk: ssd"}},
	{
		"{tolerations: [{key: a, operator: Exists}], affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: " +
			"[{weight: 1, preference: {matchExpressions: [{key: disk, operator: Exists}]}}]}}}",
		[]string{"operator: Exists", "nodeAffinity:"},
	},
	{
		"topologySpreadConstraints: [{maxSkew: 2, topologyKey: zone, whenUnsatisfiable: DoNotSchedule}]",
		[]string{"topologyKey: zone"},
	},
	{"networkPolicy: {enabled: true, apiPorts: [443, 16443], serverPorts: [32400, 33400]}", []string{"port: 16443", "port: 33400"}},
	{"serviceMonitor: {enabled: true, interval: 1m30s, labels: {release: prometheus}}", []string{"interval: 1m30s", "release: prometheus"}},
	{"prometheusRule: {enabled: true, labels: {release: prometheus}}", []string{"PlexLinkNotReady", "{{ $labels.namespace }}"}},
	{"dashboard: {enabled: true, labels: {grafana: mine}}", []string{"plexlink.json:", "grafana: mine"}},
}

func TestAPIServerAcceptsTheChartWithEveryOption(t *testing.T) {
	t.Parallel()
	installNamespace(t)
	for _, test := range options {
		t.Run(test.values, func(t *testing.T) {
			t.Parallel()
			objects := chartObjects(t, test.values)
			accepted(t, objects)
			var all strings.Builder
			for _, o := range objects {
				text, err := yaml.Marshal(o.Object)
				if err != nil {
					t.Fatal(err)
				}
				all.Write(text)
			}
			for _, want := range test.want {
				if !strings.Contains(all.String(), want) {
					t.Errorf("the manifests do not contain %q:\n%s", want, all.String())
				}
			}
		})
	}
}

func TestEveryOptionIsTested(t *testing.T) {
	t.Parallel()
	tested := map[string]any{}
	for _, test := range options {
		values := map[string]any{}
		if err := yaml.Unmarshal([]byte(test.values), &values); err != nil {
			t.Fatal(err)
		}
		for name := range leaves(values, "") {
			tested[name] = true
		}
	}
	for name := range leaves(loadChart(t).Values, "") {
		// The parts of resources are Kubernetes' own.
		if !strings.HasPrefix(name, ".resources.") && tested[name] == nil && name != ".dashboard.labels.grafana_dashboard" {
			t.Errorf("no test sets %s", name)
		}
	}
}

func leaves(values map[string]any, prefix string) map[string]any {
	all := map[string]any{}
	for name, value := range values {
		if below, ok := value.(map[string]any); ok && len(below) > 0 {
			for each := range leaves(below, prefix+"."+name) {
				all[each] = true
			}
		}
		all[prefix+"."+name] = true
	}
	return all
}

func TestSchemaRefusesWrongValues(t *testing.T) {
	t.Parallel()
	for values, want := range map[string]string{
		"replicas: 2":        "additional properties 'replicas' not allowed",
		"replicaCount: many": "at '/replicaCount': got string, want integer",
		"image: {repository: 'example.com/plexlink:v1'}": "at '/image/repository'",
		"image: {digest: 'sha256:12'}":                   "at '/image/digest'",
		"image: {pullPolicy: Sometimes}":                 "at '/image/pullPolicy': value must be one of 'IfNotPresent', 'Always', 'Never'",
		"watchNamespaces: media":                         "at '/watchNamespaces': got string, want array",
		"watchNamespaces: ['a,b']":                       "at '/watchNamespaces/0': 'a,b' does not match pattern",
		"plex: {qps: 0}":                                 "at '/plex/qps': exclusiveMinimum: got 0, want 0",
		"plex: {qps: 50}":                                "at '/plex/qps': maximum: got 50, want 10",
		"plex: {url: plex.tv}":                           "at '/plex/url': 'plex.tv' does not match pattern",
		"denyServerCIDRs: [10.0.0.1]":                    "at '/denyServerCIDRs/0': '10.0.0.1' does not match pattern",
		"clusterDomain: .local":                          "at '/clusterDomain': '.local' does not match pattern",
		"serverCheckInterval: 60":                        "at '/serverCheckInterval': got number, want string",
		"logLevel: trace":                                "at '/logLevel'",
		"logLevel: 9":                                    "at '/logLevel': maximum: got 9, want 7",
		"leaderElection: {leaseDuration: 15}":            "at '/leaderElection/leaseDuration': got number, want string",
		"leaderElection: {retryPeriod: soon}":            "at '/leaderElection/retryPeriod': 'soon' does not match pattern",
		"networkPolicy: {serverPorts: [0]}":              "at '/networkPolicy/serverPorts/0': minimum: got 0, want 1",
		"serviceMonitor: {interval: often}":              "at '/serviceMonitor/interval': 'often' does not match pattern",
		"nodeSelector: {a: 1}":                           "at '/nodeSelector/a': got number, want string",
		"podDisruptionBudget: {enabled: 'yes'}":          "at '/podDisruptionBudget/enabled': got string, want boolean",
	} {
		t.Run(values, func(t *testing.T) {
			t.Parallel()
			if _, err := renderChart(t, values); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("the error is %v\nwant %s", err, want)
			}
		})
	}
}

func TestWithNamespacesNoRightReachesBeyondThem(t *testing.T) {
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

func TestRolesForPeopleHaveNothingToDoWithSecrets(t *testing.T) {
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
		// The test would see what is not allowed.
		pod.Spec.Containers[0].SecurityContext.Capabilities = nil
		if err := cluster.Create(t.Context(), pod, client.DryRunAll); err == nil || !strings.Contains(err.Error(), "PodSecurity") {
			t.Errorf("%s with all capabilities: %v", key(o), err)
		}
	}
}

func TestNotesSayWhatIsInstalled(t *testing.T) {
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
