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

	sprig "github.com/go-task/slim-sprig/v3"
	"sigs.k8s.io/yaml"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex"
)

const (
	// maxValue bounds every value on the way, so that no chain of functions grows without end.
	maxValue = 256 << 10
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
		URL: d.Server.URL, Scheme: u.Scheme, Host: u.Hostname(), Port: port, Path: u.Path,
		Token: d.ServerToken.Reveal(), AccountToken: d.Token.Reveal(), ClientIdentifier: d.ClientIdentifier.Reveal(),
		Server: serverValues{
			Name: d.Server.Name, MachineIdentifier: d.Server.MachineIdentifier, Version: d.Server.Version, Owned: d.Server.Owned,
		},
		Account: accountValues{Username: d.Account.Username, UUID: d.Account.UUID},
	}, nil
}

// exampleDevice stands for a link before there is one, to find the mistakes in a template before a person is asked to
// enter a PIN.
var exampleDevice = device{
	ClientIdentifier: "example", Token: "example", ServerToken: "example",
	deviceState: deviceState{
		Account: plex.Account{Username: "example", UUID: "example"},
		Server: &server{
			Name: "example", MachineIdentifier: "example", Version: "1.0", Owned: true, URL: "http://192.0.2.1:32400/plex",
		},
	},
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
	data, total := map[string][]byte{}, 0
	for _, key := range slices.Sorted(maps.Keys(texts)) {
		value, err := render(string(texts[key]), values)
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
// call each other, and every function's result is bounded.
func render(text string, values templateValues) (string, error) {
	parsed, err := template.New("line").Option("missingkey=error").Funcs(functions).Parse(text)
	if err != nil {
		return "", err
	}
	if len(parsed.Templates()) > 1 {
		return "", errors.New("define and block are not available")
	}
	if parsed.Tree != nil {
		if err := checkNode(parsed.Root); err != nil {
			return "", err
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
)

// explain turns an error of the template library into words for the person who wrote the template.
func explain(err error) string {
	text, line := err.Error(), ""
	if m := location.FindStringSubmatch(text); m != nil {
		line, text = "line "+m[1]+": ", strings.TrimPrefix(text, m[0])
	}
	if m := executing.FindStringSubmatch(text); m != nil {
		line, text = line+m[1]+": ", strings.TrimPrefix(text, m[0])
	}
	text = errorCalling.ReplaceAllString(text, "$1: ")
	text = unknownField.ReplaceAllString(text, "there is no value $1; see kubectl explain plexlink.spec.secret.template.data")
	text = unknownMethod.ReplaceAllString(text, "there is no function $1; see kubectl explain plexlink.spec.secret.template.data")
	return line + text
}

// allowed are the functions of Go templates that stay: none of them can make a value grow.
var allowed = []string{"and", "or", "not", "eq", "ne", "lt", "le", "gt", "ge", "len", "urlquery"}

// checkNode refuses what could run for long or grow without end.
func checkNode(node parse.Node) error {
	switch n := node.(type) {
	case *parse.ListNode:
		if n == nil {
			return nil
		}
		for _, each := range n.Nodes {
			if err := checkNode(each); err != nil {
				return err
			}
		}
	case *parse.ActionNode:
		return checkNode(n.Pipe)
	case *parse.IfNode:
		return checkBranch(n.BranchNode)
	case *parse.WithNode:
		return checkBranch(n.BranchNode)
	case *parse.RangeNode:
		return errors.New("range is not available, there is no list to go through")
	case *parse.TemplateNode:
		return errors.New("template is not available")
	case *parse.PipeNode:
		for _, command := range n.Cmds {
			for _, arg := range command.Args {
				if err := checkNode(arg); err != nil {
					return err
				}
			}
		}
	case *parse.IdentifierNode:
		if _, ours := functions[n.Ident]; !ours && !slices.Contains(allowed, n.Ident) {
			return fmt.Errorf("function %q not defined", n.Ident)
		}
	case *parse.ChainNode:
		return checkNode(n.Node)
	}
	return nil
}

func checkBranch(n parse.BranchNode) error {
	for _, part := range []parse.Node{n.Pipe, n.List, n.ElseList} {
		if err := checkNode(part); err != nil {
			return err
		}
	}
	return nil
}

// functions are those that the API's comment on data documents. Most are sprig's, which people know from Helm.
var functions = func() template.FuncMap {
	sprigs := sprig.TxtFuncMap()
	text := func(name string) func(string) (string, error) {
		f := sprigs[name].(func(string) string)
		return func(s string) (string, error) { return bounded(f(s)) }
	}
	trim := func(name string) func(string, string) string { return sprigs[name].(func(a, b string) string) }
	return template.FuncMap{
		"default":    sprigs["default"],
		"lower":      text("lower"),
		"upper":      text("upper"),
		"b64enc":     text("b64enc"),
		"trimPrefix": trim("trimPrefix"),
		"trimSuffix": trim("trimSuffix"),
		"list":       func(items ...string) []string { return items },
		"join": func(separator string, items []string) (string, error) {
			size := 0
			for _, item := range items {
				size += len(item) + len(separator)
			}
			if size > maxValue {
				return "", errTooLarge
			}
			return strings.Join(items, separator), nil
		},
		"replace": func(old, new, s string) (string, error) {
			if len(s)+strings.Count(s, old)*len(new) > maxValue {
				return "", errTooLarge
			}
			return strings.ReplaceAll(s, old, new), nil
		},
		"urlquery": func(s string) (string, error) { return bounded(url.QueryEscape(s)) },
		"toJson": func(v any) (string, error) {
			out, err := json.Marshal(v)
			if err != nil {
				return "", err
			}
			return bounded(string(out))
		},
		"toYaml": func(v any) (string, error) {
			out, err := yaml.Marshal(v)
			if err != nil {
				return "", err
			}
			return bounded(strings.TrimSuffix(string(out), "\n"))
		},
		"onOff": func(b bool) string {
			if b {
				return "on"
			}
			return "off"
		},
	}
}()

var errTooLarge = fmt.Errorf("the value would be larger than %d KiB", maxValue>>10)

func bounded(s string) (string, error) {
	if len(s) > maxValue {
		return "", errTooLarge
	}
	return s, nil
}

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
