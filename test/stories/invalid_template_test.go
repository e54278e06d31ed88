package stories

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"

	"plexlink.dev/operator/api/v1alpha1"
)

// Fault D6: Helm's tpl turned {{ .URL }} into nothing, which was written to the Secret.
func TestTemplateWithoutValuesIsReportedBeforeThePIN(t *testing.T) {
	t.Parallel()
	data := func(texts map[string]v1alpha1.TemplateText) *v1alpha1.SecretTemplate {
		return &v1alpha1.SecretTemplate{Data: texts}
	}
	const noValue = `spec.secret.template: data uses no value of the link; in a Helm chart write {{ "{{ .URL }}" }}`
	for name, row := range map[string]struct {
		template *v1alpha1.SecretTemplate
		want     string
	}{
		"rendered by Helm":                    {data(map[string]v1alpha1.TemplateText{"PLEX_SERVER": "", "PLEX_TOKEN": ""}), noValue},
		"text only":                           {data(map[string]v1alpha1.TemplateText{"config.yml": "url: http://plex:32400\n"}), noValue},
		"actions without a value of the link": {data(map[string]v1alpha1.TemplateText{"A": `{{ "text" | upper }}{{ if true }}x{{ end }}`}), noValue},
		"2,001 actions": {
			data(map[string]v1alpha1.TemplateText{"A": v1alpha1.TemplateText(strings.Repeat("{{.URL}}", 1000)), "B": v1alpha1.TemplateText(strings.Repeat("{{.URL}}", 1001))}),
			"spec.secret.template: data has more than 2000 actions {{ … }} in all keys together: use fewer",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.startOperator()
			w.create("kometa", func(l *v1alpha1.PlexLink) { l.Spec.Secret.Template = row.template })
			link := w.reaches("kometa", v1alpha1.ReasonInvalidTemplate)
			if message(link) != row.want {
				t.Errorf("got the message %q, want %q", message(link), row.want)
			}
			synced := meta.FindStatusCondition(link.Status.Conditions, v1alpha1.ConditionSecretSynced)
			if synced == nil || synced.Reason != v1alpha1.ReasonInvalidTemplate || !meta.IsStatusConditionTrue(link.Status.Conditions, v1alpha1.ConditionStalled) {
				t.Errorf("got the conditions %+v, want SecretSynced with that reason, and Stalled", link.Status.Conditions)
			}
			if n := len(w.sim.PINs()); n != 0 {
				t.Errorf("got %d PINs, want none", n)
			}
			w.hasEvent(v1alpha1.ReasonInvalidTemplate, row.want)
			// One value in one key is enough.
			w.change("kometa", func(l *v1alpha1.PlexLink) {
				l.Spec.Secret.Template.Data = map[string]v1alpha1.TemplateText{"PLEX_SERVER": "{{ .URL }}", "PLEX_DEBUG": "no"}
			})
			w.enterPIN("kometa")
			w.reaches("kometa", v1alpha1.ReasonLinked)
			before := w.secret("kometa")
			if string(before.Data["PLEX_SERVER"]) != w.server.URL || string(before.Data["PLEX_DEBUG"]) != "no" {
				t.Errorf("got PLEX_SERVER %q, want %q", before.Data["PLEX_SERVER"], w.server.URL)
			}
			w.change("kometa", func(l *v1alpha1.PlexLink) { l.Spec.Secret.Template = row.template })
			w.reaches("kometa", v1alpha1.ReasonInvalidTemplate)
			if got := w.secret("kometa"); got.ResourceVersion != before.ResourceVersion {
				t.Error("the Secret in use changed, want it unchanged")
			}
		})
	}
}

func TestTemplateOf2000ActionsIsRendered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperator()
	w.linked("kometa", func(l *v1alpha1.PlexLink) {
		text := v1alpha1.TemplateText(strings.Repeat("{{.Port}}", 1000))
		l.Spec.Secret.Template = &v1alpha1.SecretTemplate{Data: map[string]v1alpha1.TemplateText{"A": text, "B": text}}
	})
	_, port, _ := strings.Cut(w.server.Addr, ":")
	if got := string(w.secret("kometa").Data["B"]); got != strings.Repeat(port, 1000) {
		t.Errorf("got %d bytes, want the port 1000 times", len(got))
	}
}
