package install

import (
	"regexp"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// options set every value of the chart, and list what the manifests must then contain.
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
	{"commonLabels: {team: media}", []string{"team: media"}},
	{
		"extraObjects: [{apiVersion: plexlink.dev/v1alpha1, kind: PlexLink, metadata: {name: first, namespace: media}, " +
			"spec: {secret: {template: {data: {URL: '{{ .URL }}'}}}}}, " +
			"\"apiVersion: v1\\nkind: ConfigMap\\nmetadata: {name: '{{ .Release.Name }}-second', namespace: media}\"]",
		[]string{"URL: '{{ .URL }}'", "name: plexlink-second"},
	},
	{"maxConcurrentReconciles: 5", []string{"--max-concurrent-reconciles=5"}},
	{"extraArgs: [--zap-encoder=console]", []string{"- --zap-encoder=console"}},
	{"env: [{name: HTTPS_PROXY, value: 'http://proxy:3128'}]", []string{"value: http://proxy:3128", "GOMEMLIMIT"}},
	{"{podLabels: {a: b}, podAnnotations: {c: d}}", []string{"a: b", "c: d", "default-container: manager"}},
	{"serviceAccount: {annotations: {a: b}}", []string{"a: b"}},
	{"podSecurityContext: {fsGroup: 7}", []string{"fsGroup: 7", "runAsUser: 65532"}},
	{"securityContext: {privileged: false}", []string{"privileged: false", "- ALL"}},
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
		// The fields below these are Kubernetes' own.
		kubernetes := regexp.MustCompile(`^.(resources|podSecurityContext|securityContext)[.]`)
		if !kubernetes.MatchString(name) && tested[name] == nil && name != ".dashboard.labels.grafana_dashboard" {
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

func TestHelmLintFindsNothing(t *testing.T) {
	t.Parallel()
	for _, message := range lint.RunAll(root("charts", "plexlink"), nil, namespace).Messages {
		t.Error(message)
	}
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
		"extraArgs: [zap-devel]":                         "at '/extraArgs/0': 'zap-devel' does not match pattern",
		"maxConcurrentReconciles: 0":                     "at '/maxConcurrentReconciles': minimum: got 0, want 1",
		"env: [{value: a}]":                              "at '/env/0': missing property 'name'",
		"podLabels: {a: 1}":                              "at '/podLabels/a': got number, want string",
		"serviceAccount: {name: mine}":                   "additional properties 'name' not allowed",
		"extraObjects: {kind: Pod}":                      "at '/extraObjects': got object, want array",
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

// OpenShift refuses Pods whose user is not in the range that it assigns to their namespace.
func TestNoUserIsSetWhereTheClusterAssignsIt(t *testing.T) {
	t.Parallel()
	for _, values := range []string{
		"podSecurityContext: {runAsUser: null, runAsGroup: null}", "{podSecurityContext: null, securityContext: null}",
	} {
		pods := 0
		for _, o := range chartObjects(t, values) {
			spec, found, _ := unstructured.NestedMap(o.Object, "spec", "template", "spec")
			if !found {
				continue
			}
			pods++
			text, err := yaml.Marshal(spec)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(text), "runAsUser") || strings.Contains(string(text), "runAsGroup") {
				t.Errorf("%q: got a user or group in %s, want none:\n%s", values, key(o), text)
			}
		}
		if pods != 2 {
			t.Errorf("%q: got %d kinds of Pods, want 2", values, pods)
		}
	}
}

// An upgrade could not change labels that are part of a selector.
func TestCommonLabelsAreInNoSelector(t *testing.T) {
	t.Parallel()
	labeled := 0
	values := "{commonLabels: {team: media}, podLabels: {pod: label}, replicaCount: 2, networkPolicy: {enabled: true}}"
	for _, o := range chartObjects(t, values) {
		if o.GetLabels()["team"] == "media" {
			labeled++
		} else {
			t.Errorf("%s has no common label", key(o))
		}
		for _, path := range [][]string{{"spec", "selector"}, {"spec", "podSelector"}} {
			selector, _, _ := unstructured.NestedMap(o.Object, path...)
			if text, _ := yaml.Marshal(selector); strings.Contains(string(text), "team") || strings.Contains(string(text), "pod: label") {
				t.Errorf("%s selects by a label that may change:\n%s", key(o), text)
			}
		}
	}
	if labeled < 10 {
		t.Errorf("got %d objects with the label, want all", labeled)
	}
}
