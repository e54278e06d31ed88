package template

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
)

// abuses are templates that must be refused, with the start of the message.
var abuses = map[string]string{
	"a\nb {{ .Nope }}":                                          "line 2: <.Nope>: there is no value Nope",
	"{{ .Server.Nope }}":                                        "line 1: <.Server.Nope>: there is no value Nope",
	"{{ .Token.Nope }}":                                         "line 1: <.Token.Nope>: there is no value Nope",
	"\n\n{{ env \"HOME\" }}":                                    "line 3: there is no function env",
	"{{ expandenv `$HOME` }}":                                   "line 1: there is no function expandenv",
	"{{ now }}":                                                 "line 1: there is no function now",
	"{{ getHostByName `plex` }}":                                "line 1: there is no function getHostByName",
	"{{ randAlpha 5 }}":                                         "line 1: there is no function randAlpha",
	"{{ readFile `/etc/passwd` }}":                              "line 1: there is no function readFile",
	"\n{{ printf `%1000000000d` 1 }}":                           "line 2: there is no function printf",
	"{{ print . }}":                                             "line 1: there is no function print",
	"{{ html .Token }}":                                         "line 1: there is no function html",
	"{{ if call .Token }}{{ end }}":                             "line 1: there is no function call",
	"{{ index .Token 0 }}":                                      "line 1: there is no function index",
	"{{ guard `a` .Token }}":                                    "line 1: there is no function guard",
	"{{ repeat 1000000000 `a` }}":                               "line 1: there is no function repeat",
	"{{ (.Token | env).Nope }}":                                 "line 1: there is no function env",
	"\n{{ range .Token }}{{ end }}":                             "line 2: range is not available",
	"{{ range 1000000000000 }}x{{ end }}":                       "line 1: range is not available",
	"{{ if true }}{{ range 9 }}{{ end }}{{ end }}":              "line 1: range is not available",
	"{{ with 1 }}\n{{ range 9 }}{{ end }}{{ end }}":             "line 2: range is not available",
	"{{ with 1 }}{{ else }}\n\n{{ range 9 }}{{ end }}{{ end }}": "line 3: range is not available",
	"\n{{ template \"line\" . }}":                               "line 2: template, define and block are not available",
	"x\n{{ define \"a\" }}{{ end }}":                            "line 2: template, define and block are not available",
	"\n{{ define \"line\" }}{{ .URL }}{{ end }}":                "line 2: template, define and block are not available",
	"{{ define \"a\" }}{{ template \"a\" }}{{ end }}{{ template \"a\" }}": "line 1: template, define and block are not available",
	"{{ block \"a\" . }}{{ end }}":                                        "line 1: template, define and block are not available",
	"{{ .URL ":                                                            "line 1: unclosed action",
	"{{ if .URL }}":                                                       "line 1: unexpected EOF",
	"{{ .URL | nope }}":                                                   "line 1: there is no function nope",
	"\n{{ env }}\n{{ now }}":                                              "line 2: there is no function env",
	"{{ $x }}":                                                            "line 1: undefined variable",
	"{{ onOff .Token }}":                                                  "line 1: <.Token>: wrong type",
	"{{ join .Token `a` }}":                                               "line 1: <`a`>: can't handle `a` for arg of type []string",
	"{{ default .Token }}":                                                "line 1: <default>: wrong number of args for default",
	"{{ eq (list .Token) (list .Token) }}":                                "line 1: <eq (list .Token) (list .Token)>: eq: a list cannot be compared",
	"{{ if .Server.Owned }}{{ else }}{{ ne (list .Token) (list .AccountToken) }}{{ end }}": "line 1: <ne (list .Token) (list .AccountToken)>: ne: a list cannot be compared",
	"{{ eq . (list `a`) }}":               "line 1: <eq . (list `a`)>: eq: a list cannot be compared",
	"{{ eq (list) (list `>` .Token) }}":   "line 1: <eq (list) (list `>` .Token)>: eq: a list cannot be compared",
	"{{ eq (list) (list `>: ` .Token) }}": "line 1: <eq (list) (list `>:",
	"{{ lt .Token 1 }}":                   "line 1: <lt .Token 1>: lt: incompatible types",
	"{{ lt . . }}":                        "line 1: <lt . .>: lt: invalid type",
	"{{ len .Server.Owned }}":             "line 1:",
	"{{ .Token.String }}":                 "line 1:",
	"{{ .WithURL `http://a` }}":           "line 1: <.WithURL>: there is no value WithURL",
	"{{ (.WithURL `http://a`).Token }}":   "line 1: <.WithURL>: there is no value WithURL",
}

func TestBrokenTemplateIsExplainedAndShowsNoSecret(t *testing.T) {
	t.Parallel()
	for text, want := range abuses {
		_, err := Render(map[string]string{"KEY": text}, linked(t, "My Server"))
		var wrong *Error
		if !errors.As(err, &wrong) || wrong.Key != "KEY" || !strings.HasPrefix(wrong.Problem, want) {
			t.Errorf("%q is refused with %v, want KEY and %q", text, err, want)
			continue
		}
		if strings.Contains(err.Error(), "secret-") || len(err.Error()) > 400 {
			t.Errorf("%q is refused with %q, want no secret and at most 400 bytes", text, err)
		}
		if err := Check(map[string]string{"KEY": text}); err == nil {
			t.Errorf("Check does not refuse %q", text)
		}
	}
}

func TestTextsAreBoundedAsAWhole(t *testing.T) {
	t.Parallel()
	const url = "{{ .URL }}"
	tooLarge := fmt.Sprintf("data has %d bytes in keys and templates, at most %d are allowed", 128<<10+1, 128<<10)
	const tooMany = "data has more than 2000 actions"
	keys := func(n int, text string) map[string]string {
		texts := map[string]string{}
		for i := range n {
			texts[fmt.Sprintf("KEY_%03d", i)] = text
		}
		return texts
	}
	with := func(texts map[string]string, key, text string) map[string]string {
		texts = maps.Clone(texts)
		texts[key] = text
		return texts
	}
	half := keys(1, strings.Repeat("x", 64<<10-len("KEY_000")))
	for name, c := range map[string]struct {
		texts map[string]string
		want  string
	}{
		"128 KiB":                     {with(half, "K", url+strings.Repeat("x", 64<<10-1-len(url))), ""},
		"128 KiB and a byte":          {with(half, "K", url+strings.Repeat("x", 64<<10-len(url))), tooLarge},
		"a byte more in a key":        {with(half, "KK", url+strings.Repeat("x", 64<<10-1-len(url))), tooLarge},
		"one key":                     {map[string]string{"KEY": strings.Repeat("{{", 100_000)}, "data has 200003 bytes"},
		"2000 actions":                {keys(40, strings.Repeat(url, 50)), ""},
		"2001 actions":                {with(keys(40, strings.Repeat(url, 50)), "Z", url), tooMany},
		"2000 conditions":             {keys(20, strings.Repeat("{{ if .URL }}{{ end }}{{ with .URL }}{{ end }}", 50)), ""},
		"2001 conditions":             {with(keys(20, strings.Repeat("{{ if .URL }}{{ end }}{{ with .URL }}{{ end }}", 50)), "Z", "{{ if .URL }}{{ end }}"), tooMany},
		"else if counts":              {keys(20, "{{ if .URL }}"+strings.Repeat("{{ else if .URL }}", 100)+"{{ end }}"), tooMany},
		"actions in branches count":   {keys(20, "{{ if .URL }}"+strings.Repeat(url, 50)+"{{ else }}"+strings.Repeat(url, 50)+"{{ end }}"), tooMany},
		"actions within with count":   {keys(20, "{{ with .URL }}"+strings.Repeat("{{ . }}", 50)+"{{ else }}"+strings.Repeat(url, 50)+"{{ end }}"), tooMany},
		"comments and text are free":  {map[string]string{"KEY": url + strings.Repeat("{{/* */}}x", 3000)}, ""},
		"declarations are actions":    {map[string]string{"KEY": url + strings.Repeat("{{ $a := 1 }}", 2000)}, tooMany},
		"a broken key is named first": {with(keys(40, strings.Repeat(url, 50)), "A", "{{ nope }}"), "line 1: there is no function nope"},
	} {
		_, renderErr := Render(c.texts, linked(t, "x"))
		for _, err := range []error{Check(c.texts), renderErr} {
			var wrong *Error
			switch {
			case c.want == "" && err != nil:
				t.Errorf("%s: refused with %v", name, err)
			case c.want != "" && (!errors.As(err, &wrong) || !strings.HasPrefix(wrong.Problem, c.want) || (wrong.Key == "") != strings.HasPrefix(c.want, "data")):
				t.Errorf("%s: got the error %v, want %q", name, err, c.want)
			}
		}
	}
}

func TestTemplateMustUseAValueOfTheLink(t *testing.T) {
	t.Parallel()
	const want = `spec.secret.template: data uses no value of the link; in a Helm chart write {{ "{{ .URL }}" }}`
	for text, uses := range map[string]bool{
		"":                               false,
		"http://plex:32400":              false,
		"{{/* .URL */}}":                 false,
		`{{ "{{ .URL }}" }}`:             false,
		"{{ `.URL` | toJson }}":          false,
		"{{ $url := `.URL` }}{{ $url }}": false,
		"{{ list `a` `b` | join `,` }}":  false,
		"{{ if eq 1 1 }}a{{ end }}":      false,
		"{{ with `a` }}{{ . }}{{ end }}": false,

		"{{ .URL }}":                                  true,
		"{{ $.Token }}":                               true,
		"{{ .Server.Owned | onOff }}":                 true,
		"{{ list `a` .Host | join `,` }}":             true,
		"{{ list `a` (lower .Host) | join `,` }}":     true,
		"{{ $url := .URL }}{{ $url }}":                true,
		"{{ if .Server.Owned }}a{{ end }}":            true,
		"{{ if true }}{{ else }}{{ .Port }}{{ end }}": true,
		"{{ if false }}{{ else if .Path }}a{{ end }}": true,
		"{{ with .Account }}a{{ end }}":               true,
		"{{ with `a` }}{{ $.URL }}{{ end }}":          true,
		"{{ with `` }}{{ else }}{{ .URL }}{{ end }}":  true,
		"{{ (.Server).Name }}":                        true,
		"{{ with $ }}{{ .URL }}{{ end }}":             true,
		"{{ . | toJson }}":                            true,
	} {
		for _, texts := range []map[string]string{{"KEY": text}, {"A": "a", "KEY": text, "Z": "{{ `z` }}"}} {
			_, renderErr := Render(texts, linked(t, "My Server"))
			for _, err := range []error{Check(texts), renderErr} {
				if uses && err != nil {
					t.Errorf("%q is refused with %v", text, err)
				}
				if !uses && (err == nil || err.Error() != want) {
					t.Errorf("%q: got the error %v, want %s", text, err, want)
				}
			}
		}
		if err := Check(map[string]string{"KEY": text, "PLEX_URL": "{{ .URL }}"}); err != nil {
			t.Errorf("%q beside a key with a value is refused with %v", text, err)
		}
	}
}

func TestUsesAccountFindsTheAccountWhereverItIs(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"{{ .Account.Username }}":                              true,
		"{{ $.Account.UUID }}":                                 true,
		"{{ .Account | toJson }}":                              true,
		"{{ if .Account.Username }}a{{ end }}":                 true,
		"{{ if .URL }}a{{ else }}{{ .Account.UUID }}{{ end }}": true,
		"{{ with .Account }}{{ .Username }}{{ end }}":          true,
		"{{ with .URL }}{{ $.Account.UUID }}{{ end }}":         true,
		"{{ $a := .Account }}{{ $a.Username }}":                true,
		"{{ list (lower .Account.UUID) | join `` }}":           true,
		"{{ . | toJson }}":                                     true,
		"{{ $ | toYaml }}":                                     true,
		"{{ $all := . }}{{ $all.Account.UUID }}":               true,
		"{{ (.).Account.UUID }}":                               true,

		"{{ .URL }}":                                             false,
		".Account.Username {{ .URL }}":                           false,
		"{{ .URL }}{{/* .Account.Username */}}":                  false,
		"{{ .AccountToken }}":                                    false,
		"{{ .URL }}{{ `{{ .Account.UUID }}` }}":                  false,
		"{{ with .Server }}{{ .Name }}{{ . | toJson }}{{ end }}": false,
		"{{ .Account.UUID ":                                      false,
		"":                                                       false,
	} {
		if got := UsesAccount(map[string]string{"KEY": text, "PLEX_URL": "{{ .URL }}"}); got != want {
			t.Errorf("%q: got %v, want %v", text, got, want)
		}
	}
	if UsesAccount(nil) {
		t.Error("the default uses the account, want that it does not")
	}
}
