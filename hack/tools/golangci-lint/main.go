// Command golangci-lint is golangci-lint with logcheck built in, which checks logging calls for Kubernetes' conventions.
package main

import (
	"fmt"
	"os"
	"runtime/debug"

	"github.com/golangci/golangci-lint/v2/pkg/commands"
	"github.com/golangci/golangci-lint/v2/pkg/exitcodes"

	_ "sigs.k8s.io/logtools/logcheck/gclplugin"
)

func main() {
	build := commands.BuildInfo{}
	if info, ok := debug.ReadBuildInfo(); ok {
		build.GoVersion = info.GoVersion
		for _, module := range info.Deps {
			if module.Path == "github.com/golangci/golangci-lint/v2" {
				build.Version = module.Version
			}
		}
	}
	if err := commands.Execute(build); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(exitcodes.Failure)
	}
}
