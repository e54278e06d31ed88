package main

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"plexlink.dev/operator/api/v1alpha1"
)

// mark is what came of a step.
type mark string

const (
	done    mark = "✓"
	pending mark = "○"
	warning mark = "!"
	failed  mark = "✗"
	unknown mark = "?"
)

// escapes has the colors of marks; the terminal's theme chooses shades that show on its ground.
var escapes = map[mark]string{done: "\x1b[32m", warning: "\x1b[33m", failed: "\x1b[31m"}

// step is a line of the progress, or a check.
type step struct {
	mark        mark
	title, text string
}

// lines draws a step, with its text wrapped to the width and aligned.
func (s step) lines(width int, color bool) []string {
	const indent = 14
	symbol := string(s.mark)
	if color && escapes[s.mark] != "" {
		symbol = escapes[s.mark] + symbol + "\x1b[0m"
	}
	lines := wrap(s.text, width-indent)
	for i := range lines {
		if i > 0 {
			lines[i] = strings.Repeat(" ", indent) + lines[i]
		}
	}
	lines[0] = fmt.Sprintf("  %s %-10s%s", symbol, s.title, lines[0])
	return lines
}

// wrap breaks a text between words into lines of at most the width; longer words stay whole. Line breaks stay.
func wrap(text string, width int) []string {
	var lines []string
	for paragraph := range strings.SplitSeq(text, "\n") {
		line, rest, more := strings.Cut(paragraph, " ")
		for more {
			var word string
			word, rest, more = strings.Cut(rest, " ")
			if utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
				lines, line = append(lines, line), word
			} else {
				line += " " + word
			}
		}
		lines = append(lines, line)
	}
	return lines
}

// report shows a link and the steps.
func (p *plugin) report(link *v1alpha1.PlexLink, steps []step) error {
	terminal, color := p.terminal()
	width, _ := sizeOf(terminal)
	width = cmp.Or(width, 1<<16)
	err := p.say("%s: %s\n", title(link), cmp.Or(ready(link).Reason, "not seen by the operator yet"))
	for _, s := range steps {
		err = errors.Join(err, p.say("%s", strings.Join(s.lines(width, color), "\n")))
	}
	return err
}

func title(link *v1alpha1.PlexLink) string {
	return fmt.Sprintf("PlexLink %s in namespace %s", link.Name, link.Namespace)
}

// condition returns a condition of a link, or an unknown one.
func condition(link *v1alpha1.PlexLink, kind string) metav1.Condition {
	return *cmp.Or(meta.FindStatusCondition(link.Status.Conditions, kind), &metav1.Condition{Status: metav1.ConditionUnknown})
}

func ready(link *v1alpha1.PlexLink) metav1.Condition { return condition(link, v1alpha1.ConditionReady) }

// accountTitle is the first step of a link that takes the account of another one.
const accountTitle = "Account"

// linkSteps tells how far a link has come.
func linkSteps(link *v1alpha1.PlexLink) []step {
	steps := []step{{pending, "PIN", "not entered yet"}, {pending, "Server", "not found yet"}, {pending, "Secret", "not written yet"}}
	if ref := link.Spec.Account.LinkRef; ref != nil { // No person enters a PIN, unless plex.tv wants one to.
		steps[0] = step{pending, accountTitle, "not linked yet"}
	}
	told := false
	for i, kind := range []string{v1alpha1.ConditionAuthorized, v1alpha1.ConditionServerResolved, v1alpha1.ConditionSecretSynced} {
		c := condition(link, kind)
		switch c.Status {
		case metav1.ConditionTrue:
			steps[i].mark, steps[i].text = done, c.Message
		case metav1.ConditionFalse:
			steps[i].mark, steps[i].text = failed, c.Message
			if i == 0 && condition(link, v1alpha1.ConditionStalled).Status != metav1.ConditionTrue {
				steps[i].mark = pending
			}
		}
		told = told || c.Message == ready(link).Message
	}
	if ref := link.Spec.Account.LinkRef; ref != nil && strings.HasSuffix(steps[0].text, " to be linked") {
		steps[0].text += fmt.Sprintf("; run: kubectl plexlink link -n %s %s", link.Namespace, ref.Name)
	}
	if steps[2].mark == done {
		steps[2].text = fmt.Sprintf("%s has the keys %s", secretName(link), secretKeys(link))
	}
	if sv := link.Status.Server; steps[1].mark == done && sv != nil && sv.Location != "" {
		steps[1].text += fmt.Sprintf(" (%s)", sv.Location)
	}
	if r := ready(link); r.Status == metav1.ConditionFalse && !told {
		steps = append(steps, step{failed, "Status", r.Message})
	}
	return steps
}

// timeLeft rounds a time for a person.
func timeLeft(d time.Duration) string {
	d = max(d, 0).Round(time.Second)
	return fmt.Sprintf("%d:%02d", d/time.Minute, d%time.Minute/time.Second)
}

func ago(now, then time.Time) string { return duration.HumanDuration(now.Sub(then)) + " ago" }
