package main

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"plexlink.dev/operator/api/v1alpha1"
)

// view is what is shown of a link that is followed.
type view struct {
	link *v1alpha1.PlexLink
	// request is the value of the annotation that asked for a new PIN; "": none did.
	request   string
	pods      []step
	now, from time.Time
}

// current reports whether the operator has acted on the last change and request.
func (v view) current() bool {
	return v.link.Status.ObservedGeneration == v.link.Generation &&
		(v.request == "" || v.link.Status.LastHandledLinkRequest == v.request)
}

// pin is the open PIN; nil: none is.
func (v view) pin() *v1alpha1.PINStatus {
	if !v.current() {
		return nil
	}
	return v.link.Status.PIN
}

// linked reports whether there is nothing more to wait for but Pods. A link that works is Ready while it is linked anew too.
func (v view) linked() bool {
	return v.current() && ready(v.link).Status == metav1.ConditionTrue && v.link.Status.PIN == nil &&
		condition(v.link, v1alpha1.ConditionAuthorized).Reason != v1alpha1.ReasonRelinking
}

// stuck reports whether waiting does not help.
func (v view) stuck() bool {
	return v.current() && (v.link.Spec.Suspend || condition(v.link, v1alpha1.ConditionStalled).Status == metav1.ConditionTrue)
}

// steps is the progress.
func (v view) steps() []step {
	switch {
	case v.current():
		return append(linkSteps(v.link), v.pods...)
	case v.now.Sub(v.from) > 10*time.Second:
		return []step{{warning, operatorTitle, "has not acted yet; to see why, run: " + v.command("doctor")}}
	}
	return []step{{pending, operatorTitle, "has not acted yet"}}
}

// command is one to go on with.
func (v view) command(verb string) string {
	return fmt.Sprintf("kubectl plexlink %s -n %s %s", verb, v.link.Namespace, v.link.Name)
}

// plainLines is the view for files, pipes and narrow terminals. Each line is printed once, so none has a countdown.
func (v view) plainLines(code []string) []string {
	lines := []string{title(v.link)}
	if pin := v.pin(); pin != nil {
		until := pin.ExpirationTime.UTC().Format("15:04 UTC")
		lines = append(lines, fmt.Sprintf("Enter the PIN %s at %s before %s", pin.Code, pin.LinkURL, until))
		if len(code) > 0 {
			lines = append(lines, strings.Join(code, "\n"))
		}
	}
	for _, s := range v.steps() {
		if s.mark != pending || s.title == accountTitle {
			lines = append(lines, s.lines(1<<16, false)...)
		}
	}
	return lines
}

// screen is the view for a terminal, drawn anew every second. nil: it does not fit; the cursor needs a line too.
func (v view) screen(width, height int, color bool, code []string) []string {
	var lines []string
	if pin := v.pin(); pin != nil {
		lines = append(v.invitation(pin, width, color, code), "", "  Ctrl-C stops watching and changes nothing.")
	} else {
		lines = append(lines, title(v.link), "")
		for _, s := range v.steps() {
			lines = append(lines, s.lines(width, color)...)
		}
	}
	for _, line := range lines {
		if len(lines) >= height || printedWidth(line) > width {
			return nil
		}
	}
	return lines
}

// invitation asks to enter the PIN, beside the QR code if there is one.
func (v view) invitation(pin *v1alpha1.PINStatus, width int, color bool, code []string) []string {
	const gap = "  "
	beside := 2 * len(gap)
	if len(code) > 0 {
		beside += printedWidth(code[0])
	}
	entry, _, _ := strings.Cut(pin.LinkURL, "/?")
	text := append(wrap(title(v.link), width-beside), "")
	text = append(append(text, wrap("Enter the PIN "+pin.Code+" at "+entry, width-beside)...), "")
	for _, line := range largeLines(pin.Code) {
		if color {
			line = "\x1b[1m" + line + "\x1b[0m"
		}
		text = append(text, line)
	}
	text = append(text, "", timeLeft(pin.ExpirationTime.Sub(v.now))+" left, then a new PIN is shown", "")
	if r := ready(v.link); r.Reason != v1alpha1.ReasonAwaitingLink && r.Status != metav1.ConditionTrue {
		why, _, _ := strings.Cut(r.Message, "; ") // What follows asks to enter the PIN.
		text = append(append(text, wrap(why, width-beside)...), "")
	}
	how := "Or open"
	if len(code) > 0 {
		how = "Or scan the code, or open"
	}
	text = append(text, how, pin.LinkURL)
	lines := make([]string, max(len(code), len(text)))
	for i := range lines {
		if lines[i] = gap; i < len(code) {
			lines[i] += code[i] + gap
		}
		if at := i - max(len(code)-len(text), 0)/2; at >= 0 && at < len(text) {
			lines[i] += strings.Repeat(" ", beside-len(gap)-printedWidth(lines[i])+len(gap)) + text[at]
		}
	}
	return lines
}

// printedWidth is the number of columns of a text, without escape sequences.
func printedWidth(text string) int {
	width := 0
	for i, part := range strings.Split(text, "\x1b[") {
		if i > 0 {
			_, part, _ = strings.Cut(part, "m")
		}
		width += utf8.RuneCountInString(part)
	}
	return width
}
