package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mitchellh/go-wordwrap"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/cli-runtime/pkg/printers"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/template"
)

// The exit codes.
const (
	exitReady   = 0 // All PlexLinks are Ready.
	exitError   = 1 // The command failed, or the operator is still working: try again later.
	exitPerson  = 3 // A person has to do something, such as entering a PIN.
	exitStalled = 4 // A person has to change something.
)

// personReasons are the reasons of a link that waits for a person, even without a PIN.
var personReasons = []string{
	v1alpha1.ReasonSuspended, v1alpha1.ReasonImportUnavailable, v1alpha1.ReasonAccountUnavailable,
	v1alpha1.ReasonAwaitingAccount, v1alpha1.ReasonTokenRejected, v1alpha1.ReasonSecretContested,
}

// exitCode returns the exit code for the worst state of some PlexLinks.
func exitCode(links ...v1alpha1.PlexLink) int {
	worst := exitReady
	for i := range links {
		link, r, code := &links[i], ready(&links[i]), exitError
		switch {
		case link.Status.ObservedGeneration != link.Generation:
		case r.Status == metav1.ConditionTrue:
			code = exitReady
		case condition(link, v1alpha1.ConditionStalled).Status == metav1.ConditionTrue:
			code = exitStalled
		case link.Status.PIN != nil, slices.Contains(personReasons, r.Reason):
			code = exitPerson
		}
		worst = max(worst, code)
	}
	return worst
}

// result is the result of a step.
type result string

const (
	done    result = "OK"
	pending result = "Pending"
	warning result = "Warning"
	failed  result = "Failed"
	unknown result = "Unknown"
)

// marks show results; the terminal's theme chooses the shades.
var marks = map[result]string{
	done: "\x1b[32m✓\x1b[0m", pending: "○", warning: "\x1b[33m!\x1b[0m", failed: "\x1b[31m✗\x1b[0m", unknown: "?",
}

// step is a step of the progress, or a check.
type step struct {
	Result  result `json:"result"`
	Title   string `json:"check"`
	Message string `json:"message"`
}

// lines draws a step, with its message wrapped to the width and aligned.
func (s step) lines(width int) []string {
	const indent = "              "
	message := wordwrap.WrapString(s.Message, uint(max(width-len(indent), 0)))
	return strings.Split(fmt.Sprintf("  %s %-10s", marks[s.Result], s.Title)+strings.ReplaceAll(message, "\n", "\n"+indent), "\n")
}

// report shows a link and the steps.
func (p *plugin) report(link *v1alpha1.PlexLink, steps []step) error {
	d := p.display("")
	lines := make([]string, 0, 2+len(steps))
	lines = append(lines, title(link)+": "+cmp.Or(ready(link).Reason, "not seen by the operator yet"), "")
	for _, s := range steps {
		lines = append(lines, s.lines(cmp.Or(d.width, 1<<16))...)
	}
	return p.say("%s", d.colored(strings.Join(lines, "\n")))
}

func title(link *v1alpha1.PlexLink) string {
	return fmt.Sprintf("PlexLink %s in namespace %s", link.Name, link.Namespace)
}

// condition returns a condition of a link, or an unknown one.
func condition(link *v1alpha1.PlexLink, kind string) metav1.Condition {
	return *cmp.Or(meta.FindStatusCondition(link.Status.Conditions, kind), &metav1.Condition{Status: metav1.ConditionUnknown})
}

func ready(link *v1alpha1.PlexLink) metav1.Condition { return condition(link, v1alpha1.ConditionReady) }

// secretName returns the name of the Secret of a link, whether it exists or not.
func secretName(link *v1alpha1.PlexLink) string { return cmp.Or(link.Spec.Secret.Name, link.Name) }

// secretKeys lists the keys of the Secret of a link according to its spec: the Secret is not read.
func secretKeys(link *v1alpha1.PlexLink) string {
	keys := maps.Keys(template.Default())
	if t := link.Spec.Secret.Template; t != nil && len(t.Data) > 0 {
		keys = maps.Keys(t.Data)
	}
	return strings.Join(slices.Sorted(keys), ", ")
}

// accountTitle is the first step of a link that uses the account of another one.
const accountTitle = "Account"

// linkSteps returns the progress of a link.
func linkSteps(link *v1alpha1.PlexLink) []step {
	steps := []step{{pending, "PIN", "not entered yet"}, {pending, "Server", "not found yet"}, {pending, "Secret", "not written yet"}}
	ref := link.Spec.Account.LinkRef
	if ref != nil { // The operator enters the PIN, unless plex.tv refuses.
		steps[0] = step{pending, accountTitle, "not linked yet"}
	}
	told := false
	for i, kind := range []string{v1alpha1.ConditionAuthorized, v1alpha1.ConditionServerResolved, v1alpha1.ConditionSecretSynced} {
		c := condition(link, kind)
		told = told || c.Message == ready(link).Message
		switch {
		case c.Status == metav1.ConditionUnknown:
			continue
		case c.Status == metav1.ConditionTrue:
			steps[i].Result = done
		case i > 0 || meta.IsStatusConditionTrue(link.Status.Conditions, v1alpha1.ConditionStalled):
			steps[i].Result = failed
		}
		steps[i].Message = c.Message
	}
	if ref != nil && strings.HasSuffix(steps[0].Message, " to be linked") {
		steps[0].Message += fmt.Sprintf("; run: kubectl plexlink link -n %s %s", link.Namespace, ref.Name)
	}
	if steps[2].Result == done {
		steps[2].Message = fmt.Sprintf("%s has the keys %s", secretName(link), secretKeys(link))
	}
	if sv := link.Status.Server; steps[1].Result == done && sv != nil && sv.Location != "" {
		steps[1].Message += fmt.Sprintf(" (%s)", sv.Location)
	}
	if r := ready(link); r.Status == metav1.ConditionFalse && !told {
		steps = append(steps, step{failed, "Status", r.Message})
	}
	return steps
}

// timeLeft formats a duration for a person.
func timeLeft(d time.Duration) string {
	d = max(d, 0).Round(time.Second)
	return fmt.Sprintf("%d:%02d", d/time.Minute, d%time.Minute/time.Second)
}

func ago(now, then time.Time) string { return duration.HumanDuration(now.Sub(then)) + " ago" }

func (p *plugin) statusCommand() *cobra.Command {
	var all bool
	cmd := p.forName("status", "Show how PlexLinks are; the exit code tells it to scripts",
		func(ctx context.Context, c *cluster, name string) error {
			switch {
			case all && name != "":
				return fmt.Errorf("-A shows all PlexLinks: leave out %s", name)
			case all:
				c.namespace = ""
			case name != "":
				link, err := c.link(ctx, name)
				if err != nil {
					return err
				}
				return p.showStatus(link, time.Now())
			}
			var list v1alpha1.PlexLinkList
			if err := send(ctx, c.links(c.Get()), &list); err != nil {
				return err
			}
			return p.statusTable(&list, all)
		})
	cmd.Use, cmd.Args = "status [NAME]", cobra.MaximumNArgs(1)
	cmd.Flags().BoolVarP(&all, "all-namespaces", "A", false, "Show the PlexLinks of all namespaces.")
	p.outputFlag(cmd)
	return cmd
}

// statusTable shows a line for each link, and below what keeps links from being Ready.
func (p *plugin) statusTable(list *v1alpha1.PlexLinkList, all bool) error {
	p.code = exitCode(list.Items...)
	switch {
	case p.output != "":
		return p.print(list)
	case len(list.Items) == 0:
		return p.say("No PlexLinks found; to create one, run: kubectl plexlink link NAME")
	}
	table := printers.GetNewTabWriter(p.Out)
	row := func(namespace string, columns ...string) {
		if all {
			columns = slices.Insert(columns, 0, namespace)
		}
		fmt.Fprintln(table, strings.Join(columns, "\t"))
	}
	row("NAMESPACE", "NAME", "READY", "STATUS", "PIN", "SERVER", "SECRET")
	var messages strings.Builder
	for i := range list.Items {
		link, r := &list.Items[i], ready(&list.Items[i])
		pin, server := cmp.Or(link.Status.PIN, &v1alpha1.PINStatus{}), cmp.Or(link.Status.Server, &v1alpha1.ServerStatus{})
		row(link.Namespace, link.Name, string(r.Status), r.Reason, pin.Code, server.Name, link.Status.SecretName)
		if r.Status != metav1.ConditionTrue {
			fmt.Fprintf(&messages, "\n%s: %s\n", title(link), r.Message)
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprint(p.Out, messages.String())
	return err
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
