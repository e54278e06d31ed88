// Command kubectl-plexlink is a kubectl plugin: it links PlexLinks, shows their state, and finds out why one is not Ready.
// It never reads the data of a Secret.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/moby/term"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/cli-runtime/pkg/printers"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/config/samples/recipes"
)

// version is set by the Makefile.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	in, out, errOut := term.StdStreams() // These understand escape sequences, on Windows too.
	code := run(ctx, os.Args[1:], genericiooptions.IOStreams{In: in, Out: out, ErrOut: errOut})
	stop()
	os.Exit(code)
}

// plugin is one invocation.
type plugin struct {
	genericiooptions.IOStreams
	config clientcmd.ClientConfig
	// output is the value of -o, for the commands that have it.
	output string
	// code is the exit code of a command that did not fail.
	code int
}

// run executes the command line and returns the exit code.
func run(ctx context.Context, args []string, streams genericiooptions.IOStreams) int {
	p := &plugin{IOStreams: streams}
	root := p.rootCommand()
	root.SetArgs(args)
	root.SetOut(p.Out)
	root.SetErr(p.ErrOut)
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(p.ErrOut, "error:", err)
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
	// genericclioptions.ConfigFlags would add the same flags, and all API types of Kubernetes: 15 MB.
	rules, overrides := clientcmd.NewDefaultClientConfigLoadingRules(), &clientcmd.ConfigOverrides{}
	root.PersistentFlags().StringVar(&rules.ExplicitPath, clientcmd.RecommendedConfigPathFlag, "", "Path to the kubeconfig file.")
	clientcmd.BindOverrideFlags(overrides, root.PersistentFlags(), clientcmd.RecommendedConfigOverrideFlags(""))
	p.config = clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides)
	root.AddCommand(p.linkCommand(), p.relinkCommand(), p.statusCommand(), p.refreshCommand(),
		p.suspendCommand("suspend", "Stop all work on a link; its Secret stays", "Suspended", "true"),
		p.suspendCommand("resume", "Go on with a suspended link", "Resumed", "null"),
		p.doctorCommand(), p.recipesCommand(), p.versionCommand(), p.completionCommand())
	return root
}

// forName returns a command for one PlexLink, whose name the shell completes.
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
			c, err := p.connect()
			if err != nil {
				return err
			}
			name := strings.Join(args, "") // status goes without one, too.
			if err = act(cmd.Context(), c, name); isMissing(err) {
				return c.missing(cmd.Context(), name)
			}
			return err
		},
	}
}

// completeName returns the PlexLinks of the namespace for the shell's completion.
func (p *plugin) completeName(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	c, err := p.connect()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), 3*time.Second)
	defer cancel()
	return c.names(ctx), cobra.ShellCompDirectiveNoFileComp
}

// outputFlag adds -o to a command.
func (p *plugin) outputFlag(cmd *cobra.Command) {
	choice(cmd, &p.output, "output", "o", "Output format: json or yaml.", "json", "yaml")
}

// choice adds a flag with a fixed set of values, which the shell completes.
func choice(cmd *cobra.Command, value *string, name, shorthand, usage string, values ...string) {
	cmd.Flags().FuncP(name, shorthand, usage, func(given string) error {
		if *value = given; !slices.Contains(values, given) {
			return fmt.Errorf("it must be one of: %s", strings.Join(values, ", "))
		}
		return nil
	})
	// It fails only for an unknown flag.
	_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}

// print writes output for scripts.
func (p *plugin) print(object any) error {
	raw, err := json.Marshal(object)
	if err != nil {
		return err
	}
	var printer printers.ResourcePrinter = &printers.YAMLPrinter{}
	if p.output == "json" {
		printer = &printers.JSONPrinter{}
	}
	return printer.PrintObj(&runtime.Unknown{Raw: raw}, p.Out)
}

// say prints a line.
func (p *plugin) say(format string, values ...any) error {
	_, err := fmt.Fprintf(p.Out, format+"\n", values...)
	return err
}

func (p *plugin) completionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "completion",
		Short: "Print the script with which kubectl completes this plugin",
		Long: "Print the script with which kubectl completes this plugin, in every shell that completes kubectl. " +
			"Save it in a folder of your PATH:\n\n  kubectl plexlink completion > ~/.local/bin/kubectl_complete-plexlink\n" +
			"  chmod +x ~/.local/bin/kubectl_complete-plexlink",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return p.say("#!/bin/sh\nexec kubectl plexlink __complete \"$@\"")
		},
	}
}

// refreshTimeout is how long a check may take: plex.tv and each address of a server have seconds to answer.
const refreshTimeout = time.Minute

func (p *plugin) refreshCommand() *cobra.Command {
	var wanted bool
	cmd := p.forName("refresh", "Check token and address now", func(ctx context.Context, c *cluster, name string) error {
		link, request, err := c.request(ctx, name, v1alpha1.RefreshRequestedAtAnnotation)
		if err != nil {
			return err
		}
		if !wanted {
			return p.say("Requested a check of PlexLink %s", name)
		}
		err = wait.PollUntilContextTimeout(ctx, pollInterval, refreshTimeout, false, func(ctx context.Context) (bool, error) {
			link, err = c.link(ctx, name)
			return err == nil && link.Status.LastHandledRefreshRequest == request, err
		})
		if wait.Interrupted(err) {
			return fmt.Errorf("the check was not made within %s; to see why, run: kubectl plexlink doctor -n %s %s",
				refreshTimeout, c.namespace, name)
		}
		if err != nil {
			return err
		}
		p.code = exitCode(*link)
		return p.say("%s", ready(link).Message)
	})
	cmd.Flags().BoolVar(&wanted, "wait", false, "Wait for the check and show its result.")
	return cmd
}

// suspendCommand sets spec.suspend; null removes it.
func (p *plugin) suspendCommand(verb, short, done, suspend string) *cobra.Command {
	return p.forName(verb, short, func(ctx context.Context, c *cluster, name string) error {
		if _, err := c.patch(ctx, name, fmt.Sprintf(`{"spec": {"suspend": %s}}`, suspend)); err != nil {
			return err
		}
		return p.say("%s PlexLink %s", done, name)
	})
}

// recipe returns the PlexLink of an app.
func recipe(name string, into *v1alpha1.PlexLink) error {
	text, err := recipes.Manifest(name)
	if err != nil {
		return err
	}
	return yaml.UnmarshalStrict(text, into)
}

func (p *plugin) recipesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "recipes", Short: "List the apps that have a recipe, or show one", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			table := printers.GetNewTabWriter(p.Out)
			fmt.Fprintln(table, "NAME\tKEYS OF THE SECRET")
			for _, name := range recipes.Names() {
				var link v1alpha1.PlexLink
				if err := recipe(name, &link); err != nil {
					return err
				}
				fmt.Fprintf(table, "%s\t%s\n", name, secretKeys(&link))
			}
			return table.Flush()
		},
	}
	cmd.AddCommand(&cobra.Command{
		Use: "show NAME", Short: "Print the PlexLink of a recipe", Args: cobra.ExactArgs(1),
		ValidArgsFunction: cobra.FixedCompletions(recipes.Names(), cobra.ShellCompDirectiveNoFileComp),
		RunE: func(_ *cobra.Command, args []string) error {
			text, err := recipes.Manifest(args[0])
			_, _ = p.Out.Write(text)
			return err
		},
	})
	return cmd
}

func (p *plugin) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the versions of this plugin and of the operator", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			fmt.Fprintln(p.Out, "Plugin  ", version)
			c, err := p.connect()
			if err != nil {
				return err
			}
			for _, s := range c.operatorChecks(cmd.Context()) {
				fmt.Fprintln(p.Out, s.Title, s.Message)
			}
			return nil
		},
	}
}
