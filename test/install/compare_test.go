package install

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// helmsOwn are labels that only Helm sets.
var helmsOwn = []string{"app.kubernetes.io/instance", "app.kubernetes.io/managed-by", "app.kubernetes.io/version", "helm.sh/chart"}

func TestChartAndKustomizeInstallTheSameObjects(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, values string
		optional     []string
	}{
		{name: "default"},
		{name: "network policy", values: "networkPolicy: {enabled: true}", optional: []string{"network-policy"}},
		{
			name:     "monitoring",
			values:   "serviceMonitor: {enabled: true}\nprometheusRule: {enabled: true}",
			optional: []string{"prometheus"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			fromKustomize := normalized(kustomizeObjects(t, test.optional...))
			// Helm creates the namespace (--create-namespace), without labels.
			delete(fromKustomize, "Namespace /"+namespace)
			fromChart := normalized(chartObjects(t, test.values))
			// A hook that runs when the chart is uninstalled.
			delete(fromChart, "Job "+namespace+"/plexlink-uninstall")
			for _, name := range slices.Sorted(maps.Keys(fromKustomize)) {
				if _, ok := fromChart[name]; !ok {
					t.Errorf("only kustomize installs %s", name)
				} else if diff := cmp.Diff(fromKustomize[name], fromChart[name]); diff != "" {
					t.Errorf("%s differs (-kustomize +chart):\n%s", name, diff)
				}
				delete(fromChart, name)
			}
			for name := range fromChart {
				t.Errorf("only the chart installs %s", name)
			}
		})
	}
}

// normalized removes what differs by design: Helm's own labels, and the annotation that keeps the CRD.
func normalized(objects []*unstructured.Unstructured) map[string]any {
	byName := map[string]any{}
	for _, o := range objects {
		withoutLabels(o.Object)
		if o.GetKind() == "CustomResourceDefinition" {
			unstructured.RemoveNestedField(o.Object, "metadata", "annotations", "helm.sh/resource-policy")
		}
		byName[key(o)] = o.Object
	}
	return byName
}

// withoutLabels removes Helm's own labels from an object, its selectors and its templates.
func withoutLabels(value any) {
	switch v := value.(type) {
	case map[string]any:
		for _, label := range helmsOwn {
			delete(v, label)
		}
		for _, each := range v {
			withoutLabels(each)
		}
	case []any:
		for _, each := range v {
			withoutLabels(each)
		}
	}
}
