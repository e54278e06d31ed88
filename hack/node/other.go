//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "node: a node needs Linux: use a Linux machine as root, or kind")
	os.Exit(2)
}
