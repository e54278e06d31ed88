// Package onelayer packs a static program into a container image of one layer, without a registry or a daemon.
package onelayer

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// Image is a container image that holds one static program and runs it as user 65532.
type Image struct {
	// Name is the name and tag, such as example.com/app:1.
	Name string
	// Program is the path of the program; the image holds it under its base name, in the root.
	Program string
	// Arch is the architecture the program is built for, such as amd64; arm is v7. Default: that of this machine.
	Arch string
	// Created is the time of the image and of its file.
	Created time.Time
	// Labels of the image, optional.
	Labels map[string]string
}

// Packed describes a written image.
type Packed struct {
	// Digest identifies the image in a registry, once the archive is pushed.
	Digest string
	// Size is the size of the program, and so of the image on a node, in bytes.
	Size int
	// Compressed is what a node downloads, in bytes.
	Compressed int
}

// Write writes the image to an archive such as docker save makes, which docker load, ctr images import, crane push and
// kind load image-archive read. Equal images give equal archives.
func (i Image) Write(archive string) (Packed, error) {
	program, err := os.ReadFile(i.Program)
	if err != nil {
		return Packed{}, fmt.Errorf("read the program: %w", err)
	}
	base := filepath.Base(i.Program)
	layer, err := pack(i.Created, file{base, 0o755, program})
	if err != nil {
		return Packed{}, fmt.Errorf("pack the layer: %w", err)
	}
	compressed, err := compress(layer)
	if err != nil {
		return Packed{}, fmt.Errorf("compress the layer: %w", err)
	}
	description := map[string]any{
		"architecture": cmp.Or(i.Arch, runtime.GOARCH),
		"os":           "linux",
		"created":      i.Created.UTC(),
		"config":       map[string]any{"Entrypoint": []string{"/" + base}, "User": "65532:65532", "Labels": i.Labels},
		"rootfs":       map[string]any{"type": "layers", "diff_ids": []string{digest(layer)}},
	}
	if description["architecture"] == "arm" {
		description["variant"] = "v7"
	}
	config, err := json.Marshal(description)
	if err != nil {
		return Packed{}, err
	}
	index, err := json.Marshal([]map[string]any{
		{"Config": "config.json", "RepoTags": []string{i.Name}, "Layers": []string{"layer.tar.gz"}},
	})
	if err != nil {
		return Packed{}, err
	}
	raw, err := pack(i.Created, file{"config.json", 0o644, config}, file{"layer.tar.gz", 0o644, compressed},
		file{"manifest.json", 0o644, index})
	if err != nil {
		return Packed{}, fmt.Errorf("pack the archive: %w", err)
	}
	if err := os.WriteFile(archive, raw, 0o644); err != nil {
		return Packed{}, err
	}
	return Packed{Digest: manifestDigest(config, compressed), Size: len(program), Compressed: len(compressed)}, nil
}

// manifestDigest returns the digest of the manifest that a client generates when it pushes the archive.
func manifestDigest(config, layer []byte) string {
	const docker = "application/vnd.docker."
	descriptor := func(mediaType string, blob []byte) string {
		return fmt.Sprintf(`{"mediaType":%q,"size":%d,"digest":%q}`, mediaType, len(blob), digest(blob))
	}
	return digest(fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%s]}`,
		docker+"distribution.manifest.v2+json",
		descriptor(docker+"container.image.v1+json", config),
		descriptor(docker+"image.rootfs.diff.tar.gzip", layer)))
}

func digest(blob []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(blob)) }

func compress(raw []byte) ([]byte, error) {
	var compressed bytes.Buffer
	w := gzip.NewWriter(&compressed)
	if _, err := w.Write(raw); err != nil {
		return nil, err
	}
	err := w.Close()
	return compressed.Bytes(), err
}

type file struct {
	name string
	mode int64
	data []byte
}

func pack(modified time.Time, files ...file) ([]byte, error) {
	var packed bytes.Buffer
	w := tar.NewWriter(&packed)
	for _, f := range files {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.data)), ModTime: modified}); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return packed.Bytes(), err
}
