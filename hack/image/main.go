// Command image writes the operator's container image as a Docker archive: one static binary and nothing else, with no
// name, no time and no order in it that would differ the next time it is built from the same commit. The certificates
// of public authorities are compiled into the binary.
//
// It prints the digest and the size, and fails when the image has become larger than it should be.
package main

import (
	"archive/tar"
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

const (
	// maxSize of the binary, and so of the image on a node, in bytes.
	maxSize = 40_000_000
	// maxCompressed is what a node downloads at most, in bytes.
	maxCompressed = 25_000_000
)

type settings struct {
	binary, arch, version, revision, tag, out string
	created                                   int64
}

func main() {
	var s settings
	flag.StringVar(&s.binary, "binary", "", "The manager, built for linux.")
	flag.StringVar(&s.arch, "arch", "amd64", "The architecture that it is built for.")
	flag.StringVar(&s.version, "version", "", "The version, for the label.")
	flag.StringVar(&s.revision, "revision", "", "The commit, for the label.")
	flag.Int64Var(&s.created, "created", 0, "The time of the commit, in seconds of Unix.")
	flag.StringVar(&s.tag, "tag", "", "The name in the archive, such as ghcr.io/plexlink/operator:v1.")
	flag.StringVar(&s.out, "out", "", "The archive to write.")
	flag.Parse()
	if err := run(s); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(s settings) error {
	binary, err := os.ReadFile(s.binary)
	if err != nil {
		return fmt.Errorf("read the manager: %w", err)
	}
	img, err := build(s, binary)
	if err != nil {
		return err
	}
	tag, err := name.NewTag(s.tag)
	if err != nil {
		return fmt.Errorf("-tag: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(s.out), 0o755); err != nil {
		return err
	}
	if err := tarball.WriteToFile(s.out, tag, img); err != nil {
		return fmt.Errorf("write the archive: %w", err)
	}
	return report(s, img, len(binary))
}

// build makes an image of one layer with one file.
func build(s settings, binary []byte) (v1.Image, error) {
	created := v1.Time{Time: time.Unix(s.created, 0).UTC()}
	layer, err := layerOf(binary, created.Time)
	if err != nil {
		return nil, fmt.Errorf("make the layer: %w", err)
	}
	img, err := mutate.Append(empty.Image, mutate.Addendum{Layer: layer, History: v1.History{Created: created, CreatedBy: "make image"}})
	if err != nil {
		return nil, fmt.Errorf("make the image: %w", err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created = "linux", s.arch, created
	config.Config = v1.Config{
		Entrypoint: []string{"/manager"},
		User:       "65532:65532",
		Labels: map[string]string{
			"org.opencontainers.image.title":    "PlexLink operator",
			"org.opencontainers.image.source":   "https://github.com/plexlink/operator",
			"org.opencontainers.image.licenses": "Apache-2.0",
			"org.opencontainers.image.version":  s.version,
			"org.opencontainers.image.revision": s.revision,
			"org.opencontainers.image.created":  created.Format(time.RFC3339),
		},
	}
	return mutate.ConfigFile(img, config)
}

func layerOf(binary []byte, created time.Time) (v1.Layer, error) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	header := &tar.Header{Name: "manager", Mode: 0o755, Size: int64(len(binary)), ModTime: created, Format: tar.FormatUSTAR}
	if err := w.WriteHeader(header); err != nil {
		return nil, err
	}
	if _, err := w.Write(binary); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive.Bytes())), nil })
}

func report(s settings, img v1.Image, size int) error {
	digest, err := img.Digest()
	if err != nil {
		return err
	}
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	compressed, err := layers[0].Size()
	if err != nil {
		return err
	}
	fmt.Printf("%s: %s, %.1f MB, %.1f MB compressed\n", s.out, digest, float64(size)/1e6, float64(compressed)/1e6)
	if size > maxSize || compressed > maxCompressed {
		return fmt.Errorf("larger than %d MB, or %d MB compressed: see what `go list -deps ./cmd/manager` has that it had not before",
			maxSize/1_000_000, maxCompressed/1_000_000)
	}
	return nil
}
