package main

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/config/samples/recipes"
)

// linkOptions are the flags of link.
type linkOptions struct {
	followOptions
	wanted         v1alpha1.PlexLink
	recipe, dryRun string
}

// followOptions are the flags of the commands that show a PIN.
type followOptions struct {
	qr      string
	timeout time.Duration
}

func (o *followOptions) addFlags(cmd *cobra.Command) {
	o.qr = "auto"
	choice(cmd, &o.qr, "qr", "", "When to show a QR code: auto (in a terminal with colors and room for it), always or never.",
		"auto", "always", "never")
	cmd.Flags().DurationVar(&o.timeout, "timeout", 30*time.Minute, "How long to wait.")
}

func (p *plugin) linkCommand() *cobra.Command {
	var o linkOptions
	cmd := p.forName("link", "Create a PlexLink, or go on with one, and show its PIN until it is entered",
		func(ctx context.Context, c *cluster, name string) error { return p.link(ctx, c, name, o) })
	cmd.Example = "  kubectl plexlink link kometa --recipe kometa\n  kubectl plexlink link kometa --recipe kometa --dry-run=client -o yaml"
	spec := &o.wanted.Spec
	choice(cmd, &o.recipe, "recipe", "", "App to create it for, such as kometa: see kubectl plexlink recipes.", recipes.Names()...)
	// This replaces kubectl's flag --server, the URL of the API server.
	cmd.Flags().StringVar(&spec.Server.Name, "server", "", "Name of the Plex Media Server (spec.server.name).")
	cmd.Flags().StringVar(&spec.Server.URL, "url", "", "Address for apps to use (spec.server.url).")
	cmd.Flags().StringVar(&spec.Account.Username, "account", "", "Username of the account that may enter the PIN (spec.account.username).")
	choice(cmd, &o.dryRun, "dry-run", "", "client: print the PlexLink and create nothing.", "none", "client")
	o.addFlags(cmd)
	p.outputFlag(cmd)
	return cmd
}

// link creates the PlexLink if there is none, requests a PIN if there would be none, and follows the link.
func (p *plugin) link(ctx context.Context, c *cluster, name string, o linkOptions) error {
	if o.dryRun != "client" && p.output != "" {
		return errors.New("-o needs --dry-run=client; to print a PlexLink, run: kubectl plexlink status -o yaml " + name)
	}
	wanted := &o.wanted
	if o.recipe != "" { // The recipe sets neither server nor account.
		if err := recipe(o.recipe, wanted); err != nil {
			return err
		}
	}
	wanted.TypeMeta = metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "PlexLink"}
	wanted.Name, wanted.Namespace = name, c.namespace
	if o.dryRun == "client" {
		return p.print(wanted)
	}
	link, err := c.link(ctx, name)
	var request string
	switch {
	case isMissing(err):
		link, err = c.create(ctx, wanted)
	case err != nil:
	case !reflect.ValueOf(wanted.Spec).IsZero() && !equality.Semantic.DeepEqual(link.Spec, wanted.Spec):
		return fmt.Errorf("PlexLink %s exists with another spec, so --recipe, --server, --url and --account cannot be used; "+
			"to change it, run: kubectl edit plexlink -n %s %[1]s", name, c.namespace)
	case needsRequest(link):
		link, request, err = c.request(ctx, name, v1alpha1.LinkRequestedAtAnnotation)
	}
	if err != nil {
		return err
	}
	return p.follow(ctx, c, link, request, o.followOptions)
}

// needsRequest reports whether a link gets a PIN only on request. Otherwise one is open or will be, the link is Ready, or a
// PIN does not help; relink is for linking such a link again.
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

const (
	pollInterval = time.Second
	// podWait is how long Pods may take to start once their Secret exists: the kubelet retries within about a minute.
	podWait = 90 * time.Second
	// maxFailures is the number of consecutive failures of the API server to tolerate.
	maxFailures = 10
)

// view is what is shown about a link that is followed.
type view struct {
	link *v1alpha1.PlexLink
	// request is the value of the annotation that requested a new PIN, or "".
	request             string
	pods                []step
	now, from, linkedAt time.Time
}

// follow shows the progress of a link until it is linked or stuck, or the time or the context is over.
func (p *plugin) follow(ctx context.Context, c *cluster, link *v1alpha1.PlexLink, request string, o followOptions) error {
	d := p.display(o.qr)
	if d.width > 0 {
		fmt.Fprint(p.Out, "\x1b[?25l") // Hide the cursor while drawing.
		defer fmt.Fprint(p.Out, "\x1b[?25h")
	}
	v, failures := view{link: link, request: request, from: time.Now()}, 0
	err := wait.PollUntilContextTimeout(ctx, pollInterval, o.timeout, true, func(ctx context.Context) (bool, error) {
		failures++
		if err := c.observe(ctx, &v); err == nil {
			failures = 0
		} else if failures > maxFailures || isMissing(err) { // The API server may be down for a while.
			return false, err
		}
		d.width, d.height = p.size()
		return v.ended(), d.show(v)
	})
	switch p.code = exitCode(*v.link); {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded) && failures <= maxFailures:
		return p.say("\nStopped watching; the PlexLink stays as it is. To go on, run:\n  %s", v.command("link"))
	case err == nil && v.stuck():
		return p.say("\nFor more, run:\n  %s", v.command("doctor"))
	case err == nil:
		return p.say("\nLinked.")
	}
	return err
}

// observe reads what the view shows.
func (c *cluster) observe(ctx context.Context, v *view) error {
	v.now = time.Now()
	link, err := c.link(ctx, v.link.Name)
	if err != nil {
		return err
	}
	v.link = link
	if v.pods = nil; !v.linked() {
		v.linkedAt = v.now
		return nil
	}
	v.pods = c.podSteps(ctx, link, time.Time{})
	return nil
}

// current reports whether the operator has handled the last change and request.
func (v view) current() bool {
	return v.link.Status.ObservedGeneration == v.link.Generation &&
		(v.request == "" || v.link.Status.LastHandledLinkRequest == v.request)
}

// pin returns the open PIN, or nil.
func (v view) pin() *v1alpha1.PINStatus {
	if !v.current() {
		return nil
	}
	return v.link.Status.PIN
}

// linked reports whether only Pods remain to wait for. A working link stays Ready while it is linked again.
func (v view) linked() bool {
	return v.current() && ready(v.link).Status == metav1.ConditionTrue && v.link.Status.PIN == nil &&
		condition(v.link, v1alpha1.ConditionAuthorized).Reason != v1alpha1.ReasonRelinking
}

// stuck reports whether waiting does not help.
func (v view) stuck() bool {
	return v.current() && (v.link.Spec.Suspend || condition(v.link, v1alpha1.ConditionStalled).Status == metav1.ConditionTrue)
}

// ended reports whether there is nothing more to show.
func (v view) ended() bool {
	starting := slices.ContainsFunc(v.pods, func(s step) bool { return s.Result == pending })
	return v.stuck() || v.linked() && len(v.pods) > 0 && (!starting || v.now.Sub(v.linkedAt) > podWait)
}

// steps returns the progress.
func (v view) steps() []step {
	switch {
	case v.current():
		return append(linkSteps(v.link), v.pods...)
	case v.now.Sub(v.from) > 10*time.Second:
		return []step{{warning, operatorTitle, "has not acted yet; to see why, run: " + v.command("doctor")}}
	}
	return []step{{pending, operatorTitle, "has not acted yet"}}
}

// command returns a command line for this link.
func (v view) command(verb string) string {
	return fmt.Sprintf("kubectl plexlink %s -n %s %s", verb, v.link.Namespace, v.link.Name)
}
