package main

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/config/samples/recipes"
)

func (p *plugin) refreshCommand() *cobra.Command {
	var wait bool
	var timeout time.Duration
	cmd := p.forName("refresh", "Check token and address now", func(ctx context.Context, c *cluster, name string) error {
		link, request, err := c.request(ctx, name, v1alpha1.RefreshRequestedAtAnnotation)
		if err != nil {
			return err
		}
		if !wait {
			return p.say("Requested a check of PlexLink %s", name)
		}
		for deadline := time.Now().Add(timeout); link.Status.LastHandledRefreshRequest != request; time.Sleep(pollInterval) {
			if ctx.Err() != nil || time.Now().After(deadline) {
				return fmt.Errorf("the check was not made within %s; to see why, run: kubectl plexlink doctor -n %s %s",
					timeout, c.namespace, name)
			}
			if link, err = c.link(ctx, name); err != nil {
				return err
			}
		}
		p.code = exitCode(*link)
		return p.say("%s", ready(link).Message)
	})
	cmd.Flags().BoolVar(&wait, "wait", false, "Wait for the check and show what came of it.")
	cmd.Flags().DurationVar(&timeout, "timeout", time.Minute, "How long to wait.")
	return cmd
}

// suspendCommand sets spec.suspend; nil removes it.
func (p *plugin) suspendCommand(verb, short, done string, suspend any) *cobra.Command {
	return p.forName(verb, short, func(ctx context.Context, c *cluster, name string) error {
		if _, err := c.patch(ctx, name, map[string]any{"spec": map[string]any{"suspend": suspend}}); err != nil {
			return err
		}
		return p.say(done+" PlexLink %s", name)
	})
}

// say prints a line.
func (p *plugin) say(format string, values ...any) error {
	_, err := fmt.Fprintf(p.out, format+"\n", values...)
	return err
}

func (p *plugin) statusCommand() *cobra.Command {
	var all bool
	cmd := p.forName("status", "Show how PlexLinks are; the exit code tells it to scripts",
		func(ctx context.Context, c *cluster, name string) error {
			if name != "" {
				link, err := c.link(ctx, name)
				if err != nil {
					return err
				}
				return p.showStatus(link, time.Now())
			}
			objects := c.links
			if all {
				objects = c.objects.Resource(linksResource)
			}
			links, err := list[v1alpha1.PlexLink](ctx, objects, "")
			if err != nil {
				return err
			}
			return p.statusTable(links, all)
		})
	cmd.Use, cmd.Args = "status [NAME]", cobra.MaximumNArgs(1)
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if all && len(args) > 0 {
			return fmt.Errorf("-A shows all PlexLinks: leave out %s", args[0])
		}
		return run(cmd, append(args, ""))
	}
	cmd.Flags().BoolVarP(&all, "all-namespaces", "A", false, "Show the PlexLinks of all namespaces.")
	p.outputFlag(cmd)
	return cmd
}

// statusTable shows a line for each link, and below what keeps links from being Ready.
func (p *plugin) statusTable(links []v1alpha1.PlexLink, all bool) error {
	p.code = exitCode(links...)
	switch {
	case p.output != "":
		return p.print(map[string]any{"apiVersion": v1alpha1.GroupVersion.String(), "kind": "PlexLinkList", "items": links})
	case len(links) == 0:
		return p.say("No PlexLinks found; to create one, run: kubectl plexlink link NAME")
	}
	table := tabwriter.NewWriter(p.out, 0, 0, 3, ' ', 0)
	row := func(namespace string, columns ...string) {
		if all {
			columns = append([]string{namespace}, columns...)
		}
		fmt.Fprintln(table, strings.Join(columns, "\t"))
	}
	row("NAMESPACE", "NAME", "READY", "STATUS", "PIN", "SERVER", "SECRET")
	var messages []string
	for i := range links {
		link, r := &links[i], ready(&links[i])
		pin, server := cmp.Or(link.Status.PIN, &v1alpha1.PINStatus{}), cmp.Or(link.Status.Server, &v1alpha1.ServerStatus{})
		row(link.Namespace, link.Name, string(r.Status), r.Reason, pin.Code, server.Name, link.Status.SecretName)
		if r.Status != metav1.ConditionTrue {
			messages = append(messages, fmt.Sprintf("\n%s: %s", title(link), r.Message))
		}
	}
	if err := table.Flush(); err != nil || len(messages) == 0 {
		return err
	}
	return p.say("%s", strings.Join(messages, "\n"))
}

// showStatus shows one link.
func (p *plugin) showStatus(link *v1alpha1.PlexLink, now time.Time) error {
	if p.code = exitCode(*link); p.output != "" {
		return p.print(link)
	}
	steps := linkSteps(link)
	if pin := link.Status.PIN; pin != nil {
		steps = append(steps, step{pending, "Link page", pin.LinkURL},
			step{pending, "Time left", timeLeft(pin.ExpirationTime.Sub(now)) + ", then a new PIN is shown"})
	}
	if last := link.Status.LastRefreshTime; last != nil {
		steps = append(steps, step{done, "Checked", ago(now, last.Time)})
	}
	return p.report(link, steps)
}

// recipeNames lists the apps that have a recipe.
func recipeNames() []string {
	files, _ := fs.Glob(recipes.Files, "*.yaml") // The pattern is right.
	for i := range files {
		files[i] = strings.TrimSuffix(files[i], ".yaml")
	}
	return slices.DeleteFunc(files, func(name string) bool { return name == "kustomization" })
}

// recipeNamed returns the manifest of a recipe, as text and decoded.
func recipeNamed(name string) ([]byte, *v1alpha1.PlexLink, error) {
	link := &v1alpha1.PlexLink{}
	text, err := recipes.Files.ReadFile(name + ".yaml")
	if err != nil || !slices.Contains(recipeNames(), name) {
		return nil, nil, fmt.Errorf("there is no recipe %q; there are: %s", name, strings.Join(recipeNames(), ", "))
	}
	return text, link, yaml.UnmarshalStrict(text, link)
}

func (p *plugin) recipesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "recipes", Short: "List the apps that have a recipe, or show one", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			table := tabwriter.NewWriter(p.out, 0, 0, 3, ' ', 0)
			fmt.Fprintln(table, "NAME\tKEYS OF THE SECRET")
			for _, name := range recipeNames() {
				_, link, err := recipeNamed(name)
				if err != nil {
					return err
				}
				fmt.Fprintf(table, "%s\t%s\n", name, secretKeys(link))
			}
			return table.Flush()
		},
	}
	cmd.AddCommand(&cobra.Command{
		Use: "show NAME", Short: "Print the PlexLink of a recipe", Args: cobra.ExactArgs(1),
		ValidArgsFunction: cobra.FixedCompletions(recipeNames(), cobra.ShellCompDirectiveNoFileComp),
		RunE: func(_ *cobra.Command, args []string) error {
			text, _, err := recipeNamed(args[0])
			_, _ = p.out.Write(text)
			return err
		},
	})
	return cmd
}

func (p *plugin) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the versions of this plugin and of the operator", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := p.connect()
			operator := "not installed"
			if err == nil {
				var operators []appsv1.Deployment
				operators, err = list[appsv1.Deployment](cmd.Context(), c.objects.Resource(deploymentsResource), operatorSelector)
				for i := range operators {
					operator = operatorVersion(&operators[i])
				}
			}
			if err != nil {
				operator = "unknown: " + reason(err, deploymentsRight)
			}
			return p.say("Plugin:   %s\nOperator: %s", version, operator)
		},
	}
}
