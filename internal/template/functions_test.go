package template

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// promises are templates with what the documentation lets their author expect.
var promises = map[string]string{
	"{{ .URL }}":    "https://plex.example.com/plex",
	"{{ .Scheme }}": "https", "{{ .Host }}": "plex.example.com", "{{ .Port }}": "443", "{{ .Path }}": "/plex",
	"{{ .Token }}": "secret-server-token", "{{ .AccountToken }}": "secret-account-token",
	"{{ .ClientIdentifier }}": "secret-client-identifier",
	"{{ .Server.Name }}":      "My Server", "{{ .Server.MachineIdentifier }}": "abc123",
	"{{ .Server.Version }}": "1.43.0.1234", "{{ .Server.Owned }}": "false",
	"{{ .Account.Username }}": "alice", "{{ .Account.UUID }}": "0123456789abcdef",

	"{{ .Server.Name | toJson }}":                                     `"My Server"`,
	"{{ .Server | toJson }}":                                          `{"Name":"My Server","MachineIdentifier":"abc123","Version":"1.43.0.1234","Owned":false}`,
	"{{ .Server.Name | toYaml }}":                                     `My Server`,
	"{{ `on` | toYaml }}":                                             `"on"`,
	"{{ .Server.Name | urlquery }}":                                   "My+Server",
	"{{ .Server.Name | b64enc }}":                                     "TXkgU2VydmVy",
	"{{ `?>?>a` | b64enc }}":                                          "Pz4/PmE=",
	`{{ list .Host .Port | join ":" }}`:                               "plex.example.com:443",
	`{{ join "," (list "a" "b") }}`:                                   "a,b",
	`{{ list "a" "b" }}`:                                              "[a b]",
	`{{ .Server.Name | default "x" }}{{ default "y" "" }}`:            "My Servery",
	`{{ default "x" 0 }}{{ 0.0 | default "y" }}{{ default "z" nil }}`: "xyz",
	`{{ .Server.Owned | default "x" }}{{ list | default "y" }}`:       "xy",
	`{{ default "x" 1 }}{{ true | default "y" }}{{ list "" | default "z" }}{{ default 0 "" }}`: "1true[]0",
	`{{ (.Server | default "x").Name }}`:                                                                 "My Server",
	`{{ eq .Scheme "https" | onOff }} {{ onOff false }}`:                                                 "on off",
	"{{ .Server.Name | lower }}{{ .Server.Name | upper }}":                                               "my serverMY SERVER",
	`{{ .Server.Name | replace " " "-" }}`:                                                               "My-Server",
	`{{ .Path | trimPrefix "/" | trimSuffix "x" }}`:                                                      "ple",
	`{{ trimPrefix "x" .Path }}{{ trimSuffix .Path .URL }}`:                                              "/plexhttps://plex.example.com",
	`{{ if and .Server.Owned (not .Path) }}a{{ else if or (eq .Port "443") (ne .Port "80") }}b{{ end }}`: "b",
	`{{ with .Account.Username }}{{ . | len }}{{ end }}{{ lt 1 2 }}{{ le 2 2 }}{{ gt 1 2 }}{{ ge 1 2 }}`: "5truetruefalsefalse",
	"{{/* nothing */}}": "", "": "", "no template": "no template",
}

func TestTemplateHasTheValuesAndFunctionsThatItsCommentPromises(t *testing.T) {
	t.Parallel()
	for text, want := range promises {
		got, err := Render(map[string]string{"KEY": text, "PLEX_URL": "{{ .URL }}"}, linked(t, "My Server"))
		if err != nil || string(got["KEY"]) != want {
			t.Errorf("%s is %q (%v), want %q", text, got["KEY"], err, want)
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
