package stories

import (
	"os"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

func TestKubectlExplainListsAndDescribesEveryField(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	text, err := os.ReadFile("../../config/crd/bases/plexlink.dev_plexlinks.yaml")
	if err != nil {
		t.Fatal(err)
	}
	type schema struct {
		Description string            `json:"description"`
		Properties  map[string]schema `json:"properties"`
		Items       *schema           `json:"items"`
	}
	var crd struct {
		Spec struct {
			Versions []struct {
				Schema struct {
					OpenAPIV3Schema schema `json:"openAPIV3Schema"`
				} `json:"schema"`
			} `json:"versions"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(text, &crd); err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for line := range strings.Lines(w.kubectl("explain", "plexlink", "--recursive")) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), "\t")
		listed[name] = true
	}
	fields := 0
	var walk func(path string, s schema)
	walk = func(path string, s schema) {
		for name, field := range s.Properties {
			fields++
			if !listed[name] {
				t.Errorf("kubectl explain --recursive does not list %s.%s", path, name)
			}
			if name != "metadata" && len(field.Description) < 15 {
				t.Errorf("%s.%s has the description %q", path, name, field.Description)
			}
			if field.Items != nil {
				field = *field.Items
			}
			walk(path+"."+name, field)
		}
	}
	walk("plexlink", crd.Spec.Versions[0].Schema.OpenAPIV3Schema)
	t.Logf("%d fields", fields)
}

func TestKubectlExplainSufficesWithoutTheREADME(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for path, words := range map[string][]string{
		"plexlink": {"https://plex.tv/link", "kubectl get plexlink", "PIN"},
		"plexlink.spec.server": {
			"the account owns one server", "set name", "status.servers", "http://plex.media.svc:32400", "Local", "Remote",
			"Relay", "[HTTPS, HTTP]", "Skip", "private certificate authority", "unverified",
		},
		"plexlink.spec.secret.template":      {"PLEX_URL", "PLEX_TOKEN", "Opaque", "{{ .Server.Name | toJson }}", "Stakater Reloader", "envFrom"},
		"plexlink.spec.secret.template.data": {".Token", ".AccountToken", "InvalidTemplate", "onOff"},
		"plexlink.spec.server.caProvider":    {"ca.crt", "ConfigMap"},
	} {
		text := strings.Join(strings.Fields(w.kubectl("explain", path)), " ")
		for _, word := range words {
			if !strings.Contains(text, word) {
				t.Errorf("kubectl explain %s does not mention %s:\n%s", path, word, text)
			}
		}
	}
}
