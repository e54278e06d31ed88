package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/term"
	corev1 "k8s.io/api/core/v1"

	"plexlink.dev/operator/api/v1alpha1"
)

const (
	pollInterval = time.Second
	// podWait is how long Pods may take to start once their Secret exists: the kubelet tries again within a minute or so.
	podWait = 90 * time.Second
	// maxFailures is how often in a row the API server may fail.
	maxFailures = 10
)

// follow shows what becomes of a link until it is linked, cannot go on, the time is up or the context is done.
func (p *plugin) follow(ctx context.Context, c *cluster, link *v1alpha1.PlexLink, request string, o followOptions) error {
	terminal, hasColor := p.terminal()
	d := &display{out: p.out, color: hasColor, qr: o.qr, printed: map[string]bool{}}
	if terminal != nil {
		fmt.Fprint(p.out, "\x1b[?25l") // Hide the cursor while drawing.
		defer fmt.Fprint(p.out, "\x1b[?25h")
	}
	v := view{link: link, request: request, now: time.Now(), from: time.Now()}
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	linkedAt, failures := time.Time{}, 0
	for {
		d.width, d.height = sizeOf(terminal)
		if err := d.show(v); err != nil {
			return err
		}
		waiting := slices.ContainsFunc(v.pods, func(s step) bool { return s.mark == pending })
		switch p.code = exitCode(*v.link); {
		case v.stuck():
			return p.say("\nFor more, run:\n  %s", v.command("doctor"))
		case v.linked() && len(v.pods) > 0 && (!waiting || v.now.Sub(linkedAt) > podWait):
			return p.say("\nLinked.")
		case ctx.Err() != nil || v.now.Sub(v.from) > o.timeout:
			return p.say("\nStopped watching; the PlexLink stays as it is. To go on, run:\n  %s", v.command("link"))
		}
		select {
		case <-ctx.Done():
			continue
		case <-tick.C:
		}
		next, err := c.observe(ctx, v)
		switch {
		case err == nil:
			v, failures = next, 0
		case ctx.Err() == nil: // The API server may be away for a while.
			if failures++; failures > maxFailures {
				return err
			}
		}
		if v.now = time.Now(); !v.linked() {
			linkedAt = v.now
		}
	}
}

// observe reads what the view shows.
func (c *cluster) observe(ctx context.Context, v view) (view, error) {
	link, err := c.link(ctx, v.link.Name)
	if err != nil {
		return v, err
	}
	v.link = link
	if v.pods = nil; v.linked() {
		pods, err := list[corev1.Pod](ctx, c.objects.Resource(podsResource).Namespace(c.namespace), "")
		v.pods = podSteps(pods, link, time.Time{}, err)
	}
	return v, nil
}

// terminal returns the terminal that is written to, and whether it shall have colors; nil: it is none that can be drawn on.
func (p *plugin) terminal() (terminal *os.File, color bool) {
	out, ok := p.out.(*os.File)
	if !ok || !term.IsTerminal(int(out.Fd())) || os.Getenv("TERM") == "dumb" || !understandsEscapes(out) {
		return nil, false
	}
	return out, os.Getenv("NO_COLOR") == ""
}

// sizeOf returns the width and height of a terminal; 0: it has none.
func sizeOf(terminal *os.File) (width, height int) {
	if terminal == nil {
		return 0, 0
	}
	width, height, _ = term.GetSize(int(terminal.Fd())) // They are 0 after an error.
	return width, height
}

// display draws views: over and over at the same place of a terminal, or line by line.
type display struct {
	out           io.Writer
	width, height int // of the terminal; 0: it is none
	color         bool
	qr            string
	// drawn is how many lines were drawn last.
	drawn int
	// printed are the lines that were printed plainly.
	printed map[string]bool
}

// show draws a view in the best way that fits. Without colors a QR code suits dark terminals only, so it is not drawn
// unasked.
func (d *display) show(v view) error {
	var code []string
	if pin := v.pin(); pin != nil && (d.qr == "always" || d.qr == "auto" && d.color) {
		var err error
		if code, err = qrLines(pin.LinkURL, d.color); err != nil {
			return fmt.Errorf("draw the QR code: %w", err)
		}
	}
	lines := v.screen(d.width, d.height, d.color, code)
	if lines == nil && d.qr == "auto" {
		lines = v.screen(d.width, d.height, d.color, nil)
	}
	if lines != nil {
		up := ""
		if d.drawn > 0 {
			up = fmt.Sprintf("\x1b[%dA", d.drawn)
		}
		d.drawn = len(lines)
		_, err := fmt.Fprintf(d.out, "%s\r\x1b[J%s\r\n", up, strings.Join(lines, "\r\n"))
		return err
	}
	if d.drawn = 0; d.qr != "always" {
		code = nil
	}
	for _, line := range v.plainLines(code) {
		if !d.printed[line] {
			d.printed[line] = true
			fmt.Fprintln(d.out, line)
		}
	}
	return nil
}
