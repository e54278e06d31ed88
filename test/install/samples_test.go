package install

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

func TestAPIServerAcceptsTheSamples(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(root("config", "samples", "*plexlink*.yaml"))
	if err != nil || len(files) < 2 {
		t.Fatalf("the samples are %v, %v", files, err)
	}
	for _, file := range files {
		for _, o := range read(t, file) {
			o.SetNamespace("media")
			accepted(t, []*unstructured.Unstructured{o})
		}
	}
}

func read(t *testing.T, file string) []*unstructured.Unstructured {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, file, string(text))
}

func TestSchemaForEditorsAcceptsTheSamplesAndRefusesMistakes(t *testing.T) {
	t.Parallel()
	schema, err := jsonschema.NewCompiler().Compile(root("config", "crd", "plexlink_v1alpha1.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(root("config", "samples", "*plexlink*.yaml"))
	if err != nil || len(files) < 2 {
		t.Fatalf("the samples are %v, %v", files, err)
	}
	for _, file := range files {
		for _, o := range read(t, file) {
			if err := schema.Validate(o.Object); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
	for mistake, want := range map[string]string{
		"{apiVersion: plexlink.dev/v1, kind: PlexLink, metadata: {}, spec: {}}":                              "'/apiVersion'",
		"{apiVersion: plexlink.dev/v1alpha1, kind: PlexLink, metadata: {}, spec: {suspended: true}}":         "'suspended' not allowed",
		"{apiVersion: plexlink.dev/v1alpha1, kind: PlexLink, metadata: {}, spec: {deletionPolicy: Keep}}":    "'/spec/deletionPolicy'",
		"{apiVersion: plexlink.dev/v1alpha1, kind: PlexLink, metadata: {}, spec: {server: {schemes: HTTP}}}": "'/spec/server/schemes'",
	} {
		if err := schema.Validate(decode(t, "mistake", mistake)[0].Object); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", mistake, err, want)
		}
	}
}

func TestFullSampleShowsEveryField(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(root("config", "samples", "v1alpha1_plexlink_full.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	schema, _ := crdSchema(t)
	spec := schema.Properties["spec"]
	var walk func(path string, s *structuralschema.Structural)
	walk = func(path string, s *structuralschema.Structural) {
		for name, field := range s.Properties {
			if !regexp.MustCompile(`[ {]` + name + `:`).Match(text) {
				t.Errorf("the sample does not show %s.%s", path, name)
			}
			walk(path+"."+name, &field)
		}
	}
	walk("spec", &spec)
}

// Artifact Hub reads these annotations of the chart, each of which contains YAML.
func TestAnnotationsForArtifactHubAreValid(t *testing.T) {
	t.Parallel()
	metadata := loadChart(t).Metadata
	accepted(t, decode(t, "crdsExamples", strings.TrimPrefix(strings.ReplaceAll(
		metadata.Annotations["artifacthub.io/crdsExamples"], "\n  ", "\n"), "- ")))
	for name, want := range map[string]string{
		"artifacthub.io/images": "image: ghcr.io/plexlink/operator:" + metadata.AppVersion,
		"artifacthub.io/crds":   "name: plexlinks.plexlink.dev",
	} {
		if !strings.Contains(metadata.Annotations[name], want+"\n") {
			t.Errorf("got %s %q, want it to have %q", name, metadata.Annotations[name], want)
		}
	}
	for _, name := range []string{"changes", "links", "images", "crds"} {
		var list []map[string]any
		if err := yaml.UnmarshalStrict([]byte(metadata.Annotations["artifacthub.io/"+name]), &list); err != nil || len(list) == 0 {
			t.Errorf("artifacthub.io/%s: got %v, %v, want a list", name, list, err)
		}
	}
	if "v"+metadata.Version != metadata.AppVersion {
		t.Errorf("got chart version %s and appVersion %s, want the same", metadata.Version, metadata.AppVersion)
	}
}

func TestPolicyRestrictsServerURLs(t *testing.T) {
	t.Parallel()
	for _, o := range read(t, root("config", "samples", "policy", "server_urls.yaml")) {
		if err := cluster.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(o), client.FieldOwner("test")); err != nil {
			t.Fatal(err)
		}
	}
	create := func(url string) error {
		link := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "plexlink.dev/v1alpha1", "kind": "PlexLink",
			"metadata": map[string]any{"generateName": "policy-", "namespace": "home"},
			"spec":     map[string]any{},
		}}
		if url != "" {
			_ = unstructured.SetNestedField(link.Object, url, "spec", "server", "url")
		}
		return cluster.Create(t.Context(), link, client.DryRunAll)
	}
	// A new policy takes effect after a moment.
	deadline := time.After(30 * time.Second)
	for create("http://169.254.169.254") == nil {
		select {
		case <-deadline:
			t.Fatal("the policy does not take effect")
		case <-time.After(100 * time.Millisecond):
		}
	}
	for url, allowed := range map[string]bool{
		"":                                   true,
		"http://plex.home.svc:32400":         true,
		"http://plex.home.svc.cluster.local": true,
		"https://MEDIA.example.com/plex":     true,
		"http://plex.media.svc:32400":        false,
		"http://plex.home.svc.example.com":   false,
		"http://10.0.0.1:32400":              false,
		"http://media.example.com.evil.test": false,
	} {
		err := create(url)
		if allowed && err != nil {
			t.Errorf("%q: %v", url, err)
		}
		if !allowed && (err == nil || !strings.Contains(err.Error(), "use a Service of this namespace, as in http://plex.home.svc:32400, or one of: media.example.com")) {
			t.Errorf("%q: %v", url, err)
		}
	}
}
