package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// built is a folder with binaries as make plugin leaves them.
func built(t *testing.T, size int) string {
	t.Helper()
	dir := t.TempDir()
	for _, target := range []string{"linux-amd64", "linux-arm64", "darwin-amd64", "darwin-arm64", "windows-amd64", "windows-arm64"} {
		name := "kubectl-plexlink"
		if strings.HasPrefix(target, "windows") {
			name += ".exe"
		}
		if err := os.MkdirAll(filepath.Join(dir, target), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, target, name), bytes.Repeat([]byte(target), size), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// The rules are those of krew's own validation (internal/index/validation) and of its index for new plugins.
func TestManifestFollowsKrewsRules(t *testing.T) {
	t.Parallel()
	out := t.TempDir()
	if err := run("v1.2.3", built(t, 1), "../../LICENSE", out); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(out, "plexlink.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var p plugin
	if err := yaml.UnmarshalStrict(text, &p); err != nil {
		t.Fatal(err)
	}
	for what, ok := range map[string]bool{
		"apiVersion":       p.APIVersion == "krew.googlecontainertools.github.com/v1alpha2",
		"kind":             p.Kind == "Plugin",
		"name":             p.Metadata.Name == "plexlink" && regexp.MustCompile(`^[\w-]+$`).MatchString(p.Metadata.Name),
		"version":          p.Spec.Version == "v1.2.3",
		"homepage":         strings.HasPrefix(p.Spec.Homepage, "https://"),
		"shortDescription": len(p.Spec.ShortDescription) <= 50 && !strings.ContainsAny(p.Spec.ShortDescription, "\r\n") && !strings.HasSuffix(p.Spec.ShortDescription, "."),
		"description":      p.Spec.Description != "",
		"six platforms":    len(p.Spec.Platforms) == 6,
	} {
		if !ok {
			t.Errorf("%s is not as krew wants it:\n%s", what, text)
		}
	}
	for _, pf := range p.Spec.Platforms {
		if len(pf.Selector.MatchLabels) != 2 || pf.Selector.MatchLabels["os"] == "" || pf.Selector.MatchLabels["arch"] == "" {
			t.Errorf("the selector is %v, want os and arch", pf.Selector.MatchLabels)
		}
		file, ok := strings.CutPrefix(pf.URI, "https://github.com/plexlink/operator/releases/download/v1.2.3/")
		if !ok {
			t.Errorf("the URI is %s, want one of the release", pf.URI)
		}
		checkArchive(t, filepath.Join(out, file), pf)
	}
}

// checkArchive compares an archive with what the manifest says.
func checkArchive(t *testing.T, file string, pf platform) {
	t.Helper()
	archive, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(archive); hex.EncodeToString(sum[:]) != pf.SHA256 {
		t.Errorf("%s has the sum %x, and in the manifest %s", file, sum, pf.SHA256)
	}
	plain, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for files := tar.NewReader(plain); ; {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, header.Name)
		if header.Name == pf.Bin && header.Mode != 0o755 {
			t.Errorf("%s is not executable in %s", pf.Bin, file)
		}
	}
	if want := []string{pf.Bin, "LICENSE"}; !slices.Equal(names, want) {
		t.Errorf("%s has %q, want %q", file, names, want)
	}
}

func TestBinaryThatIsTooLargeIsRefused(t *testing.T) {
	t.Parallel()
	err := run("v1.2.3", built(t, maxSize/len("linux-amd64")+1), "../../LICENSE", t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("run with a large binary = %v, want a refusal", err)
	}
}
