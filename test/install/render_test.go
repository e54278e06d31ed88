package install

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// namespace is the namespace that chart and kustomize install the operator in.
const namespace = "plexlink-system"

func root(elements ...string) string {
	return filepath.Join(append([]string{"..", ".."}, elements...)...)
}

func loadChart(t *testing.T) *chart.Chart {
	t.Helper()
	c, err := loader.Load(root("charts", "plexlink"))
	if err != nil {
		t.Fatal("load the chart:", err)
	}
	return c
}

// renderChart renders the chart with values in YAML, validated against the schema as helm does.
func renderChart(t *testing.T, values string) (map[string]string, error) {
	t.Helper()
	vals := map[string]any{}
	if err := yaml.Unmarshal([]byte(values), &vals); err != nil {
		t.Fatal("values of the test:", err)
	}
	c := loadChart(t)
	release := common.ReleaseOptions{Name: "plexlink", Namespace: namespace, Revision: 1, IsInstall: true}
	all, err := util.ToRenderValues(c, vals, release, common.DefaultCapabilities.Copy())
	if err != nil {
		return nil, err
	}
	files, err := engine.Engine{Strict: true}.Render(c, all)
	if err != nil {
		t.Fatal("render the chart:", err)
	}
	return files, nil
}

// chartObjects returns the objects that the chart renders with these values.
func chartObjects(t *testing.T, values string) []*unstructured.Unstructured {
	t.Helper()
	files, err := renderChart(t, values)
	if err != nil {
		t.Fatal("render the chart:", err)
	}
	var objects []*unstructured.Unstructured
	for name, text := range files {
		if path.Ext(name) == ".yaml" {
			objects = append(objects, decode(t, name, text)...)
		}
	}
	return sorted(objects)
}

// kustomizeObjects returns the objects of config/default, with these commented-out parts enabled.
func kustomizeObjects(t *testing.T, optional ...string) []*unstructured.Unstructured {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(root("config"))); err != nil {
		t.Fatal("copy config:", err)
	}
	overlay := filepath.Join(dir, "default")
	file := filepath.Join(overlay, "kustomization.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range optional {
		text = bytes.Replace(text, []byte("#- ../"+part+"\n"), []byte("- ../"+part+"\n"), 1)
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), overlay)
	if err != nil {
		t.Fatal("build config/default:", err)
	}
	text, err = resources.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	return sorted(decode(t, "config/default", string(text)))
}

func decode(t *testing.T, name, text string) []*unstructured.Unstructured {
	t.Helper()
	var objects []*unstructured.Unstructured
	documents := utilyaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096)
	for {
		object := &unstructured.Unstructured{}
		err := documents.Decode(&object.Object)
		if errors.Is(err, io.EOF) {
			return objects
		}
		if err != nil {
			t.Fatalf("%s is not YAML: %v\n%s", name, err, text)
		}
		if len(object.Object) > 0 {
			objects = append(objects, object)
		}
	}
}

// key identifies an object within an installation.
func key(o *unstructured.Unstructured) string {
	return fmt.Sprintf("%s %s/%s", o.GetKind(), o.GetNamespace(), o.GetName())
}

func sorted(objects []*unstructured.Unstructured) []*unstructured.Unstructured {
	slices.SortFunc(objects, func(a, b *unstructured.Unstructured) int { return strings.Compare(key(a), key(b)) })
	return objects
}

// only returns the one object of a kind, or nil.
func only(t *testing.T, objects []*unstructured.Unstructured, kind string) *unstructured.Unstructured {
	t.Helper()
	var found *unstructured.Unstructured
	for _, o := range objects {
		if o.GetKind() != kind {
			continue
		}
		if found != nil {
			t.Fatalf("more than one %s: %s and %s", kind, key(found), key(o))
		}
		found = o
	}
	return found
}
