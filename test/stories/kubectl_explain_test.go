package stories

import (
	"strings"
	"testing"
)

func TestKubectlExplainListsAndDescribesEveryField(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	listed := map[string]bool{}
	for line := range strings.Lines(w.kubectl("explain", "plexlink", "--recursive")) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), "\t")
		listed[name] = true
	}
	fields := 0
	readCRD(t).walk("", func(path string, field crdSchema) {
		if path == "" || strings.HasSuffix(path, "[]") {
			return
		}
		fields++
		name := path[strings.LastIndex(path, ".")+1:]
		if !listed[name] {
			t.Errorf("kubectl explain --recursive does not list %s", path)
		}
		if name != "metadata" && len(field.Description) < 15 {
			t.Errorf("%s: got the description %q, want at least 15 characters", path, field.Description)
		}
	})
	t.Logf("%d fields", fields)
}

func TestKubectlExplainIsEnoughWithoutTheREADME(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for path, words := range map[string][]string{
		"plexlink": {"https://plex.tv/link", "kubectl get plexlink", "PIN"},
		"plexlink.spec.server": {
			"the account owns one server", "set name", "status.servers", "http://plex.media.svc:32400", "Local", "Remote",
			"Relay", "[HTTPS, HTTP]", "Skip", "private certificate authority", "unverified",
		},
		"plexlink.spec.secret.template":      {"PLEX_URL", "PLEX_TOKEN", "Opaque", "{{ .Server.Name | toJson }}", "Stakater Reloader", "envFrom"},
		"plexlink.spec.secret.template.data": {".Token", ".AccountToken", "InvalidTemplate", "onOff"},
		"plexlink.spec.server.caProvider":    {"ca.crt", "ConfigMap"},
	} {
		text := strings.Join(strings.Fields(w.kubectl("explain", path)), " ")
		for _, word := range words {
			if !strings.Contains(text, word) {
				t.Errorf("kubectl explain %s does not mention %s:\n%s", path, word, text)
			}
		}
	}
}
