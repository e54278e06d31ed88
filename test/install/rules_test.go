package install

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	"k8s.io/apimachinery/pkg/util/version"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/environment"
	"sigs.k8s.io/yaml"
)

// minimum is the oldest Kubernetes version that accepts the CRD.
var minimum = version.MajorMinor(1, 32)

func TestRulesOfTheCRDCompileFromTheStatedKubernetesOn(t *testing.T) {
	t.Parallel()
	schema, rules := crdSchema(t)
	compiled, problems := compileRules(schema, minimum)
	for _, problem := range problems {
		t.Errorf("Kubernetes %s: %s", minimum, problem)
	}
	if compiled != rules {
		t.Errorf("got %d rules compiled, want all %d of the CRD", compiled, rules)
	}

	before := minimum.SubtractMinor(1)
	_, problems = compileRules(schema, before)
	want := "spec.secret.name: !format.dns1123Subdomain()"
	if all := strings.Join(problems, "\n"); !strings.Contains(all, want) || !strings.Contains(all, "undeclared reference to 'format'") {
		t.Errorf("got these problems on Kubernetes %s, want one of format with %q: the minimum can be lowered\n%s", before, want, all)
	}
}

func TestChartAndREADMEStateTheOldestKubernetes(t *testing.T) {
	t.Parallel()
	if got, want := loadChart(t).Metadata.KubeVersion, fmt.Sprintf(">=%s.0-0", minimum); got != want {
		t.Errorf("got kubeVersion %s in Chart.yaml, want %s", got, want)
	}
	readme, err := os.ReadFile(root("README.md"))
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("Kubernetes %s or newer", minimum); !strings.Contains(string(readme), want) {
		t.Errorf("README.md does not contain %q", want)
	}
}

// crdSchema returns the schema of the CRD as the API server reads it, and how many rules it has.
func crdSchema(t *testing.T) (schema *structuralschema.Structural, rules int) {
	t.Helper()
	text, err := os.ReadFile(root("config", "crd", "bases", "plexlink.dev_plexlinks.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(text, &crd); err != nil {
		t.Fatal(err)
	}
	var props apiextensions.JSONSchemaProps
	err = apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(crd.Spec.Versions[0].Schema.OpenAPIV3Schema, &props, nil)
	if err != nil {
		t.Fatal(err)
	}
	schema, err = structuralschema.NewStructural(&props)
	if err != nil {
		t.Fatal(err)
	}
	return schema, strings.Count(string(text), " rule: ")
}

// compileRules compiles all rules below a schema as that version of Kubernetes does for a new CRD: with what the version
// before it knows too, so that the API server can be rolled back. Each problem names the field and the rule.
func compileRules(schema *structuralschema.Structural, kubernetes *version.Version) (compiled int, problems []string) {
	base := environment.MustBaseEnvSet(kubernetes.SubtractMinor(1))
	var walk func(path string, s *structuralschema.Structural)
	walk = func(path string, s *structuralschema.Structural) {
		results, err := cel.Compile(s, model.SchemaDeclType(s, path == ""), celconfig.PerCallLimit, base, cel.NewExpressionsEnvLoader())
		if err != nil {
			problems = append(problems, fmt.Sprintf("%s: %v", path, err))
		}
		for i, result := range results {
			if result.Error != nil {
				problems = append(problems, fmt.Sprintf("%s: %s: %v", path, s.XValidations[i].Rule, result.Error))
			}
		}
		compiled += len(results)
		for name, property := range s.Properties {
			walk(strings.TrimPrefix(path+"."+name, "."), &property)
		}
		if s.Items != nil {
			walk(path+"[]", s.Items)
		}
		if s.AdditionalProperties != nil && s.AdditionalProperties.Structural != nil {
			walk(path+"[]", s.AdditionalProperties.Structural)
		}
	}
	walk("", schema)
	return compiled, problems
}
