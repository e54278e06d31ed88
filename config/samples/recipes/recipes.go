// Package recipes holds a PlexLink for each of the apps that docs/recipes describes.
package recipes

import "embed"

// Files has a manifest for each app, named after it, and kustomization.yaml.
//
//go:embed *.yaml
var Files embed.FS
