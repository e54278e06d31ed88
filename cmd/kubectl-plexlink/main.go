// Command kubectl-plexlink is a kubectl plugin: it links PlexLinks, shows their state, and finds out why one is not Ready.
// It never reads the data of a Secret.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"
)

// version is stamped in by the Makefile.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// plugin is one invocation.
type plugin struct {
	out    io.Writer
	config clientcmd.ClientConfig
	// output is the value of -o, of the commands that have it.
	output string
	// code is the exit code of a command that did not fail.
	code int
}

// run executes the command line and returns the exit code.
func run(ctx context.Context, args []string, out, errOut io.Writer) int {
	p := &plugin{out: out}
	root := p.rootCommand()
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errOut)
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(errOut, "error:", err)
		return exitError
	}
	return p.code
}

func (p *plugin) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "kubectl-plexlink",
		Short: "Link PlexLinks and see how they are",
		Long: "Link PlexLinks and see how they are. It never reads the data of a Secret; the ClusterRole plexlink-editor-role has the " +
			"rights it needs.\n\nExit codes: 0 all is Ready, 3 a person is needed, 4 stalled, 1 an error, or not Ready yet.",
		Annotations:  map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl plexlink"},
		SilenceUsage: true, SilenceErrors: true,
	}
	root.CompletionOptions.DisableDefaultCmd = true
	// The flags of kubectl. Those of cli-runtime are the same, but bring kustomize and all APIs of Kubernetes: 13 MB.
	rules, overrides := clientcmd.NewDefaultClientConfigLoadingRules(), &clientcmd.ConfigOverrides{}
	root.PersistentFlags().StringVar(&rules.ExplicitPath, clientcmd.RecommendedConfigPathFlag, "", "Path to the kubeconfig file.")
	clientcmd.BindOverrideFlags(overrides, root.PersistentFlags(), clientcmd.RecommendedConfigOverrideFlags(""))
	p.config = clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides)
	root.AddCommand(p.linkCommand(), p.relinkCommand(), p.statusCommand(), p.refreshCommand(),
		p.suspendCommand("suspend", "Stop all work on a link; its Secret stays", "Suspended", true),
		p.suspendCommand("resume", "Go on with a suspended link", "Resumed", nil),
		p.doctorCommand(), p.recipesCommand(), p.versionCommand(), completionCommand())
	return root
}

// forName is a command for one PlexLink, which the shell completes.
func (p *plugin) forName(use, short string, act func(ctx context.Context, c *cluster, name string) error) *cobra.Command {
	return &cobra.Command{
		Use:   use + " NAME",
		Short: short,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("give the name of one PlexLink: %s", cmd.UseLine())
			}
			return nil
		},
		ValidArgsFunction: p.completeName,
		RunE: func(cmd *cobra.Command, args []string) error {
			if p.output != "" && p.output != "json" && p.output != "yaml" {
				return fmt.Errorf("-o must be json or yaml, not %q", p.output)
			}
			c, err := p.connect()
			if err != nil {
				return err
			}
			return act(cmd.Context(), c, args[0])
		},
	}
}

// completeName lists the PlexLinks of the namespace for the shell.
func (p *plugin) completeName(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	c, err := p.connect()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), 3*time.Second)
	defer cancel()
	names, _ := c.names(ctx) // Without rights there is nothing to complete.
	return names, cobra.ShellCompDirectiveNoFileComp
}

// outputFlag adds -o to a command.
func (p *plugin) outputFlag(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&p.output, "output", "o", "", "Output format: json or yaml.")
	complete(cmd, "output", "json", "yaml")
}

// complete offers values of a flag to the shell.
func complete(cmd *cobra.Command, flag string, values ...cobra.Completion) {
	// It fails only for a flag that the command does not have.
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}

// print writes what a script reads.
func (p *plugin) print(object any) error {
	raw, err := yaml.Marshal(object)
	if p.output == "json" {
		raw, err = json.MarshalIndent(object, "", "    ")
		raw = append(raw, '\n')
	}
	if err != nil {
		return err
	}
	_, err = p.out.Write(raw)
	return err
}

func completionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "completion",
		Short: "Print the script with which kubectl completes this plugin",
		Long: "Print the script with which kubectl completes this plugin, in every shell that completes kubectl. " +
			"Save it in a folder of your PATH:\n\n  kubectl plexlink completion > ~/.local/bin/kubectl_complete-plexlink\n" +
			"  chmod +x ~/.local/bin/kubectl_complete-plexlink",
		Args: cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) {
			fmt.Fprint(cmd.OutOrStdout(), "#!/bin/sh\nexec kubectl plexlink __complete \"$@\"\n")
		},
	}
}
