// Package recipes holds a PlexLink for each of the apps that docs/recipes describes.
package recipes

import (
	"embed"
	"fmt"
	"slices"
	"strings"
)

//go:embed *.yaml
var files embed.FS

// Names lists the apps that have a recipe.
func Names() []string {
	var names []string
	entries, _ := files.ReadDir(".") // An embedded folder can always be read.
	for _, entry := range entries {
		if name := strings.TrimSuffix(entry.Name(), ".yaml"); name != "kustomization" {
			names = append(names, name)
		}
	}
	return names
}

// Manifest returns the PlexLink of an app as YAML.
func Manifest(name string) ([]byte, error) {
	if !slices.Contains(Names(), name) {
		return nil, fmt.Errorf("there is no recipe %q; there are: %s", name, strings.Join(Names(), ", "))
	}
	return files.ReadFile(name + ".yaml")
}
