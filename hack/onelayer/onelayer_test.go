package onelayer

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestArchiveHoldsTheProgram(t *testing.T) {
	t.Parallel()
	image := example(t)
	archive, packed := write(t, image)
	files := unpack(t, bytes.NewReader(archive))
	var index []struct {
		Config           string
		RepoTags, Layers []string
	}
	decode(t, files["manifest.json"], &index)
	if want := []string{"example.com/app:1"}; len(index) != 1 || !cmp.Equal(index[0].RepoTags, want) {
		t.Fatalf("got the manifest %+v, want one image with the tags %v", index, want)
	}
	compressed := files[index[0].Layers[0]]
	unzipped, err := gzip.NewReader(bytes.NewReader(compressed))
	if err != nil {
		t.Fatal(err)
	}
	layer, err := io.ReadAll(unzipped)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string][]byte{"app": []byte("program")}, unpack(t, bytes.NewReader(layer))); diff != "" {
		t.Errorf("files of the layer (-want +got):\n%s", diff)
	}
	var config any
	decode(t, files[index[0].Config], &config)
	want := map[string]any{
		"architecture": "arm64", "os": "linux", "created": "2026-01-02T03:04:05Z",
		"config": map[string]any{
			"Entrypoint": []any{"/app"}, "User": "65532:65532", "Labels": map[string]any{"a": "b"},
		},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []any{digest(layer)}},
	}
	if diff := cmp.Diff(want, config); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
	if packed.Size != len("program") || packed.Compressed != len(compressed) {
		t.Errorf("got %d bytes, %d compressed, want %d and %d", packed.Size, packed.Compressed, len("program"), len(compressed))
	}
}

func TestArmIsVariantSeven(t *testing.T) {
	t.Parallel()
	image := example(t)
	image.Arch = "arm"
	archive, _ := write(t, image)
	var config struct{ Architecture, Variant string }
	decode(t, unpack(t, bytes.NewReader(archive))["config.json"], &config)
	if config.Architecture != "arm" || config.Variant != "v7" {
		t.Errorf("got %+v, want arm v7", config)
	}
}

func TestDigestIsThatOfTheRegistry(t *testing.T) {
	t.Parallel()
	config := fmt.Sprintf(`{"rootfs":{"type":"layers","diff_ids":["sha256:%064d"]}}`, 0)
	// crane digest --tarball computed it from an archive of these two blobs.
	const want = "sha256:45f6a54de3415577360a135aa4bbc7f335d9870cd5e4f21d9faea6e08c818eb3"
	if got := manifestDigest([]byte(config), []byte("\x1f\x8blayer")); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestEqualImagesGiveEqualArchives(t *testing.T) {
	t.Parallel()
	image := example(t)
	first, _ := write(t, image)
	if err := os.Chtimes(image.Program, time.Now(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if second, _ := write(t, image); !bytes.Equal(first, second) {
		t.Error("got different archives of one program, want equal ones")
	}
}

func example(t *testing.T) Image {
	program := filepath.Join(t.TempDir(), "app")
	if err := os.WriteFile(program, []byte("program"), 0o600); err != nil {
		t.Fatal(err)
	}
	return Image{
		Name: "example.com/app:1", Program: program, Arch: "arm64",
		Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Labels: map[string]string{"a": "b"},
	}
}

func write(t *testing.T, image Image) ([]byte, Packed) {
	t.Helper()
	archive := filepath.Join(t.TempDir(), "app.tar")
	packed, err := image.Write(archive)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	return raw, packed
}

func unpack(t *testing.T, archive io.Reader) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for r := tar.NewReader(archive); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[header.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

func decode(t *testing.T, raw []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(raw, into); err != nil {
		t.Fatal(err)
	}
}
