package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"plexlink.dev/operator/api/v1alpha1"
)

// plexClient times out quickly: all servers it calls are on this machine.
var plexClient = &http.Client{Timeout: 10 * time.Second}

// link links a PlexLink, by hand with the plugin or, for a script, with kubectl alone.
func (d *demo) link(ctx context.Context) error {
	how := d.linkByHand
	if d.auto {
		how = d.linkAutomatically
	}
	if err := how(ctx); err != nil {
		return err
	}
	d.linked = true
	return d.show(ctx, "get", "plexlink", "-n", "media", "-o", "wide")
}

// linkByHand runs the plugin, which creates the PlexLink and shows its PIN until a person has entered it.
func (d *demo) linkByHand(ctx context.Context) error {
	fmt.Printf(`
Now it is your turn: open the page below, the simulated plex.tv/link, and enter the PIN as alice. Or in another terminal:

    curl --data account=alice --data pin=THE_PIN %s/link

To look around in the meantime, in this folder:

%s
    kubectl plexlink status -n media

$ kubectl plexlink link kometa -n media
`, d.plexURL, d.exports())
	cmd := exec.CommandContext(ctx, filepath.Join(binaries, "kubectl-plexlink"), "link", "kometa", "-n", "media", "--timeout=2h")
	cmd.Env = append(os.Environ(), "KUBECONFIG="+d.path("kubeconfig"))
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("kubectl plexlink link: %w", err)
	}
	return nil
}

// linkAutomatically applies the PlexLink, shows its PIN, and enters it.
func (d *demo) linkAutomatically(ctx context.Context) error {
	for _, args := range [][]string{
		{"apply", "-f", "hack/demo/plexlink.yaml"},
		{"wait", "-n", "media", "plexlink/kometa", "--for=jsonpath={.status.pin.code}", "--timeout=30s"},
		{"get", "plexlink", "-n", "media"},
	} {
		if err := d.show(ctx, args...); err != nil {
			return err
		}
	}
	link, err := d.readLink(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("\nEntering the PIN %s at %s/link as alice.\n", link.Status.PIN.Code, d.plexURL)
	if err := d.enter(ctx, link.Status.PIN.Code); err != nil {
		return err
	}
	return d.show(ctx, "wait", "-n", "media", "plexlink/kometa", "--for=condition=Ready", "--timeout=30s")
}

// enter submits the PIN to the link page, as a browser does.
func (d *demo) enter(ctx context.Context, pin string) error {
	form := url.Values{"account": {"alice"}, "pin": {pin}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, d.plexURL+"/link", strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := plexClient.Do(r)
	if err != nil {
		return fmt.Errorf("enter the PIN: %w", err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("enter the PIN: the link page responds %s", response.Status)
	}
	return nil
}

// prove shows the Secret and calls the media server with what it contains.
func (d *demo) prove(ctx context.Context) error {
	link, err := d.readLink(ctx)
	if err != nil {
		return err
	}
	ready := meta.FindStatusCondition(link.Status.Conditions, v1alpha1.ConditionReady)
	if ready == nil || ready.Reason != v1alpha1.ReasonLinked {
		return fmt.Errorf("the PlexLink is not %s", v1alpha1.ReasonLinked)
	}
	if err := d.show(ctx, "get", "secret", "-n", "media", link.Status.SecretName); err != nil {
		return err
	}
	var secret corev1.Secret
	if err := d.read(ctx, &secret, "secret", link.Status.SecretName); err != nil {
		return err
	}
	address, token := string(secret.Data["PLEX_URL"]), string(secret.Data["PLEX_TOKEN"])
	if address != d.serverURL || len(token) < 8 {
		return fmt.Errorf("the Secret has PLEX_URL %q and a PLEX_TOKEN of %d characters; PLEX_URL should be %s",
			address, len(token), d.serverURL)
	}
	fmt.Printf("\nWhat is in it:\n    PLEX_URL    %s\n    PLEX_TOKEN  %s… (%d characters)\n", address, token[:4], len(token))

	fmt.Println("\nThe media server, called with exactly that:")
	for _, call := range []struct {
		header http.Header
		how    string
		want   int
	}{
		{http.Header{"X-Plex-Token": {token}}, "with the token", http.StatusOK},
		{http.Header{}, "without it", http.StatusUnauthorized},
	} {
		status, err := get(ctx, address+"/library/sections", call.header)
		if err != nil {
			return err
		}
		fmt.Printf("    GET %s/library/sections  %-14s  %s\n", address, call.how, status)
		if !strings.HasPrefix(status, fmt.Sprint(call.want)) {
			return fmt.Errorf("got %s from the media server, want %d", status, call.want)
		}
	}
	return nil
}

// get returns the status of the response, such as 200 OK.
func get(ctx context.Context, address string, header http.Header) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return "", err
	}
	r.Header = header
	response, err := plexClient.Do(r)
	if err != nil {
		return "", fmt.Errorf("call the media server: %w", err)
	}
	response.Body.Close()
	return response.Status, nil
}

func (d *demo) readLink(ctx context.Context) (*v1alpha1.PlexLink, error) {
	var link v1alpha1.PlexLink
	return &link, d.read(ctx, &link, "plexlink", "kometa")
}

// read reads an object in the namespace media.
func (d *demo) read(ctx context.Context, into any, kind, name string) error {
	raw, err := d.kubectl(ctx, "get", kind, "-n", "media", name, "-o", "json")
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(raw), into)
}
