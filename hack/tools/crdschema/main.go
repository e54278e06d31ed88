// Command crdschema writes the JSON schema of a CustomResourceDefinition's newest version, for editors and kubeconform.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: crdschema CRD SCHEMA")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "crdschema:", err)
		os.Exit(1)
	}
}

func run(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(text, &crd); err != nil {
		return err
	}
	if len(crd.Spec.Versions) == 0 {
		return errors.New(from + " has no version")
	}
	version := crd.Spec.Versions[len(crd.Spec.Versions)-1]
	schema := version.Schema.OpenAPIV3Schema
	apiVersion, _ := json.Marshal(crd.Spec.Group + "/" + version.Name)
	kind, _ := json.Marshal(crd.Spec.Names.Kind)
	for field, value := range map[string][]byte{"apiVersion": apiVersion, "kind": kind} {
		property := schema.Properties[field]
		property.Enum = []apiextensionsv1.JSON{{Raw: value}}
		schema.Properties[field] = property
	}
	schema.Required = append(schema.Required, "apiVersion", "kind", "metadata")
	schema.Schema = "http://json-schema.org/draft-07/schema#"
	schema.Title = crd.Spec.Names.Kind
	closed(schema)
	out, err := json.MarshalIndent(schema, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(to, append(out, '\n'), 0o644)
}

// closed refuses unknown fields, as strict validation does, in every object whose fields are listed.
func closed(schema *apiextensionsv1.JSONSchemaProps) {
	if schema == nil {
		return
	}
	if len(schema.Properties) > 0 && schema.AdditionalProperties == nil {
		schema.AdditionalProperties = &apiextensionsv1.JSONSchemaPropsOrBool{Allows: false}
	}
	for name, property := range schema.Properties {
		closed(&property)
		schema.Properties[name] = property
	}
	if schema.Items != nil {
		closed(schema.Items.Schema)
	}
	if schema.AdditionalProperties != nil {
		closed(schema.AdditionalProperties.Schema)
	}
}
