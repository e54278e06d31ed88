package controller

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"text/template"
	"text/template/parse"
	"unicode"

	sprig "github.com/go-task/slim-sprig/v3"
	"sigs.k8s.io/yaml"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex"
)

const (
	// maxValue bounds every value on the way, so that no chain of functions grows without end.
	maxValue = 256 << 10
	// maxWork bounds what all functions of one Secret read and write together, in bytes: a small part of a second with
	// the slowest, toYaml.
	maxWork = 4 << 20
	// maxSecret bounds all values together. Kubernetes takes 1 MiB for a whole Secret, metadata included.
	maxSecret = 1000 << 10
)

// defaultData is the Secret of a link without a template.
var defaultData = map[string]v1alpha1.TemplateText{"PLEX_URL": "{{ .URL }}", "PLEX_TOKEN": "{{ .Token }}"}

// templateValues are what a template can use. The API's comment on data documents them.
type templateValues struct {
	URL, Scheme, Host, Port, Path         string
	Token, AccountToken, ClientIdentifier string
	Server                                serverValues
	Account                               accountValues
}

type serverValues struct {
	Name, MachineIdentifier, Version string
	Owned                            bool
}

type accountValues struct{ Username, UUID string }

// valuesOf gathers what a template can use.
func valuesOf(d device) (templateValues, error) {
	u, err := url.Parse(d.Server.URL)
	if err != nil {
		return templateValues{}, errors.New("the address of the server is not a URL")
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return templateValues{
		URL: d.Server.URL, Scheme: u.Scheme, Host: u.Hostname(), Port: port, Path: u.EscapedPath(),
		Token: d.ServerToken.Reveal(), AccountToken: d.Token.Reveal(), ClientIdentifier: d.ClientIdentifier.Reveal(),
		Server: serverValues{
			Name: d.Server.Name, MachineIdentifier: d.Server.MachineIdentifier, Version: d.Server.Version, Owned: d.Server.Owned,
		},
		Account: accountValues{Username: d.Account.Username, UUID: d.Account.UUID},
	}, nil
}

// exampleDevices stand for a link before there is one, to find the mistakes in a template before a person is asked to
// enter a PIN: one with an owned server, and one with a shared server whose names would break a file that does not
// quote them.
var exampleDevices = func() []device {
	const text, hostile = "example", "\"}\nexample: '{"
	link := device{ClientIdentifier: text, Token: text, ServerToken: text}
	owned, shared := link, link
	owned.Account = plex.Account{Username: text, UUID: text}
	owned.Server = &server{Name: text, MachineIdentifier: text, Version: "1.0", Owned: true, URL: "http://192.0.2.1:32400/plex"}
	shared.Account = plex.Account{Username: hostile, UUID: text}
	shared.Server = &server{Name: hostile, MachineIdentifier: text, Version: hostile, URL: "https://[2001:db8::1]"}
	return []device{owned, shared}
}()

// checkTemplate finds the mistakes in a template that show without a link. The error is a *templateError.
func checkTemplate(t *v1alpha1.SecretTemplate) error {
	if err := checkType(t); err != nil {
		return err
	}
	for _, d := range exampleDevices {
		if _, err := renderData(t, d); err != nil {
			return err
		}
	}
	return nil
}

// templateError says which key of spec.secret.template is wrong, where, and what is wrong. It shows no value.
type templateError struct {
	key, problem string
}

func (e *templateError) Error() string {
	if e.key == "" {
		return "spec.secret.template: " + e.problem
	}
	return fmt.Sprintf("spec.secret.template.data[%s]: %s", e.key, e.problem)
}

// renderData renders the data of the Secret. The error is a *templateError.
func renderData(t *v1alpha1.SecretTemplate, d device) (map[string][]byte, error) {
	texts := defaultData
	if t != nil && len(t.Data) > 0 {
		texts = t.Data
	}
	values, err := valuesOf(d)
	if err != nil {
		return nil, &templateError{problem: err.Error()}
	}
	data, total, functions := map[string][]byte{}, 0, newFunctions()
	for _, key := range slices.Sorted(maps.Keys(texts)) {
		value, err := render(key, string(texts[key]), functions, values)
		if err != nil {
			return nil, &templateError{key, explain(err)}
		}
		if total += len(key) + len(value); total > maxSecret {
			return nil, &templateError{key, fmt.Sprintf("the Secret would be larger than %d KiB, which Kubernetes does not take", maxSecret>>10)}
		}
		data[key] = []byte(value)
	}
	return data, nil
}

// render executes one template. It ends soon whatever the template says: there are no loops and no templates in it that
// call each other, and what functions do is bounded.
func render(key, text string, functions template.FuncMap, values templateValues) (string, error) {
	parsed, err := template.New("line").Funcs(functions).Parse(text)
	if err != nil {
		return "", err
	}
	for _, each := range parsed.Templates() {
		if each.Name() != parsed.Name() {
			at := strings.Count(text[:each.Root.Position()], "\n") + 1
			return "", fmt.Errorf("template: line:%d: template, define and block are not available", at)
		}
	}
	if parsed.Tree != nil {
		if err := checkNode(parsed.Tree, parsed.Root); err != nil {
			return "", err
		}
		if isStructured(key) {
			parsed.Funcs(template.FuncMap{requirePlain: plain})
			requirePlainText(parsed.Root)
		}
	}
	var out boundedBuilder
	if err := parsed.Execute(&out, values); err != nil {
		return "", err
	}
	return out.String(), nil
}

var (
	location      = regexp.MustCompile(`^template: line:(\d+)(:\d+)?:\s*`)
	executing     = regexp.MustCompile(`^executing "line" at (<[^>]*>): `)
	errorCalling  = regexp.MustCompile(`^error calling (\w+): `)
	unknownField  = regexp.MustCompile(`^can't evaluate field (\w+) in type .*$`)
	unknownMethod = regexp.MustCompile(`^function "(\w+)" not defined$`)
	// The template library shows the values that it could not compare.
	notComparable = regexp.MustCompile(`(?s)^(\w+: )?non-comparable type .*$`)
)

// explain turns an error of the template library into words for the person who wrote the template.
func explain(err error) string {
	text, line := err.Error(), ""
	if m := location.FindStringSubmatch(text); m != nil {
		line, text = "line "+m[1]+": ", strings.TrimPrefix(text, m[0])
	}
	if unquoted, ok := errors.AsType[*unquotedError](err); ok {
		return line + unquoted.Error()
	}
	if m := executing.FindStringSubmatch(text); m != nil {
		line, text = line+truncate(m[1], 60)+": ", strings.TrimPrefix(text, m[0])
	}
	text = errorCalling.ReplaceAllString(text, "$1: ")
	text = notComparable.ReplaceAllString(text, "${1}a list cannot be compared")
	text = unknownField.ReplaceAllString(text, "there is no value $1; see kubectl explain plexlink.spec.secret.template.data")
	text = unknownMethod.ReplaceAllString(text, "there is no function $1; see kubectl explain plexlink.spec.secret.template.data")
	return line + clip(text)
}

// allowed are the functions of Go templates that stay: none of them can make a value grow.
var allowed = []string{"and", "or", "not", "eq", "ne", "lt", "le", "gt", "ge", "len"}

// checkNode refuses what could run for long or grow without end.
func checkNode(tree *parse.Tree, node parse.Node) error {
	refuse := func(what string) error {
		at, _ := tree.ErrorContext(node)
		return fmt.Errorf("template: %s: %s", at, what)
	}
	check := func(parts ...parse.Node) error {
		for _, part := range parts {
			if err := checkNode(tree, part); err != nil {
				return err
			}
		}
		return nil
	}
	switch n := node.(type) {
	case *parse.ListNode:
		if n == nil {
			return nil
		}
		return check(n.Nodes...)
	case *parse.ActionNode:
		return check(n.Pipe)
	case *parse.IfNode:
		return check(n.Pipe, n.List, n.ElseList)
	case *parse.WithNode:
		return check(n.Pipe, n.List, n.ElseList)
	case *parse.RangeNode:
		return refuse("range is not available, there is no list to go through")
	case *parse.TemplateNode:
		return refuse("template, define and block are not available")
	case *parse.PipeNode:
		for _, command := range n.Cmds {
			if err := check(command.Args...); err != nil {
				return err
			}
		}
	case *parse.IdentifierNode:
		if !slices.Contains(functionNames, n.Ident) && !slices.Contains(allowed, n.Ident) {
			return refuse(fmt.Sprintf("function %q not defined", n.Ident))
		}
	case *parse.ChainNode:
		return check(n.Node)
	}
	return nil
}

// functionNames are the functions of ours that the API's comment on data documents.
var functionNames = slices.Sorted(maps.Keys(newFunctions()))

// newFunctions makes the functions for the templates of one Secret. Most are sprig's, which people know from Helm.
// Together they may do maxWork.
func newFunctions() template.FuncMap {
	sprigs := sprig.TxtFuncMap()
	work := 0
	// spend takes the size of what a function reads and writes into account.
	spend := func(texts ...string) error {
		size := 0
		for _, text := range texts {
			size += len(text)
		}
		if work += 64 + size; work > maxWork {
			return errors.New("the templates take too long")
		}
		if size > maxValue {
			return errTooLarge
		}
		return nil
	}
	written := func(out string, err error) (string, error) {
		return out, errors.Join(err, spend(out))
	}
	text := func(f func(string) string) func(string) (string, error) {
		return func(s string) (string, error) {
			if err := spend(s); err != nil {
				return "", err
			}
			return written(f(s), nil)
		}
	}
	trim := func(f func(string, string) string) func(string, string) (string, error) {
		return func(part, s string) (string, error) { return f(part, s), spend(part, s) }
	}
	encode := func(f func(any) (string, error)) func(any) (string, error) {
		return func(v any) (string, error) {
			texts, ok := v.([]string)
			if s, isText := v.(string); isText {
				texts, ok = []string{s}, true
			}
			if err := spend(texts...); ok && err != nil {
				return "", err
			}
			return written(f(v))
		}
	}
	return template.FuncMap{
		"default":    sprigs["default"],
		"lower":      text(strings.ToLower),
		"upper":      text(strings.ToUpper),
		"b64enc":     text(sprigs["b64enc"].(func(string) string)),
		"urlquery":   text(url.QueryEscape),
		"trimPrefix": trim(sprigs["trimPrefix"].(func(a, b string) string)),
		"trimSuffix": trim(sprigs["trimSuffix"].(func(a, b string) string)),
		"list":       func(items ...string) ([]string, error) { return items, spend(items...) },
		"join": func(separator string, items []string) (string, error) {
			if err := spend(append(slices.Repeat([]string{separator}, len(items)), items...)...); err != nil {
				return "", err
			}
			return strings.Join(items, separator), nil
		},
		"replace": func(old, replacement, s string) (string, error) {
			if len(s)+strings.Count(s, old)*len(replacement) > maxValue {
				return "", errTooLarge
			}
			return written(strings.ReplaceAll(s, old, replacement), spend(s))
		},
		"toJson": encode(toJSON),
		"toYaml": encode(toYAML),
		"onOff": func(b bool) string {
			if b {
				return "on"
			}
			return "off"
		},
	}
}

// toJSON escapes what is not printable too: YAML readers refuse it or take it for a line break, even in quotes.
func toJSON(v any) (string, error) {
	encoded, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for _, r := range string(encoded) {
		if r > '~' && r <= 0xffff && !unicode.IsPrint(r) {
			_, _ = fmt.Fprintf(&out, `\u%04x`, r)
		} else {
			out.WriteRune(r)
		}
	}
	return out.String(), nil
}

// toYAML writes one line. What needs several, or escapes, is written as JSON, which is YAML too: the further lines would
// end up outside of the place in the file where the value belongs.
func toYAML(v any) (string, error) {
	encoded, err := toJSON(v)
	if err != nil || strings.Contains(encoded, `\`) {
		return encoded, err
	}
	out, err := yaml.Marshal(v)
	if line := strings.TrimSuffix(string(out), "\n"); err == nil && !strings.Contains(line, "\n") {
		return line, nil
	}
	return encoded, nil
}

var errTooLarge = fmt.Errorf("the value would be larger than %d KiB", maxValue>>10)

// boundedBuilder is a strings.Builder that refuses to grow beyond maxValue.
type boundedBuilder struct{ strings.Builder }

func (b *boundedBuilder) Write(p []byte) (int, error) {
	if b.Len()+len(p) > maxValue {
		return 0, errTooLarge
	}
	return b.Builder.Write(p)
}

// checkType refuses a type that would let the holder of a PlexLink mint credentials of the cluster. The CRD refuses it
// too; this holds where the CRD is older or changed.
func checkType(t *v1alpha1.SecretTemplate) error {
	if t == nil || t.Type == "" || t.Type == "Opaque" {
		return nil
	}
	domain, _, ok := strings.Cut(t.Type, "/")
	if !ok || !strings.Contains(domain, ".") || domain == "kubernetes.io" || strings.HasSuffix(domain, ".kubernetes.io") {
		return &templateError{problem: "type must be Opaque or a type with a domain of your own, such as example.com/plex"}
	}
	return nil
}

// usesAccount finds the values that need the request for the account.
var usesAccount = regexp.MustCompile(`\.Account(\.|\W|$)`)

// templateUsesAccount says that a template needs to know whose account it is.
func templateUsesAccount(t *v1alpha1.SecretTemplate) bool {
	if t == nil {
		return false
	}
	for _, text := range t.Data {
		if usesAccount.MatchString(string(text)) {
			return true
		}
	}
	return false
}
