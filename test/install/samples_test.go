package install

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
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
