// Command krew packs the kubectl plugin for krew: an archive for each platform, and the manifest that names them.
package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"
)

// maxSize bounds a binary: a plugin is downloaded to every workstation.
const maxSize = 20_000_000

// plugin is a manifest of krew, apiVersion krew.googlecontainertools.github.com/v1alpha2.
type plugin struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Metadata   metadata `json:"metadata"`
	Spec       spec     `json:"spec"`
}

type metadata struct {
	Name string `json:"name"`
}

type spec struct {
	Version          string     `json:"version"`
	Homepage         string     `json:"homepage"`
	ShortDescription string     `json:"shortDescription"`
	Description      string     `json:"description"`
	Caveats          string     `json:"caveats"`
	Platforms        []platform `json:"platforms"`
}

type platform struct {
	Selector selector `json:"selector"`
	URI      string   `json:"uri"`
	SHA256   string   `json:"sha256"`
	Bin      string   `json:"bin"`
}

type selector struct {
	MatchLabels map[string]string `json:"matchLabels"`
}

func main() {
	version := flag.String("version", "", "Version of the release, such as v0.3.0.")
	in := flag.String("in", "", "Folder with a folder for each platform, such as linux-amd64, with the binary.")
	license := flag.String("license", "LICENSE", "File to pack with each binary.")
	out := flag.String("out", "", "Folder for the archives and plexlink.yaml.")
	flag.Parse()
	if err := run(*version, *in, *license, *out); err != nil {
		fmt.Fprintln(os.Stderr, "krew:", err)
		os.Exit(1)
	}
}

func run(version, in, license, out string) error {
	manifest := plugin{
		APIVersion: "krew.googlecontainertools.github.com/v1alpha2", Kind: "Plugin", Metadata: metadata{"plexlink"},
		Spec: spec{
			Version:          version,
			Homepage:         "https://github.com/plexlink/operator",
			ShortDescription: "Link media apps to Plex and see how the links are",
			Description: "Shows the PIN of a PlexLink, as text and QR code, until it is entered, and finds out why a link does not\n" +
				"work. It needs the PlexLink operator in the cluster, and never reads the data of a Secret.\n",
			Caveats: "For completion, run: kubectl plexlink completion --help\n",
		},
	}
	binaries, err := filepath.Glob(filepath.Join(in, "*-*", "kubectl-plexlink*"))
	if err != nil || len(binaries) == 0 {
		return fmt.Errorf("there are no binaries in %s", in)
	}
	for _, binary := range binaries {
		target := filepath.Base(filepath.Dir(binary))
		name := "kubectl-plexlink-" + target + ".tar.gz"
		archive, err := pack(binary, license)
		if err != nil {
			return fmt.Errorf("pack %s: %w", binary, err)
		}
		if err := os.WriteFile(filepath.Join(out, name), archive, 0o644); err != nil {
			return err
		}
		sum := sha256.Sum256(archive)
		system, arch, _ := strings.Cut(target, "-")
		manifest.Spec.Platforms = append(manifest.Spec.Platforms, platform{
			Selector: selector{map[string]string{"os": system, "arch": arch}},
			URI:      "https://github.com/plexlink/operator/releases/download/" + version + "/" + name,
			SHA256:   hex.EncodeToString(sum[:]),
			Bin:      filepath.Base(binary),
		})
	}
	text, err := yaml.Marshal(manifest)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(out, "plexlink.yaml"), text, 0o644)
}

// pack makes an archive of files. It is the same for the same files, whenever it is made.
func pack(binary, license string) ([]byte, error) {
	var b bytes.Buffer
	compressed := gzip.NewWriter(&b)
	archive := tar.NewWriter(compressed)
	err := errors.Join(add(archive, binary, 0o755), add(archive, license, 0o644), archive.Close(), compressed.Close())
	return b.Bytes(), err
}

func add(archive *tar.Writer, file string, mode int64) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if len(content) > maxSize {
		return fmt.Errorf("it has %d bytes, more than %d", len(content), maxSize)
	}
	header := &tar.Header{Name: filepath.Base(file), Mode: mode, Size: int64(len(content))}
	if err := archive.WriteHeader(header); err != nil {
		return err
	}
	_, err = archive.Write(content)
	return err
}
