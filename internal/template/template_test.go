package template

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestSecretHasTheDefaultKeysOrExactlyThoseOfTheTemplate(t *testing.T) {
	t.Parallel()
	defaults := map[string][]byte{"PLEX_URL": []byte("https://plex.example.com/plex"), "PLEX_TOKEN": []byte("secret-server-token")}
	for name, c := range map[string]struct {
		texts map[string]string
		want  map[string][]byte
	}{
		"no template": {nil, defaults},
		"no data":     {map[string]string{}, defaults},
		"default":     {Default(), defaults},
		"data": {
			map[string]string{"a": "1", "b.yml": "2", "HOST": "{{ .Host }}"},
			map[string][]byte{"a": []byte("1"), "b.yml": []byte("2"), "HOST": []byte("plex.example.com")},
		},
	} {
		got, err := Render(c.texts, linked(t, "x"))
		if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
		if err := Check(c.texts); err != nil {
			t.Errorf("%s: Check refuses it: %v", name, err)
		}
	}
}

func TestErrorNamesTheKeyOrTheWholeTemplate(t *testing.T) {
	t.Parallel()
	for want, e := range map[string]*Error{
		"spec.secret.template.data[config.yml]: line 1: wrong": {"config.yml", "line 1: wrong"},
		"spec.secret.template: wrong":                          {"", "wrong"},
	} {
		if got := e.Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// large returns the start of a template that makes $a 64 KiB long.
func large() string {
	return `{{ $a := "0123456789abcdef" }}` + strings.Repeat(`{{ $a = list $a $a | join "" }}`, 12)
}

// filled returns a template with text as often as the limits of size and actions allow.
func filled(text string) string {
	const room = 200 // for keys, other keys and the start of the template
	return large() + strings.Repeat(text, min((maxTexts-len(large())-room)/len(text), maxActions-room))
}

func TestTemplateEndsSoonAndStaysSmall(t *testing.T) {
	t.Parallel()
	const tooLarge, tooMuchWork, tooManyActions = "larger than 256 KiB", "process more than 4 MiB", "more than 2000 actions"
	const room = 1000
	big := large()
	var definitions strings.Builder
	for n := range 4000 {
		fmt.Fprintf(&definitions, "\n{{define `%d`}}{{end}}", n)
	}
	threeTimes := big + "{{ $a }}{{ $a }}{{ $a }}"
	for name, c := range map[string]struct {
		data map[string]string
		want string
	}{
		"doubling":              {map[string]string{"KEY": big + strings.Repeat(`{{ $a = list $a $a | join "" }}`, 500)}, tooLarge},
		"much output":           {map[string]string{"KEY": filled(`{{ $a }}`)}, tooLarge},
		"a value at its limit":  {map[string]string{"KEY": big + strings.Repeat("{{ $a }}", 4)}, ""},
		"a value above it":      {map[string]string{"KEY": big + strings.Repeat("{{ $a }}", 4) + "x"}, tooLarge},
		"a list of long texts":  {map[string]string{"KEY": big + "{{ toJson (list " + strings.Repeat("$a ", 40000) + ") }}"}, tooMuchWork},
		"printing such a list":  {map[string]string{"KEY": big + "{{ list " + strings.Repeat("$a ", 40000) + " }}"}, tooMuchWork},
		"a list above a value":  {map[string]string{"KEY": big + "{{ list " + strings.Repeat("$a ", 5) + " }}"}, tooLarge},
		"nested toJson":         {map[string]string{"KEY": `{{ $a := "\"" }}` + strings.Repeat(`{{ $a = toJson $a }}`, maxActions-2)}, tooLarge},
		"nested toYaml":         {map[string]string{"KEY": filled(`{{ $b := toYaml $a }}`)}, tooMuchWork},
		"nested b64enc":         {map[string]string{"KEY": `{{ "a" ` + strings.Repeat("| b64enc ", 5000) + "}}"}, tooLarge},
		"replacing by more":     {map[string]string{"KEY": big + `{{ replace "0" $a $a }}`}, tooLarge},
		"replacing nothing":     {map[string]string{"KEY": big + `{{ replace "" $a $a }}`}, tooLarge},
		"long separators":       {map[string]string{"KEY": big + "{{ join $a (list " + strings.Repeat(`"" `, 20000) + ") }}"}, tooMuchWork},
		"work without output":   {map[string]string{"KEY": filled(`{{ $b := upper $a }}`)}, tooMuchWork},
		"work of many keys":     {map[string]string{"A": big + strings.Repeat("{{ $b := upper $a }}", 20), "B": big + strings.Repeat("{{ $b := upper $a }}", 20)}, tooMuchWork},
		"many large keys":       {map[string]string{"A": threeTimes, "B": threeTimes, "C": threeTimes, "D": threeTimes, "E": threeTimes, "F": threeTimes}, "the Secret is larger than 1000 KiB"},
		"deep parentheses":      {map[string]string{"KEY": "{{ " + strings.Repeat("(", 60000) + "1" + strings.Repeat(")", 60000) + " }}"}, "max expression depth exceeded"},
		"parentheses left open": {map[string]string{"KEY": "{{ " + strings.Repeat("(", maxTexts-room)}, "max expression depth exceeded"},
		"deep conditions":       {map[string]string{"KEY": strings.Repeat("{{ if 1 }}", maxActions-2) + "{{ .Nope }}" + strings.Repeat("{{ end }}", maxActions-2)}, "there is no value Nope"},
		"deeper conditions":     {map[string]string{"KEY": strings.Repeat("{{if 1}}", 7000) + "{{ .Nope }}" + strings.Repeat("{{end}}", 7000)}, tooManyActions},
		"many actions":          {map[string]string{"KEY": strings.Repeat("{{1}}", maxTexts/5-room)}, tooManyActions},
		"many wrong functions":  {map[string]string{"KEY": strings.Repeat("{{a}}", maxTexts/5-room)}, "line 1: there is no function a"},
		"many definitions":      {map[string]string{"KEY": definitions.String()}, "line 2: template, define and block"},
		"a long unknown name":   {map[string]string{"KEY": "{{ " + strings.Repeat("a", maxTexts-room) + " }}"}, "line 1: there is no function aaa"},
		"a long unknown value":  {map[string]string{"KEY": "{{ ." + strings.Repeat("a", maxTexts-room) + " }}"}, "there is no value aaa"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data := map[string]string{"PLEX_URL": "{{ .URL }}"}
			maps.Copy(data, c.data)
			start := time.Now()
			_, err := Render(data, linked(t, "x"))
			if took := time.Since(start); took > 30*time.Second { // with the race detector on a busy machine
				t.Errorf("it took %s", took)
			}
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got the error %.300v, want %q", err, c.want)
			}
		})
	}
}

// Comparing is not metered: it makes nothing that grows.
func TestComparingLargeValuesEndsSoon(t *testing.T) {
	t.Parallel()
	other := strings.ReplaceAll(large(), "$a", "$b")
	text := large() + other + "{{ $a = list $a $a $a `a` | join `` }}{{ $b = list $b $b $b `b` | join `` }}{{ eq $a"
	text += strings.Repeat(" $b", (maxTexts-len(text)-100)/3) + " }}{{ .Path }}"
	start := time.Now()
	got, err := Render(map[string]string{"KEY": text}, linked(t, "x"))
	if err != nil || string(got["KEY"]) != "false/plex" {
		t.Errorf("got %q (%v), want false/plex", got["KEY"], err)
	}
	if took := time.Since(start); took > 30*time.Second { // with the race detector on a busy machine
		t.Errorf("it took %s", took)
	}
}

func TestProblemIsOneShortLine(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("日本", 100)
	for _, text := range []string{
		"{{ ." + long + " }}", "{{ a." + long + " }}", "{{ " + long + " }}", "{{ $" + long + " }}", "{{ .URL " + long + "\"", "{{ .URL }} {{ \xff }}",
		"{{ upper (list `\n\u0085\u2028\x1b`) }}", "{{ .Server.Name | default `\n" + long + "` }}", "{{ .Server.Name | default `\n\x00` }}",
		"{{ template `\n" + long + "` }}", "{{ `" + long + "", "{{ .Server.Name | " + strings.Repeat("default `a` | ", 100) + "lower }}",
	} {
		_, err := Render(map[string]string{"config.yml": text}, linked(t, "a\nb"))
		wrong, ok := errors.AsType[*Error](err)
		if !ok {
			t.Errorf("%q: got the error %v, want *Error", text, err)
		} else if problem := notShortLine(wrong.Problem); problem != "" {
			t.Errorf("%q: %s: %q", text, problem, wrong.Problem)
		}
	}
}

// notShortLine says what keeps a problem from being one short line of text; empty: nothing.
func notShortLine(problem string) string {
	switch {
	case len(problem) > 400:
		return "the problem is longer than 400 bytes"
	case !utf8.ValidString(problem):
		return "the problem is not valid UTF-8"
	case strings.ContainsFunc(problem, func(r rune) bool { return !unicode.IsPrint(r) }):
		return "the problem has characters that are not printable"
	default:
		return ""
	}
}

func FuzzCheckAndRender(f *testing.F) {
	for text := range abuses {
		f.Add("KEY", text)
		f.Add("config.yml", text)
	}
	for text := range promises {
		f.Add("config.json", text)
	}
	f.Add("KEY", large()+"{{ $a }}{{ toJson $a }}{{ eq $a . }}")
	const sentinel = "qzx"
	v := Values{
		URL: "http://qzx-url", Scheme: "qzx-scheme", Host: "qzx-host", Port: "qzx-port", Path: "qzx-path",
		Token: "qzx-token", AccountToken: "qzx-account-token", ClientIdentifier: "qzx-client",
		Server:  Server{Name: "\"\n}qzx-name", MachineIdentifier: "qzx-machine", Version: "qzx-version", Owned: true},
		Account: Account{Username: "qzx: 'user", UUID: "qzx-uuid"},
	}
	f.Fuzz(func(t *testing.T, key, text string) {
		texts := map[string]string{"PLEX_URL": "{{ .URL }}", key: text}
		start := time.Now()
		checkErr := Check(texts)
		data, renderErr := Render(texts, v)
		UsesAccount(texts)
		if took := time.Since(start); took > 30*time.Second {
			t.Errorf("it took %s", took)
		}
		for _, err := range []error{checkErr, renderErr} {
			var wrong *Error
			if err == nil {
				continue
			}
			if !errors.As(err, &wrong) {
				t.Fatalf("got %T, want *Error", err)
			}
			if strings.Contains(strings.ToLower(wrong.Problem), sentinel) && !strings.Contains(strings.ToLower(text), sentinel) {
				t.Errorf("the error shows a value: %v", err)
			}
			if problem := notShortLine(wrong.Problem); problem != "" {
				t.Errorf("%s: %q", problem, wrong.Problem)
			}
		}
		if renderErr != nil {
			return
		}
		size := 0
		for key, value := range data {
			if size += len(key) + len(value); len(value) > maxValue || texts[key] == "" && len(value) > 0 {
				t.Errorf("key %q has %d bytes of %q", key, len(value), texts[key])
			}
		}
		if len(data) != len(texts) || size > maxSecret {
			t.Errorf("got %d keys with %d bytes, want %d keys with at most %d", len(data), size, len(texts), maxSecret)
		}
	})
}
