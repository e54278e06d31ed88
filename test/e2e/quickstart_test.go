//go:build e2e

package e2e

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestQuickstart runs the commands of docs/quickstart.md as they are, but for the images and the simulated plex.tv.
func TestQuickstart(t *testing.T) {
	page, err := os.ReadFile(root + "/docs/quickstart.md")
	if err != nil {
		t.Fatal(err)
	}
	repository, tag, _ := cutLast(cluster.image, ":")
	here := strings.NewReplacer(
		"oci://ghcr.io/plexlink/charts/plexlink", chart+" --set image.pullPolicy=Never --set image.repository="+repository+
			" --set-string image.tag="+tag+" --set plex.url="+cluster.plexURL,
		"image: curlimages/curl", "image: plexlink.dev/e2e/mediaapp:1\n    imagePullPolicy: Never",
	)
	// No image here has a shell.
	command := regexp.MustCompile(`(?ms)^    command:\n.*?^    envFrom:`)
	blocks := regexp.MustCompile("(?ms)^```sh\n(.*?)^```$").FindAllStringSubmatch(string(page), -1)
	if len(blocks) != 6 {
		t.Fatalf("got %d blocks of commands, want 6", len(blocks))
	}
	for _, block := range blocks {
		script := command.ReplaceAllString(here.Replace(block[1]), "    envFrom:")
		if strings.Contains(script, "--for=condition=Ready") {
			enter(t, pinOf(t, "media", "kometa"))
		}
		do(t, "sh", "-euc", script)
	}
	leftovers(t)
}
