package template

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// hostileNames are server names that would add something to a file, or break it, if they were not quoted.
var hostileNames = []string{
	`"; rm -rf /`, "a\nadmin: true", "a\r\nadmin: true", `", "admin": true, "x": "`, `'; admin: true`, "a: b", "a #b", "- a", "---",
	"*a", "&a", "!!int 1", "{{ .AccountToken }}", "{a}", "[a]", "|", ">", "%", "@", "`", "null", "true", "0x10", "1e3", "~", "", " a ",
	`\`, `\n`, "a\u2028b", "a\u0085b", "a\x7fb", "a\x00b", "</script>&", "\ufeffa", "日本", "🎬", "a\tb", "on", "2001-01-01", "=",
}

func TestServerNameStaysDataInYAMLAndJSON(t *testing.T) {
	t.Parallel()
	for _, name := range hostileNames {
		data := map[string]string{
			"json.yml":   "plex:\n  name: {{ .Server.Name | toJson }}\n  list: [{{ .Server.Name | toJson }}, {{ .Token | toJson }}]\n",
			"yaml.yml":   "plex:\n  name: {{ .Server.Name | toYaml }}\n  list:\n  - {{ toYaml .Server.Name }}\n  - {{ .Token }}\n",
			"c.json":     `{"plex": {"name": {{ toJson .Server.Name }}, "list": [{{ .Server.Name | toJson }}, "{{ .Token }}"]}}`,
			"whole.yaml": "plex: {{ .Server | toYaml }}\n",
		}
		got, err := Render(data, linked(t, name))
		if err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		want := map[string]any{"plex": map[string]any{"name": name, "list": []any{name, "secret-server-token"}}}
		for _, key := range []string{"json.yml", "yaml.yml", "c.json"} {
			var parsed map[string]any
			if err := yaml.Unmarshal(got[key], &parsed); err != nil {
				t.Errorf("%q: %s: %v\n%s", name, key, err, got[key])
			} else if diff := cmp.Diff(want, parsed); diff != "" {
				t.Errorf("%q: %s: %s", name, key, diff)
			}
		}
		var whole struct{ Plex Server }
		if err := yaml.Unmarshal(got["whole.yaml"], &whole); err != nil || whole.Plex.Name != name {
			t.Errorf("%q: whole.yaml has %+v (%v)", name, whole, err)
		}
	}
}

func TestNameThatIsNotQuotedIsRefusedBeforeLinking(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"a: 1\nname: {{ .Server.Name }}", "a: 1\nname: \"{{ .Server.Name }}\"", "\n{{ with .Account }}{{ .Username }}{{ end }}",
		"\n{{ $n := .Server.Name }}{{ $n }}", "\n{{ if .Server.Owned }}{{ else }}{{ .Server.Version }}{{ end }}",
		"\n{{ .Server.Name | toJson | lower }}", "\n{{ default `x` .Server.Name }}", "\n{{ list .Server.Name }}",
		"\n{{ (toJson .Server.Name) }}", "\n{{ `x` | replace `x` .Server.Name }}", "\n{{ $n := `` }}{{ $n = .Server.Name }}{{ $n }}",
	} {
		for _, key := range []string{"config.yml", "config.yaml", "config.json", "config.toml"} {
			err := Check(map[string]string{key: text})
			if err == nil || !strings.HasPrefix(err.Error(), "spec.secret.template.data["+key+"]: line 2: quotes or line breaks in {{ ") ||
				!strings.HasSuffix(err.Error(), " | toJson }}, without quotes around it") {
				t.Errorf("%s with %q is refused with %v", key, text, err)
			}
		}
		if err := Check(map[string]string{"PLEX_NAME": text}); err != nil {
			t.Errorf("the variable with %q is refused with %v", text, err)
		}
	}
	for _, text := range []string{
		"url: {{ .URL }}\nhost: '{{ .Host }}'\nport: {{ .Port }}\ntoken: {{ .Token }}\nid: {{ .ClientIdentifier }}",
		"ssl: {{ eq .Scheme `https` }} {{ .Server.Owned | onOff }} {{ .Server.MachineIdentifier }}{{ .Path }}",
		"{{ if .Server.Name }}name: {{ .Server.Name | b64enc }}{{ end }}",
		"{{ if eq .Server.Name `Home` }}home: true{{ end }}",
		"{{ $n := .Server.Name }}name: {{ $n | toJson }}{{ $n = .Account.Username }}{{ $s := .Server }}{{ $s.Name | toYaml }}",
		"key: {{ \"{{HOMEPAGE_VAR_PLEX_TOKEN}}\" }}",
	} {
		if err := Check(map[string]string{"config.yml": text, "PLEX_URL": "{{ .URL }}"}); err != nil {
			t.Errorf("%q is refused with %v", text, err)
		}
	}
}

func TestSeveralValuesAtOnceAreNotPrintedInGoSyntax(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"{{ . }}", "{{ $ }}", "{{ .Server }}", "{{ .Account }}", "{{ with .Server }}{{ . }}{{ end }}", "{{ $all := . }}{{ $all }}",
		"{{ default . `` }}", "{{ . | default `x` }}", "{{ or . `x` }}", "{{ if true }}{{ (.) }}{{ end }}", "{{ and .URL . }}",
	} {
		for _, key := range []string{"KEY", "config.yml"} {
			data, err := Render(map[string]string{key: text}, linked(t, "My Server"))
			if err == nil || !strings.Contains(err.Error(), "]: line 1: {{ ") ||
				!strings.HasSuffix(err.Error(), " }} holds several values: name the one you need, such as {{ .URL }} or {{ .Server.Name }}") {
				t.Errorf("%s with %q is %q (%v), want that it is refused", key, text, data[key], err)
			}
			if err := Check(map[string]string{key: text}); err == nil {
				t.Errorf("Check does not refuse %s with %q", key, text)
			}
		}
	}
}
