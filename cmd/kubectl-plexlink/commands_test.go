package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/config/samples/recipes"
)

// kubeconfigFor writes a kubeconfig for an API server.
func kubeconfigFor(t *testing.T, server string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf("{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c}}], "+
		"clusters: [{name: c, cluster: {server: %q}}]}", server)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// invoke runs a command line.
func invoke(t *testing.T, args ...string) (code int, out, errOut string) {
	t.Helper()
	streams, _, stdout, stderr := genericiooptions.NewTestIOStreams()
	code = run(t.Context(), args, streams)
	return code, stdout.String(), stderr.String()
}

func TestStatusScreens(t *testing.T) {
	t.Parallel()
	other := awaiting(linkURL)
	other.Name = "tautulli"
	for name, show := range map[string]func(*plugin) error{
		"status": func(p *plugin) error {
			return p.statusTable(&v1alpha1.PlexLinkList{Items: []v1alpha1.PlexLink{*linked(), *other}}, false)
		},
		"status-all": func(p *plugin) error {
			return p.statusTable(&v1alpha1.PlexLinkList{Items: []v1alpha1.PlexLink{*linked(), *unreachable()}}, true)
		},
		"status-one": func(p *plugin) error { return p.showStatus(linked(), now) },
		"status-pin": func(p *plugin) error { return p.showStatus(awaiting(linkURL), now) },
	} {
		streams, _, out, _ := genericiooptions.NewTestIOStreams()
		if err := show(&plugin{IOStreams: streams}); err != nil {
			t.Fatal(err)
		}
		golden(t, name, out.String())
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	noPlexLinks := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(noPlexLinks.Close)
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no CRD":          {[]string{"status"}, "helm install plexlink"},
		"no CRD, link":    {[]string{"link", "kometa"}, "helm install plexlink"},
		"no name":         {[]string{"doctor"}, "give the name of one PlexLink"},
		"unknown recipe":  {[]string{"link", "x", "--recipe", "nosuch"}, "one of: autopulse, autoscan"},
		"unknown dry run": {[]string{"link", "x", "--dry-run=server"}, "must be one of: none, client"},
		"unknown format":  {[]string{"status", "-o", "wide"}, "must be one of: json, yaml"},
		"name and all":    {[]string{"status", "-A", "kometa"}, "leave out kometa"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, out, errOut := invoke(t, append(c.args, "--kubeconfig", kubeconfigFor(t, noPlexLinks.URL))...)
			if code != exitError || !strings.Contains(errOut, c.want) {
				t.Errorf("exit code %d, want %d; error without %q:\n%s%s", code, exitError, c.want, out, errOut)
			}
		})
	}
}

func TestDryRunPrintsTheRecipeUnderTheName(t *testing.T) {
	t.Parallel()
	want := `apiVersion: plexlink.dev/v1alpha1
kind: PlexLink
metadata:
  name: films
  namespace: media
spec:
  account:
    username: alice
  device:
    product: Kometa
  secret:
    template:
      data:
        KOMETA_PLEX_TOKEN: '{{ .Token }}'
        KOMETA_PLEX_URL: '{{ .URL }}'
      metadata:
        annotations:
          reloader.stakater.com/match: "true"
  server:
    name: Attic
    url: http://plex.media:32400
`
	// Nothing is sent to the API server: none listens there.
	code, out, errOut := invoke(t, "link", "films", "--kubeconfig", kubeconfigFor(t, "http://127.0.0.1:1"), "-n", "media", "--recipe", "kometa",
		"--server", "Attic", "--url", "http://plex.media:32400", "--account", "alice", "--dry-run=client", "-o", "yaml")
	if code != 0 || out != want {
		t.Errorf("exit code %d, error %q, got:\n%s\nwant:\n%s", code, errOut, out, want)
	}
}

func TestEveryRecipeCanBeShown(t *testing.T) {
	t.Parallel()
	if got := len(recipes.Names()); got != 15 {
		t.Errorf("there are %d recipes, want 15", got)
	}
	for _, name := range recipes.Names() {
		code, out, errOut := invoke(t, "recipes", "show", name)
		if code != 0 || !strings.Contains(out, "\n  name: "+name+"\n") {
			t.Errorf("recipes show %s: exit code %d, error %q, got:\n%s", name, code, errOut, out)
		}
	}
}

func TestDocsShowTheScreensAsPrinted(t *testing.T) {
	t.Parallel()
	docs, err := os.ReadFile("../../docs/plugin.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"awaiting", "linked", "following", "status", "status-one", "doctor-unreachable", "doctor-stale", "doctor-editor"} {
		screen, err := os.ReadFile(filepath.Join("testdata", name+".txt"))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(docs), strings.Trim(string(screen), "\n")) {
			t.Errorf("docs/plugin.md does not have the screen %s:\n%s", name, screen)
		}
	}
}
