// Command image writes the operator's container image as an archive: one static binary and nothing else, reproducible from
// the commit alone. The certificates of public authorities are compiled into the binary.
//
// It prints the digest and the size, and fails when the image exceeds its size limits.
package main

import (
	"flag"
	"fmt"
	"os"
	"time"

	"plexlink.dev/operator/hack/onelayer"
)

const (
	// maxSize is the limit of the binary, and so of the image on a node, in bytes.
	maxSize = 40_000_000
	// maxCompressed is the limit of what a node downloads, in bytes.
	maxCompressed = 25_000_000
)

func main() {
	var image onelayer.Image
	flag.StringVar(&image.Program, "binary", "", "Path of the manager, built for Linux.")
	flag.StringVar(&image.Arch, "arch", "", "Architecture the manager is built for.")
	flag.StringVar(&image.Name, "tag", "", "Name and tag of the image, such as ghcr.io/plexlink/operator:v1.")
	version := flag.String("version", "", "Version, for the label.")
	revision := flag.String("revision", "", "Commit, for the label.")
	created := flag.Int64("created", 0, "Time of the commit, in Unix seconds.")
	archive := flag.String("out", "", "Path of the archive to write.")
	flag.Parse()
	image.Created = time.Unix(*created, 0).UTC()
	image.Labels = map[string]string{
		"org.opencontainers.image.title":    "PlexLink operator",
		"org.opencontainers.image.source":   "https://github.com/plexlink/operator",
		"org.opencontainers.image.licenses": "Apache-2.0",
		"org.opencontainers.image.version":  *version,
		"org.opencontainers.image.revision": *revision,
		"org.opencontainers.image.created":  image.Created.Format(time.RFC3339),
	}
	if err := write(image, *archive); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func write(image onelayer.Image, archive string) error {
	packed, err := image.Write(archive)
	if err != nil {
		return fmt.Errorf("write %s: %w", archive, err)
	}
	fmt.Printf("%s: %s, %.1f MB, %.1f MB compressed\n", archive, packed.Digest,
		float64(packed.Size)/1e6, float64(packed.Compressed)/1e6)
	if packed.Size > maxSize || packed.Compressed > maxCompressed {
		return fmt.Errorf("larger than %d MB, or %d MB compressed: compare `go list -deps ./cmd/manager` with that of an earlier commit",
			maxSize/1_000_000, maxCompressed/1_000_000)
	}
	return nil
}
