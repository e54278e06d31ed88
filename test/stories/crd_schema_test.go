package stories

import (
	"os"
	"testing"

	"sigs.k8s.io/yaml"
)

// crdSchema is the part of the CRD's schema that the stories read.
type crdSchema struct {
	Description          string               `json:"description"`
	Format               string               `json:"format"`
	Enum                 []string             `json:"enum"`
	Pattern              string               `json:"pattern"`
	Properties           map[string]crdSchema `json:"properties"`
	Items                *crdSchema           `json:"items"`
	AdditionalProperties *crdSchema           `json:"additionalProperties"`
	Validations          []struct {
		Message string `json:"message"`
		Rule    string `json:"rule"`
	} `json:"x-kubernetes-validations"`
}

// readCRD returns the schema of a PlexLink.
func readCRD(t *testing.T) crdSchema {
	t.Helper()
	text, err := os.ReadFile("../../config/crd/bases/plexlink.dev_plexlinks.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var crd struct {
		Spec struct {
			Versions []struct {
				Schema struct {
					OpenAPIV3Schema crdSchema `json:"openAPIV3Schema"`
				} `json:"schema"`
			} `json:"versions"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(text, &crd); err != nil {
		t.Fatal(err)
	}
	return crd.Spec.Versions[0].Schema.OpenAPIV3Schema
}

// walk visits the schema and those of all fields below it. Paths are as in errors of the API server, with [] appended for
// the entries of a list or map.
func (s crdSchema) walk(path string, visit func(path string, s crdSchema)) {
	visit(path, s)
	for name, field := range s.Properties {
		below := name
		if path != "" {
			below = path + "." + name
		}
		field.walk(below, visit)
	}
	for _, entries := range []*crdSchema{s.Items, s.AdditionalProperties} {
		if entries != nil {
			entries.walk(path+"[]", visit)
		}
	}
}
