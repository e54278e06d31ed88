package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"plexlink.dev/operator/api/v1alpha1"
)

// linkOptions are the flags of link.
type linkOptions struct {
	recipe, server, url, account, dryRun string
	follow                               followOptions
}

// followOptions are the flags of the commands that show a PIN.
type followOptions struct {
	qr      string
	timeout time.Duration
}

func (o *followOptions) addFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.qr, "qr", "auto", "When to show a QR code: auto (a terminal with colors and room for it), always, never.")
	cmd.Flags().DurationVar(&o.timeout, "timeout", 30*time.Minute, "How long to wait.")
	complete(cmd, "qr", "auto", "always", "never")
}

func (p *plugin) linkCommand() *cobra.Command {
	var o linkOptions
	cmd := p.forName("link", "Create a PlexLink, or go on with one, and show its PIN until it is entered",
		func(ctx context.Context, c *cluster, name string) error { return p.link(ctx, c, name, o) })
	cmd.Example = "  kubectl plexlink link kometa --recipe kometa\n  kubectl plexlink link kometa --recipe kometa --dry-run=client -o yaml"
	cmd.Flags().StringVar(&o.recipe, "recipe", "", "App to create it for, such as kometa: see kubectl plexlink recipes.")
	// The flag of kubectl with the URL of the API server gives way here.
	cmd.Flags().StringVar(&o.server, "server", "", "Name of the Plex Media Server (spec.server.name).")
	cmd.Flags().StringVar(&o.url, "url", "", "Address that apps shall use (spec.server.url).")
	cmd.Flags().StringVar(&o.account, "account", "", "Username of the Plex account that may enter the PIN (spec.account.username).")
	cmd.Flags().StringVar(&o.dryRun, "dry-run", "none", "client: print the PlexLink and create nothing.")
	o.follow.addFlags(cmd)
	p.outputFlag(cmd)
	complete(cmd, "recipe", recipeNames()...)
	complete(cmd, "dry-run", "none", "client")
	return cmd
}

// link creates the PlexLink where there is none, asks for a PIN where there would be none, and follows it.
func (p *plugin) link(ctx context.Context, c *cluster, name string, o linkOptions) error {
	switch {
	case o.dryRun != "none" && o.dryRun != "client":
		return errors.New("--dry-run must be none or client")
	case o.dryRun == "none" && p.output != "":
		return errors.New("-o needs --dry-run=client; to print a PlexLink, run: kubectl plexlink status -o yaml " + name)
	case !slices.Contains([]string{"auto", "always", "never"}, o.follow.qr):
		return errors.New("--qr must be auto, always or never")
	}
	wanted, err := o.plexLink(name, c.namespace)
	if err != nil {
		return err
	}
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(wanted)
	if err != nil {
		return err
	}
	delete(object, "status")
	if o.dryRun == "client" {
		return p.print(object)
	}
	link, err := c.link(ctx, name)
	request, missing := "", missingError("")
	switch {
	case errors.As(err, &missing):
		link, err = c.decode(ctx, name)(c.links.Create(ctx, &unstructured.Unstructured{Object: object}, metav1.CreateOptions{}))
	case err != nil:
	case o.recipe+o.server+o.url+o.account != "" && !equality.Semantic.DeepEqual(link.Spec, wanted.Spec):
		return fmt.Errorf("PlexLink %s exists with another spec, so --recipe, --server, --url and --account cannot be used; "+
			"to change it, run: kubectl edit plexlink -n %s %[1]s", name, c.namespace)
	case needsRequest(link):
		link, request, err = c.request(ctx, name, v1alpha1.LinkRequestedAtAnnotation)
	}
	if err != nil {
		return err
	}
	return p.follow(ctx, c, link, request, o.follow)
}

// plexLink is the PlexLink that the flags describe.
func (o linkOptions) plexLink(name, namespace string) (*v1alpha1.PlexLink, error) {
	link := &v1alpha1.PlexLink{}
	if o.recipe != "" {
		var err error
		if _, link, err = recipeNamed(o.recipe); err != nil {
			return nil, err
		}
	}
	link.TypeMeta = metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "PlexLink"}
	link.Name, link.Namespace = name, namespace
	if o.server != "" {
		link.Spec.Server.Name = o.server
	}
	if o.url != "" {
		link.Spec.Server.URL = o.url
	}
	if o.account != "" {
		link.Spec.Account.Username = o.account
	}
	return link, nil
}

// needsRequest reports whether a link gets a PIN only on request. Otherwise one is open or comes unasked, the link is
// Ready, or a PIN does not help; to link such a link anew is what relink is for.
func needsRequest(link *v1alpha1.PlexLink) bool {
	return ready(link).Reason == v1alpha1.ReasonPINExpired && link.Status.PIN == nil
}

func (p *plugin) relinkCommand() *cobra.Command {
	var o followOptions
	cmd := p.forName("relink", "Offer a new PIN for a link that works; its Secret stays until the PIN is entered",
		func(ctx context.Context, c *cluster, name string) error {
			link, request, err := c.request(ctx, name, v1alpha1.LinkRequestedAtAnnotation)
			if err != nil {
				return err
			}
			return p.follow(ctx, c, link, request, o)
		})
	o.addFlags(cmd)
	return cmd
}
