package controller

import (
	"errors"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex"
)

// linkedDevice is the state of a link to a server that somebody with bad intentions has named.
func linkedDevice(serverName string) device {
	return device{
		ClientIdentifier: "secret-client-identifier", Token: "secret-account-token", ServerToken: "secret-server-token",
		deviceState: deviceState{
			Account: plex.Account{Username: "alice", UUID: "0123456789abcdef"},
			Server: &server{
				Name: serverName, MachineIdentifier: "abc123", Version: "1.43.0.1234", URL: "https://plex.example.com/plex",
			},
		},
	}
}

func templateOf(data map[string]string) *v1alpha1.SecretTemplate {
	t := &v1alpha1.SecretTemplate{Data: map[string]v1alpha1.TemplateText{}}
	for k, v := range data {
		t.Data[k] = v1alpha1.TemplateText(v)
	}
	return t
}

func TestTemplateHasTheValuesAndFunctionsThatItsCommentPromises(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"{{ .URL }}":    "https://plex.example.com/plex",
		"{{ .Scheme }}": "https", "{{ .Host }}": "plex.example.com", "{{ .Port }}": "443", "{{ .Path }}": "/plex",
		"{{ .Token }}": "secret-server-token", "{{ .AccountToken }}": "secret-account-token",
		"{{ .ClientIdentifier }}": "secret-client-identifier",
		"{{ .Server.Name }}":      "My Server", "{{ .Server.MachineIdentifier }}": "abc123",
		"{{ .Server.Version }}": "1.43.0.1234", "{{ .Server.Owned }}": "false",
		"{{ .Account.Username }}": "alice", "{{ .Account.UUID }}": "0123456789abcdef",

		"{{ .Server.Name | toJson }}":                          `"My Server"`,
		"{{ .Server | toJson }}":                               `{"Name":"My Server","MachineIdentifier":"abc123","Version":"1.43.0.1234","Owned":false}`,
		"{{ .Server.Name | toYaml }}":                          `My Server`,
		"{{ `on` | toYaml }}":                                  `"on"`,
		"{{ .Server.Name | urlquery }}":                        "My+Server",
		"{{ .Server.Name | b64enc }}":                          "TXkgU2VydmVy",
		`{{ list .Host .Port | join ":" }}`:                    "plex.example.com:443",
		`{{ join "," (list "a" "b") }}`:                        "a,b",
		`{{ .Server.Name | default "x" }}{{ default "y" "" }}`: "My Servery",
		`{{ eq .Scheme "https" | onOff }} {{ onOff false }}`:   "on off",
		"{{ .Server.Name | lower }}{{ .Server.Name | upper }}": "my serverMY SERVER",
		`{{ .Server.Name | replace " " "-" }}`:                 "My-Server",
		`{{ .Path | trimPrefix "/" | trimSuffix "x" }}`:        "ple",
		`{{ if and .Server.Owned (not .Path) }}a{{ else if or (eq .Port "443") (ne .Port "80") }}b{{ end }}`: "b",
		`{{ with .Account.Username }}{{ . | len }}{{ end }}{{ lt 1 2 }}{{ le 2 2 }}{{ gt 1 2 }}{{ ge 1 2 }}`: "5truetruefalsefalse",
		"{{/* nothing */}}": "", "": "", "no template": "no template",
	} {
		got, err := renderData(templateOf(map[string]string{"KEY": text}), linkedDevice("My Server"))
		if err != nil || string(got["KEY"]) != want {
			t.Errorf("%s is %q (%v), want %q", text, got["KEY"], err, want)
		}
	}
}

func TestPartsOfTheURL(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"http://192.0.2.1:32400":              "http 192.0.2.1 32400 ",
		"https://plex.example.com":            "https plex.example.com 443 ",
		"http://plex.example.com":             "http plex.example.com 80 ",
		"https://[2001:db8::1]:32400/a%20b":   "https 2001:db8::1 32400 /a%20b",
		"https://media.example.com:8443/plex": "https media.example.com 8443 /plex",
	} {
		d := linkedDevice("x")
		d.Server.URL = address
		got, err := renderData(templateOf(map[string]string{"KEY": "{{ .Scheme }} {{ .Host }} {{ .Port }} {{ .Path }}"}), d)
		if err != nil || string(got["KEY"]) != want {
			t.Errorf("%s has the parts %q (%v), want %q", address, got["KEY"], err, want)
		}
	}
}

func TestSecretHasTheDefaultKeysOrExactlyThoseOfTheTemplate(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		template *v1alpha1.SecretTemplate
		want     map[string][]byte
	}{
		"no template": {nil, map[string][]byte{"PLEX_URL": []byte("https://plex.example.com/plex"), "PLEX_TOKEN": []byte("secret-server-token")}},
		"no data":     {&v1alpha1.SecretTemplate{Type: "example.com/plex"}, map[string][]byte{"PLEX_URL": []byte("https://plex.example.com/plex"), "PLEX_TOKEN": []byte("secret-server-token")}},
		"data":        {templateOf(map[string]string{"a": "1", "b.yml": "2"}), map[string][]byte{"a": []byte("1"), "b.yml": []byte("2")}},
	} {
		got, err := renderData(c.template, linkedDevice("x"))
		if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
	}
}

// abuses are templates that must be refused, with the beginning of what a person is told.
var abuses = map[string]string{
	"a\nb {{ .Nope }}":                             "line 2: <.Nope>: there is no value Nope",
	"{{ .Server.Nope }}":                           "line 1: <.Server.Nope>: there is no value Nope",
	"{{ .Token.Nope }}":                            "line 1: <.Token.Nope>: there is no value Nope",
	"\n\n{{ env \"HOME\" }}":                       "line 3: there is no function env",
	"{{ expandenv `$HOME` }}":                      "line 1: there is no function expandenv",
	"{{ now }}":                                    "line 1: there is no function now",
	"{{ getHostByName `plex` }}":                   "line 1: there is no function getHostByName",
	"{{ randAlpha 5 }}":                            "line 1: there is no function randAlpha",
	"{{ readFile `/etc/passwd` }}":                 "line 1: there is no function readFile",
	"\n{{ printf `%1000000000d` 1 }}":              "line 2: there is no function printf",
	"{{ print . }}":                                "line 1: there is no function print",
	"{{ html .Token }}":                            "line 1: there is no function html",
	"{{ if call .Token }}{{ end }}":                "line 1: there is no function call",
	"{{ index .Token 0 }}":                         "line 1: there is no function index",
	"{{ plain `a` .Token }}":                       "line 1: there is no function plain",
	"{{ repeat 1000000000 `a` }}":                  "line 1: there is no function repeat",
	"\n{{ range .Token }}{{ end }}":                "line 2: range is not available",
	"{{ range 1000000000000 }}x{{ end }}":          "line 1: range is not available",
	"{{ if true }}{{ range 9 }}{{ end }}{{ end }}": "line 1: range is not available",
	"\n{{ template \"line\" . }}":                  "line 2: template, define and block are not available",
	"x\n{{ define \"a\" }}{{ end }}":               "line 2: template, define and block are not available",
	"{{ define \"a\" }}{{ template \"a\" }}{{ end }}{{ template \"a\" }}": "line 1: template, define and block are not available",
	"{{ block \"a\" . }}{{ end }}":                                        "line 1: template, define and block are not available",
	"{{ .URL ":                                                            "line 1: unclosed action",
	"{{ if .URL }}":                                                       "line 1: unexpected EOF",
	"{{ .URL | nope }}":                                                   "line 1: there is no function nope",
	"{{ $x }}":                                                            "line 1: undefined variable",
	"{{ onOff .Token }}":                                                  "line 1: <.Token>: wrong type",
	"{{ join .Token `a` }}":                                               "line 1: <`a`>: can't handle `a` for arg of type []string",
	"{{ eq (list .Token) (list .Token) }}":                                "line 1: <eq (list .Token) (list .Token)>: eq: a list cannot be compared",
	"{{ if .Server.Owned }}{{ else }}{{ ne (list .Token) (list .AccountToken) }}{{ end }}": "line 1: <ne (list .Token) (list .AccountToken)>: ne: a list cannot be compared",
	"{{ lt .Token 1 }}":       "line 1: <lt .Token 1>: lt: incompatible types",
	"{{ len .Server.Owned }}": "line 1:",
	"{{ .Token.String }}":     "line 1:",
}

func TestBrokenTemplateIsExplainedAndShowsNoSecret(t *testing.T) {
	t.Parallel()
	for text, want := range abuses {
		_, err := renderData(templateOf(map[string]string{"KEY": text}), linkedDevice("My Server"))
		var wrong *templateError
		if !errors.As(err, &wrong) || wrong.key != "KEY" || !strings.HasPrefix(wrong.problem, want) {
			t.Errorf("%q is refused with %v, want KEY and %q", text, err, want)
			continue
		}
		if strings.Contains(err.Error(), "secret-") || len(err.Error()) > 400 {
			t.Errorf("%q is refused with %q", text, err)
		}
		if err := checkTemplate(templateOf(map[string]string{"KEY": text})); err == nil {
			t.Errorf("%q is not refused before a person is asked to link", text)
		}
	}
}

func TestTemplateEndsSoonAndStaysSmall(t *testing.T) {
	t.Parallel()
	var grown strings.Builder
	grown.WriteString(`{{ $a := "0123456789abcdef" }}`)
	for range 12 {
		grown.WriteString(`{{ $a = list $a $a | join "" }}`)
	}
	big := grown.String() // $a has 64 KiB
	repeated := func(text string) string { return big + strings.Repeat(text, (65536-len(big))/len(text)) }
	for name, data := range map[string]map[string]string{
		"doubling":              {"KEY": big + strings.Repeat(`{{ $a = list $a $a | join "" }}`, 500)},
		"10 MB of output":       {"KEY": repeated(`{{ $a }}`)},
		"a list of long texts":  {"KEY": big + "{{ toJson (list " + strings.Repeat("$a ", 20000) + ") }}"},
		"printing such a list":  {"KEY": big + "{{ list " + strings.Repeat("$a ", 20000) + " }}"},
		"nested toJson":         {"KEY": `{{ $a := "\"" }}` + strings.Repeat(`{{ $a = toJson $a }}`, 3000)},
		"nested toYaml":         {"KEY": repeated(`{{ $b := toYaml $a }}`)},
		"nested b64enc":         {"KEY": `{{ "a" ` + strings.Repeat("| b64enc ", 5000) + "}}"},
		"replacing by more":     {"KEY": big + `{{ replace "0" $a $a }}`},
		"replacing nothing":     {"KEY": big + `{{ replace "" $a $a }}`},
		"long separators":       {"KEY": big + "{{ join $a (list " + strings.Repeat(`"" `, 20000) + ") }}"},
		"work without output":   {"KEY": repeated(`{{ $b := upper $a }}`)},
		"many large keys":       {"A": big + "{{ $a }}{{ $a }}{{ $a }}", "B": big + "{{ $a }}{{ $a }}{{ $a }}", "C": big + "{{ $a }}{{ $a }}{{ $a }}", "D": big + "{{ $a }}{{ $a }}{{ $a }}", "E": big + "{{ $a }}{{ $a }}{{ $a }}", "F": big + "{{ $a }}{{ $a }}{{ $a }}"},
		"deep parentheses":      {"KEY": "{{ " + strings.Repeat("(", 30000) + "1" + strings.Repeat(")", 30000) + " }}"},
		"parentheses left open": {"KEY": "{{ " + strings.Repeat("(", 65000)},
		"deep conditions":       {"KEY": strings.Repeat("{{ if 1 }}", 3000) + "{{ .Nope }}" + strings.Repeat("{{ end }}", 3000)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			_, err := renderData(templateOf(data), linkedDevice("x"))
			took := time.Since(start)
			if err == nil {
				t.Error("it is not refused")
			} else {
				t.Logf("%s: %.150s", took.Round(time.Millisecond), err)
			}
			if took > 5*time.Second { // with the race detector on a busy machine
				t.Errorf("it took %s", took)
			}
		})
	}
}

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
		got, err := renderData(templateOf(data), linkedDevice(name))
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
		var whole struct{ Plex serverValues }
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
		"\n{{ .Server.Name | toJson | lower }}", "\n{{ default `x` .Server.Name }}", "\n{{ list .Server.Name }}", "\n{{ . }}",
	} {
		for _, key := range []string{"config.yml", "config.yaml", "config.json", "config.toml"} {
			err := checkTemplate(templateOf(map[string]string{key: text}))
			if err == nil || !strings.HasPrefix(err.Error(), "spec.secret.template.data["+key+"]: line 2: quotes or line breaks in {{ ") ||
				!strings.HasSuffix(err.Error(), " | toJson }}, without quotes around it") {
				t.Errorf("%s with %q is refused with %v", key, text, err)
			}
		}
		if err := checkTemplate(templateOf(map[string]string{"PLEX_NAME": text})); err != nil {
			t.Errorf("the variable with %q is refused with %v", text, err)
		}
	}
	for _, text := range []string{
		"url: {{ .URL }}\nhost: '{{ .Host }}'\nport: {{ .Port }}\ntoken: {{ .Token }}\nid: {{ .ClientIdentifier }}",
		"ssl: {{ eq .Scheme `https` }} {{ .Server.Owned | onOff }} {{ .Server.MachineIdentifier }}{{ .Path }}",
		"{{ if .Server.Name }}name: {{ .Server.Name | b64enc }}{{ end }}",
		"{{ if eq .Server.Name `Home` }}home: true{{ end }}",
		"key: {{ \"{{HOMEPAGE_VAR_PLEX_TOKEN}}\" }}",
	} {
		if err := checkTemplate(templateOf(map[string]string{"config.yml": text})); err != nil {
			t.Errorf("%q is refused with %v", text, err)
		}
	}
}

func TestOnlyOwnTypesOfSecret(t *testing.T) {
	t.Parallel()
	for kind, allowed := range map[string]bool{
		"": true, "Opaque": true, "example.com/plex": true, "plex.example.com/token": true,
		"kubernetes.io/service-account-token": false, "bootstrap.kubernetes.io/token": false, "kubernetes.io/tls": false,
		"a.b.kubernetes.io/x": false, "plex": false, "plex/token": false, "opaque": false,
	} {
		if err := checkTemplate(&v1alpha1.SecretTemplate{Type: kind}); (err == nil) != allowed {
			t.Errorf("type %q: %v", kind, err)
		}
	}
}

var quoted = regexp.MustCompile("`([a-zA-Z0-9]+)`")

func TestFunctionsAreTheSameInCodeAPIAndDocs(t *testing.T) {
	t.Parallel()
	want := slices.Sorted(slices.Values(append(append(slices.Clone(functionNames), allowed...), "if", "else", "with")))
	for file, section := range map[string][2]string{
		"../../api/v1alpha1/plexlink_types.go": {"// Functions: ", "`onOff` makes"},
		"../../docs/recipes/README.md":         {"## Functions", "\n## "},
	} {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(content), section[0])
		text, _, _ := strings.Cut(rest, section[1])
		names := map[string]bool{}
		for _, m := range quoted.FindAllStringSubmatch(text, -1) {
			names[m[1]] = true
		}
		if diff := cmp.Diff(want, slices.Sorted(maps.Keys(names))); diff != "" {
			t.Errorf("%s and the code differ: %s", file, diff)
		}
	}
}

func FuzzTemplate(f *testing.F) {
	for text := range abuses {
		f.Add("KEY", text)
		f.Add("config.yml", text)
	}
	f.Fuzz(func(t *testing.T, key, text string) {
		_, err := renderData(templateOf(map[string]string{key: text}), linkedDevice("secret-name"))
		if err == nil {
			return
		}
		for _, secret := range []string{"secret-server-token", "secret-account-token", "secret-client-identifier"} {
			if strings.Contains(err.Error(), secret) && !strings.Contains(text, "secret") {
				t.Errorf("the error shows a secret: %v", err)
			}
		}
	})
}
